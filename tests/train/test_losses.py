import copy
import math
import pickle
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import structural_similarity
from torch import Tensor

from srzoo.metrics import Protocol, ssim
from srzoo.train.describe import describe
from srzoo.train.losses import L1, MSE, SSIM, Charbonnier, FFTAmplitude, Loss, OnLuma, Perceptual, Summable, WeightedSum

LOSSES = [L1(), MSE(), OnLuma(), Charbonnier(), SSIM(), FFTAmplitude(), 0.8 * L1() + 0.2 * SSIM()]
each_loss = pytest.mark.parametrize("loss", LOSSES, ids=repr)


def images(batch: int = 2, channels: int = 3, size: int = 14, seed: int = 0, dtype: torch.dtype = torch.float32):
    """SR and HR that look alike."""
    draw = torch.Generator().manual_seed(seed)
    hr = torch.rand(batch, channels, size, size + 1, generator=draw, dtype=torch.float64)
    noise = torch.randn(hr.shape, generator=draw, dtype=torch.float64)
    return (hr + 0.1 * noise).to(dtype), hr.to(dtype)


def bias(sr: Tensor, hr: Tensor) -> Tensor:
    """A user's own loss, a plain function."""
    return (sr.mean((1, 2, 3)) - hr.mean((1, 2, 3))).abs().mean()


def test_l1_is_the_mean_absolute_difference_over_all_values():
    sr = torch.tensor([[[[0.0, 1.0], [0.5, 0.25]]]], requires_grad=True)
    hr = torch.tensor([[[[0.5, 0.0], [0.5, 0.5]]]])
    loss = L1()(sr, hr)
    assert loss.item() == pytest.approx((0.5 + 1 + 0 + 0.25) / 4)
    loss.backward()
    assert torch.equal(sr.grad, torch.tensor([[[[-1.0, 1.0], [0.0, -1.0]]]]) / 4)


def test_mse_is_the_mean_squared_difference_over_all_values():
    sr = torch.tensor([[[[0.0, 1.0], [0.5, 0.25]]]])
    hr = torch.tensor([[[[0.5, 0.0], [0.5, 0.5]]]])
    assert MSE()(sr, hr).item() == pytest.approx((0.25 + 1 + 0 + 0.0625) / 4)


@pytest.mark.parametrize("eps", [1e-3, 0.1])
def test_charbonnier_is_its_formula(eps):
    sr, hr = images(dtype=torch.float64)
    expected = np.sqrt((sr - hr).numpy() ** 2 + eps**2).mean()
    assert Charbonnier(eps)(sr, hr).item() == pytest.approx(expected, rel=1e-12)


def test_charbonnier_has_a_gradient_where_the_images_are_equal():
    sr = torch.full((1, 1, 2, 2), 0.5, requires_grad=True)
    Charbonnier()(sr, sr.detach()).backward()
    assert torch.equal(sr.grad, torch.zeros_like(sr))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_ssim_agrees_with_scikit_image(dtype, tolerance, channels):
    sr, hr = images(3, channels, 17, dtype=dtype)
    settings = dict(gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1.0, channel_axis=0)
    scores = [
        structural_similarity(a.double().numpy(), b.double().numpy(), **settings) for a, b in zip(sr, hr, strict=True)
    ]
    assert SSIM()(sr, hr).item() == pytest.approx(1 - np.mean(scores), abs=tolerance)


def test_ssim_is_the_metric_without_rounding():
    sr, hr = images()
    metric = ssim(sr.clamp(0, 1), hr, Protocol(channel="rgb", quantize=False)).mean().item()
    assert SSIM()(sr.clamp(0, 1), hr).item() == pytest.approx(1 - metric, abs=1e-5)


@pytest.mark.parametrize("size", [13, 14])  # odd and even widths have other half spectra
def test_fft_amplitude_agrees_with_numpy(size):
    sr, hr = images(size=size, dtype=torch.float64)
    a, b = (np.abs(np.fft.rfft2(x.numpy(), norm="ortho")) for x in (sr, hr))
    assert FFTAmplitude()(sr, hr).item() == pytest.approx(np.abs(a - b).mean(), rel=1e-12)


def test_fft_amplitude_does_not_see_a_shift_but_a_blur():
    _, hr = images(size=16)
    assert FFTAmplitude()(hr.roll((3, 5), dims=(-2, -1)), hr).item() < 1e-6
    assert FFTAmplitude()(torch.nn.functional.avg_pool2d(hr, 3, 1, 1), hr).item() > 0.1


@each_loss
def test_the_gradient_is_the_one_of_the_formula(loss):
    sr, hr = images(1, 1, 12, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: loss(x, hr), sr.requires_grad_())


@each_loss
@settings(max_examples=10, deadline=None)
@given(cut=st.integers(1, 4), seed=st.integers(0, 2**16))
def test_a_batch_is_the_mean_of_its_parts_weighted_by_their_images(loss, cut, seed):
    sr, hr = images(5, seed=seed, dtype=torch.float64)
    parts = cut * loss(sr[:cut], hr[:cut]) + (5 - cut) * loss(sr[cut:], hr[cut:])
    assert loss(sr, hr).item() == pytest.approx(parts.item() / 5, rel=1e-10)


@each_loss
def test_equal_images_cost_nothing_and_others_do(loss):
    sr, hr = images()
    assert loss(hr, hr).item() == pytest.approx(1e-3 if isinstance(loss, Charbonnier) else 0, abs=1e-6)
    assert loss(sr, hr).item() > 0.005


@each_loss
def test_low_precision_and_autocast_do_not_reach_into_the_loss(loss):
    sr, hr = (x.bfloat16() for x in images())
    expected = loss(sr.float(), hr.float())
    with torch.autocast("cpu", torch.bfloat16):
        got = loss(sr, hr)
    assert got.dtype == torch.float32
    assert torch.equal(got, expected)


@each_loss
def test_the_memory_layout_does_not_matter(loss):
    sr, hr = images()
    last = [x.contiguous(memory_format=torch.channels_last) for x in (sr, hr)]
    assert loss(*last).item() == pytest.approx(loss(sr, hr).item(), rel=1e-5)


@pytest.mark.usefixtures("as_users_call")
@pytest.mark.parametrize("loss", [*LOSSES, Perceptual()], ids=repr)
def test_images_of_different_shapes_are_refused_and_not_stretched(loss):
    sr, hr = images()
    with pytest.raises(ValueError, match=r"sr has shape \(2, 3, 14, 15\) and hr \(2, 1, 14, 15\)"):
        loss(sr, hr[:, :1])


def test_ssim_needs_a_whole_window():
    with pytest.raises(ValueError, match="the images are 10x12; SSIM needs at least 11x11"):
        SSIM()(torch.zeros(1, 3, 10, 12), torch.zeros(1, 3, 10, 12))


@pytest.mark.parametrize("eps", [0.0, -1.0, math.nan])
def test_charbonnier_needs_a_positive_eps(eps):
    with pytest.raises(ValueError, match="eps is"):
        Charbonnier(eps)


@each_loss
def test_a_loss_is_a_value(loss):
    assert isinstance(loss, Loss)
    assert copy.deepcopy(loss) == loss == pickle.loads(pickle.dumps(loss))
    assert hash(loss) == hash(copy.deepcopy(loss))


def test_weighted_sums_are_the_sums_they_say():
    sr, hr = images()
    total = 0.8 * L1() + SSIM() * 0.2 + bias
    assert total.terms == ((0.8, L1()), (0.2, SSIM()), (1.0, bias))
    expected = 0.8 * L1()(sr, hr) + 0.2 * SSIM()(sr, hr) + bias(sr, hr)
    assert total(sr, hr).item() == pytest.approx(expected.item(), rel=1e-6)
    assert (bias + L1()).terms == ((1.0, bias), (1.0, L1()))
    assert (2 * (total + MSE())).terms == ((1.6, L1()), (0.4, SSIM()), (2.0, bias), (2.0, MSE()))


def test_a_weighted_sum_reads_as_it_is_written():
    total = 0.75 * L1() + 2 * Charbonnier(0.01)
    assert repr(total) == "0.75 * L1() + 2.0 * Charbonnier(eps=0.01)"
    assert eval(repr(total)) == total
    assert describe(total) == {
        "kind": "WeightedSum",
        "terms": [[0.75, {"kind": "L1"}], [2, {"kind": "Charbonnier", "eps": 0.01}]],
    }


@pytest.mark.usefixtures("as_users_call")
def test_what_is_no_number_or_no_loss_does_not_add_up():
    for wrong in (lambda: L1() * L1(), lambda: L1() + 3, lambda: 3 + L1(), lambda: "x" * L1()):
        with pytest.raises(TypeError):
            wrong()


def test_a_weighted_sum_needs_terms_with_finite_weights():
    with pytest.raises(ValueError, match=r"the weight of SSIM\(\) is nan"):
        L1() + math.nan * SSIM()
    with pytest.raises(ValueError, match="no terms"):
        WeightedSum(())


def test_a_loss_without_its_call_says_so():
    class Empty(Summable):
        pass

    with pytest.raises(NotImplementedError, match="Empty has no __call__"):
        Empty()(*images())


@pytest.fixture
def timm():
    try:
        import timm
    except (ImportError, RuntimeError) as error:  # RuntimeError: a torchvision made for another torch
        pytest.skip(f"timm cannot be imported: {error}")
    return timm


TINY = Perceptual("resnet10t", layers=(0, 2), weights=(1.0, 0.5), pretrained=False)


def test_perceptual_is_the_weighted_distance_of_the_normalised_features(timm):
    sr, hr = images(2, 3, 32)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = timm.create_model("resnet10t", pretrained=False, features_only=True).eval()
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.no_grad():
        a, b = (network((x - mean) / std) for x in (sr, hr))
    expected = (a[0] - b[0]).abs().mean() + 0.5 * (a[2] - b[2]).abs().mean()
    assert expected.item() > 0.01
    assert TINY(sr, hr).item() == pytest.approx(expected.item(), rel=1e-4)


def test_perceptual_goes_down_along_its_gradient_and_leaves_its_network_alone(timm):
    sr, hr = images(2, 3, 32)
    sr.requires_grad_()
    drawn = torch.get_rng_state()
    loss = TINY(sr, hr)
    assert torch.equal(torch.get_rng_state(), drawn)
    network = TINY._network(torch.device("cpu"))
    before = copy.deepcopy(network.state_dict())
    loss.backward()
    assert TINY(sr.detach() - 0.5 * sr.grad / sr.grad.abs().max() * 0.02, hr) < loss
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in network.parameters())
    assert not network.training
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert hr.grad is None


def test_perceptual_is_a_mean_over_the_images_in_any_layout_and_under_autocast(timm):
    sr, hr = images(3, 3, 32)
    whole = TINY(sr, hr).item()
    assert (TINY(sr[:1], hr[:1]) + 2 * TINY(sr[1:], hr[1:])).item() / 3 == pytest.approx(whole, rel=1e-5)
    last = [x.contiguous(memory_format=torch.channels_last) for x in (sr, hr)]
    assert TINY(*last).item() == pytest.approx(whole, rel=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        assert TINY(sr, hr).item() == whole


def test_perceptual_takes_grey_as_three_equal_channels(timm):
    sr, hr = images(1, 1, 32)
    assert TINY(sr, hr).item() == pytest.approx(TINY(sr.repeat(1, 3, 1, 1), hr.repeat(1, 3, 1, 1)).item(), rel=1e-5)
    with pytest.raises(ValueError, match="the images have 4 channels"):
        TINY(*images(1, 4, 32))


def test_perceptual_is_a_setting_and_no_module(timm):
    TINY(*images(1, 3, 32))
    assert pickle.loads(pickle.dumps(TINY)) == TINY == copy.deepcopy(TINY)
    assert len(pickle.dumps(TINY)) < 500
    assert describe(0.1 * TINY)["terms"][0][1]["network"] == "resnet10t"


def test_perceptual_names_what_timm_does_not_have(timm):
    with pytest.raises(ValueError, match=r"timm has no model 'vgg91'; the nearest are .*vgg19"):
        Perceptual("vgg91")(*images(1, 3, 32))
    with pytest.raises(ValueError, match=r"layers is \(9,\); resnet10t does not have them all"):
        Perceptual("resnet10t", layers=(9,), pretrained=False)(*images(1, 3, 32))


def test_perceptual_says_when_its_weights_cannot_be_had(timm, monkeypatch):
    def offline(*args, **kwargs):
        raise OSError("no connection")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(FileNotFoundError, match=r"the weights of vgg11 are not here .*no connection"):
        Perceptual("vgg11")(*images(1, 3, 32))


def test_perceptual_names_the_extra_that_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ImportError, match=r'pip install "srzoo\[train\]"'):
        Perceptual("vgg13")(*images(1, 3, 32))


@pytest.mark.parametrize("layers", [(), (3, 2), (2, 2), (-1,)])
def test_perceptual_takes_layers_in_order(layers):
    with pytest.raises(ValueError, match="give at least one, from 0, in rising order"):
        Perceptual(layers=layers)


def test_perceptual_takes_a_weight_a_layer():
    with pytest.raises(ValueError, match="1 weights are given for 2 layers"):
        Perceptual(layers=(1, 2), weights=(1.0,))


def test_perceptual_takes_lists():
    loss = Perceptual(layers=[2, 4], weights=[0.5, 1])
    assert loss == Perceptual(layers=(2, 4), weights=(0.5, 1.0))
    assert hash(loss) == hash(Perceptual(layers=(2, 4), weights=(0.5, 1.0)))


def test_perceptual_of_a_list_of_layers_is_called(timm):
    sr, hr = images(1, 3, 32)
    listed = Perceptual("resnet10t", layers=[0, 2], weights=[1, 0.5], pretrained=False)
    assert listed(sr, hr).item() == TINY(sr, hr).item()


def test_a_loss_on_luma_sees_y_alone():
    sr, hr = images(dtype=torch.float64)
    y = [(x * torch.tensor([65.481, 128.553, 24.966]).double().view(3, 1, 1) / 255).sum(1) for x in (sr, hr)]
    assert OnLuma(MSE())(sr, hr).item() == pytest.approx((y[0] - y[1]).square().mean().item(), rel=1e-6)
    assert OnLuma()(sr, hr).item() == pytest.approx((y[0] - y[1]).abs().mean().item(), rel=1e-6)
    assert torch.equal(OnLuma(MSE())(sr[:, :1], hr[:, :1]), MSE()(sr[:, :1], hr[:, :1]))


def test_a_loss_on_luma_says_which_images_it_takes():
    four = torch.rand(1, 4, 3, 3)
    with pytest.raises(ValueError, match="4 channels; OnLuma takes 1"):
        OnLuma()(four, four)
