# SPDX-License-Identifier: Apache-2.0
"""Reports of the metrics as rows of evaluation.json."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from tf_decomp.estimates import Estimate
from tf_decomp.metrics import (
    beta_vae_score,
    dci_disentanglement,
    factor_vae_score,
    hoyer_sparsity,
    info_mec,
    modularity_explicitness,
    mutual_information_gap,
    normal_scores,
    sap_score,
)
from tf_decomp.metrics.likelihood import MarginalLogLikelihood
from tf_decomp.metrics.overlap import OverlapReport
from tf_decomp.metrics.regularisation import RegularisationReport
from tf_decomp.priors import Prior, SpikeAndSlabPrior, StudentTPrior

# Of the data, with an effective sample size that is low: above it the bound on the
# bias says nothing (its variance of the weights is too small itself).
_MOST_LOW_SHARE = 0.05
# Below, intervals of the Hoyer sparsity cover too little (72% instead of 95% at 100).
_FEW_ROWS = 1_000


class Row(NamedTuple):
    """One number of an evaluation.

    Attributes:
        group: Which part of the report it belongs to.
        key: Its name for programs.
        name: Its name for readers.
        value: The number.
        standard_error: Its standard error, or None.
        n: How many examples, queries or votes it stands on.
        unit: nats, or nothing.
        chance: What a meaningless code reaches, or None.
        chance_standard_error: Spread of that.
        bound: Its largest possible value, or None.
        better: "higher", "lower" or nothing.
        note: A remark for readers.
        value_all: The number with no latent dimension dropped, where some may be.
        dropped: Latent dimensions left out, counted from 0.
        value_sampled: The number of sampled codes in place of means, where known.
    """

    group: str
    key: str
    name: str
    value: float
    standard_error: float | None = None
    n: int | None = None
    unit: str = ""
    chance: float | None = None
    chance_standard_error: float | None = None
    bound: float | None = None
    better: str = ""
    note: str = ""
    value_all: float | None = None
    dropped: tuple[int, ...] = ()
    value_sampled: float | None = None


def overlap_rows(report: OverlapReport) -> list[Row]:
    """Gives the rows of factor (a)."""

    def row(name: str, key: str, of: Estimate, **rest: Any) -> Row:
        return Row("overlap", f"overlap/{key}", name, *of, **rest)

    active = Estimate(len(report.active), float("nan"), report.n)
    return [
        row(
            "overlap exp(E[H(r(z))])",
            "overlap",
            report.overlap,
            bound=report.n,
            note="data that could have given a code: at 1 no two of these n overlap",
        ),
        row(
            "mutual information I(x;z)",
            "mutual_information",
            report.mutual_information,
            unit="nats",
            bound=report.mutual_information_bound,
            note="bounded by log n",
        ),
        row(
            "encoder entropy per dimension",
            "encoder_entropy",
            report.encoder_entropy,
            unit="nats",
        ),
        row(
            "active units",
            "active_units",
            active,
            bound=len(report.posterior_mean_variances),
            note="at least 0.01 of the variance of q(z_d) tells data apart",
        ),
        *_mean_kl_rows(report.kl),
    ]


def _mean_kl_rows(kl: Estimate | None) -> list[Row]:
    if kl is None:
        return []
    note = "I(x;z) + KL(q(z) ‖ p(z))"
    name = "mean KL(q(z|x) ‖ p(z))"
    return [Row("overlap", "overlap/kl", name, *kl, unit="nats", note=note)]


def regularisation_rows(report: RegularisationReport) -> list[Row]:
    """Gives the rows of factor (b)."""

    def row(name: str, key: str, of: Any, unit: str = "", note: str = "") -> Row:
        return Row(
            "regularisation",
            f"regularisation/{key}",
            name,
            of.value,
            of.standard_error,
            of.n,
            unit,
            better="lower",
            note=note,
        )

    given = "the error is over samples, given the encodings"
    rows = [
        row("KL(q(z) ‖ p(z))", "kl", report.kl, "nats", given),
        row("KL(p(z) ‖ q(z))", "inclusive_kl", report.inclusive_kl, "nats", given),
    ]
    for name in ("dimensionwise_mmd", "joint_mmd"):
        test = getattr(report, name)
        title = name.replace("_mmd", " MMD").replace("dimensionwise", "dimension-wise")
        note = "no p-value with fewer than 400 data"
        if test.p_value is not None:
            note = f"permutation p-value {test.p_value:.3f}"
        rows.append(row(title, name, test, note=note))
    for title, name in (
        ("Wasserstein-1 of marginals", "wasserstein"),
        ("Kolmogorov-Smirnov of marginals", "kolmogorov_smirnov"),
    ):
        distances = getattr(report, name)
        worst = int(np.argmax([distance.value for distance in distances]))
        note = f"of the worst latent dimension, {worst + 1}"
        rows.append(row(title, name, distances[worst], note=note))
    name, note = "projected_kolmogorov_smirnov", "of the worst of 300 random ones"
    distance = report.projected_kolmogorov_smirnov
    rows.append(row("Kolmogorov-Smirnov of projections", name, distance, note=note))
    return rows + _total_correlation_rows(report)


def _total_correlation_rows(report: RegularisationReport) -> list[Row]:
    """Gives those there are; the prior's value is the target, not 0."""
    rows = []
    gaussian, total = report.gaussian_total_correlation, report.total_correlation
    key = "regularisation/gaussian_total_correlation"
    if gaussian is not None:
        name = "Gaussian total correlation of q(z)"
        note = (
            f"the prior's is {round(gaussian.prior, 3) + 0.0}; chance level "
            f"{gaussian.null_level:.3f} taken off"
        )
        number = gaussian[:3]
        rows.append(Row("regularisation", key, name, *number, unit="nats", note=note))
    if total is not None:
        key, name = "regularisation/total_correlation", "total correlation of q(z)"
        prior = report.prior_total_correlation
        target = "not known" if prior is None else round(prior.value, 3) + 0.0
        note = f"the prior's is {target}; the error is given the encodings"
        rows.append(Row("regularisation", key, name, *total, unit="nats", note=note))
    return rows


def likelihood_rows(report: MarginalLogLikelihood) -> list[Row]:
    """Gives the rows of the importance-weighted bound."""
    size = report.effective_sample_size
    note = f"Monte Carlo error {report.monte_carlo_error:.2g}, "
    if report.low_share > _MOST_LOW_SHARE:
        note += "and too few samples to bound the bias"
    else:
        note += f"bias about {report.bias_bound:.2g} or less"
    rows = [
        Row(
            "likelihood",
            f"likelihood/iwae_{k}",
            f"log p(x), importance-weighted bound, K = {k}",
            bound.value,
            bound.standard_error,
            bound.n,
            "nats",
            better="higher",
            note=note if k == report.num_samples else "",
        )
        for k, bound in report.curve.items()
    ]
    return [
        *rows,
        Row(
            "likelihood",
            "likelihood/effective_sample_size",
            "effective sample size",
            size.value,
            size.standard_error,
            size.n,
            bound=report.num_samples,
            better="higher",
            note=f"{report.low_share:.0%} of the data below 10",
        ),
    ]


def sparsity_rows(codes: np.ndarray, scales: np.ndarray | None) -> list[Row]:
    """Gives the rows of sparsity.

    Args:
        codes: [n, latent_dim].
        scales: [n, latent_dim] of the posteriors, or None.
    """
    score = hoyer_sparsity(codes, posterior_scales=scales)
    chance = "chance: independent normal codes"
    if score.value_sampled is not None:
        chance += f"; sampled codes: {score.value_sampled:.3f}"
    if score.n < _FEW_ROWS:
        chance += f"; of fewer than {_FEW_ROWS:,} data the error is too small"
    idle = f"{len(score.inactive)} of {codes.shape[1]} dimensions are "
    idle += "constant" if scales is None else "inactive"
    return [
        Row(
            "sparsity",
            "sparsity/hoyer",
            "Hoyer sparsity (the paper's)",
            score.value,
            score.standard_error,
            score.n,
            chance=score.gaussian_value,
            bound=1.0,
            better="higher",
            note=chance,
            value_sampled=score.value_sampled,
        ),
        Row(
            "sparsity",
            "sparsity/hoyer_active",
            "Hoyer sparsity, active dimensions",
            score.active_value,
            score.active_standard_error,
            score.n,
            chance=score.active_gaussian_value,
            bound=1.0,
            better="higher",
            note=idle,
            value_all=score.value,
            dropped=score.inactive,
        ),
    ]


def disentanglement_rows(
    codes: np.ndarray,
    factors: np.ndarray,
    categorical: Sequence[int],
    group: str = "disentanglement",
    **known: Any,
) -> list[Row]:
    """Gives the rows of all disentanglement metrics.

    Args:
        codes: [n, latent_dim].
        factors: [n, num_factors] integers.
        categorical: Factors without an order.
        group: Name of the group.
        **known: What is known of the posteriors' scales, as `active_dimensions` takes
            it: `scale` or `posterior_scales`.
    """
    scores = _scores(codes, factors, categorical, known)
    margin = scores["FactorVAE score"].margin
    return [
        Row(
            group,
            f"{group}/{name.partition(' (')[0].lower().replace(' ', '_')}",
            name,
            score.value,
            score.standard_error,
            score.n,
            chance=score.chance,
            chance_standard_error=score.chance_standard_error,
            bound=1.0,
            better="higher",
            note=_score_note(score, margin if name == "FactorVAE score" else None),
            value_all=score.value_all,
            dropped=score.dropped,
            value_sampled=score.value_sampled,
        )
        for name, score in scores.items()
    ]


def _scores(
    codes: np.ndarray,
    factors: np.ndarray,
    categorical: Sequence[int],
    known: dict[str, Any],
) -> dict[str, Any]:
    dci = dci_disentanglement(codes, factors, categorical=categorical, **known)
    shares = info_mec(codes, factors, **known)
    modularity = modularity_explicitness(codes, factors, **known)
    return {
        "FactorVAE score": factor_vae_score(codes, factors, **known),
        "BetaVAE score": beta_vae_score(codes, factors, **known),
        "MIG": mutual_information_gap(codes, factors, **known),
        "InfoM (modularity)": shares,
        "InfoC (compactness)": shares.compactness,
        "InfoE (explicitness)": shares.explicitness,
        "DCI disentanglement": dci,
        "DCI completeness": dci.completeness,
        "DCI informativeness": dci.informativeness,
        "SAP": sap_score(codes, factors, categorical=categorical, **known),
        "modularity": modularity,
        "explicitness": modularity.explicitness,
    }


def _score_note(score: Any, margin: float | None) -> str:
    parts = [] if margin is None else [f"margin of the vote {margin:.3f}"]
    if score.dropped:
        parts.append(f"nothing dropped: {score.value_all:.3f}")
    if score.value_sampled is not None:
        parts.append(f"sampled codes: {score.value_sampled:.3f}")
    return "; ".join(parts)


def marginal_distribution(prior: Prior) -> Callable[[np.ndarray], np.ndarray] | None:
    """Gives the float64 distribution function of a prior's marginals if not normal.

    None where they are normal, or are not independent.

    Args:
        prior: The prior.
    """
    config = prior.get_config()
    if isinstance(prior, StudentTPrior) and np.isfinite(config["df"]):
        return stats.t(config["df"]).cdf
    if isinstance(prior, SpikeAndSlabPrior) and 0 < config["gamma"] < 1:
        gamma, scale = config["gamma"], config["spike_variance"] ** 0.5
        return lambda z: (
            (1 - gamma) * stats.norm.cdf(z) + gamma * stats.norm.cdf(z / scale)
        )
    return None


def mapped_codes(codes: np.ndarray, prior: Prior) -> np.ndarray | None:
    """Gives codes mapped to normal scores under a factorised non-normal prior."""
    distribution = marginal_distribution(prior)
    return None if distribution is None else normal_scores(codes, distribution)
