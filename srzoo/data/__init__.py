"""Images for training and scoring: folders, the decoded cache, patches."""

from srzoo.data.folders import find_images as find_images
from srzoo.data.pairs import Pair as Pair
from srzoo.data.pairs import pairs_from_hr as pairs_from_hr
from srzoo.data.patches import PatchSource as PatchSource
