# SPDX-License-Identifier: Apache-2.0
"""Requests for TensorFlow Serving, made from the signatures of a SavedModel.

`python tests/server_requests.py saved_models/pinwheel/1` prints those of
docs/serving.md.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf import text_format
from tensorflow_serving.apis import predict_pb2

MODEL = "pinwheel"


def examples(loaded: Any) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """Returns, for each signature but the default, inputs of one example."""
    for name, signature in loaded.signatures.items():
        if name != "serving_default":
            yield name, {key: one(spec) for key, spec in inputs(signature)}


def inputs(signature: Any) -> list[tuple[str, tf.TensorSpec]]:
    return sorted(signature.structured_input_signature[1].items())


def one(spec: tf.TensorSpec) -> np.ndarray:
    shape = [size or 1 for size in spec.shape.as_list()]
    number = 3 if spec.dtype.is_integer else 0.5
    return np.full(shape, number, spec.dtype.as_numpy_dtype)


def rest(name: str, values: Mapping[str, np.ndarray]) -> str:
    columns = {key: value.tolist() for key, value in values.items()}
    return json.dumps({"signature_name": name, "inputs": columns})


def grpc(name: str, values: Mapping[str, np.ndarray]) -> str:
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = MODEL, name
    for key, value in values.items():
        tensor = tf.make_tensor_proto(value)
        numbers = value.ravel().tolist()
        field = tensor.int_val if value.dtype.kind == "i" else tensor.float_val
        field[:] = numbers
        tensor.ClearField("tensor_content")
        request.inputs[key].CopyFrom(tensor)
    return text_format.MessageToString(request, as_one_line=True).strip()


if __name__ == "__main__":
    for of in examples(tf.saved_model.load(sys.argv[1])):
        print(rest(*of), grpc(*of), sep="\n", end="\n\n")
