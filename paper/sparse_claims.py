# SPDX-License-Identifier: Apache-2.0
"""The rules of C5 to C9: sparse codes of Fashion-MNIST, Figures 4 and 5."""

from collections.abc import Sequence

from paper.samples import by_seed, choose, difference, levels
from paper.statistics import (
    INCONCLUSIVE,
    NOT_SUPPORTED,
    SUPPORTED,
    Judged,
    Row,
    join_verdicts,
    judge,
    judge_all,
    mean_number,
)

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
_FIT = "log_likelihood"


def _sparse(rows: Sequence[Row], quantity: str, **settings: object) -> list[Row]:
    """Gives the rows of the sparse prior of the paper, spike variance 0.05."""
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
