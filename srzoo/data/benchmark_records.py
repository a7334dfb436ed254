"""The benchmark sets of the field as records: which images belong to each, and how it is scored."""

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

IMAGES = Path(__file__).with_name("benchmark_images.csv")
"""Set, image, size, mode and SHA-256 of the pixels of each image that is known by its pixels."""
ENDING = re.compile(r"(_srf_\d+)?[_-](hr|lr|gt)$")


@dataclass(frozen=True)
class BenchmarkImage:
    """An image of a benchmark set, as the set's authors published it.

    Args:
        name: Of the file, without its suffix.
        width: In pixels; 0 if it is not recorded.
        height: In pixels; 0 if it is not recorded.
        mode: "RGB", or "L" for a grey file.
        sha256: Of the decoded pixels, row by row, each pixel's channels together; "" if it is not recorded.
    """

    name: str
    width: int
    height: int
    mode: str = "RGB"
    sha256: str = ""


@dataclass(frozen=True)
class HubFiles:
    """An archive of a set's HR images in a dataset repository of the Hugging Face Hub.

    Args:
        repo: Such as "owner/name".
        revision: A commit, so that the file is always the same one.
        file: Path of the archive in the repository, tar or zip.
    """

    repo: str
    revision: str
    file: str


@dataclass(frozen=True)
class BenchmarkSet:
    """A benchmark set: its images, in the order of its names, and how it is scored.

    Args:
        name: As the papers write it.
        images: All images of the set.
        protocol: "paper" (luma, a border of the scale) or "div2k" (RGB, a border of 6 more).
        source: Who made the set and where it is described.
        hub: Where its HR images are on the Hub; None if no place is known that anyone may fetch from.
        aliases: Other names it goes by.
        folders: Where below the set's folder its HR images may lie, in the order in which they are looked for.
        beside: Pattern of names that may lie in the same folder without being part of the set.
        longer_side: Width or height of each image, whichever is more, in pixels; 0 if they differ.
    """

    name: str
    images: tuple[BenchmarkImage, ...]
    protocol: Literal["paper", "div2k"]
    source: str
    hub: HubFiles | None = None
    aliases: tuple[str, ...] = ()
    folders: tuple[str, ...] = ("HR", "original", "GT", "GTmod12", "")
    beside: str = ""
    longer_side: int = 0

    def is_called(self, name: str) -> bool:
        """Whether this is a name of the set: case, spaces, `-`, `_` and a last `_HR` do not matter.

        Examples:
            >>> [BENCHMARKS["B100"].is_called(name) for name in ("b100", "BSD100", "BSDS100_HR", "Set5")]
            [True, True, True, False]
        """
        return plain(name) in {plain(one) for one in (self.name, *self.aliases)}


def plain(name: str) -> str:
    """A name without what differs between copies of a set.

    Examples:
        >>> plain("img_001"), plain("IMG001"), plain("img_001_SRF_4_HR")
        ('img001', 'img001', 'img001')
    """
    return re.sub(r"[\s_-]", "", ENDING.sub("", name.casefold()))


def _read_images() -> dict[str, tuple[BenchmarkImage, ...]]:
    """Name of a set -> its images."""
    images: dict[str, list[BenchmarkImage]] = {}
    with open(IMAGES, encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            width, height = map(int, row["size"].split("x"))
            image = BenchmarkImage(row["image"], width, height, row["mode"], row["pixels"])
            images.setdefault(row["set"], []).append(image)
    return {name: tuple(rows) for name, rows in images.items()}


def _all_sets() -> dict[str, BenchmarkSet]:
    images = _read_images()
    sets = (
        BenchmarkSet(
            "Set5",
            images["Set5"],
            "paper",
            "Bevilacqua, Roumy, Guillemot, Alberi-Morel: Low-complexity single-image super-resolution based on "
            "nonnegative neighbor embedding, BMVC 2012",
            HubFiles("eugenesiow/Set5", "325646fe7cc8811e312562437885c5c018c74966", "data/Set5_HR.tar.gz"),
        ),
        BenchmarkSet(
            "Set14",
            images["Set14"],
            "paper",
            "Zeyde, Elad, Protter: On single image scale-up using sparse-representations, Curves and Surfaces 2010",
            HubFiles("eugenesiow/Set14", "5c964717e61b4931236a6dd5561750d11e5a7abb", "data/Set14_HR.tar.gz"),
        ),
        BenchmarkSet(
            "B100",
            images["B100"],
            "paper",
            "Martin, Fowlkes, Tal, Malik: A database of human segmented natural images and its application, ICCV 2001 "
            "(its 100 test images)",
            HubFiles("eugenesiow/BSD100", "600666edcba3b8386c367fcb03e72424a1ff9f86", "data/BSD100_HR.tar.gz"),
            aliases=("BSD100", "BSDS100"),
        ),
        BenchmarkSet(
            "Urban100",
            images["Urban100"],
            "paper",
            "Huang, Singh, Ahuja: Single image super-resolution from transformed self-exemplars, CVPR 2015",
            HubFiles("eugenesiow/Urban100", "57309de03db02ac12ee09ad6127e7b815c211328", "data/Urban100_HR.tar.gz"),
        ),
        BenchmarkSet(
            "Manga109",
            images["Manga109"],
            "paper",
            "Matsui, Ito, Aramaki, Fujimoto, Ogawa, Yamasaki, Aizawa: Sketch-based manga retrieval using Manga109 "
            "dataset, Multimedia Tools and Applications 2017 (one image of each volume)",
        ),
        BenchmarkSet(
            "DIV2K",
            tuple(BenchmarkImage(f"{number:04}", 0, 0) for number in range(801, 901)),
            "div2k",
            "Agustsson, Timofte: NTIRE 2017 challenge on single image super-resolution: dataset and study, CVPR "
            "Workshops 2017 (its validation images 0801 to 0900)",
            HubFiles("goodfellowliu/DIV2K", "d8a7b7e82add5be32adb51d9442b7932b1739e89", "DIV2K_valid_HR.zip"),
            aliases=("DIV2K_valid", "DIV2K_val", "DIV2K_validation", "DIV2K100"),
            folders=("DIV2K_valid_HR", "DIV2K_train_HR", "HR", ""),
            beside=r"0[0-7]\d\d|0800",
            longer_side=2040,
        ),
    )
    return {one.name: one for one in sets}


BENCHMARKS: Mapping[str, BenchmarkSet] = MappingProxyType(_all_sets())
"""Name -> benchmark set: Set5, Set14, B100, Urban100, Manga109 and DIV2K (its validation images)."""


def benchmark_called(name: str) -> BenchmarkSet | None:
    """The benchmark set of this name or alias; None if there is none.

    Examples:
        >>> benchmark_called("div2k_valid_HR").name
        'DIV2K'
    """
    return next((one for one in BENCHMARKS.values() if one.is_called(name)), None)
