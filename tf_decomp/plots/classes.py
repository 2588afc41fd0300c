# SPDX-License-Identifier: Apache-2.0
"""Which latent dimensions a class uses, and what for, as in the paper's Figure 5."""

import textwrap
from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tf_decomp.plots.arrays import dimension_name
from tf_decomp.plots.sheets import Sheet, draw_sheets, make_sheet
from tf_decomp.plots.style import DATA_COLOR, MODEL_COLOR, STYLE, plain_text

_MOST_CLASSES = 10
_MOST_DIMENSIONS = 64
_MOST_TICKS = 11
_PANEL_COLUMNS = 2
_PANEL_INCHES = (3.9, 1.35)
_HEADING_COLUMNS = 12


@mpl.rc_context(STYLE)
def class_magnitudes(codes: np.ndarray, labels: np.ndarray) -> Figure:
    """Draws the mean of |z_d| over the data of each class, with error bars.

    As the upper half of the paper's Figure 5: a panel for each of the first ten
    classes, all with the same axes, over at most 64 dimensions, those with the largest
    standard deviation of the codes. Error bars are +-2 standard errors of the mean; a
    class of one datum has none. The line is the mean over all data.

    Args:
        codes: [n, latent_dim] posterior means.
        labels: [n] classes, integers or words.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> labels = rng.integers(3, size=300)
        >>> codes = rng.normal(size=(300, 50)) * (labels[:, None] == np.arange(50))
        >>> figure = class_magnitudes(codes, labels)
    """
    latent_dim = codes.shape[1]
    widest = np.argsort(-codes.std(axis=0), kind="stable")[:_MOST_DIMENSIONS]
    dimensions = np.sort(widest)
    magnitudes = np.abs(codes[:, dimensions])
    classes, counts = np.unique(labels, return_counts=True)
    shown = classes[:_MOST_CLASSES]
    columns, rows = min(len(shown), _PANEL_COLUMNS), -(-len(shown) // _PANEL_COLUMNS)
    figure = Figure(
        figsize=(_PANEL_INCHES[0] * columns + 0.4, _PANEL_INCHES[1] * rows + 0.9),
        layout="constrained",
    )
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    overall = magnitudes.mean(axis=0)
    for panel, label in zip(panels.ravel(), shown, strict=False):
        mine = magnitudes[labels == label]
        means, errors = mine.mean(axis=0), None
        if len(mine) > 1:
            errors = mine.std(axis=0, ddof=1) / np.sqrt(len(mine))
        draw_magnitudes(panel, means, errors)
        panel.stairs(
            overall,
            np.arange(len(overall) + 1) + 0.5,
            baseline=None,
            color=MODEL_COLOR,
            linewidth=0.9,
            label="mean over all data",
        )
        largest = dimension_name(dimensions[np.argmax(means)])
        panel.set_title(
            f"class {plain_text(str(label))}, n = {len(mine)}, largest at {largest}"
        )
    for panel in panels.ravel()[len(shown) :]:
        panel.remove()
    _label_dimensions(panels, len(shown), dimensions)
    complete = panels.ravel()[np.argmax(counts[: len(shown)])]  # has error bars
    handles, names = complete.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=3)
    heading = "Mean magnitude of the latent dimensions by class"
    if len(shown) < len(classes):
        heading += f", {len(shown)} of {len(classes)} classes"
    if len(dimensions) < latent_dim:
        heading += f",\nthe {len(dimensions)} most varying of {latent_dim} dimensions"
    figure.suptitle(heading)
    return figure


def draw_magnitudes(panel: Axes, means: np.ndarray, errors: np.ndarray | None) -> None:
    """Draws the mean of |z_d| over a class as bars with +-2 standard errors.

    Args:
        panel: Where to draw; its horizontal limits are set.
        means: [dimensions] drawn at 1, 2, ...
        errors: [dimensions] their standard errors, or None where there are none.
    """
    places = np.arange(1, len(means) + 1)
    # Bars and the gaps between them in one artist: a tenth of the drawing time.
    panel.stairs(
        np.stack([means, np.full_like(means, np.nan)], axis=1).ravel()[:-1],
        np.stack([places - 0.4, places + 0.4], axis=1).ravel(),
        fill=True,
        color=DATA_COLOR,
        alpha=0.6,
        label="mean of $|z_d|$ over the class",
    )
    if errors is not None:
        panel.errorbar(
            places,
            means,
            yerr=2 * errors,
            fmt="none",
            ecolor="black",
            elinewidth=0.9,
            label="± 2 standard errors",
        )
    panel.set_xlim(0.25, len(means) + 0.75)
    panel.set_ylim(bottom=0)


@mpl.rc_context(STYLE)
def interpolations(
    frames: np.ndarray,
    dimensions: Sequence[int] | np.ndarray,
    x: np.ndarray,
    classes: Sequence[str] | None = None,
) -> Figure:
    """Draws images decoded along one active dimension of each example's code.

    As the lower half of the paper's Figure 5.

    Args:
        frames: [num_examples, num_steps, height, width, channels] images in [0, 1],
            num_steps >= 2.
        dimensions: [num_examples] the index d for each example, counted from 0; the
            figure, as all others, counts from 1.
        x: [num_examples, height, width, channels] the data.
        classes: The name of each example's class, or None.

    Example:
        >>> frames = np.random.default_rng(0).random((3, 5, 28, 28, 1))
        >>> figure = interpolations(frames, [48, 29, 18], frames[:, 0])
    """
    sheet = interpolation_sheet(frames, dimensions, x, classes or [""] * len(x))
    title = "Interpolation along one active dimension of each example"
    return draw_sheets([sheet._replace(title=title)])


def interpolation_sheet(
    frames: np.ndarray,
    dimensions: Sequence[int] | np.ndarray,
    x: np.ndarray,
    classes: Sequence[str],
) -> Sheet:
    """Returns columns of images: the datum at the top, what is decoded below it.

    From row to row z_d runs evenly from the datum's encoding to z_d + sign(z_d), all
    other dimensions fixed.

    Args:
        frames: [num_examples, num_steps, height, width, channels] images in [0, 1].
        dimensions: [num_examples] the index d for each example, counted from 0.
        x: [num_examples, height, width, channels] the data.
        classes: The name of each example's class.
    """
    steps = np.concatenate([x[:, None], frames], axis=1).swapaxes(0, 1)
    headings = [
        f"{plain_text(textwrap.fill(name, _HEADING_COLUMNS))}\n"
        f"{dimension_name(d)}".strip()
        for name, d in zip(classes, dimensions, strict=True)
    ]
    offsets = [f"{offset:.2g}" for offset in np.linspace(0, 1, len(steps) - 1)[1:-1]]
    moved = [rf"$z_d + {offset}\,\mathrm{{sign}}(z_d)$" for offset in (*offsets, "")]
    return make_sheet(
        steps.reshape(-1, *steps.shape[2:]),
        len(x),
        row_labels=["datum", "$z_d$", *moved],
        column_labels=headings,
        wide_gaps=[1],
    )


def _label_dimensions(panels: np.ndarray, count: int, dimensions: np.ndarray) -> None:
    """Labels the axes of a grid of panels, of which the first `count` are used."""
    step = next(step for step in (1, 2, 5, 10) if len(dimensions) <= _MOST_TICKS * step)
    ticks = np.arange(step, len(dimensions) + 1, step)
    for index, panel in enumerate(panels.ravel()[:count]):
        panel.set_xticks(ticks, dimensions[ticks - 1] + 1)
        if index % panels.shape[1] == 0:
            panel.set_ylabel("mean of $|z_d|$")
        if index >= count - panels.shape[1]:
            panel.set_xlabel("latent dimension d")
            panel.tick_params(labelbottom=True)
