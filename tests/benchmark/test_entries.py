"""What users call models by, and what is known of each before it runs."""

import sys
from pathlib import Path

import pytest
import torch
from tiny_benchmarks import tiny
from torch import Tensor, nn

import srzoo
from srzoo.architecture import SRModel
from srzoo.benchmark.entries import _own_code, code_of, expand, on_luma, open_entries
from srzoo.weights import Header, save_model


@pytest.mark.parametrize(
    ("spec", "names"),
    [
        ("edsr_baseline_x2", ["edsr_baseline_x2"]),
        ("edsr_baseline_x2.photos", ["edsr_baseline_x2.photos"]),
        ("edsr_baseline_x[24]", ["edsr_baseline_x2", "edsr_baseline_x4"]),
        ("edsr*_x3.photos", ["edsr_baseline_x3.photos"]),
        ("edsr_baseline.photos", [f"edsr_baseline_x{scale}.photos" for scale in (2, 3, 4)]),
        ("bicubic", [f"bicubic_x{scale}" for scale in (2, 3, 4, 8)]),
        ("mdsr_baseline", ["mdsr_baseline"]),
        ("mdsr_baseline*", ["mdsr_baseline"]),
        ("edsr", ["edsr_x2"]),  # none has weights: the first says so when it is opened
        ("nonsense", ["nonsense"]),
        ("runs/mine", ["runs/mine"]),
        ("hf-hub:owner/name@v1", ["hf-hub:owner/name@v1"]),
        ("mine.safetensors", ["mine.safetensors"]),
    ],
)
def test_a_word_stands_for_models(spec: str, names: list[str]) -> None:
    assert expand(spec) == names


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("edsr_x4", "edsr_x4 has no pretrained weights"),
        ("edsr", "edsr_x2 has no pretrained weights"),
        ("edsr_x*", "no model with weights matches 'edsr_x\\*'"),
        ("edsr_baseline_x4.nonsense", "no weights tagged 'nonsense'"),
        ("edsr_baselin_x4", "did you mean edsr_baseline_x4"),
    ],
)
def test_what_cannot_run_is_refused(spec: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        open_entries([spec], None)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.safetensors"):
        open_entries([tmp_path / "none.safetensors"], None)


def test_bicubic_comes_first_at_each_scale_and_only_once() -> None:
    entries = open_entries(["mdsr_baseline", "bicubic_x3"], [3, 4])
    assert [(entry.label, entry.scales, entry.is_baseline) for entry in entries] == [
        ("bicubic_x4", (4,), True),
        ("mdsr_baseline.photos", (3, 4), False),
        ("bicubic_x3", (3,), False),
    ]
    assert [entry.label for entry in open_entries(["bicubic_x2"], None, baseline=False)] == ["bicubic_x2"]


def test_a_scale_that_no_model_of_a_word_offers_is_refused() -> None:
    with pytest.raises(ValueError, match="edsr_baseline does not offer scale 8; it has 2, 3, 4"):
        open_entries(["edsr_baseline"], [8])
    assert len(open_entries(["edsr_baseline"], [4, 8], baseline=False)) == 1


def test_the_facts_of_bundled_weights() -> None:
    [entry] = open_entries(["edsr_baseline_x4"], None, baseline=False)
    assert entry.label == "edsr_baseline_x4.photos"
    assert entry.parameters == 1_517_571
    assert entry.license == "CC-BY-SA-4.0"
    assert entry.recorded["Set5"]["x4"]["images"] == 5  # of the file's header, to four digits
    assert entry.method == "EDSR baseline"
    assert entry.open().scales == (4,)


def test_files_and_models_are_called_what_the_user_calls_them(weights: Path) -> None:
    run = weights.parent / "run"
    run.mkdir()
    save_model(tiny(3), run / "model.safetensors", header=Header(model="", metrics={"mine": {}}, license="MIT"))
    entries = open_entries([weights, str(run), tiny(4)], None, baseline=False)
    assert [entry.label for entry in entries] == [str(weights), str(run), "edsr_baseline_x4"]
    assert entries[1].recorded == {"mine": {}}
    assert entries[1].license == "MIT"
    assert [entry.method for entry in entries] == [None] * 3  # of other arguments than the paper's


def test_two_models_of_one_name_are_refused_and_one_twice_is_one() -> None:
    one, other = tiny(), tiny()
    with pytest.raises(ValueError, match="two different models are called edsr_baseline_x2"):
        open_entries([one, other], None)
    assert len(open_entries([one, one], None, baseline=False)) == 1


def test_models_of_equal_tensors_that_compute_another_thing_are_refused() -> None:
    one, other = tiny(), srzoo.create_model("edsr_baseline_x2", width=4, num_blocks=1, res_scale=0.1)
    other.load_state_dict(one.state_dict())
    with pytest.raises(ValueError, match="two different models are called edsr_baseline_x2"):
        open_entries([one, other], None)
    with pytest.raises(ValueError, match="two different models are called Nearest"):
        open_entries([Nearest(), Nearest()], None, baseline=False)
    by_hand = Nearest()
    assert len(open_entries([by_hand, by_hand], None, baseline=False)) == 1


def test_the_code_of_a_model_is_its_files_and_plain_attributes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = tiny()
    assert code_of(one) == code_of(tiny().train())
    assert code_of(one) != code_of(srzoo.create_model("edsr_baseline_x2", width=4, num_blocks=1, res_scale=0.1))
    before = code_of(Nearest())
    copy = tmp_path / "changed.py"
    copy.write_text(Path(__file__).read_text() + "# another line")
    monkeypatch.setattr(sys.modules[Nearest.__module__], "__file__", str(copy))
    assert code_of(Nearest()) != before
    monkeypatch.setattr(sys.modules[Nearest.__module__], "__file__", None)
    typed = code_of(Nearest())
    monkeypatch.setattr("os.getpid", lambda: 0)
    assert code_of(Nearest()) != typed  # of one process alone
    package = tmp_path / "package"
    package.mkdir()
    hashes = []
    for text in ("1", "2"):
        (package / "part.py").write_text(text)
        _own_code.cache_clear()
        hashes.append(_own_code(package))
    assert hashes[0] != hashes[1]


def test_a_model_that_was_changed_is_not_opened_again(weights: Path) -> None:
    [entry] = open_entries([weights], None, baseline=False)
    assert entry.opened().name == "edsr_baseline_x2"
    save_model(tiny(), weights)
    with pytest.raises(ValueError, match=r"mine\.safetensors changed while the benchmark ran; start it again"):
        entry.opened()
    [entry] = open_entries([weights], None, baseline=False)
    slower = srzoo.create_model("edsr_baseline_x2", width=4, num_blocks=1, res_scale=0.1)
    slower.load_state_dict(srzoo.load_model(weights).state_dict())
    save_model(slower, weights)
    with pytest.raises(ValueError, match="changed while the benchmark ran"):
        entry.opened()


def test_no_model_is_refused() -> None:
    with pytest.raises(ValueError, match="no model was given"):
        open_entries([], None)


def test_a_model_of_luma_is_rebuilt_on_one_channel() -> None:
    rgb = srzoo.create_model("vdsr", width=4, num_blocks=1).eval()
    grey = on_luma(rgb)
    assert grey.channels == 1
    assert all(torch.equal(value, grey.state_dict()[key]) for key, value in rgb.state_dict().items())
    assert on_luma(grey) is grey
    assert on_luma(srzoo.create_model("bicubic_x2")).channels == 1


class Nearest(SRModel):
    """A network built by hand, which knows nothing of channels."""

    scales = (2,)

    def halo(self, scale: int | None = None) -> int:
        return 0

    def forward(self, lr: Tensor, scale: int | None = None) -> Tensor:
        return nn.functional.interpolate(lr, scale_factor=2)


@pytest.mark.parametrize("model", [tiny(), Nearest()])
def test_a_model_of_rgb_is_refused_on_luma(model: SRModel) -> None:
    with pytest.raises(ValueError, match="works on RGB, and path luma is for models that work on luma alone"):
        open_entries([model], None, luma=True)
