"""PSNR and SSIM under a stated protocol."""

from srzoo.metrics.accumulators import PSNR as PSNR
from srzoo.metrics.accumulators import SSIM as SSIM
from srzoo.metrics.protocol import PROTOCOLS as PROTOCOLS
from srzoo.metrics.protocol import Protocol as Protocol
from srzoo.metrics.psnr import psnr as psnr
from srzoo.metrics.ssim import ssim as ssim
