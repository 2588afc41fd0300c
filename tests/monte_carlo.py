# SPDX-License-Identifier: Apache-2.0
"""Checks in standard errors, and derivatives by finite differences."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf


def mean_and_error(samples: Any) -> tuple[np.ndarray, np.ndarray]:
    """Returns the mean over the first axis and its standard error."""
    samples = np.asarray(samples, np.float64)
    assert len(samples) > 1, "one sample has no standard error"
    assert np.all(np.isfinite(samples)), "a sample is not finite"
    return samples.mean(0), samples.std(0, ddof=1) / np.sqrt(len(samples))


def assert_mean_close(samples: Any, expected: Any, num_stderr: float = 5.0) -> None:
    """Fails unless the mean over the first axis is near expected."""
    mean, error = mean_and_error(samples)
    distance = np.abs(mean - np.asarray(expected))
    assert np.all(distance <= num_stderr * error), (
        f"mean {mean} is more than {num_stderr} standard errors {error} from {expected}"
    )


def assert_mean_below(samples: Any, bound: Any, num_stderr: float = 5.0) -> None:
    """Fails if the mean over the first axis is surely above the bound."""
    mean, error = mean_and_error(samples)
    assert np.all(mean <= np.asarray(bound) + num_stderr * error), (
        f"mean {mean} is more than {num_stderr} standard errors {error} above {bound}"
    )


def assert_mean_surely_below(samples: Any, bound: Any, num_stderr: float = 5.0) -> None:
    """Fails unless the mean over the first axis is surely below the bound."""
    mean, error = mean_and_error(samples)
    assert np.all(mean <= np.asarray(bound) - num_stderr * error), (
        f"mean {mean} is not {num_stderr} standard errors {error} below {bound}"
    )


def finite_differences(
    function: Callable[..., Any],
    arguments: Sequence[np.ndarray],
    index: int,
    step: float = 1e-5,
) -> np.ndarray:
    """Returns d function / d arguments[index] by central differences in float64."""
    traced = tf.function(function)
    arguments = [np.array(argument, np.float64) for argument in arguments]
    slopes = np.zeros_like(arguments[index])
    for place in np.ndindex(slopes.shape):
        value = arguments[index][place]
        ends = []
        for moved in (value + step, value - step):
            arguments[index][place] = moved
            ends.append(float(traced(*map(tf.constant, arguments))))
        arguments[index][place] = value
        slopes[place] = (ends[0] - ends[1]) / (2 * step)
    return slopes


def assert_gradients(
    function: Callable[..., Any], arguments: Sequence[np.ndarray]
) -> None:
    """Fails unless a float64 scalar function's gradients are its differences."""
    tensors = [tf.constant(argument, tf.float64) for argument in arguments]
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        value = function(*tensors)
    gradients = tape.gradient(value, tensors)
    for index, gradient in enumerate(gradients):
        expected = finite_differences(function, arguments, index)
        assert gradient is not None, f"argument {index} has no gradient"
        np.testing.assert_allclose(
            gradient, expected, rtol=1e-6, atol=1e-8, err_msg=f"argument {index}"
        )
