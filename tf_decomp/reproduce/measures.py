# SPDX-License-Identifier: Apache-2.0
"""What a figure asks of one trained network, on its test set."""

import json
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tf_decomp.config import ExperimentConfig
from tf_decomp.data import Split, load_dataset, make_pipeline
from tf_decomp.evaluation_rows import mapped_codes
from tf_decomp.metrics import (
    encode_data,
    factor_vae_score,
    hoyer_sparsity,
    mutual_information_gap,
    overlap_report,
    regularisation_report,
)
from tf_decomp.reproduce.statistics import Row
from tf_decomp.run_files import RunFiles
from tf_decomp.vae import DecompositionVAE

_BATCH = 500


class Trained(NamedTuple):
    """A finished run with the encodings of its test set.

    Attributes:
        config: Its settings.
        vae: The model.
        test: Its test set.
        posterior: q(z|x) of it, batch shape [n].
        metrics: What metrics.json holds, values only, without `test/`.
    """

    config: ExperimentConfig
    vae: DecompositionVAE
    test: Split
    posterior: tfd.Distribution
    metrics: dict[str, float]


def load_run(files: RunFiles) -> Trained:
    """Loads a finished run and encodes its test set.

    Args:
        files: Of the run.
    """
    config = ExperimentConfig.from_flags(files.config.read_text(encoding="utf-8"))
    vae = keras.models.load_model(files.model)
    test = load_dataset(
        config.dataset,
        config.data_dir or None,
        config.image_size,
        config.max_train_examples or None,
        config.seed,
    ).test
    batches = make_pipeline(test, min(_BATCH, len(test.x)), shuffle=False, seed=0)
    metrics = json.loads(files.metrics.read_text(encoding="utf-8"))
    values = {k.removeprefix("test/"): v["value"] for k, v in metrics.items()}
    return Trained(config, vae, test, encode_data(vae, batches), values)


def measure_clusters(files: RunFiles) -> list[Row]:
    """Gives the two factors of a pinwheel network; of seed 0 the encodings too.

    Args:
        files: Of the run.
    """
    run = load_run(files)
    overlap = overlap_report(run.posterior)
    match = regularisation_report(run.posterior, run.vae.prior)
    network = {
        "kind": "network",
        **_fit(run),
        "overlap": overlap.overlap.value,
        "mutual_information": overlap.mutual_information.value,
        "encoder_entropy": overlap.encoder_entropy.value,
        "aggregate_kl": match.kl.value,
        "inclusive_kl": match.inclusive_kl.value,
        "joint_mmd": match.joint_mmd.value,
        "rarest_mode_share": _rarest_mode_share(run),
        "n": overlap.n,
    }
    return [network, *(_encodings(run.posterior) if run.config.seed == 0 else [])]


def measure_disentanglement(files: RunFiles) -> list[Row]:
    """Gives the scores of a dSprites network.

    Args:
        files: Of the run.
    """
    run = load_run(files)
    codes, factors = run.posterior.mean().numpy(), np.asarray(run.test.factors)
    score = factor_vae_score(codes, factors)
    # Normal priors are their own map.
    mapped = mapped_codes(codes, run.vae.prior)
    other = score if mapped is None else factor_vae_score(mapped, factors)
    return [
        {
            **_fit(run),
            "factor_vae_score": score.value,
            "factor_vae_chance": score.chance,
            "factor_vae_score_mapped": other.value,
            "margin": score.margin,
            "mutual_information_gap": mutual_information_gap(codes, factors).value,
            "n": len(codes),
        }
    ]


def measure_sparsity(files: RunFiles) -> list[Row]:
    """Gives the sparsity and the match of a Fashion-MNIST network.

    Args:
        files: Of the run.
    """
    run = load_run(files)
    score = hoyer_sparsity(run.posterior.mean().numpy())
    return [
        {
            **_fit(run),
            "mmd": run.metrics["divergence"],
            "hoyer": score.value,
            "hoyer_active": score.active_value,
            "hoyer_chance": score.gaussian_value,
            "n": score.n,
        }
    ]


def _fit(run: Trained) -> dict[str, float]:
    return {name: run.metrics[name] for name in ("log_likelihood", "kl")}


def _rarest_mode_share(run: Trained) -> float:
    """Gives the least share of codes, one a datum, whose nearest mode is the same."""
    locs = np.array(run.vae.prior.get_config()["locs"])
    z = run.posterior.sample(seed=tf.constant([0, 4])).numpy()
    nearest = np.argmin(((z[:, None] - locs) ** 2).sum(-1), axis=1)
    return float(np.bincount(nearest, minlength=len(locs)).min() / len(z))


def _encodings(posterior: Any) -> list[Row]:
    """Gives one row a datum: its posterior's mean and standard deviation."""
    pairs = zip(posterior.mean().numpy(), posterior.stddev().numpy(), strict=True)
    return [
        {"kind": "encoding"}
        | {f"mean_{d + 1}": float(mean[d]) for d in (0, 1)}
        | {f"deviation_{d + 1}": float(deviation[d]) for d in (0, 1)}
        for mean, deviation in pairs
    ]
