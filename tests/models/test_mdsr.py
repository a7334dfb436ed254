import pytest
import torch
from torch import Tensor, nn

import srzoo

LR = torch.rand(1, 3, 5, 7, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def model() -> srzoo.SRModel:
    return srzoo.create_model("mdsr_baseline", width=4, num_blocks=1).eval()


def num_parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_one_model_serves_each_scale(model, scale):
    assert model(LR, scale=scale).shape == (1, 3, 5 * scale, 7 * scale)


def test_it_needs_a_scale_it_offers(model):
    with pytest.raises(ValueError, match="no scale was given; mdsr_baseline offers 2, 3, 4"):
        model(LR)
    with pytest.raises(ValueError, match="scale 8 was given; mdsr_baseline offers 2, 3, 4"):
        model(LR, scale=8)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_only_the_branch_of_the_scale_runs(model, scale):
    ran = []
    for part in ("pre", "upsample"):
        for key, branch in getattr(model, part).branches.items():
            branch.register_forward_hook(lambda *_, name=f"{part} {key}": ran.append(name))
    model(LR, scale=scale)
    assert ran == [f"pre x{scale}", f"upsample x{scale}"]


def test_the_pre_processing_of_a_scale_is_two_residual_blocks_of_5x5(model):
    kernels = [m.kernel_size for m in model.pre.branch(3).modules() if isinstance(m, nn.Conv2d)]
    assert kernels == [(5, 5)] * 4


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_one_scale_alone_gives_the_same_output_with_fewer_parameters(model, scale):
    alone = model.single_scale(scale)
    assert alone.scales == (scale,)
    assert torch.equal(alone(LR), model(LR, scale=scale))
    assert not alone.training
    others = [num_parameters(getattr(model, p).branch(s)) for p in ("pre", "upsample") for s in {2, 3, 4} - {scale}]
    assert num_parameters(alone) == num_parameters(model) - sum(others)
    assert alone.halo() == model.halo(scale)


def test_one_scale_alone_shares_the_parameters_of_the_whole(model):
    alone = model.single_scale(2)
    assert {id(p) for p in alone.parameters()} <= {id(p) for p in model.parameters()}


def test_one_scale_alone_can_be_saved_and_loaded(model, tmp_path):
    alone = model.single_scale(3)
    header = srzoo.save_model(alone, tmp_path / "x3.safetensors")
    assert header.model == "mdsr_baseline"
    assert header.arguments == {"scales": [3], "channels": 3, "width": 4, "num_blocks": 1}
    found = srzoo.load_model(tmp_path / "x3.safetensors")
    assert found.scales == (3,)
    assert torch.equal(found(LR), model(LR, scale=3))


def test_a_scale_it_lacks_cannot_be_taken_out(model):
    with pytest.raises(ValueError, match="scale 8 was given"):
        model.single_scale(8)


@pytest.mark.parametrize("scales", [(), (2, 2)])
def test_scales_must_be_some_and_each_once(scales):
    with pytest.raises(ValueError, match="give at least one, each once"):
        srzoo.create_model("mdsr_baseline", scales=scales, width=4, num_blocks=1)


def test_the_long_skip_spans_the_body_alone(model):
    def zero(part: nn.Module) -> None:
        with torch.no_grad():
            for parameter in part.parameters():
                parameter.zero_()

    zero(model.body)  # what is left is the skip
    expected: Tensor = model.pre(model.head(model.shift(LR)), 2)
    expected = model.shift.restore(model.tail(model.upsample(expected, 2)))
    torch.testing.assert_close(model(LR, scale=2), expected)
