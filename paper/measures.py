# SPDX-License-Identifier: Apache-2.0
"""What a figure asks of one trained network, on its test set."""

import json
from typing import Any

import numpy as np
import scipy.stats
import tensorflow as tf

from paper.statistics import Row
from tf_decomp.evaluation.rows import mapped_codes
from tf_decomp.experiment.finished import FinishedRun, load_finished_run
from tf_decomp.experiment.run_files import RunFiles
from tf_decomp.metrics import (
    factor_vae_score,
    hoyer_sparsity,
    mutual_information_gap,
    overlap_report,
    regularisation_report,
)

_DRAWS = 50


def measure_clusters(files: RunFiles) -> list[Row]:
    """Gives the two factors of a pinwheel network.

    Args:
        files: Of the run.
    """
    return [{"kind": "network", **_match(load_finished_run(files), files)}]


def measure_encodings(files: RunFiles) -> list[Row]:
    """Gives the two factors of a pinwheel network that is drawn, and its encodings.

    Args:
        files: Of the run.
    """
    run = load_finished_run(files)
    return [{"kind": "drawn", **_match(run, files)}, *_encodings(run.posterior)]


def measure_match(files: RunFiles) -> list[Row]:
    """Gives the two factors of a pinwheel network alone.

    Args:
        files: Of the run.
    """
    return [_match(load_finished_run(files), files)]


def measure_disentanglement(files: RunFiles) -> list[Row]:
    """Gives the scores of a dSprites network.

    Args:
        files: Of the run.
    """
    run = load_finished_run(files)
    codes, factors = run.posterior.mean().numpy(), np.asarray(run.test.factors)
    known = {
        "posterior_scales": run.posterior.stddev().numpy(),
        "seed": run.config.seed,
    }
    score = factor_vae_score(codes, factors, **known)
    # Normal priors are their own map; inactive dimensions are the same ones.
    mapped = mapped_codes(codes, run.vae.prior)
    kept = np.delete(mapped, score.dropped, axis=1) if mapped is not None else None
    other = score
    if kept is not None and kept.size:
        other = factor_vae_score(kept, factors, seed=run.config.seed)
    return [
        {
            **_fit(files),
            "active_dimensions": codes.shape[1] - len(score.dropped),
            "factor_vae_score": score.value,
            "factor_vae_score_all": score.value_all,
            "factor_vae_score_sampled": score.value_sampled,
            "factor_vae_score_mapped": other.value,
            "factor_vae_chance": score.chance,
            "margin": score.margin,
            "mutual_information_gap": mutual_information_gap(
                codes, factors, **known
            ).value,
            "n": len(codes),
        }
    ]


def measure_sparsity(files: RunFiles) -> list[Row]:
    """Gives the sparsity and the match of a Fashion-MNIST network.

    Args:
        files: Of the run.
    """
    run = load_finished_run(files)
    score = hoyer_sparsity(
        run.posterior.mean().numpy(), posterior_scales=run.posterior.stddev().numpy()
    )
    return [
        {
            **_fit(files),
            "mmd": read_metrics(files)["divergence"],
            "hoyer": score.value,
            "hoyer_active": score.active_value,
            "hoyer_sampled": score.value_sampled,
            "active_dimensions": run.vae.latent_dim - len(score.inactive),
            "hoyer_chance": score.gaussian_value,
            "n": score.n,
        }
    ]


def read_metrics(files: RunFiles) -> dict[str, float]:
    """Gives the values of metrics.json by name, without `test/`.

    Args:
        files: Of the run.
    """
    metrics = json.loads(files.metrics.read_text(encoding="utf-8"))
    return {k.removeprefix("test/"): v["value"] for k, v in metrics.items()}


def _match(run: FinishedRun, files: RunFiles) -> Row:
    overlap = overlap_report(run.posterior)
    match = regularisation_report(run.posterior, run.vae.prior)
    return {
        **_fit(files),
        "overlap": overlap.overlap.value,
        "mutual_information": overlap.mutual_information.value,
        "encoder_entropy": overlap.encoder_entropy.value,
        "aggregate_kl": match.kl.value,
        "inclusive_kl": match.inclusive_kl.value,
        "joint_mmd": match.joint_mmd.value,
        "rarest_mode_share": _rarest_mode_share(run),
        "off_mode_mass": _off_mode_mass(run),
        "n": overlap.n,
    }


def _fit(files: RunFiles) -> dict[str, float]:
    metrics = read_metrics(files)
    return {name: metrics[name] for name in ("log_likelihood", "kl")}


def _rarest_mode_share(run: FinishedRun) -> float:
    """Gives the least share of codes, one a datum, whose nearest mode is the same."""
    locs = np.array(run.vae.prior.get_config()["locs"])
    z = run.posterior.sample(seed=tf.constant([0, 4])).numpy()
    nearest = np.argmin(((z[:, None] - locs) ** 2).sum(-1), axis=1)
    return float(np.bincount(nearest, minlength=len(locs)).min() / len(z))


def _off_mode_mass(run: FinishedRun) -> float:
    """Gives the share of q(z) outside the ellipses of 99% of every mode.

    Neither little overlap nor a lost mode raises it.
    """
    config = run.vae.prior.get_config()
    locs, variance = np.array(config["locs"]), config["variance"]
    z = run.posterior.sample(_DRAWS, seed=tf.constant([0, 5])).numpy()
    squares = ((z[..., None, :] - locs) ** 2).sum(-1).min(-1)
    return float(np.mean(squares > variance * scipy.stats.chi2(2).ppf(0.99)))


def _encodings(posterior: Any) -> list[Row]:
    """Gives one row a datum: its posterior's mean and standard deviation."""
    pairs = zip(posterior.mean().numpy(), posterior.stddev().numpy(), strict=True)
    return [
        {"kind": "encoding"}
        | {f"mean_{d + 1}": float(mean[d]) for d in (0, 1)}
        | {f"deviation_{d + 1}": float(deviation[d]) for d in (0, 1)}
        for mean, deviation in pairs
    ]
