import copy
import sys

import numpy as np
import pytest
import torch
from torch import nn

import srzoo
from srzoo.train.describe import describe
from srzoo.train.optimizers import SGD, Adam, AdamW, OptimizerFactory, Timm, _fast, parameter_groups

CPU = torch.device("cpu")
FACTORIES = [Adam(), AdamW(), SGD()]


def small_model() -> srzoo.SRModel:
    return srzoo.create_model("edsr_baseline_x2", width=4, num_blocks=12)


def shapes(groups):
    return {group["name"]: (len(group["params"]), group["lr"]) for group in groups}


# --- the updates ---


def reference(kind: str, start: np.ndarray, gradients: list[np.ndarray], lr: float) -> np.ndarray:
    """The papers' formulas, with weight decay 0.1."""
    x, first, second = start.copy(), np.zeros_like(start), np.zeros_like(start)
    for step, gradient in enumerate(gradients, 1):
        g = gradient + (0 if kind == "adamw" else 0.1 * x)
        if kind in ("sgd", "nesterov"):
            first = g if step == 1 else 0.8 * first + g
            x = x - lr * (g + 0.8 * first if kind == "nesterov" else first)
            continue
        if kind == "adamw":
            x = x - lr * 0.1 * x
        first, second = 0.9 * first + 0.1 * g, 0.99 * second + 0.01 * g**2
        x = x - lr * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.99**step)) + 1e-8)
    return x


@pytest.mark.parametrize(
    ("kind", "factory"),
    [
        ("adam", Adam(betas=(0.9, 0.99), weight_decay=0.1)),
        ("adamw", AdamW(betas=(0.9, 0.99), weight_decay=0.1)),
        ("sgd", SGD(momentum=0.8, weight_decay=0.1)),
        ("nesterov", SGD(momentum=0.8, nesterov=True, weight_decay=0.1)),
    ],
)
def test_updates_are_the_papers_formulas_at_each_groups_rate(kind, factory):
    rng = np.random.default_rng(0)
    starts = [rng.normal(size=(3, 7)) for _ in range(2)]
    gradients = [[rng.normal(size=(3, 7)) for _ in range(4)] for _ in range(2)]
    parameters = [nn.Parameter(torch.from_numpy(start.copy())) for start in starts]
    groups = [{"params": [parameters[0]], "lr": 0.01, "name": "a"}, {"params": [parameters[1]], "name": "b"}]
    optimizer = factory(groups, lr=0.05, device=CPU)
    for step in range(4):
        for parameter, own in zip(parameters, gradients, strict=True):
            parameter.grad = torch.from_numpy(own[step].copy())
        optimizer.step()
    for parameter, start, own, lr in zip(parameters, starts, gradients, (0.01, 0.05), strict=True):
        np.testing.assert_allclose(parameter.detach().numpy(), reference(kind, start, own, lr), rtol=1e-6, atol=1e-9)


def train(factory, steps: int, model: nn.Module | None = None, optimizer=None):
    """A few steps on fixed images, channels last as the trainer has them."""
    if model is None:
        torch.manual_seed(0)
        model = small_model().to(memory_format=torch.channels_last)
    if optimizer is None:
        optimizer = factory(parameter_groups(model, {"body": 0.5}, 1e-3), lr=1e-3, device=CPU)
    lr = torch.rand(2, 3, 6, 6, generator=torch.Generator().manual_seed(1))
    for _ in range(steps):
        optimizer.zero_grad(set_to_none=True)
        model(lr).square().mean().backward()
        optimizer.step()
    return model, optimizer


def weights(model: nn.Module) -> torch.Tensor:
    return torch.cat([value.flatten() for value in model.state_dict().values()])


@pytest.mark.parametrize("factory", FACTORIES)
def test_the_fused_update_has_the_same_bits_each_time(factory):
    model, optimizer = train(factory, 3)
    assert all(group["fused"] for group in optimizer.param_groups)
    assert torch.equal(weights(model), weights(train(factory, 3)[0]))


@pytest.mark.parametrize("factory", FACTORIES)
def test_a_copy_of_the_state_goes_on_with_the_same_bits(factory):
    model, optimizer = train(factory, 2)
    other = copy.deepcopy(model)
    again = factory(parameter_groups(other, {"body": 0.5}, 1e-3), lr=1e-3, device=CPU)
    again.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    train(factory, 2, model, optimizer)
    train(factory, 2, other, again)
    assert torch.equal(weights(model), weights(other))


@pytest.mark.parametrize("factory", [*FACTORIES, Timm("lion")], ids=repr)
def test_a_factory_is_a_setting(factory):
    assert isinstance(factory, OptimizerFactory)
    assert describe(factory)["kind"] == type(factory).__name__
    assert copy.deepcopy(factory) == factory


def test_the_given_groups_are_not_written_into():
    groups = parameter_groups(small_model(), {"body": 0.1}, 1e-3)
    kept = [dict(group) for group in groups]
    optimizer = Adam()(groups, lr=1e-3, device=CPU)
    optimizer.param_groups[0]["lr"] = 7.0
    assert groups == kept
    assert [group["name"] for group in optimizer.param_groups] == ["rest", "body"]


def test_elsewhere_than_cpu_and_cuda_torch_chooses_the_kernel():
    assert _fast(torch.device("mps")) == {}
    assert _fast(torch.device("cuda")) == {"fused": True, "capturable": True}
    assert _fast(torch.device("cuda"), capturable=False) == {"fused": True}


@pytest.mark.gpu
@pytest.mark.parametrize("factory", FACTORIES)
def test_a_captured_step_follows_the_rate(factory):
    device = torch.device("cuda")
    parameter = nn.Parameter(torch.ones(8, device=device))
    optimizer = factory([{"params": [parameter], "lr": 0.1, "name": "all"}], lr=0.1, device=device)
    parameter.grad = torch.ones_like(parameter)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        optimizer.step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        optimizer.step()
    before = parameter.detach().clone()
    optimizer.param_groups[0]["lr"].fill_(0.0)
    graph.replay()
    assert torch.equal(parameter, before)
    optimizer.param_groups[0]["lr"].fill_(0.1)
    graph.replay()
    assert (parameter < before).all()


# --- groups ---


def test_without_rates_all_parameters_are_one_group():
    model = small_model()
    (group,) = parameter_groups(model, {}, 1e-4)
    assert (group["name"], group["lr"]) == ("rest", 1e-4)
    assert [id(p) for p in group["params"]] == [id(p) for p in model.parameters()]


def test_a_prefix_covers_whole_names_only():
    groups = parameter_groups(small_model(), {"body.1": 0.5}, 1e-3)
    assert shapes(groups) == {"rest": (4 * 11 + 2 + 6, 1e-3), "body.1": (4, 5e-4)}  # not body.10 and body.11


def test_a_wildcard_covers_parameters_by_their_whole_name():
    groups = parameter_groups(small_model(), {"*.bias": 2.0}, 1e-3)
    assert shapes(groups) == {"rest": (28, 1e-3), "*.bias": (28, 2e-3)}


@pytest.mark.parametrize("turned", [False, True])
def test_the_longest_pattern_counts_in_any_order(turned):
    rates = {"body": 0.1, "body.3": 0.5, "body.3.conv1.weight": 3}
    groups = parameter_groups(small_model(), dict(reversed(rates.items())) if turned else rates, 1.0)
    assert shapes(groups) == {"rest": (6, 1), "body": (46, 0.1), "body.3": (3, 0.5), "body.3.conv1.weight": (1, 3)}


def test_of_equally_long_patterns_the_last_counts():
    assert shapes(parameter_groups(small_model(), {"head": 0.1, "hea*": 0.5}, 1.0)) == {
        "rest": (54, 1),
        "hea*": (2, 0.5),
    }
    assert shapes(parameter_groups(small_model(), {"hea*": 0.5, "head": 0.1}, 1.0)) == {
        "rest": (54, 1),
        "head": (2, 0.1),
    }


def test_frozen_layers_keep_their_bits_and_take_no_gradient():
    torch.manual_seed(0)
    model = small_model()
    before = copy.deepcopy(model.state_dict())
    groups = parameter_groups(model, {"*": 0, "tail": 1, "upsample.0.bias": 0.1}, 1e-3)
    assert set(shapes(groups)) == {"tail", "upsample.0.bias"}
    train(None, 3, model, Adam()(groups, lr=1e-3, device=CPU))
    moved = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    assert moved == {"tail.weight", "tail.bias", "upsample.0.bias"}
    assert all(p.grad is None for key, p in model.named_parameters() if key not in moved)


def test_what_was_frozen_stays_so_unless_a_rate_thaws_it():
    model = small_model().requires_grad_(False)
    model.tail.requires_grad_(True)
    assert shapes(parameter_groups(model, {"head": 0.5}, 1.0)) == {"rest": (2, 1.0), "head": (2, 0.5)}


def test_a_pattern_for_nothing_is_answered_with_the_nearest_names():
    with pytest.raises(ValueError, match=r"the rate of 'boddy.3' is for no parameter .*nearest names are body\.3"):
        parameter_groups(small_model(), {"boddy.3": 0.1}, 1e-4)


@pytest.mark.parametrize("factor", [-0.1, float("nan"), float("inf")])
def test_a_rate_is_zero_or_positive(factor):
    with pytest.raises(ValueError, match="the rate of 'body' is"):
        parameter_groups(small_model(), {"body": factor}, 1e-4)


def test_something_has_to_be_left_to_train():
    with pytest.raises(ValueError, match="every parameter of the model is frozen"):
        parameter_groups(small_model(), {"*": 0}, 1e-4)


# --- timm's ---


@pytest.fixture
def timm_optim():
    try:
        import timm.optim
    except (ImportError, RuntimeError) as error:  # RuntimeError: a torchvision made for another torch
        pytest.skip(f"timm cannot be imported: {error}")
    return timm.optim


@pytest.mark.parametrize("name", ["lion", "adopt", "muon", "lookahead_adam"])
def test_timm_optimizers_train_at_each_groups_rate(timm_optim, name):
    if name.removeprefix("lookahead_") not in timm_optim.list_optimizers():
        pytest.skip(f"this timm has no {name}")
    torch.manual_seed(0)
    model = small_model()
    before = weights(model)
    optimizer = Timm(name)(parameter_groups(model, {"body": 0.5}, 1e-3), lr=1e-3, device=CPU)
    assert sorted({group["lr"] for group in optimizer.param_groups}) == [5e-4, 1e-3]
    train(None, 3, model, optimizer)
    assert not torch.equal(weights(model), before)


def test_timm_lion_is_lions_formula(timm_optim):
    parameter = nn.Parameter(torch.tensor([1.0, -2.0, 3.0]))
    group = {"params": [parameter], "lr": 0.1, "name": "all"}
    optimizer = Timm("lion", {"weight_decay": 0.5})([group], lr=0.1, device=CPU)
    parameter.grad = torch.tensor([3.0, -0.1, 0.0])
    optimizer.step()
    assert parameter.tolist() == pytest.approx([0.95 - 0.1, -1.9 + 0.1, 2.85])


def test_an_unknown_timm_optimizer_is_answered_with_the_nearest(timm_optim):
    with pytest.raises(ValueError, match=r"timm has no optimizer 'lionn'; the nearest are lion"):
        Timm("lionn")(parameter_groups(small_model(), {}, 1e-3), lr=1e-3, device=CPU)


def test_an_unknown_option_is_answered_with_those_there_are(timm_optim):
    with pytest.raises(ValueError, match=r"the optimizer lion does not take beta; it takes .*betas"):
        Timm("lion", {"beta": 1})(parameter_groups(small_model(), {}, 1e-3), lr=1e-3, device=CPU)


def test_an_optimizer_of_second_order_is_refused(timm_optim):
    with pytest.raises(ValueError, match="the optimizer adahessian needs second derivatives"):
        Timm("adahessian")(parameter_groups(small_model(), {}, 1e-3), lr=1e-3, device=CPU)


def test_an_optimizer_that_timm_cannot_make_here_is_a_users_error(timm_optim, monkeypatch):
    def broken(*args, **kwargs):
        raise AssertionError("CUDA required")

    monkeypatch.setattr(timm_optim, "create_optimizer_v2", broken)
    with pytest.raises(ValueError, match="timm cannot make the optimizer lion here: CUDA required"):
        Timm("lion")(parameter_groups(small_model(), {}, 1e-3), lr=1e-3, device=CPU)


def test_timm_names_the_extra_that_is_missing(monkeypatch):
    for name in ("timm", "timm.optim"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r'Timm\("lion"\) needs timm .*pip install "srzoo\[train\]"'):
        Timm("lion")(parameter_groups(small_model(), {}, 1e-3), lr=1e-3, device=CPU)
