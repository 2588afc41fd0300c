# SPDX-License-Identifier: Apache-2.0
"""Disentanglement by intervention: hold one factor and see which dimension is still.

The metrics vote. For a vote a factor is chosen uniformly, a value of it as often as it
occurs in the data, and rows that share this value, with replacement. A value that a
single row has cannot be held and is not drawn.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from sklearn.linear_model import LogisticRegression

from tf_decomp.checks import check_memory, check_whole_number
from tf_decomp.errors import InputError
from tf_decomp.metrics.scores import NUM_PERMUTATIONS, LabelledCodes, Score, label_codes

_CHUNK_ROWS = 64_000  # the rows of a chunk of votes stay in the cache
_MAX_CHANCE_VOTES = 2_000
_MIN_VOTES = 50


class FactorVAEScore(NamedTuple):
    """The fields of `Score`, then what only `factor_vae_score` has.

    Attributes:
        value: share of the evaluation votes whose factor is named.
        standard_error: and all up to `judged_by`: see `Score`.
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
    _check_vote_counts(train_votes, evaluation_votes)
    check_whole_number("samples_per_vote", samples_per_vote, 2)
    labelled = label_codes(codes, factors, scale, posterior_scales, seed)
    score, votes, hits = _score_votes(
        labelled,
        (train_votes, evaluation_votes),
        samples_per_vote,
        _variances,
        _majority_hits,
        np.random.default_rng(seed),
    )
    margins = _margins(votes.features[train_votes:, labelled.active])
    return FactorVAEScore(
        *score,
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
) -> Score:
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
    _check_vote_counts(train_votes, evaluation_votes)
    check_whole_number("pairs_per_vote", pairs_per_vote, 1)
    return _score_votes(
        label_codes(codes, factors, scale, posterior_scales, seed),
        (train_votes, evaluation_votes),
        2 * pairs_per_vote,
        _pair_distances,
        _linear_hits,
        np.random.default_rng(seed),
    )[0]


class _Votes(NamedTuple):
    """What each vote saw, [num_votes, latent_dim], and the factor it held."""

    features: np.ndarray
    labels: np.ndarray


def _check_vote_counts(train_votes: int, evaluation_votes: int) -> None:
    check_whole_number("train_votes", train_votes, _MIN_VOTES)
    check_whole_number("evaluation_votes", evaluation_votes, _MIN_VOTES)


def _score_votes(
    labelled: LabelledCodes,
    num_votes: tuple[int, int],
    rows_per_vote: int,
    reduce: Callable[[np.ndarray], np.ndarray],
    find_hits: Callable[[_Votes, int, np.ndarray], np.ndarray],
    rng: np.random.Generator,
) -> tuple[Score, _Votes, np.ndarray]:
    """Returns the score, its votes, those that train first, and which are right.

    Args:
        labelled: The codes and their factors.
        num_votes: How many train and how many are scored.
        rows_per_vote: Rows that each vote draws.
        reduce: [votes, rows_per_vote, latent_dim] -> [votes, latent_dim].
        find_hits: Takes votes, how many of them train, and which dimensions to use;
            returns whether each vote is right.
        rng: The source of all draws.
    """

    def draw(labelled: LabelledCodes, votes: int) -> _Votes:
        return _draw_votes(labelled, votes, rows_per_vote, reduce, rng)

    def share_of_hits(votes: _Votes, num_train: int, dimensions: np.ndarray) -> float:
        return find_hits(votes, num_train, dimensions)[num_train:].mean()

    num_train, num_scored = num_votes
    at_once = rows_per_vote * (os.cpu_count() or 1)
    check_memory(
        4 * labelled.codes.shape[1] * (2 * sum(num_votes) + at_once),
        f"{sum(num_votes):,} votes of {rows_per_vote:,} rows",
        "take fewer",
    )
    votes = draw(labelled, sum(num_votes))
    few_train, few_scored = (min(count, _MAX_CHANCE_VOTES) for count in num_votes)
    chances = []
    for _ in range(NUM_PERMUTATIONS):
        order = rng.permutation(len(labelled.codes))
        shuffled = labelled._replace(codes=labelled.codes.take(order, axis=0))
        random = draw(shuffled, few_train + few_scored)
        chances.append(share_of_hits(random, few_train, labelled.active))
    hits = find_hits(votes, num_train, labelled.active)
    value = value_all = hits[num_train:].mean()
    if labelled.dropped():
        value_all = share_of_hits(votes, num_train, np.ones_like(labelled.active))
    error = np.sqrt(value * (1.0 - value) / num_scored)
    value_sampled = labelled.value_of_samples(
        lambda sampled: share_of_hits(
            draw(sampled, sum(num_votes)), num_train, sampled.active
        )
    )
    score = labelled.score(value, error, chances, value_all, num_scored, value_sampled)
    return score, votes, hits


def _group_rows(factor: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns rows sorted by a factor, where each value starts, how many rows."""
    order = np.argsort(factor, kind="stable")
    sizes = np.bincount(factor)
    starts = np.cumsum(sizes) - sizes
    shared = sizes > 1
    if not shared.any():
        raise InputError(
            "a factor must have a value that two rows share; received one without; "
            "leave that factor out or encode more data"
        )
    return order, starts[shared], sizes[shared]


def _draw_votes(
    labelled: LabelledCodes,
    num_votes: int,
    rows_per_vote: int,
    reduce: Callable[[np.ndarray], np.ndarray],
    rng: np.random.Generator,
) -> _Votes:
    """Draws votes in an exchangeable order, so that any split of them is random.

    The draws of a chunk come from its own generator, whichever thread runs it.

    Args:
        labelled: the codes and their factors.
        num_votes: number of votes.
        rows_per_vote: rows that each vote draws.
        reduce: [votes, rows_per_vote, latent_dim] -> [votes, latent_dim].
        rng: the source of the factors' counts, of the chunks and of the order.

    Raises:
        InputError: no two rows share a factor's value.
    """
    groups = [_group_rows(factor) for factor in labelled.factors.T]
    codes = labelled.codes.astype(np.float32)
    counts = rng.multinomial(num_votes, np.full(len(groups), 1.0 / len(groups)))
    chunk = max(1, _CHUNK_ROWS // rows_per_vote)
    features: list[np.ndarray] = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for (order, starts, sizes), count in zip(groups, counts, strict=True):
            table = codes.take(order, axis=0)  # a value's rows lie together

            def draw(
                votes: int,
                source: np.random.Generator,
                table: np.ndarray = table,
                starts: np.ndarray = starts,
                sizes: np.ndarray = sizes,
            ) -> np.ndarray:
                held = source.choice(len(sizes), votes, p=sizes / sizes.sum())[:, None]
                shape = (votes, rows_per_vote)
                rows = starts[held] + source.integers(0, sizes[held], shape)
                return reduce(table.take(rows, axis=0))

            parts = [min(chunk, count - at) for at in range(0, count, chunk)]
            features += pool.map(draw, parts, rng.spawn(len(parts)))
    labels = np.repeat(np.arange(len(groups)), counts)
    order = rng.permutation(num_votes)
    return _Votes(np.concatenate(features)[order], labels[order])


def _variances(codes: np.ndarray) -> np.ndarray:
    codes -= codes[:, :1].copy()  # a still dimension becomes exactly 0
    sums = np.einsum("vsd->vd", codes)  # three times as fast as sum(axis=1)
    squares = np.einsum("vsd,vsd->vd", codes, codes)
    samples = codes.shape[1]
    return np.maximum(squares / samples - (sums / samples) ** 2, 0.0)


def _pair_distances(codes: np.ndarray) -> np.ndarray:
    return np.abs(codes[:, ::2] - codes[:, 1::2]).mean(axis=1)


def _majority_hits(votes: _Votes, train_votes: int, active: np.ndarray) -> np.ndarray:
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


def _linear_hits(votes: _Votes, train_votes: int, active: np.ndarray) -> np.ndarray:
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
