import pytest
import torch
import torch.nn.functional as F

from srzoo.blocks import ResBlock


@pytest.mark.parametrize(("kernel_size", "res_scale"), [(3, 1.0), (3, 0.1), (5, 1.0), (1, 0.5)])
def test_is_the_input_plus_its_scaled_residual(kernel_size: int, res_scale: float) -> None:
    block = ResBlock(4, kernel_size, res_scale)
    x = torch.randn(2, 4, 6, 7)
    pad = kernel_size // 2
    inner = F.conv2d(x, block.conv1.weight, block.conv1.bias, padding=pad).clamp(min=0)
    residual = F.conv2d(inner, block.conv2.weight, block.conv2.bias, padding=pad)
    torch.testing.assert_close(block(x), x + res_scale * residual)


def test_without_residual_it_is_the_identity() -> None:
    x = torch.randn(1, 4, 3, 3)
    assert torch.equal(ResBlock(4, res_scale=0.0)(x), x)


@pytest.mark.parametrize("kernel_size", [1, 3, 5])
def test_the_halo_is_how_far_a_pixel_sees(kernel_size: int) -> None:
    block = ResBlock(2, kernel_size).double()
    for parameter in block.parameters():
        parameter.data = parameter.data.abs() + 0.1
    x = torch.rand(1, 2, 15, 15, dtype=torch.float64, requires_grad=True)
    block(x)[..., 7, 7].sum().backward()
    assert x.grad is not None
    seen = x.grad.abs().sum((0, 1)).nonzero()
    assert (seen.min(0).values == 7 - block.halo).all()
    assert (seen.max(0).values == 7 + block.halo).all()


def test_an_even_kernel_is_refused() -> None:
    with pytest.raises(ValueError, match="kernel_size is 4; it must be odd"):
        ResBlock(4, 4)
