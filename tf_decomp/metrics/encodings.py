# SPDX-License-Identifier: Apache-2.0
"""What the metrics on encodings share: encoding data, sampling q(z), errors."""

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tf_decomp.batches import (
    check_conditions,
    examples_of,
    is_array,
    is_conditional,
    kind_of,
    refuse_conditions,
    refuse_structure,
)
from tf_decomp.checks import (
    check_memory,
    check_whole_number,
    short,
)
from tf_decomp.errors import InputError
from tf_decomp.priors import Prior, as_prior
from tf_decomp.sampling import join, of_tfp, plain, stateless_seed
from tf_decomp.tracing import traced

MOST_SEED = 2**31 - 1  # TensorFlow takes an int32


def encode_data(
    model: Any, x: Any, batch_size: int = 500, c: Any = None
) -> tfd.Distribution:
    """Returns q(z|x) of all data as one posterior, batch shape [n].

    Args:
        model: With `encode(x)`, as a DecompositionVAE.
        x: An array [n, *data_shape], a `tf.data.Dataset` or another iterable of
            batches x, (x,) or (x, y, ...).
        batch_size: How many examples are encoded at once.
        c: Of a conditional model, the conditions [n, condition_dim] beside an array;
            iterables are then of batches (x, c).

    Raises:
        InputError: There is no datum, the encoder's posteriors cannot be joined, or
            there are conditions of a model that takes none.

    Example:
        >>> overlap_report(encode_data(vae, x))
    """
    encode = traced(model.encode)
    parts = [
        plain(encode(*map(tf.constant, examples)))
        for examples in batches(model, x, batch_size, c)
    ]
    params = [tf.nest.flatten(part, expand_composites=True) for part in parts]
    for part, tensors in zip(parts, params, strict=True):
        size = part.batch_shape[0]
        if not all(t.shape.rank and t.shape[0] == size for t in tensors):
            raise InputError(
                "encode_data: every parameter of the posterior must have the batch as "
                f"its first axis; received {[t.shape.as_list() for t in tensors]} for "
                f"{size} examples, broadcast them in the encoder"
            )
    return join(parts)


def batches(
    model: Any, x: Any, size: int, c: Any = None
) -> Iterator[tuple[np.ndarray, ...]]:
    """Yields arrays (x,) of at most `size` data, or (x, c) for a conditional model.

    Args:
        model: As of `encode_data`.
        x: An array [n, *data_shape], or an iterable of batches x, (x,) or (x, y, ...).
        size: The most rows at once.
        c: As of `encode_data`.

    Raises:
        InputError: There is no datum, a batch is no dense tensor, or conditions are
            wanted and missing, or the other way round.
    """
    check_whole_number("batch_size", size, 1)
    conditional, empty = is_conditional(model), True
    refuse_conditions(model, c)
    if is_array(x) and conditional:
        check_conditions("x", c, model.condition_dim, x)
    elif c is not None:
        raise InputError(
            "c: expected conditions beside an array x; received some beside "
            f"{kind_of(x)}, make data of batches (x, c)"
        )
    refuse_structure("x", x, lists=False)  # a list may be of batches
    # An array may lie in a file: it is read part by part.
    whole = [(x, c)[: 1 + conditional]] if is_array(x) else None
    for parts in whole or examples_of(x, None, conditional):
        for start in range(0, len(parts[0]), size):
            empty = False
            yield tuple(np.asarray(part[start : start + size]) for part in parts)
    if empty:
        raise InputError(
            "x: expected data [n, *data_shape] or an iterable of batches that can be "
            "read again; received no datum"
        )


def check_posterior(posterior: tfd.Distribution, num_samples: int) -> tfd.Distribution:
    """Returns the posterior of all data without the coercion of TFP's layers.

    Args:
        posterior: Batch shape [n], event shape [latent_dim].
        num_samples: Of the report; at least 2.

    Raises:
        InputError: The shapes are others, or there are too few samples.
    """
    batch = getattr(posterior, "batch_shape", tf.TensorShape(None))
    if batch.rank != 1 or posterior.event_shape.rank != 1 or batch == [0]:
        raise InputError(
            "posterior: expected a distribution with batch shape [n], one member for "
            f"each datum, and event shape [latent_dim]; received {short(posterior)}; "
            "encode_data(model, x) makes one"
        )
    check_whole_number("the number of samples", num_samples, 2)
    check_memory(
        8 * num_samples * max(1, posterior.event_shape[0]),
        f"a report of {num_samples:,} samples",
        "take fewer",
    )
    return plain(posterior)


def check_prior(
    prior: Prior | tfd.Distribution, posterior: tfd.Distribution
) -> tfd.Distribution:
    """Returns p(z), with the event shape of the posterior.

    Args:
        prior: Batch shape [], event shape [latent_dim].
        posterior: Event shape [latent_dim].

    Raises:
        InputError: It is no prior, or the shapes differ.
    """
    p = as_prior(prior).distribution
    if p.event_shape != posterior.event_shape:
        raise InputError(
            f"prior: expected event shape {posterior.event_shape}, as the posterior's; "
            f"received {p.event_shape}"
        )
    return p


def posterior_seed(posterior: tfd.Distribution) -> int:
    """Returns a seed that is a digest of all parameters, so that runs draw apart.

    Numbers of one seed for every run would share their noise: what is rare would be
    so in all of them at once.

    Args:
        posterior: From `check_posterior`.
    """
    digest = hashlib.blake2b(digest_size=4)
    for parameter in tf.nest.flatten(posterior, expand_composites=True):
        digest.update(np.ascontiguousarray(parameter).data)
    return int.from_bytes(digest.digest(), "big") >> 1  # an int32, not negative


def aggregate_sources(n: int, num_samples: int, seed: int) -> np.ndarray:
    """Returns the datum [num_samples] of each row of `sample_aggregate`.

    Args:
        n: Number of data.
        num_samples: How many.
        seed: Same seed, same data.
    """
    rounds = np.tile(np.arange(n), (-(-num_samples // n), 1))
    rng = np.random.default_rng(seed)
    return rng.permuted(rounds, axis=1).ravel()[:num_samples]


def sample_aggregate(
    posterior: tfd.Distribution, num_samples: int, seed: int
) -> tf.Tensor:
    """Returns samples [num_samples, latent_dim] of q(z) = (1/n) sum_i q(z|x_i).

    Each z is drawn from q(z|x_i), i uniform; data are repeated only when there are
    fewer than samples, and then equally often but for one. That varies no more than
    independent draws, so that standard errors of independent ones are safe. The
    first n rows are of different data.

    Args:
        posterior: Batch shape [n], event shape [latent_dim].
        num_samples: How many.
        seed: Same seed, same samples.
    """
    n = posterior.batch_shape[0]
    draws = posterior.sample(-(-num_samples // n), seed=stateless_seed(seed))
    rows = np.arange(num_samples) // n * n + aggregate_sources(n, num_samples, seed)
    return tf.gather(tf.reshape(draws, [-1, draws.shape[-1]]), rows)


def marginals(posterior: tfd.Distribution) -> tfd.Distribution | None:
    """Returns q(z_d|x) of every dimension, batch shape [n, latent_dim], if it is known.

    It is for independent dimensions and for TFP's multivariate normals, else None.

    Args:
        posterior: Batch shape [n], event shape [latent_dim].
    """
    is_normal = isinstance(posterior, tfd.MultivariateNormalLinearOperator)
    if is_normal and of_tfp(posterior):
        return tfd.Normal(posterior.mean(), posterior.stddev())
    if type(posterior) is tfd.Independent:
        each = posterior.distribution
        return each if each.event_shape.rank == 0 else None
    return None
