# SPDX-License-Identifier: Apache-2.0
"""Data as callers hold them: arrays, data sets and other iterables of batches."""

from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_decomp.errors import InputError


def is_array(x: Any) -> bool:
    """Whether data are one array: of NumPy, TensorFlow, pandas or another library."""
    return hasattr(x, "shape") and hasattr(x, "__len__")


def examples_of(
    x: Any, c: Any = None, conditional: bool = False
) -> Iterator[tuple[np.ndarray, ...]]:
    """Yields (x,) of each batch, of an array all at once; or (x, c).

    Args:
        x: An array, a data set or another iterable of batches x, (x,) or (x, y, ...);
            for a conditional model of batches (x, c).
        c: Beside an array x, the conditions [n, condition_dim].
        conditional: Whether c is wanted, because the model is conditional.

    Raises:
        InputError: They are of several tensors, or of none that is dense; or c is
            wanted and missing.

    Example:
        >>> [(rows, conditions)] = examples_of(x, c, conditional=True)
    """
    refuse_structure("x", x, lists=False)  # a list may be of batches
    if is_array(x):
        batches: Any = [(x, c)]
    elif isinstance(x, keras.utils.PyDataset):
        # By its length: what an index beyond it gives is the user's.
        batches = (x[number] for number in range(x.num_batches))
    else:
        batches = x
    for batch in batches:
        parts = [input_of(batch)]
        if conditional:
            parts.append(condition_of(batch))
        yield tuple(np.asarray(part) for part in parts)


def input_of(batch: Any) -> Any:
    """Returns x of a batch.

    Args:
        batch: x, (x,) or (x, y, ...), or their forms.

    Raises:
        InputError: x is not one dense tensor.
    """
    x = batch[0] if isinstance(batch, tuple | list) and batch else batch
    refuse_structure("batches", x)
    return x


def is_conditional(model: Any) -> bool:
    """Whether a model takes a condition c beside every example x.

    Args:
        model: A DecompositionVAE, or whatever encodes.
    """
    return getattr(model, "condition_dim", None) is not None


def refuse_conditions(model: Any, c: Any) -> None:
    """Refuses conditions for a model that takes none.

    Args:
        model: As of `is_conditional`.
        c: What was given; None is nothing.

    Raises:
        InputError: They were given.
    """
    if c is not None and not is_conditional(model):
        raise InputError(
            "c: expected none, since the model is not conditional; received some, "
            "leave them out or make a ConditionalVAE"
        )


def condition_of(batch: Any) -> Any:
    """Returns c of a batch.

    Args:
        batch: (x, c) or (x, c, ...), or their forms.

    Raises:
        InputError: There is no c, or it is not one dense tensor.
    """
    parts = batch if isinstance(batch, tuple | list) else (batch,)
    if len(parts) < 2 or parts[1] is None:
        raise InputError(
            "batches: expected (x, c), examples and what each is conditioned on; "
            "received x alone, pass its conditions c beside it"
        )
    refuse_structure("batches: c", parts[1])
    return parts[1]


def check_conditions(name: str, c: Any, condition_dim: int, x: Any) -> None:
    """Refuses what are no conditions of these examples.

    Args:
        name: The method that they are given to.
        c: To be [n, condition_dim], or the form of such.
        condition_dim: The model's.
        x: The n examples, or their form.

    Raises:
        InputError: They are of another shape or number, or no numbers.
    """
    wanted = f"conditions c [n, {condition_dim}] beside x"
    if c is None:
        raise InputError(
            f"{name}: expected {wanted}; received none, pass them as the second "
            "argument, or data of batches (x, c)"
        )
    refuse_structure(f"{name}: c", c)
    dtype = dtype_of(c)
    if not (dtype.is_floating or dtype.is_integer or dtype.is_bool):
        raise InputError(
            f"{name}: expected real numbers for c; received values of type "
            f"{dtype.name}, convert them"
        )
    shape = tf.TensorShape(getattr(c, "shape", None))
    if not shape.is_compatible_with([None, condition_dim]):
        remedy = "one row for each example"
        if shape.rank == 1:
            remedy = "c[:, None]"
            if condition_dim > 1:
                remedy = f"of labels keras.utils.to_categorical(c, {condition_dim})"
        raise InputError(
            f"{name}: expected {wanted}; received shape {shape}, pass {remedy}"
        )
    rows = tf.TensorShape(getattr(x, "shape", None))[:1]
    if not shape[:1].is_compatible_with(rows):
        raise InputError(
            f"{name}: expected {wanted}; received {shape[0]} conditions for {rows[0]} "
            "examples"
        )


def dtype_of(x: Any) -> tf.DType:
    """Returns the type of numbers as TensorFlow knows it.

    Args:
        x: An array of any library, or what becomes one.
    """
    dtype = getattr(x, "dtype", None)
    if dtype is None:
        dtype = np.asarray(x).dtype
    try:
        return tf.as_dtype(dtype)
    except TypeError:  # of another library or NumPy's objects
        return tf.as_dtype(np.asarray(x).dtype)


def refuse_structure(name: str, x: Any, lists: bool = True) -> None:
    """Refuses what is not one dense tensor of data.

    Args:
        name: What the caller knows it by.
        x: What was given, or its `tf.TypeSpec`.
        lists: Whether lists and tuples are refused too.

    Raises:
        InputError: It is a dict, a list, sparse, ragged, masked, a text or nothing.

    Example:
        >>> refuse_structure("fit", np.zeros([5, 3]))
    """
    if isinstance(x, Mapping):
        advice = f"pick one, as batches.map(lambda batch: batch[{next(iter(x), '')!r}])"
    elif lists and isinstance(x, list | tuple):
        advice = "pass one array; the model has one input"
    elif isinstance(x, tf.SparseTensor | tf.SparseTensorSpec) or hasattr(x, "tocsr"):
        advice = "make it dense, as tf.sparse.to_dense does"
    elif isinstance(x, tf.RaggedTensor | tf.RaggedTensorSpec):
        advice = "make it dense, as its to_tensor does"
    elif isinstance(x, np.ma.MaskedArray):
        advice = (
            "its mask would be dropped; fill it, with NaN for networks made with "
            "missing=True"
        )
    elif isinstance(x, str | bytes | int | float) or x is None:
        advice = "pass an array"
    else:
        return
    raise InputError(
        f"{name}: expected one dense tensor of data; received {kind_of(x)}, {advice}"
    )


def kind_of(x: Any) -> str:
    """Returns what was received, by name.

    Args:
        x: Anything.
    """
    if isinstance(x, Mapping):
        return f"a dict with the keys {', '.join(map(str, x))}"
    if isinstance(x, list | tuple):
        return f"a {type(x).__name__} of {len(x)}"
    return "nothing" if x is None else f"a {type(x).__name__.removesuffix('Spec')}"
