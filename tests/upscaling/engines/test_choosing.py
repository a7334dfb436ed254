import sys
from importlib.util import find_spec
from types import ModuleType

import pytest
import torch

from srzoo.upscaling.engines import Engine, choosing
from srzoo.upscaling.engines.choosing import choose_engine
from srzoo.upscaling.engines.torch_engine import TorchEngine

CPU = torch.device("cpu")


def test_auto_is_openvino_on_a_cpu_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choosing, "find_spec", lambda _: None)
    assert choose_engine("auto", "auto", CPU).name == "torch"
    monkeypatch.undo()
    if find_spec("openvino") is not None:
        assert choose_engine("auto", "auto", CPU).name == "openvino"


@pytest.mark.parametrize(("precision", "recorded"), [("fp16", True), ("auto", False), ("fp32", False)])
def test_auto_is_torch_where_openvino_cannot_do_it(precision, recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choosing, "find_spec", lambda _: object())
    assert choose_engine("auto", precision, CPU, recorded=recorded).name == "torch"
    assert choose_engine("auto", "auto", torch.device("cuda")).name == "torch" if torch.cuda.is_available() else True


def test_auto_is_torch_where_openvino_is_broken(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(choosing, "find_spec", lambda _: object())
    for broken in (None, ModuleType("openvino")):  # an import that fails, and a package without its contents
        caplog.clear()
        monkeypatch.setitem(sys.modules, "openvino", broken)
        assert choose_engine("auto", "auto", CPU).name == "torch"
        assert "openvino is installed but does not run" in caplog.text
        with pytest.raises((ImportError, AttributeError)):
            choose_engine("openvino", "auto", CPU)


def test_torch_takes_every_precision() -> None:
    for precision in ("fp32", "bf16", "fp16"):
        engine = choose_engine("torch", precision, CPU, recorded=False)
        assert isinstance(engine, TorchEngine)
        assert isinstance(engine, Engine)
        assert engine.precision == precision


@pytest.mark.usefixtures("as_users_call")
@pytest.mark.parametrize(
    ("name", "precision", "device", "recorded", "text"),
    [
        ("tensorrt", "auto", "cpu", True, "engine is 'tensorrt'; allowed are auto, torch, openvino, onnx"),
        ("torch", "fp64", "cpu", True, "precision is 'fp64'; allowed are auto, fp32, bf16, fp16"),
        ("openvino", "auto", "cpu", False, "engine openvino runs networks of convolutions alone"),
        ("onnx", "auto", "cpu", False, "engine onnx runs networks of convolutions alone"),
        ("openvino", "auto", "cuda", True, "engine openvino runs on the CPU, not on cuda"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(name, precision, device, recorded, text) -> None:
    with pytest.raises(ValueError, match=text) as caught:
        choose_engine(name, precision, torch.device(device), recorded=recorded)
    assert "\n" not in str(caught.value)
