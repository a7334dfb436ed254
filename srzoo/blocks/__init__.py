"""Public building blocks: the parts of the zoo's models, for other people's networks."""

from srzoo.blocks.bicubic import BicubicUpsampler as BicubicUpsampler
from srzoo.blocks.luma import LumaUpsampler as LumaUpsampler
from srzoo.blocks.residual import ResBlock as ResBlock
from srzoo.blocks.scale_heads import ScaleHeads as ScaleHeads
from srzoo.blocks.shift import DIV2K_MEAN as DIV2K_MEAN
from srzoo.blocks.shift import MeanShift as MeanShift
from srzoo.blocks.upsample import SubPixelUpsampler as SubPixelUpsampler
