import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from foreign_nets import (
    State,
    as_basicsr,
    as_mmagic,
    basicsr_edsr,
    basicsr_forward,
    mmagic_edsr,
    mmagic_forward,
    official_edsr,
    official_forward,
    official_mdsr,
    plain_vdsr,
    saved,
)
from safetensors.torch import load_file, save_file
from torch.nn.functional import conv2d, relu

import srzoo
from srzoo.convert import convert_checkpoint, convert_file
from srzoo.convert.conversion import _describe
from srzoo.convert.layouts import find_layout

GOLDEN = {
    "edsr_pytorch_b4_f16_x2": {"res_scale": 0.1},
    "edsr_pytorch_b4_f16_x3": {},
    "edsr_pytorch_b4_f16_x4": {},
    "edsr_pytorch_baseline_x4": {},
    "mdsr_pytorch_b4_f16": {},
}


@torch.inference_mode()
@pytest.mark.parametrize("scale", [2, 3, 4, 8])
@pytest.mark.parametrize("res_scale", [1.0, 0.1])
def test_edsr_gives_what_the_official_network_gives(scale: int, res_scale: float, tmp_path: Path) -> None:
    state, lr = official_edsr(scale), torch.rand(2, 3, 5, 6)
    model = convert_checkpoint(saved(state, tmp_path / "edsr.pt"), res_scale=res_scale)
    assert model.name == f"edsr_baseline_x{scale}"
    assert not model.training
    expected = official_forward(state, lr, scale, res_scale)
    torch.testing.assert_close(model(lr), expected, rtol=1e-5, atol=1e-5)


@torch.inference_mode()
def test_mdsr_gives_what_the_official_network_gives(tmp_path: Path) -> None:
    state, lr = official_mdsr(), torch.rand(2, 3, 5, 6)
    model = convert_checkpoint(saved(state, tmp_path / "mdsr.pt"))
    assert (model.name, model.scales) == ("mdsr_baseline", (2, 3, 4))
    for scale in model.scales:
        expected = official_forward(state, lr, scale)
        torch.testing.assert_close(model(lr, scale), expected, rtol=1e-5, atol=1e-5)


@torch.inference_mode()
@pytest.mark.parametrize("scale", [2, 3, 4, 8])
@pytest.mark.parametrize(
    ("project", "make", "forward"),
    [("basicsr", basicsr_edsr, basicsr_forward), ("mmagic", mmagic_edsr, mmagic_forward)],
)
@pytest.mark.parametrize("res_scale", [1.0, 0.1])
def test_basicsr_and_mmagic_give_what_their_formulas_give(
    project: str, make: Callable, forward: Callable, scale: int, res_scale: float, tmp_path: Path
) -> None:
    state, lr = make(scale), torch.rand(2, 3, 5, 6)
    done = convert_file(saved(state, tmp_path / "edsr.pth"), res_scale=res_scale)
    assert (done.project, done.image_range) == (project, {"basicsr": 255, "mmagic": 1}[project])
    torch.testing.assert_close(done.model(lr), forward(state, lr, scale, res_scale), rtol=1e-5, atol=1e-5)


@torch.inference_mode()
@pytest.mark.parametrize("image_range", [1.0, 255.0, 2.0])
def test_other_image_ranges_are_converted_too(image_range: float, tmp_path: Path) -> None:
    lr = torch.rand(1, 3, 5, 6)
    state = official_edsr(3, image_range=image_range)
    given = image_range if image_range == 2 else None  # 1 and 255 are read off the mean
    done = convert_file(saved(state, tmp_path / "edsr.pt"), image_range=given)
    assert done.image_range == image_range
    expected = official_forward(state, lr, 3, image_range=image_range)
    torch.testing.assert_close(done.model(lr), expected, rtol=1e-5, atol=1e-5)
    state = basicsr_edsr(2)
    model = convert_checkpoint(saved(state, tmp_path / "basicsr.pth"), image_range=image_range)
    expected = basicsr_forward(state, lr, 2, image_range=image_range)
    torch.testing.assert_close(model(lr), expected, rtol=1e-5, atol=1e-5)


@torch.inference_mode()
def test_pytorch_vdsr_gives_its_formula_on_luma(tmp_path: Path) -> None:
    state, luma = plain_vdsr(), torch.rand(1, 1, 9, 9)
    done = convert_file(saved({"state_dict": state}, tmp_path / "vdsr.pth"), channels=1)
    assert (done.project, done.model.name, done.image_range) == ("pytorch-vdsr", "vdsr", None)
    bicubic = srzoo.create_model("bicubic_x2", channels=1)(luma)
    x = relu(conv2d(bicubic, state["input.weight"], padding=1))
    for i in range(3):
        x = relu(conv2d(x, state[f"residual_layer.{i}.conv.weight"], padding=1))
    expected = bicubic + conv2d(x, state["output.weight"], padding=1)
    torch.testing.assert_close(done.model(luma, 2), expected, rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match="the image range of VDSR is known; leave 255 out"):
        convert_checkpoint(tmp_path / "vdsr.pth", image_range=255.0)


def golden_layouts() -> list[Any]:
    plain: dict[str, Callable[[State], Any]] = {
        "edsr-pytorch": lambda state: state,
        "in fp64": lambda state: {key: value.double() for key, value in state.items()},
        "in DataParallel": lambda state: {f"module.{key}": value for key, value in state.items()},
        "in a training file": lambda state: {"epoch": 1, "model": state, "optimizer": {"state": {}}},
    }
    edsr_only: dict[str, Callable[[State], Any]] = {
        "basicsr": lambda state: {"params": as_basicsr(state)},
        "basicsr, averaged": lambda state: {
            "params": {key: value + 1 for key, value in as_basicsr(state).items()},
            "params_ema": as_basicsr(state),
        },
        "mmagic": lambda state: {
            "meta": {},
            "state_dict": {f"generator.{key}": value for key, value in as_mmagic(state).items()},
        },
        "mmagic, averaged": lambda state: {
            f"{part}.{key}": value + (part == "generator")
            for part in ("generator", "generator_ema")
            for key, value in as_mmagic(state).items()
        },
    }
    cases = [(name, how, wrap) for name in GOLDEN for how, wrap in plain.items()]
    cases += [(name, how, wrap) for name in GOLDEN if "mdsr" not in name for how, wrap in edsr_only.items()]
    return [
        pytest.param(name, wrap, id=f"{name}, {how}", marks=pytest.mark.slow if repeats(name, how) else [])
        for name, how, wrap in cases
    ]


def repeats(name: str, how: str) -> bool:
    """Whether a case shows no more than those of the small networks do."""
    return name == "edsr_pytorch_baseline_x4" and how != "edsr-pytorch"


@torch.inference_mode()
@pytest.mark.parametrize(("name", "wrap"), golden_layouts())
def test_golden_outputs_of_the_official_code_through_every_layout(
    name: str, wrap: Callable[[State], Any], data_dir: Path, tmp_path: Path
) -> None:
    state = torch.load(data_dir / "golden" / f"{name}.pt", weights_only=True)
    model = convert_checkpoint(saved(wrap(state), tmp_path / "net.pth"), **GOLDEN[name])
    golden = load_file(data_dir / "golden" / f"{name}.io.safetensors")
    outputs = {key: value for key, value in golden.items() if key.startswith("sr")}
    assert len(outputs) == len(model.scales)
    for key, expected in outputs.items():
        scale = int(key[-1]) if "_x" in key else None
        torch.testing.assert_close(model(golden["lr"], scale), expected, rtol=0, atol=1e-5)


def test_what_was_recognised_is_told(tmp_path: Path) -> None:
    content = {"params_ema": {key: value.half() for key, value in basicsr_edsr(3).items()}, "params": {}}
    done = convert_file(saved(content, tmp_path / "net_g_latest.pth"))
    assert (done.project, done.wrapper, done.left_out) == ("basicsr", ("params_ema",), ("params",))
    assert (done.dtypes, done.image_range) == (("float16",), 255)
    assert done.model.arguments["num_blocks"] == 2
    assert all(value.dtype == torch.float32 for value in done.model.state_dict().values())
    assert done.model.origin is not None
    assert done.model.origin.name == str(tmp_path / "net_g_latest.pth")


@torch.inference_mode()
def test_half_precision_tensors_of_the_mean_are_known(tmp_path: Path) -> None:
    state, lr = official_edsr(2), torch.rand(1, 3, 4, 5)
    for dtype in (torch.float16, torch.bfloat16):
        narrow = {key: value.to(dtype) for key, value in state.items()}
        model = convert_checkpoint(saved(narrow, tmp_path / "edsr.pt"))
        wide = {key: value.float() if "mean" not in key else state[key] for key, value in narrow.items()}
        torch.testing.assert_close(model(lr), official_forward(wide, lr, 2), rtol=1e-5, atol=1e-5)


@torch.inference_mode()
def test_a_converted_model_can_be_saved_and_loaded(tmp_path: Path) -> None:
    lr = torch.rand(1, 3, 4, 5)
    save_file(official_edsr(2), tmp_path / "edsr.safetensors")
    model = convert_checkpoint(tmp_path / "edsr.safetensors", res_scale=0.1)
    srzoo.save_model(model, tmp_path / "ours.safetensors")
    loaded = srzoo.load_model(tmp_path / "ours.safetensors")
    assert torch.equal(loaded(lr), model(lr))


@pytest.mark.parametrize("name", srzoo.list_models("edsr*"))
def test_every_edsr_is_known_by_its_shapes(name: str) -> None:
    with torch.device("meta"):
        model = srzoo.create_model(name)
    layout = find_layout(official_edsr(2))
    found, shape = _describe(layout, model.state_dict())
    assert found == name
    assert shape.items() <= model.arguments.items()


def test_a_body_of_eighty_blocks_is_mdsr(tmp_path: Path) -> None:
    assert convert_checkpoint(saved(official_mdsr(width=2, blocks=80), tmp_path / "mdsr.pt")).name == "mdsr"


def test_a_file_of_ours_is_refused(tmp_path: Path) -> None:
    srzoo.save_model(srzoo.create_model("edsr_baseline_x2", width=4), tmp_path / "ours.safetensors")
    with pytest.raises(ValueError, match=r"a weight file of srzoo's already; srzoo\.load_model reads it"):
        convert_checkpoint(tmp_path / "ours.safetensors")


def test_unknown_keys_are_listed(tmp_path: Path) -> None:
    state = official_edsr(2) | {"attention.weight": torch.zeros(1), "body.0.norm.bias": torch.zeros(1)}
    with pytest.raises(ValueError, match=r"edsr\.pt cannot .* 2 unknown keys: attention\.weight, body\.0\.norm\.bias"):
        convert_checkpoint(saved(state, tmp_path / "edsr.pt"))
    state = official_mdsr() | {"upsample.extra.weight": torch.zeros(1)}
    with pytest.raises(ValueError, match=r"1 unknown keys: upsample\.extra\.weight"):
        convert_checkpoint(saved(state, tmp_path / "mdsr.pt"))
    state = mmagic_edsr(2) | {"upsample.2.weight": torch.zeros(1)}
    with pytest.raises(ValueError, match=r"1 unknown keys: upsample\.2\.weight"):
        convert_checkpoint(saved(state, tmp_path / "mmagic.pth"))


def test_missing_keys_are_listed(tmp_path: Path) -> None:
    state = official_edsr(2)
    del state["body.1.body.2.bias"], state["tail.1.weight"]
    with pytest.raises(ValueError, match=r"2 missing: body\.1\.conv2\.bias, tail\.weight"):
        convert_checkpoint(saved(state, tmp_path / "edsr.pt"))


def test_wrong_shapes_are_listed(tmp_path: Path) -> None:
    state = official_edsr(2)
    state["body.0.body.0.bias"] = torch.zeros(5)
    with pytest.raises(ValueError, match=r"1 of another shape: body\.0\.conv1\.bias \(5,\) instead of \(4,\)"):
        convert_checkpoint(saved(state, tmp_path / "edsr.pt"))
    state["head.0.weight"] = torch.zeros(5)
    with pytest.raises(ValueError, match=r"its first convolution has shape \(5,\), not four sides"):
        convert_checkpoint(saved(state, tmp_path / "edsr.pt"))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused(value: float, tmp_path: Path) -> None:
    state = official_edsr(2)
    state["tail.1.bias"][1] = value
    with pytest.raises(ValueError, match=r"1 tensors have values that are not finite: tail\.1\.bias"):
        convert_checkpoint(saved(state, tmp_path / "edsr.pt"))


@pytest.mark.filterwarnings("ignore:.*[Ss]parse")
@pytest.mark.parametrize(
    ("key", "change", "kind"),
    [
        ("tail.1.bias", lambda value: value.to(torch.int8), r"\(int8\)"),  # a quantised network
        ("tail.1.bias", lambda value: value.to(torch.float8_e4m3fn), r"\(float8_e4m3fn\)"),
        ("tail.1.bias", lambda value: value.to(torch.complex64), r"\(complex64\)"),
        ("tail.1.bias", lambda value: value.to_sparse(), r"\(sparse_coo\)"),
        ("tail.1.weight", lambda value: value[0, 0].to_sparse_csr(), r"\(sparse_csr\)"),
        ("tail.1.bias", lambda value: value.to("meta"), r"\(meta\)"),
        ("head.0.weight", lambda value: value[:0], r"\(empty, \(0, 3, 3, 3\)\)"),
        (
            "head.0.weight",
            lambda _: torch.zeros(1).expand(10**6, 3, 300, 300),
            r"\(repeats fewer numbers, \(1000000, 3, 300, 300\)\)",
        ),
    ],
)
def test_odd_tensors_are_refused_before_anything_is_computed(
    key: str, change: Callable, kind: str, tmp_path: Path
) -> None:
    state = official_edsr(2)
    state[key] = change(state[key])
    told = rf"1 tensors are not plain numbers of float16, bfloat16, float32, float64: {re.escape(key)} {kind}"
    with pytest.raises(ValueError, match=told):
        convert_checkpoint(saved(state, tmp_path / "edsr.pt"))


@pytest.mark.filterwarnings("ignore:.*nested")
def test_nested_tensors_are_refused_whether_torch_reads_them_or_not(tmp_path: Path) -> None:
    state = official_edsr(2)
    state["tail.1.bias"] = torch.nested.nested_tensor([state["tail.1.bias"]])
    with pytest.raises(ValueError, match=r"tail\.1\.bias \(nested\)|cannot be read: .*_rebuild_nested_tensor"):
        convert_checkpoint(saved(state, tmp_path / "edsr.pt"))


def test_names_the_checkpoint_does_not_fit_are_refused(tmp_path: Path) -> None:
    path = saved(official_edsr(4), tmp_path / "edsr.pt")
    with pytest.raises(ValueError, match=r"does not fit EDSR: .*upsample\.2\.weight"):
        convert_checkpoint(path, "edsr_baseline_x2", width=4, num_blocks=2)
    with pytest.raises(ValueError, match="it holds EDSR, and mdsr is no such model; edsr_baseline_x4 would be"):
        convert_checkpoint(path, "mdsr")
    with pytest.raises(ValueError, match="edsr_x4 has width 256 and 32 blocks, the file 4 and 2; leave --model out"):
        convert_checkpoint(path, "edsr_x4")
    with pytest.raises(ValueError, match="edsr_x4 has width 4 and 32 blocks, the file 4 and 2"):
        convert_checkpoint(path, "edsr_x4", width=4)
    model = convert_checkpoint(path, "edsr_x4", width=4, num_blocks=2)  # as the user says
    assert (model.name, model.arguments["res_scale"]) == ("edsr_x4", 0.1)
    mdsr = saved(official_mdsr(), tmp_path / "mdsr.pt")
    with pytest.raises(ValueError, match="mdsr has width 64 and 80 blocks, the file 4 and 1; leave --model out"):
        convert_checkpoint(mdsr, "mdsr")
    with pytest.raises(ValueError, match="unknown model 'net'"):
        convert_checkpoint(path, "net.safetensors")
    for file in (path, tmp_path / "x3.mat"):
        with pytest.raises(ValueError, match=r"model is edsr_baseline_x4\.photos; give edsr_baseline_x4, the weights"):
            convert_checkpoint(file, "edsr_baseline_x4.photos")
    with pytest.raises(TypeError, match="takes no argument 'res_scal'; did you mean res_scale"):
        convert_checkpoint(path, res_scal=0.1)


def test_upsamplers_of_another_kind_are_refused(tmp_path: Path) -> None:
    state = official_edsr(2)
    state["tail.0.0.weight"] = torch.zeros(20, 4, 3, 3)
    with pytest.raises(ValueError, match="20 outputs, no square times 4"):
        convert_checkpoint(saved(state, tmp_path / "edsr.pt"))
    state["tail.0.0.weight"] = torch.tensor(1.0)
    with pytest.raises(ValueError, match=r"an upsampler convolution has shape \(\), not four sides"):
        convert_checkpoint(saved(state, tmp_path / "edsr.pt"))
    state = {key: value for key, value in state.items() if not key.startswith("tail.0")}
    with pytest.raises(ValueError, match="it has no upsampler"):
        convert_checkpoint(saved(state, tmp_path / "edsr.pt"))
    state = {key: value for key, value in official_mdsr().items() if not key.startswith("upsample.1")}
    with pytest.raises(ValueError, match=r"upsamplers are numbered 0, 2, not 0, 1, \.\.\."):
        convert_checkpoint(saved(state, tmp_path / "mdsr.pt"))


@torch.inference_mode()
@pytest.mark.parametrize("blind", ["range", "channels"])
def test_a_smooth_image_does_not_tell_a_smaller_range_or_the_order_of_channels(blind: str, tmp_path: Path) -> None:
    model = srzoo.create_model("edsr_baseline_x2.photos")
    state = as_basicsr(srzoo.convert.to_edsr_pytorch(model))
    if blind == "range":  # trained with img_range 1
        state = {key: value / 255 if key.endswith("bias") else value for key, value in state.items()}
    else:  # trained on BGR
        state["conv_first.weight"] = state["conv_first.weight"].flip(1)
        state |= {key: state[key].flip(0) for key in ("conv_last.weight", "conv_last.bias")}
    path, lr = saved(state, tmp_path / "net.pth"), torch.rand(1, 3, 9, 9)
    done = convert_file(path)
    assert done.likeness > 40
    assert (done.warnings, done.range_assumed) == ((), True)
    assert (done.model(lr) - model(lr)).abs().max() > 0.01
    if blind == "range":
        right = convert_file(path, image_range=1.0)
        torch.testing.assert_close(right.model(lr), model(lr), rtol=1e-5, atol=1e-5)
        assert not right.range_assumed


def test_doubts_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = saved(official_edsr(2), tmp_path / "edsr.pt")
    [warning] = convert_file(path).warnings
    assert "dB near bicubic" in warning
    with caplog.at_level(logging.WARNING, "srzoo"):
        convert_checkpoint(path)
    assert warning in caplog.text


def test_a_res_scale_that_is_clearly_worse_is_told(tmp_path: Path) -> None:
    path = tmp_path / "edsr.pt"
    srzoo.convert.save_edsr_pytorch(srzoo.create_model("edsr_baseline_x2.photos"), path)
    assert convert_file(path).warnings == ()
    model = srzoo.create_model("edsr_baseline_x2.photos")
    state = {k: v / 0.1 if ".conv2." in k else v for k, v in model.state_dict().items()}  # the same at res_scale 0.1
    model.load_state_dict(state)
    srzoo.convert.save_edsr_pytorch(model, path)
    [warning] = convert_file(path).warnings
    assert "then give res_scale=0.1" in warning
    assert convert_file(path, res_scale=0.1).warnings == ()
