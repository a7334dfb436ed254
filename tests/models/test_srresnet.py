from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

import srzoo
from srzoo.models.srresnet import SRResNet


def trained(scale: int = 2, **options: Any) -> srzoo.SRModel:
    """A small model in eval mode, with statistics, gains and slopes as training leaves them."""
    torch.manual_seed(0)
    model = srzoo.create_model(f"srresnet_x{scale}", **{"width": 4, "num_blocks": 2, **options}).eval()
    with torch.no_grad():
        for key, value in model.state_dict().items():
            if value.ndim == 1:
                value.copy_(torch.rand_like(value) + (0.2 if key.endswith(("running_var", "weight")) else -0.5))
    return model


def reference_srresnet(state: dict[str, Tensor], lr: Tensor, scale: int, num_blocks: int, training: bool) -> Tensor:
    """Figure 4 as plain functions: the mean colour off, [-1, 1] inside, batch norm and PReLU spelled out."""

    def conv(x: Tensor, key: str) -> Tensor:
        weight, bias = state[f"{key}.weight"], state.get(f"{key}.bias")
        return F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2)

    def prelu(x: Tensor, key: str) -> Tensor:
        return torch.where(x > 0, x, state[f"{key}.weight"].view(1, -1, 1, 1) * x)

    def norm(x: Tensor, key: str) -> Tensor:
        mean, var = state[f"{key}.running_mean"], state[f"{key}.running_var"]
        if training:
            mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3), correction=0)
        mean, var, gain, offset = (
            t.view(1, -1, 1, 1) for t in (mean, var, state[f"{key}.weight"], state[f"{key}.bias"])
        )
        return (x - mean) / (var + 1e-5).sqrt() * gain + offset

    def normed(x: Tensor, key: str) -> Tensor:
        return norm(conv(x, f"{key}.conv"), f"{key}.norm")

    mean = torch.tensor([0.4488, 0.4371, 0.4040], dtype=lr.dtype).view(1, 3, 1, 1)
    first = x = prelu(conv(2 * (lr - mean), "head.0"), "head.1")
    for i in range(num_blocks):
        x = x + normed(prelu(normed(x, f"body.{i}.conv1"), f"body.{i}.act"), f"body.{i}.conv2")
    x = first + normed(x, f"body.{num_blocks}")
    for i, factor in enumerate({2: [2], 3: [3], 4: [2, 2]}[scale]):
        x = prelu(F.pixel_shuffle(conv(x, f"upsample.{3 * i}"), factor), f"upsample.{3 * i + 2}")
    return conv(x, "tail") / 2 + mean


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("training", [False, True])
def test_it_computes_figure_4(scale, training):
    model = trained(scale).double().train(training)
    lr = torch.rand(2, 3, 5, 6, dtype=torch.float64)
    expected = reference_srresnet(model.state_dict(), lr, scale, 2, training)
    torch.testing.assert_close(model(lr), expected, rtol=0, atol=1e-6)  # the mean is rounded to float32


def test_training_moves_the_averages_by_a_tenth():
    model = trained().train()
    norm = model.body[2].norm
    seen: list[Tensor] = []
    model.body[2].conv.register_forward_hook(lambda *call: seen.append(call[-1]))
    mean, var = norm.running_mean.clone(), norm.running_var.clone()
    model(torch.rand(2, 3, 5, 6))
    torch.testing.assert_close(norm.running_mean, 0.9 * mean + 0.1 * seen[0].mean((0, 2, 3)))
    torch.testing.assert_close(norm.running_var, 0.9 * var + 0.1 * seen[0].var((0, 2, 3)))


@pytest.mark.parametrize(("scale", "millions"), [(2, 1.4), (3, 1.6), (4, 1.5)])
def test_it_is_as_large_as_the_paper_says(scale, millions):
    """1.5 million at x4 (EDSR, table 1); the upsampler makes the difference."""
    assert round(srzoo.model_info(f"srresnet_x{scale}").parameters / 1e6, 1) == millions


# Without batch norm


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_batch_norm_is_folded_without_a_trace(scale):
    model = trained(scale).double()
    lr = torch.rand(2, 3, 6, 7, dtype=torch.float64)
    folded = model.folded()
    torch.testing.assert_close(folded(lr), model(lr), rtol=0, atol=1e-12)
    assert not any("norm" in key for key in folded.state_dict())
    single = model.float()
    torch.testing.assert_close(single.folded()(lr.float()), single(lr.float()), rtol=0, atol=1e-5)


def test_a_folded_model_is_a_copy_that_is_saved_and_loaded_as_any_other(tmp_path: Path):
    model = trained(channels=1)
    folded = model.folded()
    assert (folded.name, folded.training) == (model.name, False)
    assert folded.arguments == {**model.arguments, "batch_norm": False}
    srzoo.save_model(folded, tmp_path / "folded.safetensors")
    again = srzoo.load_model(tmp_path / "folded.safetensors")
    lr = torch.rand(1, 1, 5, 6)
    expected = model(lr)
    assert torch.equal(again(lr), folded(lr))
    with torch.no_grad():
        for tensor in model.state_dict().values():
            tensor.zero_()
    torch.testing.assert_close(folded(lr), expected, rtol=0, atol=1e-5)


def test_folding_twice_changes_nothing():
    once = trained().folded()
    twice = once.folded()
    assert all(torch.equal(value, twice.state_dict()[key]) for key, value in once.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_model_in_half_precision_is_folded_in_float64(dtype):
    model = trained().to(dtype)
    folded = model.folded()
    exact = model.double().folded().state_dict()
    for key, value in folded.state_dict().items():
        assert value.dtype == dtype
        assert torch.equal(value, exact[key].to(dtype))


def test_a_folded_model_can_be_trained():
    folded = trained().folded().train()
    folded(torch.rand(1, 3, 5, 6)).sum().backward()
    assert all(p.grad is not None for p in folded.parameters())
    assert all(isinstance(p, nn.Parameter) and p.requires_grad for p in folded.parameters())


def test_the_network_without_batch_norm_has_biases_instead():
    """What a comparison with and without it is made of: equal layers, 64 parameters less a convolution."""
    with_norm, without = (SRResNet(scale=4, batch_norm=flag) for flag in (True, False))
    count = [sum(p.numel() for p in model.parameters()) for model in (with_norm, without)]
    assert count[0] - count[1] == (2 * 16 + 1) * 64
    assert {key.split(".")[-1] for key in without.state_dict()} == {"weight", "bias"}


# Weight files


def test_a_float16_file_holds_float16_alone(tmp_path: Path):
    model = trained()
    srzoo.save_model(model, tmp_path / "half.safetensors", torch.float16)
    assert {value.dtype for value in load_file(tmp_path / "half.safetensors").values()} == {torch.float16}
    lr = torch.rand(1, 3, 5, 6)
    torch.testing.assert_close(srzoo.load_model(tmp_path / "half.safetensors")(lr), model(lr), rtol=0, atol=5e-3)


def test_a_model_without_numbers_is_not_folded() -> None:
    with torch.device("meta"):
        model = SRResNet(scale=2, width=8, num_blocks=1)
    with pytest.raises(ValueError, match="this SRResNet is on the meta device and has no numbers to fold; load it"):
        model.folded()
