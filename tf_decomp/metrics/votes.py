# SPDX-License-Identifier: Apache-2.0
"""Votes on codes: rows that share a value of one factor, and what they have in common.

A factor is chosen uniformly, a value of it as often as it occurs in the data, and rows
that share this value, with replacement. A value that a single row has cannot be held
and is not drawn.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from tf_decomp.errors import InputError
from tf_decomp.metrics.estimates import NUM_PERMUTATIONS, LabelledCodes

_CHUNK_ROWS = 64_000  # the rows of a chunk of votes stay in the cache
_MAX_CHANCE_VOTES = 2_000
_MIN_VOTES = 50


class Votes(NamedTuple):
    """What each vote saw, [num_votes, latent_dim], and the factor it held."""

    features: np.ndarray
    labels: np.ndarray


class _Groups(NamedTuple):
    """Rows sorted by a factor: `order` [n], where each value starts, how many rows."""

    order: np.ndarray
    starts: np.ndarray
    sizes: np.ndarray


def check_vote_counts(
    train_votes: int, evaluation_votes: int, rows_per_vote: int
) -> None:
    """Refuses too few votes.

    Args:
        train_votes: Votes that train.
        evaluation_votes: Votes that are scored.
        rows_per_vote: Rows of a vote.

    Raises:
        InputError: If there are fewer than 50 votes, or than 2 rows in one.
    """
    if min(train_votes, evaluation_votes) < _MIN_VOTES or rows_per_vote < 2:
        raise InputError(
            f"votes must be at least {_MIN_VOTES} and the rows of a vote at least 2; "
            f"received {train_votes}, {evaluation_votes}, {rows_per_vote}; raise them"
        )


def score_votes(
    labelled: LabelledCodes,
    num_votes: tuple[int, int],
    rows_per_vote: int,
    reduce: Callable[[np.ndarray], np.ndarray],
    find_hits: Callable[[Votes, int, np.ndarray], np.ndarray],
    rng: np.random.Generator,
) -> tuple[Votes, np.ndarray]:
    """Draws the votes of the codes, and scores those of codes in permuted rows.

    Args:
        labelled: The codes and their factors.
        num_votes: How many train and how many are scored.
        rows_per_vote: Rows that each vote draws.
        reduce: [votes, rows_per_vote, latent_dim] -> [votes, latent_dim].
        find_hits: Takes votes, how many of them train, and which dimensions to use;
            gives whether each vote is right.
        rng: The source of all draws.

    Returns:
        The votes, those that train first, and the shares of right ones under permuted
        rows [NUM_PERMUTATIONS].

    Raises:
        InputError: If no two rows share a factor's value.
    """
    votes = draw_votes(labelled, sum(num_votes), rows_per_vote, reduce, rng)
    few = [min(count, _MAX_CHANCE_VOTES) for count in num_votes]
    chances = []
    for _ in range(NUM_PERMUTATIONS):
        order = rng.permutation(len(labelled.codes))
        shuffled = labelled._replace(codes=labelled.codes.take(order, axis=0))
        random = draw_votes(shuffled, sum(few), rows_per_vote, reduce, rng)
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


def draw_votes(
    labelled: LabelledCodes,
    num_votes: int,
    rows_per_vote: int,
    reduce: Callable[[np.ndarray], np.ndarray],
    rng: np.random.Generator,
) -> Votes:
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
    return Votes(np.concatenate(features)[order], labels[order])
