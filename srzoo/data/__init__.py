"""Images for training and scoring: benchmark sets, folders, the decoded cache, patches, degradations."""

from srzoo.data.benchmarks import BENCHMARKS as BENCHMARKS
from srzoo.data.benchmarks import ImageSet as ImageSet
from srzoo.data.benchmarks import find_set as find_set
from srzoo.data.check import DataReport as DataReport
from srzoo.data.degradations import Bicubic as Bicubic
from srzoo.data.degradations import Blur as Blur
from srzoo.data.degradations import Chain as Chain
from srzoo.data.degradations import Degradation as Degradation
from srzoo.data.degradations import Downscale as Downscale
from srzoo.data.degradations import Jpeg as Jpeg
from srzoo.data.degradations import Noise as Noise
from srzoo.data.degradations import Step as Step
from srzoo.data.degradations import Unknown as Unknown
from srzoo.data.folders import Folders as Folders
from srzoo.data.folders import ImageFolder as ImageFolder
from srzoo.data.folders import find_images as find_images
from srzoo.data.hub_datasets import hub_folder as hub_folder
from srzoo.data.lr_images import LRImages as LRImages
from srzoo.data.lr_images import downscale_images as downscale_images
from srzoo.data.pairs import Pair as Pair
from srzoo.data.pairs import luma_pair as luma_pair
from srzoo.data.pairs import pairs_from_hr as pairs_from_hr
from srzoo.data.patches import PatchSource as PatchSource
from srzoo.data.split import held_out_pairs as held_out_pairs
from srzoo.data.split import split_images as split_images
