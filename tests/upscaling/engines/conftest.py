from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import srzoo
from srzoo.architecture import SRModel
from srzoo.upscaling.engines import Engine, States
from srzoo.upscaling.layers import Layers, record
from srzoo.upscaling.steps import build_step, plan_flow, plan_strips


class Everything(SRModel):
    """Each map and join, groups, a 5x1 kernel, batch norm, channels of several, two shuffles: no one would want it."""

    scales = (4,)
    channels = 3

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.prelu = nn.PReLU(8)
        self.shared = nn.PReLU()
        self.groups = nn.Conv2d(8, 8, 3, padding=1, groups=4)
        self.tall = nn.Conv2d(8, 8, (5, 1), padding=(2, 0))
        self.up = nn.Conv2d(24, 16, 1)
        self.last = nn.Conv2d(4, 12, 3, padding=1)
        nn.init.normal_(self.norm.running_mean, std=0.1)
        nn.init.uniform_(self.norm.running_var, 0.5, 2)
        nn.init.uniform_(self.norm.weight, 0.5, 2)

    def halo(self, scale: int | None = None) -> int:
        return 10

    def forward(self, lr: Tensor, scale: int | None = None) -> Tensor:
        x = self.prelu(self.norm(self.head(1 - lr)))
        a = torch.tanh(self.groups(torch.relu(x) * 3)) / 0.7
        b = torch.sigmoid(self.tall(x) - 0.1) * nn.functional.gelu(x)
        c = nn.functional.silu(self.groups(a - x)).clamp(-0.2, 0.5) / (2 + b)
        c = self.shared(nn.functional.leaky_relu(c, 0.3)) + 0.5 / (1.5 + torch.sigmoid(a)).clamp(max=2.0)
        x = nn.functional.pixel_shuffle(self.up(torch.cat([a, b, c], 1)), 2)
        return nn.functional.pixel_shuffle(self.last(x).clamp(min=-0.5), 2)


@pytest.fixture(params=["edsr_baseline_x3", "edsr_baseline_x4", "mdsr_baseline", "everything"])
def network(request: pytest.FixtureRequest) -> tuple[SRModel, int]:
    """A small network and its scale, in float64."""
    if request.param == "everything":
        return Everything().double().eval(), 4
    model = srzoo.create_model(request.param, width=8, num_blocks=1)
    return model.double().eval(), {"edsr_baseline_x3": 3, "edsr_baseline_x4": 4}.get(request.param, 2)


@pytest.fixture
def tiny() -> Layers:
    """The smallest EDSR."""
    return record(srzoo.create_model("edsr_baseline_x2", width=8, num_blocks=1).eval())


def flow_through(engine: Engine, layers: Layers, image: Tensor, rows: int) -> Tensor:
    """An image run through the steps of a network, a strip of rows after the other."""
    flow = plan_flow(layers)
    states: States = ()
    results, steps = [], {}
    for phase, top, bottom in plan_strips(image.shape[2], rows, flow.min_first):
        if (phase, bottom - top) not in steps:
            shape = image.shape[0], bottom - top, image.shape[3]
            steps[phase, bottom - top] = engine.compile(build_step(layers, phase, flow, rows), shape)
        result, states = steps[phase, bottom - top](image[:, :, top:bottom], states)
        results.append(result)
    assert not states  # the last step gives none
    return torch.cat(results, 2)


@pytest.fixture
def run() -> Callable[[Engine, Layers, Tensor, int], Tensor]:
    return flow_through
