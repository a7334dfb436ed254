import types

import pytest
import torch

from srzoo.device import fast_precision, pick_device


def pretend(monkeypatch: pytest.MonkeyPatch, **counts: int) -> None:
    """Let torch report this many devices of each kind."""
    for kind in ("cuda", "mps", "xpu"):
        count = counts.get(kind, 0)
        backend = types.SimpleNamespace(is_available=lambda n=count: n > 0, device_count=lambda n=count: n)
        monkeypatch.setattr(torch, kind, backend)
        if kind == "mps":
            monkeypatch.setattr(torch.backends, "mps", backend)


@pytest.mark.parametrize(
    ("there", "chosen"),
    [({}, "cpu"), ({"xpu": 1}, "xpu"), ({"mps": 1, "xpu": 1}, "mps"), ({"cuda": 2, "mps": 1}, "cuda")],
)
def test_auto_takes_the_first_there_is(there: dict[str, int], chosen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, **there)
    assert pick_device() == torch.device(chosen)
    assert pick_device("auto") == torch.device(chosen)


def test_devices_are_taken_by_name_number_and_object(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, cuda=2)
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device(torch.device("cpu")) == torch.device("cpu")
    assert pick_device("cuda") == torch.device("cuda")
    assert pick_device("cuda:1") == torch.device("cuda:1")


@pytest.mark.parametrize("device", ["cuda:2", "cuda:17", "mps", "xpu", "meta", "gpu", "", "cuda:one"])
def test_what_is_not_there_is_told_with_what_is(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, cuda=2)
    with pytest.raises(ValueError, match="is not available here; there is cuda, cpu \\(or 'auto'\\)") as caught:
        pick_device(device)
    assert repr(device) in str(caught.value)


def test_a_device_object_that_is_not_there_is_refused_too(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch)
    with pytest.raises(ValueError, match="device 'cuda:0' is not available here; there is cpu"):
        pick_device(torch.device("cuda:0"))


def test_untried_kinds_of_device_are_said_to_be(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pretend(monkeypatch, cuda=2)
    pick_device("cpu")
    assert not caplog.messages
    pick_device("auto")
    assert caplog.messages == ["srzoo has not been tested on cuda"]


@pytest.mark.parametrize(("amx", "avx", "expected"), [(0, 0, "fp32"), (1, 0, "bf16"), (0, 1, "bf16")])
def test_the_cpu_runs_bf16_only_where_it_has_it(
    amx: int, avx: int, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: bool(amx))
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: bool(avx))
    assert fast_precision(torch.device("cpu")) == expected


@pytest.mark.parametrize(("has_bf16", "expected"), [(True, "bf16"), (False, "fp16")])
def test_a_gpu_without_bf16_runs_fp16(has_bf16: bool, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has_bf16)
    assert fast_precision(torch.device("cuda")) == expected
    assert fast_precision(torch.device("mps")) == "fp32"
