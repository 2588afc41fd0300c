# SPDX-License-Identifier: Apache-2.0
"""Requests that TensorFlow Serving answers before a model takes traffic.

A server reads them from `assets.extra/tf_serving_warmup_requests`: a TFRecord of
`tensorflow.serving.PredictionLog`. Of that protocol three numbers of fields are needed,
so its package is not.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import tensorflow as tf

_FOLDER, _FILE = "assets.extra", "tf_serving_warmup_requests"


def write_warm_up(
    folder: Path, signatures: Mapping[str, Sequence[tf.TensorSpec]]
) -> None:
    """Writes a request of one example for each signature beside a SavedModel.

    Args:
        folder: Of the SavedModel.
        signatures: Name -> inputs.

    Raises:
        OSError: It cannot be written.
    """
    (folder / _FOLDER).mkdir()
    with tf.io.TFRecordWriter(str(folder / _FOLDER / _FILE)) as file:
        for name, specs in signatures.items():
            file.write(_prediction_log(name, specs))


def _prediction_log(name: str, specs: Sequence[tf.TensorSpec]) -> bytes:
    """Returns PredictionLog{predict_log{request{model_spec, inputs}}}."""
    model = _message((1, b"model"), (3, name.encode()))  # name, signature_name
    inputs = [
        (2, _message((1, spec.name.encode()), (2, _one_example(spec))))
        for spec in specs
    ]
    request = _message((1, model), *inputs)
    return _message((6, _message((1, request))))


def _one_example(spec: tf.TensorSpec) -> bytes:
    shape = [size or 1 for size in spec.shape.as_list()]
    # A request for n = 1 example; of repeated numbers a tensor holds one.
    number = 1 if spec.dtype.is_integer else 0.0
    return tf.make_tensor_proto(number, spec.dtype, shape).SerializeToString()


def _message(*fields: tuple[int, bytes]) -> bytes:
    """Returns a protocol buffer of (number < 16, strings or messages)."""
    return b"".join(
        bytes([number << 3 | 2]) + _varint(len(content)) + content
        for number, content in fields
    )


def _varint(number: int) -> bytes:
    low, rest = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + _varint(rest) if rest else bytes([low])
