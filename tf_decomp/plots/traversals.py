# SPDX-License-Identifier: Apache-2.0
"""What the decoder makes of one latent dimension after another: traversals."""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from tf_decomp.errors import InputError
from tf_decomp.plots.checks import (
    FloatArray,
    as_finite,
    check_equal_shapes,
    describe_count,
    spread_indices,
)
from tf_decomp.plots.sheets import as_images, draw_sheets, make_sheet
from tf_decomp.plots.steps import as_quantiles, dimension_names, percent
from tf_decomp.plots.style import NOTE_COLOR, STYLE

_STRIP_PIXELS = 20  # under an image, for the value of z_d
_PANEL_COLUMNS = 4
_MOST_POINTS = 2000
_MOST_TICKS = 11
_LAST_COLOR = 0.92  # of viridis: its yellow end is too light for white paper


@mpl.rc_context(STYLE)
def traversals(
    frames: ArrayLike,
    dimensions: ArrayLike,
    positions: ArrayLike,
    quantiles: ArrayLike,
    x: ArrayLike | None = None,
    title: str | None = None,
) -> Figure:
    """Draws what is decoded while one latent dimension runs over the prior's quantiles.

    Images: a row for each dimension, a column for each quantile, the value of z_d
    under each image. Points: a panel for each dimension, in which the decoded points
    are joined in the order of the quantiles, which colour them. Other vectors: a
    panel for each dimension, a line over the data's dimensions for each quantile.

    Args:
        frames: [num_dims, num_steps, height, width, channels] images in [0, 1], or
            [num_dims, num_steps, data_dim] vectors.
        dimensions: [num_dims] indices of the latent dimensions, counted from 0; the
            figure, as all others, counts from 1.
        positions: [num_dims, num_steps] values of z_d.
        quantiles: [num_steps] the prior's probabilities below these values, ascending
            in (0, 1).
        x: [n, 2] data, drawn in grey behind decoded points (at most 2,000, evenly
            spread over the rows); not used for images and longer vectors.
        title: The heading; by default it says what is seen.

    Raises:
        InputError: If shapes do not fit together, a value is not finite, or the
            quantiles do not ascend in (0, 1).

    Example:
        >>> quantiles = np.array([0.01, 0.1, 0.5, 0.9, 0.99])
        >>> z = np.array([[-2.33, -1.28, 0.0, 1.28, 2.33]])
        >>> figure = traversals(np.stack([z, z**2], -1), [0], z, quantiles)
    """
    frames = np.asarray(frames)
    if frames.ndim not in (3, 5) or frames.size == 0:
        raise InputError(
            "frames must be images [num_dims, num_steps, height, width, channels] or "
            "vectors [num_dims, num_steps, data_dim], not empty; received shape "
            f"{list(frames.shape)}; reshape it"
        )
    names = dimension_names(dimensions, len(frames))
    steps = as_quantiles(quantiles)
    positions = as_finite("positions", positions, "[num_dims, num_steps]")
    check_equal_shapes(
        "leading axes of frames, positions and (dimensions, quantiles)",
        frames.shape[:2],
        positions.shape,
        (len(names), len(steps)),
    )
    values = [_three_digits(row) for row in positions]
    if frames.ndim == 5:
        heading = "Decoded along quantiles of the prior, one latent dimension a row"
        figure = _image_rows(frames, names, [percent(q) for q in steps], values)
        figure.axes[0].set_title(heading if title is None else title)
        return figure
    vectors = as_finite("frames", frames, "[num_dims, num_steps, data_dim]")
    titles = [
        f"{name}, from {row[0]} to {row[-1]}"
        for name, row in zip(names, values, strict=True)
    ]
    figure = _vector_panels(vectors, titles, steps, x)
    heading = "Decoded along quantiles of the prior, one latent dimension a panel"
    figure.suptitle(heading if title is None else title)
    return figure


def _three_digits(values: FloatArray) -> list[str]:
    """Returns numbers of three digits; what is nothing beside the largest is 0."""
    seen = np.where(np.abs(values) < 5e-4 * np.abs(values).max(), 0.0, values)
    return [f"{value:.3g}".replace("-", "\N{MINUS SIGN}") for value in seen]


def _image_rows(
    frames: np.ndarray,
    names: Sequence[str],
    headings: Sequence[str],
    values: Sequence[Sequence[str]],
) -> Figure:
    """Draws a row of images for each dimension, the value of z_d under each."""
    columns = frames.shape[1]
    images = as_images("frames", frames.reshape(-1, *frames.shape[2:]))
    height = make_sheet(images[:1], 1, "").pixels.shape[0]
    strip = -(-_STRIP_PIXELS * images.shape[1] // height)
    padded = np.pad(images, ((0, 0), (0, strip), (0, 0), (0, 0)), constant_values=1.0)
    sheet = make_sheet(padded, columns, "")
    below = (sheet.row_centres[0] * 2 + 1 - height) / 2  # half the strip
    sheet = sheet._replace(row_centres=sheet.row_centres - below)
    figure = draw_sheets([sheet])
    axes = figure.axes[0]
    axes.set_yticks(sheet.row_centres, names)
    label_columns(axes, images, headings)
    for centre, row in zip(sheet.row_centres, values, strict=True):
        for across, value in zip(axes.get_xticks(), row, strict=True):
            axes.text(
                across,
                centre + height / 2,
                value,
                fontsize=6,
                color=NOTE_COLOR,
                ha="center",
                va="top",
                in_layout=False,  # of so many texts, a third of the drawing time
            )
    return figure


def label_columns(axes: Axes, images: FloatArray, headings: Sequence[str]) -> None:
    """Names the columns of a sheet of images above its first row.

    Args:
        axes: On which the sheet is drawn.
        images: [n, height, width, 3] images of the sheet's size.
        headings: A name for each column.
    """
    half = make_sheet(images[:1], 1, "").pixels.shape[1] / 2
    right = axes.get_xlim()[1]
    centres = np.linspace(half, right + 0.5 - half, len(headings)) - 0.5
    axes.set_xticks(centres, headings)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)


def _vector_panels(
    vectors: FloatArray,
    titles: Sequence[str],
    quantiles: FloatArray,
    x: ArrayLike | None,
) -> Figure:
    """Draws a panel of points or lines for each dimension, and the quantiles' bar."""
    count, steps, data_dim = vectors.shape
    width, height = min(count, _PANEL_COLUMNS), -(-count // _PANEL_COLUMNS)
    figure = Figure(
        figsize=(2.4 * max(width, 2) + 0.9, 2.4 * height + 0.7), layout="compressed"
    )
    panels = figure.subplots(height, width, squeeze=False, sharex=True, sharey=True)
    colors = ListedColormap(
        mpl.colormaps["viridis"](np.linspace(0, _LAST_COLOR, steps))
    )
    for panel, row, title in zip(panels.ravel(), vectors, titles, strict=False):
        if data_dim == 2:
            _draw_curve(panel, row, colors, x)
        else:
            _draw_lines(panel, row, colors)
        panel.set_title(title)
        panel.grid(True)
    for panel in panels.ravel()[count:]:
        panel.remove()
    for panel in panels.ravel()[count - width : count]:
        panel.set_xlabel("data dimension 1" if data_dim == 2 else "data dimension")
        panel.tick_params(labelbottom=True)
    mappable = mpl.cm.ScalarMappable(BoundaryNorm(np.arange(steps + 1), steps), colors)
    ticks = np.linspace(0, steps - 1, min(steps, _MOST_TICKS)).round().astype(int)
    bar = figure.colorbar(
        mappable,
        ax=panels.ravel()[:count],
        label="quantile of the prior",
        ticks=ticks + 0.5,
    )
    bar.ax.set_yticklabels([percent(quantiles[tick]) for tick in ticks])
    bar.ax.tick_params(which="both", length=0)
    handles, labels = panels[0, 0].get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside lower center", ncols=2)
    return figure


def _draw_curve(
    panel: Axes, points: FloatArray, colors: ListedColormap, x: ArrayLike | None
) -> None:
    """Draws decoded 2-d points joined by lines, over data in grey."""
    if x is not None:
        data = as_finite("x", x, "[n, 2]")
        check_equal_shapes("vectors of frames and x", (2,), data.shape[1:])
        shown = data[spread_indices(len(data), _MOST_POINTS)]
        label = f"data, {describe_count(len(shown), len(data))}"
        panel.plot(*shown.T, ".", color="#C8C8C8", markersize=1.5, label=label)
    shades = colors(np.arange(len(points)))
    pairs = np.stack([points[:-1], points[1:]], axis=1)
    panel.add_collection(
        LineCollection(list(pairs), colors=shades[:-1], linewidths=1.2)
    )
    panel.scatter(points[:, 0], points[:, 1], 14, shades, zorder=2)
    panel.set(aspect="equal", xlabel="data dimension 1", ylabel="data dimension 2")
    panel.label_outer()


def _draw_lines(panel: Axes, vectors: FloatArray, colors: ListedColormap) -> None:
    """Draws decoded vectors as lines over their dimensions."""
    places = np.arange(1, vectors.shape[1] + 1)
    for index, vector in enumerate(vectors):
        panel.plot(places, vector, color=colors(index), linewidth=1.0)
    panel.set(xlabel="data dimension", ylabel="value")
    panel.label_outer()
