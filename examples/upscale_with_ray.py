"""Upscale a folder of images with the workers of a Ray cluster, or of this machine if there is no cluster.

python examples/upscale_with_ray.py examples/images results --model edsr_baseline_x4
python examples/upscale_with_ray.py /shared/photos /shared/results --address auto --workers 16

On a cluster both folders must be on storage that all machines share, at the same path.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from srzoo.image import FORMATS
from srzoo.integrations.ray import upscale_dataset

try:
    import ray
    import ray.data
except ImportError as error:
    raise SystemExit(f'this example needs Ray ({error}): pip install "srzoo[ray]"') from None


def main(argv: Sequence[str] | None = None) -> None:
    """Upscale what is not there yet, and tell what failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="images, in folders of any depth")
    parser.add_argument("results", type=Path, help="where the same tree of PNG files is made")
    parser.add_argument("--model", default="edsr_baseline_x4")
    parser.add_argument("--workers", type=int, help="how many; as many as there is room for by default")
    parser.add_argument("--address", help="of a running cluster; 'auto' finds the one this machine is part of")
    args = parser.parse_args(argv)

    folder, results = args.folder.resolve(), args.results.resolve()
    images = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in FORMATS]
    targets = {path: results / f"{path.relative_to(folder)}.png" for path in images}  # a.jpg and a.png stay apart
    # Results are written whole or not at all, so one that exists was made by an earlier run.
    rows = [{"image": str(path), "sr": str(to)} for path, to in targets.items() if not to.exists()]
    for parent in {to.parent for to in targets.values()}:
        parent.mkdir(parents=True, exist_ok=True)

    failed = 0
    if rows:
        ray.init(address=args.address)
        photos = ray.data.from_items(rows)
        for row in upscale_dataset(photos, args.model, num_workers=args.workers).iter_rows():
            failed += bool(row["error"])
            print(row["image"], "->", row["sr"] or f"failed: {row['error']}")
        ray.shutdown()
    print(f"{len(rows) - failed} made, {len(images) - len(rows)} there already, {failed} failed")
    if failed:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
