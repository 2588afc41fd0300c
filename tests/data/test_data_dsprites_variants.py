# SPDX-License-Identifier: Apache-2.0
"""Color-dSprites and Noisy-dSprites: what their pixels are, and that they stay."""

# Factors are optional in the type of a split, never in these tests.
# mypy: disable-error-code="arg-type,union-attr"

from typing import Any

import numpy as np
import pytest
from monte_carlo import assert_mean_close
from runs import one_line
from scipy import stats

from tf_decomp.data import (
    Dataset,
    Split,
    color_dsprites,
    dsprites,
    make_pipeline,
    noisy_dsprites,
    render_dsprites,
)
from tf_decomp.data.dsprites_rendering import FACTOR_NAMES, FACTOR_SIZES
from tf_decomp.errors import InputError

_N = 300


@pytest.fixture(scope="module")
def color() -> Dataset:
    return color_dsprites(max_train_examples=_N, seed=1)


@pytest.fixture(scope="module")
def noisy() -> Dataset:
    return noisy_dsprites(max_train_examples=_N, seed=1)


def _shapes(split: Split) -> np.ndarray:
    """Returns where the shapes are, as truth values [n, 64, 64]."""
    return (
        render_dsprites(np.ravel_multi_index(tuple(split.factors.T), FACTOR_SIZES)) > 0
    )


def test_a_shape_has_one_colour_on_black(color: Dataset) -> None:
    x, shapes = color.train.examples(slice(None)), _shapes(color.train)
    assert x.shape == (_N, 64, 64, 3)
    assert (x[~shapes] == 0.0).all()
    colours = x.max(axis=(1, 2))
    for image, shape, colour in zip(x, shapes, colours, strict=True):
        assert (image[shape] == colour).all()


def test_colours_are_uniform_on_their_interval(color: Dataset) -> None:
    colours = color.test.examples(slice(2_000)).max(axis=(1, 2))
    assert 0.5 <= colours.min() < 0.502
    assert 0.998 < colours.max() <= 1.0
    for channel in colours.T:
        assert_mean_close(channel, 0.75, num_stderr=5)
        assert stats.kstest(channel, stats.uniform(0.5, 0.5).cdf).pvalue > 1e-4
    assert np.abs(np.corrcoef(colours.T) - np.eye(3)).max() < 5 / np.sqrt(2_000)


def test_a_shape_is_white_on_noise(noisy: Dataset) -> None:
    x, shapes = noisy.train.examples(slice(None)), _shapes(noisy.train)
    assert x.shape == (_N, 64, 64, 3)
    assert (x[shapes] == 1.0).all()
    noise = x[~shapes]
    assert noise.min() >= 0.0
    assert noise.max() < 1.0
    assert_mean_close(noise.ravel(), 0.5, num_stderr=5)
    assert_mean_close(noise.ravel() ** 2, 1.0 / 3.0, num_stderr=5)
    assert stats.kstest(noise[::50, 0], stats.uniform.cdf).pvalue > 1e-4


def test_noise_is_of_its_own_in_each_image_pixel_and_channel(noisy: Dataset) -> None:
    corner = noisy.test.examples(slice(400))[:, :4, :4].reshape(
        400, -1
    )  # no shape there
    assert np.abs(np.corrcoef(corner.T) - np.eye(48)).max() < 5.5 / np.sqrt(400)
    assert np.abs(np.corrcoef(corner[:40]) - np.eye(40)).max() < 5.5 / np.sqrt(48)


@pytest.mark.parametrize("of", [color_dsprites, noisy_dsprites])
def test_an_image_keeps_its_pixels(of: Any, color: Dataset, noisy: Dataset) -> None:
    """Alone or in a batch, in a smaller set, in a pipeline, in another process."""
    split = (color if of is color_dsprites else noisy).train
    x = split.examples(slice(40))
    np.testing.assert_array_equal(split.examples(np.array([7]))[0], x[7])
    fewer = of(max_train_examples=40, seed=1).train
    np.testing.assert_array_equal(fewer.factors, split.factors[:40])
    np.testing.assert_array_equal(fewer.examples(slice(None)), x)
    (batch,) = make_pipeline(fewer, 40, shuffle=True, seed=0)
    assert {image.tobytes() for image in batch.numpy()} == {i.tobytes() for i in x}
    known = {
        color_dsprites: [0.7328, 0.6375, 0.8536],
        noisy_dsprites: [0.5378, 0.5264, 0.5280],
    }
    take = np.max if of is color_dsprites else np.mean
    np.testing.assert_allclose(take(x[0], axis=(0, 1)), known[of], atol=1e-4)


@pytest.mark.parametrize("of", [color_dsprites, noisy_dsprites])
def test_seeds_differ(of: Any, color: Dataset, noisy: Dataset) -> None:
    """Also where they have drawn the same image of dSprites."""
    split = (color if of is color_dsprites else noisy).test
    other = of(max_train_examples=1, seed=2).test
    common = {tuple(row): i for i, row in enumerate(split.factors.tolist())}
    pairs = [
        (common[tuple(row)], j)
        for j, row in enumerate(other.factors[:2_000].tolist())
        if tuple(row) in common
    ]
    mine, theirs = np.array(pairs[:50]).T
    x, y = split.examples(mine), other.examples(theirs)
    assert (x != y).any(axis=(1, 2)).all()  # each image, each channel


@pytest.mark.parametrize("size", [32, 16])
@pytest.mark.parametrize("of", [color_dsprites, noisy_dsprites])
def test_smaller_images_are_means_of_blocks(
    of: Any, size: int, color: Dataset, noisy: Dataset
) -> None:
    split = (color if of is color_dsprites else noisy).train
    small = of(image_size=size, max_train_examples=10, seed=1).train
    assert small.data_shape == (size, size, 3)
    block = 64 // size
    x = split.examples(slice(10)).reshape(10, size, block, size, block, 3)
    expected = x.mean(axis=(2, 4), dtype=np.float64)
    np.testing.assert_allclose(small.examples(slice(None)), expected, atol=1e-6)


@pytest.mark.parametrize("of", [color_dsprites, noisy_dsprites])
def test_images_and_factors_are_those_of_dsprites(
    of: Any, color: Dataset, noisy: Dataset
) -> None:
    plain = dsprites(max_train_examples=_N, seed=1)
    for split, other in zip(
        plain, color if of is color_dsprites else noisy, strict=True
    ):
        np.testing.assert_array_equal(split.factors, other.factors)
        np.testing.assert_array_equal(split.x, other.x[:, :512])
        assert other.factor_names == FACTOR_NAMES


@pytest.mark.parametrize("of", [color_dsprites, noisy_dsprites])
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"image_size": 48}, "image_size must be one of 64, 32, 16"),
        ({"max_train_examples": 0}, "max_examples must be a whole number >= 1"),
        ({"seed": -1}, "seed must be a whole number >= 0"),
        ({"data_dir": "/nowhere"}, "dSprites was not found"),
    ],
)
def test_arguments_are_refused_as_of_dsprites(
    of: Any, wrong: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError) as error:
        of(**wrong)
    one_line(error, message)
