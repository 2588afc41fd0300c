# SPDX-License-Identifier: Apache-2.0
"""The paper's claims, each with the rule that turns a figure's data into a verdict.

The rules (of C10 to C13 in `exact_claims`) and their thresholds were written before
any of the data. No rule has changed since; what the data are has, for these reasons:

* C12: since a first run the networks are trained at beta 0.5 for 40 epochs instead of
  beta 2 for 10, and judged on 100,000 data instead of 6,000. At beta 2 one of twelve
  (spike and slab, KL 0.24 nats) hardly used its latents; turning it changed nothing
  visible (0.0011 nats, 2 standard errors, on 300,000 data).
* C10, C11: the data of the identities are a tenth as large since a first run, in which
  one datum had -2e8 nats: rounding it in float64 is a gap of 3e-8, above the 1e-8 that
  the rules allow.

The unit of repetition is the network (its seed); cells are compared on the same seeds
and means have 95% intervals by Student's t (`statistics.judge`).
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from tf_decomp.reproduce.exact_claims import (
    judge_c10,
    judge_c11,
    judge_c12,
    judge_c13,
)
from tf_decomp.reproduce.samples import (
    by_seed,
    choose,
    difference,
    levels,
    means_over_common_range,
    slopes,
)
from tf_decomp.reproduce.statistics import (
    INCONCLUSIVE,
    NOT_SUPPORTED,
    SUPPORTED,
    Judged,
    Number,
    Row,
    join_verdicts,
    judge,
    judge_all,
    mean_number,
)

# A FactorVAE score, 0 to 1. A score's own Monte Carlo error is 0.004, and a smaller
# gain could not be seen in the paper's Figure 2.
_SCORE_GAIN = 0.02
# C3, the margin of "no gain" over the whole range of beta: below the steps between the
# paper's priors, and reachable: scores of single networks vary by 0.1, so that about 16
# networks a cell can show it.
_SCORE_MARGIN = 0.05
# C2, "a minor reconstruction cost": a tenth of the Gaussian's reconstruction loss.
_MINOR_COST = 0.1
# C2: above these degrees of freedom a Student-t is nearly a normal.
_FEW_DEGREES = 15.0
# C4: a tenth more data that could have given a code, each step of beta.
_OVERLAP_STEP = float(np.log(1.1))
# C4, nats: the error of the inclusive KL of one test set is 0.008.
_MATCH_GAIN = 0.01
# C4: half of the even share of four modes.
_MODE_SHARE = 0.125
# C5, Hoyer: about half of what parts samples of the sparse prior (0.45) from those of
# the normal (0.23).
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
# C9: one region holds more of the change than all others together.
_REGION_SHARE = 0.5
_SCORE, _FIT = "factor_vae_score", "log_likelihood"


def _c1(rows: Sequence[Row]) -> Judged:
    """Means over the range of reconstructions that the three priors share.

    PCA minus isotropic and learnt minus PCA, each at least 0.02.
    """
    priors = ("normal", "normal_pca", "normal_learnt")
    curves = [choose(rows, _SCORE, panel="left", prior=prior) for prior in priors]
    normal, pca, learnt = means_over_common_range(curves, "beta", _FIT, _SCORE)
    effects = [
        difference("score at equal reconstruction, PCA minus isotropic", pca, normal),
        difference("score at equal reconstruction, learnt minus PCA", learnt, pca),
    ]
    return judge_all([(effect, _SCORE_GAIN) for effect in effects]), effects


def _c2(rows: Sequence[Row]) -> Judged:
    """Lowered df (15 or less, but the least) against infinite df and the least df.

    Three differences of at least 0.02: lowered minus Gaussian, lowered minus least,
    least minus Gaussian; and a reconstruction loss of lowered df less than a tenth
    above the Gaussian's.
    """
    rows = choose(rows, _SCORE, panel="right")
    every = levels(rows, "df")
    least, infinity = min(every, default=0.0), float("inf")
    few = {df for df in every if least < df <= _FEW_DEGREES}
    scores = [by_seed(rows, _SCORE, df=df) for df in (few, infinity, least)]
    lowered, gaussian, lowest = scores
    fits = [by_seed(rows, _FIT, df=df) for df in (few, infinity)]
    gains = [
        difference("score, lowered df minus Gaussian", lowered, gaussian),
        difference("score, lowered df minus least df", lowered, lowest),
        difference("score, least df minus Gaussian", lowest, gaussian),
    ]
    # Log-likelihoods are negative: 1.1 times the Gaussian's is a tenth below it.
    spare = difference(
        "log-likelihood of lowered df above 1.1 times the Gaussian's",
        fits[0],
        fits[1],
        weight=1 + _MINOR_COST,
    )
    cost = difference("reconstruction cost of lowered df", fits[1], fits[0])
    effects = [(gain, _SCORE_GAIN) for gain in gains]
    return judge_all([*effects, (spare, 0.0)]), [*gains, spare, cost]


def _c3(rows: Sequence[Row]) -> Judged:
    """An equivalence test: the gain over the range of beta lies within +-0.05.

    The gain is each seed's slope of the score on beta, times the range. Supported
    where its 95% interval lies within the margin, not supported where there is a gain
    of at least the margin. A clear fall is no gain, but no absence of effect either:
    inconclusive.
    """
    rows = choose(rows, _SCORE, panel="left", prior="normal")
    betas = levels(rows, "beta")
    span = betas[-1] - betas[0] if betas else 0.0
    each = slopes(rows, lambda row: row["beta"], lambda row: row[_SCORE])
    name = "gain of the score over the range of beta"
    gain = mean_number(name, (span * slope for slope in each.values()))
    low, high = gain.interval()
    if -_SCORE_MARGIN < low and high < _SCORE_MARGIN:
        return SUPPORTED, [gain]
    there = judge(gain, _SCORE_MARGIN) == SUPPORTED
    return NOT_SUPPORTED if there else INCONCLUSIVE, [gain]


def _c4(rows: Sequence[Row]) -> Judged:
    """Four parts: overlap by beta, match by beta, match by alpha, no collapse.

    Along beta (alpha 0): the overlap grows by a tenth each step on average; the joint
    MMD (which a mere lack of overlap does not raise) is larger at the largest beta
    than at the middle ones. Along alpha (beta 0): KL(p || q) falls from the first to
    the last alpha by at least 0.01 nats and rises at no step; at the last alpha the
    rarest of the four modes has at least an eighth of the codes.
    """
    top = choose(rows, "overlap", panel="beta")
    bottom = choose(rows, "inclusive_kl", panel="alpha")
    betas, alphas = levels(top, "beta"), levels(bottom, "alpha")
    if len(betas) < 3 or len(alphas) < 2:
        return INCONCLUSIVE, []
    growth = slopes(
        top, lambda row: betas.index(row["beta"]), lambda row: np.log(row["overlap"])
    )
    mmd = [by_seed(top, "joint_mmd", beta=b) for b in (betas[-1], {*betas[1:-1]})]
    kls = [by_seed(bottom, "inclusive_kl", alpha=alpha) for alpha in alphas]
    steps = [
        difference(f"KL(p || q), alpha {a:g} minus {b:g}", kls[i], kls[i + 1])
        for i, (a, b) in enumerate(zip(alphas, alphas[1:], strict=False))
    ]
    shares = by_seed(bottom, "rarest_mode_share", alpha=alphas[-1])
    rarest = mean_number("share of the rarest mode, largest alpha", shares.values())
    effects = [
        (mean_number("log overlap, a step of beta", growth.values()), _OVERLAP_STEP),
        (difference("joint MMD, largest beta minus middle", mmd[0], mmd[1]), 0.0),
        (
            difference("KL(p || q), first to last alpha", kls[0], kls[-1]),
            _MATCH_GAIN,
        ),
        (rarest._replace(value=rarest.value - _MODE_SHARE), 0.0),
    ]
    rising = any(step.interval(len(steps))[1] < 0 for step in steps)
    verdicts = [judge_all(effects), NOT_SUPPORTED if rising else SUPPORTED]
    return join_verdicts(verdicts), [*(e for e, _ in effects[:3]), rarest, *steps]


def _sparse(rows: Sequence[Row], quantity: str, **settings: object) -> list[Row]:
    """Gives the rows of the sparse prior of the paper, spike variance 0.05."""
    return choose(rows, quantity, gamma=0.8, spike_variance=0.05, **settings)


def _positive(rows: Sequence[Row]) -> set[float]:
    return {alpha for alpha in levels(rows, "alpha") if alpha > 0}


def _c5(rows: Sequence[Row]) -> Judged:
    """Hoyer at beta 1, the mean over all alpha > 0, higher by at least 0.1.

    Against gamma 0 at the same alphas and against gamma 0.8 at alpha 0, with the
    paper's spike variance of 0.05; the spike of that standard deviation is evidence
    beside it.
    """
    rows = choose(rows, "hoyer", beta=1.0)
    alphas = _positive(rows)
    normal = by_seed(rows, "hoyer", gamma=0.0, alpha=alphas)

    def effects(variance: float) -> list[Number]:
        spiky = choose(rows, "hoyer", gamma=0.8, spike_variance=variance)
        sparse = by_seed(spiky, "hoyer", alpha=alphas)
        without = by_seed(spiky, "hoyer", alpha=0.0)
        note = f"spike variance {variance:g}, alpha > 0 minus"
        return [
            difference(f"Hoyer, {note} gamma 0", sparse, normal),
            difference(f"Hoyer, {note} alpha 0", sparse, without),
        ]

    main, beside = effects(0.05), effects(0.0025)
    return judge_all([(effect, _FAR_SPARSER) for effect in main]), [*main, *beside]


def _c6(rows: Sequence[Row]) -> Judged:
    """The largest alpha (at beta 1) costs less than half of what beta does (alpha 0).

    Costs are of the log-likelihood, of beta from its least to its largest.
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
    effect = difference("half the cost of beta minus that of alpha", alpha, beta, 0.5)
    effect = effect._replace(value=-effect.value)
    costs = [
        mean_number("log-likelihood lost by alpha", alpha.values()),
        mean_number("log-likelihood lost by beta", beta.values()),
    ]
    return judge(effect), [effect, *costs]


def _c7(rows: Sequence[Row]) -> Judged:
    """At beta 1: the MMD falls by a tenth or more from alpha 0 to the largest alpha.

    For both gammas; and over all alpha > 0 it is lower for gamma 0 than for 0.8.
    """
    rows = choose(rows, "mmd", beta=1.0)
    alphas = _positive(rows)
    if not alphas:
        return INCONCLUSIVE, []
    sparse, normal = _sparse(rows, "mmd"), choose(rows, "mmd", gamma=0.0)
    effects = []
    for gamma, mine in (("0.8", sparse), ("0", normal)):
        ends = [by_seed(mine, "mmd", alpha=a) for a in (max(alphas), 0.0)]
        effect = difference("", ends[0], ends[1], _MMD_LEFT)
        name = f"0.9 MMD at alpha 0 minus MMD at the largest alpha, gamma {gamma}"
        effects.append(effect._replace(name=name, value=-effect.value))
    two = [by_seed(mine, "mmd", alpha=alphas) for mine in (sparse, normal)]
    effects.append(difference("MMD, alpha > 0, gamma 0.8 minus 0", two[0], two[1]))
    return judge_all([(effect, 0.0) for effect in effects]), effects


def _c8(rows: Sequence[Row]) -> Judged:
    """Hoyer at the middle betas above the least and the largest beta by 0.01 or more.

    Means over all alpha > 0, gamma 0.8.
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


def _c9(rows: Sequence[Row]) -> Judged:
    """Classes differ in mean |z_d|, and a dimension's change is mostly in one region.

    Classes: for every network at most 1% of label permutations have a between-class
    variance of mean |z_d| as large, and a tenth or more of the variance of |z_d|
    lies between classes. Change: over the data moved, one connected region of at
    most a quarter of the image holds more than half of the change of all pixels.
    """
    networks = choose(rows, "class_share", kind="network")
    if not networks:
        return INCONCLUSIVE, []
    p_values = [row["permutation_p"] for row in networks]
    class_shares = [row["class_share"] for row in networks]
    differ = max(p_values) <= _PERMUTATION_P and min(class_shares) >= _CLASS_SHARE
    moved = choose(rows, "region_share", kind="move")
    share = mean_number(
        "share of the change in one region", (row["region_share"] for row in moved)
    )
    above = share._replace(value=share.value - _REGION_SHARE)
    verdicts = [SUPPORTED if differ else NOT_SUPPORTED, judge(above)]
    nan, n = float("nan"), len(networks)
    return join_verdicts(verdicts), [
        Number("largest permutation p-value", max(p_values), nan, n),
        Number("least share of variance between classes", min(class_shares), nan, n),
        share,
    ]


class Claim(NamedTuple):
    """A claim of the paper.

    Attributes:
        figure: Whose data decide.
        text: What is claimed.
        judge: Gives a verdict and its evidence from that figure's rows.
    """

    figure: str
    text: str
    judge: Callable[[Sequence[Row]], Judged]


CLAIMS = {
    "C1": Claim(
        "fig2",
        "at equal reconstruction an anisotropic (PCA) prior scores higher than the "
        "isotropic one, a learnt one higher still",
        _c1,
    ),
    "C2": Claim(
        "fig2",
        "lowering df from infinity raises the score at a minor reconstruction cost; "
        "very low df drops again, still above the Gaussian",
        _c2,
    ),
    "C3": Claim(
        "fig2",
        "with an isotropic Gaussian prior raising beta gives no gain in the score",
        _c3,
    ),
    "C4": Claim(
        "fig3",
        "raising beta raises overlap, and too large a beta mismatches q(z) and p(z); "
        "raising alpha always improves the match and does not collapse encodings",
        _c4,
    ),
    "C5": Claim(
        "fig4",
        "gamma 0.8 with alpha > 0 is far sparser than gamma 0, and than alpha 0",
        _c5,
    ),
    "C6": Claim(
        "fig4",
        "large alpha costs a little reconstruction, far less than beta does",
        _c6,
    ),
    "C7": Claim(
        "fig4",
        "the MMD falls with alpha; gamma 0 is easier to match than gamma 0.8",
        _c7,
    ),
    "C8": Claim("fig4", "beta too low or too high harms sparsity", _c8),
    "C9": Claim(
        "fig5",
        "classes use different sets of dimensions; moving one active dimension changes "
        "one visible feature",
        _c9,
    ),
    "C10": Claim(
        "theory",
        "Theorem 1: L_beta is the ELBO under the prior p(z)^beta / F_beta plus "
        "(beta-1) H(q) + log F_beta",
        judge_c10,
    ),
    "C11": Claim(
        "theory",
        "Corollary 1: for Gaussians L_beta is, up to a constant and a rescaling by "
        "sqrt(beta), the ELBO plus (beta-1)/2 log|S|",
        judge_c11,
    ),
    "C12": Claim(
        "theory",
        "Theorem 2: with prior N(0, s^2 I) rotating the networks does not change "
        "the objective; with an anisotropic, Student-t or sparse prior it does",
        judge_c12,
    ),
    "C13": Claim(
        "estimators",
        "common minibatch estimates of KL(q(z) || p(z)) are strongly biased unless the "
        "batch is very large",
        judge_c13,
    ),
}
