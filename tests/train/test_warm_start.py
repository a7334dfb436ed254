import pytest
import torch
from torch import nn

import srzoo
from srzoo.train import warm_start

SMALL = dict(width=4, num_blocks=1)
SHARED = {"head", "body", "tail"}


def edsr(scale: int, **overrides: int) -> srzoo.SRModel:
    return srzoo.create_model(f"edsr_baseline_x{scale}", **{**SMALL, **overrides})


@pytest.mark.parametrize(
    ("scale", "fresh"), [(3, {"upsample.0.bias", "upsample.0.weight"}), (4, {"upsample.2.bias", "upsample.2.weight"})]
)
def test_x3_and_x4_start_from_what_fits_of_x2(scale, fresh):
    model, source = edsr(scale), edsr(2)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    report = warm_start(model, source)
    after, theirs = model.state_dict(), source.state_dict()
    assert set(report.fresh) == fresh
    assert set(report.copied) == set(after) - fresh
    assert {key.split(".")[0] for key in report.copied} >= SHARED
    assert all(torch.equal(after[key], theirs[key]) for key in report.copied)
    assert all(torch.equal(after[key], before[key]) for key in report.fresh)
    assert not any(torch.equal(before[key], theirs[key]) for key in report.copied)


def test_the_copy_does_not_share_memory_with_its_source():
    model, source = edsr(3), edsr(2)
    warm_start(model, source)
    kept = model.head.weight.detach().clone()
    with torch.no_grad():
        source.head.weight.zero_()
    assert torch.equal(model.head.weight, kept)


def test_tensors_of_the_same_name_and_another_shape_keep_their_start():
    report = warm_start(edsr(2, channels=1), edsr(2, channels=3))
    assert set(report.fresh) == {"head.weight", "tail.weight", "tail.bias"}


def test_a_source_of_which_nothing_fits_is_refused_by_name():
    with pytest.raises(ValueError, match="nothing of Linear fits EDSR"):
        warm_start(edsr(2), nn.Linear(2, 2))
