# SPDX-License-Identifier: Apache-2.0
"""Data in which two factors are correlated.

The data of Träuble et al., "On Disentangled Representations Learned from Correlated
Data" (ICML 2021).
"""

import dataclasses

import numpy as np

from tf_decomp.checks import check_positive, short
from tf_decomp.data.dataset import Split, seeded_generator, take_rows
from tf_decomp.errors import InputError


@dataclasses.dataclass(frozen=True)
class FactorCorrelation:
    """Two factors that are correlated, and how closely.

    Their classes c1 and c2, scaled to [0, 1], have the joint distribution

        p(c1, c2) ~ exp(-(c1 - c2)^2 / (2 width^2))

    in place of the uniform one; the other factors stay independent and uniform.

    Args:
        first: The name of one factor.
        second: The name of the other.
        width: The standard deviation sigma around the line c1 = c2. Träuble et al. use
            0.2 (strong) to 0.7 (weak); the larger, the nearer to uniform.

    Raises:
        InputError: The names are not two different ones, or the width is not positive
            and finite.

    Example:
        >>> FactorCorrelation("posX", "posY", width=0.2)
        FactorCorrelation(first='posX', second='posY', width=0.2)
    """

    first: str
    second: str
    width: float = 0.2

    def __post_init__(self) -> None:
        """Checks the names and the width."""
        names = self.first, self.second
        if not all(isinstance(name, str) and name for name in names):
            raise InputError(
                "FactorCorrelation: first and second must be names of factors, as "
                f"'posX'; received {short(self.first)} and {short(self.second)}"
            )
        if self.first == self.second:
            raise InputError(
                "FactorCorrelation: first and second must be two factors; received "
                f"{short(self.first)} twice"
            )
        width = check_positive("FactorCorrelation: width", self.width, "float32")
        object.__setattr__(self, "width", width)


def correlate_factors(
    split: Split, correlation: FactorCorrelation, seed: int = 0
) -> Split:
    """Returns a seeded random subset of a split in which two factors are correlated.

    Each example is kept or left out by itself, with a probability proportional to
    p(c1, c2) of `FactorCorrelation` and 1 where that is largest. So none is there
    twice, and of a split with all combinations of factors (or a random subset) what
    is kept has that joint distribution. Both factors' own distributions are then a
    little denser in the middle.

    Args:
        split: Examples with named factors. Classes are scaled by the smallest and the
            largest one in the split.
        correlation: Which two factors, and how closely. The order of classes counts,
            also of a factor that has none by nature, as a shape.
        seed: The choice is a function of this seed and the factors.

    Returns:
        The examples that are kept, in their order.

    Raises:
        InputError: There are no named factors, none of that name, or one of the two
            has a single class.

    Example:
        >>> grid = np.array([(i, j) for i in range(8) for j in range(8)])
        >>> split = Split(grid, factors=grid, factor_names=("x", "y"))
        >>> near = correlate_factors(split, FactorCorrelation("x", "y", width=0.01))
        >>> near.factors.tolist() == [[i, i] for i in range(8)]
        True
    """
    first, second = (
        _scaled_classes(split, name) for name in (correlation.first, correlation.second)
    )
    squares = (first - second) ** 2
    # The least square off, so that the largest probability is 1 at any width.
    kept = np.exp((squares.min() - squares) / (2.0 * correlation.width**2))
    draws = seeded_generator(seed, "correlate_factors").random(len(kept))
    return take_rows(split, np.flatnonzero(draws < kept))


def _scaled_classes(split: Split, name: str) -> np.ndarray:
    """Returns a factor's classes [n] in [0, 1]."""
    if split.factors is None or name not in split.factor_names:
        raise InputError(
            f"correlated factors must be two of "
            f"{', '.join(split.factor_names) or 'the named ones, and there are none'}; "
            f"received {short(name)}"
        )
    classes = split.factors[:, split.factor_names.index(name)].astype(np.float64)
    span = np.ptp(classes) if len(classes) else 0.0
    if span == 0.0:
        raise InputError(
            f"correlated factors must have several classes; {short(name)} has one, or "
            "there are no data; choose another one"
        )
    return (classes - classes.min()) / span
