# SPDX-License-Identifier: Apache-2.0
"""Likelihoods of grey values, counts and classes: known answers, gradients, models."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.special
import scipy.stats
import tensorflow as tf
from cases import LIKELIHOODS, head_parameters, make_vae
from matplotlib.figure import Figure
from monte_carlo import assert_mean_close
from runs import one_line

from tf_decomp import (
    InputError,
    export_saved_model,
    importance_weighted_bound,
    load_encoder,
)
from tf_decomp.data import Split
from tf_decomp.experiment import figures
from tf_decomp.experiment.figures import brightest, draw_run
from tf_decomp.experiment.run_files import RunFiles
from tf_decomp.likelihoods import (
    CategoricalLikelihood,
    ContinuousBernoulliLikelihood,
    NegativeBinomialLikelihood,
    PoissonLikelihood,
    class_probabilities,
    likelihood_point,
)
from tf_decomp.networks import ConvDecoder, ConvEncoder, MLPDecoder
from tf_decomp.posteriors import SCALE_FLOOR

RNG = np.random.default_rng(0)
TOLERANCE = {"float32": 1e-5, "float64": 1e-10}


def value_and_gradient(head: Any, params: Any, x: Any) -> tuple[Any, Any]:
    """Returns log p(x|z) [n] and its gradient by network outputs, of one value each."""
    params = tf.constant(params, head.dtype)
    with tf.GradientTape() as tape:
        tape.watch(params)
        log_prob = head(params).log_prob(tf.constant(x, head.dtype))
    return log_prob.numpy(), tape.gradient(log_prob, params).numpy()


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_continuous_bernoulli(dtype: str) -> None:
    # Around 0 the density is smooth, though its formula is 0 / 0.
    small = np.array([1e-30, 1e-8, 1e-4, 1e-3])
    logits = np.array([0.02, 0.26, 0.27, 1.0, 5.0, 15.0, 17.0, 80.0, 1e4])
    known = np.concatenate([-logits, logits])
    x = np.float64(RNG.uniform(size=len(known)).astype("float32"))
    x[:2], x[-2:] = 0, 1
    size = np.abs(known)
    log_normaliser = np.log(size) - np.log(-np.expm1(-size)) - size / 2
    log_prob = log_normaliser + known * (x - 0.5)
    share = -1 / np.expm1(-size) - 1 / size  # the mean for a positive logit
    mean = np.where(known > 0, share, 1 - share)
    close = {"rtol": TOLERANCE[dtype], "atol": TOLERANCE[dtype]}
    head = ContinuousBernoulliLikelihood([1], dtype=dtype)
    got, gradient = value_and_gradient(head, known[:, None], x[:, None])
    np.testing.assert_allclose(got, log_prob, **close)
    np.testing.assert_allclose(gradient[:, 0], x - mean, **close)
    np.testing.assert_allclose(head(known[:, None]).mean()[:, 0], mean, **close)
    got, gradient = value_and_gradient(head, small[:, None], np.full([4, 1], 0.75))
    np.testing.assert_allclose(got, small / 4 - small**2 / 24, **close)
    np.testing.assert_allclose(gradient[:, 0], 0.25 - small / 12, **close)


def test_continuous_bernoulli_is_a_density_which_the_bernoulli_is_not() -> None:
    x = (np.arange(2000) + 0.5)[:, None] / 2000
    for logit in (-3.0, 0.0, 0.7):
        head = ContinuousBernoulliLikelihood([1], dtype="float64")
        density = np.exp(head(np.full([2000, 1], logit)).log_prob(x))
        assert np.mean(density) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_poisson(dtype: str) -> None:
    log_rate, count = (
        each.ravel() for each in np.meshgrid([-60.0, -5, 0, 3, 11, 40], [0, 1, 7, 5000])
    )
    head = PoissonLikelihood([1], dtype=dtype)
    got, gradient = value_and_gradient(head, log_rate[:, None], count[:, None])
    expected = scipy.stats.poisson(np.exp(log_rate)).logpmf(count)
    expected[log_rate > 11] = (
        count * log_rate - np.exp(log_rate) - scipy.special.gammaln(count + 1)
    )[log_rate > 11]
    close = {"rtol": TOLERANCE[dtype], "atol": 100 * TOLERANCE[dtype]}
    np.testing.assert_allclose(got, expected, **close)
    np.testing.assert_allclose(gradient[:, 0], count - np.exp(log_rate), **close)


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_negative_binomial(dtype: str) -> None:
    """Of the mean and the inverse dispersion, as scipy's n and p."""
    log_mean, raw, count = (
        each.ravel()
        for each in np.meshgrid(
            [-60.0, -3, 0, 4, 60], [-500.0, -9, 0, 30, 500], [0, 1, 7, 5000]
        )
    )
    head = NegativeBinomialLikelihood([1], dtype=dtype)
    params = np.stack([log_mean, raw], 1)
    got, gradient = value_and_gradient(head, params, count[:, None])
    theta, mean = SCALE_FLOOR + np.logaddexp(0, raw), np.exp(log_mean)
    expected = (
        scipy.special.gammaln(count + theta)
        - scipy.special.gammaln(theta)
        - scipy.special.gammaln(count + 1)
        - theta * np.log1p(mean / theta)
        - count * np.log1p(theta / mean)
    )
    usual = (np.abs(log_mean) < 60) & (np.abs(raw) < 500)
    scipys = scipy.stats.nbinom(theta, theta / (theta + mean)).logpmf(count)
    np.testing.assert_allclose(expected[usual], scipys[usual], rtol=1e-9)
    close = {"rtol": 3 * TOLERANCE[dtype], "atol": 100 * TOLERANCE[dtype]}
    np.testing.assert_allclose(got, expected, **close)
    by_mean = (count - mean) / (1 + mean / theta)
    np.testing.assert_allclose(gradient[:, 0], by_mean, **close)
    by_theta = (
        scipy.special.digamma(count + theta)
        - scipy.special.digamma(theta)
        - np.log1p(mean / theta)
        + 1
        - (count + theta) / (theta + mean)
    )
    by_raw = by_theta * scipy.special.expit(raw)
    np.testing.assert_allclose(gradient[:, 1], by_raw, **close)
    np.testing.assert_allclose(head(params).mean()[:, 0], mean, rtol=1e-5)


def test_counts_have_the_stated_mean_and_variance() -> None:
    n = 40_000
    head = NegativeBinomialLikelihood([1])
    params = tf.tile(tf.constant([[np.log(6.0), 1.0]], tf.float32), [n, 1])
    theta = SCALE_FLOOR + np.log1p(np.e)
    counts = np.float64(head(params).sample(seed=[0, 1]))[:, 0]
    assert_mean_close(counts, 6.0)
    assert_mean_close((counts - 6.0) ** 2, 6 + 36 / theta)
    # A large theta is the Poisson.
    near = head(tf.constant([[np.log(6.0), 1e5]], tf.float32)).log_prob([[4.0]])
    np.testing.assert_allclose(near, [scipy.stats.poisson(6).logpmf(4)], rtol=1e-3)


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_categorical(dtype: str) -> None:
    head = CategoricalLikelihood([2, 3], num_classes=4, dtype=dtype)
    logits = head_parameters(head, 5) * 30
    logits[0] *= 30  # probabilities that float32 has not
    x = RNG.integers(0, 4, (5, 2, 3))
    got, gradient = value_and_gradient(head, logits, x)
    each = logits.reshape(5, 2, 3, 4)
    hot = np.eye(4)[x]
    log_probs = scipy.special.log_softmax(each, axis=-1)
    expected = np.sum(hot * log_probs, axis=(1, 2, 3))
    np.testing.assert_allclose(got, expected, rtol=TOLERANCE[dtype])
    np.testing.assert_allclose(
        gradient.reshape(each.shape),
        hot - np.exp(log_probs),
        rtol=1e-4,
        atol=10 * TOLERANCE[dtype],
    )
    likelihood = head(tf.constant(logits, dtype))
    np.testing.assert_array_equal(likelihood_point(likelihood), each.argmax(-1))
    assert likelihood_point(likelihood).dtype == dtype
    np.testing.assert_allclose(
        class_probabilities(likelihood), np.exp(log_probs), rtol=1e-4, atol=1e-30
    )
    # On [..., batch] outputs too.
    stacked = head(tf.constant([logits, logits], dtype))
    np.testing.assert_allclose(stacked.log_prob(x), [got, got], rtol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -1.0, 3.0, 0.5])
def test_what_is_no_class_has_no_probability(bad: float) -> None:
    head = LIKELIHOODS["categorical"]()
    x = np.zeros([2, *head.data_shape], "float32")
    x[1, 3, 2, 1] = bad
    log_prob = head(tf.constant(head_parameters(head, 2), tf.float32)).log_prob(x)
    assert np.isfinite(log_prob).tolist() == [True, False]


def test_probabilities_of_other_values() -> None:
    for name, make in LIKELIHOODS.items():
        likelihood = make()(tf.constant(head_parameters(make(), 2), tf.float32))
        given = class_probabilities(likelihood)
        assert (given is not None) == (name == "categorical")


# -- in a model -----------------------------------------------------------------------

COUNTS = RNG.poisson(4.0, (40, 3)).astype("float32")
DATA = {
    "continuous_bernoulli": RNG.uniform(size=(40, 3)).astype("float32"),
    "poisson": COUNTS,
    "negative_binomial": COUNTS,
    "categorical": np.minimum(COUNTS, 4),
}


def vae_of(name: str) -> Any:
    given = {"num_classes": 5} if name == "categorical" else {}
    vae = make_vae(decoder=MLPDecoder(3, (8,), name, **given))
    vae.compile("adam")
    return vae


@pytest.mark.parametrize("name", DATA)
def test_a_model_of_them_learns(name: str) -> None:
    vae, x = vae_of(name), DATA[name]
    losses = vae.fit(x, batch_size=20, epochs=12, verbose=0).history["loss"]
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]
    assert vae.reconstruct(x[:2]).shape == (2, 3)
    whole = x if name == "continuous_bernoulli" else x.astype(int)
    assert np.isfinite(vae.evaluate(whole, verbose=0)).all()


@pytest.mark.parametrize("name", ["poisson", "negative_binomial", "categorical"])
@pytest.mark.parametrize("bad", [0.5, -1.0, 5.0])
def test_what_is_no_count_and_no_class_is_refused(name: str, bad: float) -> None:
    vae, x = vae_of(name), DATA[name].copy()
    x[17, 1] = bad
    if bad == 5 and name != "categorical":
        assert np.isfinite(vae.evaluate(x, verbose=0)).all()
        return
    with pytest.raises(InputError) as raised:
        vae.fit(x, verbose=0)
    one_line(raised, "expected whole numbers in [0, ", "x[17] spans", "unscaled")
    with pytest.raises(InputError) as raised:
        vae.fit(tf.data.Dataset.from_tensor_slices(x).batch(10), verbose=0)
    one_line(raised, "example 17 (batch 1, row 7)")
    with pytest.raises(InputError, match="x: expected whole numbers"):
        importance_weighted_bound(vae, x, 2, seed=0)


@pytest.mark.parametrize("name", DATA)
def test_what_is_served(name: str, tmp_path: Path) -> None:
    vae, z = vae_of(name), RNG.normal(size=(4, 2)).astype("float32")
    export_saved_model(vae, tmp_path / "1")
    served = load_encoder(tmp_path / "1")
    likelihood = vae.decode(z)
    outputs = served.decode(z)
    if name == "categorical":
        probs = class_probabilities(likelihood)
        np.testing.assert_allclose(outputs["probs"], probs, rtol=1e-5)
        np.testing.assert_allclose(np.sum(outputs["probs"], axis=-1), 1, rtol=1e-5)
        assert set(np.ravel(served.generate(50, 0)["x"])) <= set(range(5))
    else:
        np.testing.assert_allclose(outputs["mean"], likelihood.mean(), rtol=1e-5)
    assert outputs.keys() == {"probs" if name == "categorical" else "mean"}
    z[1, 0] = np.nan
    for value in served.decode(z).values():
        missing = np.isnan(value).reshape(4, -1).all(axis=1)
        assert missing.tolist() == [False, True, False, False]


def test_images_of_classes() -> None:
    decoder = ConvDecoder((8, 8, 2), (3,), (), likelihood="categorical", num_classes=3)
    vae = make_vae(encoder=ConvEncoder(2, (2,), (4,)), decoder=decoder)
    vae.compile("adam")
    x = RNG.integers(0, 3, (6, 8, 8, 2))
    vae.fit(x, verbose=0)
    assert set(np.ravel(vae.reconstruct(x))) <= {0.0, 1.0, 2.0}


def test_images_are_drawn_up_to_their_largest_count() -> None:
    images = np.zeros([5, 4, 4, 1], "float32")
    for largest, white in ((0.5, 1.0), (1.0, 1.0), (7.0, 7.0), (np.nan, 1.0)):
        images[2, 1, 1] = largest
        assert brightest(Split(images)) == white
    images[2, 1, 2] = 3  # beside what is missing
    assert brightest(Split(images)) == 3.0
    images[0] = -1  # standardised: 0 is no black
    assert brightest(Split(images)) == 1.0
    assert brightest(Split(np.full([5, 3], 9.0))) == 1.0


def test_pictures_of_counts_are_divided_by_the_largest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoder = ConvDecoder((8, 8, 1), (3,), (), likelihood="poisson")
    vae = make_vae(encoder=ConvEncoder(2, (2,), (4,)), decoder=decoder)
    counts = RNG.integers(0, 8, (5, 8, 8, 1)).astype("float32")
    counts[0, 0, 0] = 8
    drawn: dict[str, tuple[Any, Any]] = {}
    for name in ("reconstructions", "samples"):

        def draw(first: Any, second: Any, title: str, name: str = name) -> Figure:
            drawn[name] = first, second
            return Figure()

        monkeypatch.setattr(figures, name, draw)
    draw_run(RunFiles(tmp_path), vae, Split(counts), [], "a run", "nats")
    x, reconstructed = drawn["reconstructions"]
    np.testing.assert_array_equal(x, counts / 8)
    np.testing.assert_allclose(reconstructed, vae.reconstruct(counts) / 8, rtol=1e-5)
    generated, x = drawn["samples"]
    np.testing.assert_array_equal(x, counts / 8)
    np.testing.assert_allclose(generated, vae.generate(64, seed=0) / 8, rtol=1e-5)
