"""A model averaged over test-time operations."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from srzoo.architecture import SRModel
from srzoo.tta.merges import MeanAndSpread, MergeName, make_merge
from srzoo.tta.ops import Op, OpGroup, dihedral


class SelfEnsemble(SRModel):
    """Mean or median of the undone outputs over all ops: EDSR+ and MDSR+ are the mean over eight (section 3.5).

    Outputs are merged as they come: beside the output that is being made the mean holds one, not eight; the median
    holds up to half of them and one. The ensemble commutes with every op when the ops form a group, as `flips()` and
    `dihedral()` do; height and width may differ. Half-precision outputs are averaged in float32.

    Args:
        model: The model to wrap.
        ops: What to average over; None takes `dihedral()`. Any sequence of ops; each counts once for each time it is
            in it.
        merge: "mean" or "median".

    Raises:
        ValueError: If `ops` is empty or `merge` is not one of the two.

    Examples:
        >>> import torch, srzoo
        >>> model = SelfEnsemble(srzoo.create_model("bicubic_x2"))
        >>> model(torch.rand(1, 3, 4, 6)).shape
        torch.Size([1, 3, 8, 12])
    """

    def __init__(self, model: SRModel, ops: Sequence[Op] | None = None, merge: MergeName = "mean") -> None:
        super().__init__()
        self.ops = dihedral() if ops is None else OpGroup(ops)
        if not self.ops:
            raise ValueError("ops is empty; give at least one")
        make_merge(merge, len(self.ops))
        self.merge: MergeName = merge
        self.model = model
        self.scales, self.channels, self.size_multiple = model.scales, model.channels, model.size_multiple
        self.train(model.training)

    def halo(self, scale: int | None = None) -> int:
        """The model's: every op maps a square neighbourhood to itself."""
        return self.model.halo(scale)

    def forward(self, lr: Float[Tensor, "b c h w"], scale: int | None = None) -> Float[Tensor, "b c H W"]:
        """Upscale `lr` once for each op and merge; the output is not clamped.

        Raises:
            ValueError: If the model does not offer the scale, or an op does not give back the image's shape.
        """
        merge = make_merge(self.merge, len(self.ops))
        for op in self.ops:
            merge.add(self._run(op, lr, scale))  # without a name, which would hold it through the next run
        return merge.result()

    def with_spread(
        self, lr: Float[Tensor, "b c h w"], scale: int | None = None
    ) -> tuple[Float[Tensor, "b c H W"], Float[Tensor, "b 1 H W"]]:
        """What `forward` gives, and how far the runs lie apart, from the same runs.

        The spread of a pixel is the standard deviation over the ops (their number is the divisor), mean of the
        channels, in units of the image's range [0, 1], whichever merge is used; zero for one op. One output more is
        held for it; with the median two. `spread_to_image` draws it. It is large where the network is unsure, at
        fine texture and edges; it is not an error bar: what all runs get wrong alike does not show.

        Raises:
            ValueError: As `forward`.
        """
        both = make_merge(self.merge, len(self.ops), spread=True)
        assert isinstance(both, MeanAndSpread)
        for op in self.ops:
            both.add(self._run(op, lr, scale))
        return both.result(), both.spread()

    def _run(self, op: Op, lr: Tensor, scale: int | None) -> Tensor:
        """The undone output of one op."""
        sr = op.undo(self.model(op.do(lr), scale))
        factor = self.model.check_scale(scale)
        height, width = lr.shape[-2] * factor, lr.shape[-1] * factor
        if sr.shape[-2:] != (height, width):
            raise ValueError(
                f"op {op.name!r} gives {sr.shape[-1]}x{sr.shape[-2]} pixels where {width}x{height} are due; "
                "its undo must turn back what its do turned"
            )
        return sr
