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


def batches_of(x: Any) -> Iterator[np.ndarray]:
    """Yields the examples of each batch; of an array all at once.

    Args:
        x: An array, a data set or another iterable of batches x, (x,) or (x, y, ...).

    Raises:
        InputError: They are of several tensors, or of none that is dense.
    """
    refuse_structure("x", x, lists=False)  # a list may be of batches
    if is_array(x):
        yield np.asarray(x)
    elif isinstance(x, keras.utils.PyDataset):
        # By its length: what an index beyond it gives is the user's.
        for number in range(x.num_batches):
            yield np.asarray(input_of(x[number]))
    else:
        for batch in x:
            yield np.asarray(input_of(batch))


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
