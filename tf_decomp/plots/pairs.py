# SPDX-License-Identifier: Apache-2.0
"""Aggregate posterior against prior in single latent dimensions and pairs of them."""

import itertools
from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from tf_decomp.plots.arrays import dimension_name
from tf_decomp.plots.densities import (
    DENSITY_COLORS,
    ESTIMATED_MASSES,
    draw_contours,
    draw_density,
    draw_marginal,
    kernel_width,
    normal_shares,
    pair_density,
    widen,
)
from tf_decomp.plots.style import MODEL_COLOR, STYLE

_PAIR_GRID = 81


@mpl.rc_context(STYLE)
def pairwise_marginals(
    codes: np.ndarray, prior_samples: np.ndarray, dimensions: Sequence[int] | np.ndarray
) -> Figure:
    """Draws q(z) against p(z) for single latent dimensions and pairs of them.

    On the diagonal, the histograms of both; below it, q(z) as a heat map under the
    prior's contours, both by kernel density estimates (from at most 20,000 samples,
    evenly spread over the rows). A panel holds the quantiles 0.005 to 0.995 of both and
    a margin.

    Args:
        codes: [n, latent_dim] samples of q(z), such as one of each posterior.
        prior_samples: [m, latent_dim] samples of the prior.
        dimensions: Indices of a few latent dimensions, counted from 0 (the labels
            count from 1).

    Example:
        >>> codes, samples = np.random.default_rng(0).normal(size=(2, 1000, 50))
        >>> figure = pairwise_marginals(codes, samples, [0, 7, 3])
    """
    chosen = list(dimensions)
    names = [dimension_name(dimension) for dimension in chosen]
    count, latent_dim = len(names), codes.shape[1]
    codes, samples = codes[:, chosen], prior_samples[:, chosen]
    side = 1.8 * max(count, 2)
    figure = Figure(figsize=(side + 0.5, side + 0.9), layout="constrained")
    panels = figure.subplots(count, count, squeeze=False, sharex="col")
    for row, name in enumerate(names):
        draw_marginal(panels[row, row], codes[:, row], samples[:, row])
        panels[row, row].set_title(f"{name}, sd {codes[:, row].std():#.2g}")
    _draw_pairs(panels, codes, samples)
    _label_pairs(panels, names)
    handles, labels = panels[0, 0].get_legend_handles_labels()
    if count > 1:
        contours = Line2D([], [], color=MODEL_COLOR)
        handles += [Patch(color=mpl.colormaps[DENSITY_COLORS](0.7)), contours]
        labels += [
            "q(z), pairs: darker is denser",
            "p(z), contours around 50, 90 % of its mass, where they fit",
        ]
    figure.legend(handles, labels, loc="outside lower center", ncols=2)
    figure.suptitle(f"q(z) against p(z), {count} of {latent_dim} latent dimensions")
    return figure


def _draw_pairs(panels: np.ndarray, codes: np.ndarray, samples: np.ndarray) -> None:
    """Draws the pairs below a diagonal of histograms, whose ranges get a margin."""
    diagonal = panels.diagonal()
    for panel in diagonal:
        panel.set_xlim(widen(*panel.get_xlim()))
    ranges = [panel.get_xlim() for panel in diagonal]
    aggregate, prior = (
        [
            normal_shares(values, kernel_width(values), low, high, _PAIR_GRID)
            for values, (low, high) in zip(group.T, ranges, strict=True)
        ]
        for group in (codes, samples)
    )
    for column, row in itertools.combinations(range(len(panels)), 2):
        panel, frame = panels[row, column], (*ranges[column], *ranges[row])
        draw_density(panel, pair_density(aggregate[column], aggregate[row]), frame)
        density = pair_density(prior[column], prior[row])
        draw_contours(panel, density, frame, ESTIMATED_MASSES)
        panels[column, row].remove()


def _label_pairs(panels: np.ndarray, names: list[str]) -> None:
    """Labels the outer axes of the lower triangle of a grid of panels."""
    for row, column in zip(*np.tril_indices(len(names)), strict=True):
        panel = panels[row, column]
        if row == len(names) - 1:
            panel.set_xlabel(f"value of {names[column]}")
        if row == column:
            panel.set_yticks([])
            panel.spines["left"].set_visible(False)
        elif column == 0:
            panel.set_ylabel(f"value of {names[row]}")
        else:
            panel.tick_params(labelleft=False)
