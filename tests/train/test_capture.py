import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

COMPILED = """
from dataclasses import replace
import torch
from train_stand_ins import CONFIG, Waves, tiny_edsr
from srzoo.train import Trainer

ends = []
for capture in ("none", "compile"):
    trainer = Trainer(tiny_edsr(), Waves(), replace(CONFIG, steps=4, capture=capture))
    ends.append(trainer.fit().state_dict())
assert ends[0].keys() == ends[1].keys()
for key, value in ends[0].items():
    torch.testing.assert_close(ends[1][key], value, rtol=1e-3, atol=1e-4)
counters = torch._dynamo.utils.counters
assert counters["stats"]["unique_graphs"] == 1, counters
assert not counters["graph_break"], counters
print("equal")
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_a_compiled_run_ends_as_an_eager_one():
    """In a process of its own, without the run-time type checks, which torch cannot compile."""
    path = os.pathsep.join((str(Path(__file__).parents[2]), str(Path(__file__).parent)))
    done = subprocess.run(
        [sys.executable, "-c", COMPILED], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}
    )
    assert done.stdout == "equal\n", done.stderr
