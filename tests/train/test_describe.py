import functools
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from srzoo.train.describe import describe


@dataclass(frozen=True)
class Inner:
    factor: float = 0.5


@dataclass(frozen=True)
class Outer:
    parts: tuple[Inner, ...] = (Inner(), Inner(2.0))
    path: Path = Path("a/b")


class Plain:
    def __init__(self, power: int) -> None:
        self.power = power
        self._cache = object()


class Weighted(nn.Module):
    """Holds what is a setting and what is none."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = (0.5, 1)
        self.by_scale = {"x2": None}
        self.window = torch.ones(3)
        self.tables = [torch.ones(3)]
        self.function = torch.sqrt
        self.inner = nn.Conv2d(1, 1, 1)
        self.by_number = {2: "x2"}
        self._cache = 1


@pytest.mark.parametrize(
    ("thing", "expected"),
    [
        (None, None),
        (True, True),
        (0.1, 0.1),
        ("word", "word"),
        (np.float64(0.5), 0.5),
        (torch.bfloat16, "torch.bfloat16"),
        (torch.device("cpu"), "cpu"),
        ({1: (2, 3)}, {"1": [2, 3]}),
        ({3, 1, 2}, [1, 2, 3]),
        (
            Outer(),
            {
                "kind": "Outer",
                "parts": [{"kind": "Inner", "factor": 0.5}, {"kind": "Inner", "factor": 2.0}],
                "path": "a/b",
            },
        ),
        (Outer, "Outer"),
        (torch.nn.functional.l1_loss, "l1_loss"),
        (functools.partial(Plain, power=3), {"kind": "Plain", "args": [], "power": 3}),
        (nn.L1Loss(), {"kind": "L1Loss", "reduction": "mean"}),
        (Weighted(), {"kind": "Weighted", "weights": [0.5, 1], "by_scale": {"x2": None}}),
        (nn.Tanh(), {"kind": "Tanh"}),
        (Plain(2), {"kind": "Plain", "power": 2}),
    ],
)
def test_things_become_plain_values_that_survive_a_file(thing, expected):
    told = describe(thing)
    assert told == expected
    assert type(told) is type(expected)
    assert json.loads(json.dumps(told)) == told


def test_equal_settings_are_told_alike_and_others_apart():
    assert describe(Outer()) == describe(Outer(parts=(Inner(0.5), Inner(2.0))))
    assert describe(Outer()) != describe(Outer(parts=(Inner(0.5), Inner(2.5))))
    assert describe(Plain(2)) != describe(Plain(3))
    assert describe(nn.HuberLoss(delta=0.1)) != describe(nn.HuberLoss(delta=1.0))
    assert describe(nn.HuberLoss().eval()) == describe(nn.HuberLoss())


@pytest.mark.parametrize("held", [torch.zeros(2), np.zeros(2)])
def test_an_array_is_no_setting(held):
    with pytest.raises(TypeError, match="give plain numbers"):
        describe(Outer(parts=(held,)))
