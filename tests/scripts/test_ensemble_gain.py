"""scripts/ensemble_gain.py: its rows are the scores of the ensembles, and its digits those of docs/guides/tta.md."""

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

import srzoo
from srzoo.benchmark import mean_psnr
from srzoo.data import pairs_from_hr
from srzoo.device import to_channels_last
from srzoo.tta import SelfEnsemble

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("ensemble_gain", ROOT / "scripts" / "ensemble_gain.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_the_rows_are_the_scores_of_the_ensembles(
    script: ModuleType, photo_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "edsr_baseline_x4"
    assert script.main([str(photo_folder), "--models", name, "bicubic_x2", "--limit", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    model = to_channels_last(srzoo.create_model(name, pretrained=True), torch.device("cpu")).eval()
    pairs = pairs_from_hr(photo_folder, 4)[:2]
    ensembles = [SelfEnsemble(model, ops, merge) for ops, merge in script.COLUMNS.values()]
    means = [mean_psnr(srzoo.evaluate(ensemble, pairs)) for ensemble in ensembles]
    cells = lines[2].strip("| ").split(" | ")
    assert cells[:2] == [f"`{name}`", "4"]
    assert float(cells[2]) == pytest.approx(means[0], abs=6e-4)
    gains = [mean - means[0] for mean in means[1:]]
    assert [float(cell) for cell in cells[3:]] == pytest.approx(gains, abs=1.1e-3)
    assert max(map(abs, gains)) > 0.005
    assert [abs(float(cell)) for cell in lines[3].strip("| ").split(" | ")[3:]] == pytest.approx([0] * 4, abs=2e-3)


def test_the_guide_has_the_scripts_table(script: ModuleType) -> None:
    guide = (ROOT / "docs/guides/tta.md").read_text(encoding="utf-8")
    assert "| model | scale | " + " | ".join(script.COLUMNS) + " |" in guide
    rows = re.findall(r"^\| `(\w+)` \| (\d) \|", guide, re.MULTILINE)
    models = [srzoo.create_model(name) for name in script.MODELS]
    assert rows == [(model.name, str(scale)) for model in models for scale in model.scales]
