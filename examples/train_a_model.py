"""Train a model on a folder of images, save it, load it back.

The default settings are a toy: they show the parts in seconds and give no useful model.

python examples/train_a_model.py photos/ runs/toy
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import srzoo
from srzoo.data import PatchSource, pairs_from_hr
from srzoo.train import Cosine, JsonLines, PlainProgress, TrainConfig, Trainer
from srzoo.weights import Header


def main(argv: Sequence[str] | None = None) -> None:
    """Train, save, load."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", help="folder of HR images")
    parser.add_argument("run", type=Path, help="folder to write to")
    parser.add_argument("--model", default="edsr_baseline_x2")
    parser.add_argument("--width", type=int, default=8)
    parser.add_argument("--blocks", type=int, default=2)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--patch-size", type=int, default=12)
    args = parser.parse_args(argv)

    model = srzoo.create_model(args.model, width=args.width, num_blocks=args.blocks)
    config = TrainConfig(
        steps=args.steps,
        batch_size=args.batch_size,
        patch_size=args.patch_size,
        lr=4e-4,
        schedule=Cosine(warmup=args.steps // 10),
        clip_norm=1.0,
        log_every=10,
        device="cpu",
    )
    trainer = Trainer(
        model,
        PatchSource(args.photos, scales=model.scales),
        config,
        folder=args.run,
        validation={"photos": pairs_from_hr(args.photos, model.scales[0])},
        callbacks=[JsonLines(args.run / "log.jsonl"), PlainProgress()],
    )
    trainer.resume()  # goes on with an interrupted run, if there is one
    trained = trainer.fit()
    assert isinstance(trained, srzoo.SRModel)

    path = args.run / f"{model.name}.safetensors"
    srzoo.save_model(trained, path, header=Header(model=model.name, recipe=trainer.recipe()))
    loaded = srzoo.load_model(path)  # the header says which model to build
    print(f"{path}: {loaded.name} with {dict(loaded.arguments)}")


if __name__ == "__main__":
    main()
