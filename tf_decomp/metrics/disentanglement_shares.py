# SPDX-License-Identifier: Apache-2.0
"""InfoM, InfoC and InfoE: modularity, compactness and explicitness in shares of nats.

The information of single dimensions is that of `binned_information`. That of all
dimensions together is what a linear classifier can use (Xu et al., "A Theory of Usable
Information under Computational Constraints", ICLR 2020).
"""

import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import log_softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from tf_decomp.metrics.binned_information import (
    Information,
    bin_factors,
    information_estimates,
)
from tf_decomp.metrics.estimates import (
    NUM_PERMUTATIONS,
    Estimate,
    LabelledCodes,
    label_codes,
)

_MAX_CLASSIFIER_ROWS = 10_000

# Next to no penalty: a perfect code's classes need steep functions of one dimension.
_INVERSE_PENALTY = 1e3
_MAX_STEPS = 200


class InfoMEC(NamedTuple):
    """The fields of `Estimate` for InfoM, then InfoC and InfoE.

    Attributes:
        value: InfoM: a dimension knows of one factor only.
        standard_error: see `Estimate`, as for the next eight.
        chance: level under permuted factors.
        chance_standard_error: its spread.
        dropped: dimensions left out.
        value_all: InfoM with nothing dropped.
        factors_used: factors judged.
        n: number of rows.
        value_sampled: InfoM of sampled codes.
        judged_by: what told the dropped dimensions.
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
    compactness: Estimate
    explicitness: Estimate


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
    normalised information N_if = I(z_i; v_f) / H(v_f), in bins as
    `binned_information` says,

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
    both = information_estimates(labelled, [_modularity, _compactness], rng)
    return InfoMEC(*both[0], both[1], _explicitness(labelled, rng))


def _modularity(information: Information) -> float:
    return _concentration(_shares(information), information.known)


def _compactness(information: Information) -> float:
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


def _explicitness(labelled: LabelledCodes, rng: np.random.Generator) -> Estimate:
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
    return labelled.estimate(
        value, error, np.array(chances), value_all, n, value_sampled
    )


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
        scale = entropy * seen.mean() if share > 0.0 else np.inf
        deviations.append(each / scale)
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
