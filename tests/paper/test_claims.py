# SPDX-License-Identifier: Apache-2.0
"""The rules of the paper's claims: for each a toy data set of each verdict."""

import numpy as np
import pytest
from claim_cases import CASES, Rows

from paper.claims import CLAIMS
from paper.power import SCENARIOS, simulate
from paper.statistics import (
    INCONCLUSIVE,
    NOT_SUPPORTED,
    SUPPORTED,
    Number,
    by_seed,
    judge,
    judge_all,
    mean_number,
    means_over_common_range,
    slopes,
)

EACH = [
    pytest.param(claim, expected, rows, id=f"{claim}-{i}-{expected}")
    for claim, cases in CASES.items()
    for i, (expected, rows) in enumerate(cases)
]


@pytest.mark.parametrize(("claim", "expected", "rows"), EACH)
def test_rules(claim: str, expected: str, rows: Rows) -> None:
    verdict, evidence = CLAIMS[claim].judge(rows)
    assert verdict == expected, evidence
    assert all(number.n > 0 for number in evidence) or expected == INCONCLUSIVE


def test_every_claim_has_data_of_every_verdict() -> None:
    names = [f"C{i}" for i in range(1, 14)]
    each = [*names[:5], "C5b", *names[5:], "S1", "S2"]
    assert list(CASES) == list(CLAIMS) == each
    for claim, cases in CASES.items():
        verdicts = {expected for expected, _ in cases}
        assert verdicts == {SUPPORTED, NOT_SUPPORTED, INCONCLUSIVE}, claim


@pytest.mark.parametrize("claim", CLAIMS)
def test_without_data_nothing_is_concluded(claim: str) -> None:
    assert CLAIMS[claim].judge([])[0] == INCONCLUSIVE
    other = [{"seed": 0.0, "panel": "none", "kind": "none", "part": "none"}]
    assert CLAIMS[claim].judge(other)[0] == INCONCLUSIVE


def test_the_order_of_the_rows_does_not_matter() -> None:
    for claim, cases in CASES.items():
        rows = cases[0][1]
        order = np.random.default_rng(1).permutation(len(rows))
        verdict, evidence = CLAIMS[claim].judge([rows[i] for i in order])
        expected = CLAIMS[claim].judge(rows)
        assert verdict == expected[0]
        values = [[e.value for e in each] for each in (evidence, expected[1])]
        np.testing.assert_allclose(*values, rtol=1e-9)


@pytest.mark.parametrize(
    "claim",
    [
        pytest.param(claim, marks=[pytest.mark.slow] * (claim in ("C1", "C2", "C4")))
        for claim in SCENARIOS
    ],
)
def test_rules_are_seldom_wrong_and_see_the_least_effect(claim: str) -> None:
    rates = simulate(claim, 300)
    # 5% of wrong verdicts, and three standard errors of 300 tables.
    most = 0.05 + 3 * np.sqrt(0.05 * 0.95 / 300)
    assert rates.wrongly_supported <= most
    assert rates.wrongly_denied <= most
    assert rates.power >= 0.8 - 3 * np.sqrt(0.8 * 0.2 / 300)


def test_every_rule_with_noise_is_simulated() -> None:
    exact = {"C10", "C11", "C12"}
    assert set(SCENARIOS) | exact | {"C5b"} == set(CLAIMS)


# -- what the rules stand on -------------------------------------------------------


def test_the_interval_covers_the_truth_at_its_rate() -> None:
    rng = np.random.default_rng(0)
    samples = rng.normal(2.0, 1.5, size=(4000, 5))
    intervals = np.array([mean_number("", row).interval() for row in samples])
    covered = np.mean((intervals[:, 0] < 2) & (intervals[:, 1] > 2))
    assert abs(covered - 0.95) < 5 * np.sqrt(0.95 * 0.05 / 4000)
    wide = np.array([mean_number("", row).interval(5) for row in samples])
    covered = np.mean((wide[:, 0] < 2) & (wide[:, 1] > 2))
    assert abs(covered - 0.99) < 5 * np.sqrt(0.99 * 0.01 / 4000)


@pytest.mark.parametrize(
    ("value", "error", "n", "expected"),
    [
        (0.05, 0.01, 50, SUPPORTED),
        (0.015, 0.005, 50, SUPPORTED),  # there, and not surely too small
        (0.01, 0.001, 50, NOT_SUPPORTED),  # there, but too small to matter
        (0.05, 0.04, 50, INCONCLUSIVE),
        (-0.05, 0.01, 50, NOT_SUPPORTED),
        (0.05, 0.0, 2, INCONCLUSIVE),
        (0.05, 0.02, 3, INCONCLUSIVE),  # two errors of three networks say little
    ],
)
def test_judge(value: float, error: float, n: int, expected: str) -> None:
    assert judge(Number("", value, error, n), least=0.02) == expected


def test_many_parts_do_not_make_a_failure_likelier() -> None:
    # 2.2 standard errors below: enough of one comparison, not of twenty.
    low, high = Number("", -2.2, 1.0, 10**6), Number("", 9.0, 1.0, 10**6)
    assert judge(low) == NOT_SUPPORTED
    assert judge_all([(low, 0.0)] + 19 * [(high, 0.0)]) == INCONCLUSIVE
    assert judge_all(20 * [(high, 0.0)]) == SUPPORTED


def test_seeds_that_lack_a_cell_do_not_count() -> None:
    rows = [{"seed": s, "beta": b, "y": s + b} for s in range(3) for b in (1, 2)]
    assert by_seed(rows, "y", beta={1, 2}) == {0: 1.5, 1: 2.5, 2: 3.5}
    assert by_seed(rows[:-1], "y", beta={1, 2}) == {0: 1.5, 1: 2.5}
    assert slopes(rows[:-1], lambda r: r["beta"], lambda r: r["y"]).keys() == {0, 1}


def test_equal_reconstruction_compares_at_equal_places() -> None:
    # Both curves are y = x; one runs over [0, 2], the other over [1, 3].
    curves = [
        [{"seed": 0, "beta": b, "x": start + b, "y": start + b} for b in (0, 1, 2)]
        for start in (0, 1)
    ]
    first, second = means_over_common_range(curves, "beta", "x", "y")
    assert first[0] == pytest.approx(1.5)
    assert second[0] == pytest.approx(1.5)
