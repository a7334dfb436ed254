"""srzoo: the model zoo for single-image super-resolution."""

from srzoo.architecture import Architecture as Architecture
from srzoo.architecture import SRModel as SRModel
from srzoo.architecture import Weights as Weights
from srzoo.benchmark import evaluate as evaluate
from srzoo.convert import convert_checkpoint as convert_checkpoint
from srzoo.registry import create_model as create_model
from srzoo.registry import list_models as list_models
from srzoo.registry import load_model as load_model
from srzoo.registry import model_info as model_info
from srzoo.registry import register as register
from srzoo.upscaling import Upscaler as Upscaler
from srzoo.upscaling import upscale as upscale
from srzoo.version import __version__ as __version__
from srzoo.weights import read_header as read_header
from srzoo.weights import save_model as save_model
