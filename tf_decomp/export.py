# SPDX-License-Identifier: Apache-2.0
"""Serving: a SavedModel that loads without this package."""

import functools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_decomp.errors import InputError
from tf_decomp.files import exact, write_atomically
from tf_decomp.likelihoods import likelihood_mean
from tf_decomp.sampling import location_scale, one_or_nan
from tf_decomp.vae import DecompositionVAE

# No tensor of a request for n examples is larger: 512 MiB in float32.
_MOST_NUMBERS = 2**27
_INPUTS = {
    "encode": ("x",),
    "encode_sample": ("x", "eps"),
    "decode": ("z",),
    "sample_prior": ("n", "seed"),
    "generate": ("n", "seed"),
    "log_prob_prior": ("z",),
}


def export_saved_model(vae: DecompositionVAE, path: str | Path) -> None:
    """Writes a SavedModel with the signatures below; TensorFlow alone loads it.

    `encode` (also `serving_default`): x -> loc, scale (mean and standard deviation
    of posteriors that have no loc and scale); `encode_sample`: x, eps -> z = loc +
    scale * eps, eps standard noise of the posterior's family; `decode`: z -> mean;
    `sample_prior`: n, seed -> z; `generate`: n, seed -> x; `log_prob_prior`: z ->
    log_prob, in nats. The first three hold no random operation.

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
    archive = keras.export.ExportArchive()
    archive.track(vae)
    for name, (function, *signature) in _endpoints(vae).items():
        archive.add_endpoint(name, function, input_signature=signature)
    write_atomically(path, lambda name: archive.write_out(str(name), verbose=False))


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
        if name not in _INPUTS:
            raise AttributeError(f"expected one of {', '.join(_INPUTS)}; got {name}")
        return functools.partial(self._run, name)

    def _run(self, name: str, *values: Any) -> Any:
        signature, names = self._loaded.signatures[name], _INPUTS[name]
        if len(values) != len(names):
            raise InputError(
                f"{name}: expected {', '.join(names)}; received {len(values)} arguments"
            )
        specs = signature.structured_input_signature[1]
        tensors = {
            key: _tensor(f"{name}: {key}", value, specs[key])
            for key, value in zip(names, values, strict=True)
        }
        try:
            return signature(**tensors)
        except tf.errors.InvalidArgumentError as error:
            raise InputError(f"{name}: {error.message.splitlines()[0]}") from None


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
    versions = [p for p in path.glob("*") if p.name.isdigit()] if path.is_dir() else []
    newest = max(versions, key=lambda p: int(p.name), default=path)
    if not (newest / "saved_model.pb").is_file():
        raise InputError(
            f"{path}: holds no SavedModel; give the folder that export_saved_model made"
        )
    with exact(newest) as folder:
        return ServedModel(tf.saved_model.load(str(folder)))


def _endpoints(vae: DecompositionVAE) -> dict[str, tuple[Any, ...]]:
    """Returns each signature's function and inputs."""
    dtype = vae.variable_dtype
    x = tf.TensorSpec([None, *vae.data_shape], dtype, "x")
    z = tf.TensorSpec([None, vae.latent_dim], dtype, "z")
    eps = tf.TensorSpec([None, vae.latent_dim], dtype, "eps")
    n, seed = tf.TensorSpec([], tf.int32, "n"), tf.TensorSpec([], tf.int32, "seed")

    def encode(x: tf.Tensor) -> dict[str, tf.Tensor]:
        posterior = vae.encode(x)
        parts = location_scale(posterior)
        if parts is not None:
            return {"loc": parts.loc, "scale": parts.scale}
        known = 1.0 if vae.encodes_missing else one_or_nan(x)[:, tf.newaxis]
        return {"loc": posterior.mean() * known, "scale": posterior.stddev() * known}

    def encode_sample(x: tf.Tensor, eps: tf.Tensor) -> dict[str, tf.Tensor]:
        parts = encode(x)
        # Only equal shapes can be stacked: otherwise eps would be broadcast.
        loc, scale, eps = tf.unstack(tf.stack([parts["loc"], parts["scale"], eps]))
        return {"z": loc + scale * eps}

    def decode(z: tf.Tensor) -> dict[str, tf.Tensor]:
        mean = likelihood_mean(vae.decode(z))
        finite = tf.reshape(one_or_nan(z), [-1] + [1] * len(vae.data_shape))
        return {"mean": mean * finite}

    def draw(n: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        return vae.prior.distribution.sample(n, seed=tf.stack([seed, 0]))

    def draw_data(n: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        return decode(draw(n, seed))["mean"]

    def sample_prior(n: tf.Tensor, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"z": draw(_checked(n, most_latents), seed)}

    def generate(n: tf.Tensor, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"x": draw_data(_checked(n, most_data), seed)}

    def log_prob_prior(z: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"log_prob": vae.prior.distribution.log_prob(z)}

    most_latents, most_data = _most(draw, n, seed), _most(draw_data, n, seed)
    return {
        "encode": (encode, x),
        "encode_sample": (encode_sample, x, eps),
        "decode": (decode, z),
        "sample_prior": (sample_prior, n, seed),
        "generate": (generate, n, seed),
        "log_prob_prior": (log_prob_prior, z),
    }


def _most(function: Callable[..., tf.Tensor], *signature: tf.TensorSpec) -> int:
    """Returns for how many examples no tensor has more than _MOST_NUMBERS numbers."""
    graph = tf.function(function, signature).get_concrete_function().graph
    shapes = [out.shape for op in graph.get_operations() for out in op.outputs]
    sizes = [
        math.prod(shape[1:])
        for shape in shapes
        if shape.rank and shape[0] is None and shape[1:].is_fully_defined()
    ]
    return max(1, _MOST_NUMBERS // max(sizes))


def _checked(n: tf.Tensor, most: int) -> tf.Tensor:
    """Returns n, and lets the request fail where it is out of range."""
    message = f"n must be from 0 to {most}; received"
    check = tf.debugging.Assert((n >= 0) & (n <= most), [message, n])
    with tf.control_dependencies([check]):
        return tf.identity(n)


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
