# SPDX-License-Identifier: Apache-2.0
"""Hoyer sparsity of codes whose sparsity is known."""

import numpy as np
import pytest

from tf_decomp.errors import InputError
from tf_decomp.metrics import hoyer_sparsity

GAUSSIAN = np.random.default_rng(0).normal(size=(10_000, 50))


def test_gaussian_code() -> None:
    score = hoyer_sparsity(GAUSSIAN)
    assert score.gaussian_value == pytest.approx(0.231, abs=5e-4)
    assert abs(score.value - score.gaussian_value) <= 5.0 * score.standard_error
    assert score.active_value == score.value
    assert (score.inactive, score.zero_rows, score.n) == ((), 0, 10_000)


def test_gaussian_value_in_two_dimensions() -> None:
    # The mean of |cos t| + |sin t| is 4 / pi.
    expected = (np.sqrt(2.0) - 4.0 / np.pi) / (np.sqrt(2.0) - 1.0)
    score = hoyer_sparsity(GAUSSIAN[:, :2])
    assert score.gaussian_value == pytest.approx(expected, abs=1e-12)
    assert abs(score.value - expected) <= 5.0 * score.standard_error


def test_dense_and_one_hot_rows() -> None:
    assert hoyer_sparsity(np.eye(4), normalise=False).value == pytest.approx(1.0)
    signs = np.sign(GAUSSIAN)
    assert hoyer_sparsity(signs, normalise=False).value == pytest.approx(0.0)
    rows = np.array([[3.0, 4.0, 0.0, 0.0]])  # (2 - 7/5) / (2 - 1)
    assert hoyer_sparsity(rows, normalise=False).value == pytest.approx(0.6)


def test_a_collapsed_dimension_with_a_mean_spoils_only_the_papers_number() -> None:
    codes = GAUSSIAN.copy()
    codes[:, 7] = 0.5 + 1e-3 * codes[:, 7]
    assert hoyer_sparsity(codes).inactive == ()  # from codes alone it is a small one
    score = hoyer_sparsity(codes, scale=0.1)
    assert score.value == pytest.approx(0.987, abs=1e-3)
    assert (score.inactive, score.judged_by) == ((7,), "scale")
    error = score.active_standard_error
    assert abs(score.active_value - score.active_gaussian_value) <= 5.0 * error
    without = hoyer_sparsity(np.delete(codes, 7, axis=1))
    assert score.active_value == pytest.approx(without.value, abs=1e-12)


def test_the_papers_number_is_scaled_and_not_centred() -> None:
    scales = np.geomspace(0.1, 10.0, 50)
    score, scaled = hoyer_sparsity(GAUSSIAN), hoyer_sparsity(GAUSSIAN * scales)
    assert scaled.value == pytest.approx(score.value, abs=1e-12)
    assert hoyer_sparsity(GAUSSIAN * scales, normalise=False).value > 0.3
    shifted = hoyer_sparsity(GAUSSIAN + 3.0)
    assert shifted.value < score.value - 5.0 * score.standard_error
    permuted = hoyer_sparsity(GAUSSIAN[:, ::-1])
    assert permuted.value == pytest.approx(score.value, abs=1e-12)


@pytest.mark.parametrize("constant", [0.0, 0.1, -3.0])
def test_a_constant_dimension_is_off_but_counts(constant: float) -> None:
    codes = np.hstack([GAUSSIAN, np.full((10_000, 1), constant)])
    off = np.hstack([GAUSSIAN, np.zeros((10_000, 1))])
    off[:, :50] /= GAUSSIAN.std(axis=0)
    score = hoyer_sparsity(codes)
    assert score.value == pytest.approx(
        hoyer_sparsity(off, normalise=False).value, abs=1e-12
    )
    assert score.inactive == (50,)
    assert score.active_value == pytest.approx(hoyer_sparsity(GAUSSIAN).value)


def test_zero_rows_are_counted_and_left_out() -> None:
    codes = GAUSSIAN[:100].copy()
    codes[10:30] = 0.0
    codes[30, :-1] = 0.0
    codes[:, -1] *= 1e-4
    score = hoyer_sparsity(codes, posterior_scales=np.full(codes.shape, 0.1))
    assert (score.zero_rows, score.active_zero_rows, score.n) == (20, 21, 80)
    assert np.isfinite(score.value)
    kept = np.delete(codes, np.s_[10:30], axis=0) / codes.std(axis=0)
    by_hand = hoyer_sparsity(kept, normalise=False)
    assert score.value == pytest.approx(by_hand.value, abs=1e-12)


@pytest.mark.parametrize(
    "codes",
    [
        np.zeros((20, 5)),
        np.full((20, 5), 0.1),
        GAUSSIAN[:20, :1],
        1e-200 * GAUSSIAN[:20],
        1e200 * GAUSSIAN[:20],
        np.full((1, 5), 2.0),
        np.hstack([GAUSSIAN[:20, :1], np.full((20, 4), 2.0)]),
    ],
    ids=["zero", "constant", "one", "tiny", "huge", "single_row", "one_active"],
)
@pytest.mark.parametrize("normalise", [True, False])
def test_never_nan(codes: np.ndarray, normalise: bool) -> None:
    score = hoyer_sparsity(codes, normalise)
    numbers = [v for v in score if isinstance(v, float)]
    assert len(numbers) == 6
    assert np.isfinite(numbers).all()
    assert 0.0 <= score.value <= 1.0
    assert 0.0 <= score.active_value <= 1.0


def test_tiny_and_huge_codes_score_as_others() -> None:
    score = hoyer_sparsity(GAUSSIAN[:20], normalise=False)
    for factor in (1e-200, 1e200):
        scaled = hoyer_sparsity(factor * GAUSSIAN[:20], normalise=False)
        assert scaled.value == pytest.approx(score.value, abs=1e-12)


def test_bad_input() -> None:
    with pytest.raises(InputError, match=r"received float64 \[10000\]"):
        hoyer_sparsity(GAUSSIAN[:, 0])
    with pytest.raises(InputError, match="received 1 values that are not"):
        hoyer_sparsity([[1.0, np.inf]])


@pytest.mark.parametrize(("variance", "level"), [(0.05, 0.419), (0.0025, 0.651)])
def test_samples_of_the_papers_prior(variance: float, level: float) -> None:
    rng = np.random.default_rng(0)
    spike = rng.random((20_000, 50)) < 0.8
    samples = np.where(spike, variance**0.5, 1.0) * rng.normal(size=spike.shape)
    score = hoyer_sparsity(samples)
    assert abs(score.value - level) <= 5.0 * score.standard_error + 0.0005


def test_sampled_codes() -> None:
    # Means of 0.8 and noise of 0.6: samples are standard normal.
    score = hoyer_sparsity(
        0.8 * GAUSSIAN, posterior_scales=np.full(GAUSSIAN.shape, 0.6)
    )
    error = 5.0 * score.standard_error
    assert abs(score.value_sampled - score.gaussian_value) <= error
    sparse = np.where(np.abs(GAUSSIAN) > 2.0, GAUSSIAN, 0.0)
    noisy = hoyer_sparsity(sparse, posterior_scales=np.ones(sparse.shape))
    assert noisy.value > 0.5 > noisy.value_sampled
    assert hoyer_sparsity(sparse).value_sampled is None
