# SPDX-License-Identifier: Apache-2.0
"""What a prior with groups of dimensions is asked: the two factors, and its structure.

Half of the test set's codes (means) teach a regression or a classifier, the other half
is predicted. Neighbours are found by the distance within a group of dimensions, which
rotations of the group do not change: scores of single axes cannot see such a group.
"""

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

from paper.measures import read_metrics
from paper.table import Row
from tf_decomp.experiment.finished import FinishedRun, load_finished_run
from tf_decomp.experiment.run_files import RunFiles
from tf_decomp.metrics import (
    active_dimensions,
    overlap_report,
    regularisation_report,
)

# Columns of dSprites' factors.
_POSITION = slice(3, 5)
_NEIGHBOURS = 20
_ITERATIONS = 500

Group = tuple[int, ...]


def measure_subspaces(files: RunFiles) -> list[Row]:
    """Returns the two factors of a dSprites network, and where its position is.

    Args:
        files: Of the run.
    """
    run = load_finished_run(files)
    codes = run.posterior.mean().numpy()
    position = np.asarray(run.test.factors)[:, _POSITION].astype(float)
    dimensions = range(codes.shape[1])
    ends = np.cumsum(run.config.subspaces)
    own = [tuple(map(int, g)) for g in np.split(np.array(dimensions), ends[:-1])]
    pairs: list[Group] = list(itertools.combinations(dimensions, 2))
    near = {g: position_share(codes, position, g) for g in [*pairs, *_axes(codes)]}
    straight = {g: position_share(codes, position, g, linear=True) for g in pairs}
    shuffled = np.random.default_rng(0).permutation(codes)
    return [
        {
            **_two_factors(run, files),
            "plane": max(near[g] for g in own),
            "plane_any": mean_best(near, len(dimensions)),
            "pair": max(near[g] for g in pairs),
            "axis": max(near[g] for g in _axes(codes)),
            "plane_linear": max(straight[g] for g in own),
            "plane_any_linear": mean_best(straight, len(dimensions)),
            "chance": max(position_share(shuffled, position, g) for g in own),
            "n": len(codes),
        }
    ]


def measure_hierarchy(files: RunFiles) -> list[Row]:
    """Returns the two factors of a Fashion-MNIST network, and where its classes are.

    The group of the class is the first half of the dimensions, that of the style the
    second.

    Args:
        files: Of the run.
    """
    run = load_finished_run(files)
    codes, labels = run.posterior.mean().numpy(), np.asarray(run.test.labels)
    first, second = np.split(codes, 2, axis=1)
    shuffled = np.random.default_rng(0).permutation(codes)
    return [
        {
            **_two_factors(run, files),
            "class_accuracy": label_accuracy(first, labels),
            "style_accuracy": label_accuracy(second, labels),
            "both_accuracy": label_accuracy(codes, labels),
            "class_accuracy_linear": label_accuracy(first, labels, linear=True),
            "style_accuracy_linear": label_accuracy(second, labels, linear=True),
            "chance": label_accuracy(shuffled, labels),
            "n": len(codes),
        }
    ]


def position_share(
    codes: np.ndarray, position: np.ndarray, group: Group, linear: bool = False
) -> float:
    """Returns R^2 of (x, y) predicted from some dimensions, the mean of both.

    Of held-out rows; 1 where the position follows from these codes, about 0 (below it
    by 1 / 20, since 20 neighbours vary) where they say nothing of it.

    Args:
        codes: [n, latent_dim].
        position: [n, 2].
        group: Dimensions.
        linear: By a linear regression instead of the nearest neighbours.
    """
    model = LinearRegression() if linear else KNeighborsRegressor(_NEIGHBOURS)
    half = len(codes) // 2
    known, asked = np.split(codes[:, group], [half])
    errors = model.fit(known, position[:half]).predict(asked) - position[half:]
    return float(np.mean(1 - (errors**2).mean(axis=0) / position[half:].var(axis=0)))


def label_accuracy(
    codes: np.ndarray, labels: np.ndarray, linear: bool = False
) -> float:
    """Returns the share of held-out labels that are told from codes.

    Args:
        codes: [n, dimensions].
        labels: [n] classes.
        linear: By a logistic regression instead of the nearest neighbours.
    """
    model = KNeighborsClassifier(_NEIGHBOURS)
    if linear:
        model = LogisticRegression(max_iter=_ITERATIONS)
        codes = (codes - codes.mean(axis=0)) / codes.std(axis=0)
    half = len(codes) // 2
    return float(
        model.fit(codes[:half], labels[:half]).score(codes[half:], labels[half:])
    )


def mean_best(shares: dict[Group, float], latent_dim: int) -> float:
    """Returns the best pair's share, the mean over all ways to form pairs.

    What three planes would have of dimensions whose order means nothing.

    Args:
        shares: By pair, in rising order.
        latent_dim: Even.
    """
    ways = pairings(range(latent_dim))
    return float(np.mean([max(shares[pair] for pair in way) for way in ways]))


def pairings(dimensions: Sequence[int]) -> Iterator[list[Group]]:
    """Yields every way to part dimensions in pairs: 15 of six dimensions.

    Args:
        dimensions: In rising order, an even number.

    Example:
        >>> list(pairings([0, 1]))
        [[(0, 1)]]
    """
    if not dimensions:
        yield []
        return
    first, *rest = dimensions
    for other in rest:
        left = [d for d in rest if d != other]
        yield from ([(first, other), *way] for way in pairings(left))


def _axes(codes: np.ndarray) -> list[Group]:
    return [(d,) for d in range(codes.shape[1])]


def _two_factors(run: FinishedRun, files: RunFiles) -> Row:
    """Returns the fit, the overlap of the encodings, and the match of q(z) to p(z)."""
    metrics = read_metrics(files)
    overlap = overlap_report(run.posterior)
    match = regularisation_report(run.posterior, run.vae.prior)
    dependence = match.gaussian_total_correlation
    active = active_dimensions(
        run.posterior.mean().numpy(), posterior_scales=run.posterior.stddev().numpy()
    )
    return {
        "log_likelihood": metrics["log_likelihood"],
        "kl": metrics["kl"],
        "overlap": overlap.overlap.value,
        "mutual_information": overlap.mutual_information.value,
        "aggregate_kl": match.kl.value,
        "joint_mmd": match.joint_mmd.value,
        "joint_mmd_share": match.joint_mmd.share,
        "dependence": dependence and dependence.value,
        "prior_dependence": dependence and dependence.prior,
        "active_dimensions": int(active.sum()),
    }
