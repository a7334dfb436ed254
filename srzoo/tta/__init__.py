"""Test-time augmentation: operations that compose, and the ensemble over them."""

from srzoo.tta.ensemble import SelfEnsemble as SelfEnsemble
from srzoo.tta.ops import FLIP_HEIGHT as FLIP_HEIGHT
from srzoo.tta.ops import FLIP_WIDTH as FLIP_WIDTH
from srzoo.tta.ops import IDENTITY as IDENTITY
from srzoo.tta.ops import TRANSPOSE as TRANSPOSE
from srzoo.tta.ops import Op as Op
from srzoo.tta.ops import compose as compose
from srzoo.tta.ops import dihedral as dihedral
from srzoo.tta.ops import flips as flips
