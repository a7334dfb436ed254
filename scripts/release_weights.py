"""Turn a trained weight file into one that ships: float16, measured, licensed, recorded in its model's file.

python scripts/release_weights.py RUN/model.safetensors --tag photos --bench BENCH --val Kodak24
python scripts/release_weights.py RUN/model.safetensors --tag jpeg --bench BENCH --val Kodak24 --degradation photo

BENCH holds Set5/HR and Set14/HR, --val any folder of HR images. The scores are those of the float16 file as users will
load it. Licences are counted as the run's own header has them, else by --manifest. A file that is not better than
the shipped one on every set is refused. In the end the row stands in srzoo/models/FAMILY.py, the scores that
tests/test_weights.py measures again in tests/images/scores.json, and a line for docs/log.md is printed.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

import srzoo
from srzoo.architecture import SRModel, Weights
from srzoo.benchmark import measure
from srzoo.data import Pair, pairs_from_hr
from srzoo.data.degraded import degrade_pairs
from srzoo.data.licences import count_pictures, pictures_of, read_licences, weights_licence
from srzoo.data.presets import find_preset
from srzoo.files import replacing
from srzoo.registry import architectures
from srzoo.weights import Header, file_sha256

sys.path.insert(0, str(Path(__file__).parent))
from weights_rows import edit_row, row_text  # beside this script

ROOT = Path(__file__).parent.parent
BUDGET = 45_000_000
"""Bytes that all bundled files may have together."""
NOT_COMPARED = ("examples", "pictures")
"""Sets that files are measured on again, and not chosen by."""
ROW_SETS = ("Set5", "Set14")
"""Sets that the row of bicubic-trained weights names; the header has all."""
TOLD = (*ROW_SETS, "Kodak24")
"""Sets of the log's line, in its order."""
Scores = Mapping[str, Mapping[str, Mapping[str, Any]]]


@dataclass(frozen=True)
class Places:
    """Where in the repository a release goes."""

    root: Path = ROOT

    @property
    def pretrained(self) -> Path:
        """Folder of bundled files."""
        return self.root / "srzoo" / "pretrained"

    @property
    def pictures(self) -> Path:
        """Folder of small pictures, with the scores of all files on them."""
        return self.root / "tests" / "images"

    def model_file(self, name: str) -> Path:
        """The file of a model's family."""
        [family] = [arch.family for arch in architectures().values() if name in arch.model_names()]
        return self.root / "srzoo" / "models" / f"{family}.py"


def set_folders(args: argparse.Namespace, places: Places) -> dict[str, Path]:
    """Set -> its folder, or its file."""
    folders = {name: args.bench / name / "HR" for name in ("Set5", "Set14")}
    if args.val is not None:
        folders[args.val.parent.name if args.val.name.upper() == "HR" else args.val.name] = args.val
    examples = places.root / "examples" / "images" / "coffee.png"
    return {**folders, "examples": examples, "pictures": places.pictures}


def pairs_of(folder: Path, scale: int, degradation: str) -> list[Pair]:
    """The pairs of a set at a scale; names of other LR images than bicubic's are in the set's name."""
    pairs = pairs_from_hr(folder, scale)
    if degradation == "bicubic":
        return pairs
    rgb = [replace(pair, hr=pair.hr.expand(3, -1, -1).contiguous(), lr=pair.lr.expand(3, -1, -1)) for pair in pairs]
    return list(degrade_pairs(rgb, find_preset(degradation)))


def score(model: SRModel, folders: Mapping[str, Path], degradation: str) -> dict[str, Any]:
    """Set -> scale -> psnr, ssim, images, protocol; "Kodak24 photo" is Kodak24 with the LR images of `photo`."""
    ending = "" if degradation == "bicubic" else f" {degradation}"
    found: dict[str, Any] = {}
    for name, folder in folders.items():
        pairs = [pair for scale in model.scales for pair in pairs_of(folder, scale, degradation)]
        found |= measure(model, {name + ending: pairs})
    return found


def licences(header: Header, manifest: Path | None) -> tuple[dict[str, int], int]:
    """Licence -> pictures, and the number of crops: as the run counted them, else of a manifest.

    Raises:
        ValueError: If neither says anything.
    """
    images = header.recipe.get("images") or {}
    if images.get("pictures"):
        return dict(images["pictures"]), images["drawn"]
    if manifest is None:
        raise ValueError("the run's header counts no licences; give --manifest CSV, or train with --licences CSV")
    given = read_licences(manifest)
    files = list(given.by_file)
    named = zip(map(given.of, files), pictures_of(files, given), strict=True)
    return count_pictures(named), len(files)


def licence_of(header: Header, pictures: Mapping[str, int], asked: str | None) -> str:
    """The licence of the weights: the one asked for, where pictures and start allow it, else what they ask for.

    Raises:
        ValueError: If they ask for another, or for none and none was asked for.
    """
    needed = weights_licence(header.license, pictures)
    if asked is None:
        if not needed:
            raise ValueError("no picture and no start asks for a licence; give --license ID, such as CC-BY-4.0")
        return needed
    if missing := set(needed.split(" AND ")) - {""} - set(asked.split(" AND ")):
        raise ValueError(f"--license is {asked}, but its pictures or start are under {' and '.join(sorted(missing))}")
    return asked


def not_better(new: Scores, old: Scores) -> list[str]:
    """A line for each set and scale at which the new file is not better."""
    lines = []
    for name in old:
        for scale, was in old[name].items() if name.split()[0] not in NOT_COMPARED else ():
            now = new.get(name, {}).get(scale)
            if now is not None and not now["psnr"] > was["psnr"]:
                lines.append(f"{name} {scale}: {now['psnr']:.3f}, shipped {was['psnr']:.3f}")
    return lines


def shipped_scores(path: Path, folders: Mapping[str, Path], degradation: str) -> dict[str, Any]:
    """The scores of the shipped file: of its header, and measured where that has none; nothing if there is no file."""
    if not path.exists():
        return {}
    found = dict(srzoo.read_header(path).metrics)
    ending = "" if degradation == "bicubic" else f" {degradation}"
    missing = {name: folders[name] for name in folders if name + ending not in found and name not in NOT_COMPARED}
    return found | (score(srzoo.load_model(path), missing, degradation) if missing else {})


def record_scores(path: Path, name: str, content: str, degradation: str, scores: Mapping[str, Any]) -> None:
    """Add what a file scores on the pictures to scores.json."""
    told = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    psnr = {scale: entry["psnr"] for scale, entry in scores.items()}
    told[name] = {"content": content, "degradation": degradation, "psnr": psnr}
    with replacing(path) as work:
        work.write_text(json.dumps(dict(sorted(told.items())), indent=2) + "\n", encoding="utf-8")


def log_line(row: Weights, header: Header, old: Scores, next_step: str) -> str:
    """A row for the table in docs/log.md."""

    def told(scores: Scores) -> str:
        named = [name for name in TOLD if name in scores] or [n for n in scores if n.split()[0] not in NOT_COMPARED]
        return " / ".join(" ".join(f"{one['psnr']:.2f}" for one in scores[name].values()) for name in named)

    recipe = header.recipe
    steps = f"{recipe.get('kept_step', recipe.get('steps', 0)):,} of {recipe.get('config', {}).get('steps', 0):,}"
    was = f" (was {told({name: old[name] for name in header.metrics if name in old})})" if old else ""
    cells = [
        f"`{row.model}.{row.tag}`",
        ", ".join(filter(None, (f"from {recipe['start']}" if recipe.get("start") else "", recipe.get("note", "")))),
        steps,
        f"{recipe.get('seconds', 0) / 3600:.2f}",
        f"{recipe.get('device', '')}, {recipe.get('precision', '')}",
        told(header.metrics) + was,
        next_step,
    ]
    return f"| {' | '.join(cells)} |"


def draft(args: argparse.Namespace, places: Places) -> tuple[SRModel, Header, Path, dict[str, Any]]:
    """The model in float16 values, its header, where it goes, and the scores of the file that is there.

    Raises:
        ValueError: If it is not better than the shipped file, or its licence is not known.
    """
    header = srzoo.read_header(args.weights)
    model = srzoo.load_model(args.weights)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(tensor.half())
    pictures, crops = licences(header, args.manifest)
    licence = licence_of(header, pictures, args.license)
    target = places.pretrained / f"{model.name}.{args.tag}.safetensors"
    folders = set_folders(args, places)
    metrics = score(model, folders, args.degradation)
    old = shipped_scores(target, folders, args.degradation)
    note = args.note or ""
    if worse := not_better(metrics, old):
        if not args.force:
            raise ValueError(f"{target.name} is not better on every set ({'; '.join(worse)}); --force ships it anyway")
        note = "; ".join(filter(None, (note, f"shipped though not better on {', '.join(worse)}")))
    lr_images = "MATLAB's bicubic" if args.degradation == "bicubic" else repr(find_preset(args.degradation))
    scored_on = {"degradation": args.degradation, "lr_images": lr_images}
    recipe = {**header.recipe, "pictures": pictures, "scored_on": scored_on, **({"note": note} if note else {})}
    what = f"{crops} crops of {sum(pictures.values())}" if crops != sum(pictures.values()) else str(crops)
    source = args.source or f"srzoo, trained on {what} freely licensed photographs"
    full = Header(model=model.name, license=licence, source=source, recipe=recipe, metrics=metrics)
    return model, full, target, old


def check_budget(model: SRModel, header: Header, target: Path) -> None:
    """See that all bundled files together stay small.

    Raises:
        ValueError: If they do not.
    """
    with tempfile.TemporaryDirectory() as folder:
        trial = Path(folder) / target.name
        srzoo.save_model(model, trial, torch.float16, header=header)
        others = sum(path.stat().st_size for path in target.parent.glob("*.safetensors") if path != target)
        total = others + trial.stat().st_size
    if total >= BUDGET:
        raise ValueError(f"bundled files would be {total:,} bytes, and {BUDGET:,} are too many")


def release(args: argparse.Namespace, places: Places) -> Weights:
    """Measure, write the file, record it; returns its row.

    Raises:
        ValueError: If it is not better than the shipped file, its licence is not known, or there is no room for it.
    """
    model, header, target, old = draft(args, places)
    check_budget(model, header, target)
    module = places.model_file(model.name)
    named = [name for name in header.metrics if name.split()[0] not in NOT_COMPARED]
    row = Weights(
        model=model.name,
        tag=args.tag,
        file=target.name,
        sha256="0" * 64,
        license=header.license,
        source=header.source,
        metrics={
            name: {scale: one["psnr"] for scale, one in header.metrics[name].items()}
            for name in named
            if args.degradation != "bicubic" or name in ROW_SETS
        },
    )
    edit_row(module.read_text(encoding="utf-8"), row)  # before anything is written
    header = srzoo.save_model(model, target, torch.float16, header=header)
    row = replace(row, sha256=file_sha256(target))
    with replacing(module) as work:
        work.write_text(edit_row(module.read_text(encoding="utf-8"), row), encoding="utf-8")
    [pictures] = [scores for name, scores in header.metrics.items() if name.split()[0] == "pictures"]
    name = f"{row.model}.{row.tag}"
    record_scores(places.pictures / "scores.json", name, header.content, args.degradation, pictures)
    print(f"{target} ({target.stat().st_size:,} bytes)")
    print(row_text(row))
    for name, entry in header.metrics.items():
        print(name, entry)
    print(log_line(row, header, old, args.next or ""))
    return row


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("weights", type=Path)
    add("--tag", required=True)
    add("--bench", type=Path, required=True, help="folder with Set5/HR and Set14/HR")
    add("--val", type=Path, help="another folder of HR images, such as Kodak24")
    add("--manifest", type=Path, help="CSV with columns file, licence, original, for a run that counted no licences")
    add("--degradation", default="bicubic", help="preset that makes the LR images to score on (srzoo.data.presets)")
    add("--license", help="SPDX identifier (default: what start and pictures ask for)")
    add("--source", help="who trained them, on what (default: by the counts)")
    add("--note", help="what the recipe does not say")
    add("--next", help="next step, for docs/log.md")
    add("--force", action="store_true", help="ship a file that is not better than the shipped one; the note says so")
    return parser


def main(argv: list[str] | None = None, places: Places | None = None) -> int:
    """Read the command line."""
    args = parser().parse_args(argv)
    try:
        release(args, places or Places())
    except (ValueError, OSError) as error:
        print(f"release_weights: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
