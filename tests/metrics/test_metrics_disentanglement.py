# SPDX-License-Identifier: Apache-2.0
"""Every disentanglement metric on codes whose score is known."""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np
import pytest
from scipy import stats

from tf_decomp import metrics
from tf_decomp.errors import InputError

METRICS: dict[str, Callable[..., Any]] = {
    "factor_vae": partial(
        metrics.factor_vae_score,
        train_votes=400,
        evaluation_votes=400,
        samples_per_vote=100,
    ),
    "beta_vae": partial(
        metrics.beta_vae_score,
        train_votes=400,
        evaluation_votes=400,
        pairs_per_vote=32,
    ),
    "irs": metrics.interventional_robustness_score,
    "gap": metrics.mutual_information_gap,
    "modularity": metrics.modularity_explicitness,
    "info_mec": metrics.info_mec,
    "dci": metrics.dci_disentanglement,
    "sap": metrics.sap_score,
    "sap_categorical": partial(metrics.sap_score, categorical=[0]),
}
BLIND_TO_ROTATION = {"factor_vae", "beta_vae"}
COMPANIONS = ("explicitness", "completeness", "informativeness", "compactness")
# What is not surely known counts as nothing: no spread at chance.
ZERO_AT_CHANCE = {"modularity", "info_mec"}

# Two balanced, independent factors of ten values each.
FACTORS = np.stack(np.unravel_index(np.arange(1_000) % 100, (10, 10)), axis=1)
PERFECT = (FACTORS - 4.5) / FACTORS.std(axis=0)
NOISE = np.random.default_rng(0).normal(size=(1_000, 4))


def rotated(degrees: float) -> np.ndarray:
    """A perfect code turned by an angle in its plane."""
    angle = np.deg2rad(degrees)
    turn = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return PERFECT @ np.array(turn)


# 2e-4 nats leak: 1/2 log(1 + 0.02^2) in each of the two last dimensions.
LEAKING = np.hstack([rotated(45.0) + 0.02 * NOISE[:, :2], 0.02 * PERFECT])
LEAKING_SCALES = np.tile([0.02, 0.02, 1.0, 1.0], (1_000, 1))
GENERIC = np.hstack([rotated(20.0) + 0.2 * NOISE[:, :2], NOISE[:, 2:]])


@cache
def score_of_perfect(name: str) -> Any:
    """What a metric gives the perfect code."""
    return METRICS[name](PERFECT, FACTORS)


@cache
def score_of_generic(name: str) -> Any:
    """What a metric gives a code of which everything is a little wrong."""
    return METRICS[name](GENERIC, FACTORS)


def scores_in(score: Any) -> list[Any]:
    """A score and the companions that it carries."""
    return [score, *(getattr(score, c) for c in COMPANIONS if hasattr(score, c))]


def assert_at_chance(score: Any) -> None:
    error = np.hypot(score.standard_error, score.chance_standard_error)
    assert abs(score.value - score.chance) <= 5.0 * error


@pytest.fixture(params=METRICS)
def name(request: pytest.FixtureRequest) -> str:
    """Every metric."""
    return request.param


def test_perfect_code(name: str) -> None:
    score = score_of_perfect(name)
    best = 0.95 if name == "sap_categorical" else 1.0  # mean of 1 and 1 - 1/10
    # The balanced accuracy of the other dimension is 1/10 up to its own error.
    slack = 5.0 * score.standard_error if name == "sap_categorical" else 1e-9
    assert score.value == pytest.approx(best, abs=slack)
    assert score.value_all == score.value
    assert score.dropped == ()
    assert score.factors_used == (0, 1)
    assert score.value - score.chance > 5.0 * score.chance_standard_error


def test_the_former_name_of_a_score_still_serves() -> None:
    assert metrics.Estimate is metrics.Score is type(score_of_perfect("gap"))


def test_margin_and_r2_of_rotated_codes_are_exact() -> None:
    for degrees in (0.0, 10.0, 30.0, 40.0, 45.0):
        angle = np.deg2rad(degrees)
        vote = METRICS["factor_vae"](rotated(degrees), FACTORS)
        assert vote.margin == pytest.approx(1.0 - np.tan(angle) ** 2, abs=1e-5)
        gap = metrics.sap_score(rotated(degrees), FACTORS)
        assert gap.value == pytest.approx(np.cos(2.0 * angle), abs=1e-9)
        if degrees < 45.0:
            assert vote.value == 1.0
        else:
            assert_at_chance(vote)


def test_rotation_lowers_the_metrics_that_are_not_blind_to_it(name: str) -> None:
    scores = [METRICS[name](rotated(d), FACTORS) for d in (0.0, 15.0, 30.0, 45.0)]
    if name in BLIND_TO_ROTATION:
        assert [score.value for score in scores[:3]] == [1.0, 1.0, 1.0]
    else:
        for before, after in zip(scores, scores[1:], strict=False):
            error = np.hypot(before.standard_error, after.standard_error)
            assert before.value - after.value > 5.0 * error
    assert scores[3].value < 0.9


def test_random_code_scores_at_chance(name: str) -> None:
    rng = np.random.default_rng(1)
    factors = rng.integers(0, [3, 5, 10], size=(600, 3))
    score = METRICS[name](rng.normal(size=(600, 6)), factors, seed=1)
    for estimate in scores_in(score):
        assert_at_chance(estimate)
        if name not in ZERO_AT_CHANCE:
            assert estimate.standard_error > 0.0
            assert estimate.chance_standard_error > 0.0
    if name == "modularity":
        assert score.explicitness.standard_error > 0.0
    if name in {"gap", *ZERO_AT_CHANCE}:
        assert 0.0 <= score.chance < 0.02


def test_leaking_collapsed_dimensions_are_dropped(name: str) -> None:
    score = METRICS[name](LEAKING, FACTORS, posterior_scales=LEAKING_SCALES)
    assert (score.dropped, score.judged_by) == ((2, 3), "posterior scales")
    assert score.value < 0.9
    # With nothing dropped the leak counts as much as the code itself; in IRS, which
    # weighs rotated dimensions sqrt(2) times, (sqrt(2) - 1) / 2 = 0.207.
    assert score.value_all - score.value > (0.2 if name == "irs" else 0.4)
    if name in BLIND_TO_ROTATION | {"dci"}:
        assert score.value_all == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("constant", [0.0, -0.1])
def test_constant_code_is_defined(name: str, constant: float) -> None:
    score = METRICS[name](np.full((1_000, 3), constant), FACTORS)
    assert score.dropped == (0, 1, 2)
    for estimate in scores_in(score):
        assert np.isfinite([v for v in estimate if isinstance(v, float)]).all()
        assert_at_chance(estimate)


def test_a_collapsed_code_is_told_by_the_scale_of_its_noise_only(name: str) -> None:
    collapsed = 1.0 + 1e-5 * PERFECT
    unknown = METRICS[name](collapsed, FACTORS)
    assert (unknown.dropped, unknown.judged_by) == ((), "codes alone")
    assert unknown.value_sampled is None
    score = METRICS[name](collapsed, FACTORS, scale=1.0)
    assert (score.dropped, score.judged_by) == ((0, 1), "scale")
    assert score.value_sampled is None
    assert_at_chance(score)
    assert score.value_all > 0.9


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("change", ["larger", "outlier"])
def test_a_large_dimension_or_value_costs_no_other(
    name: str, change: str, known: bool
) -> None:
    codes = PERFECT + 0.01 * NOISE[:, :2]
    if change == "larger":
        codes[:, 0] *= 150.0
    else:
        codes[7, 0] = 2e4
    scales = {"posterior_scales": np.full(codes.shape, 0.01)} if known else {}
    score = METRICS[name](codes, FACTORS, **scales)
    assert score.dropped == ()
    assert score.value == pytest.approx(score_of_perfect(name).value, abs=0.02)


def test_what_inactive_dimensions_hold_does_not_matter(name: str) -> None:
    shuffled = LEAKING.copy()
    shuffled[:, 2:] = np.random.default_rng(5).permutation(LEAKING[:, 2:])
    scores = [
        METRICS[name](codes, FACTORS, posterior_scales=LEAKING_SCALES)
        for codes in (LEAKING, shuffled)
    ]
    assert scores[0].value == scores[1].value


def test_sampled_codes_have_the_score_of_means_and_noise(name: str) -> None:
    scales = np.full(PERFECT.shape, 0.3)
    score = METRICS[name](PERFECT, FACTORS, posterior_scales=scales)
    noisy = PERFECT + scales * np.random.default_rng(9).normal(size=scales.shape)
    expected = METRICS[name](noisy, FACTORS, seed=3)
    assert abs(score.value_sampled - expected.value) <= 5.0 * max(
        expected.standard_error, 0.01
    )
    exact = METRICS[name](PERFECT, FACTORS, posterior_scales=0.0 * scales)
    assert exact.value_sampled == pytest.approx(exact.value, abs=0.02)


def test_constant_dimensions_change_nothing(name: str) -> None:
    constant = np.full((1_000, 2), [0.3, -2.0])
    extended = np.hstack([constant[:, :1], GENERIC, constant[:, 1:]])
    before, after = score_of_generic(name), METRICS[name](extended, FACTORS)
    assert after.dropped == (0, 5)
    for one, other in zip(scores_in(before), scores_in(after), strict=True):
        kept = one._replace(dropped=other.dropped, value_all=other.value_all)
        assert kept[:8] == other[:8]
    if name == "factor_vae":
        # It wins every vote when it is not dropped: one name for all of them.
        assert after.value_all < 0.6 < before.value_all
        assert before.margin == after.margin


@pytest.mark.parametrize(
    "change", ["permuted", "scaled", "scaled_each", "shifted", "mirrored"]
)
def test_invariance(name: str, change: str) -> None:
    changed = {
        "permuted": GENERIC[:, [2, 0, 3, 1]],
        "scaled": GENERIC * 1e3,
        "scaled_each": GENERIC * [8.0, 5.0, 0.1, 0.3],
        "shifted": GENERIC + [5.0, -3.0, 0.0, 100.0],
        "mirrored": GENERIC * [1.0, -1.0, -1.0, 1.0],
    }[change]
    before, after = score_of_generic(name), METRICS[name](changed, FACTORS)
    # Mirrored bins and thresholds move by one datum; forests break ties at random.
    error = before.standard_error if change == "mirrored" or name == "dci" else 1e-6
    assert after.value == pytest.approx(before.value, abs=error)


def test_gap_does_not_change_under_increasing_maps() -> None:
    before, after = (
        metrics.mutual_information_gap(codes, FACTORS)
        for codes in (GENERIC, np.exp(3.0 * GENERIC))
    )
    assert after.value == pytest.approx(before.value, abs=1e-12)


def test_the_seed_alone_decides(name: str) -> None:
    state = np.random.get_state(legacy=False)["state"]["key"].copy()  # noqa: NPY002
    first = score_of_generic(name)
    assert METRICS[name](GENERIC, FACTORS, seed=0) == first
    assert METRICS[name](GENERIC, FACTORS, seed=6) != first
    after = np.random.get_state(legacy=False)["state"]["key"]  # noqa: NPY002
    assert np.array_equal(after, state)


def test_votes_do_not_depend_on_the_number_of_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scores = []
    for threads in (1, 3):
        monkeypatch.setattr("os.cpu_count", partial(int, threads))
        scores.append(metrics.factor_vae_score(GENERIC, FACTORS, train_votes=500))
    assert scores[0] == scores[1]


def test_constant_factors_are_left_out(name: str) -> None:
    padded = np.hstack([np.full((1_000, 1), 4), FACTORS])
    renumbered = partial(metrics.sap_score, categorical=[1])
    metric = renumbered if name == "sap_categorical" else METRICS[name]
    score = metric(GENERIC, padded)
    assert score.factors_used == (1, 2)
    assert score.value == score_of_generic(name).value


def test_mapped_codes_keep_a_perfect_score(name: str) -> None:
    heavy = stats.t(df=3).ppf((FACTORS + 0.5) / 10.0)
    mapped = metrics.normal_scores(heavy, stats.t(df=3).cdf)
    assert METRICS[name](mapped, FACTORS).value > 0.85


ONES = np.ones_like(PERFECT)
NOT_SCALES = "posterior_scales must be standard deviations"


@pytest.mark.parametrize(
    ("message", "codes", "factors", "options"),
    [
        (r"codes must be .*received float64 \[1000\]", PERFECT[:, 0], FACTORS, {}),
        ("codes must be", PERFECT.astype(str), FACTORS, {}),
        ("must be finite", np.where(PERFECT > 1.5, np.nan, PERFECT), FACTORS, {}),
        ("factors must be integers", PERFECT, FACTORS * 1.0, {}),
        ("factors must be integers", PERFECT, FACTORS[:-1], {}),
        ("factors must be integers", PERFECT, FACTORS[:, 0], {}),
        ("two factors must vary; received 1", PERFECT, FACTORS[:, :1], {}),
        ("at least 50 rows; received 20", PERFECT[:20], FACTORS[:20], {}),
        ("scale must be a positive number", PERFECT, FACTORS, {"scale": 0.0}),
        ("scale must be a positive number", PERFECT, FACTORS, {"scale": "1"}),
        ("scale must be a positive number", PERFECT, FACTORS, {"scale": [1.0] * 3}),
        (NOT_SCALES, PERFECT, FACTORS, {"posterior_scales": np.ones(2)}),
        (NOT_SCALES, PERFECT, FACTORS, {"posterior_scales": -ONES}),
        ("pass one", PERFECT, FACTORS, {"scale": 1.0, "posterior_scales": ONES}),
    ],
)
def test_bad_input_is_one_line(
    name: str, message: str, codes: Any, factors: Any, options: dict[str, Any]
) -> None:
    with pytest.raises(InputError, match=message) as error:
        METRICS[name](codes, factors, **options)
    assert "\n" not in str(error.value)


def test_bad_options_are_one_line() -> None:
    unique = np.stack([np.arange(1_000), FACTORS[:, 0]], axis=1)
    with pytest.raises(InputError, match="a value that two rows share"):
        metrics.factor_vae_score(PERFECT, unique)
    with pytest.raises(
        InputError, match="evaluation_votes must be a whole number >= 50; received 0"
    ):
        METRICS["factor_vae"](PERFECT, FACTORS, evaluation_votes=0)
    with pytest.raises(InputError, match="indices below 2; received 2"):
        metrics.sap_score(PERFECT, FACTORS, categorical=[2])
    with pytest.raises(InputError, match="20 rows a value; received 150 in all"):
        metrics.dci_disentanglement(PERFECT[:150], FACTORS[:150], categorical=[1])
    with pytest.raises(InputError, match="must return float64; received float32"):
        metrics.normal_scores([[1.0]], partial(np.full_like, fill_value=0.5, dtype="f"))
    with pytest.raises(InputError, match="add up to 1"):
        metrics.normal_scores([[1.0]], stats.norm(1.0, 1.0).cdf)
