# SPDX-License-Identifier: Apache-2.0
"""Priors: densities against SciPy, moments, constructor checks."""

import inspect
import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import scipy.special
import scipy.stats
import tensorflow as tf
import tensorflow_probability as tfp
from cases import LATENT_DIM, MODES, PRIORS, PSEUDO_INPUTS, case_encoder
from monte_carlo import assert_mean_close
from runs import one_line

from tf_decomp.errors import InputError
from tf_decomp.priors import (
    FactorisedMixturePrior,
    FixedPrior,
    IndependentSubspacesPrior,
    NormalMixturePrior,
    NormalPrior,
    Prior,
    ReparameterisedMixture,
    SpikeAndSlabPrior,
    StudentTPrior,
    as_prior,
    pca_variances,
)

tfd = tfp.distributions


def product(pdf: Callable[[np.ndarray], np.ndarray]) -> Callable[..., np.ndarray]:
    return lambda z: pdf(z).prod(-1)


def normal(*variances: float) -> Callable[..., np.ndarray]:
    return scipy.stats.multivariate_normal([0, 0], np.diag(variances)).pdf


def mixture(locs: Any, variance: float, weights: Any) -> Callable[..., np.ndarray]:
    parts = [scipy.stats.multivariate_normal(loc, variance) for loc in locs]
    return lambda z: sum(
        w * part.pdf(z) for w, part in zip(weights, parts, strict=True)
    )


def spike_and_slab(z: np.ndarray) -> np.ndarray:
    slab, spike = scipy.stats.norm(0, 1), scipy.stats.norm(0, 0.05**0.5)
    return (0.2 * slab.pdf(z) + 0.8 * spike.pdf(z)).prod(-1)


def three_normals(z: np.ndarray) -> np.ndarray:
    """With variance 1 in all, at the quantiles 1/6, 1/2 and 5/6 of a normal."""
    place = scipy.stats.norm.ppf(5 / 6)
    spread = (1 - place**2 * 2 / 3) ** 0.5
    return sum(scipy.stats.norm(m, spread).pdf(z) / 3 for m in (-place, 0, place))


def tree(z: np.ndarray) -> np.ndarray:
    """Pairs along the first dimension around the corners of a triangle."""
    corners = [(1, 0), (-0.5, 0.75**0.5), (-0.5, -(0.75**0.5))]
    locs = [(x + side, y) for x, y in corners for side in (-0.4, 0.4)]
    return mixture(locs, 0.05, [1 / 6] * 6)(z)


def lp_nested(z: np.ndarray) -> np.ndarray:
    """exp(-|z|_3^1.5 / 1.5) over the area of the unit ball and the radial integral."""
    gamma = scipy.special.gamma
    area = (2 * gamma(4 / 3)) ** 2 / gamma(5 / 3)
    radial = 1.5 ** (2 / 1.5) * gamma(2 / 1.5 + 1)
    power = np.sum(np.abs(z) ** 3, axis=-1) ** (1.5 / 3)
    return np.exp(-power / 1.5) / (area * radial)


def vamp(z: np.ndarray) -> np.ndarray:
    q = case_encoder("float64")(tf.constant(PSEUDO_INPUTS))
    parts = zip(q.mean().numpy(), q.variance().numpy(), strict=True)
    return sum(
        scipy.stats.multivariate_normal(loc, np.diag(var)).pdf(z) / 3
        for loc, var in parts
    )


COVARIANCE = [[1.0, 0.5], [0.5, 4.25]]
DENSITIES: dict[str, Callable[..., np.ndarray]] = {
    "normal": normal(1, 1),
    "normal_fixed": normal(1.5, 0.5),
    "normal_learnt": normal(2.0, 0.7),
    "normal_learnt_fixed_total": normal(1.4, 0.6),
    "student_t": product(scipy.stats.t(5).pdf),
    "student_t_inf": normal(1, 1),
    "normal_mixture": mixture(MODES, 0.03, [0.25] * 4),
    "normal_mixture_weighted": mixture([[0, 1], [2, -1]], 0.3, [0.25, 0.75]),
    "normal_mixture_learnt": mixture([[0, 1], [2, -1]], 0.3, [0.25, 0.75]),
    "tree_mixture": tree,
    "factorised_mixture": product(three_normals),
    "independent_subspaces": scipy.stats.multivariate_t(np.zeros(2), np.eye(2), 5).pdf,
    "independent_subspaces_inf": normal(1, 1),
    "lp_nested": lp_nested,
    "lp_nested_two": normal(1, 1),
    "spike_and_slab": spike_and_slab,
    "slab": normal(1, 1),
    "spike": normal(0.05, 0.05),
    "vamp": vamp,
    "flow": normal(1, 1),
    "hierarchical": normal(1, 1),
    "fixed_laplace": lambda z: scipy.stats.laplace([0.5, -0.5], 1).pdf(z).prod(-1),
    "fixed_normal_tril": scipy.stats.multivariate_normal([0, 0], COVARIANCE).pdf,
    "fixed_mixture": lambda z: (
        0.3 * scipy.stats.multivariate_normal([1, 0], 0.25).pdf(z)
        + 0.7 * scipy.stats.multivariate_normal([0, 0], 9).pdf(z)
    ),
}


def test_every_prior_has_a_reference() -> None:
    assert DENSITIES.keys() == PRIORS.keys()


@pytest.mark.parametrize("name", PRIORS)
def test_density(name: str) -> None:
    z = np.random.default_rng(0).normal(size=(50, LATENT_DIM)) * 1.3
    z[0] = 0
    log_prob = PRIORS[name](dtype="float64").distribution.log_prob(z)
    np.testing.assert_allclose(log_prob, np.log(DENSITIES[name](z)), rtol=1e-6)
    single = PRIORS[name]().distribution.log_prob(z.astype("float32"))
    np.testing.assert_allclose(single, log_prob, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", PRIORS)
def test_samples_follow_the_density(name: str) -> None:
    # E_p[r(z)] for a narrow density r, by quadrature on a grid around it.
    z = PRIORS[name]().distribution.sample(20_000, seed=[0, 1])
    narrow = scipy.stats.multivariate_normal([0, 0.3], 0.2**2)
    side = np.linspace(-2, 2, 401)
    grid = np.stack(np.meshgrid(side, side), -1)
    expected = np.sum(narrow.pdf(grid) * DENSITIES[name](grid)) * 0.01**2
    assert_mean_close(narrow.pdf(z), expected)


def test_spike_and_slab_standard_deviation() -> None:
    # 0.05 is a variance: as a standard deviation it would give 0.449.
    distribution = SpikeAndSlabPrior(3, gamma=0.8, spike_variance=0.05).distribution
    np.testing.assert_allclose(distribution.stddev(), 0.4899, atol=5e-5)
    samples = distribution.sample(100_000, seed=[0, 1])
    assert_mean_close(samples**2, 0.2 + 0.8 * 0.05)


def test_mixture_counts_its_density_once() -> None:
    prior = NormalMixturePrior([[0.0] * 20] * 3, variance=1.0)
    expected = scipy.stats.norm.logpdf(0) * 20
    np.testing.assert_allclose(prior.distribution.log_prob(tf.zeros(20)), expected)


@pytest.mark.parametrize("df", [1e6, float("inf")])
def test_student_t_limit_is_the_normal(df: float) -> None:
    z = np.linspace(-4, 4, 10)[:, None]
    log_prob = StudentTPrior(1, df=df, dtype="float64").distribution.log_prob(z)
    np.testing.assert_allclose(log_prob, scipy.stats.norm.logpdf(z)[:, 0], atol=1e-4)


def test_infinite_df_samples() -> None:
    samples = StudentTPrior(2, df=float("inf")).distribution.sample(10_000, seed=[0, 1])
    assert_mean_close(samples, 0.0)
    assert_mean_close(samples**2, 1.0)


@pytest.mark.parametrize("name", ["normal_learnt", "normal_learnt_fixed_total"])
def test_learnt_variances_follow_their_weights(name: str) -> None:
    prior: NormalPrior = PRIORS[name](dtype="float64")
    prior.trainable_variables[0].assign([0.5, -0.25])
    variances = np.exp([0.5, -0.25])
    if name == "normal_learnt_fixed_total":
        variances *= LATENT_DIM / variances.sum()
    np.testing.assert_allclose(prior.variances, variances)
    np.testing.assert_allclose(prior.distribution.variance(), variances)


def test_learnt_variances_start_where_they_are_asked_to() -> None:
    for total in (False, True):
        prior = NormalPrior(
            3, variances=[0.5, 1.0, 1.5], learnable=True, fixed_total=total
        )
        np.testing.assert_allclose(prior.variances, [0.5, 1.0, 1.5], rtol=1e-6)


def test_a_learnt_mixture_follows_its_weights() -> None:
    prior = PRIORS["normal_mixture_learnt"](dtype="float64")
    locs, variances = np.array([[0.0, 3.0], [-1.0, 2.0]]), np.array([[1, 2], [3, 0.5]])
    for weight, value in zip(
        prior.trainable_variables,
        (locs, np.log(variances), [0.0, np.log(3)]),
        strict=True,
    ):
        weight.assign(value)
    z = np.random.default_rng(0).normal(size=(20, 2))
    expected = sum(
        share * scipy.stats.multivariate_normal(loc, np.diag(variance)).pdf(z)
        for share, loc, variance in zip((0.25, 0.75), locs, variances, strict=True)
    )
    np.testing.assert_allclose(prior.distribution.prob(z), expected, rtol=1e-10)


def test_learnt_weights_start_at_all_digits() -> None:
    locs = [[1 / 3, 0.1], [-0.7, 2 / 7]]
    kwargs: Any = {"learnable": True, "dtype": "float64"}
    prior = NormalMixturePrior(locs, 0.3, [0.1, 0.9], **kwargs)
    for weight, start in zip(
        prior.weights,
        (locs, np.full([2, 2], np.log(0.3)), np.log([0.1, 0.9])),
        strict=True,
    ):
        np.testing.assert_allclose(weight, start, rtol=1e-15)


@pytest.mark.parametrize("num_components", [1, 2, 7])
def test_a_factorised_mixture_starts_with_mean_0_and_variance_1(
    num_components: int,
) -> None:
    prior = FactorisedMixturePrior(3, num_components, dtype="float64")
    np.testing.assert_allclose(prior.distribution.mean(), [0.0] * 3, atol=1e-12)
    np.testing.assert_allclose(prior.distribution.variance(), [1.0] * 3)
    z = np.linspace(-3, 3, 50)
    log_prob = prior.distribution.distribution.log_prob(np.stack([z] * 3, -1))
    distance = np.abs(log_prob - scipy.stats.norm.logpdf(z)[:, None]).max()
    assert (distance < 1e-12) == (num_components == 1)


def test_dimensions_of_a_factorised_mixture_are_learnt_apart() -> None:
    prior = FactorisedMixturePrior(2, 2, dtype="float64")
    values = ([[0.0, 3.0], [1.0, -1.0]], [[0.0, 1.0], [-1.0, 2.0]], [[0, 1], [2, 0]])
    for weight, value in zip(prior.trainable_variables, values, strict=True):
        weight.assign(value)
    z = np.random.default_rng(0).normal(size=(20, 2))
    expected = np.ones(20)
    for d, (locs, logs, logits) in enumerate(zip(*values, strict=True)):
        shares = np.exp(logits) / np.sum(np.exp(logits))
        parts = scipy.stats.norm(locs, np.exp(np.divide(logs, 2)))
        expected *= parts.pdf(z[:, [d]]) @ shares
    np.testing.assert_allclose(prior.distribution.prob(z), expected, rtol=1e-10)


@pytest.mark.parametrize("scalar", [True, False])
def test_samples_of_a_reparameterised_mixture_are_those_of_tfp(scalar: bool) -> None:
    rng = np.random.default_rng(0)
    parameters = [tf.constant(rng.normal(size=n)) for n in ([3, 2], [3, 2], [3])]
    if scalar:
        parameters[2] = tf.constant(rng.normal(size=[3, 2]))
    results: list[Any] = []
    upstream = tf.constant(rng.normal(size=[50, 3] if scalar else [50, 2]))
    for family in (tfd.MixtureSameFamily, ReparameterisedMixture):
        with tf.GradientTape() as tape:
            tape.watch(parameters)
            locs, logs, logits = parameters
            parts = tfd.Normal(locs, tf.exp(logs))
            parts = parts if scalar else tfd.Independent(parts, 1)
            mixture = family(tfd.Categorical(logits), parts, reparameterize=True)
            z = mixture.sample(50, seed=[0, 1])
        results.append([z, *tape.gradient(z, parameters, upstream)])
    for theirs, ours in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)
        assert np.any(ours != 0)


def test_subspaces_lie_where_their_dimensions_say() -> None:
    prior = IndependentSubspacesPrior([(3, 0), (4,), (2, 1)], 5.0, dtype="float64")
    parts = {
        dims: scipy.stats.multivariate_t(np.zeros(len(dims)), np.eye(len(dims)), 5)
        for dims in ((3, 0), (4,), (2, 1))
    }
    z = np.random.default_rng(0).normal(size=(20, 5)) * [1, 2, 3, 4, 5]
    expected = sum(t.logpdf(z[:, list(dims)]) for dims, t in parts.items())
    np.testing.assert_allclose(prior.distribution.log_prob(z), expected, rtol=1e-10)
    # Samples: magnitudes go together within a group, and are independent between.
    logs = np.log(np.abs(prior.distribution.sample(20_000, seed=[0, 1])))
    logs -= logs.mean(0)
    products = logs[:, :, None] * logs[:, None]
    for i, j in itertools.combinations(range(5), 2):
        if any({i, j} <= set(dims) for dims in parts):
            # Half the logarithm of the same chi-square: trigamma(5/2) / 4.
            shared = scipy.special.polygamma(1, 2.5) / 4
            assert_mean_close(products[:, i, j], shared)
            assert shared > 10 * products[:, i, j].std() / 20_000**0.5
        else:
            assert_mean_close(products[:, i, j], 0.0)


def test_subspaces_have_five_degrees_of_freedom_unless_told() -> None:
    assert IndependentSubspacesPrior([(0, 1)]).get_config()["df"] == 5.0


def test_subspaces_are_the_same_from_every_side_and_not_across_groups() -> None:
    density = IndependentSubspacesPrior([(0, 2), (1,)], 5.0, dtype="float64")
    z = np.random.default_rng(0).normal(size=(20, 3))
    turns = {}
    for pair in ((0, 2), (0, 1)):
        rotation = np.eye(3)
        rotation[np.ix_(pair, pair)] = [[0.6, -0.8], [0.8, 0.6]]
        turned = density.distribution.log_prob(z @ rotation)
        turns[pair] = np.abs(turned - density.distribution.log_prob(z)).max()
    assert turns[0, 2] < 1e-12
    assert turns[0, 1] > 0.05


def test_prior_is_abstract() -> None:
    assert inspect.isabstract(Prior)


def test_as_prior() -> None:
    prior = NormalPrior(2)
    assert as_prior(prior) is prior
    distribution = tfd.MultivariateNormalDiag(tf.zeros(2))
    wrapped = as_prior(distribution)
    assert isinstance(wrapped, FixedPrior)
    assert wrapped.distribution is distribution
    with pytest.raises(InputError, match="received ndarray"):
        as_prior(np.zeros(2))


VARIABLE = partial(tfd.MultivariateNormalDiag, scale_diag=[1.0, 1.0])
MIXTURE: Any = NormalMixturePrior
SUBSPACES: Any = IndependentSubspacesPrior
BAD: dict[str, tuple[str, Callable[[], Any]]] = {
    "slab latent_dim 0": ("SpikeAndSlabPrior: latent_", lambda: SpikeAndSlabPrior(0)),
    "t latent_dim 0": ("StudentTPrior: latent_dim", lambda: StudentTPrior(0, 5.0)),
    **{
        f"latent_dim {value!r}": (
            f"NormalPrior: latent_dim must be a whole number >= 1; received {value!r}",
            partial(NormalPrior, value),
        )
        for value in (0, -1, 1.5, 2.0, True, "2", None, [2], float("nan"))
    },
    "latent_dim 10^15": (
        "of memory that are available; choose smaller sizes",
        lambda: NormalPrior(10**15),
    ),
    **{
        f"variances {values!r}": ("must be 2 positive", partial(NormalPrior, 2, values))
        for values in (
            [1.0, -1.0],
            [1.0, np.inf],
            [1.0, 1e39],
            [1.0, 1e-46],
            [[1.0, 1.0]],
            [[1.0], 1.0],
            [True, True],
            [1j, 1.0],
            ["1", "1"],
            "11",
            1.0,
            [None, 1.0],
            [],
        )
    },
    "count": ("must be 2 positive", lambda: NormalPrior(2, variances=[1.0])),
    "zero": ("must be 2 positive", lambda: NormalPrior(2, variances=[1.0, 0.0])),
    "nan": ("must be 2 positive", lambda: NormalPrior(2, [1.0, float("nan")])),
    "not learnt": ("pass learnable=True", lambda: NormalPrior(2, fixed_total=True)),
    "total": (
        "must sum to latent_dim=2; received 3",
        lambda: NormalPrior(2, [1.0, 2.0], learnable=True, fixed_total=True),
    ),
    "df 0": ("df must be > 0", lambda: StudentTPrior(2, 0.0)),
    "df nan": ("df must be > 0", lambda: StudentTPrior(2, float("nan"))),
    **{
        f"df {df!r}": (
            "StudentTPrior: df must be > 0 and finite in float32; received",
            partial(StudentTPrior, 2, df),
        )
        for df in (-1.0, -np.inf, 1e39, 1e-46, 10**400, "5", None, [5.0], True)
    },
    "rank": ("finite matrix", lambda: MIXTURE(np.zeros(2), 0.1)),
    "ragged": ("finite matrix", lambda: MIXTURE([[0.0, 1.0], [0.0]], 0.1)),
    "nan loc": ("finite matrix", lambda: MIXTURE([[np.nan, 0]], 0.1)),
    "too large": ("finite matrix", lambda: MIXTURE([[1e39, 0]], 0.1)),
    "text": ("finite matrix", lambda: MIXTURE([["a", "b"]], 0.1)),
    "no locs": ("finite matrix", lambda: MIXTURE(None, 0.1)),
    **{
        f"variance {value!r}": (
            "NormalMixturePrior: variance must be > 0",
            partial(MIXTURE, MODES, value),
        )
        for value in (-1.0, np.nan, 1e-60, "1", None, [0.1])
    },
    "empty": ("finite matrix", lambda: MIXTURE([], 0.1)),
    "infinite": ("finite matrix", lambda: MIXTURE([[np.inf, 0]], 0.1)),
    "variance 0": ("variance must be > 0", lambda: MIXTURE(MODES, 0.0)),
    "weights": (
        "4 positive numbers",
        lambda: MIXTURE(MODES, 0.1, [1.0, 1.0]),
    ),
    "weight 0": (
        "4 positive numbers",
        lambda: MIXTURE(MODES, 0.1, [1.0, 1.0, 1.0, 0.0]),
    ),
    "weight inf": (
        "4 positive numbers",
        lambda: MIXTURE(MODES, 0.1, [1.0, 1.0, 1.0, np.inf]),
    ),
    **{
        f"weights {values!r}": (
            "NormalMixturePrior: weights must sum to 1; received",
            partial(MIXTURE, MODES, 0.1, values),
        )
        for values in ([1.0] * 4, [0.2] * 4, [0.3333, 0.3333, 0.3333, 1e-6])
    },
    **{
        f"weights {values!r}": (
            "4 positive numbers",
            partial(MIXTURE, MODES, 1, values),
        )
        for values in (
            [0.5, 0.6, -0.1, 0.0],
            [np.nan, 0.5, 0.25, 0.25],
            [[0.25] * 4],
            [0.5, [0.5], 0.0, 0.0],
            "abcd",
            0.25,
            [],
        )
    },
    **{
        f"gamma {value!r}": (
            "SpikeAndSlabPrior: gamma must lie in [0, 1]",
            partial(SpikeAndSlabPrior, 2, value),
        )
        for value in (np.nan, np.inf, "0.5", None, [0.5], True)
    },
    **{
        f"spike {value!r}": (
            "spike_variance must be > 0",
            partial(SpikeAndSlabPrior, 2, 0.8, value),
        )
        for value in (-1.0, np.nan, np.inf, 1e-60, "0.1", None)
    },
    **{
        f"components {value!r}": (
            "FactorisedMixturePrior: num_components must be a whole number >= 1",
            partial(FactorisedMixturePrior, 2, value),
        )
        for value in (0, 1.5, True, None)
    },
    "components 10^15": (
        "of memory that are available; choose smaller sizes",
        lambda: FactorisedMixturePrior(2, 10**15),
    ),
    **{
        f"groups {groups!r}": (
            "IndependentSubspacesPrior: groups must hold each of the dimensions",
            partial(IndependentSubspacesPrior, groups),
        )
        for groups in (
            [(0, 1), (1,)],
            [(0, 1), (3,)],
            [(0, 1), ()],
            [(1, 2)],
            [(0, 0)],
        )
    },
    **{
        f"groups {groups!r}": (
            "groups must be sequences of",
            partial(SUBSPACES, groups),
        )
        for groups in (None, 3, [1, 2], [range(10**30)])
    },
    **{
        f"groups {groups!r}": (message, partial(SUBSPACES, groups))
        for groups, message in (
            ([], "IndependentSubspacesPrior: latent_dim must be"),
            ([()], "IndependentSubspacesPrior: latent_dim must be"),
            ([(0, -1)], "a dimension must be a whole number >= 0; received -1"),
            ([(0, 1.0)], "a dimension must be a whole number >= 0; received 1.0"),
            (["01"], "a dimension must be a whole number >= 0; received '0'"),
            ([range(10**16)], "of memory that are available"),
        )
    },
    **{
        f"subspaces df {df!r}": (
            "IndependentSubspacesPrior: df must be > 0",
            partial(SUBSPACES, [(0, 1)], df),
        )
        for df in (0.0, -1.0, np.nan, -np.inf, "5", None)
    },
    "no distribution": ("expected a distribution", lambda: FixedPrior(3.0)),
    "gamma -0.1": ("must lie in [0, 1]", lambda: SpikeAndSlabPrior(2, gamma=-0.1)),
    "gamma 1.1": ("must lie in [0, 1]", lambda: SpikeAndSlabPrior(2, gamma=1.1)),
    "spike": (
        "spike_variance must be > 0",
        lambda: SpikeAndSlabPrior(2, spike_variance=0.0),
    ),
    "batch shape": (
        "wrap it in tfd.Independent",
        lambda: FixedPrior(tfd.Normal([0.0, 0.0], 1.0)),
    ),
    "scalar event": (
        "wrap it in tfd.Independent",
        lambda: FixedPrior(tfd.Normal(0.0, 1.0)),
    ),
    "variable": (
        "subclass tf_decomp.Prior",
        lambda: FixedPrior(VARIABLE(tf.Variable([0.0, 0.0]))),
    ),
    "nested variable": (
        "subclass tf_decomp.Prior",
        lambda: FixedPrior(
            tfd.Independent(tfd.Normal(tf.Variable([0.0, 0.0]), 1.0), 1)
        ),
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_arguments(name: str) -> None:
    message, make = BAD[name]
    with pytest.raises(InputError) as raised:
        make()
    one_line(raised, message)


# -- PCA variances ----------------------------------------------------------------


def test_pca_variances_follow_the_covariance() -> None:
    rng = np.random.default_rng(0)
    rotation = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    x = 50 + (rng.normal(size=(500, 6)) * [5, 4, 3, 2, 1, 0.5]) @ rotation
    eigenvalues = np.sort(np.linalg.eigvalsh(np.cov(x.T)))[::-1]
    expected = eigenvalues[:3] / eigenvalues[:3].mean()
    got = pca_variances(x.reshape(500, 2, 3), 3)
    np.testing.assert_allclose(got, expected, rtol=1e-5)
    assert got.mean() == pytest.approx(1.0, abs=1e-12)
    NormalPrior(3, got, learnable=True, fixed_total=True)


def test_pca_variances_of_more_pixels_than_examples() -> None:
    x = np.random.default_rng(0).normal(size=(20, 100)) * np.linspace(1, 3, 100)
    eigenvalues = np.sort(np.linalg.eigvalsh(np.cov(x.T)))[::-1][:4]
    expected = eigenvalues / eigenvalues.mean()
    np.testing.assert_allclose(pca_variances(x, 4), expected, rtol=1e-5)


def test_pca_variances_of_integers_and_of_a_seeded_subset() -> None:
    x = np.random.default_rng(0).integers(0, 255, size=(400, 5)).astype("uint8")
    np.testing.assert_allclose(pca_variances(x, 2), pca_variances(x / 1.0, 2), 1e-6)
    subset = pca_variances(x, 2, max_examples=100, seed=1)
    np.testing.assert_array_equal(subset, pca_variances(x, 2, 100, 1))
    assert not np.allclose(subset, pca_variances(x, 2, max_examples=100, seed=2))


def test_pca_variances_need_directions() -> None:
    x = np.random.default_rng(0).normal(size=(50, 3))
    for data in (x, x[:4], np.concatenate([x, x], 1)):
        with pytest.raises(InputError, match="more directions"):
            pca_variances(data, 4)


@pytest.mark.parametrize(
    ("message", "x", "latent_dim"),
    [
        ("must be finite", np.array([[1.0, np.nan], [0.0, 1.0], [2.0, 2.0]]), 1),
        ("must be finite", np.array([[1.0, np.inf], [0.0, 1.0], [2.0, 2.0]]), 1),
        ("must be finite", np.array([[1.0, 1e30], [0.0, 1.0], [2.0, 2.0]]), 1),
        ("more directions", np.ones([1, 3]), 1),
        ("more directions", np.ones([5, 3]), 1),
        ("an array of numbers", np.ones([0, 3]), 1),
        ("an array of numbers", np.ones(5), 1),
        ("an array of numbers", [[1.0, 2.0], [3.0]], 1),
        ("an array of numbers", np.array([["a", "b"]]), 1),
        ("an array of numbers", np.ones([5, 3], complex), 1),
        ("latent_dim must be a whole", np.eye(5), 0),
        ("latent_dim must be a whole", np.eye(5), 1.5),
        ("latent_dim must be a whole", np.eye(5), True),
    ],
)
def test_pca_variances_of_bad_arguments(message: str, x: Any, latent_dim: Any) -> None:
    with pytest.raises(InputError, match=message) as raised:
        pca_variances(x, latent_dim)
    assert "\n" not in str(raised.value)


def test_numpy_s_numbers_are_numbers() -> None:
    prior = NormalPrior(np.int64(2), np.array([1, 2]))
    assert prior.get_config()["variances"] == [1.0, 2.0]
    assert type(prior.get_config()["latent_dim"]) is int
    assert StudentTPrior(2, np.float32(5)).get_config()["df"] == 5.0
    assert StudentTPrior(2, np.float32("inf")).get_config()["df"] == np.inf
    assert NormalPrior(2, [1.0, 1e39], dtype="float64").latent_dim == 2
