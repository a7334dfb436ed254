import subprocess
import sys
import threading
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from srzoo.data import lr_images
from srzoo.data.folders import find_images, match_lr
from srzoo.data.lr_images import LRImages, downscale_images, plan_lr_images
from srzoo.data.presets import PRESETS
from srzoo.image import Picture
from srzoo.resize import Border, imresize


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def save(path: Path, pixels: np.ndarray, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def shrunk(pixels: np.ndarray, scale: int, border: Border = "symmetric") -> np.ndarray:
    """The LR image by `imresize`, whose pixels tests/test_resize.py proves."""
    planes = torch.from_numpy(pixels.reshape(*pixels.shape[:2], -1)).permute(2, 0, 1)
    planes = planes[:, : planes.shape[1] // scale * scale, : planes.shape[2] // scale * scale]
    return imresize(planes, scale=Fraction(1, scale), border=border).permute(1, 2, 0).numpy()


def read(path: str | Path) -> np.ndarray:
    with Image.open(path) as image:
        pixels = np.asarray(image)
    return pixels.reshape(*pixels.shape[:2], -1)


@pytest.mark.parametrize("border", ["symmetric", "replicate"])
def test_the_published_images_are_made_again(data_dir: Path, tmp_path: Path, border: Border) -> None:
    wrong = {}
    for image in downscale_images(data_dir / "bench/Set5/HR", tmp_path, border=border):
        assert image.made == (2, 3, 4)
        for scale, file in image.outputs.items():
            published = data_dir / f"bench/Set5/LRbicx{scale}" / Path(image.hr).name
            wrong[Path(file).name, scale] = int((read(file) != read(published)).sum())
    assert len(wrong) == 15
    assert (max(wrong.values()) == 0) == (border == "symmetric")


def test_sizes_modes_and_pixels_are_those_of_each_file(tmp_path: Path) -> None:
    hr = tmp_path / "HR"
    rgb, grey, alpha = noise(17, 26, 3), noise(16, 24, seed=1), noise(12, 12, 4, seed=2)
    save(hr / "rgb.png", rgb, icc_profile=b"some profile")
    save(hr / "deep/er/grey.png", grey)
    save(hr / "alpha.png", alpha)
    palette = Image.fromarray(rgb).quantize(16)
    palette.save(hr / "palette.png")
    done = {Path(image.hr).stem: image for image in downscale_images(hr, tmp_path / "LR", scales=(2, 8))}
    assert [Path(image.hr).stem for image in done.values()] == ["alpha", "grey", "palette", "rgb"]
    expected = {"rgb": rgb, "grey": grey, "alpha": alpha, "palette": np.asarray(palette.convert("RGB"))}
    for name, image in done.items():
        for scale in (2, 8):
            assert np.array_equal(read(image.outputs[scale]), shrunk(expected[name].copy(), scale)), (name, scale)
    assert done["grey"].outputs[8] == str(tmp_path / "LR/x8/deep/er/grey.png")
    modes, infos = {}, {}
    for name, image in done.items():
        with Image.open(image.outputs[2]) as file:
            modes[name], infos[name] = file.mode, file.info
    assert modes == {"rgb": "RGB", "grey": "L", "alpha": "RGBA", "palette": "RGB"}
    assert {name: image.cropped for name, image in done.items()} == {
        "rgb": (2, 8),
        "grey": (),
        "alpha": (8,),
        "palette": (2, 8),
    }
    assert (done["rgb"].width, done["rgb"].height) == (26, 17)
    assert "icc_profile" not in infos["rgb"]


def test_alpha_does_not_change_the_colours(tmp_path: Path) -> None:
    pixels = noise(12, 12, 4)
    save(tmp_path / "HR/with.png", pixels)
    save(tmp_path / "HR/without.png", pixels[..., :3])
    with_alpha, without = downscale_images(tmp_path / "HR", scales=(3,))
    assert np.array_equal(read(with_alpha.outputs[3])[..., :3], read(without.outputs[3]))


def test_layouts(tmp_path: Path) -> None:
    hr = tmp_path / "HR"
    for name in ("a/1.png", "b/1.png", "2.bmp"):
        save(hr / name, noise(8, 8, 3))
    plain = {Path(j.hr).relative_to(hr).as_posix(): j.outputs[2] for j in plan_lr_images([hr], scales=(2,))}
    root = tmp_path / "HR_lr/x2"
    assert plain == {
        "2.bmp": str(root / "2.png"),
        "a/1.png": str(root / "a/1.png"),
        "b/1.png": str(root / "b/1.png"),
    }
    jobs = plan_lr_images([hr / "b", hr / "2.bmp"], tmp_path / "out", scales=(2, 4), layout="edsr-pytorch")
    assert jobs[0].outputs == {s: str(tmp_path / f"out/LR_bicubic/X{s}/1x{s}.png") for s in (2, 4)}
    assert jobs[1].outputs[4] == str(tmp_path / "out/LR_bicubic/X4/2x4.png")
    assert match_lr(["1.png"], [Path(jobs[0].outputs[2]).name], 2) == {"1.png": "1x2.png"}


def test_names_that_differ_in_the_suffix_only_are_left_out(tmp_path: Path) -> None:
    for name in ("a/1.png", "a/1.jpg", "a/2.png", "b/1.png"):
        save(tmp_path / "HR" / name, noise(8, 8, 3))
    done = {Path(i.hr).relative_to(tmp_path / "HR").as_posix(): i for i in downscale_images(tmp_path / "HR")}
    assert [name for name, image in done.items() if image.status == "failed"] == ["a/1.jpg", "a/1.png"]
    assert done["a/1.png"].error == f"{tmp_path}/HR/a/1.png: 1.jpg would go to the same files; rename one of them"
    assert done["a/1.jpg"].outputs == {}
    made = sorted(path.relative_to(tmp_path / "HR_lr/x2").as_posix() for path in (tmp_path / "HR_lr/x2").rglob("*.*"))
    assert made == ["a/2.png", "b/1.png"]


@pytest.mark.parametrize("scales", [(2, 4, 8), (8, 4, 2), (4, 8, 2)])
def test_a_scale_that_fails_does_not_end_the_others(tmp_path: Path, scales: tuple[int, ...]) -> None:
    save(tmp_path / "HR/small.png", noise(9, 3, 3))
    save(tmp_path / "HR/deep.png", noise(8, 8).astype(np.uint16) * 256)
    deep, small = downscale_images(tmp_path / "HR", scales=scales)
    assert small.made == (2,)
    refused = "; ".join(f"it has 3x9 pixels, fewer than scale {s} needs" for s in scales if s > 2)
    assert small.error == f"{tmp_path}/HR/small.png: {refused}"
    assert (small.width, small.height, small.cropped) == (3, 9, (2,))
    assert deep.made == ()
    assert str(deep.error).count("16 bits") == 1


def test_what_is_no_file_is_not_kept(tmp_path: Path) -> None:
    save(tmp_path / "HR/a.png", noise(8, 8, 3))
    (tmp_path / "HR_lr/x2/a.png").mkdir(parents=True)
    [image] = downscale_images(tmp_path / "HR", scales=(2, 4))
    assert (image.made, image.kept) == ((4,), ())
    assert image.error == f"{tmp_path}/HR/a.png: {tmp_path}/HR_lr/x2/a.png was not written (Is a directory)"


@pytest.mark.parametrize("layout", ["plain", "edsr-pytorch"])
def test_lr_images_that_a_link_leads_to_are_not_taken_for_hr(tmp_path: Path, layout: Any) -> None:
    save(tmp_path / "all/HR/a.png", noise(8, 8, 3))
    (tmp_path / "all/HR/link").symlink_to(tmp_path / "out")
    assert downscale_images(tmp_path / "all/HR", tmp_path / "out", scales=(4,), layout=layout)[0].made == (4,)
    with pytest.raises(ValueError, match=r"ax?4?.png lies in the output .*out, where LR images are"):
        downscale_images(tmp_path / "all/HR", tmp_path / "out", scales=(2,), layout=layout)
    (tmp_path / "all/HR/link").unlink()
    beside = downscale_images(tmp_path / "all/HR", tmp_path / "all", scales=(2,), layout=layout)
    assert [image.status for image in beside] == ["done"]


@pytest.mark.parametrize("file", ["out", "out/LR", "link/LR"])
def test_an_output_that_cannot_be_a_folder_is_told_at_once(tmp_path: Path, file: str) -> None:
    save(tmp_path / "HR/a.png", noise(8, 8, 3))
    (tmp_path / "out").write_text("a file")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=rf"{Path(file).parts[0]} is no folder; give a folder"):
        downscale_images(tmp_path / "HR", tmp_path / file)


def test_a_link_to_itself_is_one_bad_file(tmp_path: Path) -> None:
    save(tmp_path / "HR/a.png", noise(8, 8, 3))
    (tmp_path / "HR/b.png").symlink_to(tmp_path / "HR/b.png")
    assert [image.status for image in downscale_images(tmp_path / "HR", scales=(2,))] == ["done", "failed"]


KILLED = """
import sys
from srzoo.data.lr_images import downscale_images
downscale_images(sys.argv[1], scales=(2, 4), workers=2, report=lambda *_: print("one", flush=True))
"""


@pytest.mark.slow
def test_a_killed_job_is_started_again(tmp_path: Path) -> None:
    pixels = [noise(512, 512, 3, seed=i) for i in range(30)]
    for i in range(30):
        save(tmp_path / f"HR/{i:02}.png", pixels[i], compress_level=0)
    with subprocess.Popen([sys.executable, "-c", KILLED, tmp_path / "HR"], stdout=subprocess.PIPE) as job:
        assert job.stdout is not None
        job.stdout.readline()
        job.kill()
    (tmp_path / "HR_lr/x2/.srzoo-0123456789ab.png").write_bytes(b"half of it")  # such as it may leave
    there = {path: path.stat().st_mtime_ns for path in find_images(tmp_path / "HR_lr")}
    assert 0 < len(there) < 60
    done = downscale_images(tmp_path / "HR", scales=(2, 4))
    assert sum(len(image.kept) for image in done) == len(there)
    assert {path: path.stat().st_mtime_ns for path in there} == there
    assert len(find_images(tmp_path / "HR_lr")) == 60
    for i in range(30):
        for scale in (2, 4):
            assert np.array_equal(read(done[i].outputs[scale]), shrunk(pixels[i], scale))


def test_a_second_run_does_the_rest(tmp_path: Path) -> None:
    save(tmp_path / "HR/a.png", noise(8, 8, 3))
    save(tmp_path / "HR/b.png", noise(8, 8, 3))
    first = downscale_images(tmp_path / "HR", scales=(2, 4))
    assert [image.status for image in first] == ["done", "done"]
    Path(first[0].outputs[4]).unlink()
    Path(first[0].outputs[2]).write_bytes(b"kept as it is")
    (tmp_path / "HR/b.png").write_bytes(b"not read: all of its files are there")
    again = downscale_images(tmp_path / "HR", scales=(2, 4))
    assert [(image.status, image.made, image.kept) for image in again] == [("done", (4,), (2,)), ("exists", (), (2, 4))]
    assert Path(first[0].outputs[2]).read_bytes() == b"kept as it is"
    over = downscale_images(tmp_path / "HR", scales=(2, 4), overwrite=True)
    assert [image.status for image in over] == ["done", "failed"]
    assert read(first[0].outputs[2]).shape == (4, 4, 3)


def test_a_bad_file_is_named_and_the_others_are_made(tmp_path: Path) -> None:
    hr = tmp_path / "HR"
    save(hr / "good.png", noise(8, 8, 3))
    save(hr / "deep.png", noise(8, 8).astype(np.uint16) * 256)
    save(hr / "small.png", noise(9, 3, 3))
    save(hr / "cut.png", noise(64, 64, 3))
    (hr / "cut.png").write_bytes((hr / "cut.png").read_bytes()[:2000])
    (hr / "text.png").write_text("no image")
    told: list[tuple[int, int]] = []
    done = downscale_images(hr, scales=(2, 4), report=lambda n, total, image: told.append((n, total)))
    errors = {Path(image.hr).stem: image.error or "" for image in done}
    assert errors.pop("good") == ""
    assert "16 bits a channel" in errors["deep"]
    assert errors["small"].endswith("small.png: it has 3x9 pixels, fewer than scale 4 needs")
    assert "cut.png is damaged" in errors["cut"]
    assert "text.png is not an image" in errors["text"]
    assert all(error.startswith(str(hr / name)) for name, error in errors.items())
    assert told == [(n, 5) for n in range(1, 6)]
    made = sorted(path.relative_to(tmp_path / "HR_lr").as_posix() for path in (tmp_path / "HR_lr").rglob("*.png"))
    assert made == ["x2/good.png", "x2/small.png", "x4/good.png"]


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "HR/a.png", noise(8, 8, 3))

    def full(self: Image.Image, file: object, **options: object) -> None:
        file.write(b"half of it")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Image.Image, "save", full)
        [image] = downscale_images(tmp_path / "HR", scales=(2,))
    assert image.status == "failed"
    written = tmp_path / "HR_lr/x2/a.png"
    assert image.error == f"{tmp_path}/HR/a.png: {written} was not written (No space left on device)"
    assert [path for path in (tmp_path / "HR_lr").rglob("*") if path.is_file()] == []
    assert downscale_images(tmp_path / "HR", scales=(2,))[0].status == "done"


@pytest.mark.parametrize("workers", [1, 3])
def test_workers_compute_in_one_thread_and_give_the_same(
    tmp_path: Path, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = [noise(12, 10, 3, seed=i) for i in range(7)]
    for i in range(7):
        save(tmp_path / f"HR/{i}.png", pixels[i])
    seen: list[tuple[str, int]] = []
    honest = lr_images.shrink_picture

    def watched(*args: Any, **more: Any) -> Picture:
        seen.append((threading.current_thread().name, torch.get_num_threads()))
        return honest(*args, **more)

    monkeypatch.setattr(lr_images, "shrink_picture", watched)
    before = torch.get_num_threads()
    done = downscale_images(tmp_path / "HR", scales=(2,), workers=workers)
    assert torch.get_num_threads() == before
    assert {threads for _, threads in seen} == {1}
    assert len({name for name, _ in seen}) <= workers
    for i in range(7):
        assert np.array_equal(read(done[i].outputs[2]), shrunk(pixels[i], 2))


def test_an_interrupt_drops_what_has_not_begun(tmp_path: Path) -> None:
    for i in range(20):
        save(tmp_path / f"HR/{i}.png", noise(8, 8, 3))

    def stop(done: int, images: int, image: LRImages) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        downscale_images(tmp_path / "HR", scales=(2,), workers=1, report=stop)
    assert len(list((tmp_path / "HR_lr").rglob("*.png"))) < 20
    assert len([i for i in downscale_images(tmp_path / "HR", scales=(2,)) if i.status != "failed"]) == 20


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"scales": (1,)}, "scale is 1; scales are whole numbers of 2 or more"),
        ({"scales": (2.5,)}, "scale is 2.5"),
        ({"scales": ()}, "no scale is given"),
        ({"scales": (2, 2)}, "give each once"),
        ({"layout": "other"}, "layout is 'other'; allowed are plain, edsr-pytorch"),
        ({"border": "zero"}, "border is 'zero'"),
        ({"workers": 0}, "workers is 0"),
        ({"max_pixels": 0}, "max_pixels is 0"),
        ({"output": "HR/lr"}, "lies within the input"),
        ({"output": "HR/a.png"}, "is no folder; give a folder"),
        ({"inputs": ["HR/a.png"]}, "no output folder"),
        ({"inputs": []}, "no input"),
        ({"inputs": [], "output": "out"}, "no input"),
        ({"inputs": ["HR", "HR/a.png"], "output": "out"}, "would go to the same files"),
    ],
)
@pytest.mark.usefixtures("as_users_call")
def test_mistakes_are_told_before_anything_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict, text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "HR/a.png", noise(8, 8, 3))
    with pytest.raises(ValueError, match=text):
        downscale_images(**{"inputs": ["HR"], **options})
    assert [path.name for path in tmp_path.iterdir()] == ["HR"]


def test_inputs_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        downscale_images(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="has no image"):
        downscale_images(tmp_path / "empty")


def test_a_degradation_takes_neither_alpha_nor_a_border_of_bicubic(tmp_path: Path) -> None:
    save(tmp_path / "HR/alpha.png", noise(12, 12, 4))
    save(tmp_path / "HR/grey.png", noise(16, 16, seed=1))
    found = downscale_images(tmp_path / "HR", scales=(2,), degradation=PRESETS["photo"])
    assert [image.status for image in found] == ["failed", "done"]
    assert str(found[0].error).endswith("it has alpha, which has no degradation; put it on a background first")
    assert read(found[1].outputs[2]).shape == (8, 8, 1)
    with pytest.raises(ValueError, match="border 'replicate' is of MATLAB's bicubic, and a degradation was given"):
        downscale_images(tmp_path / "HR", scales=(2,), border="replicate", degradation=PRESETS["photo"])
