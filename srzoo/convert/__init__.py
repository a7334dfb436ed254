"""Other projects' checkpoints to zoo models and back: explicit, never at load time."""

from srzoo.convert.checkpoint import Checkpoint as Checkpoint
from srzoo.convert.checkpoint import read_checkpoint as read_checkpoint
from srzoo.convert.conversion import Conversion as Conversion
from srzoo.convert.conversion import convert_checkpoint as convert_checkpoint
from srzoo.convert.conversion import convert_file as convert_file
from srzoo.convert.layouts import PROJECTS as PROJECTS
from srzoo.convert.likeness import likeness as likeness
from srzoo.convert.to_edsr_pytorch import edsr_pytorch_options as edsr_pytorch_options
from srzoo.convert.to_edsr_pytorch import save_edsr_pytorch as save_edsr_pytorch
from srzoo.convert.to_edsr_pytorch import to_edsr_pytorch as to_edsr_pytorch
