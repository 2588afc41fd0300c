# SPDX-License-Identifier: Apache-2.0
"""The figures of an evaluation."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure
from tensorflow_probability import distributions as tfd

from tf_decomp.data import Split
from tf_decomp.experiment.figures import attempt, brightest
from tf_decomp.experiment.finished import decode_moved
from tf_decomp.experiment.run_files import RunFiles
from tf_decomp.likelihoods import likelihood_point
from tf_decomp.metrics import active_dimensions
from tf_decomp.plots import (
    class_magnitudes,
    interpolations,
    pairwise_marginals,
    save_figure,
    save_traversal_gif,
    traversals,
    two_factors,
)
from tf_decomp.vae import DecompositionVAE

_QUANTILES = np.array([0.005, 0.05, 0.15, 0.3, 0.5, 0.7, 0.85, 0.95, 0.995])
_NUM_PRIOR_SAMPLES = 20_000
_NUM_CODES = 5_000
_NUM_TRAVERSED = 10
_NUM_INTERPOLATED = 8
_INTERPOLATION_STEPS = 8


class Codes(NamedTuple):
    """What the figures need of a model's encodings.

    Attributes:
        posterior: q(z|x) of the test set, batch shape [n].
        means: [n, latent_dim].
        scales: [n, latent_dim] standard deviations.
        prior_samples: [m, latent_dim].
        order: [latent_dim] dimensions by the falling share of the variance of q(z_d)
            that tells data apart, whatever a dimension's unit.
        active: [latent_dim] whether that share makes a dimension active.
    """

    posterior: tfd.Distribution
    means: np.ndarray
    scales: np.ndarray
    prior_samples: np.ndarray
    order: np.ndarray
    active: np.ndarray


def collect_codes(posterior: tfd.Distribution, prior: tfd.Distribution) -> Codes:
    """Gathers encodings and prior samples for the figures.

    Args:
        posterior: q(z|x) of the test set, batch shape [n].
        prior: p(z).
    """
    means, scales = posterior.mean().numpy(), posterior.stddev().numpy()
    samples = prior.sample(_NUM_PRIOR_SAMPLES, seed=tf.constant([0, 2])).numpy()
    signal, noise = np.var(means, axis=0), np.mean(scales**2, axis=0)
    order = np.argsort(-signal / np.maximum(signal + noise, np.finfo(np.float32).tiny))
    active = active_dimensions(means, posterior_scales=scales)
    return Codes(posterior, means, scales, samples, order, active)


def draw_evaluation(
    files: RunFiles, vae: DecompositionVAE, test: Split, codes: Codes, texts: list[str]
) -> list[dict[str, str]]:
    """Writes the figures and returns their entries in evaluation.json.

    One that cannot be drawn is said on stderr and has no entry.

    Args:
        files: Of the run.
        vae: The trained model.
        test: Its test set.
        codes: Its encodings.
        texts: What the two-factor picture says of overlap and of regularisation.
    """
    plots = files.plots
    parts: dict[Path, Callable[[], list[dict[str, str]]]] = {
        plots / "two_factors.png": lambda: _save(
            plots / "two_factors.png",
            _two_factors(codes, texts),
            "The two factors of decomposition",
            "Left: how encodings overlap. Right: the aggregate encoding q(z) against "
            "the prior, as in Figure 1 of the paper.",
        ),
        plots / "traversals.png": lambda: _draw_traversals(files, vae, test, codes),
    }
    if vae.latent_dim > 2:
        path = plots / "pairwise_marginals.png"
        parts[path] = lambda: _draw_pairs(plots / "pairwise_marginals.png", codes)
    if test.labels is not None:
        labels = test.labels
        parts[plots / "class_magnitudes.png"] = lambda: _save(
            plots / "class_magnitudes.png",
            class_magnitudes(codes.means, labels),
            "Mean magnitude of each dimension by class",
            "Error bars are two standard errors, as in the paper's Figure 5 (top).",
        )
    if len(vae.data_shape) == 3:
        parts[plots / "interpolations.png"] = lambda: _draw_interpolations(
            files, vae, test, codes
        )
    drawn = (attempt(path, draw) for path, draw in parts.items())
    return [entry for entries in drawn for entry in entries or ()]


def _draw_pairs(path: Path, codes: Codes) -> list[dict[str, str]]:
    seed = tf.constant([0, 3])
    sampled = codes.posterior.sample(seed=seed).numpy()[:_NUM_CODES]
    return _save(
        path,
        pairwise_marginals(sampled, codes.prior_samples, codes.order[:4]),
        "Pairwise marginals",
        "The four dimensions of q(z) that tell data apart best, against the prior.",
    )


def _two_factors(codes: Codes, texts: list[str]) -> Figure:
    pair = np.sort(codes.order[:2]) if len(codes.order) > 1 else np.array([0, 0])
    return two_factors(
        codes.means[:, pair],
        codes.scales[:, pair],
        codes.prior_samples[:, pair],
        texts[0],
        texts[1],
        dimensions=pair,
    )


def _draw_traversals(
    files: RunFiles, vae: DecompositionVAE, test: Split, codes: Codes
) -> list[dict[str, str]]:
    """Decodes one example while each dimension runs along quantiles of the prior."""
    dimensions = np.sort(codes.order[:_NUM_TRAVERSED])
    positions = np.quantile(codes.prior_samples[:, dimensions], _QUANTILES, axis=0).T
    latents = np.tile(codes.means[0], (*positions.shape, 1))
    for row, dimension in enumerate(dimensions):
        latents[row, :, dimension] = positions[row]
    decoded = likelihood_point(
        vae.decode(latents.reshape(-1, latents.shape[-1]))
    ).numpy()
    frames = decoded.reshape(*positions.shape, *vae.data_shape) / brightest(test)
    x = test.examples(slice(2_000)) if len(vae.data_shape) == 1 else None
    figure = traversals(frames, dimensions, positions, _QUANTILES, x)
    caption = (
        "The encoding of one test example, decoded while one dimension runs along "
        "quantiles of the prior's marginal."
    )
    idle = [str(d + 1) for d in dimensions if not codes.active[d]]
    if idle:
        which = ", ".join(idle)
        caption += f" Inactive dimensions, which carry next to nothing: {which}."
    path = files.plots / "traversals.png"
    entries = _save(path, figure, "Latent traversals", caption)
    if len(vae.data_shape) == 3:
        moving = files.plots / "traversals.gif"
        save_traversal_gif(frames, moving, dimensions, _QUANTILES)
        entries.append(_entry(moving, "Latent traversals, animated", caption))
    return entries


def _draw_interpolations(
    files: RunFiles, vae: DecompositionVAE, test: Split, codes: Codes
) -> list[dict[str, str]]:
    """Moves the largest active dimension of some examples, as in Figure 5 (bottom)."""
    count = min(_NUM_INTERPOLATED, len(codes.means))
    starts = codes.means[:count]
    relative = np.abs(starts) / np.maximum(codes.means.std(axis=0), 1e-6)
    if codes.active.any():
        relative[:, ~codes.active] = 0
    dimensions = relative.argmax(axis=1)
    frames = decode_moved(vae, starts, dimensions, _INTERPOLATION_STEPS)
    labels = (
        None if test.labels is None else [str(label) for label in test.labels[:count]]
    )
    examples, white = test.examples(slice(count)), brightest(test)
    figure = interpolations(frames / white, dimensions, examples / white, labels)
    return _save(
        files.plots / "interpolations.png",
        figure,
        "Interpolation along active dimensions",
        "Each column moves one dimension of a test example's encoding from z to "
        "z + sign(z), as in Figure 5 (bottom) of the paper.",
    )


def _save(path: Path, figure: Figure, title: str, caption: str) -> list[dict[str, str]]:
    save_figure(figure, path)
    return [_entry(path, title, caption)]


def _entry(path: Path, title: str, caption: str) -> dict[str, str]:
    words = {"title": title, "caption": caption, "alt": f"{title}. {caption}"}
    return {"file": f"{path.parent.name}/{path.name}", **words}
