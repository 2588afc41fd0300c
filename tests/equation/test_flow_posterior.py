# SPDX-License-Identifier: Apache-2.0
"""The flow posterior: its density, moments, overlap, and what is served of it."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import scipy.special
import scipy.stats
import tensorflow as tf
import tensorflow_probability as tfp
from cases import ENCODERS, data, head_parameters, make_vae
from monte_carlo import (
    assert_gradients,
    assert_mean_close,
    assert_mean_surely_below,
    mean_and_error,
)
from runs import one_line

import tf_decomp.flows
from tf_decomp import (
    InputError,
    MLPEncoder,
    TotalCorrelation,
    export_saved_model,
    importance_weighted_bound,
    load_encoder,
)
from tf_decomp.experiment.build import build_vae
from tf_decomp.experiment.config import ExperimentConfig
from tf_decomp.flows import FlowNormal, flow_weights, quadrature
from tf_decomp.metrics import encode_data, overlap_report, regularisation_report
from tf_decomp.posteriors import (
    FlowPosterior,
    NormalPosterior,
    aggregate_log_prob,
)
from tf_decomp.sampling import draw_noise, plain, sample_with

tfd = tfp.distributions
DIM, COUPLINGS, UNITS = 3, 3, 4


def flow(
    batch: int, dim: int = DIM, size: float = 1.0, dtype: str = "float64"
) -> FlowNormal:
    """Returns flows with random parameters."""
    rng = np.random.default_rng(0)
    weights = rng.normal(0, size, (batch, flow_weights(dim, COUPLINGS, UNITS)))
    parameters = rng.normal(size=(batch, dim)), rng.uniform(0.5, 2, (batch, dim))
    tensors = [tf.constant(each, dtype) for each in (*parameters, weights)]
    return FlowNormal(*tensors, COUPLINGS, UNITS)


def by_hand(q: FlowNormal, noise: np.ndarray) -> np.ndarray:
    """z of noise [batch, 3], as the docstring of FlowNormal has it, datum by datum."""
    rows = []
    for eps, *given in zip(noise, q.loc, q.scale, q.parameters["weights"], strict=True):
        loc, scale, weights = map(np.asarray, given)
        first, last = [0, 1], [2]
        z = eps.copy()
        for k in range(COUPLINGS):
            source, target = (first, last) if k % 2 == 0 else (last, first)
            sizes = [UNITS * len(source), UNITS, 2 * len(target) * UNITS]
            matrix, bias, out, weights = np.split(weights, np.cumsum(sizes))
            hidden = np.tanh(matrix.reshape(UNITS, -1) @ z[source] + bias)
            shift, raw = np.split(out.reshape(-1, UNITS) @ hidden / UNITS, 2)
            z[target] = z[target] * np.exp(3 * np.tanh(raw / 3)) + shift
        assert not weights.size
        rows.append(loc + scale * z)
    return np.stack(rows)


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def test_samples_are_the_formula() -> None:
    q, noise = flow(5), normal(5, DIM)
    z = sample_with(q, [], tf.constant(noise))
    np.testing.assert_allclose(z, by_hand(q, noise), rtol=1e-12)
    assert np.abs(z - q.loc - q.scale * noise).max() > 0.5
    seed = tf.constant([0, 1])
    drawn = sample_with(q, [7], draw_noise(q, [7, 5], seed))
    np.testing.assert_array_equal(drawn, q.sample(7, seed=seed))
    one = sample_with(q, [7], draw_noise(q, [7, 5], seed)[:1])
    np.testing.assert_allclose(one[0], drawn[0], rtol=1e-12)


def test_the_density_is_that_of_the_map() -> None:
    q, noise = flow(6), tf.constant(normal(6, DIM))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(noise)
        z = q.of_noise(noise)
    jacobian = tape.batch_jacobian(z, noise, experimental_use_pfor=False)
    base = scipy.stats.norm.logpdf(noise).sum(1)
    log_determinant = np.linalg.slogdet(jacobian)[1]
    assert np.ptp(log_determinant) > 0.5
    np.testing.assert_allclose(q.log_prob(z), base - log_determinant, rtol=1e-10)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_with_weights_of_0_it_is_the_diagonal_one(dtype: str) -> None:
    head = FlowPosterior(DIM, COUPLINGS, UNITS, dtype=dtype)
    params, z = normal(4, 2 * DIM), tf.constant(3 * normal(5, 4, DIM), dtype)
    size = flow_weights(DIM, COUPLINGS, UNITS)
    assert FlowPosterior.params_size(DIM, COUPLINGS, UNITS) == 2 * DIM + size
    q = head(np.concatenate([params, np.zeros([4, size])], axis=1))
    expected = NormalPosterior(DIM, dtype=dtype)(params)
    digits = {"rtol": 1e-5, "atol": 1e-6} if dtype == "float32" else {"rtol": 1e-13}
    np.testing.assert_allclose(q.log_prob(z), expected.log_prob(z), **digits)
    for moment in ("mean", "stddev", "variance"):
        digits["atol"] = 1e-6 if dtype == "float32" else 1e-13
        got, known = getattr(q, moment)(), getattr(expected, moment)()
        np.testing.assert_allclose(got, known, **digits)
    np.testing.assert_allclose(q.covariance(), expected.covariance(), **digits)


def test_densities_have_integral_one_and_are_those_of_the_samples() -> None:
    q = flow(3, dim=2)
    side = np.linspace(-20, 20, 801)
    grid = np.stack(np.meshgrid(side, side), -1)[..., None, :]
    density, cell = np.exp(q.log_prob(grid)), (side[1] - side[0]) ** 2
    np.testing.assert_allclose(density.sum((0, 1)) * cell, 1, atol=1e-4)
    assert density[0].max() < 1e-7
    narrow = scipy.stats.multivariate_normal([0, 0.3], 0.5**2)
    expected = np.einsum("ij...,ij->...", density, narrow.pdf(grid[..., 0, :])) * cell
    assert_mean_close(narrow.pdf(q.sample(20_000, seed=[0, 1])), expected)


def test_samples_are_reparameterised() -> None:
    head = FlowPosterior(DIM, COUPLINGS, UNITS, dtype="float64")
    size = FlowPosterior.params_size(DIM, COUPLINGS, UNITS)
    noise, weights = tf.constant(normal(5, 2, DIM)), normal(5, 2, DIM, seed=1)

    def drawn(params: tf.Tensor) -> tf.Tensor:
        q = head(params).tensor_distribution
        return tf.reduce_sum(weights * sample_with(q, [5], noise))

    assert_gradients(drawn, [normal(2, size)])


def test_far_points_and_large_weights_stay_finite() -> None:
    q = flow(5, size=1e3, dtype="float32")
    z = q.sample(20, seed=[0, 1])
    far = tf.constant(1e6 * normal(5, DIM), tf.float32)
    for value in (z, far):
        with tf.GradientTape() as tape:
            tape.watch(value)
            log_prob = q.log_prob(value)
        assert np.all(np.isfinite(log_prob))
        assert np.all(np.isfinite(tape.gradient(log_prob, value)))


def test_it_fits_what_bends_and_normals_do_not() -> None:
    """z1 ~ N(0, 1), z2 ~ N(z1^2, 1/4): no normal has a KL below 0.5607."""
    head, size = FlowPosterior(2), FlowPosterior.params_size(2)
    params = tf.Variable(normal(1, size).astype("float32") / 2)
    optimizer = keras.optimizers.Adam(0.05)
    optimizer.build([params])

    def log_ratio(q: Any, z: tf.Tensor) -> tf.Tensor:
        conditional = tfd.Normal(z[..., 0] ** 2, 0.5).log_prob(z[..., 1])
        log_p = tfd.Normal(0.0, 1.0).log_prob(z[..., 0]) + conditional
        return q.log_prob(z)[..., 0] - log_p[..., 0]

    @tf.function(autograph=False)
    def step(noise: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            q = plain(head(tf.convert_to_tensor(params)))
            kl = tf.reduce_mean(log_ratio(q, sample_with(q, [], noise)))
        optimizer.apply([tape.gradient(kl, params)], [params])

    for noise in normal(200, 256, 1, 2).astype("float32"):
        step(tf.constant(noise))
    q = plain(head(tf.convert_to_tensor(params)))
    square = (np.sqrt(65) - 1) / 32  # the variance of z1 in the best normal
    best = -0.5 - np.log(square) / 2 + square / 2 + 4 * square**2
    assert best == pytest.approx(0.5607, abs=1e-4)
    ratios = log_ratio(q, q.sample(10_000, seed=[0, 1]))
    assert_mean_surely_below(ratios, best / 2)
    assert_mean_surely_below(-ratios, 0.0)


# -- moments ----------------------------------------------------------------------


@pytest.mark.parametrize("dim", [1, 2, 128, 150])
def test_points_have_the_moments_of_noise(dim: int) -> None:
    points = quadrature(dim)
    assert points.shape == (2 * max(128, dim), dim)
    np.testing.assert_allclose(points.mean(0), 0, atol=1e-13)
    np.testing.assert_allclose(points.T @ points / len(points), np.eye(dim), atol=1e-12)


@pytest.mark.parametrize("dim", [2, 10])
def test_moments_are_those_of_samples(dim: int) -> None:
    q = flow(8, dim)
    z = q.sample(40_000, seed=[0, 1]).numpy()
    scale, moved = z.std(0), q.mean() - q.loc
    assert np.abs(moved / q.scale).max() > 0.1  # the loc is not the mean
    mean, error = mean_and_error(z)
    assert np.all(np.abs(q.mean() - mean) < 0.03 * scale + 5 * error)
    assert np.sqrt(np.mean((q.stddev() / scale - 1) ** 2)) < 0.04
    np.testing.assert_allclose(q.variance(), q.stddev() ** 2)
    np.testing.assert_allclose(
        np.diagonal(q.covariance(), axis1=1, axis2=2), q.variance(), rtol=1e-10
    )
    within = np.cov(z[:, 0].T) / np.outer(scale[0], scale[0])
    found = q.covariance()[0] / np.outer(*2 * [q.stddev()[0]])
    np.testing.assert_allclose(found, within, atol=0.1)


def test_moments_of_many_are_taken_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    q = flow(7)
    known = [q.mean(), q.stddev(), q.covariance()]
    sizes, of_noise = [], FlowNormal.of_noise

    def watched(self: FlowNormal, noise: tf.Tensor) -> tf.Tensor:
        z = of_noise(self, noise)
        sizes.append(z.shape[1])
        return z

    monkeypatch.setattr(FlowNormal, "of_noise", watched)
    monkeypatch.setattr(tf_decomp.flows, "_CHUNK", 3 * quadrature(DIM).size)
    for got, expected in zip(
        [q.mean(), q.stddev(), q.covariance()], known, strict=True
    ):
        np.testing.assert_allclose(got, expected, rtol=1e-12)
    assert sizes == 3 * [3, 3, 1]


def test_what_has_no_closed_form_is_refused() -> None:
    q = flow(2)
    for name in ("entropy", "mode"):
        with pytest.raises(NotImplementedError):
            getattr(q, name)()
    with pytest.raises(InputError) as raised:
        TotalCorrelation(5)(q, None, q.sample(), None)
    one_line(raised, "independent dimensions", "FlowNormal")


def test_models_of_several_sizes_share_a_process() -> None:
    """What is compiled for one number of dimensions does not serve another."""
    for dim in (2, 5, 3):
        q, z = flow(6, dim), tf.constant(normal(4, dim))
        expected = scipy.special.logsumexp(q.log_prob(z[:, None]), axis=1) - np.log(6)
        np.testing.assert_allclose(aggregate_log_prob(q, z), expected, rtol=1e-10)
        assert overlap_report(q, num_queries=10).n == 6


# -- overlap ----------------------------------------------------------------------


def bent(sign: float) -> list[np.ndarray]:
    """Parameters of z2 = eps2 + sign * (bump(eps1) - its mean), z1 = eps1."""
    height = 8.0

    def bump(z: Any) -> Any:
        return height * (np.tanh(2 * z + 2) - np.tanh(2 * z - 2)) / 2

    side = np.linspace(-9, 9, 2001)
    mean = np.sum(bump(side) * scipy.stats.norm.pdf(side)) * (side[1] - side[0])
    shifts = [sign * height, -sign * height]  # means over two units
    weights = [2, 2, 2, -2, *shifts, 0, 0, *np.zeros(8)]
    return [np.array([0.0, -sign * mean]), np.ones(2), np.array(weights)]


def test_encodings_of_equal_moments_may_share_no_code() -> None:
    """Normals of their means and covariances would be one: I(x; z) = 0, not 0.56."""
    parameters = [np.stack(each) for each in zip(bent(1.0), bent(-1.0), strict=True)]
    q = FlowNormal(*map(tf.constant, parameters), num_couplings=2, units=2)
    moments = [q.mean().numpy(), q.covariance().numpy()]
    for of_first, of_second in moments:
        np.testing.assert_allclose(of_first, of_second, atol=0.1)
    side = np.linspace(-14, 14, 701)
    grid = np.stack(np.meshgrid(side, side), -1)[..., None, :]
    log_prob, cell = q.log_prob(grid).numpy(), (side[1] - side[0]) ** 2
    ratio = log_prob - np.logaddexp(*np.moveaxis(log_prob, -1, 0))[..., None]
    information = np.log(2) + np.sum(np.exp(log_prob) * ratio) / 2 * cell
    coefficient = np.exp(log_prob).min(-1).sum() * cell
    assert information == pytest.approx(0.560, abs=1e-3)
    assert coefficient == pytest.approx(0.135, abs=1e-3)
    report = overlap_report(q, num_queries=4000)
    found = report.mutual_information
    assert 0 < found.standard_error < 0.01
    assert abs(found.value - information) < 5 * found.standard_error


def test_one_information_has_two_overlaps() -> None:
    """Section 7: codes shared for z1 < 0 and far apart for z1 > 0, against normals."""
    height, signs = 10.0, np.array([[1.0], [-1.0]])
    step = np.concatenate([[[300.0, 0.0]] * 2, signs * height, np.zeros([2, 5])], 1)
    parameters = signs * [0.0, height], np.ones([2, 2]), step
    q = FlowNormal(*map(tf.constant, parameters), num_couplings=2, units=1)
    z = q.sample(20_000, seed=[0, 1])[:, 0]
    ratios = np.exp(np.minimum(0, np.subtract(*q.log_prob(z[:, None]).numpy().T[::-1])))
    coefficient, error = mean_and_error(ratios)
    assert abs(coefficient - 0.5) < 5 * error + 0.01  # 0.01: the step is no jump
    found = overlap_report(q, num_queries=20_000).mutual_information
    assert abs(found.value - np.log(2) / 2) < 5 * found.standard_error + 0.01
    distance = 2.044  # standard deviations between normals with that I(x; z)
    normals = tfd.MultivariateNormalDiag([[0.0, 0.0], [0.0, distance]], np.ones(2, "f"))
    same = overlap_report(normals, num_queries=20_000).mutual_information
    assert abs(same.value - np.log(2) / 2) < 5 * same.standard_error
    assert coefficient - 2 * scipy.stats.norm.cdf(-distance / 2) > 0.15


# -- models -----------------------------------------------------------------------


def flow_vae(**kwargs: Any) -> Any:
    keras.utils.set_random_seed(0)
    return make_vae(encoder=ENCODERS["mlp_flow"][0](), **kwargs)


def test_a_model_is_trained_and_measured() -> None:
    vae, x = flow_vae(), data(60)
    vae.compile(keras.optimizers.Adam(0.02), jit_compile=True)
    losses = vae.fit(x, batch_size=20, epochs=20, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    assert importance_weighted_bound(vae, x, 3, seed=0).shape == [60]
    posterior = encode_data(vae, x)
    mean = vae.predict(x, verbose=0)
    np.testing.assert_allclose(posterior.mean(), mean, rtol=1e-4, atol=1e-5)
    report = overlap_report(posterior, prior=vae.prior)
    np.testing.assert_allclose(
        report.posterior_variances, np.mean(posterior.variance(), axis=0), rtol=1e-4
    )
    assert report.encoder_entropies == ()
    z = posterior.sample(2000, seed=[0, 1])
    ratios = posterior.log_prob(z) - vae.prior.distribution.log_prob(z)
    kl, error = mean_and_error(np.mean(ratios, axis=1))
    together = np.hypot(error, report.kl.standard_error)
    assert abs(report.kl.value - kl) < 5 * together
    assert regularisation_report(posterior, vae.prior).verdict
    x[3, 1] = np.nan
    for encode in (vae.encode, tf.function(vae.encode)):
        q = encode(x)
        known = np.arange(60) != 3
        for of_row in (q.mean(), q.stddev(), q.sample(seed=[0, 1])):
            np.testing.assert_array_equal(np.isfinite(of_row).all(1), known)
            assert np.isnan(of_row[3]).all()
        np.testing.assert_array_equal(np.isnan(q.log_prob(q.loc)), ~known)


def test_xla_changes_nothing() -> None:
    trained = []
    for jit_compile in (True, False):
        vae = flow_vae(num_samples=2, divergence="dimensionwise_mmd", alpha=2.0)
        vae.compile(keras.optimizers.SGD(0.05), jit_compile=jit_compile)
        vae.fit(data(12), batch_size=6, epochs=2, shuffle=False, verbose=0)
        trained.append(vae.get_weights())
    for ours, theirs in zip(*trained, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


def test_it_is_served_with_its_samples(tmp_path: Path) -> None:
    vae, x = flow_vae(), data(5)
    export_saved_model(vae, tmp_path / "1")
    loaded, posterior = load_encoder(tmp_path / "1"), vae.encode(x)
    served = loaded.encode(x)
    np.testing.assert_allclose(served["loc"], posterior.mean(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(served["scale"], posterior.stddev(), rtol=1e-4)
    eps = normal(5, 2).astype("float32")
    z = loaded.encode_sample(x, eps)["z"]
    np.testing.assert_allclose(z, sample_with(posterior, [], eps), rtol=1e-4, atol=1e-5)
    for wrong in (eps[:1], eps[:, :1]):
        with pytest.raises(InputError, match="encode_sample: "):
            loaded.encode_sample(x, wrong)
    x[3, 1] = np.nan
    for values in (loaded.encode(x)["loc"], loaded.encode_sample(x, eps)["z"]):
        np.testing.assert_array_equal(np.isnan(values).all(1), np.arange(5) == 3)


# -- settings ---------------------------------------------------------------------


def test_choices_have_the_settings() -> None:
    config = ExperimentConfig(
        posterior="flow", posterior_num_couplings=3, posterior_units=5
    )
    head = build_vae(config, [3]).encoder.head
    assert (head.num_couplings, head.units) == (3, 5)
    again = FlowPosterior.from_config(head.get_config())
    params = tf.constant(normal(2, FlowPosterior.params_size(2, 3, 5)), tf.float32)
    np.testing.assert_array_equal(again(params).loc, head(params).loc)
    default = build_vae(ExperimentConfig(posterior="flow"), [3]).encoder.head
    assert (default.num_couplings, default.units) == (4, 8)
    assert FlowPosterior(2).get_config()["units"] == 8
    assert head_parameters(default, 2).shape == (2, FlowPosterior.params_size(2))


BAD: dict[str, tuple[tuple[str, ...], Any]] = {
    "one dimension": (
        ("latent_dim must be a whole number between 2 and 1,000; received 1",),
        lambda: FlowPosterior(1),
    ),
    "too many": (("received 1001",), lambda: FlowPosterior(1001)),
    "one coupling": (
        ("num_couplings must be a whole number between 2 and",),
        lambda: FlowPosterior(2, 1),
    ),
    "no units": (
        ("units must be a whole number between 1 and",),
        lambda: FlowPosterior(2, units=0),
    ),
    "other outputs": (
        ("FlowPosterior", "change the layer in front"),
        lambda: FlowPosterior(2)(tf.zeros([3, 4])),
    ),
    "settings of another": (
        ("posterior_settings", "NormalPosterior", "'units': 3"),
        lambda: MLPEncoder(2, posterior_settings={"units": 3}),
    ),
    "no settings": (
        ("posterior_settings", "FlowPosterior"),
        lambda: MLPEncoder(2, posterior="flow", posterior_settings=[3]),
    ),
    "config": (
        ("posterior=flow needs latent_dim >= 2; received latent_dim=1",),
        lambda: ExperimentConfig(posterior="flow", latent_dim=1),
    ),
    "config too large": (
        ("weights in a network",),
        lambda: ExperimentConfig(
            posterior="flow", latent_dim=1000, posterior_units=1000
        ),
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_arguments(name: str) -> None:
    named, make = BAD[name]
    with pytest.raises(InputError) as raised:
        make()
    one_line(raised, *named)
