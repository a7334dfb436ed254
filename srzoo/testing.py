"""The public contract test: `check_architecture(ARCH)` for every family, built in or plugged in.

Plug-in authors call it in their own tests. Each check is one function, named for what it proves.
Run-time type checkers that wrap `forward` (jaxtyping's import hook with beartype) defeat
`torch.compile(fullgraph=True)`: run `check_architecture` without them.
"""

import contextlib
import copy
import dataclasses
import inspect
import json
import sys
import tempfile
from collections.abc import Callable
from fractions import Fraction
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from srzoo.architecture import Architecture, Fitted, SRModel
from srzoo.resize import imresize
from srzoo.upscaling.tiling import run_tiled
from srzoo.weights import load_strictly, read_header, read_tensors, save_model

TOY_ARGUMENTS = {"width": 8, "num_blocks": 2, "num_groups": 1, "expand": 1, "num_heads": 2, "num_atoms": 16}
"""House words for a model's size, and what they are set to where a check needs a small model."""


class ContractError(AssertionError):
    """A model breaks the contract; the message says which model, which promise, and how."""


def _require(condition: bool, problem: str) -> None:
    if not condition:
        raise ContractError(problem)


def _build(arch: Architecture, name: str, **toy: Any) -> SRModel:
    """The named model, with those `toy` arguments it knows."""
    known = inspect.signature(arch.model).parameters
    torch.manual_seed(0)
    model = arch.model(**{**arch.model_names()[name], **{k: v for k, v in toy.items() if k in known}})
    model.name = name
    return model.eval()


def _toy(arch: Architecture, name: str) -> SRModel:
    return _build(arch, name, **TOY_ARGUMENTS)


def _image(model: SRModel, height: int, width: int, batch: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(height * 1000 + width)
    return torch.rand(batch, model.channels, height, width, generator=generator)


def check_record(arch: Architecture) -> None:
    """The record and the file are complete: title, paper, docstring, names that start with the family."""
    _require(bool(arch.title) and bool(arch.variants) and bool(arch.scales), "title, variants or scales are empty")
    _require(arch.paper.startswith("http"), f"paper is {arch.paper!r}; give its address")
    module = sys.modules.get(arch.model.__module__)
    told = ((module and module.__doc__) or "") + (arch.model.__doc__ or "")
    _require("Paper:" in told, "neither module nor class docstring names the paper (`Paper: ...`)")
    _require(bool(arch.model.__doc__), f"class {arch.model.__name__} has no docstring")
    kinds = {p.kind for p in inspect.signature(arch.model).parameters.values()}
    _require(
        kinds <= {inspect.Parameter.KEYWORD_ONLY},
        "constructor arguments must be keyword-only, without **kwargs",
    )
    for name in arch.model_names():
        _require(name.startswith(arch.family), f"name {name} does not start with the family")
    if arch.fit is not None:
        settings = arch.fit.settings
        bare = [
            one.name
            for one in (dataclasses.fields(settings) if dataclasses.is_dataclass(settings) else ())
            if one.default is dataclasses.MISSING
        ]
        _require(
            dataclasses.is_dataclass(settings) and not bare,
            f"fit.settings is {settings.__name__}; give a dataclass whose fields all have plain defaults",
        )
    for row in arch.weights:
        _require(row.model in arch.model_names(), f"weights {row.model}.{row.tag} are for no model of the family")
        _require(
            len(row.sha256) == 64 and bool(row.license and row.source),
            f"weights {row.model}.{row.tag} lack sha256, licence or source",
        )
        _require(bool(row.metrics), f"weights {row.model}.{row.tag} have no measured metrics")


def check_scales(arch: Architecture, name: str) -> None:
    """The full model builds on the meta device and gives scale times the input, for each scale it offers."""
    with torch.device("meta"):
        model = _build(arch, name)
        _require(bool(model.scales) and model.channels >= 1, "scales or channels is not set")
        for scale in model.scales:
            out = model(torch.empty(2, model.channels, 6, 5), scale)
            expected = (2, model.channels, 6 * scale, 5 * scale)
            _require(tuple(out.shape) == expected, f"output at x{scale} is {tuple(out.shape)}, not {expected}")
        other = max(model.scales) + 1
        for run in (model.check_scale, lambda scale: model(torch.empty(1, model.channels, 4, 4), scale), model.halo):
            with contextlib.suppress(ValueError):
                run(other)
                raise ContractError(f"scale {other}, which is not offered, is accepted")


def check_arguments(arch: Architecture, name: str) -> None:
    """The constructor arguments are plain JSON values: a weight file's header can hold them and build the model."""
    kwargs = arch.model_names()[name]
    with torch.device("meta"):
        model, again = arch.model(**kwargs), arch.model(**json.loads(json.dumps(kwargs)))
    shapes, others = ({key: value.shape for key, value in m.state_dict().items()} for m in (model, again))
    _require(shapes == others and model.scales == again.scales, "arguments that went through JSON build another model")


def check_default_scale(arch: Architecture, name: str) -> None:
    """A single-scale model needs no scale; a multi-scale one asks for it."""
    model = _toy(arch, name)
    x = _image(model, 6, 5)
    if len(model.scales) == 1:
        _require(torch.equal(model(x), model(x, model.scales[0])), "leaving the scale out changes the output")
        return
    try:
        model(x)
    except ValueError:
        return
    raise ContractError("a multi-scale model runs without being told a scale")


def check_odd_sizes(arch: Architecture, name: str) -> None:
    """Any height and width of 1 or more."""
    model = _toy(arch, name)
    for scale in model.scales:
        for height, width in ((1, 1), (1, 7), (5, 1), (3, 2), (7, 9)):
            out = model(_image(model, height, width), scale)
            found, expected = tuple(out.shape[-2:]), (height * scale, width * scale)
            _require(found == expected, f"{height}x{width} at x{scale} gives {found}, not {expected}")
            _require(bool(out.isfinite().all()), f"{height}x{width} at x{scale} gives non-finite values")


def check_input_untouched(arch: Architecture, name: str) -> None:
    """The input is not written to, in eval or in training mode."""
    model = _toy(arch, name)
    for mode, scale in product((False, True), model.scales):
        model.train(mode)
        x = _image(model, 6, 7)
        before = x.clone()
        model(x, scale)
        _require(torch.equal(x, before), f"forward writes to its input at x{scale}")


def check_deterministic(arch: Architecture, name: str) -> None:
    """The same input gives the same output in eval mode."""
    model = _toy(arch, name)
    x = _image(model, 6, 7)
    for scale in model.scales:
        _require(torch.equal(model(x, scale), model(x, scale)), f"two runs in eval mode differ at x{scale}")


def check_batch_independent(arch: Architecture, name: str) -> None:
    """An image's output does not depend on its neighbours in the batch."""
    model = _toy(arch, name).double()
    x = _image(model, 8, 6, batch=3).double()
    x[1] *= 3  # a neighbour unlike the others
    for scale in model.scales:
        together, alone = model(x, scale)[:1], model(x[:1], scale)
        _require(
            torch.allclose(together, alone, rtol=0, atol=1e-9),
            f"images of a batch influence each other at x{scale}",
        )


def check_gradients(arch: Architecture, name: str) -> None:
    """Every parameter that is meant to be trained gets a gradient, over all scales."""
    model = _toy(arch, name).train()
    x = _image(model, 8, 6, batch=2)
    total = torch.stack([model(x, scale).square().mean() for scale in model.scales]).sum()
    if any(p.requires_grad for p in model.parameters()):
        total.backward()
    dead = [key for key, p in model.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())]
    _require(not dead, f"no gradient reaches {', '.join(dead)}")


def check_reload(arch: Architecture, name: str) -> None:
    """Saved, read and strictly loaded into a fresh model, it gives the same bits; the header comes back whole."""
    model = _toy(arch, name)
    with torch.no_grad():
        for parameter in model.parameters():  # as training would, so that nothing is as the constructor leaves it
            parameter.mul_(0.9).add_(0.01)
        for key, buffer in model.named_buffers():
            if key in model.state_dict() and buffer.is_floating_point():
                buffer.mul_(0.9).add_(0.01)
    x = _image(model, 6, 7)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        written = save_model(model, path)
        header = read_header(path)
        fresh = _toy(arch, name)
        load_strictly(fresh, read_tensors(path, header), "the saved file")
    _require(header == written and header.model == name, "the header does not come back as it was written")
    for scale in model.scales:
        same = torch.equal(fresh(x, scale), model(x, scale))
        _require(same, f"a reloaded model gives another output at x{scale}; is part of it not in the state dict?")


@torch.no_grad()
def _make_positive(model: nn.Module) -> None:
    """Weights positive and even, biases zero, gains one: every path then carries a positive gradient to the edge."""
    for key, parameter in model.named_parameters():
        if key.rpartition(".")[2] == "bias":
            parameter.zero_()
        else:
            parameter.fill_(1 if parameter.ndim < 2 else 1 / parameter[0].numel())


def receptive_field(model: SRModel, scale: int) -> int:
    """Receptive-field radius in LR pixels, measured: how far the gradient of one LR pixel's output reaches.

    In float64 with even positive weights: random ones fade below rounding before the true edge.
    """
    claim = model.halo(scale)
    side = 2 * (claim + 2) + 1
    center = side // 2
    model = copy.deepcopy(model).double().eval()
    x = torch.ones(1, model.channels, side, side, dtype=torch.float64, requires_grad=True)
    cell = slice(center * scale, (center + 1) * scale)
    _make_positive(model)
    gradient = torch.autograd.grad(model(x, scale)[..., cell, cell].sum(), x)[0]
    reached = gradient[0].abs().sum(0).nonzero()
    _require(len(reached) > 0, f"no input pixel reaches the output at x{scale}")
    return int((reached - center).abs().max())


def check_halo(arch: Architecture, name: str) -> None:
    """The claimed halo is the receptive field's radius, at full depth and each scale."""
    model = _build(arch, name, width=2)
    for scale in model.scales:
        claim, found = model.halo(scale), receptive_field(model, scale)
        _require(found == claim, f"halo at x{scale} is {claim}, but outputs depend on pixels up to {found} away")


def check_tiles(arch: Architecture, name: str) -> None:
    """Tiles with the claimed halo equal the whole image."""
    model = _toy(arch, name).double()
    for scale in model.scales:
        side = model.halo(scale) + 6
        x = _image(model, side, side + 5).double()
        whole = model(x, scale)
        tiled = run_tiled(lambda t, s=scale: model(t, s), x, scale=scale, tile=7, halo=model.halo(scale))
        error = (whole - tiled).abs().max().item()
        _require(
            error < 1e-9 * max(1.0, whole.abs().max().item()),
            f"tiles at x{scale} differ from the whole by {error:.2e}",
        )


def check_half_precision(arch: Architecture, name: str) -> None:
    """bf16 and fp16 give finite values close to fp32's, in their own dtype."""
    reference = _toy(arch, name)
    x = _image(reference, 9, 8)
    for scale, (dtype, share) in product(reference.scales, ((torch.bfloat16, 0.05), (torch.float16, 0.01))):
        expected = reference(x, scale)
        span = expected.abs().max().item()
        out = copy.deepcopy(reference).to(dtype)(x.to(dtype), scale)
        _require(out.dtype == dtype, f"a {dtype} model gives {out.dtype}")
        _require(bool(out.isfinite().all()), f"{dtype} gives non-finite values at x{scale}")
        error = (out.float() - expected).abs().max().item()
        told = f"{dtype} is {error:.3f} away from fp32 at x{scale}, where values reach {span:.3f}"
        _require(error <= share * span, told)


def check_export(arch: Architecture, name: str) -> None:
    """`torch.export` with dynamic height and width (2 or more) gives a program that is right at another size."""
    model = _toy(arch, name)
    height, width = torch.export.Dim("height", min=2, max=4096), torch.export.Dim("width", min=2, max=4096)
    shapes = {"lr": {2: height, 3: width}, "scale": None}
    for scale in model.scales:
        example = (_image(model, 12, 10), scale)
        program = torch.export.export(model, example, dynamic_shapes=shapes, strict=False)
        x = _image(model, 9, 17)
        same = torch.allclose(program.module()(x, scale), model(x, scale), atol=1e-4)
        _require(same, f"the exported program differs at another size at x{scale}")


def check_compile(arch: Architecture, name: str, backend: str = "eager") -> None:
    """`torch.compile(fullgraph=True)` takes the whole forward in one graph and gives the same output."""
    model = _toy(arch, name)
    for scale in model.scales:
        torch.compiler.reset()
        x = _image(model, 8, 7)
        compiled: Callable[..., Tensor] = torch.compile(model, fullgraph=True, backend=backend)
        same = torch.allclose(compiled(x, scale), model(x, scale), atol=1e-4)
        _require(same, f"the compiled model gives another output at x{scale}")


def check_fit(arch: Architecture, name: str) -> None:
    """A fit gives tensors that load strictly and facts that are plain values, the same twice, and leaves its model."""
    if arch.fit is None:
        return
    model = _toy(arch, name)
    before = copy.deepcopy(model.state_dict())
    first, again = _fit(arch, model), _fit(arch, model)
    state = model.state_dict()
    same = before.keys() == state.keys() and all(torch.equal(value, before[key]) for key, value in state.items())
    _require(same, "the fit changes the model it is given")
    for what, values in (("arguments", first.arguments), ("told", first.told)):
        try:
            plain = json.loads(json.dumps(dict(values), allow_nan=False)) == dict(values)
        except (TypeError, ValueError):
            plain = False
        _require(plain, f"{what} of what the fit gives are no plain JSON values")
    fitted = _build(arch, name, **{**TOY_ARGUMENTS, **first.arguments})
    load_strictly(fitted, first.tensors, "what the fit gives")
    _require(bool(all(x.isfinite().all() for x in first.tensors.values())), "the fit gives values that are not finite")
    same = first.arguments == again.arguments and first.tensors.keys() == again.tensors.keys()
    same = same and all(torch.equal(value, again.tensors[key]) for key, value in first.tensors.items())
    _require(same, "two fits with the same draws and settings differ")


def _fit(arch: Architecture, model: SRModel) -> Fitted:
    """A fit with the record's toy settings, on patches that are the same at each call."""
    assert arch.fit is not None
    [scale] = model.scales
    generator = torch.Generator().manual_seed(0)

    def draw(num: int, side: int) -> tuple[Tensor, Tensor]:
        hr = torch.rand(num, model.channels, side * scale, side * scale, generator=generator)
        return imresize(hr, scale=Fraction(1, scale)).clamp(0, 1), hr

    return arch.fit.run(model, draw, arch.fit.settings(**arch.fit.toy), lambda done, total, what: None)


MODEL_CHECKS: tuple[Callable[[Architecture, str], None], ...] = (
    check_arguments,
    check_scales,
    check_odd_sizes,
    check_input_untouched,
    check_deterministic,
    check_default_scale,
    check_batch_independent,
    check_gradients,
    check_reload,
    check_halo,
    check_tiles,
    check_half_precision,
    check_export,
    check_compile,
    check_fit,
)
"""What is checked of every model name."""


def check_architecture(arch: Architecture, *, slow: bool = False) -> None:
    """See that a family keeps the contract: every model name, every promise, no exclusions.

    Args:
        arch: The record a model file ends with.
        slow: Also compile the smallest model with inductor, which takes about a minute.

    Raises:
        ContractError: Naming the model, the check and the trouble.

    Examples:
        ```python
        def test_the_contract():
            check_architecture(ARCH)
        ```
    """
    _named("record", arch.family, lambda: check_record(arch))
    for name in arch.model_names():
        for check in MODEL_CHECKS:
            _named(check.__name__, name, lambda check=check, name=name: check(arch, name))
    if slow:
        name = next(iter(arch.model_names()))
        _named("check_compile with inductor", name, lambda: check_compile(arch, name, backend="inductor"))


def _named(check: str, name: str, run: Callable[[], None]) -> None:
    """Run a check; any trouble, also one the model raises, comes out as a ContractError with its name."""
    try:
        run()
    except Exception as error:
        reason = str(error) if isinstance(error, ContractError) else f"{type(error).__name__}: {error}"
        raise ContractError(f"{name}: {check}: {reason}") from error
