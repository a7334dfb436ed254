import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import srzoo
from srzoo.color import rgb_to_ycbcr, ycbcr_to_rgb
from srzoo.models.fsrcnn import FSRCNN
from srzoo.resize import imresize
from srzoo.testing import receptive_field
from srzoo.upscaling.layers import record
from srzoo.upscaling.tiling import run_tiled

SMALL = dict(width=4, shrink_width=3, num_blocks=2)


def reference_fsrcnn(state: dict[str, Tensor], y: Tensor, scale: int, num_blocks: int) -> Tensor:
    """The paper's Conv(5, d, 1) - Conv(1, s, d) - m x Conv(3, s, s) - Conv(1, d, s) - DeConv(9, 1, d), plainly."""
    x = y
    for key in ("extract", "shrink", *(f"map.{i}" for i in range(num_blocks)), "expand"):
        weight, slope = state[f"{key}.0.weight"], state[f"{key}.1.weight"].reshape(1, -1, 1, 1)
        margin = weight.shape[-1] // 2
        x = F.conv2d(F.pad(x, (margin,) * 4), weight, state[f"{key}.0.bias"])
        x = x.clamp(min=0) + slope * x.clamp(max=0)
    whole = F.conv_transpose2d(x, state["deconv.weight"], state["deconv.bias"], stride=scale)
    first = 4 - (scale - 1) // 2  # the kernel's middle, pixel 4 of `whole`, goes to SR pixel (scale - 1) // 2
    whole = F.pad(whole, (0, scale, 0, scale), value=state["deconv.bias"].item())
    height, width = (side * scale for side in y.shape[-2:])
    return whole[..., first : first + height, first : first + width]


def with_strong_weights(model: FSRCNN) -> FSRCNN:
    """A double model whose layers all matter: those of the paper's start give next to nothing."""
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model.double().eval()


@pytest.mark.parametrize("scale", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("size", [(5, 6), (1, 1), (1, 4)])
def test_it_computes_the_papers_layers_on_luma(scale: int, size: tuple[int, int]) -> None:
    model = with_strong_weights(FSRCNN(scale=scale, channels=1, **SMALL))
    y = torch.rand(2, 1, *size, dtype=torch.float64)
    expected = reference_fsrcnn(model.state_dict(), y, scale, 2)
    torch.testing.assert_close(model(y), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_colour_is_bicubic_and_luma_the_networks(scale: int) -> None:
    model = with_strong_weights(FSRCNN(scale=scale, **SMALL))
    lr = torch.rand(2, 3, 5, 6, dtype=torch.float64)
    y = reference_fsrcnn(model.state_dict(), rgb_to_ycbcr(lr)[:, :1], scale, 2)
    expected = ycbcr_to_rgb(torch.cat([y, rgb_to_ycbcr(imresize(lr, scale=scale))[:, 1:]], 1))
    torch.testing.assert_close(model(lr), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("name", "weights"), [("fsrcnn", 12_464), ("fsrcnn_small", 3_937)])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_it_has_the_papers_number_of_weights(name: str, weights: int, scale: int) -> None:
    """Section 3.2 counts 12,464 for FSRCNN(56, 12, 4) and table 4 3,937 for FSRCNN-s, without biases and slopes."""
    parameters = srzoo.create_model(f"{name}_x{scale}").parameters()
    assert sum(parameter.numel() for parameter in parameters if parameter.ndim == 4) == weights


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_the_kernels_middle_lies_where_bicubic_puts_the_pixel(scale: int) -> None:
    """With a pulse in the middle of its kernel, LR pixel i comes out at the SR pixel nearest to its centre."""
    model = FSRCNN(scale=scale, channels=1, width=1, num_blocks=0)
    with torch.no_grad():
        model.deconv.weight.zero_()[..., 4, 4] = 1
    rows = model.deconv(torch.ones(1, 1, 5, 5))[0, 0].sum(1).nonzero()[:, 0]
    centers = torch.arange(5) * scale + (scale - 1) / 2
    assert len(rows) == 5
    assert (rows - centers).abs().max() == (0 if scale % 2 else 0.5)


def test_it_starts_as_the_paper_does() -> None:
    state = FSRCNN(scale=2).state_dict()
    assert state["deconv.weight"].std().item() == pytest.approx(0.001, rel=0.1)
    for key in ("extract", "shrink", "map.0", "map.3", "expand"):
        weight, slope = state[f"{key}.0.weight"], state[f"{key}.1.weight"]
        fan_in = weight[0].numel()
        assert weight.std().item() == pytest.approx((2 / ((1 + 0.25**2) * fan_in)) ** 0.5, rel=0.15)
        assert (slope == 0.25).all()
    assert not any(value.any() for key, value in state.items() if key.endswith("bias"))


@pytest.mark.parametrize(
    ("name", "halo"),
    [
        *(("fsrcnn_x2", 8), ("fsrcnn_x3", 7), ("fsrcnn_x4", 7)),
        *(("fsrcnn_small_x2", 5), ("fsrcnn_small_x3", 4), ("fsrcnn_small_x4", 4)),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_the_halo_is_exact(name: str, halo: int, channels: int) -> None:
    model = srzoo.create_model(name, channels=channels, width=2)
    assert model.halo() == halo == receptive_field(model, model.scales[0])


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_tiles_with_its_halo_equal_the_whole_and_with_less_do_not(scale: int) -> None:
    model = with_strong_weights(FSRCNN(scale=scale, **SMALL))
    lr = torch.rand(1, 3, 13, 17, dtype=torch.float64)
    whole, halo = model(lr), model.halo()
    torch.testing.assert_close(run_tiled(model, lr, scale=scale, tile=5, halo=halo), whole, rtol=0, atol=1e-12)
    narrow = run_tiled(model, lr, scale=scale, tile=5, halo=halo - 1)
    assert (narrow - whole).abs().max() > 1e-9


def test_its_luma_network_is_a_list_of_layers_for_the_engines() -> None:
    kinds = [layer.kind for layer in record(FSRCNN(scale=2, channels=1, **SMALL).eval())]
    assert set(kinds) == {"image", "conv", "map", "shuffle"}
    assert kinds.count("conv") == 6


@pytest.mark.parametrize("channels", [1, 3])
def test_the_upscaler_gives_what_the_model_gives(channels: int) -> None:
    model = FSRCNN(scale=2, channels=channels, **SMALL).eval()
    torch.nn.init.normal_(model.deconv.weight, std=0.1)
    lr = torch.rand(1, channels, 21, 18)
    upscaler = srzoo.Upscaler(model, engine="torch", precision="fp32")
    with torch.no_grad():
        torch.testing.assert_close(upscaler(lr[0]), model(lr)[0].clamp(0, 1), rtol=0, atol=1e-5)


@pytest.mark.parametrize("scale", [0, 10])
def test_a_scale_its_kernel_does_not_cover_is_refused(scale: int) -> None:
    with pytest.raises(ValueError, match=rf"scale is {scale}; "):
        FSRCNN(scale=scale)


def test_two_channels_are_refused() -> None:
    with pytest.raises(ValueError, match=r"channels is 2; .* 3 \(RGB\) or 1 \(luma\)"):
        FSRCNN(scale=2, channels=2)
