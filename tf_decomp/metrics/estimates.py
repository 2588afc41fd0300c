# SPDX-License-Identifier: Apache-2.0
"""What the metrics on arrays share: checks, the drop rule, standard errors, chance."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from tf_decomp.errors import InputError

NUM_PERMUTATIONS = 5

_DROP_RATIO = 0.01
_MIN_ROWS = 50
_NUM_HALF_SAMPLES = 20


class Estimate(NamedTuple):
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
    """

    value: float
    standard_error: float
    chance: float
    chance_standard_error: float
    dropped: tuple[int, ...]
    value_all: float
    factors_used: tuple[int, ...]
    n: int


class LabelledCodes(NamedTuple):
    """Checked codes and factors in the form that every metric starts from.

    Attributes:
        codes: [n, latent_dim] float64, every dimension with mean 0 and standard
            deviation 1; a constant dimension is 0.
        factors: [n, num_used] the varying factors as class indices from 0.
        active: [latent_dim] False for the dropped dimensions.
        factors_used: indices of these factors among the given columns.
        num_factors: number of given columns.
    """

    codes: np.ndarray
    factors: np.ndarray
    active: np.ndarray
    factors_used: tuple[int, ...]
    num_factors: int

    def active_codes(self) -> np.ndarray:
        """Returns the active dimensions [n, num_active]; [n, 1] zeros if none is."""
        if not self.active.any():
            return np.zeros((len(self.codes), 1))
        return self.codes[:, self.active]

    def dropped(self) -> tuple[int, ...]:
        """Returns the indices of the dropped dimensions."""
        return tuple(np.flatnonzero(~self.active).tolist())

    def estimate(
        self,
        value: float,
        standard_error: float,
        chance: np.ndarray,
        value_all: float,
        n: int,
    ) -> Estimate:
        """Returns the `Estimate`; `chance` [permutations] is reduced here."""
        return Estimate(
            float(value),
            float(standard_error),
            float(np.mean(chance)),
            float(np.std(chance, ddof=1)),
            self.dropped(),
            float(value_all),
            self.factors_used,
            n,
        )


def check_codes(codes: ArrayLike) -> np.ndarray:
    """Returns codes [n, latent_dim] as a finite numeric array of its own type.

    Raises:
        InputError: the shape or the type is another, or a value is not finite.
    """
    array = np.asarray(codes)
    if array.ndim != 2 or 0 in array.shape or array.dtype.kind not in "fiu":
        raise InputError(
            "codes must be a float array [n, latent_dim]; received "
            f"{array.dtype} {list(array.shape)}; pass one row for each datum"
        )
    bad = array.size - int(np.isfinite(array).sum())
    if bad:
        raise InputError(
            f"codes must be finite; received {bad} values that are not; "
            "mend the encoder or leave these rows out"
        )
    return array


def standard_deviations(codes: np.ndarray) -> np.ndarray:
    """Returns [latent_dim] standard deviations, exactly 0 where only rounding varies.

    A spread of a few units in the last place of the codes' own type is rounding.
    """
    resolution = np.finfo(codes.dtype).eps if codes.dtype.kind == "f" else 0.0
    magnitude = np.abs(codes).max(axis=0).astype(np.float64)
    # Relative to the magnitude no square overflows or underflows.
    relative = codes / np.where(magnitude > 0.0, magnitude, 1.0)
    constant = np.ptp(relative, axis=0) <= 8.0 * resolution
    return np.where(constant, 0.0, magnitude * relative.std(axis=0))


def active_dimensions(codes: ArrayLike, scale: ArrayLike | None = None) -> np.ndarray:
    """Returns which dimensions carry anything: the one rule of all metrics.

    A dimension is dropped when its standard deviation over the data is below 0.01
    of `scale`, or is zero.

    Args:
        codes: [n, latent_dim] encodings.
        scale: what a dimension in use varies by, a number or [latent_dim], e.g.
            the prior's standard deviation; by default the largest standard
            deviation of any dimension of `codes`.

    Returns:
        [latent_dim] bool.

    Raises:
        InputError: `codes` or `scale` is unusable.

    Example:
        >>> codes = np.random.default_rng(0).normal(size=(100, 3)) * [1.0, 2.0, 1e-5]
        >>> active_dimensions(codes).tolist()
        [True, True, False]
    """
    return _vary_enough(standard_deviations(check_codes(codes)), scale)


def _vary_enough(deviations: np.ndarray, scale: ArrayLike | None) -> np.ndarray:
    reference = np.asarray(deviations.max() if scale is None else scale, np.float64)
    usable = reference.shape in ((), deviations.shape) and np.isfinite(reference).all()
    if not usable or (scale is not None and (reference <= 0.0).any()):
        raise InputError(
            f"scale must be a positive number or [{len(deviations)}] of them; "
            f"received {np.array2string(reference, threshold=6)}; "
            "pass the prior's standard deviation"
        )
    return (deviations > 0.0) & (deviations >= _DROP_RATIO * reference)


def label_codes(
    codes: ArrayLike, factors: ArrayLike, scale: ArrayLike | None
) -> LabelledCodes:
    """Checks and standardises what a disentanglement metric is given.

    Args:
        codes: [n, latent_dim] encodings, n >= 50.
        factors: [n, num_factors] integers, at least two of them varying.
        scale: see `active_dimensions`.

    Raises:
        InputError: an argument is unusable.
    """
    raw = check_codes(codes)
    labels = np.asarray(factors)
    if labels.ndim != 2 or labels.dtype.kind not in "iu" or len(labels) != len(raw):
        raise InputError(
            f"factors must be integers [{len(raw)}, num_factors], a row for each code; "
            f"received {labels.dtype} {list(labels.shape)}; pass class indices"
        )
    if len(raw) < _MIN_ROWS:
        raise InputError(
            f"a disentanglement metric needs at least {_MIN_ROWS} rows; "
            f"received {len(raw)}; encode more data"
        )
    used = np.flatnonzero(np.ptp(labels, axis=0) > 0)
    if len(used) < 2:
        raise InputError(
            f"at least two factors must vary; received {len(used)} that do; "
            "disentanglement of a single factor is not defined"
        )
    deviations = standard_deviations(raw)
    active = _vary_enough(deviations, scale)
    standard = raw - raw.mean(axis=0, dtype=np.float64)
    standard /= np.where(deviations > 0.0, deviations, np.inf)
    classes = np.empty((len(labels), len(used)), np.int64)
    for column, factor in enumerate(used):
        classes[:, column] = np.unique(labels[:, factor], return_inverse=True)[1]
    return LabelledCodes(
        standard, classes, active, tuple(used.tolist()), labels.shape[1]
    )


def resample(
    fit: Callable[[np.ndarray], Callable[[np.ndarray], tuple[float, float]]],
    factors: np.ndarray,
    rows: np.ndarray,
    rng: np.random.Generator,
) -> tuple[float, float, np.ndarray, float]:
    """Evaluates a score with its half-sampling error and at permuted factors.

    The standard error is the standard deviation of the score over 20 random halves
    of `rows`, drawn without replacement: the mean of such a half has the variance
    s^2 / (n/2) * (1 - 1/2) = s^2 / n about that of all. It is conditional on what
    `fit` learnt.

    Args:
        fit: takes factors [n, num_factors], trains what the score needs, and returns
            a function from row indices to [the score, the score with nothing dropped].
        factors: [n, num_factors] class indices.
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
    return value, float(np.std(halves, ddof=1)), np.array(chances), value_all
