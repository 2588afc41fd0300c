# %% [markdown]
# <!-- SPDX-License-Identifier: Apache-2.0 -->
#
# # Clusters on the pinwheel
#
# Section 6.2 of the paper in 80 seconds: the same data and the same prior, with three
# pairs of weights. This page is a notebook, run when the site is built.

# %%
import tf_decomp  # first: it keeps TensorFlow's notes quiet

# isort: split
import keras
import matplotlib.pyplot as plt
import numpy as np

from tf_decomp.metrics import overlap_report, regularisation_report
from tf_decomp.plots import CLASS_COLORS, CLASS_MARKERS

data = tf_decomp.pinwheel()
prior = tf_decomp.NormalMixturePrior([(0, 1), (0, -1), (1, 0), (-1, 0)], variance=0.03)


def draw(axes, points, labels, title):
    """Draws points [n, 2], each arm in its colour and marker."""
    for arm in np.unique(labels):
        axes.scatter(
            *points[labels == arm].T,
            s=8,
            color=CLASS_COLORS[arm],
            marker=CLASS_MARKERS[arm],
        )
    axes.set(title=title, aspect="equal", xlim=(-2.2, 2.2), ylim=(-2.2, 2.2))


# %% [markdown]
# ## The data, and what we ask for
#
# 400 points in four bent arms; a prior of four clusters. The colours are the arms,
# which training never sees.

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(7, 3.4), layout="constrained")
draw(left, data.train.x, data.train.labels, "Data x")
samples = prior.distribution.sample(400, seed=0).numpy()
right.scatter(*samples.T, s=8, color="0.5")
right.set(title="Prior p(z)", aspect="equal", xlim=(-2.2, 2.2), ylim=(-2.2, 2.2))
plt.show()

# %% [markdown]
# ## Three pairs of weights
#
# - alpha 0, beta 0.01: next to an autoencoder, nothing asks for the prior.
# - alpha 0, beta 1.2: a beta-VAE, more overlap than the data bear.
# - alpha 5, beta 0.01: D asks q(z) to match the prior.


# %%
def trained(alpha, beta):
    """Returns the model after 500 steps, each on all 400 points."""
    keras.utils.set_random_seed(0)
    vae = tf_decomp.DecompositionVAE(
        tf_decomp.MLPEncoder(2),
        tf_decomp.MLPDecoder(2),
        prior,
        divergence="inclusive_kl",
        alpha=alpha,
        beta=beta,
    )
    vae.compile(keras.optimizers.Adam(2e-3))
    vae.fit(data.train.x, batch_size=400, epochs=500, verbose=0)
    return vae


weights = [(0.0, 0.01), (0.0, 1.2), (5.0, 0.01)]
models = [trained(*pair) for pair in weights]

# %% [markdown]
# One sample of q(z|x) for each test point, coloured by arm. The frame is the same as
# the prior's above; codes outside it are not shown.

# %%
figure, panels = plt.subplots(1, 3, figsize=(10, 3.6), layout="constrained")
for axes, (alpha, beta), vae in zip(panels, weights, models, strict=True):
    codes = vae.encode(data.test.x).sample(seed=0).numpy()
    draw(axes, codes, data.test.labels, f"q(z), alpha {alpha:g}, beta {beta:g}")
plt.show()

# %% [markdown]
# ## The verdict, in numbers
#
# Overlap is how many of the 400 test points could have given a code. The KL from the
# prior to q(z) is large where a part of the prior holds no data.

# %%
for (alpha, beta), vae in zip(weights, models, strict=True):
    posterior = vae.encode(data.test.x)
    overlap = overlap_report(posterior)
    match = regularisation_report(posterior, prior)
    print(
        f"alpha {alpha:g}, beta {beta:g}: overlap {overlap.overlap.value:.1f} "
        f"({overlap.verdict}); KL(p || q) {match.inclusive_kl.value:.2f} "
        f"+- {match.inclusive_kl.standard_error:.2f} nats ({match.verdict})"
    )

# %% [markdown]
# ## New data
#
# Samples of the prior, decoded. Only a model whose q(z) covers the prior gives back
# the data's four arms.

# %%
figure, panels = plt.subplots(1, 3, figsize=(10, 3.6), layout="constrained")
for axes, (alpha, beta), vae in zip(panels, weights, models, strict=True):
    points = vae.generate(400, seed=0).numpy()
    axes.scatter(*points.T, s=8, color="0.3")
    axes.set(title=f"generated, alpha {alpha:g}, beta {beta:g}", aspect="equal")
    axes.set(xlim=(-2.2, 2.2), ylim=(-2.2, 2.2))
plt.show()
