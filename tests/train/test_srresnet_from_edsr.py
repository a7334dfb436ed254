from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import srzoo
from srzoo.architecture import Origin
from srzoo.train import srresnet_from_edsr

BATCHES = [torch.rand(2, 3, 9, 10, generator=torch.Generator().manual_seed(i)) for i in range(3)]


def edsr(scale: int = 2, seed: int = 0, **options: Any) -> srzoo.SRModel:
    torch.manual_seed(seed)
    return srzoo.create_model(f"edsr_baseline_x{scale}", **{"width": 4, "num_blocks": 2, **options}).eval()


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("res_scale", [1.0, 0.1])
def test_it_gives_what_edsr_gives_at_the_border_too(scale, res_scale):
    source = edsr(scale, res_scale=res_scale)
    model = srresnet_from_edsr(source, BATCHES)
    lr = torch.rand(2, 3, 8, 7)
    torch.testing.assert_close(model(lr), source(lr), rtol=0, atol=1e-5)
    torch.testing.assert_close(model.double()(lr.double()), source.double()(lr.double()), rtol=0, atol=1e-6)
    assert model.scales == (scale,)
    assert not model.training


@pytest.mark.parametrize("channels", [1, 4])
def test_other_channels_are_taken(channels):
    source = edsr(channels=channels)
    lr = torch.rand(2, channels, 8, 7)
    torch.testing.assert_close(srresnet_from_edsr(source, [lr])(lr), source(lr), rtol=0, atol=1e-5)


def outputs(model: srzoo.SRModel, images: list[Tensor]) -> dict[str, list[Tensor]]:
    """What each convolution before batch norm gives for each of the images."""
    seen: dict[str, list[Tensor]] = {}
    hooks = [
        module.register_forward_hook(lambda _, __, out, name=name: seen.setdefault(name, []).append(out))
        for name, module in model.named_modules()
        if name.endswith(".conv")
    ]
    with torch.no_grad():
        for image in images:
            model(image)
    for hook in hooks:
        hook.remove()
    return {name.removesuffix(".conv"): out for name, out in seen.items()}


def test_the_averages_are_what_training_would_measure():
    model = srresnet_from_edsr(edsr(), BATCHES).double()
    found = outputs(model, [batch.double() for batch in BATCHES])
    assert len(found) == 2 * 2 + 1
    for name, results in found.items():
        norm = model.get_submodule(f"{name}.norm")
        mean = torch.stack([out.mean((0, 2, 3)) for out in results]).mean(0)
        var = torch.stack([out.var((0, 2, 3)) for out in results]).mean(0)
        torch.testing.assert_close(norm.running_mean, mean, rtol=1e-5, atol=1e-7)
        torch.testing.assert_close(norm.running_var, var, rtol=1e-5, atol=1e-7)


def test_in_training_mode_the_batch_it_was_measured_on_gives_nearly_the_same():
    source = edsr()
    model = srresnet_from_edsr(source, BATCHES[:1])
    torch.testing.assert_close(model.train()(BATCHES[0]), source(BATCHES[0]), rtol=0, atol=2e-2)


def test_the_source_is_not_changed_and_shares_no_memory():
    source = edsr()
    before = {key: value.clone() for key, value in source.state_dict().items()}
    model = srresnet_from_edsr(source, BATCHES)
    with torch.no_grad():
        for value in model.state_dict().values():
            value.zero_()
    assert all(torch.equal(value, before[key]) for key, value in source.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


def test_what_is_grown_is_saved_loaded_and_started_from(tmp_path: Path):
    model = srresnet_from_edsr(edsr(3), BATCHES)
    assert (model.name, model.arguments["width"], model.arguments["num_blocks"]) == ("srresnet_x3", 4, 2)
    srzoo.save_model(model, tmp_path / "start.safetensors")
    started = srzoo.create_model("srresnet_x3", width=4, num_blocks=2)
    report = srzoo.train.warm_start(started, srzoo.load_model(tmp_path / "start.safetensors"))
    assert report.fresh == report.adapted == ()
    lr = torch.rand(1, 3, 6, 5)
    assert torch.equal(started.eval()(lr), model(lr))


def test_the_licence_of_the_source_is_kept():
    source = edsr()
    source.origin = Origin("edsr_baseline_x2.photos", "CC-BY-SA-4.0")
    assert srzoo.train.Start.of(srresnet_from_edsr(source, BATCHES)).license == "CC-BY-SA-4.0"
    assert srresnet_from_edsr(edsr(), BATCHES).origin is None


def test_what_cannot_be_grown_is_refused(as_users_call):
    with pytest.raises(TypeError, match="a SRCNN was given; SRResNet is started from an EDSR"):
        srresnet_from_edsr(srzoo.create_model("srcnn_x2"), BATCHES)
    with pytest.raises(ValueError, match="the EDSR is for x8; SRResNet is there for x2, x3, x4"):
        srresnet_from_edsr(edsr(8), BATCHES)
    with pytest.raises(ValueError, match="no images to measure"):
        srresnet_from_edsr(edsr(), [])
    with pytest.raises(ValueError, match="images of 1 channels were given; the model takes 3"):
        srresnet_from_edsr(edsr(), [BATCHES[0][:, :1]])
    with pytest.raises(ValueError, match="a single pixel"):
        srresnet_from_edsr(edsr(), [torch.rand(1, 3, 1, 1)])
