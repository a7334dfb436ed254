"""What the options of `srzoo train` stand for, without a step being trained."""

import argparse
from pathlib import Path
from typing import Any

import pytest
import torch

import srzoo
from srzoo.cli.training_inputs import read_degradation, read_model
from srzoo.cli.training_options import add_options, read_config, read_loss
from srzoo.data.presets import PRESETS
from srzoo.train import Cosine, Halving, OnLuma, Start, srresnet_from_edsr
from srzoo.train.finetune import name_weights


def parse(*more: str, model: str = "edsr_baseline_x2") -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_options(parser)
    return parser.parse_args(["--model", model, "--data", "photos", *more])


def saved(path: Path, name: str, **options: Any) -> str:
    srzoo.save_model(srzoo.create_model(name, **options), path)
    return str(path)


@pytest.mark.parametrize("family", ["fsrcnn", "srcnn"])
def test_a_model_of_another_scale_has_not_learnt_its_own(tmp_path: Path, family: str) -> None:
    of_two = saved(tmp_path / "x2.safetensors", f"{family}_x2")
    _, start = read_model(parse("--init", of_two, model=f"{family}_x3"))
    assert start.told.startswith(f"all of {family}_x2, content ")  # all tensors fit, on another grid
    assert not start.learnt
    _, same = read_model(parse("--init", of_two, model=f"{family}_x2"))
    assert same.learnt


def test_a_deeper_model_has_learnt_what_the_shallower_one_had(tmp_path: Path) -> None:
    small = saved(tmp_path / "small.safetensors", "mdsr_baseline", width=4, num_blocks=1)
    _, start = read_model(parse("--init", small, "--set", "width=4", "--set", "num_blocks=3", model="mdsr"))
    assert start.learnt


def test_weights_are_called_by_what_they_are_and_not_by_where_they_lie(tmp_path: Path) -> None:
    model = srzoo.load_model(saved(tmp_path / "a.safetensors", "espcn_x2"))
    content = srzoo.read_header(tmp_path / "a.safetensors").content
    assert name_weights(model) == f"espcn_x2, content {content[:8]}"
    (tmp_path / "a.safetensors").unlink()
    assert name_weights(model) == f"espcn_x2, content {content[:8]}"
    _, start = read_model(parse("--init", "edsr_baseline_x2", model="edsr_baseline_x3"))
    assert start.told == "parts of edsr_baseline_x2.photos"


SIZE = ("--set", "width=4", "--set", "num_blocks=1")


def test_an_edsr_does_not_start_an_srresnet_in_part_but_as_a_whole(tmp_path: Path) -> None:
    edsr = saved(tmp_path / "edsr.safetensors", "edsr_baseline_x2", width=4, num_blocks=1)
    with pytest.raises(ValueError, match="an SRResNet starts from a whole EDSR, by "):
        read_model(parse("--init", edsr, *SIZE, model="srresnet_x2"))
    whole = srresnet_from_edsr(srzoo.load_model(edsr), [torch.rand(2, 3, 8, 8)])
    srzoo.save_model(whole, tmp_path / "start.safetensors")
    with pytest.raises(ValueError, match="edsr_baseline_x2 cannot start from parts of srresnet_x2"):
        read_model(parse("--init", str(tmp_path / "start.safetensors"), *SIZE))
    model, start = read_model(parse("--init", str(tmp_path / "start.safetensors"), *SIZE, model="srresnet_x2"))
    assert start.learnt
    lr = torch.rand(1, 3, 6, 6)
    assert torch.equal(model.eval()(lr), whole(lr))


def test_a_warm_up_leaves_the_rest_of_a_recipes_cosine_as_it_is() -> None:
    def schedule(*more: str) -> object:
        return read_config(parse(*more, model="espcn_x2"), 100, Start(), "cpu", False).schedule

    assert schedule("--recipe", "espcn", "--warmup", "100") == Cosine(100, final=0.01)
    assert schedule("--recipe", "edsr", "--schedule", "cosine", "--warmup", "7") == Cosine(7)
    assert schedule("--recipe", "vdsr", "--schedule", "halving", "--halve-every", "7") == Halving(7)
    with pytest.raises(ValueError, match="--warmup does not go with --schedule stepped"):
        schedule("--recipe", "vdsr", "--warmup", "7")


def test_the_degradation_is_the_one_given_else_the_recipes() -> None:
    assert read_degradation(parse()) is None
    assert read_degradation(parse("--recipe", "muon")) is None
    assert read_degradation(parse("--recipe", "jpeg")) == PRESETS["photo"]
    assert read_degradation(parse("--recipe", "jpeg", "--degradation", "blur")) == PRESETS["blur"]
    assert read_degradation(parse("--recipe", "jpeg", "--degradation", "bicubic")) is None


def test_a_loss_on_luma_is_for_networks_on_luma() -> None:
    colour = srzoo.create_model("edsr_baseline_x2", width=4, num_blocks=1)
    for more in (("--loss", "luma-l1"), ("--recipe", "srcnn")):
        with pytest.raises(ValueError, match="edsr_baseline_x2 makes the colours too, which nothing would train"):
            read_loss(parse(*more), colour)
    grey = srzoo.create_model("edsr_baseline_x2", width=4, num_blocks=1, channels=1)
    assert isinstance(read_loss(parse("--loss", "luma-l1"), grey), OnLuma)
    for name in ("vdsr", "srcnn_x2", "espcn_x2", "fsrcnn_x2"):
        assert isinstance(read_loss(parse("--loss", "luma-l1"), srzoo.create_model(name)), OnLuma)


def test_every_option_says_what_it_is() -> None:
    options = add_options(argparse.ArgumentParser())
    assert not [option.option_strings[0] for option in options.values() if not option.help]
