"""Make a trained network deeper without changing what it does."""

import copy
from typing import Any, Literal, get_args

import torch
from torch import nn

from srzoo.architecture import SRModel
from srzoo.blocks import ResBlock
from srzoo.registry import architectures, create_model

Where = Literal["end", "spread"]
BODY = "body"
"""The part that grows: a `torch.nn.Sequential` of residual blocks and a last convolution, as EDSR and MDSR have."""


def grow(model: SRModel, num_blocks: int, *, where: Where = "end") -> SRModel:
    """A copy of an EDSR or MDSR with more residual blocks in its body, which gives exactly the same images.

    The second convolution of each new block is zero, so the block adds zeros to its input (EDSR, figure 2c): in float32
    the output is equal bit for bit. The first is random, as in a new network. So in the first step only the second
    one has a gradient; it leaves zero, and from the second step on both learn. The body's last convolution stays last.

    A model that may be called by another name is: `mdsr_baseline` with 80 blocks is `mdsr`. The copy has the origin of
    the model, so its weights keep their licence.

    Args:
        model: With blocks that are `srzoo.blocks.ResBlock`; it is not changed.
        num_blocks: Blocks of the copy, those of the model included.
        where: "end" puts the new blocks behind the old ones; "spread" evenly among them, each behind an old one.

    Raises:
        ValueError: If the model has no such body, or it has more blocks already, or `where` is another word.

    Examples:
        >>> import srzoo
        >>> shallow = srzoo.create_model("mdsr_baseline", width=8, num_blocks=2)
        >>> deep = grow(shallow, 5)
        >>> lr = torch.rand(1, 3, 8, 8)
        >>> len(deep.body), bool((deep(lr, scale=2) == shallow(lr, scale=2)).all())
        (6, True)
    """
    old = blocks_of(model)
    if old is None:
        raise ValueError(
            f"{model.name or type(model).__name__} has no body of residual blocks without batch norm, so it "
            "cannot grow; EDSR and MDSR can"
        )
    if num_blocks < len(old):
        raise ValueError(f"num_blocks is {num_blocks} and {model.name} has {len(old)}; give {len(old)} or more")
    if where not in get_args(Where):
        raise ValueError(f"where is {where!r}; new blocks go to {' or '.join(get_args(Where))}")
    grown = copy.deepcopy(model)
    body = getattr(grown, BODY)
    blocks, tail = list(body)[: len(old)], list(body)[len(old) :]
    for i in _places(len(old), num_blocks, where):
        blocks.insert(i, _idle(blocks[0]))
    setattr(grown, BODY, nn.Sequential(*blocks, *tail))
    grown.num_blocks = num_blocks  # pyright: ignore[reportArgumentType] - halo() counts with it
    if "num_blocks" in grown.arguments:
        grown.arguments = {**grown.arguments, "num_blocks": num_blocks}
        grown.name = _name_of(grown)
    return grown.train(model.training)


def grow_to(model: SRModel, source: SRModel) -> SRModel:
    """The source, grown to the depth of the model, so that `srzoo.train.warm_start` copies the whole body.

    It is the source itself where the model is not deeper, or their blocks are of different kinds or sizes.

    Examples:
        >>> import srzoo
        >>> deep, shallow = (srzoo.create_model("mdsr", width=8, num_blocks=n) for n in (5, 2))
        >>> num_blocks_of(grow_to(deep, shallow)), grow_to(shallow, deep) is deep
        (5, True)
    """
    wanted, there = blocks_of(model), blocks_of(source)
    if wanted is None or there is None or len(wanted) <= len(there):
        return source
    shapes = [{key: value.shape for key, value in some[0].state_dict().items()} for some in (wanted, there)]
    if shapes[0] != shapes[1] or wanted[0].res_scale != there[0].res_scale:
        return source
    return grow(source, len(wanted))


def blocks_of(model: nn.Module) -> list[ResBlock] | None:
    """The residual blocks of a body that `grow` can make longer, in order; None if there is no such body."""
    body = getattr(model, BODY, None)
    if not isinstance(body, nn.Sequential):
        return None
    blocks = [part for part in body if isinstance(part, ResBlock)]
    in_front = all(isinstance(part, ResBlock) for part in list(body)[: len(blocks)])
    counted = getattr(model, "num_blocks", None) == len(blocks)
    return blocks if blocks and in_front and counted else None


def num_blocks_of(model: nn.Module) -> int:
    """How many residual blocks there are in the body; 0 if it is none that can grow."""
    return len(blocks_of(model) or ())


def _places(old: int, new: int, where: Where) -> list[int]:
    """Where to insert each new block, one after the other, so that all end up in their places."""
    if where == "end":
        return list(range(old, new))
    places, added = [], 0
    for i in range(1, old + 1):
        upto = i * (new - old) // old
        places += [i + j for j in range(added, upto)]
        added = upto
    return places


def _idle(like: ResBlock) -> ResBlock:
    """A block of that kind, on its device, that adds zeros: random first convolution, zero second one."""
    block = copy.deepcopy(like)
    block.conv1.reset_parameters()
    for tensor in block.conv2.parameters():
        nn.init.zeros_(tensor)
    return block


def _name_of(model: SRModel) -> str:
    """The registered name that stands for exactly the arguments of a model; the name it has if there is none."""
    family = next((arch for arch in architectures().values() if model.name in arch.model_names()), None)
    for name in family.model_names() if family else ():
        with torch.device("meta"):
            if _told(create_model(name)) == _told(model):
                return name
    return model.name


def _told(model: SRModel) -> dict[str, Any]:
    """The arguments of a model, of which those from a file hold lists for tuples."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in model.arguments.items()}
