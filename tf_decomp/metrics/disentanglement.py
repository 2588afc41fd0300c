# SPDX-License-Identifier: Apache-2.0
"""Disentanglement by intervention: hold one factor and see which dimension is still.

Both metrics here draw *votes*: a factor is chosen uniformly, a value of it as often
as it occurs in the data, and rows that share this value, with replacement. A value
that a single row has cannot be held and is not drawn.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri
from sklearn.linear_model import LogisticRegression

from tf_decomp.errors import InputError
from tf_decomp.metrics.estimates import (
    NUM_PERMUTATIONS,
    Estimate,
    LabelledCodes,
    check_codes,
    label_codes,
)

_CHUNK_ROWS = 64_000  # the rows of a chunk of votes stay in the cache
_MAX_CHANCE_VOTES = 2_000
_MIN_VOTES = 50


class FactorVAEScore(NamedTuple):
    """The fields of `Estimate`, then what only `factor_vae_score` has.

    Attributes:
        value: share of the evaluation votes whose factor is named.
        standard_error: see `Estimate`, as for the next five.
        chance: level under permuted factors.
        chance_standard_error: its spread.
        dropped: dimensions left out.
        value_all: the share with nothing dropped.
        factors_used: factors judged.
        n: number of evaluation votes.
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
    in_sample_value: float
    margin: float
    margin_standard_error: float


class _Groups(NamedTuple):
    """Rows sorted by a factor: `order` [n], where each value starts, how many rows."""

    order: np.ndarray
    starts: np.ndarray
    sizes: np.ndarray


class _Votes(NamedTuple):
    """What each vote saw, [num_votes, latent_dim], and the factor it held."""

    features: np.ndarray
    labels: np.ndarray


def factor_vae_score(
    codes: ArrayLike,
    factors: ArrayLike,
    *,
    train_votes: int = 10_000,
    evaluation_votes: int = 10_000,
    samples_per_vote: int = 1_000,
    scale: ArrayLike | None = None,
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
        seed: of all draws; the number of threads does not matter.

    Raises:
        InputError: an argument is unusable.

    Example:
        >>> factors = np.random.default_rng(0).integers(0, 5, size=(1000, 2))
        >>> factor_vae_score(factors.astype(float), factors).value
        1.0
    """
    _check_counts(train_votes, evaluation_votes, samples_per_vote)
    labelled = label_codes(codes, factors, scale)
    votes, chances = _score_votes(
        labelled,
        (train_votes, evaluation_votes),
        samples_per_vote,
        _variances,
        _majority_hits,
        np.random.default_rng(seed),
    )
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
        seed: of all draws.

    Raises:
        InputError: an argument is unusable.

    Example:
        >>> factors = np.random.default_rng(0).integers(0, 5, size=(1000, 2))
        >>> beta_vae_score(factors.astype(float), factors).value
        1.0
    """
    _check_counts(train_votes, evaluation_votes, 2 * pairs_per_vote)
    labelled = label_codes(codes, factors, scale)
    votes, chances = _score_votes(
        labelled,
        (train_votes, evaluation_votes),
        2 * pairs_per_vote,
        _pair_distances,
        _linear_hits,
        np.random.default_rng(seed),
    )
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
    )


def normal_scores(
    codes: ArrayLike,
    cdf: Callable[[np.ndarray], np.ndarray],
    survival: Callable[[np.ndarray], np.ndarray] | None = None,
) -> np.ndarray:
    """Maps codes through a prior's CDF to a standard normal, dimension by dimension.

    z -> Phi^{-1}(F(z)) is the optimal-transport map from the prior's marginal F to
    N(0, 1): scores of the mapped codes do not reward or punish heavy tails. Each half
    uses the smaller of F and 1 - F, so that no tail rounds to 1. A probability below
    the smallest float64 is set to it, which ends the map at +-38.

    Args:
        codes: [n, latent_dim] encodings.
        cdf: takes float64 [n, latent_dim] and returns F in float64, e.g.
            `scipy.stats.t(df=9).cdf`.
        survival: the same for 1 - F, accurate where it is small; by default
            `cdf(-codes)`, right for a prior that is symmetric about zero.

    Returns:
        [n, latent_dim] float64, finite.

    Raises:
        InputError: `codes` is unusable, the functions do not return float64
            probabilities, or they do not add up to 1.

    Example:
        >>> from scipy import stats
        >>> normal_scores([[3.0, -100.0]], stats.t(df=9).cdf).round(3).tolist()
        [[2.433, -7.825]]
    """
    latents = check_codes(codes).astype(np.float64)
    lower = np.asarray(cdf(latents))
    upper = np.asarray(cdf(-latents) if survival is None else survival(latents))
    if {lower.dtype, upper.dtype} != {np.dtype(np.float64)}:
        raise InputError(
            f"cdf and survival must return float64; received {lower.dtype} and "
            f"{upper.dtype}; a float32 tail overflows, so compute them in float64"
        )
    if lower.shape != latents.shape or not np.allclose(lower + upper, 1.0, 0.0, 1e-6):
        raise InputError(
            f"cdf and survival must return {list(latents.shape)} that add up to 1; "
            "received others; for a prior not symmetric about 0 give survival"
        )
    smallest = np.nextafter(0.0, 1.0)
    tail = ndtri(np.maximum(np.minimum(lower, upper), smallest))
    return np.where(lower <= upper, tail, -tail)


def _check_counts(train_votes: int, evaluation_votes: int, rows_per_vote: int) -> None:
    if min(train_votes, evaluation_votes) < _MIN_VOTES or rows_per_vote < 2:
        raise InputError(
            f"votes must be at least {_MIN_VOTES} and the rows of a vote at least 2; "
            f"received {train_votes}, {evaluation_votes}, {rows_per_vote}; raise them"
        )


def _score_votes(
    labelled: LabelledCodes,
    num_votes: tuple[int, int],
    rows_per_vote: int,
    reduce: Callable[[np.ndarray], np.ndarray],
    find_hits: Callable[[_Votes, int, np.ndarray], np.ndarray],
    rng: np.random.Generator,
) -> tuple[_Votes, np.ndarray]:
    """Draws the votes of the codes, and scores those of codes in permuted rows."""
    groups = [_group_rows(factor) for factor in labelled.factors.T]
    codes = labelled.codes.astype(np.float32)
    votes = _draw_votes(codes, groups, sum(num_votes), rows_per_vote, reduce, rng)
    few = [min(count, _MAX_CHANCE_VOTES) for count in num_votes]
    chances = []
    for _ in range(NUM_PERMUTATIONS):
        shuffled = codes.take(rng.permutation(len(codes)), axis=0)
        random = _draw_votes(shuffled, groups, sum(few), rows_per_vote, reduce, rng)
        chances.append(find_hits(random, few[0], labelled.active)[few[0] :].mean())
    return votes, np.array(chances)


def _group_rows(factor: np.ndarray) -> _Groups:
    order = np.argsort(factor, kind="stable")
    sizes = np.bincount(factor)
    starts = np.cumsum(sizes) - sizes
    shared = sizes > 1
    if not shared.any():
        raise InputError(
            "a factor must have a value that two rows share; received one without; "
            "leave that factor out or encode more data"
        )
    return _Groups(order, starts[shared], sizes[shared])


def _draw_votes(
    codes: np.ndarray,
    groups: list[_Groups],
    num_votes: int,
    rows_per_vote: int,
    reduce: Callable[[np.ndarray], np.ndarray],
    rng: np.random.Generator,
) -> _Votes:
    """Draws votes in an exchangeable order, so that any split of them is random.

    The draws of a chunk come from its own generator, whichever thread runs it.

    Args:
        codes: [n, latent_dim] float32.
        groups: the rows sorted by each factor.
        num_votes: number of votes.
        rows_per_vote: rows that each vote draws.
        reduce: [votes, rows_per_vote, latent_dim] -> [votes, latent_dim].
        rng: the source of the factors' counts, of the chunks and of the order.
    """
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
