import contextlib
import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from srzoo.data import Bicubic, Blur, Chain, Downscale, Jpeg, Noise, PatchSource, Unknown
from srzoo.data.cache import PixelCache
from srzoo.data.crops import ResidentAtlas
from srzoo.data.folders import ImageFolder


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def folder_of(parent: Path, images: dict[str, np.ndarray]) -> Path:
    folder = parent / "photos"
    folder.mkdir()
    for name, pixels in images.items():
        Image.fromarray(pixels).save(folder / name)
    return folder


def reference_orientations(image: np.ndarray) -> list[np.ndarray]:
    """The eight flips and transposes of an image h w c, written without rotations."""
    views = [image, image[::-1], image[:, ::-1], image[::-1, ::-1]]
    return views + [view.transpose(1, 0, 2) for view in views]


def locate(lr_patch, hr_patch, lr, hr, scale: int) -> tuple[int, int, int]:
    """Row, column and orientation at which both patches are cut from the images; fails if there is none."""
    side = lr_patch.shape[-1]
    lr_patch, hr_patch = (patch.permute(1, 2, 0).numpy() for patch in (lr_patch, hr_patch))
    for y in range(lr.shape[0] - side + 1):
        for x in range(lr.shape[1] - side + 1):
            corner, far_corner = (y * scale, x * scale), ((y + side) * scale, (x + side) * scale)
            lr_views = reference_orientations(lr[y : y + side, x : x + side])
            hr_views = reference_orientations(hr[corner[0] : far_corner[0], corner[1] : far_corner[1]])
            for k, (lr_view, hr_view) in enumerate(zip(lr_views, hr_views, strict=True)):
                if np.array_equal(lr_view, lr_patch) and np.array_equal(hr_view, hr_patch):
                    return y, x, k
    raise AssertionError("the LR and HR patch are no aligned crop of the image")


@pytest.mark.parametrize("scale", [2, 3])
def test_lr_and_hr_patches_are_the_same_crop_in_the_same_orientation_of_eight(tmp_path, scale):
    folder = folder_of(tmp_path, {"a.png": noise(6 * scale + 1, 7 * scale + 1)})
    data = PatchSource(folder, scales=(2, 3), cache=tmp_path / "cache")
    images = PixelCache.build(folder, root=tmp_path / "cache")
    lr_batch, hr_batch = data.sample(np.random.default_rng(0), scale=scale, batch_size=200, patch_size=5)
    assert lr_batch.shape == (200, 3, 5, 5)
    assert hr_batch.shape == (200, 3, 5 * scale, 5 * scale)
    lr, hr = images.image(0, scale), images.image(0)
    places = [locate(*pair, lr, hr, scale) for pair in zip(lr_batch, hr_batch, strict=True)]
    assert {(y, x) for y, x, _ in places} == {(y, x) for y in range(2) for x in range(3)}
    counts = Counter(k for _, _, k in places)
    assert set(counts) == set(range(8))
    assert min(counts.values()) > 10  # 25 expected


def test_patches_are_a_pure_function_of_the_generator(photo_folder, tmp_path):
    data = PatchSource(photo_folder, scales=(2,), cache=tmp_path / "cache")

    def draw(seed):
        return data.sample(np.random.default_rng(seed), scale=2, batch_size=4, patch_size=8)

    first, again, other = draw(5), draw(5), draw(6)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])


def share_of_white(data: PatchSource, draws: int = 800) -> float:
    _, hr = data.sample(np.random.default_rng(0), scale=2, batch_size=draws, patch_size=2)
    return (hr[:, 0, 0, 0] == 255).float().mean().item()


@pytest.fixture
def black_and_white(tmp_path) -> Path:
    """A black image, and a white one of a third of its pixels."""
    black, white = np.zeros((12, 12, 3), np.uint8), np.full((12, 4, 3), 255, np.uint8)
    return folder_of(tmp_path, {"black.png": black, "white.png": white})


def test_images_are_drawn_in_proportion_to_their_pixels(black_and_white, tmp_path):
    data = PatchSource(black_and_white, scales=(2,), cache=tmp_path / "cache")
    assert share_of_white(data) == pytest.approx(0.25, abs=0.05)


@pytest.mark.parametrize(("black", "white", "share"), [(1, 9, 0.75), (1, 0, 0.0), (0, 1, 1.0)])
def test_scores_bias_the_draw(black_and_white, tmp_path, black, white, share):
    folder = ImageFolder(black_and_white, scores={"black.png": black, "white.png": white})
    data = PatchSource(folder, scales=(2,), cache=tmp_path / "cache")
    assert share_of_white(data) == pytest.approx(share, abs=0.05 if 0 < share < 1 else 0)
    assert ("white.png" in data.names) == (white > 0)


def test_images_without_a_score_are_named(photo_folder, tmp_path):
    folder = ImageFolder(photo_folder, scores={f"photo{i}.png": 1.0 for i in (0, 2, 3, 5)})
    with pytest.raises(ValueError, match=r"no score for photo1\.png, photo4\.png; give every image"):
        PatchSource(folder, scales=(2,), cache=tmp_path / "cache")


def test_scores_that_leave_nothing_are_refused(photo_folder, tmp_path):
    folder = ImageFolder(photo_folder, scores={f"photo{i}.png": 0.0 for i in range(6)})
    with pytest.raises(ValueError, match="the scores of all images are 0"):
        PatchSource(folder, scales=(2,), cache=tmp_path / "cache")


@pytest.fixture
def four_levels(tmp_path) -> tuple[Path, Path]:
    """Two folders of grey images: 16x16 of level 1, 2 and small, 32x16 of level 3, and 16x16 of level 4."""
    first, second = tmp_path / "first", tmp_path / "second"
    for folder, name, height, level in (
        (first, "1.png", 16, 1), (first, "2.png", 16, 2), (first, "small.png", 6, 9),
        (second, "3.png", 32, 3), (second, "4.png", 16, 4),
    ):  # fmt: skip
        folder.mkdir(exist_ok=True)
        Image.fromarray(np.full((height, 16, 3), level, np.uint8)).save(folder / name)
    return first, second


def shares(data: PatchSource, patch_size: int = 4, num: int = 4000) -> list[float]:
    """Share of the patches of level 0 to 4."""
    _, hr = data.sample(np.random.default_rng(0), scale=2, batch_size=num, patch_size=patch_size)
    return (np.bincount(hr[:, 0, 0, 0].numpy(), minlength=5) / num).tolist()


def test_several_folders_are_drawn_by_pixels_or_by_their_weights(four_levels, tmp_path):
    def source(*folders):
        return PatchSource(folders, scales=(2,), cache=tmp_path / "cache")

    first, second = four_levels
    assert shares(source(first, second)) == pytest.approx([0, 0.2, 0.2, 0.4, 0.2], abs=0.03)
    weighted = source(ImageFolder(first, weight=3), ImageFolder(second, weight=1))
    assert shares(weighted) == pytest.approx([0, 3 / 8, 3 / 8, 1 / 6, 1 / 12], abs=0.03)
    scored = source(ImageFolder(first, weight=1, scores={"1.png": 3, "2.png": 1, "small.png": 1}),
                    ImageFolder(second, weight=1))  # fmt: skip
    assert shares(scored) == pytest.approx([0, 3 / 8, 1 / 8, 1 / 3, 1 / 6], abs=0.03)
    assert weighted.names == ("first/1.png", "first/2.png", "first/small.png", "second/3.png", "second/4.png")


def test_too_small_images_are_left_out_at_the_scale_and_said_once(tmp_path, caplog):
    sides = {"fits.png": (24, 24), "low.png": (23, 40), "narrow.png": (40, 23), "tiny.png": (2, 2)}
    folder = folder_of(tmp_path, {name: noise(*size) for name, size in sides.items()})
    data = PatchSource(folder, scales=(2, 3), cache=tmp_path / "cache")
    report = data.check(8)
    assert data.check(8) == report
    assert report.too_small == {2: ("tiny.png",), 3: ("low.png", "narrow.png", "tiny.png")}
    assert (report.images, report.megapixels) == (3, pytest.approx((24 * 24 + 2 * 23 * 40) / 1e6))
    assert caplog.messages == report.warnings()
    lr, hr = data.sample(np.random.default_rng(0), scale=3, batch_size=20, patch_size=8)
    whole = np.sort(noise(24, 24), axis=None)
    assert all(np.array_equal(np.sort(patch, axis=None), whole) for patch in hr)
    assert lr.shape[-1] * 3 == hr.shape[-1] == 24
    data.sample(np.random.default_rng(0), scale=2, batch_size=20, patch_size=11)


def test_where_no_image_holds_a_patch_nothing_begins(photo_folder, tmp_path):
    data = PatchSource(photo_folder, scales=(2, 4), cache=tmp_path / "cache")
    data.check(16)
    with pytest.raises(ValueError, match=r"none of the 6 images has the 68x68 pixels that a patch of 17 needs at x4"):
        data.check(17)
    with pytest.raises(ValueError, match="none of the 6 images"):
        data.sample(np.random.default_rng(0), scale=4, batch_size=2, patch_size=17)


def test_an_unknown_scale_is_refused(photo_folder, tmp_path):
    data = PatchSource(photo_folder, scales=(2, 4), cache=tmp_path / "cache")
    with pytest.raises(ValueError, match="this source has no x3; it has x2, x4"):
        data.sample(np.random.default_rng(0), scale=3, batch_size=2, patch_size=4)


def test_copies_are_drawn_once_and_said(tmp_path, caplog):
    for folder, name, level in (("a", "1.png", 1), ("a", "2.png", 2), ("b", "3.bmp", 1), ("b", "4.png", 1)):
        (tmp_path / folder).mkdir(exist_ok=True)
        Image.fromarray(np.full((12, 12, 3), level, np.uint8)).save(tmp_path / folder / name)
    Image.fromarray(np.full((9, 16, 3), 1, np.uint8)).save(tmp_path / "b" / "as_many_bytes.png")
    data = PatchSource([tmp_path / "a", tmp_path / "b"], scales=(2,), cache=tmp_path / "cache")
    assert data.inspect(4).duplicates == (("a/1.png", "b/3.bmp", "b/4.png"),)
    assert data.names == ("a/1.png", "a/2.png", "b/as_many_bytes.png")
    assert caplog.messages == ["equal pixels, only the first is drawn (1): a/1.png = b/3.bmp = b/4.png"]


def test_unreadable_files_are_left_out_and_said(photo_folder, tmp_path, caplog):
    (photo_folder / "bad.png").write_text("not an image")
    data = PatchSource(photo_folder, scales=(2,), cache=tmp_path / "cache")
    [line] = data.check(4).unreadable
    assert line.startswith("bad.png: ")
    assert len(caplog.messages) == 1
    assert "unreadable, left out (1): bad.png" in caplog.text
    assert len(data.names) == 6


def test_excluded_images_and_their_copies_are_not_drawn(four_levels, tmp_path):
    first, second = four_levels
    Image.open(first / "1.png").save(second / "copy.png")
    source = PatchSource([first, second], scales=(2,), cache=tmp_path / "cache")
    for excluded in ("first/1.png", "second/copy.png"):
        names = [excluded, "second/4.png"]
        given_at_once = PatchSource([first, second], scales=(2,), exclude=names, cache=tmp_path / "cache")
        for data in (given_at_once, source.without(names), source.without(names[:1]).without(names[1:])):
            drawn = [level for level, share in enumerate(shares(data)) if share]
            assert drawn == [2, 3]
            assert data.fingerprint == given_at_once.fingerprint
            assert data.inspect(4).excluded == 3
    assert len(source.names) == 5  # the one they were made from still draws all
    with pytest.raises(ValueError, match=r"no such image to exclude: 1\.png; the names are those"):
        source.without(["1.png"])
    with pytest.raises(ValueError, match="all 6 images are excluded"):
        source.without(source.names)


def test_the_fingerprint_tells_what_is_drawn_and_not_where_it_lies(black_and_white, tmp_path):
    def fingerprint(*folders, **options):
        return PatchSource(folders, scales=(2,), cache=tmp_path / "cache", **options).fingerprint

    moved = tmp_path / "elsewhere"
    shutil.copytree(black_and_white, moved)
    lr = tmp_path / "lr"
    lr.mkdir()
    for name, width in (("black.png", 6), ("white.png", 2)):
        Image.fromarray(np.full((6, width, 3), 7, np.uint8)).save(lr / name)
    plain = fingerprint(black_and_white)
    assert plain == fingerprint(moved) == fingerprint(ImageFolder(moved, scores={"black.png": 1, "white.png": 1.0}))

    def weighted(first, second):
        return fingerprint(ImageFolder(black_and_white, weight=first), ImageFolder(moved, weight=second))

    different = [
        plain,
        fingerprint(black_and_white, exclude=["white.png"]),
        fingerprint(ImageFolder(black_and_white, scores={"black.png": 1, "white.png": 2})),
        fingerprint(ImageFolder(black_and_white, lr=lr)),
        fingerprint(black_and_white, degradation=Blurred()),
        fingerprint(black_and_white, degradation=Blurred(noise=0.5)),
        fingerprint(black_and_white, moved),
        weighted(1, 1),
        weighted(1, 2),
    ]
    assert len(set(different)) == len(different)


def paired_folders(tmp_path: Path, scales: tuple[int, ...] = (2, 3)) -> Path:
    """HR images of odd sizes, and LR images that are no bicubic of them, as DIV2K lays them out."""
    hr = folder_of(tmp_path, {name: noise(31 + i, 37, seed=i) for i, name in enumerate(("0.png", "1.png"))})
    for scale in scales:
        (tmp_path / f"lr/X{scale}").mkdir(parents=True)
        for i in range(2):
            lr = noise((31 + i) // scale, 37 // scale, seed=10 * scale + i)
            Image.fromarray(lr).save(tmp_path / f"lr/X{scale}/{i}x{scale}.png")
    return hr


@pytest.mark.parametrize("scale", [2, 3])
def test_patches_of_paired_folders_are_the_same_crop_of_both_images(tmp_path, scale):
    folder = ImageFolder(paired_folders(tmp_path), lr=tmp_path / "lr")
    data = PatchSource(folder, scales=(2, 3), cache=tmp_path / "cache")
    lr_batch, hr_batch = data.sample(np.random.default_rng(0), scale=scale, batch_size=30, patch_size=7)
    seen = set()
    for lr_patch, hr_patch in zip(lr_batch, hr_batch, strict=True):
        for i in range(2):
            lr, hr = noise((31 + i) // scale, 37 // scale, seed=10 * scale + i), noise(31 + i, 37, seed=i)
            with contextlib.suppress(AssertionError):
                locate(lr_patch, hr_patch, lr, hr, scale)
                seen.add(i)
                break
        else:
            raise AssertionError("a patch is of neither pair")
    assert seen == {0, 1}


def test_all_faults_of_pairs_are_listed_before_anything_is_drawn(tmp_path, caplog):
    hr = paired_folders(tmp_path, scales=(2,))
    for name in ("alone.png", "also.png", "dark.png", "broken.png"):
        Image.fromarray(noise(20, 20, seed=len(name))).save(hr / name)
    (hr / "broken.png").write_text("not an image")
    lr = tmp_path / "lr/X2"
    for name, side in (("1x2.png", 11), ("extra.png", 10), ("brokenx2.png", 10)):
        Image.fromarray(noise(side, side)).save(lr / name)
    (lr / "darkx2.png").write_text("not an image")
    data = PatchSource(ImageFolder(hr, lr=tmp_path / "lr"), scales=(2,), cache=tmp_path / "cache")
    report = data.inspect(4)
    assert report.unpaired == ("alone.png (no LR for x2)", "also.png (no LR for x2)", "X2/extra.png (no HR)")
    assert report.misfit == ("X2/1x2.png is 11x11, x2 of 1.png (37x32) is 18x16",)
    assert [line.partition(":")[0] for line in report.unreadable] == ["broken.png", "X2/darkx2.png"]
    told = r"alone\.png .*also\.png .*extra\.png .*1x2\.png is 11x11"
    with pytest.raises(ValueError, match=told):
        data.check(4)
    with pytest.raises(ValueError, match=told):
        data.sample(np.random.default_rng(0), scale=2, batch_size=1, patch_size=4)


def test_one_picture_with_two_lr_images_is_two_pairs_and_one_picture_to_hold_out(tmp_path):
    hr = paired_folders(tmp_path, scales=(2,))
    other = tmp_path / "other"
    other.mkdir()
    for i in range(2):
        Image.fromarray(noise((31 + i) // 2, 18, seed=50 + i)).save(other / f"{i}.png")
    folders = [ImageFolder(hr, lr={2: tmp_path / "lr/X2"}), ImageFolder(hr, lr=other)]
    data = PatchSource(folders, scales=(2,), cache=tmp_path / "cache")
    assert len(data.names) == len(set(data.names)) == 4
    assert data.inspect(4).duplicates == ()
    assert len(data.without(data.names[:1]).names) == 2


@dataclass(frozen=True)
class Blurred:
    """The mean of each block and its eight neighbours, and noise."""

    noise: float = 0.0
    margin: int = 1

    def __call__(self, hr: Tensor, scale: int, seeds: Sequence[int]) -> Tensor:
        lr = F.avg_pool2d(F.avg_pool2d(hr, scale), 3, stride=1, padding=1)
        noise = [np.random.default_rng(seed).normal(size=lr.shape[1:]) for seed in seeds]
        return lr + self.noise * torch.from_numpy(np.stack(noise)).float()


@pytest.mark.parametrize("scale", [2, 3])
def test_degraded_patches_are_crops_of_the_degraded_image(tmp_path, scale):
    pixels = noise(9 * scale + 1, 10 * scale)
    folder = folder_of(tmp_path, {"a.png": pixels})
    data = PatchSource(folder, scales=(2, 3), degradation=Blurred(), cache=tmp_path / "cache")
    lr_batch, hr_batch = data.sample(np.random.default_rng(0), scale=scale, batch_size=100, patch_size=6)
    whole = torch.from_numpy(pixels[: 9 * scale]).permute(2, 0, 1)[None].float() / 255
    lr = (Blurred()(whole, scale, [0])[0] * 255 + 0.5).floor().to(torch.uint8).permute(1, 2, 0).numpy()
    places = set()
    for lr_patch, hr_patch in zip(lr_batch, hr_batch, strict=True):
        y, x, op = locate_hr(hr_patch, pixels, scale)
        expected = reference_orientations(lr[y : y + 6, x : x + 6])[op]
        assert np.abs(lr_patch.permute(1, 2, 0).numpy().astype(int) - expected).max() <= 1  # sums in another order
        places.add((y, x, op))
    assert {(y, x) for y, x, _ in places} == {(y, x) for y in (1, 2) for x in (1, 2, 3)}  # the margin lies inside
    assert {op for _, _, op in places} == set(range(8))


def locate_hr(hr_patch: Tensor, hr: np.ndarray, scale: int) -> tuple[int, int, int]:
    """LR row, column and orientation of a patch."""
    patch = hr_patch.permute(1, 2, 0).numpy()
    side = patch.shape[0]
    for y in range(0, hr.shape[0] - side + 1, scale):
        for x in range(0, hr.shape[1] - side + 1, scale):
            for k, view in enumerate(reference_orientations(hr[y : y + side, x : x + side])):
                if np.array_equal(view, patch):
                    return y // scale, x // scale, k
    raise AssertionError("no aligned crop of the image")


def test_degraded_patches_are_rounded_half_up(tmp_path):
    folder = folder_of(tmp_path, {"a.png": np.full((20, 20, 3), 7, np.uint8)})

    @dataclass(frozen=True)
    class Raised:
        by: float
        margin: int = 0

        def __call__(self, hr, scale, seeds):
            return F.avg_pool2d(hr.double() + self.by / 255, scale).float()

    for by, level in ((0.49, 7), (0.51, 8), (-9.0, 0), (300.0, 255)):
        data = PatchSource(folder, scales=(2,), degradation=Raised(by), cache=tmp_path / "cache")
        lr, hr = data.sample(np.random.default_rng(0), scale=2, batch_size=1, patch_size=4)
        assert lr.unique().tolist() == [level]
        assert hr.unique().tolist() == [7]


def test_a_degradation_is_not_mixed_with_lr_images_and_tells_its_settings(photo_folder, tmp_path):
    class Nameless:
        margin = 0

        def __call__(self, hr, scale, seeds):
            return F.avg_pool2d(hr, scale + 1)

    def source(folder, degradation):
        return PatchSource(folder, scales=(2,), degradation=degradation, cache=tmp_path / "cache")

    with pytest.raises(ValueError, match="photos has LR images of its own, so a degradation has nothing to make"):
        source(ImageFolder(photo_folder, lr="lr"), Blurred())
    with pytest.raises(TypeError, match="Nameless has no repr that tells its settings; make it a frozen dataclass"):
        source(photo_folder, Nameless())
    wrong = source(photo_folder, dataclass(frozen=True)(Nameless)())
    with pytest.raises(ValueError, match=r"made LR patches of shape \(2, 3, 4, 4\); at x2 it must be \(2, 3, 6, 6\)"):
        wrong.sample(np.random.default_rng(0), scale=2, batch_size=2, patch_size=6)


@pytest.mark.parametrize("degradation", [None, Blurred(noise=0.1)])
@given(st.lists(st.integers(0, 7), max_size=4), st.integers(0, 5))
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_parts_of_a_batch_are_the_whole(photo_folder, tmp_path, degradation, cuts, seed):
    data = PatchSource(photo_folder, scales=(2,), degradation=degradation, cache=tmp_path / "cache")

    def sample(part):
        rng = np.random.default_rng(seed)
        batch = data.sample(rng, scale=2, batch_size=7, patch_size=5, part=part)
        return *batch, rng.integers(2**60)

    ends = [0, *sorted(cuts), 7]
    parts = [sample(slice(a, b)) for a, b in pairwise(ends) if a < b]
    whole = sample(slice(None))
    for k in range(2):
        assert torch.equal(torch.cat([part[k] for part in parts]), whole[k])
        assert whole[k].is_contiguous(memory_format=torch.channels_last)
    assert {part[2] for part in parts} == {whole[2]}  # the generator moves as far for each part


def test_images_on_a_device_give_the_same_patches(four_levels, photo_folder, tmp_path):
    data = PatchSource([*four_levels, photo_folder], scales=(2,), cache=tmp_path / "cache")
    mapped = data.sample(np.random.default_rng(1), scale=2, batch_size=40, patch_size=3)
    assert not data.resident
    assert data.to("cpu") is data
    assert not data.resident
    atlases = {1: data._inventory.hr, 2: data._inventory.lr[2]}
    data._resident = {scale: ResidentAtlas(atlas, torch.device("cpu")) for scale, atlas in atlases.items()}
    assert data.resident
    resident = data.sample(np.random.default_rng(1), scale=2, batch_size=40, patch_size=3)
    assert all(torch.equal(a, b) for a, b in zip(mapped, resident, strict=True))


@pytest.mark.gpu
@pytest.mark.parametrize("degradation", [None, Blurred()])
@pytest.mark.parametrize("fits", [True, False])
def test_a_gpu_gives_the_patches_of_the_cpu(four_levels, photo_folder, tmp_path, monkeypatch, degradation, fits):
    data = PatchSource(
        [*four_levels, photo_folder], scales=(2, 4), degradation=degradation, cache=tmp_path / "cache"
    )  # fmt: skip
    arguments = dict(scale=2, batch_size=40, patch_size=3)
    expected = data.sample(np.random.default_rng(1), **arguments)
    if not fits:
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 1000))
    data.to("cuda")
    assert data.resident == fits
    patches = data.sample(np.random.default_rng(1), **arguments)
    for ours, cpu in zip(patches, expected, strict=True):
        on_device = fits or degradation is not None
        assert ours.is_cuda == on_device
        assert on_device or ours.is_pinned()
        assert ours.is_contiguous(memory_format=torch.channels_last)
        assert (ours.cpu().int() - cpu.int()).abs().max() <= (0 if degradation is None else 1)


@pytest.mark.parametrize("channels", [1, 4])
def test_patches_have_the_channels_asked_for(photo_folder, tmp_path, channels):
    data = PatchSource(photo_folder, scales=(2,), channels=channels, cache=tmp_path / "cache")
    lr, hr = data.sample(np.random.default_rng(0), scale=2, batch_size=2, patch_size=4)
    assert (lr.shape[1], hr.shape[1]) == (channels, channels)
    assert lr.dtype == hr.dtype == torch.uint8


def test_a_weighted_folder_that_cannot_be_drawn_is_named(four_levels, tmp_path):
    first, second = four_levels
    third = tmp_path / "third"
    shutil.copytree(first, third)

    def source(*folders, scales=(2,)):
        return PatchSource(folders, scales=scales, cache=tmp_path / "cache")

    copies = source(ImageFolder(first, weight=3), ImageFolder(third, weight=1))
    with pytest.raises(ValueError, match=r"third has the weight 1, but no image of it can be drawn at x2"):
        copies.check(4)
    large = source(ImageFolder(first, weight=3), ImageFolder(second, weight=1), scales=(2, 4))
    large.check(4)
    with pytest.raises(ValueError, match=r"first has the weight 3, but .* at x2 in patches of 5"):
        large.without(["first/1.png", "first/2.png"]).check(5)
    Image.fromarray(noise(64, 64)).save(second / "big.png")
    grown = source(ImageFolder(first, weight=3), ImageFolder(second, weight=1), scales=(2, 4))
    with pytest.raises(ValueError, match=r"first has the weight 3, but .* at x4 in patches of 8"):
        grown.check(8)


def test_weights_are_told_by_their_shares(four_levels, tmp_path):
    def fingerprint(*weights):
        folders = [ImageFolder(folder, weight=weight) for folder, weight in zip(four_levels, weights, strict=True)]
        return PatchSource(folders, scales=(2,), cache=tmp_path / "cache").fingerprint

    assert fingerprint(3, 1) == fingerprint(6, 2) == fingerprint(0.75, 0.25)
    assert fingerprint(3, 1) != fingerprint(1, 3)


def test_of_copies_the_one_that_is_drawn_most_is_kept(tmp_path):
    levels = {"a.png": 1, "b.png": 1, "c.png": 1, "d.png": 2}
    folder = folder_of(tmp_path, {name: np.full((12, 12, 3), level, np.uint8) for name, level in levels.items()})
    scores = {"a.png": 0, "b.png": 1, "c.png": 3, "d.png": 1}
    data = PatchSource(ImageFolder(folder, scores=scores), scales=(2,), cache=tmp_path / "cache")
    assert data.names == ("c.png", "d.png")
    assert shares(data)[1] == pytest.approx(0.75, abs=0.03)
    assert data.inspect(4).duplicates == (("c.png", "b.png", "a.png"),)


def test_the_settings_inside_a_chain_are_part_of_the_fingerprint(photo_folder, tmp_path):
    class Scaled:
        reach = 0

        def __init__(self, by):
            self.by = by

        def __call__(self, x, seeds):
            return x * self.by

        def __eq__(self, other):
            return True

    @dataclass(frozen=True, eq=False)
    class Lookup:
        table: np.ndarray
        reach: int = 0

        def __call__(self, x, seeds):
            return x

    def fingerprint(step):
        return PatchSource(
            photo_folder, scales=(2,), degradation=Chain(Bicubic(), step), cache=tmp_path / "cache"
        ).fingerprint

    table = np.zeros(3000)
    other = table.copy()
    other[1500] = 1  # which its repr leaves out
    assert fingerprint(Lookup(table)) == fingerprint(Lookup(table.copy()))
    assert fingerprint(Lookup(table)) != fingerprint(Lookup(other))
    with pytest.raises(TypeError, match=r"Scaled has no repr that tells its settings \(Chain\.steps\[1\]\)"):
        fingerprint(Scaled(0.5))


def test_a_source_is_described_in_plain_values(four_levels, tmp_path):
    first, second = four_levels
    Image.open(first / "1.png").save(second / "copy.png")
    folders = [ImageFolder(first, weight=3), ImageFolder(second, weight=1)]
    data = PatchSource(folders, scales=(2,), degradation=Blurred(0.5), cache=tmp_path / "cache")
    told = data.without(["second/4.png", "first/1.png"]).describe()
    excluded = "first/1.png\nsecond/4.png\nsecond/copy.png"
    assert told == {
        "folders": [
            {"name": "first", "weight": 3, "images": 3, "lr": False},
            {"name": "second", "weight": 1, "images": 3, "lr": False},
        ],
        "drawn": 3,
        "excluded": {"images": 3, "sha256": hashlib.sha256(excluded.encode()).hexdigest()},
        "degradation": "Blurred(noise=0.5, margin=1)",
    }
    assert json.loads(json.dumps(told)) == told
    plain = PatchSource(ImageFolder(first, lr=paired_lr(tmp_path)), scales=(2,), cache=tmp_path / "cache").describe()
    assert plain["folders"] == [{"name": "first", "weight": None, "images": 3, "lr": True}]
    assert (plain["excluded"], plain["degradation"]) == ({"images": 0, "sha256": None}, None)


def paired_lr(tmp_path: Path) -> Path:
    """LR images of the first folder of `four_levels`."""
    for name, height in (("1.png", 8), ("2.png", 8), ("small.png", 3)):
        (tmp_path / "first_lr").mkdir(exist_ok=True)
        Image.fromarray(np.full((height, 8, 3), 7, np.uint8)).save(tmp_path / "first_lr" / name)
    return tmp_path / "first_lr"


def test_images_that_another_source_has_are_named(four_levels, tmp_path):
    first, second = four_levels
    Image.open(first / "1.png").save(second / "other_name.bmp")
    ours, theirs = (PatchSource(folder, scales=(2,), cache=tmp_path / "cache") for folder in (first, second))
    assert ours.copies_of(theirs) == ["1.png"]
    assert theirs.copies_of(ours) == ["other_name.bmp"]
    assert theirs.copies_of(ours.without(["1.png"])) == ["other_name.bmp"]  # it has the image, drawn or not
    assert ours.without(["1.png"]).copies_of(theirs) == []
    grey = PatchSource(second, scales=(2,), channels=1, cache=tmp_path / "cache")
    with pytest.raises(ValueError, match="sources of 3 and 1 channels have no pixels to compare"):
        ours.copies_of(grey)


def test_progress_is_told_of_what_is_done_and_not_of_what_is_there(four_levels, tmp_path):
    rows = []

    def source(*folders):
        rows.clear()
        PatchSource(folders, scales=(2, 4), cache=tmp_path / "cache", report=lambda *row: rows.append(row))
        return [*rows]

    first, second = four_levels
    assert source(first) == [(i, 3, what) for what in ("decode", "LR x2", "LR x4") for i in (1, 2, 3)]
    assert source(first) == []
    assert source(first, second) == [(i, 2, what) for what in ("decode", "LR x2", "LR x4") for i in (1, 2)]


@pytest.mark.gpu
@pytest.mark.parametrize(
    "degradation",
    [
        Chain(Blur((0.2, 2.0)), Bicubic()),
        Chain(Blur((0.2, 2.0), across=(0.2, 2.0)), Downscale("lanczos")),
        Chain(Bicubic(), Noise((0.0, 10.0), photons=(100, 1000), grey=0.5)),
        Chain(Bicubic(), Jpeg((40, 95))),
        Unknown(seed=0),
    ],
    ids=repr,
)
@pytest.mark.parametrize("fits", [True, False])
def test_the_host_does_not_wait_for_degraded_patches(photo_folder, tmp_path, monkeypatch, degradation, fits):
    data = PatchSource(photo_folder, scales=(2,), degradation=degradation, cache=tmp_path / "cache")
    if not fits:
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 1000))
    data.to("cuda")

    def sample(seed):
        return data.sample(np.random.default_rng(seed), scale=2, batch_size=4, patch_size=5)

    expected = sample(1)  # which puts the constants there
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        patches = sample(1)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all(torch.equal(ours, first) for ours, first in zip(patches, expected, strict=True))
