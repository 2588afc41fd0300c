# SPDX-License-Identifier: Apache-2.0
"""What the metrics on codes and factors share: checks, standard errors, chance."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from tf_decomp.checks import check_whole_number
from tf_decomp.errors import InputError
from tf_decomp.metrics.codes import (
    as_array,
    check_codes,
    sample_codes,
    standard_deviations,
    tell_active,
)

MIN_ROWS = 50
NUM_PERMUTATIONS = 5

_TAIL = 0.001
_NUM_HALF_SAMPLES = 20


class Score(NamedTuple):
    """A score, its uncertainty, and the level that a meaningless code reaches.

    Attributes:
        value: the score without the dropped dimensions.
        standard_error: its standard error; what it is conditional on is said by
            the metric.
        chance: mean score when the rows of the factors are permuted, which keeps
            the factors' own dependence and breaks their relation to the codes.
        chance_standard_error: standard deviation of that score over the
            permutations, so the standard error of one score at chance.
        dropped: indices of the dimensions left out of `value`.
        value_all: the score with nothing dropped.
        factors_used: indices of the factors judged, those that vary.
        n: number of rows, or of evaluation votes, behind `value`.
        value_sampled: `value` of one sample of each posterior in place of its mean;
            None where the posteriors' scales are not known.
        judged_by: what told the dropped dimensions: "posterior scales", "scale", or
            "codes alone", which drops constant dimensions only, since a collapsed one
            then cannot be told from a small one.
    """

    value: float
    standard_error: float
    chance: float
    chance_standard_error: float
    dropped: tuple[int, ...]
    value_all: float
    factors_used: tuple[int, ...]
    n: int
    value_sampled: float | None = None
    judged_by: str = "codes alone"


class LabelledCodes(NamedTuple):
    """Checked codes and factors in the form that every metric starts from.

    Attributes:
        codes: [n, latent_dim] float64, every dimension with mean 0 and standard
            deviation 1, without outliers; a constant dimension is 0.
        factors: [n, num_used] the varying factors as class indices from 0.
        active: [latent_dim] False for the dropped dimensions.
        factors_used: indices of these factors among the given columns.
        num_factors: number of given columns.
        judged_by: see `Score`.
        samples: [n, latent_dim] one sample of each posterior, standardised as the
            codes; None where the scales are not known.
    """

    codes: np.ndarray
    factors: np.ndarray
    active: np.ndarray
    factors_used: tuple[int, ...]
    num_factors: int
    judged_by: str
    samples: np.ndarray | None

    def value_of_samples(
        self, score: Callable[["LabelledCodes"], float]
    ) -> float | None:
        """Returns the score of the samples in place of the codes, if there are any."""
        if self.samples is None:
            return None
        return float(score(self._replace(codes=self.samples, samples=None)))

    def active_codes(self) -> np.ndarray:
        """Returns the active dimensions [n, num_active]; [n, 1] zeros if none is."""
        if not self.active.any():
            return np.zeros((len(self.codes), 1))
        return self.codes[:, self.active]

    def dropped(self) -> tuple[int, ...]:
        """Returns the indices of the dropped dimensions."""
        return tuple(np.flatnonzero(~self.active).tolist())

    def score(
        self,
        value: float,
        standard_error: float,
        chance: Sequence[float],
        value_all: float,
        n: int,
        value_sampled: float | None = None,
    ) -> Score:
        """Returns the `Score`; `chance` [permutations] is reduced here."""
        return Score(
            float(value),
            float(standard_error),
            float(np.mean(chance)),
            float(np.std(chance, ddof=1)),
            self.dropped(),
            float(value_all),
            self.factors_used,
            n,
            value_sampled,
            self.judged_by,
        )


def label_codes(
    codes: ArrayLike,
    factors: ArrayLike,
    scale: ArrayLike | None = None,
    posterior_scales: ArrayLike | None = None,
    seed: int = 0,
) -> LabelledCodes:
    """Checks and standardises what a disentanglement metric is given.

    Args:
        codes: [n, latent_dim] encodings, n >= 50.
        factors: [n, num_factors] integers, at least two of them varying.
        scale: see `active_dimensions`.
        posterior_scales: see `active_dimensions`; samples are normal with these.
        seed: of the samples.

    Raises:
        InputError: an argument is unusable.
    """
    raw = check_codes(codes)
    labels = as_array(factors, "factors")
    if labels.ndim != 2 or labels.dtype.kind not in "iu" or len(labels) != len(raw):
        raise InputError(
            f"factors must be integers [{len(raw)}, num_factors], a row for each code; "
            f"received {labels.dtype} {list(labels.shape)}; pass class indices"
        )
    if len(raw) < MIN_ROWS:
        raise InputError(
            f"a disentanglement metric needs at least {MIN_ROWS} rows; "
            f"received {len(raw)}; encode more data"
        )
    check_whole_number("seed", seed, 0)
    used = np.flatnonzero((labels != labels[0]).any(axis=0))
    if len(used) < 2:
        raise InputError(
            f"at least two factors must vary; received {len(used)} that do; "
            "disentanglement of a single factor is not defined"
        )
    active, judged_by = tell_active(raw, scale, posterior_scales)
    classes = np.empty((len(labels), len(used)), np.int64)
    for column, factor in enumerate(used):
        classes[:, column] = np.unique(labels[:, factor], return_inverse=True)[1]
    samples = None
    if posterior_scales is not None:
        samples = _standardise(sample_codes(raw, posterior_scales, seed))
    return LabelledCodes(
        _standardise(raw),
        classes,
        active,
        tuple(used.tolist()),
        labels.shape[1],
        judged_by,
        samples,
    )


def _standardise(codes: np.ndarray) -> np.ndarray:
    """Returns codes with mean 0 and standard deviation 1; 0 where constant.

    What lies beyond the quantiles of 0.001 and 0.999 is moved to them (the extreme rows
    at least), unless that leaves a constant: else one outlier sets the unit of a
    dimension, in which all its other values are the same.
    """
    n = len(codes)
    cut = min(int(np.ceil(_TAIL * n)), (n - 1) // 2)
    ends = np.partition(codes, (cut, n - 1 - cut), axis=0)
    low, high = ends[cut], ends[n - 1 - cut]
    codes = np.where(low < high, np.clip(codes, low, high), codes)
    deviations = standard_deviations(codes)
    standard = codes - codes.mean(axis=0, dtype=np.float64)
    standard /= np.where(deviations > 0.0, deviations, np.inf)
    return standard


def resample(
    fit: Callable[[np.ndarray], Callable[[np.ndarray], tuple[float, float]]],
    factors: np.ndarray,
    rows: np.ndarray,
    rng: np.random.Generator,
) -> tuple[float, float, list[float], float]:
    """Evaluates a score with its half-sampling error and at permuted factors.

    The standard error is the standard deviation of the score over 20 random halves
    of `rows`, drawn without replacement: the mean of such a half has the variance
    s^2 / (n/2) * (1 - 1/2) = s^2 / n about that of all. It is conditional on what
    `fit` learnt.

    Args:
        fit: takes factors [n, num_factors], trains what the score needs, and returns
            a function from row indices to [the score, the score with nothing dropped].
        factors: [n, num_factors] class indices, or what else codes are compared with.
        rows: indices of the rows that no training has seen.
        rng: the source of the halves and permutations.

    Returns:
        The score, its standard error, the scores at permuted factors [permutations],
        and the score with nothing dropped.
    """
    score = fit(factors)
    value, value_all = score(rows)
    half = len(rows) // 2
    halves = [
        score(np.sort(rng.permutation(rows)[:half]))[0]
        for _ in range(_NUM_HALF_SAMPLES)
    ]
    chances = [
        fit(factors[rng.permutation(len(factors))])(rows)[0]
        for _ in range(NUM_PERMUTATIONS)
    ]
    return value, float(np.std(halves, ddof=1)), chances, value_all
