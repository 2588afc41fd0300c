# SPDX-License-Identifier: Apache-2.0
"""What the flags offer by name: priors, posteriors, likelihoods and divergences.

A new one is its class, a row here and a case of the tests: flags, checks, models and
reports read these tables.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import keras
import numpy as np

from tf_decomp.divergences import (
    AdversarialDivergence,
    KLCapacity,
    TotalCorrelation,
)
from tf_decomp.errors import InputError
from tf_decomp.priors import (
    FactorisedMixturePrior,
    FlowPrior,
    HierarchicalPrior,
    IndependentSubspacesPrior,
    LpNestedPrior,
    NormalMixturePrior,
    NormalPrior,
    SpikeAndSlabPrior,
    StudentTPrior,
    TreeMixturePrior,
    VampPrior,
    pca_variances,
)

# Section 6.2: one mode on each half-axis.
MIXTURE_LOCS = ((0, 1), (0, -1), (1, 0), (-1, 0))


class Choice(NamedTuple):
    """A row of a table.

    Attributes:
        title: What a report calls it within a sentence; {names} are settings.
        build: Takes an ExperimentConfig, examples of the training data [n, *data_shape]
            or None, and how many of them there are in all, or None. Returns a prior, or
            what a network takes as its posterior or likelihood, or what
            DecompositionVAE takes as its divergence. None: its name is what they take.
        short: What a heading calls it, where that is not its name.
        settings: The settings that it uses and others of its table do not.
        latent_dim: The only number of latent dimensions that it has, or None.
        least_latent_dim: The smallest that it can have.
        takes_data: Whether `build` needs the examples.
        unit: Of its values, for divergences.
        least_batch: The smallest batch of which there is such a divergence.
        batch_per_dimension: Or the smallest for each latent dimension.
    """

    title: str
    build: Callable[[Any, np.ndarray | None, int | None], Any] | None = None
    short: str = ""
    settings: tuple[str, ...] = ()
    latent_dim: int | None = None
    least_latent_dim: int = 1
    takes_data: bool = False
    unit: str = "nats"
    least_batch: int = 1
    batch_per_dimension: int = 0


def _normal_pca(config: Any, x: np.ndarray | None, _: int | None) -> NormalPrior:
    if x is None:
        raise InputError("prior=normal_pca takes its variances from data; pass x")
    variances = pca_variances(x, config.latent_dim, seed=config.seed)
    return NormalPrior(config.latent_dim, variances)


def _subspaces(config: Any) -> list[list[int]]:
    ends = np.cumsum(config.subspaces)
    groups = np.split(np.arange(config.latent_dim), ends[:-1])
    return [group.tolist() for group in groups]


def _tree_mixture(config: Any, *_: Any) -> TreeMixturePrior:
    ratio, levels = config.radius_ratio, len(config.branching)
    radii = [ratio**level for level in range(levels)]
    variance = ratio ** (2 * levels)
    return TreeMixturePrior(config.latent_dim, config.branching, radii, variance)


def _normal_mixture_learnt(config: Any, *_: Any) -> NormalMixturePrior:
    """With modes of variance 1/4 that, taken over seeds, make a standard normal."""
    shape = (config.num_modes, config.latent_dim)
    locs = np.random.default_rng(config.seed).normal(0, 0.75**0.5, shape)
    return NormalMixturePrior(locs.tolist(), 0.25, learnable=True)


def _vamp(config: Any, x: np.ndarray | None, _: int | None) -> VampPrior:
    if x is None:
        raise InputError("prior=vamp takes its pseudo-inputs from data; pass x")
    count = config.num_pseudo_inputs
    if count > len(x):
        raise InputError(
            f"num_pseudo_inputs={count} is more than the {len(x)} examples from which "
            "they are taken; lower it"
        )
    rows = np.random.default_rng(config.seed).choice(len(x), count, replace=False)
    return VampPrior(config.latent_dim, x[np.sort(rows)])


def _halves(config: Any, *_: Any) -> HierarchicalPrior:
    middle = config.latent_dim // 2
    groups = {
        "first": range(middle),
        "second": range(middle, config.latent_dim),
    }
    return HierarchicalPrior(groups, {"second": ["first"]}, config.prior_hidden)


def _total_correlation(
    sampling: str, config: Any, x: np.ndarray | None, num_data: int | None
) -> TotalCorrelation:
    if num_data is None:
        raise InputError(
            f"divergence={config.divergence} needs the number of training data; pass "
            "num_data"
        )
    return TotalCorrelation(num_data, sampling)


def _adversarial(reference: str, config: Any, *_: Any) -> AdversarialDivergence:
    return AdversarialDivergence(
        config.latent_dim,
        reference,
        config.adversary_hidden,
        keras.optimizers.Adam(config.adversary_learning_rate, 0.5, 0.9),
    )


PRIORS = {
    "normal": Choice(
        "a standard normal prior", lambda config, *_: NormalPrior(config.latent_dim)
    ),
    "normal_pca": Choice(
        "a normal prior with variances from the data's principal components",
        _normal_pca,
        "normal (principal components)",
        takes_data=True,
    ),
    "normal_learnt": Choice(
        "a normal prior with learnt variances",
        lambda config, *_: NormalPrior(config.latent_dim, learnable=True),
        "learnt normal",
    ),
    "normal_learnt_fixed_total": Choice(
        "a normal prior with learnt variances of fixed total",
        lambda config, *_: NormalPrior(
            config.latent_dim, learnable=True, fixed_total=True
        ),
        "learnt normal (fixed total)",
    ),
    "student_t": Choice(
        "independent Student-t priors with {df} degrees of freedom",
        lambda config, *_: StudentTPrior(config.latent_dim, config.df),
        "Student-t",
        ("df",),
    ),
    "independent_subspaces": Choice(
        "a prior of independent groups of {subspaces} dimensions, each with a "
        "multivariate Student-t with {df} degrees of freedom",
        lambda config, *_: IndependentSubspacesPrior(_subspaces(config), config.df),
        "independent-subspaces",
        ("df", "subspaces"),
    ),
    "lp_nested": Choice(
        "an L^p-nested prior of independent groups of {subspaces} dimensions (with "
        "exponents {outer_exponent} and, within groups, {group_exponent})",
        lambda config, *_: LpNestedPrior(
            _subspaces(config), config.outer_exponent, config.group_exponent
        ),
        "L^p-nested",
        ("subspaces", "outer_exponent", "group_exponent"),
    ),
    "normal_mixture": Choice(
        "a mixture of four normals with variance {mixture_variance} as the prior",
        lambda config, *_: NormalMixturePrior(MIXTURE_LOCS, config.mixture_variance),
        "normal-mixture",
        ("mixture_variance",),
        latent_dim=2,
    ),
    "tree_mixture": Choice(
        "a tree of normals (clusters within clusters, {branching} a level, each level "
        "{radius_ratio} times the size of the one above) as the prior",
        _tree_mixture,
        "tree-mixture",
        ("branching", "radius_ratio"),
    ),
    "normal_mixture_learnt": Choice(
        "a mixture of {num_modes} normals with learnt means, variances and weights as "
        "the prior",
        _normal_mixture_learnt,
        "learnt normal-mixture",
        ("num_modes",),
    ),
    "factorised_mixture": Choice(
        "a prior of independent dimensions, each a learnt mixture of {num_modes} "
        "normals",
        lambda config, *_: FactorisedMixturePrior(config.latent_dim, config.num_modes),
        "factorised-mixture",
        ("num_modes",),
    ),
    "spike_and_slab": Choice(
        "a spike-and-slab prior (weight {gamma} on a spike with variance "
        "{spike_variance})",
        lambda config, *_: SpikeAndSlabPrior(
            config.latent_dim, config.gamma, config.spike_variance
        ),
        "spike-and-slab",
        ("gamma", "spike_variance"),
    ),
    "vamp": Choice(
        "a VampPrior (a mixture of the encodings of {num_pseudo_inputs} learnt "
        "pseudo-inputs)",
        _vamp,
        "Vamp",
        ("num_pseudo_inputs",),
        takes_data=True,
    ),
    "flow": Choice(
        "a normalising-flow prior of {num_couplings} affine couplings",
        lambda config, *_: FlowPrior(
            config.latent_dim, config.num_couplings, config.prior_hidden
        ),
        "normalising-flow",
        ("num_couplings", "prior_hidden"),
        least_latent_dim=2,
    ),
    "hierarchical": Choice(
        "a hierarchical prior (the second half of the dimensions is normal given the "
        "first)",
        _halves,
        settings=("prior_hidden",),
        least_latent_dim=2,
    ),
}
POSTERIORS = {
    "normal": Choice("normal"),
    "laplace": Choice("Laplace"),
    "full_covariance_normal": Choice("full-covariance normal"),
    "flow": Choice(
        "normalising-flow ({posterior_num_couplings} couplings)",
        settings=("posterior_num_couplings", "posterior_units"),
        least_latent_dim=2,
    ),
}
LIKELIHOODS = {
    "normal": Choice("normal"),
    "laplace": Choice("Laplace"),
    "bernoulli": Choice("Bernoulli"),
    "continuous_bernoulli": Choice("continuous Bernoulli"),
    "poisson": Choice("Poisson"),
    "negative_binomial": Choice("negative binomial"),
    "categorical": Choice(
        "categorical ({num_classes} classes)", settings=("num_classes",)
    ),
}
DIVERGENCES = {
    "none": Choice("none", lambda config, *_: None),
    "inclusive_kl": Choice("the inclusive KL(p(z) ‖ q(z))"),
    "dimensionwise_mmd": Choice("the dimension-wise MMD of q(z) and p(z)", unit=""),
    "joint_mmd": Choice("the joint MMD of q(z) and p(z)", unit="", least_batch=2),
    "sliced_wasserstein": Choice(
        "the squared sliced Wasserstein distance of q(z) and p(z)", unit=""
    ),
    "dip_vae_i": Choice(
        "the distance of the covariance of the encodings' means from the identity",
        unit="",
        least_batch=2,
    ),
    "dip_vae_ii": Choice(
        "the distance of the covariance of q(z) from the identity",
        unit="",
        least_batch=2,
    ),
    "hausdorff_support": Choice(
        "the Hausdorff distance of pairs of dimensions from a factorised support",
        unit="",
        least_batch=2,
    ),
    "total_correlation_weighted": Choice(
        "the total correlation of q(z), by minibatch-weighted sampling, which adds "
        "(latent_dim - 1) log N",
        partial(_total_correlation, "weighted"),
        least_batch=2,
    ),
    "total_correlation_stratified": Choice(
        "the total correlation of q(z), by minibatch-stratified sampling",
        partial(_total_correlation, "stratified"),
        least_batch=2,
    ),
    "adversarial_kl": Choice(
        "KL(q(z) ‖ p(z)) by an adversary's density ratio",
        partial(_adversarial, "prior"),
        settings=("adversary_hidden", "adversary_learning_rate"),
    ),
    "adversarial_total_correlation": Choice(
        "the total correlation of q(z) by an adversary's density ratio",
        partial(_adversarial, "marginals"),
        settings=("adversary_hidden", "adversary_learning_rate"),
        batch_per_dimension=1,
    ),
    "kl_capacity": Choice(
        "the distance of the mean KL from a capacity of {capacity} nats",
        lambda config, *_: KLCapacity(config.capacity),
        settings=("capacity", "capacity_epochs"),
    ),
}


class Objective(NamedTuple):
    """An objective of the literature that is (7) with certain settings.

    Attributes:
        title: What its authors call it.
        source: Where it is from.
        settings: The divergence, which makes it what it is, alpha, beta and others.
    """

    title: str
    source: str
    settings: dict[str, Any]


OBJECTIVES = {
    "beta_vae": Objective(
        "beta-VAE",
        "Higgins et al. 2017",
        {"divergence": "none", "alpha": 0.0, "beta": 4.0},
    ),
    # Their gamma is alpha.
    "annealed_vae": Objective(
        "annealed VAE",
        "Burgess et al. 2018",
        {
            "divergence": "kl_capacity",
            "alpha": 1000.0,
            "beta": 0.0,
            "capacity": 25.0,
            "capacity_epochs": 10,
        },
    ),
    # Their beta is 1 + alpha.
    "beta_tcvae": Objective(
        "beta-TCVAE",
        "Chen et al. 2018",
        {"divergence": "total_correlation_weighted", "alpha": 5.0, "beta": 1.0},
    ),
    # Their gamma is alpha.
    "factor_vae": Objective(
        "FactorVAE",
        "Kim and Mnih 2018",
        {"divergence": "adversarial_total_correlation", "alpha": 35.0, "beta": 1.0},
    ),
    # Their lambda_od is alpha.
    "dip_vae_i": Objective(
        "DIP-VAE-I",
        "Kumar et al. 2018",
        {"divergence": "dip_vae_i", "alpha": 10.0, "beta": 1.0},
    ),
    "dip_vae_ii": Objective(
        "DIP-VAE-II",
        "Kumar et al. 2018",
        {"divergence": "dip_vae_ii", "alpha": 10.0, "beta": 1.0},
    ),
    # Their alpha is 1 - beta, their lambda alpha + beta.
    "info_vae": Objective(
        "InfoVAE",
        "Zhao et al. 2019",
        {"divergence": "joint_mmd", "alpha": 9.5, "beta": 0.5},
    ),
    # Their lambda is alpha.
    "wae_mmd": Objective(
        "WAE-MMD",
        "Tolstikhin et al. 2018",
        {"divergence": "joint_mmd", "alpha": 10.0, "beta": 0.0},
    ),
}

# By setting.
CHOICES = {
    "prior": PRIORS,
    "posterior": POSTERIORS,
    "likelihood": LIKELIHOODS,
    "divergence": DIVERGENCES,
}
