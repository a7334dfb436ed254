"""scripts/srresnet_from_edsr.py: what it writes gives what the EDSR gives, and keeps its licence."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import torch

import srzoo
from srzoo.weights import Header

ROOT = Path(__file__).parents[2]


@pytest.fixture
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("srresnet_script", ROOT / "scripts" / "srresnet_from_edsr.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def _cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SRZOO_CACHE", str(tmp_path / "cache"))


def test_a_start_gives_what_edsr_gives_and_is_scored_beside_it(
    script: ModuleType, photo_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edsr = srzoo.create_model("edsr_baseline_x2", width=4, num_blocks=1).eval()
    source, output = tmp_path / "edsr.safetensors", tmp_path / "start.safetensors"
    content = srzoo.save_model(edsr, source, header=Header(model="", license="CC-BY-SA-4.0")).content
    sizes = ["--batches", "2", "--batch-size", "2", "--patch-size", "12"]
    script.main(["--from", str(source), "--images", str(photo_folder), "-o", str(output), *sizes])
    first = capsys.readouterr().out
    assert first.strip() == f"{output}: srresnet_x2 from edsr_baseline_x2, content {content[:8]}"
    model = srzoo.load_model(output)
    assert model.name == "srresnet_x2"
    lr = torch.rand(1, 3, 9, 8)
    torch.testing.assert_close(model(lr), edsr(lr), rtol=0, atol=1e-5)
    header = srzoo.read_header(output)
    assert (header.license, header.source) == ("CC-BY-SA-4.0", f"edsr_baseline_x2, content {content[:8]}")
    bench = ["--bench", str(photo_folder)]
    script.main(["--from", str(source), "--images", str(photo_folder), "-o", str(output), *sizes, *bench])
    *_, before, after = capsys.readouterr().out.splitlines()
    assert before.startswith(f"edsr_baseline_x2, content {content[:8]} ")
    assert after.startswith("srresnet_x2 ")
    psnr = [float(line.split("'psnr': ")[1].split(",")[0]) for line in (before, after)]
    assert psnr[0] == pytest.approx(psnr[1], abs=1e-3)
    assert srzoo.read_header(output).content == header.content  # the seed alone decides what is drawn
