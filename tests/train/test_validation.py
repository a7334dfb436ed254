import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from train_stand_ins import CONFIG, Rows, Waves, changed_keys, plain_network, scripted, snapshot, tiny_edsr, tiny_mdsr

import srzoo
from srzoo.data import pairs_from_hr
from srzoo.registry import load_model
from srzoo.train import TrainConfig, Trainer
from srzoo.weights import read_header, read_tensors


def reference_y_psnr(sr: np.ndarray, hr: np.ndarray, border: int) -> float:
    """PSNR of the papers on images h w 3 of 0..255, by MATLAB's rgb2ycbcr."""
    weights = np.array([65.481, 128.553, 24.966]) / 255
    cut = slice(border, -border)
    sr_y, hr_y = ((image.astype(np.float64) @ weights + 16)[cut, cut] for image in (sr, hr))
    return 10 * math.log10(255**2 / np.mean((sr_y - hr_y) ** 2))


def test_validation_scores_the_averaged_weights_by_the_papers_protocol(photo_folder):
    pairs = pairs_from_hr(photo_folder, 2)
    rows = Rows()
    config = replace(CONFIG, log_every=100, validate_every=4)
    trainer = Trainer(tiny_edsr(), Waves(), config, validation={"photos": pairs}, callbacks=[rows])
    averaged = trainer.fit()
    expected = []
    for pair in pairs:
        sr = averaged(pair.lr[None].float() / 255)[0].detach()
        sr = (sr.double().clamp(0, 1) * 255).round().permute(1, 2, 0).numpy()
        expected.append(reference_y_psnr(sr, pair.hr.permute(1, 2, 0).numpy(), border=2))
    scores = rows.of("photos x2 psnr")
    assert [row["step"] for row in scores] == [4, 6]
    assert scores[-1]["photos x2 psnr"] == pytest.approx(np.mean(expected), abs=1e-4)
    assert 0 < scores[-1]["photos x2 ssim"] < 1
    assert scores[0]["photos x2 psnr"] != scores[1]["photos x2 psnr"]
    assert trainer.model.training


def test_a_multi_scale_model_is_scored_at_every_scale_and_the_mean_counts(photo_folder):
    pairs = [pair for scale in (2, 3, 4) for pair in pairs_from_hr(photo_folder, scale)[:1]]
    rows = Rows()
    trainer = Trainer(tiny_mdsr(), Waves((2, 3, 4)), CONFIG, validation={"photos": pairs}, callbacks=[rows])
    trainer.fit()
    psnrs = [rows.of("photos x2 psnr")[-1][f"photos x{scale} psnr"] for scale in (2, 3, 4)]
    assert trainer.best["psnr"] == pytest.approx(np.mean(psnrs))


@pytest.mark.parametrize("ema_decay", [0.9, None])
def test_the_best_validations_weights_are_kept_with_a_full_header(tmp_path, monkeypatch, ema_decay):
    weights = {}
    rows = Rows(lambda run, row: weights.update({run.step: snapshot(run.averaged)}))
    config = replace(CONFIG, validate_every=2, ema_decay=ema_decay)
    sets = {"none": []}
    trainer = Trainer(tiny_edsr(), Waves(), config, folder=tmp_path, validation=sets, callbacks=[rows])
    scripted(trainer, [20.0, 22.0, 21.0], monkeypatch)
    trainer.fit()
    assert trainer.best == {"psnr": 22.0, "step": 4, "stale": 1}
    header = read_header(tmp_path / "best.safetensors")
    tensors = read_tensors(tmp_path / "best.safetensors", header)
    assert not changed_keys(weights[4], tensors)
    assert changed_keys(weights[6], tensors)
    assert header.model == "edsr_baseline_x2"
    assert header.arguments == trainer.model.arguments
    assert header.metrics == {"made up": {"x2": {"psnr": 22.0, "ssim": 0.5, "images": 1, "protocol": "none"}}}
    assert header.recipe["steps"] == 4
    assert TrainConfig.from_json(header.recipe["config"]) == config
    assert header.recipe.items() >= {"data": "waves", "srzoo": srzoo.__version__, "device": "cpu"}.items()


def test_the_best_weights_are_a_model(tmp_path, photo_folder):
    sets = {"photos": pairs_from_hr(photo_folder, 2)[:2]}
    trainer = Trainer(tiny_edsr(), Waves(), CONFIG, folder=tmp_path, validation=sets)
    trainer.fit()
    model, lr = load_model(tmp_path / "best.safetensors"), torch.rand(1, 3, 9, 7)
    assert not changed_keys(model.state_dict(), trainer.averaged.state_dict())
    torch.testing.assert_close(model(lr), trainer.averaged(lr), rtol=1e-5, atol=1e-6)  # of another memory layout
    assert read_header(tmp_path / "best.safetensors").metrics == trainer.validate()


def test_a_plain_network_is_validated_and_kept_without_a_name(tmp_path, photo_folder):
    sets = {"photos": pairs_from_hr(photo_folder, 2)[:2]}
    trainer = Trainer(plain_network(), Waves(), CONFIG, folder=tmp_path, validation=sets)
    trainer.fit()
    header = read_header(tmp_path / "best.safetensors")
    assert (header.model, header.arguments) == ("", {})
    assert header.recipe["steps"] == 6
    other = plain_network(seed=1)
    other.load_state_dict(read_tensors(tmp_path / "best.safetensors", header))
    assert not changed_keys(other.state_dict(), trainer.averaged.state_dict())


def test_the_best_so_far_is_not_forgotten_by_a_resume(tmp_path, monkeypatch):
    def part(minutes: float | None, psnrs: list[float], steps: int) -> Trainer:
        config = replace(CONFIG, steps=steps, validate_every=1, minutes=minutes)
        trainer = Trainer(tiny_edsr(), Waves(), config, folder=tmp_path, validation={"none": []})
        trainer.resume()
        scripted(trainer, psnrs, monkeypatch)
        trainer.fit()
        return trainer

    part(0.0, [30.0], 3)
    kept = (tmp_path / "best.safetensors").read_bytes()
    second = part(None, [29.0, 28.0], 3)
    assert second.best == {"psnr": 30.0, "step": 1, "stale": 2}
    assert (tmp_path / "best.safetensors").read_bytes() == kept
    third = part(None, [31.0], 4)
    assert third.best == {"psnr": 31.0, "step": 4, "stale": 0}
    assert read_header(tmp_path / "best.safetensors").recipe["steps"] == 4
