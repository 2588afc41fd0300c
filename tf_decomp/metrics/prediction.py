# SPDX-License-Identifier: Apache-2.0
"""Disentanglement from how well the dimensions predict each factor.

Factors are taken as ordered, so that their values are predicted as numbers, except
those given as `categorical`, whose values are predicted as classes.
"""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import entr
from scipy.stats import rankdata
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier

from tf_decomp.checks import short
from tf_decomp.errors import InputError
from tf_decomp.estimates import mean_estimate
from tf_decomp.metrics.codes import as_array
from tf_decomp.metrics.scores import LabelledCodes, Score, label_codes, resample

_NUM_PARTS = 5
_MAX_PART_ROWS = 4_000
_NUM_TREES = 10
_ROWS_PER_CLASS = 20
_MAX_THRESHOLD_ROWS = 5_000
_MAX_CLASSIFIER_ROWS = 10_000


class DCIScore(NamedTuple):
    """The fields of `Score` for the disentanglement, then its two companions.

    Attributes:
        value: disentanglement: a dimension serves one factor only.
        standard_error: and all up to `judged_by`: see `Score`.
        completeness: a factor is served by one dimension only.
        informativeness: the factors can be told from the code: mean held-out R^2,
            or accuracy where a factor is categorical.
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
    completeness: Score
    informativeness: Score


def dci_disentanglement(
    codes: ArrayLike,
    factors: ArrayLike,
    *,
    categorical: Sequence[int] = (),
    scale: ArrayLike | None = None,
    posterior_scales: ArrayLike | None = None,
    seed: int = 0,
) -> DCIScore:
    """Scores by the importance of each dimension in random forests for each factor.

    Eastwood and Williams, "A Framework for the Quantitative Evaluation of
    Disentangled Representations" (ICLR 2018). R [latent_dim, num_factors]
    holds a forest's impurity importances of the dimensions for each factor. With
    P_d = R_d. / sum_f R_df, disentanglement is sum_d rho_d (1 - H(P_d) / log
    num_factors), rho_d the share of dimension d in the sum of R; completeness is the
    mean over factors of the same in the columns, base latent_dim. Forests have 10
    trees, each split may use every dimension. (Classification trees with many
    classes blur R: order the factors that have an order.)

    Everything is the mean over five disjoint parts of at most 4,000 rows, three
    quarters of each for the forests. The standard error is from these five and so
    covers the draw of rows and the forests, conditional on the codes alone.

    Args:
        codes: [n, latent_dim] encodings.
        factors: [n, num_factors] integers; constant factors are left out.
        categorical: indices of the factors whose values have no order.
        scale: see `active_dimensions`.
        posterior_scales: see `active_dimensions`; with them sampled codes are scored.
        seed: of the parts, the forests and the permutations.

    Raises:
        InputError: an argument is unusable.

    Example:
        >>> factors = np.random.default_rng(0).integers(0, 5, size=(1000, 2))
        >>> dci_disentanglement(factors.astype(float), factors).value > 0.99
        True
    """
    labelled = label_codes(codes, factors, scale, posterior_scales, seed)
    unordered = _unordered(labelled, categorical)
    rng = np.random.default_rng(seed)
    n = min(len(labelled.codes), _NUM_PARTS * _MAX_PART_ROWS)
    parts = np.array_split(rng.permutation(len(labelled.codes))[:n], _NUM_PARTS)

    def measure(codes: np.ndarray, labels: np.ndarray) -> np.ndarray:
        return _forest_scores(codes, labels, unordered, rng)

    def mean_scores(codes: np.ndarray) -> np.ndarray:
        return np.mean([measure(codes[p], labelled.factors[p]) for p in parts], axis=0)

    active = labelled.active_codes()
    values, chances = [], []
    for part in parts:
        labels = labelled.factors[part]
        values.append(measure(active[part], labels))
        chances.append(measure(active[part], rng.permutation(labels)))
    means_all = np.mean(values, axis=0)
    if labelled.dropped():
        means_all = mean_scores(labelled.codes)
    sampled = [None, None, None]
    if labelled.samples is not None:
        samples = labelled._replace(codes=labelled.samples).active_codes()
        sampled = mean_scores(samples).tolist()
    scores = [
        labelled.score(*mean_estimate(of_parts)[:2], chance, value_all, n, of_samples)
        for of_parts, chance, value_all, of_samples in zip(
            np.transpose(values), np.transpose(chances), means_all, sampled, strict=True
        )
    ]
    return DCIScore(*scores[0], *scores[1:])


def sap_score(
    codes: ArrayLike,
    factors: ArrayLike,
    *,
    categorical: Sequence[int] = (),
    scale: ArrayLike | None = None,
    posterior_scales: ArrayLike | None = None,
    seed: int = 0,
) -> Score:
    """Scores whether one dimension alone predicts a factor better than any other.

    Kumar, Sattigeri and Balakrishnan, "Variational Inference of Disentangled Latent
    Concepts from Unlabeled Observations" (ICLR 2018): the mean over
    factors of the gap between the two dimensions that predict it best. An ordered
    factor is predicted by a line, and the score is R^2; a categorical one by
    thresholds on the dimension, one fewer than it has values (a small decision
    tree), and the score is the balanced accuracy on other rows, so that the gap is at
    most 1 - 1 / (number of values). A missing dimension scores 0, or
    1 / (number of values).

    The standard error is over halves of the rows without replacement, conditional on
    the codes and, for categorical factors, on thresholds from up to 5,000 rows,
    which are left out of every score.

    Args:
        codes: [n, latent_dim] encodings.
        factors: [n, num_factors] integers; constant factors are left out.
        categorical: indices of the factors whose values have no order, e.g. a shape.
        scale: see `active_dimensions`.
        posterior_scales: see `active_dimensions`; with them sampled codes are scored.
        seed: of the split, the halves and the permutations.

    Raises:
        InputError: an argument is unusable.

    Example:
        >>> factors = np.random.default_rng(0).integers(0, 5, size=(1000, 2))
        >>> sap_score(factors.astype(float), factors).value > 0.98
        True
    """
    labelled = label_codes(codes, factors, scale, posterior_scales, seed)
    unordered = _unordered(labelled, categorical)
    rng = np.random.default_rng(seed)
    n = len(labelled.codes)
    num_train = min(_MAX_THRESHOLD_ROWS, n // 2) if unordered.any() else 0
    train, evaluation = np.split(rng.permutation(n), [num_train])

    def fit_codes(
        codes: np.ndarray, labels: np.ndarray
    ) -> Callable[[np.ndarray], tuple[float, float]]:
        predictions = {
            factor: _threshold_predictions(codes, labels[:, factor], train)
            for factor in np.flatnonzero(unordered)
        }

        def score(rows: np.ndarray) -> tuple[float, float]:
            scores = _squared_correlations(codes[rows], labels[rows])
            worst = np.zeros(len(unordered))
            for factor, predicted in predictions.items():
                truth = labels[rows, factor]
                scores[:, factor] = _balanced_accuracies(predicted[rows], truth)
                worst[factor] = 1.0 / len(np.unique(truth))
            return _gap(scores[labelled.active], worst), _gap(scores, worst)

        return score

    fit = functools.partial(fit_codes, labelled.codes)
    result = resample(fit, labelled.factors, evaluation, rng)
    value_sampled = labelled.value_of_samples(
        lambda sampled: fit_codes(sampled.codes, sampled.factors)(evaluation)[0]
    )
    return labelled.score(*result, len(evaluation), value_sampled)


def area_under_curves(labelled: LabelledCodes, rng: np.random.Generator) -> Score:
    """Returns Ridgeway and Mozer's explicitness, see `modularity_explicitness`.

    Args:
        labelled: Checked codes and factors.
        rng: Of the split, the halves and the permutations.
    """
    chosen = rng.permutation(len(labelled.codes))[:_MAX_CLASSIFIER_ROWS]
    train, evaluation = np.array_split(np.arange(len(chosen)), 2)
    active, everything = labelled.active_codes()[chosen], labelled.codes[chosen]

    def fit_codes(codes: np.ndarray, factors: np.ndarray) -> Callable[..., float]:
        decisions = [_one_against_all(codes, labels, train) for labels in factors.T]

        def mean_area(rows: np.ndarray) -> float:
            pairs = zip(decisions, factors[rows].T, strict=True)
            areas = [_mean_area(*each, labels, rows) for each, labels in pairs]
            return float(np.mean(areas))

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
    return labelled.score(*result, len(evaluation), value_sampled)


def _unordered(labelled: LabelledCodes, categorical: Sequence[int]) -> np.ndarray:
    """Returns [num_used] whether a factor is categorical."""
    columns = as_array(categorical, "categorical")
    if columns.ndim != 1 or (columns.size and columns.dtype.kind not in "iu"):
        raise InputError(
            "categorical must be a list of indices of factors; received "
            f"{short(categorical)}; name columns of factors"
        )
    bad = columns[(columns < 0) | (columns >= labelled.num_factors)]
    if bad.size:
        raise InputError(
            f"categorical must hold indices below {labelled.num_factors}; "
            f"received {bad[0]}; name columns of factors"
        )
    unordered = np.isin(labelled.factors_used, columns)
    needed = _ROWS_PER_CLASS * (labelled.factors.max(axis=0) + 1)
    if (needed[unordered] > len(labelled.factors)).any():
        raise InputError(
            f"a categorical factor needs {_ROWS_PER_CLASS} rows a value; received "
            f"{len(labelled.factors)} in all; encode more data or order the factor"
        )
    return unordered


def _forest_scores(
    codes: np.ndarray,
    factors: np.ndarray,
    unordered: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """Returns disentanglement, completeness and informativeness of rows, [3]."""
    num_train = 3 * len(codes) // 4
    seeds = rng.integers(2**31, size=len(unordered))

    def fit(labels: np.ndarray, classes: bool, seed: int) -> tuple[np.ndarray, float]:
        family = RandomForestClassifier if classes else RandomForestRegressor
        forest = family(_NUM_TREES, max_features=1.0, random_state=seed)
        forest.fit(codes[:num_train], labels[:num_train])
        predicted, truth = forest.predict(codes[num_train:]), labels[num_train:]
        if classes:
            return forest.feature_importances_, float(np.mean(predicted == truth))
        error, spread = np.mean((predicted - truth) ** 2), truth.var()
        return forest.feature_importances_, 1.0 - error / spread if spread else 0.0

    # In turn: scikit-learn's forests change the warning filters of all threads.
    forests = list(map(fit, factors.T, unordered, seeds))
    importances = np.stack([importance for importance, _ in forests], axis=1)
    total = importances.sum()
    shares = importances.sum(axis=1) / (total if total > 0.0 else 1.0)
    return np.array(
        [
            shares @ _concentrations(importances),
            _concentrations(importances.T).mean(),
            np.mean([informativeness for _, informativeness in forests]),
        ]
    )


def _concentrations(weights: np.ndarray) -> np.ndarray:
    """Returns 1 - entropy / log(columns) of each row; 0 for a row of zeros."""
    totals = weights.sum(axis=1)
    shares = weights / np.where(totals > 0.0, totals, 1.0)[:, None]
    columns = weights.shape[1]
    entropies = entr(shares).sum(axis=1) / (np.log(columns) if columns > 1 else 1.0)
    return np.where(totals > 0.0, 1.0 - entropies, 0.0)


def _squared_correlations(codes: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Returns [latent_dim, num_factors]; 0 where either is constant."""
    x = codes - codes.mean(axis=0)
    y = factors - factors.mean(axis=0)
    products = np.outer((x**2).sum(axis=0), (y**2).sum(axis=0))
    covariances = (x.T @ y) ** 2
    return np.divide(
        covariances, products, out=np.zeros_like(products), where=products > 0.0
    )


def _threshold_predictions(
    codes: np.ndarray, labels: np.ndarray, train: np.ndarray
) -> np.ndarray:
    """Returns [n, latent_dim] the class that thresholds on each dimension predict."""
    predicted = np.empty(codes.shape, np.int64)
    leaves = max(2, len(np.unique(labels[train])))
    for d in range(codes.shape[1]):
        tree = DecisionTreeClassifier(
            max_leaf_nodes=leaves, class_weight="balanced", random_state=0
        )
        column = codes[:, d : d + 1]
        predicted[:, d] = tree.fit(column[train], labels[train]).predict(column)
    return predicted


def _balanced_accuracies(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Returns [latent_dim] the mean over classes of the share predicted rightly."""
    hits = predicted == truth[:, None]
    return np.mean([hits[truth == value].mean(axis=0) for value in np.unique(truth)], 0)


def _gap(scores: np.ndarray, worst: np.ndarray) -> float:
    second, best = np.sort(np.concatenate([scores, [worst, worst]]), axis=0)[-2:]
    return float(np.mean(best - second))


def _one_against_all(
    codes: np.ndarray, labels: np.ndarray, train: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns decisions [n, num_classes] of classifiers, and the classes' values."""
    counts = np.bincount(labels[train])
    classes = np.flatnonzero((counts > 0) & (counts < len(train)))
    decisions = np.empty((len(codes), len(classes)))
    for column, value in enumerate(classes):
        classifier = LogisticRegression(solver="newton-cholesky")
        classifier.fit(codes[train], labels[train] == value)
        decisions[:, column] = classifier.decision_function(codes)
    return decisions, classes


def _mean_area(
    decisions: np.ndarray, classes: np.ndarray, labels: np.ndarray, rows: np.ndarray
) -> float:
    """Returns the mean area under the ROC curves (Mann-Whitney) over the classes."""
    members = labels[:, None] == classes
    positives = members.sum(axis=0)
    pairs = positives * (len(rows) - positives)
    wins = (rankdata(decisions[rows], axis=0) * members).sum(axis=0)
    wins -= positives * (positives + 1) / 2
    judged = pairs > 0
    return float(np.mean(wins[judged] / pairs[judged])) if judged.any() else 0.5
