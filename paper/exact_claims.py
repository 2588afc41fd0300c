# SPDX-License-Identifier: Apache-2.0
"""The rules of C10 to C13: identities, rotations and estimators with known truths."""

from collections.abc import Sequence

import numpy as np

from paper.statistics import (
    INCONCLUSIVE,
    NOT_SUPPORTED,
    SUPPORTED,
    Judged,
    Number,
    join_verdicts,
    judge_all,
)
from paper.table import Row, choose, levels

# C10, C11, nats, in float64, where rounding leaves about 1e-12; a check counts only if
# the same check of a wrong identity is off by more than _CONTROL.
_EXACT, _CONTROL = 1e-8, 1e-3
# C12. The Student-t's change is small: -0.027 nats at 60 degrees, 2.5 standard errors
# of 600 data, 9 of 6,000. Fewer data cannot show that there is none.
_ROTATION_DATA = 6000
_ROTATION_ERRORS = 5.0
# C12, nats: no change is one below this, far below all that priors make.
_ROTATION_MARGIN = 1e-3
# C13: strongly biased is off by half of the truth at the paper's batch on dSprites;
# only batches above ten of the usual size may be off by less than a tenth.
_STRONG_BIAS, _STRONG_AT = 0.5, 64
_SMALL_BIAS, _LARGE_BATCH = 0.1, 640

_NORMAL_PRIORS = {"normal", "normal_anisotropic"}
_PRIORS = _NORMAL_PRIORS | {"student_t", "normal_mixture", "spike_and_slab"}
_KL_ESTIMATORS = {"naive_mixture", "weighted_sampling", "stratified_sampling"}


def _identity(rows: Sequence[Row], part: str, priors: set[str]) -> Judged:
    """An identity: no gap above 1e-8 nats for any prior; a wrong one is seen."""
    rows = choose(rows, "gap", part=part)
    if not rows:
        return INCONCLUSIVE, []
    n = int(min(row["n"] for row in rows))
    # NumPy's maximum, since NaN must not pass.
    gap = float(np.max([row["gap"] for row in rows]))
    control = float(np.min([row["control_gap"] for row in rows]))
    evidence = [
        Number(f"{part}, largest gap", gap, 0.0, n),
        Number(f"{part}, least gap of a wrong identity", control, 0.0, n),
    ]
    if not gap <= _EXACT:
        return NOT_SUPPORTED, evidence
    complete = priors <= {row["prior"] for row in rows}
    seen = complete and control > _CONTROL
    return SUPPORTED if seen else INCONCLUSIVE, evidence


def judge_c10(rows: Sequence[Row]) -> Judged:
    """Both sides differ by at most 1e-8 nats, for five priors; log F_beta is right.

    log F_beta cancels in (3), so it is compared with an integral of p(z)^beta of its
    own. Each check must see a wrong identity.

    Args:
        rows: Of the figure's table.
    """
    parts = [_identity(rows, part, _PRIORS) for part in ("theorem 1", "log F_beta")]
    return join_verdicts([v for v, _ in parts]), [e for _, each in parts for e in each]


def judge_c11(rows: Sequence[Row]) -> Judged:
    """Both sides of (4), c included, differ by at most 1e-8 nats; so do gradients.

    The gradients are Corollary 2's. Each check must see a wrong identity.

    Args:
        rows: Of the figure's table.
    """
    parts = [
        _identity(rows, part, _NORMAL_PRIORS) for part in ("corollary 1", "corollary 2")
    ]
    return join_verdicts([v for v, _ in parts]), [e for _, each in parts for e in each]


def judge_c12(rows: Sequence[Row]) -> Judged:
    """Flat within 0.001 nats for the isotropic normal; over 5 errors for the others.

    At angles within (0, 90), for every network: with the isotropic normal the paired
    difference to 0 degrees plus 5 of its standard errors stays below 0.001 nats; with
    the others some angle changes by more than 5 standard errors. Of fewer than 6,000
    data only a change counts, not its absence.

    Args:
        rows: Of the figure's table.
    """
    rows = choose(rows, "difference", part="theorem 2")
    rows = [row for row in rows if 0 < row["degrees"] < 90]
    verdicts, evidence = [], []
    for prior in sorted(_PRIORS):
        for seed in levels(choose(rows, "difference", prior=prior), "seed"):
            curve = choose(rows, "difference", prior=prior, seed=seed)
            verdict, number = _rotation(curve, flat=prior == "normal")
            verdicts.append(verdict)
            evidence.append(number)
    if {row["prior"] for row in rows} < _PRIORS:
        verdicts.append(INCONCLUSIVE)
    return join_verdicts(verdicts), evidence


def _rotation(curve: Sequence[Row], flat: bool) -> tuple[str, Number]:
    """Judges one network by its most clearly changed angle."""

    def errors(row: Row) -> float:
        error = max(row["difference_standard_error"], row["rounding"])
        return abs(row["difference"]) / error

    seen = [row for row in curve if np.isfinite(errors(row))] or curve
    row = max(seen, key=errors)
    changed, n = errors(row) > _ROTATION_ERRORS, int(row["n"])
    number = Number(
        f"{row['prior']}, network {row['seed']:g}, {row['degrees']:g} degrees",
        row["difference"],
        row["difference_standard_error"],
        n,
    )
    if not flat:
        if changed:
            return SUPPORTED, number
        return NOT_SUPPORTED if n >= _ROTATION_DATA else INCONCLUSIVE, number
    # NumPy's maximum, since NaN must not pass.
    largest = np.max(
        [
            abs(r["difference"]) + _ROTATION_ERRORS * r["difference_standard_error"]
            for r in curve
        ]
    )
    if largest < _ROTATION_MARGIN and n >= _ROTATION_DATA:
        return SUPPORTED, number
    moved = changed and largest >= _ROTATION_MARGIN
    return NOT_SUPPORTED if moved else INCONCLUSIVE, number


def judge_c13(rows: Sequence[Row]) -> Judged:
    """Three estimators, 10 latent dimensions, in shares of the true KL.

    At a batch of 64 each is off by at least half; up to a batch of 640 each is off by
    more than a tenth.

    Args:
        rows: Of the figure's table.
    """
    rows = choose(rows, "bias", latent_dim=10.0)
    effects: list[tuple[Number, float]] = []
    for estimator in sorted(_KL_ESTIMATORS):
        mine = choose(rows, "bias", estimator=estimator)
        for row in mine:
            size = row["batch_size"]
            least = _STRONG_BIAS if size == _STRONG_AT else _SMALL_BIAS
            if size > _LARGE_BATCH:
                continue
            number = Number(
                f"{estimator}, batch {size:g}, |bias| / KL",
                abs(row["bias"]) / row["truth"],
                row["bias_standard_error"] / row["truth"],
                int(row["n"]),
            )
            effects.append((number._replace(value=number.value - least), least))
    if {row["estimator"] for row in rows if row["batch_size"] == _STRONG_AT} >= (
        _KL_ESTIMATORS
    ):
        verdict = judge_all([(number, 0.0) for number, _ in effects])
    else:
        verdict = INCONCLUSIVE
    return verdict, [n._replace(value=n.value + least) for n, least in effects]
