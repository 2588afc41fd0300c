# SPDX-License-Identifier: Apache-2.0
"""Priors with structure: the scores of groups of dimensions, and their figures."""

import itertools
from typing import Any

import numpy as np
import pytest
from claim_cases import CASES

from paper.structure_drawings import draw_hierarchy, draw_subspaces
from paper.structures import label_accuracy, mean_best, pairings, position_share
from tf_decomp.metrics.regularisation import MISMATCHED_MMD_SHARE

N = 4000


def position(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 32, size=(N, 2)) / 31


def test_an_axis_for_each_coordinate() -> None:
    rng = np.random.default_rng(0)
    place = position(rng)
    codes = np.concatenate([place, rng.normal(size=(N, 1))], axis=1)
    shares = {g: position_share(codes, place, g) for g in [(0, 1), (0,), (0, 2), (2,)]}
    # 20 neighbours of 2,000 among 1,024 places lie about 1.3 places away, of a standard
    # deviation of 9.2: an error of 0.01. One axis tells one coordinate of two.
    assert shares[0, 1] == pytest.approx(0.99, abs=0.01)
    # Of the other coordinate 20 neighbours predict their mean: -1/20.
    assert shares[0,] == pytest.approx((1 - 1 / 20) / 2, abs=0.02)
    assert shares[0, 2] < 0.5
    assert shares[2,] == pytest.approx(-1 / 20, abs=0.02)


def test_rotations_within_a_group_change_nothing() -> None:
    rng = np.random.default_rng(1)
    place = position(rng)
    codes = np.concatenate([place - 0.5, rng.normal(size=(N, 1))], axis=1)
    codes[:, :2] += 0.01 * rng.normal(size=(N, 2))  # so that no two are equally near
    turn = np.linalg.qr(rng.normal(size=(2, 2)))[0]
    turned = codes.copy()
    turned[:, :2] = codes[:, :2] @ turn
    for linear in (False, True):
        of_plane, of_turned = (
            position_share(each, place, (0, 1), linear) for each in (codes, turned)
        )
        assert of_turned == pytest.approx(of_plane, rel=1e-9)
    # A single axis then tells both a little, and no axis tells one well.
    best = max(position_share(turned, place, (d,)) for d in (0, 1))
    assert best < 0.9 * position_share(turned, place, (0, 1))


def test_a_straight_line_sees_no_circle() -> None:
    rng = np.random.default_rng(2)
    place = position(rng) - 0.5
    squares = np.stack([place[:, 0] ** 2, place[:, 1] ** 2], axis=1)
    codes, target = place, squares
    assert position_share(codes, target, (0, 1)) > 0.95
    assert position_share(codes, target, (0, 1), linear=True) < 0.01


def test_all_ways_to_form_pairs() -> None:
    ways = [tuple(way) for way in pairings(range(6))]
    assert len(ways) == len(set(ways)) == 15
    assert all(sorted(itertools.chain(*way)) == [*range(6)] for way in ways)
    # Every pair is in 3 of the 15.
    counts = [
        sum(pair in way for way in ways) for pair in itertools.combinations(range(6), 2)
    ]
    assert counts == [3] * 15
    shares = dict.fromkeys(itertools.combinations(range(6), 2), 0.5) | {(1, 4): 1.0}
    assert mean_best(shares, 6) == pytest.approx(0.5 + 0.5 * 3 / 15)


def test_labels_are_told_from_their_clusters_alone() -> None:
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 10, N)
    angles = 2 * np.pi * labels / 10
    clusters = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    clusters += 0.02 * rng.normal(size=clusters.shape)
    noise = rng.normal(size=(N, 2))
    for linear in (False, True):
        assert label_accuracy(clusters, labels, linear) == 1.0
        # Chance is 0.1, known from 2,000 to 0.0067.
        assert label_accuracy(noise, labels, linear) == pytest.approx(0.1, abs=0.027)


def drawn(claim: str, **more: float) -> list[dict[str, Any]]:
    return [
        {"scale": "cpu", "chance": 0.1, **more, **row} for row in CASES[claim][0][1]
    ]


@pytest.mark.parametrize(
    ("claim", "draw", "columns"),
    [
        ("S1", draw_subspaces, ["plane", "plane_any", "pair", "axis"]),
        ("S2", draw_hierarchy, ["class_accuracy", "style_accuracy", "both_accuracy"]),
    ],
)
def test_every_network_is_drawn_beside_the_means(
    claim: str, draw: Any, columns: list[str]
) -> None:
    rows = drawn(claim)
    figure = draw(rows)
    for axes, names in zip(
        figure.axes, (["overlap"], ["joint_mmd_share"], columns), strict=True
    ):
        means = [bars[0] for bars in axes.containers]
        points = [
            line
            for line in axes.get_lines()
            if len(line.get_xdata()) == 5 and line.get_linestyle() == "None"
        ]
        expected = [
            [row[name] for row in rows if (row["prior"] == "normal") == normal]
            for normal in (True, False)
            for name in names
        ]
        if len(names) == 1:
            assert axes.get_xticks().size == 0
        np.testing.assert_allclose([line.get_ydata() for line in points], expected)
        np.testing.assert_allclose(
            [mean.get_ydata()[0] for mean in means], np.mean(expected, axis=1)
        )
        # The normal prior is to the left of the other, in the same column.
        places = [mean.get_xdata()[0] for mean in means]
        left, right = np.split(np.array(places), 2)
        assert (left < right).all()
        assert (np.round(left) == np.round(right)).all()
    assert "n = 5 networks a point" in figure._supxlabel.get_text()
    (limit,) = (
        line for line in figure.axes[1].get_lines() if line.get_linestyle() == "--"
    )
    assert limit.get_ydata()[0] == MISMATCHED_MMD_SHARE
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names[0] == "normal prior"
    assert names[2:] == ["limit of a match", "chance"]
