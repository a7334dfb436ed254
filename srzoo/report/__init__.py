"""Results to look at: comparisons as a page, as a figure."""

from srzoo.report.comparison import Comparison as Comparison
from srzoo.report.comparison import ImageResult as ImageResult
from srzoo.report.comparison import compare as compare
from srzoo.report.crops import Crop as Crop
from srzoo.report.crops import find_crops as find_crops
