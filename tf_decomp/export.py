# SPDX-License-Identifier: Apache-2.0
"""Serving: a SavedModel that loads without this package."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from tf_decomp.errors import InputError
from tf_decomp.files import write_atomically
from tf_decomp.sampling import location_scale
from tf_decomp.vae import DecompositionVAE


def export_saved_model(vae: DecompositionVAE, path: str | Path) -> None:
    """Writes a SavedModel with the signatures below; TensorFlow alone loads it.

    `encode` (also `serving_default`): x -> loc, scale (mean and standard deviation
    of posteriors that have no loc and scale); `encode_sample`: x, eps -> z = loc +
    scale * eps, eps standard noise of the posterior's family; `decode`: z -> mean;
    `sample_prior`: n, seed -> z; `generate`: n, seed -> x; `log_prob_prior`: z ->
    log_prob, in nats. The first three hold no random operation.

    Args:
        vae: The model.
        path: The folder to make, by custom a number inside the model's folder.

    Raises:
        InputError: The folder exists.

    Example:
        >>> export_saved_model(vae, "saved_models/pinwheel/1")
    """
    path = Path(path)
    if path.exists():
        raise InputError(
            f"{path}: already exists and is not overwritten; remove it or choose "
            "another folder"
        )
    archive = keras.export.ExportArchive()
    archive.track(vae)
    for name, (function, *signature) in _endpoints(vae).items():
        archive.add_endpoint(name, function, input_signature=signature)
    write_atomically(path, lambda name: archive.write_out(str(name), verbose=False))


class ServedModel:
    """A loaded SavedModel; its methods are the signatures of `export_saved_model`.

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
        return functools.partial(self._run, getattr(self._loaded, name))

    def _run(self, function: Callable[..., Any], *inputs: Any) -> Any:
        return function(*inputs)


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
    return ServedModel(tf.saved_model.load(str(newest)))


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
        if parts is None:
            return {"loc": posterior.mean(), "scale": posterior.stddev()}
        return {"loc": parts.loc, "scale": parts.scale}

    def encode_sample(x: tf.Tensor, eps: tf.Tensor) -> dict[str, tf.Tensor]:
        parts = encode(x)
        return {"z": parts["loc"] + parts["scale"] * eps}

    def decode(z: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"mean": vae.decode(z).mean()}

    def sample_prior(n: tf.Tensor, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"z": vae.prior.distribution.sample(n, seed=tf.stack([seed, 0]))}

    def generate(n: tf.Tensor, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"x": decode(sample_prior(n, seed)["z"])["mean"]}

    def log_prob_prior(z: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"log_prob": vae.prior.distribution.log_prob(z)}

    return {
        "encode": (encode, x),
        "encode_sample": (encode_sample, x, eps),
        "decode": (decode, z),
        "sample_prior": (sample_prior, n, seed),
        "generate": (generate, n, seed),
        "log_prob_prior": (log_prob_prior, z),
    }
