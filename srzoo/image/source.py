"""Images read by rows: whole ones in memory, TIFF by windows."""

from abc import ABC, abstractmethod

import numpy as np
from jaxtyping import Shaped

from srzoo.image.picture import Header, Picture


class Source(ABC):
    """An image that is read by rows; a context manager that closes its file.

    Attributes:
        header: Size, mode, depth and metadata, the orientation applied.
    """

    header: Header

    @property
    @abstractmethod
    def notes(self) -> tuple[str, ...]:
        """What was changed on the way in, such as "palette read as RGB"; reading rows may add to it."""

    @abstractmethod
    def rows(self, top: int, bottom: int) -> Shaped[np.ndarray, "rows w c"]:
        """Rows `top` to `bottom - 1`, full width, in the header's dtype; not to be written into.

        Args:
            top: First row, from 0.
            bottom: Row after the last, at most the height.

        Raises:
            ValueError: If there are no such rows, or the file turns out to be damaged there.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of the file; rows cannot be read after it."""

    def __enter__(self) -> "Source":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class PictureSource(Source):
    """A picture in memory, read by rows.

    Args:
        picture: The picture.
        notes: What was changed when it was read.
    """

    def __init__(self, picture: Picture, notes: tuple[str, ...] = ()) -> None:
        self.picture = picture
        self.header = picture.header
        self._notes = notes

    @property
    def notes(self) -> tuple[str, ...]:
        """What was changed on the way in."""
        return self._notes

    def close(self) -> None:
        """Does nothing: the picture stays."""

    def rows(self, top: int, bottom: int) -> Shaped[np.ndarray, "rows w c"]:
        """Rows `top` to `bottom - 1`: a view of the picture's pixels.

        Raises:
            ValueError: If there are no such rows.
        """
        check_rows(top, bottom, self.header.height)
        return self.picture.pixels[top:bottom]


def check_rows(top: int, bottom: int, height: int) -> None:
    """Raises ValueError if an image of this height has no rows `top` to `bottom - 1`."""
    if not 0 <= top < bottom <= height:
        raise ValueError(f"there are no rows {top} to {bottom}: the image has {height}")
