# SPDX-License-Identifier: Apache-2.0
"""ConditionalVAE: a linear model with known answers, and what one without c gives."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import scipy.special
import scipy.stats
import tensorflow as tf
from cases import CONDITION_DIM, DATA_DIM, IMAGE, LATENT_DIM, PRIORS, data
from cases import make_conditional_vae as make
from runs import one_line

from tf_decomp import (
    ConditionalVAE,
    ConvDecoder,
    ConvEncoder,
    DecompositionVAE,
    InputError,
    MLPDecoder,
    MLPEncoder,
    NormalLikelihood,
    NormalPosterior,
    NormalPrior,
    export_saved_model,
    importance_weighted_bound,
    load_encoder,
)
from tf_decomp.experiment.strategies import make_strategy
from tf_decomp.export import FORMATS, export_formats
from tf_decomp.files import read_json
from tf_decomp.metrics import encode_data, marginal_log_likelihood
from tf_decomp.posteriors import SCALE_FLOOR
from tf_decomp.vae.conditional import GivenCondition

# Keras asks NumPy to convert TensorFlow's variables, which do not know `copy` yet.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't")

N = 40
X = data(N)
C = np.random.default_rng(1).normal(size=(N, CONDITION_DIM)).astype("float32")


def dataset(x: np.ndarray = X, c: np.ndarray = C, size: int = 8) -> tf.data.Dataset:
    return tf.data.Dataset.from_tensor_slices((x, c)).batch(size)


class Sequence(keras.utils.PyDataset):
    def __init__(self) -> None:
        super().__init__()

    def __len__(self) -> int:
        return 5

    def __getitem__(self, number: int) -> Any:
        rows = slice(8 * number, 8 * number + 8)
        return X[rows], C[rows]


# -- known answers ---------------------------------------------------------------------

# x = A z + B c + b + noise, z ~ N(0, I): with orthogonal columns of A the posterior has
# a diagonal covariance.
A = np.array([[1.0, 0.5], [1.0, -1.0], [-0.5, 0.0]])
A[2, 1] = (A[0, 0] * A[0, 1] + A[1, 0] * A[1, 1]) / -A[2, 0]
B = np.array([[1.5, 0.0], [-1.0, 2.0], [0.5, 0.5]])
SHIFT, NOISE = np.array([0.3, -0.2, 0.1]), 0.6


def dense(units: int, kernel: np.ndarray, bias: np.ndarray) -> keras.layers.Layer:
    constant = keras.initializers.Constant
    return keras.layers.Dense(
        units, kernel_initializer=constant(kernel), bias_initializer=constant(bias)
    )


@pytest.fixture(scope="module")
def linear() -> ConditionalVAE:
    """The model whose q(z|x, c) is its own posterior."""
    precision = 1 + (A**2).sum(axis=0) / NOISE**2
    gain = A / NOISE**2 / precision  # loc = (x - B c - b) @ gain
    raw = np.log(np.expm1(precision**-0.5 - SCALE_FLOOR))
    kernel = np.concatenate([gain, -B.T @ gain])
    encoder = [
        dense(
            2 * LATENT_DIM,
            np.concatenate([kernel, np.zeros_like(kernel)], axis=1),
            np.concatenate([-SHIFT @ gain, raw]),
        ),
        NormalPosterior(LATENT_DIM),
    ]
    decoder = [
        dense(DATA_DIM, np.concatenate([A.T, B.T]), SHIFT),
        NormalLikelihood([DATA_DIM], scale=NOISE),
    ]
    return ConditionalVAE(
        keras.Sequential(encoder),
        keras.Sequential(decoder),
        NormalPrior(LATENT_DIM),
        condition_dim=CONDITION_DIM,
        divergence="inclusive_kl",
        num_samples=3,
    )


def log_p(x: np.ndarray, c: np.ndarray) -> np.ndarray:
    covariance = A @ A.T + NOISE**2 * np.eye(DATA_DIM)
    centred = x - c @ B.T - SHIFT
    return scipy.stats.multivariate_normal(None, covariance).logpdf(centred)


def test_bounds_are_log_p_of_x_given_c(linear: ConditionalVAE) -> None:
    """With the exact posterior every weight is p(x|c)."""
    expected = log_p(X, C)
    bound = importance_weighted_bound(linear, X, num_samples=3, seed=0, c=C)
    np.testing.assert_allclose(bound, expected, rtol=1e-4)
    for x, c in (
        (X, C),
        (dataset(), None),
        ([(X[:25], C[:25]), (X[25:], C[25:])], None),
    ):
        found = marginal_log_likelihood(linear, x, num_samples=10, c=c)
        assert found.value == pytest.approx(expected.mean(), rel=1e-4)
        assert found.n == N
    swapped = importance_weighted_bound(linear, X, num_samples=3, seed=0, c=C[::-1])
    assert np.abs(swapped - expected).max() > 1  # c counts


def test_the_elbo_is_log_p_of_x_given_c(linear: ConditionalVAE) -> None:
    linear.compile()
    many = np.repeat(np.arange(N), 100)
    found = linear.evaluate_with_errors(X[many], C[many], batch_size=400, verbose=0)
    loc = linear.encode(X, C).mean().numpy()
    scale = linear.encode(X, C).stddev().numpy()
    kl = 0.5 * (loc**2 + scale**2 - 1 - 2 * np.log(scale)).sum(axis=1)
    assert found["kl"].value == pytest.approx(kl.mean(), rel=1e-4)
    # The log-likelihood at 3 samples: a quadratic form of 3 * 4000 normal numbers.
    error = (np.square(A * scale[0] / NOISE).sum() * 2 / 12_000) ** 0.5 * 3
    expected = log_p(X, C).mean()
    assert abs(found["elbo"].value - expected) < 4 * error
    assert abs(log_p(X, C[::-1]).mean() - expected) > 40 * error


def test_aggregates_are_over_pairs(linear: ConditionalVAE) -> None:
    posterior = encode_data(linear, X, batch_size=16, c=C)
    np.testing.assert_allclose(posterior.mean(), linear.encode(X, C).mean(), rtol=1e-5)
    same = encode_data(linear, dataset())
    np.testing.assert_array_equal(same.mean(), encode_data(linear, X, 8, C).mean())
    y = linear.prior.distribution.sample(N, seed=(1, 2))
    log_q = scipy.special.logsumexp(posterior[:, None].log_prob(y), axis=0) - np.log(N)
    direct = linear.prior.distribution.log_prob(y) - log_q
    linear.compile()
    found = linear.evaluate_with_errors(X, C, verbose=0)["divergence"]
    spread = np.std(direct) / N**0.5  # of one draw of N
    assert abs(found.value - direct.numpy().mean()) < 4 * 1.1 * spread
    from_batches = linear.evaluate_with_errors(dataset(), verbose=0)["divergence"]
    assert from_batches.value == pytest.approx(found.value, rel=1e-5)


# -- training --------------------------------------------------------------------------


WAYS: dict[str, dict[str, Any]] = {
    "graph": {"jit_compile": False},
    "compiled": {"jit_compile": True},
    "several": {"jit_compile": True, "steps_per_execution": 3},
    "eager": {"run_eagerly": True},
}


def trained(vae: Any, *data: Any, **compiling: Any) -> dict[str, list[float]]:
    vae.compile(keras.optimizers.SGD(1e-2), **compiling)
    return vae.fit(
        *data, batch_size=9 if isinstance(data[0], np.ndarray) else None,
        epochs=2, shuffle=False, verbose=0,
    ).history  # fmt: skip


def test_without_conditions_it_is_the_model_of_x() -> None:
    """Where all c are 0 their weights do nothing, and all others learn the same."""
    settings = {
        "divergence": "inclusive_kl",
        "alpha": 2.0,
        "beta": 0.5,
        "num_samples": 2,
    }
    conditional = make(**settings)
    alone = DecompositionVAE(
        MLPEncoder(LATENT_DIM, hidden=(4,)),
        MLPDecoder(DATA_DIM, hidden=(4,)),
        NormalPrior(LATENT_DIM),
        **settings,
    )

    def shared(vae: Any) -> list[np.ndarray]:
        """Returns the networks' weights without those that c is multiplied by."""
        weights = [*vae.encoder.get_weights(), *vae.decoder.get_weights()]
        sizes = [DATA_DIM, None, None, None, LATENT_DIM, None, None, None]
        return [w[:size] for w, size in zip(weights, sizes, strict=True)]

    start = shared(conditional)
    alone.encoder.set_weights(start[:4])
    alone.decoder.set_weights(start[4:])
    zeros = np.zeros_like(C)
    logs = trained(conditional, X, zeros, **WAYS["several"])
    expected = trained(alone, X, **WAYS["several"])
    for name, values in expected.items():
        np.testing.assert_allclose(logs[name], values, rtol=2e-5, err_msg=name)
    for ours, theirs in zip(shared(conditional), shared(alone), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=1e-6)
    assert any(
        np.abs(a - b).max() > 1e-2 for a, b in zip(shared(alone), start, strict=True)
    )


def of_way(way: str, c: np.ndarray = C) -> tuple[dict[str, list[float]], Any]:
    vae = make(divergence="inclusive_kl", alpha=2.0, num_samples=2)
    return trained(vae, X, c, **WAYS[way]), vae


@pytest.fixture(scope="module")
def in_graph() -> tuple[dict[str, list[float]], Any]:
    return of_way("graph")


@pytest.mark.parametrize("way", [name for name in WAYS if name != "graph"])
def test_every_way_to_take_steps_knows_the_conditions(way: str, in_graph: Any) -> None:
    (logs, ours), (expected, theirs) = of_way(way), in_graph
    for name, values in expected.items():
        np.testing.assert_allclose(logs[name], values, rtol=2e-5, err_msg=name)
    for mine, other in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(mine, other, rtol=2e-5, atol=1e-6)


def test_the_loss_hangs_on_the_conditions(in_graph: Any) -> None:
    other, _ = of_way("graph", C[::-1])
    assert abs(other["loss"][-1] - in_graph[0]["loss"][-1]) > 1e-3


def test_the_conditions_weights_learn() -> None:
    """A class that c names need not be in z."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 400)
    c = np.eye(2)[labels]
    centres = np.array([[3.0, 0.0, -3.0], [-3.0, 2.0, 3.0]])
    x = (centres[labels] + 0.1 * rng.normal(size=(400, 3))).astype("float32")
    vae = make()
    vae.compile(keras.optimizers.Adam(0.02), steps_per_execution=10)
    vae.fit(x, c, batch_size=50, epochs=40, verbose=0)
    for label, centre in enumerate(centres):
        drawn = vae.generate(200, seed=0, c=np.eye(2)[label]).numpy()
        np.testing.assert_allclose(drawn.mean(axis=0), centre, atol=0.5)
    some = vae.generate(4, seed=0, c=np.eye(2)[[0, 1, 0, 1]])
    each = [vae.generate(4, seed=0, c=row) for row in np.eye(2)]
    np.testing.assert_allclose(some[::2], each[0][::2], rtol=1e-5)
    np.testing.assert_allclose(some[1::2], each[1][1::2], rtol=1e-5)


@pytest.mark.parametrize(
    "divergence", ["inclusive_kl", pytest.param(None, marks=pytest.mark.slow)]
)
def test_two_replicas_give_what_one_gives(divergence: str | None) -> None:
    """Of the last batch a replica gets none."""
    sizes, weights, evaluated = (9, 5, 1), [], []
    parts = [dataset(X[:9], C[:9], 9), dataset(X[9:14], C[9:14], 9)]
    parts.append(dataset(X[14:15], C[14:15], 9))
    batches = parts[0].concatenate(parts[1]).concatenate(parts[2])
    assert [len(x) for x, _ in batches] == list(sizes)
    for name in ("none", "mirrored"):
        with make_strategy(name).scope():
            vae = make(
                prior=PRIORS["normal_learnt"](),
                divergence=divergence,
                alpha=2.0 if divergence else 0.0,
                num_samples=2,
            )
            vae.compile(keras.optimizers.SGD(0.005), jit_compile=False)
        before = vae.get_weights()
        vae.fit(batches, epochs=2, shuffle=False, verbose=0)
        assert max(
            np.abs(a - b).max() for a, b in zip(vae.get_weights(), before, strict=True)
        ) > 1e-3  # fmt: skip
        weights.append(vae.get_weights())
        evaluated.append(vae.evaluate(batches, verbose=0, return_dict=True))
    for ours, theirs in zip(*weights, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-6)
    for key, value in evaluated[0].items():
        assert evaluated[1][key] == pytest.approx(value, rel=1e-5, abs=1e-6)


SOURCES: dict[str, Callable[[], tuple[Any, ...]]] = {
    "arrays": lambda: (X, C),
    "tensors": lambda: (tf.constant(X), tf.constant(C)),
    "dataset": lambda: (dataset(),),
    "sequence": lambda: (Sequence(),),
}


@pytest.mark.parametrize("source", SOURCES)
def test_data_of_every_kind_are_the_same(source: str) -> None:
    vae = make(divergence="dimensionwise_mmd", alpha=1.0)
    vae.compile()
    size = {"batch_size": 8} if source in ("arrays", "tensors") else {}
    found = vae.evaluate(*SOURCES[source](), **size, verbose=0, return_dict=True)
    expected = vae.evaluate(X, C, batch_size=8, verbose=0, return_dict=True)
    assert found == pytest.approx(expected, rel=1e-5)
    few = vae.evaluate(*SOURCES[source](), **size, steps=2, verbose=0, return_dict=True)
    cut = vae.evaluate(X[:16], C[:16], batch_size=8, verbose=0, return_dict=True)
    assert few == pytest.approx(cut, rel=1e-5)
    assert abs(few["loss"] - expected["loss"]) > 1e-3
    means = vae.encode(X, C).mean()
    predicted = vae.predict(*SOURCES[source](), verbose=0)
    np.testing.assert_allclose(predicted, means, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(vae((X, C)), means, rtol=1e-5, atol=1e-6)
    history = vae.fit(
        *SOURCES[source](), **size, validation_data=SOURCES[source](), verbose=0
    ).history if source != "dataset" else vae.fit(
        dataset(), validation_data=dataset(), verbose=0
    ).history  # fmt: skip
    assert all(np.isfinite(values).all() for values in history.values())


def test_repeated_data_count_every_pair_once() -> None:
    """One datum under two conditions is two examples."""
    x, c = np.repeat(X[:4], 2, axis=0), C[:8]
    vae = make(divergence="dimensionwise_mmd", alpha=1.0)
    vae.compile()
    repeated = dataset(x, c, 4).repeat()
    found = vae.evaluate_with_errors(repeated, steps=6, verbose=0)
    expected = vae.evaluate_with_errors(x, c, batch_size=4, verbose=0)
    assert found["kl"].n == found["divergence"].n == 8
    assert found["kl"].value == pytest.approx(expected["kl"].value, rel=1e-5)


def test_a_generator_trains() -> None:
    vae = make()
    vae.compile()
    batches = ((X[i : i + 8], C[i : i + 8]) for i in range(0, N, 8))
    vae.fit(batches, steps_per_epoch=5, verbose=0)
    assert vae.examples_seen() == N
    again = make()
    again.compile()
    again.fit(dataset(), verbose=0)
    for ours, theirs in zip(vae.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7)


def test_single_batches_and_a_split() -> None:
    vae = make(divergence="inclusive_kl", alpha=1.0)
    vae.compile(keras.optimizers.SGD(0.0))
    step = vae.train_on_batch(X, C, return_dict=True)
    assert np.isfinite(list(step.values())).all()
    tested = vae.test_on_batch(X, C, return_dict=True)
    whole = vae.evaluate(X, C, batch_size=N, verbose=0, return_dict=True)
    assert tested == pytest.approx(whole, rel=1e-6)
    logs = vae.fit(X, C, batch_size=8, validation_split=0.5, verbose=0).history
    last = vae.evaluate(X[20:], C[20:], batch_size=8, verbose=0, return_dict=True)
    assert logs["val_kl"][0] == pytest.approx(last["kl"], rel=1e-5)


def test_the_warning_of_small_batches_measures_pairs(capsys: Any) -> None:
    vae = make(divergence="inclusive_kl", alpha=1.0)
    vae.compile()
    with pytest.warns(UserWarning, match="takes a batch of 4"):
        vae.fit(X, C, batch_size=4, verbose=2)
    batches, everything = vae.divergence_by_size(X, 4, C)
    printed = capsys.readouterr().out
    assert f"{batches.value:.4g} (standard error" in printed
    assert f"{everything.value:.4g} (standard error" in printed


def test_images_have_conditions_as_channels() -> None:
    vae = ConditionalVAE(
        ConvEncoder(LATENT_DIM, filters=(2, 3), hidden=(4,)),
        ConvDecoder(IMAGE, filters=(3, 2), hidden=(4,)),
        NormalPrior(LATENT_DIM),
        condition_dim=CONDITION_DIM,
    )
    assert vae.data_shape == IMAGE
    x = np.random.default_rng(0).uniform(size=(6, *IMAGE)).astype("float32")
    channels = np.broadcast_to(C[:6, None, None], (6, *IMAGE[:2], CONDITION_DIM))
    joined = np.concatenate([x, channels], axis=-1)
    np.testing.assert_allclose(
        vae.encode(x, C[:6]).mean(), vae.encoder(joined).mean(), rtol=1e-5, atol=1e-6
    )
    vae.compile()
    assert np.isfinite(vae.fit(x, C[:6], verbose=0).history["loss"]).all()
    assert vae.reconstruct(x, c=C[:6]).shape == x.shape


# -- one condition, files --------------------------------------------------------------


def test_given_a_condition_it_is_a_model_of_x(tmp_path: Path) -> None:
    vae = make(
        prior=PRIORS["normal_learnt"](),
        divergence="inclusive_kl",
        alpha=2.0,
        beta=0.5,
        num_samples=2,
        seed=7,
    )
    c = C[0]
    given, repeated = vae.given(c), np.repeat(c[None], N, axis=0)
    for each in (vae, given):
        each.compile(keras.optimizers.SGD(0.01))
    expected = vae.evaluate(X, repeated, verbose=0, return_dict=True)
    logs = given.evaluate(X, verbose=0, return_dict=True)
    assert logs == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(
        given.generate(5, seed=1), vae.generate(5, seed=1, c=c), rtol=1e-6
    )
    np.testing.assert_allclose(
        given.reconstruct(X, sample=True, seed=1),
        vae.reconstruct(X, sample=True, seed=1, c=repeated),
        rtol=1e-5,
    )
    bound = importance_weighted_bound(given, X, 4, seed=1)
    np.testing.assert_allclose(
        bound, importance_weighted_bound(vae, X, 4, seed=1, c=repeated), rtol=1e-5
    )
    given.save(tmp_path / "given.keras")
    again = keras.saving.load_model(tmp_path / "given.keras")
    export_saved_model(again, tmp_path / "1")
    served = load_encoder(tmp_path).encode(X)["loc"]
    np.testing.assert_allclose(served, vae.encode(X, c).mean(), rtol=1e-5, atol=1e-6)
    before = vae.encode(X, c).mean().numpy()
    given.fit(X, verbose=0)  # the weights are shared
    np.testing.assert_array_equal(given.encode(X).mean(), vae.encode(X, c).mean())
    assert np.abs(vae.encode(X, c).mean() - before).max() > 1e-4


def test_given_a_condition_networks_keep_their_precision() -> None:
    encoder = keras.Sequential(
        [
            keras.layers.Dense(2 * LATENT_DIM, dtype="float64"),
            NormalPosterior(LATENT_DIM, dtype="float64"),
        ],
    )
    encoder.dtype_policy = keras.DTypePolicy("float64")
    given = GivenCondition(encoder, C[0].tolist())
    x = tf.constant(X, "float64") + 1e-10
    joined = tf.concat([x, tf.repeat(tf.constant(C[:1], "float64"), N, 0)], axis=1)
    np.testing.assert_array_equal(given(x).mean(), encoder(joined).mean())


def test_saved_models_take_the_condition_last(tmp_path: Path) -> None:
    vae = make(prior=PRIORS["student_t"]())
    export_saved_model(vae, tmp_path / "1")
    served = load_encoder(tmp_path)
    posterior = vae.encode(X, C)
    encoded = served.encode(X, C)
    np.testing.assert_allclose(encoded["loc"], posterior.mean(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(encoded["scale"], posterior.stddev(), rtol=1e-5)
    eps = np.ones([N, LATENT_DIM], "float32")
    z = served.encode_sample(X, eps, C)["z"]
    expected = posterior.mean() + posterior.stddev()
    np.testing.assert_allclose(z, expected, rtol=1e-5, atol=1e-6)
    mean = vae.decode(z, C).mean()
    np.testing.assert_allclose(served.decode(z, C)["mean"], mean, rtol=1e-5, atol=1e-6)
    for found in (
        served.decode(z, unknown(C))["mean"],
        served.encode(X, unknown(C))["loc"],
    ):
        assert np.isnan(found[13]).all()
        assert np.isfinite(np.delete(found, 13, axis=0)).all()
    drawn, prior = served.generate(N, 3, C)["x"], served.sample_prior(N, 3)["z"]
    expected = vae.decode(prior, C).mean()
    np.testing.assert_allclose(drawn, expected, rtol=1e-5, atol=1e-6)
    for name, arguments in {
        "encode": (X, C[:1]),
        "decode": (z, C[:1]),
        "generate": (5, 0, C[:1]),
    }.items():
        with pytest.raises(InputError) as caught:
            getattr(served, name)(*arguments)
        one_line(caught, f"{name}: ", "Dimension 0")
    for name, arguments in {"encode": (X,), "generate": (5, 0)}.items():
        with pytest.raises(InputError) as caught:
            getattr(served, name)(*arguments)
        one_line(caught, f"{name}: expected", ", c; received")


@pytest.mark.slow
def test_other_runtimes_take_the_condition(tmp_path: Path) -> None:
    """The exporter compares their numbers with TensorFlow's."""
    export_formats(make(), tmp_path / "1", FORMATS)
    parity = read_json(tmp_path / "1" / "parity.json")["largest_difference"]
    for runtime in set(FORMATS) - {"saved_model"}:
        assert parity[runtime].keys() == {"encode", "encode_sample", "decode"}


def test_keras_exports_the_means(tmp_path: Path) -> None:
    vae = make()
    vae.export(tmp_path / "means", verbose=False)
    loaded = tf.saved_model.load(str(tmp_path / "means"))
    means = loaded.serve((X, C))
    np.testing.assert_allclose(means, vae.encode(X, C).mean(), rtol=1e-5, atol=1e-6)


# -- what is refused -------------------------------------------------------------------


def unknown(c: np.ndarray) -> np.ndarray:
    c = c.copy()
    c[13, 1] = np.nan
    return c


REFUSED: dict[str, tuple[Callable[[Any], Any], tuple[str, ...]]] = {
    "no conditions": (lambda vae: vae.fit(X), ("fit:", "received none")),
    "no conditions in batches": (
        lambda vae: vae.fit(tf.data.Dataset.from_tensor_slices(X).batch(8)),
        ("fit:", "(x, c)"),
    ),
    "labels": (
        lambda vae: vae.fit(X, np.zeros(N, int)),
        ("fit:", "to_categorical(c, 2)", "(40,)"),
    ),
    "too long": (
        lambda vae: vae.fit(X, np.zeros([N, 5])),
        ("fit:", "[n, 2]", "(40, 5)"),
    ),
    "too few": (lambda vae: vae.fit(X, C[:3]), ("fit:", "3 conditions for 40")),
    "texts": (lambda vae: vae.fit(X, C.astype(str)), ("fit:", "real numbers")),
    "unknown": (lambda vae: vae.fit(X, unknown(C)), ("fit:", "example 13", "NaN")),
    "unknown in a batch": (
        lambda vae: vae.fit(dataset(X, unknown(C)), verbose=0),
        ("fit:", "example 13", "NaN"),
    ),
    "weights": (
        lambda vae: vae.fit(X, C, sample_weight=np.ones(N)),
        ("fit: sample_weight", "no weights"),
    ),
    "validation": (
        lambda vae: vae.fit(X, C, validation_data=(X,)),
        ("validation_data:", "received none"),
    ),
    "evaluate": (lambda vae: vae.evaluate(X), ("evaluate:", "received none")),
    "predict": (lambda vae: vae.predict(X), ("predict:", "received none")),
    "batch size": (lambda vae: vae.predict(X, 16), ("predict: c:", "int")),
    "one step": (lambda vae: vae.train_on_batch(X), ("train_on_batch:", "none")),
    "call": (lambda vae: vae(X), ("call: expected (x, c)",)),
    "encode": (lambda vae: vae.encode(X), ("encode:", "received none")),
    "encode few": (lambda vae: vae.encode(X, C[:2]), ("2 conditions for 40",)),
    "encode one": (lambda vae: vae.encode(X, C[:1]), ("1 conditions for 40",)),
    "decode": (lambda vae: vae.decode(X[:, :2]), ("decode:", "received none")),
    "generate": (lambda vae: vae.generate(3), ("generate:", "received none")),
    "generate few": (lambda vae: vae.generate(3, c=C[:2]), ("generate:", "2 cond")),
    "reconstruct": (lambda vae: vae.reconstruct(X), ("reconstruct:", "none")),
    "given": (lambda vae: vae.given(C), ("given:", "[2]")),
    "given NaN": (lambda vae: vae.given([np.nan, 0.0]), ("given:", "finite")),
    "given text": (lambda vae: vae.given("three"), ("given:", "three")),
    "given rows": (lambda vae: vae.given([[1.0], [1.0, 2.0]]), ("given:", "[2]")),
    "encode_data": (lambda vae: encode_data(vae, X), ("received none",)),
    "encode_data twice": (
        lambda vae: encode_data(vae, dataset(), c=C),
        ("c: expected conditions", "batches (x, c)"),
    ),
    "importance weights": (
        lambda vae: importance_weighted_bound(vae, X, 2),
        ("importance_weighted_bound:", "received none"),
    ),
    "importance weights of one": (
        lambda vae: importance_weighted_bound(vae, X, 2, c=C[0]),
        ("importance_weighted_bound:", "(2,)"),
    ),
    "bound": (
        lambda vae: marginal_log_likelihood(vae, X, 2, c=C[:3]),
        ("3 conditions for 40",),
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_in_one_line(case: str) -> None:
    vae = make()
    vae.compile()
    call, named = REFUSED[case]
    with pytest.raises(InputError) as caught:
        call(vae)
    one_line(caught, *named)


@pytest.mark.parametrize(
    "call",
    [
        lambda vae: encode_data(vae, X, c=C),
        lambda vae: marginal_log_likelihood(vae, X, 2, c=C),
        lambda vae: importance_weighted_bound(vae, X, 2, c=C),
    ],
)
def test_a_model_of_x_takes_no_conditions(call: Callable[[Any], Any]) -> None:
    with pytest.raises(InputError) as caught:
        call(make().given(C[0]))
    one_line(caught, "c: expected none", "not conditional")


@pytest.mark.parametrize("dim", [0, -1, 1.5, "two", None])
def test_condition_dim_is_a_whole_number(dim: Any) -> None:
    with pytest.raises(InputError) as caught:
        ConditionalVAE(MLPEncoder(2), MLPDecoder(3), NormalPrior(2), condition_dim=dim)
    one_line(caught, "condition_dim")


def test_a_prior_with_an_encoder_of_x_is_refused() -> None:
    with pytest.raises(InputError) as caught:
        make(prior=PRIORS["vamp"]())
    one_line(caught, "prior: expected one without an encoder", "VampPrior")


@pytest.mark.parametrize("way", ["graph", "compiled"])
def test_an_unknown_condition_stops_training(way: str) -> None:
    """Whatever a ReLU makes of NaN."""
    vae = make()
    vae.compile(**WAYS[way])
    with pytest.raises(InputError) as caught:
        vae.fit(dataset(X, unknown(C)), verbose=0)
    one_line(caught, "fit:", "example 13", "NaN")


def test_an_unknown_condition_is_encoded_as_nan() -> None:
    """TensorFlow's ReLU would make a number of it."""
    vae, c = make(), unknown(C)
    for means in (vae.encode(X, c).mean(), vae.predict(X, c, verbose=0)):
        assert np.isnan(means[13]).all()
        assert np.isfinite(np.delete(means, 13, axis=0)).all()
