# SPDX-License-Identifier: Apache-2.0
"""Two replicas give what one gives: the default model, SGD, uneven last batch."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from cases import data, make_vae

from tf_decomp.divergences import DIVERGENCES

# 8 + 5 examples: replicas of 4 and 4, then of 3 and 2.
X, BATCH, EPOCHS = data(13), 8, 2
TOLERANCE = 2e-6


def both(*arguments: Any) -> tf.Tensor:
    """The inclusive KL and the MMD at once, for one compilation instead of two."""
    return sum(divergence(*arguments) for divergence in DIVERGENCES.values())


def of_halves(*arguments: Any) -> tf.Tensor:
    """What D would be if each of two replicas took it of its own examples."""
    posterior, prior, latents, samples = arguments
    half = (tf.shape(latents)[0] + 1) // 2
    return 0.5 * (
        both(posterior[:half], prior, latents[:half], samples[:half])
        + both(posterior[half:], prior, latents[half:], samples[half:])
    )


def fit(
    strategy: Any, divergence: Callable[..., tf.Tensor]
) -> tuple[list[np.ndarray], dict[str, Any], dict[str, float]]:
    """Gives weights, logs of training and results of evaluation."""
    with strategy.scope():
        vae = make_vae(divergence=divergence, alpha=2.0, beta=0.5, num_samples=2)
        vae.compile(keras.optimizers.SGD(0.05), jit_compile=False)
    pipeline = tf.data.Dataset.from_tensor_slices(X).batch(BATCH)
    history = vae.fit(pipeline, epochs=EPOCHS, shuffle=False, verbose=0).history
    if divergence is of_halves:
        return vae.get_weights(), history, {}
    evaluated = vae.evaluate(pipeline, verbose=0, return_dict=True)
    return vae.get_weights(), history, evaluated


@pytest.fixture(scope="module")
def one_replica() -> Any:
    return fit(tf.distribute.get_strategy(), both)


def largest_difference(ours: list[np.ndarray], theirs: list[np.ndarray]) -> float:
    return max(np.abs(a - b).max() for a, b in zip(ours, theirs, strict=True))


def test_two_replicas_give_what_one_gives(one_replica: Any) -> None:
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    weights, history, evaluated = fit(strategy, both)
    assert largest_difference(weights, one_replica[0]) < TOLERANCE
    for logs, expected in ((history, one_replica[1]), (evaluated, one_replica[2])):
        assert logs.keys() == expected.keys()
        for key, value in expected.items():
            np.testing.assert_allclose(logs[key], value, 1e-5, 1e-6, err_msg=key)


def test_a_divergence_of_each_replica_would_show(one_replica: Any) -> None:
    weights, _, _ = fit(tf.distribute.get_strategy(), of_halves)
    assert largest_difference(weights, one_replica[0]) > 1000 * TOLERANCE
