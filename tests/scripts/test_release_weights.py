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
IMPORT = "from srzoo.architecture import Architecture, SRModel\n"
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
    (root / "srzoo" / "models" / "edsr.py").write_text(f'# é\n{IMPORT}ARCH = Architecture(\n    family="edsr",\n)\n')
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
    set5 = {"image": "Set5", "psnr": {"x2": header.metrics["Set5"]["x2"]["psnr"]}}  # its one image
    told = {"content": header.content, "degradation": "bicubic", "psnr": pictures, "set5": set5}
    assert recorded == {"edsr_baseline_x2.a": told}
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
    told = capsys.readouterr().err
    assert "not better on every set (Set5 x2: " in told
    assert "; Kodak24 x2: not measured, give --val);" in told
    assert path.read_bytes() == before
    assert release("--force", images=COUNTED) == 0
    assert "shipped though not better on Set5 x2: " in srzoo.read_header(path).recipe["note"]
    assert (root / "srzoo" / "models" / "edsr.py").read_text().count("Weights(") == 1


def test_a_better_file_that_was_not_measured_on_a_set_does_not_replace(
    release, script, root: Path, tmp_path, capsys, monkeypatch
) -> None:
    val = ["--val", str(tmp_path / "Kodak24")]
    assert release(*val, images=COUNTED) == 0
    path = root / "srzoo" / "pretrained" / "edsr_baseline_x2.a.safetensors"
    before, score = path.read_bytes(), script.score

    def better(*args):
        found = score(*args)
        return {name: {"x2": {**one["x2"], "psnr": one["x2"]["psnr"] + 1}} for name, one in found.items()}

    monkeypatch.setattr(script, "score", better)
    capsys.readouterr()
    assert release(images=COUNTED) == 2
    assert "not better on every set (Kodak24 x2: not measured, give --val);" in capsys.readouterr().err
    assert path.read_bytes() == before
    assert release(*val, images=COUNTED) == 0
    assert path.read_bytes() != before


def test_a_set_that_was_not_measured_says_how_it_is(script) -> None:
    old = {name: {"x2": {"psnr": 30.0}} for name in ("Set5", "Set5 photo", "Kodak24 photo", "examples")}
    assert script.not_better({}, old) == [
        "Set5 x2: not measured, leave --degradation out",
        "Set5 photo x2: not measured, give --degradation photo",
        "Kodak24 photo x2: not measured, give --val --degradation photo",
    ]


HUB = "owner/edsr"


def test_a_file_for_the_hub_gets_its_row_when_it_is_there(release, script, root: Path, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(script, "BUDGET", 1000)  # no room in the package
    commit, asked = "c" * 40, []
    monkeypatch.setattr(script, "fetch", lambda source, sha256: asked.append((str(source), sha256)))
    assert release("--hub", f"{HUB}@{commit}", images=COUNTED) == 2
    assert f"is not there; make it with --hub {HUB}" in capsys.readouterr().err
    module, path = root / "srzoo" / "models" / "edsr.py", tmp_path / "edsr_baseline_x2.a.safetensors"
    assert release("--hub", HUB, images=COUNTED) == 0
    assert f"upload it to {HUB} as model.safetensors, then give --hub {HUB}@COMMIT" in capsys.readouterr().out
    assert "Weights(" not in module.read_text()
    (root / "srzoo" / "pretrained" / path.name).write_bytes(b"the one before")
    assert release("--hub", f"{HUB}@{commit}", images=COUNTED) == 0
    assert asked == [(f"hf-hub:{HUB}@{commit}", file_sha256(path))]
    [row] = rows(script, module.read_text())
    assert (row.file, row.hub, row.sha256) == ("", f"{HUB}@{commit}", file_sha256(path))
    assert row.metrics.keys() == {"Set5", "Set14"}
    assert not list((root / "srzoo" / "pretrained").iterdir())


def test_what_is_not_the_uploaded_file_gets_no_row(release, script, root: Path, capsys, monkeypatch) -> None:
    def other(source, sha256):
        raise ValueError("is not as recorded")

    monkeypatch.setattr(script, "fetch", other)
    assert release("--hub", HUB, images=COUNTED) == 0
    assert release("--hub", f"{HUB}@{'c' * 40}", images=COUNTED) == 2
    assert "is not as recorded" in capsys.readouterr().err
    assert "Weights(" not in (root / "srzoo" / "models" / "edsr.py").read_text()


def test_a_start_is_told_by_model_and_content(release, script, root: Path, tmp_path, capsys) -> None:
    header = srzoo.save_model(srzoo.create_model("edsr_baseline_x3", width=4, num_blocks=1), tmp_path / "b.safetensors")
    start = f"parts of {tmp_path / 'b.safetensors'} and mdsr_baseline"
    assert script.told_start(start) == f"parts of edsr_baseline_x3 (content {header.content[:8]}) and mdsr_baseline"
    assert script.told_start("all of hf-hub:owner/name@main") == "all of hf-hub:owner/name@main"
    assert script.told_start("all of /gone/c.safetensors") == "all of c.safetensors"
    assert "tell it by --start" in capsys.readouterr().err


def test_bundled_files_stay_small(script) -> None:
    files = [path.stat().st_size for path in script.Places().pretrained.glob("*.safetensors")]
    assert 0 < sum(files) < script.BUDGET


def test_a_track_is_scored_on_the_images_it_is_for(release, root: Path) -> None:
    assert release("--degradation", "photo", images=COUNTED) == 0
    header = srzoo.read_header(root / "srzoo" / "pretrained" / "edsr_baseline_x2.a.safetensors")
    assert set(header.metrics) == {"Set5 photo", "Set14 photo", "examples photo", "pictures photo"}
    assert header.recipe["scored_on"]["degradation"] == "photo"
    assert "Jpeg" in header.recipe["scored_on"]["lr_images"]
    source = (root / "srzoo" / "models" / "edsr.py").read_text()
    assert source.index('"Set5 photo": {"x2"') < source.index('"Set14 photo": {"x2"')


def test_sets_are_told_in_one_order_degraded_or_not(script: ModuleType) -> None:
    def at(*psnr: float) -> dict[str, dict[str, float]]:
        return {f"x{scale}": {"psnr": one} for scale, one in enumerate(psnr, 2)}

    metrics = {"Kodak24 photo": at(30), "Set14 photo": at(29), "Set5 photo": at(32, 31), "pictures photo": at(1)}
    assert script.compared({"Mine": at(1), **metrics}) == ["Set5 photo", "Set14 photo", "Kodak24 photo", "Mine"]
    line = script.log_line("m", "t", Header(model="m", metrics=metrics), {}, "")
    assert line.split(" | ")[5] == "32.00 31.00 / 29.00 / 30.00"


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


def imported(source: str) -> set[str]:
    """What a text imports from srzoo.architecture."""
    body = ast.parse(source).body
    return {
        name.name
        for one in body
        if isinstance(one, ast.ImportFrom) and one.module == "srzoo.architecture"
        for name in one.names
    }


@pytest.mark.parametrize("first", ["", "import srzoo.architecture\n", "from srzoo.architecture import *\n"])
def test_a_file_that_cannot_get_the_import_is_refused(script: ModuleType, first: str) -> None:
    with pytest.raises(ValueError, match="Weights is not imported; write `from srzoo"):
        script.edit_row(first + "ARCH = Architecture(\n    weights=(),\n)\n", ROW)


@pytest.mark.parametrize(
    "source",
    [
        IMPORT + 'ARCH = Architecture(\n    family="é",\n)\n',
        "from srzoo.architecture import (  # é\n    Architecture,\n)\nARCH = Architecture(\n    weights=(),\n)\n",
        (ROOT / "srzoo" / "models" / "edsr.py").read_text(),
        (ROOT / "srzoo" / "models" / "mdsr.py").read_text(),
    ],
    ids=["no rows", "empty rows", "edsr", "mdsr"],
)
def test_a_row_is_put_in_at_the_end_and_replaced_in_its_place(script: ModuleType, source: str) -> None:
    before = rows(script, source)
    once = script.edit_row(source, ROW)
    assert rows(script, once) == [*before, ROW]
    assert imported(once) >= {"Architecture", "Weights"}
    better = replace(ROW, metrics={"Set5": {"x2": 38.0}}, file="", hub=f"owner/name@{'0' * 40}", package="other")
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
