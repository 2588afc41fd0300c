# SPDX-License-Identifier: Apache-2.0
"""Disentanglement from the mutual information of each dimension with each factor.

The information is of binned codes and binned factors: at most 20 bins each, by the
rule of `binned_information`, which also says how its bias is taken away.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import rankdata
from sklearn.linear_model import LogisticRegression

from tf_decomp.metrics.binned_information import Information, information_estimates
from tf_decomp.metrics.estimates import Estimate, LabelledCodes, label_codes, resample

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
    given code, and v too is binned as `binned_information` says: the value estimates
    that of the binned variables in the population.

    The standard error is the jackknife's over 50 blocks of rows, conditional on the
    codes and on the bins' edges. Where two dimensions know equally much, exactly, the
    gap is at least 0 and so too large by about as much.

    Args:
        codes: [n, latent_dim] encodings.
        factors: [n, num_factors] integers; constant factors are left out.
        scale: see `active_dimensions`.
        posterior_scales: see `active_dimensions`; with them sampled codes are scored.
        seed: of the blocks and the permutations.

    Raises:
        InputError: an argument is unusable.

    Example:
        >>> factors = np.random.default_rng(0).integers(0, 5, size=(1000, 2))
        >>> round(mutual_information_gap(factors.astype(float), factors).value, 2)
        1.0
    """
    labelled = label_codes(codes, factors, scale, posterior_scales, seed)
    return information_estimates(labelled, [_gap], np.random.default_rng(seed))[0]


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
    1 - sum_{f != best} I_f^2 / (I_best^2 (num_factors - 1)); a dimension whose
    information is within what independence gives counts 0. Explicitness: a
    one-against-all logistic regression from all dimensions to each value of each
    factor, the mean area under its ROC curve on rows it has not seen. It does not
    change when a code is rotated.

    The modularity's standard error is the jackknife's over 50 blocks of rows,
    conditional on the bins' edges and on which dimensions know something. That of the
    explicitness is over halves, without replacement, of the evaluation half of at
    most 10,000 rows, conditional on the classifiers.

    Args:
        codes: [n, latent_dim] encodings.
        factors: [n, num_factors] integers; constant factors are left out.
        scale: see `active_dimensions`.
        posterior_scales: see `active_dimensions`; with them sampled codes are scored.
        seed: of the split, the blocks, the halves and the permutations.

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
    (modularity,) = information_estimates(labelled, [_modularity], rng)
    return ModularityExplicitness(*modularity, _explicitness(labelled, rng))


def _gap(information: Information) -> float:
    none = np.zeros((2, len(information.entropies)))
    ordered = np.sort(np.concatenate([information.mutual, none]), axis=0)
    gaps = ordered[-1] - ordered[-2]
    varies = information.entropies > 0.0  # not where a block held all of a rare value
    return float(np.mean(gaps[varies] / information.entropies[varies]))


def _modularity(information: Information) -> float:
    mutual = information.mutual
    knows = information.known.any(axis=1) & (mutual > 0.0).any(axis=1)
    if not knows.any():
        return 0.0
    squares = mutual[knows] ** 2
    best = squares.max(axis=1)
    others = (squares.sum(axis=1) - best) / (mutual.shape[1] - 1)
    return float(np.sum(1.0 - others / best) / len(mutual))


class _Decisions(NamedTuple):
    """Scores [m, num_classes] of the classifiers for values `classes` of a factor."""

    scores: np.ndarray
    classes: np.ndarray


def _explicitness(labelled: LabelledCodes, rng: np.random.Generator) -> Estimate:
    chosen = rng.permutation(len(labelled.codes))[:_MAX_CLASSIFIER_ROWS]
    train, evaluation = np.array_split(np.arange(len(chosen)), 2)
    active, everything = labelled.active_codes()[chosen], labelled.codes[chosen]

    def fit_codes(codes: np.ndarray, factors: np.ndarray) -> Callable[..., float]:
        decisions = [_one_against_all(codes, labels, train) for labels in factors.T]

        def mean_area(rows: np.ndarray) -> float:
            pairs = zip(decisions, factors[rows].T, strict=True)
            return float(np.mean([_area(d, labels, rows) for d, labels in pairs]))

        return mean_area

    def fit(factors: np.ndarray) -> Callable[[np.ndarray], tuple[float, float]]:
        kept = fit_codes(active, factors)
        full = fit_codes(everything, factors) if labelled.dropped() else kept
        return lambda rows: (kept(rows), full(rows))

    result = resample(fit, labelled.factors[chosen], evaluation, rng)
    value_sampled = labelled.value_of_samples(
        lambda sampled: fit_codes(
            sampled.active_codes()[chosen], sampled.factors[chosen]
        )(evaluation)
    )
    return labelled.estimate(*result, len(evaluation), value_sampled)


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
