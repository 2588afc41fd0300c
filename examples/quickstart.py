# SPDX-License-Identifier: Apache-2.0
"""A VAE with your own arrays and your own prior, in model.fit."""

import keras
import numpy as np
from tensorflow_probability import distributions as tfd

import tf_decomp

keras.utils.set_random_seed(0)  # of the weights, the order and the noise
rng = np.random.default_rng(0)
x = rng.normal(size=(1000, 3)).astype("float32") @ [[1, 0, 1], [0, 1, 0], [0, 0, 0.1]]

prior = tfd.Independent(tfd.Laplace(np.zeros(2, "float32"), 1.0), 1)
vae = tf_decomp.DecompositionVAE(
    encoder=tf_decomp.MLPEncoder(latent_dim=2),
    decoder=tf_decomp.MLPDecoder(data_dim=3),
    prior=prior,
    divergence="dimensionwise_mmd",
    alpha=10.0,
)
vae.compile("adam")
vae.fit(x, batch_size=100, epochs=5, verbose=2)
print("q(z|x):", vae.encode(x[:5]), "\nmeans:\n", vae.encode(x[:5]).mean().numpy())
