import io
import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from foreign_nets import official_edsr, saved
from safetensors.torch import save_file
from torch import Tensor, nn

from srzoo.convert import convert_checkpoint, read_checkpoint

NET = {"head.weight": torch.ones(2), "head.bias": torch.zeros(2)}
OLD = {key: value - 5 for key, value in NET.items()}


def under(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + key: value for key, value in state.items()}


@pytest.mark.parametrize(
    ("content", "wrapper", "left_out"),
    [
        (NET, (), ()),
        (OrderedDict(NET), (), ()),
        ({"params": NET}, ("params",), ()),
        ({"params": OLD, "params_ema": NET}, ("params_ema",), ("params",)),
        ({"state_dict": NET, "meta": {"iter": 3}}, ("state_dict",), ("meta",)),
        ({"model": NET, "optimizer": {"state": {}}, "epoch": 3}, ("model",), ("optimizer", "epoch")),
        ({"model": {"params": NET}}, ("model", "params"), ()),
        (under("module.", NET), ("module.",), ()),
        ({"state_dict": under("module.", NET)}, ("state_dict", "module."), ()),
        (under("model.", NET), ("model.",), ()),
        (under("_orig_mod.module.", NET), ("_orig_mod.", "module."), ()),
        ({**under("module.", NET), "n_averaged": torch.tensor(7)}, ("module.",), ("n_averaged",)),
        (
            {"state_dict": {**under("generator.", NET), "step_counter": torch.tensor(7)}},
            ("state_dict", "generator."),
            ("step_counter",),
        ),
        (
            {
                "state_dict": {
                    **under("generator.", OLD),
                    **under("generator_ema.", NET),
                    **under("discriminator.", OLD),
                }
            },
            ("state_dict", "generator_ema."),
            ("discriminator.*", "generator.*"),
        ),
        (
            {**under("generator.", OLD), **under("generator_ema.module.", NET), "generator_ema.steps": torch.tensor(1)},
            ("generator_ema.", "module."),
            ("generator.*", "steps"),
        ),
    ],
)
def test_wrappers_are_opened_and_told(content: Any, wrapper: tuple, left_out: tuple, tmp_path: Path) -> None:
    found = read_checkpoint(saved(content, tmp_path / "net.pth"))
    assert (found.wrapper, found.left_out) == (wrapper, left_out)
    assert found.tensors.keys() == NET.keys()
    assert all(torch.equal(found.tensors[key], NET[key]) for key in NET)


def test_safetensors_and_files_of_old_torch_are_read(tmp_path: Path) -> None:
    save_file(NET, tmp_path / "net.safetensors")
    torch.save(NET, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    for name in ("net.safetensors", "old.pth"):
        assert torch.equal(read_checkpoint(tmp_path / name).tensors["head.weight"], NET["head.weight"])


def test_keys_beside_a_prefix_that_are_no_companions_stay_in(tmp_path: Path) -> None:
    content = {**under("module.", NET), "tail.weight": torch.ones(1)}
    found = read_checkpoint(saved(content, tmp_path / "net.pth"))
    assert (found.tensors.keys(), found.wrapper) == (content.keys(), ())


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return (os.mkdir, (str(self.path),))


@pytest.mark.parametrize("where", ["beside", "outside", "instead"])
def test_a_pickle_with_code_is_refused_and_not_run(where: str, tmp_path: Path) -> None:
    trap, state = Trap(tmp_path / "sprung"), official_edsr(2)
    content = {"beside": state | {"extra": trap}, "outside": {"params": state, "epoch": trap}, "instead": trap}[where]
    path = saved(content, tmp_path / "edsr.pt")
    with pytest.raises(ValueError, match=r"edsr\.pt cannot be read: it holds a Python object, \w+\.mkdir"):
        convert_checkpoint(path)
    assert not (tmp_path / "sprung").exists()
    torch.load(path, weights_only=False)
    assert (tmp_path / "sprung").exists()  # the trap works


def test_a_whole_module_is_refused_with_what_to_do(tmp_path: Path) -> None:
    path = saved({"epoch": 50, "model": nn.Conv2d(1, 1, 1)}, tmp_path / "model_epoch_50.pth")
    with pytest.raises(ValueError, match=r"Conv2d, .*; save the state dict alone") as caught:
        read_checkpoint(path)
    assert "weights_only" not in str(caught.value)  # torch's own text tells how to read it unsafely
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("keep", [0, 1, 64, 0.5, 0.98])
def test_truncated_files_are_refused_in_a_sentence(legacy: bool, keep: float, tmp_path: Path) -> None:
    path = tmp_path / "edsr.pt"
    torch.save(official_edsr(2), path, _use_new_zipfile_serialization=not legacy)
    content = path.read_bytes()
    path.write_bytes(content[: keep if isinstance(keep, int) else int(keep * len(content))])
    with pytest.raises(ValueError, match=r"edsr\.pt cannot be read: it is no PyTorch .*damaged") as caught:
        convert_checkpoint(path)
    assert "\n" not in str(caught.value)


def test_flipped_bytes_are_refused_or_change_nothing(tmp_path: Path) -> None:
    path = saved(NET, tmp_path / "net.pt")
    whole = path.read_bytes()
    ones = whole.index(torch.ones(2).numpy().tobytes())
    told = {}
    name = whole.index(b"head.weight")
    for place in {ones, ones + 6, name, *range(0, len(whole), 41)}:
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            found = read_checkpoint(path).tensors
        except ValueError as error:
            told[place] = str(error)
        else:
            assert all(torch.equal(found[key], NET[key]) for key in NET), place
    assert told[ones] == told[ones + 6] == f"{path} is damaged: net/data/0; get it again"
    assert told[name] == f"{path} is damaged: net/data.pkl; get it again"


@pytest.mark.skipif(not hasattr(torch.serialization, "set_crc32_options"), reason="this torch always writes sums")
def test_files_without_sums_are_read(tmp_path: Path) -> None:
    torch.serialization.set_crc32_options(False)
    try:
        path = saved(NET, tmp_path / "net.pt")
    finally:
        torch.serialization.set_crc32_options(True)
    assert torch.equal(read_checkpoint(path).tensors["head.weight"], NET["head.weight"])


def test_a_checkpoint_that_holds_itself_is_refused(tmp_path: Path) -> None:
    endless: dict[str, Any] = {}
    endless["params"] = endless
    deep: Any = NET
    for _ in range(8):
        deep = {"model": deep}
    assert read_checkpoint(saved(deep, tmp_path / "deep.pt")).wrapper == ("model",) * 8
    for content in (endless, {"model": deep}):
        with pytest.raises(
            ValueError, match=r"net\.pt has more than 8 dicts in each other \((model|params) > .*no end"
        ):
            read_checkpoint(saved(content, tmp_path / "net.pt"))


def test_truncated_safetensors_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "edsr.safetensors"
    save_file(official_edsr(2), path)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ValueError, match=r"cannot be read: it is no safetensors file, .*damaged"):
        convert_checkpoint(path)


def zip_of(name: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, "text")
    return file.getvalue()


def test_other_files_are_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="does not exist; give a checkpoint"):
        convert_checkpoint(tmp_path / "absent.pt")
    with pytest.raises(ValueError, match=r"is a folder; give a checkpoint in it"):
        convert_checkpoint(tmp_path)
    (tmp_path / "text.safetensors").write_text("not a checkpoint")
    with pytest.raises(ValueError, match="cannot be read: it is no safetensors file"):
        convert_checkpoint(tmp_path / "text.safetensors")
    picture = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
    for content in (b"not a checkpoint, but text\n", picture, pickle.dumps({"epoch": 3}), zip_of("word/document.xml")):
        (tmp_path / "other.pt").write_bytes(content)
        with pytest.raises(ValueError, match=r"other\.pt cannot be read: it is no PyTorch checkpoint .*get it again$"):
            convert_checkpoint(tmp_path / "other.pt")
    with pytest.raises(ValueError, match=r"holds no state dict .* but a dict with epoch"):
        convert_checkpoint(saved({"epoch": 3}, tmp_path / "epoch.pt"))
    with pytest.raises(ValueError, match=r"holds no state dict .* but a list"):
        convert_checkpoint(saved([torch.zeros(1)], tmp_path / "list.pt"))
    with pytest.raises(ValueError, match=r"1 entries .* that are none: epoch; write the tensors alone into a new file"):
        convert_checkpoint(saved(official_edsr(2) | {"epoch": 3}, tmp_path / "mixed.pt"))


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_a_torchscript_program_is_refused(tmp_path: Path) -> None:
    torch.jit.script(nn.Conv2d(1, 1, 1)).save(str(tmp_path / "net.pt"))
    with pytest.raises(ValueError, match="it is a TorchScript program; save the state dict"):
        convert_checkpoint(tmp_path / "net.pt")
