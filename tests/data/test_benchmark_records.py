import csv

from srzoo.data.benchmark_records import plain
from srzoo.data.benchmarks import (
    BENCHMARKS,
)

COUNTS = {"Set5": 5, "Set14": 14, "B100": 100, "Urban100": 100, "Manga109": 109, "DIV2K": 100}


def test_records_have_all_images_once():
    assert {name: len(one.images) for name, one in BENCHMARKS.items()} == COUNTS
    assert {one.protocol for one in BENCHMARKS.values() if one.name != "DIV2K"} == {"paper"}
    assert BENCHMARKS["DIV2K"].protocol == "div2k"
    for one in BENCHMARKS.values():
        assert len({plain(image.name) for image in one.images}) == len(one.images)  # names stay apart when folded
    known = [image.sha256 for one in BENCHMARKS.values() for image in one.images if image.sha256]
    assert len(known) == len(set(known)) == 328
    assert all(len(digest) == 64 for digest in known)
    assert [image.name for image in BENCHMARKS["DIV2K"].images][::99] == ["0801", "0900"]
    assert [image.name for one in BENCHMARKS.values() for image in one.images if image.mode == "L"] == ["bridge"]
    assert all(len(one.hub.revision) == 40 for one in BENCHMARKS.values() if one.hub)


def test_records_are_those_of_the_shared_list(data_dir):
    with open(data_dir / "benchmarks.csv", newline="") as file:
        rows = [tuple(row.values()) for row in csv.DictReader(file)]
    ours = [
        (one.name, image.name, str(image.width), str(image.height), image.mode, image.sha256)
        for one in BENCHMARKS.values()
        for image in one.images
        if image.sha256
    ]
    assert ours == rows
