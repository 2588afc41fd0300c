# SPDX-License-Identifier: Apache-2.0
"""Sparsity of encodings."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import gammaln

from tf_decomp.checks import check_whole_number
from tf_decomp.metrics.codes import (
    check_codes,
    sample_codes,
    standard_deviations,
    tell_active,
)


class HoyerSparsity(NamedTuple):
    """Hoyer sparsity of a set of encodings.

    Attributes:
        value: the paper's number: mean over rows, all dimensions, 0 dense to 1 sparse.
        standard_error: its standard error over rows, conditional on the encoder and
            on the standard deviations that the dimensions are divided by. These are
            of the same rows, so that for few rows it is too small: intervals of 95%
            cover 72% at n = 100 and 93% at n = 1,000 (50 normal dimensions).
        active_value: the same from the active dimensions alone.
        active_standard_error: its standard error over rows.
        inactive: indices of the other dimensions. One that hardly varies about a
            mean that is not 0 becomes huge when divided by its standard deviation,
            and makes `value` near 1 for a dense code.
        gaussian_value: what independent normal codes of as many dimensions score on
            average (exact): the level of a code that is dense by nature.
        active_gaussian_value: the same for the active dimensions.
        zero_rows: number of rows that are 0 throughout, left out of `value`.
        active_zero_rows: number of rows left out of `active_value`.
        n: number of rows behind `value`.
        value_sampled: `value` of one sample of each posterior in place of its mean;
            None where the posteriors' scales are not known.
        judged_by: what told the inactive dimensions, see `Score`.
    """

    value: float
    standard_error: float
    active_value: float
    active_standard_error: float
    inactive: tuple[int, ...]
    gaussian_value: float
    active_gaussian_value: float
    zero_rows: int
    active_zero_rows: int
    n: int
    value_sampled: float | None
    judged_by: str


def hoyer_sparsity(
    codes: ArrayLike,
    normalise: bool = True,
    *,
    scale: ArrayLike | None = None,
    posterior_scales: ArrayLike | None = None,
    seed: int = 0,
) -> HoyerSparsity:
    """Measures how few dimensions each encoding uses.

    Mathieu et al. 2019, section 6.3, after Hurley and Rickard 2008:

        Hoyer(y) = (sqrt(d) - |y|_1 / |y|_2) / (sqrt(d) - 1)  in [0, 1],

    averaged over rows. Each dimension is first divided by its standard deviation over
    the rows, and is not centred. Defined where the formula is not: a constant
    dimension is off, so 0 in every row, but counts in d; a row of zeros is counted
    and left out; with no row left, or with d = 1, the value is 0. Never NaN.

    Levels in 50 dimensions: samples of the spike-and-slab prior (gamma 0.8) have 0.419
    where the spike's variance is 0.05 and 0.651 where its standard deviation is; a
    normal code has 0.231.

    Args:
        codes: [n, latent_dim] encodings, e.g. posterior means.
        normalise: whether to divide by the standard deviations.
        scale: see `active_dimensions`.
        posterior_scales: see `active_dimensions`; with them normal samples are judged
            too.
        seed: of the samples.

    Raises:
        InputError: an argument is unusable.

    Example:
        >>> codes = np.random.default_rng(0).normal(size=(20_000, 50))
        >>> score = hoyer_sparsity(codes)
        >>> round(score.value, 2), round(score.gaussian_value, 3)
        (0.23, 0.231)
    """
    raw = check_codes(codes)
    check_whole_number("seed", seed, 0)
    active, judged_by = tell_active(raw, scale, posterior_scales)
    divided = _divided(raw, normalise)
    rows, active_rows = _hoyer(divided), _hoyer(divided[:, active])
    value_sampled = None
    if posterior_scales is not None:
        samples = sample_codes(raw, posterior_scales, seed)
        value_sampled = _mean_and_error(_hoyer(_divided(samples, normalise)))[0]
    return HoyerSparsity(
        *_mean_and_error(rows),
        *_mean_and_error(active_rows),
        tuple(np.flatnonzero(~active).tolist()),
        _gaussian_hoyer(raw.shape[1]),
        _gaussian_hoyer(int(active.sum())),
        len(raw) - len(rows),
        len(raw) - len(active_rows),
        len(rows),
        value_sampled,
        judged_by,
    )


def _divided(codes: np.ndarray, normalise: bool) -> np.ndarray:
    """Returns codes over their standard deviations, constant dimensions as 0."""
    deviations = standard_deviations(codes) if normalise else np.ones(codes.shape[1])
    return codes / np.where(deviations > 0.0, deviations, np.inf)


def _hoyer(codes: np.ndarray) -> np.ndarray:
    """Returns the sparsity of every row that is not all zeros."""
    dimensions = codes.shape[1]
    largest = np.abs(codes).max(axis=1, initial=0.0)
    kept = largest > 0.0
    if dimensions < 2:
        return np.zeros(int(kept.sum()))
    # Relative to the largest entry no square overflows or underflows as a whole.
    rows = np.abs(codes[kept]) / largest[kept, None]
    ratios = rows.sum(axis=1) / np.sqrt((rows**2).sum(axis=1))
    root = np.sqrt(dimensions)
    return np.clip((root - ratios) / (root - 1.0), 0.0, 1.0)


def _mean_and_error(values: np.ndarray) -> tuple[float, float]:
    """Returns the mean over rows and its standard error, both 0 where none is left."""
    if not len(values):
        return 0.0, 0.0
    return float(values.mean()), float(values.std() / np.sqrt(len(values)))


def _gaussian_hoyer(dimensions: int) -> float:
    """E|u|_1 = d Gamma(d/2) / (sqrt(pi) Gamma((d+1)/2)), u a uniform direction."""
    if dimensions < 2:
        return 0.0
    halves = gammaln(dimensions / 2) - gammaln((dimensions + 1) / 2)
    mean_ratio = dimensions * np.exp(halves) / np.sqrt(np.pi)
    root = np.sqrt(dimensions)
    return float((root - mean_ratio) / (root - 1.0))
