# SPDX-License-Identifier: Apache-2.0
"""The workloads as a user of tf_decomp runs them."""

import dataclasses
import functools
import importlib
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tf_decomp  # isort: skip  (before TensorFlow: it turns oneDNN on)
import keras
import numpy as np
import tensorflow as tf

from benchmarks.flops import forward_multiply_adds, training_flops
from benchmarks.timing import (
    Settings,
    cores,
    interleaved,
    run_worker,
    seconds_a_call,
)
from tf_decomp.metrics import factor_vae_score, marginal_log_likelihood

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
IMAGE_SHAPES = {"dsprites": (64, 64, 1), "fashion_mnist": (32, 32, 1)}
DSPRITES_FACTORS = (3, 6, 40, 32, 32)

_STEPS_AN_EXECUTION = 50


def build(dataset: str, **changes: Any) -> tf_decomp.DecompositionVAE:
    """Returns the compiled model of configs/DATASET.flags with some settings changed.

    Args:
        dataset: "pinwheel", "dsprites" or "fashion_mnist".
        **changes: Fields of ExperimentConfig.
    """
    text = (CONFIGS / f"{dataset}.flags").read_text(encoding="utf-8")
    config = dataclasses.replace(tf_decomp.ExperimentConfig.from_flags(text), **changes)
    keras.utils.set_random_seed(config.seed)
    vae = tf_decomp.build_vae(config, IMAGE_SHAPES.get(dataset, (2,)))
    optimizer = keras.optimizers.Adam(config.learning_rate, amsgrad=True)
    vae.compile(optimizer, steps_per_execution=_STEPS_AN_EXECUTION)
    return vae


def random_examples(dataset: str, n: int) -> np.ndarray:
    """Returns random data [n, ...] of the shape and range of a data set."""
    rng = np.random.default_rng(0)
    if dataset == "pinwheel":
        return rng.normal(size=(n, 2)).astype(np.float32)
    pixels = rng.random((n, *IMAGE_SHAPES[dataset]), np.float32)
    return pixels.round() if dataset == "dsprites" else pixels


def train_call(vae: tf_decomp.DecompositionVAE, x: np.ndarray) -> Callable[[], float]:
    """Returns a function that takes one compiled training step on x."""
    step, data = tf.function(vae.train_step), tf.constant(x)
    return lambda: float(step(data)["loss"])


def _pinwheel(
    settings: Settings, steps_an_epoch: int, **changes: Any
) -> dict[str, float]:
    vae, x = build("pinwheel", **changes), random_examples("pinwheel", 400)
    steps = 2 * _STEPS_AN_EXECUTION if settings.quick else steps_an_epoch
    data = tf.constant(x)

    @tf.function
    def loop(x: tf.Tensor) -> tf.Tensor:
        loss = vae.train_step(x)["loss"]
        for _ in tf.range(_STEPS_AN_EXECUTION - 1):
            loss = vae.train_step(x)["loss"]
        return loss

    single = train_call(vae, x)

    batches = tf_decomp.make_pipeline(
        tf_decomp.Split(x), len(x), shuffle=True, seed=0, epochs=steps
    )

    def fit() -> None:
        vae.fit(batches, epochs=1, steps_per_epoch=steps, shuffle=False, verbose=0)

    times = interleaved(
        {
            "fit": fit,
            "loop": lambda: [
                float(loop(data)) for _ in range(steps // _STEPS_AN_EXECUTION)
            ],
            "single": lambda: [single() for _ in range(steps // 5)],
        },
        rounds=1 if settings.quick else 3,
    )
    fit_times, loop_times = np.array(times["fit"]), np.array(times["loop"])
    return {
        "value": steps / float(np.median(fit_times)),
        "bare": steps / float(np.median(loop_times)),
        "bare_single_call": steps / 5 / float(np.median(times["single"])),
        "fit_share": float(np.median(loop_times / fit_times)),
        "flops_an_example": training_flops(vae.encoder, vae.decoder),
    }


def _images(dataset: str, settings: Settings, **changes: Any) -> dict[str, float]:
    batch = 8 if settings.quick else changes["batch_size"]
    vae = build(dataset, **changes)
    call = train_call(vae, random_examples(dataset, batch))
    return {
        "value": batch / seconds_a_call(call, settings.seconds),
        "flops_an_example": training_flops(vae.encoder, vae.decoder),
    }


def _mmd(settings: Settings) -> dict[str, float]:
    size = (20, 3) if settings.quick else (500, 50)
    rng = np.random.default_rng(0)
    x, y = (tf.constant(rng.normal(size=size), tf.float32) for _ in range(2))

    @tf.function
    def value_and_gradient(x: tf.Tensor, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = tf_decomp.dimensionwise_mmd(x, y)
        return value, tape.gradient(value, x)

    def call() -> np.ndarray:
        return value_and_gradient(x, y)[1].numpy()

    return {"value": 1000 * seconds_a_call(call, settings.seconds)}


def _encode(settings: Settings) -> dict[str, float]:
    vae, n = build("fashion_mnist"), 100 if settings.quick else 10_000
    x = random_examples("fashion_mnist", n)
    seconds = seconds_a_call(
        lambda: vae.predict(x, batch_size=500, verbose=0), settings.seconds
    )
    return {
        "value": n / seconds,
        "flops_an_example": 2 * forward_multiply_adds(vae.encoder.body),
    }


def _iwae(settings: Settings) -> dict[str, float]:
    vae, n = build("fashion_mnist"), 4 if settings.quick else 100
    samples = 10 if settings.quick else 100
    x = random_examples("fashion_mnist", n)
    times = interleaved(
        {"call": lambda: marginal_log_likelihood(vae, x, samples)},
        rounds=1 if settings.quick else 2,
    )
    return {"value": n / min(times["call"])}


def _factor_vae(settings: Settings) -> dict[str, float]:
    sizes = (3, 4, 5, 6, 7) if settings.quick else DSPRITES_FACTORS
    votes, samples = (100, 20) if settings.quick else (10_000, 1_000)
    n, rng = math.prod(sizes), np.random.default_rng(0)
    factors = np.stack(np.unravel_index(np.arange(n), sizes), axis=1)
    codes = rng.normal(size=(n, 10)).astype(np.float32)
    codes[:, :5] += factors / np.array(sizes)
    times = interleaved(
        {
            "score": lambda: factor_vae_score(
                codes,
                factors,
                train_votes=votes,
                evaluation_votes=votes,
                samples_per_vote=samples,
            )
        },
        rounds=1 if settings.quick else 2,
    )
    return {"value": min(times["score"])}


def _import(settings: Settings) -> dict[str, float]:
    distributions = "from tensorflow_probability import distributions, layers"
    programs = {
        "ours": "import tf_decomp",
        # TFP loads its parts when they are used.
        "dependencies": f"import tensorflow, keras; {distributions}; "
        "distributions.Normal, layers.DistributionLambda",
    }

    def run(program: str) -> None:
        command = [sys.executable, "-c", program]
        subprocess.run(command, check=True, capture_output=True)

    calls = {name: functools.partial(run, text) for name, text in programs.items()}
    times = interleaved(calls, rounds=1 if settings.quick else 5)
    ours, dependencies = (float(np.median(times[name])) for name in programs)
    return {"value": ours, "over_dependencies": ours / dependencies}


def _pipeline(dataset: str, settings: Settings) -> dict[str, float]:
    n = 1_000 if settings.quick else {"dsprites": 737_280}.get(dataset, 60_000)
    batch = {"dsprites": 64}.get(dataset, 500)
    if dataset == "dsprites":
        # The function that the real splits carry.
        unpack = importlib.import_module("tf_decomp.data.dsprites")._unpack
        packed = np.random.default_rng(0).integers(0, 256, (n, 512), np.uint8)
        split = tf_decomp.Split(packed, unpack=functools.partial(unpack, image_size=64))
    else:
        split = tf_decomp.Split(random_examples(dataset, n))
    taken = min(n, 60_000) // batch
    batches = tf_decomp.make_pipeline(split, batch, shuffle=True, seed=0).take(taken)

    def call() -> float:
        return float(batches.reduce(0.0, lambda total, x: total + x[0, 0, 0, 0]))

    return {"value": taken * batch / seconds_a_call(call, settings.seconds)}


def _matmul(settings: Settings) -> dict[str, float]:
    n = 64 if settings.quick else 2048
    a, b = (tf.random.stateless_normal([n, n], [0, k]) for k in range(2))
    product = tf.function(tf.linalg.matmul)
    times = [
        seconds_a_call(lambda: product(a, b)[0, 0].numpy(), settings.seconds / 5)
        for _ in range(5)
    ]
    return {"value": 2 * n**3 / min(times) / 1e9}


PLAIN: dict[str, Any] = {"divergence": "none", "alpha": 0.0}
WORKLOADS: dict[str, Callable[[Settings], dict[str, float]]] = {
    "matmul": _matmul,
    # Two seconds each: 0.1 s of every `fit` are not steps.
    "pinwheel_beta": functools.partial(_pinwheel, steps_an_epoch=3000, **PLAIN),
    "pinwheel_kl": functools.partial(_pinwheel, steps_an_epoch=1000),
    "dsprites": functools.partial(_images, "dsprites", batch_size=64),
    "fashion_mnist": functools.partial(
        _images, "fashion_mnist", batch_size=500, **PLAIN
    ),
    "fashion_mnist_mmd": functools.partial(_images, "fashion_mnist", batch_size=500),
    "mmd": _mmd,
    "encode": _encode,
    "iwae": _iwae,
    "factor_vae": _factor_vae,
    "import": _import,
    "pipeline_dsprites": functools.partial(_pipeline, "dsprites"),
    "pipeline_fashion_mnist": functools.partial(_pipeline, "fashion_mnist"),
}

if __name__ == "__main__":
    tf.config.threading.set_intra_op_parallelism_threads(cores())
    run_worker(WORKLOADS)
