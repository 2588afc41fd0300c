# SPDX-License-Identifier: Apache-2.0
"""The pinwheel's moments, against quadrature of its definition."""

# Labels are optional in the type of a split, never in these tests.
# mypy: disable-error-code="arg-type,index,operator,union-attr"

import numpy as np
import pytest

from tf_decomp.data import pinwheel
from tf_decomp.errors import InputError

_POWERS = [(1, 0), (0, 1), (2, 0), (1, 1), (0, 2), (3, 0), (2, 1), (1, 2), (0, 3)]


def _expected_moment(arm: int, powers: tuple[int, int]) -> float:
    """E[x^a y^b] of an arm: Gauss-Hermite over both standard normals."""
    node, weight = np.polynomial.hermite_e.hermegauss(80)
    weight = weight / np.sqrt(2.0 * np.pi)
    radial, tangential = np.meshgrid(1.0 + 0.3 * node, 0.1 * node, indexing="ij")
    point = radial + 1j * tangential
    point = point * np.exp(1j * (2.0 * np.pi * arm / 4 + 0.25 * np.exp(radial)))
    value = point.real ** powers[0] * point.imag ** powers[1]
    return float(weight @ value @ weight)


@pytest.mark.parametrize("powers", _POWERS)
@pytest.mark.parametrize("part", ["train", "test"])
def test_moments_of_each_arm(part: str, powers: tuple[int, int]) -> None:
    split = getattr(pinwheel(examples_per_arm=20_000, seed=1), part)
    for arm in range(4):
        x, y = split.x[split.labels == arm].astype(np.float64).T
        value = x ** powers[0] * y ** powers[1]
        stderr = value.std(ddof=1) / np.sqrt(len(value))
        assert abs(value.mean() - _expected_moment(arm, powers)) < 5 * stderr


def test_shapes_and_labels() -> None:
    for split in pinwheel():
        assert split.x.shape == (400, 2)
        assert split.x.dtype == np.float32
        assert np.bincount(split.labels).tolist() == [100] * 4
        assert split.factors is None
        assert split.unpack is None


def test_seed_decides_both_draws() -> None:
    first, again, other = pinwheel(seed=5), pinwheel(seed=5), pinwheel(seed=6)
    np.testing.assert_array_equal(first.train.x, again.train.x)
    np.testing.assert_array_equal(first.test.x, again.test.x)
    draws = [first.train.x, first.test.x, other.train.x, other.test.x]
    assert len({draw.tobytes() for draw in draws}) == 4
    points = np.concatenate(draws)
    assert len(np.unique(points, axis=0)) == len(points)


def test_other_shapes_of_the_wheel() -> None:
    train = pinwheel(7, num_arms=3, radial_stddev=1e-6, tangential_stddev=1e-6).train
    assert train.x.shape == (21, 2)
    angle = 2.0 * np.pi * train.labels / 3 + 0.25 * np.e
    expected = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    np.testing.assert_allclose(train.x, expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize(
    "wrong",
    [
        {"examples_per_arm": 0},
        {"num_arms": 0},
        {"radial_stddev": 0.0},
        {"tangential_stddev": -0.1},
        {"rate": float("nan")},
        {"seed": -1},
    ],
)
def test_refuses(wrong: dict[str, float]) -> None:
    (name,) = wrong
    with pytest.raises(InputError, match=name):
        pinwheel(**wrong)  # type: ignore[arg-type]
