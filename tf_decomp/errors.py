# SPDX-License-Identifier: Apache-2.0
"""Exceptions whose one-line message is all that a user needs, and TensorFlow's line."""

import re


class InputError(ValueError):
    """A value that the caller gave is not usable.

    The message is one line: what was expected, what was received, what to do.
    Command-line programs print it alone and exit with status 1.

    Example:
        >>> raise InputError("beta must be >= 0; received -1.0")
        Traceback (most recent call last):
        tf_decomp.errors.InputError: beta must be >= 0; received -1.0
    """

    # Keras adds the arguments of every layer to the messages of other exceptions.
    _keras_call_info_injected = True


class NonFiniteLoss(ArithmeticError):
    """Training met a loss that is not finite.

    The message is one line: which term, at which step, where the batch is kept.

    Example:
        >>> raise NonFiniteLoss("training stopped: kl became inf at step 12")
        Traceback (most recent call last):
        tf_decomp.errors.NonFiniteLoss: training stopped: kl became inf at step 12
    """


def reason_of(message: str) -> str:
    r"""Returns the line of a message of TensorFlow that says what went wrong.

    Args:
        message: Of many lines, which name operations and calls.

    Example:
        >>> reason_of("Graph execution error:\n\nDetected at node a\nit broke")
        'it broke'
    """
    wrapping = ("Graph execution error", "Detected at node", "File ", "<stack")
    said = re.sub(r"\{\{.*?\}\}|\[Op:\w+\]", "", message)  # which node, which call
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return next((line for line in lines if not line.startswith(wrapping)), message)
