# SPDX-License-Identifier: Apache-2.0
"""Disentanglement by intervention: hold one factor and see which dimension is still."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from sklearn.linear_model import LogisticRegression

from tf_decomp.metrics.estimates import Estimate, LabelledCodes, label_codes
from tf_decomp.metrics.votes import Votes, check_vote_counts, draw_votes, score_votes


class FactorVAEScore(NamedTuple):
    """The fields of `Estimate`, then what only `factor_vae_score` has.

    Attributes:
        value: share of the evaluation votes whose factor is named.
        standard_error: see `Estimate`, as for the next eight.
        chance: level under permuted factors.
        chance_standard_error: its spread.
        dropped: dimensions left out.
        value_all: the share with nothing dropped.
        factors_used: factors judged.
        n: number of evaluation votes.
        value_sampled: the share of sampled codes.
        judged_by: what told the dropped dimensions.
        in_sample_value: the share on the training votes themselves; it flatters, for
            random codes by far when votes are few.
        margin: mean over the evaluation votes of 1 - v1 / v2, where v1 and v2 are the
            lowest and second lowest normalised variance: 1 when the held factor
            leaves one dimension exactly still, 0 when the vote is a toss. Rotating a
            code lowers it; `value` notices only when the vote has become a toss.
        margin_standard_error: over the evaluation votes.
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
    in_sample_value: float
    margin: float
    margin_standard_error: float


def factor_vae_score(
    codes: ArrayLike,
    factors: ArrayLike,
    *,
    train_votes: int = 10_000,
    evaluation_votes: int = 10_000,
    samples_per_vote: int = 1_000,
    scale: ArrayLike | None = None,
    posterior_scales: ArrayLike | None = None,
    seed: int = 0,
) -> FactorVAEScore:
    """Scores how surely the stillest dimension names the held factor.

    Kim and Mnih, "Disentangling by Factorising" (ICML 2018): in each vote the
    dimension of the lowest variance, relative to its variance over all data, wins;
    the training votes name for each dimension the factor it most often won under;
    the value is the share of right names among the *other* votes.

    The standard error is binomial over the evaluation votes, so conditional on the
    codes and the training votes; it does not cover other data or another training of
    the network. With nothing dropped, a constant dimension wins every vote; with
    everything dropped, the commonest factor is always named.

    Args:
        codes: [n, latent_dim] encodings, e.g. posterior means.
        factors: [n, num_factors] integers; constant factors are left out.
        train_votes: votes that name a factor for each dimension, at least 50.
        evaluation_votes: votes that are scored, at least 50.
        samples_per_vote: rows in a vote, at least 2.
        scale: see `active_dimensions`.
        posterior_scales: see `active_dimensions`; with them sampled codes are scored.
        seed: of all draws; the number of threads does not matter.

    Raises:
        InputError: an argument is unusable.

    Example:
        >>> factors = np.random.default_rng(0).integers(0, 5, size=(1000, 2))
        >>> factor_vae_score(factors.astype(float), factors).value
        1.0
    """
    check_vote_counts(train_votes, evaluation_votes, samples_per_vote)
    labelled = label_codes(codes, factors, scale, posterior_scales, seed)
    rng = np.random.default_rng(seed)
    votes, chances = score_votes(
        labelled,
        (train_votes, evaluation_votes),
        samples_per_vote,
        _variances,
        _majority_hits,
        rng,
    )

    def share_of_hits(labelled: LabelledCodes) -> float:
        votes = draw_votes(
            labelled, train_votes + evaluation_votes, samples_per_vote, _variances, rng
        )
        hits = _majority_hits(votes, train_votes, labelled.active)
        return float(hits[train_votes:].mean())

    everything = np.ones_like(labelled.active)
    hits = _majority_hits(votes, train_votes, labelled.active)
    hits_all = _majority_hits(votes, train_votes, everything)[train_votes:]
    margins = _margins(votes.features[train_votes:, labelled.active])
    value = hits[train_votes:].mean()
    return FactorVAEScore(
        *labelled.estimate(
            value,
            np.sqrt(value * (1.0 - value) / evaluation_votes),
            chances,
            hits_all.mean(),
            evaluation_votes,
            labelled.value_of_samples(share_of_hits),
        ),
        in_sample_value=float(hits[:train_votes].mean()),
        margin=float(margins.mean()),
        margin_standard_error=float(margins.std() / np.sqrt(evaluation_votes)),
    )


def beta_vae_score(
    codes: ArrayLike,
    factors: ArrayLike,
    *,
    train_votes: int = 5_000,
    evaluation_votes: int = 5_000,
    pairs_per_vote: int = 64,
    scale: ArrayLike | None = None,
    posterior_scales: ArrayLike | None = None,
    seed: int = 0,
) -> Estimate:
    """Scores how well a linear classifier names the factor that pairs share.

    Higgins et al., "beta-VAE" (ICLR 2017): a vote is the mean of
    |z - z'| over pairs of data that share the held factor's value; the value is the
    held-out accuracy of a linear (softmax) classifier from votes to factors.
    Dimensions are divided by their standard deviation first. The classifier weighs
    all dimensions, so a code that is rotated by less than 45 degrees scores 1.

    The standard error is binomial over the evaluation votes, conditional on the
    codes and on the trained classifier.

    Args:
        codes: [n, latent_dim] encodings.
        factors: [n, num_factors] integers; constant factors are left out.
        train_votes: votes that train the classifier, at least 50.
        evaluation_votes: votes that are scored, at least 50.
        pairs_per_vote: pairs averaged in a vote.
        scale: see `active_dimensions`.
        posterior_scales: see `active_dimensions`; with them sampled codes are scored.
        seed: of all draws.

    Raises:
        InputError: an argument is unusable.

    Example:
        >>> factors = np.random.default_rng(0).integers(0, 5, size=(1000, 2))
        >>> beta_vae_score(factors.astype(float), factors).value
        1.0
    """
    check_vote_counts(train_votes, evaluation_votes, 2 * pairs_per_vote)
    labelled = label_codes(codes, factors, scale, posterior_scales, seed)
    rng = np.random.default_rng(seed)
    votes, chances = score_votes(
        labelled,
        (train_votes, evaluation_votes),
        2 * pairs_per_vote,
        _pair_distances,
        _linear_hits,
        rng,
    )

    def share_of_hits(labelled: LabelledCodes) -> float:
        num_votes = train_votes + evaluation_votes
        votes = draw_votes(
            labelled, num_votes, 2 * pairs_per_vote, _pair_distances, rng
        )
        hits = _linear_hits(votes, train_votes, labelled.active)
        return float(hits[train_votes:].mean())

    everything = np.ones_like(labelled.active)
    value = _linear_hits(votes, train_votes, labelled.active)[train_votes:].mean()
    value_all = value
    if labelled.dropped():
        value_all = _linear_hits(votes, train_votes, everything)[train_votes:].mean()
    return labelled.estimate(
        value,
        np.sqrt(value * (1.0 - value) / evaluation_votes),
        chances,
        value_all,
        evaluation_votes,
        labelled.value_of_samples(share_of_hits),
    )


def _variances(codes: np.ndarray) -> np.ndarray:
    codes -= codes[:, :1].copy()  # a still dimension becomes exactly 0
    sums = np.einsum("vsd->vd", codes)  # three times as fast as sum(axis=1)
    squares = np.einsum("vsd,vsd->vd", codes, codes)
    samples = codes.shape[1]
    return np.maximum(squares / samples - (sums / samples) ** 2, 0.0)


def _pair_distances(codes: np.ndarray) -> np.ndarray:
    return np.abs(codes[:, ::2] - codes[:, 1::2]).mean(axis=1)


def _majority_hits(votes: Votes, train_votes: int, active: np.ndarray) -> np.ndarray:
    """Returns [num_votes] whether the majority of the training votes is right."""
    winners = np.zeros(len(votes.labels), np.int64)
    if active.any():
        features = votes.features[:, active]
        constant = features.max(axis=0) == 0.0  # its 0 / 0 wins against any 0
        winners = np.where(constant, -1.0, features).argmin(axis=1)
    counts = np.zeros((len(active), votes.labels.max() + 1), np.int64)
    np.add.at(counts, (winners[:train_votes], votes.labels[:train_votes]), 1)
    return counts.argmax(axis=1)[winners] == votes.labels


def _margins(variances: np.ndarray) -> np.ndarray:
    if variances.shape[1] < 2:
        return np.zeros(len(variances))
    lowest, second = np.partition(variances, 1, axis=1)[:, :2].T
    return 1.0 - np.divide(lowest, second, out=np.ones_like(lowest), where=second > 0)


def _linear_hits(votes: Votes, train_votes: int, active: np.ndarray) -> np.ndarray:
    """Returns [num_votes] whether a classifier of the training votes is right."""
    train = votes.features[:train_votes, active]
    spread = train.std(axis=0)
    features = votes.features[:, active] - train.mean(axis=0)
    features /= np.where(spread > 0.0, spread, 1.0)
    if not active.any():
        features = np.zeros((len(votes.labels), 1))
    classifier = LogisticRegression(max_iter=1_000)
    classifier.fit(features[:train_votes], votes.labels[:train_votes])
    return classifier.predict(features) == votes.labels
