import argparse
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import srzoo
from srzoo.cli import convert
from srzoo.convert import save_edsr_pytorch, to_edsr_pytorch
from srzoo.weights import Header, file_sha256

SMALL = dict(width=4, num_blocks=2)


def run(*words: object) -> int:
    """The subcommand, as the command line calls it."""
    parser = argparse.ArgumentParser()
    convert.add(parser.add_subparsers())
    args = parser.parse_args(["convert", *map(str, words)])
    return args.run(args)


@pytest.fixture
def official(tmp_path: Path) -> Path:
    """A checkpoint in EDSR-PyTorch's layout."""
    save_edsr_pytorch(srzoo.create_model("edsr_baseline_x2", **SMALL), tmp_path / "edsr.pt")
    return tmp_path / "edsr.pt"


def test_a_checkpoint_becomes_a_weight_file_that_says_where_it_is_from(official: Path, tmp_path: Path) -> None:
    out = tmp_path / "ours.safetensors"
    assert run(official, "-o", out, "--license", "CC0-1.0", "--source", "me, on noise", "--set", "res_scale=0.5") == 0
    header = srzoo.read_header(out)
    assert (header.model, header.license) == ("edsr_baseline_x2", "CC0-1.0")
    assert header.source.startswith("me, on noise; converted by srzoo ")
    assert header.source.endswith(f"from edsr.pt of EDSR-PyTorch, sha256 {file_sha256(official)}")
    assert header.recipe["converted"]["sha256"] == file_sha256(official)
    model = srzoo.load_model(out)
    assert model.arguments["res_scale"] == 0.5
    assert torch.equal(model.state_dict()["tail.weight"], torch.load(official, weights_only=True)["tail.1.weight"])


def test_what_was_recognised_is_printed(official: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = {f"module.{key}": value.half() for key, value in torch.load(official, weights_only=True).items()}
    torch.save({"params": {}, "params_ema": state}, tmp_path / "net.pth")
    assert run(tmp_path / "net.pth", "-o", tmp_path / "a.safetensors") == 0
    told = capsys.readouterr()
    for part in (
        "project    EDSR-PyTorch",
        "inside     params_ema > module.",
        "not used   params",
        "model      edsr_baseline_x2, 1,555 parameters (channels 3, width 4, num_blocks 2, res_scale 1.0)",
        "tensors    float16; written as float32",
        "range      0..255, as here",
        "dB from bicubic on a smooth image; 30 dB or more does not prove the range or the channel order",
        "res_scale  1; tensors do not tell it",
        "licence    not recorded",
    ):
        assert part in told.out
    assert "dB near bicubic" in told.err  # the network is not trained
    assert run(tmp_path / "net.pth", "-o", tmp_path / "b.safetensors", "--quiet") == 0
    quiet = capsys.readouterr()
    assert (quiet.out, quiet.err) == ("", told.err)


def test_a_range_that_is_assumed_is_told(official: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parts = {"head.0.": "conv_first.", "tail.1.": "conv_last.", ".body.0.": ".conv1.", ".body.2.": ".conv2."}
    path, out = tmp_path / "net_g.pth", tmp_path / "a.safetensors"
    for upsampler, words, told in (
        ("upsample.0.", [], "range      0..255, assumed; the file does not say; as here\n"),  # BasicSR
        ("upsample.0.", ["--range", 255], "range      0..255, as here\n"),
        ("upsample.0.upsample_conv.", [], "range      0..1, assumed; the file does not say; every bias times 255\n"),
        ("upsample.0.upsample_conv.", ["--range", 1], "range      0..1, every bias times 255\n"),
    ):
        state = {}
        for key, value in torch.load(official, weights_only=True).items():
            for old, new in {**parts, "body.2.": "conv_after_body.", "tail.0.0.": upsampler}.items():
                key = key.replace(old, new)
            state |= {key: value} if "mean" not in key else {}
        torch.save(state, path)
        assert run(path, "-o", out, "--overwrite", *words) == 0
        assert told in capsys.readouterr().out


def test_names_in_a_file_cannot_steer_the_terminal(
    official: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = {"params": torch.load(official, weights_only=True), "\x1b[2J\nmodel fake": 1}
    torch.save(content, tmp_path / "net.pth")
    assert run(tmp_path / "net.pth", "-o", tmp_path / "a.safetensors") == 0
    told = capsys.readouterr().out
    assert "not used   \\x1b[2J\\nmodel fake\n" in told
    assert "\x1b" not in told


def test_json_has_the_same(official: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "ours.safetensors"
    assert run(official, "-o", out, "--json", "--from", "torchsr", "--range", 255) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["project"], told["image_range"], told["wrapper"]) == ("torchsr", 255, [])
    assert told["range_assumed"] is False
    assert (told["sha256"], told["output"]) == (file_sha256(official), str(out))
    assert told["model"] == "edsr_baseline_x2"
    assert "scale" not in told["arguments"]
    assert len(told["warnings"]) == 1


def test_an_output_that_exists_is_kept_unless_it_may_go(official: Path, tmp_path: Path) -> None:
    out = tmp_path / "ours.safetensors"
    out.write_text("mine")
    with pytest.raises(FileExistsError, match="exists; --overwrite replaces it"):
        run(official, "-o", out)
    assert out.read_text() == "mine"
    assert run(official, "-o", out, "--overwrite") == 0
    assert srzoo.load_model(out).scales == (2,)


def test_a_refused_checkpoint_leaves_nothing(tmp_path: Path) -> None:
    torch.save({"conv_first.weight": torch.zeros(1), "conv_hr.weight": torch.zeros(1)}, tmp_path / "net.pth")
    with pytest.raises(ValueError, match="MSRResNet"):
        run(tmp_path / "net.pth", "-o", tmp_path / "ours.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["net.pth"]


@pytest.mark.parametrize("words", [[], ["--to", "edsr-pytorch"]])
def test_a_write_that_fails_leaves_the_old_file(
    words: list[str], official: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = official
    if words:
        source = tmp_path / "ours.safetensors"
        srzoo.save_model(srzoo.create_model("edsr_baseline_x2", **SMALL), source)
    out = tmp_path / ("out.pt" if words else "out.safetensors")
    out.write_text("old")

    def fail(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("srzoo.weights.save_file", fail)
    monkeypatch.setattr("torch.save", fail)
    with pytest.raises(OSError, match="disk full"):
        run(source, "-o", out, "--overwrite", *words)
    assert out.read_text() == "old"
    assert not list(tmp_path.glob(".srzoo-*"))


@pytest.mark.parametrize(
    ("words", "error", "told"),
    [
        (lambda p: [p / "edsr.pt", "-o", p / "out.pt"], ValueError, r"does not end in \.safetensors"),
        (lambda p: [p / "edsr.pt", "-o", p / "no" / "out.safetensors"], FileNotFoundError, "create it first"),
        (lambda p: ["", "-o", p / "out.safetensors"], ValueError, "SRC is empty; was a variable not set"),
        (lambda p: ["", "-o", p / "out.pt", "--to", "edsr-pytorch"], ValueError, "SRC is empty"),
        (lambda p: [p / "edsr.pt", "-o", ""], ValueError, "--output is empty; was a variable not set"),
        (lambda p: [p, "-o", p / "out.safetensors"], ValueError, "is a folder; give a checkpoint in it"),
        (lambda p: [p / "no.pt", "-o", p / "out.safetensors"], FileNotFoundError, r"no\.pt does not exist"),
        (lambda p: [p / "a.safetensors", "-o", p / "a.safetensors", "--overwrite"], ValueError, "the file to convert"),
        (lambda p: [p / "a.safetensors", "-o", p / "b.safetensors"], ValueError, "a weight file of srzoo's already"),
        (lambda p: [p / "edsr.pt", "-o", p / "b.safetensors", "--set", "res_scale"], ValueError, "is not KEY=VALUE"),
        (lambda p: [p / "edsr.pt", "-o", p / "b.safetensors", "--set", "height=2"], TypeError, "takes no argument"),
        (lambda p: [p / "edsr.pt", "-o", p / "b.safetensors", "--model", "edsr_x9"], ValueError, "unknown model"),
        (lambda p: ["edsr_x2", "-o", p / "b.safetensors", "--to", "edsr-pytorch"], ValueError, r"end in \.pt or \.pth"),
        (lambda p: ["bicubic_x2", "-o", p / "b.pt", "--to", "edsr-pytorch"], ValueError, "neither EDSR nor MDSR"),
        (lambda p: [p / "edsr.pt", "-o", p / "b.pt", "--to", "edsr-pytorch"], ValueError, "no weight file of srzoo's"),
        (
            lambda p: [p / "a.safetensors", "-o", p / "b.pt", "--to", "edsr-pytorch", "--license", "MIT"],
            ValueError,
            "--license does not go with --to",
        ),
    ],
)
def test_mistakes_are_told(words: Callable, error: type, told: str, official: Path, tmp_path: Path) -> None:
    srzoo.save_model(srzoo.create_model("edsr_baseline_x2", **SMALL), tmp_path / "a.safetensors")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(error, match=told):
        run(*words(tmp_path))
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("name", ["edsr_baseline_x3", "mdsr_baseline"])
def test_there_and_back_is_bit_equal(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = srzoo.create_model(name, **SMALL)
    ours, theirs, again = tmp_path / "ours.safetensors", tmp_path / "theirs.pt", tmp_path / "again.safetensors"
    srzoo.save_model(model, ours, dtype=torch.float16, header=Header(model="", license="CC0-1.0"))
    assert run(ours, "-o", theirs, "--to", "edsr-pytorch") == 0
    told = capsys.readouterr().out
    assert "licence    CC0-1.0; the new file cannot say so" in told
    assert f"use        main.py --model {name[:4].upper()} --scale " in told
    assert run(theirs, "-o", again, "--quiet") == 0
    loaded, back = srzoo.load_model(ours), srzoo.load_model(again)
    assert dict(back.arguments) == dict(loaded.arguments)
    assert all(torch.equal(value, back.state_dict()[key]) for key, value in loaded.state_dict().items())
    assert back.state_dict()["head.weight"].dtype == torch.float32


def test_a_model_of_the_zoo_goes_by_its_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("edsr_baseline_x2.photos", "-o", tmp_path / "b.pt", "--to", "edsr-pytorch", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["license"] == "CC-BY-SA-4.0"
    assert told["options"].startswith("--model EDSR --scale 2 --n_resblocks 16 --n_feats 64")
    written = torch.load(tmp_path / "b.pt", weights_only=True)
    expected = to_edsr_pytorch(srzoo.create_model("edsr_baseline_x2.photos"))
    assert all(torch.equal(written[key], expected[key]) for key in expected)


@pytest.mark.parametrize(("file", "model"), [("srcnn_955_x3.mat", "srcnn_x3"), ("vdsr_official.mat", "vdsr")])
def test_the_authors_matlab_files(
    file: str, model: str, data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "ours.safetensors"
    assert run(data_dir / "weights" / file, "-o", out) == 0
    told = capsys.readouterr()
    assert "project    authors' MATLAB file" in told.out
    assert told.err == ""  # near bicubic, as trained networks are
    assert srzoo.read_header(out).source.partition(" from ")[2].startswith(f"{file} of the authors, sha256 ")
    assert srzoo.load_model(out).name == model


def test_matlab_files_take_no_project_or_range_and_a_name_tells_the_scale(data_dir: Path, tmp_path: Path) -> None:
    unnamed, out = tmp_path / "srcnn.mat", tmp_path / "ours.safetensors"
    unnamed.write_bytes((data_dir / "weights" / "srcnn_955_x4.mat").read_bytes())
    for words in (["--from", "basicsr"], ["--range", "255"]):
        with pytest.raises(ValueError, match=r"is a \.mat file"):
            run(unnamed, "-o", out, *words)
    with pytest.raises(ValueError, match="--model srcnn_x3"):
        run(unnamed, "-o", out)
    assert run(unnamed, "-o", out, "--model", "srcnn_x4", "--quiet") == 0
    assert srzoo.load_model(out).name == "srcnn_x4"
