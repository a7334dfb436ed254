"""Upscaling whole images: the facade, exact strips and tiles, engines."""

from srzoo.upscaling.once import upscale as upscale
from srzoo.upscaling.result import Result as Result
from srzoo.upscaling.target import Target as Target
from srzoo.upscaling.tiling import plan_tiles as plan_tiles
from srzoo.upscaling.tiling import run_tiled as run_tiled
from srzoo.upscaling.upscaler import Upscaler as Upscaler
