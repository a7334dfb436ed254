"""The command line: `srzoo upscale`, `benchmark`, `train` and so on; one file a subcommand."""

import argparse
import difflib
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from typing import NoReturn

from srzoo.cli.plain import plain_lines
from srzoo.version import __version__

LIGHTER = {
    "train": "a smaller --batch-size or --patch-size",
    "downscale": "--workers 1",
    "upscale": "a smaller --memory",
}
"""Subcommand -> what takes less memory; for the others it is `--tile`."""


class _Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one sentence."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and leave with exit code 2; for an unknown option, name the nearest there is."""
        unknown = [word for word in message.split() if word.startswith("--")]
        if message.startswith("unrecognized arguments") and unknown:
            known = [option for parser in _parsers(self) for option in parser._option_string_actions]
            near = difflib.get_close_matches(unknown[0].partition("=")[0], known, 1)
            message += f"; did you mean {near[0]}?" if near else ""
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


class _Plain(logging.Formatter):
    """Log lines in which file names and other people's texts cannot steer the terminal."""

    def format(self, record: logging.LogRecord) -> str:
        return plain_lines(super().format(record))


def _parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """A parser and those of its subcommands."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                yield from _parsers(below)


def build_parser() -> argparse.ArgumentParser:
    """The parser of every subcommand; each sets `run`, which takes the arguments and returns the exit code."""
    from srzoo.cli import benchmark, compare, convert, downscale, info, list, train, upscale

    parser = _Parser(prog="srzoo", description="The model zoo for single-image super-resolution.")
    parser.add_argument("--version", action="version", version=f"srzoo {__version__}")
    commands = parser.add_subparsers(metavar="command", required=True)
    for module in (upscale, list, info, benchmark, compare, train, downscale, convert):
        module.add(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; 0 if all went well, 1 if part of a job failed, 2 for a user's mistake.

    A mistake is told in one sentence on standard error; with `SRZOO_TRACEBACK` set, the traceback comes too.
    """
    handler = logging.StreamHandler()
    handler.addFilter(lambda record: record.name == "srzoo" or record.levelno >= logging.WARNING)
    handler.setFormatter(_Plain("srzoo: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    try:
        parser = build_parser()  # which loads most of srzoo: Ctrl+C may come in already
    except KeyboardInterrupt:
        return _interrupted()
    args = parser.parse_args(argv)
    try:
        return args.run(args)
    except BrokenPipeError:  # the reader of our output, such as head, has gone
        sys.stderr.close()
        return 0
    except KeyboardInterrupt:
        return _interrupted()
    except (ValueError, TypeError, OSError, ImportError, MemoryError, RuntimeError) as error:
        is_memory = isinstance(error, MemoryError) or (
            isinstance(error, RuntimeError) and "memory" in str(error).lower()
        )
        if os.environ.get("SRZOO_TRACEBACK") or (isinstance(error, RuntimeError) and not is_memory):
            raise
        command = args.run.__module__.rpartition(".")[2]
        hint = f"; there is not enough memory, try {LIGHTER.get(command, '--tile')}" if is_memory else ""
        sys.stderr.write(f"srzoo: {plain_lines(str(error)) or type(error).__name__}{hint}\n")
        return 2


def _interrupted() -> int:
    sys.stderr.write("srzoo: interrupted\n")
    return 130
