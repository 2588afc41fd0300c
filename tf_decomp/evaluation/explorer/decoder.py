# SPDX-License-Identifier: Apache-2.0
"""A decoder as ONNX, which the page runs."""

import tensorflow as tf

from tf_decomp.errors import InputError
from tf_decomp.likelihoods import likelihood_mean
from tf_decomp.vae import DecompositionVAE


def decoder_onnx(vae: DecompositionVAE) -> bytes:
    """Returns an ONNX model of z [1, latent_dim] -> mean of p(x|z) [1, *data_shape].

    Both are float32, whatever the model computes in. The page decodes one code at a
    time, and operations that ONNX lacks for batches of any size vanish for one.

    Args:
        vae: The model.

    Raises:
        InputError: tf2onnx is missing, or the decoder uses what ONNX does not have.
    """
    try:
        import onnx  # noqa: PLC0415  (of an extra)
        import tf2onnx  # noqa: PLC0415  (of an extra)
    except ModuleNotFoundError:
        raise InputError(
            "explorer.html needs tf2onnx, which is not installed; "
            "run pip install 'tf-decomp[report,serving]'"
        ) from None

    def decode(z: tf.Tensor) -> dict[str, tf.Tensor]:
        mean = likelihood_mean(vae.decode(tf.cast(z, vae.variable_dtype)))
        return {"mean": tf.cast(mean, tf.float32)}

    signature = [tf.TensorSpec([1, vae.latent_dim], tf.float32, "z")]
    model, _ = tf2onnx.convert.from_function(
        tf.function(decode, signature), signature, opset=17
    )
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        raise InputError(
            "explorer.html: expected a decoder that ONNX can hold; received one with "
            f"other operations ({str(error).splitlines()[0]}); evaluate without it"
        ) from None
    return model.SerializeToString()
