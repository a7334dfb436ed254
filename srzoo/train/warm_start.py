"""Start a model from other models' weights."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from srzoo.blocks import MeanShift
from srzoo.color import GREY_WEIGHTS

BRANCHES = ".branches."
"""How `srzoo.blocks.ScaleHeads` names its parts: `upsample.branches.x2.0.weight`."""


@dataclass(frozen=True)
class WarmStart:
    """Names of the tensors of a model that has been started from others."""

    copied: tuple[str, ...]
    """Taken as they are."""
    fresh: tuple[str, ...]
    """As they were: their random start."""
    adapted: tuple[str, ...] = ()
    """Taken from a model for another number of image channels, and changed to fit."""


def _only_scale(model: nn.Module) -> int | None:
    scales = getattr(model, "scales", None)
    return scales[0] if isinstance(scales, (tuple, list)) and len(scales) == 1 else None


def _renamed(model: nn.Module, source: nn.Module) -> dict[str, Tensor]:
    """The source's tensors, also by the names they have in `model` where one of the two has a branch a scale."""
    tensors = dict(source.state_dict())
    parts = {key.split(BRANCHES)[0] for key in model.state_dict() if BRANCHES in key}
    for key, held in list(tensors.items()):
        name, branch, below = key.partition(BRANCHES)
        scale, _, rest = below.partition(".")
        if branch and name not in parts and scale == f"x{_only_scale(model)}":
            tensors[f"{name}.{rest}"] = held
        for part in parts:
            if not branch and key.startswith(f"{part}.") and _only_scale(source) is not None:
                tensors[f"{part}{BRANCHES}x{_only_scale(source)}.{key.removeprefix(f'{part}.')}"] = held
    return tensors


def _mixing(to: int, of: int) -> Tensor | None:
    """How an image of `of` channels becomes one of `to`: a matrix, to x of; None where srzoo does not know."""
    if min(to, of) < 1 or 2 in (to, of):
        return None
    if of == 1:
        return torch.ones(to, 1, dtype=torch.float64)
    luma = torch.zeros(1, of, dtype=torch.float64)
    luma[0, :3] = torch.tensor(GREY_WEIGHTS, dtype=torch.float64)
    if to == 1:
        return luma
    same = torch.eye(to, of, dtype=torch.float64)
    same[of:] = luma
    return same


def _mean(model: nn.Module, channels: int) -> Tensor:
    """What the model takes off its images, in units of its features; zeros if it has no mean shift."""
    shifts = [module for module in model.modules() if isinstance(module, MeanShift)]
    if len(shifts) != 1:
        return torch.zeros(channels, dtype=torch.float64)
    return shifts[0].mean.detach().cpu().double().flatten() * 255


def _mixed(weight: Tensor, mixing: Tensor, dim: int) -> Tensor:
    """`weight` with `mixing` (new x old channels) applied to a dimension of channels times anything."""
    split = weight.cpu().double().unflatten(dim, (mixing.shape[1], -1))
    return torch.einsum("no,o...->n...", mixing, split.movedim(dim, 0)).movedim(0, dim).flatten(dim, dim + 1)


def adapt_channels(model: nn.Module, source: nn.Module) -> dict[str, Tensor]:
    """The first and last convolutions of `source`, changed to the number of image channels of `model`.

    The adapted network does what the source would do between two conversions of the image: from the model's channels
    to the source's, and back. Grey from three or more is the luma of BT.601 of the first three; any number from
    grey is grey repeated; of RGB and RGB with further channels, the common ones stay, and each further one is the
    luma. So a grey model from RGB weights gives the luma of what the RGB model gives for the grey image repeated; a
    model of four channels from RGB weights gives the RGB model's image, whatever is in its fourth channel, and
    its luma. (timm repeats RGB over all inputs instead, which suits a class, but changes an image.)

    Where the models have a `MeanShift`, the difference of their means goes into the biases. That is exact but for the
    zeros with which the first convolution pads the image. A grey `edsr_baseline_x2` from the weights `photos` differs
    by up to 1.5 of 255 levels at the very border, by 0.02 from 8 LR pixels on, and not at all from the receptive
    field on.

    Args:
        model: With another number of `channels` than `source`; its tensors are not changed.
        source: A trained model of the same family.

    Returns:
        Tensors by their names in `model` (float64, on the CPU); nothing if the channels are equal or unknown, or
        one of the models has two.

    Examples:
        >>> import srzoo
        >>> grey, rgb = (srzoo.create_model("edsr_baseline_x2", width=8, num_blocks=1, channels=c) for c in (1, 3))
        >>> {name: tuple(value.shape) for name, value in adapt_channels(grey, rgb).items()}
        {'head.weight': (8, 1, 3, 3), 'head.bias': (8,), 'tail.weight': (1, 8, 3, 3), 'tail.bias': (1,)}
    """
    new, old = getattr(model, "channels", None), getattr(source, "channels", None)
    if not isinstance(new, int) or not isinstance(old, int) or new == old:
        return {}
    to_source, to_model = _mixing(old, new), _mixing(new, old)
    if to_source is None or to_model is None:
        return {}
    own, theirs = model.state_dict(), _renamed(model, source)
    new_mean, old_mean = _mean(model, new), _mean(source, old)
    adapted: dict[str, Tensor] = {}
    for key in own:
        name = key.removesuffix(".weight")
        if name == key or key not in theirs:
            continue
        layer = model.get_submodule(name)
        if not isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)) or layer.groups != 1:
            continue
        weight, bias = theirs[key], theirs.get(f"{name}.bias")
        out = 1 if isinstance(layer, nn.ConvTranspose2d) else 0
        shape, their_shape = own[key].shape, weight.shape
        if out == 0 and _grows(shape, their_shape, 1, new, old):
            adapted[key] = _mixed(weight, to_source.T, 1)
            # what the source would see of the model's mean: a constant, but for the zero padding
            seen = (to_source @ new_mean - old_mean).repeat_interleave(their_shape[1] // old)
            offset = torch.einsum("oihw,i->o", weight.cpu().double(), seen)
            if bias is not None:
                adapted[f"{name}.bias"] = bias.cpu().double() + offset
        elif _grows(shape, their_shape, out, new, old):
            adapted[key] = _mixed(weight, to_model, out)
            if bias is not None:
                offset = (to_model @ old_mean - new_mean).repeat_interleave(their_shape[out] // old)
                adapted[f"{name}.bias"] = _mixed(bias, to_model, 0) + offset
    return {key: value for key, value in adapted.items() if key in own}


def _grows(shape: torch.Size, theirs: torch.Size, dim: int, new: int, old: int) -> bool:
    """Whether two weights differ in one dimension alone, as the image channels do."""
    others = [a == b for i, (a, b) in enumerate(zip(shape, theirs, strict=False)) if i != dim]
    return (
        len(shape) == len(theirs) and all(others) and theirs[dim] % old == 0 and theirs[dim] // old * new == shape[dim]
    )


@torch.no_grad()
def warm_start(model: nn.Module, source: nn.Module, *more: nn.Module) -> WarmStart:
    """Copy each tensor of `source` that has the same name and shape in `model`; a bias only with its weight.

    This is how the paper starts x3 and x4 from x2 (section 3.2, figure 4): head, body and tail carry over; of
    the upsampler, what has the same shape (x4's first stage; nothing of x3's). Two kinds of names are translated:

    - MDSR from EDSR: `upsample.*` of a source of one scale goes to `upsample.branches.x{scale}.*`, and EDSR from
      MDSR: the branch of the model's scale goes to `upsample.*`. The same holds for every part that is a
      `srzoo.blocks.ScaleHeads` in one of the two.
    - Other image channels: the first and last convolution are fitted by `adapt_channels`.

    Of sources of another depth, what has an equal name is taken: the blocks there are in both. The convolution that
    ends EDSR's body has the number of blocks in its name (`body.16`), so it stays fresh.

    Args:
        model: Filled in place.
        source: A trained model.
        more: Further ones, for what the sources before them do not have: the first that has a tensor gives it.

    Raises:
        ValueError: If nothing of one of the sources fits.

    Examples:
        >>> import srzoo
        >>> small = dict(width=8, num_blocks=1)
        >>> x2, x3 = (srzoo.create_model(f"edsr_baseline_x{s}", **small) for s in (2, 3))
        >>> warm_start(x3, x2).fresh
        ('upsample.0.bias', 'upsample.0.weight')
    """
    own = model.state_dict()
    taken: dict[str, Tensor] = {}
    adapted: set[str] = set()
    for each in (source, *more):
        theirs = _renamed(model, each)
        fits = {key: theirs[key] for key in own if key in theirs and own[key].shape == theirs[key].shape}
        changed = adapt_channels(model, each)
        fits |= changed
        for bias in [key for key in fits if key.endswith(".bias")]:
            weight = f"{bias.removesuffix('.bias')}.weight"
            if weight in own and weight not in fits:
                del fits[bias]
        if not fits:
            raise ValueError(
                f"nothing of {type(each).__name__} fits {type(model).__name__}; start from a model of its family"
            )
        adapted |= changed.keys() - taken.keys()
        taken = {**fits, **taken}
    for key, value in taken.items():
        own[key].copy_(value)
    copied, fresh = taken.keys() - adapted, own.keys() - taken.keys()
    return WarmStart(tuple(sorted(copied)), tuple(sorted(fresh)), tuple(sorted(adapted)))
