# SPDX-License-Identifier: Apache-2.0
"""DecompositionVAE: the objective (7) as a Keras model."""

import contextlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tf_decomp.batches import condition_of, is_array, is_conditional
from tf_decomp.checks import (
    check_memory,
    check_real_number,
    check_whole_number,
    short,
)
from tf_decomp.divergences import DIVERGENCES, AdversarialDivergence
from tf_decomp.divergences.adversarial import Learner
from tf_decomp.errors import InputError
from tf_decomp.estimates import Estimate
from tf_decomp.likelihoods import leaves_missing_out, likelihood_point, support_of
from tf_decomp.objectives import (
    ObjectiveTerms,
    batch_divergence,
    decomposition_objective,
    objective_terms,
)
from tf_decomp.priors import Prior, as_prior
from tf_decomp.sampling import (
    batch_first,
    one_or_nan,
    plain,
    sample_with,
    scaled,
    stateless_seed,
)
from tf_decomp.vae.inputs import (
    DataForm,
    DataGuard,
    as_tensor,
    batch_input,
    check_values,
    checked_data,
    count_outside,
    first_batches,
    is_one_pass,
    refuse_empty,
    refuse_outside,
    refuse_weights,
)
from tf_decomp.vae.means import LOGS, ObjectiveMeans
from tf_decomp.vae.noise import StepNoise
from tf_decomp.vae.replicas import (
    check_replicas,
    gather_posterior,
    share_of,
    stack_over_workers,
)
from tf_decomp.vae.steps import Batch, Steps
from tf_decomp.vae.whole_set import BatchBias, SetDivergence
from tf_decomp.variables import checked_weight


@keras.saving.register_keras_serializable("tf_decomp")
class DecompositionVAE(keras.Model):
    """A VAE trained on L_{alpha,beta}, equation (7).

    Compile, fit, evaluate, predict and save it as any Keras model; batches may be x,
    (x,) or (x, y), of which x alone is used: labels may stay, targets and weights of
    examples are refused. Logs are means over examples, in nats: `loss` =
    -(log_likelihood - beta kl - alpha D), `elbo` = log_likelihood - kl,
    `log_likelihood`, `kl`, and `divergence` = D where a divergence is set. In
    training D is computed while alpha > 0 (else its log is NaN); `evaluate` computes
    it once on the whole set, on at most its first 10,000 examples, as the mean over
    10 draws. Regularisation losses of the networks' layers are minimised too but are
    not part of the logs.

    Callbacks that monitor a log know its direction (`elbo` and `log_likelihood` rise)
    while their mode is "auto": `keras.callbacks.EarlyStopping("val_elbo")`.

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
    _condition_dim: int | None = None

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
        self.encoder, self.decoder, self.prior = encoder, decoder, as_prior(prior)
        self._divergence: Any = _find_divergence(divergence)
        self._num_samples = check_whole_number("num_samples", num_samples, least=1)
        self._seed = check_whole_number("seed", seed, least=0, most=2**31 - 1)
        self._alpha = self._weight("alpha", alpha)
        self._beta = self._weight("beta", beta)
        posterior = self._build_networks()
        self.train_batches = self._counter("train_batches")
        self.test_batches = self._counter("test_batches")
        self._means = ObjectiveMeans(has_divergence=self.divergence is not None)
        self._noise = StepNoise(
            posterior,
            self.prior,
            self.num_samples,
            samples_prior=self.divergence is not None,
            seed=self.seed,
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
    def divergence(self) -> Any:
        """D, a callable of the calling form of DIVERGENCES, or None."""
        return self._divergence

    def learners(self, with_divergence: bool = True) -> list[Learner]:
        """Returns the optimisers of a step, each with the weights that it trains.

        The first is the model's own, of all trainable weights. A divergence with an
        adversary has another.

        Args:
            with_divergence: Whether the step computes D.
        """
        learners = [Learner(self.optimizer, self.trainable_variables)]
        if with_divergence and isinstance(self.divergence, AdversarialDivergence):
            learners.append(self.divergence.learner)
        return learners

    @property
    def num_samples(self) -> int:
        """Posterior samples a datum."""
        return self._num_samples

    @property
    def seed(self) -> int:
        """Base seed of all noise."""
        return self._seed

    @property
    def data_shape(self) -> tuple[int, ...]:
        """Shape of one datum."""
        return self._form.shape

    @property
    def condition_dim(self) -> int | None:
        """Length of the condition c that comes with each x; None of none."""
        return self._condition_dim

    @property
    def encodes_missing(self) -> bool:
        """Whether the encoder gives finite posteriors for examples with NaN."""
        return self._encodes_missing

    @property
    def latent_dim(self) -> int:
        """Number of latent dimensions."""
        return self.prior.latent_dim

    # -- the networks ------------------------------------------------------------------

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Returns posterior means [batch, latent_dim] of x [batch, *data_shape]."""
        return self._means_of(self._examples(x), None, training)

    def encode(self, x: tf.Tensor) -> tfd.Distribution:
        """Returns q(z|x), batch shape [batch], of x [batch, *data_shape].

        An example with NaN or infinity has NaN for its parameters, since TensorFlow's
        ReLU would make finite ones of them; not one with NaN where the encoder reads
        missing numbers.
        """
        return self._encoded(self._examples(x), None)

    def decode(self, z: tf.Tensor) -> tfd.Distribution:
        """Returns p(x|z), batch shape [batch], of z [batch, latent_dim]."""
        z = as_tensor("latents", z, (self.latent_dim,), self.variable_dtype)
        return self._likelihood_of(z, None, training=False)

    def generate(
        self, n: int, sample: bool = False, seed: int | None = None
    ) -> tf.Tensor:
        """Returns n data [n, *data_shape] of the model, decoded from prior samples.

        Args:
            n: How many.
            sample: Whether to sample p(x|z) instead of taking its mean.
            seed: Same seed, same result; None draws anew.

        Raises:
            InputError: `n` is no whole number >= 0 or too large for the memory, or the
                likelihood has no mean.
        """
        return self._decoded(self._prior_samples(n, seed), sample, seed)

    def _prior_samples(self, n: int, seed: int | None) -> tf.Tensor:
        n = check_whole_number("n", n, least=0)
        check_memory(
            4 * n * max(self.latent_dim, math.prod(self.data_shape)),
            f"generating {short(n)} data",
            "take them in several calls",
        )
        return self.prior.distribution.sample(n, seed=stateless_seed(seed))

    def _decoded(
        self, z: tf.Tensor, sample: bool, seed: int | None, *condition: tf.Tensor
    ) -> tf.Tensor:
        likelihood = self.decode(z, *condition)
        if sample:
            return likelihood.sample(seed=stateless_seed(seed, stream=1))
        return likelihood_point(likelihood)

    def reconstruct(
        self, x: tf.Tensor, sample: bool = False, seed: int | None = None
    ) -> tf.Tensor:
        """Returns reconstructions [batch, *data_shape] of x.

        Args:
            x: [batch, *data_shape].
            sample: Whether to sample q(z|x) and p(x|z) instead of taking their means.
            seed: Same seed, same result; None draws anew.
        """
        return self._reconstructed(x, sample, seed)

    def _reconstructed(
        self, x: tf.Tensor, sample: bool, seed: int | None, *condition: tf.Tensor
    ) -> tf.Tensor:
        posterior = self.encode(x, *condition)
        if not sample:
            latents = posterior.mean()
        else:
            latents = posterior.sample(seed=stateless_seed(seed))
        return self._decoded(latents, sample, seed, *condition)

    # What a subclass with conditions changes: all calls of the networks are here.

    def _posterior_of(
        self, x: tf.Tensor, c: tf.Tensor | None, training: bool
    ) -> tfd.Distribution:
        """Returns q(z|x), plain, of x [n, *data_shape] and conditions."""
        return plain(self.encoder(x, training=training))

    def _likelihood_of(
        self, z: tf.Tensor, c: tf.Tensor | None, training: bool
    ) -> tfd.Distribution:
        """Returns p(x|z), plain, of z [n, latent_dim] and conditions."""
        return plain(self.decoder(z, training=training))

    def _means_of(self, x: tf.Tensor, c: tf.Tensor | None, training: bool) -> tf.Tensor:
        mean = self._posterior_of(x, c, training).mean()
        return mean * self._one_or_unknown(x, c)[:, None]

    def _encoded(self, x: tf.Tensor, c: tf.Tensor | None) -> tfd.Distribution:
        posterior = self._posterior_of(x, c, training=False)
        return scaled(posterior, self._one_or_unknown(x, c))

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
        posterior = self._posterior_of(batch.x, batch.condition, training=True)
        everyone = gather_posterior(posterior)
        latents = sample_with(everyone, [self.num_samples], batch.noise)
        if with_divergence:
            prior_samples = batch.prior_noise
            if self.prior.learns:
                n = batch.share.global_size
                prior_samples = sample_with(prior, [n], batch.prior_noise)
            divergence = batch_divergence(
                self.divergence, everyone, prior, latents[0], prior_samples
            )
        return self._own_terms(batch, posterior, latents, divergence, training=True)

    def _own_terms(
        self,
        batch: Batch,
        posterior: tfd.Distribution,
        latents: tf.Tensor,
        divergence: tf.Tensor | None,
        training: bool,
    ) -> ObjectiveTerms:
        """Returns the terms of this replica's examples, given all latents and D."""
        c = batch.condition
        if c is not None:  # for the first sample of every example, then the second
            c = tf.tile(c, [self.num_samples, 1])

        def decoder(z: tf.Tensor) -> tfd.Distribution:
            return self._likelihood_of(z, c, training)

        prior, own = self.prior.distribution, batch.share.own(latents)
        terms = objective_terms(batch.x, posterior, prior, decoder, own, divergence)
        if c is None:
            return terms
        # TensorFlow's ReLU would let training go on without an unknown condition.
        return terms._replace(kl=terms.kl * one_or_nan(batch.condition))

    def objective(self, terms: ObjectiveTerms) -> tf.Tensor:
        """Returns L_{alpha,beta}, equation (7), in nats (to be maximised).

        Training, the epochs' means and `evaluate` call it: override it to weigh the
        terms in another way.

        Args:
            terms: Of single examples [batch], or in training their means over the
                global batch [] (equal for (7), which is linear); D [] or None, which
                counts as 0.
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
            share.whole(share.mean(terms.log_likelihood)),
            share.whole(share.mean(terms.kl)),
            None
            if terms.divergence is None
            else share.whole(share.once(terms.divergence)),
        )
        loss = -share.part(self.objective(means))
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

        Under several replicas what Keras does to each replica's part of a gradient,
        and not to their sum, is refused: clipping and accumulation.

        Args:
            optimizer: As in Keras.
            jit_compile: Whether XLA compiles gradient and update of a step. "auto":
                on one replica, on a CPU without convolutions only, where it is faster.
                Noise is drawn outside, so results agree to rounding.
            **kwargs: Further arguments of `keras.Model.compile`, but losses and
                metrics, which the objective fixes.

        Raises:
            InputError: A loss or metrics are given, or what several replicas cannot do
                as one does.
        """
        fixed = ("loss", "loss_weights", "metrics", "weighted_metrics")
        given = [name for name in fixed if kwargs.get(name)]
        if given:
            raise InputError(
                f"compile: the objective is the loss; received {', '.join(given)}, "
                "leave it out"
            )
        if jit_compile not in (True, False, "auto"):
            raise InputError(
                f"jit_compile: expected True, False or 'auto'; received {jit_compile!r}"
            )
        steps = kwargs.get("steps_per_execution", 1)
        check_whole_number("steps_per_execution", steps, least=1)
        super().compile(optimizer=optimizer, jit_compile=False, **kwargs)
        optimizers = [learner.optimizer for learner in self.learners()]
        if optimizers.count(self.optimizer) > 1:
            raise InputError(
                "compile: expected an optimizer of the model's own; received that of "
                "its divergence's adversary, give each its own"
            )
        for each in optimizers:
            check_replicas(self.distribute_strategy, each, steps, jit_compile)
        # Under a strategy the slots cannot be made while a step is traced.
        self.optimizer.build(self.trainable_variables)
        self._steps = Steps(self, self._noise, jit_compile)
        if jit_compile is True and not self._steps.are_compiled:
            raise InputError(
                "jit_compile=True: expected steps that XLA can compile; received "
                "run_eagerly=True, or a posterior or learnt prior outside the "
                "location-scale families and flows, whose samples need random "
                "operations; leave it at 'auto'"
            )

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        """Takes one step of gradient ascent on L_{alpha,beta}."""
        self._steps.take(self.draw_batch(data))
        return stack_over_workers(self.get_metrics_result())

    def draw_batch(self, data: Any) -> Batch:
        """Returns the examples of a step with their noise, and counts the step.

        Args:
            data: A batch as Keras gives it: x, (x,) or (x, y).

        Raises:
            InputError: Its x is no tensor of examples, or it has weights.
        """
        x, condition = self._inputs(data)
        if x.shape[0] is not None and not tf.distribute.has_strategy():
            self._check_batch_size(x.shape[0])
        share = share_of(x)
        noise = self._noise.of_training(self.train_batches.value, share.global_size)
        self.train_batches.assign_add(1)
        return Batch(x, share, *noise, condition)

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
        x, condition = self._inputs(data)
        share = share_of(x)
        noise = self._noise.of_evaluation(self.test_batches.value, share.global_size)
        self.test_batches.assign_add(1)
        batch = Batch(x, share, noise, condition=condition)
        posterior = self._posterior_of(x, condition, training=False)
        latents = sample_with(gather_posterior(posterior), [self.num_samples], noise)
        terms = self._own_terms(batch, posterior, latents, None, training=False)
        self.add_to_means(terms)
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
            x: Arrays [n, *data_shape] or a data set.
            y: As of `keras.Model.fit`; labels may stay, but are of no use.
            batch_size: As of `keras.Model.fit`.
            epochs: As of `keras.Model.fit`.
            verbose: As of `keras.Model.fit`.
            callbacks: As of `keras.Model.fit`.
            **kwargs: As of `keras.Model.fit`, but weights of examples.

        Raises:
            InputError: Data are of another shape or kind, lie outside the
                likelihood's support or are not finite (a data set is looked at in
                its first batch and after each epoch); there are targets or weights.
        """
        given = {name: kwargs.get(name) for name in ("sample_weight", "class_weight")}
        refuse_weights("fit", **given)
        x = self._checked("fit", x, y, kwargs.get("steps_per_epoch"))
        if is_array(x):
            self._check_batch_size(32 if batch_size is None else batch_size)
        if kwargs.get("validation_data") is not None:
            kwargs["validation_data"] = self._checked_validation(
                kwargs["validation_data"], kwargs.get("validation_steps")
            )
        if not isinstance(callbacks, keras.callbacks.CallbackList):
            callbacks = list(tf.nest.flatten(callbacks or []))
            known = any(isinstance(callback, BatchBias) for callback in callbacks)
            # Several passes make an epoch, or one of no known length.
            if not known and kwargs.get("steps_per_epoch") is None:
                callbacks.append(BatchBias(x, c=y))
            callbacks.insert(0, DataGuard(x, self._form))
            for callback in callbacks:
                _set_direction(callback)
        if isinstance(x, tf.data.Dataset) or is_one_pass(x):
            kwargs.setdefault("shuffle", False)  # else Keras warns that it does not
        return super().fit(x, y, batch_size, epochs, verbose, callbacks, **kwargs)

    def evaluate(
        self, x: Any = None, *args: Any, return_dict: bool = False, **kwargs: Any
    ) -> Any:
        """Evaluates as Keras does, then D once on the whole set.

        Args:
            x: As of `evaluate_with_errors`.
            *args: As of `keras.Model.evaluate`.
            return_dict: Whether to return a dictionary instead of a list, which is in
                the order of `metrics_names`.
            **kwargs: As of `keras.Model.evaluate`, but weights of examples.

        Raises:
            InputError: As of `evaluate_with_errors`.
        """
        estimates = self.evaluate_with_errors(x, *args, **kwargs)
        logs = {name: estimate.value for name, estimate in estimates.items()}
        return logs if return_dict else list(logs.values())

    def evaluate_with_errors(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        verbose: Any = "auto",
        sample_weight: Any = None,
        steps: int | None = None,
        callbacks: Any = None,
        **kwargs: Any,
    ) -> dict[str, Estimate]:
        """Returns the terms' means over the data with standard errors, by name.

        Errors of the per-example terms are over examples; that of D is over its 10
        draws, given these examples and this model. With `steps` all numbers are of
        the rows of so many first batches, each once where data are read without end.

        Args:
            x: Arrays [n, *data_shape] or a data set, which D reads a second time.
            y: As of `keras.Model.evaluate`; of no use.
            batch_size: As of `keras.Model.evaluate`.
            verbose: As of `keras.Model.evaluate`.
            sample_weight: Refused.
            steps: Batches to use; None uses all.
            callbacks: As of `keras.Model.evaluate`.
            **kwargs: As of `keras.Model.evaluate`.

        Raises:
            InputError: The data are not usable, as of `fit`, or can be read once only
                where D is wanted.
        """
        refuse_weights("evaluate", sample_weight=sample_weight)
        if not kwargs.get("_use_cached_eval_dataset"):  # else `fit` has checked them
            x = self._checked("evaluate", x, y, steps)
        if steps is not None:
            steps = check_whole_number("steps", steps, least=1)
            conditional = is_conditional(self)
            ((x, *c), batch_size) = first_batches(x, y, batch_size, steps, conditional)
            y = c[0] if c else None
            kwargs.pop("_use_cached_eval_dataset", None)  # Keras's: other rows
        if self.divergence is not None and is_one_pass(x):
            raise InputError(
                "evaluate: expected data that can be read again, for D of the whole "
                f"set; received a {type(x).__name__}, pass a data set or an array"
            )
        super().evaluate(
            x,
            y,
            batch_size,
            verbose,
            callbacks=callbacks,
            return_dict=True,
            **kwargs,
        )
        refuse_empty("evaluate", self.examples_seen())
        outside, seen = self.examples_outside_support(), self.examples_seen()
        refuse_outside("evaluate", outside, x, self._form, seen)
        estimates = self._means.estimates()
        if self.divergence is None:
            return estimates
        divergence = self._set_divergence.of_all(x, y)
        alpha, loss = self.number(self.alpha), estimates["loss"]
        if alpha > 0:
            zero = tf.zeros([], tf.float64)
            alone = ObjectiveTerms(zero, zero, zero + divergence.value)
            without = alone._replace(divergence=None)
            added = float(self.objective(alone) - self.objective(without))
            error = np.hypot(loss.standard_error, alpha * divergence.standard_error)
            estimates["loss"] = Estimate(loss.value - added, float(error), loss.n)
        return {**estimates, "divergence": divergence}

    def predict(self, x: Any, *args: Any, **kwargs: Any) -> np.ndarray:
        """Returns posterior means [n, latent_dim].

        Args:
            x: Arrays [n, *data_shape] or a data set.
            *args: As of `keras.Model.predict`.
            **kwargs: As of `keras.Model.predict`.

        Raises:
            InputError: The data are of another shape or kind.
        """
        steps = args[2] if len(args) > 2 else kwargs.get("steps")
        x = checked_data("predict", x, None, self._form, steps)
        return super().predict(x, *args, **kwargs)

    def train_on_batch(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        class_weight: Any = None,
        return_dict: bool = False,
    ) -> Any:
        """Takes one step and returns the logs of its batch, as `fit` gives them.

        Args:
            x: [batch, *data_shape].
            y: Of no use.
            sample_weight: Refused.
            class_weight: Refused.
            return_dict: As of `evaluate`.

        Raises:
            InputError: As of `fit`.
        """
        refuse_weights(
            "train_on_batch", sample_weight=sample_weight, class_weight=class_weight
        )
        x = self._checked("train_on_batch", x, y)
        condition = y if is_conditional(self) else None
        logs = super().train_on_batch(x, condition, return_dict=True)
        return logs if return_dict else [logs[name] for name in self.metrics_names]

    def test_on_batch(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        return_dict: bool = False,
    ) -> Any:
        """Returns what `evaluate` does for one batch, D included.

        Args:
            x: [batch, *data_shape].
            y: Of no use.
            sample_weight: Refused.
            return_dict: As of `evaluate`.

        Raises:
            InputError: As of `evaluate`.
        """
        given = {"sample_weight": sample_weight, "return_dict": return_dict}
        return self.evaluate(x, y, batch_size=len(x), verbose=0, **given)

    @property
    def metrics_names(self) -> list[str]:
        """Names of the logs, in the order of `evaluate`."""
        return self._means.names

    def divergence_by_size(
        self, x: Any, batch_size: int, c: Any = None
    ) -> tuple[Estimate, Estimate]:
        """Returns D of batches (a mean), and of all examples at once (10 draws).

        Args:
            x: Arrays or a data set that can be read twice, of which at most 10,000
                examples are used.
            batch_size: Of the batches.
            c: Beside an array, the conditions of a conditional model.
        """
        whole = self._set_divergence
        return whole.of_batches(x, batch_size, c), whole.of_all(x, c)

    def examples_seen(self) -> int:
        """Returns the number of examples behind the present means."""
        return int(self._means.count.numpy())

    def examples_outside_support(self) -> int:
        """Returns how many of them lie outside the likelihood's support."""
        return int(self._means.outside.numpy())

    @staticmethod
    def number(variable: keras.Variable) -> float:
        """Returns a scalar weight's value now, under a strategy too."""
        return float(tf.convert_to_tensor(variable.value))

    # -- saving ------------------------------------------------------------------------

    def save(self, filepath: Any, *args: Any, **kwargs: Any) -> None:
        """Saves as Keras does, in its own format.

        Args:
            filepath: Ends in `.keras`.
            *args: As of `keras.Model.save`.
            **kwargs: As of `keras.Model.save`.

        Raises:
            InputError: The path has another ending, or the divergence cannot be saved.
        """
        if Path(filepath).suffix != ".keras":
            raise InputError(
                f"save: expected a path that ends in .keras; received {filepath}, of a "
                "format that keeps no priors and heads; for serving there is "
                "tf_decomp.export_saved_model"
            )
        self.get_config()  # refuses before Keras has made the file
        super().save(filepath, *args, **kwargs)

    def export(self, filepath: Any, *args: Any, **kwargs: Any) -> None:
        """Exports `call`, x -> posterior means, as Keras does.

        `tf_decomp.export_saved_model` gives all signatures: scales, decoder, prior.

        Args:
            filepath: As of `keras.Model.export`.
            *args: As of `keras.Model.export`.
            **kwargs: As of `keras.Model.export`.
        """
        if kwargs.get("input_signature") is None:
            shape, dtype = (None, *self.data_shape), self.variable_dtype
            kwargs["input_signature"] = [keras.InputSpec(dtype=dtype, shape=shape)]
        self(np.zeros([1, *self.data_shape]))  # Keras exports what was called
        super().export(filepath, *args, **kwargs)

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
            "divergence": _saved_divergence(self.divergence),
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
        latent_dim = self.latent_dim
        blank = self._blank_condition()
        likelihood = self.decode(np.zeros([1, latent_dim]), *blank)
        shape = _check_output("decoder", likelihood, None)
        self._form = DataForm(shape, support_of(likelihood))
        self._encodes_missing = True
        posterior = self.encode(np.zeros([1, *shape]), *blank)
        _check_output("encoder", posterior, (latent_dim,))
        self.prior.connect(self.encoder, shape)
        dtype = self.prior.distribution.dtype
        if dtype != self.variable_dtype:
            raise InputError(
                f"prior: expected numbers of type {self.variable_dtype}, the model's; "
                f"received {dtype.name}, convert its parameters"
            )
        unknown = self.encode(np.full([1, *shape], np.nan), *blank).mean()
        self._encodes_missing = bool(tf.reduce_all(tf.math.is_finite(unknown)))
        missing = self._encodes_missing and leaves_missing_out(likelihood)
        self._form = self._form._replace(
            missing=missing, condition_dim=self.condition_dim
        )
        if self.divergence is not None:
            batch_first(posterior)  # refuses what cannot be joined over batches
        return posterior

    def _maybe_symbolic_build(self, *args: Any, **kwargs: Any) -> None:
        """Does nothing: all is built, and Keras would average batches of two sizes."""

    def _checked(self, name: str, x: Any, y: Any, steps: int | None = None) -> Any:
        """Returns data for Keras, checked as far as that is possible before a pass."""
        x = checked_data(name, x, y, self._form, steps)
        check_values(name, x, y, self._form, self)
        return x

    def _check_batch_size(self, size: int) -> None:
        """Refuses batches too small for a divergence that has weight."""
        least = getattr(self.divergence, "least_batch", 1)
        with tf.init_scope():  # a step that is traced asks too
            is_refused = size < least and self.number(self.alpha) > 0
        if is_refused:
            raise InputError(
                f"batch_size={size}: the divergence compares the encodings of a batch "
                f"with each other and needs {least} or more; raise batch_size, or set "
                "alpha to 0"
            )

    def _checked_validation(self, data: Any, steps: int | None) -> Any:
        """Returns `validation_data` of Keras, checked."""
        if not isinstance(data, tuple | list):
            return self._checked("validation_data", data, None, steps)
        x, y, weights = keras.utils.unpack_x_y_sample_weight(data)
        refuse_weights("validation_data", sample_weight=weights)
        return (self._checked("validation_data", x, y, steps), *data[1:])

    def _inputs(self, data: Any) -> tuple[tf.Tensor, tf.Tensor | None]:
        """Returns x and c of a batch, and counts what of x is outside the support."""
        x, support = self._examples(batch_input(data)), self._form.support
        if support.is_bounded:
            self._means.count_outside(count_outside(x, support))
        if self.condition_dim is None:
            return x, None
        c = condition_of(data)
        return x, as_tensor("c", c, (self.condition_dim,), self.variable_dtype)

    def _blank_condition(self) -> tuple[np.ndarray, ...]:
        """Returns what `encode` and `decode` of one example take beside it."""
        return (
            () if self.condition_dim is None else (np.zeros([1, self.condition_dim]),)
        )

    def _examples(self, x: Any) -> tf.Tensor:
        return as_tensor("x", x, self.data_shape, self.variable_dtype)

    def _one_or_unknown(self, x: tf.Tensor, c: tf.Tensor | None) -> tf.Tensor:
        """Returns 1 for each example, but NaN for one that is not encoded [batch]."""
        if self._encodes_missing:
            x = tf.where(tf.math.is_nan(x), tf.zeros_like(x), x)
        return one_or_nan(x) if c is None else one_or_nan(x) * one_or_nan(c)

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
        """Makes a weight of the objective, which refuses what is not usable."""

        def check(value: float) -> None:
            if check_real_number(name, value, least=0) > 0 and name == "alpha":
                _check_weighed(self.divergence, value)

        return checked_weight(self, name, value, check)


_HEADS = {
    "encoder": "add a NormalPosterior head behind a layer of "
    "NormalPosterior.params_size(latent_dim) outputs",
    "decoder": "add a NormalLikelihood head (or another) behind a layer of its "
    "params_size() outputs",
}


def _check_output(
    network: str, output: Any, event: tuple[int, ...] | None
) -> tuple[int, ...]:
    """Returns the event shape of what a network made of one input, if it is right."""
    wanted = "[data_dim, ...]"
    if event is not None:
        wanted = f"{list(event)} (the prior has latent_dim={event[0]})"
    if not isinstance(output, tfd.Distribution):
        received = f"a {type(output).__name__}, {_HEADS[network]}"
    else:
        received = f"batch {output.batch_shape} and event {output.event_shape}"
        shape = tuple(output.event_shape.as_list())
        if output.batch_shape == [1] and shape and event in (None, shape):
            return shape
    raise InputError(
        f"{network}: for one input expected a distribution with batch shape [1] and "
        f"event shape {wanted}; received {received}"
    )


def _set_direction(callback: Any) -> None:
    """Says whether what a callback monitors shall rise or fall, if it does not know.

    Keras knows that of its own losses and metrics; by default its plateau callback
    takes every other number for a loss.
    """
    monitored = str(getattr(callback, "monitor", "")).removeprefix("val_")
    if monitored in LOGS and getattr(callback, "mode", None) == "auto":
        callback.mode = "max" if monitored in ("elbo", "log_likelihood") else "min"


def _find_divergence(
    divergence: str | Callable[..., tf.Tensor] | None,
) -> Callable[..., tf.Tensor] | None:
    if divergence is None or callable(divergence):
        return divergence
    if not isinstance(divergence, str) or divergence not in DIVERGENCES:
        raise InputError(
            f"divergence: expected one of {sorted(DIVERGENCES)} or a callable; "
            f"received {divergence!r}"
        )
    return DIVERGENCES[divergence]


def _saved_divergence(divergence: Callable[..., tf.Tensor] | None) -> Any:
    """Returns what Keras loads a divergence from, if it can."""
    named = getattr(divergence, "__name__", "") != "<lambda>"
    with contextlib.suppress(TypeError, ValueError):
        if named:
            return keras.saving.serialize_keras_object(divergence)
    raise InputError(
        "divergence: Keras saves named functions and classes with get_config only; "
        f"received {divergence!r:.80}, name it and register it with "
        "keras.saving.register_keras_serializable"
    )


def _check_weighed(divergence: Callable[..., tf.Tensor] | None, alpha: float) -> None:
    if divergence is None:
        raise InputError(
            f"alpha={alpha} weighs a divergence, but none is given; choose one of "
            f"{sorted(DIVERGENCES)} or set alpha to 0"
        )
