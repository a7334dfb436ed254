from dataclasses import dataclass, field
from enum import Enum
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from srzoo.data import Bicubic, Blur, Chain, Jpeg, Unknown
from srzoo.data.settings import told


class Plain:
    pass


class Named:
    def __init__(self, value: int) -> None:
        self.value = value

    def __repr__(self) -> str:
        return f"Named({self.value})"


class Kind(Enum):
    SOFT = 1


@dataclass(frozen=True)
class Holder:
    value: Any
    quiet: int = field(default=0, repr=False)


LONG = np.arange(5000.0)  # its repr is cut short
CHANGED = LONG.copy()
CHANGED[2500] = -1

DIFFERENT = [
    Holder(1), Holder(2), Holder(1.0), Holder(True), Holder("1"), Holder(None), Holder(1, quiet=1),
    Holder((1, 2)), Holder(((1,), 2)), Holder({"a": 1}), Holder({"a": 2}), Holder({"b": 1}), Holder({"a", "b"}),
    Holder(Named(1)), Holder(Named(2)), Holder(Kind.SOFT), Holder(Holder(1)),
    Holder(LONG), Holder(CHANGED), Holder(LONG.astype(np.float32)), Holder(LONG.reshape(50, 100)),
    Holder(torch.from_numpy(LONG)), Holder(torch.from_numpy(CHANGED)), Holder(torch.ones(3, dtype=torch.bfloat16)),
    Chain(Blur(1.0), Bicubic()), Chain(Blur(2.0), Bicubic()), Chain(Bicubic(), Jpeg(80)), Unknown(0), Unknown(1),
]  # fmt: skip


def test_different_settings_are_told_apart() -> None:
    assert len({str(told(value)) for value in DIFFERENT}) == len(DIFFERENT)


def test_equal_settings_are_told_alike() -> None:
    assert told(Holder(LONG)) == told(Holder(LONG.copy()))
    assert told(Holder(np.asfortranarray(LONG.reshape(50, 100)))) == told(Holder(LONG.reshape(50, 100)))
    assert told(Holder(torch.arange(6).view(2, 3).T.contiguous())) == told(Holder(torch.arange(6).view(2, 3).T))
    assert told(Holder({"a", "b", "c"})) == told(Holder({"c", "b", "a"}))
    assert told(Chain(Blur(1.0), Bicubic())) == told(Chain(Blur(1.0), Bicubic()))


def test_a_module_is_told_by_its_weights() -> None:
    first, other = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    assert told(first) != told(other)
    other.load_state_dict(first.state_dict())
    assert told(first) == told(other)


@pytest.mark.parametrize(
    ("value", "where"),
    [
        (Holder(Plain()), r"Plain .*\(Holder\.value\)"),
        (Holder([1, {"k": Plain()}]), r"Plain .*\(Holder\.value\[1\]\['k'\]\)"),
        (Holder(lambda x: x), r"function .*\(Holder\.value\)"),
        (Holder(SimpleNamespace(inside=Plain())), r"SimpleNamespace .*\(Holder\.value\)"),
        (Holder(np.array([Plain()])), r"ndarray .*\(Holder\.value\)"),
        (Plain(), "Plain has no repr that tells its settings; make it a frozen dataclass"),
    ],
)
def test_what_does_not_tell_its_settings_is_named(value: object, where: str) -> None:
    with pytest.raises(TypeError, match=where):
        told(value)
