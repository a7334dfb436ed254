import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.io import savemat
from scipy.ndimage import correlate

import srzoo
from srzoo.color import rgb_to_y
from srzoo.convert.matlab import read_matlab
from srzoo.data.pairs import pairs_from_hr
from srzoo.metrics import Protocol, psnr
from srzoo.resize import imresize

PAPER = {  # mean Y-PSNR on Set5, as published
    "srcnn": {2: 36.66, 3: 32.75, 4: 30.48},
    "vdsr": {2: 37.53, 3: 33.66, 4: 31.35},
}
UNROUNDED_LUMA = {  # the same weights where HR's luma is not rounded before it is shrunk: found elsewhere, too
    "srcnn": {2: 36.64, 3: 32.75, 4: 30.48},
    "vdsr": {2: 37.51, 3: 33.65, 4: 31.34},
}


def srcnn_variables(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    shapes = {
        "weights_conv1": (81, 64),
        "biases_conv1": (64, 1),
        "weights_conv2": (64, 25, 32),
        "biases_conv2": (32, 1),
        "weights_conv3": (32, 25),
        "biases_conv3": (1, 1),
    }
    return {name: rng.normal(0, 0.05, shape) for name, shape in shapes.items()}


def vdsr_variables(seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    weight, bias = np.empty((1, 20), dtype=object), np.empty((1, 20), dtype=object)
    for i in range(20):
        num_in, num_out = 1 if i == 0 else 64, 1 if i == 19 else 64
        shape = (3, 3, num_in, num_out) if i < 19 else (3, 3, num_in)  # MATLAB drops the last side of 1
        weight[0, i] = rng.normal(0, 0.05, shape).astype(np.float32)
        bias[0, i] = rng.normal(0, 0.05, (num_out, 1)).astype(np.float32)
    return {"model": {"weight": weight, "bias": bias}}


def conv_as_matlab(planes: np.ndarray, kernels: np.ndarray, mode: str) -> np.ndarray:
    """One output plane: each input plane correlated with its kernel, edges as `mode` says."""
    return sum(correlate(plane, kernel, mode=mode) for plane, kernel in zip(planes, kernels, strict=True))


def test_srcnn_computes_what_the_authors_loops_do(tmp_path: Path) -> None:
    raw = srcnn_variables()
    savemat(tmp_path / "x2.mat", raw)
    name, state = read_matlab(tmp_path / "x2.mat")
    model = srzoo.create_model(name, channels=1).double().eval()
    model.load_state_dict(state)
    y = torch.rand(1, 1, 5, 6, dtype=torch.float64)

    planes = imresize(y, scale=2)[0].numpy()
    one = np.stack(
        [
            conv_as_matlab(planes, raw["weights_conv1"][None, :, i].reshape(1, 9, 9).transpose(0, 2, 1), "nearest")
            for i in range(64)
        ]
    )
    one = np.maximum(one + raw["biases_conv1"][:, :, None], 0)
    two = np.stack(
        [
            conv_as_matlab(
                one, np.stack([raw["weights_conv2"][j, :, i].reshape(5, 5, order="F") for j in range(64)]), "nearest"
            )
            for i in range(32)
        ]
    )
    two = np.maximum(two + raw["biases_conv2"][:, :, None], 0)
    three = conv_as_matlab(two, np.stack([row.reshape(5, 5, order="F") for row in raw["weights_conv3"]]), "nearest")
    expected = three + raw["biases_conv3"]
    assert name == "srcnn_x2"
    np.testing.assert_allclose(model(y)[0, 0].detach(), expected, rtol=0, atol=1e-6)


def test_vdsr_computes_what_its_cells_say(tmp_path: Path) -> None:
    raw = vdsr_variables()
    savemat(tmp_path / "any.mat", raw)
    name, state = read_matlab(tmp_path / "any.mat")
    model = srzoo.create_model(name, channels=1).double().eval()
    model.load_state_dict(state)
    y = torch.rand(1, 1, 2, 3, dtype=torch.float64)

    skip = imresize(y, scale=2)[0].numpy()
    planes = skip
    for i, (weight, bias) in enumerate(zip(raw["model"]["weight"][0], raw["model"]["bias"][0], strict=True)):
        kernels = weight.reshape(*weight.shape[:3], -1).transpose(3, 2, 0, 1)  # out, in, rows, columns
        planes = np.stack([conv_as_matlab(planes, k, "constant") + b for k, b in zip(kernels, bias, strict=True)])
        planes = planes if i == 19 else np.maximum(planes, 0)
    assert name == "vdsr"
    np.testing.assert_allclose(model(y, 2)[0, 0].detach(), planes[0] + skip[0], rtol=0, atol=1e-6)


def test_the_state_dict_is_float32_and_its_own(tmp_path: Path) -> None:
    savemat(tmp_path / "x2.mat", srcnn_variables())
    _, state = read_matlab(tmp_path / "x2.mat")
    for tensor in state.values():
        assert tensor.dtype == torch.float32
        assert tensor.is_contiguous()


@pytest.mark.parametrize(
    ("file", "scale", "name"),
    [
        ("x3.mat", None, "srcnn_x3"),
        ("srcnn_955_X4.mat", None, "srcnn_x4"),
        ("9-5-5(ImageNet)_x2", None, "srcnn_x2"),
        ("x3.mat", 3, "srcnn_x3"),
        ("x2_or_x3.mat", 3, "srcnn_x3"),
        ("weights.mat", 4, "srcnn_x4"),
    ],
)
def test_the_scale_is_the_files_or_the_one_given(tmp_path: Path, file: str, scale: int | None, name: str) -> None:
    savemat(tmp_path / file, srcnn_variables(), appendmat=False)
    assert read_matlab(tmp_path / file, scale)[0] == name


@pytest.mark.parametrize("file", ["weights.mat", "x2_or_x3.mat", "max3.mat", "x3a.mat"])
def test_a_name_that_tells_no_scale_asks_for_it(tmp_path: Path, file: str) -> None:
    savemat(tmp_path / file, srcnn_variables())
    with pytest.raises(
        ValueError, match=f"{file} is an SRCNN file whose name does not tell its scale .*: --model srcnn_x3"
    ):
        read_matlab(tmp_path / file)


def test_a_scale_that_the_name_contradicts_is_refused(tmp_path: Path) -> None:
    savemat(tmp_path / "srcnn_955_x3.mat", srcnn_variables())
    with pytest.raises(ValueError, match="its name says x3, srcnn_x2 was given; rename it or take srcnn_x3"):
        srzoo.convert_checkpoint(tmp_path / "srcnn_955_x3.mat", "srcnn_x2")


@pytest.mark.parametrize(
    ("variables", "name", "told"),
    [
        (srcnn_variables, "vdsr", "x3.mat holds SRCNN, and vdsr is no such model; srcnn_x3"),
        (vdsr_variables, "edsr_x4", "x3.mat holds VDSR, and edsr_x4 is no such model; vdsr"),
    ],
)
def test_the_name_of_another_network_is_refused(tmp_path: Path, variables, name: str, told: str) -> None:
    savemat(tmp_path / "x3.mat", variables())
    with pytest.raises(ValueError, match=told):
        srzoo.convert_checkpoint(tmp_path / "x3.mat", name)


def test_a_scale_there_is_no_file_for_is_refused(tmp_path: Path) -> None:
    savemat(tmp_path / "x8.mat", srcnn_variables())
    with pytest.raises(ValueError, match="scale is 8; SRCNN's files are for 2, 3, 4"):
        read_matlab(tmp_path / "x8.mat")


def test_vdsr_takes_no_scale(tmp_path: Path) -> None:
    savemat(tmp_path / "x2.mat", vdsr_variables())
    with pytest.raises(ValueError, match="is a VDSR file, which serves all scales, not an SRCNN file of scale 2"):
        read_matlab(tmp_path / "x2.mat", 2)


def test_a_missing_file_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no\.mat does not exist"):
        read_matlab(tmp_path / "no.mat")
    (tmp_path / "x2.mat").mkdir()
    with pytest.raises(ValueError, match=r"x2\.mat is a folder"):
        read_matlab(tmp_path / "x2.mat")


@pytest.mark.parametrize("make", [srcnn_variables, vdsr_variables])
def test_damaged_files_are_refused_in_a_sentence(tmp_path: Path, make) -> None:
    path = tmp_path / "x2.mat"
    savemat(path, make(), do_compression=True)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    damaged = [whole[: len(whole) * i // 8] for i in range(8)] + [b"", b"MATLAB", rng.bytes(5000)]
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"x2\.mat (cannot be read as a MATLAB file|has no variable)"):
            read_matlab(path)


def test_a_flipped_byte_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x2.mat"
    savemat(path, srcnn_variables(), do_compression=True)
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2] ^= 0xFF
    path.write_bytes(whole)
    with pytest.raises(ValueError, match="cannot be read as a MATLAB file"):
        read_matlab(path)


def test_version_7_3_says_how_to_save_it(tmp_path: Path) -> None:
    path = tmp_path / "x2.mat"
    path.write_bytes(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + b"\x89HDF\r\n\x1a\n")
    with pytest.raises(ValueError, match=r"is a MATLAB 7\.3 file; save it with -v7 or older"):
        read_matlab(path)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"weights_conv2": None}, r"x2\.mat lacks weights_conv2; an SRCNN file has weights_conv1, .* nothing else"),
        ({"weights_conv4": np.ones(3)}, r"x2\.mat also has weights_conv4"),
        ({"weights_conv2": np.ones((64, 1, 32))}, r"weights_conv2 in .* has shape \(64, 1, 32\); .* \(64, 25, 32\)"),
        ({"biases_conv1": np.ones((1, 64))}, r"biases_conv1 in .* has shape \(1, 64\); .* \(64, 1\)"),
        ({"weights_conv1": "text"}, r"weights_conv1 in .* has no array of numbers"),
        ({"weights_conv1": np.full((81, 64), np.nan)}, "weights_conv1 in .* not finite; the file is damaged"),
        ({"weights_conv1": np.full((81, 64), 1e300)}, "weights_conv1 in .* not finite; the file is damaged"),
        ({"weights_conv1": np.ones((81, 64)) * 1j}, "weights_conv1 in .* has no array of numbers"),
    ],
)
def test_other_srcnn_variables_are_refused(tmp_path: Path, change: dict[str, Any], problem: str) -> None:
    variables = {**srcnn_variables(), **change}
    savemat(tmp_path / "x2.mat", {name: value for name, value in variables.items() if value is not None})
    with pytest.raises(ValueError, match=problem):
        read_matlab(tmp_path / "x2.mat")


def vdsr_with(layer: int, field: str, value: Any) -> dict[str, Any]:
    variables = vdsr_variables()
    variables["model"][field][0, layer] = value
    return variables


def vdsr_of(num_layers: int) -> dict[str, Any]:
    return {"model": {field: cells[:, :num_layers] for field, cells in vdsr_variables()["model"].items()}}


@pytest.mark.parametrize(
    ("variables", "problem"),
    [
        ({"model": np.ones((3, 3))}, "is not VDSR's: a struct with the cells weight and bias"),
        ({"model": {"weight": np.ones(3)}}, "is not VDSR's"),
        (
            {"model": {"weight": np.ones((1, 20)), "bias": np.ones((1, 20))}},
            "has 20 layers; VDSR has 20, each in a cell",
        ),
        (vdsr_of(19), r"model\.weight in .* has 19 layers; VDSR has 20"),
        (
            vdsr_with(3, "weight", np.ones((3, 3, 64, 32))),
            r"model\.weight\{4\} in .* has shape \(3, 3, 64, 32\); .* \(3, 3, 64, 64\)",
        ),
        (vdsr_with(19, "bias", np.ones((64, 1))), r"model\.bias\{20\} in .* has shape \(64, 1\); .* \(1, 1\)"),
        (vdsr_with(0, "bias", np.full((64, 1), np.inf)), r"model\.bias\{1\} in .* not finite"),
    ],
)
def test_other_vdsr_contents_are_refused(tmp_path: Path, variables: dict[str, Any], problem: str) -> None:
    savemat(tmp_path / "vdsr.mat", variables)
    with pytest.raises(ValueError, match=problem):
        read_matlab(tmp_path / "vdsr.mat")


def test_files_of_other_networks_are_refused(tmp_path: Path) -> None:
    savemat(tmp_path / "other.mat", {"b": np.ones(3), "a": np.ones(3)})
    with pytest.raises(ValueError, match=r"other\.mat has a, b; known are SRCNN's .* and VDSR's"):
        read_matlab(tmp_path / "other.mat")


def test_without_scipy_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    savemat(tmp_path / "x2.mat", srcnn_variables())
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    with pytest.raises(ImportError, match=r'pip install "srzoo\[matlab\]"'):
        read_matlab(tmp_path / "x2.mat")


def authors_model(data_dir: Path, family: str, scale: int) -> srzoo.SRModel:
    file = f"srcnn_955_x{scale}.mat" if family == "srcnn" else "vdsr_official.mat"
    name, state = read_matlab(data_dir / "weights" / file)
    model = srzoo.create_model(name, channels=1).eval()
    model.load_state_dict(state)
    return model


@torch.inference_mode()
def score_on_luma(model: srzoo.SRModel, hr: torch.Tensor, scale: int) -> float:
    """The papers' way: HR's luma in 8 bits, shrunk and upscaled unrounded, the result in 8 bits again."""
    y = (rgb_to_y(hr[None].double() / 255) * 255).round() / 255
    lr = imresize(y, scale=1 / scale).float()
    return psnr(model(lr, scale), y.float(), Protocol.paper(scale)).item()


@pytest.mark.parametrize(
    ("family", "scale"),
    [
        pytest.param(family, scale, marks=[] if (family, scale) == ("srcnn", 3) else pytest.mark.slow)
        for family in PAPER
        for scale in PAPER[family]
    ],
)
def test_the_authors_weights_give_the_papers_digits(data_dir: Path, family: str, scale: int) -> None:
    model = authors_model(data_dir, family, scale)
    pairs = pairs_from_hr(data_dir / "bench/Set5/HR", scale)
    scores = [score_on_luma(model, pair.hr, scale) for pair in pairs]
    assert len(scores) == 5
    assert np.mean(scores) == pytest.approx(PAPER[family][scale], abs=0.01)
    assert np.mean(scores) == pytest.approx(UNROUNDED_LUMA[family][scale], abs=0.03)


def test_the_authors_vdsr_beats_bicubic_as_it_should(data_dir: Path) -> None:
    (pair,) = pairs_from_hr(data_dir / "bench/Set5/HR/butterfly.png", 4)
    hr = pair.hr[:, 64:160, 64:160]
    bicubic = score_on_luma(srzoo.create_model("bicubic_x4", channels=1), hr, 4)
    assert score_on_luma(authors_model(data_dir, "vdsr", 4), hr, 4) > bicubic + 3
