from dataclasses import replace
from pathlib import Path

import pytest

from srzoo import hub, registry
from srzoo.architecture import Weights

SHA256_OF_ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, appendix B.1
ROW = Weights(model="m_x2", tag="t", file="m.safetensors", sha256=SHA256_OF_ABC, license="MIT", source="us")


@pytest.fixture
def pretrained(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(hub, "files", lambda package: tmp_path)
    return tmp_path


def test_a_bundled_file_with_the_recorded_hash_is_found(pretrained):
    (pretrained / ROW.file).write_bytes(b"abc")
    assert hub.find_weights(ROW) == pretrained / ROW.file


def test_a_file_with_another_hash_is_refused_with_both_hashes(pretrained):
    (pretrained / ROW.file).write_bytes(b"abd")
    with pytest.raises(
        ValueError, match=rf"m\.safetensors is damaged: its sha256 is a52d.*, recorded is {SHA256_OF_ABC}"
    ):
        hub.find_weights(ROW)


def test_a_missing_file_is_named(pretrained):
    with pytest.raises(FileNotFoundError, match=r"other\.safetensors is missing from the installation"):
        hub.find_weights(replace(ROW, file="other.safetensors"))


def test_every_bundled_file_is_recorded_and_every_record_has_its_file():
    rows = [row for arch in registry.architectures().values() for row in arch.weights]
    bundled = {path.name for path in hub.PRETRAINED.glob("*") if not path.name.startswith((".", "_"))}
    assert {hub.find_weights(row).name for row in rows} == {name for name in bundled if name.endswith(".safetensors")}


def test_a_plugins_weights_are_found_in_its_own_package(tmp_path, monkeypatch):
    (tmp_path / "srzoo_theirs").mkdir()
    (tmp_path / "srzoo_theirs" / "m.safetensors").write_bytes(b"abc")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert hub.find_weights(replace(ROW, package="srzoo_theirs")) == tmp_path / "srzoo_theirs" / "m.safetensors"
    with pytest.raises(FileNotFoundError, match=r"package srzoo_gone with m\.safetensors is not installed"):
        hub.find_weights(replace(ROW, package="srzoo_gone"))
