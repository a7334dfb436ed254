import numpy as np
import pytest
import torch
from scipy.ndimage import correlate
from torch import Tensor

import srzoo
from srzoo.color import rgb_to_ycbcr, ycbcr_to_rgb
from srzoo.models.srcnn import SRCNN
from srzoo.resize import imresize
from srzoo.testing import receptive_field
from srzoo.upscaling.tiling import run_tiled

LAYERS = ("extract", "map", "reconstruct")


def with_strong_weights(model: SRCNN) -> SRCNN:
    """A double model whose layers matter: those of the paper's start are next to nothing."""
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return model.double().eval()


def reference_srcnn(state: dict[str, Tensor], y: np.ndarray) -> np.ndarray:
    """The authors' loops: each filter correlated with its plane, edges replicated."""
    planes = y[None]
    for number, layer in enumerate(LAYERS):
        weight, bias = state[f"{layer}.weight"].numpy(), state[f"{layer}.bias"].numpy()
        planes = np.stack(
            [
                sum(correlate(plane, kernel, mode="nearest") for plane, kernel in zip(planes, kernels, strict=True)) + b
                for kernels, b in zip(weight, bias, strict=True)
            ]
        )
        if number < 2:
            planes = np.maximum(planes, 0)
    return planes[0]


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("size", [(5, 6), (1, 1), (1, 4)])
def test_it_computes_the_papers_equations_on_luma(scale: int, size: tuple[int, int]) -> None:
    model = with_strong_weights(SRCNN(scale=scale, channels=1, width=4, mapping_width=3))
    lr = torch.rand(1, 1, *size, dtype=torch.float64)
    expected = reference_srcnn(model.state_dict(), imresize(lr, scale=scale)[0, 0].numpy())
    np.testing.assert_allclose(model(lr)[0, 0].detach(), expected, rtol=0, atol=1e-6)


def test_colour_is_bicubic_and_luma_the_networks() -> None:
    model = with_strong_weights(SRCNN(scale=3, width=4, mapping_width=3))
    lr = torch.rand(1, 3, 5, 6, dtype=torch.float64)
    ycbcr = rgb_to_ycbcr(imresize(lr, scale=3))
    y = torch.from_numpy(reference_srcnn(model.state_dict(), ycbcr[0, 0].numpy()))
    expected = ycbcr_to_rgb(torch.cat([y[None, None], ycbcr[:, 1:]], 1))
    torch.testing.assert_close(model(lr), expected, rtol=0, atol=1e-6)


def test_the_default_is_9_5_5_with_64_and_32_features() -> None:
    state = srzoo.create_model("srcnn_x2").state_dict()
    shapes = [tuple(state[f"{layer}.weight"].shape) for layer in LAYERS]
    assert shapes == [(64, 1, 9, 9), (32, 64, 5, 5), (1, 32, 5, 5)]
    assert len(state) == 6


def test_rgb_and_luma_models_share_their_weights() -> None:
    rgb, luma = SRCNN(scale=2, width=4), SRCNN(scale=2, width=4, channels=1)
    luma.load_state_dict(rgb.state_dict())


def test_it_starts_as_the_paper_does() -> None:
    state = SRCNN(scale=2).state_dict()
    for layer in LAYERS:
        assert state[f"{layer}.weight"].std().item() == pytest.approx(0.001, rel=0.1)
        assert not state[f"{layer}.bias"].any()


@pytest.mark.parametrize(("scale", "halo"), [(2, 6), (3, 4), (4, 4)])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_halo_is_exact_and_tiles_equal_the_whole(scale: int, halo: int, channels: int) -> None:
    model = with_strong_weights(SRCNN(scale=scale, channels=channels, width=4, mapping_width=3))
    assert model.halo() == halo == receptive_field(model, scale)
    lr = torch.rand(1, channels, 13, 17, dtype=torch.float64)
    whole = model(lr)
    torch.testing.assert_close(run_tiled(model, lr, scale=scale, tile=5, halo=halo), whole, rtol=0, atol=1e-12)
    narrow = run_tiled(model, lr, scale=scale, tile=5, halo=halo - 1)
    assert (narrow - whole).abs().max() > 1e-9


def test_two_channels_are_refused() -> None:
    with pytest.raises(ValueError, match=r"channels is 2; .* 3 \(RGB\) or 1 \(luma\)"):
        SRCNN(scale=2, channels=2)
