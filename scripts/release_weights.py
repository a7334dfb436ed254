"""Turn a trained weight file into one that ships: float16, measured, licensed, recorded in its model's file.

python scripts/release_weights.py RUN/model.safetensors --tag photos --bench BENCH --val Kodak24
python scripts/release_weights.py RUN/model.safetensors --tag jpeg --bench BENCH --val Kodak24 --degradation photo

BENCH holds Set5/HR and Set14/HR, --val any folder of HR images. The scores are those of the float16 file as users will
load it. Licences are counted as the run's own header has them, else by --manifest. A file that is not better than
the shipped one on every set that one was measured on is refused. In the end the row stands in srzoo/models/FAMILY.py,
the scores that tests/test_weights.py measures again in tests/images/scores.json, and a line for docs/log.md is printed.

A file too large for the package goes to the Hub: `--hub owner/name` writes it beside RUN's, to be uploaded as
model.safetensors, and the same with `--hub owner/name@COMMIT` then writes its row.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import srzoo
from srzoo.architecture import SRModel, Weights
from srzoo.benchmark import measure
from srzoo.data.degraded_pairs import pairs_by_preset
from srzoo.data.licences import count_pictures, pictures_of, read_licences, weights_licence
from srzoo.data.presets import find_preset
from srzoo.files import replacing
from srzoo.hub import FILE, HubFile, fetch, find_weights
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
ORDER = (*ROW_SETS, "Kodak24")
"""Order of the sets in rows and in the log; others come after them."""
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


def score(model: SRModel, folders: Mapping[str, Path], degradation: str) -> dict[str, Any]:
    """Set -> scale -> psnr, ssim, images, protocol; "Kodak24 photo" is Kodak24 with the LR images of `photo`."""
    ending = "" if degradation == "bicubic" else f" {degradation}"
    found: dict[str, Any] = {}
    for name, folder in folders.items():
        pairs = [pair for scale in model.scales for pair in pairs_by_preset(folder, scale, degradation)]
        found |= measure(model, {name + ending: pairs})
    return found


def score_one(model: SRModel, folder: Path, degradation: str) -> dict[str, Any]:
    """The smallest image of a folder, and scale -> its PSNR: what is quickly measured again."""
    found: dict[str, Any] = {}
    name = ""
    for scale in model.scales:
        pair = min(pairs_by_preset(folder, scale, degradation), key=lambda one: (one.hr[0].numel(), one.name))
        name = pair.name
        found[f"x{scale}"] = measure(model, {name: [pair]})[name][f"x{scale}"]["psnr"]
    return {"image": name, "psnr": found}


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


def compared(scores: Scores) -> list[str]:
    """The sets that files are compared on, in the order they are told in; "Set5 photo" stands where "Set5" does."""
    named = [name for name in scores if name.split()[0] not in NOT_COMPARED]
    return sorted(named, key=lambda name: (*ORDER, name.split()[0]).index(name.split()[0]))


def not_better(new: Scores, old: Scores) -> list[str]:
    """A line for each set and scale at which the new file is not better than the shipped one, or was not measured."""
    lines = []
    for name in compared(old):
        for scale, was in old[name].items():
            now = new.get(name, {}).get(scale)
            if now is None:
                lines.append(f"{name} {scale}: not measured, {_how_measured(name)}")
            elif not now["psnr"] > was["psnr"]:
                lines.append(f"{name} {scale}: {now['psnr']:.3f}, shipped {was['psnr']:.3f}")
    return lines


def _how_measured(name: str) -> str:
    """What to give, for a set to be measured."""
    base, _, preset = name.partition(" ")
    options = ["--val"] if base not in ROW_SETS else []
    options += [f"--degradation {preset}"] if preset else []
    return f"give {' '.join(options)}" if options else "leave --degradation out"


def shipped_file(target: Path, tag: str) -> Path | None:
    """The file that ships now: a bundled one, or the one of a row on the Hub."""
    if target.exists():
        return target
    rows = (row for arch in architectures().values() for row in arch.weights if row.hub)
    row = next((row for row in rows if f"{row.model}.{tag}.safetensors" == target.name and row.tag == tag), None)
    return find_weights(row) if row is not None else None


def shipped_scores(path: Path | None, folders: Mapping[str, Path], degradation: str) -> dict[str, Any]:
    """The scores of the shipped file: of its header, and measured where that has none; nothing if there is no file."""
    if path is None:
        return {}
    found = dict(srzoo.read_header(path).metrics)
    ending = "" if degradation == "bicubic" else f" {degradation}"
    missing = {name: folders[name] for name in folders if name + ending not in found and name not in NOT_COMPARED}
    return found | (score(srzoo.load_model(path), missing, degradation) if missing else {})


def record_scores(path: Path, name: str, header: Header, set5: Mapping[str, Any]) -> None:
    """Add what a file scores on the pictures, and on one image of Set5, to scores.json."""
    told = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    [pictures] = [scores for name, scores in header.metrics.items() if name.split()[0] == "pictures"]
    psnr = {scale: entry["psnr"] for scale, entry in pictures.items()}
    degradation = header.recipe["scored_on"]["degradation"]
    told[name] = {"content": header.content, "degradation": degradation, "psnr": psnr, "set5": dict(set5)}
    with replacing(path) as work:
        work.write_text(json.dumps(dict(sorted(told.items())), indent=2) + "\n", encoding="utf-8")


def log_line(model: str, tag: str, header: Header, old: Scores, next_step: str) -> str:
    """A row for the table in docs/log.md."""

    def told(scores: Scores) -> str:
        return " / ".join(" ".join(f"{one['psnr']:.2f}" for one in scores[name].values()) for name in compared(scores))

    recipe = header.recipe
    steps = f"{recipe.get('kept_step', recipe.get('steps', 0)):,} of {recipe.get('config', {}).get('steps', 0):,}"
    was = f" (was {told({name: old[name] for name in header.metrics if name in old})})" if old else ""
    cells = [
        f"`{model}.{tag}`",
        ", ".join(filter(None, (f"from {recipe['start']}" if recipe.get("start") else "", recipe.get("note", "")))),
        steps,
        f"{recipe.get('seconds', 0) / 3600:.2f}",
        f"{recipe.get('device', '')}, {recipe.get('precision', '')}",
        told(header.metrics) + was,
        next_step,
    ]
    return f"| {' | '.join(cells)} |"


def told_start(start: str) -> str:
    """What a run started from, where its header has paths of one machine: the model and the content of each file."""
    words = []
    for word in start.split():
        path = Path(word) / FILE if Path(word).is_dir() else Path(word)
        if "/" in word and path.is_file():
            header = srzoo.read_header(path)
            word = f"{header.model} (content {header.content[:8]})"
        elif "/" in word and not word.startswith("hf-hub:"):
            print(
                f"release_weights: {word}, which the run started from, is not here; tell it by --start", file=sys.stderr
            )
            word = Path(word).name
        words.append(word)
    return " ".join(words)


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
    old = shipped_scores(shipped_file(target, args.tag), folders, args.degradation)
    note = args.note or ""
    if worse := not_better(metrics, old):
        if not args.force:
            raise ValueError(f"{target.name} is not better on every set ({'; '.join(worse)}); --force ships it anyway")
        told = [line.partition(", give ")[0] for line in worse]
        note = "; ".join(filter(None, (note, f"shipped though not better on {', '.join(told)}")))
    lr_images = "MATLAB's bicubic" if args.degradation == "bicubic" else repr(find_preset(args.degradation))
    scored_on = {"degradation": args.degradation, "lr_images": lr_images}
    recipe = {**header.recipe, "pictures": pictures, "scored_on": scored_on, **({"note": note} if note else {})}
    if recipe.get("start"):
        recipe["start"] = args.start or told_start(recipe["start"])
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
        raise ValueError(
            f"bundled files would be {total:,} bytes, and {BUDGET:,} are too many; --hub owner/name puts it on the Hub"
        )


def row_of(header: Header, path: Path, tag: str, hub: str = "") -> Weights:
    """The row of a file that is written; it names those sets that users know."""
    is_bicubic = header.recipe["scored_on"]["degradation"] == "bicubic"
    metrics = {
        name: {scale: one["psnr"] for scale, one in header.metrics[name].items()}
        for name in compared(header.metrics)
        if not is_bicubic or name in ROW_SETS
    }
    return Weights(
        model=header.model,
        tag=tag,
        file="" if hub else path.name,
        sha256=file_sha256(path),
        license=header.license,
        source=header.source,
        metrics=metrics,
        hub=hub,
    )


def write_row(row: Weights, places: Places) -> None:
    """Put a row into its model's file."""
    module = places.model_file(row.model)
    text = edit_row(module.read_text(encoding="utf-8"), row)
    with replacing(module) as work:
        work.write_text(text, encoding="utf-8")
    print(row_text(row))


def tell(path: Path, header: Header) -> None:
    """Say what was written."""
    print(f"{path} ({path.stat().st_size:,} bytes)")
    for name, entry in header.metrics.items():
        print(name, entry)


def release(args: argparse.Namespace, places: Places) -> None:
    """Measure, write the file, record it; for the Hub, write the file alone.

    Raises:
        ValueError: If it is not better than the shipped file, its licence is not known, or there is no room for it.
    """
    model, header, target, old = draft(args, places)
    if args.hub:
        path = args.weights.parent / target.name
        header = srzoo.save_model(model, path, torch.float16, header=header)
        tell(path, header)
        print(f"upload it to {args.hub} as {FILE}, then give --hub {args.hub}@COMMIT")
        return
    check_budget(model, header, target)
    trial = Weights(model=model.name, tag=args.tag, sha256="", license="", source="")
    edit_row(places.model_file(model.name).read_text(encoding="utf-8"), trial)  # before anything is written
    set5 = score_one(model, args.bench / "Set5" / "HR", args.degradation)
    header = srzoo.save_model(model, target, torch.float16, header=header)
    write_row(row_of(header, target, args.tag), places)
    record_scores(places.pictures / "scores.json", f"{model.name}.{args.tag}", header, set5)
    tell(target, header)
    print(log_line(model.name, args.tag, header, old, args.next or ""))


def record_uploaded(args: argparse.Namespace, places: Places) -> None:
    """Write the row of a file that is on the Hub at a commit; a bundled file in whose place it comes goes.

    Raises:
        ValueError: If the file has not been made, or the one on the Hub is another.
        OSError: If it cannot be fetched.
    """
    model = srzoo.read_header(args.weights).model
    path = args.weights.parent / f"{model}.{args.tag}.safetensors"
    if not path.is_file():
        raise ValueError(f"{path} is not there; make it with --hub {args.hub.partition('@')[0]}, and upload it")
    row = row_of(srzoo.read_header(path), path, args.tag, hub=args.hub.removeprefix("hf-hub:"))
    fetch(HubFile.parse(args.hub), row.sha256)
    write_row(row, places)
    (places.pretrained / path.name).unlink(missing_ok=True)
    scores = places.pictures / "scores.json"
    told = json.loads(scores.read_text(encoding="utf-8")) if scores.exists() else {}
    if told.pop(f"{model}.{args.tag}", None):  # only bundled files are measured again
        scores.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    print(log_line(model, args.tag, srzoo.read_header(path), {}, args.next or ""))


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
    add("--start", help="what the run started from (default: as its header says)")
    add("--hub", metavar="OWNER/NAME[@COMMIT]", help="ship it on the Hub, not in the package")
    add("--note", help="what the recipe does not say")
    add("--next", help="next step, for docs/log.md")
    add("--force", action="store_true", help="ship a file that is not better than the shipped one; the note says so")
    return parser


def main(argv: list[str] | None = None, places: Places | None = None) -> int:
    """Read the command line."""
    args = parser().parse_args(argv)
    try:
        is_uploaded = bool(args.hub) and HubFile.parse(args.hub).is_pinned
        (record_uploaded if is_uploaded else release)(args, places or Places())
    except (ValueError, OSError) as error:
        print(f"release_weights: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
