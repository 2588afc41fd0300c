# SPDX-License-Identifier: Apache-2.0
"""Every gradient is the finite difference in float64, hand-written ones in chunks."""

from functools import partial
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from cases import (
    CALLABLES,
    DIVERGENCES,
    FAMILIES,
    IMPLICIT_PRIORS,
    LEARNT_PRIORS,
    LIKELIHOODS,
    POSTERIORS,
    PRIORS,
    WITHOUT_PRIOR,
    family_posterior,
    head_parameters,
)
from monte_carlo import assert_gradients, assert_mean_close, finite_differences

import tf_decomp.divergences
from tf_decomp.divergences import (
    TotalCorrelation,
    dimensionwise_mmd,
    inclusive_kl,
    joint_mmd,
)
from tf_decomp.errors import InputError
from tf_decomp.likelihoods import support_of
from tf_decomp.posteriors import aggregate_log_prob
from tf_decomp.priors import NormalPrior, Prior
from tf_decomp.sampling import draw_noise, sample_with

tfd = tfp.distributions


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


# A gradient that skips 0 upstream, or that takes upstream for 1, must show.
WEIGHTS = normal(5, seed=9)


@pytest.mark.parametrize("name", PRIORS)
def test_prior_log_prob(name: str) -> None:
    distribution = PRIORS[name](dtype="float64").distribution
    assert_gradients(
        lambda z: tf.reduce_sum(WEIGHTS * distribution.log_prob(z)), [normal(5, 2)]
    )


@pytest.mark.parametrize("make", [*POSTERIORS.values(), *LIKELIHOODS.values()], ids=str)
def test_head_log_prob(make: Any) -> None:
    head = make(dtype="float64")
    parameters = head_parameters(head, 2)
    distribution = head(tf.constant(parameters))
    value = np.clip(np.abs(normal(2, *distribution.event_shape)), 0, 1)
    value = np.round(value) if support_of(distribution).whole else value

    def log_prob(parameters: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(WEIGHTS[:2] * head(parameters).log_prob(value))

    assert_gradients(log_prob, [parameters])


@pytest.mark.parametrize("family", FAMILIES)
def test_kl_divergence(family: str) -> None:
    make, parameters = FAMILIES[family]
    prior = PRIORS["normal_mixture"](dtype="float64")
    call = DIVERGENCES["kl_divergence"][1]

    def weighted(*arguments: tf.Tensor) -> tf.Tensor:
        *parameters, latents = arguments
        kl = call(make(*parameters), prior, latents, None)
        return tf.reduce_sum(WEIGHTS[:4] * kl)

    assert_gradients(weighted, [*parameters, 0.3 * normal(3, 4, 2)])


@pytest.mark.parametrize(
    "family",
    [
        pytest.param(f, marks=[pytest.mark.slow] * (f != "multivariate_normal_diag"))
        for f in FAMILIES
    ],
)
def test_inclusive_kl(family: str) -> None:
    make, parameters = FAMILIES[family]
    prior = PRIORS["spike_and_slab"](dtype="float64")

    def scaled(z: tf.Tensor, *parameters: tf.Tensor) -> tf.Tensor:
        return -1.7 * inclusive_kl(z, prior, make(*parameters))

    assert_gradients(scaled, [normal(5, 2), *parameters])


NARROW: dict[str, Any] = {
    "normal": tfd.MultivariateNormalDiag,
    "laplace": lambda loc, scale: tfd.Independent(tfd.Laplace(loc, scale), 1),
    "normal_tril": tfd.MultivariateNormalTriL,
}


def written_down(family: Any, z: Any, loc: Any, scale: Any) -> tf.Tensor:
    log_probs = family(loc, scale).log_prob(z[:, None])
    return tf.reduce_mean(tf.reduce_logsumexp(log_probs, axis=1)) - np.log(len(loc))


# Written out in 2 dimensions, and not in 20.
@pytest.mark.parametrize(
    ("name", "dim"),
    [
        *((name, 2) for name in NARROW),
        ("normal", 20),
        *(
            pytest.param(name, 20, marks=pytest.mark.slow)
            for name in NARROW
            if name != "normal"
        ),
    ],
)
def test_narrow_posteriors_have_their_gradients_in_float32(name: str, dim: int) -> None:
    # Log-densities down to -1e9, whose distances decide which component is near.
    loc, z, off = normal(400, dim), normal(120, dim, seed=1), normal(400, dim, dim)
    for size in (1e-4, 1e-3, 1e-2, 1.0):
        scale = size * np.exp(0.3 * normal(400, dim, seed=2))
        samples = np.concatenate([z[:60], loc[:60] + size * z[60:]])
        if name == "normal_tril":
            scale = np.eye(dim) * scale[:, None] + np.tril(0.2 * size * off, -1)
        narrow = [tf.constant(a, tf.float32) for a in (samples, loc, scale)]
        wide = [tf.cast(a, tf.float64) for a in narrow]
        with tf.GradientTape(persistent=True) as tape:
            tape.watch([narrow, wide])
            posterior = NARROW[name](*narrow[1:])
            ours = tf.reduce_mean(aggregate_log_prob(posterior, narrow[0]))
            known = written_down(NARROW[name], *wide)
        got = [ours, *tape.gradient(ours, narrow)]
        for one, right in zip(got, [known, *tape.gradient(known, wide)], strict=True):
            error = np.linalg.norm(np.float64(one) - right) / np.linalg.norm(right)
            assert error <= 1e-5, (size, error)


ONCE: dict[str, Any] = {
    "log_q": lambda loc, z: tf.reduce_sum(
        aggregate_log_prob(tfd.MultivariateNormalDiag(loc, tf.ones_like(loc)), z)
    ),
    "inclusive_kl": lambda loc, z: inclusive_kl(
        z,
        NormalPrior(2, dtype="float64"),
        tfd.MultivariateNormalDiag(loc, tf.ones_like(loc)),
    ),
    "mmd": dimensionwise_mmd,
    "joint_mmd": joint_mmd,
    "total_correlation": lambda loc, z: TotalCorrelation(9, "stratified")(
        tfd.MultivariateNormalDiag(loc, tf.ones_like(loc)), None, z[:4], None
    ),
}


def first(function: Any, loc: tf.Tensor, z: tf.Tensor, persistent: bool) -> Any:
    with tf.GradientTape(persistent=persistent) as tape:
        tape.watch([loc, z])
        value = function(loc, z)
    return tape.gradient(value, [loc, z])


def nested(function: Any, loc: tf.Tensor, z: tf.Tensor, persistent: bool) -> Any:
    with tf.GradientTape(persistent=persistent) as tape:
        tape.watch([loc, z])
        of_loc, of_z = first(function, loc, z, persistent)
    return tape.gradient(of_loc, z)


def penalised(function: Any, loc: tf.Tensor, z: tf.Tensor) -> Any:
    # Among other terms the missing one would not show as None.
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(loc)
        value = function(loc, z)
        total = value + tf.reduce_sum(loc**2 + tape.gradient(value, loc) ** 2)
    return tape.gradient(total, loc)


def hessian(function: Any, loc: tf.Tensor, z: tf.Tensor) -> Any:
    with tf.GradientTape() as tape:
        tape.watch(loc)
        of_loc, _ = first(function, loc, z, persistent=False)
    return tape.jacobian(of_loc, loc)


SECOND = {
    "nested": partial(nested, persistent=False),
    "nested_persistent": partial(nested, persistent=True),
    "penalised": penalised,
    "hessian": hessian,
}


@pytest.mark.parametrize("within", ["eager", "graph"])
@pytest.mark.parametrize("way", SECOND)
@pytest.mark.parametrize("name", ONCE)
def test_a_second_derivative_is_an_error(name: str, way: str, within: str) -> None:
    second = partial(SECOND[way], ONCE[name])
    if within == "graph":
        second = tf.function(second, autograph=False)
    # TensorFlow rewrites the errors of a jacobian's loop.
    with pytest.raises(Exception if way == "hessian" else InputError) as error:
        second(tf.constant(normal(4, 2)), tf.constant(normal(5, 2, seed=1)))
    told, causes = error.value, []
    while told is not None:
        causes.append(str(told))
        told = told.__cause__ or told.__context__
    assert any("must be differentiated once" in cause for cause in causes), causes


@pytest.mark.parametrize("name", ONCE)
def test_first_derivatives_within_other_tapes(name: str) -> None:
    function, loc = ONCE[name], tf.constant(normal(4, 2))
    z = tf.constant(normal(5, 2, seed=1))
    expected = first(function, loc, z, persistent=False)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([loc, z])
        inside = first(function, loc, z, persistent=False)
        row = function(loc, z)[None]
    rows = tape.jacobian(row, [loc, z])
    for got in (inside, tape.gradient(row, [loc, z]), [each[0] for each in rows]):
        for ours, right in zip(got, expected, strict=True):
            np.testing.assert_allclose(ours, right, rtol=1e-12)


@pytest.mark.parametrize("sizes", [(4, 4), (5, 3), (1, 4), (4, 1), (1, 1)])
@pytest.mark.parametrize("mmd", [dimensionwise_mmd, joint_mmd])
def test_mmd(mmd: Any, sizes: tuple[int, int]) -> None:
    x, y = normal(sizes[0], 2), normal(sizes[1], 2, seed=1) + 0.5
    assert_gradients(lambda x, y: -1.7 * mmd(x, y), [x, y])


def values_and_gradients(
    function: Any, arguments: list[np.ndarray]
) -> list[np.ndarray]:
    tensors = [tf.constant(argument) for argument in arguments]
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        value = function(*tensors)
    return [value.numpy(), *(g.numpy() for g in tape.gradient(value, tensors))]


# Of x [7, 2] and y [5, 2]: one row at a time, chunks of 2 and 3 with a ragged end.
@pytest.mark.parametrize(
    ("family", "chunk"),
    [
        ("mmd", 20),
        ("joint_mmd", 20),
        ("multivariate_normal_diag", 20),
        *(
            pytest.param(family, chunk, marks=pytest.mark.slow)
            for family in ("mmd", "multivariate_normal_diag")
            for chunk in (1, 30)
        ),
        pytest.param("multivariate_normal_tril", 20, marks=pytest.mark.slow),
        pytest.param("independent_normal_one_scale", 20, marks=pytest.mark.slow),
    ],
)
def test_chunks_change_nothing(
    family: str, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if family in ONCE:
        function: Any = ONCE[family]
        arguments = [normal(7, 2), normal(5, 2, seed=1)]
    else:
        make, parameters = FAMILIES[family]
        prior = PRIORS["normal"](dtype="float64")
        arguments = [normal(7, 2), *parameters]

        def function(z: tf.Tensor, *parameters: tf.Tensor) -> tf.Tensor:
            return inclusive_kl(z, prior, make(*parameters))

    expected = values_and_gradients(function, arguments)
    monkeypatch.setattr(tf_decomp.pairwise, "_CHUNK", chunk)
    # The chunk's size is in the traces: trace anew, without waiting for XLA.
    for module in (tf_decomp.posteriors, tf_decomp.divergences.mmd):
        for name, value in list(vars(module).items()):
            if hasattr(value, "python_function"):
                fresh = tf.function(value.python_function, reduce_retracing=True)
                monkeypatch.setattr(module, name, fresh)
    got = values_and_gradients(function, arguments)
    for ours, one_chunk in zip(got, expected, strict=True):
        np.testing.assert_allclose(ours, one_chunk, rtol=1e-12, atol=1e-13)


def moving(weights: keras.Variable, value: Any) -> Any:
    """Returns value() as a function of the numbers that the weights hold."""

    def moved(numbers: tf.Tensor) -> tf.Tensor:
        weights.assign(numbers)
        return value()

    return moved


@pytest.mark.parametrize("family", ["multivariate_normal_diag", "independent_laplace"])
@pytest.mark.parametrize(
    ("name", "divergence"),
    [
        (name, divergence)
        for name in LEARNT_PRIORS
        for divergence in ("kl_divergence", *tf_decomp.divergences.DIVERGENCES)
        if divergence == "kl_divergence"
        or (name not in IMPLICIT_PRIORS and divergence not in WITHOUT_PRIOR)
    ],
)
def test_learnt_prior_weights(name: str, divergence: str, family: str) -> None:
    # A D of prior samples that are not reparameterised would give them nothing.
    prior: Prior = PRIORS[name](dtype="float64")
    rng = np.random.default_rng(0)
    for weights in prior.trainable_variables:  # networks start with gradients of 0
        weights.assign_add(0.3 * rng.normal(size=weights.shape))
    posterior = family_posterior(family, "float64")
    # So many that each component of a mixture is drawn.
    latents = tf.reshape(posterior.sample(10, seed=[0, 1]), [40, 2])
    noise = draw_noise(prior.distribution, [40], tf.constant([0, 2]))

    def value() -> tf.Tensor:
        samples = sample_with(prior.distribution, [40], noise)
        call = DIVERGENCES[divergence][1]
        each = latents[:4] if divergence == "kl_divergence" else latents
        return tf.reduce_sum(call(posterior, prior.distribution, each, samples))

    with tf.GradientTape() as tape:
        total = value()
    variables = prior.trainable_variables
    gradients = tape.gradient(total, [weights.value for weights in variables])
    for weights, gradient in zip(variables, gradients, strict=True):
        # Of the many weights of a network some get little by chance, none nothing.
        least = 1e-3 if isinstance(prior, NormalPrior) else 1e-6
        assert np.all(np.abs(gradient) > least)
        assert np.any(np.abs(gradient) > 1e-3)
        start = weights.numpy()
        expected = finite_differences(moving(weights, value), [start], 0)
        np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-8)
        weights.assign(start)


def expected_divergence(
    divergence: str, prior: tfd.Distribution, posterior: tfd.Distribution, latents: Any
) -> tf.Tensor:
    """Returns the mean of D over samples of the prior, by quadrature, plus a constant.

    Differentiated in the density alone: no sample depends on the prior.
    """
    side, step = np.linspace(-8, 8, 321, retstep=True)
    grid = tf.constant(np.stack(np.meshgrid(side, side, indexing="ij"), -1))
    log_p = prior.log_prob(grid)
    shares = tf.exp(log_p) * step**2
    if divergence == "inclusive_kl":
        log_q = posterior.log_prob(grid[..., None, :])
        log_q = tf.reduce_logsumexp(log_q, axis=-1) - np.log(4)
        return tf.reduce_sum(shares * (log_p - log_q))

    def kernel(a: Any, b: Any) -> tf.Tensor:
        squares = (a[:, None] - b) ** 2
        return sum(c / (c + squares) for c in (0.2, 0.4, 1, 2, 4, 10))

    total = 0.0
    for d in (0, 1):
        of_d = tf.reduce_sum(shares, axis=1 - d)
        of_pairs = of_d[None] @ kernel(side, side) @ of_d[:, None]
        total += of_pairs[0, 0] - 2 * tf.reduce_mean(
            kernel(latents[:, d], side) @ of_d[:, None]
        )
    return total


@pytest.mark.parametrize("divergence", ["inclusive_kl", "dimensionwise_mmd"])
@pytest.mark.parametrize("name", IMPLICIT_PRIORS)
def test_learnt_mixture_weights_in_expectation(name: str, divergence: str) -> None:
    # Without reparameterisation the weights would get nothing of the samples, and with
    # that of the chosen component alone nothing for the choice.
    prior = PRIORS[name](dtype="float64")
    posterior = family_posterior("multivariate_normal_diag", "float64")
    latents = posterior.sample(seed=[0, 1])
    weights = [weight.value for weight in prior.trainable_variables]

    @tf.function(autograph=False)
    def gradients(seed: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            samples = sample_with(prior.distribution, [20], seed)
            call = DIVERGENCES[divergence][1]
            value = call(posterior, prior.distribution, latents, samples)
        return tape.gradient(value, weights)

    drawn = [gradients(tf.constant([7, k])) for k in range(400)]
    with tf.GradientTape() as tape:
        value = expected_divergence(divergence, prior.distribution, posterior, latents)
    for index, exact in enumerate(tape.gradient(value, weights)):
        assert np.max(np.abs(exact)) > 0.03
        assert_mean_close([each[index] for each in drawn], exact)


@pytest.mark.parametrize("divergence", CALLABLES)
@pytest.mark.slow
def test_eager_graph_and_xla_agree(divergence: str) -> None:
    call = CALLABLES[divergence]()
    prior = PRIORS["normal_mixture"]().distribution
    noise, samples = tf.constant(normal(4, 2), tf.float32), prior.sample(4, seed=[0, 1])

    def step(loc: tf.Tensor, scale: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch([loc, scale])
            posterior = tfd.MultivariateNormalDiag(loc, scale)
            value = call(posterior, prior, loc + scale * noise, samples)
        gradients = tape.gradient(value, [loc, scale], unconnected_gradients="zero")
        return [value, *gradients]

    parameters = FAMILIES["multivariate_normal_diag"].parameters
    arguments = [tf.constant(p, tf.float32) for p in parameters]
    eager = step(*arguments)
    for jit_compile in (False, True):
        got = tf.function(step, jit_compile=jit_compile)(*arguments)
        for ours, expected in zip(got, eager, strict=True):
            np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6)
