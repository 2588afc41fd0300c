# SPDX-License-Identifier: Apache-2.0
"""Two replicas give what one gives: SGD, uneven batches, each posterior, each D."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from cases import (
    CALLABLES,
    DATA_DIM,
    DECODERS,
    ENCODERS,
    IMAGE,
    LATENT_DIM,
    POSTERIORS,
    PRIORS,
    WITH_STATE,
    data,
    make_vae,
)

from tf_decomp.experiment.strategies import make_strategy
from tf_decomp.networks import ConvDecoder, ConvEncoder, MLPDecoder, MLPEncoder
from tf_decomp.vae import DecompositionVAE

tfd = tfp.distributions
EPOCHS = 2
TOLERANCE = 2e-6
CONV = {"filters": (2, 3), "hidden": (), "batch_norm": True}


class Case(NamedTuple):
    """A model and its data.

    The first batch is uneven over two replicas; of the last one of the dense networks
    a replica gets none (oneDNN's convolutions fail on no image).
    """

    encoder: Callable[[], keras.Model]
    decoder: Callable[[], keras.Model]
    prior: str
    shape: tuple[int, ...]
    sizes: tuple[int, ...]
    learning_rate: float
    alpha: float = 2.0  # such that D counts beside the likelihood


class WideNormal(tfd.Normal):  # type: ignore[name-defined]
    """A user's own, with a scale that is shared by all data."""

    def _log_prob(self, value: Any) -> Any:
        return super()._log_prob(value / 2) - np.log(2)

    def _sample_n(self, n: Any, seed: Any = None) -> Any:
        return 2 * super()._sample_n(n, seed=seed)


class OwnEncoder(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.dense = keras.layers.Dense(LATENT_DIM)

    def call(self, x: Any, training: bool = False) -> Any:
        return tfd.Independent(WideNormal(self.dense(x), 0.5), 1)


class OwnDecoder(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.dense = keras.layers.Dense(DATA_DIM)

    def call(self, z: Any, training: bool = False) -> Any:
        return tfd.Independent(WideNormal(self.dense(z), 0.5), 1)


CASES = {
    "normal": Case(
        partial(MLPEncoder, LATENT_DIM, hidden=(4,)),
        partial(MLPDecoder, DATA_DIM, hidden=(4,)),
        "normal_learnt",
        (DATA_DIM,),
        (9, 5, 1),
        0.005,
    ),
    "laplace": Case(
        partial(ConvEncoder, LATENT_DIM, posterior="laplace", **CONV),
        partial(ConvDecoder, IMAGE, likelihood="laplace", **CONV),
        "normal",
        IMAGE,
        (9, 5),
        1e-3,
        alpha=10.0,
    ),
    "full_covariance_normal": Case(
        ENCODERS["mlp_full_covariance"][0],
        DECODERS["mlp"][0],
        "normal_learnt",
        (DATA_DIM,),
        (9, 5, 1),
        0.005,
    ),
    "flow": Case(
        ENCODERS["mlp_flow"][0],
        DECODERS["mlp"][0],
        "normal_learnt",
        (DATA_DIM,),
        (9, 5, 1),
        0.005,
    ),
    "functional": Case(
        ENCODERS["functional"][0],
        DECODERS["sequential"][0],
        "normal_learnt",
        (DATA_DIM,),
        (9, 5, 1),
        0.005,
    ),
    **{
        f"{name} prior": Case(
            partial(MLPEncoder, LATENT_DIM, hidden=(4,)),
            partial(MLPDecoder, DATA_DIM, hidden=(4,)),
            name,
            (DATA_DIM,),
            (9, 5, 1),
            0.005,
        )
        for name in ("normal_mixture_learnt", "vamp", "flow", "hierarchical")
    },
    "own distributions": Case(
        OwnEncoder, OwnDecoder, "normal", (DATA_DIM,), (9, 5, 1), 0.005
    ),
}


class RecordingSGD(keras.optimizers.SGD):
    """SGD that keeps the gradient it applies, which Keras has summed over replicas."""

    def build(self, variables: list[Any]) -> None:
        super().build(variables)
        self.gradients = self.add_optimizer_variables(variables, "gradient")

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        super().update_step(gradient, variable, learning_rate)
        self.assign(self.gradients[self._get_variable_index(variable)], gradient)


class Recorder(keras.callbacks.Callback):
    """Takes the gradients of every step, and the logs of every epoch.

    Keras's logs of a step under a strategy are those of the first replica.
    """

    def __init__(self) -> None:
        super().__init__()
        self.gradients: list[np.ndarray] = []
        self.logs: list[dict[str, float]] = []

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.gradients += [g.numpy() for g in self.model.optimizer.gradients]

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.logs.append(logs)


class Result(NamedTuple):
    vae: DecompositionVAE
    gradients: list[np.ndarray]
    logs: list[dict[str, float]]


def of_halves(
    divergence: Callable[..., tf.Tensor],
    posterior: Any,
    prior: Any,
    latents: tf.Tensor,
    samples: tf.Tensor,
) -> tf.Tensor:
    """What D would be if each of two replicas took it of its own examples."""
    size = tf.shape(latents)[0]
    half = (size + 1) // 2
    first = tf.minimum(half, size - 1)  # of a single example: itself
    return 0.5 * (
        divergence(posterior[:half], prior, latents[:half], samples[:half])
        + divergence(posterior[first:], prior, latents[first:], samples[first:])
    )


def batches(case: Case) -> tf.data.Dataset:
    sizes = case.sizes
    x = np.random.default_rng(0).normal(size=(sum(sizes), *case.shape))
    ends = np.cumsum(sizes)
    parts = [
        tf.data.Dataset.from_tensor_slices(x[end - size : end].astype("float32")).batch(
            sizes[0]
        )
        for size, end in zip(sizes, ends, strict=True)
    ]
    whole = parts[0]
    for part in parts[1:]:
        whole = whole.concatenate(part)
    return whole


def fit(case: Case, make_divergence: Callable[[], Any], strategy: str) -> Result:
    """Returns the model, gradients of steps, logs of epochs."""
    keras.utils.set_random_seed(0)  # The networks are made before make_vae seeds.
    with make_strategy(strategy).scope():
        vae = make_vae(
            PRIORS[case.prior](),
            case.encoder(),
            case.decoder(),
            divergence=make_divergence(),
            alpha=case.alpha,
            beta=0.5,
            num_samples=2,
        )
        vae.compile(RecordingSGD(case.learning_rate), jit_compile=False)
    before, recorder = vae.get_weights(), Recorder()
    vae.fit(
        batches(case), epochs=EPOCHS, shuffle=False, verbose=0, callbacks=[recorder]
    )
    assert len(recorder.logs) == EPOCHS
    assert len(recorder.gradients) == (
        EPOCHS * len(case.sizes) * len(vae.trainable_variables)
    )
    assert largest_difference(vae.get_weights(), before) > 1000 * TOLERANCE
    return Result(vae, recorder.gradients, recorder.logs)


def largest_difference(ours: list[np.ndarray], theirs: list[np.ndarray]) -> float:
    """NaN where any number is NaN."""
    differences = [np.abs(a - b).max() for a, b in zip(ours, theirs, strict=True)]
    return float(np.max(differences))


def test_every_posterior_has_a_case() -> None:
    assert CASES.keys() >= POSTERIORS.keys()


def test_replicas_add_up_to_the_loss_of_one() -> None:
    x = tf.constant(data(9))
    losses = []
    for name, parts in (("none", [x]), ("mirrored", [x[:5], x[5:]])):
        strategy = make_strategy(name)
        with strategy.scope():
            vae = make_vae(divergence="inclusive_kl", alpha=2.0, num_samples=2)
            vae.compile("sgd", jit_compile=False)

        def step(x: tf.Tensor, vae: DecompositionVAE = vae) -> tf.Tensor:
            return vae.batch_loss(vae.draw_batch(x), with_divergence=True)[0]

        values = strategy.experimental_distribute_values_from_function(
            lambda context, parts=parts: parts[context.replica_id_in_sync_group]
        )
        run = tf.function(strategy.run, autograph=False)
        losses.append(float(strategy.reduce("SUM", run(step, (values,)), axis=None)))
    assert losses[1] == pytest.approx(losses[0], rel=1e-6)


class SquaredVAE(DecompositionVAE):
    """With an objective that is not linear in its terms."""

    def objective(self, terms: Any) -> tf.Tensor:
        divergence = None if terms.divergence is None else terms.divergence**2
        terms = terms._replace(kl=tf.abs(terms.kl - 0.1), divergence=divergence)
        return super().objective(terms)


def test_replicas_agree_on_an_objective_that_is_not_linear() -> None:
    x, weights = data(9), []
    for name in ("none", "mirrored"):
        keras.utils.set_random_seed(0)
        with make_strategy(name).scope():
            networks = CASES["normal"].encoder(), CASES["normal"].decoder()
            prior = PRIORS["normal_learnt"]()
            vae = SquaredVAE(
                *networks, prior, divergence="inclusive_kl", alpha=2.0, beta=3.0
            )
            vae.compile(keras.optimizers.SGD(0.005), jit_compile=False)
        before = vae.get_weights()
        vae.fit(x, batch_size=9, epochs=2, shuffle=False, verbose=0)
        assert largest_difference(vae.get_weights(), before) > 1000 * TOLERANCE
        weights.append(vae.get_weights())
    assert largest_difference(*weights) < TOLERANCE


# What a D sees is gathered in the same way for each: every D once, and for every
# posterior one of each kind: of densities, of samples, of moments.
KINDS = ("inclusive_kl", "dimensionwise_mmd", "dip_vae_ii")
PAIRS = [
    *(("normal", name) for name in CALLABLES),
    *((name, kind) for name in POSTERIORS if name != "normal" for kind in KINDS),
    ("functional", "dimensionwise_mmd"),
    ("normal_mixture_learnt prior", "inclusive_kl"),
    ("own distributions", "inclusive_kl"),
    ("vamp prior", "inclusive_kl"),
    ("flow prior", "dimensionwise_mmd"),
    ("hierarchical prior", "inclusive_kl"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("posterior", "name"), PAIRS)
def test_two_replicas_give_what_one_gives(posterior: str, name: str) -> None:
    """The moving moments of batch normalisation are among the weights."""
    case, divergence = CASES[posterior], CALLABLES[name]
    assert make_strategy("mirrored").num_replicas_in_sync == 2
    one, two = (fit(case, divergence, strategy) for strategy in ("none", "mirrored"))
    scale = max(np.abs(gradient).max() for gradient in one.gradients)
    assert largest_difference(two.gradients, one.gradients) < TOLERANCE * scale
    # Weights up to 1, of sums of up to 300 terms near 1: a few float32 roundings.
    ours, theirs = two.vae.get_weights(), one.vae.get_weights()
    assert largest_difference(ours, theirs) < TOLERANCE
    evaluated = (
        each.vae.evaluate(batches(case), return_dict=True, verbose=0)
        for each in (two, one)
    )
    for logs, expected in [*zip(two.logs, one.logs, strict=True), tuple(evaluated)]:
        assert logs.keys() == expected.keys()
        for key, value in expected.items():
            np.testing.assert_allclose(logs[key], value, 1e-5, 1e-6, err_msg=key)
    if name in WITH_STATE or posterior != "normal":
        # Their values are means, the same of halves; what an adversary learns is not.
        # And of one posterior it is enough.
        return
    # The test would see a D that each replica took of its own examples.
    halves = fit(case, lambda: partial(of_halves, divergence()), "none")
    difference = largest_difference(halves.gradients, one.gradients)
    assert difference > 1000 * TOLERANCE * scale
