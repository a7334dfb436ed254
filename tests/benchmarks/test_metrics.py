"""benchmarks/metrics.py at toy size: its figures agree with one another, and the results with scikit-image's."""

import json
from pathlib import Path

import pytest
import torch

TOY = ["--device=cpu", "--size=70x45", "--rounds=1"]


def test_each_input_has_both_metrics_and_scikit_images_results(module, capsys):
    assert module.main([*TOY, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["image"] == "70x45"
    assert [(row["input"], row["metric"]) for row in found["rows"]] == [
        (kind, metric) for kind in ("Y, uint8", "Y, float32", "RGB to Y, float32") for metric in ("psnr", "ssim")
    ]
    for row in found["rows"]:
        assert row["times_as_fast"] == pytest.approx(row["scikit_image_seconds"] / row["seconds"])
        exact = row["metric"] == "ssim" or row["input"] != "Y, uint8"  # of bytes, scikit-image's PSNR is float32
        assert row["difference"] < (1e-6 if exact else 1e-3)


def test_it_prints_a_table(module, capsys):
    assert module.main(TOY) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 8
    assert lines[0].startswith("70x45, cpu")
    assert "RGB to Y, float32" in lines[-1]


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="memory is read from Linux's /proc")
def test_memory_is_what_a_call_adds(module):
    device = torch.device("cpu")
    assert 60 < module.added_memory(lambda: torch.ones(2**23 * 2), device) < 80  # 64 MiB of float32, given back
    assert module.added_memory(lambda: None, device) < 8


@pytest.mark.gpu
def test_ssim_of_a_4k_pair_is_ten_times_as_fast_on_a_gpu(module, capsys):
    assert module.main(["--device=cuda", "--rounds=3", "--json"]) == 0
    for row in json.loads(capsys.readouterr().out)["rows"]:
        assert row["difference"] < (1e-6 if row["metric"] == "ssim" else 1e-3)
        assert row["memory_mib"] < 256
        assert row["metric"] == "psnr" or row["times_as_fast"] > 10
