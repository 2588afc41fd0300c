# SPDX-License-Identifier: Apache-2.0
"""The signatures without noise in ONNX Runtime, OpenVINO and LiteRT.

Each format is made from the SavedModel, run by its own runtime, and kept where the
numbers are TensorFlow's.
"""

import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tf_decomp.checks import check_packages, short
from tf_decomp.errors import InputError
from tf_decomp.export.saved_model import check_free, write_saved_model
from tf_decomp.export.signatures import DETERMINISTIC, inputs_of
from tf_decomp.files import exact, remove, write_atomically, write_json
from tf_decomp.vae import DecompositionVAE

# |theirs - TensorFlow's| / max(1, |TensorFlow's|) is at most this.
TOLERANCE = 1e-5
_BATCH_SIZES = (1, 3, 7)
# What runtimes of the last years read.
_OPSET = 17
CONVERTER = ("tf2onnx", "onnx")  # packages that `to_onnx` needs

Arrays = Mapping[str, np.ndarray]


class _Format(NamedTuple):
    """A format: what it needs, who writes a signature of an export, who opens it."""

    packages: tuple[str, ...]
    write: Callable[[Path, str, Any], None]
    open: Callable[[Path, str], Callable[[Arrays], Arrays]]


class Exported(NamedTuple):
    """What an export holds.

    Attributes:
        signatures: Of the SavedModel, `serving_default` first.
        differences: The largest difference from it, runtime -> signature -> number.
    """

    signatures: list[str]
    differences: dict[str, dict[str, float]]


def export_formats(
    vae: DecompositionVAE, path: str | Path, formats: Sequence[str]
) -> None:
    """Writes a SavedModel, and `encode`, `encode_sample`, `decode` for other runtimes.

    The SavedModel of `export_saved_model` is always there: the others are made from it.
    Batches may have any size. Each file is run by its runtime on batches of 1, 3 and 7
    random examples, also with NaN: no number may differ from TensorFlow's by more than
    1e-5, of numbers above 1 in proportion. `parity.json` holds the largest difference
    of each. Where one differs more, nothing is written. Where a converter or a runtime
    does not take what a posterior is made of, `encode` and `encode_sample` are left out
    with a warning.

    Args:
        vae: The model.
        path: The folder to make, by custom a number inside the model's folder.
        formats: Some of `FORMATS`: "saved_model", "onnx", "openvino", "litert".

    Raises:
        InputError: A format is not known, its packages are not installed, its numbers
            are not TensorFlow's, the folder exists, or it lies below a file.
        OSError: It cannot be written.

    Example:
        >>> export_formats(vae, "saved_models/pinwheel/1", ["onnx", "litert"])
    """
    path = Path(path)
    check_formats(formats)
    check_free(path)

    def write(folder: Path) -> None:
        write_formats(vae, folder, formats)

    write_atomically(path, write)


def check_formats(formats: Sequence[str]) -> None:
    """Refuses formats that cannot be written here.

    Args:
        formats: Their names.

    Raises:
        InputError: One is not known, or a package that it needs is not installed.
    """
    unknown = [name for name in formats if name not in FORMATS]
    if isinstance(formats, str) or unknown:
        raise InputError(
            f"formats: expected a list of some of {', '.join(FORMATS)}; received "
            f"{short(formats)}"
        )
    for name in formats:
        if name in _FORMATS:
            check_packages(name, "serving", *_FORMATS[name].packages)


def write_formats(
    vae: DecompositionVAE, folder: Path, formats: Sequence[str]
) -> Exported:
    """Fills a folder as `export_formats` does, in plain sight.

    Args:
        vae: The model.
        folder: Must not exist.
        formats: Names that `check_formats` has passed.

    Raises:
        InputError: The numbers of a runtime are not TensorFlow's.
        OSError: It cannot be written.
    """
    names = write_saved_model(vae, folder)
    wanted = [name for name in _FORMATS if name in formats]
    if not wanted:
        return Exported(names, {})
    with exact(folder) as place, tf.device("CPU:0"):
        loaded = tf.saved_model.load(str(place))
        signatures = {
            name: loaded.signatures[name] for name in names if name in DETERMINISTIC
        }
        differences = {name: _convert(place, name, signatures) for name in wanted}
    write_json(
        folder / "parity.json",
        {
            "tolerance": TOLERANCE,
            "batch_sizes": _BATCH_SIZES,
            "largest_difference": differences,
        },
    )
    return Exported(names, differences)


def _convert(place: Path, name: str, signatures: Mapping[str, Any]) -> dict[str, float]:
    """Writes and tries a format; returns the largest difference of each signature."""
    folder, differences = place / name, {}
    folder.mkdir()
    for signature, function in signatures.items():
        try:
            _FORMATS[name].write(folder, signature, function)
            worst = _difference(_FORMATS[name].open(folder, signature), function)
        except (OSError, MemoryError):
            raise
        except Exception as error:  # a converter's or a runtime's own
            reason = short(Exception(str(error) or type(error).__name__))
            if signature == "decode":
                raise InputError(
                    f"{name}: decode cannot be converted; export without {name} "
                    f"({reason})"
                ) from error
            warnings.warn(
                f"{name}: {signature} is left out, because the encoder cannot be "
                f"converted ({reason})",
                stacklevel=2,
            )
            for path in folder.glob(f"{signature}.*"):
                remove(path)
            continue
        if not worst <= TOLERANCE:
            raise InputError(
                f"{name}: {signature} differs from TensorFlow's by {worst:.2g}, where "
                f"{TOLERANCE} is allowed; nothing is kept, export without {name}"
            )
        differences[signature] = worst
    return differences


def _difference(run: Callable[[Arrays], Arrays], function: Any) -> float:
    """Returns the largest difference of two functions on random examples."""
    rng, worst = np.random.default_rng(0), 0.0
    for size in _BATCH_SIZES:
        inputs = _random_inputs(rng, function, size)
        expected = function(**{k: tf.constant(v) for k, v in inputs.items()})
        got = run(inputs)
        for key, value in expected.items():
            worst = float(np.maximum(worst, _apart(got[key], value.numpy())))
    return worst


def _random_inputs(
    rng: np.random.Generator, function: Any, size: int
) -> dict[str, np.ndarray]:
    """Returns standard normal inputs; the last example of several has a NaN."""
    inputs = {
        key: rng.normal(size=[size, *spec.shape[1:]]).astype(spec.dtype.as_numpy_dtype)
        for key, spec in function.structured_input_signature[1].items()
    }
    for value in inputs.values():
        value[1:][-1:].reshape(-1)[:1] = np.nan
    return inputs


def _apart(got: np.ndarray, expected: np.ndarray) -> float:
    """Returns the largest difference; NaN where one alone is NaN or of other shape."""
    if got.shape != expected.shape:
        return float("nan")
    same = (got == expected) | (np.isnan(got) & np.isnan(expected))
    with np.errstate(invalid="ignore"):
        apart = np.abs(got - expected) / np.maximum(1, np.abs(expected))
    return float(np.max(np.where(same, 0, apart), initial=0))


# -- ONNX Runtime --------------------------------------------------------------------


def to_onnx(
    function: Callable[..., dict[str, tf.Tensor]], specs: Sequence[tf.TensorSpec]
) -> bytes:
    """Returns a function of tensors as an ONNX file holds it.

    Args:
        function: Takes them in the order of the specs; returns them by name.
        specs: Its inputs, named; the first axis of all and of the outputs is the
            batch, of any size.

    Raises:
        Exception: As tf2onnx and onnx say it, where ONNX does not have an operation.
    """
    import onnx  # noqa: PLC0415  (of an extra)
    import tf2onnx  # noqa: PLC0415  (of an extra)

    model, _ = tf2onnx.convert.from_function(
        tf.function(function, autograph=False),
        list(specs),
        opset=_OPSET,
        custom_op_handlers={"BroadcastArgs": (_broadcast_args, [])},
    )
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    onnx.checker.check_model(model)
    return model.SerializeToString()


def _onnx(name: str, signature: Any) -> bytes:
    """Returns a signature of a SavedModel as an ONNX file holds it."""
    specs = signature.structured_input_signature[1]
    names = inputs_of(name, specs)

    def function(*values: tf.Tensor) -> dict[str, tf.Tensor]:
        return signature(**dict(zip(names, values, strict=True)))

    return to_onnx(function, [specs[key] for key in names])


def _write_onnx(folder: Path, name: str, function: Any) -> None:
    (folder / f"{name}.onnx").write_bytes(_onnx(name, function))


def _broadcast_args(graph: Any, node: Any, name: str, args: Any) -> None:
    """Gives tf2onnx an operation that it lacks: the shape of a sum of zeros."""
    (output,) = node.output
    dtype, shape = graph.get_dtype(output), graph.get_shape(output)
    longs = [graph.make_node("Cast", [key], {"to": 7}) for key in node.input]  # int64
    zeros = [graph.make_node("ConstantOfShape", long.output) for long in longs]
    total = graph.make_node("Add", [zero.output[0] for zero in zeros])
    found = graph.make_node("Shape", total.output)
    graph.remove_node(node.name)
    graph.make_node(
        "Cast",
        found.output,
        {"to": dtype},
        outputs=[output],
        shapes=[shape],
        dtypes=[dtype],
    )


def _open_onnx(folder: Path, name: str) -> Callable[[Arrays], Arrays]:
    import onnxruntime  # noqa: PLC0415  (of an extra)

    session = onnxruntime.InferenceSession(
        folder / f"{name}.onnx", providers=["CPUExecutionProvider"]
    )
    outputs = [output.name for output in session.get_outputs()]
    return lambda inputs: dict(zip(outputs, session.run(outputs, inputs), strict=True))


# -- OpenVINO ------------------------------------------------------------------------


def _write_openvino(folder: Path, name: str, function: Any) -> None:
    import openvino  # noqa: PLC0415  (of an extra)

    model = openvino.Core().read_model(io.BytesIO(_onnx(name, function)))
    openvino.save_model(model, folder / f"{name}.xml", compress_to_fp16=False)


def _open_openvino(folder: Path, name: str) -> Callable[[Arrays], Arrays]:
    import openvino  # noqa: PLC0415  (of an extra)

    # On some processors it would take bfloat16 by itself.
    model = openvino.compile_model(
        folder / f"{name}.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    return lambda inputs: {
        output.any_name: value for output, value in model(inputs).items()
    }


# -- LiteRT --------------------------------------------------------------------------


def _write_litert(folder: Path, name: str, function: Any) -> None:
    converter = tf.lite.TFLiteConverter.from_saved_model(
        str(folder.parent), signature_keys=[name]
    )
    (folder / f"{name}.tflite").write_bytes(converter.convert())


def _open_litert(folder: Path, name: str) -> Callable[[Arrays], Arrays]:
    from ai_edge_litert.interpreter import (  # noqa: PLC0415  (of an extra)
        Interpreter,
    )

    run = Interpreter(str(folder / f"{name}.tflite")).get_signature_runner()
    return lambda inputs: run(**inputs)


_FORMATS = {
    "onnx": _Format((*CONVERTER, "onnxruntime"), _write_onnx, _open_onnx),
    "openvino": _Format((*CONVERTER, "openvino"), _write_openvino, _open_openvino),
    "litert": _Format(("ai_edge_litert",), _write_litert, _open_litert),
}
FORMATS = ("saved_model", *_FORMATS)
