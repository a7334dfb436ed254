"""Small networks, data made in memory and callbacks for the tests of training."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import srzoo
from srzoo.train import Callback, Row, Run, TrainConfig, Trainer

CONFIG = TrainConfig(steps=6, batch_size=2, patch_size=6, lr=1e-2, precision="fp32", device="cpu", ema_decay=0.9)


class Waves:
    """Patches of sine waves at random frequencies, made in memory: a source that is no PatchSource."""

    def __init__(self, scales: tuple[int, ...] = (2,), fingerprint: str = "waves") -> None:
        self.scales = scales
        self.fingerprint = fingerprint
        self.drawn: list[str] = []
        """Hash of each batch that was drawn."""

    def check(self, patch_size: int) -> None:
        pass

    def sample(
        self,
        rng: np.random.Generator,
        *,
        scale: int,
        batch_size: int,
        patch_size: int,
        part: slice = slice(None),
    ) -> tuple[Tensor, Tensor]:
        y, x = np.mgrid[: patch_size * scale, : patch_size * scale] / scale
        a, b = rng.uniform(0.2, 1, (2, batch_size, 3, 1, 1))
        hr = torch.from_numpy((127.5 + 127.5 * np.sin(a * x + b * y)).round().astype(np.uint8))
        lr = nn.functional.avg_pool2d(hr.float(), scale).round().to(torch.uint8)
        self.drawn.append(hashlib.sha256(hr.numpy().tobytes()).hexdigest())
        return lr[part], hr[part]


def plain_network(scale: int = 2, seed: int = 0) -> nn.Sequential:
    """A network that knows nothing of the zoo: one convolution and a pixel shuffle."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 3 * scale**2, 3, padding=1), nn.PixelShuffle(scale))


def tiny_edsr(seed: int = 0, **overrides: Any) -> srzoo.SRModel:
    torch.manual_seed(seed)
    return srzoo.create_model("edsr_baseline_x2", **{"width": 4, "num_blocks": 1, **overrides})


def tiny_mdsr(seed: int = 0) -> srzoo.SRModel:
    torch.manual_seed(seed)
    return srzoo.create_model("mdsr_baseline", width=4, num_blocks=1)


class Rows(Callback):
    """Keeps each row it is told, and counts how often the run started and ended."""

    def __init__(self, act: Callable[[Run, Row], None] = lambda run, row: None) -> None:
        self.rows: list[Row] = []
        self.starts: list[int] = []
        self.saved: list[int] = []
        self.closed = 0
        self.act = act

    def start(self, run: Run) -> None:
        self.starts.append(run.step)

    def log(self, run: Run, row: Row) -> None:
        self.rows.append(row)
        self.act(run, row)

    def saving(self, run: Run) -> None:
        self.saved.append(run.step)

    def close(self, run: Run) -> None:
        self.closed += 1

    def of(self, key: str) -> list[Row]:
        """The rows that have a key."""
        return [row for row in self.rows if key in row]


def stop_at(step: int) -> Rows:
    """A callback that interrupts the run in the loss row of a step."""

    def act(run: Run, row: Row) -> None:
        if row["step"] == step:
            raise KeyboardInterrupt

    return Rows(act)


def interrupted(make: Callable[..., nn.Module], config: TrainConfig, folder: Path, step: int, **options: Any) -> Waves:
    """Run until an interrupt after `step`; returns the data, which knows its batches."""
    data = Waves()
    trainer = Trainer(make(), data, replace(config, log_every=1), folder=folder, callbacks=[stop_at(step)], **options)
    with pytest.raises(KeyboardInterrupt):
        trainer.fit()
    assert trainer.step == step
    return data


def scripted(trainer: Trainer, psnrs: Sequence[float], monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the validations of a run give these scores, one after the other."""
    left = list(psnrs)

    def validate() -> dict[str, Any]:
        return {"made up": {"x2": {"psnr": left.pop(0), "ssim": 0.5, "images": 1, "protocol": "none"}}}

    monkeypatch.setattr(trainer, "validate", validate)


def snapshot(model: nn.Module) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in model.state_dict().items()}


def changed_keys(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    assert before.keys() == after.keys()
    return {key for key in before if not torch.equal(before[key], after[key])}


def assert_same_end(one: Trainer, other: Trainer) -> None:
    """Weights, averages, optimizer, counts and generator of two runs are equal to the bit."""
    assert one.step == other.step
    a, b = one.state_dict(), other.state_dict()
    assert a["scaler"] == b["scaler"]  # of fp16
    for part in ("model", "ema"):
        assert (a[part] is None) == (b[part] is None)
        if a[part] is not None:
            assert not changed_keys(a[part], b[part])
    moments = [state["optimizer"]["state"] for state in (a, b)]
    assert moments[0].keys() == moments[1].keys()
    assert not any(changed_keys(moments[0][key], moments[1][key]) for key in moments[0])
    assert not changed_keys(a["watch"], b["watch"])
    assert torch.equal(a["random"], b["random"])
