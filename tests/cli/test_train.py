"""`srzoo train` as a user calls it."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageOps

import srzoo
from srzoo.cli import main
from srzoo.train import RECIPES

SMALL = ["--set", "width=4", "--set", "num_blocks=1"]
TOY = ["--batch-size", "2", "--patch-size", "8", "--device", "cpu"]


@pytest.fixture(autouse=True)
def _cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SRZOO_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def train(photo_folder: Path, tmp_path: Path):
    """Run `srzoo train` on a small model and give the exit code."""

    def call(*more: str, model: str = "edsr_baseline_x2", run: str = "run", small: bool = True) -> int:
        command = ["train", "--model", model, "--data", str(photo_folder), "--run", str(tmp_path / run)]
        return main([*command, *(SMALL if small else []), *TOY, *more])

    return call


def sentence(capsys: pytest.CaptureFixture[str]) -> str:
    """What was told on standard error, which must be one line of ours."""
    [*_, line] = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("srzoo: ")
    return line


def result(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--model", "edsr_baseline_x2", "--data", "TMP/none"], "TMP/none is not a folder"),
        (["--model", "edsr_baseline_x2", "--data", "TMP/empty", "--steps", "0"], "steps is 0"),
        (["--model", "edsr_baseline_x2", "--data", "TMP", "--set", "widht=3"], "did you mean width"),
        (["--model", "edsr_baseline_x2", "--data", "TMP", "--halve-every", "5"], "--halve-every does not go with"),
        (["--model", "edsr_baseline_x2", "--data", "TMP", "--schedule", "constant", "--warmup", "5"], "--warmup does"),
        (["--model", "bicubic_x2", "--data", "TMP/none"], "TMP/none is not a folder"),
        (["--model", "edsr_baseline_x2", "--data", "TMP", "--seed", "-1"], "seed is -1"),
        (["--model", "edsr_baseline_x2", "--data", "TMP", "--scores", "TMP"], "Is a directory"),
        (["--model", "edsr_baseline_x2", "--data", "TMP", "--set", "width"], "is not KEY=VALUE"),
        (["--model", "edsr_baseline_x2", "--data", "TMP", "--optimizer", "adamm"], "--optimizer is 'adamm'; there"),
        (["--model", "edsr_baseline_x2", "--data", "TMP", "--data-share", "1", "--data-share", "2"], "1 --data and 2"),
        (["--model", "edsr_baseline_x2", "--data", "TMP", "--accumulate", "99"], "accumulate is 99"),
        (["--model", "edsr_baseline_x2", "--pretrained", "--init", "edsr_baseline_x3", "--data", "TMP"], "two starts"),
        (["--model", "edsr_baseline_x2", "--data", "TMP", "--recipe", "vdsr"], "the recipe vdsr is for vdsr; for edsr"),
        (["--model", "edsr_baseline_x2", "--data", "TMP", "--loss", "luma-l1"], "makes the colours too"),
        (["--model", "edsr_baseline_x8", "--pretrained", "--data", "TMP"], "no pretrained weights"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_in_one_sentence_and_nothing_is_written(
    arguments: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    before = sorted(tmp_path.rglob("*"))
    values = [value.replace("TMP", str(tmp_path)) for value in arguments]
    assert main(["train", *values]) == 2
    assert told.replace("TMP", str(tmp_path)) in sentence(capsys)
    assert sorted(tmp_path.rglob("*")) == before


def test_an_unknown_option_is_answered_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["train", "--model", "edsr_baseline_x2", "--data", "photos", "--stepz", "5"])
    assert "unrecognized arguments: --stepz 5; did you mean --steps?" in capsys.readouterr().err


def test_a_run_leaves_a_folder_with_everything(
    train, tmp_path: Path, photo_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    validation = tmp_path / "val"
    validation.mkdir()
    (photo_folder / "photo0.png").rename(validation / "photo0.png")
    assert train("--steps", "3", "--validation", str(validation), "--json") == 0
    told = result(capsys)
    assert told["steps"] == told["of"] == 3
    assert told["scores"]["val"]["x2"]["psnr"] > 5
    run = tmp_path / "run"
    names = {path.name for path in run.iterdir()}
    assert names >= {"model.safetensors", "log.jsonl", "curves.png", "samples", "summary.md", "checkpoints"}
    header = srzoo.read_header(told["weights"])
    assert header.recipe["config"]["steps"] == 3
    assert header.recipe["before"] == told["before"]
    assert header.recipe["start"] == "random weights"
    assert header.metrics["val"]["x2"]["protocol"] == "Y, 8-bit, border 2"
    assert f"srzoo upscale photo.png --model {run}" in (run / "summary.md").read_text()
    assert srzoo.load_model(told["weights"]).name == "edsr_baseline_x2"


def test_the_folder_of_a_run_is_a_model_to_upscale_with_and_to_train_further(
    train, tmp_path: Path, photo_folder: Path
) -> None:
    assert train("--steps", "1", "--quiet") == 0
    photo = photo_folder / "photo0.png"
    run = str(tmp_path / "run")
    assert main(["upscale", str(photo), "--model", run, "-o", str(tmp_path / "large.png")]) == 0
    with Image.open(tmp_path / "large.png") as image:
        assert image.size == (128, 96)
    assert train("--steps", "1", "--quiet", model=run, run="further", small=False) == 0
    header = srzoo.read_header(tmp_path / "further/model.safetensors")
    content = srzoo.read_header(f"{run}/model.safetensors").content[:8]
    assert header.recipe["start"] == f"the weights edsr_baseline_x2, content {content}"  # and no path of this machine
    assert header.arguments["width"] == 4


def test_a_run_is_not_written_over_but_resumed(train, capsys: pytest.CaptureFixture[str]) -> None:
    assert train("--steps", "4", "--minutes", "0", "--quiet") == 0
    assert "go on with the same command and --resume" in capsys.readouterr().out
    assert train("--steps", "4") == 2
    assert "has a run already; give --resume" in sentence(capsys)
    assert train("--steps", "4", "--resume", "--json") == 0
    assert result(capsys)["steps"] == 4


def test_a_resumed_run_with_another_setting_is_refused(train, capsys: pytest.CaptureFixture[str]) -> None:
    assert train("--steps", "4", "--minutes", "0", "--quiet") == 0
    assert train("--steps", "4", "--resume", "--lr", "0.5") == 2
    assert "lr was 0.0004, is 0.5" in sentence(capsys)


def test_one_scale_starts_from_another_and_mdsr_from_several(
    train, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="srzoo")
    assert train("--steps", "1", "--quiet", run="x2") == 0
    assert train("--steps", "1", "--quiet", "--init", str(tmp_path / "x2"), model="edsr_baseline_x3", run="x3") == 0
    assert "10 copied, 0 adapted, 2 fresh" in caplog.text
    both = ["--init", str(tmp_path / "x2"), "--init", str(tmp_path / "x3")]
    assert train("--steps", "1", "--quiet", *both, model="mdsr_baseline", run="mdsr") == 0
    header = srzoo.read_header(tmp_path / "mdsr/model.safetensors")
    two, three = (srzoo.read_header(tmp_path / run / "model.safetensors").content[:8] for run in ("x2", "x3"))
    told = f"parts of edsr_baseline_x2, content {two} and edsr_baseline_x3, content {three}"
    assert header.recipe["start"] == told
    assert set(header.metrics["held-out"]) == {"x2", "x3", "x4"}


def test_pretrained_rgb_weights_start_a_grey_model_and_keep_their_licence(train, tmp_path: Path) -> None:
    more = ["--pretrained", "--set", "channels=1", "--steps", "1", "--quiet", "--freeze", "body", "--validation", "0"]
    assert train(*more, small=False) == 0
    header = srzoo.read_header(tmp_path / "run/model.safetensors")
    assert header.arguments["channels"] == 1
    assert header.license == "CC-BY-SA-4.0"
    assert header.recipe["start"] == "the weights edsr_baseline_x2.photos"
    start = srzoo.create_model("edsr_baseline_x2", pretrained=True).state_dict()
    trained = srzoo.load_model(tmp_path / "run/model.safetensors").state_dict()
    assert trained["body.3.conv1.weight"].equal(start["body.3.conv1.weight"])
    assert not trained["upsample.0.weight"].equal(start["upsample.0.weight"])


def test_images_are_drawn_by_score(train, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scores = tmp_path / "scores.csv"
    scores.write_text("file,score\nphoto0.png,1\n")
    assert train("--steps", "1", "--scores", str(scores)) == 2
    assert "photo1.png, photo2.png" in sentence(capsys)
    scores.write_text("file,score\n" + "".join(f"photo{i}.png,{i + 1}\n" for i in range(6)))
    assert train("--steps", "1", "--scores", str(scores), "--quiet") == 0


def test_paired_folders_and_shares(train, photo_folder: Path, tmp_path: Path) -> None:
    lr = tmp_path / "lr"
    lr.mkdir()
    for path in photo_folder.iterdir():
        with Image.open(path) as image:
            image.resize((image.width // 2, image.height // 2)).save(lr / path.name)
    for folder, other in ((photo_folder, tmp_path / "other"), (lr, tmp_path / "other-lr")):
        other.mkdir()
        for path in folder.iterdir():
            with Image.open(path) as image:
                ImageOps.mirror(image).save(other / path.name)
    again = ["--data", str(tmp_path / "other"), "--data-lr", str(lr), "--data-lr", str(tmp_path / "other-lr")]
    shares = ["--data-share", "3", "--data-share", "1"]
    assert train("--steps", "1", "--quiet", *again, *shares) == 0
    assert srzoo.read_header(tmp_path / "run/model.safetensors").recipe["data"]


@pytest.mark.parametrize("name", ["blur", "noise", "jpeg", "photo", "unknown"])
def test_each_degradation_trains(name: str, train, photo_folder: Path, tmp_path: Path) -> None:
    for path in photo_folder.iterdir():
        with Image.open(path) as image:
            image.resize((100, 100)).save(path)
    assert train("--steps", "1", "--quiet", "--degradation", name, "--patch-size", "4") == 0
    header = srzoo.read_header(tmp_path / "run/model.safetensors")
    assert header.metrics["held-out"]["x2"]["psnr"] > 5


def test_a_dry_run_writes_nothing_and_tells_time_and_memory(
    train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("--steps", "100", "--dry-run", "--json") == 0
    told = result(capsys)
    assert told["images"] == 5
    assert told["validation"] == {"held-out": 1}
    assert told["hours"] == pytest.approx(100 / told["steps_per_second"] / 3600)
    assert told["memory_mib"] > 10
    assert not (tmp_path / "run").exists()
    assert train("--steps", "100", "--dry-run") == 0
    assert "nothing was written" in capsys.readouterr().out


def test_recipes_are_listed_and_give_the_settings(train, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["train", "--list-recipes"])
    listed = capsys.readouterr().out
    assert all(f"{name}: " in listed for name in RECIPES)
    assert train("--recipe", "edsr_baseline", "--steps", "2", "--quiet") == 0
    config = srzoo.read_header(tmp_path / "run/model.safetensors").recipe["config"]
    assert config["lr"] == 1e-4
    assert config["schedule"] == {"kind": "Halving", "every": 200_000}
    assert config["steps"] == 2


def test_a_model_with_nothing_to_train_is_refused(train, capsys: pytest.CaptureFixture[str]) -> None:
    assert train("--steps", "1", model="bicubic_x2", small=False) == 2
    assert "bicubic_x2 has no parameters to train" in sentence(capsys)
