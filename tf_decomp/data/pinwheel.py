# SPDX-License-Identifier: Apache-2.0
"""The pinwheel: four arms of points in the plane, bent around the origin.

The data of Fig. 3 of Mathieu et al. (2019).
"""

from numbers import Real

import numpy as np

from tf_decomp.checks import check_memory, check_whole_number, short
from tf_decomp.data.dataset import Dataset, Split, seeded_generator
from tf_decomp.data.scales import check_values
from tf_decomp.errors import InputError


def pinwheel(
    examples_per_arm: int = 100,
    seed: int = 0,
    *,
    num_arms: int = 4,
    radial_stddev: float = 0.3,
    tangential_stddev: float = 0.1,
    rate: float = 0.25,
) -> Dataset:
    """Returns two separate draws of the pinwheel, one to train and one to test.

    A point of arm k of K starts at (r, t) with r ~ N(1, radial_stddev^2) and
    t ~ N(0, tangential_stddev^2), and is turned counter-clockwise about the origin
    by the angle 2 pi k / K + rate exp(r).

    Args:
        examples_per_arm: Points in each arm of each split.
        seed: Both draws are functions of this seed.
        num_arms: The number K of arms.
        radial_stddev: Standard deviation along an arm.
        tangential_stddev: Standard deviation across an arm.
        rate: How much an arm bends.

    Returns:
        Splits with `x` [num_arms * examples_per_arm, 2] float32 and `labels`
        [num_arms * examples_per_arm], the arm of each point, in ascending order.

    Raises:
        InputError: If a count is below 1 or a standard deviation is not positive.

    Example:
        >>> pinwheel().train.x.shape
        (400, 2)
    """
    check_whole_number("examples_per_arm", examples_per_arm, 1)
    check_whole_number("num_arms", num_arms, 1)
    shape = radial_stddev, tangential_stddev, rate
    if not all(isinstance(n, Real) and np.isfinite(n) for n in shape) or (
        min(radial_stddev, tangential_stddev) <= 0.0
    ):
        raise InputError(
            "radial_stddev and tangential_stddev must be finite and > 0, and rate "
            f"finite; received {', '.join(map(short, shape))}"
        )
    num_points = num_arms * examples_per_arm
    check_memory(64 * num_points, f"a pinwheel of {num_points:,} points", "draw fewer")
    stddev = np.array([radial_stddev, tangential_stddev])

    def draw(stream: str) -> Split:
        labels = np.repeat(np.arange(num_arms), examples_per_arm)  # [n]
        noise = seeded_generator(seed, stream).standard_normal((len(labels), 2))
        radial, tangential = (np.array([1.0, 0.0]) + stddev * noise).T  # [n] each
        with np.errstate(over="ignore", invalid="ignore"):
            angle = 2.0 * np.pi * labels / num_arms + rate * np.exp(radial)
            cosine, sine = np.cos(angle), np.sin(angle)
        x = np.stack(
            [
                cosine * radial - sine * tangential,
                sine * radial + cosine * tangential,
            ],
            axis=-1,
        )  # [n, 2]
        check_values(x, f"a pinwheel of such a shape, {shape},")
        return Split(x.astype(np.float32), labels)

    return Dataset(train=draw("pinwheel/train"), test=draw("pinwheel/test"))
