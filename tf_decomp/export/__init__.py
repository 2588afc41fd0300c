# SPDX-License-Identifier: Apache-2.0
"""Serving: a SavedModel that loads without this package, and three further runtimes.

PATH/
  saved_model.pb, variables/    for TensorFlow and TensorFlow Serving
  assets.extra/                 the server's warm-up requests
  onnx/SIGNATURE.onnx           for ONNX Runtime
  openvino/SIGNATURE.xml, .bin  for OpenVINO
  litert/SIGNATURE.tflite       for LiteRT
  parity.json                   how far each runtime is from TensorFlow
"""

from tf_decomp.export.formats import (
    FORMATS,
    Exported,
    check_formats,
    export_formats,
    write_formats,
)
from tf_decomp.export.saved_model import (
    ServedModel,
    check_free,
    export_saved_model,
    load_encoder,
    next_version,
)

__all__ = [
    "FORMATS",
    "Exported",
    "ServedModel",
    "check_formats",
    "check_free",
    "export_formats",
    "export_saved_model",
    "load_encoder",
    "next_version",
    "write_formats",
]
