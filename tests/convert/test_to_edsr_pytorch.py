from pathlib import Path

import pytest
import torch
from foreign_nets import official_edsr, official_forward, official_mdsr, saved

import srzoo
from srzoo.convert import convert_checkpoint, edsr_pytorch_options, save_edsr_pytorch, to_edsr_pytorch

SMALL = dict(width=4, num_blocks=2)


@pytest.mark.parametrize(
    "name", ["edsr_baseline_x2", "edsr_x3", "edsr_baseline_x4", "edsr_baseline_x8", "mdsr_baseline"]
)
@torch.inference_mode()
def test_there_and_back_is_bit_equal_and_the_official_network_gives_the_same(name: str, tmp_path: Path) -> None:
    model, lr = srzoo.create_model(name, **SMALL).eval(), torch.rand(1, 3, 5, 6)
    save_edsr_pytorch(model, tmp_path / "theirs.pt")
    theirs = torch.load(tmp_path / "theirs.pt", weights_only=True)
    res_scale = model.arguments.get("res_scale", 1.0)
    for scale in model.scales:
        expected = official_forward(theirs, lr, scale, res_scale)
        torch.testing.assert_close(model(lr, scale), expected, rtol=1e-5, atol=1e-5)
    overrides = {"res_scale": res_scale, **SMALL} if name.startswith("edsr_") else {}
    back = convert_checkpoint(tmp_path / "theirs.pt", name, **overrides)
    assert dict(back.arguments) == dict(model.arguments)
    assert back.state_dict().keys() == model.state_dict().keys()
    assert all(torch.equal(value, back.state_dict()[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("state", [official_edsr(4), official_mdsr()], ids=["edsr", "mdsr"])
def test_back_and_there_is_bit_equal_in_the_official_order(state: dict, tmp_path: Path) -> None:
    theirs = to_edsr_pytorch(convert_checkpoint(saved(state, tmp_path / "net.pt")))
    assert list(theirs) == list(state)
    assert all(torch.equal(theirs[key], state[key]) for key in state)


@pytest.mark.parametrize("name", ["edsr_pytorch_b4_f16_x3", "edsr_pytorch_baseline_x4", "mdsr_pytorch_b4_f16"])
def test_official_files_come_back_bit_equal(name: str, data_dir: Path, tmp_path: Path) -> None:
    state = torch.load(data_dir / "golden" / f"{name}.pt", weights_only=True)
    save_edsr_pytorch(convert_checkpoint(data_dir / "golden" / f"{name}.pt"), tmp_path / "back.pt")
    back = torch.load(tmp_path / "back.pt", weights_only=True)
    assert list(back) == list(state)
    assert all(torch.equal(back[key], state[key]) and back[key].dtype == torch.float32 for key in state)


def test_half_precision_files_are_widened(tmp_path: Path) -> None:
    model = srzoo.create_model("edsr_baseline_x2", **SMALL)
    srzoo.save_model(model, tmp_path / "half.safetensors", dtype=torch.float16)
    theirs = to_edsr_pytorch(srzoo.load_model(tmp_path / "half.safetensors"))
    assert torch.equal(theirs["tail.1.weight"], model.state_dict()["tail.weight"].half().float())


def test_the_file_is_the_same_whatever_it_is_called(tmp_path: Path) -> None:
    model = srzoo.create_model("edsr_baseline_x2", **SMALL)
    for name in ("a.pt", "longer.pth"):
        save_edsr_pytorch(model, tmp_path / name)
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "longer.pth").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.pt", "longer.pth"]


def test_the_model_keeps_its_own_tensors() -> None:
    model = srzoo.create_model("edsr_baseline_x2", **SMALL)
    to_edsr_pytorch(model)["head.0.weight"].zero_()
    assert model.state_dict()["head.weight"].any()


def test_what_the_official_code_cannot_hold_is_refused(tmp_path: Path) -> None:
    for name, changed, told in (
        ("bicubic_x2", {}, "bicubic_x2 is neither EDSR nor MDSR"),
        ("edsr_baseline_x2", {"channels": 1, **SMALL}, "has 1 channels, EDSR-PyTorch's mean shift takes 3"),
        ("mdsr_baseline", {"scales": (2, 6), **SMALL}, "has scale 6, EDSR-PyTorch's upsampler takes 3 and powers of 2"),
    ):
        with pytest.raises(ValueError, match=told):
            save_edsr_pytorch(srzoo.create_model(name, **changed), tmp_path / "net.pt")
    with pytest.raises(ValueError, match=r"does not end in \.pt or \.pth"):
        save_edsr_pytorch(srzoo.create_model("edsr_baseline_x2", **SMALL), tmp_path / "net.safetensors")
    with pytest.raises(FileNotFoundError, match="create it first"):
        save_edsr_pytorch(srzoo.create_model("edsr_baseline_x2", **SMALL), tmp_path / "absent" / "net.pt")
    assert not list(tmp_path.iterdir())


def test_the_options_build_the_same_network() -> None:
    assert (
        edsr_pytorch_options(srzoo.create_model("mdsr")) == "--model MDSR --scale 2+3+4 --n_resblocks 80 --n_feats 64"
    )
    model = srzoo.create_model("edsr_baseline_x4", res_scale=0.5, **SMALL)
    assert edsr_pytorch_options(model) == "--model EDSR --scale 4 --n_resblocks 2 --n_feats 4 --res_scale 0.5"
