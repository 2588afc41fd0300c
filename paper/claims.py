# SPDX-License-Identifier: Apache-2.0
"""The paper's claims, each with the rule that turns a figure's data into a verdict.

Rules of C1 to C4 are here, those of C5 to C9 in `sparse_claims`, of C10 to C13 in
`exact_claims`. Every rule was committed before any datum that it judges; what earlier
editions said is in docs/results/history.json, with the reason for each change.

The unit of repetition is the network (its seed); cells are compared on the same seeds
and means have 95% intervals by Student's t (`statistics.judge`). `power` simulates how
often each rule is wrong, and how often it sees the least effect.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from paper.exact_claims import (
    judge_c10,
    judge_c11,
    judge_c12,
    judge_c13,
)
from paper.samples import (
    BySeed,
    by_seed,
    choose,
    difference,
    levels,
    means_over_common_range,
    slopes,
)
from paper.sparse_claims import (
    judge_c5,
    judge_c6,
    judge_c7,
    judge_c8,
    judge_c9,
)
from paper.statistics import (
    INCONCLUSIVE,
    NOT_SUPPORTED,
    SUPPORTED,
    Judged,
    Number,
    Row,
    join_verdicts,
    judge_all,
    mean_number,
)

# C1, C2, a FactorVAE score (0 to 1): half of the steps between the curves of the
# paper's Figure 2; single networks vary by about 0.1.
_SCORE_STEP = 0.05
# C3, the margin of "no gain" from the least to the largest beta: the same.
_SCORE_MARGIN = 0.05
# C2, "a minor reconstruction cost": a tenth of the Gaussian's reconstruction loss.
_MINOR_COST = 0.1
# C4: a tenth more data that could have given a code, each step of beta.
_OVERLAP_STEP = float(np.log(1.1))
# C4, nats: the error of the inclusive KL of one test set is 0.008.
_MATCH_GAIN = 0.01
# C4: half of the even share of four modes.
_MODE_SHARE = 0.125
# C4: a twentieth of q(z) more outside every mode.
_OFF_MODE = 0.05
_SCORE, _SCORE_ALL, _FIT = "factor_vae_score", "factor_vae_score_all", "log_likelihood"
_PRIORS = ("normal", "normal_pca", "normal_learnt")


def judge_c1(rows: Sequence[Row], score: str = _SCORE) -> Judged:
    """Means over the range of reconstructions that the three priors share.

    PCA minus isotropic and learnt minus PCA, each above 0, and not surely below 0.05.
    Inactive dimensions are dropped.

    Args:
        rows: Of the figure's table.
        score: Column of the score.
    """
    curves = [choose(rows, score, prior=prior) for prior in _PRIORS]
    normal, pca, learnt = means_over_common_range(curves, "beta", _FIT, score)
    effects = [
        difference("score at equal reconstruction, PCA minus isotropic", pca, normal),
        difference("score at equal reconstruction, learnt minus PCA", learnt, pca),
    ]
    return judge_all([(effect, _SCORE_STEP) for effect in effects]), effects


def judge_c2(rows: Sequence[Row], score: str = _SCORE) -> Judged:
    """Three differences at beta 1: df 7 minus Gaussian, 7 minus 3, 3 minus Gaussian.

    Each above 0, and not surely below 0.05; and a reconstruction loss at df 7 less than
    a tenth above the Gaussian's. The Gaussian (df infinite) is the isotropic normal
    prior. Inactive dimensions are dropped.

    Args:
        rows: Of the figure's table.
        score: Column of the score.
    """

    def of(column: str, df: float) -> BySeed:
        if np.isinf(df):
            return by_seed(rows, column, prior="normal", beta=1.0)
        return by_seed(rows, column, prior="student_t", df=df)

    lowered, lowest, gaussian = (of(score, df) for df in (7.0, 3.0, np.inf))
    fits = [of(_FIT, df) for df in (7.0, np.inf)]
    gains = [
        difference("score, df 7 minus Gaussian", lowered, gaussian),
        difference("score, df 7 minus df 3", lowered, lowest),
        difference("score, df 3 minus Gaussian", lowest, gaussian),
    ]
    # Log-likelihoods are negative: 1.1 times the Gaussian's is a tenth below it.
    spare = difference(
        "log-likelihood of df 7 above 1.1 times the Gaussian's",
        fits[0],
        fits[1],
        weight=1 + _MINOR_COST,
    )
    cost = difference("reconstruction cost of df 7, nats", fits[1], fits[0])
    effects = [(gain, _SCORE_STEP) for gain in gains]
    return judge_all([*effects, (spare, 0.0)]), [*gains, spare, cost]


def judge_c3(rows: Sequence[Row], score: str = _SCORE) -> Judged:
    """An equivalence test: the 90% interval of the gain lies within +-0.05.

    The gain is the score at the largest beta minus that at the least, isotropic prior,
    same seeds. Supported if also no middle beta is above both ends by 0.05 (90%
    interval); not supported where the 95% interval of the gain, or of a middle beta
    above the nearer end, lies above 0.05. A clear fall is no gain, but no absence of
    effect either: inconclusive. Inactive dimensions are dropped.

    Args:
        rows: Of the figure's table.
        score: Column of the score.
    """
    rows = choose(rows, score, prior="normal")
    betas = levels(rows, "beta")
    if len(betas) < 3:
        return INCONCLUSIVE, []
    low, high = (by_seed(rows, score, beta=beta) for beta in (betas[0], betas[-1]))
    gain = difference("gain of the score, least to largest beta", high, low)
    humps = []
    for beta in betas[1:-1]:
        middle = by_seed(rows, score, beta=beta)
        ends = [
            difference(f"score, beta {beta:g} minus the {name}", middle, end)
            for name, end in (("least", low), ("largest", high))
        ]
        humps.append(min(ends, key=lambda end: end.value))
    evidence = [gain, *humps]
    if any(number.interval()[0] > _SCORE_MARGIN for number in evidence):
        return NOT_SUPPORTED, evidence
    equivalent = gain.interval(level=0.9)[0] > -_SCORE_MARGIN and all(
        number.interval(level=0.9)[1] < _SCORE_MARGIN for number in evidence
    )
    return SUPPORTED if equivalent else INCONCLUSIVE, evidence


def judge_c4(rows: Sequence[Row]) -> Judged:
    """Along beta the overlap and the mass off all modes grow; along alpha the match.

    Along beta (alpha 0, fresh networks): the overlap grows by a tenth each step on
    average; the share of q(z) outside every mode's 99% ellipse is larger at beta 1.2
    than at the larger of beta 0.5 and 1, above 0 and not surely below 0.05. Along alpha
    (beta 0): KL(p || q) falls from the first to the last alpha by 0.01 nats and rises
    at no step; at the last alpha the rarest of the four modes has at least an eighth of
    the codes. Secondary: the joint MMD, and how often a mode has less than an eighth.

    Args:
        rows: Of both tables.
    """
    top = choose(rows, "off_mode_mass", panel="fresh")
    bottom = choose(rows, "inclusive_kl", panel="alpha")
    betas, alphas = levels(top, "beta"), levels(bottom, "alpha")
    if len(betas) < 3 or len(alphas) < 2:
        return INCONCLUSIVE, []
    growth = slopes(
        top, lambda row: betas.index(row["beta"]), lambda row: np.log(row["overlap"])
    )
    kls = [by_seed(bottom, "inclusive_kl", alpha=alpha) for alpha in alphas]
    steps = [
        difference(f"KL(p || q), alpha {a:g} minus {b:g}", kls[i], kls[i + 1])
        for i, (a, b) in enumerate(zip(alphas, alphas[1:], strict=False))
    ]
    shares = by_seed(bottom, "rarest_mode_share", alpha=alphas[-1])
    rarest = mean_number("share of the rarest mode, largest alpha", shares.values())
    effects = [
        (mean_number("log overlap, a step of beta", growth.values()), _OVERLAP_STEP),
        *((number, _OFF_MODE) for number in _above(top, "off_mode_mass", betas)),
        (difference("KL(p || q), first to last alpha", kls[0], kls[-1]), _MATCH_GAIN),
        (rarest._replace(value=rarest.value - _MODE_SHARE), 0.0),
    ]
    rising = any(step.interval(len(steps))[1] < 0 for step in steps)
    verdicts = [judge_all(effects), NOT_SUPPORTED if rising else SUPPORTED]
    return join_verdicts(verdicts), [
        *(effect for effect, _ in effects[:-1]),
        rarest,
        *steps,
        *_above(top, "joint_mmd", betas),
        *(_lost_modes(top, beta) for beta in betas),
    ]


def _above(rows: Sequence[Row], column: str, betas: Sequence[float]) -> list[Number]:
    """Gives the largest beta minus each of the others."""
    name = column.replace("_", "-").replace("joint-mmd", "joint MMD")
    last = by_seed(rows, column, beta=betas[-1])
    return [
        difference(
            f"{name}, beta {betas[-1]:g} minus {beta:g}",
            last,
            by_seed(rows, column, beta=beta),
        )
        for beta in betas[:-1]
    ]


def _lost_modes(rows: Sequence[Row], beta: float) -> Number:
    shares = by_seed(rows, "rarest_mode_share", beta=beta).values()
    name = f"share of networks that leave a mode nearly empty, beta {beta:g}"
    return mean_number(name, (float(share < _MODE_SHARE) for share in shares))


class Claim(NamedTuple):
    """A claim of the paper.

    Attributes:
        figures: Whose data decide; the first is the main one.
        text: What is claimed.
        judge: Gives a verdict and its evidence from the rows of these figures.
        beside: The same rule on other numbers, by what they are.
    """

    figures: tuple[str, ...]
    text: str
    judge: Callable[[Sequence[Row]], Judged]
    beside: Mapping[str, Callable[[Sequence[Row]], Judged]] = {}


_SPARSER = "gamma 0.8 with alpha > 0 is far sparser than gamma 0, and than alpha 0"

CLAIMS = {
    "C1": Claim(
        ("fig2",),
        "at equal reconstruction an anisotropic (PCA) prior scores higher than the "
        "isotropic one, a learnt one higher still",
        judge_c1,
        {"without dropping": partial(judge_c1, score=_SCORE_ALL)},
    ),
    "C2": Claim(
        ("fig2",),
        "lowering df from infinity raises the score at a minor reconstruction cost; "
        "very low df drops again, still above the Gaussian",
        judge_c2,
        {"without dropping": partial(judge_c2, score=_SCORE_ALL)},
    ),
    "C3": Claim(
        ("fig2",),
        "with an isotropic Gaussian prior raising beta gives no gain in the score",
        judge_c3,
        {"without dropping": partial(judge_c3, score=_SCORE_ALL)},
    ),
    "C4": Claim(
        ("fig3_top", "fig3"),
        "raising beta raises overlap, and too large a beta mismatches q(z) and p(z); "
        "raising alpha always improves the match and does not collapse encodings",
        judge_c4,
    ),
    "C5": Claim(
        ("fig4",), f"{_SPARSER} (spike of variance 0.05, the paper's text)", judge_c5
    ),
    "C5b": Claim(
        ("fig4",),
        f"{_SPARSER} (spike of standard deviation 0.05)",
        partial(judge_c5, spike_variance=0.0025),
    ),
    "C6": Claim(
        ("fig4",),
        "large alpha costs a little reconstruction, far less than beta does",
        judge_c6,
    ),
    "C7": Claim(
        ("fig4",),
        "the MMD falls with alpha; gamma 0 is easier to match than gamma 0.8",
        judge_c7,
    ),
    "C8": Claim(("fig4",), "beta too low or too high harms sparsity", judge_c8),
    "C9": Claim(
        ("fig5",),
        "classes use different sets of dimensions; moving one active dimension changes "
        "one visible feature",
        judge_c9,
        {"spike of standard deviation 0.05": partial(judge_c9, panel="deviation")},
    ),
    "C10": Claim(
        ("theory",),
        "Theorem 1: L_beta is the ELBO under the prior p(z)^beta / F_beta plus "
        "(beta-1) H(q) + log F_beta",
        judge_c10,
    ),
    "C11": Claim(
        ("theory",),
        "Corollary 1: for Gaussians L_beta is, up to a constant and a rescaling by "
        "sqrt(beta), the ELBO plus (beta-1)/2 log|S|",
        judge_c11,
    ),
    "C12": Claim(
        ("theory",),
        "Theorem 2: with prior N(0, s^2 I) rotating the networks does not change "
        "the objective; with an anisotropic, Student-t or sparse prior it does",
        judge_c12,
    ),
    "C13": Claim(
        ("estimators",),
        "common minibatch estimates of KL(q(z) || p(z)) are strongly biased unless the "
        "batch is very large",
        judge_c13,
    ),
}
