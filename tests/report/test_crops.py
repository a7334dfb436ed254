import numpy as np
import pytest
import torch

from srzoo.report.crops import Crop, crop_side, disagreement, error_map, find_crops


def noise(seed: int = 0, height: int = 60, width: int = 80) -> torch.Tensor:
    return torch.randint(40, 60, (3, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def overlaps(one: Crop, other: Crop) -> bool:
    return one.left < other.right and other.left < one.right and one.top < other.bottom and other.top < one.bottom


@pytest.mark.parametrize(("left", "top"), [(0, 0), (70, 50), (3, 44), (33, 20)])
def test_a_planted_difference_is_inside_the_first_crop(left, top):
    one = noise()
    other = one.clone()
    other[:, top : top + 10, left : left + 10] += 50
    [crop, *more] = find_crops(disagreement([one, other]), 3, side=16)
    assert crop.left <= left
    assert crop.top <= top
    assert crop.right >= left + 10
    assert crop.bottom >= top + 10
    assert not more  # nothing else differs


def test_crops_come_largest_first_and_do_not_overlap():
    difference = np.random.default_rng(0).uniform(0, 1, (60, 80)).astype(np.float32)
    crops = find_crops(difference, 8, side=16)
    assert len(crops) == 8
    assert not any(overlaps(crops[i], crops[j]) for i in range(8) for j in range(i))
    sums = [difference[crop.top : crop.bottom, crop.left : crop.right].sum() for crop in crops]
    assert sums == sorted(sums, reverse=True)
    every = [difference[y : y + 16, x : x + 16].sum() for y in range(45) for x in range(65)]
    assert sums[0] == pytest.approx(max(every), rel=1e-3)
    assert crops == find_crops(difference, 8, side=16)


def test_with_hr_methods_that_are_equally_wrong_agree():
    hr = torch.full((3, 40, 40), 100, dtype=torch.uint8)
    one, other = hr.clone(), hr.clone()
    one[:, :10, :10] += 60  # both wrong by 60, in different directions
    other[:, :10, :10] -= 60
    other[:, 30:, 30:] += 20  # one of them alone is wrong here
    assert find_crops(disagreement([one, other]), 1, side=10) == [Crop(0, 0, 10, 10)]
    assert find_crops(disagreement([one, other], hr), 1, side=10) == [Crop(30, 30, 10, 10)]


def test_of_a_single_method_the_error_counts():
    hr = noise()
    sr = hr.clone()
    sr[:, 40:50, 60:70] += 100
    assert find_crops(disagreement([sr], hr), 1, side=10) == [Crop(60, 40, 10, 10)]
    assert not disagreement([sr]).any()


def test_three_methods_differ_by_the_sum_over_pairs():
    images = [torch.full((1, 2, 2), value, dtype=torch.uint8) for value in (10, 40, 250)]
    assert (disagreement(images) == 30 + 240 + 210).all()


def test_where_nothing_differs_the_middle_is_shown():
    assert find_crops(np.zeros((20, 40), np.float32), 3, side=10) == [Crop(15, 5, 10, 10)]
    assert find_crops(np.zeros((1, 1), np.float32), 3) == [Crop(0, 0, 1, 1)]


def test_of_equal_sums_the_first_is_taken():
    assert find_crops(np.ones((20, 20), np.float32), 2, side=10) == [Crop(0, 0, 10, 10), Crop(10, 0, 10, 10)]


def test_a_crop_cuts_its_pixels_out():
    image = torch.arange(30).view(1, 5, 6)
    assert Crop(1, 2, 3, 2).of(image).tolist() == [[[13, 14, 15], [19, 20, 21]]]
    assert Crop(0, 0, 6, 5).check_inside(6, 5) == Crop(0, 0, 6, 5)


@pytest.mark.parametrize("text", ["", "1,2,3", "1,2,3,4,5", "a,b,c,d", "1.5,2,3,4", "-1,0,4,4", "0,0,0,4"])
def test_what_is_no_crop_is_refused(text):
    with pytest.raises(ValueError, match="give X,Y,W,H in HR pixels"):
        Crop.parse(text)


def test_a_crop_outside_of_the_image_is_refused():
    with pytest.raises(ValueError, match=r"8,0,4,4 ends at \(12, 4\), outside of the 11x20 pixels"):
        Crop(8, 0, 4, 4).check_inside(11, 20)


@pytest.mark.parametrize("options", [{"num": 0}, {"side": 0}, {"side": 41}])
def test_impossible_crops_are_refused(options):
    with pytest.raises(ValueError, match="at least 1 crop of 1 to 40 pixels"):
        find_crops(np.zeros((40, 60), np.float32), **options)


def test_crops_fit_the_image():
    assert [crop_side(1, 9), crop_side(100, 90), crop_side(10_000, 9000)] == [1, 32, 128]


def test_an_error_map_is_the_mean_over_channels():
    one = torch.tensor([0, 10, 255], dtype=torch.uint8).view(3, 1, 1)
    other = torch.tensor([255, 13, 255], dtype=torch.uint8).view(3, 1, 1)
    assert error_map(one, other).tolist() == [[86.0]]
