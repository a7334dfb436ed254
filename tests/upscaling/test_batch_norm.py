"""SRResNet through the upscaler: batch norm folded, PReLU after the shuffle, in strips, turned."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

import srzoo
from srzoo.architecture import SRModel
from srzoo.tta import SelfEnsemble, dihedral
from srzoo.upscaling.engines import Engine
from srzoo.upscaling.layers import Layers, record
from srzoo.upscaling.network import Network, variants
from srzoo.upscaling.planner import StripPlan, plan_bands
from srzoo.upscaling.steps import plan_flow
from srzoo.upscaling.strips import Compiled, run_strips


@cache
def trained(scale: int) -> SRModel:
    """A small model with statistics, gains and slopes as training leaves them."""
    torch.manual_seed(0)
    model = srzoo.create_model(f"srresnet_x{scale}", width=4, num_blocks=1).eval()
    with torch.no_grad():
        for key, value in model.state_dict().items():
            if value.ndim == 1:
                value.copy_(torch.rand_like(value) + (0.2 if key.endswith(("running_var", "weight")) else -0.5))
    return model


def stream(engine: Engine, networks: Sequence[Layers], lr: Tensor, rows: int) -> list[Tensor]:
    """The result of each network for the image, in strips of `rows`."""
    height, width = lr.shape[-2:]
    results = []
    for network in networks:
        plan = StripPlan(rows, plan_bands(width, width, 0), 0)
        parts = run_strips(Compiled(engine, [network]), lambda top, bottom: lr[..., top:bottom, :], height, plan)
        results.append(torch.cat([part.sr for part in parts], 2))
    return results


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_batch_norm_leaves_no_layer_behind(scale: int) -> None:
    layers = record(trained(scale))
    kinds = [(layer.kind, layer.name) for layer in layers if layer.kind != "conv"]
    shuffles = [("shuffle", ""), ("map", "prelu")] * (2 if scale == 4 else 1)
    shift = [("map", "sub"), ("map", "mul"), ("map", "div")], [("map", "mul"), ("map", "div"), ("map", "add")]
    body = [("map", "prelu"), ("map", "prelu"), ("join", "add"), ("join", "add")]
    assert kinds == [("image", ""), *shift[0], *body, *shuffles, *shift[1]]
    assert all(layer.bias is not None for layer in layers if layer.kind == "conv")
    assert isinstance(Network(trained(scale), scale).recorded, Layers)


@torch.inference_mode()
@pytest.mark.parametrize("scale", [2, 4])
def test_strips_of_every_engine_equal_the_model(engine: Engine, scale: int) -> None:
    model = trained(scale)
    layers = record(model)
    lr = torch.rand(1, 3, plan_flow(layers).min_first + 7, 6)
    [found] = stream(engine, [layers], lr, 3)
    torch.testing.assert_close(found, model(lr), rtol=0, atol=1e-5)


@torch.inference_mode()
def test_turned_weights_equal_turned_images(engine: Engine) -> None:
    model = trained(2)
    ops = dihedral()
    networks = variants(record(model), tuple(ops))
    assert networks is not None
    lr = torch.rand(1, 3, plan_flow(networks[0]).min_first + 4, 6)
    found = torch.stack(stream(engine, networks, lr, 3)).mean(0)
    torch.testing.assert_close(found, SelfEnsemble(model, ops)(lr), rtol=0, atol=1e-5)


@pytest.mark.parametrize("options", [{}, {"tta": "x8"}], ids=str)
def test_the_upscaler_streams_what_the_folded_model_gives(options: dict[str, Any]) -> None:
    exact: dict[str, Any] = dict(engine="torch", precision="fp32", device="cpu", **options)
    lr = torch.rand(3, 60, 7)
    found, folded = (srzoo.Upscaler(m, **exact)(lr) for m in (trained(2), trained(2).folded()))
    torch.testing.assert_close(found, folded, rtol=0, atol=1e-5)
