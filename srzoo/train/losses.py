"""Losses between SR and HR, in [0, 1]."""

from jaxtyping import Float
from torch import Tensor


def l1_loss(sr: Float[Tensor, "b c h w"], hr: Float[Tensor, "b c h w"]) -> Float[Tensor, ""]:
    """Mean absolute difference: what EDSR trains with (section 5.2; better than L2, table 2).

    Examples:
        >>> import torch
        >>> l1_loss(torch.ones(1, 3, 2, 2), torch.zeros(1, 3, 2, 2)).item()
        1.0
    """
    return (sr - hr).abs().mean()
