"""Optimizers as settings: small objects that make a `torch.optim.Optimizer` once the parameters are known."""

import difflib
import importlib
import inspect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Protocol, runtime_checkable

import torch
from torch import nn

Group = dict[str, Any]
"""Parameters that share a learning rate: `{"params": [...], "lr": float, "name": str}`."""


@runtime_checkable
class OptimizerFactory(Protocol):
    """What a trainer takes as its optimizer: `Adam()`, `AdamW()`, `SGD()`, `Timm(name)`, or any such function."""

    def __call__(self, groups: Sequence[Group], *, lr: float, device: torch.device) -> torch.optim.Optimizer:
        """An optimizer of those groups, for parameters on that device.

        `lr` is for groups that carry none. Where the rates of the result are tensors, set them in place
        (`group["lr"].fill_(...)`): a CUDA graph then sees the change.
        """
        ...


def _own_copies(groups: Sequence[Group], lr: float, device: torch.device, as_tensor: bool) -> list[Group]:
    """Groups that torch may write into, each with its rate; a tensor on CUDA, which a captured step reads anew."""
    rates = [group.get("lr", lr) for group in groups]
    if as_tensor and device.type == "cuda":
        rates = [torch.tensor(float(rate), device=device) for rate in rates]
    return [{**group, "lr": rate} for group, rate in zip(groups, rates, strict=True)]


def _fast(device: torch.device, capturable: bool = True) -> dict[str, bool]:
    """One kernel for the whole update, where every torch that srzoo runs on has it; on CUDA one a graph can hold."""
    if device.type == "cuda":
        return {"fused": True, "capturable": True} if capturable else {"fused": True}
    return {"fused": True} if device.type == "cpu" else {}


@dataclass(frozen=True)
class Adam:
    """Adam (Kingma and Ba 2015), with the paper's constants (EDSR, section 5.2).

    Args:
        betas: Decay of the averages of the gradient and of its square.
        eps: Added to the root of the second average.
        weight_decay: Times the weights, added to the gradient.

    Examples:
        >>> model = nn.Conv2d(3, 3, 3)
        >>> optimizer = Adam()(parameter_groups(model, {}, 1e-4), lr=1e-4, device=torch.device("cpu"))
        >>> optimizer.param_groups[0]["lr"]
        0.0001
    """

    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0

    def __call__(self, groups: Sequence[Group], *, lr: float, device: torch.device) -> torch.optim.Optimizer:
        """`torch.optim.Adam`, fused."""
        own = _own_copies(groups, lr, device, as_tensor=True)
        return torch.optim.Adam(own, betas=self.betas, eps=self.eps, weight_decay=self.weight_decay, **_fast(device))


@dataclass(frozen=True)
class AdamW:
    """Adam with weight decay apart from the gradient (Loshchilov and Hutter 2019).

    Args:
        betas: Decay of the averages of the gradient and of its square.
        eps: Added to the root of the second average.
        weight_decay: Times the learning rate and the weights, taken off the weights.
    """

    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.01

    def __call__(self, groups: Sequence[Group], *, lr: float, device: torch.device) -> torch.optim.Optimizer:
        """`torch.optim.AdamW`, fused."""
        own = _own_copies(groups, lr, device, as_tensor=True)
        return torch.optim.AdamW(own, betas=self.betas, eps=self.eps, weight_decay=self.weight_decay, **_fast(device))


@dataclass(frozen=True)
class SGD:
    """Gradient descent with momentum: what SRCNN and VDSR train with.

    Args:
        momentum: Decay of the running sum of gradients; 0 keeps none.
        nesterov: Look ahead along the momentum.
        weight_decay: Times the weights, added to the gradient.
    """

    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 0.0

    def __call__(self, groups: Sequence[Group], *, lr: float, device: torch.device) -> torch.optim.Optimizer:
        """`torch.optim.SGD`, fused."""
        own = _own_copies(groups, lr, device, as_tensor=True)
        optimizer = torch.optim.SGD(
            own,
            momentum=self.momentum,
            nesterov=self.nesterov,
            weight_decay=self.weight_decay,
            **_fast(device, capturable=False),
        )
        if self.momentum:  # torch makes these for all or none; but a branch of another scale has no gradient yet
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        return optimizer


@dataclass(frozen=True)
class Timm:
    """Any of timm's optimizers by name (extra `train`), such as `Timm("lion", {"weight_decay": 0.01})`.

    `timm.optim.list_optimizers(with_description=True)` says which there are. The parameters are taken as they are
    grouped; timm's own way to leave biases out of the weight decay is not used.

    Args:
        name: One of timm's names; `lookahead_` before it adds slow weights (Zhang et al. 2019).
        options: Arguments of the optimizer's constructor, apart from parameters and lr.

    Raises:
        ImportError: When called, if timm is not installed.
        ValueError: When called, if timm does not have the optimizer or cannot make it on this machine, if it does
            not take the options, or if it needs second derivatives.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, groups: Sequence[Group], *, lr: float, device: torch.device) -> torch.optim.Optimizer:
        """The optimizer as timm makes it; its rates are numbers, also on CUDA."""
        try:
            optim: Any = importlib.import_module("timm.optim")
        except (ImportError, RuntimeError) as error:  # RuntimeError: a torchvision made for another torch
            raise ImportError(f'Timm("{self.name}") needs timm ({error}); pip install "srzoo[train]"') from error
        plain = self.name.removeprefix("lookahead_")
        if plain not in optim.list_optimizers():
            near = difflib.get_close_matches(plain, optim.list_optimizers(), n=3, cutoff=0.3)
            raise ValueError(f"timm has no optimizer {self.name!r}; the nearest are {', '.join(near) or 'none'}")
        taken = inspect.signature(optim.get_optimizer_class(plain, bind_defaults=False)).parameters
        unknown = sorted(self.options.keys() - (taken.keys() - {"params", "lr"}))
        if unknown:
            allowed = ", ".join(key for key in taken if key not in ("params", "lr"))
            raise ValueError(f"the optimizer {self.name} does not take {', '.join(unknown)}; it takes {allowed}")
        own = _own_copies(groups, lr, device, as_tensor=False)
        try:
            optimizer = optim.create_optimizer_v2(own, opt=self.name, lr=lr, **self.options)
        except AssertionError as error:  # such as those of bitsandbytes and APEX
            raise ValueError(f"timm cannot make the optimizer {self.name} here: {error}") from error
        if getattr(optimizer, "is_second_order", False):
            raise ValueError(f"the optimizer {self.name} needs second derivatives, which training does not compute")
        return optimizer


def _covers(pattern: str, name: str) -> bool:
    return name == pattern or name.startswith(f"{pattern}.") or fnmatchcase(name, pattern)


def parameter_groups(model: nn.Module, rates: Mapping[str, float | int], lr: float) -> list[Group]:
    """The trainable parameters of `model` in groups, one a pattern, each with its own learning rate.

    A pattern is the name of a module or parameter and covers all that is below it (`body.3` is not `body.30`), or
    has wildcards and covers the parameters whose whole name fits (`*.bias`, `body.[0-7].*`). Of several patterns
    that cover a parameter the longest counts, of equally long ones the last. Factor 0 freezes: the parameter no
    longer takes a gradient, and is in no group; any other factor thaws. What no pattern covers has the factor 1 and
    stays frozen if it was. Freezing does not stop the running statistics of a batch norm, which are buffers.

    Args:
        model: Its parameters' `requires_grad` is set.
        rates: Pattern -> factor on `lr`.
        lr: The learning rate of what no pattern covers.

    Returns:
        Groups with `params`, `lr` and `name` (the pattern; "rest" for what none covers, which comes first).

    Raises:
        ValueError: If a pattern covers nothing, a factor is negative or not finite, or nothing is left to train.

    Examples:
        >>> import srzoo
        >>> model = srzoo.create_model("edsr_baseline_x2", width=8, num_blocks=2)
        >>> groups = parameter_groups(model, {"head": 0, "body": 0.1, "body.1": 0.5}, 1e-4)
        >>> [(group["name"], len(group["params"]), group["lr"]) for group in groups]
        [('rest', 4, 0.0001), ('body', 6, 1e-05), ('body.1', 4, 5e-05)]
    """
    named = dict(model.named_parameters())
    for pattern, factor in rates.items():
        if not (math.isfinite(factor) and factor >= 0):
            raise ValueError(f"the rate of {pattern!r} is {factor}; it must be 0 (frozen) or a positive factor on lr")
        if not any(_covers(pattern, name) for name in named):
            there = [*(name for name, _ in model.named_modules() if name), *named]
            near = difflib.get_close_matches(pattern, there, n=3, cutoff=0.3)
            raise ValueError(
                f"the rate of {pattern!r} is for no parameter of the model; the nearest names are "
                f"{', '.join(near) or 'none'}"
            )
    groups: dict[str | None, list[nn.Parameter]] = {None: [], **{pattern: [] for pattern in rates}}
    for name, parameter in named.items():
        covering = [pattern for pattern in reversed(list(rates)) if _covers(pattern, name)]
        chosen = max(covering, key=len, default=None)
        if chosen is not None:
            parameter.requires_grad_(rates[chosen] > 0)
        if parameter.requires_grad:
            groups[chosen].append(parameter)
    if not any(groups.values()):
        raise ValueError("every parameter of the model is frozen; leave some to train")
    return [
        {"params": params, "lr": lr * (1 if pattern is None else rates[pattern]), "name": pattern or "rest"}
        for pattern, params in groups.items()
        if params
    ]


def restore_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load the moments of `optimizer.state_dict()`, from any device; how the update is made stays as it is here.

    Args:
        optimizer: Made by the same factory for the same groups of parameters.
        state: What was saved.
    """
    options = [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]
    optimizer.load_state_dict(state)
    for group, own in zip(optimizer.param_groups, options, strict=True):
        group.update(own)  # such as the kernel to use: this device's, not that of the one before
    for parameter, moments in optimizer.state.items():  # laid out as the parameter: fast updates
        for key, value in moments.items():
            if isinstance(value, torch.Tensor) and value.shape == parameter.shape:
                moments[key] = torch.empty_like(parameter).copy_(value)
