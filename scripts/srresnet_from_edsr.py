"""Write a weight file of SRResNet that gives what an EDSR gives, to start its training from.

python scripts/srresnet_from_edsr.py --from edsr_baseline_x4 --images photos/ -o srresnet_x4.start.safetensors
srzoo train --model srresnet_x4 --init srresnet_x4.start.safetensors --data photos/

Batch norm's averages are measured on LR patches drawn as the training draws them.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

import srzoo
from srzoo.benchmark import measure
from srzoo.data import PatchSource, pairs_from_hr
from srzoo.registry import open_model
from srzoo.train import srresnet_from_edsr
from srzoo.train.finetune import name_weights
from srzoo.weights import Header


def write_start(args: argparse.Namespace) -> None:
    """Write the file; say what both networks score where there are images to score on."""
    source = open_model(args.source)
    [scale] = source.scales
    patches = PatchSource(args.images, scales=(scale,), channels=source.channels)
    rng = np.random.default_rng(args.seed)
    sizes = dict(batch_size=args.batch_size, patch_size=args.patch_size)
    batches = (patches.sample(rng, scale=scale, **sizes)[0].float() / 255 for _ in range(args.batches))
    model = srresnet_from_edsr(source, batches)
    origin = name_weights(source)
    license_ = source.origin.license if source.origin is not None else ""
    recipe = {"start": origin, "batches": args.batches, **sizes, "seed": args.seed}
    srzoo.save_model(model, args.output, header=Header(model="", license=license_, source=origin, recipe=recipe))
    print(f"{args.output}: {model.name} from {origin}")
    for folder in args.bench or ():
        pairs = {folder.parent.name: pairs_from_hr(folder, scale)}
        for told, network in ((origin, source), (model.name, srzoo.load_model(args.output))):
            print(told, measure(network, pairs))


def main(argv: Sequence[str] | None = None) -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="source", required=True, help="a single-scale EDSR: name, name.tag or file")
    parser.add_argument("--images", type=Path, required=True, help="folder of HR images")
    parser.add_argument("-o", "--output", type=Path, required=True, help="weight file to write (.safetensors)")
    parser.add_argument("--batches", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--patch-size", type=int, default=48, help="LR pixels")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bench", type=Path, action="append", help="folder of HR images to score on: bench/Set5/HR")
    with torch.no_grad():
        write_start(parser.parse_args(argv))


if __name__ == "__main__":
    main()
