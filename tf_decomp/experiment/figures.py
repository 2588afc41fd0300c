# SPDX-License-Identifier: Apache-2.0
"""The plots of a run; one that cannot be drawn is said and takes nothing with it."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure

from tf_decomp.data import Split
from tf_decomp.experiment.run_files import RunFiles, warn
from tf_decomp.plots import (
    latent_density,
    latent_marginals,
    reconstructions,
    samples,
    save_figure,
    training_curves,
)
from tf_decomp.posteriors import aggregate_log_prob
from tf_decomp.vae import DecompositionVAE

_NAMES = ("training_curves", "latents", "reconstructions", "samples")
_NUM_CODES = 2_000
_NUM_SHOWN = 64
_GRID = 241

_Drawn = TypeVar("_Drawn")


def missing_plots(files: RunFiles) -> list[Path]:
    """Returns the plots of a run that are not there."""
    paths = [files.plots / f"{name}.png" for name in _NAMES]
    return [path for path in paths if not path.exists()]


def draw_run(
    files: RunFiles,
    vae: DecompositionVAE,
    test: Split,
    history: Sequence[Mapping[str, float]],
    title: str,
    divergence_unit: str,
) -> None:
    """Writes the plots of a run that are not there; one that fails is said on stderr.

    Args:
        files: Of the run.
        vae: The trained model.
        test: Its test set.
        history: Rows of history.csv.
        title: Says what was trained.
        divergence_unit: Of D; "" where it has none.

    Example:
        >>> draw_run(files, vae, dataset.test, rows, "alpha 5, beta 0.01", "nats")
    """
    count = _NUM_CODES if len(vae.data_shape) == 1 else _NUM_SHOWN
    x, white = test.examples(slice(count)), brightest(test)

    def curves() -> Figure:
        columns = {
            name: np.array([row[name] for row in history]) for name in history[0]
        }
        return training_curves(columns, title, divergence_unit)

    figures: dict[str, Callable[[], Figure]] = {
        "training_curves": curves,
        "latents": lambda: _latents(vae, test, title),
        "reconstructions": lambda: reconstructions(
            x / white, vae.reconstruct(x).numpy() / white, title
        ),
        "samples": lambda: samples(
            vae.generate(count, seed=0).numpy() / white, x / white, title
        ),
    }
    for path in missing_plots(files):
        attempt(path, lambda: save_figure(figures[path.stem](), path))  # noqa: B023


def brightest(test: Split) -> float:
    """Returns what images are divided by to be drawn: 1, or of counts their largest.

    Args:
        test: Of which the first examples are looked at; vectors give 1.

    Example:
        >>> brightest(Split(np.full([5, 8, 8, 1], 7.0)))
        7.0
    """
    x = test.examples(slice(_NUM_SHOWN))
    if x.ndim < 4 or not np.isfinite(x).any() or np.nanmin(x) < 0:
        return 1.0
    return max(1.0, float(np.nanmax(x)))


def attempt(path: Path, draw: Callable[[], _Drawn]) -> _Drawn | None:
    """Returns what `draw` does, or says in one line on stderr why it cannot.

    Args:
        path: What is drawn.
        draw: Draws it.
    """
    try:
        return draw()
    except Exception as error:
        warn(f"{path}: not drawn ({type(error).__name__}: {str(error)[:300]})")
        return None


def _latents(vae: DecompositionVAE, test: Split, title: str) -> Figure:
    posterior = vae.encode(test.examples(slice(_NUM_CODES)))
    means, prior = posterior.mean().numpy(), vae.prior.distribution
    prior_samples = prior.sample(_NUM_CODES, seed=tf.constant([0, 0])).numpy()
    if vae.latent_dim != 2:
        codes = posterior.sample(seed=tf.constant([0, 1])).numpy()
        return latent_marginals(codes, prior_samples, means, title=title)
    reach = 1.15 * max(
        np.quantile(np.abs(prior_samples), 0.999), np.quantile(np.abs(means), 0.99)
    )
    ticks = np.linspace(-reach, reach, _GRID, dtype=means.dtype)
    grid = np.stack(np.meshgrid(ticks, ticks), axis=-1).reshape(-1, 2)
    density = np.exp(aggregate_log_prob(posterior, tf.constant(grid)).numpy())
    prior_density = np.exp(prior.log_prob(grid).numpy())
    shape = (_GRID, _GRID)
    return latent_density(
        density.reshape(shape),
        prior_density.reshape(shape),
        (-reach, reach, -reach, reach),
        means,
        None if test.labels is None else test.labels[:_NUM_CODES],
        title=title,
    )
