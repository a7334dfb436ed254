import numpy as np
import pytest
import torch
from scipy.ndimage import correlate
from torch import Tensor

import srzoo
from srzoo.color import rgb_to_ycbcr, ycbcr_to_rgb
from srzoo.models.espcn import ESPCN
from srzoo.resize import imresize
from srzoo.testing import receptive_field
from srzoo.upscaling.layers import record
from srzoo.upscaling.tiling import run_tiled

LAYERS = ("extract", "map", "reconstruct")


def with_biases(model: ESPCN) -> ESPCN:
    for key, parameter in model.named_parameters():
        if key.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.3)
    return model.double().eval()


def reference_espcn(state: dict[str, Tensor], y: np.ndarray, scale: int) -> np.ndarray:
    """Equations 2 to 4, in loops: planes correlated with zeros around, tanh twice, then each pixel to its place."""
    planes = y[None]
    for layer in LAYERS:
        weight, bias = state[f"{layer}.weight"].numpy(), state[f"{layer}.bias"].numpy()
        planes = np.stack(
            [
                sum(correlate(plane, kernel, mode="constant") for plane, kernel in zip(planes, kernels, strict=True))
                + b
                for kernels, b in zip(weight, bias, strict=True)
            ]
        )
        if layer != "reconstruct":
            planes = np.tanh(planes)
    sr = np.empty((y.shape[0] * scale, y.shape[1] * scale))
    for row, column in np.ndindex(*sr.shape):
        phase = scale * (row % scale) + column % scale
        sr[row, column] = planes[phase, row // scale, column // scale]
    return sr


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [(5, 6), (1, 1), (1, 4)])
def test_it_computes_the_papers_equations_on_luma(scale: int, size: tuple[int, int]) -> None:
    model = with_biases(ESPCN(scale=scale, channels=1, width=4, mapping_width=3))
    y = torch.rand(1, 1, *size, dtype=torch.float64)
    expected = reference_espcn(model.state_dict(), y[0, 0].numpy(), scale)
    np.testing.assert_allclose(model(y)[0, 0].detach(), expected, rtol=0, atol=1e-12)


def test_colour_is_bicubic_and_luma_the_networks() -> None:
    model = with_biases(ESPCN(scale=3, width=4, mapping_width=3))
    lr = torch.rand(1, 3, 5, 6, dtype=torch.float64)
    y = torch.from_numpy(reference_espcn(model.state_dict(), rgb_to_ycbcr(lr)[0, 0].numpy(), 3))
    expected = ycbcr_to_rgb(torch.cat([y[None, None], rgb_to_ycbcr(imresize(lr, scale=3))[:, 1:]], 1))
    torch.testing.assert_close(model(lr), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_the_default_is_5_3_3_with_64_and_32_features(scale: int) -> None:
    state = srzoo.create_model(f"espcn_x{scale}").state_dict()
    shapes = [tuple(state[f"{layer}.weight"].shape) for layer in LAYERS]
    assert shapes == [(64, 1, 5, 5), (32, 64, 3, 3), (scale**2, 32, 3, 3)]
    assert len(state) == 6


def test_nothing_bounds_the_last_layer() -> None:
    model = ESPCN(scale=2, channels=1, width=4, mapping_width=3)
    torch.nn.init.constant_(model.reconstruct.bias, 5.0)
    assert model(torch.zeros(1, 1, 3, 3)).min() > 2


def test_it_starts_as_glorot_and_bengio_say() -> None:
    state = ESPCN(scale=3).state_dict()
    fans = {"extract": (25, 1600), "map": (576, 288), "reconstruct": (288, 81)}
    for layer, (fan_in, fan_out) in fans.items():
        gain = {"extract": 8 * 5 / 3, "map": 5 / 3, "reconstruct": 1}[layer]
        expected = gain * (2 / (fan_in + fan_out)) ** 0.5
        assert state[f"{layer}.weight"].std().item() == pytest.approx(expected, rel=0.1)
    assert not state["map.bias"].any()


def test_at_the_start_even_luma_stays_as_it_is_and_most_filters_see_contrast_alone() -> None:
    model = ESPCN(scale=3, channels=1)
    means = model.extract.weight.mean((1, 2, 3)).abs()
    assert means[8:].max() < 1e-6 < means[:8].min()
    even = torch.full((1, 1, 12, 12), 0.45)
    torch.testing.assert_close(model(even)[..., 12:-12, 12:-12], torch.full((1, 1, 12, 12), 0.45))


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_halo_is_exact_and_tiles_equal_the_whole(scale: int, channels: int) -> None:
    model = with_biases(ESPCN(scale=scale, channels=channels, width=4, mapping_width=3))
    assert model.halo() == 4 == receptive_field(model, scale)
    lr = torch.rand(1, channels, 13, 17, dtype=torch.float64)
    whole = model(lr)
    torch.testing.assert_close(run_tiled(model, lr, scale=scale, tile=5, halo=4), whole, rtol=0, atol=1e-12)
    assert (run_tiled(model, lr, scale=scale, tile=5, halo=3) - whole).abs().max() > 1e-9


def test_its_luma_network_is_a_list_of_layers_for_the_engines() -> None:
    layers = record(ESPCN(scale=3, channels=1).eval())
    assert [layer.name or layer.kind for layer in layers] == [
        *("image", "conv", "tanh", "conv", "tanh", "conv", "shuffle")
    ]


@pytest.mark.parametrize("channels", [1, 3])
def test_the_upscaler_gives_what_the_model_gives(channels: int) -> None:
    model = ESPCN(scale=2, channels=channels, width=4, mapping_width=3).eval()
    lr = torch.rand(1, channels, 21, 18)
    upscaler = srzoo.Upscaler(model, engine="torch", precision="fp32")
    with torch.no_grad():
        torch.testing.assert_close(upscaler(lr[0]), model(lr)[0].clamp(0, 1), rtol=0, atol=1e-5)


def test_two_channels_are_refused() -> None:
    with pytest.raises(ValueError, match=r"channels is 2; .* 3 \(RGB\) or 1 \(luma\)"):
        ESPCN(scale=2, channels=2)
