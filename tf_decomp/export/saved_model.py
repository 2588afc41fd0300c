# SPDX-License-Identifier: Apache-2.0
"""SavedModels: written from a model, loaded without this package."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_decomp.errors import InputError, reason_of
from tf_decomp.export.signatures import INPUTS, endpoints, inputs_of
from tf_decomp.export.warm_up import write_warm_up
from tf_decomp.files import exact, write_atomically
from tf_decomp.vae import DecompositionVAE


def export_saved_model(vae: DecompositionVAE, path: str | Path) -> None:
    """Writes a SavedModel with the signatures below; TensorFlow alone loads it.

    `encode` (also `serving_default`): x -> loc, scale (mean and standard deviation
    of posteriors that have no loc and scale); `encode_sample`: x, eps -> z = loc +
    scale * eps, eps standard noise of the posterior's family, or of a flow what it
    makes of eps; `decode`: z -> mean; `sample_prior`: n, seed -> z; `generate`:
    n, seed -> x; `log_prob_prior`: z -> log_prob, in nats. The first three hold no
    random operation. A posterior that is no such function of noise has no
    `encode_sample`, one without a standard deviation no `encode` either: a warning
    says so.

    Of a ConditionalVAE, `encode`, `encode_sample`, `decode` and `generate` take c last,
    [batch, condition_dim].

    An example with NaN or infinity gives NaN, unless the encoder reads missing
    numbers. `eps` must have the shape of z. `n` may be 0, and at most what keeps every
    tensor of the request within 512 MiB; the error names that limit.

    Args:
        vae: The model.
        path: The folder to make, by custom a number inside the model's folder.

    Raises:
        InputError: The folder exists, or lies below a file.
        OSError: It cannot be written.

    Example:
        >>> export_saved_model(vae, "saved_models/pinwheel/1")
    """
    path = Path(path)
    check_free(path)

    def write(folder: Path) -> None:
        write_saved_model(vae, folder)

    write_atomically(path, write)


def write_saved_model(vae: DecompositionVAE, folder: Path) -> list[str]:
    """Fills a folder as `export_saved_model` does, in plain sight.

    Args:
        vae: The model.
        folder: Must not exist.

    Returns:
        The names of the signatures, `serving_default` first.

    Raises:
        OSError: It cannot be written.
    """
    archive = keras.export.ExportArchive()
    # Finds tables that layers look things up in. The weights come with the functions;
    # of a layer that is tracked itself each would be there twice.
    holder = tf.Module()
    holder.model = vae
    archive.track(holder)
    found = endpoints(vae)
    for name, (function, *specs) in found.items():
        archive.add_endpoint(name, function, input_signature=specs)
    archive.write_out(str(folder), verbose=False)
    write_warm_up(folder, {name: specs for name, (_, *specs) in found.items()})
    return list(found)


def next_version(path: Path) -> Path:
    """Returns the folder of the next version of a model: a number above all there.

    Args:
        path: The model's folder, which need not exist.

    Example:
        >>> next_version(Path("saved_models/pinwheel"))  # saved_models/pinwheel/2
    """
    newest = max((int(p.name) for p in _versions(path)), default=0)
    return path / str(newest + 1)


def check_free(path: Path) -> None:
    """Refuses the folder of an export that cannot be made.

    Args:
        path: The folder.

    Raises:
        InputError: It exists, or lies below a file.
    """
    if path.exists() or path.is_symlink():
        raise InputError(
            f"{path}: already exists and is not overwritten; remove it or choose "
            "another folder"
        )
    above = next(parent for parent in path.parents if parent.exists())
    if not above.is_dir():
        raise InputError(f"{path}: {above} is a file; choose another folder")


class ServedModel:
    """A loaded SavedModel; its methods are the signatures of `export_saved_model`.

    They take tensors, arrays or numbers, and raise `InputError` where these are not
    what the signature takes.

    Args:
        loaded: What `tf.saved_model.load` gave. Its functions alone would not keep its
            variables.

    Example:
        >>> load_encoder("saved_models/pinwheel").generate(10, 0)["x"]
    """

    def __init__(self, loaded: Any) -> None:
        self._loaded = loaded

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Returns the signature of that name as a function of tensors."""
        if name not in INPUTS:
            raise AttributeError(f"expected one of {', '.join(INPUTS)}; got {name}")
        return functools.partial(self._run, name)

    def _run(self, name: str, *values: Any) -> Any:
        if name not in self._loaded.signatures:
            raise InputError(
                f"{name}: was left out of this export, because the model's posterior "
                "does not give it"
            )
        signature = self._loaded.signatures[name]
        specs = signature.structured_input_signature[1]
        names = inputs_of(name, specs)
        if len(values) != len(names):
            raise InputError(
                f"{name}: expected {', '.join(names)}; received {len(values)} arguments"
            )
        tensors = {
            key: _tensor(f"{name}: {key}", value, specs[key])
            for key, value in zip(names, values, strict=True)
        }
        try:
            return signature(**tensors)
        except tf.errors.InvalidArgumentError as error:
            raise InputError(f"{name}: {reason_of(error.message)}") from None


def load_encoder(path: str | Path) -> ServedModel:
    """Loads what `export_saved_model` wrote.

    Args:
        path: The folder, or the one above it: then its highest number is taken.

    Raises:
        InputError: There is no SavedModel.

    Example:
        >>> load_encoder("saved_models/pinwheel").encode(x)["loc"]
    """
    path = Path(path)
    newest = max(_versions(path), key=lambda p: int(p.name), default=path)
    if not (newest / "saved_model.pb").is_file():
        raise InputError(
            f"{path}: holds no SavedModel; give the folder that export_saved_model made"
        )
    with exact(newest) as folder:
        return ServedModel(tf.saved_model.load(str(folder)))


def _versions(path: Path) -> list[Path]:
    entries = path.glob("*") if path.is_dir() else ()
    return [entry for entry in entries if entry.name.isdecimal()]


def _tensor(name: str, value: Any, spec: tf.TensorSpec) -> tf.Tensor:
    """Returns a value as a signature takes it."""
    whole, tensor = spec.dtype.is_integer, None
    try:
        if np.asarray(value).dtype.kind in ("iu" if whole else "iufb"):
            with np.errstate(over="ignore"):  # infinity gives NaN
                tensor = tf.convert_to_tensor(value, spec.dtype)
        if whole and np.any(np.asarray(tensor) != value):
            tensor = None  # of more than 32 bits
    except (TypeError, ValueError, OverflowError):
        tensor = None
    if tensor is None or not spec.shape.is_compatible_with(tensor.shape):
        shape = getattr(value, "shape", None)
        received = repr(value) if shape is None or shape == () else f"shape {shape}"
        raise InputError(
            f"{name} must be {spec.dtype.name} of shape {spec.shape.as_list()}; "
            f"received {getattr(value, 'dtype', type(value).__name__)} {received}"
        )
    return tensor
