import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import srzoo
from srzoo.color import rgb_to_ycbcr, ycbcr_to_rgb
from srzoo.models.vdsr import VDSR
from srzoo.resize import imresize
from srzoo.testing import receptive_field
from srzoo.upscaling.tiling import run_tiled


def reference_vdsr(state: dict[str, Tensor], y: Tensor, num_blocks: int) -> Tensor:
    """The paper's network (figure 1) as plain functions: zeros beyond the edge at each layer, one skip over all."""
    keys = ["head", *(f"body.{i}" for i in range(num_blocks)), "tail"]
    x = y
    for key in keys:
        x = F.conv2d(F.pad(x, (1, 1, 1, 1)), state[f"{key}.weight"], state[f"{key}.bias"])
        if key != "tail":
            x = x.clamp(min=0)
    return x + y


def model_with_biases(**arguments) -> VDSR:
    model = VDSR(**arguments)
    for key, parameter in model.named_parameters():
        if key.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.1)
    return model.double().eval()


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("size", [(5, 6), (1, 1), (1, 4)])
def test_it_adds_a_residual_to_the_bicubic_luma(scale: int, size: tuple[int, int]) -> None:
    model = model_with_biases(channels=1, width=4, num_blocks=3)
    lr = torch.rand(2, 1, *size, dtype=torch.float64)
    expected = reference_vdsr(model.state_dict(), imresize(lr, scale=scale), 3)
    torch.testing.assert_close(model(lr, scale), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_colour_is_bicubic_and_luma_the_networks(scale: int) -> None:
    model = model_with_biases(width=4, num_blocks=3)
    lr = torch.rand(2, 3, 5, 6, dtype=torch.float64)
    ycbcr = rgb_to_ycbcr(imresize(lr, scale=scale))
    y = reference_vdsr(model.state_dict(), ycbcr[:, :1], 3)
    expected = ycbcr_to_rgb(torch.cat([y, ycbcr[:, 1:]], 1))
    torch.testing.assert_close(model(lr, scale), expected, rtol=0, atol=1e-6)


def test_the_default_has_20_layers_of_64_features() -> None:
    weights = [value for key, value in srzoo.create_model("vdsr").state_dict().items() if key.endswith("weight")]
    assert [tuple(weight.shape) for weight in weights] == [(64, 1, 3, 3), *[(64, 64, 3, 3)] * 18, (1, 64, 3, 3)]


def test_weights_fit_any_channels_and_scales() -> None:
    state = VDSR(width=4, num_blocks=1).state_dict()
    VDSR(width=4, num_blocks=1, channels=1).load_state_dict(state)
    other = VDSR(width=4, num_blocks=1, scales=(5,))
    other.load_state_dict(state)
    assert other(torch.rand(1, 3, 4, 3)).shape == (1, 3, 20, 15)


def test_it_starts_as_he_et_al_say() -> None:
    state = VDSR(num_blocks=2).state_dict()
    for key in ("body.0", "body.1", "tail"):
        assert state[f"{key}.weight"].std().item() == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.15)
    assert state["head.weight"].std().item() == pytest.approx((2 / 9) ** 0.5, rel=0.15)
    assert not any(value.any() for key, value in state.items() if key.endswith("bias"))


@pytest.mark.parametrize(("scale", "halo"), [(2, 12), (3, 8), (4, 7)])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_halo_of_the_full_depth_is_exact(scale: int, halo: int, channels: int) -> None:
    model = VDSR(channels=channels, width=2)
    assert model.halo(scale) == halo == receptive_field(model, scale)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_tiles_with_its_halo_equal_the_whole(scale: int) -> None:
    model = model_with_biases(width=4, num_blocks=3)
    lr = torch.rand(1, 3, 13, 17, dtype=torch.float64)
    tiled = run_tiled(lambda tile: model(tile, scale), lr, scale=scale, tile=5, halo=model.halo(scale))
    torch.testing.assert_close(tiled, model(lr, scale), rtol=0, atol=1e-12)


def test_it_needs_a_scale_it_offers() -> None:
    model = srzoo.create_model("vdsr", width=4, num_blocks=1)
    with pytest.raises(ValueError, match="no scale was given; vdsr offers 2, 3, 4"):
        model(torch.rand(1, 3, 4, 4))


@pytest.mark.parametrize("scales", [(), (2, 2)])
def test_scales_must_be_some_and_each_once(scales: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="give at least one, each once"):
        VDSR(scales=scales, width=4, num_blocks=1)


def test_two_channels_are_refused() -> None:
    with pytest.raises(ValueError, match=r"channels is 2; .* 3 \(RGB\) or 1 \(luma\)"):
        VDSR(channels=2, width=4, num_blocks=1)
