# SPDX-License-Identifier: Apache-2.0
"""What the codes that several networks give to the same data agree on; no factors."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import linear_sum_assignment
from scipy.stats import rankdata
from sklearn.linear_model import Lasso

from tf_decomp.checks import check_whole_number, short
from tf_decomp.errors import InputError
from tf_decomp.metrics.codes import (
    as_array,
    check_codes,
    check_posterior_scales,
    standard_deviations,
)
from tf_decomp.metrics.scores import MIN_ROWS, NUM_PERMUTATIONS, resample

INFORMATIVE_KL = 0.01  # nats, of the paper
_LASSO_PENALTY = 0.1


class DisentanglementRanking(NamedTuple):
    """How far each of several networks agrees with the others.

    Attributes:
        value: [num_networks] UDR, the median over the other networks.
        standard_error: [num_networks] of that median over the draw of the others; NaN
            where there is one only.
        chance: [num_networks] mean UDR when the rows of every network's codes are
            permuted, which leaves its own dimensions' dependence and nothing else.
        chance_standard_error: [num_networks] standard deviation of that UDR over the
            permutations, so the standard error of one UDR at chance.
        pairs: [num_networks, num_networks] UDR_ij, NaN on the diagonal.
        informative: indices of each network's informative dimensions, all that count.
        n: number of rows.
        judged_by: what told the informative dimensions: "KL", "posterior scales", or
            "codes alone", which leaves out constant dimensions only.
    """

    value: np.ndarray
    standard_error: np.ndarray
    chance: np.ndarray
    chance_standard_error: np.ndarray
    pairs: np.ndarray
    informative: tuple[tuple[int, ...], ...]
    n: int
    judged_by: str


class MeanCorrelation(NamedTuple):
    """How well the dimensions of two codes match one to one.

    `others[:, permutation] * signs` are the other codes aligned with
    `codes[:, dimensions]`; with equally many dimensions the latter are all.

    Attributes:
        value: MCC, the mean of `similarity`.
        standard_error: its standard error over the rows, conditional on the two
            networks and on the matching.
        chance: mean MCC, matched anew, when the rows of the others are permuted.
        chance_standard_error: standard deviation of that over the permutations, so
            the standard error of one MCC at chance.
        dimensions: matched dimensions of the codes, increasing.
        permutation: for each the dimension of the others.
        signs: for each the sign of their correlation, 1 or -1.
        similarity: for each the absolute correlation.
        n: number of rows.
    """

    value: float
    standard_error: float
    chance: float
    chance_standard_error: float
    dimensions: tuple[int, ...]
    permutation: tuple[int, ...]
    signs: tuple[int, ...]
    similarity: tuple[float, ...]
    n: int


def unsupervised_disentanglement_ranking(
    codes: Sequence[ArrayLike],
    *,
    kl: Sequence[ArrayLike] | None = None,
    posterior_scales: Sequence[ArrayLike] | None = None,
    similarity: str = "spearman",
    seed: int = 0,
) -> DisentanglementRanking:
    """Ranks networks by how well each agrees with the others, without factors (UDR).

    Duan et al., "Unsupervised Model Selection for Variational Disentangled
    Representation Learning" (ICLR 2020): networks that disentangle are alike up to the
    order and the signs of their dimensions, others differ from seed to seed. For the
    dimensions a of network i and b of network j, of which d_a and d_b are informative,

        UDR_ij = (sum_b r_b^2 / sum_a R(a, b) + sum_a r_a^2 / sum_b R(a, b)) /
                 (d_a + d_b),    r_b = max_a R(a, b),  r_a = max_b R(a, b),

    where R >= 0 is how similar two dimensions are, and UDR_i is the median of UDR_ij
    over the other networks j. The sums are over informative dimensions alone, those
    whose KL(q(z_d|x) || p(z_d)) has a mean above 0.01 nats and whose codes vary; of no
    informative dimension UDR_ij is 0. 1 is one similar dimension each, of R = 1.

    R is Spearman's absolute rank correlation (the paper's UDR_S), or the absolute
    weight of a, both divided by their standard deviations, in a Lasso regression of b
    on all dimensions of i with the penalty 0.1 (UDR_L), in which equal codes of
    independent dimensions have 0.9. `pairs` of the latter are not symmetric.

    Networks of one set of hyperparameters belong together: UDR says how well a setting
    disentangles if its networks learn the same, also if all learn the same wrong thing.

    The standard error is that of the median of as many normal numbers as there are
    others, sqrt(pi / 2) times that of their mean: UDR_i1, UDR_i2, ... vary
    independently with the seeds of the others. It is conditional on the data and on
    network i. The values of two networks are not independent: they share a pair.

    Args:
        codes: two or more arrays [n, latent_dim], e.g. posterior means of the *same* n
            data, row by row, n >= 50; the number of dimensions may differ.
        kl: for each network [latent_dim] KL(q(z_d|x) || p(z_d)), mean over the data,
            nats.
        posterior_scales: in place of `kl`, for each network [n, latent_dim] standard
            deviations of normal posteriors with the codes as means, for the prior
            N(0, I).
        similarity: "spearman" or "lasso".
        seed: of the permutations.

    Raises:
        InputError: an argument is unusable.

    Example:
        >>> codes = np.random.default_rng(0).normal(size=(1000, 3))
        >>> ranking = unsupervised_disentanglement_ranking([codes, -codes[:, ::-1]])
        >>> bool(ranking.value[0] > 0.85), bool(ranking.chance[0] < 0.1)
        (True, True)
    """
    if similarity not in ("spearman", "lasso"):
        raise InputError(
            f"similarity must be spearman or lasso; received {short(similarity)}"
        )
    check_whole_number("seed", seed, 0)
    raw = _check_networks(codes)
    n = len(raw[0])
    informative, judged_by = _tell_informative(raw, kl, posterior_scales)
    measure = _rank_similarity if similarity == "spearman" else _lasso_similarity
    kept = [
        _standardise(part, ranks=similarity == "spearman")[:, mask]
        for part, mask in zip(raw, informative, strict=True)
    ]
    pairs = _all_pairs(kept, measure)
    rng = np.random.default_rng(seed)
    chances = []
    for _ in range(NUM_PERMUTATIONS):
        shuffled = [part[rng.permutation(n)] for part in kept]
        chances.append(np.nanmedian(_all_pairs(shuffled, measure), axis=1))
    return DisentanglementRanking(
        np.nanmedian(pairs, axis=1),
        _median_errors(pairs),
        np.mean(chances, axis=0),
        np.std(chances, axis=0, ddof=1),
        pairs,
        tuple(tuple(np.flatnonzero(mask).tolist()) for mask in informative),
        n,
        judged_by,
    )


def mean_correlation_coefficient(
    codes: ArrayLike,
    others: ArrayLike,
    *,
    correlation: str = "spearman",
    seed: int = 0,
) -> MeanCorrelation:
    """Matches the dimensions of two codes of the same data one to one (MCC).

    The matching has the largest sum of absolute correlations (Hyvärinen and Morioka,
    "Unsupervised Feature Extraction by Time-Contrastive Learning and Nonlinear ICA",
    NeurIPS 2016). The value is the mean of those that match: 1 where two codes differ
    in the order of their dimensions and in an increasing or decreasing map of each,
    or, with Pearson's, in the sign and scale of each. Of codes with more dimensions
    some have no partner and do not count; a constant one has correlation 0 with all.
    Leave inactive dimensions out first, see `active_dimensions`: they lower the value.

    The standard error is over random halves of the rows, the matching held fixed; it
    covers the draw of the data, not another training of the networks. The matching
    picks what is large, so that `chance` is above 0.

    Args:
        codes: [n, latent_dim] encodings, n >= 50.
        others: [n, other_dim] encodings of the same data by another network, or the
            true values of factors.
        correlation: "spearman" (of ranks) or "pearson".
        seed: of the halves and the permutations.

    Raises:
        InputError: an argument is unusable.

    Example:
        >>> codes = np.random.default_rng(0).normal(size=(1000, 3))
        >>> match = mean_correlation_coefficient(codes, -codes[:, [2, 0, 1]])
        >>> round(match.value, 6), match.permutation, match.signs
        (1.0, (1, 2, 0), (-1, -1, -1))
    """
    if correlation not in ("spearman", "pearson"):
        raise InputError(
            f"correlation must be spearman or pearson; received {short(correlation)}"
        )
    check_whole_number("seed", seed, 0)
    left, right = check_codes(codes), check_codes(others, "others")
    _check_rows([len(left), len(right)])

    def correlate(left: np.ndarray, right: np.ndarray) -> np.ndarray:
        ranks = correlation == "spearman"
        return _correlations(_standardise(left, ranks), _standardise(right, ranks))

    def fit(right: np.ndarray) -> Callable[[np.ndarray], tuple[float, float]]:
        matched = _match(correlate(left, right))

        def score(rows: np.ndarray) -> tuple[float, float]:
            value = float(np.abs(correlate(left[rows], right[rows])[matched]).mean())
            return value, value

        return score

    n = len(left)
    value, error, chances, _ = resample(
        fit, right, np.arange(n), np.random.default_rng(seed)
    )
    found = correlate(left, right)
    matched = _match(found)
    return MeanCorrelation(
        value,
        error,
        float(np.mean(chances)),
        float(np.std(chances, ddof=1)),
        tuple(matched[0].tolist()),
        tuple(matched[1].tolist()),
        tuple(np.where(found[matched] < 0.0, -1, 1).tolist()),
        tuple(np.abs(found[matched]).tolist()),
        n,
    )


def _check_networks(codes: Sequence[ArrayLike]) -> list[np.ndarray]:
    """Returns the codes of two or more networks for the same data."""
    try:
        given = list(codes)
    except TypeError:
        given = []
    if len(given) < 2 or isinstance(codes, str | bytes | dict):
        raise InputError(
            "codes must be a sequence of two or more arrays [n, latent_dim], one of "
            f"each network; received {short(codes)}; train with another seed"
        )
    checked = [check_codes(part, f"codes[{i}]") for i, part in enumerate(given)]
    _check_rows([len(part) for part in checked])
    return checked


def _check_rows(counts: Sequence[int]) -> None:
    if len(set(counts)) > 1 or counts[0] < MIN_ROWS:
        raise InputError(
            f"codes to compare must be of the same data, at least {MIN_ROWS} rows; "
            f"received {short(list(counts))} rows; encode the same data with each "
            "network"
        )


def _tell_informative(
    codes: Sequence[np.ndarray],
    kl: Sequence[ArrayLike] | None,
    posterior_scales: Sequence[ArrayLike] | None,
) -> tuple[list[np.ndarray], str]:
    """Returns which dimensions of each network count, and what that is known from."""
    varying = [standard_deviations(part) > 0.0 for part in codes]
    if kl is not None and posterior_scales is not None:
        raise InputError(
            "kl and posterior_scales both say which dimensions inform; pass one"
        )
    if kl is not None:
        divergences = _of_each("kl", kl, codes, _check_kl)
        judged_by = "KL"
    elif posterior_scales is not None:
        divergences = _of_each("posterior_scales", posterior_scales, codes, _normal_kl)
        judged_by = "posterior scales"
    else:
        return varying, "codes alone"
    above = [divergence > INFORMATIVE_KL for divergence in divergences]
    return [a & b for a, b in zip(varying, above, strict=True)], judged_by


def _of_each(
    name: str,
    given: Sequence[ArrayLike],
    codes: Sequence[np.ndarray],
    measure: Callable[[ArrayLike, np.ndarray, str], np.ndarray],
) -> list[np.ndarray]:
    """Returns the KL of each network's dimensions from what is given of it."""
    try:
        parts = list(given)
    except TypeError:
        parts = []
    if len(parts) != len(codes):
        raise InputError(
            f"{name} must be a sequence of {len(codes)} arrays, one of each network; "
            f"received {short(given)}"
        )
    return [
        measure(part, of_one, f"{name}[{i}]")
        for i, (part, of_one) in enumerate(zip(parts, codes, strict=True))
    ]


def _check_kl(kl: ArrayLike, codes: np.ndarray, name: str) -> np.ndarray:
    divergences = as_array(kl, name)
    usable = divergences.shape == codes.shape[1:] and divergences.dtype.kind in "fiu"
    if not usable or not np.isfinite(divergences).all():
        raise InputError(
            f"{name} must be {codes.shape[1]} finite numbers, the KL of each dimension "
            f"in nats; received {short(divergences.tolist())}; take the mean over the "
            "data"
        )
    return divergences


def _normal_kl(scales: ArrayLike, codes: np.ndarray, name: str) -> np.ndarray:
    """Returns the mean KL of N(codes, scales^2) to N(0, 1) [latent_dim], nats."""
    sigma = check_posterior_scales(scales, codes.shape, name)
    with np.errstate(divide="ignore", over="ignore"):  # infinite is informative
        squares = codes.astype(np.float64) ** 2 + sigma**2
        return np.mean(0.5 * (squares - 1.0) - np.log(sigma), axis=0)


def _standardise(codes: np.ndarray, ranks: bool) -> np.ndarray:
    """Returns codes or their ranks with mean 0 and deviation 1; 0 where constant."""
    varying = standard_deviations(codes) > 0.0
    if ranks:
        columns = rankdata(codes, axis=0)
    else:
        magnitude = np.abs(codes).max(axis=0).astype(np.float64)
        # Relative to the magnitude no square overflows or underflows.
        columns = codes / np.where(magnitude > 0.0, magnitude, 1.0)
    columns -= columns.mean(axis=0)
    return columns / np.where(varying, columns.std(axis=0), np.inf)


def _correlations(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Returns [left_dim, right_dim] correlations of standardised columns."""
    return np.clip(left.T @ right / len(left), -1.0, 1.0)


def _match(correlations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return linear_sum_assignment(np.abs(correlations), maximize=True)


def _rank_similarity(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return np.abs(_correlations(left, right))


def _lasso_similarity(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    model = Lasso(_LASSO_PENALTY, fit_intercept=False).fit(left, right)
    return np.abs(model.coef_.reshape(right.shape[1], left.shape[1]).T)


def _all_pairs(
    codes: Sequence[np.ndarray],
    measure: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> np.ndarray:
    """Returns UDR_ij of standardised informative dimensions, NaN on the diagonal."""
    pairs = np.full((len(codes), len(codes)), np.nan)
    for i, left in enumerate(codes):
        for j, right in enumerate(codes):
            if i != j:
                some = left.shape[1] and right.shape[1]
                pairs[i, j] = _relative_strength(measure(left, right)) if some else 0.0
    return pairs


def _relative_strength(similarities: np.ndarray) -> float:
    """Returns UDR_ij of R [d_a, d_b]."""
    strength = 0.0
    for matrix in (similarities, similarities.T):
        total = matrix.sum(axis=0)
        strongest = matrix.max(axis=0)[total > 0.0]
        strength += (strongest**2 / total[total > 0.0]).sum()
    return float(strength / sum(similarities.shape))


def _median_errors(pairs: np.ndarray) -> np.ndarray:
    others = len(pairs) - 1
    if others < 2:
        return np.full(len(pairs), np.nan)
    return np.sqrt(np.pi / 2.0 / others) * np.nanstd(pairs, axis=1, ddof=1)
