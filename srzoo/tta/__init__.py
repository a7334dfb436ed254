"""Test-time augmentation: operations that multiply, merges that stream, and the ensemble over them."""

from srzoo.tta.ensemble import SelfEnsemble as SelfEnsemble
from srzoo.tta.merges import Mean as Mean
from srzoo.tta.merges import MeanAndSpread as MeanAndSpread
from srzoo.tta.merges import Median as Median
from srzoo.tta.merges import MedianAndSpread as MedianAndSpread
from srzoo.tta.merges import Merge as Merge
from srzoo.tta.merges import MergeName as MergeName
from srzoo.tta.merges import make_merge as make_merge
from srzoo.tta.merges import spread_to_image as spread_to_image
from srzoo.tta.ops import FLIP_HEIGHT as FLIP_HEIGHT
from srzoo.tta.ops import FLIP_WIDTH as FLIP_WIDTH
from srzoo.tta.ops import IDENTITY as IDENTITY
from srzoo.tta.ops import TRANSPOSE as TRANSPOSE
from srzoo.tta.ops import Geometry as Geometry
from srzoo.tta.ops import Op as Op
from srzoo.tta.ops import OpGroup as OpGroup
from srzoo.tta.ops import compose as compose
from srzoo.tta.ops import dihedral as dihedral
from srzoo.tta.ops import flips as flips
