import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for train_stand_ins


@pytest.fixture
def ctrl_c_raises() -> Iterator[None]:
    """As at a terminal; a shell's background jobs ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def do() -> Iterator[Callable[..., dict[str, Any]]]:
    """A job of tests/train/tiny_run.py, given by keywords, is done; what became of it is returned."""
    command = [sys.executable, str(Path(__file__).with_name("tiny_run.py"))]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        wants, answers = server.stdin, server.stdout

        def job(**wanted: Any) -> dict[str, Any]:
            wants.write(json.dumps(wanted, default=str) + "\n")
            wants.flush()
            return json.loads(answers.readline())

        yield job
        wants.close()
