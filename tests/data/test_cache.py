import errno
import os
import select
import subprocess
import sys
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from srzoo.data.cache import PixelCache, cache_root
from srzoo.image import read_pixels
from srzoo.resize import imresize


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three PNG images whose sides are no multiples of 2, 3 or 4."""
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    for i, (name, size) in enumerate({"a.png": (13, 17), "b.png": (19, 14), "sub/c.png": (11, 11)}.items()):
        Image.fromarray(noise(*size, seed=i)).save(folder / name)
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def files_below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def no_decoder(*_, **__):
    raise AssertionError("an image was decoded again")


def test_the_cache_holds_each_image_bit_by_bit(photos, root):
    cache = PixelCache.build(photos, root=root)
    assert [entry.name for entry in cache.entries] == ["a.png", "b.png", "sub/c.png"]
    for i, entry in enumerate(cache.entries):
        assert np.array_equal(cache.image(i), np.asarray(Image.open(photos / entry.name)))
        assert (entry.height, entry.width) == cache.image(i).shape[:2]


def test_images_are_decoded_once(photos, root, monkeypatch):
    first = PixelCache.build(photos, root=root)
    monkeypatch.setattr(Image, "open", no_decoder)
    again = PixelCache.build(photos, root=root)
    assert again.fingerprint == first.fingerprint
    assert np.array_equal(again.image(1), first.image(1))


def test_lr_images_are_made_once(photos, root, monkeypatch):
    PixelCache.build(photos, root=root).prepare(2)
    monkeypatch.setattr("srzoo.data.cache.imresize", no_decoder)
    again = PixelCache.build(photos, root=root)
    again.prepare(2)
    assert again.image(0, 2).shape == (6, 8, 3)


def test_a_changed_file_is_decoded_again(photos, root):
    before = PixelCache.build(photos, root=root)
    Image.fromarray(noise(9, 10, seed=7)).save(photos / "b.png")
    after = PixelCache.build(photos, root=root)
    assert np.array_equal(after.image(1), noise(9, 10, seed=7))
    assert after.fingerprint != before.fingerprint


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_lr_images_are_matlab_bicubic_of_the_hr_cropped_to_a_multiple(photos, root, scale):
    cache = PixelCache.build(photos, root=root)
    cache.prepare(scale)
    for i, entry in enumerate(cache.entries):
        height, width = entry.height // scale * scale, entry.width // scale * scale
        hr = torch.from_numpy(cache.image(i)[:height, :width].copy()).permute(2, 0, 1)
        expected = imresize(hr, scale=1 / scale).permute(1, 2, 0).numpy()
        assert np.array_equal(cache.image(i, scale), expected)


def test_the_fingerprint_depends_on_names_and_pixels_only(photos, root, tmp_path):
    def fingerprint(change):
        folder = tmp_path / f"copy{len(list(tmp_path.iterdir()))}"
        for name in ("a.png", "b.png", "sub/c.png"):
            pixels = np.asarray(Image.open(photos / name)).copy()
            target, pixels, options = change(name, pixels)
            (folder / target).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / target, **options)
        return PixelCache.build(folder, root=root).fingerprint

    original = PixelCache.build(photos, root=root).fingerprint

    def one_pixel(name, pixels):
        pixels[0, 0, 0] ^= name == "b.png"
        return name, pixels, {}

    assert fingerprint(lambda name, pixels: (name, pixels, {"compress_level": 0})) == original
    assert fingerprint(one_pixel) != original
    assert fingerprint(lambda name, pixels: (name.replace("b.", "d."), pixels, {})) != original
    assert fingerprint(lambda name, pixels: (name, pixels.swapaxes(0, 1).copy(), {})) != original


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB"), (4, "RGBA")])
def test_files_are_converted_to_the_channels_asked_for(photos, root, channels, mode):
    Image.fromarray(noise(12, 10)[..., 0]).save(photos / "grey.png")
    cache = PixelCache.build(photos, channels=channels, root=root)
    cache.prepare(2)
    for i, entry in enumerate(cache.entries):
        expected = np.asarray(Image.open(photos / entry.name).convert(mode))
        expected = expected.reshape(entry.height, entry.width, channels)
        assert np.array_equal(cache.image(i), expected)
        assert cache.image(i, 2).shape == (entry.height // 2, entry.width // 2, channels)


def test_caches_of_different_channels_do_not_mix(photos, root):
    grey, rgb = (PixelCache.build(photos, channels=c, root=root) for c in (1, 3))
    assert (grey.image(0).shape[2], rgb.image(0).shape[2]) == (1, 3)


def test_unreadable_files_are_left_out_with_their_reason(photos, root):
    whole = (photos / "a.png").read_bytes()
    (photos / "cut.png").write_bytes(whole[: len(whole) // 2])
    (photos / "text.jpg").write_text("not an image")
    cache = PixelCache.build(photos, root=root)
    assert [entry.name for entry in cache.entries] == ["a.png", "b.png", "sub/c.png"]
    assert list(cache.skipped) == ["cut.png", "text.jpg"]
    assert "text.jpg is not an image" in cache.skipped["text.jpg"]
    assert PixelCache.build(photos, root=root).skipped == cache.skipped  # told again from the finished cache
    assert np.array_equal(cache.image(2), np.asarray(Image.open(photos / "sub/c.png")))


def test_a_folder_of_unreadable_files_is_refused_and_leaves_no_cache(tmp_path, root):
    bad = tmp_path / "bad"
    bad.mkdir()
    for name in ("a.png", "b.png"):
        (bad / name).write_text("not an image")
    with pytest.raises(ValueError, match=r"none of the 2 images .* can be read; the first: .*a\.png is not"):
        PixelCache.build(bad, root=root)
    assert [path.suffix for path in (root / "images").iterdir()] == [".lock"]


class Killed(BaseException):
    """Nothing in the library expects it, as with `kill -9`."""


def kill_after(images: int):
    def report(done, total, what):
        if done == images:
            raise Killed

    return report


@pytest.fixture
def decoded(monkeypatch) -> list[str]:
    """Names of the files that were decoded."""
    names = []

    def counting(path, channels):
        names.append(path.name)
        return read_pixels(path, channels)

    monkeypatch.setattr("srzoo.data.cache.read_pixels", counting)
    return names


def bytes_below(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in files_below(folder)}


@pytest.mark.parametrize("stop", [1, 2, 3, 4])
def test_a_stopped_build_goes_on_after_the_last_image_and_ends_as_an_undisturbed_one(photos, root, decoded, stop):
    (photos / "broken.png").write_text("not an image")
    undisturbed = PixelCache.build(photos, root=root / "other")
    decoded.clear()
    with pytest.raises(Killed):
        PixelCache.build(photos, root=root, report=kill_after(stop))
    assert decoded == ["a.png", "b.png", "broken.png", "c.png"][:stop]
    resumed = PixelCache.build(photos, root=root)
    assert decoded == ["a.png", "b.png", "broken.png", "c.png"]
    assert bytes_below(resumed.folder) == bytes_below(undisturbed.folder)
    assert list((root / "images").iterdir()) == [resumed.folder]


def unfinished(root: Path) -> Path:
    [work] = (root / "images").glob("*.partial")
    return work


def cut_the_last_line(work: Path) -> None:
    (work / "journal").write_bytes((work / "journal").read_bytes()[:-3])


def write_half_of_a_further_image(work: Path) -> None:
    with open(work / "hr.bin", "ab") as file:
        file.write(b"x" * 100)


def lose_the_last_bytes(work: Path) -> None:
    (work / "hr.bin").write_bytes((work / "hr.bin").read_bytes()[:-9])


def zero_the_last_bytes(work: Path) -> None:
    (work / "hr.bin").write_bytes((work / "hr.bin").read_bytes()[:-9] + bytes(9))


def spoil_the_first_line(work: Path) -> None:
    (work / "journal").write_bytes(b"\0" + (work / "journal").read_bytes())


@pytest.mark.parametrize(
    ("damage", "again"),
    [
        (cut_the_last_line, ["b.png", "c.png"]),
        (write_half_of_a_further_image, ["c.png"]),
        (lose_the_last_bytes, ["b.png", "c.png"]),
        (zero_the_last_bytes, ["b.png", "c.png"]),
        (spoil_the_first_line, ["a.png", "b.png", "c.png"]),
    ],
)
def test_what_was_not_whole_when_the_power_went_is_decoded_anew(photos, root, decoded, damage, again):
    with pytest.raises(Killed):
        PixelCache.build(photos, root=root, report=kill_after(2))
    damage(unfinished(root))
    decoded.clear()
    resumed = PixelCache.build(photos, root=root)
    assert decoded == again
    assert bytes_below(resumed.folder) == bytes_below(PixelCache.build(photos, root=root / "other").folder)


@pytest.mark.parametrize("torn", [0, 50])
def test_lr_images_go_on_where_they_were_stopped(photos, root, monkeypatch, torn):
    cache = PixelCache.build(photos, root=root)
    with pytest.raises(Killed):
        cache.prepare(2, kill_after(2))
    assert not (cache.folder / "lr_x2.bin").exists()
    with open(cache.folder / ".lr_x2.partial", "ab") as file:
        file.write(b"x" * torn)
    made = []
    monkeypatch.setattr("srzoo.data.cache.imresize", lambda *a, **k: (made.append(1), imresize(*a, **k))[1])
    cache.prepare(2)
    assert len(made) == 1
    other = PixelCache.build(photos, root=root / "other")
    other.prepare(2)
    assert bytes_below(cache.folder) == bytes_below(other.folder)


SLOW_BUILD = """
import sys, time
from pathlib import Path
from srzoo.data.cache import PixelCache
def report(done, total, what):
    print(what, done, flush=True)
    time.sleep(0.2)
cache = PixelCache.build(sys.argv[1], root=Path(sys.argv[2]), report=report)
cache.prepare(2, report)
print(cache.fingerprint)
"""


def start_build(photos: Path, root: Path) -> subprocess.Popen:
    command = [sys.executable, "-c", SLOW_BUILD, str(photos), str(root)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.mark.skipif(sys.platform == "win32", reason="files are not locked there")
def test_builds_at_once_share_the_work_of_one(photos, root, decoded):
    told = []

    def build(_):
        cache = PixelCache.build(photos, root=root, report=lambda *row: (told.append(row), time.sleep(0.02)))
        cache.prepare(2, lambda *row: told.append(row))
        return cache.fingerprint

    with ThreadPoolExecutor(4) as pool:
        fingerprints = set(pool.map(build, range(4)))
    assert len(fingerprints) == 1
    assert decoded == ["a.png", "b.png", "c.png"]
    assert told == [(i, 3, what) for what in ("decode", "LR x2") for i in (1, 2, 3)]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="files are not locked there")
def test_processes_share_the_work_of_one_and_go_on_when_it_is_killed(photos, root):
    processes = [start_build(photos, root) for _ in range(3)]
    said = select.select([process.stdout for process in processes], [], [])[0]
    first = next(process for process in processes if process.stdout == said[0])
    assert first.stdout is not None
    assert first.stdout.readline() == "decode 1\n"
    first.kill()
    taken = {"decode 1", *first.communicate()[0].splitlines()}
    told = [process.communicate(timeout=120)[0].splitlines() for process in processes if process is not first]
    assert [process.returncode for process in processes if process is not first] == [0, 0]
    work = [line for lines in told for line in lines[:-1]]
    everything = {f"{what} {i}" for what in ("decode", "LR x2") for i in (1, 2, 3)}
    assert len(work) == len(set(work))  # what one did, the other did not do again
    assert set(work) | taken <= everything
    assert len(everything - set(work) - taken) <= 1  # done, but not yet told, when it was killed
    [folder] = (root / "images").iterdir()
    undisturbed = PixelCache.build(photos, root=root / "other")
    undisturbed.prepare(2)
    assert bytes_below(folder) == bytes_below(undisturbed.folder)
    assert [lines[-1] for lines in told] == [undisturbed.fingerprint] * 2


def test_where_files_cannot_be_locked_builds_do_not_meet(photos, root, monkeypatch):
    monkeypatch.setitem(sys.modules, "fcntl", None)  # as on Windows
    others = []

    def meanwhile(done, total, what):
        if not others:
            others.append(PixelCache.build(photos, root=root))

    cache = PixelCache.build(photos, root=root, report=meanwhile)
    assert cache.fingerprint == others[0].fingerprint
    assert files_below(root / "images") == [f"{cache.folder.name}/hr.bin", f"{cache.folder.name}/index.json"]


def test_a_full_disk_is_said_in_a_sentence_and_what_is_decoded_stays(photos, root, decoded):
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (800, limits[1]))  # a.png takes 663 bytes of the file
    try:
        with pytest.raises(
            OSError, match=r"no space left for decoded images in .*cache/images; .*SRZOO_CACHE"
        ) as caught:
            PixelCache.build(photos, root=root)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.errno == errno.EFBIG
    assert decoded == ["a.png", "b.png"]
    cache = PixelCache.build(photos, root=root)
    assert decoded[2:] == ["b.png", "c.png"]
    assert np.array_equal(cache.image(0), np.asarray(Image.open(photos / "a.png")))


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_a_cache_that_cannot_be_written_to_is_named(photos, root, monkeypatch, number):
    def refuse(*_, **__):
        raise OSError(number, "no")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(OSError, match=r"cache folder .*images cannot be written to; set SRZOO_CACHE"):
        PixelCache.build(photos, root=root)


def test_memory_holds_one_image_at_a_time(tmp_path, root):
    (tmp_path / "many").mkdir()
    for i in range(12):
        Image.fromarray(noise(200, 200, seed=i)).save(tmp_path / "many" / f"{i}.png")
    tracemalloc.start()
    PixelCache.build(tmp_path / "many", root=root)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5 * 200 * 200 * 3  # 12 images in all


def test_progress_is_reported_image_by_image(photos, root):
    told = []
    cache = PixelCache.build(photos, root=root, report=lambda *row: told.append(row))
    cache.prepare(3, lambda *row: told.append(row))
    assert told == [(i, 3, what) for what in ("decode", "LR x3") for i in (1, 2, 3)]


def test_images_cannot_be_written_to(photos, root):
    cache = PixelCache.build(photos, root=root)
    with pytest.raises(ValueError, match="read-only"):
        cache.image(0)[0, 0, 0] = 1


def test_the_cache_is_where_the_environment_says(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.delenv("SRZOO_CACHE", raising=False)
    assert cache_root() == tmp_path / "xdg" / "srzoo"
    monkeypatch.setenv("SRZOO_CACHE", str(tmp_path / "own"))
    assert cache_root() == tmp_path / "own"


def test_a_folder_and_its_subfolder_have_caches_of_their_own(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "a" / "b" / "photo.png")
    root = tmp_path / "cache"
    names = [PixelCache.build(tmp_path / folder, root=root).entries[0].name for folder in ("a", "a/b")]
    assert names == ["b/photo.png", "photo.png"]


def test_one_folder_has_one_cache_however_it_is_spelt(tmp_path, monkeypatch):
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "photo.png")
    monkeypatch.chdir(tmp_path)
    root = tmp_path / ".cache"
    assert PixelCache.build(".", root=root).folder == PixelCache.build(tmp_path, root=root).folder


def test_deep_grey_is_left_out_and_said_not_clipped(tmp_path):
    Image.fromarray(np.full((8, 8), 20_000, np.uint16)).save(tmp_path / "deep.png")
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "plain.png")
    cache = PixelCache.build(tmp_path, root=tmp_path / ".cache")
    assert [entry.name for entry in cache.entries] == ["plain.png"]
    assert "more than 8 bits a channel" in cache.skipped["deep.png"]


def test_a_file_changed_behind_its_date_is_decoded_again(photos, root):
    before = PixelCache.build(photos, root=root)
    path = photos / "a.png"
    status = path.stat()
    path.write_bytes(path.read_bytes()[:-1] + b"\0")  # as many bytes
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert PixelCache.build(photos, root=root).folder != before.folder


def failing_on(name: str, error: OSError):
    def read(path, channels):
        if path.name == name:
            if error.errno is None:
                raise error
            try:
                raise error
            except OSError as cause:
                raise ValueError(f"{path} is damaged ({cause})") from cause
        return read_pixels(path, channels)

    return read


@pytest.mark.parametrize("error", [OSError(errno.EIO, "I/O error"), PermissionError("denied")])
def test_a_file_that_the_system_would_not_give_is_tried_again(photos, root, monkeypatch, error):
    with monkeypatch.context() as patched:
        patched.setattr("srzoo.data.cache.read_pixels", failing_on("b.png", error))
        first = PixelCache.build(photos, root=root)
        assert first.withheld == list(first.skipped) == ["b.png"]
        decoded_for_it = []
        again = PixelCache.build(photos, root=root, report=lambda *row: decoded_for_it.append(row))
        assert (again.skipped, decoded_for_it) == (first.skipped, [])  # nothing has changed, nothing is decoded
    later = PixelCache.build(photos, root=root)
    assert not later.skipped
    assert later.fingerprint == PixelCache.build(photos, root=root / "other").fingerprint
    assert np.array_equal(first.image(1), np.asarray(Image.open(photos / "sub/c.png")))  # who has it open keeps it


def test_a_file_that_is_no_image_is_not_tried_again(photos, root, decoded):
    (photos / "text.jpg").write_text("not an image")
    (photos / "cut.png").write_bytes((photos / "a.png").read_bytes()[:200])
    cache = PixelCache.build(photos, root=root)
    assert sorted(cache.skipped) == ["cut.png", "text.jpg"]
    assert cache.withheld == []
    decoded.clear()
    PixelCache.build(photos, root=root)
    assert decoded == []


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
def test_a_link_to_nothing_is_unreadable_until_there_is_something(photos, root, tmp_path):
    (photos / "link.png").symlink_to(tmp_path / "later.png")
    assert "link.png does not exist" in PixelCache.build(photos, root=root).skipped["link.png"]
    Image.fromarray(noise(9, 9)).save(tmp_path / "later.png")
    cache = PixelCache.build(photos, root=root)
    assert (len(cache.entries), cache.skipped) == (4, {})


@pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: data + b"x", lambda data: b""])
@pytest.mark.parametrize("name", ["hr.bin", "lr_x2.bin"])
def test_a_file_of_the_cache_with_a_wrong_size_is_made_again(photos, root, name, change):
    cache = PixelCache.build(photos, root=root)
    cache.prepare(2)
    whole = bytes_below(cache.folder)
    (cache.folder / name).write_bytes(change(whole[name]))
    again = PixelCache.build(photos, root=root)
    again.prepare(2)
    assert bytes_below(again.folder) == whole


def test_a_spoilt_index_is_made_again(photos, root):
    cache = PixelCache.build(photos, root=root)
    whole = bytes_below(cache.folder)
    (cache.folder / "index.json").write_bytes(whole["index.json"][:-5])
    assert bytes_below(PixelCache.build(photos, root=root).folder) == whole


def test_lr_pixels_that_a_power_cut_took_are_made_anew(photos, root):
    cache = PixelCache.build(photos, root=root)
    with pytest.raises(Killed):
        cache.prepare(2, kill_after(2))
    work = cache.folder / ".lr_x2.partial"
    work.write_bytes(work.read_bytes()[:-9] + bytes(9))  # as long as before
    cache.prepare(2)
    other = PixelCache.build(photos, root=root / "other")
    other.prepare(2)
    assert bytes_below(cache.folder) == bytes_below(other.folder)


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names are Unicode there")
def test_a_name_that_is_not_utf_8_is_a_name(photos, root):
    (photos / "a.png").rename(photos / os.fsdecode(b"caf\xe9.png"))
    cache = PixelCache.build(photos, root=root)
    assert [entry.name for entry in cache.entries] == ["b.png", "caf\udce9.png", "sub/c.png"]
    assert cache.fingerprint == PixelCache.build(photos, root=root).fingerprint
