# SPDX-License-Identifier: Apache-2.0
"""A user's subclass of a TFP distribution is obeyed wherever the package takes one."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import scipy.special
import scipy.stats
import tensorflow as tf
import tensorflow_probability as tfp
from cases import DATA_DIM, LATENT_DIM, data, make_vae
from monte_carlo import assert_mean_close
from runs import slow_behind

from tf_decomp import (
    NormalPrior,
    Prior,
    export_saved_model,
    importance_weighted_bound,
    load_encoder,
)
from tf_decomp.divergences import (
    closed_form_kl,
    dimensionwise_mmd,
    inclusive_kl,
    kl_divergence,
)
from tf_decomp.errors import InputError
from tf_decomp.metrics.encodings import marginals
from tf_decomp.metrics.regularisation import prior_total_correlation
from tf_decomp.posteriors import aggregate_log_prob, aggregate_posterior
from tf_decomp.priors import FixedPrior
from tf_decomp.sampling import (
    batch_first,
    draw_noise,
    join,
    location_scale,
    of_tfp,
    plain,
    sample_with,
    stateless_seed,
)
from tf_decomp.theory import MappedEncoder, anneal
from tf_decomp.tracing import traced

tfd = tfp.distributions
SEED = tf.constant([0, 1])
SHIFT = 5.0


class Shifted:
    """Its densities, samples and means are those of the base, moved by SHIFT."""

    def _log_prob(self, value: Any) -> Any:
        return super()._log_prob(value - SHIFT)  # type: ignore[misc]

    def _sample_n(self, n: Any, seed: Any = None) -> Any:
        return SHIFT + super()._sample_n(n, seed=seed)  # type: ignore[misc]

    def _mean(self) -> Any:
        return SHIFT + super()._mean()  # type: ignore[misc]


class ShiftedNormal(Shifted, tfd.Normal):  # type: ignore[name-defined]
    pass


class ShiftedLaplace(Shifted, tfd.Laplace):  # type: ignore[name-defined]
    pass


class ShiftedLogistic(Shifted, tfd.Logistic):  # type: ignore[name-defined]
    pass


class ShiftedStudentT(Shifted, tfd.StudentT):  # type: ignore[name-defined]
    pass


class ShiftedBernoulli(tfd.Bernoulli):  # type: ignore[name-defined]
    """Log-densities and means that no Bernoulli has."""

    def _log_prob(self, value: Any) -> Any:
        return SHIFT + super()._log_prob(value)

    def _mean(self) -> Any:
        return SHIFT + super()._mean()


class ShiftedNormals(Shifted):
    """Where TFP draws otherwise than by `_sample_n`."""

    def _call_sample_n(self, sample_shape: Any, seed: Any) -> Any:
        return SHIFT + super()._call_sample_n(sample_shape, seed)  # type: ignore[misc]


class ShiftedDiag(ShiftedNormals, tfd.MultivariateNormalDiag):  # type: ignore[name-defined]
    pass


class ShiftedTriL(ShiftedNormals, tfd.MultivariateNormalTriL):  # type: ignore[name-defined]
    pass


class ShiftedIndependent(Shifted, tfd.Independent):  # type: ignore[name-defined]
    pass


# As TFP's own class is called: a config of its name would give that one.
SameName = type("MultivariateNormalDiag", (ShiftedDiag,), {})


def independent(family: Any, *parameters: Any) -> Any:
    return tfd.Independent(family(*parameters), 1)


# From loc [..., 2]: the user's distribution, and what it is moved by SHIFT.
FAMILIES: dict[str, tuple[Any, Any]] = {
    "normal": (
        lambda loc: independent(ShiftedNormal, loc, 0.5),
        lambda loc: independent(tfd.Normal, loc, 0.5),
    ),
    "laplace": (
        lambda loc: independent(ShiftedLaplace, loc, [0.5, 1.0]),
        lambda loc: independent(tfd.Laplace, loc, [0.5, 1.0]),
    ),
    "logistic": (
        lambda loc: independent(ShiftedLogistic, loc, 0.5),
        lambda loc: independent(tfd.Logistic, loc, 0.5),
    ),
    "student_t": (
        lambda loc: independent(ShiftedStudentT, 5.0, loc, 0.5),
        lambda loc: independent(tfd.StudentT, 5.0, loc, 0.5),
    ),
    "diag": (
        lambda loc: ShiftedDiag(loc, [0.5, 1.0]),
        lambda loc: tfd.MultivariateNormalDiag(loc, [0.5, 1.0]),
    ),
    "tril": (
        lambda loc: ShiftedTriL(loc, [[0.5, 0.0], [0.3, 1.0]]),
        lambda loc: tfd.MultivariateNormalTriL(loc, [[0.5, 0.0], [0.3, 1.0]]),
    ),
    "independent": (
        lambda loc: ShiftedIndependent(tfd.Normal(loc, 0.5), 1),
        lambda loc: independent(tfd.Normal, loc, 0.5),
    ),
    "same_name": (
        lambda loc: SameName(loc, [0.5, 1.0]),
        lambda loc: tfd.MultivariateNormalDiag(loc, [0.5, 1.0]),
    ),
}
LOC = np.random.default_rng(0).normal(size=(4, LATENT_DIM)).astype("float32")
Z = np.random.default_rng(1).normal(size=(4, LATENT_DIM)).astype("float32") + SHIFT


def both(name: str) -> tuple[Any, Any]:
    """Returns the user's posterior and its base, batch shape [4]."""
    own, base = FAMILIES[name]
    return own(tf.constant(LOC)), base(tf.constant(LOC))


# -- as they are taken apart, joined and sampled ----------------------------------


@pytest.mark.parametrize("name", FAMILIES)
def test_a_subclass_stays_what_it_is(name: str) -> None:
    own, base = both(name)
    assert plain(own) is own
    assert location_scale(own) is None
    assert not of_tfp(own)
    assert of_tfp(base)
    np.testing.assert_array_equal(plain(own).log_prob(Z), own.log_prob(Z))
    np.testing.assert_allclose(own.log_prob(Z), base.log_prob(Z - SHIFT), rtol=1e-5)
    samples = sample_with(own, [3], draw_noise(own, [3, 4], SEED))
    np.testing.assert_array_equal(samples, own.sample(3, seed=SEED))
    assert np.mean(samples) > SHIFT - 2


@pytest.mark.parametrize("name", FAMILIES)
def test_a_subclass_is_joined_and_passed_between_functions(name: str) -> None:
    own, _ = both(name)
    for param in tf.nest.flatten(batch_first(own), expand_composites=True):
        assert len(param) == 4

    @tf.function(input_signature=[tf.TensorSpec([None, LATENT_DIM])], autograph=False)
    def draw(loc: tf.Tensor) -> tf.Tensor:
        return batch_first(FAMILIES[name][0](loc)).sample(3, seed=SEED)

    assert draw.get_concrete_function().output_shapes == [3, None, LATENT_DIM]
    joined = join([own, batch_first(own)[:3]])
    assert type(joined) is type(own)
    assert joined.batch_shape == [7]
    values = np.concatenate([Z, Z[:3]])
    expected = np.concatenate([own.log_prob(Z), own.log_prob(Z)[:3]])
    np.testing.assert_allclose(joined.log_prob(values), expected, rtol=1e-6)
    through = traced(lambda q: q)
    for _ in range(3):
        again = through(FAMILIES[name][0](tf.constant(LOC)))
        assert type(again) is type(own)
        np.testing.assert_allclose(again.log_prob(Z), own.log_prob(Z), rtol=1e-6)
    assert through.experimental_get_tracing_count() == 1


def test_shared_parameters_of_tfp_s_own_classes_are_joined_once_for_each() -> None:
    loc, z = tf.constant(LOC), Z - SHIFT
    for posterior in (
        tfd.MultivariateNormalDiag(loc, [0.5, 1.0]),
        independent(tfd.StudentT, 5.0, loc, 0.5),
        tfd.MultivariateNormalTriL(loc, [[0.5, 0.0], [0.3, 1.0]]),
        independent(tfd.Normal, loc, [0.5, 1.0]),
    ):
        joined = join([posterior, posterior])
        assert joined.batch_shape == [8]
        expected = np.tile(posterior.log_prob(z), 2)
        np.testing.assert_allclose(joined.log_prob(np.tile(z, (2, 1))), expected, 1e-5)


def test_settings_of_a_distribution_are_kept() -> None:
    inner = tfd.Normal(tf.constant(LOC), 0.5, validate_args=True, allow_nan_stats=False)
    outer = tfd.Independent(
        inner, 1, validate_args=True, experimental_use_kahan_sum=True
    )
    got = plain(outer)
    assert got.parameters["experimental_use_kahan_sum"]
    assert got.validate_args
    assert got.distribution.validate_args
    assert not got.distribution.allow_nan_stats
    assert got.distribution.scale.shape == [4, LATENT_DIM]


class Opaque(tfd.Distribution):  # type: ignore[name-defined]
    """One whose parameters TensorFlow does not know."""

    def __init__(self, loc: Any) -> None:
        self.loc = tf.convert_to_tensor(loc)
        super().__init__(
            dtype=self.loc.dtype,
            reparameterization_type=tfd.FULLY_REPARAMETERIZED,
            validate_args=False,
            allow_nan_stats=True,
        )

    def _batch_shape(self) -> Any:
        return self.loc.shape[:1]

    def _batch_shape_tensor(self) -> Any:
        return tf.shape(self.loc)[:1]

    def _event_shape(self) -> Any:
        return self.loc.shape[1:]

    def _sample_n(self, n: Any, seed: Any = None) -> Any:
        return self.loc + tf.random.stateless_normal([n, *self.loc.shape], seed)

    def _log_prob(self, value: Any) -> Any:
        return -0.5 * tf.reduce_sum((value - self.loc) ** 2, -1)


def test_a_class_of_unknown_parameters_is_refused_where_they_are_joined() -> None:
    with pytest.raises(InputError, match="AutoCompositeTensorDistribution") as raised:
        join([Opaque(LOC), Opaque(LOC)])
    assert "\n" not in str(raised.value)
    with pytest.raises(InputError, match="AutoCompositeTensorDistribution"):
        aggregate_log_prob(Opaque(LOC), Z)
    latents = Opaque(LOC).sample(5, seed=SEED)
    prior = NormalPrior(LATENT_DIM)
    assert kl_divergence(Opaque(LOC), prior, latents).shape == [4]


# -- KL and D ---------------------------------------------------------------------


@pytest.mark.parametrize("name", FAMILIES)
def test_the_kl_is_that_of_the_subclass(name: str) -> None:
    own, base = both(name)
    prior = tfd.MultivariateNormalDiag(tf.zeros(2), tf.ones(2))
    latents = own.sample(3, seed=SEED)
    got = kl_divergence(own, prior, latents)
    expected = np.mean(own.log_prob(latents) - prior.log_prob(latents), 0)
    np.testing.assert_allclose(got, expected, rtol=1e-5)
    assert np.all(got > kl_divergence(base, prior, latents - SHIFT) + 5)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_kl_to_a_subclass_is_to_it(name: str) -> None:
    prior = FAMILIES[name][0](tf.zeros(LATENT_DIM))
    posterior = FAMILIES[name][1](tf.constant(LOC))
    latents = posterior.sample(3, seed=SEED)
    got = kl_divergence(posterior, FixedPrior(prior), latents)
    expected = np.mean(posterior.log_prob(latents) - prior.log_prob(latents), 0)
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_a_kl_that_a_user_registers_counts() -> None:
    class Registered(ShiftedNormal):
        pass

    @tfd.RegisterKL(Registered, tfd.Normal)
    def kl(a: Any, b: Any, name: Any = None) -> Any:
        return tf.fill(tf.shape(a.loc), 21.0)

    posterior = independent(Registered, tf.constant(LOC), 0.5)
    prior = independent(tfd.Normal, tf.zeros(2), 1.0)
    got = kl_divergence(posterior, prior, posterior.sample(1, seed=SEED))
    np.testing.assert_array_equal(got, [42.0] * 4)
    assert closed_form_kl(independent(ShiftedNormal, LOC, 0.5), prior) is None
    assert closed_form_kl(tfd.Normal(0.0, 1.0), tfd.Normal(1.0, 1.0)) == 0.5


@pytest.mark.parametrize("name", slow_behind(3, list(FAMILIES)))
def test_the_aggregate_is_that_of_the_subclass(name: str) -> None:
    own, _ = both(name)
    log_probs = np.stack([own.log_prob(z) for z in Z])
    expected = scipy.special.logsumexp(log_probs, axis=1) - np.log(4)
    np.testing.assert_allclose(aggregate_log_prob(own, Z), expected, rtol=1e-5)
    if name != "tril":  # TFP's mixture wants a scale for each component
        aggregate = aggregate_posterior(batch_first(own))
        np.testing.assert_allclose(aggregate.log_prob(Z), expected, rtol=1e-5)
    prior = NormalPrior(LATENT_DIM)
    log_p = prior.distribution.log_prob(Z)
    got = inclusive_kl(tf.constant(Z), prior, own)
    np.testing.assert_allclose(got, np.mean(log_p - expected), rtol=1e-5)
    loc = tf.constant(LOC)
    with tf.GradientTape() as tape:
        tape.watch(loc)
        value = inclusive_kl(tf.constant(Z), prior, FAMILIES[name][0](loc))
    assert np.abs(tape.gradient(value, loc)).max() > 1e-4


# -- models -----------------------------------------------------------------------


class Encoder(keras.Model):
    def __init__(self, name: str) -> None:
        super().__init__()
        self.dense, self.make = keras.layers.Dense(LATENT_DIM), FAMILIES[name][0]

    def call(self, x: Any, training: bool = False) -> Any:
        return self.make(self.dense(x))


class Decoder(keras.Model):
    def __init__(self, make: Any) -> None:
        super().__init__()
        self.dense, self.make = keras.layers.Dense(DATA_DIM), make

    def call(self, z: Any, training: bool = False) -> Any:
        return self.make(self.dense(z))


X = data(12)


@pytest.mark.parametrize("name", slow_behind(1, ["student_t", "normal", "diag"]))
def test_a_posterior_of_a_users_own(name: str) -> None:
    vae = make_vae(
        encoder=Encoder(name), divergence="dimensionwise_mmd", alpha=1.0, num_samples=2
    )
    vae.compile("adam")
    q = vae.encode(X)
    assert type(q) is type(FAMILIES[name][0](q.mean()))
    np.testing.assert_allclose(q.mean(), vae.encoder.dense(X) + SHIFT, rtol=1e-6)
    np.testing.assert_allclose(vae.predict(X, verbose=0), q.mean(), rtol=1e-5)
    logs = vae.evaluate(X, verbose=0, return_dict=True)
    # log N(z; 0, 1) of latents near SHIFT, of which the base class has none.
    assert logs["kl"] > SHIFT**2 / 4
    assert logs["divergence"] > 5
    history = vae.fit(X, batch_size=5, epochs=2, verbose=0).history
    assert history["kl"][0] > SHIFT**2 / 4
    bound = importance_weighted_bound(vae, X, num_samples=1, seed=0)
    q = vae.encode(X)  # trained
    latents = q.sample(1, seed=stateless_seed(0))
    p, prior = vae.decode(latents[0]), vae.prior.distribution
    log_weights = p.log_prob(X) + prior.log_prob(latents[0]) - q.log_prob(latents[0])
    np.testing.assert_allclose(bound, log_weights, rtol=1e-4)


def test_d_of_more_data_than_are_encoded_at_once() -> None:
    vae = make_vae(encoder=Encoder("normal"), divergence="inclusive_kl")
    vae.compile("adam")
    x = data(700)
    found = vae.evaluate(x, batch_size=700, verbose=0, return_dict=True)["divergence"]
    q, prior = vae.encode(x), vae.prior.distribution
    draws = [
        inclusive_kl(prior.sample(700, seed=[i, 1]), prior, q).numpy()
        for i in range(10)
    ]
    assert found == pytest.approx(np.mean(draws), rel=0.2)


LIKELIHOODS = {
    "normal": lambda loc: independent(ShiftedNormal, loc, 0.5),
    "laplace": lambda loc: independent(ShiftedLaplace, loc, 0.5),
    "bernoulli": lambda loc: tfd.Independent(ShiftedBernoulli(logits=loc), 1),
    "diag": lambda loc: ShiftedDiag(loc, 0.5 * tf.ones(DATA_DIM)),
    "independent": lambda loc: ShiftedIndependent(tfd.Normal(loc, 0.5), 1),
}


@pytest.mark.parametrize("name", slow_behind(2, list(LIKELIHOODS)))
def test_a_likelihood_of_a_users_own(name: str) -> None:
    vae = make_vae(decoder=Decoder(LIKELIHOODS[name]), seed=3)
    vae.compile("adam")
    z = np.zeros([12, LATENT_DIM], "float32")
    own, p = vae.decoder(z), vae.decode(z)
    assert type(p) is type(own)
    x = np.abs(X).clip(0, 1) if name == "bernoulli" else X
    np.testing.assert_allclose(p.log_prob(x), own.log_prob(x), rtol=1e-6)
    np.testing.assert_allclose(p.mean(), own.mean(), rtol=1e-6)
    assert np.all(p.mean() >= SHIFT - 0.1)
    assert np.all(vae.generate(20, seed=0) > 0)
    assert np.all(vae.reconstruct(x) > -5)
    if name != "bernoulli":
        assert np.mean(vae.generate(200, sample=True, seed=0)) > SHIFT - 2
    found = vae.evaluate(x, verbose=0, return_dict=True)["log_likelihood"]
    posterior = vae.encode(x)
    draws = [
        vae.decode(posterior.sample(seed=[0, i])).log_prob(x).numpy().mean()
        for i in range(20)
    ]
    assert abs(found - np.mean(draws)) < 6 * np.std(draws)
    if name == "normal":
        log = vae.fit(x, batch_size=12, verbose=0).history["log_likelihood"][0]
        assert abs(log - np.mean(draws)) < 8 * np.std(draws)


class MaskedNormal(tfd.Normal):  # type: ignore[name-defined]
    """Missing entries (NaN) count nothing."""

    def _log_prob(self, value: Any) -> Any:
        missing = tf.math.is_nan(value)
        known = tf.where(missing, tf.zeros_like(value), value)
        return tf.where(missing, 0.0, super()._log_prob(known))


def test_missing_values_may_be_masked() -> None:
    vae = make_vae(decoder=Decoder(lambda loc: independent(MaskedNormal, loc, 1.0)))
    missing = X.copy()
    missing[::3, 1] = np.nan
    z = np.zeros([12, LATENT_DIM], "float32")
    loc = vae.decoder.dense(z).numpy()
    each = np.where(np.isnan(missing), 0, scipy.stats.norm(loc).logpdf(missing))
    np.testing.assert_allclose(vae.decode(z).log_prob(missing), each.sum(1), rtol=1e-5)


# -- priors -----------------------------------------------------------------------


class OwnPrior(Prior):
    """A Prior whose distribution is a user's own."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.make = FAMILIES[name][0]

    @property
    def distribution(self) -> Any:
        return self.make(tf.zeros(LATENT_DIM))


@pytest.mark.parametrize(
    ("name", "wrapped"),
    slow_behind(1, [("laplace", True), ("normal", False), ("same_name", True)]),
)
def test_a_prior_of_a_users_own(name: str, wrapped: bool) -> None:
    own = FAMILIES[name][0](tf.zeros(LATENT_DIM))
    prior = own if wrapped else OwnPrior(name)
    vae = make_vae(prior=prior, divergence="inclusive_kl")
    vae.compile("adam")
    assert type(vae.prior.distribution) is type(own)
    logs = vae.evaluate(X, verbose=0, return_dict=True)
    q = vae.encode(X)
    latents = q.sample(2000, seed=SEED)
    kl = tf.reduce_mean(q.log_prob(latents) - own.log_prob(latents), -1)
    assert abs(logs["kl"] - np.mean(kl)) < 8 * np.std(kl)
    z = own.sample(12, seed=SEED)
    np.testing.assert_allclose(np.mean(z), SHIFT, atol=1.5)
    draws = [
        inclusive_kl(own.sample(12, seed=[i, 1]), own, q).numpy() for i in range(50)
    ]
    assert abs(logs["divergence"] - np.mean(draws)) < 8 * np.std(draws) / 10**0.5


def test_what_is_served_is_a_users_own(tmp_path: Path) -> None:
    vae = make_vae(OwnPrior("diag"), Encoder("normal"), Decoder(LIKELIHOODS["laplace"]))
    with pytest.warns(UserWarning, match="leaves encode_sample out"):
        export_saved_model(vae, tmp_path / "saved")
    served = load_encoder(tmp_path / "saved")
    q, z = vae.encode(X), vae.prior.distribution.sample(12, seed=SEED)
    np.testing.assert_allclose(served.encode(X)["loc"], q.mean(), rtol=1e-5)
    assert np.all(served.encode(X)["loc"] > SHIFT - 4)
    mean = served.decode(z)["mean"]
    np.testing.assert_allclose(mean, vae.decoder.dense(z) + SHIFT, rtol=1e-5)
    density = served.log_prob_prior(z)["log_prob"]
    expected = FAMILIES["diag"][1](tf.zeros(LATENT_DIM)).log_prob(z - SHIFT)
    np.testing.assert_allclose(density, expected, rtol=1e-4)
    assert_mean_close(served.sample_prior(2000, 0)["z"], np.full(LATENT_DIM, SHIFT))


@pytest.mark.parametrize("name", FAMILIES)
def test_a_prior_of_a_users_own_has_no_plain_config(name: str) -> None:
    prior = FixedPrior(FAMILIES[name][0](tf.zeros(LATENT_DIM)))
    with pytest.raises(InputError, match="subclass tf_decomp.Prior"):
        prior.get_config()


# -- what is known of TFP's classes alone -----------------------------------------


@pytest.mark.parametrize("name", FAMILIES)
def test_instruments_take_nothing_for_granted(name: str) -> None:
    own, base = both(name)
    each = marginals(own)
    if each is not None:  # the dimensions of Independent are, whatever its parts are
        total = tf.reduce_sum(each.log_prob(Z), -1)
        np.testing.assert_allclose(total, own.log_prob(Z), rtol=1e-5)
    assert marginals(base) is not None
    prior = FAMILIES[name][0](tf.zeros(LATENT_DIM))
    if name in ("diag", "tril", "independent", "same_name"):
        assert prior_total_correlation(prior, prior.sample(10, seed=SEED)) is None
    annealed = anneal(prior, beta=2.0)
    assert annealed.method == "quadrature"
    assert annealed.distribution is None
    known = anneal(FAMILIES[name][1](tf.zeros(LATENT_DIM)), beta=2.0)
    assert annealed.log_normaliser == pytest.approx(known.log_normaliser, rel=1e-4)
    np.testing.assert_allclose(
        annealed.log_prob(Z), known.log_prob(Z - SHIFT), rtol=1e-3
    )


@pytest.mark.parametrize("name", ["diag", "tril"])
def test_a_mapped_encoder_maps_the_subclass(name: str) -> None:
    own, _ = both(name)
    matrix = np.array([[0.0, 2.0], [-1.0, 0.5]])

    class Fixed(keras.Model):
        def call(self, x: Any, training: bool = False) -> Any:
            return own

    mapped = MappedEncoder(Fixed(), matrix)(tf.zeros([4, 3]))
    expected = own.log_prob(Z) - np.log(abs(np.linalg.det(matrix)))
    got = mapped.log_prob((Z @ matrix.T).astype("float32"))
    np.testing.assert_allclose(got, expected, rtol=1e-4)


def test_the_mmd_of_a_users_samples() -> None:
    own, base = both("normal")
    prior = NormalPrior(LATENT_DIM).distribution.sample(4, seed=SEED)
    moved, unmoved = (
        dimensionwise_mmd(q.sample(seed=SEED), prior) for q in (own, base)
    )
    assert moved > unmoved + 1
