# SPDX-License-Identifier: Apache-2.0
"""The noise of a step, drawn for the global batch outside what XLA compiles."""

import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tf_decomp.priors import Prior
from tf_decomp.sampling import draw_noise, standard_noise, stateless_seed

# Streams of the base seed: their numbers are independent.
_TRAIN_NOISE, _TRAIN_PRIOR, _TEST_NOISE, EVALUATED_DIVERGENCE = range(4)


class StepNoise:
    """Noise as a function of the base seed and the number of a step.

    Args:
        posterior: Any q(z|x) of the encoder: it shows the family.
        prior: The prior.
        num_samples: Posterior samples a datum.
        samples_prior: Whether steps use samples of the prior.
        seed: The base seed.

    Example:
        >>> noise, prior_noise = StepNoise(q, prior, 1, True, 0).of_training(0, 400)
    """

    def __init__(
        self,
        posterior: tfd.Distribution,
        prior: Prior,
        num_samples: int,
        samples_prior: bool,
        seed: int,
    ) -> None:
        self._posterior, self._prior = posterior, prior
        self._num_samples, self._samples_prior = num_samples, samples_prior
        self._seed = seed

    @property
    def is_separable(self) -> bool:
        """Whether all noise can be drawn outside a compiled step."""
        sampled = self._samples_prior and self._prior.learns
        learnt = [self._prior.distribution] if sampled else []
        return all(standard_noise(d) is not None for d in [self._posterior, *learnt])

    def of_training(self, step: tf.Tensor, n: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the noise of the posterior and of the prior (its seed if unused).

        Of a prior that does not learn, the second is its samples [n, latent_dim].

        Args:
            step: [] number of the step.
            n: [] examples of the global batch.
        """
        noise = self._of_posterior(self._step_seed(_TRAIN_NOISE, step), n)
        seed = self._step_seed(_TRAIN_PRIOR, step)
        if not self._samples_prior:
            return noise, seed
        prior = self._prior.distribution
        if self._prior.learns:
            return noise, draw_noise(prior, [n], seed)
        return noise, prior.sample(n, seed=seed)

    def of_evaluation(self, batch: tf.Tensor, n: tf.Tensor) -> tf.Tensor:
        """Returns the noise of the posterior.

        Args:
            batch: [] number of the batch in this evaluation.
            n: [] examples of the global batch.
        """
        return self._of_posterior(self._step_seed(_TEST_NOISE, batch), n)

    def _of_posterior(self, seed: tf.Tensor, n: tf.Tensor) -> tf.Tensor:
        return draw_noise(self._posterior, [self._num_samples, n], seed)

    def _step_seed(self, stream: int, step: tf.Tensor) -> tf.Tensor:
        seed = stateless_seed(self._seed, stream)
        return tf.random.fold_in(seed, tf.cast(step, tf.int32))
