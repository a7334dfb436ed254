"""srzoo.weights: what is written comes back, and what is damaged, foreign or newer is refused in a sentence."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

import srzoo
from srzoo.models.edsr import ARCH as EDSR_ARCH
from srzoo.models.edsr import EDSR
from srzoo.weights import (
    KEY,
    SCHEMA,
    Header,
    content_hash,
    file_sha256,
    load_strictly,
    read_header,
    read_tensors,
    write_weights,
)


@pytest.fixture
def model() -> srzoo.SRModel:
    return srzoo.create_model("edsr_baseline_x2", width=6, num_blocks=1).eval()


ARGUMENTS = {"scale": 2, "channels": 3, "width": 6, "num_blocks": 1, "res_scale": 1.0}


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "a.safetensors"


def test_a_saved_model_comes_back_bit_by_bit(model, path):
    srzoo.save_model(model, path)
    found = srzoo.load_model(path)
    assert (found.name, found.arguments, found.training) == (model.name, ARGUMENTS, False)
    own, theirs = model.state_dict(), found.state_dict()
    assert own.keys() == theirs.keys()
    assert all(torch.equal(own[key], theirs[key]) for key in own)
    lr = torch.rand(1, 3, 5, 7)
    assert torch.equal(model(lr), found(lr))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_without_a_dtype_each_tensor_is_stored_as_it_is(model, path, dtype):
    srzoo.save_model(model.to(dtype), path)
    assert {tensor.dtype for tensor in read_tensors(path).values()} == {dtype}


def test_half_precision_halves_the_file_and_loads_as_float32(model, path, tmp_path):
    srzoo.save_model(model, path)
    srzoo.save_model(model, tmp_path / "half.safetensors", dtype=torch.float16)
    full, half = (
        sum(tensor.nbytes for tensor in read_tensors(file).values()) for file in (path, tmp_path / "half.safetensors")
    )
    assert half * 2 == full
    assert (tmp_path / "half.safetensors").stat().st_size < 0.7 * path.stat().st_size  # the header stays as it is
    found = srzoo.load_model(tmp_path / "half.safetensors").state_dict()
    for key, value in model.state_dict().items():
        assert found[key].dtype == torch.float32
        assert torch.equal(found[key], value.half().float())
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_the_header_comes_back_with_name_and_arguments_from_the_model(model, path):
    given = Header(
        model="something else",
        license="CC-BY-4.0",
        source="us, on photographs (größer)",
        recipe={"config": {"steps": 10, "lr": 1e-4}, "data": "abc"},
        metrics={"Set5": 37.5, "protocol": "Y, 8-bit, border 2"},
    )
    written = srzoo.save_model(model, path, header=given)
    found = read_header(path)
    assert found == written
    assert (found.model, found.arguments) == ("edsr_baseline_x2", ARGUMENTS)
    assert (found.license, found.source) == (given.license, given.source)
    assert (found.recipe, found.metrics) == (given.recipe, given.metrics)
    assert (found.schema, found.content) == (SCHEMA, content_hash(model.state_dict()))


def test_the_file_has_exactly_one_metadata_key(model, path):
    srzoo.save_model(model, path, header=Header(model="", license="MIT", source="us"))
    with safe_open(path, framework="pt") as file:
        assert list(file.metadata()) == ["srzoo"]


def test_the_same_model_saved_twice_gives_the_same_bytes(model, path, tmp_path):
    header = Header(model="", license="MIT", recipe={"b": 1, "a": 2}, metrics={"Set5": 37.5, "Set14": 33.1})
    again = Header(model="", license="MIT", recipe={"a": 2, "b": 1}, metrics={"Set14": 33.1, "Set5": 37.5})
    srzoo.save_model(model, path, header=header)
    srzoo.save_model(model, tmp_path / "b.safetensors", header=again)
    assert path.read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    assert file_sha256(path) == file_sha256(tmp_path / "b.safetensors")


# The content hash

TENSORS = {"a": torch.tensor([[1.0, 2.0], [3.0, 4.0]]), "b": torch.tensor(5)}


def test_the_content_hash_does_not_depend_on_order_or_memory_layout():
    expected = content_hash(TENSORS)
    assert content_hash({"b": TENSORS["b"], "a": TENSORS["a"]}) == expected
    assert content_hash({**TENSORS, "a": TENSORS["a"].t().contiguous().t()}) == expected
    assert content_hash({**TENSORS, "a": TENSORS["a"].clone().requires_grad_()}) == expected


@pytest.mark.parametrize(
    "changed",
    [
        {**TENSORS, "a": torch.tensor([[1.0, 2.0], [3.0, 4.000001]])},
        {**TENSORS, "a": torch.tensor([[1.0, 2.0], [3.0, 4.0]]).view(torch.int32)},
        {**TENSORS, "a": TENSORS["a"].half()},
        {**TENSORS, "a": TENSORS["a"].view(4)},
        {**TENSORS, "a": TENSORS["a"].view(4, 1)},
        {**TENSORS, "b": TENSORS["b"].view(1)},
        {"c": TENSORS["a"], "b": TENSORS["b"]},
        {"a": TENSORS["a"]},
        {**TENSORS, "empty": torch.zeros(0)},
    ],
    ids=["value", "dtype of the same bytes", "dtype", "shape", "4x1", "0-d", "name", "less", "more"],
)
def test_the_content_hash_changes_with_anything_else(changed):
    assert content_hash(changed) != content_hash(TENSORS)


# What is refused


def test_tensors_changed_after_writing_are_refused(model, path):
    srzoo.save_model(model, path)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    for read in (read_tensors, srzoo.load_model):
        with pytest.raises(ValueError, match=r"a\.safetensors was changed after it was written"):
            read(path)


def refused(path: Path, told: str) -> None:
    """Header, tensors and model are refused with the same one sentence."""
    for read in (read_header, read_tensors, srzoo.load_model):
        with pytest.raises(ValueError, match=told) as caught:
            read(path)
        assert "\n" not in str(caught.value)
        assert path.name in str(caught.value)


@pytest.mark.parametrize("left", [0, 4, 100, -1])
def test_a_truncated_file_is_refused(model, path, left):
    srzoo.save_model(model, path)
    path.write_bytes(path.read_bytes()[:left])
    refused(path, r"is damaged or not a safetensors file .* srzoo\.convert_checkpoint")


def test_a_file_that_is_no_safetensors_is_refused(path):
    path.write_text("a text file that is long enough to look like a header")
    refused(path, r"is damaged or not a safetensors file .* srzoo\.convert_checkpoint")


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
def test_a_foreign_safetensors_file_is_refused(path, metadata):
    save_file({"x": torch.zeros(1)}, path, metadata=metadata)
    refused(path, r"has no srzoo header; .* srzoo\.convert_checkpoint")


def test_a_newer_schema_is_refused_whatever_else_it_holds(path):
    save_file({"x": torch.zeros(1)}, path, metadata={KEY: json.dumps({"schema": SCHEMA + 1, "new_field": 5})})
    refused(path, f"has schema {SCHEMA + 1}, this srzoo reads up to {SCHEMA}; update srzoo")


@pytest.mark.parametrize(
    "text", ["{", "[]", "{}", '{"schema": "one"}', '{"model": null}', '{"model": "a", "recipe": 1}']
)
@pytest.mark.usefixtures("as_users_call")
def test_a_header_that_makes_no_sense_is_refused(path, text):
    save_file({"x": torch.zeros(1)}, path, metadata={KEY: text})
    refused(path, "has an srzoo header that cannot be read")


def test_a_model_that_is_not_registered_is_refused(path):
    write_weights(path, {"x": torch.zeros(1)}, Header(model="edsr_of_theirs_x2"))
    told = r"a\.safetensors holds a model 'edsr_of_theirs_x2', of an architecture that is not registered; install the"
    with pytest.raises(ValueError, match=told):
        srzoo.load_model(path)


def test_a_pointer_of_git_lfs_is_told_from_a_damaged_file(path):
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    refused(path, "is a pointer of Git LFS, not the file itself; run `git lfs pull`")


def test_the_header_names_the_package_of_the_architecture(model, path):
    assert srzoo.save_model(model, path).requires == ""
    model.package = "plugnet 1.0"
    assert srzoo.save_model(model, path).requires == "plugnet 1.0"
    assert read_header(path).requires == "plugnet 1.0"


@pytest.mark.parametrize("read", [read_header, read_tensors, srzoo.load_model])
def test_a_missing_file_is_named(path, read):
    with pytest.raises(FileNotFoundError, match=r"a\.safetensors does not exist"):
        read(path)


def test_keys_that_do_not_fit_are_listed_and_nothing_is_loaded(model):
    state = {key: value + 1 for key, value in model.state_dict().items()}
    del state["tail.bias"]
    state["extra.weight"] = torch.zeros(1)
    state["head.bias"] = torch.zeros(7)
    before = model.head.weight.detach().clone()
    with pytest.raises(
        ValueError,
        match=r"^my file does not fit EDSR: 1 missing: tail\.bias; 1 unknown: extra\.weight; "
        r"1 of another shape: head\.bias \(7,\) instead of \(6,\)$",
    ):
        load_strictly(model, state, "my file")
    assert torch.equal(model.head.weight, before)


def test_a_model_without_a_name_cannot_be_saved(path):
    with pytest.raises(ValueError, match="this EDSR has no name"):
        srzoo.save_model(EDSR(scale=2, width=4, num_blocks=1), path)
    assert not path.exists()


@pytest.mark.parametrize("name", ["a.pt", "a", "a.safetensors.tmp"])
def test_another_suffix_is_refused(model, tmp_path, name):
    with pytest.raises(ValueError, match=r"does not end in \.safetensors"):
        srzoo.save_model(model, tmp_path / name)


def test_a_dtype_that_cannot_hold_weights_is_refused(model, path):
    with pytest.raises(ValueError, match=r"dtype is torch\.int8"):
        srzoo.save_model(model, path, dtype=torch.int8)


def test_a_missing_folder_is_named(model, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"folder .*nowhere does not exist; create it first"):
        srzoo.save_model(model, tmp_path / "nowhere" / "a.safetensors")


@pytest.mark.parametrize("fault", [OSError("disk full"), KeyboardInterrupt()])
def test_a_fault_while_writing_leaves_the_old_file_and_nothing_else(model, path, monkeypatch, fault):
    srzoo.save_model(model, path)
    before = path.read_bytes()

    def half_written(tensors, work, metadata):
        Path(work).write_bytes(b"half")
        raise fault

    monkeypatch.setattr("srzoo.weights.save_file", half_written)
    with pytest.raises(type(fault)):
        srzoo.save_model(srzoo.create_model("edsr_baseline_x3", width=6, num_blocks=1), path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_field_of_a_later_srzoo_is_passed_over(path):
    save_file({"x": torch.zeros(1)}, path, metadata={KEY: json.dumps({"model": "a", "later": 1})})
    assert read_header(path).model == "a"


def test_a_header_that_json_cannot_hold_is_refused(model, path):
    with pytest.raises(ValueError, match="must be plain JSON values"):
        srzoo.save_model(model, path, header=Header(model="", metrics={"psnr": float("inf")}))
    assert not path.exists()


def test_a_file_means_the_same_when_a_registered_default_changes(path, monkeypatch):
    model = srzoo.create_model("edsr_baseline_x2", width=6, num_blocks=1).eval()
    srzoo.save_model(model, path)
    monkeypatch.setitem(EDSR_ARCH.variants["edsr_baseline"], "res_scale", 0.1)
    assert srzoo.create_model("edsr_baseline_x2", width=6, num_blocks=1).body[0].res_scale == 0.1
    lr = torch.rand(1, 3, 5, 7)
    assert torch.equal(srzoo.load_model(path)(lr), model(lr))


@pytest.mark.parametrize(
    "fault", [SafetensorError("I/O error: No space left on device"), OSError(28, "No space left on device")]
)
def test_a_full_disk_is_told_in_one_sentence(path, monkeypatch, fault):
    def full(tensors, work, metadata):
        raise fault

    monkeypatch.setattr("srzoo.weights.save_file", full)
    told = r"a\.safetensors could not be written \(.*No space left on device\); make room or choose another folder$"
    with pytest.raises(OSError, match=told) as caught:
        write_weights(path, {"x": torch.zeros(1)}, Header(model=""))
    assert caught.value.__cause__ is fault
    assert not list(path.parent.iterdir())


def test_a_file_that_may_not_grow_is_an_os_error(tmp_path):
    script = f"""
import resource, signal, torch
from srzoo.weights import Header, write_weights
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_weights({str(tmp_path / "a.safetensors")!r}, {{"x": torch.zeros(9000)}}, Header(model=""))
except OSError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "a.safetensors could not be written (" in done.stdout
    assert not list(tmp_path.iterdir())
