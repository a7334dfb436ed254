"""Sets and models so small that a whole benchmark takes milliseconds; and the command in processes of its own."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from srzoo.architecture import SRModel
from srzoo.benchmark.rows import Row
from srzoo.registry import create_model

ROOT = Path(__file__).parents[2]
ROW = Row(
    model="m", set="Set5", scale=2, image="a", width=100, height=50, psnr=30.0, ssim=0.9, seconds=0.5, peak_mib=100.0,
    protocol="Y, 8-bit, border 2",
)  # fmt: skip


def make_images(folder: Path, *sizes: tuple[int, int]) -> Path:
    """A folder of noisy images a, b, c, ... of width x height pixels."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, (width, height) in enumerate(sizes):
        rng = np.random.default_rng(i)
        y, x = np.mgrid[:height, :width]
        planes = [120 + 80 * np.sin(x / (3 + i)) * np.cos(y / period) for period in (4, 5, 6)]
        pixels = (np.stack(planes, -1) + rng.normal(0, 4, (height, width, 3))).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{chr(97 + i)}.png")
    return folder


def tiny(scale: int = 2) -> SRModel:
    """An EDSR of 4 features and one block."""
    return create_model(f"edsr_baseline_x{scale}", width=4, num_blocks=1).eval()


def tiny_broken() -> SRModel:
    """The same with NaN in its output."""
    model = tiny()
    model.get_parameter("tail.bias").data[0] = float("nan")
    return model


def start(*arguments: str | Path, processes: int = 1) -> subprocess.Popen[str]:
    """`srzoo benchmark` in a process of its own, or in several by torchrun."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command = [*(launcher if processes > 1 else []), "-m", "srzoo.cli", "benchmark", *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    return subprocess.Popen(
        [sys.executable, *command],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=ROOT,
    )  # fmt: skip
