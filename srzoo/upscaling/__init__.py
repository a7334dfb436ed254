"""Upscaling whole images: the facade and exact tiles."""

from srzoo.upscaling.tiling import plan_tiles as plan_tiles
from srzoo.upscaling.tiling import run_tiled as run_tiled
from srzoo.upscaling.upscaler import Upscaler as Upscaler
from srzoo.upscaling.upscaler import upscale as upscale
