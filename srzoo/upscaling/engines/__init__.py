"""Engines: what runs a network's steps."""

from srzoo.upscaling.engines.engine import CompiledStep as CompiledStep
from srzoo.upscaling.engines.engine import Engine as Engine
from srzoo.upscaling.engines.engine import Precision as Precision
from srzoo.upscaling.engines.engine import States as States
