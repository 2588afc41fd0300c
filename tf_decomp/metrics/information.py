# SPDX-License-Identifier: Apache-2.0
"""Disentanglement from what the dimensions know of each factor, in nats.

The information of a single dimension is that of binned codes and binned factors.
A column with at most 20 values is its own bins. Any other gets 20 that hold equally
many rows, so that it does not change under any increasing map of a column, and heavy
tails do not empty the bins. A factor gets fewer, in the order of its values, where
there are not 30 rows for each: a table of more cells than rows says little.

What is estimated, and what the standard errors are for, is therefore the information
between the binned variables in the population. The tables' own (plug-in) information
is too large, by about (rows of the table - 1) (columns - 1) / 2n; its entropies are
jackknifed, which takes that away as the correction of Miller and Madow does, and much
of what that leaves where most cells hold few rows.

The information of all dimensions together, InfoE, is what a linear classifier can use
(Xu et al., "A Theory of Usable Information under Computational Constraints", ICLR
2020).
"""

import warnings
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import log_softmax, xlogy
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from tf_decomp.checks import check_memory
from tf_decomp.errors import InputError
from tf_decomp.metrics.codes import as_array
from tf_decomp.metrics.prediction import area_under_curves
from tf_decomp.metrics.scores import NUM_PERMUTATIONS, LabelledCodes, Score, label_codes

_MAX_BINS = 20
_ROWS_PER_FACTOR_BIN = 30
_MAX_BLOCKS = 50
_MAX_CLASSIFIER_ROWS = 10_000

# Corrected information above this many of its standard deviations under independence
# counts as some.
_SIGNIFICANT = 4.0

# Next to no penalty: a perfect code's classes need steep functions of one dimension.
_INVERSE_PENALTY = 1e3
_MAX_STEPS = 200


class Information(NamedTuple):
    """What the dimensions know of the factors, in nats.

    Attributes:
        mutual: [latent_dim, num_factors] I(z_d; v_f), at least 0.
        entropies: [num_factors] H(v_f).
        known: [latent_dim, num_factors] whether I(z_d; v_f) is surely above 0.
    """

    mutual: np.ndarray
    entropies: np.ndarray
    known: np.ndarray


Statistic = Callable[[Information], float]


class ModularityExplicitness(NamedTuple):
    """The fields of `Score` for the modularity, then the explicitness.

    Attributes:
        value: modularity, the mean over dimensions.
        standard_error: and all up to `judged_by`: see `Score`.
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
    explicitness: Score


class InfoMEC(NamedTuple):
    """The fields of `Score` for InfoM, then InfoC and InfoE.

    Attributes:
        value: InfoM: a dimension knows of one factor only.
        standard_error: and all up to `judged_by`: see `Score`.
        compactness: InfoC: one dimension only knows of a factor.
        explicitness: InfoE: a linear classifier can tell the factors from the code.
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
    compactness: Score
    explicitness: Score


def mutual_information(classes: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Returns the mutual information of every pair of columns, in nats.

    From the table of counts, its entropies jackknifed (Zahl, "Jackknifing an Index of
    Diversity", Ecology 1977), which leaves no bias of order 1 / n; what is below 0 for
    it becomes 0, as about half of it does for independent columns. Nothing is binned
    here.

    Args:
        classes: [n, num_classes] class indices from 0.
        factors: [n, num_factors] class indices from 0.

    Returns:
        [num_classes, num_factors] float64.

    Raises:
        InputError: an argument holds no class indices, the rows differ in number, or
            a table of two columns would be too large.

    Example:
        >>> columns = np.arange(8_000)[:, None] % np.array([2, 4])
        >>> (mutual_information(columns, columns) / np.log(2)).round(2).tolist()
        [[1.0, 1.0], [1.0, 2.0]]
    """
    columns, others = (
        _class_indices(*given) for given in ((classes, "classes"), (factors, "factors"))
    )
    if len(columns) != len(others):
        raise InputError(
            "classes and factors must have a row for each datum; received "
            f"{len(columns)} and {len(others)} rows"
        )
    cells = (1 + int(columns.max())) * (1 + int(others.max()))
    check_memory(48 * cells, f"a table of {cells:,} cells", "bin the columns first")
    none = np.zeros(len(columns), np.int64)
    return _information(columns, others, none)[0].mutual


def mutual_information_gap(
    codes: ArrayLike,
    factors: ArrayLike,
    *,
    scale: ArrayLike | None = None,
    posterior_scales: ArrayLike | None = None,
    seed: int = 0,
) -> Score:
    """Scores whether one dimension knows more of a factor than any other does.

    Chen et al., "Isolating Sources of Disentanglement in VAEs" (NeurIPS 2018):
    the mean over factors v of (I(z_1; v) - I(z_2; v)) / H(v), where z_1 and z_2 are
    the dimensions that know most of v. There z is a sample of q(z|x); here it is the
    given code, and v too is binned as this module says: the value estimates that of
    the binned variables in the population.

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
    return ModularityExplicitness(*modularity, area_under_curves(labelled, rng))


def info_mec(
    codes: ArrayLike,
    factors: ArrayLike,
    *,
    scale: ArrayLike | None = None,
    posterior_scales: ArrayLike | None = None,
    seed: int = 0,
) -> InfoMEC:
    """Scores by shares of each factor's entropy: modular, compact and explicit.

    Hsu et al., "Disentanglement via Latent Quantization" (NeurIPS 2023). With the
    normalised information N_if = I(z_i; v_f) / H(v_f), in bins as this module says,

        InfoM = (mean_i max_f N_if / sum_f N_if - 1 / F) / (1 - 1 / F),
        InfoC = (mean_f max_i N_if / sum_i N_if - 1 / D) / (1 - 1 / D),
        InfoE = mean_f (H(v_f) - H(v_f | z)) / H(v_f),

    F factors and D active dimensions. In InfoE the entropies are the mean losses, in
    nats, on rows not trained on, of the factor's frequencies and of a multinomial
    logistic regression from all active dimensions; a factor with more than 20 values
    is predicted in its bins. 1 is best; 0 is a dimension that knows equally much of
    all factors, a factor that all dimensions know equally well, a classifier that
    says no more than the frequencies (one that is worse counts 0). A dimension or a
    factor whose information is within what independence gives counts 0 in InfoM and
    InfoC; a single active dimension makes InfoC 1 for the factors it knows.

    The standard errors of InfoM and InfoC are the jackknife's over 50 blocks of rows,
    conditional on the codes, on the bins' edges and on which dimensions know
    something; that of InfoE is of the mean over the evaluation half of at most 10,000
    rows, conditional on the codes and the classifiers.

    Args:
        codes: [n, latent_dim] encodings.
        factors: [n, num_factors] integers; constant factors are left out.
        scale: see `active_dimensions`.
        posterior_scales: see `active_dimensions`; with them sampled codes are scored.
        seed: of the split, the blocks and the permutations.

    Raises:
        InputError: an argument is unusable.

    Example:
        >>> factors = np.random.default_rng(0).integers(0, 5, size=(1000, 2))
        >>> score = info_mec(factors.astype(float), factors)
        >>> score.value > 0.98, score.compactness.value > 0.98
        (True, True)
        >>> score.explicitness.value > 0.9
        True
    """
    labelled = label_codes(codes, factors, scale, posterior_scales, seed)
    rng = np.random.default_rng(seed)
    both = information_estimates(labelled, [_info_m, _info_c], rng)
    return InfoMEC(*both[0], both[1], _usable_information(labelled, rng))


def bin_columns(columns: np.ndarray, most: int = _MAX_BINS) -> np.ndarray:
    """Returns the bin of every value, [n, num_columns] from 0, at most `most` each.

    Args:
        columns: [n, num_columns].
        most: number of bins of a column that has more values.
    """
    levels = np.arange(1, most) / most
    binned = np.empty(columns.shape, np.int64)
    for d, column in enumerate(np.ascontiguousarray(columns.T)):
        values, classes = np.unique(column, return_inverse=True)
        if len(values) > most:
            edges = np.quantile(column, levels, method="inverted_cdf")
            _, classes = np.unique(np.searchsorted(edges, column), return_inverse=True)
        binned[:, d] = classes
    return binned


def bin_factors(factors: np.ndarray) -> np.ndarray:
    """Returns the bins of factors [n, num_factors], as this module's docstring says.

    Args:
        factors: [n, num_factors] class indices from 0.
    """
    affordable = len(factors) // _ROWS_PER_FACTOR_BIN
    return bin_columns(factors, int(np.clip(affordable, 2, _MAX_BINS)))


def information_estimates(
    labelled: LabelledCodes, statistics: Sequence[Statistic], rng: np.random.Generator
) -> list[Score]:
    """Estimates statistics of the information of the active and of all dimensions.

    The standard error is the jackknife's: from the statistic without each of 50
    blocks of random rows, which dimensions are known to know something held fixed.
    Halves of the rows would not do: their bias is another. It is conditional on the
    codes and on the bins' edges.

    Args:
        labelled: Checked codes and factors.
        statistics: Functions of the information, one estimate each.
        rng: Of the blocks and the permutations.
    """
    classes, labels = bin_columns(labelled.codes), bin_factors(labelled.factors)
    n = len(classes)
    count = min(_MAX_BLOCKS, n)
    parts = _information(classes, labels, 1 + rng.permutation(n) % count)
    nothing = np.zeros(n, np.int64)
    chances = [
        _information(classes, labels[rng.permutation(n)], nothing)[0]
        for _ in range(NUM_PERMUTATIONS)
    ]
    sampled = None
    if labelled.samples is not None:
        sampled = _information(bin_columns(labelled.samples), labels, nothing)[0]
    estimates = []
    for statistic in statistics:
        value, *without = [statistic(_of(part, labelled.active)) for part in parts]
        error = np.sqrt((count - 1) * np.var(without))
        chance = [statistic(_of(part, labelled.active)) for part in chances]
        value_all, of_samples = statistic(parts[0]), None
        if sampled is not None:
            of_samples = statistic(_of(sampled, labelled.active))
        estimates.append(labelled.score(value, error, chance, value_all, n, of_samples))
    return estimates


def _class_indices(columns: ArrayLike, name: str) -> np.ndarray:
    """Returns class indices [n, num_columns] from 0, without gaps."""
    array = as_array(columns, name)
    if array.ndim != 2 or 0 in array.shape or array.dtype.kind not in "iu":
        raise InputError(
            f"{name} must be class indices [n, num_columns], integers; received "
            f"{array.dtype} {list(array.shape)}"
        )
    return bin_columns(array, len(array))


def _of(information: Information, dimensions: np.ndarray) -> Information:
    return information._replace(
        mutual=information.mutual[dimensions], known=information.known[dimensions]
    )


def _information(
    classes: np.ndarray, labels: np.ndarray, blocks: np.ndarray
) -> list[Information]:
    """Returns the information of all rows, then without those of block 1, 2, ...

    Args:
        classes: [n, latent_dim] class indices from 0.
        labels: [n, num_factors] class indices from 0.
        blocks: [n] block of each row.
    """
    n, latent_dim = classes.shape
    count = int(blocks.max()) + 1  # block 0 is empty: all rows are without it
    mutual = np.empty((count, latent_dim, labels.shape[1]))
    entropies = np.empty((count, labels.shape[1]))
    known = np.empty(mutual.shape[1:], bool)
    for d, column in enumerate(np.ascontiguousarray(classes.T)):
        for f, factor in enumerate(np.ascontiguousarray(labels.T)):
            shape = (count, int(column.max()) + 1, int(factor.max()) + 1)
            cells = np.ravel_multi_index((blocks, column, factor), shape)
            tables = np.bincount(cells, minlength=int(np.prod(shape))).reshape(shape)
            if count > 1:
                tables = tables.sum(axis=0) - tables
            rows, columns = tables.sum(axis=2), tables.sum(axis=1)
            entropies[:, f] = _entropies(columns)
            both = _entropies(tables.reshape(count, -1))
            mutual[:, d, f] = _entropies(rows) + entropies[:, f] - both
            freedom = max(1, ((rows[0] > 0).sum() - 1) * ((columns[0] > 0).sum() - 1))
            known[d, f] = mutual[0, d, f] > _SIGNIFICANT * np.sqrt(freedom / 2.0) / n
    mutual[mutual < 1e-12] = 0.0  # less is rounding
    entropies[entropies < 1e-12] = 0.0
    return [Information(*part, known) for part in zip(mutual, entropies, strict=True)]


def _entropies(counts: np.ndarray) -> np.ndarray:
    """Returns the jackknifed entropies [k], in nats, of counts [k, num_cells].

    n H - (n - 1) / n sum_c counts_c H(without one row of cell c).
    """
    n = counts.sum(axis=1, dtype=np.float64)
    own = xlogy(counts, counts)
    total = own.sum(axis=1)
    fewer = np.maximum(counts - 1, 0)
    rest = total[:, None] - own + xlogy(fewer, fewer)  # sum of c log c without one
    without = np.log(n - 1) - (counts * rest).sum(axis=1) / (n * (n - 1))
    return n * (np.log(n) - total / n) - (n - 1) * without


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


def _info_m(information: Information) -> float:
    return _concentration(_shares(information), information.known)


def _info_c(information: Information) -> float:
    return _concentration(_shares(information).T, information.known.T)


def _shares(information: Information) -> np.ndarray:
    entropies = information.entropies
    return information.mutual / np.where(entropies > 0.0, entropies, np.inf)


def _concentration(shares: np.ndarray, known: np.ndarray) -> float:
    """Returns the mean over rows of max / sum, from 0 at equal shares to 1."""
    knows = known.any(axis=1) & (shares.sum(axis=1) > 0.0)
    if not knows.any():
        return 0.0
    largest = shares[knows].max(axis=1) / shares[knows].sum(axis=1)
    equal = 1.0 / shares.shape[1]
    if equal < 1.0:
        largest = (largest - equal) / (1.0 - equal)
    return float(np.sum(largest) / len(shares))


def _usable_information(labelled: LabelledCodes, rng: np.random.Generator) -> Score:
    chosen = rng.permutation(len(labelled.codes))[:_MAX_CLASSIFIER_ROWS]
    labels = bin_factors(labelled.factors[chosen])
    active, everything = labelled.active_codes()[chosen], labelled.codes[chosen]
    value, error = _usable_shares(active, labels)
    value_all = value
    if labelled.dropped():
        value_all, _ = _usable_shares(everything, labels)
    chances = [
        _usable_shares(active, labels[rng.permutation(len(labels))])[0]
        for _ in range(NUM_PERMUTATIONS)
    ]
    n = len(chosen) - len(chosen) // 2
    value_sampled = labelled.value_of_samples(
        lambda sampled: _usable_shares(sampled.active_codes()[chosen], labels)[0]
    )
    return labelled.score(value, error, chances, value_all, n, value_sampled)


def _usable_shares(codes: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Returns the mean over factors of the usable share, and its standard error.

    The first half of the rows is trained on, the others are judged.
    """
    num_train = len(codes) // 2
    values, deviations = [], []
    for factor in np.ascontiguousarray(labels.T):
        without, given, seen = _losses(codes, factor, num_train)
        entropy = without.sum() / max(1, seen.sum())
        share = 1.0 - given.sum() / without.sum() if entropy > 0.0 else 0.0
        values.append(max(0.0, share))
        # Of a ratio of means, to first order.
        each = (1.0 - share) * without - given
        mean_loss = entropy * seen.mean() if share > 0.0 else np.inf
        deviations.append(each / mean_loss)
    spread = np.std(np.mean(deviations, axis=0), ddof=1)
    return float(np.mean(values)), float(spread / np.sqrt(len(codes) - num_train))


def _losses(
    codes: np.ndarray, factor: np.ndarray, num_train: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the losses [m] of the frequencies and of a classifier, and who counts.

    In nats, of the rows behind the first num_train. Rows with a value that no row of
    training has do not count: their losses are 0.
    """
    values, targets = np.unique(factor[:num_train], return_inverse=True)
    places = np.minimum(np.searchsorted(values, factor[num_train:]), len(values) - 1)
    seen = values[places] == factor[num_train:]
    frequencies = np.bincount(targets) / num_train
    without = np.where(seen, -np.log(frequencies[places]), 0.0)
    if len(values) == 1:
        return without, without, seen
    log_probs = _classifier(codes[:num_train], targets)(codes[num_train:])
    given = np.where(seen, -log_probs[np.arange(len(places)), places], 0.0)
    return without, given, seen


def _classifier(
    codes: np.ndarray, targets: np.ndarray
) -> Callable[[np.ndarray], np.ndarray]:
    """Returns the map from codes to log-probabilities [m, num_classes]."""
    model = LogisticRegression(
        C=_INVERSE_PENALTY, solver="newton-cholesky", max_iter=_MAX_STEPS
    )
    with warnings.catch_warnings():
        # Separable classes have no optimum; what the steps reached is judged anyway.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(codes, targets)

    def log_probs(codes: np.ndarray) -> np.ndarray:
        decisions = model.decision_function(codes)
        if decisions.ndim == 1:
            decisions = np.stack([np.zeros_like(decisions), decisions], axis=1)
        return log_softmax(decisions, axis=1)

    return log_probs
