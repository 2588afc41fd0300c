# SPDX-License-Identifier: Apache-2.0
"""Divergences between samples: known answers, definitions in NumPy."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import scipy.integrate
import scipy.stats
import tensorflow as tf
from monte_carlo import assert_gradients, assert_mean_close
from runs import one_line
from scipy.spatial.distance import directed_hausdorff

import tf_decomp.divergences.sliced
from tf_decomp.divergences import (
    dimensionwise_mmd,
    hausdorff_support,
    joint_mmd,
    sliced_wasserstein,
)
from tf_decomp.errors import InputError

SCALES = (0.1, 0.2, 0.5, 1, 2, 5, 10)
FLOATS = ("float32", "float64")


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


# -- the joint MMD ----------------------------------------------------------------


def naive_joint_mmd(x: np.ndarray, y: np.ndarray, constants: Any) -> float:
    """The U-statistic, written down pair by pair."""

    def mean(a: np.ndarray, b: np.ndarray, same: bool) -> float:
        pairs = [
            sum(c / (c + np.sum((one - other) ** 2)) for c in constants)
            for i, one in enumerate(a)
            for j, other in enumerate(b)
            if not (same and i == j)
        ]
        return float(np.mean(pairs)) if pairs else 0.0

    return mean(x, x, True) + mean(y, y, True) - 2 * mean(x, y, False)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("sizes", [(6, 4), (5, 5), (1, 5), (5, 1), (1, 1)])
def test_joint_mmd_is_its_definition(sizes: tuple[int, int], dtype: str) -> None:
    x, y = normal(sizes[0], 3), normal(sizes[1], 3, seed=1) + 0.5
    given, rtol = [tf.constant(a, dtype) for a in (x, y)], 1e-10
    if dtype == "float32":
        rtol = 1e-5
    expected = naive_joint_mmd(x, y, [2 * 3 * scale for scale in SCALES])
    np.testing.assert_allclose(joint_mmd(*given), expected, rtol=rtol)
    expected = naive_joint_mmd(x, y, [2 * 3 * 0.7 * 0.5, 2 * 3 * 0.7 * 4])
    got = joint_mmd(*given, variance=0.7, scales=(0.5, 4))
    np.testing.assert_allclose(got, expected, rtol=rtol)


def kernel_mean(means: Any, variances: Any) -> float:
    """The mean of the kernels' sum over a normal x - y with these eigenvalues.

    C / (C + r) is the integral of C exp(-C t) exp(-r t), and the mean of exp(-r t) over
    normals is known.
    """
    means, variances = np.asarray(means), np.asarray(variances)

    def integrand(t: float) -> float:
        wider = 1 + 2 * t * variances
        mean = np.prod(np.exp(-t * means**2 / wider) / wider**0.5)
        constants = 2 * len(means) * np.array(SCALES)
        return float(mean * np.sum(constants * np.exp(-constants * t)))

    return scipy.integrate.quad(integrand, 0, np.inf, limit=200)[0]


@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_joint_mmd_of_normals(shift: float) -> None:
    dim = 4
    same, apart = (kernel_mean([m] * dim, [2.0] * dim) for m in (0.0, shift))
    rng = np.random.default_rng(0)
    draws = [
        joint_mmd(
            tf.constant(rng.normal(size=(300, dim)), tf.float32),
            tf.constant(rng.normal(size=(300, dim)) + shift, tf.float32),
        )
        for _ in range(100)
    ]
    assert_mean_close(draws, 2 * (same - apart))
    # Unbiased, so of equal distributions it is below 0 about half of the time.
    assert (min(draws) < 0) == (shift == 0)


def test_joint_mmd_sees_dependence_that_marginals_do_not_show() -> None:
    r, rng, draws = 0.8, np.random.default_rng(0), []
    for _ in range(60):
        x, y = rng.normal(size=(2, 300, 2))
        x[:, 1] = r * x[:, 0] + (1 - r**2) ** 0.5 * x[:, 1]
        pair = tf.constant(x), tf.constant(y)
        draws.append([joint_mmd(*pair), dimensionwise_mmd(*pair)])
    # Eigenvalues of twice the covariance, and in the basis of x of the difference.
    within_x = kernel_mean([0, 0], [2 + 2 * r, 2 - 2 * r])
    within_y = kernel_mean([0, 0], [2.0, 2.0])
    across = kernel_mean([0, 0], [2 + r, 2 - r])
    assert_mean_close(draws, [within_x + within_y - 2 * across, 0.0])


def test_joint_mmd_stays_finite_far_out() -> None:
    x = tf.Variable([[1e8, 0.0, 0.0], [0.0, -1e15, 3.0]])
    with tf.GradientTape() as tape:
        value = joint_mmd(x, tf.zeros([4, 3]))
    assert np.all(np.isfinite([value, *np.ravel(tape.gradient(value, x))]))


# -- the sliced Wasserstein distance ----------------------------------------------


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("dim", [1, 3, 60])
def test_sliced_wasserstein_of_a_shift_and_of_the_same_points(
    dim: int, dtype: str
) -> None:
    x, shift = normal(50, dim), normal(dim, seed=1)
    given = tf.constant(x, dtype)
    # Of orthonormal bases, so exact, where random directions have it on average.
    moved = tf.constant(np.random.default_rng(2).permutation(x + shift), dtype)
    rtol = 1e-5 if dtype == "float32" else 1e-12
    known = np.sum(shift**2) / dim
    np.testing.assert_allclose(sliced_wasserstein(given, moved), known, rtol=rtol)
    np.testing.assert_allclose(sliced_wasserstein(moved, given), known, rtol=rtol)
    same = tf.constant(np.random.default_rng(3).permutation(x), dtype)
    assert float(sliced_wasserstein(given, same)) < rtol**2


def test_sliced_wasserstein_of_one_dimension_is_that_of_scipy() -> None:
    # Of whole numbers of equal weight W1 = W2^2 where all distances are 0 or 1.
    x, y = np.random.default_rng(0).integers(2, size=(2, 30, 1)).astype(float)
    known = scipy.stats.wasserstein_distance(x[:, 0], y[:, 0])
    assert known > 0
    got = sliced_wasserstein(tf.constant(x), tf.constant(y))
    assert float(got) == pytest.approx(known, rel=1e-12)


def test_sliced_wasserstein_of_normals() -> None:
    # In each direction (|s_theta| - 1)^2; of quadratic forms by their own samples.
    scales, rng, size = np.array([2.0, 1.0, 0.5]), np.random.default_rng(0), 20_000
    theta = rng.normal(size=(100_000, 3))
    theta /= np.linalg.norm(theta, axis=1, keepdims=True)
    known = np.mean((np.linalg.norm(theta * scales, axis=1) - 1) ** 2)
    x, y = (tf.constant(rng.normal(size=(size, 3)) * s) for s in (scales, 1.0))
    got = sliced_wasserstein(x, y, num_projections=1500)
    assert float(got) == pytest.approx(known, rel=0.05)


def test_sliced_wasserstein_is_the_same_in_every_call_and_sees_dependence() -> None:
    x, y = (tf.constant(normal(2000, 2, seed=seed)) for seed in range(2))
    copied = tf.stack([x[:, 0], x[:, 0]], 1)
    assert float(sliced_wasserstein(x, y)) == float(sliced_wasserstein(x, y))
    assert sliced_wasserstein(copied, y) > 20 * sliced_wasserstein(x, y)


def test_directions_are_those_of_every_process_and_whole_bases() -> None:
    x, y = (tf.constant(normal(20, 3, seed=seed)) for seed in range(2))
    three, four, six = (float(sliced_wasserstein(x, y, n)) for n in (3, 4, 6))
    assert four == six != three
    tf_decomp.divergences.sliced._directions.cache_clear()
    assert float(sliced_wasserstein(x, y, 6)) == six


@pytest.mark.parametrize("size", [1, 6])
def test_gradients_of_sliced_wasserstein(size: int) -> None:
    x, y = normal(size, 3), normal(size, 3, seed=1) + 0.5
    assert_gradients(lambda x, y: -1.7 * sliced_wasserstein(x, y), [x, y])


# -- the factorised support -------------------------------------------------------


@pytest.mark.parametrize(
    ("points", "known"),
    [
        # The missing corners (0, 4) and (3, 0) are 3 from the nearest point.
        ([[0, 0], [3, 4]], 3.0),
        # A full grid lacks nothing, however often its points come.
        ([[0, 0], [0, 1], [2, 0], [2, 1], [2, 1]], 0.0),
        # An L: (5, 5) is 5 from (5, 0) and from (0, 5).
        ([[0, 0], [5, 0], [0, 5]], 5.0),
        # (1, 0): between (0, 0) and (1, 1); (2, 0) is 2^0.5 from (1, 1).
        ([[0, 0], [1, 1], [2, 2]], 2**0.5),
        # The pairs (0, 1), (0, 2), (1, 2) of one diagonal: 1, 1 and 1.
        ([[0, 0, 0], [1, 1, 1]], 3.0),
        ([[1.5, 2.5]], 0.0),
        ([[1.0], [2.0]], 0.0),
    ],
)
@pytest.mark.parametrize("dtype", FLOATS)
def test_support_worked_out_by_hand(points: Any, known: float, dtype: str) -> None:
    got = hausdorff_support(tf.constant(points, dtype))
    assert got.dtype == dtype
    assert float(got) == pytest.approx(known, rel=1e-6)


def test_support_is_that_of_scipy() -> None:
    z = normal(17, 3)
    known = 0.0
    for i, j in ((0, 1), (0, 2), (1, 2)):
        product = np.stack(np.meshgrid(z[:, i], z[:, j]), -1).reshape(-1, 2)
        known += directed_hausdorff(product, z[:, [i, j]])[0]
        # The other direction, from a subset, is 0.
        assert directed_hausdorff(z[:, [i, j]], product)[0] == 0
    assert float(hausdorff_support(tf.constant(z))) == pytest.approx(known, rel=1e-12)


def test_support_lets_dimensions_be_correlated_and_falls_with_the_batch() -> None:
    rng, means = np.random.default_rng(0), []
    for size in (50, 400):
        draws = []
        for _ in range(20):
            u = rng.uniform(size=(size, 2))
            # Half of the data on a strip about the diagonal: the square is still full.
            on_strip = np.arange(size) % 2 == 0
            u[on_strip, 1] = np.clip(u[on_strip, 0] + 0.05 * u[on_strip, 1], 0, 1)
            strip = np.stack([u[:, 0], u[:, 0]], 1)
            draws.append([hausdorff_support(tf.constant(z)) for z in (u, strip)])
        means.append(np.mean(draws, axis=0))
    assert means[1][0] < 0.5 * means[0][0]
    assert means[1][1] > 0.6  # of a diagonal it tends to 0.5^0.5


def test_gradients_of_the_support() -> None:
    assert_gradients(lambda z: -1.7 * hausdorff_support(z), [normal(7, 3)])
    for size in (1, 5):  # where the distance is 0 there is none, and no NaN
        z = tf.ones([size, 2])
        with tf.GradientTape() as tape:
            tape.watch(z)
            value = hausdorff_support(z)
        np.testing.assert_array_equal(tape.gradient(value, z), np.zeros([size, 2]))


# -- arguments that do not fit ----------------------------------------------------

POINTS = tf.zeros([4, 2])
BAD: dict[str, tuple[str, Callable[[], Any]]] = {
    "joint_mmd sets": (
        "joint_mmd: expected x [B, latent_dim] and y [M, latent_dim]",
        partial(joint_mmd, POINTS, tf.zeros([4, 3])),
    ),
    "joint_mmd scales": (
        "joint_mmd: scales must be one or more positive numbers; received (1.0, 0.0)",
        partial(joint_mmd, POINTS, POINTS, scales=(1.0, 0.0)),
    ),
    "joint_mmd variance": (
        "joint_mmd: variance must be > 0",
        partial(joint_mmd, POINTS, POINTS, variance=0.0),
    ),
    "sliced_wasserstein sets": (
        "sliced_wasserstein: expected x [B, latent_dim] and y [M, latent_dim]",
        partial(sliced_wasserstein, POINTS, tf.zeros([4, 3])),
    ),
    "sliced_wasserstein sizes": (
        "expected as many points in x as in y; received 4 and 5",
        partial(sliced_wasserstein, POINTS, tf.zeros([5, 2])),
    ),
    "sliced_wasserstein projections": (
        "num_projections must be a whole number >= 1; received 0",
        partial(sliced_wasserstein, POINTS, POINTS, num_projections=0),
    ),
    "hausdorff_support": (
        "hausdorff_support: expected floating-point latents [B, latent_dim]; received "
        "int32 (4, 2)",
        partial(hausdorff_support, tf.zeros([4, 2], tf.int32)),
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_arguments(name: str) -> None:
    message, call = BAD[name]
    with pytest.raises(InputError) as raised:
        call()
    one_line(raised, message)
