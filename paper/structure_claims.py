# SPDX-License-Identifier: Apache-2.0
"""The rules of S1 and S2, which are no claims of the paper: priors with structure.

Whether a prior of groups of dimensions puts into its groups what it was made for. The
two factors of the decomposition stand beside as evidence.
"""

from collections.abc import Sequence

from paper.statistics import (
    BySeed,
    Judged,
    Number,
    by_seed,
    difference,
    judge_all,
    mean_number,
)
from paper.table import Row

# S1: a quarter of what is to be gained where one axis holds x and another y: of the 15
# ways to part six dimensions in pairs three join them, so that R^2 is 0.6 on average.
_PLANE_GAIN = 0.1
# S2: of the labels, half of what a class of ten has.
_ACCURACY_GAIN = 0.05
_NAMES = {"independent_subspaces": "subspaces", "hierarchical": "hierarchical"}


def judge_s1(rows: Sequence[Row], by: str = "") -> Judged:
    """R^2 of (x, y) by nearest neighbours in the best of the prior's three planes.

    Two gains of this number: over the mean of the best of three planes over all 15 ways
    to part the same network's six dimensions in pairs; and over this mean of the
    network of the same seed with the normal prior, whose dimensions have no order.
    Each above 0, and not surely below 0.1. The two factors are not judged.

    Args:
        rows: Of the figure's table.
        by: Of the columns of the score, what follows the name.
    """
    prior = "independent_subspaces"

    def of(column: str, prior: str = prior) -> BySeed:
        return by_seed(rows, column, prior=prior)

    plane = of(f"plane{by}")
    gains = [
        difference(
            "R^2 of position, the prior's planes minus any", plane, of(f"plane_any{by}")
        ),
        difference(
            "R^2 of position, its planes minus any of the normal prior",
            plane,
            of(f"plane_any{by}", "normal"),
        ),
    ]
    beside = [
        mean_number("R^2 of position, best of the prior's planes", plane.values()),
        mean_number("R^2 of position, best axis", of("axis").values()),
        mean_number("R^2 of position, best pair of any", of("pair").values()),
        difference(
            "R^2 of position, best axis, subspaces minus normal",
            of("axis"),
            of("axis", "normal"),
        ),
        *_two_factors(rows, prior),
    ]
    return judge_all([(gain, _PLANE_GAIN) for gain in gains]), [*gains, *beside]


def judge_s2(rows: Sequence[Row], by: str = "") -> Judged:
    """Held-out accuracy of labels by nearest neighbours, class group minus style group.

    Two gains of this difference: over 0, with the hierarchical prior; and over that of
    the network of the same seed with the normal prior, in which both groups are alike.
    Each above 0, and not surely below 0.05. The two factors are not judged.

    Args:
        rows: Of the figure's table.
        by: Of the columns of the score, what follows the name.
    """
    prior = "hierarchical"

    def of(group: str, prior: str) -> BySeed:
        return by_seed(rows, f"{group}_accuracy{by}", prior=prior)

    mine, normal = (
        {seed: of("class", p)[seed] - style for seed, style in of("style", p).items()}
        for p in (prior, "normal")
    )
    gains = [
        mean_number("accuracy, class group minus style group", mine.values()),
        difference("the same, hierarchical minus normal prior", mine, normal),
    ]
    beside = [
        mean_number("accuracy, class group", of("class", prior).values()),
        mean_number("accuracy, style group", of("style", prior).values()),
        mean_number(
            "accuracy, both", by_seed(rows, "both_accuracy", prior=prior).values()
        ),
        *(
            mean_number(f"total correlation of {name}, nats", values.values())
            for name, values in (
                ("q(z)", by_seed(rows, "dependence", prior=prior)),
                ("p(z)", by_seed(rows, "prior_dependence", prior=prior)),
                ("q(z) with the normal", by_seed(rows, "dependence", prior="normal")),
            )
        ),
        *_two_factors(rows, prior),
    ]
    return judge_all([(gain, _ACCURACY_GAIN) for gain in gains]), [*gains, *beside]


def _two_factors(rows: Sequence[Row], prior: str) -> list[Number]:
    """Returns I(x; z) and the match, those of a prior minus those of the normal one."""
    return [
        difference(
            f"{name}, {_NAMES[prior]} minus normal",
            by_seed(rows, column, prior=prior),
            by_seed(rows, column, prior="normal"),
        )
        for column, name in (
            ("overlap", "overlap, data"),
            ("joint_mmd_share", "joint MMD of q(z) and p(z), share"),
            ("aggregate_kl", "KL(q(z) || p(z)), nats"),
        )
    ]
