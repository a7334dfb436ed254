"""scripts/gpu: packing, parts, and a toy run on the CPU in several calls."""

import csv
import importlib.util
import json
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open

import srzoo

FOLDER = Path(__file__).resolve().parents[2] / "scripts" / "gpu"
MIB = 2**20


def load_script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"gpu_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    before = list(sys.path)
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path[:] = before
    return module


pack, parts, train = (load_script(name) for name in ("pack", "parts", "train"))


@pytest.fixture
def blobs(tmp_path: Path) -> tuple[Path, Path, dict[str, float]]:
    """Files that only their names make images, one with a long name in a subfolder; and scores."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "blobs"
    long = "a" * 120 + "/" + "b" * 120 + ".png"
    scores = {}
    for name in [*(f"{i:02d}.jpg" for i in range(20)), long]:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(rng.bytes(int(rng.integers(500, 12_000))))
        scores[name] = float(rng.integers(1, 6)) / 7
    table = tmp_path / "scores.csv"
    with open(table, "w", newline="") as file:
        csv.writer(file).writerows([("source", "score", "file"), *(("x", s, n) for n, s in scores.items())])
    return folder, table, scores


def photos_in(path: Path) -> list[str]:
    with tarfile.open(path) as tar:
        return [name for name in tar.getnames() if name != "scores.csv"]


def test_packs_hold_the_best_photos_first_and_no_pack_could_take_the_next_photo(blobs, tmp_path: Path) -> None:
    folder, table, scores = blobs
    out = tmp_path / "packs"
    limit = 41_000  # bytes: two or more packs' worth of records of 10,240 bytes
    assert pack.main([str(folder), "--scores", str(table), "--size", str(limit / MIB), "-o", str(out)]) == 0
    packs = sorted(out.iterdir())
    assert [path.name for path in packs] == [f"photos-{i:02d}.tar" for i in range(len(packs))]
    held = [photos_in(path) for path in packs]
    assert [name for names in held for name in names] == sorted(scores, key=lambda name: (-scores[name], name))
    for path, names, following in zip(packs, held, [*held[1:], None], strict=True):
        assert path.stat().st_size <= limit
        if following:
            more = [pack.Photo(folder / name, name, scores[name]) for name in [*names, following[0]]]
            pack.write_pack(tmp_path / "more.tar", more)
            assert (tmp_path / "more.tar").stat().st_size > limit


def test_unpacked_packs_add_up_byte_for_byte_and_replace_what_was_there(blobs, tmp_path: Path) -> None:
    folder, table, scores = blobs
    out, target = tmp_path / "packs", tmp_path / "unpacked"
    pack.main([str(folder), "--scores", str(table), "--size", "0.05", "-o", str(out)])
    target.mkdir()
    (target / "old.png").write_bytes(b"of other packs")
    assert pack.unpack_photos(out, None, target) == scores
    found = {path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file()}
    assert found == set(scores)
    assert all((target / name).read_bytes() == (folder / name).read_bytes() for name in scores)
    first = pack.unpack_photos(out, 1, target)
    assert list(first) == photos_in(out / "photos-00.tar")


def test_without_scores_the_order_is_by_name_and_count_limits_the_packs(blobs, tmp_path: Path) -> None:
    folder, _, scores = blobs
    out = tmp_path / "packs"
    assert pack.main([str(folder), "--size", "0.04", "--count", "2", "-o", str(out)]) == 0
    assert [path.name for path in sorted(out.iterdir())] == ["photos-00.tar", "photos-01.tar"]
    held = photos_in(out / "photos-00.tar") + photos_in(out / "photos-01.tar")
    assert held == sorted(scores)[: len(held)]
    assert set(pack.unpack_photos(out, None, tmp_path / "unpacked").values()) == {1.0}


@pytest.mark.parametrize(
    ("table", "options", "sentence"),
    [
        ("file,score\na.jpg,1\n", [], "b.jpg has no score"),
        ("file,score\na.jpg,1\nb.jpg,2\nc.jpg,2\n", [], "c.jpg is not in the folder"),
        ("file,score\na.jpg,1\nb.jpg,nan\n", [], "the score of b.jpg is nan"),
        ("file,score\na.jpg,1\nb.jpg,good\n", [], "no number ('good')"),
        ("name,score\na.jpg,1\n", [], "needs the columns file and score"),
        ("file,score\na.jpg,1\nb.jpg,2\n", ["--size", "0.01"], "b.jpg (0.0 MiB) does not fit a pack"),
        ("file,score\na.jpg,1\nb.jpg,2\n", ["--size", "0"], "must be positive"),
    ],
)
def test_what_cannot_be_packed_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], table: str, options: list[str], sentence: str
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(b"a")
    (folder / "b.jpg").write_bytes(bytes(9000))
    (tmp_path / "scores.csv").write_text(table)
    args = [str(folder), "--scores", str(tmp_path / "scores.csv"), "-o", str(tmp_path / "packs"), *options]
    assert pack.main(args) == 2
    told = capsys.readouterr().err
    assert sentence in told
    assert told.count("\n") == 1


def test_packs_are_not_mixed_with_older_ones_or_twice_the_same_photo(
    blobs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, *_ = blobs
    out = tmp_path / "packs"
    assert pack.main([str(folder), "-o", str(out)]) == 0
    assert pack.main([str(folder), "-o", str(out)]) == 2
    assert "already there" in capsys.readouterr().err
    (out / "again.tar").write_bytes((out / "photos-00.tar").read_bytes())
    with pytest.raises(ValueError, match="is in another pack, too"):
        pack.unpack_photos(out, None, tmp_path / "unpacked")


def test_a_damaged_pack_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="has no packs"):
        pack.unpack_photos(tmp_path, None, tmp_path / "unpacked")
    (tmp_path / "photos-00.tar").write_bytes(b"x" * 2000)
    with pytest.raises(ValueError, match=r"photos-00\.tar is damaged or was not made by pack\.py"):
        pack.unpack_photos(tmp_path, None, tmp_path / "unpacked")


@pytest.mark.parametrize(("size", "count"), [(0, 0), (1, 1), (1000, 1), (1001, 2), (2500, 3)])
def test_parts_are_within_the_limit_and_join_to_the_same_bytes(tmp_path: Path, size: int, count: int) -> None:
    whole, target = tmp_path / "whole", tmp_path / "state" / "x.safetensors"
    whole.write_bytes(np.random.default_rng(1).bytes(size))
    parts.split_file(whole, target, 1000)
    names = sorted(path.name for path in target.parent.iterdir())
    assert names == ["x.safetensors.json", *(f"x.safetensors.part{i:02d}" for i in range(count))]
    assert all(path.stat().st_size <= 1000 for path in target.parent.glob("*.part*"))
    parts.join_file(target, tmp_path / "joined")
    assert (tmp_path / "joined").read_bytes() == whole.read_bytes()


class CutOff:
    """Stops the process, as it were, at one of the calls that change files; a write is left torn."""

    def __init__(self, patch: pytest.MonkeyPatch, at: int) -> None:
        self.at, self.calls = at, 0
        for name in ("write_bytes", "write_text", "replace", "unlink"):
            patch.setattr(Path, name, self.counted(getattr(Path, name), name == "write_bytes"))

    def counted(self, method: Callable[..., Any], torn: bool) -> Callable[..., Any]:
        def call(path: Path, *args: Any, **kwargs: Any) -> Any:
            if self.calls == self.at:
                if torn:
                    method(path, b"torn")
                raise KeyboardInterrupt
            self.calls += 1
            return method(path, *args, **kwargs)

        return call


@pytest.mark.parametrize(("old_size", "new_size"), [(2500, 1500), (500, 2500)])
def test_a_write_cut_off_anywhere_leaves_the_old_or_the_new_file_whole(
    tmp_path: Path, old_size: int, new_size: int
) -> None:
    rng = np.random.default_rng(2)
    old, new, joined = tmp_path / "old", tmp_path / "new", tmp_path / "joined"
    old.write_bytes(rng.bytes(old_size))
    new.write_bytes(rng.bytes(new_size))
    seen = []
    for at in range(100):
        target = tmp_path / str(at) / "x.safetensors"
        parts.split_file(old, target, 1000)
        with pytest.MonkeyPatch.context() as patch:
            cut = CutOff(patch, at)
            with suppress(KeyboardInterrupt):
                parts.split_file(new, target, 1000)
        if cut.calls < at:  # it ran to its end
            break
        parts.join_file(target, joined)
        assert joined.read_bytes() in (old.read_bytes(), new.read_bytes())
        seen.append(joined.read_bytes() == new.read_bytes())
        parts.split_file(new, target, 1000)  # and the next write works
        parts.join_file(target, joined)
        assert joined.read_bytes() == new.read_bytes()
        assert not list(target.parent.glob("*.new"))
    assert seen == sorted(seen)  # the old file, and from some point on the new one
    assert set(seen) == {False, True}


def test_a_damaged_or_missing_part_is_refused(tmp_path: Path) -> None:
    whole, target = tmp_path / "whole", tmp_path / "x.safetensors"
    whole.write_bytes(bytes(2500))
    parts.split_file(whole, target, 1000)
    second = tmp_path / "x.safetensors.part01"
    second.write_bytes(bytes(999) + b"\x01")
    with pytest.raises(ValueError, match="part01 is damaged"):
        parts.join_file(target, tmp_path / "joined")
    second.unlink()
    with pytest.raises(ValueError, match="part01 is missing"):
        parts.join_file(target, tmp_path / "joined")
    assert not (tmp_path / "joined").exists()


class Toy:
    """`train.main` on tiny packs and models."""

    def __init__(self, folder: Path, photos: Path) -> None:
        self.folder = folder
        assert pack.main([str(photos), "--size", "0.01", "-o", str(folder / "packs")]) == 0
        assert len(list((folder / "packs").iterdir())) > 1

    def options(self, *options: str, out: str = "out") -> list[str]:
        paths = {"packs": "packs", "out": out, "work": f"work-{out}"}
        args = [f"--{option}={self.folder / name}" for option, name in paths.items()]
        small = "--steps=4 --batch-size=2 --patch-size=8 --overrides=width=8,num_blocks=1"
        fast = "--device=cpu --precision=fp32 --max-file-mib=0.01 --models=edsr_baseline_x2,edsr_baseline_x4"
        return [*args, *small.split(), *fast.split(), *options]

    def __call__(self, *options: str, out: str = "out") -> int:
        return train.main(self.options(*options, out=out))


@pytest.fixture
def toy(tmp_path: Path, photo_folder: Path) -> Toy:
    return Toy(tmp_path, photo_folder)


def stored(folder: Path, name: str) -> dict[str, np.ndarray]:
    """Tensors of a published weight file as they are in the file."""
    whole = folder.parent / f"stored-{name}.safetensors"
    parts.join_file(folder / f"{name}.safetensors", whole)
    with safe_open(whole, framework="np") as file:
        return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118


def test_calls_that_run_out_of_time_end_with_the_weights_of_one_long_call(
    toy: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for done in range(1, 4):  # --minutes 0 stops after one step
        assert toy("--minutes=0") == 0
        told = capsys.readouterr().out
        assert f"remains: edsr_baseline_x2, {done} of 4 steps" in told
        assert "remains: edsr_baseline_x4, not begun" in told
    assert toy() == 0
    assert "all models are finished" in capsys.readouterr().out
    assert toy("--save-every=3", out="long") == 0
    for name in ("edsr_baseline_x2", "edsr_baseline_x4"):
        short, long = (stored(tmp_path / out, name) for out in ("out", "long"))
        assert all(tensor.dtype == np.float16 for tensor in short.values())
        assert short.keys() == long.keys()
        assert all((short[key] == long[key]).all() for key in short)
        rows = [json.loads(line) for line in (tmp_path / "out" / name / "log.jsonl").read_text().splitlines()]
        assert [row["step"] for row in rows] == ([1, 2, 3, 4] if name.endswith("x2") else [4])
    files = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.*")}
    assert not [name for name in files if "checkpoint" in name]  # finished: only weights and log
    assert all((tmp_path / "out" / name).stat().st_size <= 0.01 * MIB for name in files)


def test_a_finished_model_is_skipped_loads_and_says_how_it_was_made(
    toy: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = "--models=edsr_baseline_x2"
    assert toy(model, "--max-file-mib=1", "--steps=2") == 0
    path = tmp_path / "out" / "edsr_baseline_x2.safetensors"
    before = path.read_bytes()
    model_, header = srzoo.load_model(path), srzoo.read_header(path)
    assert (model_.arguments["width"], model_.arguments["num_blocks"]) == (8, 1)
    recipe = header.recipe
    assert (recipe["steps"], recipe["config"]["steps"], recipe["device"]) == (2, 2, "cpu")
    capsys.readouterr()
    assert toy(model, "--steps=2") == 0
    assert capsys.readouterr().out.startswith("done: edsr_baseline_x2, 2 of 2 steps")
    assert path.read_bytes() == before


def test_later_models_start_from_the_first_one_and_a_part_from_another_folder_s_state(
    toy: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert toy("--steps=1", "--steps-warm=3", "--minutes=0", out="part1") == 0
    assert toy("--steps=1", "--steps-warm=3", "--minutes=0", f"--state={tmp_path / 'part1'}", out="part2") == 0
    assert "edsr_baseline_x4: starts with" in capsys.readouterr().out
    x2, x4 = stored(tmp_path / "part1", "edsr_baseline_x2"), stored(tmp_path / "part2", "edsr_baseline_x4")
    step = 1e-4 + 1e-3 * np.abs(x2["head.weight"])  # one step of Adam, and fp16
    for key in ("head.weight", "body.0.conv1.weight", "upsample.0.weight", "tail.weight"):
        assert x4[key].shape == x2[key].shape
    assert (np.abs(x4["head.weight"].astype(float) - x2["head.weight"]) <= step).all()
    assert not (tmp_path / "part2" / "edsr_baseline_x2.safetensors").exists()  # only what changed
    state = f"--state={tmp_path / 'part2'}"
    assert toy(state, "--models=edsr_baseline_x4", "--steps=3", out="part3") == 0
    told = capsys.readouterr().out
    assert "edsr_baseline_x4: step 1 of 3" in told
    assert "starts with" not in told
    log = (tmp_path / "part3" / "edsr_baseline_x4" / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in log] == [1, 3]


def test_checkpoint_parts_are_small_and_a_damaged_one_is_refused(
    toy: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert toy("--minutes=0", f"--validation={tmp_path / 'photos'}", "--save-every=1") == 0
    assert "photos x2 psnr" in capsys.readouterr().err
    folder = tmp_path / "out" / "edsr_baseline_x2"
    found = sorted(folder.glob("checkpoint.safetensors.part*"))
    assert len(found) > 2
    assert all(path.stat().st_size <= 0.01 * MIB for path in found)
    data = found[1].read_bytes()
    found[1].write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert toy("--minutes=0") == 2
    told = capsys.readouterr().err
    assert f"{found[1].name} is damaged" in told
    assert told.count("\n") == 1
    found[1].write_bytes(data)
    assert toy("--minutes=0") == 0


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--lr=0.5"], "lr was 0.0001, is 0.5"),
        (["--limit-packs=1"], "other training images"),
        (["--overrides=width=4,num_blocks=1"], "had other settings"),
        (["--overrides=widht=4"], "did you mean width?"),
        (["--models=edsr_baselin_x2"], "did you mean"),
        (["--patch-size=999"], "take a smaller patch size"),
        (["--packs=nowhere"], "has no packs"),
    ],
)
def test_a_mistake_is_told_and_leaves_the_state(
    toy: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], sentence: str
) -> None:
    assert toy("--minutes=0") == 0
    capsys.readouterr()
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.*")}
    assert toy(*options) == 2
    assert sentence in capsys.readouterr().err
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.*")} == before


@pytest.mark.slow
def test_a_terminated_process_saves_first_and_the_next_call_goes_on(
    toy: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = toy.options("--steps=1000000", "--models=edsr_baseline_x2")
    command = [sys.executable, str(FOLDER / "train.py"), *options]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while "step 0 of" not in process.stdout.readline():
            assert process.poll() is None
        time.sleep(1)
        process.terminate()
        assert process.wait(60) == 130
    recipe = train.read_recipe(train.parse_args(options), "edsr_baseline_x2")
    assert 0 < recipe["steps"] < 1_000_000
    assert toy("--steps=1000000", "--models=edsr_baseline_x2", "--minutes=0") == 0
    assert f"step {recipe['steps']} of 1000000" in capsys.readouterr().out
