from srzoo.data.check import DataReport


def test_each_kind_of_fault_has_a_line():
    report = DataReport(
        patch_size=48,
        images=5,
        megapixels=2.25,
        excluded=2,
        unreadable=("bad.png: not an image",),
        too_small={2: ("a.png", "b.png"), 4: ("c.png",)},
        duplicates=(("d.png", "e.png"), ("f.png", "g.png", "h.png")),
        unpaired=("i.png (no LR for x2)",),
        misfit=("lr/j.png is 3x3, x2 of j.png (8x8) is 4x4",),
    )
    assert report.lines() == [
        "5 images, 2.2 megapixels, 2 held out",
        "unreadable, left out (1): bad.png: not an image",
        "equal pixels, only the first is drawn (2): d.png = e.png, f.png = g.png = h.png",
        "too small for a patch of 48 at x2, not drawn there (2): a.png, b.png",
        "too small for a patch of 48 at x4, not drawn there (1): c.png",
        "unpaired (1): i.png (no LR for x2)",
        "LR and HR sizes that do not fit (1): lr/j.png is 3x3, x2 of j.png (8x8) is 4x4",
    ]


def test_a_sound_set_has_one_line():
    assert DataReport(48, 5, 2.0).lines() == ["5 images, 2.0 megapixels"]


def test_long_warnings_are_cut_and_faults_are_not():
    names = tuple(f"{i:02}.png" for i in range(23))
    report = DataReport(48, 5, 2.0, unreadable=names, unpaired=names)
    assert report.warnings()[0].endswith("19.png and 3 more")
    assert report.faults()[0].endswith("21.png, 22.png")
