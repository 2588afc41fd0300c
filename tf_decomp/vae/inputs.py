# SPDX-License-Identifier: Apache-2.0
"""What enters a model: batches, arrays and data sets, each checked or refused by name.

A model reads one tensor of examples. Whatever else Keras would take for data, and
would broadcast, drop or average in silence, is refused here in one line.
"""

import itertools
import math
import types
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tf_decomp.batches import (
    check_conditions,
    dtype_of,
    examples_of,
    input_of,
    is_array,
    kind_of,
    refuse_structure,
)
from tf_decomp.errors import InputError
from tf_decomp.likelihoods import Support
from tf_decomp.sampling import plain

_ROWS_AT_ONCE = 4096
_TRIED = 8


class DataForm(NamedTuple):
    """What the examples of a model are.

    Attributes:
        shape: Of one datum.
        support: Of its values.
        missing: Whether NaN marks a missing value, by both networks' arguments.
        condition_dim: Length of the condition c that comes with each; None of none.
    """

    shape: tuple[int, ...]
    support: Support
    missing: bool = False
    condition_dim: int | None = None


# -- batches ---------------------------------------------------------------------------


def as_tensor(name: str, values: Any, shape: Sequence[int], dtype: str) -> tf.Tensor:
    """Returns numbers [n, *shape] as a tensor of the model's type.

    Args:
        name: What a message calls them.
        values: A tensor, an array or nested lists.
        shape: Of one row.
        dtype: The model's.

    Raises:
        InputError: They are no numbers, or of another shape.
    """
    refuse_structure(name, values, lists=False)
    try:
        tensor = tf.convert_to_tensor(values)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{name}: expected numbers [n, {_comma(shape)}]; received "
            f"{kind_of(values)} that is no array of numbers ({_first_line(error)})"
        ) from None
    _check_array(name, tensor, shape)
    if tensor.shape.rank is None or None in tensor.shape[1:]:
        tensor = tf.ensure_shape(tensor, [None, *shape])
    return tf.cast(tensor, dtype)


def batch_input(data: Any) -> Any:
    """Returns x of a batch as Keras gives it.

    Args:
        data: x, (x,), (x, y) or (x, y, None).

    Raises:
        InputError: The batch has weights, or x is not one tensor.
    """
    parts = tuple(data) if isinstance(data, tuple | list) else (data,)
    if not 1 <= len(parts) <= 3:
        raise InputError(
            f"batches: expected x, (x,) or (x, y); received {kind_of(data)}, "
            "map it to x"
        )
    if len(parts) == 3 and parts[2] is not None:
        raise _weighted("batches (x, y, sample_weight)")
    return input_of(data)


def refuse_weights(name: str, **given: Any) -> None:
    """Refuses what Keras takes as weights of examples.

    Args:
        name: The method.
        **given: Arguments of Keras by name; None is not given.

    Raises:
        InputError: One is given.
    """
    for argument, value in given.items():
        if value is not None:
            raise _weighted(f"{name}: {argument}")


# -- whole data ------------------------------------------------------------------------


def checked_data(
    name: str, x: Any, y: Any, form: DataForm, steps: int | None = None
) -> Any:
    """Returns data for Keras, after all that can be seen of them before a pass.

    Args:
        name: The method that they are given to.
        x: Arrays or a data set, as of Keras.
        y: As of Keras: the conditions c where the model takes them, else of no use.
        form: Of the model's examples.
        steps: Batches to read; None reads all.

    Returns:
        x, or of a generator what gives the same batches.

    Raises:
        InputError: There are no data, or they are no examples of the model.
    """
    if x is None:
        raise InputError(f"{name}: expected data x; received none")
    refuse_structure(name, x, lists=True)
    if is_array(x):
        _check_array(name, x, form.shape)
        refuse_empty(name, len(x))
        _check_second(name, x, y, form)
        return x
    if isinstance(x, types.GeneratorType):
        first = next(x, None)
        refuse_empty(name, first is not None)
        _check_batch(name, first, form)
        return _with_first(first, x)
    if isinstance(x, tf.data.Dataset):
        if steps is None and _may_repeat(x):
            raise InputError(
                f"{name}: the data repeat without end; say how many steps to take, or "
                "leave repeat() out"
            )
        refuse_empty(name, int(x.cardinality()))
        _check_batch(name, _example_of(x), form)
    elif isinstance(x, keras.utils.PyDataset):
        refuse_empty(name, x.num_batches)
        _check_batch(name, x[0], form)
    return x


def refuse_empty(name: str, size: int | None) -> None:
    """Refuses data without examples.

    Args:
        name: The method that they are given to.
        size: Their examples or batches; None is unknown.

    Raises:
        InputError: There are none.
    """
    if size == 0:
        raise InputError(f"{name}: expected at least one example; received none")


def is_one_pass(x: Any) -> bool:
    """Whether data can be read once only."""
    return isinstance(x, Iterator)


def first_batches(
    x: Any, c: Any, batch_size: int | None, steps: int, conditional: bool
) -> tuple[tuple[np.ndarray, ...], int]:
    """Returns the examples of the first batches, each once, and a batch's size.

    Args:
        x: As of `keras.Model.evaluate`.
        c: As of `examples_of`.
        batch_size: Of arrays; None is Keras's 32.
        steps: How many batches.
        conditional: As of `examples_of`.
    """
    if is_array(x):
        size = batch_size or 32
        cut = slice(steps * size)
        (rows,) = examples_of(x[cut], c[cut] if conditional else None, conditional)
        starts = range(0, len(rows[0]), size)
        batches = [tuple(part[i : i + size] for part in rows) for i in starts]
    else:
        batches = list(itertools.islice(examples_of(x, c, conditional), steps))
    if len(batches) < steps:
        warnings.warn(
            f"the data have {len(batches)} batches, fewer than steps={steps}; "
            "all are used",
            stacklevel=3,
        )
    return without_repetition(x, batches), len(batches[0][0])


def without_repetition(
    x: Any, batches: Sequence[tuple[np.ndarray, ...]]
) -> tuple[np.ndarray, ...]:
    """Returns batches of data as one, where they may repeat each example once.

    Of data without end (a repeated data set, a generator) rows that came before tell
    nothing new.

    Args:
        x: The data that the batches are of.
        batches: As of `examples_of`.
    """
    whole = tuple(np.concatenate(parts) for parts in zip(*batches, strict=True))
    if not _may_repeat(x):
        return whole
    first: dict[bytes, int] = {}
    for number, parts in enumerate(zip(*whole, strict=True)):
        first.setdefault(b"".join(part.tobytes() for part in parts), number)
    return tuple(part[list(first.values())] for part in whole)


def check_values(name: str, x: Any, c: Any, form: DataForm, model: Any) -> None:
    """Refuses an array with examples that the model gives no log-likelihood.

    Examples with NaN or infinite numbers pass where the model's log-likelihood of
    them is finite, as that of a likelihood which masks them.

    Args:
        name: The method that they are given to.
        x: [n, *data_shape]; anything but an array passes.
        c: [n, condition_dim] where the model is conditional.
        form: Of the model's examples.
        model: With `encode` and `decode`.

    Raises:
        InputError: There are such examples, or conditions that are not finite.
    """
    if not is_array(x):
        return
    ((x, *condition),) = examples_of(x, c, form.condition_dim is not None)
    for c in condition:
        _refuse_unknown_conditions(name, c, 0)
    not_finite, outside = _find_rows(x, form)
    if len(not_finite):
        rows = not_finite[:_TRIED]
        tried, given = x[rows], [c[rows] for c in condition]
        mean = plain(model.encode(tried, *given)).mean()
        log_x = model.decode(mean, *given).log_prob(
            as_tensor(name, tried, form.shape, mean.dtype)
        )
        if not tf.reduce_all(tf.math.is_finite(log_x)):
            raise _not_finite(name, f"x[{not_finite[0]}]", len(not_finite), len(x))
    if len(outside):
        place, values = f"x[{outside[0]}]", x[outside[0]]
        raise _outside(name, place, values, len(outside), len(x), form)


def count_outside(x: tf.Tensor, support: Support) -> tf.Tensor:
    """Returns the number [] of examples [n, ...] with values outside an interval."""
    rows = tf.reduce_any(tf.reshape(support.excludes(x), [tf.shape(x)[0], -1]), axis=1)
    return tf.reduce_sum(tf.cast(rows, tf.float64))


class DataGuard(keras.callbacks.Callback):
    """Stops training on data that no log-likelihood is defined of.

    After the first batch and after every epoch it reads what the model counted.
    `DecompositionVAE.fit` has one.

    Args:
        x: The training data, as of `fit`.
        form: Of the model's examples.

    Raises:
        InputError: In `fit`: there are such data. The message names the first.
    """

    def __init__(self, x: Any, form: DataForm) -> None:
        super().__init__()
        self._x, self._form, self._seen, self._told = x, form, False, False

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Looks once, at the first batch."""
        if not self._seen:
            self._seen = True
            self._look(logs)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Looks at the epoch, and says once that the loss is lost."""
        refuse_empty("fit", int(self._seen))
        if self._look(logs) or self._told or self.model.stop_training:
            return
        self._told = True
        warnings.warn(
            "fit: the loss is not finite although the data are; all weights may be NaN "
            "now; make the model anew and lower learning_rate, alpha or beta "
            "(keras.callbacks.TerminateOnNaN stops such a run)",
            stacklevel=2,
        )

    def _look(self, logs: Any) -> bool:
        """Whether the loss is finite; refuses data that are not usable."""
        seen = self.model.examples_seen()
        outside = self.model.examples_outside_support()
        refuse_outside("fit", outside, self._x, self._form, seen)
        finite = math.isfinite((logs or {}).get("loss", 0.0))
        if not finite:
            _find_unusable("fit", self._x, self._form, seen)
        return finite


def refuse_outside(name: str, outside: int, x: Any, form: DataForm, seen: int) -> None:
    """Refuses data of which some were found outside the support.

    Args:
        name: The method that met them.
        outside: How many examples it met.
        x: The data, which are searched for the first where they can be read again.
        form: Of the model's examples.
        seen: How many examples it read in all.

    Raises:
        InputError: `outside` is not 0.
    """
    if outside:
        _find_unusable(name, x, form, seen)
        raise InputError(
            f"{name}: expected {form.support}; {outside} examples lie outside; "
            f"{form.support.remedy}"
        )


def _find_unusable(name: str, x: Any, form: DataForm, most: int) -> None:
    """Raises for the first example that is not finite or outside, if any is."""
    if is_one_pass(x):
        return
    seen, conditional = 0, form.condition_dim is not None and not is_array(x)
    for number, (rows, *condition) in enumerate(examples_of(x, None, conditional)):
        if seen >= most:
            return
        for c in condition:
            _refuse_unknown_conditions(name, c, seen)
        not_finite, outside = _find_rows(rows, form)
        for found in (*not_finite[:1], *outside[:1]):
            place = f"example {seen + found} (batch {number}, row {found})"
            if len(not_finite):
                raise _not_finite(name, place, len(not_finite), len(rows))
            raise _outside(name, place, rows[found], len(outside), len(rows), form)
        seen += len(rows)


def _example_of(dataset: tf.data.Dataset) -> Any:
    """Returns the form of a data set's batches, or a batch where that must be seen."""
    spec = dataset.element_spec
    parts = spec if isinstance(spec, tuple) else (spec,)
    unknown = isinstance(parts[0], tf.TensorSpec) and (
        parts[0].shape.rank is None or None in parts[0].shape[1:]
    )
    alike = len(parts) > 1 and _are_alike(*parts[:2])
    if not (unknown or alike):
        return spec
    return next(iter(dataset.take(1)), spec)


def _check_batch(name: str, batch: Any, form: DataForm) -> None:
    """Checks a batch of a data set, or its form."""
    x = batch_input(batch)
    y = batch[1] if isinstance(batch, tuple | list) and len(batch) > 1 else None
    _check_array(name, x, form.shape)
    _check_second(name, x, y, form)


def _check_second(name: str, x: Any, y: Any, form: DataForm) -> None:
    """Checks what comes with x: conditions where the model takes them, no targets."""
    if form.condition_dim is None:
        _refuse_target(name, x, y)
    else:
        check_conditions(name, y, form.condition_dim, x)


def _check_array(name: str, x: Any, shape: Sequence[int]) -> None:
    """Refuses what is no array of numbers [n, *shape]."""
    dtype = dtype_of(x)
    if not (dtype.is_floating or dtype.is_integer or dtype.is_bool):
        raise InputError(
            f"{name}: expected real numbers; received values of type {dtype.name}, "
            "convert them"
        )
    received = tf.TensorShape(getattr(x, "shape", None))
    if received.is_compatible_with([None, *shape]):
        return
    raise InputError(
        f"{name}: expected examples [n, {_comma(shape)}]; received shape "
        f"{received}{_remedy(received.as_list(), list(shape))}"
    )


def _remedy(received: list[Any], shape: list[int]) -> str:
    """Returns what to do with data of another shape; None is an unknown size."""
    rows = received[1:]
    if received == shape:
        return ", one example without the batch axis: pass x[None]"
    if rows == shape[:-1] and shape[-1] == 1:
        return ", without the last axis: pass x[..., None]"
    if len(shape) == 3 and rows == [shape[2], *shape[:2]]:
        return ", channels first: move that axis, numpy.moveaxis(x, 1, -1)"
    if None not in rows and math.prod(rows) == math.prod(shape):
        return f", as many numbers: pass x.reshape([-1, {_comma(shape)}])"
    return "; change the data, or the networks, which are for that shape"


def _refuse_target(name: str, x: Any, y: Any) -> None:
    """Refuses a target: y of the shape and kind of x that is not x."""
    if y is None or y is x or not _are_alike(x, y):
        return
    if isinstance(x, tf.TensorSpec):
        return  # a data set of no batches
    if not np.array_equal(np.asarray(x), np.asarray(y), equal_nan=True):
        raise InputError(
            f"{name}: y has the shape of x and differs from it, but the model learns "
            "x alone; it takes no targets, so leave y out, or corrupt x inside the "
            "encoder (a keras.layers.GaussianNoise there is active in training only)"
        )


def _are_alike(x: Any, y: Any) -> bool:
    """Whether y could be a target: numbers of the shape of x, and no classes."""
    if not all(hasattr(each, "shape") and hasattr(each, "dtype") for each in (x, y)):
        return False
    types_of = [dtype_of(each) for each in (x, y)]
    numbers = types_of[1].is_floating or types_of[0] == types_of[1]
    shapes = [tf.TensorShape(each.shape) for each in (x, y)]
    return (
        numbers
        and None not in (shapes[0].rank, shapes[1].rank)
        and (shapes[0][1:].as_list() == shapes[1][1:].as_list())
    )


def _find_rows(x: np.ndarray, form: DataForm) -> tuple[np.ndarray, np.ndarray]:
    """Returns the rows with numbers that are not finite, and those outside."""
    support = form.support
    if x.dtype.kind in "biu" and not support.is_bounded:
        return np.zeros(0, int), np.zeros(0, int)
    not_finite, outside = [], []
    for start in range(0, len(x), _ROWS_AT_ONCE):
        rows = x[start : start + _ROWS_AT_ONCE].reshape(-1, math.prod(x.shape[1:]))
        finite = (np.isfinite(rows) | (form.missing & np.isnan(rows))).all(axis=1)
        with np.errstate(invalid="ignore"):
            out = support.excludes(rows).any(axis=1)
        not_finite.append(start + np.flatnonzero(~finite))
        outside.append(start + np.flatnonzero(out & finite))
    return np.concatenate(not_finite), np.concatenate(outside)


def _refuse_unknown_conditions(name: str, c: np.ndarray, seen: int) -> None:
    """Refuses conditions [n, condition_dim] with NaN or infinity."""
    known = np.isfinite(c).all(axis=1)
    if not known.all():
        raise InputError(
            f"{name}: expected finite conditions; that of example "
            f"{seen + int(np.argmin(known))} holds NaN or infinity; leave such "
            "examples out, or make what is unknown a condition of its own"
        )


def _may_repeat(x: Any) -> bool:
    if isinstance(x, tf.data.Dataset):
        return int(x.cardinality()) == tf.data.INFINITE_CARDINALITY
    return is_one_pass(x)


def _with_first(first: Any, rest: Iterator[Any]) -> Iterator[Any]:
    """Yields a batch that was read already, then those that follow, as Keras asks."""
    for batch in itertools.chain([first], rest):
        yield batch if isinstance(batch, tuple | list) else (batch,)


def _weighted(what: str) -> InputError:
    return InputError(
        f"{what}: expected no weights, because D is of the aggregate of all examples "
        "alike; received some; repeat or leave out examples, or weigh the terms in a "
        "train_step of your own"
    )


def _not_finite(name: str, place: str, count: int, n: int) -> InputError:
    return InputError(
        f"{name}: expected finite numbers; {place} holds NaN or infinity ({count} of "
        f"{n} examples do), and its log-likelihood is not finite; leave such examples "
        "out, or where NaN marks a missing value make both networks with missing=True"
    )


def _outside(
    name: str, place: str, values: np.ndarray, count: int, n: int, form: DataForm
) -> InputError:
    return InputError(
        f"{name}: expected {form.support}; {place} spans {np.nanmin(values):.4g} "
        f"to {np.nanmax(values):.4g} ({count} of {n} examples lie outside); "
        f"{form.support.remedy}"
    )


def _comma(shape: Sequence[int]) -> str:
    return ", ".join(map(str, shape))


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
