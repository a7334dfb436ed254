"""Accumulators: the mean of the images, whoever scored them."""

import json
import math
import os
import pickle
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from srzoo.metrics import PSNR, SSIM, Protocol, psnr, ssim
from srzoo.metrics.accumulators import Accumulator

ROOT = Path(__file__).parents[2]
RULE = Protocol.paper(2)
BOTH = pytest.mark.parametrize("kind", [PSNR, SSIM])
NAMES = [f"image{i}" for i in range(12)]


def images(count: int = 12) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    hr = torch.rand(count, 3, 18, 16)
    noise = torch.logspace(-3, 0, count).view(-1, 1, 1, 1)  # scores of many sizes: sums depend on their order
    return hr + noise * torch.randn_like(hr), hr


def scored(kind: type[Accumulator], which: Sequence[int], *, named: bool = True) -> Accumulator:
    sr, hr = images()
    metric = kind(RULE)
    if which:
        metric.update(sr[list(which)], hr[list(which)], [NAMES[i] for i in which] if named else None)
    return metric


@pytest.mark.parametrize(("kind", "function"), [(PSNR, psnr), (SSIM, ssim)])
def test_it_gives_the_functions_scores_and_their_mean(kind, function):
    sr, hr = images()
    metric = kind(RULE)
    returned = [metric.update(sr[:5], hr[:5], NAMES[:5]), metric.update(sr[5:], hr[5:])]
    expected = function(sr, hr, RULE)
    torch.testing.assert_close(torch.cat(returned), expected, rtol=0, atol=1e-12)
    assert [name for name, _ in metric.per_image] == [*NAMES[:5], *(f"#{i}" for i in range(7))]
    assert [value for _, value in metric.per_image] == pytest.approx(expected.tolist(), abs=1e-12)
    assert metric.compute() == pytest.approx(expected.mean().item(), abs=1e-12)
    assert (len(metric), str(RULE) in repr(metric)) == (12, True)


@BOTH
@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("seed", range(10))
def test_the_mean_is_the_same_to_the_bit_for_any_split_over_processes(kind, named, seed):
    whole = scored(kind, range(12), named=named)
    rng = random.Random(seed)
    parts = [kind(RULE) for _ in range(rng.randint(1, 5))]
    for name, value in whole.per_image:
        key = {"named": {name: value}, "unnamed": []} if named else {"named": {}, "unnamed": [value]}
        one = kind(RULE)
        one.load_state_dict({**whole.state_dict(), **key})
        rng.choice(parts).merge(one)
    rng.shuffle(parts)
    total = parts[0]
    for part in parts[1:]:
        total.merge(pickle.loads(pickle.dumps(part)))
    assert sorted(value for _, value in total.per_image) == sorted(value for _, value in whole.per_image)
    assert total.compute() == whole.compute()


def test_a_plain_sum_would_depend_on_the_split():
    values = [value for _, value in scored(PSNR, range(12)).per_image]
    orders = [random.Random(seed).sample(values, 12) for seed in range(50)]
    assert len({sum(order) for order in orders}) > 1
    assert len({math.fsum(order) for order in orders}) == 1


def test_an_image_scored_by_two_processes_counts_once():
    one, two = scored(PSNR, range(7)), scored(PSNR, range(5, 12))
    one.merge(two)
    assert one.compute() == scored(PSNR, range(12)).compute()
    one.merge(one)
    assert len(one) == 12


@pytest.mark.parametrize(("kind", "low", "high"), [(PSNR, 30.0, 30 + 1e-9), (SSIM, -1e-9, 2e-9), (PSNR, 0, 1e-6)])
def test_of_two_scores_that_were_rounded_apart_the_lower_counts_in_any_order(kind, low, high):
    one, two = (kind(RULE) for _ in range(2))
    for metric, value in ((one, low), (two, high)):
        metric.load_state_dict({**metric.state_dict(), "named": {"a": value}})
    both = [pickle.loads(pickle.dumps(metric)) for metric in (one, two)]
    both[0].merge(two)
    both[1].merge(one)
    assert [metric.compute() for metric in both] == [low, low]


def test_two_images_of_one_name_are_refused():
    sr, hr = images()
    one, two = scored(PSNR, [0]), PSNR(RULE)
    two.update(sr[5:6], hr[5:6], [NAMES[0]])
    before = one.per_image
    with pytest.raises(ValueError, match=r"image0 was scored twice, .*; are these two images of one name\?"):
        one.merge(two)
    assert one.per_image == before
    for names in ([NAMES[0], "new"], ["twice", "twice"]):
        with pytest.raises(ValueError, match=f"{names[0]} was scored before"):
            one.update(sr[:2], hr[:2], names)
    assert one.per_image == before


@BOTH
def test_reset_forgets_everything(kind):
    metric = scored(kind, range(3))
    metric.reset()
    assert len(metric) == 0
    with pytest.raises(ValueError, match=f"there are no scores to average; call {kind.__name__}.update first"):
        metric.compute()
    metric.merge(scored(kind, range(3)))
    assert metric.compute() == scored(kind, range(3)).compute()


@BOTH
def test_images_that_are_not_finite_are_named_and_never_averaged(kind):
    sr, hr = images()
    sr[2, 0, 5, 5], sr[7, 1, 6, 6] = math.nan, math.inf
    metric = kind(RULE)
    metric.update(sr[:4], hr[:4], NAMES[:4])
    metric.update(sr[4:], hr[4:])
    assert metric.nonfinite == ("image2", "#3")
    told = r"SR is not finite \(NaN or infinity\) for 2 of 12 images: image2, #3; compute\(skip_nonfinite=True\)"
    with pytest.raises(ValueError, match=told):
        metric.compute()
    assert metric.compute(skip_nonfinite=True) == scored(kind, [i for i in range(12) if i not in (2, 7)]).compute()
    metric.merge(pickle.loads(pickle.dumps(metric)))  # NaN is the same image's score, too
    assert "image2" in metric.nonfinite


def test_of_many_broken_images_the_first_ten_are_named():
    metric = PSNR(RULE)
    metric.update(torch.full((12, 3, 18, 16), math.nan), images()[1], NAMES)
    with pytest.raises(ValueError, match=r"for 12 of 12 images: image0, image1, .*, image9 and 2 more; compute"):
        metric.compute()


def test_a_set_of_broken_predictions_has_no_mean():
    metric = PSNR(RULE)
    metric.update(torch.full((2, 3, 18, 16), math.nan), torch.rand(2, 3, 18, 16))
    with pytest.raises(ValueError, match=r"not finite .* for any of the 2 images"):
        metric.compute(skip_nonfinite=True)


def test_equal_images_make_the_mean_psnr_infinite():
    _, hr = images()
    metric = scored(PSNR, [1])
    metric.update(hr[:1], hr[:1], ["equal"])
    assert metric.compute() == math.inf
    assert metric.nonfinite == ()


@pytest.mark.usefixtures("as_users_call")
def test_names_must_be_one_for_each_image():
    sr, hr = images()
    metric = PSNR(RULE)
    with pytest.raises(ValueError, match="3 names are given for 2 images"):
        metric.update(sr[:2], hr[:2], ["a", "b", "c"])
    with pytest.raises(TypeError, match="names is 'ab'; give a list"):
        metric.update(sr[:2], hr[:2], "ab")
    bad: Any
    for bad in (None, 3):
        with pytest.raises(TypeError, match=f"{bad} is among the names; give a string for each image"):
            metric.update(sr[:2], hr[:2], ["a", bad])
    assert len(metric) == 0


@BOTH
def test_the_state_is_plain_and_comes_back(kind, tmp_path):
    metric = scored(kind, range(4))
    metric.merge(scored(kind, range(4, 6), named=False))
    torch.save(metric.state_dict(), tmp_path / "state.pt")
    for state in (
        torch.load(tmp_path / "state.pt", weights_only=True),
        json.loads(json.dumps(metric.state_dict())),
    ):
        again = kind(RULE)
        again.load_state_dict(state)
        assert again.per_image == metric.per_image
    metric.reset()
    assert len(again) == 6  # it shares nothing


@pytest.mark.usefixtures("as_users_call")
@pytest.mark.parametrize(
    "change",
    [
        None, {"protocol": {"gamma": 2.2}}, {"protocol": {"channel": "luv"}}, {"protocol": "paper"},
        {"named": ["image0"]}, {"named": {"image0": "good"}}, {"unnamed": None}, {"unnamed": ["good"]},
    ],
)  # fmt: skip
def test_a_state_of_another_form_is_refused_and_changes_nothing(change):
    metric = scored(PSNR, [0])
    before = metric.per_image
    with pytest.raises(ValueError, match=r"not one of an accumulator of this version of srzoo; give what state_dict\("):
        metric.load_state_dict({} if change is None else {**metric.state_dict(), **change})
    assert metric.per_image == before


def test_other_metrics_and_protocols_do_not_mix():
    metric = scored(PSNR, [0])
    with pytest.raises(TypeError, match="a SSIM cannot be merged into a PSNR"):
        metric.merge(scored(SSIM, [0]))
    with pytest.raises(ValueError, match=r"another protocol \(RGB, 8-bit, border 2\) than these \(Y, 8-bit, border 2"):
        metric.merge(PSNR(Protocol.rgb(2)))
    with pytest.raises(ValueError, match="the state is of SSIM, this is PSNR"):
        metric.load_state_dict(scored(SSIM, [0]).state_dict())
    with pytest.raises(ValueError, match="another protocol"):
        PSNR(Protocol.rgb(2)).load_state_dict(metric.state_dict())


@BOTH
def test_alone_gather_is_a_copy(kind):
    metric = scored(kind, range(3))
    total = metric.gather()
    assert total.per_image == metric.per_image
    metric.reset()
    assert len(total) == 3


WORKER = """
import sys, torch
import torch.distributed as dist
sys.path.insert(0, "tests/metrics")
from test_accumulators import NAMES, scored
from srzoo.metrics import PSNR, SSIM

rank = int(sys.argv[1])
torch.set_num_threads(1)
dist.init_process_group("gloo", init_method="file://" + sys.argv[2], rank=rank, world_size=2)
share = [range(0, 9), range(7, 12)][rank]  # unequal, and two images are scored by both
for kind in (PSNR, SSIM):
    metric = scored(kind, share)
    total = metric.gather()
    assert total.gather().compute() == total.compute()  # gathering again counts no image twice
    assert len(metric) == len(share)
    print(len(total), total.compute().hex())
empty = scored(PSNR, [[], [3]][rank]).gather()  # a process without images
print(len(empty), empty.compute().hex())
dist.destroy_process_group()
"""


def test_two_processes_get_the_mean_of_one(tmp_path):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    command = [sys.executable, "-c", WORKER]
    processes = [
        subprocess.Popen(
            [*command, str(rank), str(tmp_path / "store")],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=ROOT,
        )
        for rank in range(2)
    ]  # fmt: skip
    told = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], told
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        expected = [(12, scored(PSNR, range(12))), (12, scored(SSIM, range(12))), (1, scored(PSNR, [3]))]
        lines = [f"{count} {metric.compute().hex()}" for count, metric in expected]
    finally:
        torch.set_num_threads(threads)
    assert [out.splitlines() for out, _ in told] == [lines, lines]
