import os
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

import srzoo

MEAN = torch.tensor([0.4488, 0.4371, 0.4040])
FACTORS = {2: [2], 3: [3], 4: [2, 2], 8: [2, 2, 2]}
State = dict[str, Tensor]


def add_conv(state: State, key: str, width_out: int, width_in: int, side: int = 3) -> None:
    state[f"{key}.weight"] = torch.randn(width_out, width_in, side, side) * 0.1
    state[f"{key}.bias"] = torch.randn(width_out)


def add_shift(state: State) -> None:
    for key, sign in (("sub_mean", -1), ("add_mean", 1)):
        state[f"{key}.weight"] = torch.eye(3).view(3, 3, 1, 1)
        state[f"{key}.bias"] = sign * 255 * MEAN


def add_body(state: State, width: int, blocks: int) -> None:
    add_conv(state, "head.0", width, 3)
    for i in range(blocks):
        add_conv(state, f"body.{i}.body.0", width, width)
        add_conv(state, f"body.{i}.body.2", width, width)
    add_conv(state, f"body.{blocks}", width, width)


def official_edsr(scale: int, width: int = 4, blocks: int = 2) -> State:
    """State dict in the layout of EDSR-PyTorch, with random values."""
    state: State = {}
    add_shift(state)
    add_body(state, width, blocks)
    for stage, factor in enumerate(FACTORS[scale]):
        add_conv(state, f"tail.0.{2 * stage}", factor**2 * width, width)
    add_conv(state, "tail.1", 3, width)
    return state


def official_mdsr(width: int = 4, blocks: int = 1) -> State:
    state: State = {}
    add_shift(state)
    add_body(state, width, blocks)
    for branch, scale in enumerate((2, 3, 4)):
        for block in (0, 1):
            add_conv(state, f"pre_process.{branch}.{block}.body.0", width, width, 5)
            add_conv(state, f"pre_process.{branch}.{block}.body.2", width, width, 5)
        for stage, factor in enumerate(FACTORS[scale]):
            add_conv(state, f"upsample.{branch}.{2 * stage}", factor**2 * width, width)
    add_conv(state, "tail.0", 3, width)
    return state


def reference_forward(state: State, lr: Tensor, scale: int, res_scale: float = 1) -> Tensor:
    """The official network, run by its own key names on 0..255."""

    def conv(key: str, x: Tensor) -> Tensor:
        weight = state[f"{key}.weight"]
        return F.conv2d(x, weight, state[f"{key}.bias"], padding=weight.shape[-1] // 2)

    def block(key: str, x: Tensor) -> Tensor:
        return x + res_scale * conv(f"{key}.2", F.relu(conv(f"{key}.0", x)))

    is_mdsr = "pre_process.0.0.body.0.weight" in state
    branch = (2, 3, 4).index(scale) if is_mdsr else None
    x = conv("head.0", conv("sub_mean", lr * 255))
    if is_mdsr:
        for i in (0, 1):
            x = block(f"pre_process.{branch}.{i}.body", x)
    skip, i = x, 0
    while f"body.{i}.body.0.weight" in state:
        x, i = block(f"body.{i}.body", x), i + 1
    x = conv(f"body.{i}", x) + skip
    upsample, tail = (f"upsample.{branch}", "tail.0") if is_mdsr else ("tail.0", "tail.1")
    for stage, factor in enumerate(FACTORS[scale]):
        x = F.pixel_shuffle(conv(f"{upsample}.{2 * stage}", x), factor)
    return conv("add_mean", conv(tail, x)) / 255


def saved(state: object, path: Path) -> Path:
    torch.save(state, path)
    return path


@torch.inference_mode()
@pytest.mark.parametrize("scale", [2, 3, 4, 8])
@pytest.mark.parametrize("res_scale", [1.0, 0.1])
def test_edsr_gives_what_the_official_network_gives(scale: int, res_scale: float, tmp_path: Path) -> None:
    state, lr = official_edsr(scale), torch.rand(2, 3, 5, 6)
    model = srzoo.convert_checkpoint(saved(state, tmp_path / "edsr.pt"), res_scale=res_scale)
    assert model.name == f"edsr_baseline_x{scale}"
    assert not model.training
    expected = reference_forward(state, lr, scale, res_scale)
    torch.testing.assert_close(model(lr), expected, rtol=1e-5, atol=1e-5)


@torch.inference_mode()
def test_mdsr_gives_what_the_official_network_gives(tmp_path: Path) -> None:
    state, lr = official_mdsr(), torch.rand(2, 3, 5, 6)
    model = srzoo.convert_checkpoint(saved(state, tmp_path / "mdsr.pt"))
    assert (model.name, model.scales) == ("mdsr_baseline", (2, 3, 4))
    for scale in model.scales:
        expected = reference_forward(state, lr, scale)
        torch.testing.assert_close(model(lr, scale), expected, rtol=1e-5, atol=1e-5)


@torch.inference_mode()
def test_a_converted_model_can_be_saved_and_loaded(tmp_path: Path) -> None:
    lr = torch.rand(1, 3, 4, 5)
    save_file(official_edsr(2), tmp_path / "edsr.safetensors")
    model = srzoo.convert_checkpoint(tmp_path / "edsr.safetensors", res_scale=0.1)
    srzoo.save_model(model, tmp_path / "ours.safetensors")
    loaded = srzoo.load_model(tmp_path / "ours.safetensors")
    assert torch.equal(loaded(lr), model(lr))


@torch.inference_mode()
@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("edsr_pytorch_b4_f16_x2", {"res_scale": 0.1}),
        ("edsr_pytorch_b4_f16_x3", {}),
        ("edsr_pytorch_b4_f16_x4", {}),
        ("edsr_pytorch_baseline_x4", {}),
        ("mdsr_pytorch_b4_f16", {}),
    ],
)
def test_golden_outputs_of_the_official_code(name: str, overrides: dict, data_dir: Path) -> None:
    model = srzoo.convert_checkpoint(data_dir / "golden" / f"{name}.pt", **overrides)
    golden = load_file(data_dir / "golden" / f"{name}.io.safetensors")
    outputs = {key: value for key, value in golden.items() if key.startswith("sr")}
    assert len(outputs) == len(model.scales)
    for key, expected in outputs.items():
        scale = int(key[-1]) if "_x" in key else None
        torch.testing.assert_close(model(golden["lr"], scale), expected, rtol=0, atol=1e-5)


def test_unknown_keys_are_listed(tmp_path: Path) -> None:
    state = official_edsr(2) | {"attention.weight": torch.zeros(1), "body.0.norm.bias": torch.zeros(1)}
    with pytest.raises(ValueError, match=r"2 unknown keys: attention\.weight, body\.0\.norm\.bias"):
        srzoo.convert_checkpoint(saved(state, tmp_path / "edsr.pt"))
    state = official_mdsr() | {"upsample.extra.weight": torch.zeros(1)}
    with pytest.raises(ValueError, match=r"1 unknown keys: upsample\.extra\.weight"):
        srzoo.convert_checkpoint(saved(state, tmp_path / "mdsr.pt"))


def test_missing_keys_are_listed(tmp_path: Path) -> None:
    state = official_edsr(2)
    del state["body.1.body.2.bias"], state["tail.1.weight"]
    with pytest.raises(ValueError, match=r"2 missing: body\.1\.conv2\.bias, tail\.weight"):
        srzoo.convert_checkpoint(saved(state, tmp_path / "edsr.pt"))


def test_wrong_shapes_are_listed(tmp_path: Path) -> None:
    state = official_edsr(2)
    state["body.0.body.0.bias"] = torch.zeros(5)
    with pytest.raises(ValueError, match=r"1 of another shape: body\.0\.conv1\.bias \(5,\) instead of \(4,\)"):
        srzoo.convert_checkpoint(saved(state, tmp_path / "edsr.pt"))


def test_a_name_the_checkpoint_does_not_fit_is_refused(tmp_path: Path) -> None:
    path = saved(official_edsr(4), tmp_path / "edsr.pt")
    with pytest.raises(ValueError, match=r"does not fit EDSR: .*upsample\.2\.weight"):
        srzoo.convert_checkpoint(path, "edsr_baseline_x2")


def test_an_upsampler_of_another_kind_is_refused(tmp_path: Path) -> None:
    state = official_edsr(2)
    state["tail.0.0.weight"] = torch.zeros(20, 4, 3, 3)
    with pytest.raises(ValueError, match="20 outputs, no square times 4"):
        srzoo.convert_checkpoint(saved(state, tmp_path / "edsr.pt"))


@pytest.mark.parametrize("key", ["sub_mean.bias", "add_mean.bias", "sub_mean.weight", "add_mean.weight"])
def test_another_mean_is_refused(key: str, tmp_path: Path) -> None:
    state = official_edsr(2)
    state[key] = state[key] * 1.01
    with pytest.raises(ValueError, match=f"{key} of the checkpoint is not DIV2K's mean"):
        srzoo.convert_checkpoint(saved(state, tmp_path / "edsr.pt"))


def test_the_mean_may_be_left_out(tmp_path: Path) -> None:
    state = {key: value for key, value in official_edsr(2).items() if "mean" not in key}
    assert srzoo.convert_checkpoint(saved(state, tmp_path / "edsr.pt")).scales == (2,)


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return (os.mkdir, (str(self.path),))


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path: Path) -> None:
    path = saved(official_edsr(2) | {"extra": Trap(tmp_path / "sprung")}, tmp_path / "edsr.pt")
    with pytest.raises(ValueError, match="cannot be read as a checkpoint of plain tensors"):
        srzoo.convert_checkpoint(path)
    assert not (tmp_path / "sprung").exists()
    torch.load(path, weights_only=False)
    assert (tmp_path / "sprung").exists()  # the trap works


def test_other_files_are_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="does not exist; give a checkpoint"):
        srzoo.convert_checkpoint(tmp_path / "absent.pt")
    for name in ("text.pt", "text.safetensors"):
        (tmp_path / name).write_text("not a checkpoint")
        with pytest.raises(ValueError, match="cannot be read as a checkpoint"):
            srzoo.convert_checkpoint(tmp_path / name)
    with pytest.raises(ValueError, match="holds no state dict"):
        srzoo.convert_checkpoint(saved({"epoch": 3}, tmp_path / "epoch.pt"))
    with pytest.raises(ValueError, match="holds no state dict"):
        srzoo.convert_checkpoint(saved([torch.zeros(1)], tmp_path / "list.pt"))
    with pytest.raises(ValueError, match=r"not in the EDSR-PyTorch layout .* begin with conv1\.weight"):
        srzoo.convert_checkpoint(saved({"conv1.weight": torch.zeros(1)}, tmp_path / "srcnn.pt"))
