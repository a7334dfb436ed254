"""How the channels of a picture meet a network, which takes grey or RGB: alpha, inks, depths."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from srzoo.color import rgb_to_grey
from srzoo.image import CHANNELS, LEVELS, Depth, Mode, Source

Route = Literal["direct", "grey", "alpha", "inks"]
ROUTES: dict[tuple[Mode, int], Route] = {
    ("L", 1): "direct",
    ("LA", 2): "direct",
    ("RGB", 3): "direct",
    ("RGBA", 4): "direct",
    ("L", 3): "grey",
    ("LA", 1): "alpha",
    ("LA", 3): "alpha",
    ("RGBA", 3): "alpha",
    ("CMYK", 3): "inks",
}
"""Mode of the picture, channels of the model -> how the one goes through the other."""
REACH = 2
"""Pixels around a transparent or opaque one that must be so, too, for the network not to be asked; how far colours
are looked for elsewhere."""
SLACK = 1 / 64
"""How far the colour of what can be seen through may pass those around it in the picture."""
CHUNK = 2**16
"""Pixels decoded at a time: what is worked on stays in the cache."""
SCAN_ROWS = 256


@dataclass(frozen=True)
class Planes:
    """The way of a picture's channels through a network and back; every method but `settle` works pixel by pixel.

    Grey meets an RGB model as three equal channels and comes back as their luma. A picture with alpha goes through
    composed over black and over white, two images whose difference is what can be seen through it: colours beneath
    transparent pixels have no part in it, so that no fringes appear. Where alpha is the same everywhere it is copied,
    and the colour goes through alone. Of CMYK the first three inks are one image and black is another.

    Args:
        mode: Mode of the picture.
        dtype: Its samples.
        model_channels: Channels of the model.
        constant_alpha: Alpha of the whole picture if it is the same everywhere, in the picture's levels, see
            `find_constant_alpha`; None if it is not or is not known, and where there is none.
    """

    mode: Mode
    dtype: Depth
    model_channels: int
    constant_alpha: float | int | None = None

    @property
    def route(self) -> Route:
        """How the picture goes through the model."""
        mode: Mode = "L" if self.mode == "LA" else "RGB"
        return ROUTES[(self.mode if self.constant_alpha is None else mode), self.model_channels]

    @property
    def num(self) -> int:
        """Images the network sees for one picture."""
        return 2 if self.route in ("alpha", "inks") else 1

    @property
    def levels(self) -> int | float:
        """Largest value of a sample of the picture."""
        return LEVELS[self.dtype]

    def encode(self, pixels: Shaped[np.ndarray, "h w c"]) -> Float[Tensor, "num model_channels h w"]:
        """Pixels as the network takes them: a new float32 tensor on the CPU, in [0, 1], channels last in memory.

        Args:
            pixels: Any window of the picture; float32 samples are taken as they are.
        """
        assert (pixels.dtype.name, pixels.shape[2]) == (self.dtype, CHANNELS[self.mode]), (pixels.dtype, pixels.shape)
        if self.constant_alpha is not None:
            pixels = pixels[..., :-1]
        x = torch.from_numpy(pixels.astype(np.float32, order="C"))  # by numpy, which takes any strides, read-only ones
        if self.levels > 1:
            x.div_(self.levels)
        if self.route == "direct":
            return x.permute(2, 0, 1)[None]
        out = x.new_empty(self.num, *x.shape[:2], self.model_channels)
        if self.route == "alpha":
            alpha = x[..., -1]
            clear = 1 - alpha
            for i in range(self.model_channels):
                torch.mul(x[..., min(i, x.shape[2] - 2)], alpha, out=out[0, ..., i])
                torch.add(out[0, ..., i], clear, out=out[1, ..., i])
        else:
            for i in range(3):
                out[0, ..., i] = x[..., min(i, x.shape[2] - 1)]
            if self.route == "inks":
                out[1] = x[..., 3:]
        return out.permute(0, 3, 1, 2)

    def decode(self, sr: Float[Tensor, "num model_channels H W"]) -> Shaped[np.ndarray, "H W c"]:
        """Pixels of what the network made, in the picture's mode and dtype.

        Integers are clamped and rounded to the nearest level (halves to the even one); floats are clamped to [0, 1],
        which is what a picture of floats holds, and not rounded. Where alpha comes out as 0 the colour is 0.

        Args:
            sr: Any window of the result, on any device, of any floating point; it is not changed. Values may lie
                outside [0, 1], but must be finite.
        """
        height, width = sr.shape[-2:]
        pixels = np.empty((height, width, CHANNELS[self.mode]), self.dtype)
        if self.constant_alpha is not None:
            pixels[..., -1] = self.constant_alpha
        rows = height if sr.device.type != "cpu" else max(1, CHUNK // width)
        for top in range(0, height, rows):
            part = sr[..., top : top + rows, :].detach()
            part = part.float() if part.dtype in (torch.float16, torch.bfloat16) else part
            part = part if self.route == "direct" else part.contiguous()  # several times as fast to add channels of
            self._store(self._channels(part), pixels[top : top + rows])
        return pixels

    def _channels(self, sr: Tensor) -> Tensor:
        """What the network made as the picture's channels, c H W, not clamped; all but a constant alpha."""
        if self.route == "direct":
            return sr[0]
        if self.route == "grey":
            return rgb_to_grey(sr[0])
        if self.route == "inks":
            return torch.cat([sr[0], rgb_to_grey(sr[1])])
        black, white = rgb_to_grey(sr) if (self.mode, self.model_channels) == ("LA", 3) else sr
        alpha = 1 - (white - black).mean(0, keepdim=True)  # above 1 where the network overshoots: the colour does, too
        if self.levels > 1:  # the colour is to fit the alpha that is stored
            alpha = alpha.mul_(self.levels).round_().div_(self.levels)
        least = 0.5 / LEVELS["uint16"]
        return torch.cat([(black / alpha.clamp_min(least)).mul_(alpha >= least), alpha])

    def _store(self, channels: Tensor, pixels: np.ndarray) -> None:
        """Channels c H W into pixels H W c, or into the first of them: clamped and rounded."""
        if self.levels > 1:
            channels = channels.mul(self.levels).round_()
        channels = channels.clamp(0, self.levels)
        if self.levels == 255 and channels.device.type != "cpu":
            channels = channels.to(torch.uint8)  # a quarter of the bytes to be fetched
        planes = channels.cpu().numpy()
        if channels.stride(0) == 1:  # channels last, as the pixels are
            np.copyto(pixels[..., : len(planes)], planes.transpose(1, 2, 0), casting="unsafe")
            return
        for i, plane in enumerate(planes):
            np.copyto(pixels[..., i], plane, casting="unsafe")

    @torch.inference_mode()  # so that what was made in this mode can be changed
    def settle(
        self,
        sr: Float[Tensor, "num model_channels H W"],
        pixels: Shaped[np.ndarray, "h w c"],
        inner: tuple[slice, slice],
    ) -> None:
        """Make the two images that carry alpha agree, in `sr` itself; nothing for pictures that go through otherwise.

        Networks answer flat black and white with values a level or so off, at the picture's corners far more, which
        would leave a haze over empty areas. So the answer is put right wherever alpha is 0, or full, in the input
        pixel and all that are at most `REACH` pixels from it. Elsewhere the two images differ in what rings, too, and
        what is left of that, divided by a small alpha, would be any colour. There the colour is limited to those seen
        in the input within `REACH` pixels, and alpha is fitted to it. To be called before a last resize, which blends
        pixels.

        Args:
            sr: What the network made of `pixels[inner]`.
            pixels: A window of the picture that reaches `REACH` pixels further than `inner` on each side, if the
                picture does; strips and tiles of such windows give what the whole gives.
            inner: Rows and columns of the window, with start and stop.
        """
        if self.route != "alpha":
            return
        empty, full = (_all_around(pixels[..., -1] == level)[inner] for level in (0, self.levels))
        height, width = empty.shape
        bounds = None
        if not (empty | full).all():
            bounds = [torch.from_numpy(bound[inner]).to(sr.device) for bound in self._colours_around(pixels)]
        times = sr.shape[-2] // height, sr.shape[-1] // width
        rows = height if sr.device.type != "cpu" else max(1, CHUNK // (width * times[0] * times[1]))
        for top in range(0, height, rows):
            part = slice(top, top + rows)
            made = sr[..., top * times[0] : (top + rows) * times[0], :]
            there = [
                torch.from_numpy(where[part].repeat(times[0], 0).repeat(times[1], 1)).to(sr.device)
                for where in (empty, full)
            ]
            if full[part].any():
                made.copy_(torch.where(there[1], (made[0] + made[1]) / 2, made))
            if empty[part].any():
                made[0].masked_fill_(there[0], 0)
                made[1].masked_fill_(there[0], 1)
            if bounds is not None:
                y, x = (~(there[0] | there[1])).nonzero(as_tuple=True)
                near = (bound[part][y // times[0], x // times[1]].T for bound in bounds)
                made[..., y, x] = _agreed(made[..., y, x], *near).to(sr.dtype)

    def _colours_around(self, pixels: Shaped[np.ndarray, "h w c"]) -> list[Float[np.ndarray, "h w colours"]]:
        """Least and largest value, in [0, 1] and with a little slack, of what can be seen around each pixel."""
        colour, hidden = pixels[..., :-1], pixels[..., -1:] == 0
        low = _over_all_around(np.where(hidden, pixels.dtype.type(self.levels), colour), np.minimum)
        high = _over_all_around(np.where(hidden, pixels.dtype.type(0), colour), np.maximum)
        low, high = (bound.astype(np.float32) / np.float32(self.levels) for bound in (low, high))
        return [(low - np.float32(SLACK)).clip(0, 1), (high + np.float32(SLACK)).clip(0, 1)]


def _agreed(
    made: Float[Tensor, "2 c pixels"], low: Float[Tensor, "#c pixels"], high: Float[Tensor, "#c pixels"]
) -> Float[Tensor, "2 c pixels"]:
    """The two images of a colour between two others, and of an alpha, that are nearest to those the network made.

    With colour c and alpha a they are ca and ca + 1 - a. Least squares give c for a known a, and a for a known c.
    """
    made = made.to(torch.promote_types(made.dtype, torch.float32))
    black, white = made.clamp(0, 1)  # what rings beyond says nothing of the colour
    alpha = (1 - _mean(white - black)).clamp(0, 1)
    colour = ((black + white - 1 + alpha) / (2 * alpha).clamp_min(1e-6)).clamp(low, high)
    clear = 1 - colour
    black, white = made
    alpha = _mean(colour * black + clear * (1 - white)) / _mean(colour * colour + clear * clear)
    return torch.stack([colour * alpha, 1 - clear * alpha])


def _mean(values: Float[Tensor, "c pixels"]) -> Float[Tensor, "1 pixels"]:
    """Mean of the channels, added in one order however many pixels there are: strips equal the whole."""
    total = values[:1].clone()
    for i in range(1, len(values)):
        total += values[i]
    return total / len(values)


def _all_around(match: Shaped[np.ndarray, "h w"]) -> Shaped[np.ndarray, "h w"]:
    """Where a pixel matches and all do that are at most `REACH` from it; beyond the edges all do."""
    return _over_all_around(match, np.logical_and)


def _over_all_around(values: Shaped[np.ndarray, "h w *c"], of: np.ufunc) -> Shaped[np.ndarray, "h w *c"]:
    """`of`, such as the minimum, of each value and those at most `REACH` rows and columns from it."""
    for axis in (0, 1):
        found = values.copy()
        to, other = (found, values) if axis == 0 else (found.swapaxes(0, 1), values.swapaxes(0, 1))
        for step in range(1, min(REACH, len(other) - 1) + 1):
            of(to[step:], other[:-step], out=to[step:])
            of(to[:-step], other[step:], out=to[:-step])
        values = found
    return values


def make_planes(mode: Mode, dtype: Depth, model_channels: int, constant_alpha: float | int | None = None) -> Planes:
    """How pictures of a mode and dtype go through a model.

    Args:
        mode: Mode of the picture.
        dtype: Its samples.
        model_channels: Channels the model takes: 3 (RGB) serve every mode, 1 grey with or without alpha, 4 RGBA, 2
            grey with alpha.
        constant_alpha: Alpha of the whole picture, in the picture's levels, if it is the same everywhere; ignored
            where there is none or the model takes alpha itself.

    Raises:
        ValueError: If the model has no use for such pictures.

    Examples:
        >>> make_planes("RGBA", "uint8", 3, None).num, make_planes("RGBA", "uint8", 3, 255).num
        (2, 1)
    """
    if (mode, model_channels) not in ROUTES:
        taken = [other for other, channels in ROUTES if channels == model_channels]
        raise ValueError(
            f"the image has {CHANNELS[mode]} channels ({mode}), the model takes {model_channels}; "
            + (f"with it only {' and '.join(taken)} can be upscaled" if taken else "1, 2, 3 or 4 are supported")
        )
    if not mode.endswith("A") or ROUTES[mode, model_channels] == "direct":
        constant_alpha = None
    return Planes(mode, dtype, model_channels, constant_alpha)


def find_constant_alpha(source: Source) -> float | int | None:
    """Alpha of the whole picture, in its own levels, if it is the same everywhere; None if not, or if it has none.

    Rows are read from the top until one differs.

    Raises:
        ValueError: If the file turns out to be damaged.
    """
    header = source.header
    if not header.mode.endswith("A"):
        return None
    value = None
    for top in range(0, header.height, SCAN_ROWS):
        alpha = source.rows(top, min(top + SCAN_ROWS, header.height))[..., -1]
        value = alpha[0, 0] if value is None else value
        if (alpha != value).any():
            return None
    return None if value is None else value.item()
