# SPDX-License-Identifier: Apache-2.0
"""Mutual information of binned dimensions with binned factors, and scores of it.

A column with at most 20 values is its own bins. Any other gets 20 that hold equally
many rows, so that it does not change under any increasing map of a column, and heavy
tails do not empty the bins. A factor gets fewer, in the order of its values, where
there are not 30 rows for each: a table of more cells than rows says little.

What is estimated, and what the standard errors are for, is therefore the information
between the binned variables in the population. The tables' own (plug-in) information
is too large, by about (rows of the table - 1) (columns - 1) / 2n; its entropies are
jackknifed, which takes that away as the correction of Miller and Madow does, and much
of what that leaves where most cells hold few rows.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import xlogy

from tf_decomp.metrics.estimates import NUM_PERMUTATIONS, Estimate, LabelledCodes

_MAX_BINS = 20
_ROWS_PER_FACTOR_BIN = 30
_MAX_BLOCKS = 50

# Corrected information above this many of its standard deviations under independence
# counts as some.
_SIGNIFICANT = 4.0


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

    Example:
        >>> columns = np.arange(8_000)[:, None] % np.array([2, 4])
        >>> (mutual_information(columns, columns) / np.log(2)).round(2).tolist()
        [[1.0, 1.0], [1.0, 2.0]]
    """
    none = np.zeros(len(classes), np.int64)
    return _information(np.asarray(classes), np.asarray(factors), none)[0].mutual


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
) -> list[Estimate]:
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
        estimates.append(
            labelled.estimate(value, error, np.array(chance), value_all, n, of_samples)
        )
    return estimates


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
