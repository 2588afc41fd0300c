# SPDX-License-Identifier: Apache-2.0
"""TreeMixturePrior: where its leaves lie, its density, moments and branches."""

from functools import partial
from typing import Any

import numpy as np
import pytest
import scipy.special
import scipy.stats
import tensorflow as tf
import tensorflow_probability as tfp
from cases import MODES
from monte_carlo import assert_mean_close
from runs import one_line

from tf_decomp import InputError, NormalMixturePrior, TreeMixturePrior
from tf_decomp.experiment.build import build_vae
from tf_decomp.experiment.config import ExperimentConfig
from tf_decomp.theory import anneal

tfd = tfp.distributions
TREE: Any = TreeMixturePrior


def leaves(prior: Any) -> np.ndarray:
    return prior.distribution.components_distribution.mean().numpy()


def log_densities(locs: Any, variance: float, z: np.ndarray) -> np.ndarray:
    """Returns the log-density [len(z), len(locs)] of every leaf alone."""
    parts = scipy.stats.norm(np.asarray(locs), variance**0.5)
    return parts.logpdf(z[:, None]).sum(-1)


def test_leaves_lie_around_their_parents() -> None:
    half, high = -0.5, 0.75**0.5
    expected = [
        [1.25, 0.0],
        [0.75, 0.0],
        [half + 0.25, high],
        [half - 0.25, high],
        [half + 0.25, -high],
        [half - 0.25, -high],
    ]
    prior = TREE(2, [3, 2], [1.0, 0.25], 0.004, dtype="float64")
    np.testing.assert_allclose(leaves(prior), expected, atol=1e-15)
    stddev = prior.distribution.components_distribution.stddev()
    np.testing.assert_allclose(stddev, np.full([6, 2], 0.004**0.5))


def test_a_line_and_a_level_with_dimensions_of_its_own() -> None:
    line = TREE(1, [3, 2], [1.0, 0.2], 0.01, dtype="float64")
    expected = [1.2, 0.8, 0.2, -0.2, -0.8, -1.2]
    np.testing.assert_allclose(leaves(line)[:, 0], expected, atol=1e-15)
    deep = leaves(TREE(5, [2, 4, 3], [3.0, 2.0, 1.0], 0.01, dtype="float64"))
    assert deep.shape == (24, 5)
    level = deep.reshape(2, 4, 3, 5)
    np.testing.assert_allclose(level.mean((1, 2))[:, 0], [3, -3])
    np.testing.assert_allclose(level.mean((1, 2))[:, 1:], 0, atol=1e-15)
    square = [[2, 0], [0, 2], [-2, 0], [0, -2]]
    np.testing.assert_allclose(level.mean((0, 2))[:, 2:4], square, atol=1e-15)
    triangle = [[1, 0], [-0.5, 0.75**0.5], [-0.5, -(0.75**0.5)]]
    np.testing.assert_allclose(level.mean((0, 1))[:, [4, 0]], triangle, atol=1e-15)


def test_one_level_of_four_is_the_mixture_of_the_paper() -> None:
    z = np.random.default_rng(0).normal(size=(30, 2))
    ours = TREE(2, [4], [1.0], 0.03, dtype="float64")
    theirs = NormalMixturePrior(MODES, 0.03, dtype="float64")
    np.testing.assert_allclose(
        ours.distribution.log_prob(z), theirs.distribution.log_prob(z), rtol=1e-12
    )


def test_the_density_is_the_mean_over_leaves() -> None:
    prior = TREE(3, [2, 3], [2.0, 0.7], 0.09, dtype="float64")
    z = np.random.default_rng(0).normal(size=(30, 3))
    each = log_densities(leaves(prior), 0.09, z)
    assert each.shape == (30, 6)
    expected = scipy.special.logsumexp(each, axis=1) - np.log(6)
    np.testing.assert_allclose(prior.distribution.log_prob(z), expected, rtol=1e-12)
    assert type(prior.distribution) is tfd.MixtureSameFamily


def test_samples_have_the_variances_of_all_levels() -> None:
    # Level 0 is a pair, radius^2 in one dimension; a circle has half in each of two.
    prior = TREE(3, [2, 4], [2.0, 0.6], 0.01)
    z = prior.distribution.sample(40_000, seed=[0, 1]).numpy()
    assert_mean_close(z, 0.0)
    within = np.diag([0.18 + 0.01, 0.01, 0.18 + 0.01])  # level 1 in dimensions 2 and 0
    products = z[:, :, None] * z[:, None]
    assert_mean_close(products, within + np.diag([4.0, 0.0, 0.0]))
    # By the first branch, what is left is the levels below.
    probs = prior.branch_probs(z, level=1).numpy()
    assert np.all(np.abs(probs - np.round(probs)) < 1e-3)
    for branch, place in ((0, 2.0), (1, -2.0)):
        inside = np.round(probs[:, branch])
        assert_mean_close(inside, 0.5)
        centred = z[inside == 1] - [place, 0.0, 0.0]
        assert_mean_close(centred, 0.0)
        assert_mean_close(centred[:, :, None] * centred[:, None], within)


def test_branches_have_the_probabilities_of_their_leaves() -> None:
    prior = TREE(2, [3, 2, 2], [1.0, 0.5, 0.3], 0.2, dtype="float64")
    z = np.random.default_rng(0).normal(size=(20, 2))
    shares = scipy.special.softmax(log_densities(leaves(prior), 0.2, z), axis=1)
    for level, shape in ((1, (3, 4)), (2, (3, 2, 2)), (3, (3, 2, 2, 1))):
        expected = shares.reshape(20, *shape).sum(-1)
        assert np.ptp(expected) > 0.2
        np.testing.assert_allclose(prior.branch_probs(z, level), expected, rtol=1e-9)
    one = prior.branch_probs(z[0], level=2)
    np.testing.assert_allclose(one, prior.branch_probs(z, level=2)[0], rtol=1e-12)
    spec = tf.TensorSpec([None, None, 2], tf.float64)
    traced = tf.function(lambda z: prior.branch_probs(z, 2), input_signature=[spec])
    found = traced(tf.constant(z.reshape(4, 5, 2)))
    np.testing.assert_allclose(
        found, tf.reshape(prior.branch_probs(z, 2), [4, 5, 3, 2]), rtol=1e-12
    )


def test_its_square_has_a_known_integral() -> None:
    # That of N(z; a, v) N(z; b, v) is N(a - b; 0, 2 v).
    prior = TREE(3, [3, 2], [1.0, 0.4], 0.05, dtype="float64")
    locs = leaves(prior)
    pairs = log_densities(locs, 0.1, locs)
    expected = scipy.special.logsumexp(pairs) - 2 * np.log(6)
    annealed = anneal(prior, 2.0)
    assert annealed.method == "expansion"
    assert annealed.log_normaliser == pytest.approx(expected, abs=1e-10)


def test_no_number_of_leaves_is_too_large_to_be_refused() -> None:
    with pytest.raises(InputError, match="make inf numbers in the prior's samples"):
        ExperimentConfig(prior="tree_mixture", branching=(100_000,) * 90)


def test_settings_reach_the_tree() -> None:
    settings = {"branching": (2, 3), "radius_ratio": 0.5, "latent_dim": 4}
    config = ExperimentConfig(prior="tree_mixture", **settings)
    found = build_vae(config, [3]).prior.get_config()
    assert found["branching"] == [2, 3]
    assert found["radii"] == [1.0, 0.5]
    assert found["variance"] == 0.0625
    assert found["latent_dim"] == 4


BAD: dict[str, tuple[str, Any]] = {
    "latent_dim": (
        "TreeMixturePrior: latent_dim must be",
        lambda: TREE(0, [2], [1.0], 1.0),
    ),
    **{
        f"branching {value!r}": (
            "TreeMixturePrior: branching must be a sequence of 1 or more whole numbers",
            partial(TREE, 2, value, [1.0], 1.0),
        )
        for value in ([], None, 3, "32", [2.0], [0], [True])
    },
    "one child": (
        "branching must be whole numbers >= 2, as [3, 2]; received [3, 1]",
        lambda: TREE(2, [3, 1], [1.0, 1.0], 1.0),
    ),
    "leaves": (
        "TreeMixturePrior: branching=[1000000, 1000000] with latent_dim=2 needs",
        lambda: TREE(2, [10**6, 10**6], [1.0, 1.0], 1.0),
    ),
    "many levels": (
        "of memory at least",
        lambda: TREE(2, [10**18] * 50, [1.0] * 50, 1.0),
    ),
    **{
        f"radii {value!r}": (
            "TreeMixturePrior: radii must be 2 positive numbers, one for each level",
            partial(TREE, 2, [3, 2], value, 1.0),
        )
        for value in ([1.0], [1.0, 0.0], [1.0, -1.0], [1.0, np.inf], 1.0, None, "ab")
    },
    **{
        f"variance {value!r}": (
            "TreeMixturePrior: variance must be > 0",
            partial(TREE, 2, [3], [1.0], value),
        )
        for value in (0.0, -1.0, np.nan, None, [1.0])
    },
    **{
        f"level {value!r}": (
            "branch_probs: level must be a whole number between 1 and 2",
            lambda value=value: TREE(2, [3, 2], [1.0, 0.5], 0.1).branch_probs(
                tf.zeros([1, 2]), value
            ),
        )
        for value in (0, 3, 1.0)
    },
    "z of another shape": (
        "branch_probs: z: expected float32 of shape (None, 2)",
        lambda: TREE(2, [3], [1.0], 0.1).branch_probs(tf.zeros([4, 1]), 1),
    ),
    "config of no level": (
        "prior=tree_mixture needs one or more levels of branching",
        lambda: ExperimentConfig(prior="tree_mixture", branching=()),
    ),
    "config of one child": (
        "branching",
        lambda: ExperimentConfig(branching=(3, 1)),
    ),
    "config of many": (
        "lower them",
        lambda: ExperimentConfig(prior="tree_mixture", branching=(2,) * 40),
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_arguments(name: str) -> None:
    message, make = BAD[name]
    with pytest.raises(InputError) as raised:
        make()
    one_line(raised, message)
