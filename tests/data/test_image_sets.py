import numpy as np
import pytest
import torch
from PIL import Image

from srzoo.data.benchmarks import (
    find_set,
)
from srzoo.data.pairs import pairs_from_hr
from srzoo.metrics import Protocol, psnr, ssim
from srzoo.resize import imresize
from tests.data.conftest import PIXELS, noise, save, sets

pytestmark = pytest.mark.usefixtures("tiny")

COUNTS = {"Set5": 5, "Set14": 14}
BICUBIC = {  # Lim et al. 2017, table 2
    "Set5": {2: (33.66, 0.9299), 3: (30.39, 0.8682), 4: (28.42, 0.8104)},
    "Set14": {2: (30.24, 0.8688), 3: (27.55, 0.7742), 4: (26.00, 0.7027)},
}


@pytest.mark.parametrize("name", ["Set5", "Set14"])
def test_the_canonical_images_pass_and_their_lr_is_the_published_one(data_dir, name):
    images = find_set(name, data_dir)
    assert images.problems((2, 3, 4)) == []
    assert len(images.names) == COUNTS[name]
    made, given = images.pairs(4), find_set(name, data_dir, lr=data_dir / "bench").pairs(4)
    assert all(torch.equal(a.lr, b.lr) and torch.equal(a.hr, b.hr) for a, b in zip(made, given, strict=True))


@pytest.mark.parametrize("name", ["Set5", pytest.param("Set14", marks=pytest.mark.slow)])
@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("path", ["rgb", "luma"])
def test_bicubic_scores_what_the_papers_say(data_dir, name, scale, path):
    rule = Protocol.paper(scale)
    scores = []
    for pair in find_set(name, data_dir, path=path).pairs(scale):
        assert pair.lr.is_floating_point() == (path == "luma")
        sr = imresize(pair.lr, scale=scale)
        sr = sr.float() / 255 if path == "rgb" else sr
        sr, hr = sr[None], pair.hr_float[None]
        scores.append((psnr(sr, hr, rule).item(), ssim(sr, hr, rule).item()))
    found = np.mean(scores, axis=0)
    assert abs(found[0] - BICUBIC[name][scale][0]) < 0.02
    assert abs(found[1] - BICUBIC[name][scale][1]) < 0.001
    if path == "luma":
        exact = {"Set5": (33.661, 30.392, 28.421), "Set14": (30.232, 27.541, 26.000)}[name][scale - 2]
        assert found[0] == pytest.approx(exact, abs=6e-4)


def test_the_grey_image_of_set14_is_refused_as_rgb_because_it_scores_higher(data_dir, tmp_path):
    for path in (data_dir / "bench" / "Set14" / "HR").iterdir():
        image = Image.open(path)
        (image.convert("RGB") if path.stem == "bridge" else image).save(save(tmp_path / "Set14" / path.name, noise(0)))
    with pytest.raises(
        ValueError, match=r"bridge: stored as RGB with equal channels, and that of Set14 is grey"
    ) as told:
        find_set("Set14", tmp_path).check((2,))
    assert str(told.value).count("\n- ") == 1
    scores = []
    for folder in (data_dir / "bench" / "Set14" / "HR", tmp_path / "Set14"):
        [pair] = pairs_from_hr(folder / "bridge.png", 2)
        sr = imresize(pair.lr, scale=2).float()[None] / 255
        scores.append(psnr(sr, pair.hr_float[None], Protocol.paper(2)).item())
    assert scores[1] - scores[0] == pytest.approx(20 * np.log10(255 / 219), abs=0.05)


# faults


def test_every_fault_is_told_by_name_at_once(hr):
    (hr / "baby.png").unlink()
    save(hr / "stranger.png", noise(7))
    save(hr / "bird.png", noise(1, 33, 40))
    (hr / "img_003.png").write_bytes((hr / "img_003.png").read_bytes()[:900])
    save(hr / "bridge.png", np.stack([PIXELS["bridge"]] * 3, -1))
    found = find_set("Tiny4", sets(hr)).problems((2,))
    assert [line.split(":")[0] for line in found] == [
        "missing (1)",
        "not part of Tiny4, take it away (1)",
        "bird",
        "img_003",
        "bridge",
    ]
    text = "\n".join(found)
    for part in ("baby", "stranger.png", "40x33 pixels, and that of Tiny4 has 41x33", "is damaged", "is grey"):
        assert part in text
    with pytest.raises(ValueError, match=r"Tiny4 in .* has 5 problems:\n- missing \(1\): baby\n- not part"):
        find_set("Tiny4", sets(hr)).check((2,))


def test_changed_pixels_and_lost_colours_are_problems(hr):
    changed = PIXELS["baby"].copy()
    changed[3, 4, 1] ^= 1
    save(hr / "baby.png", changed)
    save(hr / "img_003.png", PIXELS["img_003"][..., 0])
    save(hr / "bridge.png", noise(9, 32, 32))
    [baby, third, bridge] = find_set("Tiny4", sets(hr)).problems((2,))
    assert baby.startswith("baby: its pixels are not those of Tiny4")
    assert third.startswith("img_003: stored as grey, and that of Tiny4 is RGB")
    assert bridge.startswith("bridge: stored as RGB, and that of Tiny4 is grey")


def test_a_second_copy_of_an_image_is_extra(hr):
    save(hr / "IMG003.png", PIXELS["img_003"])
    [line] = find_set("Tiny4", sets(hr)).problems((2,))
    assert line == "not part of Tiny4, take it away (1): img_003.png"


def test_what_a_file_holds_is_defined(tmp_path):
    folder = tmp_path / "mine"
    opaque = np.dstack([noise(0), np.full((32, 40), 255, np.uint8)])
    save(folder / "a_opaque.png", opaque)
    save(folder / "b_glass.png", noise(0, channels=4))
    save(folder / "c_deep_grey.png", noise(0, channels=1).astype(np.uint16) * 257)
    Image.fromarray(noise(0)).convert("CMYK").save(folder / "d_inks.jpg")
    Image.fromarray(noise(0)).quantize(16).save(folder / "e_palette.png")
    Image.merge("LA", [Image.fromarray(noise(0, channels=1)), Image.new("L", (40, 32), 255)]).save(folder / "f_la.png")
    Image.fromarray(noise(0)[..., 0] > 99).save(folder / "g_bits.png")
    (folder / "h_link.png").symlink_to(folder / "gone.png")
    (folder / "i_text.png").write_text("no image")
    images = find_set("mine", tmp_path)
    found = images.problems((2,))
    assert [line.split(":")[0] for line in found] == ["b_glass", "c_deep_grey", "h_link", "i_text"]
    for line, part in zip(found, ("transparent pixels", "16 bits", "does not exist", "is not an image"), strict=True):
        assert part in line
    channels = {name: len(images.pair(name, 2).hr) for name in images.names if name[0] in "adefg"}
    assert channels == {"a_opaque": 3, "d_inks": 3, "e_palette": 3, "f_la": 1, "g_bits": 1}
    assert np.array_equal(images.pair("a_opaque", 2).hr.permute(1, 2, 0), opaque[..., :3])


def test_16_bit_colour_is_refused(tmp_path):
    header, rows = (2, 1, 16, 2, 0, 0, 0), b"\0" + bytes(range(12))
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    (tmp_path / "deep.png").write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", *header))
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )
    [line] = find_set(str(tmp_path)).problems((2,))
    assert "16 bits a channel" in line


def test_small_images_are_told_before_a_score_fails(tmp_path):
    save(tmp_path / "mine" / "a.png", noise(0, 1, 1))
    save(tmp_path / "mine" / "b.png", noise(0, 3, 50))
    save(tmp_path / "mine" / "c.png", noise(0, 18, 50))
    save(tmp_path / "mine" / "d.png", noise(0, 19, 50))
    images = find_set("mine", tmp_path)
    found = images.problems((4,))
    assert found[:2] == ["a: 1x1 pixels, smaller than the scale 4", "b: 50x3 pixels, smaller than the scale 4"]
    assert [line.split(":")[0] for line in found] == ["a", "b", "c", "d"]  # 16 rows, less a border of 4 twice
    assert "SSIM needs 11x11 within a border of 4" in found[3]
    with pytest.raises(ValueError, match="a is 1x1, smaller than 2 pixels"):
        images.pairs(2)[0]
    assert [line.split(":")[0] for line in images.problems((2,))] == ["a", "b"]


# pairs


def test_pairs_are_decoded_when_asked_for(hr, monkeypatch):
    images = find_set("Tiny4", sets(hr))
    decoded = []
    real = benchmark_reader()
    monkeypatch.setattr("srzoo.data.image_sets.read_scored", lambda path: (decoded.append(path.stem), real(path))[1])
    pairs = images.pairs(2)
    assert (len(pairs), pairs.names, decoded) == (4, ("baby", "bird", "img_003", "bridge"), [])
    assert pairs[1].name == "bird"
    assert decoded == ["bird"]
    part = pairs[1:3]
    assert (part.names, [pair.name for pair in part]) == (("bird", "img_003"), ["bird", "img_003"])
    assert decoded == ["bird", "bird", "img_003"]
    assert [pair.name for pair in pairs][-1] == pairs[-1].name == "bridge"
    decoded.clear()
    calls = []
    images.check((2, 3), report=lambda done, total, what: calls.append((done, total, what)))
    images.check((4,))
    assert images.fingerprint
    assert images.cropped(2) == ("bird",)
    assert sorted(decoded) == ["baby", "bird", "bridge", "img_003"]  # once
    assert calls[-1] == (4, 4, "checking Tiny4")


def benchmark_reader():
    from srzoo.data.pairs import read_scored

    return read_scored


def test_pairs_equal_those_of_the_folder_and_hr_is_cropped(hr):
    own = hr.with_name("mine")
    hr.rename(own)
    for ours, theirs in zip(find_set(own).pairs(2), pairs_from_hr(own, 2), strict=True):
        assert (ours.name, ours.scale) == (theirs.name, 2)
        assert torch.equal(ours.lr, theirs.lr)
        assert torch.equal(ours.hr, theirs.hr)
    own.rename(hr)
    assert find_set("Tiny4", sets(hr)).pairs(2)[1].hr.shape == (3, 32, 40)  # of 33x41


@pytest.mark.parametrize(
    "layout",
    [
        "{name}.png",
        "{name}x2.png",
        "LR/{name}.png",
        "X2/{name}x2.png",
        "LR_bicubic/X2/{name}x2.png",
        "LRbicx2/{name}.png",
        "Tiny4/LR_bicubic/X2/{name}x2.png",
        "benchmark/tiny/LRbicx2/{name}.bmp",
    ],
)
def test_lr_images_are_taken_from_each_layout(hr, tmp_path, layout):
    small = {}
    for i, (name, pixels) in enumerate(PIXELS.items()):
        height, width = pixels.shape[0] // 2, pixels.shape[1] // 2
        small[name] = noise(i, height, width, 1 if name == "bridge" else 3)
        stored = np.stack([small[name]] * 3, -1) if name == "bridge" else small[name]  # as MATLAB's are
        save(tmp_path / "lr" / layout.format(name=name), stored)
    images = find_set("Tiny4", sets(hr), lr=tmp_path / "lr")
    assert images.problems((2,)) == []
    for pair in images.pairs(2):
        assert np.array_equal(pair.lr.permute(1, 2, 0).squeeze(-1), small[pair.name])
        assert pair.hr.shape[1:] == (2 * pair.lr.shape[1], 2 * pair.lr.shape[2])
    assert images.problems((4,))  # there are none for it, or not of its size


def test_hr_is_cropped_to_lr_or_refused(hr, tmp_path):
    lr = tmp_path / "lr" / "X2"
    for name, size in (("baby", (16, 20)), ("bird", (17, 20)), ("img_003", (15, 20)), ("bridge", (16, 16))):
        save(lr / f"{name}.png", noise(0, *size))
    images = find_set("Tiny4", sets(hr), lr=tmp_path / "lr")
    bird, third, bridge = images.problems((2,))
    assert bird.startswith("bird: LR is 20x17 at x2 and HR 41x33;")  # rounded up: larger than HR
    assert third.startswith("img_003: LR is 20x15 at x2 and HR 40x32;")
    assert bridge.startswith("bridge: HR is grey and its LR image of x2")
    for i, name in ((1, "bird"), (2, "img_003")):
        with pytest.raises(ValueError, match=f"{name}: LR is"):
            images.pairs(2)[i]
    save(lr / "bird.png", noise(0, 16, 20))
    assert find_set("Tiny4", sets(hr), lr=tmp_path / "lr").pairs(2)[1].hr.shape == (3, 32, 40)


def test_missing_and_broken_lr_images_are_told(hr, tmp_path):
    lr = tmp_path / "lr"
    save(lr / "X2" / "babyx2.png", noise(0, 16, 20))
    (lr / "X2" / "birdx2.png").write_text("no image")
    images = find_set("Tiny4", sets(hr), lr=lr)
    assert images.problems((2,))[0] == "without LR image of x2 (2): img_003, bridge"
    assert images.problems((2,))[1].startswith("bird, LR of x2:")
    assert len(images.problems((2,))) == 2
    assert images.problems((3,)) == [f"no LR image of x3 in {lr}: it needs a folder such as X3 or names such as ax3"]
    with pytest.raises(ValueError, match="bridge has no LR image of x2"):
        images.pairs(2)[3]


def test_the_fingerprint_tells_what_is_scored(hr, tmp_path):
    def found(**options: object) -> str:
        return find_set("Tiny4", sets(hr), **options).fingerprint  # pyright: ignore[reportArgumentType]

    first = found()
    Image.open(hr / "baby.png").save(hr / "baby.png", compress_level=1)
    assert found() == first  # other bytes, equal pixels
    assert found(path="luma") != first
    lr = tmp_path / "lr"
    save(lr / "X2" / "babyx2.png", noise(0, 16, 20))
    with_lr = found(lr=lr)
    save(lr / "X2" / "babyx2.png", noise(1, 16, 20))
    assert len({first, with_lr, found(lr=lr)}) == 3
    save(hr / "baby.png", noise(8))
    assert found() != first
