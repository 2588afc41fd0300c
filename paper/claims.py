# SPDX-License-Identifier: Apache-2.0
"""The paper's claims, each with the rule that turns a figure's data into a verdict.

Rules of C1 to C9 are here, those of C10 to C13 in `exact_claims`. S1 and S2, on priors
with structure, are no claims of the paper (`structure_claims`). Every rule was
committed before any datum that it judges; docs/results/history.json has the verdicts of
earlier rules.

The unit of repetition is the network (its seed); cells are compared on the same seeds
and means have 95% intervals by Student's t (`statistics.judge`). `power` simulates how
often each rule is wrong, and how often it sees the least effect.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from paper.exact_claims import judge_c10, judge_c11, judge_c12, judge_c13
from paper.statistics import (
    INCONCLUSIVE,
    NOT_SUPPORTED,
    SUPPORTED,
    BySeed,
    Judged,
    Number,
    by_seed,
    difference,
    join_verdicts,
    judge,
    judge_all,
    mean_number,
    means_over_common_range,
    slopes,
)
from paper.structure_claims import judge_s1, judge_s2
from paper.table import Row, choose, levels

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
# C5, Hoyer: about half of what parts samples of the sparse prior (0.419) from those of
# the normal (0.231).
_FAR_SPARSER = 0.1
# C8, Hoyer: a tenth of that.
_SPARSER = 0.01
# C6, "far less": less than half.
_FAR_LESS = 0.5
# C7: of the MMD at alpha 0 at least a tenth goes.
_MMD_LEFT = 0.9
# C9: permutations of the labels that vary as much between classes; with thousands of
# data any difference passes, so a tenth of the variance of |z_d| must lie between
# classes as well.
_PERMUTATION_P = 0.01
_CLASS_SHARE = 0.1
# C9: swapping a datum for another of its class has 0.55 of the change in one region, so
# the reference is that share; a twentieth more is the least that matters.
_REGION_GAIN = 0.05
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
    """Returns the largest beta minus each of the others."""
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


def _sparse(rows: Sequence[Row], quantity: str, **settings: object) -> list[Row]:
    """Returns the rows of the sparse prior of the paper, spike variance 0.05."""
    return choose(rows, quantity, gamma=0.8, spike_variance=0.05, **settings)


def _positive(rows: Sequence[Row]) -> set[float]:
    return {alpha for alpha in levels(rows, "alpha") if alpha > 0}


def judge_c5(rows: Sequence[Row], spike_variance: float = 0.05) -> Judged:
    """Hoyer at beta 1, the mean over all alpha > 0, higher by more than 0.1.

    Against gamma 0 at the same alphas, and against gamma 0.8 at alpha 0. Supported
    where both 95% intervals lie above 0.1, not supported where one lies below.

    Args:
        rows: Of the figure's table.
        spike_variance: Of the sparse prior.
    """
    rows = choose(rows, "hoyer", beta=1.0)
    alphas = _positive(rows)
    spiky = choose(rows, "hoyer", gamma=0.8, spike_variance=spike_variance)
    sparse = by_seed(spiky, "hoyer", alpha=alphas)
    normal = by_seed(rows, "hoyer", gamma=0.0, alpha=alphas)
    without = by_seed(spiky, "hoyer", alpha=0.0)
    effects = [
        difference("Hoyer, alpha > 0, gamma 0.8 minus gamma 0", sparse, normal),
        difference("Hoyer, gamma 0.8, alpha > 0 minus alpha 0", sparse, without),
    ]
    far = [effect._replace(value=effect.value - _FAR_SPARSER) for effect in effects]
    return judge_all([(effect, 0.0) for effect in far]), effects


def judge_c6(rows: Sequence[Row]) -> Judged:
    """The largest alpha (at beta 1) costs less than half of what beta does (alpha 0).

    Costs are of the log-likelihood, of beta from its least to its largest.

    Args:
        rows: Of the figure's table.
    """
    rows = _sparse(rows, _FIT)
    alphas, betas = levels(rows, "alpha"), levels(rows, "beta")
    if not alphas:
        return INCONCLUSIVE, []
    by_alpha = [by_seed(rows, _FIT, beta=1.0, alpha=a) for a in (0.0, alphas[-1])]
    by_beta = [by_seed(rows, _FIT, alpha=0.0, beta=b) for b in (betas[0], betas[-1])]
    alpha, beta = (
        {s: a[s] - b[s] for s in a if s in b} for a, b in (by_alpha, by_beta)
    )
    name = "half the cost of beta minus that of alpha"
    effect = difference(name, alpha, beta, _FAR_LESS)
    effect = effect._replace(value=-effect.value)
    costs = [
        mean_number("log-likelihood lost by alpha", alpha.values()),
        mean_number("log-likelihood lost by beta", beta.values()),
    ]
    return judge(effect), [effect, *costs]


def judge_c7(rows: Sequence[Row]) -> Judged:
    """At beta 1: the MMD falls by a tenth or more from alpha 0 to the largest alpha.

    For both gammas; and over all alpha > 0 it is lower for gamma 0 than for 0.8.

    Args:
        rows: Of the figure's table.
    """
    rows = choose(rows, "mmd", beta=1.0)
    alphas = _positive(rows)
    if not alphas:
        return INCONCLUSIVE, []
    sparse, normal = _sparse(rows, "mmd"), choose(rows, "mmd", gamma=0.0)
    effects = []
    for gamma, mine in (("0.8", sparse), ("0", normal)):
        ends = [by_seed(mine, "mmd", alpha=a) for a in (max(alphas), 0.0)]
        name = f"0.9 MMD at alpha 0 minus MMD at the largest alpha, gamma {gamma}"
        effect = difference(name, ends[0], ends[1], _MMD_LEFT)
        effects.append(effect._replace(value=-effect.value))
    two = [by_seed(mine, "mmd", alpha=alphas) for mine in (sparse, normal)]
    effects.append(difference("MMD, alpha > 0, gamma 0.8 minus 0", two[0], two[1]))
    return judge_all([(effect, 0.0) for effect in effects]), effects


def judge_c8(rows: Sequence[Row]) -> Judged:
    """Hoyer at the middle betas above the least and the largest beta.

    Means over all alpha > 0, gamma 0.8; each above 0, and not surely below 0.01.

    Args:
        rows: Of the figure's table.
    """
    rows = _sparse(rows, "hoyer")
    betas, alphas = levels(rows, "beta"), _positive(rows)
    if len(betas) < 3:
        return INCONCLUSIVE, []
    ends = ({*betas[1:-1]}, betas[0], betas[-1])
    middle, low, high = (by_seed(rows, "hoyer", alpha=alphas, beta=b) for b in ends)
    effects = [
        difference("Hoyer, middle betas minus the least", middle, low),
        difference("Hoyer, middle betas minus the largest", middle, high),
    ]
    return judge_all([(effect, _SPARSER) for effect in effects]), effects


def judge_c9(rows: Sequence[Row], panel: str = "variance") -> Judged:
    """Classes differ in mean |z_d|; a moved dimension changes one region.

    The unit is the network. Classes: in each at most 1% of label permutations have a
    between-class variance of mean |z_d| as large, and on average more than a tenth of
    the variance of |z_d| lies between classes. Change: the share of it that one
    connected region of at most a quarter of the image holds, the mean over moves of the
    largest active dimension, is above the same mean over swaps of two data of a class,
    and not surely by less than 0.05.

    Args:
        rows: Of the figure's table.
        panel: Which networks.
    """
    networks = choose(rows, "class_share", kind="network", panel=panel)
    if not networks:
        return INCONCLUSIVE, []
    share = mean_number(
        "share of the variance between classes", (r["class_share"] for r in networks)
    )
    moved, swapped = (
        by_seed(networks, column) for column in ("region_share", "swap_share")
    )
    gain = difference(
        "share of the change in one region, moves - swaps", moved, swapped
    )
    differ = all(row["permutation_p"] <= _PERMUTATION_P for row in networks)
    verdicts = [
        SUPPORTED if differ else NOT_SUPPORTED,
        judge_all(
            [
                (share._replace(value=share.value - _CLASS_SHARE), 0.0),
                (gain, _REGION_GAIN),
            ]
        ),
    ]
    return join_verdicts(verdicts), [
        share,
        gain,
        mean_number("share in one region, moves", moved.values()),
        mean_number("share in one region, swaps", swapped.values()),
        mean_number("permutation p-value", (row["permutation_p"] for row in networks)),
    ]


class Claim(NamedTuple):
    """A claim, of the paper (C1 to C13) or on a prior with structure (S1, S2).

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


_MUCH = "gamma 0.8 with alpha > 0 is far sparser than gamma 0, and than alpha 0"

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
        ("fig4",), f"{_MUCH} (spike of variance 0.05, the paper's text)", judge_c5
    ),
    "C5b": Claim(
        ("fig4",),
        f"{_MUCH} (spike of standard deviation 0.05)",
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
    "S1": Claim(
        ("subspaces",),
        "a prior of independent planes gathers the position of dSprites in one of its "
        "planes",
        judge_s1,
        {"linear regression": partial(judge_s1, by="_linear")},
    ),
    "S2": Claim(
        ("hierarchy",),
        "in a hierarchical prior the group that the other depends on holds more of the "
        "classes of Fashion-MNIST",
        judge_s2,
        {"logistic regression": partial(judge_s2, by="_linear")},
    ),
}
