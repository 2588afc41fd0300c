# SPDX-License-Identifier: Apache-2.0
"""How cost grows with the batch, the dimensions, the samples and the data."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

import tf_decomp
from benchmarks.ours import build, random_examples, train_call
from benchmarks.timing import seconds_a_call
from tf_decomp.files import write_json
from tf_decomp.metrics import factor_vae_score


class Growth(NamedTuple):
    """One quantity that grows while all others stay.

    Attributes:
        what: What is timed, and what stays.
        quantity: What grows.
        sizes: Its values.
        make: Gives the function to time of a value.
    """

    what: str
    quantity: str
    sizes: tuple[int, ...]
    make: Callable[[int], Callable[[], Any]]


def run(quick: bool, output: Path) -> None:
    """Times every growth, prints times and log-log slopes, writes them as JSON.

    Args:
        quick: Whether to take the two smallest sizes only, briefly.
        output: The JSON file.
    """
    rows = []
    for growth in GROWTHS:
        sizes = growth.sizes[:2] if quick else growth.sizes
        seconds = [
            seconds_a_call(growth.make(size), 0.01 if quick else 1.0) for size in sizes
        ]
        slope = slope_of(sizes, seconds)
        last = slope_of(sizes[-2:], seconds[-2:])
        rows.append(
            {
                "what": growth.what,
                "quantity": growth.quantity,
                "sizes": sizes,
                "seconds": seconds,
                "slope": slope,
                "last_slope": last,
            }
        )
        times = ", ".join(
            f"{size}: {1000 * each:.4g}"
            for size, each in zip(sizes, seconds, strict=True)
        )
        print(
            f"{growth.what}; {growth.quantity}, ms: {times}; slope {slope:.2f}, "
            f"of the last two {last:.2f}",
            flush=True,
        )
    write_json(output, {"quick": quick, "growths": rows})


def slope_of(sizes: tuple[int, ...], seconds: list[float]) -> float:
    """Returns the least-squares slope of log seconds over log size.

    Example:
        >>> slope_of((1, 2, 4), [1.0, 4.0, 16.0])
        2.0
    """
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def _mmd(batch: int, dim: int) -> Callable[[], Any]:
    x, y = _normals(batch, dim)

    @tf.function
    def call() -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = tf_decomp.dimensionwise_mmd(x, y)
        return value, tape.gradient(value, x)

    return lambda: call()[1].numpy()


def _inclusive_kl(batch: int, dim: int) -> Callable[[], Any]:
    loc, z = _normals(batch, dim)
    prior = tf_decomp.NormalPrior(dim)

    @tf.function
    def call() -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(loc)
            posterior = tfd.MultivariateNormalDiag(loc, tf.ones_like(loc))
            value = tf_decomp.inclusive_kl(z, prior, posterior)
        return value, tape.gradient(value, loc)

    return lambda: call()[1].numpy()


def _step(dataset: str, batch: int, **changes: Any) -> Callable[[], Any]:
    vae = build(dataset, batch_size=batch, **changes)
    return train_call(vae, random_examples(dataset, batch))


def _predict(n: int) -> Callable[[], Any]:
    vae, x = build("fashion_mnist"), random_examples("fashion_mnist", n)
    return lambda: vae.predict(x, batch_size=500, verbose=0)


def _factor_vae(n: int) -> Callable[[], Any]:
    rng = np.random.default_rng(0)
    side = math.isqrt(n)
    factors = np.stack(np.unravel_index(np.arange(side**2), (side, side)), axis=1)
    codes = rng.normal(size=(side**2, 10)).astype(np.float32)
    return lambda: factor_vae_score(
        codes, factors, train_votes=500, evaluation_votes=500
    )


def _pipeline(n: int) -> Callable[[], Any]:
    x = np.random.default_rng(0).normal(size=(n, 2)).astype(np.float32)
    batches = tf_decomp.make_pipeline(
        tf_decomp.Split(x), 400, shuffle=True, seed=0, epochs=400_000 // n + 1
    ).take(1000)
    return lambda: float(batches.reduce(0.0, lambda total, x: total + x[0, 0]))


def _normals(batch: int, dim: int) -> list[tf.Tensor]:
    rng = np.random.default_rng(0)
    return [tf.constant(rng.normal(size=(batch, dim)), tf.float32) for _ in range(2)]


_PLAIN = {"divergence": "none", "alpha": 0.0}
_BATCHES = (250, 500, 1000, 2000, 4000)
GROWTHS = (
    Growth("MMD and gradient, D = 16", "B", _BATCHES, lambda b: _mmd(b, 16)),
    Growth("MMD and gradient, B = 500", "D", (8, 16, 32, 64), lambda d: _mmd(500, d)),
    Growth(
        "inclusive KL and gradient, D = 2", "B", _BATCHES, lambda b: _inclusive_kl(b, 2)
    ),
    Growth(
        "inclusive KL and gradient, B = 500",
        "D",
        (2, 4, 8, 16, 32, 64),
        lambda d: _inclusive_kl(500, d),
    ),
    Growth("dSprites step", "B", (16, 32, 64, 128), lambda b: _step("dsprites", b)),
    Growth(
        "Fashion-MNIST step without MMD",
        "B",
        (50, 100, 200, 400),
        lambda b: _step("fashion_mnist", b, **_PLAIN),
    ),
    Growth(
        "Fashion-MNIST step with MMD",
        "B",
        (50, 100, 200, 400, 800),
        lambda b: _step("fashion_mnist", b),
    ),
    Growth(
        "dSprites step, B = 64",
        "latent_dim",
        (4, 16, 64, 256),
        lambda d: _step("dsprites", 64, latent_dim=d),
    ),
    Growth(
        "Fashion-MNIST step with MMD, B = 100",
        "latent_dim",
        (10, 20, 40, 80, 160),
        lambda d: _step("fashion_mnist", 100, latent_dim=d),
    ),
    Growth(
        "dSprites step, B = 16",
        "num_samples",
        (1, 2, 4, 8, 16),
        lambda k: _step("dsprites", 16, num_samples=k),
    ),
    Growth("posterior means of Fashion-MNIST", "n", (1000, 2000, 4000, 8000), _predict),
    Growth(
        "FactorVAE score, 1,000 votes of 1,000",
        "n",
        (10_000, 100_000, 1_000_000),
        _factor_vae,
    ),
    Growth(
        "1,000 shuffled batches of 400 pairs",
        "n",
        (400, 4_000, 40_000, 400_000),
        _pipeline,
    ),
)
