# SPDX-License-Identifier: Apache-2.0
"""What enters a model is obeyed, or refused in one line that says what to do."""

import functools
import math
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from cases import DATA_DIM, LATENT_DIM, make_vae
from runs import one_line, slow_behind

import tf_decomp
from tf_decomp.errors import InputError
from tf_decomp.experiment.strategies import make_strategy
from tf_decomp.flows import FlowNormal, flow_weights
from tf_decomp.likelihoods import (
    Support,
    check_support,
    likelihood_point,
    support_of,
)
from tf_decomp.networks import ConvDecoder, ConvEncoder, MLPDecoder, MLPEncoder
from tf_decomp.posteriors import NormalPosterior
from tf_decomp.priors import NormalPrior
from tf_decomp.sampling import one_or_nan, scaled
from tf_decomp.vae import DecompositionVAE

tfd = tfp.distributions
pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't"),
    pytest.mark.filterwarnings("ignore:Your input ran out of data"),
]

RNG = np.random.default_rng(0)
X = RNG.normal(size=(20, DATA_DIM)).astype(np.float32)
IMAGES = RNG.uniform(size=(6, 16, 16, 1)).astype(np.float32)


def compiled_vae(**kwargs: Any) -> DecompositionVAE:
    vae = make_vae(**kwargs)
    vae.compile(keras.optimizers.SGD(1e-2), jit_compile=False)
    return vae


def weighed_vae() -> DecompositionVAE:
    return make_vae(alpha=1.0, divergence="inclusive_kl")


def image_vae(likelihood: str = "bernoulli") -> DecompositionVAE:
    return compiled_vae(
        encoder=ConvEncoder(LATENT_DIM, filters=(4, 4), hidden=()),
        decoder=ConvDecoder((16, 16, 1), (4, 4), (), likelihood=likelihood),
    )


def one_number_vae() -> DecompositionVAE:
    return compiled_vae(decoder=MLPDecoder(1, (4,)))


@functools.cache
def untouched(make: Callable[[], DecompositionVAE]) -> DecompositionVAE:
    """Returns one model for all calls that are refused before they change it."""
    return make()


def as_dataset(x: Any, size: int = 5) -> tf.data.Dataset:
    return tf.data.Dataset.from_tensor_slices(x).batch(size)


def of_unknown_shape(x: np.ndarray) -> tf.data.Dataset:
    def rows() -> Iterator[np.ndarray]:
        yield from np.split(x, 4)

    return tf.data.Dataset.from_generator(rows, tf.float32)


class Batches(keras.utils.PyDataset):
    """Batches of 5 of arrays."""

    def __init__(self, *arrays: Any) -> None:
        super().__init__()
        self._arrays = arrays

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Any:
        return tuple(a[5 * index : 5 * index + 5] for a in self._arrays)


def as_generator(x: np.ndarray) -> Iterator[np.ndarray]:
    yield from np.split(x, 4)


METHODS: dict[str, Callable[[DecompositionVAE, Any], Any]] = {
    "fit": lambda vae, x: vae.fit(x, verbose=0),
    "evaluate": lambda vae, x: vae.evaluate(x, verbose=0),
    "predict": lambda vae, x: vae.predict(x, verbose=0),
    "encode": lambda vae, x: vae.encode(x),
    "call": lambda vae, x: vae(x),
    "reconstruct": lambda vae, x: vae.reconstruct(x),
    "train_on_batch": lambda vae, x: vae.train_on_batch(x),
    "test_on_batch": lambda vae, x: vae.test_on_batch(x),
    "bound": lambda vae, x: tf_decomp.importance_weighted_bound(vae, x, 2),
    "marginal": lambda vae, x: tf_decomp.metrics.marginal_log_likelihood(vae, x, 2),
}


# -- shapes ---------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("make", "x", "advice"),
    [
        (one_number_vae, X[:, 0], "pass x[..., None]"),
        (compiled_vae, X[0], "pass x[None]"),
        (compiled_vae, X[:, :2], "expected examples [n, 3]"),
        (compiled_vae, X[:, :1], "expected examples [n, 3]"),
        (compiled_vae, X[..., None], "pass x.reshape([-1, 3])"),
        (image_vae, IMAGES[..., 0], "pass x[..., None]"),
        (image_vae, np.moveaxis(IMAGES, -1, 1), "channels first: move that axis"),
        (image_vae, IMAGES.reshape(6, -1), "pass x.reshape([-1, 16, 16, 1])"),
        (image_vae, IMAGES[0], "pass x[None]"),
        (image_vae, IMAGES[:, :8], "expected examples [n, 16, 16, 1]"),
    ],
)
def test_shapes_are_checked_where_data_enter(
    make: Any, x: np.ndarray, advice: str, method: str
) -> None:
    with pytest.raises(InputError) as error:
        METHODS[method](untouched(make), x)
    one_line(error, advice)


@pytest.mark.parametrize(
    "source",
    [
        as_dataset,
        of_unknown_shape,
        lambda x: Batches(x),
        as_generator,
        lambda x: as_dataset(x).map(lambda batch: (batch, batch[:, 0] > 0)),
    ],
)
@pytest.mark.parametrize("method", ["fit", "evaluate", "predict"])
def test_shapes_of_data_sets(source: Any, method: str) -> None:
    with pytest.raises(InputError) as error:
        METHODS[method](untouched(one_number_vae), source(X))
    one_line(error, "expected examples [n, 1]")
    with pytest.raises(InputError) as error:
        METHODS[method](untouched(one_number_vae), of_unknown_shape(X[:, 0]))
    one_line(error, "expected examples [n, 1]", "x[..., None]")


@pytest.mark.parametrize("steps", [1, 4])
def test_a_step_itself_refuses_what_fit_could_not_see(steps: int) -> None:
    vae = make_vae()
    vae.compile("sgd", steps_per_execution=steps)
    keras_fit = super(DecompositionVAE, vae).fit
    with pytest.raises(InputError) as error:
        keras_fit(as_dataset(X[:, :2]), verbose=0, shuffle=False)
    one_line(error, "x: expected examples [n, 3]; received shape")


def test_latents_are_checked() -> None:
    for bad in (np.zeros(LATENT_DIM), np.zeros([4, 5]), np.zeros([1, 4, LATENT_DIM])):
        with pytest.raises(InputError, match=r"latents: expected examples \[n, 2\]"):
            make_vae().decode(bad)


def test_one_number_a_datum_has_the_same_loss_as_its_column() -> None:
    vae = one_number_vae()
    column = X[:, :1]
    expected = vae.evaluate(column, verbose=0)
    np.testing.assert_allclose(
        vae.evaluate(as_dataset(column, 20), verbose=0), expected
    )


# -- kinds of data --------------------------------------------------------------------

SPARSE = tf.sparse.from_dense(X)
STRUCTURES: dict[str, tuple[Any, str]] = {
    "dict": ({"image": X, "label": X}, "batch['image']"),
    "data set of dicts": (as_dataset({"image": X, "label": X}), "batch['image']"),
    "two inputs": ([X, X[:, :2]], "a list of 2"),
    "two inputs of one shape": ([X, X], "a list of 2"),
    "a tuple": ((X, X), "a tuple of 2"),
    "rows in lists": (X.tolist(), "a list of 20"),
    "data set of two inputs": (as_dataset(((X, X), X)), "a tuple of 2"),
    "sparse": (as_dataset(SPARSE), "sparse.to_dense"),
    "ragged": (
        as_dataset(tf.ragged.constant([[1.0], [1.0, 2.0]])),
        "its to_tensor does",
    ),
    "strings": (np.full([20, DATA_DIM], "1.0"), "values of type string"),
    "objects": (np.full([20, DATA_DIM], "a", object), "expected"),
    "complex": (X.astype(np.complex64), "values of type complex64"),
    "data set of strings": (as_dataset(np.full([20, 3], "a")), "type string"),
    "none": (None, "received none"),
    "no rows": (X[:0], "at least one example"),
    "no batches": (as_dataset(X).take(0), "at least one"),
    "a name": ("x.npy", "pass an array"),
    "a number": (3.0, "pass an array"),
    "masked": (np.ma.masked_less(X, 0), "its mask would be dropped"),
    "no end": (as_dataset(X).repeat(), "repeat without end"),
    "four parts": (as_dataset((X, X, X, X)), "a tuple of 4"),
}


@pytest.mark.parametrize("method", ["fit", "evaluate"])
@pytest.mark.parametrize("name", STRUCTURES)
def test_other_structures_are_refused_by_name(name: str, method: str) -> None:
    data, part = STRUCTURES[name]
    with pytest.raises(InputError) as error:
        METHODS[method](untouched(compiled_vae), data)
    one_line(error, part)


def test_what_keras_takes_still_passes() -> None:
    vae = compiled_vae()
    labels = (X[:, 0] > 0).astype(np.int64)
    expected = vae.evaluate(X, batch_size=5, verbose=0)
    for data in (
        as_dataset(X),
        as_dataset((X,)),
        as_dataset((X, labels)),
        as_dataset((X, np.eye(2, dtype=np.float32)[labels])),
        Batches(X),
        Batches(X, labels),
        as_generator(X),
        tf.constant(X),
        X.astype(np.float64),
    ):
        got = vae.evaluate(
            data, batch_size=5 if hasattr(data, "shape") else None, verbose=0
        )
        np.testing.assert_allclose(got, expected, rtol=1e-6)
    assert vae.predict(as_generator(X), verbose=0).shape == (20, LATENT_DIM)
    history = vae.fit(as_generator(X), verbose=0).history
    assert math.isfinite(history["loss"][0])


# -- weights and targets --------------------------------------------------------------

ONES = np.ones(20, np.float32)
LABELS = (X[:, 0] > 0).astype(np.int64)
WEIGHTED: dict[str, Callable[[DecompositionVAE], Any]] = {
    "fit": lambda vae: vae.fit(X, sample_weight=ONES, verbose=0),
    "fit class": lambda vae: vae.fit(X, LABELS, class_weight={0: 1, 1: 2}, verbose=0),
    "fit triple": lambda vae: vae.fit(as_dataset((X, LABELS, ONES)), verbose=0),
    "fit PyDataset": lambda vae: vae.fit(Batches(X, LABELS, ONES), verbose=0),
    "validation": lambda vae: vae.fit(X, validation_data=(X, LABELS, ONES), verbose=0),
    "validation triple": lambda vae: vae.fit(
        X, validation_data=as_dataset((X, LABELS, ONES)), verbose=0
    ),
    "evaluate": lambda vae: vae.evaluate(X, sample_weight=ONES, verbose=0),
    "evaluate triple": lambda vae: vae.evaluate(as_dataset((X, LABELS, ONES))),
    "train_on_batch": lambda vae: vae.train_on_batch(X, sample_weight=ONES),
    "train_on_batch class": lambda vae: vae.train_on_batch(
        X, LABELS, class_weight={0: 1, 1: 2}
    ),
    "test_on_batch": lambda vae: vae.test_on_batch(X, sample_weight=ONES),
}


@pytest.mark.parametrize("name", WEIGHTED)
def test_weights_of_examples_are_refused(name: str) -> None:
    with pytest.raises(InputError) as error:
        WEIGHTED[name](untouched(compiled_vae))
    one_line(error, "expected no weights")


NOISY = X + np.float32(0.1)


@pytest.mark.parametrize(
    "fit",
    [
        lambda vae: vae.fit(NOISY, X, verbose=0),
        lambda vae: vae.evaluate(NOISY, X, verbose=0),
        lambda vae: vae.fit(as_dataset((NOISY, X)), verbose=0),
        lambda vae: vae.fit(Batches(NOISY, X), verbose=0),
        lambda vae: vae.fit(X, validation_data=(NOISY, X), verbose=0),
        lambda vae: vae.fit(X, validation_data=as_dataset((NOISY, X)), verbose=0),
        lambda vae: vae.train_on_batch(NOISY, X),
        lambda vae: vae.test_on_batch(NOISY, X),
    ],
)
def test_a_target_other_than_x_is_refused(fit: Any) -> None:
    with pytest.raises(InputError) as error:
        fit(untouched(compiled_vae))
    one_line(error, "y has the shape of x and differs from it")


def test_x_as_its_own_target_passes() -> None:
    vae = compiled_vae()
    expected = vae.evaluate(X, verbose=0)
    assert vae.evaluate(X, X, verbose=0) == expected
    assert vae.evaluate(as_dataset((X, X), 20), verbose=0) == expected


# -- the numbers of one batch ---------------------------------------------------------


def test_on_batch_methods_report_what_evaluate_and_fit_do() -> None:
    vae = compiled_vae(alpha=2.0, divergence="dimensionwise_mmd")
    names = ["loss", "elbo", "log_likelihood", "kl", "divergence"]
    assert vae.metrics_names == names
    expected = vae.evaluate(X, batch_size=20, verbose=0, return_dict=True)
    assert list(expected) == names
    assert vae.test_on_batch(X) == list(expected.values())
    assert vae.test_on_batch(X, return_dict=True) == expected
    other = compiled_vae(alpha=2.0, divergence="dimensionwise_mmd")
    history = other.fit(X, batch_size=20, verbose=0, shuffle=False).history
    logs = vae.train_on_batch(X)
    np.testing.assert_allclose(logs, [history[name][0] for name in names], rtol=1e-5)


# -- what a likelihood is defined of --------------------------------------------------

OUTSIDE = {
    "standardised": X,
    "bytes": RNG.integers(0, 256, (20, DATA_DIM)),
    "-1 to 1": np.clip(X, -1, 1),
    "one row": np.where(np.arange(20)[:, None] == 17, np.float32(1.5), np.float32(0.5))
    * np.ones([1, DATA_DIM], np.float32),
}


def bernoulli_vae(**kwargs: Any) -> DecompositionVAE:
    return compiled_vae(decoder=MLPDecoder(DATA_DIM, (4,), "bernoulli"), **kwargs)


@pytest.mark.parametrize("method", ["bound", "marginal"])
@pytest.mark.parametrize("name", OUTSIDE)
def test_bounds_of_data_outside_the_support_are_refused(name: str, method: str) -> None:
    with pytest.raises(InputError) as error:
        METHODS[method](untouched(bernoulli_vae), OUTSIDE[name])
    one_line(error, "expected numbers in [0, 1], the support of the decoder's Bern")


@pytest.mark.parametrize("method", ["fit", "evaluate", "train_on_batch"])
@pytest.mark.parametrize("name", OUTSIDE)
def test_arrays_outside_the_support_are_refused(name: str, method: str) -> None:
    with pytest.raises(InputError) as error:
        METHODS[method](untouched(bernoulli_vae), OUTSIDE[name])
    one_line(error, "expected numbers in [0, 1]", "Bernoulli", "of 20 examples")
    if name == "one row":
        one_line(error, "x[17] spans 1.5 to 1.5 (1 of 20")


@pytest.mark.parametrize(
    ("steps", "source", "method"),
    slow_behind(
        4,
        [
            (4, as_dataset, "fit"),
            (1, of_unknown_shape, "fit"),
            (1, as_dataset, "evaluate"),
            (1, Batches, "evaluate"),
            (1, as_dataset, "fit"),
            (1, Batches, "fit"),
            (1, of_unknown_shape, "evaluate"),
            (4, of_unknown_shape, "fit"),
            (4, Batches, "fit"),
            (4, as_dataset, "evaluate"),
            (4, of_unknown_shape, "evaluate"),
            (4, Batches, "evaluate"),
        ],
    ),
)
def test_data_sets_outside_the_support_are_refused(
    steps: int, source: Any, method: str
) -> None:
    vae = make_vae(decoder=MLPDecoder(DATA_DIM, (4,), "bernoulli"))
    vae.compile("sgd", steps_per_execution=steps)
    with pytest.raises(InputError) as error:
        METHODS[method](vae, source(OUTSIDE["one row"]))
    one_line(error, "example 17 (batch 3, row 2) spans 1.5 to 1.5", "[0, 1]")


def test_the_first_batch_is_enough() -> None:
    steps = 0

    class Count(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            nonlocal steps
            steps += 1

    with pytest.raises(InputError, match="example 0 "):
        bernoulli_vae().fit(
            as_dataset(np.tile(X, [50, 1])).repeat(),
            steps_per_epoch=200,
            verbose=0,
            callbacks=[Count()],
        )
    assert steps == 1


class Family(keras.Model):
    """Independent values of one family, whose numbers do not depend on z."""

    def __init__(self, family: type, **numbers: float) -> None:
        super().__init__()
        self._family, self._numbers = family, numbers

    def call(self, z: Any, training: bool = False) -> Any:
        zeros = tf.zeros([tf.shape(z)[0], DATA_DIM])
        numbers = {name: zeros + value for name, value in self._numbers.items()}
        return tfd.Independent(self._family(**numbers), 1)


@pytest.mark.parametrize(
    ("decoder", "inside", "outside"),
    slow_behind(
        2,
        [
            (Family(tfd.ContinuousBernoulli, logits=0.0), 1.0, 1.25),
            (Family(tfd.Beta, concentration1=2.0, concentration0=2.0), 0.5, -0.5),
            (Family(tfd.Poisson, rate=1.0), 7.0, 0.5),
            (Family(tfd.Poisson, rate=1.0), 7.0, -1.0),
            (Family(tfd.Gamma, concentration=1.0, rate=1.0), 7.0, -1.0),
            (Family(tfd.NegativeBinomial, total_count=3.0, logits=0.0), 7.0, -1.0),
            (Family(tfd.LogNormal, loc=0.0, scale=1.0), 7.0, -1.0),
        ],
    ),
)
def test_supports_of_other_likelihoods(
    decoder: Any, inside: float, outside: float
) -> None:
    vae = compiled_vae(decoder=decoder)
    x = np.full([20, DATA_DIM], inside, np.float32)
    assert np.isfinite(vae.evaluate(x, verbose=0)).all()
    x[3, 1] = outside
    with pytest.raises(InputError, match=r"x\[3\] spans"):
        vae.evaluate(x, verbose=0)
    with pytest.raises(InputError, match="example 3 "):
        vae.fit(as_dataset(x), verbose=0)


def test_the_support_of_a_likelihood() -> None:
    bernoulli = tfd.Independent(tfd.Bernoulli(tf.zeros([1, DATA_DIM])), 1)
    assert support_of(bernoulli) == Support(0.0, 1.0, "Bernoulli")
    assert not support_of(tfd.Normal(0.0, 1.0)).is_bounded
    counts = support_of(tfd.Poisson(1.0))
    assert counts == Support(0.0, np.inf, "Poisson", whole=True)
    x = np.array([0.0, 0.5, 3.0, -1.0, np.nan, 1e9, 7.0])
    wrong = [False, True, False, True, False, False, False]
    for values in (x, tf.constant(x)):
        with np.errstate(invalid="ignore"):
            np.testing.assert_array_equal(counts.excludes(values), wrong)
    classes = tfd.Independent(tfd.Categorical(tf.zeros([1, DATA_DIM, 4])), 1)
    assert support_of(classes) == Support(0.0, 3.0, "Categorical", whole=True)
    own = type("Own", (tfd.Bernoulli,), {})
    assert not support_of(own(0.0)).is_bounded
    check_support(bernoulli, np.array([0.0, 1.0]))
    check_support(own(0.0), np.array([2.0]))
    with pytest.raises(InputError, match="the support of the decoder's Bern"):
        check_support(bernoulli, np.array([0.5, 1.5]))


UNIT = [
    tfd.Bernoulli(0.0),
    tfd.ContinuousBernoulli(0.0),
    tfd.Beta(2.0, 2.0),
    tfd.Kumaraswamy(2.0, 2.0),
    tfd.LogitNormal(0.0, 1.0),
    tfd.OneHotCategorical([0.0, 0.0]),
    tfd.RelaxedBernoulli(0.5, logits=0.0),
]
POSITIVE = [
    tfd.Chi2(2.0),
    tfd.Exponential(1.0),
    tfd.Gamma(2.0, 1.0),
    tfd.HalfNormal(1.0),
    tfd.InverseGamma(2.0, 1.0),
    tfd.LogNormal(0.0, 1.0),
    tfd.Weibull(1.0, 1.0),
]
COUNTS = [tfd.Geometric(0.0), tfd.NegativeBinomial(2.0, 0.0), tfd.Poisson(1.0)]


@pytest.mark.parametrize(
    "likelihood", UNIT + POSITIVE + COUNTS, ids=lambda each: each.name
)
def test_the_support_of_every_family(likelihood: Any) -> None:
    high, whole = 1.0 if likelihood in UNIT else np.inf, likelihood in COUNTS
    family = type(likelihood).__name__
    assert support_of(likelihood) == Support(0.0, high, family, whole)
    check_support(likelihood, likelihood.sample(100, seed=[0, 1]))


def test_a_family_that_may_be_shifted_has_no_range() -> None:
    shifted = tfd.HalfCauchy(-2.0, 1.0)
    assert np.isfinite(shifted.log_prob(-1.0))
    check_support(shifted, np.array([-1.0]))


def test_what_stands_for_a_likelihood() -> None:
    assert float(likelihood_point(tfd.Normal(2.0, 1.0))) == 2.0
    assert int(likelihood_point(tfd.Categorical(logits=[0.0, 2.0, 1.0]))) == 1
    none = type("None", (tfd.Normal,), {"_mean": tfd.Distribution._mean})
    with pytest.raises(InputError, match="expected one with a mean"):
        likelihood_point(none(0.0, 1.0))


def test_unknown_numbers_make_posteriors_unknown() -> None:
    factor = one_or_nan(tf.constant([[1.0, 2.0], [np.nan, 0.0], [-np.inf, 0.0]]))
    np.testing.assert_array_equal(factor, [1, np.nan, np.nan])
    loc, scale = tf.random.normal([3, 2]), tf.ones([3, 2])
    for posterior in (
        tfd.MultivariateNormalDiag(loc, scale),
        tfd.Independent(tfd.Laplace(loc, scale), 1),
    ):
        got = scaled(posterior, factor)
        assert type(got) is type(posterior)
        np.testing.assert_array_equal(got.mean()[0], loc[0])
        np.testing.assert_array_equal(got.stddev()[0], posterior.stddev()[0])
        assert np.isnan(got.mean()[1:]).all()
    tril = scaled(tfd.MultivariateNormalTriL(loc, tf.eye(2, batch_shape=[3])), factor)
    np.testing.assert_array_equal(tril.mean()[0], loc[0])
    np.testing.assert_array_equal(tril.covariance()[0], np.eye(2))
    assert np.isnan(tril.mean()[1:]).all()
    assert np.isnan(tril.stddev()[1:]).all()
    weights = tf.random.normal([3, flow_weights(2, 2, 2)])
    flow = FlowNormal(loc, scale, weights, num_couplings=2, units=2)
    got = scaled(flow, factor)
    np.testing.assert_array_equal(got.mean()[0], flow.mean()[0])
    assert np.isnan(got.mean()[1:]).all()
    doubled = scaled(flow, tf.fill([3], 2.0))
    np.testing.assert_allclose(
        doubled.log_prob(2 * loc), flow.log_prob(loc) - np.log(4), 1e-5
    )
    other = tfd.Independent(tfd.StudentT(5.0, loc, scale), 1)
    assert scaled(other, factor) is other


def test_grey_values_and_bools_are_inside() -> None:
    vae = bernoulli_vae()
    for x in (
        RNG.uniform(size=X.shape),
        RNG.uniform(size=X.shape) > 0.5,
        np.ones(X.shape, np.uint8),
    ):
        vae.fit(x, verbose=0)


# -- missing and infinite numbers -----------------------------------------------------

BAD_X = X.copy()
BAD_X[13, 1] = np.nan
ENDLESS = X.copy()
ENDLESS[13, 1] = np.inf


@pytest.mark.parametrize("x", [BAD_X, ENDLESS])
@pytest.mark.parametrize("method", ["fit", "evaluate", "train_on_batch"])
def test_arrays_that_are_not_finite_are_refused_before_any_step(
    method: str, x: np.ndarray
) -> None:
    vae = compiled_vae()
    before = [w.numpy() for w in vae.trainable_variables]
    with pytest.raises(InputError) as error:
        METHODS[method](vae, x)
    one_line(error, "x[13] holds NaN or infinity (1 of 20 examples do)")
    for weight, old in zip(vae.trainable_variables, before, strict=True):
        np.testing.assert_array_equal(weight, old)


@pytest.mark.parametrize("source", [as_dataset, lambda x: Batches(x)])
def test_data_sets_that_are_not_finite_stop_training(source: Any) -> None:
    with pytest.raises(InputError) as error:
        compiled_vae().fit(source(BAD_X), epochs=5, verbose=0)
    one_line(error, "example 13 (batch 2, row 3) holds NaN or infinity")


def test_a_loss_that_overflows_is_told_once() -> None:
    vae = make_vae()
    vae.compile(keras.optimizers.SGD(1e30))
    with pytest.warns(UserWarning, match="the loss is not finite") as told:
        vae.fit(X, batch_size=5, epochs=4, verbose=0)
    assert sum("not finite" in str(w.message) for w in told) == 1


class MaskedNormal(tfd.Normal):
    """Missing numbers count nothing."""

    def _log_prob(self, value: Any) -> Any:
        missing = tf.math.is_nan(value)
        known = tf.where(missing, tf.zeros_like(value), value)
        return tf.where(missing, 0.0, super()._log_prob(known))


class MaskingEncoder(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.dense, self.head = keras.layers.Dense(4), NormalPosterior(LATENT_DIM)

    def call(self, x: Any, training: bool = False) -> Any:
        return self.head(self.dense(tf.where(tf.math.is_nan(x), 0.0, x)))


class MaskedDecoder(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.dense = keras.layers.Dense(DATA_DIM)

    def call(self, z: Any, training: bool = False) -> Any:
        return tfd.Independent(MaskedNormal(self.dense(z), 1.0), 1)


def test_a_likelihood_that_masks_missing_numbers_takes_them() -> None:
    vae = compiled_vae(encoder=MaskingEncoder(), decoder=MaskedDecoder())
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        history = vae.fit(BAD_X, batch_size=5, epochs=2, verbose=0).history
        vae.fit(as_dataset(BAD_X), verbose=0)
    assert np.isfinite(history["loss"]).all()
    assert np.isfinite(vae.evaluate(BAD_X, verbose=0)).all()


@pytest.mark.parametrize("make", [compiled_vae, image_vae])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_unknown_is_encoded_as_unknown(make: Any, bad: float) -> None:
    vae = untouched(make)
    x = (X if make is compiled_vae else IMAGES).copy()
    expected = vae.encode(x)
    x.reshape(len(x), -1)[3, 1] = bad
    known = np.arange(len(x)) != 3
    for posterior in (
        vae.encode(x),
        tf.function(vae.encode)(x),
        tf_decomp.metrics.encode_data(vae, x),
    ):
        for got, right in (
            (posterior.mean(), expected.mean()),
            (posterior.stddev(), expected.stddev()),
        ):
            np.testing.assert_allclose(got[known], right[known], rtol=1e-5, atol=1e-6)
            assert np.isnan(got[3]).all()
    assert np.isnan(vae.predict(x, verbose=0)).all(axis=1).tolist() == (~known).tolist()


def test_an_encoder_may_read_missing_numbers() -> None:
    vae = compiled_vae(encoder=MaskingEncoder(), decoder=MaskedDecoder())
    assert vae.encodes_missing
    assert np.isfinite(vae.predict(BAD_X, verbose=0)).all()
    assert np.isfinite(tf.function(vae.encode)(BAD_X).mean()).all()


# -- part of the data -----------------------------------------------------------------


def steps_case(name: str) -> tuple[Any, dict[str, Any], np.ndarray]:
    """Returns data, arguments of evaluate and the rows that all numbers are of."""
    far = np.concatenate([X[:5], X[5:] + 20])
    cases: dict[str, tuple[Any, dict[str, Any], np.ndarray]] = {
        "data set": (as_dataset(far), {"steps": 1}, far[:5]),
        "array": (far, {"steps": 2, "batch_size": 5}, far[:10]),
        "repeated": (as_dataset(far).repeat(), {"steps": 8}, far),
        "part of a repeated": (as_dataset(far).repeat(), {"steps": 2}, far[:10]),
        "PyDataset": (Batches(far), {"steps": 3}, far[:15]),
        "generator": (as_generator(far), {"steps": 2}, far[:10]),
    }
    return cases[name]


@pytest.mark.parametrize(
    "name",
    slow_behind(
        3,
        [
            "array",
            "repeated",
            "generator",
            "data set",
            "part of a repeated",
            "PyDataset",
        ],
    ),
)
def test_terms_and_divergence_of_some_steps_are_of_the_same_rows(name: str) -> None:
    vae = compiled_vae(alpha=2.0, divergence="dimensionwise_mmd")
    data, kwargs, rows = steps_case(name)
    got = vae.evaluate_with_errors(data, verbose=0, **kwargs)
    expected = vae.evaluate_with_errors(rows, batch_size=5, verbose=0)
    assert [e.n for e in got.values()] == [len(rows)] * 5
    for key, estimate in expected.items():
        np.testing.assert_allclose(got[key], estimate, rtol=1e-6, err_msg=key)


def test_validation_steps_are_of_the_same_rows_in_every_epoch() -> None:
    vae = make_vae(alpha=2.0, divergence="dimensionwise_mmd")
    vae.compile(keras.optimizers.SGD(0.0))
    far = np.concatenate([X[:5], X[5:] + 20])
    history = vae.fit(
        X,
        epochs=3,
        verbose=0,
        validation_data=as_dataset(far).repeat(),
        validation_steps=1,
    ).history
    expected = vae.evaluate(far[:5], verbose=0, return_dict=True)
    for key, value in expected.items():
        np.testing.assert_allclose(history[f"val_{key}"], [value] * 3, rtol=1e-6)


def test_data_of_one_pass_are_refused_before_it() -> None:
    vae = compiled_vae(alpha=2.0, divergence="dimensionwise_mmd")
    read = 0

    def batches() -> Iterator[np.ndarray]:
        nonlocal read
        for rows in np.split(X, 4):
            read += 1
            yield rows

    with pytest.raises(InputError) as error:
        vae.evaluate(batches(), verbose=0)
    one_line(error, "read again", "generator")
    assert read == 1  # to see its shape
    with pytest.raises(InputError, match="read again"):
        vae.evaluate(iter(as_dataset(X)), verbose=0)


def test_fewer_batches_than_steps_are_told() -> None:
    with pytest.warns(UserWarning, match="4 batches, fewer than steps=9"):
        compiled_vae().evaluate(as_dataset(X), steps=9, verbose=0)


@pytest.mark.parametrize("steps", [0, -1, 1.5, True])
def test_steps_are_checked(steps: Any) -> None:
    with pytest.raises(InputError, match="steps must be"):
        compiled_vae().evaluate(X, steps=steps, verbose=0)


# -- numbers --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bad", [-1.0, math.nan, math.inf, "1", None, True, 1j, 1e39, 1e-46, [1.0, 2.0]]
)
@pytest.mark.parametrize("name", ["alpha", "beta"])
def test_weights_of_the_objective_refuse_other_numbers(name: str, bad: Any) -> None:
    vae = untouched(weighed_vae)
    with pytest.raises(InputError, match=f"{name} must be"):
        setattr(vae, name, bad)
    with pytest.raises(InputError, match=f"{name} must be"):
        getattr(vae, name).assign(bad)
    with pytest.raises(InputError, match=f"{name} must be"):
        make_vae(divergence="inclusive_kl", **{name: bad})
    assert vae.number(getattr(vae, name)) == 1.0


def test_alpha_needs_a_divergence_when_it_is_assigned_too() -> None:
    vae = make_vae()
    for assign in (
        lambda: setattr(vae, "alpha", 5.0),
        lambda: vae.alpha.assign(5.0),
        lambda: vae.alpha.assign_add(5.0),
    ):
        with pytest.raises(InputError, match="none is given"):
            assign()
    vae.alpha = 0.0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: make_vae().generate(True), "n must be a whole number"),
        (lambda: make_vae().generate(1.5), "n must be a whole number"),
        (lambda: make_vae().generate(-1), "n must be a whole number >= 0"),
        (lambda: make_vae().generate(10**15), "generating 10+ data needs"),
        (lambda: make_vae().generate("3"), "n must be a whole number"),
        (lambda: make_vae(seed=0.5), "seed must be a whole number"),
        (lambda: make_vae(seed=2**40), "seed must be a whole number between"),
        (lambda: make_vae(num_samples=1.5), "num_samples must be a whole number"),
        (lambda: make_vae(num_samples=True), "num_samples must be a whole number"),
        (lambda: make_vae(divergence=["inclusive_kl"]), "divergence: expected one of"),
        (lambda: make_vae().compile(steps_per_execution=0), "steps_per_execution"),
        (lambda: make_vae().compile(jit_compile="yes"), "jit_compile: expected"),
        (lambda: make_vae().compile(jit_compile=True, run_eagerly=True), "run_eagerly"),
        (lambda: make_vae().compile(loss_weights=[2.0]), "received loss_weights"),
    ],
)
def test_numbers_of_calls_are_checked(make: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()


@pytest.mark.parametrize(
    ("value", "method"),
    slow_behind(
        2,
        [
            (lambda: tf.zeros(3), "fit"),
            (lambda: tf.zeros([], tf.float64), "evaluate"),
            *((value, m) for value in (None, 1, 1.0, "D") for m in ("fit", "evaluate")),
            (lambda: tf.zeros(3), "evaluate"),
            (lambda: tf.zeros([], tf.float64), "fit"),
        ],
    ),
)
def test_a_divergence_must_give_one_number(method: str, value: Any) -> None:
    def wrong(posterior: Any, prior: Any, latents: Any, prior_samples: Any) -> Any:
        return value() if callable(value) else value

    vae = compiled_vae(alpha=1.0, divergence=wrong)
    with pytest.raises(InputError) as error:
        METHODS[method](vae, X)
    one_line(error, "divergence: expected one float32 number")


class Categories(keras.Model):
    """Three categorical numbers a datum."""

    def call(self, z: Any, training: bool = False) -> Any:
        logits = tf.constant([0.0, 1.0, 3.0, 2.0]) + z[:, :1, None]
        logits = tf.tile(logits, [1, DATA_DIM, 1])
        return tfd.Independent(tfd.Categorical(logits, dtype=tf.float32), 1)


def test_categories_are_decoded_to_the_most_probable() -> None:
    vae = compiled_vae(decoder=Categories())
    for make in (vae.generate, lambda n: vae.reconstruct(X[:n])):
        np.testing.assert_array_equal(make(2), np.full([2, DATA_DIM], 2.0))
    assert vae.generate(2, sample=True).shape == (2, DATA_DIM)


# -- several replicas -----------------------------------------------------------------

TWO = {
    "clipnorm": {"clipnorm": 1e-2},
    "clipvalue": {"clipvalue": 1e-2},
    "global_clipnorm": {"global_clipnorm": 1e-2},
    "gradient_accumulation": {"gradient_accumulation_steps": 2},
}


@pytest.mark.parametrize("name", TWO)
@pytest.mark.parametrize("scaled", [False, True])
def test_what_acts_on_a_replicas_gradient_is_refused(name: str, scaled: bool) -> None:
    with make_strategy("mirrored").scope():
        vae = make_vae()
        optimizer = keras.optimizers.SGD(1.0, **TWO[name])
        if scaled:
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
        with pytest.raises(InputError) as error:
            vae.compile(optimizer)
        one_line(error, next(iter(TWO[name])), "train on one replica")
    make_vae().compile(keras.optimizers.SGD(1.0, **TWO[name]))


def test_overwriting_by_averages_is_refused_under_replicas() -> None:
    kwargs = {"use_ema": True, "ema_overwrite_frequency": 2}
    with make_strategy("mirrored").scope():
        with pytest.raises(InputError, match="ema_overwrite_frequency"):
            make_vae().compile(keras.optimizers.SGD(0.1, **kwargs))
    make_vae().compile(keras.optimizers.SGD(0.1, **kwargs))


@pytest.mark.parametrize("kwargs", [{"steps_per_execution": 5}, {"jit_compile": True}])
def test_what_fails_in_keras_under_replicas_is_refused(kwargs: dict[str, Any]) -> None:
    with make_strategy("mirrored").scope():
        vae = make_vae()
        with pytest.raises(InputError, match=next(iter(kwargs))):
            vae.compile("sgd", **kwargs)


@pytest.mark.slow
@pytest.mark.parametrize(
    "kwargs",
    [
        {"use_ema": True, "ema_momentum": 0.5},
        {"weight_decay": 0.1},
        {"momentum": 0.9, "nesterov": True},
    ],
)
def test_what_acts_on_weights_is_the_same_on_two_replicas(
    kwargs: dict[str, Any],
) -> None:
    weights = []
    for strategy in (
        tf.distribute.OneDeviceStrategy("/cpu:0"),
        make_strategy("mirrored"),
    ):
        with strategy.scope():
            vae = make_vae()
            vae.compile(keras.optimizers.SGD(0.05, **kwargs), jit_compile=False)
        vae.fit(X, batch_size=6, epochs=2, shuffle=False, verbose=0)
        weights.append([w.numpy() for w in vae.trainable_variables])
    for one, two in zip(*weights, strict=True):
        np.testing.assert_allclose(one, two, atol=2e-6)


# -- as Keras users do ----------------------------------------------------------------


def test_callbacks_know_the_direction_of_the_logs() -> None:
    modes = {
        "val_elbo": "max",
        "log_likelihood": "max",
        "val_kl": "min",
        "val_divergence": "min",
        "loss": "min",
    }
    told = keras.callbacks.EarlyStopping("val_elbo", mode="min")
    kinds = (keras.callbacks.EarlyStopping, keras.callbacks.ReduceLROnPlateau)
    callbacks = [kind(monitor) for kind in kinds for monitor in modes]
    vae = compiled_vae(divergence="dimensionwise_mmd")
    vae.fit(X, validation_data=(X,), callbacks=[*callbacks, told], verbose=0)
    assert [callback.mode for callback in callbacks] == [*modes.values()] * 2
    assert told.mode == "min"


def test_early_stopping_stops_when_the_elbo_falls() -> None:
    vae = make_vae()
    vae.compile(keras.optimizers.SGD(-0.05))  # uphill
    stop = keras.callbacks.EarlyStopping("elbo", patience=2)
    history = vae.fit(X, epochs=20, verbose=0, callbacks=[stop]).history
    assert len(history["elbo"]) == 3


@pytest.mark.parametrize("name", ["m.h5", "m.hdf5", "m", "m.weights"])
def test_other_formats_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError) as error:
        compiled_vae().save(tmp_path / name)
    assert "ends in .keras" in str(error.value)
    assert not list(tmp_path.iterdir())


@keras.saving.register_keras_serializable("test_inputs")
def named(posterior: Any, prior: Any, latents: Any, prior_samples: Any) -> tf.Tensor:
    return tf.reduce_mean(latents)


def test_only_divergences_that_can_be_loaded_are_saved(tmp_path: Path) -> None:
    path = tmp_path / "m.keras"
    for unnamed in (lambda q, p, z, y: tf.reduce_mean(z), partial(named)):
        with pytest.raises(InputError, match="name it and register it"):
            compiled_vae(divergence=unnamed).save(path)
        assert not path.exists()
    compiled_vae(divergence=named).save(path)
    assert keras.models.load_model(path).divergence is named


@pytest.mark.parametrize("name", ["num_samples", "seed", "divergence", "data_shape"])
def test_what_a_model_is_made_of_stays(name: str) -> None:
    with pytest.raises(AttributeError):
        setattr(make_vae(), name, 3)


def test_keras_export_serves_the_means(tmp_path: Path) -> None:
    vae = compiled_vae()
    vae.export(tmp_path / "served", verbose=False)
    served = tf.saved_model.load(str(tmp_path / "served"))
    np.testing.assert_allclose(
        served.serve(tf.constant(X[:5])), vae.predict(X[:5], verbose=0), rtol=1e-6
    )


def test_networks_without_heads_are_told_of_them() -> None:
    body = keras.Sequential([keras.Input([DATA_DIM]), keras.layers.Dense(2)])
    with pytest.raises(InputError, match="add a NormalPosterior head"):
        DecompositionVAE(body, MLPDecoder(DATA_DIM), NormalPrior(LATENT_DIM))
    body = keras.Sequential([keras.Input([LATENT_DIM]), keras.layers.Dense(3)])
    with pytest.raises(InputError, match="add a NormalLikelihood head"):
        DecompositionVAE(MLPEncoder(LATENT_DIM), body, NormalPrior(LATENT_DIM))
