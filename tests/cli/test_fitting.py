"""`srzoo train` for families that learn without gradients."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import srzoo
from srzoo.architecture import Architecture, Draw, Fit, Fitted, Report, SRModel
from srzoo.catalog import catalog
from srzoo.cli import main
from srzoo.data import PatchSource
from srzoo.testing import ContractError, check_record
from srzoo.train.fitting import check_arguments, drawing, find_fit, fit_model, read_settings


@dataclass(frozen=True, kw_only=True)
class ToySettings:
    num_patches: int = 4
    lift: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.num_patches < 1:
            raise ValueError(f"num_patches is {self.num_patches}; it must be at least 1")


class Nearest(SRModel):
    """Pixels repeated, and a number added. Paper: none."""

    def __init__(self, *, scale: int, channels: int = 3, num_levels: int = 1) -> None:
        super().__init__()
        self.scales = (scale,)
        self.channels = channels
        self.register_buffer("level", torch.zeros(num_levels))

    def halo(self, scale: int | None = None) -> int:
        return 0

    def forward(self, lr: Tensor, scale: int | None = None) -> Tensor:
        return F.interpolate(lr, scale_factor=float(self.check_scale(scale))) + self.level.sum()


def fit_nearest(model: SRModel, draw: Draw, settings: ToySettings, report: Report) -> Fitted:
    report(0, 1, "levels")
    lr, hr = draw(settings.num_patches, 8)
    report(1, 1, "levels")
    level = (hr.mean() - lr.mean() + settings.lift).expand(2) / 2
    return Fitted(arguments={"num_levels": 2}, tensors={"level": level}, told={"mean": lr.mean().item()})


ARCH = Architecture(
    family="toyfit",
    model=Nearest,
    title="Toy",
    paper="https://example.org",
    scales=(2,),
    variants={"toyfit": {}},
    fit=Fit(run=fit_nearest, settings=ToySettings),
)


@pytest.fixture(autouse=True)
def _toy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("SRZOO_CACHE", str(tmp_path / "cache"))
    srzoo.register(ARCH)
    yield
    catalog().forget(ARCH)
    catalog().by_hand.discard("toyfit")


@pytest.fixture
def fit(photo_folder: Path, tmp_path: Path):
    def call(*more: str, run: str = "run", model: str = "toyfit_x2") -> int:
        return main(["train", "--model", model, "--data", str(photo_folder), "--run", str(tmp_path / run), *more])

    return call


def test_a_fit_leaves_a_folder_that_is_a_model(fit, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fit("--set", "num_patches=3", "--seed", "5", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    run = tmp_path / "run"
    header = srzoo.read_header(run / "model.safetensors")
    assert header.model == "toyfit_x2"
    assert header.arguments == {"scale": 2, "channels": 3, "num_levels": 2}
    assert header.recipe["fit"] == {"num_patches": 3, "lift": 0.0, "seed": 5}
    assert header.recipe["told"].keys() == {"mean"}
    assert header.recipe["images"]["drawn"] == 5  # of six, one is held out
    assert {"srzoo", "torch", "data", "seconds"} <= header.recipe.keys()
    assert header.metrics == told["scores"]
    assert told["scores"]["held-out"]["x2"]["psnr"] > 5
    assert "x2" in told["before"]["held-out"]
    model = srzoo.load_model(run)
    assert model.level.shape == (2,)
    summary = (run / "summary.md").read_text()
    assert "num_patches 3, lift 0.0, seed 5" in summary
    assert f"| held-out | x2 | 1 | {told['before']['held-out']['x2']['psnr']:.2f} |" in summary
    assert f"srzoo upscale photo.png --model {run}" in summary


def licences(tmp_path: Path) -> str:
    """A file of licences of the six images of `photo_folder`, of which one is share-alike."""
    path = tmp_path / "licences.csv"
    rows = [f"photo{i}.png,{'CC-BY-SA-4.0' if i == 3 else 'CC0-1.0'}" for i in range(6)]
    path.write_text("\n".join(["file,licence", *rows]) + "\n")
    return str(path)


def test_a_fit_counts_pictures_and_states_the_licence(fit, tmp_path: Path) -> None:
    assert fit("--licences", licences(tmp_path), "--validation", "0", "--quiet") == 0
    header = srzoo.read_header(tmp_path / "run" / "model.safetensors")
    assert header.recipe["images"]["pictures"] == {"CC-BY-SA-4.0": 1, "CC0-1.0": 5}
    assert header.license == "CC-BY-SA-4.0"
    summary = (tmp_path / "run" / "summary.md").read_text()
    assert "| pictures by licence | CC0-1.0: 5, CC-BY-SA-4.0: 1 |" in summary
    assert "| licence of the weights | CC-BY-SA-4.0 |" in summary


def test_a_fit_without_share_alike_pictures_has_no_licence(fit, tmp_path: Path) -> None:
    more = ["--licences", licences(tmp_path), "--leave-out", "share-alike", "--validation", "0", "--quiet"]
    assert fit(*more) == 0
    header = srzoo.read_header(tmp_path / "run" / "model.safetensors")
    images = header.recipe["images"]
    assert (images["pictures"], images["left_out"], header.license) == ({"CC0-1.0": 5}, {"CC-BY-SA-4.0": 1}, "")
    summary = (tmp_path / "run" / "summary.md").read_text()
    assert "| left out by licence | CC-BY-SA-4.0: 1 |" in summary
    assert "licence of the weights" not in summary


def test_the_same_seed_gives_the_same_file_and_another_another(fit, tmp_path: Path) -> None:
    contents = []
    for run, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        assert fit("--seed", seed, "--quiet", run=run) == 0
        contents.append(srzoo.read_header(tmp_path / run / "model.safetensors").content)
    assert contents[0] == contents[1] != contents[2]


def test_stages_are_told_on_standard_error_unless_quiet(fit, capsys: pytest.CaptureFixture[str]) -> None:
    assert fit() == 0
    told = capsys.readouterr()
    assert "levels: 0 of 1\n" in told.err
    assert "held-out x2: " in told.out
    assert fit("--quiet", "--validation", "0", run="other") == 0
    assert "levels" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--steps", "5"], "so --steps means nothing; it takes --model, --data"),
        (["--lr", "1e-3"], "so --lr means nothing"),
        (["--pretrained"], "so --pretrained means nothing"),
        (["--resume"], "so --resume means nothing"),
        (["--init", "bicubic_x2"], "so --init means nothing"),
        (["--set", "num_patches=0"], "num_patches is 0"),
        (["--set", "num_patches=0.5"], "num_patches is 0.5; give a value such as 4"),
        (["--set", "num_patch=3"], "did you mean num_patches?"),
        (["--set", "colour=3"], "settings of its fit are num_patches, lift, seed"),
        (["--seed", "-1"], "seed is -1"),
        (["--set", "width"], "is not KEY=VALUE"),
        (["--validation", "nowhere"], "nowhere is not a folder"),
    ],
)
def test_a_mistake_is_one_sentence(
    fit, more: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fit(*more) == 2
    [*_, line] = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("srzoo: ")
    assert told in line
    assert not (tmp_path / "run").exists()


def test_a_model_is_not_written_over_nor_trained_further(
    fit, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fit("--quiet") == 0
    assert fit("--quiet") == 2
    assert "has a model already" in capsys.readouterr().err
    assert fit("--quiet", run="further", model=str(tmp_path / "run")) == 2
    assert "holds a fitted model, which cannot be trained further; give --model toyfit_x2" in capsys.readouterr().err
    assert fit("--quiet", run="further", model="toyfit_x2.photos") == 2
    assert "give --model toyfit_x2" in capsys.readouterr().err


def test_several_processes_are_refused(
    fit, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert fit() == 2
    assert "is fitted in one process" in capsys.readouterr().err


def test_settings_and_arguments_come_together_and_are_told_apart() -> None:
    fit = find_fit("toyfit_x2")
    assert fit is not None
    settings, arguments = read_settings(fit, {"lift": 1, "num_levels": 3}, seed=4)
    assert settings == ToySettings(lift=1.0, seed=4)
    assert type(settings.lift) is float
    assert check_arguments("toyfit_x2", fit, arguments).arguments["num_levels"] == 3
    assert find_fit("edsr_baseline_x2") is None
    assert find_fit("nothing") is None


def test_patches_come_in_the_unit_range_and_by_the_seed(photo_folder: Path) -> None:
    source = PatchSource(photo_folder, scales=(2,))
    lr, hr = drawing(source, 2, seed=3)(4, 10)
    assert lr.shape == (4, 3, 10, 10)
    assert hr.shape == (4, 3, 20, 20)
    assert 0.5 < hr.max() <= 1
    assert torch.equal(drawing(source, 2, seed=3)(4, 10)[0], lr)
    assert not torch.equal(drawing(source, 2, seed=4)(4, 10)[0], lr)


def test_a_network_is_not_fitted(photo_folder: Path, tmp_path: Path) -> None:
    model = srzoo.create_model("edsr_baseline_x2", width=4, num_blocks=1)
    with pytest.raises(ValueError, match=r"is trained by gradients; use srzoo.train.fine_tune"):
        fit_model(model, PatchSource(photo_folder, scales=(2,)), {}, tmp_path / "run")


def test_aplus_is_fitted_by_the_command(fit, tmp_path: Path) -> None:
    pytest.importorskip("sklearn", reason="fitting A+ needs scikit-learn: the extra aplus")
    small = ("num_atoms=4", "num_samples=300", "num_neighbors=100", "num_dictionary=200")
    assert fit(*(part for one in small for part in ("--set", one)), "--quiet", model="aplus_x2") == 0
    header = srzoo.read_header(tmp_path / "run" / "model.safetensors")
    assert header.arguments["num_atoms"] == 4
    assert header.recipe["fit"]["num_samples"] == header.recipe["told"]["samples"] == 300
    model = srzoo.load_model(tmp_path / "run")
    assert model(torch.rand(1, 3, 5, 4)).shape == (1, 3, 10, 8)
    assert model.anchors.shape == (4, header.arguments["num_components"])


def test_the_contract_names_a_fit_whose_settings_cannot_be_made() -> None:
    check_record(ARCH)

    @dataclass(frozen=True)
    class Needs:
        number: int

    for settings in (Needs, int):
        with pytest.raises(ContractError, match=r"fit\.settings"):
            check_record(replace(ARCH, fit=Fit(run=fit_nearest, settings=settings)))
