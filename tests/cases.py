# SPDX-License-Identifier: Apache-2.0
"""The one table of everything that the contract tests run in every setting.

A name is a case; the suite fails when a public name of the modules below has none.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tf_decomp import (
    divergences,
    likelihoods,
    networks,
    posteriors,
    priors,
    sampling,
)
from tf_decomp.divergences import (
    AdversarialDivergence,
    KLCapacity,
    TotalCorrelation,
    dimensionwise_mmd,
    dimensionwise_mmd_divergence,
    dip_vae_i,
    dip_vae_i_divergence,
    dip_vae_ii,
    dip_vae_ii_divergence,
    hausdorff_support,
    hausdorff_support_divergence,
    inclusive_kl,
    inclusive_kl_divergence,
    joint_mmd,
    joint_mmd_divergence,
    kl_divergence,
    sliced_wasserstein,
    sliced_wasserstein_divergence,
)
from tf_decomp.flows import FlowNormal, flow_weights
from tf_decomp.likelihoods import (
    BernoulliLikelihood,
    CategoricalLikelihood,
    ContinuousBernoulliLikelihood,
    LaplaceLikelihood,
    NegativeBinomialLikelihood,
    NormalLikelihood,
    PoissonLikelihood,
)
from tf_decomp.networks import ConvDecoder, ConvEncoder, MLPDecoder, MLPEncoder
from tf_decomp.posteriors import (
    FlowPosterior,
    FullCovarianceNormalPosterior,
    LaplacePosterior,
    NormalPosterior,
)
from tf_decomp.priors import (
    FactorisedMixturePrior,
    FixedPrior,
    FlowPrior,
    HierarchicalPrior,
    IndependentSubspacesPrior,
    LpNestedPrior,
    NormalMixturePrior,
    NormalPrior,
    Prior,
    SpikeAndSlabPrior,
    StudentTPrior,
    TreeMixturePrior,
    VampPrior,
)
from tf_decomp.vae import ConditionalVAE, DecompositionVAE
from tf_decomp.vae.conditional import GivenCondition

tfd = tfp.distributions

LATENT_DIM = 2
DATA_DIM = 3
CONDITION_DIM = 2
CONDITION = [0.5, -1.0]
IMAGE = (8, 8, 2)
MODULES = (priors, sampling, posteriors, likelihoods, networks, divergences)


# -- priors: make(dtype=...) -> Prior ---------------------------------------------


def _fixed_laplace(dtype: str = "float32") -> Prior:
    loc = tf.constant([0.5, -0.5], dtype)
    return FixedPrior(tfd.Independent(tfd.Laplace(loc, tf.ones_like(loc)), 1))


def _fixed_normal_tril(dtype: str = "float32") -> Prior:
    tril = tf.constant([[1.0, 0.0], [0.5, 2.0]], dtype)
    return FixedPrior(tfd.MultivariateNormalTriL(tf.zeros(2, dtype), tril))


def _fixed_mixture(dtype: str = "float32") -> Prior:
    """Distributions within distributions within a distribution."""
    narrow = tfd.Independent(
        tfd.Normal(tf.constant([1.0, 0.0], dtype), tf.constant(0.5, dtype)), 1
    )
    wide = tfd.MultivariateNormalDiag(tf.zeros(2, dtype), 3 * tf.ones(2, dtype))
    choice = tfd.Categorical(probs=tf.constant([0.3, 0.7], dtype))
    return FixedPrior(tfd.Mixture(choice, [narrow, wide]))


def case_encoder(dtype: str = "float32") -> keras.Model:
    """Returns an encoder of numbers of a type, always with the same weights."""
    kernel = np.random.default_rng(1).normal(0, 0.5, (DATA_DIM, 2 * LATENT_DIM))
    start = keras.initializers.Constant(kernel)
    layers = [
        keras.Input((DATA_DIM,), dtype=dtype),
        keras.layers.Dense(2 * LATENT_DIM, kernel_initializer=start, dtype=dtype),
        NormalPosterior(LATENT_DIM, dtype=dtype),
    ]
    return keras.Sequential(layers)


PSEUDO_INPUTS = np.random.default_rng(0).normal(size=(3, DATA_DIM))


def _vamp(dtype: str = "float32") -> Prior:
    prior = VampPrior(LATENT_DIM, PSEUDO_INPUTS, dtype=dtype)
    prior.connect(case_encoder(dtype), (DATA_DIM,))
    prior._encoder_id = None  # a test's model may still take it
    return prior


MODES = ((0.0, 1.0), (0.0, -1.0), (1.0, 0.0), (-1.0, 0.0))
PRIORS: dict[str, Callable[..., Prior]] = {
    "normal": partial(NormalPrior, 2),
    "normal_fixed": partial(NormalPrior, 2, variances=[1.5, 0.5]),
    "normal_learnt": partial(NormalPrior, 2, variances=[2.0, 0.7], learnable=True),
    "normal_learnt_fixed_total": partial(
        NormalPrior, 2, variances=[1.4, 0.6], learnable=True, fixed_total=True
    ),
    "student_t": partial(StudentTPrior, 2, df=5.0),
    "student_t_inf": partial(StudentTPrior, 2, df=float("inf")),
    "normal_mixture": partial(NormalMixturePrior, MODES, 0.03),
    "normal_mixture_weighted": partial(
        NormalMixturePrior, [[0.0, 1.0], [2.0, -1.0]], 0.3, weights=[0.25, 0.75]
    ),
    "normal_mixture_learnt": partial(
        NormalMixturePrior,
        [[0.0, 1.0], [2.0, -1.0]],
        0.3,
        weights=[0.25, 0.75],
        learnable=True,
    ),
    "tree_mixture": partial(TreeMixturePrior, 2, [3, 2], [1.0, 0.4], 0.05),
    "factorised_mixture": partial(FactorisedMixturePrior, 2, num_components=3),
    "independent_subspaces": partial(IndependentSubspacesPrior, [(0, 1)], df=5.0),
    "independent_subspaces_inf": partial(
        IndependentSubspacesPrior, [(0, 1)], df=float("inf")
    ),
    "lp_nested": partial(LpNestedPrior, [(0, 1)], 1.5, 3.0),
    "lp_nested_two": partial(LpNestedPrior, [(0, 1)], 2.0, 2.0),
    "spike_and_slab": partial(SpikeAndSlabPrior, 2),
    "slab": partial(SpikeAndSlabPrior, 2, gamma=0.0),
    "spike": partial(SpikeAndSlabPrior, 2, gamma=1.0),
    "vamp": _vamp,
    "flow": partial(FlowPrior, 2, num_couplings=2, hidden=(3,)),
    "hierarchical": partial(
        HierarchicalPrior, {"a": [1], "b": [0]}, {"b": ["a"]}, hidden=(3,)
    ),
    "fixed_laplace": _fixed_laplace,
    "fixed_normal_tril": _fixed_normal_tril,
    "fixed_mixture": _fixed_mixture,
}
LEARNT_PRIORS = (
    "normal_learnt",
    "normal_learnt_fixed_total",
    "normal_mixture_learnt",
    "factorised_mixture",
    "vamp",
    "flow",
    "hierarchical",
)
# The seed alone does not fix their samples' gradients, which are right in expectation.
IMPLICIT_PRIORS = ("normal_mixture_learnt", "factorised_mixture")


# -- heads: make(dtype=...) -> layer of parameters --------------------------------

POSTERIORS: dict[str, Callable[..., Any]] = {
    "normal": partial(NormalPosterior, LATENT_DIM),
    "laplace": partial(LaplacePosterior, LATENT_DIM),
    "full_covariance_normal": partial(FullCovarianceNormalPosterior, LATENT_DIM),
    "flow": partial(FlowPosterior, LATENT_DIM),
}
LIKELIHOODS: dict[str, Callable[..., Any]] = {
    "bernoulli": partial(BernoulliLikelihood, IMAGE),
    "normal": partial(NormalLikelihood, [DATA_DIM]),
    "normal_fixed": partial(NormalLikelihood, IMAGE, scale=0.5),
    "laplace": partial(LaplaceLikelihood, IMAGE),
    "laplace_fixed": partial(LaplaceLikelihood, [DATA_DIM], scale=0.1),
    "normal_missing": partial(NormalLikelihood, [DATA_DIM], missing=True),
    "continuous_bernoulli": partial(ContinuousBernoulliLikelihood, IMAGE),
    "poisson": partial(PoissonLikelihood, [DATA_DIM]),
    "negative_binomial": partial(NegativeBinomialLikelihood, IMAGE),
    "categorical": partial(CategoricalLikelihood, IMAGE, num_classes=3),
}


def head_parameters(head: Any, batch: int, seed: int = 0) -> np.ndarray:
    """Returns network outputs [batch, ...] that the head takes."""
    if hasattr(head, "data_shape"):
        *sides, last = head.data_shape
        shape = (*sides, last * head.params_per_value)
    else:
        shape = (head.params_size(head.latent_dim),)
    return np.random.default_rng(seed).normal(size=(batch, *shape))


# -- networks: make() -> (model, shape of one input) ------------------------------

Input, Dense = keras.Input, keras.layers.Dense


def functional_encoder() -> keras.Model:
    inputs = Input((DATA_DIM,))
    hidden = Dense(4, "tanh")(inputs)
    joined = keras.layers.Concatenate()([inputs, hidden])
    params = Dense(NormalPosterior.params_size(LATENT_DIM))(joined)
    return keras.Model(inputs, NormalPosterior(LATENT_DIM)(params))


def functional_image_encoder() -> keras.Model:
    inputs = Input(IMAGE)
    hidden = keras.layers.Conv2D(3, 3, 2, "same", activation="relu")(inputs)
    flat = keras.layers.Flatten()(keras.layers.BatchNormalization()(hidden))
    params = Dense(LaplacePosterior.params_size(LATENT_DIM))(flat)
    return keras.Model(inputs, LaplacePosterior(LATENT_DIM)(params))


def sequential_encoder() -> keras.Model:
    """One whose input is not known when it is made."""
    units = NormalPosterior.params_size(LATENT_DIM)
    return keras.Sequential([Dense(4), Dense(units), NormalPosterior(LATENT_DIM)])


def given_encoder() -> keras.Model:
    return GivenCondition(MLPEncoder(LATENT_DIM, hidden=(4,)), CONDITION)


def given_image_encoder() -> keras.Model:
    encoder = ConvEncoder(LATENT_DIM, filters=(2, 3), hidden=(4,))
    return GivenCondition(encoder, CONDITION)


def given_decoder() -> keras.Model:
    return GivenCondition(MLPDecoder(DATA_DIM, hidden=(4,)), CONDITION)


def wrapped_encoder() -> keras.Model:
    inputs = Input((DATA_DIM,))
    encoder = MLPEncoder(LATENT_DIM, hidden=(4,))
    return keras.Model(inputs, encoder(keras.layers.LayerNormalization()(inputs)))


def functional_decoder() -> keras.Model:
    inputs, head = Input((LATENT_DIM,)), NormalLikelihood([DATA_DIM])
    return keras.Model(inputs, head(Dense(head.params_size())(inputs)))


def functional_image_decoder() -> keras.Model:
    inputs = Input((LATENT_DIM,))
    small = keras.layers.Reshape((4, 4, 2))(Dense(32, "relu")(inputs))
    logits = keras.layers.Conv2DTranspose(IMAGE[-1], 4, 2, "same")(small)
    return keras.Model(inputs, BernoulliLikelihood(IMAGE)(logits))


def sequential_decoder() -> keras.Model:
    head = LaplaceLikelihood([DATA_DIM], scale=0.3)
    layers = [Input((LATENT_DIM,)), Dense(4, "relu"), Dense(head.params_size()), head]
    return keras.Sequential(layers)


ENCODERS: dict[str, tuple[Callable[..., Any], tuple[int, ...]]] = {
    "mlp": (partial(MLPEncoder, LATENT_DIM, hidden=(4,)), (DATA_DIM,)),
    "mlp_deep_laplace": (
        partial(MLPEncoder, LATENT_DIM, hidden=(4, 3), posterior="laplace"),
        (DATA_DIM,),
    ),
    "mlp_full_covariance": (
        partial(
            MLPEncoder, LATENT_DIM, hidden=(4,), posterior="full_covariance_normal"
        ),
        (DATA_DIM,),
    ),
    "mlp_flow": (
        partial(
            MLPEncoder,
            LATENT_DIM,
            hidden=(4,),
            posterior="flow",
            posterior_settings={"num_couplings": 3, "units": 2},
        ),
        (DATA_DIM,),
    ),
    "mlp_missing": (
        partial(MLPEncoder, LATENT_DIM, hidden=(4,), missing=True),
        (DATA_DIM,),
    ),
    "conv_missing": (
        partial(ConvEncoder, LATENT_DIM, filters=(2, 3), hidden=(4,), missing=True),
        IMAGE,
    ),
    "mlp_linear": (partial(MLPEncoder, LATENT_DIM, hidden=()), (DATA_DIM,)),
    "functional": (functional_encoder, (DATA_DIM,)),
    "functional_image": (functional_image_encoder, IMAGE),
    "sequential": (sequential_encoder, (DATA_DIM,)),
    "wrapped": (wrapped_encoder, (DATA_DIM,)),
    "given_condition": (given_encoder, (DATA_DIM,)),
    "given_condition_image": (given_image_encoder, IMAGE),
    "conv": (partial(ConvEncoder, LATENT_DIM, filters=(2, 3), hidden=(4,)), IMAGE),
    "conv_batch_norm": (
        partial(
            ConvEncoder,
            LATENT_DIM,
            filters=(2, 3),
            hidden=(),
            batch_norm=True,
            posterior="laplace",
        ),
        IMAGE,
    ),
}
DECODERS: dict[str, tuple[Callable[..., Any], tuple[int, ...]]] = {
    "mlp": (partial(MLPDecoder, DATA_DIM, hidden=(4,)), (DATA_DIM,)),
    "mlp_laplace": (
        partial(MLPDecoder, DATA_DIM, hidden=(4, 3), likelihood="laplace"),
        (DATA_DIM,),
    ),
    "mlp_bernoulli": (
        partial(MLPDecoder, DATA_DIM, hidden=(), likelihood="bernoulli"),
        (DATA_DIM,),
    ),
    "mlp_missing": (
        partial(MLPDecoder, DATA_DIM, hidden=(4,), missing=True),
        (DATA_DIM,),
    ),
    "mlp_poisson": (
        partial(MLPDecoder, DATA_DIM, hidden=(4,), likelihood="poisson"),
        (DATA_DIM,),
    ),
    "mlp_negative_binomial": (
        partial(MLPDecoder, DATA_DIM, hidden=(4,), likelihood="negative_binomial"),
        (DATA_DIM,),
    ),
    "mlp_categorical": (
        partial(
            MLPDecoder, DATA_DIM, hidden=(4,), likelihood="categorical", num_classes=3
        ),
        (DATA_DIM,),
    ),
    "functional": (functional_decoder, (DATA_DIM,)),
    "functional_image": (functional_image_decoder, IMAGE),
    "sequential": (sequential_decoder, (DATA_DIM,)),
    "given_condition": (given_decoder, (DATA_DIM,)),
    "conv": (partial(ConvDecoder, IMAGE, filters=(3, 2), hidden=(4,)), IMAGE),
    "conv_normal": (
        partial(ConvDecoder, IMAGE, filters=(3, 2), likelihood="normal"),
        IMAGE,
    ),
    "conv_continuous_bernoulli": (
        partial(
            ConvDecoder,
            IMAGE,
            filters=(3, 2),
            hidden=(4,),
            likelihood="continuous_bernoulli",
        ),
        IMAGE,
    ),
    "conv_batch_norm": (
        partial(
            ConvDecoder,
            IMAGE,
            filters=(3, 2),
            hidden=(),
            batch_norm=True,
            likelihood="laplace",
        ),
        IMAGE,
    ),
}


# -- posteriors of every structure: parameters, and the distribution of them ------


class Family(NamedTuple):
    """A posterior with batch shape [4] and event shape [2], and its parameters."""

    make: Callable[..., Any]
    parameters: Sequence[np.ndarray]


def _independent(family: type, loc: Any, scale: Any) -> Any:
    return tfd.Independent(family(loc, scale), 1)


def _flow(loc: Any, others: Any) -> Any:
    scale, weights = others[..., :LATENT_DIM], others[..., LATENT_DIM:]
    return FlowNormal(loc, scale, weights, num_couplings=2, units=2)


_LOC = np.array([[0.3, -0.2], [0.9, 0.5], [-1.0, 0.1], [0.2, 1.1]])
_SCALE = np.array([[0.6, 0.7], [0.8, 0.5], [1.1, 0.9], [0.4, 1.3]])
_TRIL = np.array([[[0.7, 0.0], [0.2 * i, 0.5 + 0.1 * i]] for i in range(4)])
_FLOW_WEIGHTS = np.random.default_rng(1).normal(
    0, 0.5, (4, flow_weights(LATENT_DIM, 2, 2))
)
FAMILIES: dict[str, Family] = {
    "multivariate_normal_diag": Family(tfd.MultivariateNormalDiag, [_LOC, _SCALE]),
    "independent_laplace": Family(partial(_independent, tfd.Laplace), [_LOC, _SCALE]),
    "independent_normal_one_scale": Family(
        partial(_independent, tfd.Normal), [_LOC, np.array(0.7)]
    ),
    "multivariate_normal_tril": Family(tfd.MultivariateNormalTriL, [_LOC, _TRIL]),
    "flow": Family(_flow, [_LOC, np.concatenate([_SCALE, _FLOW_WEIGHTS], axis=1)]),
}


def family_posterior(name: str, dtype: str = "float32") -> Any:
    """Returns the posterior of a case of FAMILIES."""
    make, parameters = FAMILIES[name]
    return make(*(tf.constant(p, dtype) for p in parameters))


# -- divergences: call(posterior, prior, latents, prior_samples) ------------------


def _kl(posterior: Any, prior: Any, latents: Any, prior_samples: Any) -> Any:
    return kl_divergence(posterior, prior, latents)


def _inclusive_kl(posterior: Any, prior: Any, latents: Any, prior_samples: Any) -> Any:
    return inclusive_kl(prior_samples, prior, posterior)


def _mmd(posterior: Any, prior: Any, latents: Any, prior_samples: Any) -> Any:
    return dimensionwise_mmd(latents, prior_samples)


def _joint_mmd(posterior: Any, prior: Any, latents: Any, prior_samples: Any) -> Any:
    return joint_mmd(latents, prior_samples)


def _sliced(posterior: Any, prior: Any, latents: Any, prior_samples: Any) -> Any:
    return sliced_wasserstein(latents, prior_samples)


def _support(posterior: Any, prior: Any, latents: Any, prior_samples: Any) -> Any:
    return hausdorff_support(latents)


def _dip_vae(
    function: Any, posterior: Any, prior: Any, latents: Any, prior_samples: Any
) -> Any:
    return function(posterior)


# Of q(z) alone: a prior learns nothing from them.
WITHOUT_PRIOR = ("dip_vae_i", "dip_vae_ii", "hausdorff_support")
WITH_SETTINGS = {
    f"total_correlation_{sampling}": TotalCorrelation(7, sampling)
    for sampling in ("weighted", "stratified")
}


def _adversarial(reference: str) -> AdversarialDivergence:
    start = partial(keras.initializers.GlorotUniform, seed=1)
    layers = [
        keras.Input((LATENT_DIM,)),
        keras.layers.Dense(4, "tanh", kernel_initializer=start()),
        keras.layers.Dense(1, kernel_initializer=start()),
    ]
    network = keras.Sequential(layers)
    return AdversarialDivergence(LATENT_DIM, reference, network, "sgd")


# Those that have weights: a model takes one of its own.
WITH_STATE: dict[str, Callable[[], Any]] = {
    "adversarial_kl": partial(_adversarial, "prior"),
    "adversarial_total_correlation": partial(_adversarial, "marginals"),
    "kl_capacity": partial(KLCapacity, 0.7),
}
# In the calling form, by the name of their flag; call for one.
CALLABLES: dict[str, Callable[[], Any]] = {
    **{
        name: partial(lambda call: call, call)
        for name, call in {**divergences.DIVERGENCES, **WITH_SETTINGS}.items()
    },
    **WITH_STATE,
}
_made = {name: make() for name, make in WITH_STATE.items()}
DIVERGENCES: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "kl_divergence": (kl_divergence, _kl),
    "inclusive_kl": (inclusive_kl, _inclusive_kl),
    "dimensionwise_mmd": (dimensionwise_mmd, _mmd),
    "joint_mmd": (joint_mmd, _joint_mmd),
    "joint_mmd_divergence": (joint_mmd_divergence, joint_mmd_divergence),
    "sliced_wasserstein": (sliced_wasserstein, _sliced),
    "sliced_wasserstein_divergence": (
        sliced_wasserstein_divergence,
        sliced_wasserstein_divergence,
    ),
    **{name: (TotalCorrelation, call) for name, call in WITH_SETTINGS.items()},
    **{name: (type(call), call) for name, call in _made.items()},
    "hausdorff_support": (hausdorff_support, _support),
    "hausdorff_support_divergence": (
        hausdorff_support_divergence,
        hausdorff_support_divergence,
    ),
    "dip_vae_i": (dip_vae_i, partial(_dip_vae, dip_vae_i)),
    "dip_vae_i_divergence": (dip_vae_i_divergence, dip_vae_i_divergence),
    "dip_vae_ii": (dip_vae_ii, partial(_dip_vae, dip_vae_ii)),
    "dip_vae_ii_divergence": (dip_vae_ii_divergence, dip_vae_ii_divergence),
    "inclusive_kl_divergence": (inclusive_kl_divergence, inclusive_kl_divergence),
    "dimensionwise_mmd_divergence": (
        dimensionwise_mmd_divergence,
        dimensionwise_mmd_divergence,
    ),
}

# -- the other public functions: tested by name in one file -----------------------

FUNCTIONS = {
    "Learner": "equation/test_adversarial.py",
    "as_prior": "equation/test_priors.py",
    "batch_first": "equation/test_own_distributions.py",
    "check_points": "equation/test_divergences.py",
    "closed_form_kl": "equation/test_own_distributions.py",
    "count_weights": "equation/test_networks.py",
    "check_support": "vae/test_inputs.py",
    "FillMissing": "equation/test_missing.py",
    "leaves_missing_out": "equation/test_missing.py",
    "class_probabilities": "equation/test_counts_and_classes.py",
    "likelihood_point": "vae/test_inputs.py",
    "one_or_nan": "vae/test_inputs.py",
    "scaled": "vae/test_inputs.py",
    "standard_noise": "equation/test_posteriors.py",
    "Support": "vae/test_inputs.py",
    "support_of": "vae/test_inputs.py",
    "of_tfp": "equation/test_own_distributions.py",
    "LpNested": "equation/test_lp_nested.py",
    "ReparameterisedMixture": "equation/test_priors.py",
    "pca_variances": "equation/test_priors.py",
    "aggregate_log_prob": "equation/test_divergences.py",
    "aggregate_posterior": "equation/test_posteriors.py",
    "draw_noise": "equation/test_posteriors.py",
    "join": "equation/test_posteriors.py",
    "location_scale": "equation/test_posteriors.py",
    "LocationScale": "equation/test_posteriors.py",
    "plain": "equation/test_posteriors.py",
    "positive_scale": "equation/test_posteriors.py",
    "sample_with": "equation/test_posteriors.py",
    "stateless_seed": "equation/test_posteriors.py",
    "Conv2DTranspose": "equation/test_networks_upsampling.py",
}
ABSTRACT = {"Prior"}


# -- models -----------------------------------------------------------------------


@keras.saving.register_keras_serializable("tests")
class UserEncoder(keras.Model):
    """An encoder of a user's own: no head of ours, any TFP distribution."""

    def __init__(self, family: str = "independent_normal", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.family = family
        self.dense = keras.layers.Dense(5)

    def call(self, x: Any, training: bool = False) -> Any:
        loc, diagonal, off = tf.split(self.dense(x), [2, 2, 1], axis=-1)
        scale = 0.1 + tf.nn.softplus(diagonal)
        if self.family == "independent_normal":
            return tfd.Independent(tfd.Normal(loc, scale), 1)
        rows = [[scale[:, 0], tf.zeros_like(off[:, 0])], [off[:, 0], scale[:, 1]]]
        tril = tf.stack([tf.stack(row, -1) for row in rows], -2)
        return tfd.MultivariateNormalTriL(loc, tril)

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, "family": self.family}


def make_vae(
    prior: Any = None, encoder: Any = None, decoder: Any = None, **kwargs: Any
) -> DecompositionVAE:
    """Returns the default model, tiny, always with the same initial weights."""
    keras.utils.set_random_seed(0)
    return DecompositionVAE(
        encoder or MLPEncoder(LATENT_DIM, hidden=(4,)),
        decoder or MLPDecoder(DATA_DIM, hidden=(4,)),
        NormalPrior(LATENT_DIM) if prior is None else prior,
        **kwargs,
    )


def make_conditional_vae(prior: Any = None, **kwargs: Any) -> ConditionalVAE:
    """Returns `make_vae`'s of p(x|z, c)."""
    keras.utils.set_random_seed(0)
    return ConditionalVAE(
        MLPEncoder(LATENT_DIM, hidden=(4,)),
        MLPDecoder(DATA_DIM, hidden=(4,)),
        NormalPrior(LATENT_DIM) if prior is None else prior,
        condition_dim=CONDITION_DIM,
        **kwargs,
    )


def data(n: int, seed: int = 0) -> np.ndarray:
    """Returns float32 data [n, DATA_DIM]."""
    return np.random.default_rng(seed).normal(size=(n, DATA_DIM)).astype("float32")
