"""A run gives the scores of `evaluate`, whatever its tiles, kills and processes."""

import json
import math
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from tiny_benchmarks import make_images, start, tiny

import srzoo
from srzoo.architecture import SRModel
from srzoo.benchmark import mean_psnr, mean_ssim
from srzoo.benchmark.journal import Journal
from srzoo.benchmark.plan import plan_benchmark
from srzoo.benchmark.rows import Row
from srzoo.benchmark.runs import benchmark, deal, forget, image_path, run_benchmark
from srzoo.data import pairs_from_hr
from srzoo.data.benchmarks import BenchmarkImage, BenchmarkSet, ImageSet
from srzoo.data.pairs import Pair
from srzoo.distributed import WorkerLost, World
from srzoo.image import read_pixels
from srzoo.metrics import Protocol, psnr
from srzoo.tta import SelfEnsemble


def scores(rows: tuple[Row, ...]) -> list[tuple[str, str, float, float]]:
    return [(row.model, row.image, row.psnr, row.ssim) for row in rows]


def test_rows_and_means_are_those_of_evaluate(images: Path) -> None:
    model = tiny()
    result = benchmark(model, images, device="cpu")
    pairs = pairs_from_hr(images, 2)
    assert [mean.model for mean in result.means] == ["bicubic_x2", "edsr_baseline_x2"]
    for mean, network in zip(result.means, (srzoo.create_model("bicubic_x2"), model), strict=True):
        expected = srzoo.evaluate(network, pairs)
        rows = [row for row in result.rows if row.model == mean.model]
        assert [row.image for row in rows] == ["a", "b", "c"]
        for row, score in zip(rows, expected, strict=True):
            assert row.psnr == pytest.approx(score.psnr, abs=1e-3)
            assert row.ssim == pytest.approx(score.ssim, abs=1e-5)
        assert (mean.psnr, mean.ssim) == (
            pytest.approx(mean_psnr(expected), abs=1e-3),
            pytest.approx(mean_ssim(expected)),
        )
        assert mean.seconds > 0
    assert [(row.width, row.height) for row in result.rows[:3]] == [(36, 48), (36, 40), (48, 36)]
    assert result.rows[0].protocol == "Y, 8-bit, border 2"


@pytest.mark.parametrize("tta", ["none", "x8"])
def test_tiles_change_no_score(images: Path, tta: Any) -> None:
    model = srzoo.create_model("mdsr_baseline", width=4, num_blocks=1).eval()
    whole, tiled = (benchmark(model, images, device="cpu", tta=tta, tile=tile, scales=[3]) for tile in (256, 7))
    for one, other in zip(whole.rows, tiled.rows, strict=True):
        assert one.psnr == pytest.approx(other.psnr, abs=1e-3)
        assert one.ssim == pytest.approx(other.ssim, abs=1e-5)


def test_the_ensemble_is_that_of_the_zoo(images: Path) -> None:
    model = tiny()
    result = benchmark(model, images, device="cpu", tta="x8", baseline=False)
    expected = srzoo.evaluate(SelfEnsemble(model), pairs_from_hr(images, 2))
    assert [row.psnr for row in result.rows] == pytest.approx([score.psnr for score in expected], abs=1e-3)
    assert result.rows[0].psnr != pytest.approx(benchmark(model, images, device="cpu").rows[-3].psnr, abs=1e-5)


def test_a_model_of_several_scales_runs_at_each_and_the_order_is_by_set_and_scale(images: Path, tmp_path: Path) -> None:
    other = make_images(tmp_path / "other", (36, 36))
    model = srzoo.create_model("mdsr_baseline", width=4, num_blocks=1)
    result = benchmark([model, tiny(4)], [other, images], device="cpu", scales=[2, 4])
    assert [(mean.set, mean.scale, mean.model) for mean in result.means] == [
        (name, scale, label)
        for name in ("other", "tiny")
        for scale in (2, 4)
        for label in (f"bicubic_x{scale}", "mdsr_baseline", *(["edsr_baseline_x4"] if scale == 4 else []))
    ]
    assert model.training  # as it was given


def test_grey_images_are_scored_as_grey(tmp_path: Path) -> None:
    folder = make_images(tmp_path / "grey", (36, 36))
    Image.open(folder / "a.png").convert("L").save(folder / "a.png")
    [row] = benchmark("bicubic_x2", folder, device="cpu").rows
    [score] = srzoo.evaluate(srzoo.create_model("bicubic_x2", channels=1), pairs_from_hr(folder, 2))
    assert row.psnr == pytest.approx(score.psnr, abs=1e-3)


def test_the_luma_path_scores_one_channel_that_was_never_rounded(images: Path) -> None:
    [row, *_] = benchmark("bicubic_x2", images, device="cpu", path="luma").rows
    [score, *_] = benchmark("bicubic_x2", images, device="cpu").rows
    assert row.psnr == pytest.approx(score.psnr, abs=0.2)
    assert abs(row.psnr - score.psnr) > 1e-4


def test_evaluate_takes_lr_in_floating_point() -> None:
    hr = torch.randint(0, 256, (1, 24, 24), dtype=torch.uint8)
    lr = torch.rand(1, 12, 12)
    seen = []

    def model(x: torch.Tensor) -> torch.Tensor:
        seen.append(x)
        return x.repeat_interleave(2, -1).repeat_interleave(2, -2)

    srzoo.evaluate(model, [Pair("float", lr, hr, 2)])
    assert torch.equal(seen[0], lr[None].expand(1, 3, -1, -1))


def test_nan_is_counted_named_and_left_out_of_the_mean(images: Path, broken: Path) -> None:
    result = benchmark(broken, images, device="cpu")
    bicubic, mean = result.means
    assert not bicubic.nonfinite
    assert mean.nonfinite == ("a", "b", "c")
    assert math.isnan(mean.psnr)
    assert [row.nonfinite for row in result.nonfinite] == [36 * 48, 36 * 40, 48 * 36]
    assert "NaN or infinity in the output of 3 images (a, b, c); no image is left" in result.table()
    json.dumps(result.to_json(), allow_nan=False)


def test_an_identical_image_counts_as_100_db_and_that_is_said(tmp_path: Path) -> None:
    folder = make_images(tmp_path / "flat", (36, 36), (36, 36))
    Image.new("RGB", (36, 36), (9, 99, 199)).save(folder / "b.png")
    result = benchmark("bicubic_x2", folder, device="cpu")
    [mean] = result.means
    assert result.rows[1].psnr == math.inf
    assert mean.psnr == pytest.approx((100 + result.rows[0].psnr) / 2)
    assert "b came out identical to HR, or above 100 dB, and counts as 100 dB" in result.table()


def test_saved_images_are_the_scored_ones(images: Path, tmp_path: Path) -> None:
    result = benchmark(tiny(), images, device="cpu", save_images=tmp_path / "sr")
    for row in result.rows:
        path = tmp_path / f"sr/{row.model}/tiny/x2/{row.image}.png"
        sr, hr = (torch.from_numpy(read_pixels(file).copy()) for file in (path, images / f"{row.image}.png"))
        hr = hr[: sr.shape[0], : sr.shape[1]]
        again = psnr(sr.permute(2, 0, 1)[None], hr.permute(2, 0, 1)[None], Protocol.paper(2))
        assert again.item() == pytest.approx(row.psnr, abs=1e-9)


def test_images_of_files_and_subfolders_stay_inside_the_folder(images: Path, weights: Path, tmp_path: Path) -> None:
    (images / "below").mkdir()
    (images / "a.png").rename(images / "below/a.png")
    benchmark(weights, images, device="cpu", save_images=tmp_path / "sr", baseline=False)
    [label] = (tmp_path / "sr").iterdir()
    assert "mine.safetensors" in label.name
    assert (label / "tiny/x2/below/a.png").is_file()


def test_two_models_never_share_a_folder(images: Path) -> None:
    [unit] = plan_benchmark(tiny(), images, device="cpu", baseline=False).units
    labels = ("runs/q.safetensors", "runs_q.safetensors", "runs:q.safetensors", "..", "/", "edsr_baseline_x4.photos")
    paths = [image_path(Path("sr"), replace(unit, entry=replace(unit.entry, label=label)), "a") for label in labels]
    assert len(set(paths)) == len(labels)
    assert paths[1] == Path("sr/runs_q.safetensors/tiny/x2/a.png")
    assert all(len(path.parts) == 5 and ".." not in path.parts for path in paths)


class Wrong(SRModel):
    """A network that gives one column too many."""

    scales = (2,)

    def halo(self, scale: int | None = None) -> int:
        return 0

    def forward(self, lr: torch.Tensor, scale: int | None = None) -> torch.Tensor:
        height, width = lr.shape[-2:]
        return torch.nn.functional.interpolate(lr, size=(height * 2, width * 2 + 1))


@pytest.mark.parametrize("tta", ["none", "x8"])
@pytest.mark.parametrize("tile", [256, 7])
def test_an_output_of_another_size_is_refused_by_name(images: Path, tta: Any, tile: int) -> None:
    with pytest.raises(ValueError, match=r"^Wrong on tiny a at x2: the model makes \d+x\d+ pixels of") as told:
        benchmark(Wrong(), images, device="cpu", tta=tta, tile=tile)
    assert "\n" not in str(told.value)


def test_weights_that_change_after_the_plan_are_not_measured(images: Path, weights: Path) -> None:
    job = plan_benchmark(weights, images, device="cpu", baseline=False)
    srzoo.save_model(tiny(), weights)
    with pytest.raises(ValueError, match=r"mine\.safetensors changed while the benchmark ran; start it again"):
        run_benchmark(job)
    assert not Journal().read(job.units[0].key)


# Resuming


class Killed(BaseException):
    """What ends a run in the middle."""


def killed_after(count: int) -> Any:
    def progress(done: int, total: int, row: Row) -> None:
        if done == count:
            raise Killed

    return progress


def test_a_killed_run_keeps_its_rows_and_does_only_the_rest(images: Path, cache: Path) -> None:
    model, calls = tiny(), []
    model.register_forward_hook(lambda *_: calls.append(1))
    whole = benchmark(model, images, device="cpu")
    with pytest.raises(Killed):
        benchmark(model, images, device="cpu", progress=killed_after(5))  # three of bicubic, two of the model
    calls.clear()
    left = []
    result = benchmark(
        model, images, device="cpu", progress=lambda done, total, row: left.append((done, total, row.image))
    )
    assert result.kept == 5
    assert left == [(1, 1, "c")]
    assert len(calls) == 2  # the warm-up and the image
    assert scores(result.rows) == scores(whole.rows)
    assert not list((cache / "benchmark").iterdir())  # so that the next run measures anew
    assert benchmark(model, images, device="cpu").kept == 0


def test_rows_of_other_weights_settings_or_images_are_not_kept(images: Path) -> None:
    model = tiny()
    with pytest.raises(Killed):
        benchmark(model, images, device="cpu", baseline=False, progress=killed_after(3))

    def kept(**options: Any) -> int:
        job = plan_benchmark(options.pop("model", model), images, device="cpu", baseline=False, **options)
        return run_benchmark(job).kept

    assert kept() == 3
    assert kept(model=tiny()) == 0
    Image.open(images / "a.png").rotate(180).save(images / "a.png")
    assert kept() == 0


def test_rows_whose_image_was_not_saved_are_measured_again(images: Path, tmp_path: Path) -> None:
    job = plan_benchmark(tiny(), images, device="cpu", baseline=False)
    run_benchmark(job, save_images=tmp_path / "sr")
    assert run_benchmark(job, save_images=tmp_path / "sr").kept == 3
    (tmp_path / "sr/edsr_baseline_x2/tiny/x2/b.png").unlink()
    assert run_benchmark(job, save_images=tmp_path / "sr").kept == 2
    assert (tmp_path / "sr/edsr_baseline_x2/tiny/x2/b.png").is_file()
    (tmp_path / "sr/edsr_baseline_x2/tiny/x2/a.png").write_bytes(b"another model's")
    assert run_benchmark(job, save_images=tmp_path / "sr").kept == 2
    assert run_benchmark(job, save_images=tmp_path / "sr").kept == 3
    assert run_benchmark(job).kept == 3  # scores are scores, wherever the images went
    forget(job)
    run_benchmark(job)
    assert run_benchmark(job, save_images=tmp_path / "sr").kept == 0  # those in the folder are another run's


def test_fresh_measures_anew(images: Path) -> None:
    model = tiny()
    for fresh, kept in ((False, 2), (True, 0)):
        with pytest.raises(Killed):
            benchmark(model, images, device="cpu", fresh=True, progress=killed_after(2))
        assert benchmark(model, images, device="cpu", fresh=fresh).kept == kept


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no kill -9 here")
def test_kill_9_loses_no_finished_row(tmp_path: Path, cache: Path) -> None:
    folder = make_images(tmp_path / "many", *[(96, 96)] * 24)
    model = tmp_path / "mine.safetensors"
    srzoo.save_model(srzoo.create_model("edsr_baseline_x2", width=48, num_blocks=8), model)
    arguments = [model, "--sets", folder, "--device", "cpu", "--json", tmp_path / "result.json"]
    with start(*arguments) as process:
        while process.poll() is None and sum(len(p.read_bytes().splitlines()) for p in cache.glob("*/*/*.jsonl")) < 30:
            time.sleep(0.005)
        process.kill()
        _, said = process.communicate()
    assert process.returncode == -signal.SIGKILL, said
    left = sum(p.read_bytes().count(b"\n") for p in cache.glob("benchmark/*/*.jsonl"))
    assert left < 48
    with start(*arguments) as process:
        _, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert f"kept {left} of 48 rows of a run that was cut off; {48 - left} to go" in said
    told = json.loads((tmp_path / "result.json").read_text())
    assert (told["kept"], len(told["rows"])) == (left, 48)
    assert not list(cache.glob("benchmark/*"))


# Several processes


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_images_are_dealt_evenly_each_to_one_process(images: Path, size: int) -> None:
    job = plan_benchmark([tiny(), tiny(3)], images, device="cpu")
    kept = [{"b"}, set[str](), set[str](), {"a", "b"}]
    dealt = [deal(replace(job, world=World(rank, size)), kept) for rank in range(size)]
    for unit, done in enumerate(kept):
        left = [i for i, name in enumerate("abc") if name not in done]
        assert sorted(index for mine in dealt for index in mine[unit]) == left
    counts = [sum(map(len, mine)) for mine in dealt]
    assert max(counts) - min(counts) <= 1


def test_rows_of_all_processes_make_one_result(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny()
    alone = benchmark(model, images, device="cpu")
    job = plan_benchmark(model, images, device="cpu")
    parts: list[Any] = []

    def gather(world: World, thing: Any) -> list[Any]:
        parts.append(thing)
        return parts

    monkeypatch.setattr(World, "gather", gather)
    monkeypatch.setattr(World, "share_object", lambda self, thing: [{} for _ in job.units])
    with pytest.raises(KeyError):  # the first is not told what the second will find
        run_benchmark(replace(job, world=World(0, 2)))
    both = run_benchmark(replace(job, world=World(1, 2)))
    assert [len(part) for part in parts] == [3, 3]
    assert scores(both.rows) == scores(alone.rows)
    assert [mean.psnr for mean in both.means] == [mean.psnr for mean in alone.means]
    assert len(Journal().read(job.units[0].key)) == 3  # of both journals


def test_a_lost_process_is_told_with_what_to_do_here(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("Connection closed by peer")

    monkeypatch.setattr("torch.distributed.all_gather_object", fail)
    with pytest.raises(WorkerLost, match=r"lost \(Connection closed by peer\); start the same command again$"):
        World(0, 2, "start the same command again").gather(1)
    assert World().gather("alone") == ["alone"]


def result_of(path: Path) -> list[Any]:
    return [
        [row[key] for key in ("model", "image", "scale", "psnr", "ssim")]
        for row in json.loads(path.read_text())["rows"]
    ]


@pytest.mark.slow
def test_two_processes_of_torchrun_give_the_result_of_one(images: Path, weights: Path, tmp_path: Path) -> None:
    for processes in (1, 2):
        arguments = [weights, "mdsr_baseline", "--sets", images, "--device", "cpu", "--json", tmp_path / f"{processes}"]
        with start(*arguments, processes=processes) as process:
            out, said = process.communicate(timeout=120)
        assert process.returncode == 0, said
        assert out.count("### tiny x2") == 1
    assert result_of(tmp_path / "1") == result_of(tmp_path / "2")
    assert json.loads((tmp_path / "2").read_text())["processes"] == 2


@pytest.mark.slow
def test_more_processes_than_images_are_no_trouble(images: Path, weights: Path, tmp_path: Path) -> None:
    for processes in (1, 3):
        arguments = [weights, "--sets", images, "--limit", "1", "--device", "cpu", "--json", tmp_path / f"{processes}"]
        with start(*arguments, processes=processes) as process:
            _, said = process.communicate(timeout=120)
        assert process.returncode == 0, said
    assert result_of(tmp_path / "1") == result_of(tmp_path / "3")
    assert len(result_of(tmp_path / "3")) == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["edsr_x4", "--device", "cpu"], "edsr_x4 has no pretrained weights"),
        (["edsr_x4", "--device", "cpu", "--tile", "0"], "tile is 0"),
        (["edsr_x4", "--device", "meta"], "device is 'meta'"),
    ],
)
def test_a_mistake_under_torchrun_is_told_once(images: Path, more: list[str], told: str) -> None:
    with start(*more, "--sets", images, processes=2) as process:
        _, said = process.communicate(timeout=120)
    assert process.returncode == 1  # torchrun's own
    assert said.count(f"srzoo: {told}") == 1
    assert "another process of the run was lost" not in said


def test_a_set_like_div2k_is_scored_on_rgb_with_its_border(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = sorted(images.glob("*.png"))
    known = tuple(map(BenchmarkImage, "abc", (36, 37, 48), (48, 40, 36)))
    record = BenchmarkSet("DIV2K", known, "div2k", "made up")
    found = ImageSet("DIV2K", paths, images, record=record)
    monkeypatch.setattr("srzoo.benchmark.plan.find_set", lambda *_, **__: found)
    model = tiny()
    result = benchmark(model, "DIV2K", device="cpu")
    expected = srzoo.evaluate(model, pairs_from_hr(images, 2), Protocol.div2k)
    bicubic, mean = result.means
    assert bicubic.protocol == mean.protocol == "RGB, 8-bit, border 8"
    assert mean.psnr == pytest.approx(mean_psnr(expected), abs=1e-3)
    assert mean.ssim == pytest.approx(mean_ssim(expected), abs=1e-5)
    assert str(bicubic.published) == "31.01 / 0.9393"
    [line] = [line for line in result.table().splitlines() if line.startswith("| bicubic_x2 ")]
    assert [cell.strip() for cell in line.split("|")][5] == f"{bicubic.psnr - 31.01:+.2f} dB"
