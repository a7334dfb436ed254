import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import srzoo
from srzoo.architecture import Origin, SRModel
from srzoo.train import warm_start
from srzoo.train.growing import _places, blocks_of, grow, grow_to, num_blocks_of

SMALL = dict(width=8)


def small(name: str, num_blocks: int, seed: int = 0, **arguments) -> SRModel:
    torch.manual_seed(seed)
    return srzoo.create_model(name, num_blocks=num_blocks, **{**SMALL, **arguments})


@pytest.mark.parametrize("where", ["end", "spread"])
@pytest.mark.parametrize(
    ("name", "scales"), [("mdsr_baseline", (2, 3, 4)), ("edsr_baseline_x2", (2,)), ("edsr_x3", (3,))]
)
def test_a_grown_network_gives_the_same_bits_at_any_size(name: str, scales: tuple[int, ...], where) -> None:
    shallow = small(name, 3)
    before = {key: value.clone() for key, value in shallow.state_dict().items()}
    deep = grow(shallow, 8, where=where)
    for scale in scales:
        lr = torch.rand(2, 3, 11, 9)
        assert torch.equal(deep(lr, scale), shallow(lr, scale))
    assert all(torch.equal(value, before[key]) for key, value in shallow.state_dict().items())
    assert num_blocks_of(deep) == 8
    assert deep.halo(scales[0]) == shallow.halo(scales[0]) + 2 * 5
    assert deep.arguments["num_blocks"] == 8
    assert deep.training == shallow.training


def test_new_blocks_are_spread_or_at_the_end() -> None:
    def order(where) -> list[bool]:
        deep = grow(small("mdsr_baseline", 3), 8, where=where)
        return [bool(block.conv2.weight.any()) for block in blocks_of(deep) or []]

    assert order("end") == [True] * 3 + [False] * 5
    assert order("spread") == [True, False, True, False, False, True, False, False]
    assert len(_places(16, 80, "spread")) == 64


def test_first_convolutions_are_random_and_differ() -> None:
    *_, one, other = blocks_of(grow(small("mdsr_baseline", 1), 3)) or []
    assert one.conv1.weight.std() > 0.01
    assert not torch.equal(one.conv1.weight, other.conv1.weight)


def test_a_grown_baseline_is_the_deeper_model_by_name_and_keeps_its_licence(tmp_path) -> None:
    shallow = srzoo.create_model("mdsr_baseline")
    shallow.origin = Origin("mdsr_baseline.photos", "CC-BY-SA-4.0")
    deep = grow(shallow, 80)
    assert (deep.name, deep.origin) == ("mdsr", shallow.origin)
    assert small("mdsr_baseline", 2).name == grow(small("mdsr_baseline", 2), 3).name
    narrow = grow(small("mdsr_baseline", 2), 3)
    srzoo.save_model(narrow, tmp_path / "grown.safetensors")
    lr = torch.rand(1, 3, 7, 8)
    assert torch.equal(srzoo.load_model(tmp_path / "grown.safetensors")(lr, 4), narrow.eval()(lr, 4))
    again = grow(srzoo.load_model(tmp_path / "grown.safetensors"), 4)  # its header gives lists for tuples
    assert num_blocks_of(again) == 4


def gradients(model: SRModel, lr: Tensor, hr: Tensor) -> tuple[list[float], list[float]]:
    """Norms of the gradients of the first and the second convolutions of all blocks."""
    model.zero_grad()
    F.l1_loss(model(lr, 2), hr).backward()
    blocks = blocks_of(model) or []
    norms = [[float(conv.weight.grad.norm()) for conv in pair] for pair in ((b.conv1, b.conv2) for b in blocks)]
    return [pair[0] for pair in norms], [pair[1] for pair in norms]


def test_the_first_step_moves_second_convolutions_and_the_next_moves_both() -> None:
    deep = grow(small("mdsr_baseline", 2), 5)
    lr, hr = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 16, 16)
    optimizer = torch.optim.Adam(deep.parameters(), lr=1e-3)
    first, second = gradients(deep, lr, hr)
    assert min(second) > 0
    assert (min(first[:2]) > 0, first[2:]) == (True, [0, 0, 0])
    held = [block.conv1.weight.clone() for block in blocks_of(deep) or []]
    loss_before = F.l1_loss(deep(lr, 2), hr).item()
    optimizer.step()
    new = (blocks_of(deep) or [])[2:]
    assert all(block.conv2.weight.any() for block in new)
    assert all(torch.equal(block.conv1.weight, was) for block, was in zip(new, held[2:], strict=True))
    first, _ = gradients(deep, lr, hr)
    assert min(first) > 0
    for _ in range(20):
        optimizer.step()
        gradients(deep, lr, hr)
    assert not any(torch.equal(block.conv1.weight, was) for block, was in zip(new, held[2:], strict=True))
    assert F.l1_loss(deep(lr, 2), hr).item() < loss_before


def test_a_warm_start_from_a_grown_source_copies_everything() -> None:
    shallow, deep = small("mdsr_baseline", 2), small("mdsr", 6, seed=1)
    assert warm_start(deep, grow_to(deep, shallow)).fresh == ()
    lr = torch.rand(1, 3, 9, 9)
    assert torch.equal(deep(lr, 3), shallow(lr, 3))


def test_growing_goes_with_other_channels_and_other_families() -> None:
    grey, rgb = small("edsr_baseline_x2", 4, channels=1), small("edsr_baseline_x2", 2)
    assert warm_start(grey, grow_to(grey, rgb)).fresh == ()
    mdsr = small("mdsr", 4)
    fresh = warm_start(mdsr, grow_to(mdsr, rgb)).fresh
    assert {name.split(".")[0] for name in fresh} == {"pre", "upsample"}


def test_what_cannot_grow_is_left_as_it_is() -> None:
    deep, shallow = small("edsr_baseline_x2", 4), small("edsr_baseline_x2", 2)
    for source in (deep, small("edsr_baseline_x2", 2, width=4), small("edsr_x2", 2), srzoo.create_model("bicubic_x2")):
        assert grow_to(deep, source) is source
    assert grow_to(shallow, deep) is deep


def test_mistakes_are_told(as_users_call) -> None:
    with pytest.raises(ValueError, match="num_blocks is 1 and edsr_baseline_x2 has 2; give 2 or more"):
        grow(small("edsr_baseline_x2", 2), 1)
    with pytest.raises(ValueError, match="bicubic_x2 has no body of residual blocks"):
        grow(srzoo.create_model("bicubic_x2"), 3)
    with pytest.raises(ValueError, match="where is 'start'; new blocks go to end or spread"):
        grow(small("edsr_baseline_x2", 2), 3, where="start")
