"""Training: `Trainer(model, data, TrainConfig(...)).fit()`."""

from srzoo.train.callbacks import BarProgress as BarProgress
from srzoo.train.callbacks import Callback as Callback
from srzoo.train.callbacks import JsonLines as JsonLines
from srzoo.train.callbacks import PlainProgress as PlainProgress
from srzoo.train.checkpoint import load_checkpoint as load_checkpoint
from srzoo.train.checkpoint import save_checkpoint as save_checkpoint
from srzoo.train.config import Cosine as Cosine
from srzoo.train.config import Halving as Halving
from srzoo.train.config import Schedule as Schedule
from srzoo.train.config import TrainConfig as TrainConfig
from srzoo.train.losses import l1_loss as l1_loss
from srzoo.train.trainer import Batch as Batch
from srzoo.train.trainer import Patches as Patches
from srzoo.train.trainer import Trainer as Trainer
from srzoo.train.warm_start import WarmStart as WarmStart
from srzoo.train.warm_start import warm_start as warm_start
