# SPDX-License-Identifier: Apache-2.0
"""Divergences: known answers, NumPy references, bias with batch size, memory."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats
import tensorflow as tf
import tensorflow_probability as tfp
from cases import CALLABLES, FAMILIES, MODES, family_posterior
from monte_carlo import assert_mean_close, mean_and_error
from processes import run_python
from runs import one_line

from tf_decomp.divergences import (
    DIVERGENCES,
    dimensionwise_mmd,
    dip_vae_i,
    dip_vae_ii,
    hausdorff_support,
    inclusive_kl,
    joint_mmd,
    kl_divergence,
    sliced_wasserstein,
)
from tf_decomp.errors import InputError
from tf_decomp.posteriors import aggregate_log_prob, aggregate_posterior, check_points
from tf_decomp.priors import NormalMixturePrior, NormalPrior, StudentTPrior

tfd = tfp.distributions
BANDWIDTHS = (0.2, 0.4, 1, 2, 4, 10)


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


# -- KL(q(z|x) || p(z)) -----------------------------------------------------------


@pytest.mark.parametrize(("loc", "known"), [((0.9, 0.1), 1.757), ((0.0, -0.8), 2.079)])
def test_kl_to_the_mixture(loc: tuple[float, float], known: float) -> None:
    # A joint density counted once for each dimension would give 3.13 for the first.
    q = scipy.stats.multivariate_normal(loc, 0.2**2)
    side = np.linspace(-2, 2, 801)
    z = np.stack(np.meshgrid(side, side), -1)
    p = sum(scipy.stats.multivariate_normal(mode, 0.03).pdf(z) for mode in MODES) / 4
    exact = np.sum(q.pdf(z) * (q.logpdf(z) - np.log(p))) * 0.005**2
    # The known answers are Monte Carlo means.
    assert exact == pytest.approx(known, abs=5e-3)

    copies = tf.tile(tf.constant([loc]), [100_000, 1])
    posterior = tfd.MultivariateNormalDiag(copies, tf.fill([100_000, 2], 0.2))
    prior = NormalMixturePrior(MODES, variance=0.03)
    latents = posterior.sample(1, seed=[0, 1])
    assert_mean_close(kl_divergence(posterior, prior, latents), exact)
    assert_mean_close(kl_divergence(posterior, prior.distribution, latents), exact)


@pytest.mark.parametrize("df", [float("inf"), None])
def test_exact_kl_is_the_monte_carlo_mean_in_value_and_gradient(
    df: float | None,
) -> None:
    n, loc, scale = 50_000, np.array([0.4, -1.0]), np.array([0.7, 1.5])
    prior = NormalPrior(2, [2.0, 0.5]) if df is None else StudentTPrior(2, df)
    noise = tf.constant(normal(n, 2), tf.float32)
    locs, scales = (tf.constant(np.tile(a, (n, 1)), tf.float32) for a in (loc, scale))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([locs, scales])
        exact = kl_divergence(
            tfd.MultivariateNormalDiag(locs, scales), prior, tf.zeros([1, n, 2])
        )
        # TFP registers no KL from this class to that of the prior.
        same = tfd.Independent(tfd.Normal(locs, scales), 1)
        sampled = kl_divergence(same, prior, (locs + scales * noise)[None])
    variances = np.array([2.0, 0.5]) if df is None else np.ones(2)
    known = 0.5 * np.sum(
        (scale**2 + loc**2) / variances - 1 + np.log(variances / scale**2)
    )
    np.testing.assert_allclose(exact, known, rtol=1e-5)
    assert_mean_close(sampled, known)
    for source in (locs, scales):
        known_gradient = tape.gradient(exact, source)[0]
        assert_mean_close(tape.gradient(sampled, source), known_gradient)


def test_kl_averages_the_leading_axes() -> None:
    posterior = family_posterior("independent_laplace")
    prior = NormalMixturePrior(MODES, variance=0.5)
    latents = posterior.sample([3, 2], seed=[0, 1])
    each = [[kl_divergence(posterior, prior, z) for z in row] for row in latents]
    got = kl_divergence(posterior, prior, latents)
    np.testing.assert_allclose(got, np.mean(each, (0, 1)), rtol=1e-5)


# -- the inclusive KL -------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_inclusive_kl_is_its_definition(family: str) -> None:
    posterior, z = family_posterior(family, "float64"), normal(7, 2)
    prior = NormalPrior(2, [2.0, 0.5], dtype="float64")
    log_probs = posterior.log_prob(z[:, None])  # [7, 4]
    log_q = scipy.special.logsumexp(log_probs, axis=1) - np.log(4)
    log_p = scipy.stats.multivariate_normal([0, 0], np.diag([2.0, 0.5])).logpdf(z)
    got = inclusive_kl(tf.constant(z), prior, posterior)
    np.testing.assert_allclose(got, np.mean(log_p - log_q), rtol=1e-10)
    np.testing.assert_allclose(
        aggregate_log_prob(posterior, tf.constant(z)), log_q, rtol=1e-10
    )


def test_aggregate_log_prob_is_that_of_the_aggregate_far_out_too() -> None:
    posterior = family_posterior("multivariate_normal_diag")
    z = tf.constant([[0.0, 0.0], [30.0, -30.0]])
    expected = aggregate_posterior(posterior).log_prob(z)
    got = aggregate_log_prob(posterior, z)
    assert np.all(np.isfinite(got))
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_inclusive_kl_of_equals_is_zero() -> None:
    prior = NormalPrior(3, [2.0, 1.0, 0.5]).distribution
    posterior = tfd.MultivariateNormalDiag(tf.zeros([1, 3]), prior.stddev()[None])
    z = prior.sample(1000, seed=[0, 1])
    assert abs(float(inclusive_kl(z, prior, posterior))) < 1e-6


def test_inclusive_kl_to_one_normal_is_the_closed_form() -> None:
    prior = NormalPrior(2).distribution
    posterior = tfd.MultivariateNormalDiag([[0.5, 0.0]], [[1.5, 0.8]])
    expected = float(tfd.kl_divergence(prior, posterior)[0])
    draws = [
        inclusive_kl(prior.sample(5000, seed=[0, i]), prior, posterior)
        for i in range(20)
    ]
    assert_mean_close(draws, expected)


def batch_draws(
    batch: int, dim: int, scale: float, num_draws: int, num_samples: int
) -> list[float]:
    """Draws of the inclusive KL of batches of data of which q(z) = N(0, I) = p(z)."""
    prior, rng = NormalPrior(dim).distribution, np.random.default_rng(batch)

    @tf.function
    def draw(loc: tf.Tensor, z: tf.Tensor) -> tf.Tensor:
        posterior = tfd.MultivariateNormalDiag(loc, tf.fill(loc.shape, scale))
        return inclusive_kl(z, prior, posterior)

    draws = []
    for _ in range(num_draws):
        loc = (1 - scale**2) ** 0.5 * rng.normal(size=(batch, dim))
        z = rng.normal(size=(num_samples, dim))
        draws.append(float(draw(*(tf.constant(a, tf.float32) for a in (loc, z)))))
    return draws


@pytest.mark.slow
def test_small_batches_bias_the_inclusive_kl_upwards() -> None:
    sizes = (16, 64, 256, 1024)
    draws = [batch_draws(size, 2, 0.4, 100, size) for size in sizes]
    means, errors = zip(*map(mean_and_error, draws), strict=True)
    # The divergence is 0.
    assert means[-1] > 5 * errors[-1]
    for i in range(len(sizes) - 1):
        assert means[i] - means[i + 1] > 5 * np.hypot(errors[i], errors[i + 1])


def test_leading_bias_of_the_inclusive_kl() -> None:
    # E_p[Var_i q(z|x_i) / q(z)^2] / 2B, for one dimension by quadrature.
    batch, scale = 200, 0.8
    side = np.linspace(-6, 6, 4001)
    q = scipy.stats.norm.pdf(side)
    spread = (1 - scale**2 / 2) ** 0.5
    second = scipy.stats.norm(0, spread).pdf(side) / (2 * scale * np.pi**0.5)
    known = scipy.integrate.trapezoid(q * (second / q**2 - 1), side) / (2 * batch)
    assert_mean_close(batch_draws(batch, 1, scale, 1000, 2000), known)


# -- the MMD ----------------------------------------------------------------------


def naive_mmd(x: np.ndarray, y: np.ndarray, bandwidths: Any = BANDWIDTHS) -> float:
    """The U-statistic, written down pair by pair."""

    def mean(a: np.ndarray, b: np.ndarray, same: bool, d: int, c: float) -> float:
        pairs = [
            c / (c + (a[i, d] - b[j, d]) ** 2)
            for i in range(len(a))
            for j in range(len(b))
            if not (same and i == j)
        ]
        return sum(pairs) / len(pairs) if pairs else 0.0

    return sum(
        mean(x, x, True, d, c) + mean(y, y, True, d, c) - 2 * mean(x, y, False, d, c)
        for d in range(x.shape[1])
        for c in bandwidths
    )


@pytest.mark.parametrize("sizes", [(6, 4), (5, 5), (1, 5), (5, 1), (1, 1)])
def test_mmd_is_its_definition(sizes: tuple[int, int]) -> None:
    x, y = normal(sizes[0], 3), normal(sizes[1], 3, seed=1) + 0.5
    got = dimensionwise_mmd(tf.constant(x), tf.constant(y))
    np.testing.assert_allclose(got, naive_mmd(x, y), rtol=1e-10)
    got = dimensionwise_mmd(tf.constant(x), tf.constant(y), bandwidths=[0.5, 3])
    np.testing.assert_allclose(got, naive_mmd(x, y, (0.5, 3)), rtol=1e-10)


def kernel_mean(loc: float) -> float:
    """The mean over x - y ~ N(loc, 2) of the sum of kernels."""
    density = scipy.stats.norm(loc, 2**0.5).pdf

    def integrand(d: float) -> float:
        return density(d) * sum(c / (c + d**2) for c in BANDWIDTHS)

    return scipy.integrate.quad(integrand, -20, 20, points=[0, loc])[0]


@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_mmd_of_normals(shift: float) -> None:
    expected = 4 * 2 * (kernel_mean(0.0) - kernel_mean(shift))
    rng = np.random.default_rng(0)
    draws = [
        dimensionwise_mmd(
            tf.constant(rng.normal(size=(500, 4)), tf.float32),
            tf.constant(rng.normal(size=(500, 4)) + shift, tf.float32),
        )
        for _ in range(60)
    ]
    assert_mean_close(draws, expected)
    # "About 2.91" is one draw.
    assert abs({0.0: 0.0, 1.0: 2.91}[shift] - expected) < np.std(draws)
    # Unbiased, so of equal distributions it is below 0 about half of the time.
    assert (min(draws) < 0) == (shift == 0)


# -- arguments that do not fit ----------------------------------------------------

Q = tfd.MultivariateNormalDiag(tf.zeros([4, 2]), tf.ones([4, 2]))
POINTS = tf.zeros([4, 2])
TWO = NormalPrior(2)
BAD: dict[str, tuple[str, Callable[[], Any]]] = {
    **{
        f"mmd {x.dtype.name} {x.shape}, {y.dtype.name} {y.shape}": (
            "dimensionwise_mmd: expected x [B, latent_dim] and y [M, latent_dim]",
            partial(dimensionwise_mmd, x, y),
        )
        for x, y in (
            (POINTS, tf.zeros([4, 3])),
            (POINTS, tf.zeros([4, 1])),
            (POINTS, tf.zeros([4])),
            (POINTS, tf.zeros([2, 4, 2])),
            (tf.zeros([]), tf.zeros([])),
            (POINTS, tf.zeros([4, 2], tf.float64)),
            (np.zeros([4, 2]), POINTS),
            (tf.zeros([4, 2], tf.int32), tf.zeros([4, 2], tf.int32)),
            (tf.zeros([4, 2], tf.float16), tf.zeros([4, 2], tf.float16)),
            (tf.zeros([0, 2]), POINTS),
            (POINTS, tf.zeros([0, 2])),
        )
    },
    **{
        f"bandwidths {values!r}": (
            "dimensionwise_mmd: bandwidths must be one or more positive numbers",
            partial(dimensionwise_mmd, POINTS, POINTS, values),
        )
        for values in (
            (),
            1.0,
            (0.0,),
            (1.0, -1.0),
            (np.nan,),
            (np.inf,),
            (1e-60,),
            "1",
            None,
            ("a",),
            [[1.0]],
            (True,),
        )
    },
    **{
        f"{function.__name__} of {name}": (
            f"{function.__name__}: {message}",
            partial(call, function, posterior, prior),
        )
        for function, call in (
            (kl_divergence, lambda f, q, p: f(q, p, POINTS)),
            (inclusive_kl, lambda f, q, p: f(POINTS, p, q)),
        )
        for name, message, posterior, prior in (
            ("3", "expected a prior like the posterior", Q, NormalPrior(3)),
            ("1", "expected a prior like the posterior", Q, NormalPrior(1)),
            (
                "float64",
                "expected a prior like the posterior",
                Q,
                NormalPrior(2, dtype="float64"),
            ),
            ("a batch", "expected a prior like the posterior", Q, Q),
            ("no event", "expected a prior", Q, tfd.Normal(tf.zeros([2]), 1.0)),
            ("a tensor", "expected the posterior as a", POINTS, TWO),
            ("no prior", "expected the prior as a distribution", Q, None),
            ("a name", "expected the prior as a distribution", Q, "normal"),
        )
    },
    **{
        f"latents {z.dtype.name} {z.shape}": (
            "kl_divergence: latents: expected float32 of shape",
            partial(kl_divergence, Q, StudentTPrior(2, 5.0), z),
        )
        for z in (tf.zeros([4, 3]), tf.zeros([]), np.zeros([4, 2]))
    },
    **{
        f"prior_samples {z.dtype.name} {z.shape}": (
            "inclusive_kl: prior_samples: expected float32 of shape (None, 2)",
            partial(inclusive_kl, z, TWO, Q),
        )
        for z in (tf.zeros([4, 3]), tf.zeros([2]), tf.zeros([3, 4, 2]), np.eye(2))
    },
    **{
        f"z {z.dtype.name} {z.shape}": (
            "aggregate_log_prob: z: expected float32 of shape (None, 2)",
            partial(aggregate_log_prob, Q, z),
        )
        for z in (tf.zeros([4, 3]), tf.zeros([2]), tf.zeros([3, 4, 2]), np.eye(2))
    },
    "points": (
        "z: expected float32 of shape (2,)",
        lambda: check_points("z", tf.zeros([3]), TWO.distribution),
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_arguments(name: str) -> None:
    message, call = BAD[name]
    with pytest.raises(InputError) as raised:
        call()
    one_line(raised, message)


# -- the calling form -------------------------------------------------------------


def test_adapters_pass_their_arguments_on() -> None:
    posterior = family_posterior("multivariate_normal_diag")
    prior = NormalPrior(2).distribution
    latents, samples = posterior.sample(seed=[0, 1]), prior.sample(4, seed=[0, 2])
    expected = {
        "inclusive_kl": inclusive_kl(samples, prior, posterior),
        "dimensionwise_mmd": dimensionwise_mmd(latents, samples),
        "joint_mmd": joint_mmd(latents, samples),
        "sliced_wasserstein": sliced_wasserstein(latents, samples),
        "dip_vae_i": dip_vae_i(posterior),
        "dip_vae_ii": dip_vae_ii(posterior),
        "hausdorff_support": hausdorff_support(latents),
    }
    assert DIVERGENCES.keys() == expected.keys()
    for key, divergence in DIVERGENCES.items():
        got = divergence(posterior, prior, latents, samples)
        assert float(got) == float(expected[key])


# -- memory -----------------------------------------------------------------------

MEMORY = """
import gc, sys
import tensorflow as tf
import tf_decomp
from tf_decomp.divergences import DIVERGENCES
from tf_decomp.experiment.choices import CHOICES
from tf_decomp.experiment.config import ExperimentConfig
from tf_decomp.priors import NormalPrior
from tensorflow_probability import distributions as tfd

def status(key):
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith(key))

@tf.function
def step(call, loc, scale, prior_samples):
    with tf.GradientTape() as tape:
        tape.watch([loc, scale, prior_samples])
        posterior = tfd.MultivariateNormalDiag(loc, scale)
        prior = NormalPrior(loc.shape[1]).distribution
        value = call(posterior, prior, loc + 0.5 * scale, prior_samples)
    return value, tape.gradient(value, [loc, scale, prior_samples],
                                unconnected_gradients="zero")

def run(call, n, d):
    loc, z = tf.random.normal([2, n, d])
    value, gradients = step(call, loc, tf.ones([n, d]), z)
    return [float(value), *(float(tf.norm(g)) for g in gradients)]

imported = status("VmRSS")
name, n, d = sys.argv[1], *map(int, sys.argv[2:])
build = CHOICES["divergence"][name].build
config = ExperimentConfig(divergence=name, latent_dim=d)
call = DIVERGENCES[name] if build is None else build(config, None, 10**5)
run(call, 64, d)
gc.collect()
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")
before = status("VmRSS")
run(call, n, d)
peak = status("VmHWM")
print((peak - before) / 1024, (peak - imported) / 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="the peak is Linux's to tell"
)
@pytest.mark.parametrize("name", CALLABLES)
def test_no_tensor_of_every_pair_and_dimension_is_held(name: str) -> None:
    """Value and gradient hold little, beside what TensorFlow and XLA hold anyway.

    Libraries and compilers take 0.7 to 1 GB by the machine, so what counts is the peak
    above the process that has compiled and run the same on 64 rows, and above the one
    that has imported alone.
    """
    # One [4096, 4096, 64] float32 tensor is 4096 MiB; [4096, 4096] is 64 MiB. Of every
    # pair and code, [512, 512, 512] is 512 MiB.
    sizes = ("512", "3") if name == "hausdorff_support" else ("4096", "64")
    out, _ = run_python("-c", MEMORY, name, *sizes)
    growth, above = map(float, out.split())
    assert growth < 150
    assert above < 400
