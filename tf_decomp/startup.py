# SPDX-License-Identifier: Apache-2.0
"""What must happen before TensorFlow and Keras are imported."""

import contextlib
import importlib
import os
import sys
from collections.abc import Iterator


def start_tensorflow() -> None:
    """Turns oneDNN on and imports TensorFlow, quietly unless the user asked otherwise.

    TensorFlow leaves oneDNN off on CPUs without AVX-512, where it makes convolutions
    faster, and its libraries print notes on stderr, while they load and later. A
    user's own TF_ENABLE_ONEDNN_OPTS and TF_CPP_MIN_LOG_LEVEL (0 prints all, 3, set
    here, only what ends the process) win, and nothing changes where TensorFlow is
    imported already. Notes printed while TensorFlow loads ignore that level; here they
    obey it.

    Raises:
        ImportError: Keras is set to another backend; its `name` is "tf_decomp".
    """
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    if backend != "tensorflow":
        raise _other_backend(f"KERAS_BACKEND={backend}")
    if "tensorflow" not in sys.modules:
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
        level = os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        loud = level == "0" or sys.stderr is None
        with contextlib.nullcontext() if loud else _silent_stderr():
            importlib.import_module("tensorflow")
    import keras  # noqa: PLC0415  (after TensorFlow has started)

    if keras.backend.backend() != "tensorflow":
        raise _other_backend(f"{keras.backend.backend()} from keras.json")


def _other_backend(received: str) -> ImportError:
    return ImportError(
        f"tf_decomp needs Keras on TensorFlow; received {received}, set "
        "KERAS_BACKEND=tensorflow",
        name="tf_decomp",
    )


@contextlib.contextmanager
def _silent_stderr() -> Iterator[None]:
    """Sends what C++ code writes to stderr to nowhere."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
