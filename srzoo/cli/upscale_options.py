"""Options of `srzoo upscale`, and what they mean for the library."""

import argparse
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, get_args

import torch

from srzoo.distributed import is_launched
from srzoo.image import MAX_PIXELS, WriteOptions
from srzoo.image.formats import COMPRESSIONS, FORMAT_OF, FORMATS
from srzoo.registry import list_models
from srzoo.tta.merges import MergeName
from srzoo.upscaling.jobs import Job, Naming, digest_of
from srzoo.upscaling.jobs.naming import DEFAULT_TEMPLATE, FIELDS, SUFFIX_OF
from srzoo.upscaling.target import Target
from srzoo.upscaling.upscaler import DEFAULT_MODEL

ENGINES = ("auto", "torch", "openvino", "onnx")
WRITING = tuple(field.name for field in fields(WriteOptions))
FORMAT_SUFFIX = {**SUFFIX_OF, None: ".png"}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options, in groups."""
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="IN",
        help="image file, folder, pattern in quotes such as 'photos/**/*.jpg', or - (standard input)",
    )
    _add_result_options(parser.add_argument_group("results"))
    _add_format_options(parser.add_argument_group("files"))
    _add_model_options(parser.add_argument_group("model and machine"))
    _add_job_options(parser.add_argument_group("the job"))


def _add_result_options(group: Any) -> None:
    group.add_argument(
        "-o",
        "--output",
        metavar="OUT",
        help="file (for one image), existing folder to write to, or - (standard output)",
    )
    group.add_argument(
        "--name",
        metavar="TEMPLATE",
        default=DEFAULT_TEMPLATE,
        help=f"what results are called (default: {DEFAULT_TEMPLATE}); fields: {', '.join(FIELDS)}",
    )
    group.add_argument("--scale", metavar="X", help="factor up to 64, such as 4, 2.5 or 16 (default: the model's)")
    group.add_argument("--size", metavar="WxH", help="width and height of the result in pixels")
    group.add_argument("--long-edge", metavar="N", help="longer side of the result in pixels")
    group.add_argument(
        "--recursive",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="search folders within folders, whose tree is kept (default: yes)",
    )
    group.add_argument(
        "--uncertainty", metavar="MAP", help="write how far the passes of --tta differ: file, or existing folder"
    )


def _add_format_options(group: Any) -> None:
    group.add_argument(
        "--format", choices=tuple(SUFFIX_OF), help="format of the results (default: png; tiff for CMYK and float)"
    )
    group.add_argument("--quality", type=int, metavar="N", help="quality of JPEG, WebP and AVIF files, 1 to 100")
    group.add_argument("--png-level", type=int, metavar="N", help="compression of PNG files, 0 (none) to 9 (smallest)")
    group.add_argument(
        "--lossless", action=argparse.BooleanOptionalAction, default=None, help="WebP files without loss (default: yes)"
    )
    group.add_argument("--compression", choices=COMPRESSIONS, help="of TIFF files (default: none)")
    group.add_argument("--strip", action="store_true", help="leave out EXIF, XMP and texts; the colour profile stays")


def _add_model_options(group: Any) -> None:
    group.add_argument(
        "--model",
        help="model name, or name.tag for one of its weights (such as .jpeg, for photographs), weight file, folder of "
        "a run, or hf-hub:owner/name@revision (default: edsr_baseline at --scale, or x4)",
    )
    group.add_argument(
        "--tta",
        choices=("none", "flips", "x8"),
        default="none",
        help="self-ensemble: slower, a little better (default: none)",
    )
    group.add_argument(
        "--merge",
        choices=get_args(MergeName),
        default="mean",
        help="what becomes of the passes of --tta (default: mean)",
    )
    group.add_argument(
        "--engine", choices=ENGINES, default="auto", help="what computes (default: the fastest that is installed)"
    )
    group.add_argument(
        "--precision",
        choices=("auto", "fp32", "bf16", "fp16"),
        default="auto",
        help="what numbers the network computes in (default: auto, half where it is faster and as good)",
    )
    group.add_argument(
        "--device", default="auto", help="cpu, cuda, cuda:1, mps or xpu (default: auto, the first GPU there is)"
    )
    group.add_argument(
        "--memory",
        metavar="2GB",
        help="memory to work in (default: on a CPU 500MB, up to 2GB where needed; half of what is free on a GPU)",
    )
    group.add_argument(
        "--tile",
        type=int,
        help="largest tile side in input pixels (default: planned); the result does not depend on it",
    )
    group.add_argument(
        "--halo", type=int, help="pixels seen around a tile (default: all that matter); fewer are faster and not exact"
    )
    group.add_argument(
        "--max-pixels",
        type=int,
        default=MAX_PIXELS,
        help=f"refuse larger images before decoding them (default: {MAX_PIXELS})",
    )


def _add_job_options(group: Any) -> None:
    group.add_argument("--overwrite", action="store_true", help="replace results that exist")
    group.add_argument(
        "--skip-existing",
        action="store_true",
        help="pass over results that are whole and made with the same settings; make damaged or outdated ones again",
    )
    group.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")
    group.add_argument("--quiet", action="store_true", help="only errors")
    group.add_argument("--json", action="store_true", help="machine-readable result")


@dataclass(frozen=True)
class Sizing:
    """How large results are to be.

    Args:
        target: What was asked for; None leaves it to the model.
        by_model: Whether that is a whole factor, which the model is to make by itself, if it offers it.
    """

    target: Target | None = None
    by_model: bool = False

    @classmethod
    def of(cls, args: argparse.Namespace) -> "Sizing":
        """What `--scale`, `--size` and `--long-edge` ask for.

        Raises:
            ValueError: If more than one is given, or it cannot be read.
        """
        if args.scale is None and args.size is None and args.long_edge is None:
            return cls()
        target = Target.parse(scale=args.scale, size=args.size, long_edge=args.long_edge)
        return cls(target, target.scale is not None and target.scale == int(target.scale))

    @property
    def factor(self) -> int | float | None:
        """The factor that was asked for, if one was."""
        factor = None if self.target is None else self.target.scale
        return int(factor) if factor is not None and factor == int(factor) else factor


def default_model(factor: int | float | None) -> str:
    """The model that upscales where none is named: that of the factor, of the next larger, the largest, or x4."""
    if factor is None:
        return DEFAULT_MODEL
    family = DEFAULT_MODEL.rpartition("_x")[0]
    there = sorted(int(name.rpartition("_x")[2]) for name in list_models(f"{family}_x*", pretrained=True))
    return f"{family}_x{next((scale for scale in there if scale >= factor), there[-1])}"


def upscaler_options(args: argparse.Namespace, sizing: Sizing) -> dict[str, Any]:
    """Arguments of `Upscaler` apart from the model; those left at their defaults are left out."""
    given = {
        "scale": sizing.factor if sizing.by_model else None,
        "size": None if sizing.by_model else sizing.target,
        "device": local_device(args.device),
        "engine": args.engine if args.engine != "auto" else None,
        "precision": args.precision if args.precision != "auto" else None,
        "tta": args.tta,
        "merge": args.merge,
        "tile": args.tile,
        "memory": args.memory,
        "halo": args.halo,
    }
    return {name: value for name, value in given.items() if value is not None}


def local_device(device: str) -> str:
    """The device of this process: of several that torchrun started, each takes the CUDA device of its local rank."""
    if not is_launched() or device not in ("auto", "cuda") or not torch.cuda.is_available():
        return device
    return f"cuda:{int(os.environ.get('LOCAL_RANK', '0')) % torch.cuda.device_count()}"


def check_options(args: argparse.Namespace) -> None:
    """Raises ValueError for options that contradict each other."""
    if args.uncertainty is not None and args.tta == "none":
        raise ValueError("--uncertainty is how far the passes of a self-ensemble differ; add --tta flips or --tta x8")
    if args.max_pixels < 1:
        raise ValueError(f"--max-pixels is {args.max_pixels}; it must be at least 1")
    if args.json and args.quiet:
        raise ValueError("--json prints the result and --quiet prints nothing; leave one of them out")
    write_options(args)


def check_used(args: argparse.Namespace, jobs: Sequence[Job]) -> None:
    """Raises ValueError if an option of writing was given that no result has a use for."""
    suffixes = {FORMAT_SUFFIX[args.format] if job.target is None else job.target.suffix.lower() for job in jobs}
    kinds = {FORMATS[suffix] for suffix in suffixes if suffix in FORMATS}
    for option in write_options(args).given:
        having = [name for name, kind in FORMAT_OF.items() if option in kind.options]
        if kinds and not kinds & set(having):
            name = f"--{option.replace('_', '-')}"
            raise ValueError(f"{name} is for {', '.join(having)} files, and no result is one; leave it out")


def write_options(args: argparse.Namespace) -> WriteOptions:
    """How files are written.

    Raises:
        ValueError: If an option is out of range, or two contradict each other.
    """
    return WriteOptions(**{name: getattr(args, name) for name in WRITING})


def file_options(args: argparse.Namespace) -> dict[str, Any]:
    """Arguments of `Upscaler.file` that are the same for every image."""
    return {"strip": args.strip, "max_pixels": args.max_pixels}


def settings_digest(upscaler: Any, args: argparse.Namespace) -> str:
    """Digest of all that results depend on apart from their images: the upscaler's settings and how files are made."""
    return digest_of(
        {
            "upscaler": upscaler.settings,
            "options": asdict(write_options(args)),
            "strip": args.strip,
            "uncertainty": args.uncertainty is not None,
        }
    )


def naming_of(args: argparse.Namespace, sizing: Sizing, model: str, scale: int | None) -> Naming:
    """How results are called.

    Args:
        args: The options.
        sizing: How large results are to be.
        model: The model as the user names it.
        scale: The upscaler's scale.
    """
    factor = scale if sizing.target is None else sizing.factor
    word = f"x{scale}" if sizing.target is None else sizing.target.word
    return Naming(size=word, model=model, scale=factor, template=args.name, format=args.format)


def result_size(width: int, height: int, sizing: Sizing, scales: Sequence[int]) -> tuple[int, int]:
    """Width and height of the result of an image; its own where the target refuses it.

    Args:
        width: Of the image.
        height: Of the image.
        sizing: What was asked for.
        scales: The scales to choose from; one where there is no target.
    """
    if sizing.target is None or sizing.by_model:
        return width * scales[0], height * scales[0]
    try:
        sizes = sizing.target.resolve(width, height, scales)
    except ValueError:  # told when its turn comes
        return width, height
    return sizes.width, sizes.height
