# SPDX-License-Identifier: Apache-2.0
"""What the metrics on arrays share: checks, active dimensions, errors, chance."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from tf_decomp.errors import InputError

NUM_PERMUTATIONS = 5

# A share of 0.01 is 0.005 nats of a normal dimension: with a thousand data nobody
# could use less, and networks leave 0.001 to 0.008 in dimensions that they gave up.
ACTIVE_SHARE = 0.01

_MIN_ROWS = 50
_TAIL = 0.001
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
        judged_by: see `Estimate`.
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

    def estimate(
        self,
        value: float,
        standard_error: float,
        chance: np.ndarray,
        value_all: float,
        n: int,
        value_sampled: float | None = None,
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
            value_sampled,
            self.judged_by,
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


def active_dimensions(
    codes: ArrayLike,
    scale: ArrayLike | None = None,
    *,
    posterior_scales: ArrayLike | None = None,
) -> np.ndarray:
    """Returns which dimensions carry anything: the one rule of all metrics.

    Dimension d of posterior means mu and scales sigma is active when

        Var(mu_d) / (Var(mu_d) + E[sigma_d^2]) >= 0.01,

    moments over the data: the share of the variance of q(z_d) that tells data apart,
    0.005 nats of a normal dimension. It does not change with the unit of a dimension,
    and no dimension changes another's. From codes alone a collapsed dimension cannot
    be told from a small one: only what is constant to rounding is then inactive.

    Args:
        codes: [n, latent_dim] encodings, e.g. posterior means.
        scale: standard deviation of the noise about the codes where it is the same
            for all data, a number or [latent_dim].
        posterior_scales: [n, latent_dim] standard deviations of q(z_d|x).

    Returns:
        [latent_dim] bool.

    Raises:
        InputError: an argument is unusable, or both scales are given.

    Example:
        >>> codes = np.random.default_rng(0).normal(size=(100, 3)) * [1.0, 9.0, 1e-3]
        >>> active_dimensions(codes, posterior_scales=np.ones((100, 3))).tolist()
        [True, True, False]
    """
    return tell_active(check_codes(codes), scale, posterior_scales)[0]


def tell_active(
    codes: np.ndarray, scale: ArrayLike | None, posterior_scales: ArrayLike | None
) -> tuple[np.ndarray, str]:
    """Returns `active_dimensions` of checked codes, and what they are known from."""
    noise, judged_by = _noise(codes, scale, posterior_scales)
    deviations = standard_deviations(codes)
    least = (ACTIVE_SHARE / (1.0 - ACTIVE_SHARE)) ** 0.5
    return (deviations > 0.0) & (deviations >= least * noise), judged_by


def sample_codes(codes: np.ndarray, scales: ArrayLike, seed: int) -> np.ndarray:
    """Returns codes [n, latent_dim] with normal noise of these scales."""
    noise = np.random.default_rng([seed, 1]).standard_normal(codes.shape)
    return codes + np.asarray(scales) * noise


def _noise(
    codes: np.ndarray, scale: ArrayLike | None, posterior_scales: ArrayLike | None
) -> tuple[np.ndarray, str]:
    """Returns the root of E[sigma_d^2] [latent_dim], and what it is known from."""
    if posterior_scales is None:
        if scale is None:
            return np.zeros(codes.shape[1]), "codes alone"
        return _check_scale(scale, codes.shape[1]), "scale"
    if scale is not None:
        raise InputError(
            "scale and posterior_scales both say how wide the posteriors are; pass one"
        )
    scales = np.asarray(posterior_scales)
    usable = scales.shape == codes.shape and scales.dtype.kind in "fiu"
    if not usable or not np.isfinite(scales).all() or (scales < 0).any():
        raise InputError(
            f"posterior_scales must be standard deviations {list(codes.shape)}, finite "
            f"and not negative; received {scales.dtype} {list(scales.shape)}; pass "
            "the posterior's stddev()"
        )
    scales = scales.astype(np.float64)
    largest = scales.max(axis=0)
    # Relative to the largest no square overflows or underflows.
    relative = scales / np.where(largest > 0.0, largest, 1.0)
    return largest * np.sqrt((relative**2).mean(axis=0)), "posterior scales"


def _check_scale(scale: ArrayLike, latent_dim: int) -> np.ndarray:
    noise = np.asarray(scale)
    usable = noise.shape in ((), (latent_dim,)) and noise.dtype.kind in "fiu"
    if not usable or not (np.isfinite(noise) & (noise > 0.0)).all():
        raise InputError(
            f"scale must be a positive number or [{latent_dim}] of them; "
            f"received {np.array2string(noise, threshold=6)}; "
            "pass the standard deviation of the noise about the codes"
        )
    return np.broadcast_to(noise.astype(np.float64), (latent_dim,))


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
