import json
from pathlib import Path

import pytest
import torch
from foreign_nets import add_conv, add_shift, as_basicsr, basicsr_edsr, mmagic_edsr, official_edsr, official_mdsr, saved

from srzoo.convert import convert_checkpoint, convert_file
from srzoo.convert.layouts import FOREIGN, LAYOUTS, PROJECTS, find_layout


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        (
            ["head.0.0.weight", "pre_process.2.0.body.0.0.weight", "body.0.body.0.0.weight", "tail.0.0.weight"],
            "MDSR of super-image .*not the paper's network",
        ),
        (
            ["conv_first.weight", "body.0.conv1.weight", "upconv1.weight", "conv_hr.weight", "conv_last.weight"],
            "MSRResNet .*leaky",
        ),
        (["sub_mean.weight", "body.0.0.weight", "body.19.weight", "add_mean.weight"], "VDSR of EDSR-PyTorch .*luma"),
        (
            ["head.0.weight", "body.0.body.0.body.0.weight", "body.0.body.0.body.3.conv_du.0.weight", "tail.1.weight"],
            "RCAN",
        ),
        (["conv_first.weight", "body.0.rdb1.conv1.weight", "conv_body.weight", "conv_hr.weight"], "MSRResNet|RRDBNet"),
        (["model.0.weight", "model.1.sub.0.RDB1.conv1.0.weight"], "RRDBNet"),
        (["conv_first.weight", "layers.0.residual_group.blocks.0.norm1.weight", "conv_after_body.weight"], "SwinIR"),
        (["conv1.weight", "conv2.weight", "conv3.weight"], r"SRCNN .*\.mat files"),
        (["first_part.0.weight", "mid_part.0.weight", "last_part.weight"], "FSRCNN"),
        (["body.0.weight", "body.1.weight", "body.2.weight"], "compact"),
        (["conv1.weight"], "no layout known here .* begin with conv1.weight"),
    ],
)
def test_other_networks_are_refused_with_their_name_and_the_reason(keys: list[str], told: str, tmp_path: Path) -> None:
    path = saved({key: torch.zeros(1) for key in keys}, tmp_path / "net.pth")
    with pytest.raises(ValueError, match=rf"net\.pth cannot be converted: its keys .*({told})"):
        convert_checkpoint(path)


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: f"{layout.projects[0]}-{layout.family}")
def test_no_layout_is_taken_for_a_foreign_network(layout) -> None:
    made = {
        "edsr-pytorch": official_mdsr() if layout.family == "mdsr" else official_edsr(2),
        "mmagic": mmagic_edsr(4),
        "basicsr": basicsr_edsr(4),
        "pytorch-vdsr": {"input.weight": 0, "residual_layer.0.conv.weight": 0, "output.weight": 0},
    }
    assert find_layout(made[layout.projects[0]]) is layout
    for foreign in FOREIGN:
        assert foreign.what
        assert foreign.reason


@pytest.mark.parametrize("project", ["edsr-pytorch", "torchsr", "auto"])
def test_torchsr_and_edsr_pytorch_are_the_same(project: str, tmp_path: Path) -> None:
    path = saved(official_edsr(2), tmp_path / "edsr64_x2.pt")
    assert convert_file(path, project=project).project == ("edsr-pytorch" if project == "auto" else project)


def test_another_project_than_the_one_named_is_refused(tmp_path: Path) -> None:
    path = saved(as_basicsr(official_edsr(2)), tmp_path / "edsr.pth")
    with pytest.raises(
        ValueError,
        match=r"those of EDSR in BasicSR, not in mmagic; name the project basicsr \(--from\), or leave it to auto",
    ):
        convert_checkpoint(path, project="mmagic")
    with pytest.raises(ValueError, match="those of EDSR in BasicSR, not in super-image"):
        convert_checkpoint(path, project="super-image")
    with pytest.raises(ValueError, match="those of MDSR in EDSR-PyTorch, not in torchSR"):
        convert_checkpoint(saved(official_mdsr(), tmp_path / "mdsr.pt"), project="torchsr")
    with pytest.raises(ValueError, match="project is 'timm'; take auto or one of edsr-pytorch, torchsr"):
        convert_checkpoint(path, project="timm")


@pytest.mark.parametrize("sign", ["project", "name", "config"])
def test_super_images_edsr_is_refused(sign: str, tmp_path: Path) -> None:
    path = saved(official_edsr(2), tmp_path / ("pytorch_model_2x.pt" if sign == "name" else "net.pt"))
    if sign == "config":
        (tmp_path / "config.json").write_text(json.dumps({"model_type": "EDSR", "n_feats": 4}))
    with pytest.raises(ValueError, match=r"super-image's EDSR .* never removes the mean"):
        convert_checkpoint(path, project="super-image" if sign == "project" else "auto")
    assert convert_checkpoint(path, project="edsr-pytorch").scales == (2,)  # the user knows better


@pytest.mark.parametrize("config", ["{", "[]", '{"model_type": "bert"}', '{"model_type": ["EDSR"]}'])
def test_other_configs_beside_a_checkpoint_are_no_sign(config: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(config)
    assert convert_checkpoint(saved(official_edsr(2), tmp_path / "net.pt")).scales == (2,)


def test_a_super_image_mdsr_has_these_keys(tmp_path: Path) -> None:
    state = {}
    add_shift(state)
    for key in ("head.0.0", "pre_process.2.0.body.0.0", "body.0.body.0.0", "body.1.0", "upsample.2.0.0", "tail.0.0"):
        add_conv(state, key, 4, 4)
    for project in ("auto", *PROJECTS):
        with pytest.raises(ValueError, match="MDSR of super-image"):
            convert_checkpoint(saved(state, tmp_path / "net.pt"), project=project)
