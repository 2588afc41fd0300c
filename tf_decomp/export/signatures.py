# SPDX-License-Identifier: Apache-2.0
"""The functions of a model that are served, and what each takes."""

import functools
import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from tf_decomp.likelihoods import class_probabilities, likelihood_point
from tf_decomp.sampling import (
    location_scale,
    one_or_nan,
    sample_with,
    standard_noise,
)
from tf_decomp.vae import DecompositionVAE

# No tensor of a request for n examples is larger: 512 MiB in float32.
_MOST_NUMBERS = 2**27
INPUTS = {
    "encode": ("x",),
    "encode_sample": ("x", "eps"),
    "decode": ("z",),
    "sample_prior": ("n", "seed"),
    "generate": ("n", "seed"),
    "log_prob_prior": ("z",),
}
# Of a conditional model the last input of these is c, one condition for each example.
_CONDITIONAL = ("encode", "encode_sample", "decode", "generate")
# Those without a random operation, which other runtimes take.
DETERMINISTIC = ("encode", "encode_sample", "decode")


def inputs_of(name: str, specs: Mapping[str, tf.TensorSpec]) -> tuple[str, ...]:
    """Returns the names of a signature's inputs in the order in which they are given.

    Args:
        name: Of the signature.
        specs: Of the inputs, by name.
    """
    return (*INPUTS[name], *(("c",) if "c" in specs else ()))


def endpoints(vae: DecompositionVAE) -> dict[str, tuple[Any, ...]]:
    """Returns each signature's function and inputs; warns of those that are left out.

    Args:
        vae: The model.
    """
    dtype = vae.variable_dtype
    x = tf.TensorSpec([None, *vae.data_shape], dtype, "x")
    z = tf.TensorSpec([None, vae.latent_dim], dtype, "z")
    eps = tf.TensorSpec([None, vae.latent_dim], dtype, "eps")
    n, seed = tf.TensorSpec([], tf.int32, "n"), tf.TensorSpec([], tf.int32, "seed")
    condition = []
    if vae.condition_dim is not None:
        condition = [tf.TensorSpec([None, vae.condition_dim], dtype, "c")]

    def encode(x: tf.Tensor, *c: tf.Tensor) -> dict[str, tf.Tensor]:
        posterior = vae.encode(x, *c)
        parts = location_scale(posterior)
        if parts is not None:
            return {"loc": parts.loc, "scale": parts.scale}
        known = 1.0 if vae.encodes_missing else one_or_nan(x)[:, tf.newaxis]
        for each in c:
            known *= one_or_nan(each)[:, tf.newaxis]
        return {"loc": posterior.mean() * known, "scale": posterior.stddev() * known}

    def encode_sample(
        x: tf.Tensor, eps: tf.Tensor, *c: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        posterior = vae.encode(x, *c)
        loc = (location_scale(posterior) or posterior).loc
        # Only equal shapes can be stacked: otherwise eps would be broadcast.
        _, eps = tf.unstack(tf.stack([loc, eps]))
        return {"z": sample_with(posterior, [], eps)}

    def decode(z: tf.Tensor, *c: tf.Tensor) -> dict[str, tf.Tensor]:
        likelihood = vae.decode(z, *c)
        probs = class_probabilities(likelihood)
        if probs is not None:
            return {"probs": probs * _known(probs, z, *c)}
        mean = likelihood_point(likelihood)
        return {"mean": mean * _known(mean, z, *c)}

    def draw(n: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        return vae.prior.distribution.sample(n, seed=tf.stack([seed, 0]))

    def draw_data(n: tf.Tensor, seed: tf.Tensor, *c: tf.Tensor) -> tf.Tensor:
        return likelihood_point(vae.decode(draw(n, seed), *c))

    def sample_prior(n: tf.Tensor, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"z": draw(_checked(n, most_latents), seed)}

    def generate(n: tf.Tensor, seed: tf.Tensor, *c: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"x": draw_data(_checked(n, most_data), seed, *c)}

    def log_prob_prior(z: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"log_prob": vae.prior.distribution.log_prob(z)}

    most_latents = _most(draw, n, seed)
    most_data = _most(draw_data, n, seed, *condition)
    found: dict[str, tuple[Any, ...]] = {
        "encode": (encode, x),
        "encode_sample": (encode_sample, x, eps),
        "decode": (decode, z),
        "sample_prior": (sample_prior, n, seed),
        "generate": (generate, n, seed),
        "log_prob_prior": (log_prob_prior, z),
    }
    for name in _CONDITIONAL:
        found[name] = (*found[name], *condition)
    left_out = _left_out(vae, x, *condition)
    return {name: of for name, of in found.items() if name not in left_out}


def _known(decoded: tf.Tensor, *inputs: tf.Tensor) -> tf.Tensor:
    """Returns 1 or NaN for each code, of as many axes as what it is decoded to."""
    known = functools.reduce(tf.multiply, map(one_or_nan, inputs))
    return tf.reshape(known, [-1] + [1] * (decoded.shape.rank - 1))


def _left_out(vae: DecompositionVAE, *inputs: tf.TensorSpec) -> tuple[str, ...]:
    """Returns the signatures that the posterior does not give, and warns of them."""
    zeros = (tf.zeros([1, *spec.shape[1:]], spec.dtype) for spec in inputs)
    posterior = vae.encode(*zeros)
    if standard_noise(posterior) is not None:
        return ()
    names: tuple[str, ...] = ("encode_sample",)
    lacks = "is no function of standard noise"
    try:
        posterior.stddev()
    except NotImplementedError:
        names, lacks = ("encode", "encode_sample"), "has no standard deviation"
    warnings.warn(
        f"the export leaves {' and '.join(names)} out: the posterior "
        f"({type(posterior).__name__}) {lacks}",
        stacklevel=2,
    )
    return names


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
