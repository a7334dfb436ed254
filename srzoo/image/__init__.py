"""Image files, PIL images and arrays, keeping depth, mode, alpha, profile and the rest of what a file holds."""

from srzoo.image.formats import FORMATS as FORMATS
from srzoo.image.formats import READ_SUFFIXES as READ_SUFFIXES
from srzoo.image.formats import WriteOptions as WriteOptions
from srzoo.image.formats import check_writable as check_writable
from srzoo.image.picture import BITS as BITS
from srzoo.image.picture import CHANNELS as CHANNELS
from srzoo.image.picture import LEVELS as LEVELS
from srzoo.image.picture import Depth as Depth
from srzoo.image.picture import Header as Header
from srzoo.image.picture import Metadata as Metadata
from srzoo.image.picture import Mode as Mode
from srzoo.image.picture import Picture as Picture
from srzoo.image.pil import from_pil as from_pil
from srzoo.image.pil import inks_as_rgb as inks_as_rgb
from srzoo.image.pil import to_pil as to_pil
from srzoo.image.reading import MAX_PIXELS as MAX_PIXELS
from srzoo.image.reading import Readable as Readable
from srzoo.image.reading import open_source as open_source
from srzoo.image.reading import read_picture as read_picture
from srzoo.image.reading import read_pixels as read_pixels
from srzoo.image.sinks import Sink as Sink
from srzoo.image.sinks import open_sink as open_sink
from srzoo.image.sinks import write_picture as write_picture
from srzoo.image.source import PictureSource as PictureSource
from srzoo.image.source import Source as Source
