# SPDX-License-Identifier: Apache-2.0
"""The pipeline's order, batches and resuming."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from tf_decomp.data import Split, make_pipeline
from tf_decomp.errors import InputError


def _numbers(count: int) -> Split:
    return Split(np.arange(count, dtype=np.float32)[:, None])


def _batches(split: Split, batch_size: int, **options: object) -> list[list[int]]:
    arguments = {"shuffle": True, "seed": 0, **options}
    pipeline = make_pipeline(split, batch_size, **arguments)  # type: ignore[arg-type]
    return [batch[:, 0].numpy().astype(int).tolist() for batch in pipeline]


def _epochs(batches: list[list[int]], steps: int) -> list[list[int]]:
    """Join the batches of each epoch."""
    return [
        list(itertools.chain(*batches[start : start + steps]))
        for start in range(0, len(batches), steps)
    ]


def test_each_epoch_holds_every_row_once() -> None:
    batches = _batches(_numbers(10), 4, epochs=5)
    assert [len(batch) for batch in batches] == [4, 4, 2] * 5
    orders = _epochs(batches, 3)
    assert all(sorted(order) == list(range(10)) for order in orders)
    assert len({tuple(order) for order in orders}) == 5


def test_without_shuffling_the_order_is_kept() -> None:
    expected = [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    for seed in (0, 1):
        assert _batches(_numbers(10), 4, shuffle=False, seed=seed, epochs=3) == (
            expected * 3
        )


@pytest.mark.parametrize("shuffle", [False, True])
def test_first_epoch_continues_an_uninterrupted_run(shuffle: bool) -> None:
    whole = _batches(_numbers(11), 4, shuffle=shuffle, epochs=6)
    parts = [
        _batches(_numbers(11), 4, shuffle=shuffle, first_epoch=first, epochs=epochs)
        for first, epochs in ((0, 1), (1, 2), (3, 3))
    ]
    assert list(itertools.chain(*parts)) == whole


def test_order_is_a_function_of_seed_and_epoch() -> None:
    split = _numbers(50)
    pipeline = make_pipeline(split, 7, shuffle=True, seed=3, epochs=2)
    passes = [[batch.numpy().tolist() for batch in pipeline] for _ in range(2)]
    assert passes[0] == passes[1]
    np.random.seed(9)  # noqa: NPY002  (global state must not matter)
    tf.random.set_seed(9)
    order = _epochs(_batches(split, 7, seed=3, epochs=2), 8)
    assert order == [
        np.ravel(passes[0][:8] and sum(passes[0][:8], [])).tolist(),
        np.ravel(sum(passes[0][8:], [])).tolist(),
    ]
    assert _epochs(_batches(split, 50, seed=3, epochs=2), 1) == order
    assert _epochs(_batches(split, 7, seed=4, epochs=2), 8) != order


def test_every_order_is_equally_likely() -> None:
    epochs = 4800
    orders = _epochs(_batches(_numbers(4), 4, epochs=epochs), 1)
    counts = np.unique(orders, axis=0, return_counts=True)[1]
    assert len(counts) == 24
    expected = epochs / 24
    chi_square = float(np.sum((counts - expected) ** 2 / expected))
    # A chi-square of 23 degrees of freedom has variance 2 * 23.
    assert abs(chi_square - 23) < 5 * np.sqrt(2 * 23)


def test_cardinality_and_type_are_known() -> None:
    split = Split(np.zeros((10, 4, 4, 1)), np.zeros(10))
    pipeline = make_pipeline(split, 4, shuffle=True, seed=0, first_epoch=2, epochs=5)
    assert pipeline.cardinality() == len(pipeline) == 15
    assert pipeline.element_spec == tf.TensorSpec((None, 4, 4, 1), tf.float32)


def test_unpack_maps_each_batch() -> None:
    bits = np.random.default_rng(0).integers(0, 2, (10, 16), dtype=np.uint8)

    def unpack(rows: tf.Tensor) -> tf.Tensor:
        shifts = tf.range(7, -1, -1, dtype=tf.int32)
        pixels = tf.bitwise.right_shift(tf.cast(rows, tf.int32)[..., None], shifts) % 2
        return tf.cast(tf.reshape(pixels, [-1, 16]), tf.float32)

    split = Split(np.packbits(bits, axis=1), unpack=unpack)
    pipeline = make_pipeline(split, 4, shuffle=False, seed=0)
    assert pipeline.element_spec == tf.TensorSpec((None, 16), tf.float32)
    np.testing.assert_array_equal(np.concatenate(list(pipeline)), bits)


def test_data_stay_outside_the_graph() -> None:
    split = Split(np.random.default_rng(0).random((1000, 100), dtype=np.float32))
    pipeline = make_pipeline(split, 100, shuffle=True, seed=0)

    @tf.function
    def first() -> tf.Tensor:
        return next(iter(pipeline))

    graph = first.get_concrete_function().graph
    sizes = [graph.as_graph_def().ByteSize()]
    sizes += [function.ByteSize() for function in graph.as_graph_def().library.function]
    assert sum(sizes) < split.x.nbytes / 4


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"batch_size": 11}, "between 1 and the number of examples, 10; received 11"),
        ({"batch_size": 0}, "batch_size .* received 0"),
        ({"batch_size": -4}, "batch_size .* received -4"),
        ({"first_epoch": -1}, "first_epoch must be a whole number >= 0; received -1"),
        ({"epochs": 0}, "epochs must be a whole number >= 1; received 0"),
        ({"seed": -1}, "seed must be a whole number >= 0; received -1"),
        ({"split": Split(np.zeros((10, 2), np.uint8))}, "floating point .* uint8"),
        ({"split": Split(np.zeros((0, 2), np.float32))}, "batch_size"),
    ],
)
def test_refuses(wrong: dict[str, object], message: str) -> None:
    right = {"split": _numbers(10), "batch_size": 4, "shuffle": True, "seed": 0}
    with pytest.raises(InputError, match=message):
        make_pipeline(**(right | wrong))  # type: ignore[arg-type]
