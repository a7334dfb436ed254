"""What results are called."""

import re
import string
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from srzoo.image import FORMATS

DEFAULT_TEMPLATE = "{stem}_{size}{suffix}"
FIELDS: Mapping[str, str] = {
    "stem": "name of the image without its suffix",
    "suffix": "suffix of the result, with its dot",
    "source_suffix": "suffix of the image, without a dot",
    "size": "what was asked for: x4, x2.5, 800x600, or 2048 for a long edge",
    "scale": "the factor: 4 or 2.5; not with --size and --long-edge",
    "model": "name of the model",
    "index": "place in the list of images, from 1",
    "parent": "name of the folder the image is in",
}
"""Field of a name template -> what it stands for."""
SUFFIX_OF = {"png": ".png", "jpg": ".jpg", "webp": ".webp", "tiff": ".tif", "bmp": ".bmp", "avif": ".avif"}
"""Format a user asks for -> suffix of the files."""


@dataclass(frozen=True)
class Naming:
    """How results are called.

    Args:
        size: What was asked for, in a word, such as "x4" or "800x600".
        model: The model's name, weight file or repository.
        scale: The factor, where one was asked for.
        template: Text with fields in braces, see `FIELDS`; a field may have a width (`{index:04}`). A slash makes a
            folder. The suffix is added if the template has none.
        format: One of `SUFFIX_OF`; None is what the template or the image asks for.

    Raises:
        ValueError: If the template or the format is not one there can be.

    Examples:
        >>> Naming("x4", "edsr_x4", 4, "{index:03}-{stem}").name_of(Path("album/cat.jpg"), 7, ".png")
        '007-cat.png'
        >>> Naming("x4", "edsr_x4", 4).name_of(Path("album/cat.jpg"), 7, ".webp")
        'cat_x4.webp'
    """

    size: str
    model: str
    scale: float | int | None = None
    template: str = DEFAULT_TEMPLATE
    format: str | None = None

    def __post_init__(self) -> None:
        if self.format is not None and self.format not in SUFFIX_OF:
            raise ValueError(f"format is {self.format!r}; allowed are {', '.join(SUFFIX_OF)}")
        self._check_template()
        own = self.suffix
        if self.format is not None and own is not None and FORMATS[own.lower()] != FORMATS[SUFFIX_OF[self.format]]:
            raise ValueError(f"names end in {own}, but the format is {self.format}; leave one of them out")

    def _check_template(self) -> None:
        """Raises ValueError if the template has unknown fields or could lead out of its folder."""
        told = f"name template {self.template!r}"
        try:
            parts = list(string.Formatter().parse(self.template))
            for _, field, _, conversion in parts:
                if field is not None and (field not in FIELDS or conversion):
                    raise ValueError(f"{told} has the field {{{field}}}; there are {', '.join(map(_braced, FIELDS))}")
            if self.scale is None and any(field == "scale" for _, field, _, _ in parts):
                raise ValueError(f"{told} has {{scale}}, but a size was asked for, not a factor; use {{size}}")
            name = self.name_of(Path("parent/stem.png"), 1, ".png")
        except (ValueError, IndexError, KeyError) as error:
            if str(error).startswith("name template"):
                raise
            raise ValueError(f"{told} cannot be read ({error}); write a brace itself twice") from error
        path = PurePosixPath(name.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or ":" in name or "\0" in name:
            raise ValueError(f"{told} leads out of the output folder; give a name, or folders within it")
        if not path.stem or name.endswith("/") or path.name.startswith(".srzoo"):
            raise ValueError(f"{told} gives no name for a file; use {{stem}}, say")

    @property
    def suffix(self) -> str | None:
        """The suffix that the template itself ends in; None if it leaves it to the format."""
        end = re.search(r"\.\w+$", self.template)  # after the last field, since a field ends in a brace
        return end[0] if end is not None and end[0].lower() in FORMATS else None

    @property
    def is_default(self) -> bool:
        """Whether the user left the names to us."""
        return self.template == DEFAULT_TEMPLATE

    def name_of(self, source: Path, index: int, suffix: str, *, with_source_suffix: bool = False) -> str:
        """The name of a result, with slashes if the template has folders.

        Args:
            source: The image.
            index: Its place in the list, from 1.
            suffix: Suffix of the result's format, with its dot.
            with_source_suffix: Put the image's own suffix behind its stem, to tell photo.jpg from photo.png.
        """
        own = source.suffix.lstrip(".")
        ends = self.template.endswith("{suffix}") or self.suffix is not None
        text = self.template if ends else self.template + "{suffix}"
        return text.format(
            stem=f"{source.stem}_{own}" if with_source_suffix else source.stem,
            suffix=suffix,
            source_suffix=own,
            size=self.size,
            scale="" if self.scale is None else self.scale,
            model=model_word(self.model),
            index=index,
            parent=source.absolute().parent.name,
        )


def model_word(model: str) -> str:
    """A model's name, file or repository as part of a file name.

    Examples:
        >>> model_word("edsr_x4"), model_word("runs/mine.safetensors"), model_word("hf-hub:owner/name@v1")
        ('edsr_x4', 'mine', 'name@v1')
    """
    last = re.split(r"[/\\:]", model.rstrip("/\\"))[-1].removesuffix(".safetensors")
    return re.sub(r"[^\w.@+-]+", "_", last) or "model"


def _braced(field: str) -> str:
    return f"{{{field}}}"
