"""Start SRResNet from a trained EDSR: the same function in other layers."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from srzoo.architecture import SRModel
from srzoo.models.edsr import EDSR
from srzoo.models.srresnet import ARCH, RANGE, SRResNet


@torch.no_grad()
def srresnet_from_edsr(source: SRModel, batches: Iterable[Float[Tensor, "b c h w"]]) -> SRResNet:
    """An SRResNet, with batch norm, that gives what an EDSR gives.

    Each layer of EDSR has a place in SRResNet. Kernels of 3x3 lie in the middle of zeros in those of 9x9; slopes of
    PReLU are 0 where EDSR has a ReLU and 1 where it has nothing. Batch norm is set to undo itself: its moving
    averages are those of the convolution's output on the given images, and its gain and offset bring back what they
    take off. So the network equals EDSR in eval mode and is near it in training mode, where each batch has
    statistics of its own.

    Args:
        source: A trained EDSR, of 1, 3 or 4 channels. Its tensors are not changed.
        batches: LR images as they will be trained on, in [0, 1]: patches of the size and number of a step. The
            averages are means over the batches of each batch's mean and variance, as training keeps them.

    Returns:
        `srresnet_x{scale}` in eval mode, in the dtype and on the device of the source. It has the origin of the
        source, so its weights keep their licence.

    Raises:
        ValueError: If there are no batches, or they are not of the source's channels, or SRResNet has no model of its
            scale.
        TypeError: If the source is no EDSR.

    Examples:
        >>> import srzoo
        >>> edsr = srzoo.create_model("edsr_baseline_x2", width=8, num_blocks=1).eval()
        >>> model = srresnet_from_edsr(edsr, [torch.rand(4, 3, 16, 16)])
        >>> lr = torch.rand(1, 3, 9, 8)
        >>> torch.allclose(model(lr), edsr(lr), atol=1e-5)
        True
    """
    if not isinstance(source, EDSR):
        raise TypeError(f"a {type(source).__name__} was given; SRResNet is started from an EDSR")
    head = source.head.weight
    scale, width = source.scales[0], head.shape[0]
    if scale not in ARCH.scales:
        raise ValueError(f"the EDSR is for x{scale}; SRResNet is there for {', '.join(f'x{s}' for s in ARCH.scales)}")
    size: dict[str, Any] = dict(scale=scale, channels=source.channels, width=width, num_blocks=source.num_blocks)
    plain = SRResNet(**size, batch_norm=False).to(head)
    plain.load_state_dict({key: value.to(head) for key, value in _translated(source).items()})
    grown = SRResNet(**size).to(head)
    grown.load_state_dict(_normed(plain.eval(), batches))
    grown.name, grown.arguments = f"srresnet_x{scale}", {**size, "batch_norm": True}
    grown.origin = source.origin
    return grown.eval()


def _translated(source: EDSR) -> dict[str, Tensor]:
    """The tensors of an SRResNet without batch norm that does what the EDSR does, in float64 on the CPU."""
    theirs = {key: value.detach().cpu().double() for key, value in source.state_dict().items()}
    width, num_blocks = source.head.weight.shape[0], source.num_blocks
    ours: dict[str, Tensor] = {}

    def put(name: str, of: str, factor: float = 1.0, pad: int = 0) -> None:
        """A convolution whose input and output are smaller here, by RANGE."""
        ours[f"{name}.weight"] = F.pad(theirs[f"{of}.weight"], (pad,) * 4) * factor
        ours[f"{name}.bias"] = theirs[f"{of}.bias"] * factor / RANGE

    def put_slopes(name: str, slope: float) -> None:
        ours[f"{name}.weight"] = torch.full((width,), slope, dtype=torch.float64)

    put("head.0", "head", pad=3)
    put_slopes("head.1", 1.0)
    for i in range(num_blocks):
        put(f"body.{i}.conv1.conv", f"body.{i}.conv1")
        put_slopes(f"body.{i}.act", 0.0)
        put(f"body.{i}.conv2.conv", f"body.{i}.conv2", getattr(source.body[i], "res_scale", 1.0))
    put(f"body.{num_blocks}.conv", f"body.{num_blocks}")
    for stage in range(len(source.upsample) // 2):  # of convolution and shuffle; here a PReLU follows
        put(f"upsample.{3 * stage}", f"upsample.{2 * stage}")
        put_slopes(f"upsample.{3 * stage + 2}", 1.0)
    put("tail", "tail", pad=3)
    return ours


def _normed(plain: SRResNet, batches: Iterable[Tensor], eps: float = 1e-5) -> dict[str, Tensor]:
    """The tensors of an SRResNet with batch norm that does what the one without does."""
    tensors = dict(plain.state_dict())
    for name, (mean, var) in _statistics(plain, batches).items():
        bias = tensors.pop(f"{name}.conv.bias").double()
        like = tensors[f"{name}.conv.weight"]
        norm = {"weight": (var + eps).sqrt(), "bias": mean, "running_mean": mean - bias, "running_var": var}
        tensors |= {f"{name}.norm.{key}": value.to(like) for key, value in norm.items()}
    return tensors


def _statistics(plain: SRResNet, batches: Iterable[Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
    """For each convolution of the body the mean and variance of its output, a channel each, in float64.

    The network need not be run layer by layer: with batch norm set so, later layers see what they see now.
    """
    names = [name.removesuffix(".conv") for name, _ in plain.named_modules() if name.endswith(".conv")]
    sums: dict[str, list[Tensor]] = {}
    count = 0

    def watch(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def add(_: nn.Module, __: tuple[Tensor, ...], out: Tensor) -> None:
            var, mean = torch.var_mean(out.double(), (0, 2, 3))
            if name in sums:
                sums[name][0] += mean
                sums[name][1] += var
            else:
                sums[name] = [mean, var]

        return add

    hooks = [plain.get_submodule(f"{name}.conv").register_forward_hook(watch(name)) for name in names]
    try:
        for lr in batches:
            if lr.shape[1] != plain.channels:
                raise ValueError(f"images of {lr.shape[1]} channels were given; the model takes {plain.channels}")
            if lr.shape[0] * lr.shape[2] * lr.shape[3] < 2:
                raise ValueError("a batch has a single pixel, which has no variance; give larger images")
            plain(lr.to(plain.tail.weight))
            count += 1
    finally:
        for hook in hooks:
            hook.remove()
    if not count:
        raise ValueError("there are no images to measure batch norm's averages on; give some")
    return {name: (mean / count, var / count) for name, (mean, var) in sums.items()}
