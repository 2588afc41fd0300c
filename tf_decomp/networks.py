# SPDX-License-Identifier: Apache-2.0
"""Encoders x -> q(z|x) and decoders z -> p(x|z) as Keras models."""

import inspect
import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tf_decomp.checks import check_sizes, check_weights, check_whole_number, short
from tf_decomp.errors import InputError
from tf_decomp.likelihoods import (
    BernoulliLikelihood,
    CategoricalLikelihood,
    ContinuousBernoulliLikelihood,
    LaplaceLikelihood,
    NegativeBinomialLikelihood,
    NormalLikelihood,
    PoissonLikelihood,
)
from tf_decomp.posteriors import (
    FlowPosterior,
    FullCovarianceNormalPosterior,
    LaplacePosterior,
    NormalPosterior,
)
from tf_decomp.tracing import compiled

layers = keras.layers
_register = keras.saving.register_keras_serializable("tf_decomp")

POSTERIORS = {
    "normal": NormalPosterior,
    "laplace": LaplacePosterior,
    "full_covariance_normal": FullCovarianceNormalPosterior,
    "flow": FlowPosterior,
}
LIKELIHOODS = {
    "normal": NormalLikelihood,
    "laplace": LaplaceLikelihood,
    "bernoulli": BernoulliLikelihood,
    "continuous_bernoulli": ContinuousBernoulliLikelihood,
    "poisson": PoissonLikelihood,
    "negative_binomial": NegativeBinomialLikelihood,
    "categorical": CategoricalLikelihood,
}

# With 6 it is faster than Keras's layer, with 16 slower.
_FEW_CHANNELS = 6

_KERNEL, _STRIDE = 4, 2


class _Network(keras.Model):
    """A body of Keras layers under a distribution head, rebuilt from its arguments.

    `smallest` is the shape of the smallest input: image sides are multiples of its.
    """

    def __init__(
        self,
        body: Sequence[keras.layers.Layer],
        head: Any,
        smallest: tuple[int, ...],
        config: dict[str, Any],
        kwargs: dict[str, Any],
    ) -> None:
        super().__init__(**kwargs)
        check_weights(type(self).__name__, count_weights(body, smallest))
        self.body = keras.Sequential(body)
        self.head = head
        self._smallest, self._config = smallest, config

    def call(self, inputs: tf.Tensor, training: bool = False) -> tfd.Distribution:
        shape = tuple(inputs.shape)
        self._check_inputs(shape)
        if not self.body.built:
            count = count_weights(self.body.layers, shape[1:])
            check_weights(type(self).__name__, count)
        return self.head(self.body(inputs, training=training))

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Any:
        """Returns the shape of the mean, for functional models made of this one."""
        return self.head.compute_output_shape(
            self.body.compute_output_shape(input_shape)
        )

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, **self._config}

    def _check_inputs(self, shape: tuple[int | None, ...]) -> None:
        if len(shape) != 1 + len(self._smallest):
            wanted = "images [batch, height, width, channels]"
            if len(self._smallest) == 1:
                wanted = "vectors [batch, length]"
            raise InputError(
                f"{type(self).__name__}: expected {wanted}; received shape "
                f"{list(shape)}"
            )
        _check_sides(shape[1:-1], self._smallest[0])


@_register
class MLPEncoder(_Network):
    """x [batch, data_dim] -> q(z|x), through dense ReLU layers.

    Args:
        latent_dim: Number of latent dimensions.
        hidden: Units of the hidden layers.
        posterior: "normal", "laplace", "full_covariance_normal", "flow" or the name
            under which a head of your own is registered with Keras.
        missing: Whether NaN marks a missing value of x; see FillMissing.
        posterior_settings: Further arguments of the posterior's head, as
            {"num_couplings": 6} of a flow.
        **kwargs: Arguments of `keras.Model`.

    Raises:
        InputError: A size is no whole number >= 1, the weights do not fit into memory
            (`tf_decomp.checks.check_weights`), the posterior is not known, or has no
            such settings.

    Example:
        >>> MLPEncoder(latent_dim=2)(tf.zeros([5, 3])).mean()
    """

    def __init__(
        self,
        latent_dim: int,
        hidden: Sequence[int] = (100,),
        posterior: str = "normal",
        missing: bool = False,
        posterior_settings: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        latent_dim = check_whole_number("MLPEncoder: latent_dim", latent_dim, 1)
        settings = posterior_settings or {}
        head, units = _posterior(posterior, latent_dim, settings)
        hidden = check_sizes("MLPEncoder: hidden", hidden)
        super().__init__(
            [*_filled(missing), *_dense(hidden), layers.Dense(units)],
            head,
            (1,),
            {
                "latent_dim": latent_dim,
                "hidden": list(hidden),
                "posterior": posterior,
                "missing": missing,
                "posterior_settings": dict(settings),
            },
            kwargs,
        )


@_register
class MLPDecoder(_Network):
    """z [batch, latent_dim] -> p(x|z) of vectors, through dense ReLU layers.

    Args:
        data_dim: Length of one datum.
        hidden: Units of the hidden layers.
        likelihood: "normal" (scale given by the network), "laplace" (likewise),
            "bernoulli", "continuous_bernoulli", "poisson", "negative_binomial",
            "categorical" or the registered name of a head of your own.
        num_classes: Of likelihood "categorical", and of no other.
        missing: Whether NaN marks a missing value, which log p(x|z) leaves out.
        **kwargs: Arguments of `keras.Model`.

    Raises:
        InputError: As of MLPEncoder, or `num_classes` and the likelihood do not fit.

    Example:
        >>> MLPDecoder(data_dim=3)(tf.zeros([5, 2])).mean()
    """

    def __init__(
        self,
        data_dim: int,
        hidden: Sequence[int] = (100,),
        likelihood: str = "normal",
        num_classes: int | None = None,
        missing: bool = False,
        **kwargs: Any,
    ) -> None:
        data_dim = check_whole_number("MLPDecoder: data_dim", data_dim, 1)
        hidden = check_sizes("MLPDecoder: hidden", hidden)
        head = _likelihood(likelihood, [data_dim], num_classes, **_masked(missing))
        super().__init__(
            [*_dense(hidden), layers.Dense(head.params_size())],
            head,
            (1,),
            {
                "data_dim": data_dim,
                "hidden": list(hidden),
                "likelihood": likelihood,
                "num_classes": num_classes,
                "missing": missing,
            },
            kwargs,
        )


@_register
class ConvEncoder(_Network):
    """Images [batch, height, width, channels] -> q(z|x).

    4x4 convolutions of stride 2, each halving the sides, then dense layers. The
    defaults are the paper's network for 2D Shapes; `filters=(32, 64, 128),
    hidden=(), batch_norm=True` is the one for Fashion-MNIST, whose last valid
    convolution over the whole map is the same function as the dense layer here.

    Args:
        latent_dim: Number of latent dimensions.
        filters: Channels of the convolutions.
        hidden: Units of the dense ReLU layers behind them.
        batch_norm: Whether all convolutions but the first are batch-normalised,
            with LeakyReLU(0.2), no biases and N(0, 0.02^2) initial weights;
            otherwise ReLU.
        posterior: As of MLPEncoder.
        missing: As of MLPEncoder.
        posterior_settings: As of MLPEncoder.
        **kwargs: Arguments of `keras.Model`.

    Raises:
        InputError: As of MLPEncoder, or (when called) a side is not divisible by 2 for
            every convolution.

    Example:
        >>> ConvEncoder(latent_dim=10)(tf.zeros([5, 64, 64, 1])).mean()
    """

    def __init__(
        self,
        latent_dim: int,
        filters: Sequence[int] = (32, 32, 64, 64),
        hidden: Sequence[int] = (128,),
        batch_norm: bool = False,
        posterior: str = "normal",
        missing: bool = False,
        posterior_settings: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        latent_dim = check_whole_number("ConvEncoder: latent_dim", latent_dim, 1)
        settings = posterior_settings or {}
        head, units = _posterior(posterior, latent_dim, settings)
        filters = check_sizes("ConvEncoder: filters", filters, at_least=1)
        hidden = check_sizes("ConvEncoder: hidden", hidden)
        body = _filled(missing)
        for index, channels in enumerate(filters):
            body.append(layers.Conv2D(channels, 4, 2, "same", **_weights(batch_norm)))
            if batch_norm and index > 0:
                body.append(_batch_norm())
            body.append(layers.LeakyReLU(0.2) if batch_norm else layers.ReLU())
        body += [layers.Flatten(), *_dense(hidden)]
        body.append(layers.Dense(units, **_weights(batch_norm)))
        config = {
            "latent_dim": latent_dim,
            "filters": list(filters),
            "hidden": list(hidden),
            "batch_norm": batch_norm,
            "posterior": posterior,
            "missing": missing,
            "posterior_settings": dict(settings),
        }
        side = 2 ** len(filters)
        super().__init__(body, head, (side, side, 1), config, kwargs)


@_register
class ConvDecoder(_Network):
    """z [batch, latent_dim] -> p(x|z) of images.

    Dense layers to a small map, then 4x4 transposed convolutions of stride 2. The
    defaults are the paper's network for 2D Shapes; `filters=(128, 64, 32),
    hidden=(), batch_norm=True` is the one for Fashion-MNIST.

    Args:
        data_shape: (height, width, channels).
        filters: Channels of the small map and of the transposed convolutions but
            the last, which gives the likelihood's parameters.
        hidden: Units of the dense ReLU layers in front.
        batch_norm: Whether every map but the last is batch-normalised, without
            biases and with N(0, 0.02^2) initial weights.
        likelihood: "bernoulli", "normal" (scale given by the network), "laplace"
            (scale 0.1, the paper's), or another as of MLPDecoder.
        num_classes: As of MLPDecoder.
        missing: As of MLPDecoder.
        **kwargs: Arguments of `keras.Model`.

    Raises:
        InputError: As of MLPDecoder, or a side is not divisible by 2 for every
            transposed convolution.

    Example:
        >>> ConvDecoder((64, 64, 1))(tf.zeros([5, 10])).mean()
    """

    def __init__(
        self,
        data_shape: Sequence[int],
        filters: Sequence[int] = (64, 64, 64, 32),
        hidden: Sequence[int] = (128,),
        batch_norm: bool = False,
        likelihood: str = "bernoulli",
        num_classes: int | None = None,
        missing: bool = False,
        **kwargs: Any,
    ) -> None:
        data_shape = _check_image(data_shape)
        filters = check_sizes("ConvDecoder: filters", filters, at_least=1)
        hidden = check_sizes("ConvDecoder: hidden", hidden)
        _check_sides(data_shape[:2], 2 ** len(filters))
        fixed = {"scale": 0.1} if likelihood == "laplace" else {}
        fixed |= _masked(missing)
        head = _likelihood(likelihood, data_shape, num_classes, **fixed)
        height, width = (side // 2 ** len(filters) for side in data_shape[:2])
        body = [
            *_dense(hidden),
            layers.Dense(height * width * filters[0], **_weights(batch_norm)),
            layers.Reshape((height, width, filters[0])),
        ]
        channels = data_shape[2] * head.params_per_value
        steps = [
            layers.Conv2DTranspose(between, 4, 2, "same", **_weights(batch_norm))
            for between in filters[1:]
        ]
        if channels <= _FEW_CHANNELS:
            steps.append(Conv2DTranspose(channels, **_weights(batch_norm)))
        else:
            steps.append(
                layers.Conv2DTranspose(channels, 4, 2, "same", **_weights(batch_norm))
            )
        for step in steps:
            body += [_batch_norm()] if batch_norm else []
            body += [layers.ReLU(), step]
        config = {
            "data_shape": list(data_shape),
            "filters": list(filters),
            "hidden": list(hidden),
            "batch_norm": batch_norm,
            "likelihood": likelihood,
            "num_classes": num_classes,
            "missing": missing,
        }
        super().__init__(body, head, (1,), config, kwargs)


@_register
class FillMissing(keras.layers.Layer):
    """x [..., channels] with NaN -> [..., 2 channels] without, for an encoder.

    The values, 0 for missing ones, then 1 for each that is missing, else 0: without
    these a network could not tell a missing value from a 0.

    Args:
        **kwargs: Arguments of `keras.layers.Layer`.

    Example:
        >>> FillMissing()(tf.constant([[2.0, float("nan")]])).numpy()
        array([[2., 0., 0., 1.]], dtype=float32)
    """

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Returns values and marks along the last axis."""
        missing = tf.math.is_nan(x)
        known = tf.where(missing, tf.zeros_like(x), x)
        return tf.concat([known, tf.cast(missing, x.dtype)], axis=-1)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Any:
        """Returns the shape of values and marks."""
        *others, channels = input_shape
        return (*others, None if channels is None else 2 * channels)


def _filled(missing: bool) -> list[keras.layers.Layer]:
    return [FillMissing()] if missing else []


def _masked(missing: bool) -> dict[str, Any]:
    """Returns what a likelihood is made with: a head of a user's may not know it."""
    return {"missing": True} if missing else {}


def _dense(hidden: Sequence[int]) -> list[keras.layers.Layer]:
    return [layers.Dense(units, "relu") for units in hidden]


def _weights(batch_norm: bool) -> dict[str, Any]:
    if not batch_norm:
        return {}
    # One for each layer: an initialiser gives every layer it serves the same values.
    initial = keras.initializers.RandomNormal(stddev=0.02)
    return {"use_bias": False, "kernel_initializer": initial}


def _batch_norm() -> keras.layers.Layer:
    # Keras's momentum of 0.99 has not settled after a few hundred steps.
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-5, synchronized=True)


def _choose(what: str, table: dict[str, Any], name: str) -> Any:
    """Returns the head of a name, ours or one that is registered with Keras."""
    head = None
    if isinstance(name, str):
        head = table.get(name) or keras.saving.get_registered_object(name)
    if not hasattr(head, "params_size"):
        raise InputError(
            f"{what}: expected one of {sorted(table)}; received {short(name)}"
        )
    return head


def _posterior(
    name: str, latent_dim: int, settings: Mapping[str, Any]
) -> tuple[Any, int]:
    """Returns the head of a name, and how many outputs of a network it needs."""
    family = _choose("posterior", POSTERIORS, name)
    try:
        inspect.signature(family.params_size).bind(latent_dim, **settings)
    except TypeError as error:
        raise InputError(
            f"posterior_settings: expected a dict of what {family.__name__}."
            f"params_size takes beside latent_dim; received {short(settings)} ({error})"
        ) from error
    return family(latent_dim, **settings), family.params_size(latent_dim, **settings)


def _likelihood(
    name: str, data_shape: Sequence[int], num_classes: int | None, **kwargs: Any
) -> Any:
    """Returns the head of a name, with num_classes where it is of classes."""
    family = _choose("likelihood", LIKELIHOODS, name)
    if (family is CategoricalLikelihood) != (num_classes is not None):
        raise InputError(
            "num_classes: expected with likelihood categorical, and with no other; "
            f"received likelihood {short(name)} and num_classes {short(num_classes)}; "
            "give both or neither"
        )
    if num_classes is not None:
        kwargs["num_classes"] = num_classes
    return family(data_shape, **kwargs)


def count_weights(body: Sequence[keras.layers.Layer], shape: Sequence[int]) -> int:
    """Returns how many weights dense and convolutional layers will have.

    Args:
        body: Layers, which need not be built.
        shape: Of one input.

    Example:
        >>> count_weights([keras.layers.Dense(4), keras.layers.Dense(2)], (3,))  # 26
    """
    count, sizes = 0, (None, *shape)
    for layer in body:
        outputs = getattr(layer, "units", getattr(layer, "filters", 0))
        area = math.prod(getattr(layer, "kernel_size", ()))
        count += outputs * (area * (sizes[-1] or 1) + layer.use_bias) if outputs else 0
        sizes = layer.compute_output_shape(sizes)
    return count


def _check_image(data_shape: Sequence[int]) -> tuple[int, ...]:
    sizes = check_sizes("ConvDecoder: data_shape", data_shape)
    if len(sizes) != 3:
        raise InputError(
            "ConvDecoder: data_shape must be (height, width, channels); received "
            f"{short(data_shape)}, grey images have 1 channel"
        )
    return sizes


def _check_sides(sides: Sequence[int | None], factor: int) -> None:
    if any(side is not None and side % factor for side in sides):
        raise InputError(
            f"images of {'x'.join(map(str, sides))}: every side must be divisible by "
            f"{factor} (by 2 for each of the filters); use fewer filters or resize the "
            "images"
        )


@keras.saving.register_keras_serializable("tf_decomp")
class Conv2DTranspose(keras.layers.Conv2DTranspose):
    """Keras's layer with a 4x4 kernel of stride 2, trained faster to few channels.

    oneDNN computes eight output channels where one is wanted. Here training takes a
    product of matrices and adds its four overlapping parts, in XLA; gradients are
    Keras's own. Results agree to rounding. Outside training (so in a SavedModel too)
    this is Keras's layer; its name is too, so that either reads the other's weights.

    Args:
        filters: Output channels.
        **kwargs: Further arguments of Keras's layer but kernel, stride, padding.

    Example:
        >>> Conv2DTranspose(1)(tf.zeros([5, 16, 16, 32]), training=True)
    """

    def __init__(self, filters: int, **kwargs: Any) -> None:
        fixed = {"kernel_size": _KERNEL, "strides": _STRIDE, "padding": "same"}
        super().__init__(filters, **{**kwargs, **fixed})
        self._compiled = compiled(_overlapping_sum)

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Returns [batch, 2 height, 2 width, filters]."""
        if not training:
            return super().call(inputs)
        outputs = self._transpose(inputs, tf.convert_to_tensor(self.kernel))
        if self.use_bias:
            outputs += tf.convert_to_tensor(self.bias)
        return self.activation(outputs)

    @tf.custom_gradient
    def _transpose(self, inputs: tf.Tensor, kernel: tf.Tensor) -> Any:
        def gradient(outer: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            by_inputs = tf.nn.conv2d(outer, kernel, _STRIDE, "SAME")
            by_kernel = tf.raw_ops.Conv2DBackpropFilter(
                input=outer,
                filter_sizes=kernel.shape,
                out_backprop=inputs,
                strides=[1, _STRIDE, _STRIDE, 1],
                padding="SAME",
            )
            return by_inputs, by_kernel

        return self._compiled(inputs, kernel), gradient


def _overlapping_sum(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """Adds the 4x4 patch of every input pixel at its place.

    A patch is 2x2 blocks of 2x2 pixels, and each block lies on the grid of blocks.

    Args:
        x: [batch, height, width, channels].
        kernel: [4, 4, filters, channels].
    """
    height, width, channels = x.shape[1:]
    filters = kernel.shape[2]
    flat = tf.reshape(kernel, [-1, channels])
    patches = tf.matmul(tf.reshape(x, [-1, channels]), flat, transpose_b=True)
    patches = tf.reshape(patches, [-1, height, width, 2, 2, 2, 2, filters])
    blocks = []
    for row in range(2):
        for column in range(2):
            block = tf.transpose(patches[:, :, :, row, :, column], [0, 1, 3, 2, 4, 5])
            rows, columns = [row, 1 - row], [column, 1 - column]
            blocks.append(
                tf.pad(block, [[0, 0], rows, [0, 0], columns, [0, 0], [0, 0]])
            )
    image = tf.reshape(
        tf.add_n(blocks), [-1, 2 * (height + 1), 2 * (width + 1), filters]
    )
    return image[:, 1:-1, 1:-1]
