# SPDX-License-Identifier: Apache-2.0
"""Splits: subset, hold-out and the conversion of images."""

# Labels are optional in the type of a split, never in these tests.
# mypy: disable-error-code="arg-type,index,operator,union-attr"

from collections.abc import Callable

import numpy as np
import pytest

from tf_decomp.data import Dataset, Split, hold_out, subset
from tf_decomp.data.dataset import seeded_generator
from tf_decomp.data.images import float_images
from tf_decomp.data.scales import white_level
from tf_decomp.errors import InputError


def _class_sorted(num_examples: int = 1000, num_classes: int = 10) -> Split:
    rows = np.arange(num_examples)
    labels = rows * num_classes // num_examples
    return Split(
        rows[:, None].astype(np.float32), labels, np.stack([rows, -rows], axis=1), abs
    )


def _rows(split: Split) -> list[int]:
    return split.x[:, 0].astype(int).tolist()


def _assert_aligned(split: Split, whole: Split) -> None:
    rows = _rows(split)
    np.testing.assert_array_equal(split.labels, whole.labels[rows])
    np.testing.assert_array_equal(split.factors, whole.factors[rows])
    assert split.unpack is whole.unpack


def test_subset_of_class_sorted_data_has_every_class() -> None:
    whole = _class_sorted()
    part = subset(whole, 200, seed=0)
    # Missing one of 10 classes in 200 draws has probability 10 * 0.9^200 < 1e-8.
    assert set(part.labels) == set(range(10))
    assert len(set(_rows(part))) == len(part.x) == 200
    _assert_aligned(part, whole)


def test_subset_takes_every_row_equally_often() -> None:
    split = Split(np.arange(20.0)[:, None])
    num_seeds, size = 3000, 5
    counts = np.zeros(20)
    for seed in range(num_seeds):
        counts[_rows(subset(split, size, seed))] += 1
    p = size / 20
    z = (counts - num_seeds * p) / np.sqrt(num_seeds * p * (1 - p))
    assert np.abs(z).max() < 5


@pytest.mark.parametrize("max_examples", [None, 1000, 5000])
def test_subset_keeps_a_small_split(max_examples: int | None) -> None:
    whole = _class_sorted()
    assert subset(whole, max_examples, 0) is whole


def test_hold_out_parts_the_rows() -> None:
    whole = _class_sorted()
    parts = hold_out(whole, 0.1, seed=0)
    assert isinstance(parts, Dataset)
    assert len(parts.test.x) == 100
    assert sorted(_rows(parts.train) + _rows(parts.test)) == list(range(1000))
    assert set(parts.test.labels) == set(range(10))
    _assert_aligned(parts.train, whole)
    _assert_aligned(parts.test, whole)


def test_parts_are_functions_of_the_seed() -> None:
    whole = _class_sorted()
    first, again, other = (
        (_rows(subset(whole, 50, seed)), _rows(hold_out(whole, 0.1, seed).test))
        for seed in (3, 3, 4)
    )
    assert first == again
    assert first[0] != other[0]
    assert first[1] != other[1]


def test_hold_out_leaves_no_side_empty() -> None:
    two = Split(np.zeros((2, 1)))
    for fraction in (0.01, 0.99):
        assert [len(part.x) for part in hold_out(two, fraction, 0)] == [1, 1]


@pytest.mark.parametrize(
    ("attempt", "message"),
    [
        (lambda: subset(_class_sorted(), 0, 0), "max_examples must be .* 0$"),
        (lambda: subset(_class_sorted(), -3, 0), "max_examples must be .* -3$"),
        (lambda: hold_out(_class_sorted(), 0.0, 0), "fraction must be in"),
        (lambda: hold_out(_class_sorted(), 1.0, 0), "fraction must be in"),
        (lambda: hold_out(_class_sorted(), -0.1, 0), "fraction must be in"),
        (lambda: hold_out(_class_sorted(), float("nan"), 0), "fraction must be in"),
        (lambda: hold_out(Split(np.zeros((1, 1))), 0.1, 0), "at least 2 .* received 1"),
        (
            lambda: seeded_generator(-1, "a"),
            "seed must be a whole number >= 0; received -1",
        ),
        (
            lambda: float_images(np.zeros((1, 2, 2, 1)), -1),
            "image_size must be a whole number >= 0",
        ),
        (lambda: subset(_class_sorted(), 1.5, 0), "whole number .* received 1.5"),
        (lambda: subset(_class_sorted(), True, 0), "whole number .* received True"),
        (lambda: subset(_class_sorted(), "3", 0), "whole number .* received '3'"),
        (lambda: hold_out(_class_sorted(), "0.1", 0), "fraction must be in"),
        (lambda: hold_out(_class_sorted(), None, 0), "fraction must be in"),
        (lambda: seeded_generator(0.0, "a"), "seed must be a whole number"),
        (lambda: seeded_generator(None, "a"), "seed must be a whole number"),
        (lambda: float_images(np.zeros((1, 2, 2, 1)), 8.0), "image_size must be a who"),
        (
            lambda: float_images(np.zeros((1, 2, 2, 1)), 3_000_000),
            r"1 images of 3000000 x 3000000 pixels needs 36,000.0 GB of memory",
        ),
    ],
)
def test_refuses(attempt: Callable[[], object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        attempt()


def test_streams_of_a_seed_differ() -> None:
    draws = [seeded_generator(0, stream).random() for stream in ("a", "b", "a")]
    assert draws[0] == draws[2] != draws[1]


def _interpolated(rows: np.ndarray, size: int) -> np.ndarray:
    """Linear interpolation of the last axis at half-pixel centres."""
    old = rows.shape[-1]
    position = (np.arange(size) + 0.5) * old / size - 0.5
    position = np.clip(position, 0, old - 1)
    low = np.minimum(np.floor(position).astype(int), old - 2)
    weight = position - low
    return rows[..., low] * (1 - weight) + rows[..., low + 1] * weight


def test_enlarging_is_bilinear() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 28, 20, 2), dtype=np.uint8)
    planes = images.transpose(0, 3, 1, 2) / 255.0
    expected = _interpolated(planes, 32).swapaxes(-1, -2)
    expected = _interpolated(expected, 32).swapaxes(-1, -2).transpose(0, 2, 3, 1)
    received = float_images(images, 32, white=255.0)
    assert received.dtype == np.float32
    assert received.shape == (3, 32, 32, 2)
    np.testing.assert_allclose(received, expected, rtol=0, atol=1e-6)


def test_reducing_averages() -> None:
    row = np.random.default_rng(0).random(16)
    images = np.broadcast_to(row[:, None], (1, 16, 16, 1))  # varies along the width
    received = float_images(images, 8)[0, 4, 1:-1, 0]
    weights = np.array([1, 3, 3, 1]) / 8  # the triangular filter for a factor of 2
    expected = [row[2 * i - 1 : 2 * i + 3] @ weights for i in range(1, 7)]
    np.testing.assert_allclose(received, expected, rtol=0, atol=1e-6)


def test_reducing_white_images_does_not_round_beyond_white() -> None:
    white = np.full((1, 28, 28, 1), 255, np.uint8)
    assert float_images(white, 16, white=255.0).max() == 1.0


def test_many_images_are_converted_alike() -> None:
    images = np.random.default_rng(0).integers(0, 256, (5000, 2, 2, 1), dtype=np.uint8)
    for image_size in (0, 4):
        whole = float_images(images, image_size, white=255.0)
        last = float_images(images[-3:], image_size, white=255.0)
        np.testing.assert_array_equal(whole[-3:], last)
        assert whole.min() >= 0.0
        assert whole.max() <= 1.0
    np.testing.assert_array_equal(
        float_images(images, white=255.0), images.astype(np.float32) / np.float32(255)
    )


@pytest.mark.parametrize(
    ("dtype", "smallest", "largest", "expected"),
    [
        (np.uint8, 0, 200, 255.0),
        (np.uint8, 0, 1, 1.0),
        (np.uint16, 0, 300, 65535.0),
        (np.uint16, 0, 255, 255.0),
        (np.int64, 0, 255, 255.0),
        (np.int64, 0, 256, 65535.0),
        (np.int32, 3, 65535, 65535.0),
        (np.int32, 0, 65536, 1.0),
        (np.int16, -1, 255, 1.0),
        (np.int8, 0, 127, 255.0),
        (np.uint64, 0, 2**64 - 1, 1.0),
        (np.float32, 0, 200.0, 1.0),
        (np.float64, 0, 255.0, 1.0),
        (np.bool_, 0, 1, 1.0),
    ],
)
def test_white_level(
    dtype: type, smallest: float, largest: float, expected: float
) -> None:
    assert white_level(np.dtype(dtype), smallest, largest) == expected
