from __future__ import annotations

from zipcrop.image.crop import crop_slice


def test_without_padding_it_is_the_truncated_box() -> None:
    rows, columns = crop_slice((10.9, 20.2, 30.99, 40.0), 0.0, 100, 100)
    assert (rows, columns) == (slice(20, 40), slice(10, 30))


def test_padding_is_a_fraction_of_the_box_on_each_side() -> None:
    rows, columns = crop_slice((40, 40, 60, 80), 0.25, 200, 200)
    assert (rows, columns) == (slice(30, 90), slice(35, 65))


def test_padding_is_clipped_to_the_image() -> None:
    rows, columns = crop_slice((1, 1, 99, 49), 1.0, 100, 50)
    assert (rows, columns) == (slice(0, 50), slice(0, 100))
