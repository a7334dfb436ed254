"""`srzoo convert`: other projects' checkpoints to weight files of ours, and back."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from srzoo.architecture import SRModel
from srzoo.cli.plain import plain
from srzoo.cli.training_options import parse_overrides
from srzoo.convert import PROJECTS, Conversion, convert_file, edsr_pytorch_options, save_edsr_pytorch
from srzoo.registry import open_model
from srzoo.version import __version__
from srzoo.weights import Header, file_sha256, save_model


def add(commands: Any) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "convert",
        help="convert other projects' checkpoints, and back",
        description="Turn a checkpoint of another project into a weight file, or a model of ours into a checkpoint of "
        "EDSR-PyTorch. The project is told by the names of the tensors, the size by their shapes.",
    )
    add_option = parser.add_argument
    add_option("input", metavar="SRC", help="checkpoint (.pt, .pth, .safetensors, .mat); with --to, a model of ours")
    add_option("-o", "--output", required=True, metavar="DST", help="file to write; .safetensors, with --to .pt")
    add_option("--model", metavar="NAME", help="model name (default: by the shapes of the tensors)")
    add_option("--from", dest="project", choices=("auto", *PROJECTS), default="auto", help="project that wrote SRC")
    add_option("--to", choices=("edsr-pytorch",), help="write the layout of that project")
    add_option("--range", type=float, metavar="N", help="what white is to the network, where changed: 1, 255")
    add_option("--set", action="append", default=[], metavar="KEY=VALUE", help="argument, such as res_scale=0.1")
    add_option("--license", default="", metavar="ID", help="SPDX identifier of the weights' licence, to record")
    add_option("--source", default="", metavar="TEXT", help="who trained the weights on what, to record")
    add_option("--overwrite", action="store_true", help="replace DST if it exists")
    add_option("--quiet", action="store_true", help="only warnings and errors")
    add_option("--json", action="store_true", help="machine-readable result")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Convert, and tell what was recognised."""
    _check_output(args)
    told = _back(args) if args.to else _forth(args)
    if args.json:
        print(json.dumps(told, indent=2))
    for warning in told["warnings"]:
        sys.stderr.write(plain(f"srzoo: {args.input}: {warning}") + "\n")
    if not (args.quiet or args.json):
        for line in _lines(told):
            print(plain(line))
    return 0


def _check_output(args: argparse.Namespace) -> None:
    """What is wrong with DST, before anything is read."""
    if empty := [word for word, text in (("SRC", args.input), ("--output", args.output)) if not text]:
        raise ValueError(f"{empty[0]} is empty; was a variable not set?")
    output, suffixes = Path(args.output), (".pt", ".pth") if args.to else (".safetensors",)
    if output.suffix not in suffixes:
        what = "EDSR-PyTorch reads" if args.to else "srzoo writes"
        raise ValueError(f"{output} does not end in {' or '.join(suffixes)}, which is what {what}")
    if not output.parent.is_dir():
        raise FileNotFoundError(f"folder {output.parent} does not exist; create it first")
    if output.exists() and Path(args.input).exists() and output.samefile(args.input):
        raise ValueError(f"{output} is the file to convert; write to another one")
    if output.exists() and not args.overwrite:
        raise FileExistsError(f"{output} exists; --overwrite replaces it")


def _forth(args: argparse.Namespace) -> dict[str, Any]:
    """Another project's checkpoint to a weight file of ours."""
    path = Path(args.input)
    done = convert_file(path, args.model, project=args.project, image_range=args.range, **parse_overrides(args.set))
    sha256 = file_sha256(path)
    origin = {"project": done.project, "file": path.name, "sha256": sha256, "image_range": done.image_range}
    title = PROJECTS.get(done.project, "the authors")
    source = f"converted by srzoo {__version__} from {path.name} of {title}, sha256 {sha256}"
    source = f"{args.source}; {source}" if args.source else source
    header = Header(model="", license=args.license, source=source, recipe={"converted": origin})
    save_model(done.model, args.output, header=header)
    return {
        "input": str(path),
        "output": args.output,
        **origin,
        **_recognised(done),
        **_facts(done.model),
        "license": args.license,
        "source": source,
        "warnings": list(done.warnings),
    }


def _recognised(done: Conversion) -> dict[str, Any]:
    return {
        "wrapper": list(done.wrapper),
        "left_out": list(done.left_out),
        "dtypes": list(done.dtypes),
        "range_assumed": done.range_assumed,
        "likeness": round(done.likeness, 1),
    }


def _facts(model: SRModel) -> dict[str, Any]:
    arguments = {key: value for key, value in model.arguments.items() if key != "scale"}
    return {"model": model.name, "parameters": sum(p.numel() for p in model.parameters()), "arguments": arguments}


def _back(args: argparse.Namespace) -> dict[str, Any]:
    """A model of ours to a checkpoint of EDSR-PyTorch."""
    given = {
        "--model": args.model,
        "--from": args.project != "auto",
        "--range": args.range,
        "--set": args.set,
        "--license": args.license,
        "--source": args.source,
    }
    if ignored := [option for option, value in given.items() if value]:
        raise ValueError(f"{ignored[0]} does not go with --to; SRC is a model of ours, which has all that")
    if Path(args.input).is_file() and Path(args.input).suffix != ".safetensors":
        raise ValueError(f"{args.input} is no weight file of srzoo's (.safetensors), which is what --to takes")
    model = open_model(args.input)
    save_edsr_pytorch(model, args.output)
    return {
        "input": args.input,
        "output": args.output,
        "project": args.to,
        **_facts(model),
        "options": edsr_pytorch_options(model),
        "license": model.origin.license if model.origin else "",
        "warnings": [],
    }


def _lines(told: dict[str, Any]) -> list[str]:
    """What was done, a fact a line."""
    shape = ", ".join(f"{key} {value}" for key, value in told["arguments"].items())
    model = f"{told['model']}, {told['parameters']:,} parameters ({shape})"
    if "options" in told:
        rows = {
            "model": model,
            "licence": f"{told['license'] or 'not known'}; the new file cannot say so, pass it on",
            "use": f"main.py {told['options']} --pre_train {told['output']}",
        }
    else:
        rows = {"project": PROJECTS.get(told["project"], "authors' MATLAB file")}
        if told["wrapper"]:
            rows["inside"] = " > ".join(told["wrapper"])
        if told["left_out"]:
            rows["not used"] = ", ".join(told["left_out"])
        rows["model"] = model
        if told["dtypes"] != ["float32"]:
            rows["tensors"] = f"{', '.join(told['dtypes'])}; written as float32"
        if white := told["image_range"]:
            assumed = "assumed; the file does not say; " if told["range_assumed"] else ""
            rows["range"] = f"0..{white:g}, {assumed}" + (
                "as here" if white == 255 else f"every bias times {255 / white:g}"
            )
        if "res_scale" in told["arguments"]:
            rows["res_scale"] = f"{told['arguments']['res_scale']:g}; tensors do not tell it, --set res_scale=N does"
        rows["check"] = (
            f"{told['likeness']} dB from bicubic on a smooth image; "
            "30 dB or more does not prove the range or the channel order"
        )
        rows["licence"] = told["license"] or "not recorded; --license ID does"
    return [f"{told['input']} -> {told['output']}", *(f"  {key:10} {value}" for key, value in rows.items())]
