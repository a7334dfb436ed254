import math
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from srzoo.train import load_checkpoint, save_checkpoint

STATE = {
    "step": 7,
    "seconds": 0.1 + 0.2,
    "settings": {"schedule": {"kind": "Halving", "every": 5}, "clip_norm": None, "compile": True},
    "scales": [2, 3],
    "model": {"head.weight": torch.rand(2, 3), "count": torch.tensor(3), "none": torch.zeros(0, 4)},
    "optimizer": {"state": {0: {"step": torch.tensor(7.0)}, 1: {"step": torch.tensor(8.0)}}, "groups": []},
}


def is_equal(a: object, b: object) -> bool:
    """Equality of nested state to the bit, dtypes and kinds of keys included."""
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict) and isinstance(b, dict):
        return list(a) == list(b) and all(is_equal(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(is_equal, a, b))
    return type(a) is type(b) and a == b


def test_nested_state_comes_back_bit_by_bit(tmp_path):
    save_checkpoint(tmp_path / "run" / "a.safetensors", STATE)
    assert is_equal(load_checkpoint(tmp_path / "run" / "a.safetensors"), STATE)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64, torch.int64])
def test_every_dtype_and_layout_is_kept_in_value(tmp_path, dtype):
    value = (torch.rand(2, 3, 4, 4) * 100).to(dtype).contiguous(memory_format=torch.channels_last)
    save_checkpoint(tmp_path / "a.safetensors", {"x": value, "shared": value, "view": value[:, 1:]})
    found = load_checkpoint(tmp_path / "a.safetensors")
    assert is_equal(found, {"x": value, "shared": value, "view": value[:, 1:]})


def test_tuples_come_back_as_lists(tmp_path):
    save_checkpoint(tmp_path / "a.safetensors", {"betas": (0.9, 0.999)})
    assert load_checkpoint(tmp_path / "a.safetensors") == {"betas": [0.9, 0.999]}


def test_infinite_values_are_kept(tmp_path):
    save_checkpoint(tmp_path / "a.safetensors", {"best": -math.inf, "x": torch.tensor([math.inf])})
    found = load_checkpoint(tmp_path / "a.safetensors")
    assert (found["best"], found["x"].item()) == (-math.inf, math.inf)


@pytest.mark.parametrize("fault", [OSError("disk full"), KeyboardInterrupt()])
def test_a_fault_while_saving_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, fault):
    path = tmp_path / "a.safetensors"
    save_checkpoint(path, STATE)

    def half_written(tensors, work, metadata):
        Path(work).write_bytes(b"half")
        raise fault

    monkeypatch.setattr("srzoo.train.checkpoint.save_file", half_written)
    with pytest.raises(type(fault)):
        save_checkpoint(path, {**STATE, "step": 8})
    assert is_equal(load_checkpoint(path), STATE)
    assert list(tmp_path.iterdir()) == [path]


def test_a_new_checkpoint_replaces_the_old_one(tmp_path):
    path = tmp_path / "a.safetensors"
    save_checkpoint(path, STATE)
    save_checkpoint(path, {"step": 8})
    assert load_checkpoint(path) == {"step": 8}
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"a\.safetensors does not exist"):
        load_checkpoint(tmp_path / "a.safetensors")


def test_files_that_are_no_checkpoint_are_refused_by_name(tmp_path):
    cut, text, foreign, lying = (tmp_path / f"{name}.safetensors" for name in ("cut", "text", "foreign", "lying"))
    save_checkpoint(cut, STATE)
    cut.write_bytes(cut.read_bytes()[:-3])
    text.write_text("not a checkpoint")
    save_file({"x": torch.zeros(1)}, foreign)
    lying.write_bytes(struct.pack("<Q", 1 << 40))
    for path in (cut, text, lying):
        with pytest.raises(ValueError, match=f"{path.name} is damaged or not a safetensors file"):
            load_checkpoint(path)
    with pytest.raises(ValueError, match=r"foreign\.safetensors is not a training checkpoint of srzoo"):
        load_checkpoint(foreign)
