# SPDX-License-Identifier: Apache-2.0
"""Two replicas give what one gives: SGD, uneven batches, every posterior and D."""

from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from cases import DATA_DIM, IMAGE, LATENT_DIM, POSTERIORS, make_vae

from tf_decomp.divergences import DIVERGENCES
from tf_decomp.networks import ConvDecoder, ConvEncoder, MLPDecoder, MLPEncoder
from tf_decomp.strategies import make_strategy

EPOCHS = 2
TOLERANCE = 2e-6


def both(*arguments: Any) -> tf.Tensor:
    """The inclusive KL and the MMD at once, for one compilation instead of two."""
    return sum(divergence(*arguments) for divergence in DIVERGENCES.values())


def of_halves(*arguments: Any) -> tf.Tensor:
    """What D would be if each of two replicas took it of its own examples."""
    posterior, prior, latents, samples = arguments
    size = tf.shape(latents)[0]
    half = (size + 1) // 2
    first = tf.minimum(half, size - 1)  # of a single example: itself
    return 0.5 * (
        both(posterior[:half], prior, latents[:half], samples[:half])
        + both(posterior[first:], prior, latents[first:], samples[first:])
    )


CONV = {"filters": (2, 3), "hidden": (), "batch_norm": True}
# Networks, shape of a datum, sizes of batches, learning rate. The first batch is
# uneven over two replicas; of the last one of the dense networks a replica gets none.
CASES: dict[str, tuple[Any, ...]] = {
    "normal": (
        partial(MLPEncoder, LATENT_DIM, hidden=(4,)),
        partial(MLPDecoder, DATA_DIM, hidden=(4,)),
        (DATA_DIM,),
        (9, 5, 1),
        0.05,
    ),
    "laplace": (
        partial(ConvEncoder, LATENT_DIM, posterior="laplace", **CONV),
        partial(ConvDecoder, IMAGE, likelihood="laplace", **CONV),
        IMAGE,
        (9, 5),
        1e-3,
    ),
}


def batches(case: str) -> tf.data.Dataset:
    _, _, shape, sizes, _ = CASES[case]
    x = np.random.default_rng(0).normal(size=(sum(sizes), *shape)).astype("float32")
    ends = np.cumsum(sizes)
    parts = [
        tf.data.Dataset.from_tensor_slices(x[end - size : end]).batch(sizes[0])
        for size, end in zip(sizes, ends, strict=True)
    ]
    whole = parts[0]
    for part in parts[1:]:
        whole = whole.concatenate(part)
    return whole


def fit(
    strategy: Any, case: str, divergence: Callable[..., tf.Tensor] = both
) -> tuple[list[np.ndarray], dict[str, Any], dict[str, float]]:
    """Gives weights, logs of training and results of evaluation."""
    encoder, decoder, _, _, learning_rate = CASES[case]
    with strategy.scope():
        keras.utils.set_random_seed(0)
        vae = make_vae(
            encoder=encoder(),
            decoder=decoder(),
            divergence=divergence,
            alpha=2.0,
            beta=0.5,
            num_samples=2,
        )
        vae.compile(keras.optimizers.SGD(learning_rate), jit_compile=False)
    data, before = batches(case), vae.get_weights()
    history = vae.fit(data, epochs=EPOCHS, shuffle=False, verbose=0).history
    assert largest_difference(vae.get_weights(), before) > 1000 * TOLERANCE
    if divergence is of_halves:
        return vae.get_weights(), history, {}
    evaluated = vae.evaluate(data, verbose=0, return_dict=True)
    return vae.get_weights(), history, evaluated


@pytest.fixture(scope="module")
def one_replica() -> Any:
    return fit(tf.distribute.get_strategy(), "normal")


def largest_difference(ours: list[np.ndarray], theirs: list[np.ndarray]) -> float:
    return max(np.abs(a - b).max() for a, b in zip(ours, theirs, strict=True))


def test_every_posterior_has_a_case() -> None:
    assert CASES.keys() == POSTERIORS.keys()


@pytest.mark.parametrize("case", CASES)
def test_two_replicas_give_what_one_gives(case: str, one_replica: Any) -> None:
    """SGD's weights after the first step are its gradients, so these are equal too.

    The moving moments of batch normalisation are among the weights.
    """
    one = one_replica if case == "normal" else fit(tf.distribute.get_strategy(), case)
    strategy = make_strategy("mirrored")
    assert strategy.num_replicas_in_sync == 2
    weights, history, evaluated = fit(strategy, case)
    # Weights up to 1, of sums of up to 300 terms near 1: a few float32 roundings.
    assert largest_difference(weights, one[0]) < TOLERANCE
    for logs, expected in ((history, one[1]), (evaluated, one[2])):
        assert logs.keys() == expected.keys()
        for key, value in expected.items():
            np.testing.assert_allclose(logs[key], value, 1e-5, 1e-6, err_msg=key)


def test_a_divergence_of_each_replica_would_show(one_replica: Any) -> None:
    weights, _, _ = fit(tf.distribute.get_strategy(), "normal", of_halves)
    assert largest_difference(weights, one_replica[0]) > 1000 * TOLERANCE
