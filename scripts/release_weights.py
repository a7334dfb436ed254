"""Turn a trained weight file into one that ships: float16, measured, licensed; prints its row for the model's file.

python scripts/release_weights.py RUN/edsr_baseline_x2.safetensors --tag photos --bench BENCH --manifest photos.csv

BENCH holds Set5/HR, Set14/HR and so on; the scores are those of the float16 file as users will load it.
"""

import argparse
import csv
from collections import Counter
from pathlib import Path

import torch

import srzoo
from srzoo.benchmark import measure
from srzoo.data import pairs_from_hr
from srzoo.hub import PRETRAINED
from srzoo.weights import Header, file_sha256

EXAMPLE = Path(__file__).parent.parent / "examples" / "images" / "coffee.png"
SETS = ("Set5", "Set14")


def licences(manifest: Path) -> dict[str, int]:
    """How many training pictures came under which licence (names of photographers left out)."""
    with open(manifest, newline="", encoding="utf-8") as file:
        names = [row["licence"].split(" (")[0].strip('"') for row in csv.DictReader(file)]
    return dict(sorted(Counter(name[0].upper() + name[1:] for name in names).items()))


def release(args: argparse.Namespace) -> None:
    """Write the file and print its row."""
    header = srzoo.read_header(args.weights)
    model = srzoo.load_model(args.weights)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            tensor.copy_(tensor.half().float())
    folders = {**{name: args.bench / name / "HR" for name in SETS}, "examples": EXAMPLE}
    sets = {name: [p for s in model.scales for p in pairs_from_hr(folder, s)] for name, folder in folders.items()}
    metrics = measure(model, sets)
    recipe = {**header.recipe, "pictures": licences(args.manifest)}
    if args.note:
        recipe["note"] = args.note
    target = PRETRAINED / f"{model.name}.{args.tag}.safetensors"
    full = Header(model=model.name, license=args.license, source=args.source, recipe=recipe, metrics=metrics)
    srzoo.save_model(model, target, torch.float16, header=full)
    row = {name: {scale: value["psnr"] for scale, value in metrics[name].items()} for name in SETS}
    print(f"{target} ({target.stat().st_size:,} bytes)")
    print(f"""        Weights(
            model="{model.name}",
            tag="{args.tag}",
            file="{target.name}",
            sha256="{file_sha256(target)}",
            license="{args.license}",
            source="{args.source}",
            metrics={row},
        ),""")
    for name, entry in metrics.items():
        print(name, entry)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--tag", required=True)
    parser.add_argument("--bench", type=Path, required=True)
    parser.add_argument("--manifest", type=Path, required=True, help="CSV with a column licence")
    parser.add_argument("--license", default="CC-BY-SA-4.0")
    parser.add_argument("--source", default="srzoo, trained on 948 crops of 471 freely licensed photographs")
    parser.add_argument("--note", help="what the recipe does not say")
    release(parser.parse_args())


if __name__ == "__main__":
    main()
