# SPDX-License-Identifier: Apache-2.0
"""The pinwheel: four arms of points in the plane, bent around the origin.

The data of Fig. 3 of Mathieu et al. (2019).
"""

import numpy as np

from tf_decomp.data.dataset import Dataset, Split, seeded_generator
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
    for name, count in (("examples_per_arm", examples_per_arm), ("num_arms", num_arms)):
        if count < 1:
            raise InputError(f"{name} must be >= 1; received {count}")
    stddev = np.array([radial_stddev, tangential_stddev])
    if not (np.all(stddev > 0.0) and np.all(np.isfinite([*stddev, rate]))):
        raise InputError(
            "radial_stddev and tangential_stddev must be finite and > 0, and rate "
            f"finite; received {radial_stddev}, {tangential_stddev} and {rate}"
        )

    def draw(stream: str) -> Split:
        labels = np.repeat(np.arange(num_arms), examples_per_arm)  # [n]
        noise = seeded_generator(seed, stream).standard_normal((len(labels), 2))
        radial, tangential = (np.array([1.0, 0.0]) + stddev * noise).T  # [n] each
        angle = 2.0 * np.pi * labels / num_arms + rate * np.exp(radial)
        cosine, sine = np.cos(angle), np.sin(angle)
        x = np.stack(
            [
                cosine * radial - sine * tangential,
                sine * radial + cosine * tangential,
            ],
            axis=-1,
        )  # [n, 2]
        return Split(x.astype(np.float32), labels)

    return Dataset(train=draw("pinwheel/train"), test=draw("pinwheel/test"))
