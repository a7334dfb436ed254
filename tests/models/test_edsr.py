import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from srzoo.models.edsr import EDSR


def reference_edsr(state: dict[str, Tensor], lr: Tensor, scale: int, num_blocks: int, res_scale: float) -> Tensor:
    """The paper's network (figure 3) as plain functions on 0..255, mean removed first and added last."""

    def conv(x: Tensor, key: str) -> Tensor:
        return F.conv2d(x, state[f"{key}.weight"], state[f"{key}.bias"], padding=1)

    mean = torch.tensor([0.4488, 0.4371, 0.4040], dtype=lr.dtype).view(1, 3, 1, 1) * 255
    head = x = conv(lr * 255 - mean, "head")
    for i in range(num_blocks):
        x = x + res_scale * conv(conv(x, f"body.{i}.conv1").clamp(min=0), f"body.{i}.conv2")
    x = head + conv(x, f"body.{num_blocks}")
    for i, factor in enumerate({2: [2], 3: [3], 4: [2, 2], 8: [2, 2, 2]}[scale]):
        x = F.pixel_shuffle(conv(x, f"upsample.{2 * i}"), factor)
    return (conv(x, "tail") + mean) / 255


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
@pytest.mark.parametrize("res_scale", [1.0, 0.1])
def test_it_computes_figure_3(scale, res_scale):
    model = EDSR(scale=scale, width=4, num_blocks=2, res_scale=res_scale).double()
    lr = torch.rand(2, 3, 5, 6, dtype=torch.float64)
    expected = reference_edsr(model.state_dict(), lr, scale, 2, res_scale)
    torch.testing.assert_close(model(lr), expected, rtol=0, atol=1e-6)  # the mean is rounded to float32


@pytest.mark.parametrize(
    ("channels", "mean"),
    [
        (1, [0.299 * 0.4488 + 0.587 * 0.4371 + 0.114 * 0.4040]),
        (3, [0.4488, 0.4371, 0.4040]),
        (4, [0.4488, 0.4371, 0.4040, 0.0]),
    ],
)
def test_grey_images_lose_the_mean_luma_and_a_fourth_channel_nothing(channels, mean):
    model = EDSR(scale=2, channels=channels, width=4, num_blocks=1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    out = model(torch.rand(1, channels, 4, 5))  # all that is left is the mean, added back
    assert out.shape == (1, channels, 8, 10)
    torch.testing.assert_close(out, torch.tensor(mean).view(1, -1, 1, 1).expand(1, channels, 8, 10))


@pytest.mark.parametrize("channels", [1, 4])
def test_the_mean_is_taken_off_on_the_way_in(channels):
    model = EDSR(scale=2, channels=channels, width=4, num_blocks=1)
    seen = []
    model.head.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    lr = torch.rand(1, channels, 4, 5)
    model(lr)
    offset = (lr * 255 - seen[0]).mean((0, 2, 3))
    luma = 255 * (0.299 * 0.4488 + 0.587 * 0.4371 + 0.114 * 0.4040)
    expected = [luma] if channels == 1 else [255 * 0.4488, 255 * 0.4371, 255 * 0.4040, 0]
    torch.testing.assert_close(offset, torch.tensor(expected), rtol=0, atol=1e-3)


def test_two_channels_are_refused():
    with pytest.raises(ValueError, match=r"channels is 2; .* 1 \(grey\), 3 \(RGB\) or 4"):
        EDSR(scale=2, channels=2)


def test_a_scale_that_is_no_product_of_2_and_3_is_refused():
    with pytest.raises(ValueError, match="scale is 5"):
        EDSR(scale=5, width=4, num_blocks=1)


def test_the_mean_is_no_part_of_the_weights():
    model = EDSR(scale=2, width=4, num_blocks=1)
    assert {key.split(".")[0] for key in model.state_dict()} == {"head", "body", "upsample", "tail"}
