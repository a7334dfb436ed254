import base64
import io

import numpy as np
import pytest
from PIL import Image

from srzoo.report.embed import WEBP_SIDE, embedded_size, to_data_uri


@pytest.mark.parametrize(("size", "kind"), [((30, 20), "webp"), ((WEBP_SIDE + 1, 1), "png")])
def test_pictures_are_embedded_without_loss(size, kind):
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    head, _, code = to_data_uri(Image.fromarray(pixels)).partition(",")
    assert head == f"data:image/{kind};base64"
    with Image.open(io.BytesIO(base64.b64decode(code))) as image:
        assert np.array_equal(np.asarray(image), pixels)


@pytest.mark.parametrize(
    ("size", "expected"),
    [((1, 1), (1, 1)), ((1000, 1000), (1000, 1000)), ((4000, 1000), (2000, 500)), ((90_000, 1), (8192, 1))],
)
def test_whole_images_stay_within_the_budget(size, expected):
    assert embedded_size(*size, 1_000_000) == expected
