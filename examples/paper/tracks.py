"""What jpeg_track.py and unknown_track.py share: weights trained on other LR images, against those trained on bicubic.

Tables go to standard output and, between two marks, into a page of the documentation; crops into a picture.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

import srzoo
from srzoo.benchmark import mean_psnr, mean_ssim
from srzoo.data import Degradation, Pair, find_set, pairs_from_hr
from srzoo.data.degraded_pairs import degrade_pairs, in_colour
from srzoo.files import replacing
from srzoo.metrics import Protocol, psnr

ROOT = Path(__file__).parents[2]
ASSETS = ROOT / "docs" / "assets" / "paper"
PHOTO = ROOT / "examples" / "images" / "coffee.png"
CROPS = ((24, 88), (212, 296))
"""Top and left of the crops of the photo that are shown."""
SIDE, ZOOM, CAPTION = 112, 2, 20
MOST_BYTES = 300_000
MARKS = "<!-- figures: {name} -->", "<!-- end of the figures -->"


@dataclass(frozen=True)
class Track:
    """A kind of LR images, and the weights trained for it.

    Args:
        name: Of the script and its files.
        tag: Of the weights.
        models: Names without a tag.
        inputs: What the LR images are called in tables -> how they are made, None for MATLAB's bicubic; the first is
            the track's own, and shown.
    """

    name: str
    tag: str
    models: tuple[str, ...]
    inputs: dict[str, Degradation | None]


@dataclass(frozen=True)
class System:
    """A column of the tables: a network, or the reason why there is none."""

    title: str
    model: srzoo.SRModel | None
    missing: str = ""


def read_weights(files: Sequence[Path], names: Sequence[str]) -> dict[str, srzoo.SRModel]:
    """Model name -> the model of a file.

    Raises:
        ValueError: If a file is of another model than those names, or two are of the same.
    """
    found: dict[str, srzoo.SRModel] = {}
    for file in files:
        model = srzoo.load_model(file)
        if model.name not in names:
            told = f"--weights: {file} is of {model.name or 'an unnamed model'}"
            raise ValueError(f"{told}; give weights of {', '.join(names)}, or name its model by --models")
        if model.name in found:
            raise ValueError(f"--weights: two files are of {model.name}; give one")
        found[model.name] = model
    return found


def open_systems(track: Track, name: str, given: srzoo.SRModel | None) -> list[System]:
    """Bicubic, the weights trained on bicubic, the track's own: what is given, else from the zoo."""
    info = srzoo.model_info(name)
    tags = [row.tag for row in info.weights]
    [scale] = info.scales
    bicubic = System("bicubic", srzoo.create_model(f"bicubic_x{scale}"))
    plain = next((tag for tag in tags if tag not in ("jpeg", "unknown")), None)
    trained = System(f"{name}.{plain}", srzoo.create_model(f"{name}.{plain}") if plain else None)
    title = f"{name}.{track.tag}"
    if given is not None:
        own = System(title, given)
    elif track.tag in tags:
        own = System(title, srzoo.create_model(title))
    else:
        own = System(title, None, f"{title} is not there yet: its column is left out")
    return [bicubic, trained, own]


def read_sets(names: Sequence[str], data: Sequence[Path], scale: int, limit: int | None) -> dict[str, list[Pair]]:
    """Pairs of each set that is in one of the folders; the others are told and left out."""
    found = {}
    for name in names:
        for folder in data:
            try:
                images = find_set(name, folder)
            except FileNotFoundError:
                continue
            found[images.name] = list(images.pairs(scale))[:limit]
            break
        else:
            print(f"{name} is in none of the folders and is left out")
    return found


def score_rows(
    systems: Sequence[System], inputs: dict[str, Degradation | None], sets: dict[str, list[Pair]]
) -> list[str]:
    """A table: a row for each kind of input and set, a column for each system, mean PSNR and SSIM of Y."""
    there = [system for system in systems if system.model is not None]
    last = there[-1].title
    gain = [f"gain of {last}"] if len(there) > 2 else []
    lines = ["| LR images | set | " + " | ".join([f"`{system.title}`" for system in there] + gain) + " |"]
    lines.append("| --- | --- |" + " --- |" * (len(there) + len(gain)))
    for kind, degradation in inputs.items():
        for name, pairs in sets.items():
            made = list(degrade_pairs(map(in_colour, pairs), degradation)) if degradation is not None else pairs
            scores = [srzoo.evaluate(system.model, made) for system in there if system.model is not None]
            cells = [f"{mean_psnr(one):.2f} / {mean_ssim(one):.4f}" for one in scores]
            if gain:
                cells.append(f"{mean_psnr(scores[-1]) - mean_psnr(scores[-2]):+.2f} dB")
            lines.append(f"| {kind} | {name} | {' | '.join(cells)} |")
            print(lines[-1], flush=True)
    return lines


@torch.inference_mode()
def draw_crops(systems: Sequence[System], degradation: Degradation | None, photo: Path, scale: int) -> Image.Image:
    """Crops of one photo, a row each: LR, each system, HR; captions with the PSNR of the whole photo."""
    [pair] = pairs_from_hr(photo, scale)
    if degradation is not None:
        [pair] = degrade_pairs([pair], degradation)
    lr, hr = pair.lr[None] / 255, pair.hr[None] / 255
    panels = [("LR", lr.repeat_interleave(scale, -1).repeat_interleave(scale, -2))]
    for system in systems:
        if system.model is not None:
            sr = system.model.eval()(lr, scale).clamp(0, 1)
            label = system.title.removeprefix("edsr_baseline_")
            panels.append((f"{label}, {psnr(sr, hr, Protocol.paper(scale)).item():.2f} dB", sr))
    panels.append(("original", hr))
    side = SIDE * ZOOM
    page = Image.new("RGB", (len(panels) * (side + 6) - 6, CAPTION + len(CROPS) * (side + 6) - 6), "white")
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(13)
    for i, (caption, image) in enumerate(panels):
        pen.text((i * (side + 6) + side / 2, 2), caption, fill="black", font=font, anchor="ma")
        pixels = (image[0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
        for j, (top, left) in enumerate(CROPS):
            top, left = min(top, len(pixels) - SIDE), min(left, pixels.shape[1] - SIDE)
            part = Image.fromarray(np.ascontiguousarray(pixels[top : top + SIDE, left : left + SIDE]))
            place = (i * (side + 6), CAPTION + j * (side + 6))
            page.paste(part.resize((side, side), Image.Resampling.NEAREST), place)
    return page


def save_small(picture: Image.Image, path: Path) -> None:
    """A PNG file below `MOST_BYTES`: with a palette if it must be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for colours in (None, 256, 64):
        made = picture if colours is None else picture.quantize(colours)
        with replacing(path) as work:
            made.save(work, format="PNG", optimize=True)
        if path.stat().st_size < MOST_BYTES:
            return


def put_into_page(page: Path, name: str, text: str) -> None:
    """Replace what is between the marks of a page.

    Raises:
        ValueError: If the page has not both marks.
    """
    start, end = (mark.format(name=name) for mark in MARKS)
    old = page.read_text(encoding="utf-8")
    before, found, rest = old.partition(start)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise ValueError(f"{page} lacks {start} or {end}")
    with replacing(page) as work:
        work.write_text(f"{before}{start}\n\n{text}\n\n{end}{after}", encoding="utf-8")


def run_track(track: Track, page: Path, doc: str, argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line, measure, write; returns the options."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="folders that the sets are in")
    parser.add_argument("--sets", nargs="+", default=["Set5", "Set14", "Kodak24"])
    parser.add_argument("--models", nargs="+", default=track.models)
    parser.add_argument(
        "--weights", type=Path, nargs="+", default=[], help="files or runs to take in place of the zoo's"
    )
    parser.add_argument("--limit", type=int, help="only the first so many images of each set")
    parser.add_argument("--photo", type=Path, default=PHOTO, help="what the crops are of")
    parser.add_argument("--assets", type=Path, default=ASSETS, help="folder of the pictures")
    parser.add_argument("--page", type=Path, default=page, help="page that the tables go into")
    args = parser.parse_args(argv)
    weights, blocks = read_weights(args.weights, args.models), []
    for name in args.models:
        [scale] = srzoo.model_info(name).scales
        systems = open_systems(track, name, weights.get(name))
        missing = [system.missing for system in systems if system.missing]
        for told in missing:
            print(told)
        rows = score_rows(systems, track.inputs, read_sets(args.sets, args.data, scale, args.limit))
        picture = args.assets / f"{track.name}_x{scale}.png"
        save_small(draw_crops(systems, next(iter(track.inputs.values())), args.photo, scale), picture)
        alt = f"{track.tag} at x{scale}: LR, results and original of two crops"
        todo = [f"Not measured yet: {told}; train it and start this script again." for told in missing]
        blocks.append("\n".join([f"### x{scale}", "", *todo, *([""] if todo else []), *rows]))
        blocks.append(f"![{alt}](../assets/paper/{picture.name})")
        print(picture)
    put_into_page(args.page, track.name, "\n\n".join(blocks))
    print(args.page)
    return args
