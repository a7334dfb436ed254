"""`srzoo upscale` with the stand-in, as torchrun starts it."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import stand_in

import srzoo.cli.upscale
from srzoo.cli import main

if __name__ == "__main__":
    srzoo.cli.upscale.Upscaler = stand_in.StandIn
    sys.exit(main(["upscale", *sys.argv[1:]]))
