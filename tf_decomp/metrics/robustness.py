# SPDX-License-Identifier: Apache-2.0
"""Disentanglement from how little a dimension moves while its factor is held."""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from tf_decomp.checks import check_real_number
from tf_decomp.errors import InputError
from tf_decomp.metrics.scores import Score, label_codes, resample


def interventional_robustness_score(
    codes: ArrayLike,
    factors: ArrayLike,
    *,
    quantile: float = 0.99,
    scale: ArrayLike | None = None,
    posterior_scales: ArrayLike | None = None,
    seed: int = 0,
) -> Score:
    """Scores how little each dimension moves when all but its factor change (IRS).

    Suter et al., "Robustly Disentangled Causal Mechanisms" (ICML 2019). While factor i
    is held at g, the post-interventional disagreement (PIDA) of dimension d and a datum
    is |z_d - E[z_d | v_i = g]|. With MPIDA the largest of a value's data and EMPIDA_di
    its mean over the values, as often as they occur,

        IRS_di = 1 - EMPIDA_di / EMPIDA_d,
        value = sum_d EMPIDA_d max_i IRS_di / sum_d EMPIDA_d,

    where EMPIDA_d is that of all data with nothing held. A dimension that its factor
    alone moves has 1; one that moves as far, or farther, whichever factor is held has
    0. Every datum stands for one intervention on all the rest, labelled or not, so that
    noise in the codes counts against them. Holding is selecting, which is intervening
    where the factors were drawn independently of each other.

    The largest hangs on a single datum and is estimated by a quantile; 1 takes the
    paper's maximum. Both are too small for a value with few data, so that a random code
    scores above 0: see `chance`. A value that a single row has shows nothing and is
    left out; where all values of a factor are such, holding it counts 0. Dimensions
    are divided by their standard deviation first, so that the weights EMPIDA_d, which
    in the paper have the unit of the dimension, have none.

    The standard error is over random halves of the rows, conditional on the codes. That
    of the paper's maximum is too small: 0.7 of the spread over sets of noisy codes.

    Args:
        codes: [n, latent_dim] encodings, e.g. posterior means.
        factors: [n, num_factors] integers; constant factors are left out.
        quantile: which of the sorted disagreements is taken for the largest, above 0.5
            and at most 1, linear between two of them.
        scale: see `active_dimensions`.
        posterior_scales: see `active_dimensions`; with them sampled codes are scored.
        seed: of the halves and the permutations.

    Raises:
        InputError: an argument is unusable.

    Example:
        >>> factors = np.random.default_rng(0).integers(0, 5, size=(1000, 2))
        >>> score = interventional_robustness_score(factors.astype(float), factors)
        >>> round(score.value, 6)
        1.0
    """
    share = check_real_number("quantile", quantile)
    if not 0.5 < share <= 1.0:
        raise InputError(
            f"quantile must be above 0.5 and at most 1; received {share}; 1 takes the "
            "largest disagreement, as the paper does"
        )
    labelled = label_codes(codes, factors, scale, posterior_scales, seed)
    active = labelled.active_codes()

    def fit(factors: np.ndarray) -> Callable[[np.ndarray], tuple[float, float]]:
        def score(rows: np.ndarray) -> tuple[float, float]:
            value = value_all = _robustness(active[rows], factors[rows], share)
            if labelled.dropped():
                value_all = _robustness(labelled.codes[rows], factors[rows], share)
            return value, value_all

        return score

    n = len(labelled.codes)
    rng = np.random.default_rng(seed)
    result = resample(fit, labelled.factors, np.arange(n), rng)
    value_sampled = labelled.value_of_samples(
        lambda sampled: _robustness(sampled.active_codes(), sampled.factors, share)
    )
    return labelled.score(*result, n, value_sampled)


def _robustness(codes: np.ndarray, factors: np.ndarray, quantile: float) -> float:
    dimensions = np.ascontiguousarray(codes.T)
    free = _disagreement(dimensions, quantile)
    held = [_held_disagreement(dimensions, labels, quantile) for labels in factors.T]
    total = free.sum()
    # A dimension's weight times its score is the difference.
    robust = np.maximum(free - np.min(held, axis=0), 0.0).sum()
    return float(robust / total) if total > 0.0 else 0.0


def _held_disagreement(
    dimensions: np.ndarray, labels: np.ndarray, quantile: float
) -> np.ndarray:
    """Returns EMPIDA [latent_dim] with this factor held."""
    table = dimensions.take(np.argsort(labels, kind="stable"), axis=1)
    sizes = np.bincount(labels)
    starts = np.cumsum(sizes) - sizes
    shared = sizes > 1
    if not shared.any():
        return np.full(len(dimensions), np.inf)
    largest = [
        _disagreement(table[:, start : start + size], quantile)
        for start, size in zip(starts[shared], sizes[shared], strict=True)
    ]
    return np.average(largest, axis=0, weights=sizes[shared])


def _disagreement(dimensions: np.ndarray, quantile: float) -> np.ndarray:
    """Returns the largest distance from their mean of the rows [latent_dim, n]."""
    count = dimensions.shape[1]
    distances = np.abs(dimensions - dimensions.mean(axis=1, keepdims=True))
    # As `np.quantile`, which takes five times as long for a few rows.
    place = quantile * (count - 1)
    below = int(place)
    above = min(below + 1, count - 1)
    distances.partition((below, above), axis=1)
    low, high = distances[:, below], distances[:, above]
    return low + (place - below) * (high - low)
