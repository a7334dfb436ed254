import numpy as np
import pytest
import torch

import srzoo
from srzoo.report.methods import common_scale, make_labels, open_methods
from srzoo.resize import imresize


def labels(models, scale=None):
    found, methods = open_methods(models, scale, device="cpu")
    return found, [method.label for method in methods]


def test_bicubic_comes_first_unless_it_is_named():
    assert labels(["bicubic_x3"]) == (3, ["bicubic", "bicubic_x3"])
    assert labels(["bicubic_x3", "bicubic"]) == (3, ["bicubic_x3", "bicubic"])
    assert labels("bicubic", 5) == (5, ["bicubic"])  # a scale for which there is no model of that name


def test_a_multi_scale_model_takes_the_scale_of_the_others(planted):
    mdsr = srzoo.create_model("mdsr_baseline", width=4, num_blocks=1)
    assert labels({"mdsr": mdsr, "mine": planted(scale=3)}) == (3, ["bicubic", "mdsr", "mine"])
    assert labels([mdsr], 2) == (2, ["bicubic", "mdsr_baseline"])


@pytest.mark.parametrize(
    ("offered", "scale", "message"),
    [
        ({"a": (2,), "b": (4,)}, None, r"different scales: a \(x2\), b \(x4\); compare models of one scale"),
        ({"mdsr": (2, 3, 4)}, None, r"mdsr can upscale by several factors; give scale \(--scale\)"),
        ({}, None, r"bicubic can upscale by several factors; give scale"),
        ({"a": (2,), "mdsr": (2, 3)}, 3, "a upscales by 2, not by 3"),
        ({"a": (8,), "mdsr": (2, 3)}, None, "mdsr upscales by 2, 3, not by 8"),
        ({}, 0, "scale is 0"),
    ],
)
def test_models_that_share_no_scale_are_refused(offered, scale, message):
    with pytest.raises(ValueError, match=message):
        common_scale(offered, scale)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["edsr_x4", "mdsr"], ["edsr_x4", "mdsr"]),
        (["runs/a", "runs/b/"], ["a", "b"]),
        (["runs/a/last/model.safetensors", "runs/b/last/model.safetensors"], ["a/last", "b/last"]),
        (["./a.safetensors", "other/a.safetensors"], ["a", "other/a"]),
        (["hf-hub:someone/edsr@v2", "hf-hub:else/edsr@v1"], ["edsr@v2", "edsr@v1"]),
        (["hf-hub:someone/edsr", "hf-hub:else/edsr"], ["someone/edsr", "else/edsr"]),
        (["edsr_x4", "runs/edsr_x4"], ["edsr_x4", "runs/edsr_x4"]),
        (["runs/HR", "runs/LR"], ["runs/HR", "runs/LR"]),
        (["./HR"], ["./HR"]),
        (["/a", "a.safetensors"], ["/a", "a.safetensors"]),
    ],
)
def test_labels_are_short_and_distinct(names, expected):
    assert make_labels(names) == expected


def test_a_model_named_twice_or_badly_is_refused(planted):
    with pytest.raises(ValueError, match="mdsr is given twice"):
        open_methods(["mdsr", "mdsr"])
    with pytest.raises(ValueError, match="the label HR, which stands for an image"):
        open_methods({"HR": planted()})
    with pytest.raises(ValueError, match="no model to compare"):
        open_methods([])
    with pytest.raises(ValueError, match="unknown model 'esdr_x4'; did you mean edsr_x4"):
        open_methods(["esdr_x4"])


def test_a_method_gives_what_the_upscaler_gives():
    _, [bicubic, method] = open_methods({"mine": srzoo.create_model("edsr_baseline_x2", width=4, num_blocks=1)})
    lr = torch.randint(0, 256, (3, 9, 7), dtype=torch.uint8)
    assert method(lr).equal(method.upscaler(lr))
    difference = bicubic(lr).int() - imresize(lr.double() / 255, scale=2).clamp(0, 1).mul(255).round().int()
    assert difference.abs().max() <= 1
    assert method(lr[:1]).shape == (1, 18, 14)  # grey stays grey


def test_nan_in_a_prediction_is_named(planted):
    _, methods = open_methods({"broken": planted((0, 0, float("nan")))})
    with pytest.raises(ValueError, match="broken: the model gives values that are not finite"):
        methods[1](torch.full((3, 8, 8), 9, dtype=torch.uint8))


def test_the_ensemble_is_for_models_not_for_bicubic():
    _, [bicubic, method] = open_methods("bicubic_x2", tta="flips")
    assert (bicubic.upscaler.tta, method.upscaler.tta) == ("none", "flips")
    assert np.array_equal(*(m(torch.zeros(3, 4, 4, dtype=torch.uint8)).numpy() for m in (bicubic, method)))
