"""What a plug-in tests of itself: the contract, that it is found once installed, and what is its own."""

import torch
from srzoo_pixattn import ARCH, PixelAttention

import srzoo
from srzoo.testing import check_architecture


def test_the_contract() -> None:
    """All that srzoo asks of its own families."""
    check_architecture(ARCH)


def test_srzoo_finds_it_by_name() -> None:
    """By the entry point, so the package must be installed."""
    model = srzoo.create_model("pixattn_x2", width=8, num_blocks=1)
    assert model(torch.rand(1, 3, 6, 5)).shape == (1, 3, 12, 10)
    assert model.package.startswith("srzoo-pixattn")


def test_attention_only_dims() -> None:
    """Each value is multiplied by a factor in (0, 1)."""
    x = torch.randn(2, 8, 5, 4)
    factor = PixelAttention(8)(x) / x
    assert 0 < factor.min() < factor.max() < 1
