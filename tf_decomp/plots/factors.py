# SPDX-License-Identifier: Apache-2.0
"""Overlap and regularisation, the two factors of the paper's Figure 1."""

import textwrap

import matplotlib as mpl
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse, Patch

from tf_decomp.plots.arrays import describe_count, spread_indices
from tf_decomp.plots.densities import (
    ESTIMATED_MASSES,
    Extent,
    draw_contours,
    draw_density,
    kernel_width,
    mixture_density,
    widen,
)
from tf_decomp.plots.style import DATA_COLOR, NOTE_COLOR, STYLE

_GRID = 161
_MOST_ELLIPSES = 25
_POOL = 100
_MOST_POINTS = 2000
_NOTE_COLUMNS = 58
_BELOW = (0.5, -0.12)  # a panel's legend
_NOTE_POINTS = 8
_NOTE_LINE_POINTS = 11.5


@mpl.rc_context(STYLE)
def two_factors(
    locs: np.ndarray,
    scales: np.ndarray,
    prior_samples: np.ndarray,
    overlap_text: str,
    regularisation_text: str,
    dimensions: tuple[int, int] | np.ndarray = (0, 1),
) -> Figure:
    """Draws a model's overlap and regularisation in two latent dimensions.

    As the paper's Figure 1. Left, overlap: encodings, as of `draw_encodings`. Right,
    regularisation: the aggregate posterior q(z), the mean of all encodings (at most
    20,000), under the prior's contours by a kernel density estimate.

    Args:
        locs: [n, 2] means of q(z|x_i).
        scales: [n, 2] standard deviations of q(z|x_i); an encoder of another family
            is drawn as the normal with its mean and standard deviation.
        prior_samples: [m, 2] samples of the prior, which give the frame, too.
        overlap_text: What to say of the overlap; printed over the left panel.
        regularisation_text: What to say of the regularisation; over the right panel.
        dimensions: [2] the indices of the two latent dimensions, counted from 0, for
            the labels, which count from 1.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> locs, samples = rng.normal(size=(2, 1000, 2))
        >>> scales = np.full_like(locs, 0.3)
        >>> figure = two_factors(
        ...     0.95 * locs, scales, samples, "overlap 28 of 1,000", "KL 0.02 nats"
        ... )
    """
    frame = _frame(locs, scales, prior_samples)
    texts = [_wrap(text) for text in (overlap_text, regularisation_text)]
    lines = max(text.count("\n") + 1 for text in texts)
    height = 5.7 + lines * _NOTE_LINE_POINTS / 72
    figure = Figure(figsize=(8.6, height), layout="compressed")
    left, right = figure.subplots(1, 2, sharex=True, sharey=True)
    widths = [kernel_width(samples) for samples in prior_samples.T]
    prior = mixture_density(prior_samples, widths, frame, _GRID)
    handles = (
        draw_encodings(left, locs, scales, frame),
        [
            draw_density(right, mixture_density(locs, scales, frame, _GRID), frame),
            draw_contours(right, prior, frame, ESTIMATED_MASSES),
        ],
    )
    shown = describe_count(min(len(locs), _MOST_ELLIPSES), len(locs))
    headings = (
        f"Overlap: encodings q(z|x), {shown}",
        "Regularisation: q(z) against p(z)",
    )
    for panel, name, text, entries in zip(
        (left, right), headings, texts, handles, strict=True
    ):
        panel.legend(
            handles=entries,
            loc="upper center",
            bbox_to_anchor=_BELOW,
            ncols=len(entries) - 1,
            markerscale=1.5,
        )
        panel.set_box_aspect(1)
        panel.set_xlabel(f"latent dimension {dimensions[0] + 1}")
        _print_note(panel, name, text, lines)
    left.set_ylabel(f"latent dimension {dimensions[1] + 1}")
    figure.suptitle("The two factors of decomposition")
    return figure


def draw_encodings(
    axes: Axes, locs: np.ndarray, scales: np.ndarray, frame: Extent
) -> list[Artist]:
    """Draws encodings; returns their entries for the legend.

    Up to 25 encodings q(z|x_i) as ellipses of 1 and 2 standard deviations around their
    means, far apart from one another within the frame, over the means of all data (at
    most 2,000, evenly spread).

    Args:
        axes: Where to draw.
        locs: [n, 2] means of q(z|x_i).
        scales: [n, 2] standard deviations.
        frame: The limits of the axes.
    """
    points = locs[spread_indices(len(locs), _MOST_POINTS)]
    (others,) = axes.plot(
        *points.T,
        ".",
        color="#C8C8C8",
        markersize=2,
        zorder=0.5,  # below the ellipses
        label="means of all data",
    )
    rows = _spread_rows(locs, frame)
    for deviations, alpha in ((2, 0.05), (1, 0.12)):
        places = np.hstack([locs[rows], 2 * deviations * scales[rows]])
        ellipses = [Ellipse((x, y), width, height) for x, y, width, height in places]
        axes.add_collection(
            PatchCollection(
                ellipses,
                facecolor=(DATA_COLOR, alpha),
                edgecolor=(DATA_COLOR, 0.7),
                lw=0.6,
            )
        )
    (means,) = axes.plot(
        *locs[rows].T, "o", color="black", markersize=2.5, label="their means"
    )
    axes.set(xlim=frame[:2], ylim=frame[2:])
    area = Patch(
        facecolor=(DATA_COLOR, 0.3),
        edgecolor=DATA_COLOR,
        label="encodings q(z|x), 1 and 2 sd",
    )
    return [area, means, others]


def _frame(locs: np.ndarray, scales: np.ndarray, samples: np.ndarray) -> Extent:
    """Returns a frame that holds the encodings and the prior, but not heavy tails.

    Sides of similar lengths become equal, so that circles look like circles.
    """
    groups = (samples, locs - 2 * scales, locs + 2 * scales)
    ends = np.stack([np.quantile(group, (0.005, 0.995), axis=0) for group in groups])
    low, high = widen(ends[:, 0].min(axis=0), ends[:, 1].max(axis=0))
    centre = (low + high) / 2
    half = np.maximum((high - low) / 2, 1e-6 * np.maximum(1.0, np.abs(centre)))
    if half.max() < 2 * half.min():
        half[:] = half.max()
    (x0, y0), (x1, y1) = centre - half, centre + half
    return x0, x1, y0, y1


def _spread_rows(locs: np.ndarray, frame: Extent) -> list[int]:
    """Returns rows whose means lie far apart: the farthest of a random pool in turn."""
    low, high = np.reshape(frame, (2, 2)).T
    inside = np.flatnonzero(np.all((locs >= low) & (locs <= high), axis=1))
    rows = inside if len(inside) else np.arange(len(locs))
    pool = np.random.default_rng(0).permutation(rows)[:_POOL]
    places = (locs[pool] - low) / (high - low)
    chosen = [0]
    nearest = np.full(len(pool), np.inf)
    while len(chosen) < min(_MOST_ELLIPSES, len(pool)):
        squares = np.sum((places - places[chosen[-1]]) ** 2, axis=1)
        nearest = np.minimum(nearest, squares)
        nearest[chosen] = -1.0  # equal means are different rows
        chosen.append(int(np.argmax(nearest)))
    return pool[chosen].tolist()


def _wrap(text: str) -> str:
    """Returns a text in lines no longer than a panel is wide."""
    return "\n".join(textwrap.fill(line, _NOTE_COLUMNS) for line in text.splitlines())


def _print_note(panel: Axes, title: str, text: str, lines: int) -> None:
    """Prints a title and below it a text over a panel, with room for `lines` lines."""
    panel.set_title(title, pad=6 + _NOTE_LINE_POINTS * lines)
    panel.annotate(
        text,
        (0, 1),
        xytext=(0, 4 + _NOTE_LINE_POINTS * lines),
        xycoords="axes fraction",
        textcoords="offset points",
        va="top",
        fontsize=_NOTE_POINTS,
        color=NOTE_COLOR,
    )
