"""examples/paper: what the scripts write, that nothing finished runs twice, that the page is made of their figures."""

import copy
import importlib
import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

import srzoo
from srzoo.train import Trainer

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "paper"
CLAIMS = (
    *("batch_norm", "residual_scaling", "loss", "self_ensemble", "warm_start", "multi_scale", "width_or_depth"),
)  # fmt: skip
HAS_MATPLOTLIB = importlib.util.find_spec("matplotlib") is not None


@pytest.fixture(scope="module")
def scripts() -> Iterator[dict[str, ModuleType]]:
    """The scripts as modules, importing their neighbours as they do when they are run."""
    names = ("study", *CLAIMS, "page")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        yield {name: importlib.import_module(name) for name in names}
        for name in names:
            del sys.modules[name]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three small images in a folder called `Waves`."""
    from PIL import Image

    rng = torch.Generator().manual_seed(0)
    folder = tmp_path_factory.mktemp("images") / "Waves"
    folder.mkdir()
    for i in range(3):
        small = torch.rand(1, 3, 6, 8, generator=rng)
        smooth = torch.nn.functional.interpolate(small, size=(48, 64), mode="bicubic").clamp(0, 1)[0]
        Image.fromarray((smooth.permute(1, 2, 0) * 255).byte().numpy()).save(folder / f"photo{i}.png")
    return folder


class ToyRuns(dict[str, Any]):
    """Name of a claim -> what its JSON file holds after a toy run, which is made when it is first asked for."""

    def __init__(self, scripts: dict[str, ModuleType], photos: Path, root: Path) -> None:
        super().__init__()
        self.scripts, self.photos, self.root = scripts, photos, root

    def __missing__(self, name: str) -> dict[str, Any]:
        self.scripts[name].main(arguments(name, self.photos, self.root / "out"))
        self[name] = json.loads((self.root / "out" / f"{name}.json").read_text())
        return self[name]


@pytest.fixture(scope="module")
def run(scripts: dict[str, ModuleType], photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ToyRuns]:
    """All claims at toy size."""
    root = tmp_path_factory.mktemp("claims")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SRZOO_RUNS", str(root / "runs"))
        patch.setenv("SRZOO_CACHE", str(root / "cache"))
        yield ToyRuns(scripts, photos, root)


def arguments(name: str, photos: Path, out: Path) -> list[str]:
    return [
        *(["--data", str(photos)] if name not in ("batch_norm", "self_ensemble") else []),
        *(["--validation", str(photos)] if name not in ("batch_norm", "residual_scaling") else []),
        *("-o", str(out), "--toy", "--device", "cpu"),
        *([] if HAS_MATPLOTLIB else ["--no-plot"]),
    ]


@pytest.mark.parametrize("name", CLAIMS)
def test_a_claim_writes_settings_machine_and_results(name: str, run, scripts) -> None:
    found = run[name]
    assert found["claim"] == name
    assert found["toy"] is True
    assert found["machine"]["torch"] == torch.__version__
    assert found["machine"]["device"].startswith("cpu")
    assert found["validation"] == ([] if name in ("batch_norm", "residual_scaling") else ["Waves"])
    assert found["photos"] == (0 if name in ("batch_norm", "self_ensemble") else 3)
    rows = scripts[name].rows(found)
    assert len({len(row) for row in rows}) == 1, "a table is as wide in each row"
    assert len(rows) > len(found["runs"])
    verdict = scripts[name].verdict(found)
    assert verdict.word in {getattr(scripts["study"], word) for word in ("AGREES", "PARTLY", "NOT_SEEN", "DISAGREES")}
    assert verdict.reason.endswith(".")


@pytest.mark.skipif(not HAS_MATPLOTLIB, reason="matplotlib is not installed")
@pytest.mark.parametrize("name", CLAIMS)
def test_a_claim_draws_its_plot(name: str, run) -> None:
    from PIL import Image

    assert run[name]
    with Image.open(run.root / "out" / f"{name}.png") as picture:
        assert picture.width > 600
        assert len(set(picture.convert("L").tobytes())) > 20


def test_the_runs_of_a_claim_are_what_it_compares(run) -> None:
    names = {name: [one["name"] for one in run[name]["runs"] if "name" in one] for name in CLAIMS}
    assert names["batch_norm"] == ["SRResNet", "SRResNet without batch norm", "EDSR-baseline"]
    assert names["loss"] == ["L1, seed 0", "L2, seed 0"]
    rates = ("0.0001", "0.001")
    assert names["residual_scaling"] == [f"{factor} at lr {rate}" for rate in rates for factor in ("0", "0.1", "1")]
    assert names["warm_start"] == [f"{what}, seed 0" for what in ("x2", "x4 from x2", "x4 from scratch")]
    assert names["multi_scale"] == [f"{what}, seed 0" for what in ("x2 alone", "x3 alone", "x4 alone", "x2 x3 x4")]
    steps = [one["steps"] for one in run["multi_scale"]["runs"]]
    assert steps == [4, 4, 4, 12]
    assert [one["steps"] for one in run["warm_start"]["runs"]] == [4, 4, 8]
    widths = [(one["width"], one["blocks"]) for one in run["width_or_depth"]["runs"]]
    assert [width for width, _ in widths] == [4, 2, 1]
    assert widths[0][1] < widths[1][1] < widths[2][1]


def test_networks_of_equal_memory_hold_as_much(run) -> None:
    held = [one["held MiB"] for one in run["width_or_depth"]["runs"]]
    assert max(held) / min(held) < 1.15  # at this size a block of the widest is a large part of all


def test_leaving_out_batch_norm_saves_memory(scripts) -> None:
    lr = torch.rand(1, 3, 12, 12)
    plain, normed = (
        scripts["study"].saved_bytes(srzoo.create_model("srresnet_x4", batch_norm=norm), lr) for norm in (False, True)
    )
    assert 0.1 < 1 - plain / normed < 0.6


def test_held_memory_counts_each_tensor_once_and_no_weights(scripts) -> None:
    model = srzoo.create_model("edsr_baseline_x2", width=8, num_blocks=1)
    one, two = (scripts["study"].saved_bytes(model, torch.rand(batch, 3, 8, 8)) for batch in (1, 2))
    assert two == 2 * one
    blocks = [
        scripts["study"].saved_bytes(
            srzoo.create_model("edsr_baseline_x2", width=8, num_blocks=count), torch.rand(1, 3, 8, 8)
        )
        for count in (1, 2)
    ]
    assert blocks[1] - blocks[0] == 2 * 8 * 8 * 8 * 4  # a block holds what goes into its two convolutions


def test_the_ensembles_scores_are_those_of_the_library(run, photos) -> None:
    from srzoo.benchmark import mean_psnr
    from srzoo.data import pairs_from_hr
    from srzoo.tta import SelfEnsemble

    [found] = run["self_ensemble"]["runs"]
    model = srzoo.create_model("edsr_baseline_x2", pretrained=True).eval()
    pairs = pairs_from_hr(photos, 2)[: found["images"]]
    assert found["psnr"]["8"] == pytest.approx(mean_psnr(srzoo.evaluate(SelfEnsemble(model), pairs)), abs=2e-3)


def test_what_is_finished_does_not_run_again(run, scripts, photos, monkeypatch) -> None:
    done = {name: run[name] for name in ("loss", "warm_start", "multi_scale")}

    def fit(trainer: Trainer) -> None:
        raise AssertionError("it trains again")

    monkeypatch.setattr(Trainer, "fit", fit)
    out = run.root / "again"
    for name in done:
        scripts[name].main([*arguments(name, photos, out), "--no-plot"])
        assert json.loads((out / f"{name}.json").read_text()) == done[name]
    with pytest.raises(AssertionError, match="trains again"):
        scripts["loss"].main([*arguments("loss", photos, out), "--no-plot", "--steps", "5"])


def test_other_images_and_other_weights_are_measured_anew(run, scripts, photos, tmp_path, monkeypatch) -> None:
    import shutil
    from dataclasses import replace

    study = scripts["study"]
    folders = [tmp_path / "a" / "Waves", tmp_path / "b" / "Waves"]
    for folder in folders:
        shutil.copytree(photos, folder)
    first, copied = (study.Study("loss", {"steps": 1}, folder, [folder]).folder for folder in folders)
    assert first == copied
    shutil.copy(folders[1] / "photo0.png", folders[1] / "photo1.png")
    for data, validation in ((folders[1], [folders[0]]), (folders[0], [folders[1]])):
        assert study.Study("loss", {"steps": 1}, data, validation).folder != first

    script = scripts["self_ensemble"]
    [old] = run["self_ensemble"]["runs"]
    info = srzoo.model_info("edsr_baseline_x2")
    replaced = replace(info, weights=(replace(info.weights[0], sha256="0" * 64),))
    monkeypatch.setattr(script.srzoo, "model_info", lambda name: replaced)
    monkeypatch.setattr(script, "score", lambda model, pair: dict.fromkeys(script.GROUPS, 12.5))
    script.main([*arguments("self_ensemble", photos, tmp_path / "out"), "--no-plot"])
    [new] = json.loads((tmp_path / "out/self_ensemble.json").read_text())["runs"]
    assert old["model"] == new["model"] == f"edsr_baseline_x2.{info.weights[0].tag}"
    assert new["psnr"]["8"] == 12.5 != old["psnr"]["8"]


@pytest.fixture
def lost(scripts, photos, tmp_path, monkeypatch):
    """Trains a network of infinite weights, with sets to score or without."""
    monkeypatch.setenv("SRZOO_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("SRZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("srzoo.train.loss_watch.MOST_DROPPED", 3)

    def make() -> srzoo.SRModel:
        model = srzoo.create_model("edsr_x2", width=4, num_blocks=1)
        with torch.no_grad():
            next(model.parameters()).fill_(float("inf"))
        return model

    def train(validation: list[Path]) -> dict[str, Any]:
        settings = {"steps": 9, "batch_size": 1, "patch_size": 12, "lr": 1e-4}
        study = scripts["study"].Study("residual_scaling", settings, photos, validation, "cpu")
        log = scripts["residual_scaling"].WithGradients
        return study.train("1", make, 0, log=log, clip_norm=None, ema_decay=None, log_every=1, validate_every=9)

    return train


def test_a_run_that_diverges_for_good_is_a_result(lost, scripts) -> None:
    one = lost([])
    assert one["diverged"]
    assert one["steps"] == 3
    assert scripts["residual_scaling"].facts(one)["dropped"] == 2  # the third ends the run before it is logged
    assert scripts["residual_scaling"].diverged(one)
    assert scripts["residual_scaling"].diverged({"diverged": True, "losses": []})


def test_a_run_that_is_to_be_scored_must_not_diverge(lost, photos) -> None:
    with pytest.raises(ValueError, match="3 updates were dropped"):
        lost([photos])


def test_a_jump_is_a_gradient_far_above_those_before_or_none(scripts) -> None:
    for last, jumps in ((0.0, 0), (1.9, 0), (2.1, 1), (None, 1)):
        rows = [{"step": i + 1, "loss": 1.0, "gradient": 1.0} for i in range(10)]
        rows.append({"step": 11, "loss": 1.0, "gradient": last})
        assert scripts["residual_scaling"].facts({"losses": rows})["jumps"] == jumps


def test_a_killed_run_goes_on_where_it_was(scripts, photos, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("SRZOO_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("SRZOO_CACHE", str(tmp_path / "cache"))
    whole, steps = Trainer.train_step, []

    def step(trainer: Trainer, batch: object):
        steps.append((type(trainer.loss).__name__, trainer.step))
        if steps[-1] == ("MSE", 2) and len(steps) == 7:
            raise KeyboardInterrupt
        return whole(trainer, batch)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(Trainer, "train_step", step)
    command = [*arguments("loss", photos, tmp_path / "out"), "--no-plot"]
    with pytest.raises(KeyboardInterrupt):
        scripts["loss"].main(command)
    assert not (tmp_path / "out/loss.json").exists()
    scripts["loss"].main(command)
    assert [at for name, at in steps if name == "L1"] == [0, 1, 2, 3]
    assert [at for name, at in steps if name == "MSE"] == [0, 1, 2, 2, 3]
    assert len(json.loads((tmp_path / "out/loss.json").read_text())["runs"]) == 2


def test_the_gradients_of_each_step_are_logged(run) -> None:
    for one in run["residual_scaling"]["runs"]:
        assert [row["step"] for row in one["losses"]] == [1, 2, 3, 4]
        assert all(row["gradient"] > 0 for row in one["losses"])


def test_claims_that_train_ask_for_photos(scripts, photos, capsys) -> None:
    with pytest.raises(SystemExit):
        scripts["loss"].main(["--validation", str(photos), "--no-plot"])
    assert "--data" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        scripts["self_ensemble"].main(["--no-plot"])
    assert "--validation" in capsys.readouterr().err


# The verdicts


def turned(found: dict, change) -> dict:
    found = copy.deepcopy(found)
    change(found)
    return found


def test_the_verdict_on_a_loss_follows_the_scores(run, scripts) -> None:
    study, loss = scripts["study"], scripts["loss"]
    for gain, word in ((0.05, study.AGREES), (0.012, study.NOT_SEEN), (-0.05, study.DISAGREES)):

        def set_scores(found: dict, gain=gain) -> None:
            for one in found["runs"]:
                one["psnr"]["Waves"]["x2"] = 30 + gain * one["name"].startswith("L1")

        verdict = loss.verdict(turned(run["loss"], set_scores))
        assert verdict.word == word
        assert f"{gain:+.2f}" in verdict.reason


def test_the_verdict_on_scaling_follows_what_diverges(run, scripts) -> None:
    study, scaling = scripts["study"], scripts["residual_scaling"]
    cases = (((), study.NOT_SEEN), (("1",), study.AGREES), (("0.1",), study.DISAGREES), (("0.1", "1"), study.NOT_SEEN))
    for lost, word in cases:

        def diverge(found: dict, lost=lost) -> None:
            for one in found["runs"]:
                gone = one["name"].split()[0] in lost
                for row in one["losses"]:
                    row["loss"] = row["step"] if gone else 1 / row["step"]

        assert scaling.verdict(turned(run["residual_scaling"], diverge)).word == word


def test_an_update_that_is_not_finite_counts_as_divergence(run, scripts) -> None:
    one = copy.deepcopy(run["residual_scaling"]["runs"][0])
    one["losses"] = [{"step": 1, "loss": 1.0, "gradient": 1.0}, {"step": 2, "gradient": None, "skipped": 1}]
    assert scripts["residual_scaling"].diverged(one)
    assert not scripts["residual_scaling"].diverged({"losses": one["losses"][:1]})


def test_the_verdict_on_memory_needs_most_of_what_the_paper_saves(run, scripts) -> None:
    study = scripts["study"]
    cases = ((62, 40, study.AGREES), (75, 40, study.PARTLY), (75, 90, study.DISAGREES), (101, 40, study.DISAGREES))
    for held, edsr, word in cases:

        def set_held(found: dict, held=(100.0, float(held), float(edsr))) -> None:
            for one, mib in zip(found["runs"], held, strict=True):
                one["held"] = {"fp32": mib}

        verdict = scripts["batch_norm"].verdict(turned(run["batch_norm"], set_held))
        assert verdict.word == word
        assert f"{100 - held}%" in verdict.reason


def test_multi_scale_agrees_if_it_is_nowhere_below(run, scripts) -> None:
    study = scripts["study"]
    for gains, word in (((0, 0, 0), study.AGREES), ((0.3, 0, -0.1), study.NOT_SEEN), ((-1, -1, -1), study.DISAGREES)):

        def set_scores(found: dict, gains=gains) -> None:
            for one in found["runs"]:
                for scale, gain in zip(("x2", "x3", "x4"), gains, strict=True):
                    if scale in one["psnr"]["Waves"]:
                        one["psnr"]["Waves"][scale] = 30.0 + gain * one["name"].startswith("x2 x3")

        assert scripts["multi_scale"].verdict(turned(run["multi_scale"], set_scores)).word == word


def test_time_is_compared_between_validations(scripts) -> None:
    one = {"curves": {"x2": {"step": [1, 2], "seconds": [10.0, 20.0], "dB": [30.0, 31.0]}}}
    assert [scripts["width_or_depth"].at_seconds(one, at) for at in (5, 15, 20, 30)] == [30.0, 30.5, 31.0, 31.0]


def test_no_number_becomes_null(scripts, tmp_path) -> None:
    scripts["study"].write_json(tmp_path / "a.json", {"psnr": float("nan"), "loss": float("inf"), "step": 1})
    assert json.loads((tmp_path / "a.json").read_text()) == {"psnr": None, "loss": None, "step": 1}


# The page


@pytest.fixture
def assets(run, tmp_path) -> Path:
    """The files of all claims, as those of runs that are no toys."""
    folder = tmp_path / "docs/assets/paper"
    folder.mkdir(parents=True)
    for name in CLAIMS:
        (folder / f"{name}.json").write_text(json.dumps({**run[name], "toy": False}))
    return folder


def test_the_page_is_made_of_the_figures(run, scripts, assets) -> None:
    page = assets.parents[1] / "paper/claims.md"
    call = ["--assets", str(assets), "--page", str(page)]
    assert scripts["page"].main([*call, "--check"]) == 1
    assert scripts["page"].main(call) == 0
    assert scripts["page"].main([*call, "--check"]) == 0
    text = page.read_text()
    for name in CLAIMS:
        script, found = scripts[name], run[name]
        assert f"## {script.TITLE}" in text
        assert script.PAPER in text
        assert f"The rule: {script.RULE}." in text
        assert script.verdict(found).reason in text
        assert f"](../assets/paper/{name}.png)" in text
        for row in script.rows(found):
            assert "| " + " | ".join(row) + " |" in text
    assert "Not measured yet" not in text
    found = {**run["loss"], "toy": False}
    found["runs"] = [{**one, "psnr": {"Waves": {"x2": 12.34}}} for one in found["runs"]]
    (assets / "loss.json").write_text(json.dumps(found))
    assert scripts["page"].main([*call, "--check"]) == 1
    assert "12.34" not in text
    assert "12.34" in scripts["page"].make_page(assets, page)


def test_the_page_names_what_is_not_measured_and_takes_no_toys(run, scripts, assets) -> None:
    (assets / "loss.json").unlink()
    text = scripts["page"].make_page(assets, assets.parents[1] / "paper/claims.md")
    assert "Not measured yet: L1 or L2 loss." in text
    assert "## L1 or L2 loss" not in text
    (assets / "loss.json").write_text(json.dumps(run["loss"]))
    with pytest.raises(SystemExit, match="toy"):
        scripts["page"].make_page(assets, assets.parents[1] / "paper/claims.md")


def test_the_commands_on_the_page_are_those_that_were_run(run, scripts) -> None:
    words = scripts["page"].command({**run["loss"], "settings": {"steps": 800, "batch_size": 4, "lr": 1e-3}})
    assert words == (
        "python examples/paper/loss.py --data photos/ --validation Waves/HR --steps 800 --batch-size 4 --lr 0.001"
    )


def test_the_page_of_the_documentation_is_up_to_date(scripts) -> None:
    assert scripts["page"].main(["--check"]) == 0
