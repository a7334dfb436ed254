"""Scores of models on pairs of LR and HR images."""

from srzoo.benchmark.scoring import Score as Score
from srzoo.benchmark.scoring import evaluate as evaluate
from srzoo.benchmark.scoring import mean_psnr as mean_psnr
from srzoo.benchmark.scoring import mean_ssim as mean_ssim
from srzoo.benchmark.scoring import measure as measure
