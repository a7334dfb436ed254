"""Start a model from another one's weights."""

from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class WarmStart:
    """What was copied into a model and what keeps its random start."""

    copied: tuple[str, ...]
    fresh: tuple[str, ...]


@torch.no_grad()
def warm_start(model: nn.Module, source: nn.Module) -> WarmStart:
    """Copy each tensor of `source` that has the same name and shape in `model`.

    This is how the paper starts x3 and x4 from x2 (section 3.2, figure 4): head, body and tail carry over; of
    the upsampler, what has the same shape (x4's first stage; nothing of x3's).

    Args:
        model: Filled in place.
        source: A trained model of the same family.

    Raises:
        ValueError: If nothing fits.

    Examples:
        >>> import srzoo
        >>> small = dict(width=8, num_blocks=1)
        >>> x2, x3 = (srzoo.create_model(f"edsr_baseline_x{s}", **small) for s in (2, 3))
        >>> warm_start(x3, x2).fresh
        ('upsample.0.bias', 'upsample.0.weight')
    """
    own, theirs = model.state_dict(), source.state_dict()
    fits = [key for key in own if key in theirs and own[key].shape == theirs[key].shape]
    if not fits:
        raise ValueError(
            f"nothing of {type(source).__name__} fits {type(model).__name__}; start from a model of its family"
        )
    for key in fits:
        own[key].copy_(theirs[key])
    return WarmStart(tuple(sorted(fits)), tuple(sorted(own.keys() - set(fits))))
