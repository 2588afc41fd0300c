# SPDX-License-Identifier: Apache-2.0
"""Weights of the objective, which refuse numbers that are not usable."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf


def checked_weight(
    owner: keras.Layer, name: str, value: float, check: Callable[[float], None]
) -> keras.Variable:
    """Returns a scalar variable that is no optimiser's, under its owner's name.

    Args:
        owner: The model or layer that keeps it.
        name: Its name.
        value: What it starts with.
        check: Raises for a number that is refused.
    """
    check(value)
    with keras.name_scope(owner.name, caller=owner):
        return CheckedVariable(
            keras.initializers.Constant(value),
            shape=(),
            dtype=owner.variable_dtype,
            trainable=False,
            autocast=False,
            aggregation="only_first_replica",
            name=name,
            check=check,
        )


class CheckedVariable(keras.Variable):
    """A variable that refuses numbers which it must not hold, where they are known.

    Args:
        *args: As of `keras.Variable`.
        check: Raises for a number that is refused.
        **kwargs: As of `keras.Variable`.
    """

    def __init__(
        self, *args: Any, check: Callable[[float], None], **kwargs: Any
    ) -> None:
        self._check = check
        super().__init__(*args, **kwargs)

    def assign(self, value: Any) -> Any:
        """Assigns a number, if it passes the check (or is known in a graph only)."""
        if not tf.is_symbolic_tensor(value):
            self._check(value)
        return super().assign(value)
