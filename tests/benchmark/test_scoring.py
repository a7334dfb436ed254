from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.color import rgb2ycbcr
from skimage.metrics import peak_signal_noise_ratio
from torch import nn

import srzoo
from srzoo.benchmark.scoring import Score, flat_scores, mean_psnr, mean_ssim, measure
from srzoo.data import pairs_from_hr
from srzoo.data.pairs import Pair
from srzoo.metrics import Protocol
from srzoo.resize import imresize
from srzoo.weights import Header, read_header, write_weights


def pair(channels: int = 3, scale: int = 2, seed: int = 0) -> Pair:
    noise = torch.rand(channels, 9, 10, generator=torch.Generator().manual_seed(seed))
    hr = (imresize(noise, size=(24, 36)).clamp(0, 1) * 255).round().to(torch.uint8)
    return Pair(f"image{seed}", imresize(hr, scale=1 / scale), hr, scale)


def tiny() -> srzoo.SRModel:
    return srzoo.create_model("edsr_baseline_x2", width=4, num_blocks=1)


PAPER = {  # Lim et al. 2017, table 3: bicubic
    ("Set5", 2): (33.66, 0.9299),
    ("Set5", 3): (30.39, 0.8682),
    ("Set5", 4): (28.42, 0.8104),
    ("Set14", 2): (30.24, 0.8688),
    ("Set14", 3): (27.55, 0.7742),
    ("Set14", 4): (26.00, 0.7027),
}


@pytest.mark.parametrize(
    ("bench", "scale"),
    [pytest.param(*key, marks=[pytest.mark.slow] if key[0] == "Set14" else []) for key in PAPER],  # test_runs has both
)
def test_bicubic_reproduces_the_papers_row(bench: str, scale: int, data_dir: Path) -> None:
    pairs = pairs_from_hr(data_dir / "bench" / bench / "HR", scale)
    assert len(pairs) == {"Set5": 5, "Set14": 14}[bench]
    scores = srzoo.evaluate(srzoo.create_model(f"bicubic_x{scale}"), pairs)
    dB, similarity = PAPER[bench, scale]  # noqa: N806
    assert mean_psnr(scores) == pytest.approx(dB, abs=0.02)
    assert mean_ssim(scores) == pytest.approx(similarity, abs=0.001)


def test_the_grey_image_of_set14_is_scored_as_raw_grey(data_dir: Path) -> None:
    pairs = pairs_from_hr(data_dir / "bench/Set14/HR", 4)
    [grey] = [pair for pair in pairs if len(pair.hr) == 1]
    assert grey.name == "bridge"
    model = srzoo.create_model("bicubic_x4")
    as_rgb = Pair(grey.name, grey.lr.expand(3, -1, -1), grey.hr.expand(3, -1, -1), 4)
    [raw], [through_y] = srzoo.evaluate(model, [grey]), srzoo.evaluate(model, [as_rgb])
    assert through_y.psnr - raw.psnr == pytest.approx(1.3219, abs=0.001)
    assert (through_y.psnr - raw.psnr) / len(pairs) == pytest.approx(0.09, abs=0.005)  # what it does to the mean


def test_a_row_an_image_equals_scikit_image() -> None:
    pairs = [pair(seed=seed) for seed in range(3)]
    scores = srzoo.evaluate(lambda lr: imresize(lr, scale=2), pairs)
    assert [score.name for score in scores] == ["image0", "image1", "image2"]
    for score, one in zip(scores, pairs, strict=True):
        sr = (imresize(one.lr.float() / 255, scale=2).clamp(0, 1) * 255).round().to(torch.uint8)
        y_hr, y_sr = (rgb2ycbcr(x.permute(1, 2, 0).numpy())[2:-2, 2:-2, 0] for x in (one.hr, sr))
        assert score.psnr == pytest.approx(peak_signal_noise_ratio(y_hr, y_sr, data_range=255), abs=1e-6)
        assert 0 < score.ssim < 1


def test_the_model_and_a_function_that_calls_it_score_the_same() -> None:
    model = srzoo.create_model("bicubic_x2")
    assert srzoo.evaluate(model, [pair()]) == srzoo.evaluate(lambda lr: model(lr), [pair()])


def test_a_multi_scale_model_runs_at_each_pairs_scale() -> None:
    model = srzoo.create_model("mdsr_baseline", width=4, num_blocks=1)
    scores = srzoo.evaluate(model, [pair(scale=2), pair(scale=3), pair(scale=4)])
    assert len(scores) == 3


def test_the_protocol_is_the_one_asked_for_at_the_pairs_scale() -> None:
    asked = []

    def protocol(scale: int) -> Protocol:
        asked.append(scale)
        return Protocol.div2k(scale - 1)

    model = srzoo.create_model("bicubic_x2")
    [rgb] = srzoo.evaluate(model, [pair()], protocol=lambda _: Protocol(channel="rgb", border=2))
    [y] = srzoo.evaluate(model, [pair()])
    assert rgb.psnr < y.psnr
    with pytest.raises(ValueError, match="SSIM needs at least 11x11"):
        srzoo.evaluate(model, [pair()], protocol)
    assert asked == [2]


def test_grey_goes_through_an_rgb_model_as_three_equal_channels() -> None:
    one, seen = pair(channels=1), []

    def model(lr: torch.Tensor) -> torch.Tensor:
        seen.append(lr)
        sr = imresize(lr, scale=2)
        return sr + torch.tensor([0.1, 0.0, -0.1]).view(3, 1, 1)  # tints what was grey

    [score] = srzoo.evaluate(model, [one])
    [lr] = seen
    assert lr.shape == (1, 3, 12, 18)
    assert all(torch.equal(lr[0, i], one.lr[0].float() / 255) for i in range(3))
    grey = imresize(one.lr.float() / 255, scale=2) + 0.1 * 0.299 - 0.1 * 0.114
    sr, hr = (grey.clamp(0, 1) * 255).round().numpy()[0], one.hr.numpy()[0].astype(np.float32)
    expected = peak_signal_noise_ratio(hr[2:-2, 2:-2], sr[2:-2, 2:-2], data_range=255)
    assert score.psnr == pytest.approx(expected, abs=0.01)


def test_grey_goes_through_a_grey_model_as_it_is() -> None:
    [score] = srzoo.evaluate(srzoo.create_model("bicubic_x2", channels=1), [pair(channels=1)])
    [through_rgb] = srzoo.evaluate(srzoo.create_model("bicubic_x2"), [pair(channels=1)])
    assert score.psnr == pytest.approx(through_rgb.psnr, abs=1e-4)


@pytest.mark.usefixtures("as_users_call")
def test_an_output_of_the_wrong_size_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"sr has shape \(1, 3, 36, 54\) and hr \(1, 3, 24, 36\)"):
        srzoo.evaluate(lambda lr: imresize(lr, scale=3), [pair()])


@pytest.mark.usefixtures("as_users_call")
def test_training_mode_is_given_back_as_it_was() -> None:
    model = tiny().train()
    model.get_submodule("head").eval()  # frozen by its owner
    before = {name: module.training for name, module in model.named_modules()}
    seen = []
    model.register_forward_hook(lambda module, *_: seen.append(module.training))
    srzoo.evaluate(model, [pair()])
    assert seen == [False]
    assert {name: module.training for name, module in model.named_modules()} == before
    with pytest.raises(ValueError, match="sr has shape"):  # also after an error
        srzoo.evaluate(model, [Pair("odd", pair().lr, pair().hr[:, :-2], 2)])
    assert {name: module.training for name, module in model.named_modules()} == before
    srzoo.evaluate(model.eval(), [pair()])
    assert not model.training


def test_no_gradients_are_kept() -> None:
    seen = []

    def model(lr: torch.Tensor) -> torch.Tensor:
        seen.append(net(lr).requires_grad)
        return net(lr)

    net = tiny()
    srzoo.evaluate(model, [pair()])
    assert seen == [False]


def test_the_mean_is_taken_over_decibels() -> None:
    scores = [Score("a", 20.0, 0.5), Score("b", 40.0, 0.9)]
    assert mean_psnr(scores) == 30
    assert mean_ssim(scores) == pytest.approx(0.7)


@pytest.mark.parametrize("mean", [mean_psnr, mean_ssim])
def test_no_scores_have_no_mean(mean) -> None:
    with pytest.raises(ValueError, match="there are no scores"):
        mean([])


def test_measure_gives_each_set_and_scale_with_its_protocol(photo_folder: Path) -> None:
    pairs = [pair for scale in (2, 3) for pair in pairs_from_hr(photo_folder, scale)]
    model = srzoo.create_model("mdsr_baseline", width=4, num_blocks=1)
    found = measure(model, {"photos": pairs, "one": pairs[:1]})
    assert {name: list(scales) for name, scales in found.items()} == {"photos": ["x2", "x3"], "one": ["x2"]}
    assert found["photos"]["x3"]["images"] == 6
    assert found["photos"]["x3"]["protocol"] == "Y, 8-bit, border 3"
    expected = mean_psnr(srzoo.evaluate(model, [pair for pair in pairs if pair.scale == 3]))
    assert found["photos"]["x3"]["psnr"] == pytest.approx(expected, abs=1e-4)


def test_a_pair_of_other_channels_is_named(photo_folder: Path) -> None:
    model = srzoo.create_model("edsr_baseline_x2", width=4, num_blocks=1, channels=1)
    with pytest.raises(ValueError, match="photo0 has 3 channels, the model takes 1"):
        srzoo.evaluate(model, pairs_from_hr(photo_folder, 2))


def test_of_four_channels_the_rgb_part_is_scored() -> None:
    rgba = pair(channels=4)
    rgb = Pair(rgba.name, rgba.lr[:3], rgba.hr[:3], 2)
    for channels, kind in ((4, rgba), (3, rgb)):
        assert len(kind.hr) == channels
        assert srzoo.evaluate(srzoo.create_model("bicubic_x2", channels=channels), [kind]) == [
            *srzoo.evaluate(lambda lr: imresize(lr, scale=2), [rgb])
        ]
    spoilt = Pair(rgba.name, rgba.lr, torch.cat([rgb.hr, 255 - rgba.hr[3:]]), 2)
    model = srzoo.create_model("bicubic_x2", channels=4)
    assert srzoo.evaluate(model, [spoilt]) == srzoo.evaluate(model, [rgba])


@pytest.mark.parametrize(("channels", "given"), [(4, 3), (4, 1), (3, 4)])
def test_a_model_of_other_channels_than_the_pair_is_refused(channels: int, given: int) -> None:
    with pytest.raises(ValueError, match=f"image0 has {given} channels, the model takes {channels}"):
        srzoo.evaluate(srzoo.create_model("bicubic_x2", channels=channels), [pair(channels=given)])


@pytest.mark.usefixtures("as_users_call")
def test_an_output_of_other_channels_is_not_cut_to_fit() -> None:
    with pytest.raises(ValueError, match=r"sr has shape \(1, 4, 24, 36\) and hr \(1, 3, 24, 36\)"):
        srzoo.evaluate(lambda lr: imresize(torch.cat([lr, lr[:, :1]], 1), scale=2), [pair()])


@pytest.mark.parametrize(("channels", "given"), [(1, 1), (3, 1), (3, 3), (4, 4)])
def test_any_network_is_given_the_channels_it_takes(channels: int, given: int) -> None:
    network = nn.Sequential(nn.Conv2d(channels, channels, 1), nn.Upsample(scale_factor=2))
    seen = []
    network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[1]))
    [score] = srzoo.evaluate(network, [pair(channels=given)])
    assert seen == [channels]
    assert score.psnr > 0


def test_an_image_that_is_restored_exactly_counts_as_100_db(tmp_path: Path) -> None:
    flat = torch.full((3, 24, 24), 90, dtype=torch.uint8)
    pairs = [Pair("flat", flat[:, ::2, ::2], flat, 2), pair()]
    model = srzoo.create_model("bicubic_x2")
    exact, other = srzoo.evaluate(model, pairs)
    assert (exact.psnr, mean_psnr([exact, other])) == (float("inf"), float("inf"))
    found = measure(model, {"two": pairs})
    assert found["two"]["x2"]["psnr"] == pytest.approx((100 + other.psnr) / 2, abs=1e-4)
    write_weights(tmp_path / "a.safetensors", {"x": torch.zeros(1)}, Header(model="", metrics=found))
    assert read_header(tmp_path / "a.safetensors").metrics == found


@pytest.mark.filterwarnings("ignore:invalid value")
def test_no_number_is_not_made_a_good_score() -> None:
    found = measure(lambda lr: imresize(lr, scale=2) * float("nan"), {"set": [pair()]})
    assert np.isnan(found["set"]["x2"]["psnr"])


def test_scores_become_a_row_of_a_log() -> None:
    model = srzoo.create_model("mdsr_baseline", width=4, num_blocks=1)
    found = measure(model, {"a b": [pair(scale=2), pair(scale=3)], "c": [pair(scale=2)], "none": []})
    row = flat_scores(found)
    assert list(row) == ["a b x2 psnr", "a b x2 ssim", "a b x3 psnr", "a b x3 ssim", "c x2 psnr", "c x2 ssim"]
    assert row["a b x3 ssim"] == found["a b"]["x3"]["ssim"]
