import pytest
import torch
from torch import nn

import srzoo
from srzoo.architecture import SRModel
from srzoo.blocks import MeanShift
from srzoo.color import rgb_to_grey
from srzoo.train.warm_start import adapt_channels, warm_start

SMALL = dict(width=4, num_blocks=1)
SHARED = {"head", "body", "tail"}


def edsr(scale: int, **overrides: int) -> srzoo.SRModel:
    return srzoo.create_model(f"edsr_baseline_x{scale}", **{**SMALL, **overrides})


def mdsr(**overrides: object) -> srzoo.SRModel:
    return srzoo.create_model("mdsr_baseline", **{**SMALL, **overrides})


def copied_state(model: nn.Module) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in model.state_dict().items()}


@pytest.mark.parametrize(
    ("scale", "fresh"), [(3, {"upsample.0.bias", "upsample.0.weight"}), (4, {"upsample.2.bias", "upsample.2.weight"})]
)
def test_x3_and_x4_start_from_what_fits_of_x2(scale, fresh):
    model, source = edsr(scale), edsr(2)
    before = copied_state(model)
    report = warm_start(model, source)
    after, theirs = model.state_dict(), source.state_dict()
    assert set(report.fresh) == fresh
    assert set(report.copied) == set(after) - fresh
    assert report.adapted == ()
    assert {key.split(".")[0] for key in report.copied} >= SHARED
    assert all(torch.equal(after[key], theirs[key]) for key in report.copied)
    assert all(torch.equal(after[key], before[key]) for key in report.fresh)
    assert not any(torch.equal(before[key], theirs[key]) for key in report.copied)


def test_the_copy_does_not_share_memory_with_its_source():
    model, source = edsr(3), edsr(2)
    warm_start(model, source)
    kept = model.head.weight.detach().clone()
    with torch.no_grad():
        source.head.weight.zero_()
    assert torch.equal(model.head.weight, kept)


def test_a_source_of_which_nothing_fits_is_refused_by_name():
    with pytest.raises(ValueError, match="nothing of Linear fits EDSR"):
        warm_start(edsr(2), nn.Linear(2, 2))
    with pytest.raises(ValueError, match="nothing of Linear fits EDSR"):
        warm_start(edsr(2), edsr(2), nn.Linear(2, 2))


def test_a_bias_does_not_come_without_its_weight():
    with pytest.raises(ValueError, match="nothing of EDSR fits EDSR"):  # only tail.bias has an equal shape
        warm_start(edsr(2, width=8), edsr(2, width=4))


# --- several sources ---


def test_the_first_source_that_has_a_tensor_gives_it():
    model, first, second = edsr(4), edsr(2), edsr(4)
    report = warm_start(model, first, second)
    assert report.fresh == ()
    for key, value in model.state_dict().items():
        assert torch.equal(value, (second if key.startswith("upsample.2") else first).state_dict()[key])


# --- single-scale and multi-scale models ---


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_mdsr_starts_from_edsr_and_equals_it_once_its_own_blocks_do_nothing(scale):
    model, source = mdsr(), edsr(scale)
    before = copied_state(model)
    report = warm_start(model, source)
    assert {key.split(".branches.")[0] for key in report.fresh} == {"pre", "upsample"}
    assert not any(key.startswith(f"upsample.branches.x{scale}.") for key in report.fresh)
    after = model.state_dict()
    assert all(torch.equal(after[key], before[key]) for key in report.fresh)
    with torch.no_grad():
        for block in model.pre.branch(scale):
            block.conv2.weight.zero_()
            block.conv2.bias.zero_()
    lr = torch.rand(1, 3, 6, 7)
    assert torch.equal(model(lr, scale), source(lr))


def test_mdsr_takes_a_branch_from_each_of_three_models():
    model, sources = mdsr(), [edsr(scale) for scale in (2, 3, 4)]
    report = warm_start(model, *sources)
    assert {key.split(".")[0] for key in report.fresh} == {"pre"}
    assert torch.equal(model.head.weight, sources[0].head.weight)
    for source in sources:
        own = model.upsample.branch(source.scales[0]).state_dict()
        assert all(torch.equal(value, own[key]) for key, value in source.upsample.state_dict().items())


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_edsr_starts_from_the_branch_of_its_scale(scale):
    model, source = edsr(scale), mdsr()
    assert warm_start(model, source).fresh == ()
    assert torch.equal(model.upsample[0].weight, source.upsample.branch(scale)[0].weight)
    assert torch.equal(model.tail.weight, source.tail.weight)


def test_a_scale_without_a_branch_leaves_the_upsampler_fresh():
    report = warm_start(edsr(8), mdsr())
    assert {key.split(".")[0] for key in report.fresh} == {"upsample"}
    report = warm_start(mdsr(scales=(2, 3)), edsr(8))
    assert {key.split(".")[0] for key in report.fresh} == {"pre", "upsample"}


class Nested(nn.Module):
    """ScaleHeads below another module, which a rename has to find too."""

    def __init__(self, branches: bool) -> None:
        super().__init__()
        self.scales = (2, 3) if branches else (3,)
        end = srzoo.blocks.ScaleHeads((2, 3), lambda _: nn.Conv2d(2, 2, 1)) if branches else nn.Conv2d(2, 2, 1)
        self.net = nn.ModuleDict({"end": end, "ending": nn.Conv2d(2, 2, 3)})


def test_branches_are_found_at_any_depth():
    model = Nested(branches=True)
    report = warm_start(model, Nested(branches=False))
    assert report.fresh == ("net.end.branches.x2.bias", "net.end.branches.x2.weight")
    back = Nested(branches=False)
    assert warm_start(back, model).fresh == ()
    assert torch.equal(back.net["end"].weight, model.net["end"].branch(3).weight)


# --- other depths ---


@pytest.mark.parametrize(("blocks", "of"), [(5, 2), (2, 5)])
def test_the_convolution_that_ends_a_body_lands_on_no_block(blocks, of):
    model, source = edsr(2, num_blocks=blocks), edsr(2, num_blocks=of)
    before = copied_state(model)
    report = warm_start(model, source)
    shared = {f"body.{i}.conv{k}.{part}" for i in range(2) for k in (1, 2) for part in ("weight", "bias")}
    assert {key for key in report.copied if key.startswith("body.")} == shared
    assert {f"body.{blocks}.weight", f"body.{blocks}.bias"} <= set(report.fresh)
    assert all(torch.equal(model.state_dict()[key], before[key]) for key in report.fresh)


# --- other numbers of channels ---


def equal_means(model: srzoo.SRModel) -> srzoo.SRModel:
    """With the mean shift of every channel the same, so that the zero padding stands for the same pixel."""
    model.shift.mean.fill_(0.45)
    return model


def converted(model: SRModel, of: SRModel, image: torch.Tensor) -> torch.Tensor:
    """What `of` makes of the image, by way of its own number of channels, in those of `model`."""
    return convert(of(convert(image, of.channels)), model.channels)


def convert(image: torch.Tensor, channels: int) -> torch.Tensor:
    given = image.shape[1]
    if given == 1:
        return image.repeat(1, channels, 1, 1)
    if channels == 1:
        return rgb_to_grey(image[:, :3])
    return torch.cat([image, rgb_to_grey(image[:, :3])], 1)[:, :channels]


@pytest.mark.parametrize("make", [edsr, lambda scale, **more: mdsr(scales=(scale,), **more)], ids=["edsr", "mdsr"])
@pytest.mark.parametrize(("channels", "of"), [(1, 3), (3, 1), (4, 3), (3, 4), (1, 4), (4, 1)])
def test_another_number_of_channels_is_the_source_between_two_conversions(make, channels, of):
    model, source = (equal_means(make(2, channels=c)) for c in (channels, of))
    before = copied_state(source)
    report = warm_start(model, source)
    assert report.fresh == ()
    assert report.adapted == ("head.bias", "head.weight", "tail.bias", "tail.weight")
    image = torch.rand(2, channels, 7, 9)
    torch.testing.assert_close(model(image), converted(model, source, image), atol=1e-6, rtol=0)
    assert all(torch.equal(value, before[key]) for key, value in source.state_dict().items())


@pytest.mark.parametrize(("channels", "of"), [(1, 3), (3, 1), (4, 3), (3, 4)])
def test_the_true_means_make_a_difference_at_the_border_alone(channels, of):
    model, source = edsr(2, channels=channels).double(), edsr(2, channels=of).double()
    warm_start(model, source)
    image = torch.rand(1, channels, 24, 24, dtype=torch.float64)
    difference = (model(image) - converted(model, source, image)).abs()
    inside = 2 * source.halo()
    assert difference[..., inside:-inside, inside:-inside].max() < 1e-6
    if (channels, of) in ((3, 1), (4, 3)):  # whose means convert to those of the source
        assert difference.max() < 1e-6
    else:
        assert 1e-6 < difference.max() < 0.2


def test_the_fourth_channel_does_not_change_the_picture_of_rgb_weights():
    model, source = edsr(2, channels=4), edsr(2)
    warm_start(model, source)
    image = torch.rand(1, 4, 6, 7)
    torch.testing.assert_close(model(image)[:, :3], source(image[:, :3]), atol=1e-6, rtol=0)


class Subpixel(nn.Module):
    """One layer from image to image through a pixel shuffle, without biases or a mean shift, as ESPCN ends."""

    def __init__(self, channels: int, transposed: bool = False) -> None:
        super().__init__()
        self.channels = channels
        self.first = nn.Conv2d(channels, 5, 3, bias=False)
        self.last = (
            nn.ConvTranspose2d(5, channels, 4, 2)
            if transposed
            else nn.Sequential(nn.Conv2d(5, 4 * channels, 3), nn.PixelShuffle(2))
        )

    def forward(self, lr: torch.Tensor) -> torch.Tensor:
        return self.last(self.first(lr))


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(("channels", "of"), [(1, 3), (4, 3), (5, 1)])
def test_shuffled_and_transposed_outputs_are_adapted_too(channels, of, transposed):
    model, source = Subpixel(channels, transposed), Subpixel(of, transposed)
    report = warm_start(model, source)
    assert report.fresh == report.copied == ()
    image = torch.rand(1, channels, 7, 8)
    expected = convert(source(convert(image, of)), channels)
    torch.testing.assert_close(model(image), expected, atol=1e-6, rtol=0)


def test_the_mean_shift_of_the_model_stays_its_own():
    model = edsr(2, channels=1)
    warm_start(model, edsr(2))
    assert torch.equal(model.shift.mean, MeanShift(1).mean)


@pytest.mark.parametrize(("channels", "of"), [(3, 3), (2, 3), (3, 2)])
def test_equal_or_unknown_numbers_of_channels_are_not_adapted(channels, of):
    assert adapt_channels(Subpixel(channels), Subpixel(of)) == {}


def test_another_width_is_not_taken_for_another_number_of_channels():
    assert adapt_channels(edsr(2, width=4, channels=1), edsr(2, width=12, channels=3)) == {}
