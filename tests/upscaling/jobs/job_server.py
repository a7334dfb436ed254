"""Runs `srzoo upscale` with the stand-in, in a process of its own for each line on standard input.

Where REAL_UPSCALER is set, it is the upscaler itself.

A line is {"arguments": [...], "environment": {...}, "log": path}. It answers with the process id, and with the exit
status once the process has ended. Forked after the imports, a process begins in milliseconds.
"""

import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import stand_in

import srzoo.cli.upscale
from srzoo.cli import main


def do(job: dict) -> None:
    """In the child: run the command and leave."""
    code = 99
    try:
        log = os.open(job["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.environ.update(job["environment"])
        stand_in.StandIn.strip_seconds = float(os.environ.get("STRIP_SECONDS", "0"))
        if "REAL_UPSCALER" not in os.environ:
            srzoo.cli.upscale.Upscaler = stand_in.StandIn
        try:
            code = main(["upscale", *job["arguments"]])
        except SystemExit as left:
            code = left.code
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code if isinstance(code, int) else 98)


def tell(**message: int) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    tell(ready=1)
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            do(json.loads(line))
        tell(pid=pid)
        tell(status=os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
