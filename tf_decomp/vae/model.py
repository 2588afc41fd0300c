# SPDX-License-Identifier: Apache-2.0
"""DecompositionVAE: the objective (7) as a Keras model."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tf_decomp.divergences import DIVERGENCES
from tf_decomp.errors import InputError
from tf_decomp.estimates import Estimate
from tf_decomp.objectives import (
    ObjectiveTerms,
    decomposition_objective,
    objective_terms,
)
from tf_decomp.priors import Prior, as_prior
from tf_decomp.sampling import plain, sample_with, stateless_seed
from tf_decomp.vae.means import ObjectiveMeans
from tf_decomp.vae.noise import StepNoise
from tf_decomp.vae.replicas import gather_posterior, share_of, stack_over_workers
from tf_decomp.vae.steps import Batch, Steps
from tf_decomp.vae.whole_set import BatchBias, SetDivergence


@keras.saving.register_keras_serializable("tf_decomp")
class DecompositionVAE(keras.Model):
    """A VAE trained on L_{alpha,beta}, equation (7).

    Compile, fit, evaluate, predict and save it as any Keras model; batches may be x,
    (x,) or (x, y), of which x alone is used. Logs are means over examples, in nats:
    `loss` = -(log_likelihood - beta kl - alpha D), `elbo` = log_likelihood - kl,
    `log_likelihood`, `kl`, and `divergence` = D where a divergence is set. In
    training D is computed while alpha > 0 (else its log is NaN); `evaluate` computes
    it once on the whole set, on at most its first 10,000 examples, as the mean over
    10 draws. Regularisation losses of the networks' layers are minimised too but are
    not part of the logs.

    To extend it, override `objective`, which weighs the terms; or `train_step`, as of
    any Keras model: it is then called for every batch, also where several steps go
    into one call. The steps of a subclass that does neither are those of `Steps`.

    Args:
        encoder: Maps x [batch, *data_shape] to q(z|x) of batch shape [batch] and event
            shape [latent_dim].
        decoder: Maps z [batch, latent_dim] to p(x|z) of event shape data_shape.
        prior: A Prior, or any fixed distribution of event shape [latent_dim].
        alpha: Weight of D(q(z), p(z)); a weight of the model: `vae.alpha.assign(2.0)`,
            and `vae.number(vae.alpha)` gives its value under any strategy.
        beta: Weight of the KL; likewise.
        divergence: A key of DIVERGENCES or a callable of their calling form.
        num_samples: Posterior samples a datum, averaged.
        seed: Base seed of all noise. The same seed gives the same run, on one replica
            or several.
        **kwargs: Arguments of `keras.Model`.

    Raises:
        InputError: A number is out of range, alpha > 0 has no divergence, or the
            networks' shapes do not fit each other or the prior.

    Example:
        >>> vae = DecompositionVAE(MLPEncoder(2), MLPDecoder(3), NormalPrior(2))
        >>> vae.compile("adam")
        >>> vae.fit(x, batch_size=100, epochs=10)
        >>> vae.encode(x).mean()
    """

    train_function: Any  # Keras's

    def __init__(
        self,
        encoder: keras.Model,
        decoder: keras.Model,
        prior: Prior | tfd.Distribution,
        *,
        alpha: float = 0.0,
        beta: float = 1.0,
        divergence: str | Callable[..., tf.Tensor] | None = None,
        num_samples: int = 1,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        _check_numbers(alpha, beta, num_samples)
        self.encoder, self.decoder, self.prior = encoder, decoder, as_prior(prior)
        self.divergence: Any = _find_divergence(divergence, alpha)
        self.num_samples, self.seed = num_samples, seed
        self._alpha = self._weight("alpha", alpha)
        self._beta = self._weight("beta", beta)
        posterior = self._build_networks()
        self.train_batches = self._counter("train_batches")
        self.test_batches = self._counter("test_batches")
        self._means = ObjectiveMeans(has_divergence=self.divergence is not None)
        self._noise = StepNoise(
            posterior,
            self.prior,
            num_samples,
            samples_prior=self.divergence is not None,
            seed=seed,
        )
        self._set_divergence = SetDivergence(self)
        self.built = True

    @property
    def alpha(self) -> keras.Variable:
        """Weight of D(q(z), p(z)); assign to change it during training."""
        return self._alpha

    @alpha.setter
    def alpha(self, value: float) -> None:
        self._alpha.assign(value)

    @property
    def beta(self) -> keras.Variable:
        """Weight of the KL; assign to change it during training."""
        return self._beta

    @beta.setter
    def beta(self, value: float) -> None:
        self._beta.assign(value)

    @property
    def data_shape(self) -> tuple[int, ...]:
        """Shape of one datum."""
        return self._data_shape

    @property
    def latent_dim(self) -> int:
        """Number of latent dimensions."""
        return self.prior.latent_dim

    # -- the networks ------------------------------------------------------------------

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Returns posterior means [batch, latent_dim] of x [batch, *data_shape]."""
        return plain(self.encoder(self._cast(x), training=training)).mean()

    def encode(self, x: tf.Tensor) -> tfd.Distribution:
        """Returns q(z|x), batch shape [batch], of x [batch, *data_shape]."""
        return plain(self.encoder(self._cast(x), training=False))

    def decode(self, z: tf.Tensor) -> tfd.Distribution:
        """Returns p(x|z), batch shape [batch], of z [batch, latent_dim]."""
        return plain(self.decoder(self._cast(z), training=False))

    def generate(
        self, n: int, sample: bool = False, seed: int | None = None
    ) -> tf.Tensor:
        """Returns n data [n, *data_shape] of the model, decoded from prior samples.

        Args:
            n: How many.
            sample: Whether to sample p(x|z) instead of taking its mean.
            seed: Same seed, same result; None draws anew.
        """
        latents = self.prior.distribution.sample(n, seed=stateless_seed(seed))
        return _mean_or_sample(self.decode(latents), sample, seed)

    def reconstruct(
        self, x: tf.Tensor, sample: bool = False, seed: int | None = None
    ) -> tf.Tensor:
        """Returns reconstructions [batch, *data_shape] of x.

        Args:
            x: [batch, *data_shape].
            sample: Whether to sample q(z|x) and p(x|z) instead of taking their means.
            seed: Same seed, same result; None draws anew.
        """
        posterior = self.encode(x)
        if not sample:
            return self.decode(posterior.mean()).mean()
        latents = posterior.sample(seed=stateless_seed(seed))
        return _mean_or_sample(self.decode(latents), sample, seed)

    # -- the objective and its steps ---------------------------------------------------

    def terms(self, batch: Batch, with_divergence: bool) -> ObjectiveTerms:
        """Returns the three terms of equation (7) as training estimates them.

        The log-likelihood and the KL are of this replica's examples; D is of the
        global batch, the same on every replica.

        Args:
            batch: Examples and noise of a step.
            with_divergence: Whether D is computed.
        """
        prior, divergence = self.prior.distribution, None
        posterior = plain(self.encoder(batch.x, training=True))
        everyone = gather_posterior(posterior)
        latents = sample_with(everyone, [self.num_samples], batch.noise)
        if with_divergence:
            prior_samples = batch.prior_noise
            if self.prior.trainable_variables:
                n = batch.share.global_size
                prior_samples = sample_with(prior, [n], batch.prior_noise)
            divergence = self.divergence(everyone, prior, latents[0], prior_samples)

        def decoder(z: tf.Tensor) -> tfd.Distribution:
            return plain(self.decoder(z, training=True))

        own = batch.share.own(latents)
        return objective_terms(batch.x, posterior, prior, decoder, own, divergence)

    def objective(self, terms: ObjectiveTerms) -> tf.Tensor:
        """Returns L_{alpha,beta}, equation (7), in nats (to be maximised).

        Training, the epochs' means and `evaluate` call it: override it to weigh the
        terms in another way.

        Args:
            terms: Of single examples [batch], or in training their means over the
                batch [] (equal for (7), which is linear); D [] or None, which counts
                as 0.
        """
        dtype = terms.kl.dtype
        alpha, beta = (tf.cast(w.value, dtype) for w in (self.alpha, self.beta))
        return decomposition_objective(terms, alpha, beta)

    def batch_loss(
        self, batch: Batch, with_divergence: bool
    ) -> tuple[tf.Tensor, ObjectiveTerms]:
        """Returns what this replica adds to the loss of a step [], and its terms.

        Summed over replicas it is minus the batch's objective and the regularisation
        losses of the networks' layers.

        Args:
            batch: Examples and noise of the step.
            with_divergence: Whether D is computed.
        """
        terms, share = self.terms(batch, with_divergence), batch.share
        means = ObjectiveTerms(
            share.mean(terms.log_likelihood),
            share.mean(terms.kl),
            None if terms.divergence is None else share.once(terms.divergence),
        )
        loss = -self.objective(means)
        for regularisation in self.losses:
            loss += share.once(regularisation)
        return loss, terms

    def add_to_means(self, terms: ObjectiveTerms) -> None:
        """Adds the terms of a batch to the means that the logs show.

        Args:
            terms: Of this replica's examples; D counts where alpha > 0.
        """
        self._means.update_state(terms, self.objective(terms), self.alpha.value)

    def compile(
        self,
        optimizer: str | keras.optimizers.Optimizer = "adam",
        jit_compile: bool | str = "auto",
        **kwargs: Any,
    ) -> None:
        """Configures training.

        Args:
            optimizer: As in Keras.
            jit_compile: Whether XLA compiles gradient and update of a step. "auto":
                on one replica and without convolutions, where it is faster. Noise is
                drawn outside, so results agree to rounding.
            **kwargs: Further arguments of `keras.Model.compile`, but losses and
                metrics, which the objective fixes.

        Raises:
            InputError: A loss or metrics are given.
        """
        given = [k for k in ("loss", "metrics", "weighted_metrics") if kwargs.get(k)]
        if given:
            raise InputError(
                f"compile: the objective is the loss; received {', '.join(given)}, "
                "leave it out"
            )
        super().compile(optimizer=optimizer, jit_compile=False, **kwargs)
        # Under a strategy the slots cannot be made while a step is traced.
        self.optimizer.build(self.trainable_variables)
        self._steps = Steps(self, self._noise, jit_compile)

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        """Takes one step of gradient ascent on L_{alpha,beta}."""
        self._steps.take(self.draw_batch(data))
        return stack_over_workers(self.get_metrics_result())

    def draw_batch(self, data: Any) -> Batch:
        """Returns the examples of a step with their noise, and counts the step.

        Args:
            data: A batch as Keras gives it: x, (x,) or (x, y).
        """
        x = self._inputs(data)
        share = share_of(x)
        noise = self._noise.of_training(self.train_batches.value, share.global_size)
        self.train_batches.assign_add(1)
        return Batch(x, share, *noise)

    def make_train_function(self, force: bool = False) -> None:
        """Makes the function that takes `steps_per_execution` steps.

        Where a step is one XLA function these steps are one too, and Keras does not
        call `train_step` (`Steps.several`).

        Args:
            force: Whether it is made again.
        """
        if self.train_function is not None and not force:
            return
        super().make_train_function(force)
        own = type(self).train_step is DecompositionVAE.train_step
        if own and self.steps_per_execution > 1 and self._steps.are_compiled:
            self.train_function = self._steps.several(
                self.steps_per_execution, otherwise=self.train_function
            )

    def test_step(self, data: Any) -> dict[str, tf.Tensor]:
        """Adds a batch's terms without D to the means."""
        x = self._inputs(data)
        share = share_of(x)
        noise = self._noise.of_evaluation(self.test_batches.value, share.global_size)
        self.test_batches.assign_add(1)
        posterior = plain(self.encoder(x, training=False))
        latents = sample_with(gather_posterior(posterior), [self.num_samples], noise)
        prior, own = self.prior.distribution, share.own(latents)
        self.add_to_means(objective_terms(x, posterior, prior, self.decode, own))
        return stack_over_workers(self.get_metrics_result())

    def reset_metrics(self) -> None:
        """Starts new means, and the noise of evaluation from its beginning."""
        super().reset_metrics()
        self.test_batches.assign(0)

    # -- whole data sets ---------------------------------------------------------------

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: Any = "auto",
        callbacks: Any = None,
        **kwargs: Any,
    ) -> keras.callbacks.History:
        """Trains as Keras does, and warns once where D of a batch is badly biased.

        See `BatchBias`, which also prints D of batches beside D of all at the end.

        Args:
            x: Arrays or a data set.
            y: As of `keras.Model.fit`; unused.
            batch_size: As of `keras.Model.fit`.
            epochs: As of `keras.Model.fit`.
            verbose: As of `keras.Model.fit`.
            callbacks: As of `keras.Model.fit`.
            **kwargs: As of `keras.Model.fit`.
        """
        if not isinstance(callbacks, keras.callbacks.CallbackList):
            callbacks = list(tf.nest.flatten(callbacks or []))
            known = any(isinstance(callback, BatchBias) for callback in callbacks)
            # Several passes make an epoch, or one of no known length.
            if not known and kwargs.get("steps_per_epoch") is None:
                callbacks.append(BatchBias(x))
        return super().fit(x, y, batch_size, epochs, verbose, callbacks, **kwargs)

    def evaluate(
        self, x: Any = None, *args: Any, return_dict: bool = False, **kwargs: Any
    ) -> Any:
        """Evaluates as Keras does, then D once on the whole set.

        Args:
            x: Arrays or a data set that can be read twice.
            *args: As of `keras.Model.evaluate`.
            return_dict: Whether to return a dictionary instead of a list.
            **kwargs: As of `keras.Model.evaluate`.
        """
        estimates = self.evaluate_with_errors(x, *args, **kwargs)
        logs = {name: estimate.value for name, estimate in estimates.items()}
        return logs if return_dict else list(logs.values())

    def evaluate_with_errors(
        self, x: Any = None, *args: Any, **kwargs: Any
    ) -> dict[str, Estimate]:
        """Returns the terms' means over the data with standard errors, by name.

        Errors of the per-example terms are over examples; that of D is over its 10
        draws, given these examples and this model.

        Args:
            x: Arrays or a data set that can be read twice.
            *args: As of `keras.Model.evaluate`.
            **kwargs: As of `keras.Model.evaluate`.
        """
        super().evaluate(x, *args, return_dict=True, **kwargs)
        estimates = self._means.estimates()
        if self.divergence is None:
            return estimates
        divergence = self._set_divergence.of_all(x)
        alpha, loss = self.number(self.alpha), estimates["loss"]
        if alpha > 0:
            zero = tf.zeros([], tf.float64)
            alone = ObjectiveTerms(zero, zero, zero + divergence.value)
            without = alone._replace(divergence=None)
            added = float(self.objective(alone) - self.objective(without))
            error = np.hypot(loss.standard_error, alpha * divergence.standard_error)
            estimates["loss"] = Estimate(loss.value - added, float(error), loss.n)
        return {**estimates, "divergence": divergence}

    def divergence_by_size(self, x: Any, batch_size: int) -> tuple[Estimate, Estimate]:
        """Returns D of batches (a mean), and of all examples at once (10 draws).

        Args:
            x: Arrays or a data set that can be read twice, of which at most 10,000
                examples are used.
            batch_size: Of the batches.
        """
        whole = self._set_divergence
        return whole.of_batches(x, batch_size), whole.of_all(x)

    def examples_seen(self) -> int:
        """Returns the number of examples behind the present means."""
        return int(self._means.count.numpy())

    @staticmethod
    def number(variable: keras.Variable) -> float:
        """Returns a scalar weight's value now, under a strategy too."""
        return float(tf.convert_to_tensor(variable.value))

    # -- saving ------------------------------------------------------------------------

    def get_compile_config(self) -> dict[str, Any]:
        """Returns the arguments of `compile`."""
        config = super().get_compile_config()
        return {**config, "jit_compile": self._steps.jit_compile} if config else config

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compiles as `get_compile_config` described."""
        self.compile(**keras.saving.deserialize_keras_object(config))

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments, alpha and beta as they are now."""
        save = keras.saving.serialize_keras_object
        return {
            "name": self.name,
            "encoder": save(self.encoder),
            "decoder": save(self.decoder),
            "prior": save(self.prior),
            "alpha": self.number(self.alpha),
            "beta": self.number(self.beta),
            "divergence": None if self.divergence is None else save(self.divergence),
            "num_samples": self.num_samples,
            "seed": self.seed,
        }

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: Any = None
    ) -> "DecompositionVAE":
        """Builds the model that `get_config` described."""
        load = keras.saving.deserialize_keras_object
        parts = {
            name: load(config[name], custom_objects=custom_objects)
            for name in ("encoder", "decoder", "prior", "divergence")
            if config[name] is not None
        }
        return cls(**{**config, **parts})

    def _build_networks(self) -> tfd.Distribution:
        """Calls both networks once, so that all weights exist and all shapes fit."""
        latent_dim, prior = self.latent_dim, self.prior.distribution
        if prior.dtype != self.variable_dtype:
            raise InputError(
                f"prior: expected numbers of type {self.variable_dtype}, the model's; "
                f"received {prior.dtype.name}, convert its parameters"
            )
        likelihood = self.decode(np.zeros([1, latent_dim]))
        self._data_shape = _check_output("decoder", likelihood, None)
        posterior = self.encode(np.zeros([1, *self._data_shape]))
        _check_output("encoder", posterior, (latent_dim,))
        return posterior

    def _maybe_symbolic_build(self, *args: Any, **kwargs: Any) -> None:
        """Does nothing: all is built, and Keras would average batches of two sizes."""

    def _inputs(self, data: Any) -> tf.Tensor:
        return self._cast(keras.utils.unpack_x_y_sample_weight(data)[0])

    def _cast(self, values: Any) -> tf.Tensor:
        return tf.cast(tf.convert_to_tensor(values), self.variable_dtype)

    def _counter(self, name: str) -> keras.Variable:
        return self.add_weight(
            shape=(),
            initializer="zeros",
            dtype="int64",
            trainable=False,
            aggregation="only_first_replica",
            name=name,
        )

    def _weight(self, name: str, value: float) -> keras.Variable:
        return self.add_weight(
            shape=(),
            initializer=keras.initializers.Constant(value),
            trainable=False,
            autocast=False,
            aggregation="only_first_replica",
            name=name,
        )


def _check_output(
    network: str, output: Any, event: tuple[int, ...] | None
) -> tuple[int, ...]:
    """Returns the event shape of what a network made of one input, if it is right."""
    wanted = "[data_dim, ...]"
    if event is not None:
        wanted = f"{list(event)} (the prior has latent_dim={event[0]})"
    if not isinstance(output, tfd.Distribution):
        received = f"a {type(output).__name__}"
    else:
        received = f"batch {output.batch_shape} and event {output.event_shape}"
        shape = tuple(output.event_shape.as_list())
        if output.batch_shape == [1] and shape and event in (None, shape):
            return shape
    raise InputError(
        f"{network}: for one input expected a distribution with batch shape [1] and "
        f"event shape {wanted}; received {received}"
    )


def _mean_or_sample(
    likelihood: tfd.Distribution, sample: bool, seed: int | None
) -> tf.Tensor:
    if not sample:
        return likelihood.mean()
    return likelihood.sample(seed=stateless_seed(seed, stream=1))


def _check_numbers(alpha: float, beta: float, num_samples: int) -> None:
    for name, value in (("alpha", alpha), ("beta", beta)):
        if not (np.isfinite(value) and value >= 0):
            raise InputError(f"{name} must be >= 0 and finite; received {value}")
    if num_samples < 1:
        raise InputError(f"num_samples must be >= 1; received {num_samples}")


def _find_divergence(
    divergence: str | Callable[..., tf.Tensor] | None, alpha: float
) -> Callable[..., tf.Tensor] | None:
    if divergence is None and alpha > 0:
        raise InputError(
            f"alpha={alpha} weighs a divergence, but none is given; choose one of "
            f"{sorted(DIVERGENCES)} or set alpha to 0"
        )
    if divergence is None or callable(divergence):
        return divergence
    if divergence not in DIVERGENCES:
        raise InputError(
            f"divergence: expected one of {sorted(DIVERGENCES)} or a callable; "
            f"received {divergence!r}"
        )
    return DIVERGENCES[divergence]
