import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from srzoo.data import set_fetching
from srzoo.data.benchmarks import BENCHMARKS, HubFiles, find_set
from srzoo.hub import HubFile
from tests.data.conftest import PIXELS, TINY, noise, packed, png, sets

pytestmark = pytest.mark.usefixtures("tiny")

GOOD = {f"Tiny4_HR/{name}.png": png(pixels) for name, pixels in PIXELS.items()}


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that stands for what was downloaded."""
    path = tmp_path / "downloaded"
    monkeypatch.setattr(set_fetching, "_download", lambda name, files: path)
    return path


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_a_fetched_set_is_found_from_then_on(archive, kind, tmp_path, monkeypatch):
    monkeypatch.delenv("SRZOO_DATA", raising=False)
    archive.write_bytes(packed({**GOOD, "Tiny4_HR/._baby.png": b"junk", "README.md": b"text"}, kind))
    (tmp_path / "sets").mkdir()
    images = find_set("Tiny4", tmp_path / "sets", fetch=True)
    assert images.problems((2,)) == []
    assert images.folder.is_relative_to(tmp_path / "cache")
    assert sorted(path.name for path in images.folder.parent.iterdir()) == [images.folder.name]  # nothing unfinished
    archive.unlink()
    assert find_set("Tiny4").names == find_set("Tiny4", fetch=True).names == images.names


def test_a_set_in_the_users_folder_is_not_fetched(hr, archive):
    assert find_set("Tiny4", sets(hr), fetch=True).folder == hr


def test_a_grey_image_that_was_packed_as_rgb_becomes_grey_again(archive):
    grey = png(np.stack([PIXELS["bridge"]] * 3, -1))
    archive.write_bytes(packed({**GOOD, "Tiny4_HR/bridge.png": grey}))
    images = find_set("Tiny4", fetch=True)
    assert images.problems((2,)) == []
    assert len(images.pairs(2)[3].hr) == 1


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({**GOOD, "Tiny4_HR/baby.png": png(noise(9))}, "baby: its pixels are not those"),
        ({name: data for name, data in GOOD.items() if "bird" not in name}, r"missing \(1\): bird"),
        ({**GOOD, "../../../evil.png": png(noise(9))}, r"take it away \(1\): evil.png"),
        ({**GOOD, "/tmp/evil-of-srzoo.png": png(noise(9))}, r"take it away \(1\): evil-of-srzoo.png"),
        ({**GOOD, "Tiny4_LR/baby.png": png(noise(9))}, r"two images called baby.png"),
        ({}, r"missing \(4\)"),
    ],
)
def test_an_archive_that_is_not_the_set_is_refused_and_not_kept(archive, tmp_path, files, told):
    archive.write_bytes(packed(files))
    with pytest.raises(ValueError, match=told):
        find_set("Tiny4", fetch=True)
    assert {path.suffix for path in (tmp_path / "cache" / "benchmarks").iterdir()} <= {".lock"}
    assert not list(tmp_path.rglob("evil*"))
    assert not Path("/tmp/evil-of-srzoo.png").exists()


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_a_damaged_archive_is_told(archive, kind):
    data = packed(GOOD, kind)
    for damaged in (data[: len(data) // 2], b"", b"<html>not an archive</html>"):
        archive.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"data/Tiny4_HR.tar.gz of owner/tiny is damaged"):
            find_set("Tiny4", fetch=True)


def test_links_in_an_archive_are_left_out(archive, tmp_path):
    data = io.BytesIO(packed(GOOD))
    with tarfile.open(fileobj=data) as source, tarfile.open(archive, "w") as target:
        for member in source:
            target.addfile(member, source.extractfile(member))
        link = tarfile.TarInfo("Tiny4_HR/leak.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        target.addfile(link)
    assert "leak.png" not in {path.name for path in find_set("Tiny4", fetch=True).folder.iterdir()}


def test_a_set_that_is_not_on_the_hub_cannot_be_fetched():
    with pytest.raises(FileNotFoundError, match="no place on the Hub is known that anyone may fetch it from"):
        find_set("Manga109", fetch=True)


@pytest.mark.parametrize("kind", [FileNotFoundError, ConnectionError, PermissionError])
def test_what_the_hub_refuses_is_told_in_a_sentence(tmp_path, monkeypatch, kind):
    def refuse(source: HubFile) -> Path:
        raise kind(f"{source.kind} {source.repo} is not there")

    monkeypatch.setattr(set_fetching, "fetch", refuse)
    told = "^Set5 cannot be fetched: dataset eugenesiow/Set5 is not there; or get it elsewhere and name its folder$"
    with pytest.raises(FileNotFoundError, match=told):
        find_set("Set5", tmp_path, fetch=True)


def test_a_full_disk_is_not_told_as_a_set_that_is_not_there(tmp_path, monkeypatch):
    def refuse(source: HubFile) -> Path:
        raise OSError("the cache cannot be used")

    monkeypatch.setattr(set_fetching, "fetch", refuse)
    with pytest.raises(OSError, match=r"^the cache cannot be used$"):
        find_set("Set5", tmp_path, fetch=True)


def run(script: str, folder: Path, **env: str) -> str:
    """What a script prints in a process of its own, whose caches are in a folder."""
    caches = {"HF_HOME": str(folder / "hf"), "SRZOO_CACHE": str(folder / "own"), "HF_HUB_DISABLE_XET": "1"}
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "SRZOO_"))}
    result = subprocess.run(
        [sys.executable, "-c", script],
        env={**kept, **caches, "HF_HUB_DISABLE_TELEMETRY": "1", "NO_PROXY": "127.0.0.1", **env},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture
def hub() -> Iterator[tuple[str, dict[str, bytes], list[str]]]:
    """A hub on this machine: its address, what it has, and what was asked for."""
    there: dict[str, bytes] = {}
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer(False)

        def do_GET(self) -> None:
            self.answer(True)

        def answer(self, with_body: bool) -> None:
            asked.append(f"{self.command} {self.path}")
            data = there.get(self.path)
            self.send_response(404 if data is None else 200)
            if data is None:
                self.send_header("X-Error-Code", "EntryNotFound")
            else:
                self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
                self.send_header("X-Repo-Commit", self.path.split("/")[5])
            self.send_header("Content-Length", str(len(data or b"")))
            self.end_headers()
            if with_body and data is not None:
                self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", there, asked
    server.shutdown()
    thread.join()
    server.server_close()


def address(files: HubFiles) -> str:
    return f"/datasets/{files.repo}/resolve/{files.revision}/{files.file}"


def test_the_real_client_fetches_checks_and_tells(hub, tmp_path):
    endpoint, there, asked = hub
    assert TINY.hub is not None
    there[address(TINY.hub)] = packed(GOOD)
    five = BENCHMARKS["Set5"].hub
    assert five is not None
    there[address(five)] = packed(GOOD)
    script = f"""
import json
from dataclasses import replace
from srzoo.data import benchmark_records
from srzoo.data.benchmarks import BENCHMARKS, BenchmarkImage, BenchmarkSet, HubFiles, find_set
rows = {[[i.name, i.width, i.height, i.mode, i.sha256] for i in TINY.images]!r}
hub = HubFiles(*{list(vars(TINY.hub).values())})
tiny = BenchmarkSet("Tiny4", tuple(BenchmarkImage(*row) for row in rows), "paper", "", hub)
benchmark_records.BENCHMARKS = {{**BENCHMARKS, "Tiny4": tiny}}
told = []
for name in ("Tiny4", "Tiny4", "Set5", "Set14"):
    try:
        images = find_set(name, fetch=True)
        told.append([name, images.problems((2,)), list(images.names)])
    except (ValueError, FileNotFoundError) as error:
        told.append([type(error).__name__, str(error)])
print(json.dumps(told))
"""
    first, again, five_told, fourteen = json.loads(run(script, tmp_path, HF_ENDPOINT=endpoint, HF_HUB_OFFLINE="0"))
    assert first == again == ["Tiny4", [], ["baby", "bird", "img_003", "bridge"]]
    assert five_told[0] == "ValueError"
    assert "eugenesiow/Set5 on the Hub has as Set5 is not that set, and is not kept" in five_told[1]
    assert "missing (3): butterfly, head, woman" in five_told[1]
    assert fourteen[0] == "FileNotFoundError"
    told = f"Set14 cannot be fetched: eugenesiow/Set14@{BENCHMARKS['Set14'].hub.revision} has no file data/Set14_HR"
    assert fourteen[1].startswith(told)
    assert "\n" not in fourteen[1]
    assert len([line for line in asked if line == f"GET {address(TINY.hub)}"]) == 1
