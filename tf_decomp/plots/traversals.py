# SPDX-License-Identifier: Apache-2.0
"""What the decoder makes of one latent dimension after another, still and moving."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from PIL import Image

from tf_decomp.files import write_atomically
from tf_decomp.plots.arrays import (
    describe_count,
    dimension_name,
    percent,
    spread_indices,
)
from tf_decomp.plots.sheets import columns_for, draw_sheets, make_sheet
from tf_decomp.plots.style import STYLE

_PANEL_COLUMNS = 4
_MOST_POINTS = 2000
_MOST_TICKS = 11
_LAST_COLOR = 0.92  # of viridis: its yellow end is too light for white paper
_GIF_WIDTH = 700
_GIF_MILLISECONDS = 120


@mpl.rc_context(STYLE)
def traversals(
    frames: np.ndarray,
    dimensions: Sequence[int] | np.ndarray,
    positions: np.ndarray,
    quantiles: np.ndarray,
    x: np.ndarray | None = None,
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

    Example:
        >>> quantiles = np.array([0.01, 0.1, 0.5, 0.9, 0.99])
        >>> z = np.array([[-2.33, -1.28, 0.0, 1.28, 2.33]])
        >>> figure = traversals(np.stack([z, z**2], -1), [0], z, quantiles)
    """
    names = [dimension_name(dimension) for dimension in dimensions]
    values = [_three_digits(row) for row in positions]
    heading = "Decoded along quantiles of the prior, one latent dimension a "
    if frames.ndim == 5:
        sheet = make_sheet(
            frames.reshape(-1, *frames.shape[2:]),
            len(quantiles),
            f"{heading}row",
            names,
            [percent(quantile) for quantile in quantiles],
            [value for row in values for value in row],
        )
        return draw_sheets([sheet])
    titles = [
        f"{name}, from {row[0]} to {row[-1]}"
        for name, row in zip(names, values, strict=True)
    ]
    figure = _vector_panels(frames, titles, quantiles, x)
    figure.suptitle(f"{heading}panel")
    return figure


@mpl.rc_context(STYLE)
def save_traversal_gif(
    frames: np.ndarray,
    path: Path,
    dimensions: Sequence[int] | np.ndarray,
    quantiles: np.ndarray,
) -> None:
    """Writes image traversals as an animated GIF that runs to and fro without end.

    The dimensions stand beside one another, each over its name; a frame is one
    quantile of the prior, named at the top. There are 2 num_steps - 2 frames, each
    seen for 0.12 s. The file appears whole or not at all, as in `save_figure`.

    Args:
        frames: [num_dims, num_steps, height, width, channels] images in [0, 1].
        path: Where to write.
        dimensions: [num_dims] indices of the latent dimensions, counted from 0; the
            file, as all figures, counts from 1.
        quantiles: [num_steps] the prior's probabilities, ascending in (0, 1).

    Example:
        >>> frames = np.random.default_rng(0).random((2, 3, 28, 28, 1))
        >>> path = Path("traversals.gif")
        >>> save_traversal_gif(frames, path, [0, 6], np.array([0.1, 0.5, 0.9]))
    """
    names = [dimension_name(dimension) for dimension in dimensions]
    fitting = columns_for(frames.shape[3], _GIF_WIDTH)
    columns = max(2, min(len(names), fitting))  # two are as wide as the title
    pages = []
    for step, quantile in enumerate(quantiles):
        title = f"prior's quantile {percent(quantile)}"
        sheet = make_sheet(frames[:, step], columns, title, captions=names)
        canvas = FigureCanvasAgg(draw_sheets([sheet]))
        canvas.draw()
        page = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
        # 256 greys are kept exactly.
        pages.append(page if frames.shape[-1] == 3 else page.convert("L"))
    pages += pages[-2:0:-1]

    def write(name: Path) -> None:
        pages[0].save(
            name,
            format="GIF",
            save_all=True,
            append_images=pages[1:],
            duration=_GIF_MILLISECONDS,
            loop=0,
        )

    write_atomically(path, write)


def _three_digits(values: np.ndarray) -> list[str]:
    """Returns numbers of three digits; what is nothing beside the largest is 0."""
    seen = np.where(np.abs(values) < 5e-4 * np.abs(values).max(), 0.0, values)
    return [f"{value:.3g}".replace("-", "\N{MINUS SIGN}") for value in seen]


def _vector_panels(
    vectors: np.ndarray,
    titles: Sequence[str],
    quantiles: np.ndarray,
    x: np.ndarray | None,
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
    panel: Axes, points: np.ndarray, colors: ListedColormap, x: np.ndarray | None
) -> None:
    """Draws decoded 2-d points joined by lines, over data in grey."""
    if x is not None:
        shown = x[spread_indices(len(x), _MOST_POINTS)]
        label = f"data, {describe_count(len(shown), len(x))}"
        panel.plot(*shown.T, ".", color="#C8C8C8", markersize=1.5, label=label)
    shades = colors(np.arange(len(points)))
    pairs = np.stack([points[:-1], points[1:]], axis=1)
    panel.add_collection(
        LineCollection(list(pairs), colors=shades[:-1], linewidths=1.2)
    )
    panel.scatter(points[:, 0], points[:, 1], 14, shades, zorder=2)
    panel.set(aspect="equal", xlabel="data dimension 1", ylabel="data dimension 2")
    panel.label_outer()


def _draw_lines(panel: Axes, vectors: np.ndarray, colors: ListedColormap) -> None:
    """Draws decoded vectors as lines over their dimensions."""
    places = np.arange(1, vectors.shape[1] + 1)
    for index, vector in enumerate(vectors):
        panel.plot(places, vector, color=colors(index), linewidth=1.0)
    panel.set(xlabel="data dimension", ylabel="value")
    panel.label_outer()
