# SPDX-License-Identifier: Apache-2.0
"""Divergences of q(z) by an adversary that tells its codes from others."""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tf_decomp.checks import check_sizes, check_weights, check_whole_number, short
from tf_decomp.divergences.sets import check_sets
from tf_decomp.errors import InputError

REFERENCES = ("prior", "marginals")


class Learner(NamedTuple):
    """An optimiser and the weights that it trains.

    Attributes:
        optimizer: Built of these weights.
        variables: The weights.
    """

    optimizer: keras.optimizers.Optimizer
    variables: list[keras.Variable]


@keras.saving.register_keras_serializable("tf_decomp")
class AdversarialDivergence(keras.layers.Layer):
    """KL(q(z) || r(z)) from samples alone, by the density ratio of an adversary.

    The mean over the batch of the logit that the adversary gives a code of q(z), in
    nats. An adversary that knows best has the logit log q(z) / r(z), which makes this
    the KL; of one that does not, it is neither the KL nor a bound of it. r(z) is:

    - "prior": p(z), from `prior_samples` (adversarial autoencoders, Makhzani et al.
      2015; WAE-GAN, Tolstikhin et al. 2018, have other losses of the same logit).
      A prior that learns does not learn from it.
    - "marginals": prod_d q(z_d), so that this is the total correlation (FactorVAE, Kim
      and Mnih, 2018). Its samples take each dimension from another code of the batch,
      dimension d from the d-th after, so batches must be shuffled and have
      latent_dim codes or more.

    In each step of the model that weighs it, the adversary takes a step of its own
    optimiser on its logistic loss, log(1 + exp(-logit)) of codes and
    log(1 + exp(logit)) of samples of r(z), each a mean over the global batch. It is
    saved with the model, its optimiser too.

    Args:
        latent_dim: Number of latent dimensions.
        reference: r(z), one of the two.
        network: Maps z [n, latent_dim] to logits [n, 1]; or units of the hidden layers
            of a perceptron (leaky ReLU) that does.
        optimizer: The adversary's own, not that of the model; None: Adam as the
            FactorVAE has it (1e-4, beta_1 0.5, beta_2 0.9).
        **kwargs: Arguments of `keras.layers.Layer`.

    Raises:
        InputError: An argument is not usable; (when called) the codes have another
            number of dimensions; (when a model is compiled) its optimiser is this one.

    Example:
        >>> tc = AdversarialDivergence(2, "marginals")
        >>> DecompositionVAE(..., divergence=tc, alpha=10.0)
    """

    def __init__(
        self,
        latent_dim: int,
        reference: str = "prior",
        network: keras.Model | Sequence[int] = (256, 256),
        optimizer: keras.optimizers.Optimizer | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        name = type(self).__name__
        self.latent_dim = check_whole_number(f"{name}: latent_dim", latent_dim, 1)
        if reference not in REFERENCES:
            raise InputError(
                f"{name}: reference must be one of {', '.join(REFERENCES)}; received "
                f"{short(reference)}"
            )
        self.reference = reference
        if not isinstance(network, keras.Model):
            network = _perceptron(self.latent_dim, network, self.variable_dtype)
        self.network = network
        one = network(tf.zeros([1, self.latent_dim], self.variable_dtype))
        if not tf.is_tensor(one) or one.shape != [1, 1]:
            received = f"shape {one.shape}" if tf.is_tensor(one) else short(one)
            raise InputError(
                f"{name}: network must map z [n, {self.latent_dim}] to logits [n, 1]; "
                f"received {received} for n = 1"
            )
        learnt = network.trainable_variables
        self.optimizer = _own_optimizer(optimizer)
        self.optimizer.build(learnt)
        self._learnt = lambda: learnt  # a list Keras would track
        for variable in learnt:
            variable.trainable = False  # by the model's optimiser
        self.built = True

    @property
    def learner(self) -> "Learner":
        """The adversary's optimiser with its weights."""
        return Learner(self.optimizer, self._learnt())

    @property
    def least_batch(self) -> int:
        """The smallest batch that it takes."""
        return self.latent_dim if self.reference == "marginals" else 1

    def __call__(
        self,
        posterior: tfd.Distribution,
        prior: tfd.Distribution,
        latents: tf.Tensor,
        prior_samples: tf.Tensor,
    ) -> tf.Tensor:
        """Returns the estimate [].

        Its gradient with respect to the adversary's weights is that of the adversary's
        loss (this replica's part of it), whatever D weighs, if it weighs anything.

        Args:
            posterior: Batch shape [B], event shape [latent_dim]; unused.
            prior: Batch shape [], event shape [latent_dim]; unused.
            latents: [B, latent_dim], one sample of each posterior.
            prior_samples: [B, latent_dim].
        """
        latents, prior_samples = map(tf.convert_to_tensor, (latents, prior_samples))
        check_sets(type(self).__name__, latents, prior_samples)
        if latents.shape[1] != self.latent_dim:
            raise InputError(
                f"{type(self).__name__}: expected codes of its latent_dim, "
                f"{self.latent_dim}; received {latents.shape[1]} dimensions"
            )
        fixed = [tf.stop_gradient(v.value) for v in self.network.variables]
        logits, _ = self.network.stateless_call([], fixed, latents)
        value = tf.reduce_mean(tf.cast(logits, latents.dtype))
        return _learning(value, self.adversary_loss(latents, prior_samples))

    def adversary_loss(self, latents: tf.Tensor, prior_samples: tf.Tensor) -> tf.Tensor:
        """Returns the logistic loss [] of telling codes from samples of r(z), in nats.

        Args:
            latents: [B, latent_dim]; they get no gradient.
            prior_samples: [B, latent_dim].
        """
        codes, others = tf.stop_gradient(latents), prior_samples
        if self.reference == "marginals":
            others = _each_from_another(codes)
        both = tf.concat([codes, tf.stop_gradient(others)], 0)
        of_codes, of_others = tf.split(self.network(both), 2)
        losses = tf.nn.softplus(-of_codes) + tf.nn.softplus(of_others)
        return tf.reduce_mean(tf.cast(losses, latents.dtype))

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        save = keras.saving.serialize_keras_object
        return {
            **super().get_config(),
            "latent_dim": self.latent_dim,
            "reference": self.reference,
            "network": save(self.network),
            "optimizer": save(self.optimizer),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "AdversarialDivergence":
        """Builds what `get_config` described."""
        load = keras.saving.deserialize_keras_object
        parts = {name: load(config[name]) for name in ("network", "optimizer")}
        return cls(**{**config, **parts})


def _perceptron(latent_dim: int, hidden: Any, dtype: str) -> keras.Model:
    hidden = check_sizes("AdversarialDivergence: network", hidden)
    sizes = (latent_dim, *hidden, 1)
    weights = sum((a + 1) * b for a, b in itertools.pairwise(sizes))
    check_weights("AdversarialDivergence", weights)
    layers = [keras.Input((latent_dim,), dtype=dtype)]
    for units in hidden:
        layers += [
            keras.layers.Dense(units, kernel_initializer="he_normal", dtype=dtype),
            keras.layers.LeakyReLU(0.2, dtype=dtype),
        ]
    return keras.Sequential([*layers, keras.layers.Dense(1, dtype=dtype)])


def _own_optimizer(optimizer: Any) -> keras.optimizers.Optimizer:
    if optimizer is None:
        return keras.optimizers.Adam(1e-4, beta_1=0.5, beta_2=0.9)
    try:
        found = keras.optimizers.get(optimizer)
    except (TypeError, ValueError):
        found = None
    if not isinstance(found, keras.optimizers.Optimizer) or found.built:
        raise InputError(
            "AdversarialDivergence: optimizer must be its own, a name as 'adam' or a "
            "new Keras optimiser; received "
            + ("one that is in use" if found else short(optimizer))
        )
    return found


def _each_from_another(codes: tf.Tensor) -> tf.Tensor:
    """Returns codes [B, latent_dim], dimension d of each from the d-th code after."""
    size, columns = tf.shape(codes)[0], tf.unstack(codes, axis=1)
    rows = [(tf.range(size) + d) % size for d in range(len(columns))]
    each = [tf.gather(c, r) for c, r in zip(columns, rows, strict=True)]
    return tf.stack(each, axis=1)


@tf.custom_gradient
def _learning(value: tf.Tensor, loss: tf.Tensor) -> Any:
    """Returns the value; where its gradient is used, the loss gets a gradient too.

    That is 1 over replicas, each of which has the same loss: Keras sums gradients.
    """
    replicas = tf.distribute.get_strategy().num_replicas_in_sync

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        share = tf.ones_like(loss) / replicas
        return upstream, tf.where(upstream != 0, share, tf.zeros_like(loss))

    return tf.identity(value), gradient
