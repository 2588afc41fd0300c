# SPDX-License-Identifier: Apache-2.0
"""XYSquares: its pixels, its distances and its factors."""

# Factors are optional in the type of a split, never in these tests.
# mypy: disable-error-code="union-attr"

from typing import Any

import numpy as np
import pytest
from runs import one_line

from tf_decomp.data import make_pipeline, xy_squares
from tf_decomp.data.xy_squares import FACTOR_NAMES
from tf_decomp.errors import InputError

_DATASET = xy_squares(seed=1)


def _draw(factors: np.ndarray, side: int) -> np.ndarray:
    """Returns the image of six factors, square by square."""
    image, cell = np.zeros((side, side, 3), np.float32), side // 8
    for channel in range(3):
        x, y = cell * factors[2 * channel : 2 * channel + 2]
        image[y : y + cell, x : x + cell, channel] = 1.0
    return image


@pytest.mark.parametrize("size", [64, 32, 16, 8])
def test_squares_are_where_the_factors_say(size: int) -> None:
    train = xy_squares(size, max_train_examples=200).train
    assert train.data_shape == (size, size, 3)
    x = train.examples(slice(None))
    expected = [_draw(row, size) for row in train.factors]
    np.testing.assert_array_equal(x, expected)
    (batch,) = make_pipeline(train, 200, shuffle=False, seed=0)
    np.testing.assert_array_equal(batch, x)


def test_an_image_by_hand() -> None:
    """A red square in the top right cell, a blue one below it, green with blue."""
    rows = np.array([[7, 0, 7, 1, 7, 1]], np.uint8)
    assert _DATASET.train.unpack is not None
    image = np.asarray(_DATASET.train.unpack(rows))[0]
    assert (image[:8, 56:] == [1.0, 0.0, 0.0]).all()
    assert (image[8:16, 56:] == [0.0, 1.0, 1.0]).all()
    assert image.sum() == 3 * 64


def test_every_image_is_there_once() -> None:
    assert [len(split.x) for split in _DATASET] == [235_930, 26_214]
    rows = np.concatenate([split.factors for split in _DATASET])
    assert len(np.unique(rows @ 8 ** np.arange(6))) == 8**6
    for split in _DATASET:
        assert split.factor_names == FACTOR_NAMES
        np.testing.assert_array_equal(split.x, split.factors)


def test_factors_are_read_off_the_pixels() -> None:
    split = _DATASET.test
    x = split.examples(slice(500))
    found = np.stack([x.any(axis=1), x.any(axis=2)], axis=-1).argmax(axis=1) // 8
    np.testing.assert_array_equal(found.reshape(500, 6), split.factors[:500])


def test_pixels_know_no_neighbours() -> None:
    """Any move of a square changes 2 x 64 values: near and far cost the same."""
    assert _DATASET.train.unpack is not None
    start = np.array([3, 4, 0, 0, 5, 5], np.uint8)
    moved = np.array(
        [[x, y, *start[2:]] for x in range(8) for y in range(8) if (x, y) != (3, 4)]
    )
    images = np.asarray(
        _DATASET.train.unpack(np.stack([start, *moved]).astype(np.uint8))
    )
    distances = np.square(images[1:] - images[0]).sum(axis=(1, 2, 3))
    assert len(distances) == 63
    assert (distances == 128.0).all()


def test_seeds_choose() -> None:
    again, other = xy_squares(seed=1), xy_squares(seed=2)
    np.testing.assert_array_equal(again.train.x, _DATASET.train.x)
    assert (other.test.x != _DATASET.test.x).any()
    few = xy_squares(max_train_examples=30, seed=1)
    assert len(few.train.x) == 30
    np.testing.assert_array_equal(few.test.x, _DATASET.test.x)
    held_out = {*map(bytes, few.test.x)}
    assert not held_out & {*map(bytes, few.train.x)}


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"image_size": 60}, ("image_size", "multiple of 8", "60")),
        ({"image_size": 0}, ("image_size", ">= 8", "0")),
        ({"image_size": 64.0}, ("image_size", "64.0")),
        ({"max_train_examples": 0}, ("max_examples", ">= 1")),
        ({"seed": -1}, ("seed", ">= 0")),
    ],
)
def test_arguments_are_refused(wrong: dict[str, Any], named: tuple[str, ...]) -> None:
    with pytest.raises(InputError) as error:
        xy_squares(**wrong)
    one_line(error, *named)
