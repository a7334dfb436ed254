"""Scores of models on pairs of LR and HR images, and benchmarks of many models on many sets."""

from srzoo.benchmark.drift import Check as Check
from srzoo.benchmark.drift import check_result as check_result
from srzoo.benchmark.main_page import main_markdown as main_markdown
from srzoo.benchmark.main_runs import plan_main_table as plan_main_table
from srzoo.benchmark.main_runs import run_main_table as run_main_table
from srzoo.benchmark.main_table import MainTable as MainTable
from srzoo.benchmark.order import OrderCheck as OrderCheck
from srzoo.benchmark.order import check_order as check_order
from srzoo.benchmark.page import page as page
from srzoo.benchmark.published import PUBLISHED as PUBLISHED
from srzoo.benchmark.published import Published as Published
from srzoo.benchmark.published import find_published as find_published
from srzoo.benchmark.result import BenchmarkResult as BenchmarkResult
from srzoo.benchmark.rows import Mean as Mean
from srzoo.benchmark.rows import Row as Row
from srzoo.benchmark.runs import benchmark as benchmark
from srzoo.benchmark.scoring import Score as Score
from srzoo.benchmark.scoring import evaluate as evaluate
from srzoo.benchmark.scoring import mean_psnr as mean_psnr
from srzoo.benchmark.scoring import mean_ssim as mean_ssim
from srzoo.benchmark.scoring import measure as measure
