# SPDX-License-Identifier: Apache-2.0
"""What an evaluation finds: the numbers of the metrics' reports as rows."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
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
    interventional_robustness_score,
    modularity_explicitness,
    mutual_information_gap,
    normal_scores,
    sap_score,
)
from tf_decomp.metrics.likelihood import MarginalLogLikelihood
from tf_decomp.metrics.overlap import OverlapReport
from tf_decomp.metrics.regularisation import RegularisationReport
from tf_decomp.priors import Prior, SpikeAndSlabPrior, StudentTPrior

GROUPS = {
    "overlap": (
        "Factor (a): overlap of encodings",
        "How many data could have given a code. Too little overlap makes the latents a "
        "lookup table; too much, and they say nothing of the data.",
    ),
    "regularisation": (
        "Factor (b): match of q(z) and the prior",
        "How far the aggregate encoding is from the structure that the prior asks for.",
    ),
    "likelihood": (
        "Likelihood",
        "Importance-weighted bounds on log p(x), tighter with more samples K.",
    ),
    "sparsity": ("Sparsity", "0 is a dense code, 1 uses one dimension for each datum."),
    "disentanglement": (
        "Disentanglement",
        "How well single dimensions stand for single factors of the data. Chance is "
        "what the same codes score when the factors are permuted.",
    ),
    "disentanglement_mapped": (
        "Disentanglement after mapping the prior to a normal",
        "The same codes, each dimension mapped through the prior's distribution "
        "function to a standard normal.",
    ),
}
# Groups whose numbers depend on what the codes say at all.
SCORES = ("disentanglement", "disentanglement_mapped")
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


class Evaluation(NamedTuple):
    """What was found of a run or of codes.

    Attributes:
        rows: All numbers.
        verdicts: For a group that has one its `verdict`, `text` and `parts`.
        warnings: What a reader must know before using scores of the codes.
        figures: `file` below the run's folder, `title`, `caption` and `alt` of each.
        title: Heading of the report, where no run gives one.
    """

    rows: Sequence[Row]
    verdicts: Mapping[str, Mapping[str, Any]] = {}
    warnings: Sequence[str] = ()
    figures: Sequence[Mapping[str, str]] = ()
    title: str = ""

    def warnings_of(self, group: str) -> list[str]:
        """Returns what a reader must know before using the numbers of a group."""
        return list(self.warnings) if group in SCORES else []

    @property
    def dropped(self) -> dict[str, Any] | None:
        """The latent dimensions left out by any metric, and words that say so."""
        dimensions = sorted({d for row in self.rows for d in row.dropped})
        if not dimensions:
            return None
        names = ", ".join(str(dimension + 1) for dimension in dimensions)
        text = (
            "Latent dimensions left out where a metric is of active dimensions "
            f"(counted from 1): {names}. Less than 0.01 of the variance of q(z_d) "
            "there tells data apart, Var(mean) / (Var(mean) + E[variance]), or "
            "without the posteriors' scales they are constant. The value with nothing "
            "dropped stands beside."
        )
        return {"dimensions": dimensions, "text": text}

    def to_json(self) -> dict[str, Any]:
        """Returns what evaluation.json holds."""
        present = {row.group for row in self.rows}
        groups: dict[str, dict[str, Any]] = {
            key: {"title": title, "text": text}
            for key, (title, text) in GROUPS.items()
            if key in present
        }
        for key in groups.keys() & SCORES:
            groups[key]["warnings"] = self.warnings_of(key)
        return {
            "metrics": [row._asdict() for row in self.rows],
            "groups": groups,
            "verdicts": self.verdicts,
            "figures": self.figures,
            "dropped": self.dropped,
        } | ({"title": self.title} if self.title else {})


def overlap_rows(report: OverlapReport) -> list[Row]:
    """Returns the rows of factor (a)."""
    row = partial(_row, "overlap")
    active = Estimate(len(report.active), float("nan"), report.n)
    rows = [
        row(
            "overlap",
            "overlap exp(E[H(r(z))])",
            report.overlap,
            bound=report.n,
            note="data that could have given a code: at 1 no two of these n overlap",
        ),
        row(
            "mutual_information",
            "mutual information I(x;z)",
            report.mutual_information,
            unit="nats",
            bound=report.mutual_information_bound,
            note="bounded by log n",
        ),
        row(
            "encoder_entropy",
            "encoder entropy per dimension",
            report.encoder_entropy,
            unit="nats",
        ),
        row(
            "active_units",
            "active units",
            active,
            bound=len(report.posterior_mean_variances),
            note="at least 0.01 of the variance of q(z_d) tells data apart",
        ),
    ]
    if report.kl is not None:
        name, note = "mean KL(q(z|x) ‖ p(z))", "I(x;z) + KL(q(z) ‖ p(z))"
        rows.append(row("kl", name, report.kl, unit="nats", note=note))
    return rows


def _row(group: str, key: str, name: str, of: Any, **others: Any) -> Row:
    """Returns the row of anything with a value, its standard error and n."""
    numbers = of.value, of.standard_error, of.n
    return Row(group, f"{group}/{key}", name, *numbers, **others)


def regularisation_rows(report: RegularisationReport) -> list[Row]:
    """Returns the rows of factor (b)."""
    row = partial(_row, "regularisation", better="lower")
    given = {"unit": "nats", "note": "the error is over samples, given the encodings"}
    rows = [
        row("kl", "KL(q(z) ‖ p(z))", report.kl, **given),
        row("inclusive_kl", "KL(p(z) ‖ q(z))", report.inclusive_kl, **given),
    ]
    for key, name in (
        ("dimensionwise_mmd", "dimension-wise MMD"),
        ("joint_mmd", "joint MMD"),
    ):
        test = getattr(report, key)
        note = "no p-value with fewer than 400 data"
        if test.p_value is not None:
            note = f"permutation p-value {test.p_value:.3f}"
        rows.append(row(key, name, test, note=note))
    for key, name in (
        ("wasserstein", "Wasserstein-1 of marginals"),
        ("kolmogorov_smirnov", "Kolmogorov-Smirnov of marginals"),
    ):
        distances = getattr(report, key)
        worst = int(np.argmax([distance.value for distance in distances]))
        note = f"of the worst latent dimension, {worst + 1}"
        rows.append(row(key, name, distances[worst], note=note))
    key, name = "projected_kolmogorov_smirnov", "Kolmogorov-Smirnov of projections"
    note = "of the worst of 300 random ones"
    rows.append(row(key, name, report.projected_kolmogorov_smirnov, note=note))
    return rows + _total_correlation_rows(report)


def _total_correlation_rows(report: RegularisationReport) -> list[Row]:
    """Returns those there are; the prior's value is the target, not 0."""
    row = partial(_row, "regularisation", unit="nats")
    rows = []
    gaussian, total = report.gaussian_total_correlation, report.total_correlation
    if gaussian is not None:
        key, name = "gaussian_total_correlation", "Gaussian total correlation of q(z)"
        note = (
            f"the prior's is {round(gaussian.prior, 3) + 0.0}; chance level "
            f"{gaussian.null_level:.3f} taken off"
        )
        rows.append(row(key, name, gaussian, note=note))
    if total is not None:
        prior = report.prior_total_correlation
        target = "not known" if prior is None else round(prior.value, 3) + 0.0
        note = f"the prior's is {target}; the error is given the encodings"
        name = "total correlation of q(z)"
        rows.append(row("total_correlation", name, total, note=note))
    return rows


def likelihood_rows(report: MarginalLogLikelihood) -> list[Row]:
    """Returns the rows of the importance-weighted bound."""
    note = f"Monte Carlo error {report.monte_carlo_error:.2g}, "
    if report.low_share > _MOST_LOW_SHARE:
        note += "and too few samples to bound the bias"
    else:
        note += f"bias about {report.bias_bound:.2g} or less"
    row = partial(_row, "likelihood", better="higher")
    rows = [
        row(
            f"iwae_{k}",
            f"log p(x), importance-weighted bound, K = {k}",
            bound,
            unit="nats",
            note=note if k == report.num_samples else "",
        )
        for k, bound in report.curve.items()
    ]
    size = row(
        "effective_sample_size",
        "effective sample size",
        report.effective_sample_size,
        bound=report.num_samples,
        note=f"{report.low_share:.0%} of the data below 10",
    )
    return [*rows, size]


def sparsity_rows(codes: np.ndarray, scales: np.ndarray | None) -> list[Row]:
    """Returns the rows of sparsity.

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
    active = Estimate(score.active_value, score.active_standard_error, score.n)
    row = partial(_row, "sparsity", bound=1.0, better="higher")
    return [
        row(
            "hoyer",
            "Hoyer sparsity (the paper's)",
            score,
            chance=score.gaussian_value,
            note=chance,
            value_sampled=score.value_sampled,
        ),
        row(
            "hoyer_active",
            "Hoyer sparsity, active dimensions",
            active,
            chance=score.active_gaussian_value,
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
    """Returns the rows of all disentanglement metrics.

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
        _row(
            group,
            name.partition(" (")[0].lower().replace(" ", "_"),
            name,
            score,
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
        "IRS": interventional_robustness_score(codes, factors, **known),
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
    """Returns the float64 distribution function of a prior's marginals if not normal.

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
    """Returns codes mapped to normal scores under a factorised non-normal prior."""
    distribution = marginal_distribution(prior)
    return None if distribution is None else normal_scores(codes, distribution)
