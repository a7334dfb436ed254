import pytest
import torch
from torch import nn

from srzoo.blocks import ScaleHeads


def heads() -> ScaleHeads:
    return ScaleHeads((2, 4, 3), lambda scale: nn.Conv2d(2, scale, 1))


def test_the_branch_of_the_scale_runs_and_no_other() -> None:
    module, x = heads(), torch.rand(1, 2, 3, 3)
    for scale in (2, 3, 4):
        module.zero_grad()
        out = module(x, scale)
        assert torch.equal(out, module.branch(scale)(x))
        assert out.shape[1] == scale
        out.sum().backward()
        for other in module.scales:
            has_gradient = any(p.grad is not None for p in module.branch(other).parameters())
            assert has_gradient == (other == scale)


def test_branches_are_named_by_scale_in_the_order_given() -> None:
    assert heads().scales == (2, 4, 3)
    assert sorted({key.rsplit(".", 1)[0] for key in heads().state_dict()}) == [
        "branches.x2",
        "branches.x3",
        "branches.x4",
    ]


def test_an_unknown_scale_is_refused_with_those_there_are() -> None:
    with pytest.raises(ValueError, match="scale 8 has no branch; there are 2, 4, 3"):
        heads()(torch.rand(1, 2, 3, 3), 8)


@pytest.mark.parametrize("scales", [(), (2, 3, 2)])
def test_no_scale_or_one_twice_is_refused(scales: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="give at least one, each once"):
        ScaleHeads(scales, lambda _: nn.Identity())
