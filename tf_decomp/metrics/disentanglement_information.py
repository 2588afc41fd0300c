# SPDX-License-Identifier: Apache-2.0
"""Disentanglement from the mutual information of each dimension with each factor.

The information is of binned codes. A dimension's bins hold equally many rows, so it
does not change under any increasing map of a dimension, and heavy tails do not empty
the bins. There are as many bins as the factor with most values has values, and at
least 20: a code that equals a factor keeps all of its information.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import rankdata
from sklearn.linear_model import LogisticRegression

from tf_decomp.metrics.estimates import Estimate, LabelledCodes, label_codes, resample

_MIN_BINS = 20
_MAX_CLASSIFIER_ROWS = 10_000


class ModularityExplicitness(NamedTuple):
    """The fields of `Estimate` for the modularity, then the explicitness.

    Attributes:
        value: modularity, the mean over dimensions.
        standard_error: see `Estimate`, as for the next eight.
        chance: level under permuted factors.
        chance_standard_error: its spread.
        dropped: dimensions left out.
        value_all: the modularity with nothing dropped.
        factors_used: factors judged.
        n: number of rows.
        value_sampled: the modularity of sampled codes.
        judged_by: what told the dropped dimensions.
        explicitness: mean held-out area under the ROC curve; 0.5 is chance.
    """

    value: float
    standard_error: float
    chance: float
    chance_standard_error: float
    dropped: tuple[int, ...]
    value_all: float
    factors_used: tuple[int, ...]
    n: int
    value_sampled: float | None
    judged_by: str
    explicitness: Estimate


def mutual_information(classes: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Returns the mutual information of every pair of columns, in nats.

    The plug-in estimate from the table of counts; its bias is about
    (rows of the table - 1) (columns - 1) / (2 n) upwards for independent columns.

    Args:
        classes: [n, num_classes] class indices from 0.
        factors: [n, num_factors] class indices from 0.

    Returns:
        [num_classes, num_factors] float64.

    Example:
        >>> columns = np.arange(8)[:, None] % np.array([2, 4])
        >>> (mutual_information(columns, columns) / np.log(2)).round(9).tolist()
        [[1.0, 1.0], [1.0, 2.0]]
    """
    values = factors.max(axis=0) + 1
    information = np.empty((classes.shape[1], factors.shape[1]))
    for row, column in enumerate(np.ascontiguousarray(classes.T)):
        for factor, labels in enumerate(np.ascontiguousarray(factors.T)):
            shape = (column.max() + 1, values[factor])
            cells = np.bincount(
                column * shape[1] + labels, minlength=shape[0] * shape[1]
            )
            cells = cells.reshape(shape)
            information[row, factor] = (
                _entropy(cells.sum(axis=0)) + _entropy(cells.sum(axis=1))
            ) - _entropy(cells.ravel())
    return np.maximum(information, 0.0)


def mutual_information_gap(
    codes: ArrayLike,
    factors: ArrayLike,
    *,
    scale: ArrayLike | None = None,
    posterior_scales: ArrayLike | None = None,
    seed: int = 0,
) -> Estimate:
    """Scores whether one dimension knows more of a factor than any other does.

    Chen et al., "Isolating Sources of Disentanglement in VAEs" (NeurIPS 2018):
    the mean over factors v of (I(z_1; v) - I(z_2; v)) / H(v), where z_1 and z_2 are
    the dimensions that know most of v. There z is a sample of q(z|x); here it is the
    given code, binned as said at the top of this module.

    The standard error is over halves of the rows without replacement (duplicates
    would add information), conditional on the codes and on the bins' edges.

    Args:
        codes: [n, latent_dim] encodings.
        factors: [n, num_factors] integers; constant factors are left out.
        scale: see `active_dimensions`.
        posterior_scales: see `active_dimensions`; with them sampled codes are scored.
        seed: of the halves and the permutations.

    Raises:
        InputError: an argument is unusable.

    Example:
        >>> factors = np.random.default_rng(0).integers(0, 5, size=(1000, 2))
        >>> round(mutual_information_gap(factors.astype(float), factors).value, 2)
        1.0
    """
    labelled = label_codes(codes, factors, scale, posterior_scales, seed)
    return _information_estimate(labelled, _gap, np.random.default_rng(seed))


def modularity_explicitness(
    codes: ArrayLike,
    factors: ArrayLike,
    *,
    scale: ArrayLike | None = None,
    posterior_scales: ArrayLike | None = None,
    seed: int = 0,
) -> ModularityExplicitness:
    """Scores whether a dimension knows of one factor only, and how plainly.

    Ridgeway and Mozer, "Learning Deep Disentangled Embeddings with the F-Statistic
    Loss" (NeurIPS 2018). Modularity: the mean over dimensions of
    1 - sum_{f != best} I_f^2 / (I_best^2 (num_factors - 1)); a dimension that knows
    nothing counts 0. Explicitness: a one-against-all logistic regression from all
    dimensions to each value of each factor, the mean area under its ROC curve on
    rows it has not seen. It does not change when a code is rotated.

    The standard errors are over halves of the rows without replacement: of all for
    the modularity, conditional on the bins' edges; of the evaluation half of at most
    10,000 for the explicitness, conditional on the classifiers.

    Args:
        codes: [n, latent_dim] encodings.
        factors: [n, num_factors] integers; constant factors are left out.
        scale: see `active_dimensions`.
        posterior_scales: see `active_dimensions`; with them sampled codes are scored.
        seed: of the split, the halves and the permutations.

    Raises:
        InputError: an argument is unusable.

    Example:
        >>> factors = np.random.default_rng(0).integers(0, 3, size=(1000, 2))
        >>> score = modularity_explicitness(factors.astype(float), factors)
        >>> score.value > 0.99, score.explicitness.value > 0.8
        (True, True)
    """
    labelled = label_codes(codes, factors, scale, posterior_scales, seed)
    rng = np.random.default_rng(seed)
    modularity = _information_estimate(labelled, _modularity, rng)
    return ModularityExplicitness(*modularity, _explicitness(labelled, rng))


def _entropy(counts: np.ndarray) -> float:
    positive = counts[counts > 0]
    total = positive.sum()
    return float(np.log(total) - positive @ np.log(positive) / total)


def _information_estimate(
    labelled: LabelledCodes,
    statistic: Callable[[np.ndarray, np.ndarray], float],
    rng: np.random.Generator,
) -> Estimate:
    """Estimates `statistic(information, factor entropies)` of active and all rows."""
    bins = _equal_count_bins(labelled.codes, labelled.factors.max() + 1)

    def fit(factors: np.ndarray) -> Callable[[np.ndarray], tuple[float, float]]:
        def score(rows: np.ndarray) -> tuple[float, float]:
            chosen = factors[rows]
            entropies = np.array([_entropy(np.bincount(f)) for f in chosen.T])
            information = mutual_information(bins[rows], chosen)
            active = information[labelled.active]
            return statistic(active, entropies), statistic(information, entropies)

        return score

    n = len(bins)
    return labelled.estimate(*resample(fit, labelled.factors, np.arange(n), rng), n)


def _equal_count_bins(codes: np.ndarray, most_values: int) -> np.ndarray:
    bins = max(_MIN_BINS, int(most_values))
    levels = np.arange(1, bins) / bins
    edges = np.quantile(codes, levels, axis=0, method="inverted_cdf")
    columns = [
        np.searchsorted(np.unique(edges[:, d]), codes[:, d])
        for d in range(len(codes.T))
    ]
    return np.stack(columns, axis=1)


def _gap(information: np.ndarray, entropies: np.ndarray) -> float:
    none = np.zeros((2, len(entropies)))
    second, best = np.sort(np.concatenate([information, none]), axis=0)[-2:]
    known = entropies > 0.0  # a half may hold a single value of a rare factor
    return float(np.mean((best - second)[known] / entropies[known]))


def _modularity(information: np.ndarray, entropies: np.ndarray) -> float:
    if not len(information):
        return 0.0
    best = information.max(axis=1)
    others = (information**2).sum(axis=1) - best**2
    knows = best > 1e-9  # less is rounding
    deviation = others[knows] / (best[knows] ** 2 * (len(entropies) - 1))
    return float(np.sum(1.0 - deviation) / len(information))


class _Decisions(NamedTuple):
    """Scores [m, num_classes] of the classifiers for values `classes` of a factor."""

    scores: np.ndarray
    classes: np.ndarray


def _explicitness(labelled: LabelledCodes, rng: np.random.Generator) -> Estimate:
    chosen = rng.permutation(len(labelled.codes))[:_MAX_CLASSIFIER_ROWS]
    train, evaluation = np.array_split(np.arange(len(chosen)), 2)
    active, everything = labelled.active_codes()[chosen], labelled.codes[chosen]

    def mean_area(
        decisions: list[_Decisions], factors: np.ndarray, rows: np.ndarray
    ) -> float:
        pairs = zip(decisions, factors[rows].T, strict=True)
        return float(np.mean([_area(d, labels, rows) for d, labels in pairs]))

    def fit(factors: np.ndarray) -> Callable[[np.ndarray], tuple[float, float]]:
        kept = [_one_against_all(active, labels, train) for labels in factors.T]
        full = kept
        if labelled.dropped():
            full = [_one_against_all(everything, labels, train) for labels in factors.T]

        def score(rows: np.ndarray) -> tuple[float, float]:
            return mean_area(kept, factors, rows), mean_area(full, factors, rows)

        return score

    result = resample(fit, labelled.factors[chosen], evaluation, rng)
    return labelled.estimate(*result, len(evaluation))


def _one_against_all(
    codes: np.ndarray, labels: np.ndarray, train: np.ndarray
) -> _Decisions:
    counts = np.bincount(labels[train])
    classes = np.flatnonzero((counts > 0) & (counts < len(train)))
    scores = np.empty((len(codes), len(classes)))
    for column, value in enumerate(classes):
        classifier = LogisticRegression(solver="newton-cholesky")
        classifier.fit(codes[train], labels[train] == value)
        scores[:, column] = classifier.decision_function(codes)
    return _Decisions(scores, classes)


def _area(decisions: _Decisions, labels: np.ndarray, rows: np.ndarray) -> float:
    """Returns the mean area under the ROC curves (Mann-Whitney) over the classes."""
    members = labels[:, None] == decisions.classes
    positives = members.sum(axis=0)
    pairs = positives * (len(rows) - positives)
    wins = (rankdata(decisions.scores[rows], axis=0) * members).sum(axis=0)
    wins -= positives * (positives + 1) / 2
    judged = pairs > 0
    return float(np.mean(wins[judged] / pairs[judged])) if judged.any() else 0.5
