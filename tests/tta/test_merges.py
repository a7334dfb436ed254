import numpy as np
import pytest
import torch

import srzoo.tta.merges
from srzoo.tta import Mean, MeanAndSpread, Median, MedianAndSpread, Merge, MergeName, make_merge, spread_to_image


def results(num: int, dtype: torch.dtype = torch.float64, channels: int = 3) -> torch.Tensor:
    return torch.rand(num, 2, channels, 5, 7, dtype=torch.float64).to(dtype)


def merged(merge: Merge, stack: torch.Tensor) -> torch.Tensor:
    for sr in stack:
        merge.add(sr)
    return merge.result()


@pytest.mark.parametrize("num", [1, 2, 3, 4, 7, 8, 9])
def test_each_merge_is_numpys(num: int) -> None:
    stack = results(num)
    both = MeanAndSpread()
    np.testing.assert_allclose(merged(Mean(), stack), np.mean(stack.numpy(), 0), rtol=1e-14)
    np.testing.assert_array_equal(merged(Median(num), stack), np.median(stack.numpy(), 0))
    assert torch.equal(merged(both, stack), merged(Mean(), stack))
    np.testing.assert_allclose(both.spread(), np.std(stack.numpy(), 0).mean(1, keepdims=True), atol=1e-15)


@pytest.mark.parametrize("chunk", [1, 40, 10**6])
def test_the_median_does_not_depend_on_the_chunks_or_on_the_order(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(srzoo.tta.merges, "_CHUNK", chunk)
    stack = results(8).round(decimals=1)  # with ties
    expected = np.median(stack.numpy(), 0)
    for _ in range(5):
        np.testing.assert_array_equal(merged(Median(8), stack[torch.randperm(8)]), expected)


@pytest.mark.parametrize(("num", "most"), [(1, 1), (3, 2), (4, 3), (5, 3), (8, 5), (16, 9)])
def test_the_median_holds_no_more_than_half_the_results_and_one(num: int, most: int) -> None:
    median, held = Median(num), []
    for sr in results(num):
        median.add(sr)
        held.append(len(median._ranks))
    assert max(held) == most
    assert held[-1] == 2 - num % 2


def test_the_spread_keeps_its_digits_far_from_zero() -> None:
    stack = 1e6 + results(8)  # a sum of squares would lose all of them
    both = MeanAndSpread()
    merged(both, stack)
    np.testing.assert_allclose(both.spread(), np.std(stack.numpy(), 0).mean(1, keepdims=True), rtol=1e-7)


@pytest.mark.parametrize("merge", ["mean", "median"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_merged_in_float32_and_comes_back_as_it_came(merge: MergeName, dtype: torch.dtype) -> None:
    stack = results(8, dtype)
    exact = np.mean(stack.float().numpy(), 0) if merge == "mean" else np.median(stack.float().numpy(), 0)
    assert torch.equal(merged(make_merge(merge, 8), stack), torch.from_numpy(exact).to(dtype))
    both = MeanAndSpread()
    merged(both, stack)
    torch.testing.assert_close(both.spread(), stack.float().std(0, correction=0).mean(1, keepdim=True).to(dtype))


@pytest.mark.parametrize("merge", [Mean(), MeanAndSpread(), Median(2)], ids=lambda merge: type(merge).__name__)
def test_what_is_added_is_left_as_it_was(merge: Merge) -> None:
    stack = results(2)
    before = stack.clone()
    merged(merge, stack)
    stack.zero_()
    assert not torch.equal(merge.result(), stack[0])
    assert torch.equal(merge.result().sign(), before[0].sign())


@pytest.mark.parametrize("place", [0, 3, 7])
def test_nan_is_never_hidden(place: int) -> None:
    stack = results(8)
    stack[place, 0, 1, 2, 3] = torch.nan
    both = MeanAndSpread()
    for merge in (Mean(), Median(8), both):
        found = merged(merge, stack).isnan()
        assert found[0, 1, 2, 3]
        assert found.sum() == 1
    assert both.spread().isnan().nonzero().tolist() == [[0, 0, 2, 3]]


def test_a_pixel_does_not_depend_on_the_window_it_lies_in() -> None:
    stack = torch.rand(8, 1, 3, 33, 45, dtype=torch.float64)  # odd: vector loops and their ends meet other pixels
    window = (..., slice(3, 30), slice(5, 42))
    for make in (Mean, MeanAndSpread, lambda: Median(8)):
        whole, part = make(), make()
        assert torch.equal(merged(whole, stack)[window], merged(part, stack[window].contiguous()))
        if isinstance(whole, MeanAndSpread) and isinstance(part, MeanAndSpread):
            assert torch.equal(whole.spread()[window], part.spread())


@pytest.mark.parametrize("merge", ["mean", "median"])
def test_gradients_flow(merge: MergeName) -> None:
    stack = results(4).requires_grad_()
    merged(make_merge(merge, 4), stack).sum().backward()
    assert stack.grad is not None
    torch.testing.assert_close(stack.grad.sum(0), torch.ones_like(stack[0]))


def test_misuse_is_told() -> None:
    for merge in (Mean(), MeanAndSpread()):
        with pytest.raises(ValueError, match="there is no result yet"):
            merge.result()
    with pytest.raises(ValueError, match="there is no result yet"):
        MeanAndSpread().spread()
    median = Median(2)
    median.add(results(1)[0])
    with pytest.raises(ValueError, match="1 results are missing"):
        median.result()
    median.add(results(1)[0])
    with pytest.raises(ValueError, match="all results were added already"):
        median.add(results(1)[0])
    with pytest.raises(ValueError, match="num_results is 0"):
        Median(0)


def test_an_unknown_merge_is_told(as_users_call: None) -> None:
    with pytest.raises(ValueError, match="merge is 'mode'; allowed are mean, median"):
        make_merge("mode", 8)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_drawn_spread_is_32_grey_levels_an_8_bit_level(dtype: torch.dtype) -> None:
    levels = torch.tensor([0, 0.25, 1, 4, 7.5, 8, 200, torch.inf, torch.nan])
    drawn = spread_to_image((levels / 255).to(dtype).view(1, 1, 3, 3))
    expected = torch.tensor([0, 8, 32, 128, 240, 255, 255, 255, 255], dtype=torch.uint8).view(1, 1, 3, 3)
    assert (drawn.int() - expected.int()).abs().max() <= (dtype == torch.bfloat16)


@pytest.mark.parametrize("number", [1, 2, 5, 8])
def test_median_and_spread_are_those_of_each_alone(number: int) -> None:
    results = [torch.rand(2, 3, 5, 4, generator=torch.Generator().manual_seed(i)) for i in range(number)]
    both = make_merge("median", number, spread=True)
    alone, spread = make_merge("median", number), make_merge("mean", number, spread=True)
    assert isinstance(both, MedianAndSpread)
    assert isinstance(spread, MeanAndSpread)
    for result in results:
        for merge in (both, alone, spread):
            merge.add(result)
    assert torch.equal(both.result(), alone.result())
    assert torch.equal(both.spread(), spread.spread())
