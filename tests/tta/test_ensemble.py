import pytest
import torch

import srzoo
from srzoo.tta import IDENTITY, SelfEnsemble, dihedral, flips


def tiny(name: str = "edsr_baseline_x2") -> srzoo.SRModel:
    return srzoo.create_model(name, width=4, num_blocks=1).double().eval()


@torch.inference_mode()
def test_the_mean_equals_the_plain_mean_of_all_undone_outputs() -> None:
    model, lr = tiny(), torch.rand(2, 3, 5, 7, dtype=torch.float64)
    turned = [lr.rot90(k, (-2, -1)) for k in range(4)]
    plain = [model(x).rot90(-k, (-2, -1)) for k, x in enumerate(turned)]
    flipped = [model(x.flip(-1)).flip(-1).rot90(-k, (-2, -1)) for k, x in enumerate(turned)]
    torch.testing.assert_close(SelfEnsemble(model)(lr), torch.stack(plain + flipped).mean(0))
    assert not torch.allclose(SelfEnsemble(model)(lr), model(lr))


@torch.inference_mode()
@pytest.mark.parametrize("ops", [flips(), dihedral()], ids=len)
def test_the_ensemble_commutes_with_each_of_its_ops(ops: tuple) -> None:
    ensemble, lr = SelfEnsemble(tiny(), ops), torch.rand(1, 3, 5, 7, dtype=torch.float64)
    whole = ensemble(lr)
    for op in ops:
        torch.testing.assert_close(ensemble(op.do(lr)), op.do(whole), rtol=0, atol=1e-12)


@torch.inference_mode()
def test_the_model_alone_does_not_commute() -> None:
    model, lr = tiny(), torch.rand(1, 3, 5, 7, dtype=torch.float64)
    for op in dihedral()[1:]:
        assert (model(op.do(lr)) - op.do(model(lr))).abs().max() > 1e-6


@pytest.mark.parametrize(("ops", "calls"), [(None, 8), (flips(), 4), ((IDENTITY,), 1)])
def test_each_op_costs_one_run(ops: tuple | None, calls: int) -> None:
    model, ran = tiny(), []
    model.register_forward_hook(lambda *_: ran.append(1))
    SelfEnsemble(model, ops)(torch.rand(1, 3, 2, 3, dtype=torch.float64))
    assert len(ran) == calls


@torch.inference_mode()
def test_a_multi_scale_model_keeps_its_scales() -> None:
    model, lr = tiny("mdsr_baseline"), torch.rand(1, 3, 3, 5, dtype=torch.float64)
    ensemble = SelfEnsemble(model)
    assert (ensemble.scales, ensemble.channels, ensemble.training) == ((2, 3, 4), 3, False)
    for scale in ensemble.scales:
        assert ensemble.halo(scale) == model.halo(scale)
        expected = torch.stack([op.undo(model(op.do(lr), scale)) for op in dihedral()]).mean(0)
        torch.testing.assert_close(ensemble(lr, scale), expected)
    with pytest.raises(ValueError, match="no scale was given; mdsr_baseline offers 2, 3, 4"):
        ensemble(lr)


def test_the_training_mode_is_the_models() -> None:
    assert not SelfEnsemble(tiny().eval()).training
    model = tiny().train()
    assert SelfEnsemble(model).training
    assert model.training


def test_no_ops_are_refused() -> None:
    with pytest.raises(ValueError, match="ops is empty"):
        SelfEnsemble(tiny(), [])
