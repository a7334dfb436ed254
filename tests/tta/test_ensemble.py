import copy
import pickle
import weakref

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

import srzoo
import srzoo.tta.merges
from srzoo.tta import FLIP_WIDTH, IDENTITY, TRANSPOSE, MergeName, Op, SelfEnsemble, dihedral, flips


def tiny(name: str = "edsr_baseline_x2", channels: int = 3) -> srzoo.SRModel:
    return srzoo.create_model(name, width=4, num_blocks=1, channels=channels).double().eval()


def image(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, dtype=torch.float64)


def reverse_channels(x: torch.Tensor) -> torch.Tensor:
    return x.flip(1)


SWAP = Op("swap", reverse_channels, reverse_channels)


@torch.inference_mode()
def test_the_mean_equals_the_plain_mean_of_all_undone_outputs() -> None:
    model, lr = tiny(), image(2, 3, 5, 7)
    turned = [lr.rot90(k, (-2, -1)) for k in range(4)]
    plain = [model(x).rot90(-k, (-2, -1)) for k, x in enumerate(turned)]
    flipped = [model(x.flip(-1)).flip(-1).rot90(-k, (-2, -1)) for k, x in enumerate(turned)]
    torch.testing.assert_close(SelfEnsemble(model)(lr), torch.stack(plain + flipped).mean(0))
    assert not torch.allclose(SelfEnsemble(model)(lr), model(lr))


@torch.inference_mode()
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("size", [(1, 1), (1, 6), (5, 7), (6, 4)])
def test_median_and_spread_are_those_of_all_undone_outputs(channels: int, size: tuple[int, int]) -> None:
    model, lr = tiny(channels=channels), image(2, channels, *size)
    outputs = torch.stack([op.undo(model(op.do(lr))) for op in dihedral()])
    median = outputs.quantile(0.5, 0)
    spread = outputs.std(0, correction=0).mean(1, keepdim=True)
    assert spread.shape == (2, 1, 2 * size[0], 2 * size[1])
    expectations: dict[MergeName, torch.Tensor] = {"mean": outputs.mean(0), "median": median}
    for merge, expected in expectations.items():
        ensemble = SelfEnsemble(model, merge=merge)
        sr, found = ensemble.with_spread(lr)
        torch.testing.assert_close(sr, expected, rtol=0, atol=1e-14)
        torch.testing.assert_close(found, spread, rtol=0, atol=1e-14)
        assert torch.equal(ensemble(lr), sr)


@torch.inference_mode()
@pytest.mark.parametrize("merge", ["mean", "median"])
@pytest.mark.parametrize("ops", [flips(), dihedral(), flips() * (IDENTITY, SWAP)], ids=["flips", "x8", "flips, swap"])
def test_the_ensemble_commutes_with_each_of_its_ops(ops: tuple, merge: MergeName) -> None:
    ensemble, lr = SelfEnsemble(tiny(), ops, merge), image(1, 3, 5, 7)
    whole, spread = ensemble.with_spread(lr)
    for op in ops:
        sr, found = ensemble.with_spread(op.do(lr))
        torch.testing.assert_close(sr, op.do(whole), rtol=0, atol=1e-12)
        torch.testing.assert_close(found, op.do(spread), rtol=0, atol=1e-12)


@torch.inference_mode()
def test_the_model_alone_does_not_commute() -> None:
    model, lr = tiny(), image(1, 3, 5, 7)
    for op in (*dihedral()[1:], SWAP):
        assert (model(op.do(lr)) - op.do(model(lr))).abs().max() > 1e-6


@torch.inference_mode()
def test_where_all_runs_agree_there_is_no_spread() -> None:
    bicubic, lr = srzoo.create_model("bicubic_x3").double().eval(), image(1, 3, 6, 5)
    sr, spread = SelfEnsemble(bicubic).with_spread(lr)
    torch.testing.assert_close(sr, bicubic(lr))
    assert spread.abs().max() < 1e-12
    assert not SelfEnsemble(tiny(), (FLIP_WIDTH,)).with_spread(lr)[1].any()


@pytest.mark.parametrize(("ops", "calls"), [(None, 8), (flips(), 4), ((IDENTITY,), 1), ((IDENTITY, IDENTITY), 2)])
def test_each_op_costs_one_run(ops: tuple | None, calls: int) -> None:
    model, ran = tiny(), []
    model.register_forward_hook(lambda *_: ran.append(1))
    SelfEnsemble(model, ops)(image(1, 3, 2, 3))
    assert len(ran) == calls
    SelfEnsemble(model, ops, "median").with_spread(image(1, 3, 2, 3))
    assert len(ran) == 2 * calls


class Memory(TorchDispatchMode):
    """Counts the memory of all tensors made under it that are alive, in bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in tree_iter(out):
            if isinstance(tensor, torch.Tensor) and tensor.untyped_storage()._cdata not in self.known:
                self._count(tensor.untyped_storage())
        return out

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        self.known.add(key)
        self.now += size
        self.peak = max(self.peak, self.now)

        def gone() -> None:
            self.known.discard(key)
            self.now -= size

        weakref.finalize(storage, gone)


class Enlarge(srzoo.SRModel):
    """Makes one output and nothing else, and notes what is alive when it is called."""

    scales = (8,)

    def __init__(self, memory: Memory) -> None:
        super().__init__()
        self.memory, self.before = memory, []

    def halo(self, scale: int | None = None) -> int:
        return 0

    def forward(self, lr: torch.Tensor, scale: int | None = None) -> torch.Tensor:
        self.before.append(self.memory.now)
        return lr.new_ones(*lr.shape[:2], 8 * lr.shape[-2], 8 * lr.shape[-1])


@torch.inference_mode()
@pytest.mark.parametrize(
    ("merge", "spread", "held", "peak"),
    [("mean", False, 1, 3), ("mean", True, 2, 5), ("median", False, 5, 7), ("median", True, 7, 9)],
)
def test_results_are_merged_as_they_come(
    merge: MergeName, spread: bool, held: int, peak: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(srzoo.tta.merges, "_CHUNK", 1000)  # as few for this image as the chunk is for a photo
    lr = torch.rand(1, 3, 16, 24)
    output, slack = 64 * lr.nbytes, 4 * lr.nbytes
    with Memory() as memory:
        model = Enlarge(memory)
        ensemble = SelfEnsemble(model, merge=merge)
        result = ensemble.with_spread(lr) if spread else ensemble(lr)
        assert memory.now >= output
    assert len(model.before) == 8
    assert max(model.before) <= held * output + slack
    assert max(model.before) >= held * output  # the count counts
    assert memory.peak <= peak * output + slack
    del result


@torch.inference_mode()
def test_a_multi_scale_model_keeps_its_scales() -> None:
    model, lr = tiny("mdsr_baseline"), image(1, 3, 3, 5)
    ensemble = SelfEnsemble(model)
    assert (ensemble.scales, ensemble.channels, ensemble.training) == ((2, 3, 4), 3, False)
    for scale in ensemble.scales:
        assert ensemble.halo(scale) == model.halo(scale)
        expected = torch.stack([op.undo(model(op.do(lr), scale)) for op in dihedral()]).mean(0)
        torch.testing.assert_close(ensemble(lr, scale), expected)
        assert ensemble.with_spread(lr, scale)[1].shape == (1, 1, 3 * scale, 5 * scale)
    with pytest.raises(ValueError, match="no scale was given; mdsr_baseline offers 2, 3, 4"):
        ensemble(lr)


@torch.inference_mode()
@pytest.mark.parametrize("merge", ["mean", "median"])
def test_a_window_with_the_halo_gives_the_pixels_of_the_whole(merge: MergeName) -> None:
    ensemble, lr = SelfEnsemble(tiny(), merge=merge), image(1, 3, 31, 27)
    halo = ensemble.halo()
    whole, spread = ensemble.with_spread(lr)
    part, part_spread = ensemble.with_spread(lr[..., 2:, 1:])
    inner = (..., slice(2 * halo, None), slice(2 * halo, None))
    assert part[inner].numel() > 1000
    torch.testing.assert_close(part[inner], whole[..., 4:, 2:][inner], rtol=0, atol=1e-15)
    torch.testing.assert_close(part_spread[inner], spread[..., 4:, 2:][inner], rtol=0, atol=1e-15)


def test_the_training_mode_is_the_models() -> None:
    assert not SelfEnsemble(tiny().eval()).training
    model = tiny().train()
    assert SelfEnsemble(model).training
    assert model.training


@pytest.mark.parametrize("make", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["copy", "pickle"])
def test_a_copy_gives_the_same(make) -> None:
    ensemble, lr = SelfEnsemble(tiny(), flips() * (IDENTITY, SWAP), "median"), image(1, 3, 4, 5)
    again = make(ensemble)
    assert again.ops == ensemble.ops
    assert torch.equal(again(lr), ensemble(lr))


def test_no_ops_and_an_unknown_merge_are_refused(as_users_call: None) -> None:
    with pytest.raises(ValueError, match="ops is empty"):
        SelfEnsemble(tiny(), [])
    with pytest.raises(ValueError, match="merge is 'mode'; allowed are mean, median"):
        SelfEnsemble(tiny(), merge="mode")  # pyright: ignore[reportArgumentType]


def test_an_op_that_is_not_undone_is_named() -> None:
    half = Op("turn", TRANSPOSE.do.__call__, lambda x: x)
    with pytest.raises(ValueError, match="op 'turn' gives 6x10 pixels where 10x6 are due"):
        SelfEnsemble(tiny(), (IDENTITY, half))(image(1, 3, 3, 5))
