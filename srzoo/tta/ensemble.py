"""A model averaged over test-time operations."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from srzoo.architecture import SRModel
from srzoo.tta.ops import Op, dihedral


class SelfEnsemble(SRModel):
    """Mean of the undone outputs over all ops: EDSR+ and MDSR+ (section 3.5).

    The mean is a running one, so two outputs are in memory, not eight. It commutes with every op when the ops
    form a group, as `flips()` and `dihedral()` do; height and width may differ.

    Args:
        model: The model to wrap.
        ops: What to average over.

    Raises:
        ValueError: If `ops` is empty.

    Examples:
        >>> import torch, srzoo
        >>> model = SelfEnsemble(srzoo.create_model("bicubic_x2"))
        >>> model(torch.rand(1, 3, 4, 6)).shape
        torch.Size([1, 3, 8, 12])
    """

    def __init__(self, model: SRModel, ops: Sequence[Op] | None = None) -> None:
        super().__init__()
        self.ops = dihedral() if ops is None else tuple(ops)
        if not self.ops:
            raise ValueError("ops is empty; give at least one")
        self.model = model
        self.scales, self.channels, self.size_multiple = model.scales, model.channels, model.size_multiple
        self.train(model.training)

    def halo(self, scale: int | None = None) -> int:
        """The model's: every op maps a square neighbourhood to itself."""
        return self.model.halo(scale)

    def forward(self, lr: Float[Tensor, "b c h w"], scale: int | None = None) -> Float[Tensor, "b c H W"]:
        """Upscale `lr` once for each op and average; the output is not clamped."""
        mean = None
        for count, op in enumerate(self.ops, start=1):
            sr = op.undo(self.model(op.do(lr), scale))
            mean = sr if mean is None else mean + (sr - mean) / count
        assert mean is not None
        return mean
