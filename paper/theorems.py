# SPDX-License-Identifier: Apache-2.0
"""The paper's theorems on networks: gaps of identities, and curves of rotations."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from scipy.special import logsumexp

from paper.table import Row
from tf_decomp.experiment.choices import MIXTURE_LOCS
from tf_decomp.networks import MLPDecoder, MLPEncoder
from tf_decomp.priors import (
    NormalMixturePrior,
    NormalPrior,
    Prior,
    SpikeAndSlabPrior,
    StudentTPrior,
)
from tf_decomp.theory import (
    AnnealedPrior,
    anneal,
    corollary_1_constant,
    corollary_1_gap,
    corollary_2_gradients,
    objective_by_angle,
    theorem_1_gap,
)
from tf_decomp.vae import DecompositionVAE

_PRIORS: dict[str, Callable[[str], Prior]] = {
    "normal": lambda dtype: NormalPrior(2, dtype=dtype),
    "normal_anisotropic": lambda dtype: NormalPrior(
        2, variances=[1.7, 0.3], dtype=dtype
    ),
    "student_t": lambda dtype: StudentTPrior(2, df=3.0, dtype=dtype),
    "normal_mixture": lambda dtype: NormalMixturePrior(MIXTURE_LOCS, 0.03, dtype=dtype),
    "spike_and_slab": lambda dtype: SpikeAndSlabPrior(2, dtype=dtype),
}
_NORMALS = ("normal", "normal_anisotropic")
# At beta 2 some networks hardly use their latents, and then rotation changes little.
_ROTATION_BETA = 0.5
_TRAINING_DATA, _BATCH_SIZE, _LEARNING_RATE = 600, 50, 0.02
_ROTATED_AT_ONCE = 10_000
_IDENTITY_DATA = 20
# Untrained networks give data of full size up to -2e8 nats, of which float64 keeps
# 8 decimals only.
_IDENTITY_SCALE = 0.1


class _Size(NamedTuple):
    """How much is computed at a scale.

    C12's rule asks for 6,000 data.
    """

    betas: tuple[float, ...]
    rotated: tuple[str, ...]
    epochs: int
    degrees: tuple[float, ...]
    n: int
    num_samples: int


_EVERY = (tuple(_PRIORS), 40, tuple(range(0, 91, 5)))
_SIZES = {
    "smoke": _Size((2.0,), ("normal_anisotropic",), 10, (0, 30, 60), 600, 1),
    "cpu": _Size((0.5, 2.0, 4.0), *_EVERY, 100_000, 1),
    "paper": _Size((0.5, 2.0, 4.0), *_EVERY, 100_000, 4),
}


def theorem_rows(scale: str, seed: int) -> list[Row]:
    """Returns the rows of one network a prior; identities are of untrained ones.

    Args:
        scale: One of SCALES.
        seed: Of networks, data and noise.
    """
    size = _SIZES[scale]
    rows = [*_identity_rows(size.betas, seed), *_rotation_rows(size, seed)]
    return [{"scale": scale, "seed": seed, **row} for row in rows]


def toy_data(n: int, seed: int) -> np.ndarray:
    """Returns float32 data [n, 3] with two unequal, not normal directions of variation.

    Args:
        n: How many.
        seed: Same seed, same data.
    """
    sources = np.random.default_rng(seed).laplace(size=(n, 2)) * [2.0, 1.0]
    mixing = np.array([[1.0, 0.2, -0.5], [0.1, 1.0, 0.6]])
    return (sources @ mixing).astype("float32")


def _identity_rows(betas: Sequence[float], seed: int) -> list[dict[str, Any]]:
    """Returns the gaps of all identities, in float64, at arbitrary weights."""
    before = keras.config.floatx(), keras.config.dtype_policy()
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    try:
        return [
            {"prior": name, "beta": beta, "n": _IDENTITY_DATA, **row}
            for name, make in _PRIORS.items()
            for beta in betas
            for row in _gaps(name, make("float64"), beta, seed)
        ]
    finally:
        keras.config.set_floatx(before[0])
        keras.config.set_dtype_policy(before[1])


def _gaps(name: str, prior: Prior, beta: float, seed: int) -> list[dict[str, Any]]:
    """Returns each identity's largest gap, and that of a wrong one."""
    vae = _model(prior, seed)
    x = tf.constant(_IDENTITY_SCALE * toy_data(_IDENTITY_DATA, seed), tf.float64)
    noise = tf.random.stateless_normal([3, len(x), 2], [seed, 1], dtype=tf.float64)
    posterior = vae.encode(x)
    z = posterior.mean() + posterior.stddev() * noise
    annealed = anneal(prior, beta)
    # Wrong is the prior itself in place of f_beta.
    wrong = dataclasses.replace(annealed, distribution=annealed.prior)
    gaps = [theorem_1_gap(vae, x, f, z) for f in (annealed, wrong)]
    rows = [_row("theorem 1", *gaps), _normaliser_row(annealed)]
    if name not in _NORMALS:
        return rows
    gap = corollary_1_gap(vae, x, beta, z)
    left, right = corollary_2_gradients(vae, x, beta, noise)
    other, _ = corollary_2_gradients(vae, x, 1.01 * beta, noise)
    return [
        *rows,
        # Wrong is the identity without its constant c.
        _row("corollary 1", gap, gap + corollary_1_constant(annealed)),
        # Wrong is a beta that is 1% larger on one side.
        _row("corollary 2", _differences(left, right), _differences(other, right)),
    ]


def _row(part: str, right: Any, wrong: Any) -> dict[str, Any]:
    largest = [float(np.max(np.abs(gap))) for gap in (right, wrong)]
    return {"part": part, "gap": largest[0], "control_gap": largest[1]}


def _differences(left: Sequence[Any], right: Sequence[Any]) -> np.ndarray:
    pairs = zip(left, right, strict=True)
    return np.concatenate([np.ravel(one - other) for one, other in pairs])


def _normaliser_row(annealed: AnnealedPrior) -> dict[str, Any]:
    """Compares log F_beta with an integral that shares nothing with `theory`."""
    gap = annealed.log_normaliser - log_integral(annealed.prior, annealed.beta)
    wrong = annealed.log_normaliser - log_integral(annealed.prior, 1.1 * annealed.beta)
    return _row("log F_beta", gap, wrong)


def log_integral(prior: Any, beta: float) -> float:
    """Returns the logarithm of the integral of p(z)^beta over two dimensions.

    By the double exponential rule, the trapezoidal rule in t with
    z = sinh(pi/2 sinh t), which takes heavy tails as well.

    Args:
        prior: A float64 distribution of event shape [2].
        beta: The power.
    """
    t = np.linspace(-4.5, 4.5, 401)
    inner = np.pi / 2 * np.sinh(t)
    z, slope = np.sinh(inner), np.cosh(inner) * np.pi / 2 * np.cosh(t)
    grid = np.stack(np.meshgrid(z, z, indexing="ij"), axis=-1)
    log_density = beta * prior.log_prob(grid).numpy()
    log_weights = np.log(slope * (t[1] - t[0]))
    return float(logsumexp(log_density + log_weights[:, None] + log_weights))


def _rotation_rows(size: _Size, seed: int) -> list[dict[str, Any]]:
    """Returns L_beta by angle, of one trained network a prior, on new data."""
    x = toy_data(size.n, seed + 1_000_000)
    rows = []
    for name in size.rotated:
        vae = _model(_PRIORS[name]("float32"), seed)
        vae.compile(keras.optimizers.Adam(_LEARNING_RATE))
        train = toy_data(_TRAINING_DATA, seed)
        vae.fit(train, epochs=size.epochs, batch_size=_BATCH_SIZE, verbose=0)
        arguments = (_ROTATION_BETA, size.degrees, size.num_samples)
        curve = objective_by_angle(vae, x, *arguments, batch_size=_ROTATED_AT_ONCE)
        rows += [
            {
                "part": "theorem 2",
                "prior": name,
                "beta": _ROTATION_BETA,
                "degrees": degrees,
                "objective": curve.objective[i],
                "difference": curve.difference[i],
                "difference_standard_error": curve.difference_standard_error[i],
                "rounding": curve.rounding,
                "n": curve.n,
            }
            for i, degrees in enumerate(curve.degrees)
        ]
    return rows


def _model(prior: Prior, seed: int) -> DecompositionVAE:
    keras.utils.set_random_seed(seed)
    networks = MLPEncoder(2, hidden=(4,)), MLPDecoder(3, hidden=(4,))
    return DecompositionVAE(*networks, prior, beta=_ROTATION_BETA, seed=seed)
