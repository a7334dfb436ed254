"""scripts/release_weights.py: one command from a run's weights to a file that ships."""

import ast
import importlib.util
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch

import srzoo
from srzoo.architecture import Weights
from srzoo.weights import Header, file_sha256

ROOT = Path(__file__).parents[2]
ROW = Weights(
    model="edsr_baseline_x2", tag="a", file="a.safetensors", sha256="0" * 64, license="CC0-1.0", source='a "b"',
    metrics={"Set5": {"x2": 37.5}, "Set14": {"x2": 33.0}},
)  # fmt: skip


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("release_weights", ROOT / "scripts" / "release_weights.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    before = list(sys.path)
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path[:] = before
    return module


@pytest.fixture
def root(script: ModuleType, tmp_path: Path) -> Path:
    """A repository with a folder of models, of pictures and of bundled files."""
    root = tmp_path / "repository"
    (root / "srzoo" / "models").mkdir(parents=True)
    (root / "srzoo" / "pretrained").mkdir()
    (root / "srzoo" / "models" / "edsr.py").write_text('# é\nARCH = Architecture(\n    family="edsr",\n)\n')
    (root / "examples" / "images").mkdir(parents=True)
    shutil.copytree(ROOT / "tests" / "images", root / "tests" / "images")
    (root / "tests" / "images" / "scores.json").unlink()
    for name in ("astronaut", "brick", "rocket"):
        (root / "tests" / "images" / f"{name}.png").unlink()
    shutil.copy(root / "tests" / "images" / "chelsea.png", root / "examples" / "images" / "coffee.png")
    for name in ("Set5", "Set14"):
        (tmp_path / "bench" / name / "HR").mkdir(parents=True)
        shutil.copy(root / "tests" / "images" / "chelsea.png", tmp_path / "bench" / name / "HR" / f"{name}.png")
    shutil.copytree(tmp_path / "bench" / "Set5" / "HR", tmp_path / "Kodak24")
    return root


@pytest.fixture
def release(script: ModuleType, root: Path, tmp_path: Path):
    def call(*more: str, seed: int = 0, license: str = "", images: dict | None = None) -> int:
        torch.manual_seed(seed)
        model = srzoo.create_model("edsr_baseline_x2", width=4, num_blocks=1)
        recipe = {"steps": 9, "config": {"steps": 10}, "seconds": 36, "device": "cpu", "precision": "fp32"}
        recipe |= {} if images is None else {"images": images}
        srzoo.save_model(model, tmp_path / "run.safetensors", header=Header(model="", license=license, recipe=recipe))
        given = [str(tmp_path / "run.safetensors"), "--tag", "a", "--bench", str(tmp_path / "bench")]
        return script.main([*given, *more], script.Places(root))

    return call


COUNTED = {"drawn": 4, "pictures": {"CC0-1.0": 2, "CC-BY-SA-3.0": 1}}


def test_one_command_writes_file_row_scores_and_the_line_of_the_log(release, root: Path, tmp_path, capsys) -> None:
    assert release("--val", str(tmp_path / "Kodak24"), "--note", "short", images=COUNTED) == 0
    path = root / "srzoo" / "pretrained" / "edsr_baseline_x2.a.safetensors"
    header = srzoo.read_header(path)
    assert list(header.metrics) == sorted(["Set5", "Set14", "Kodak24", "examples", "pictures"])
    assert (header.license, header.recipe["pictures"], header.recipe["note"]) == (
        "CC-BY-SA-3.0",
        COUNTED["pictures"],
        "short",
    )
    assert header.source == "srzoo, trained on 4 crops of 3 freely licensed photographs"
    assert header.recipe["scored_on"] == {"degradation": "bicubic", "lr_images": "MATLAB's bicubic"}
    text = (root / "srzoo" / "models" / "edsr.py").read_text()
    assert text.count("Weights(") == 1
    assert f'sha256="{file_sha256(path)}"' in text
    assert "Kodak24" not in text
    recorded = json.loads((root / "tests" / "images" / "scores.json").read_text())
    pictures = {scale: one["psnr"] for scale, one in header.metrics["pictures"].items()}
    assert recorded == {"edsr_baseline_x2.a": {"content": header.content, "degradation": "bicubic", "psnr": pictures}}
    line = capsys.readouterr().out.splitlines()[-1]
    psnr = header.metrics["Set5"]["x2"]["psnr"]
    assert (
        line
        == f"| `edsr_baseline_x2.a` | short | 9 of 10 | 0.01 | cpu, fp32 | {psnr:.2f} / {psnr:.2f} / {psnr:.2f} |  |"
    )
    # the scores are those of the file as it is loaded
    [score] = srzoo.evaluate(srzoo.load_model(path), srzoo.data.pairs_from_hr(tmp_path / "Kodak24", 2))
    assert score.psnr == pytest.approx(header.metrics["Kodak24"]["x2"]["psnr"], abs=1e-3)

    # the same again is no better; by force it goes, and the note says so
    before = path.read_bytes()
    assert release(images=COUNTED) == 2
    assert "not better on every set (Set14 x2: " in capsys.readouterr().err
    assert path.read_bytes() == before
    assert release("--force", images=COUNTED) == 0
    assert "shipped though not better on Set14 x2" in srzoo.read_header(path).recipe["note"]
    assert (root / "srzoo" / "models" / "edsr.py").read_text().count("Weights(") == 1


def test_a_track_is_scored_on_the_images_it_is_for(release, root: Path) -> None:
    assert release("--degradation", "photo", images=COUNTED) == 0
    header = srzoo.read_header(root / "srzoo" / "pretrained" / "edsr_baseline_x2.a.safetensors")
    assert set(header.metrics) == {"Set5 photo", "Set14 photo", "examples photo", "pictures photo"}
    assert header.recipe["scored_on"]["degradation"] == "photo"
    assert "Jpeg" in header.recipe["scored_on"]["lr_images"]
    assert '"Set5 photo": {"x2"' in (root / "srzoo" / "models" / "edsr.py").read_text()


@pytest.mark.parametrize(
    ("more", "given", "told"),
    [
        ([], {}, "counts no licences; give --manifest CSV"),
        ([], {"images": {"drawn": 1, "pictures": {"CC0-1.0": 1}}}, "give --license ID"),
        (
            ["--license", "MIT"],
            {"images": COUNTED},
            "--license is MIT, but its pictures or start are under CC-BY-SA-3.0",
        ),
        (["--license", "MIT"], {"images": COUNTED, "license": "GPL-3.0"}, "under CC-BY-SA-3.0 and GPL-3.0"),
        (["--degradation", "fog"], {"images": COUNTED}, "there is no degradation 'fog'"),
    ],
)
def test_what_cannot_ship_is_told_in_a_sentence(release, root: Path, capsys, more, given, told) -> None:
    assert release(*more, **given) == 2
    assert told in capsys.readouterr().err
    assert not list((root / "srzoo" / "pretrained").iterdir())
    assert "Weights(" not in (root / "srzoo" / "models" / "edsr.py").read_text()


def test_files_that_are_too_large_together_do_not_ship(release, script, root: Path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(script, "BUDGET", 1000)
    assert release(images=COUNTED) == 2
    assert "and 1,000 are too many" in capsys.readouterr().err
    assert not list((root / "srzoo" / "pretrained").iterdir())


def test_a_manifest_counts_where_the_run_did_not(release, root: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "m.csv"
    manifest.write_text("file,licence,original\n1,CC-BY-4.0 (Me),a\n2,CC-BY-4.0 (Me),a\n3,CC-BY-SA-4.0,b\n")
    assert release("--manifest", str(manifest)) == 0
    header = srzoo.read_header(root / "srzoo" / "pretrained" / "edsr_baseline_x2.a.safetensors")
    assert header.recipe["pictures"] == {"CC-BY-4.0": 1, "CC-BY-SA-4.0": 1}
    assert header.license == "CC-BY-SA-4.0"


def rows(script: ModuleType, source: str) -> list[Weights]:
    """The rows in a text, as Python reads them."""
    call = script.edit_row.__globals__["_architecture"](source)
    weights = next((one.value for one in call.keywords if one.arg == "weights"), ast.Tuple([]))
    names = {"Weights": Weights}
    return list(eval(compile(ast.Expression(weights), "rows", "eval"), names)) if weights.elts else []


@pytest.mark.parametrize(
    "source",
    [
        'ARCH = Architecture(\n    family="é",\n)\n',
        "ARCH = Architecture(\n    weights=(),\n)\n",
        (ROOT / "srzoo" / "models" / "edsr.py").read_text(),
        (ROOT / "srzoo" / "models" / "mdsr.py").read_text(),
    ],
    ids=["no rows", "empty rows", "edsr", "mdsr"],
)
def test_a_row_is_put_in_at_the_end_and_replaced_in_its_place(script: ModuleType, source: str) -> None:
    before = rows(script, source)
    once = script.edit_row(source, ROW)
    assert rows(script, once) == [*before, ROW]
    better = replace(ROW, metrics={"Set5": {"x2": 38.0}})
    other = replace(ROW, tag="b", metrics={f"Set{i}": {f"x{s}": 30.25 for s in (2, 3, 4)} for i in range(4)})
    twice = script.edit_row(script.edit_row(once, other), better)
    assert rows(script, twice) == [*before, better, other]
    assert script.edit_row(twice, better) == twice
    assert max(map(len, twice.splitlines())) <= 120


def test_the_text_of_a_row_is_as_ruff_formats_it(script: ModuleType) -> None:
    for name in ("edsr", "mdsr"):
        source = (ROOT / "srzoo" / "models" / f"{name}.py").read_text()
        for row in rows(script, source):
            assert script.row_text(row) in source
