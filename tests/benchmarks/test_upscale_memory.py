"""benchmarks/upscale_memory.py: its figures at toy size, and that memory does not grow with an image's height."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from srzoo.image import open_source, read_pixels

TOY = ["--overrides=width=8,num_blocks=1", "--engines=torch"]
Capture = pytest.CaptureFixture[str]

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")


def run(module: ModuleType, capsys: Capture, *options: str) -> list[dict[str, Any]]:
    assert module.main([*TOY, *options, "--json"]) == 0
    return json.loads(capsys.readouterr().out)["rows"]


@pytest.mark.parametrize(("suffix", "dtype"), [(".jpg", "uint8"), (".tif", "uint8"), (".tif", "uint16")])
def test_pictures_have_the_rows_that_were_asked_for(
    module: ModuleType, tmp_path: Path, suffix: str, dtype: str
) -> None:
    path = tmp_path / f"picture{suffix}"
    module.write_picture(path, module.Case(300, 999, suffix, dtype, ".png"), 270)
    with open_source(path) as source:
        assert (source.header.width, source.header.height, source.header.dtype) == (300, 270, dtype)
        pixels = source.rows(0, 270).astype(float) / np.iinfo(dtype).max
    assert pixels.std() > 0.1
    assert np.abs(pixels[:-1] - pixels[1:]).mean() > 0.01


def test_a_row_tells_what_one_picture_took(module: ModuleType, tmp_path: Path) -> None:
    source, target = tmp_path / "a.tif", tmp_path / "b.tif"
    module.write_picture(source, module.Case(40, 30, ".tif", "uint8", ".tif"), 30)
    job = {
        "folder": str(tmp_path), "source": str(source), "target": str(target), "dtype": "uint8",
        "model": "edsr_baseline_x4", "engine": "torch", "precision": "fp32", "memory": None, "tta": "none",
        "overrides": {"width": 8, "num_blocks": 1},
    }  # fmt: skip
    found = module.work(job)
    assert found["result"] == "160x120"
    assert 0 < 0.9 * found["ready_mb"] < found["peak_mb"]
    assert found["file_mb"] == target.stat().st_size / 1e6
    assert read_pixels(target, 3).shape == (120, 160, 3)
    assert not module.is_bigtiff(target)


def test_a_child_that_fails_is_told_and_the_others_are_measured(
    module: ModuleType, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {"ready_mb": 100.0, "peak_mb": 150.0, "seconds": 2.0, "file_mb": 3.0, "notes": ["as it is"]}

    def child(command: list[str], **_: Any) -> Any:
        job = json.loads(command[-1])
        if job["engine"] == "onnx":
            return module.subprocess.CompletedProcess(command, 1, "", "Traceback\nImportError: engine onnx")
        Path(job["target"]).write_bytes(b"II+\0")
        return module.subprocess.CompletedProcess(command, 0, json.dumps(found), "")

    monkeypatch.setattr(module.subprocess, "run", child)
    options = ["--engines=onnx,torch", "--cases=photo-tiff", "--rows=8", "--width=8"]
    failed, measured = run(module, capsys, *options)
    assert (failed["told"], measured["told"]) == ("ImportError: engine onnx", None)
    assert (measured["over_mb"], measured["bigtiff"], measured["image"]) == (50, True, "8x8")
    assert module.main(options) == 0
    told = capsys.readouterr().out
    assert "ImportError: engine onnx" in told
    assert "BigTIFF; as it is" in told


def test_an_unknown_case_is_named(module: ModuleType, capsys: Capture) -> None:
    with pytest.raises(SystemExit):
        module.main(["--cases=scan-png"])
    assert "not scan-png" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["torch", "openvino"])
@pytest.mark.parametrize("case", ["photo-tiff", "tiff16-bigtiff"])
def test_memory_does_not_grow_with_the_height(module: ModuleType, capsys: Capture, engine: str, case: str) -> None:
    if importlib.util.find_spec("openvino") is None and engine == "openvino":
        pytest.skip("openvino is not installed")
    options = [f"--cases={case}", f"--engines={engine}", "--width=1500"]
    low, high = (run(module, capsys, *options, f"--rows={rows}")[0] for rows in (300, 1500))
    assert (low["told"], high["told"]) == (None, None)
    source = 1500 * 1200 * 3 / 1e6 if case.startswith("photo") else 0  # a JPEG is decoded whole
    result = 16 * 1500 * 1200 * (3 if case.startswith("photo") else 6) / 1e6
    assert high["over_mb"] < low["over_mb"] + 2 * source + 0.25 * result
    assert high["over_mb"] < 250
