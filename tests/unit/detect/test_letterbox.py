from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from helpers.photos import letterboxed, photo
from zipcrop.detect.letterbox import Letterbox

SIZES = [(480, 640), (640, 480), (1080, 1920), (1080, 810), (333, 500), (1, 5000), (5000, 1), (640, 640), (17, 23)]


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("size", [320, 640])
def test_same_pixels_as_ultralytics(height: int, width: int, size: int) -> None:
    from ultralytics.data.augment import LetterBox

    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    letterbox = Letterbox.fit(height, width, size, 32)
    ours = letterboxed(image, size)
    assert ours.shape[:2] == letterbox.shape
    np.testing.assert_array_equal(ours, LetterBox((size, size), auto=True, stride=32)(image=image))


SIDES = st.integers(1, 700)


@settings(max_examples=400, deadline=None)
@given(SIDES, SIDES, st.sampled_from([64, 100, 320, 352]), st.integers(1, 4), st.booleans())
@example(240, 320, 320, 1, False)  # needs no scaling
@example(320, 320, 320, 1, False)  # nor borders
@example(1, 700, 320, 3, False)
@example(700, 1, 320, 3, False)
def test_writes_into_the_memory_given_and_nowhere_else(
    height: int, width: int, size: int, margin: int, reduced: bool
) -> None:
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    image.flags.writeable = False
    # A reduced image is smaller than its letterbox thinks.
    letterbox = Letterbox.fit(height * (1 + reduced), width * (1 + reduced), size, 32)
    rows, columns = letterbox.shape
    memory = np.full((rows + 2 * margin, columns + 2 * margin, 3), 7, np.uint8)
    out = memory[margin:-margin, margin:-margin]
    assert letterbox.apply(image, out) is out
    wanted = np.full_like(memory, 7)
    wanted[margin:-margin, margin:-margin] = reference(letterbox, image)
    np.testing.assert_array_equal(memory, wanted)


def reference(letterbox: Letterbox, image: np.ndarray) -> np.ndarray:
    """`image` in its letterbox, by way of OpenCV's borders."""
    scaled = (letterbox.scaled_width, letterbox.scaled_height)
    if image.shape[1::-1] != scaled:
        image = cv2.resize(image, scaled, interpolation=cv2.INTER_LINEAR)
    bottom = letterbox.shape[0] - letterbox.scaled_height - letterbox.top
    right = letterbox.shape[1] - letterbox.scaled_width - letterbox.left
    grey = (114, 114, 114)
    boxed: np.ndarray = cv2.copyMakeBorder(
        image, letterbox.top, bottom, letterbox.left, right, cv2.BORDER_CONSTANT, value=grey
    )
    return boxed


@pytest.mark.parametrize("side", [320, 400])
def test_other_memory_is_refused(side: int) -> None:
    image = np.zeros((side, side, 3), np.uint8)
    letterbox = Letterbox.fit(side, side, 320, 32)
    for out in (np.zeros((352, 320, 3), np.uint8), np.zeros((320, 320, 3), np.float32)):
        with pytest.raises(ValueError, match=r"not uint8 \(320, 320, 3\)"):
            letterbox.apply(image, out)


@pytest.mark.parametrize(("height", "width"), [*SIZES, (321, 640), (427, 640), (500, 375), (1365, 2048)])
def test_same_boxes_as_ultralytics(height: int, width: int) -> None:
    import torch
    from ultralytics.utils.ops import scale_boxes

    letterbox = Letterbox.fit(height, width, 640, 32)
    boxes = np.random.default_rng(1).uniform(-20, 660, (50, 4)).astype(np.float32)
    theirs = scale_boxes(letterbox.shape, torch.from_numpy(boxes.copy()), (height, width)).numpy()
    np.testing.assert_allclose(letterbox.to_image(boxes), theirs, rtol=1e-5, atol=1e-3)


def test_smallest_rectangle() -> None:
    height, width = photo("zidane").shape[:2]
    assert Letterbox.fit(height, width, 640, 32).shape == (384, 640)


def test_boxes_are_clipped_to_the_image() -> None:
    letterbox = Letterbox.fit(480, 640, 640, 32)
    (box,) = letterbox.to_image(np.array([[-50, -50, 900, 900]], np.float32))
    assert box.tolist() == [0, 0, 640, 480]


@pytest.mark.parametrize(
    ("width", "height", "size", "reduction"),
    [
        (4032, 3024, 640, 4),  # an eighth is 504 pixels wide
        (3024, 4032, 640, 4),
        (5120, 3840, 640, 8),
        (5119, 3839, 640, 8),  # rounded up by the decoder
        (1279, 700, 640, 2),
        (1278, 700, 640, 1),
        (640, 480, 640, 1),
        (100, 50, 640, 1),
        (9000, 3, 640, 8),
    ],
)
def test_reduction_never_goes_below_the_letterbox(width: int, height: int, size: int, reduction: int) -> None:
    letterbox = Letterbox.fit(height, width, size, 32)
    assert letterbox.reduction() == reduction
    if reduction > 1:
        assert -(-width // reduction) >= letterbox.scaled_width
        assert -(-height // reduction) >= letterbox.scaled_height
