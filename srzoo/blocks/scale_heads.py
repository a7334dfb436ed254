"""One branch for each scale."""

from collections.abc import Callable, Sequence

from torch import Tensor, nn


class ScaleHeads(nn.Module):
    """A module for each scale, of which only the chosen one runs: MDSR's scale-specific parts (section 3.4).

    Args:
        scales: The scales, each one once.
        make: Builds the branch of a scale.

    Raises:
        ValueError: If `scales` is empty or names one twice.

    Examples:
        >>> import torch
        >>> from srzoo.blocks import SubPixelUpsampler
        >>> heads = ScaleHeads((2, 3), lambda scale: SubPixelUpsampler(scale, 8))
        >>> heads(torch.rand(1, 8, 5, 7), scale=3).shape
        torch.Size([1, 8, 15, 21])
    """

    def __init__(self, scales: Sequence[int], make: Callable[[int], nn.Module]) -> None:
        super().__init__()
        if not scales or len(set(scales)) != len(scales):
            raise ValueError(f"scales is {tuple(scales)}; give at least one, each once")
        self.branches = nn.ModuleDict({f"x{scale}": make(scale) for scale in scales})

    @property
    def scales(self) -> tuple[int, ...]:
        """The scales there are branches for."""
        return tuple(int(key.removeprefix("x")) for key in self.branches)

    def branch(self, scale: int) -> nn.Module:
        """The module of one scale.

        Raises:
            ValueError: If there is none.
        """
        if scale not in self.scales:
            raise ValueError(f"scale {scale} has no branch; there are {', '.join(map(str, self.scales))}")
        return self.branches[f"x{scale}"]

    def forward(self, x: Tensor, scale: int) -> Tensor:
        """`x` through the branch of `scale`; the others do not run."""
        return self.branch(scale)(x)
