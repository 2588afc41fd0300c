# SPDX-License-Identifier: Apache-2.0
"""The full-covariance normal posterior: its density, its KL, and what is served."""

from pathlib import Path

import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
from cases import ENCODERS, PRIORS, data, head_parameters, make_vae
from monte_carlo import assert_gradients, assert_mean_close

from tf_decomp import export_saved_model, importance_weighted_bound, load_encoder
from tf_decomp.divergences import closed_form_kl
from tf_decomp.errors import InputError
from tf_decomp.experiment import ExperimentConfig
from tf_decomp.metrics import encode_data, overlap_report, regularisation_report
from tf_decomp.posteriors import FullCovarianceNormalPosterior, NormalPosterior

DIM = 3
PARAMS = np.random.default_rng(0).normal(size=(4, 9))


def test_density_and_scales() -> None:
    assert FullCovarianceNormalPosterior.params_size(DIM) == 3 + 6
    posterior = FullCovarianceNormalPosterior(DIM, dtype="float64")(PARAMS)
    z = np.random.default_rng(1).normal(size=(4, DIM))
    loc, covariance = PARAMS[:, :DIM], posterior.covariance().numpy()
    expected = [
        scipy.stats.multivariate_normal(*of).logpdf(point)
        for *of, point in zip(loc, covariance, z, strict=True)
    ]
    np.testing.assert_allclose(posterior.log_prob(z), expected, rtol=1e-9)
    variances = np.diagonal(covariance, axis1=1, axis2=2)
    np.testing.assert_allclose(posterior.stddev(), np.sqrt(variances))
    corners = covariance[:, 0, 1] / np.sqrt(variances[:, 0] * variances[:, 1])
    assert np.abs(corners).max() > 0.1


def test_numbers_off_the_diagonal_are_taken_as_they_are() -> None:
    head = FullCovarianceNormalPosterior(DIM, dtype="float64")
    tril = head(PARAMS).parameters["scale_tril"].numpy()
    below = tril[:, *np.tril_indices(DIM, -1)]
    for given, found in zip(PARAMS[:, DIM:], below, strict=True):
        assert len(set(found)) == DIM
        assert set(found) <= set(given)
    np.testing.assert_allclose(
        head(PARAMS).covariance(), tril @ tril.swapaxes(1, 2), rtol=1e-12
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_without_correlation_it_is_the_diagonal_one(dtype: str) -> None:
    """Each of all three numbers at a diagonal has a place of its own."""
    head = FullCovarianceNormalPosterior(DIM, dtype=dtype)
    base = head(np.zeros([1, 9])).covariance()[0].numpy()
    assert np.count_nonzero(base) == DIM
    places = {}
    for index in range(3, 9):
        moved = np.zeros([1, 9])
        moved[0, index] = 1.0
        scale = head(moved).parameters["scale_tril"][0].numpy()
        (place,) = np.argwhere(
            scale != head(np.zeros([1, 9])).parameters["scale_tril"][0].numpy()
        )
        places[index] = tuple(place)
    assert set(places.values()) == {(r, c) for r in range(3) for c in range(r + 1)}
    raw = np.random.default_rng(0).normal(size=(1, DIM))
    params = np.zeros([1, 9])
    for index, (row, column) in places.items():
        params[0, index] = raw[0, row] if row == column else 0.0
    diagonal = NormalPosterior(DIM, dtype=dtype)(np.concatenate([raw * 0, raw], 1))
    np.testing.assert_allclose(head(params).stddev(), diagonal.stddev(), rtol=1e-6)


@pytest.mark.parametrize("prior", ["normal", "normal_fixed", "normal_learnt"])
def test_kl_to_normal_priors_is_exact(prior: str) -> None:
    head = FullCovarianceNormalPosterior(2, dtype="float64")
    params = head_parameters(head, 3)
    p = PRIORS[prior](dtype="float64").distribution

    def kl(params: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(closed_form_kl(head(params).tensor_distribution, p))

    q = head(tf.constant(params))
    z = q.sample(20_000, seed=[0, 1])
    exact = closed_form_kl(q.tensor_distribution, p)
    assert_mean_close(q.log_prob(z) - p.log_prob(z), exact)
    assert_gradients(kl, [params])


def full_vae() -> object:
    return make_vae(encoder=ENCODERS["mlp_full_covariance"][0]())


def test_a_model_is_trained_and_measured() -> None:
    vae, x = full_vae(), data(60)
    vae.compile(keras.optimizers.Adam(0.02))
    losses = vae.fit(x, batch_size=20, epochs=20, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    assert importance_weighted_bound(vae, x, 3, seed=0).shape == [60]
    posterior = encode_data(vae, x)
    np.testing.assert_allclose(posterior.stddev(), vae.encode(x).stddev(), rtol=1e-4)
    report = overlap_report(posterior, prior=vae.prior)
    np.testing.assert_allclose(
        report.posterior_variances, np.mean(posterior.variance(), axis=0), rtol=1e-4
    )
    exact = closed_form_kl(posterior, vae.prior.distribution)
    assert report.kl.value == pytest.approx(float(np.mean(exact)), rel=1e-4)
    assert regularisation_report(posterior, vae.prior).verdict
    x[3, 1] = np.nan
    for encode in (vae.encode, tf.function(vae.encode)):
        assert np.isnan(encode(x).covariance()).any(axis=(1, 2)).sum() == 1


def test_marginal_scales_are_served(tmp_path: Path) -> None:
    vae, x = full_vae(), data(5)
    with pytest.warns(UserWarning, match="leaves encode_sample out"):
        export_saved_model(vae, tmp_path / "1")
    served = load_encoder(tmp_path / "1").encode(x)
    posterior = vae.encode(x)
    np.testing.assert_allclose(served["loc"], posterior.mean(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(served["scale"], posterior.stddev(), rtol=1e-5)


def test_networks_too_large_for_it_are_refused() -> None:
    ExperimentConfig(latent_dim=20_000, batch_size=10)
    with pytest.raises(InputError, match="weights in a network"):
        ExperimentConfig(
            latent_dim=20_000, batch_size=10, posterior="full_covariance_normal"
        )
