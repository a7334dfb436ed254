"""scripts/gpu: packing, parts, and a toy run on the CPU in several calls."""

import csv
import importlib.util
import json
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open

import srzoo
import srzoo.train

FOLDER = Path(__file__).resolve().parents[2] / "scripts" / "gpu"
MIB = 2**20


def load_script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"gpu_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    before = list(sys.path)
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path[:] = before
    return module


options, pack, parts, train, run_queue = (
    load_script(name) for name in ("options", "pack", "parts", "train", "run_queue")
)


@pytest.fixture
def blobs(tmp_path: Path) -> tuple[Path, Path, dict[str, float]]:
    """Files that only their names make images, one with a long name in a subfolder; and scores."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "blobs"
    long = "a" * 120 + "/" + "b" * 120 + ".png"
    scores = {}
    for name in [*(f"{i:02d}.jpg" for i in range(20)), long]:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(rng.bytes(int(rng.integers(500, 12_000))))
        scores[name] = float(rng.integers(1, 6)) / 7
    table = tmp_path / "scores.csv"
    with open(table, "w", newline="") as file:
        csv.writer(file).writerows([("source", "score", "file"), *(("x", s, n) for n, s in scores.items())])
    return folder, table, scores


def photos_in(path: Path) -> list[str]:
    with tarfile.open(path) as tar:
        return [name for name in tar.getnames() if name != "scores.csv"]


def test_packs_hold_the_best_photos_first_and_no_pack_could_take_the_next_photo(blobs, tmp_path: Path) -> None:
    folder, table, scores = blobs
    out = tmp_path / "packs"
    limit = 41_000  # bytes: two or more packs' worth of records of 10,240 bytes
    assert pack.main([str(folder), "--scores", str(table), "--size", str(limit / MIB), "-o", str(out)]) == 0
    packs = sorted(out.iterdir())
    assert [path.name for path in packs] == [f"photos-{i:02d}.tar" for i in range(len(packs))]
    held = [photos_in(path) for path in packs]
    assert [name for names in held for name in names] == sorted(scores, key=lambda name: (-scores[name], name))
    for path, names, following in zip(packs, held, [*held[1:], None], strict=True):
        assert path.stat().st_size <= limit
        if following:
            more = [pack.Photo(folder / name, name, scores[name]) for name in [*names, following[0]]]
            pack.write_pack(tmp_path / "more.tar", more)
            assert (tmp_path / "more.tar").stat().st_size > limit


def test_unpacked_packs_add_up_byte_for_byte_and_replace_what_was_there(blobs, tmp_path: Path) -> None:
    folder, table, scores = blobs
    out, target = tmp_path / "packs", tmp_path / "unpacked"
    pack.main([str(folder), "--scores", str(table), "--size", "0.05", "-o", str(out)])
    target.mkdir()
    (target / "old.png").write_bytes(b"of other packs")
    assert pack.unpack_photos(out, None, target) == scores
    found = {path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file()}
    assert found == set(scores)
    assert all((target / name).read_bytes() == (folder / name).read_bytes() for name in scores)
    first = pack.unpack_photos(out, 1, target)
    assert list(first) == photos_in(out / "photos-00.tar")


def test_without_scores_the_order_is_by_name_and_count_limits_the_packs(blobs, tmp_path: Path) -> None:
    folder, _, scores = blobs
    out = tmp_path / "packs"
    assert pack.main([str(folder), "--size", "0.04", "--count", "2", "-o", str(out)]) == 0
    assert [path.name for path in sorted(out.iterdir())] == ["photos-00.tar", "photos-01.tar"]
    held = photos_in(out / "photos-00.tar") + photos_in(out / "photos-01.tar")
    assert held == sorted(scores)[: len(held)]
    assert set(pack.unpack_photos(out, None, tmp_path / "unpacked").values()) == {1.0}


@pytest.mark.parametrize(
    ("table", "options", "sentence"),
    [
        ("file,score\na.jpg,1\n", [], "b.jpg has no score"),
        ("file,score\na.jpg,1\nb.jpg,2\nc.jpg,2\n", [], "c.jpg is not in the folder"),
        ("file,score\na.jpg,1\nb.jpg,nan\n", [], "the score of b.jpg is nan"),
        ("file,score\na.jpg,1\nb.jpg,good\n", [], "no number ('good')"),
        ("name,score\na.jpg,1\n", [], "needs the columns file and score"),
        ("file,score\na.jpg,1\nb.jpg,2\n", ["--size", "0.01"], "b.jpg (0.0 MiB) does not fit a pack"),
        ("file,score\na.jpg,1\nb.jpg,2\n", ["--size", "0"], "must be positive"),
    ],
)
def test_what_cannot_be_packed_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], table: str, options: list[str], sentence: str
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(b"a")
    (folder / "b.jpg").write_bytes(bytes(9000))
    (tmp_path / "scores.csv").write_text(table)
    args = [str(folder), "--scores", str(tmp_path / "scores.csv"), "-o", str(tmp_path / "packs"), *options]
    assert pack.main(args) == 2
    told = capsys.readouterr().err
    assert sentence in told
    assert told.count("\n") == 1


def test_packs_are_not_mixed_with_older_ones_or_twice_the_same_photo(
    blobs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, *_ = blobs
    out = tmp_path / "packs"
    assert pack.main([str(folder), "-o", str(out)]) == 0
    assert pack.main([str(folder), "-o", str(out)]) == 2
    assert "already there" in capsys.readouterr().err
    (out / "again.tar").write_bytes((out / "photos-00.tar").read_bytes())
    with pytest.raises(ValueError, match="is in another pack, too"):
        pack.unpack_photos(out, None, tmp_path / "unpacked")


def test_a_damaged_pack_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="has no packs"):
        pack.unpack_photos(tmp_path, None, tmp_path / "unpacked")
    (tmp_path / "photos-00.tar").write_bytes(b"x" * 2000)
    with pytest.raises(ValueError, match=r"photos-00\.tar is damaged or was not made by pack\.py"):
        pack.unpack_photos(tmp_path, None, tmp_path / "unpacked")


@pytest.mark.parametrize(("size", "count"), [(0, 0), (1, 1), (1000, 1), (1001, 2), (2500, 3)])
def test_parts_are_within_the_limit_and_join_to_the_same_bytes(tmp_path: Path, size: int, count: int) -> None:
    whole, target = tmp_path / "whole", tmp_path / "state" / "x.safetensors"
    whole.write_bytes(np.random.default_rng(1).bytes(size))
    parts.split_file(whole, target, 1000)
    names = sorted(path.name for path in target.parent.iterdir())
    assert names == ["x.safetensors.json", *(f"x.safetensors.part{i:02d}" for i in range(count))]
    assert all(path.stat().st_size <= 1000 for path in target.parent.glob("*.part*"))
    parts.join_file(target, tmp_path / "joined")
    assert (tmp_path / "joined").read_bytes() == whole.read_bytes()


class CutOff:
    """Stops the process, as it were, at one of the calls that change files; a write is left torn."""

    def __init__(self, patch: pytest.MonkeyPatch, at: int) -> None:
        self.at, self.calls = at, 0
        for name in ("write_bytes", "write_text", "replace", "unlink"):
            patch.setattr(Path, name, self.counted(getattr(Path, name), name == "write_bytes"))

    def counted(self, method: Callable[..., Any], torn: bool) -> Callable[..., Any]:
        def call(path: Path, *args: Any, **kwargs: Any) -> Any:
            if self.calls == self.at:
                if torn:
                    method(path, b"torn")
                raise KeyboardInterrupt
            self.calls += 1
            return method(path, *args, **kwargs)

        return call


@pytest.mark.parametrize(("old_size", "new_size"), [(2500, 1500), (500, 2500)])
def test_a_write_cut_off_anywhere_leaves_the_old_or_the_new_file_whole(
    tmp_path: Path, old_size: int, new_size: int
) -> None:
    rng = np.random.default_rng(2)
    old, new, joined = tmp_path / "old", tmp_path / "new", tmp_path / "joined"
    old.write_bytes(rng.bytes(old_size))
    new.write_bytes(rng.bytes(new_size))
    seen = []
    for at in range(100):
        target = tmp_path / str(at) / "x.safetensors"
        parts.split_file(old, target, 1000)
        with pytest.MonkeyPatch.context() as patch:
            cut = CutOff(patch, at)
            with suppress(KeyboardInterrupt):
                parts.split_file(new, target, 1000)
        if cut.calls < at:  # it ran to its end
            break
        parts.join_file(target, joined)
        assert joined.read_bytes() in (old.read_bytes(), new.read_bytes())
        seen.append(joined.read_bytes() == new.read_bytes())
        parts.split_file(new, target, 1000)  # and the next write works
        parts.join_file(target, joined)
        assert joined.read_bytes() == new.read_bytes()
        assert not list(target.parent.glob("*.new"))
    assert seen == sorted(seen)  # the old file, and from some point on the new one
    assert set(seen) == {False, True}


def test_a_damaged_or_missing_part_is_refused(tmp_path: Path) -> None:
    whole, target = tmp_path / "whole", tmp_path / "x.safetensors"
    whole.write_bytes(bytes(2500))
    parts.split_file(whole, target, 1000)
    second = tmp_path / "x.safetensors.part01"
    second.write_bytes(bytes(999) + b"\x01")
    with pytest.raises(ValueError, match="part01 is damaged"):
        parts.join_file(target, tmp_path / "joined")
    second.unlink()
    with pytest.raises(ValueError, match="part01 is missing"):
        parts.join_file(target, tmp_path / "joined")
    assert not (tmp_path / "joined").exists()


def test_a_folder_comes_back_from_its_parts_without_what_was_left_out(tmp_path: Path) -> None:
    folder, target, back = tmp_path / "run", tmp_path / "out" / "run.tar", tmp_path / "back"
    rng = np.random.default_rng(3)
    for name in ("a.safetensors", "m/log.jsonl", "m/checkpoints/step_1", "m/best.safetensors", "m/.torn"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(rng.bytes(3000))
    assert not parts.has_parts(target)
    parts.pack_folder(folder, target, 4000, skip=("best.safetensors",))
    assert parts.has_parts(target)
    assert not (tmp_path / "run.tar").exists()
    assert all(path.stat().st_size <= 4000 for path in target.parent.iterdir())
    parts.unpack_folder(target, back)
    found = {path.relative_to(back).as_posix() for path in back.rglob("*") if path.is_file()}
    assert found == {"a.safetensors", "m/log.jsonl", "m/checkpoints/step_1"}
    assert all((back / name).read_bytes() == (folder / name).read_bytes() for name in found)


X2, X4 = "edsr_baseline_x2", "edsr_baseline_x4"


class Toy:
    """`train.main` on tiny packs and models."""

    def __init__(self, folder: Path, photos: Path) -> None:
        self.folder = folder
        assert pack.main([str(photos), "--size", "0.01", "-o", str(folder / "packs")]) == 0
        assert len(list((folder / "packs").iterdir())) > 1

    def options(self, *more: str, out: str = "out") -> list[str]:
        paths = {"packs": "packs", "out": out, "work": f"work-{out}"}
        args = [f"--{option}={self.folder / name}" for option, name in paths.items()]
        small = "--steps=4 --batch-size=2 --patch-size=8 --overrides=width=8,num_blocks=1"
        return [*args, *small.split(), "--device=cpu", "--precision=fp32", f"--models={X2},{X4}", *more]

    def __call__(self, *more: str, out: str = "out") -> int:
        return train.main(self.options(*more, out=out))


@pytest.fixture
def toy(tmp_path: Path, photo_folder: Path) -> Toy:
    return Toy(tmp_path, photo_folder)


PARTS = "--max-file-mib=0.01"


def stored(folder: Path, name: str) -> dict[str, np.ndarray]:
    """Tensors of a published weight file as they are in the file."""
    with safe_open(folder / f"{name}.safetensors", framework="np") as file:
        return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118


def equal(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return one.keys() == other.keys() and all((one[key] == other[key]).all() for key in one)


def files_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def steps_logged(path: Path) -> list[int]:
    return [json.loads(line)["step"] for line in path.read_text().splitlines()]


def test_calls_that_run_out_of_time_end_with_the_weights_of_one_long_call(
    toy: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for done in range(1, 4):  # --minutes 0 stops after one step
        assert toy("--minutes=0") == 0
        told = capsys.readouterr().out
        assert f"remains: {X2}, {done} of 4 steps" in told
        assert f"remains: {X4}, not begun" in told
    assert toy() == 0
    assert "all models are finished" in capsys.readouterr().out
    assert toy("--save-every=3", out="long") == 0
    for name in (X2, X4):
        short, long = (stored(tmp_path / out, name) for out in ("out", "long"))
        assert all(tensor.dtype == np.float16 for tensor in short.values())
        assert equal(short, long)
        assert steps_logged(tmp_path / "out" / name / "log.jsonl") == ([1, 2, 3, 4] if name == X2 else [4])
    assert files_in(tmp_path / "out") == {
        f"{X2}.safetensors",
        f"{X4}.safetensors",
        f"{X2}/log.jsonl",
        f"{X4}/log.jsonl",
    }


def test_parts_that_travel_from_machine_to_machine_end_with_the_same_weights(
    toy: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert toy(out="long") == 0
    state: list[str] = []
    for call in range(9):
        out = f"part{call}"
        assert toy("--minutes=0", PARTS, *state, out=out) == 0
        found = files_in(tmp_path / out)
        assert all(name.startswith("run.tar.") for name in found)
        assert all((tmp_path / out / name).stat().st_size <= 0.01 * MIB for name in found)
        state = [f"--state={tmp_path / out}"]
    told = capsys.readouterr().out
    assert "all models are finished" in told
    assert told.count("starts at random") == 2  # once in the long run, once here
    parts.unpack_folder(tmp_path / "part8" / "run.tar", tmp_path / "joined")
    for name in (X2, X4):
        assert equal(stored(tmp_path / "joined", name), stored(tmp_path / "long", name))
        assert steps_logged(tmp_path / "joined" / name / "log.jsonl") == [1, 2, 3, 4]
    assert not [name for name in files_in(tmp_path / "joined") if "checkpoint" in name]


def test_a_run_in_parts_goes_on_as_plain_files_and_the_other_way_round(
    toy: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert toy("--minutes=0", PARTS, out="one") == 0
    assert toy("--minutes=0", f"--state={tmp_path / 'one'}", out="two") == 0
    assert toy("--minutes=0", PARTS, f"--state={tmp_path / 'two'}", out="three") == 0
    assert f"remains: {X2}, 3 of 4 steps" in capsys.readouterr().out
    assert toy("--minutes=0", PARTS, f"--state={tmp_path / 'one'}", out="three") == 0  # --out comes first
    assert f"done: {X2}, 4 of 4 steps" in capsys.readouterr().out


def test_a_finished_model_is_skipped_loads_and_says_how_it_was_made(
    toy: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = f"--models={X2}"
    assert toy(model, "--steps=2", "--ema-decay=0.9") == 0
    path = tmp_path / "out" / f"{X2}.safetensors"
    before = path.read_bytes()
    model_, header = srzoo.load_model(path), srzoo.read_header(path)
    assert (model_.arguments["width"], model_.arguments["num_blocks"]) == (8, 1)
    recipe = header.recipe
    assert (recipe["steps"], recipe["config"]["steps"], recipe["device"]) == (2, 2, "cpu")
    assert (recipe["config"]["ema_decay"], recipe["start"]) == (0.9, [])
    capsys.readouterr()
    assert toy(model, "--steps=2") == 0
    assert capsys.readouterr().out.startswith(f"done: {X2}, 2 of 2 steps")
    assert path.read_bytes() == before


def test_x4_starts_from_x2_and_mdsr_from_both(toy: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    models = f"--models={X2},{X4},mdsr_baseline"
    assert toy(models, "--steps=1", "--steps-warm=2") == 0
    told = capsys.readouterr().out
    assert f"{X4}: starts with" in told
    assert f"of {X2}, {X4}" in told.partition("mdsr_baseline: starts with")[2]
    x2, x4, mdsr = (stored(tmp_path / "out", name) for name in (X2, X4, "mdsr_baseline"))
    steps = 2e-4 + 2e-3 * np.abs(x2["head.weight"].astype(float))  # two steps of Adam, and fp16
    for key in ("head.weight", "tail.weight"):
        assert (np.abs(x4[key].astype(float) - x2[key]) <= steps.max()).all()
    assert (np.abs(mdsr["head.weight"].astype(float) - x2["head.weight"]) <= steps).all()
    for scale, source in ((2, x2), (4, x4)):
        branch = mdsr[f"upsample.branches.x{scale}.0.weight"].astype(float)
        assert np.abs(branch - source["upsample.0.weight"]).max() < 3e-4
    assert srzoo.read_header(tmp_path / "out" / "mdsr_baseline.safetensors").recipe["start"] == [X2, X4]


def test_settings_are_the_paper_s_and_options_change_them() -> None:
    def config(*more: str, model: str = X2, warm: bool = False) -> srzoo.train.TrainConfig:
        args = options.parse_args(["--packs=p", "--out=o", *more])
        return options.make_config(args, options.pick_recipe(args.recipe, model), warm=warm)

    paper = config()
    assert (paper.steps, paper.batch_size, paper.patch_size, paper.lr) == (600_000, 16, 48, 1e-4)
    assert (paper.ema_decay, paper.schedule) == (None, srzoo.train.Halving(200_000))
    changed = config("--steps=10", "--steps-warm=5", "--ema-decay=0.99", "--lr=1", "--schedule=cosine", warm=True)
    assert (changed.steps, changed.ema_decay, changed.lr) == (5, 0.99, 1)
    assert changed.schedule == srzoo.train.Cosine()
    two_cores = config("--recipe=two_cores", "--ema-decay=0", "--clip-norm=0")
    assert (two_cores.steps, two_cores.ema_decay, two_cores.clip_norm) == (6_000, None, None)
    assert options.pick_recipe(None, "edsr_x4").name == "edsr"
    with pytest.raises(ValueError, match="there is no recipe for bicubic_x2; give one of edsr_baseline"):
        options.pick_recipe(None, "bicubic_x2")


def test_the_order_of_the_queue_trains_what_others_start_from_first() -> None:
    registered = [name for name in options.QUEUE if name in srzoo.list_models()]
    assert registered[:4] == [X2, X4, "edsr_baseline_x3", "mdsr_baseline"]
    for i, name in enumerate(registered):
        assert set(options.start_models(name)) <= set(registered[:i])


@pytest.mark.parametrize(("more", "bytes_each"), [([], 12), (["--ema-decay=0.9"], 16), (["--round-moments"], 8)])
def test_what_a_state_needs_is_told_before_it_is_written(
    toy: Toy, tmp_path: Path, more: list[str], bytes_each: int
) -> None:
    assert toy("--minutes=0", PARTS, f"--models={X2}", *more) == 0
    args = options.parse_args(toy.options(PARTS, *more))
    state, total = options.needed_mib(args, [X2])
    count = sum(p.numel() for p in srzoo.create_model(X2, width=8, num_blocks=1).parameters())
    assert state == pytest.approx(bytes_each * count / MIB)
    parts.unpack_folder(tmp_path / "out" / "run.tar", tmp_path / "joined")
    [checkpoint] = (tmp_path / "joined").glob("*/checkpoints/*")
    overhead = 20_000  # names, settings
    assert bytes_each * count < checkpoint.stat().st_size < bytes_each * count + overhead
    assert sum((tmp_path / "joined" / name).stat().st_size for name in files_in(tmp_path / "joined")) < total * MIB


def test_a_model_whose_files_would_be_too_large_is_refused_or_left_out_before_anything_is_written(
    toy: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    large = ["--max-file-mib=15", "--max-total-mib=60", "--overrides=", "--models=edsr_x2"]
    assert toy(*large) == 2
    told = capsys.readouterr().err
    assert "edsr_x2 needs 545 MiB in --out, 466 of it state to go on from; --max-total-mib is 60" in told
    assert told.count("\n") == 1
    assert not (tmp_path / "out").exists()
    args = options.parse_args(["--packs=p", "--out=o", "--max-file-mib=15", "--max-total-mib=60"])
    chosen = options.choose_models(args)
    assert {X2, X4, "edsr_baseline_x3", "mdsr_baseline"} <= set(chosen)
    assert "edsr_x2" not in chosen
    assert "left out: edsr_x2 needs" in capsys.readouterr().out


def test_rounded_moments_come_back_as_fp32_and_the_weights_as_they_were(toy: Toy, tmp_path: Path) -> None:
    def step(*more: str, out: str) -> dict[str, Any]:
        assert toy("--minutes=0", f"--models={X2}", *more, out=out) == 0
        return srzoo.train.load_checkpoint(max((tmp_path / out).glob("*/checkpoints/*")))

    thin, exact = step("--round-moments", out="thin"), step(out="exact")
    assert all((thin["model"][key] == exact["model"][key]).all() for key in exact["model"])
    moments, whole = (state["optimizer"]["state"][0] for state in (thin, exact))
    assert (moments["exp_avg"].dtype, whole["exp_avg"].dtype) == (torch.bfloat16, torch.float32)
    assert moments["step"] == whole["step"] == 1
    thin, exact = step(out="thin"), step(out="exact")
    assert thin["optimizer"]["state"][0]["exp_avg"].dtype == torch.float32
    far = max((thin["model"][key] - exact["model"][key]).abs().max().item() for key in exact["model"])
    assert 0 < far < 1e-6  # of a step of 1e-4


def test_a_damaged_part_is_refused(toy: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert toy("--minutes=0", PARTS, f"--validation={tmp_path / 'photos'}", "--save-every=1") == 0
    assert "photos x2 psnr" in capsys.readouterr().err
    found = sorted((tmp_path / "out").glob("run.tar.part*"))
    assert len(found) > 2
    data = found[1].read_bytes()
    found[1].write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert toy("--minutes=0", PARTS) == 2
    told = capsys.readouterr().err
    assert f"{found[1].name} is damaged" in told
    assert told.count("\n") == 1
    found[1].write_bytes(data)
    assert toy("--minutes=0", PARTS) == 0


def test_weights_without_their_state_are_not_begun_anew(
    toy: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert toy("--minutes=0") == 0
    for path in (tmp_path / "out" / X2 / "checkpoints").iterdir():
        path.unlink()
    assert toy("--minutes=0") == 2
    assert f"{X2} has weights of 1 steps" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--lr=0.5"], "lr was 0.0001, is 0.5"),
        (["--limit-packs=1"], "other training images"),
        (["--overrides=width=4,num_blocks=1"], "had other settings"),
        (["--overrides=widht=4"], "did you mean width?"),
        (["--models=edsr_baselin_x2"], "did you mean"),
        (["--patch-size=999"], "take a smaller patch size"),
        (["--packs=nowhere"], "has no packs"),
    ],
)
def test_a_mistake_is_told_and_leaves_the_state(
    toy: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], sentence: str
) -> None:
    assert toy("--minutes=0") == 0
    capsys.readouterr()
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.*")}
    assert toy(*more) == 2
    assert sentence in capsys.readouterr().err
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.*")} == before


@pytest.mark.slow
def test_a_terminated_process_saves_first_and_the_next_call_goes_on(
    toy: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    long = toy.options("--steps=1000000", f"--models={X2}", PARTS)
    command = [sys.executable, str(FOLDER / "train.py"), *long]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while "step 0 of" not in process.stdout.readline():
            assert process.poll() is None
        time.sleep(1)
        process.terminate()
        assert process.wait(60) == 130
    recipe = train.read_recipe(train.open_run(train.parse_args(long)), X2)
    assert 0 < recipe["steps"] < 1_000_000
    assert toy("--steps=1000000", f"--models={X2}", "--minutes=0", PARTS) == 0
    assert f"step {recipe['steps']} of 1000000" in capsys.readouterr().out


KEYS = ("--model", "--size")


class Commands:
    """Stands in for `run_command`: notes what is run, and does what it is told to."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.minutes: dict[str, float] = {}
        self.does: dict[str, Any] = {}

    def __call__(self, command: list[Any], minutes: float, output: Path | None = None) -> int:
        words = [str(word) for word in command]
        name = "tests" if "pytest" in words else Path(words[0]).parent.name
        if name == "benchmarks":
            name += " " + " ".join([Path(words[0]).stem, *(word for word in words if word.startswith(KEYS))])
        self.ran.append(name)
        self.minutes[name] = minutes
        self.words = words
        does = self.does.get(name, 0)
        if isinstance(does, type):
            raise does
        if does == 0 and output is not None:
            output.write_text('{"speed": 3}')
        if does == 0 and name == "tests":
            xml = next(word for word in words if word.startswith("--junitxml=")).partition("=")[2]
            counts = 'tests="9" errors="1" failures="2" skipped="3"'
            Path(xml).write_text(f"<testsuites><testsuite {counts}/></testsuites>")
        return does


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> Commands:
    commands = Commands()
    monkeypatch.setattr(run_queue, "run_command", commands)
    return commands


UPSCALE = "benchmarks upscale --models=edsr_x4 --size=480x270"
BOTH = "--models=edsr_baseline_x4,edsr_x4"
EVERYTHING = [
    "tests",
    "benchmarks train --model=edsr_baseline_x2",
    "benchmarks train --model=edsr_x2",
    "benchmarks upscale --models=edsr_baseline_x4 --size=480x270",
    UPSCALE,
    f"benchmarks upscale {BOTH} --size=2048x1536",
    f"benchmarks upscale {BOTH} --size=2048x512",
    "gpu",
]


def test_the_queue_runs_what_is_left_and_training_gets_the_rest_of_the_minutes(
    toy: Toy, commands: Commands, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    commands.does[UPSCALE] = run_queue.NoTimeLeft
    queue = toy.options("--minutes=9")
    assert run_queue.main(queue) == 1  # tests failed
    assert commands.ran == EVERYTHING
    assert commands.minutes["tests"] == 3
    assert 8 < commands.minutes["gpu"] <= 9.4
    assert commands.words[-1].startswith("--minutes=8.")
    table = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "done tests 3 passed, 3 failed, 3 skipped" in table
    assert "remains upscale edsr_x4 stopped: out of time" in table
    assert f"remains {X2} not begun" in table
    assert json.loads((tmp_path / "out" / "benchmarks.json").read_text())["train edsr_x2"] == {"speed": 3}

    commands.ran, commands.does = [], {}
    assert run_queue.main([*queue, f"--state={tmp_path / 'out'}", f"--out={tmp_path / 'next'}"]) == 0
    assert commands.ran == [UPSCALE, "gpu"]
    assert files_in(tmp_path / "next") >= {"queue.json", "tests.txt", "benchmarks.json"}
    assert len(json.loads((tmp_path / "next" / "benchmarks.json").read_text())) == len(run_queue.BENCHMARKS)
    commands.ran = []
    assert run_queue.main([*queue, "--again", "--only=tests"]) == 1
    assert commands.ran == ["tests"]


def test_a_part_that_fails_twice_is_left(toy: Toy, commands: Commands, capsys: pytest.CaptureFixture[str]) -> None:
    commands.does = {"tests": 4, UPSCALE: 1}
    queue = toy.options("--only=tests,benchmarks", "--minutes=9")
    assert run_queue.main(queue) == 1
    assert "tests: pytest ended with 4 before it ran a test" in capsys.readouterr().err
    assert run_queue.main(queue) == 1
    commands.ran = []
    assert run_queue.main(queue) == 0
    assert commands.ran == []
    told = capsys.readouterr().out
    assert "failed   tests " in told
    assert "failed   upscale edsr_x4 " in told


def test_a_queue_without_minutes_runs_nothing_and_tells_what_remains(
    toy: Toy, commands: Commands, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_queue.main(toy.options("--minutes=0.1")) == 0
    assert commands.ran == []
    assert capsys.readouterr().out.count("remains") == len(EVERYTHING) + 1


def test_without_pytest_the_queue_goes_on(
    toy: Toy, commands: Commands, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run_queue.importlib.util, "find_spec", lambda name: None)
    assert run_queue.main(toy.options("--minutes=9")) == 0
    assert commands.ran == EVERYTHING[1:]
    assert "tests: left out: pytest is not installed here" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--models=edsr_baselin_x2"], "did you mean"),
        (["--models=edsr_x2", "--overrides=", "--max-total-mib=60"], "edsr_x2 needs"),
    ],
)
def test_a_mistake_in_the_options_of_the_queue_is_told_before_anything_runs(
    toy: Toy, commands: Commands, capsys: pytest.CaptureFixture[str], more: list[str], sentence: str
) -> None:
    assert run_queue.main(toy.options(*more)) == 2
    assert sentence in capsys.readouterr().err
    assert commands.ran == []


def test_a_command_is_stopped_when_its_minutes_are_over(tmp_path: Path) -> None:
    note = tmp_path / "note"
    code = (
        "import signal, sys, time, pathlib\n"
        "def stop(*_):\n    pathlib.Path(sys.argv[1]).write_text('told'); sys.exit()\n"
        "signal.signal(signal.SIGTERM, stop)\nprint('ready', flush=True)\ntime.sleep(60)\n"
    )
    with pytest.raises(run_queue.NoTimeLeft):
        run_queue.run_command(["-c", code, str(note)], 3 / 60, tmp_path / "output")
    assert (tmp_path / "output").read_text() == "ready\n"
    assert note.read_text() == "told"
    assert run_queue.run_command(["-c", "raise SystemExit(3)"], 1) == 3


TOY_TESTS = """
import pytest
@pytest.mark.gpu
def test_works(): pass
@pytest.mark.gpu
def test_fails(): assert False
@pytest.mark.gpu
def test_skips(): pytest.skip("no device")
def test_is_not_marked(): assert False
"""


@pytest.mark.slow
def test_the_whole_queue_at_toy_size(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "test_toy.py").write_text(TOY_TESTS)
    toy_model = "--overrides=width=8,num_blocks=1"
    train_small = ["train.py", toy_model, "--steps=1", "--rounds=1", "--patch-size=8", "--matmul-side=64"]
    upscale_small = [
        "upscale.py",
        toy_model,
        "--models=edsr_baseline_x2",
        "--size=16x16",
        "--tiles=16",
        "--rounds=1",
        "--matmul-side=64",
    ]
    monkeypatch.setattr(run_queue, "BENCHMARKS", {"train": train_small, "upscale": upscale_small})
    queue = toy.options(PARTS, f"--tests={tmp_path / 'test_toy.py'}", "--minutes=9", "--max-total-mib=5")
    assert run_queue.main(queue) == 1
    told = capsys.readouterr().out
    assert "done  tests             1 passed, 1 failed, 1 skipped" in told
    assert f"done  {X4}  4 of 4 steps" in told
    assert "test_fails" in (tmp_path / "out" / "tests.txt").read_text()
    figures = json.loads((tmp_path / "out" / "benchmarks.json").read_text())
    assert figures["train"]["steps_per_second"] > 0
    assert figures["upscale"]["rows"][0]["megapixels_per_second"] > 0
    assert json.loads((tmp_path / "out" / "queue.json").read_text())["tests"]["failed"] == 1
    assert {name.partition(".part")[0] for name in files_in(tmp_path / "out")} == {
        "queue.json", "tests.txt", "benchmarks.json", "run.tar", "run.tar.json"
    }  # fmt: skip
