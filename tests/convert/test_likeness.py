import torch

import srzoo
from srzoo.convert.likeness import LEAST, likeness


def test_trained_networks_are_near_bicubic_and_wrong_ones_are_not() -> None:
    model = srzoo.create_model("edsr_baseline_x2.photos")
    assert likeness(model) > 40
    right = model.state_dict()
    model.load_state_dict({key: value * 255 if key.endswith("bias") else value for key, value in right.items()})
    assert likeness(model) < LEAST
    swapped = {**right, "tail.weight": right["tail.weight"].flip(0), "tail.bias": right["tail.bias"].flip(0)}
    model.load_state_dict(swapped)  # RGB in, BGR out
    assert likeness(model) < LEAST
    assert likeness(srzoo.create_model("edsr_baseline_x2", width=8, num_blocks=1)) < LEAST


def test_it_is_the_worst_of_several_scales_and_takes_any_channels() -> None:
    assert likeness(srzoo.create_model("bicubic_x3", channels=1)) > 100
    mdsr = srzoo.create_model("mdsr_baseline.photos")
    whole = likeness(mdsr)
    assert whole > 40
    with torch.no_grad():
        for weight in mdsr.get_submodule("upsample.branches.x4").parameters():
            weight.zero_()
    assert likeness(mdsr) < LEAST
