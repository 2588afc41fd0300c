# SPDX-License-Identifier: Apache-2.0
"""What the decoder makes of one latent dimension after another: traversals."""

import os
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from PIL import Image, ImageDraw, ImageFont

from tf_decomp.errors import InputError
from tf_decomp.plots.checks import (
    FloatArray,
    as_finite,
    check_equal_shapes,
    describe_count,
    spread_indices,
)
from tf_decomp.plots.images import as_images, columns_for, draw_sheets, make_sheet
from tf_decomp.plots.style import NOTE_COLOR, STYLE
from tf_decomp.run_files import write_atomically

_STRIP_PIXELS = 20  # under an image, for the value of z_d
_PANEL_COLUMNS = 4
_MOST_POINTS = 2000
_MOST_TICKS = 11
_LAST_COLOR = 0.92  # of viridis: its yellow end is too light for white paper
_GIF_WIDTH = 700
_GIF_LEAST_WIDTH = 240  # for the quantile's line
_GIF_FONT_PIXELS = 15
_SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


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
    steps = _as_quantiles(quantiles)
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
        figure = _image_rows(frames, names, [_percent(q) for q in steps], values)
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


def save_traversal_gif(
    frames: ArrayLike,
    path: str | os.PathLike[str],
    dimensions: ArrayLike,
    quantiles: ArrayLike,
    milliseconds: int = 120,
) -> None:
    """Writes image traversals as an animated GIF that runs to and fro without end.

    The dimensions stand beside one another, each under its name; a frame is one
    quantile of the prior, named at the top. There are 2 num_steps - 2 frames. The file
    appears whole or not at all, as in `save_figure`.

    Args:
        frames: [num_dims, num_steps, height, width, channels] images in [0, 1].
        path: Where to write; the suffix is .gif.
        dimensions: [num_dims] indices of the latent dimensions, counted from 0; the
            file, as all figures, counts from 1.
        quantiles: [num_steps] the prior's probabilities, ascending in (0, 1).
        milliseconds: For which a frame is seen, 20 to 10,000; the format keeps
            hundredths of a second.

    Raises:
        InputError: If the suffix is another one, shapes do not fit together, a value
            is not finite, or the duration is out of range.

    Example:
        >>> frames = np.random.default_rng(0).random((2, 3, 28, 28, 1))
        >>> save_traversal_gif(frames, "traversals.gif", [0, 6], [0.1, 0.5, 0.9])
    """
    path, frames = Path(path), np.asarray(frames)
    if path.suffix.lower() != ".gif" or not 20 <= milliseconds <= 10_000:
        raise InputError(
            "an animation is saved as .gif, 20 to 10,000 milliseconds a frame; "
            f"received {path.name!r}, {milliseconds}; change the suffix or the time"
        )
    check_steps("frames", frames, "num_dims, num_steps")
    numbers = _as_dimensions(dimensions, len(frames))
    names = [f"z{number + 1}".translate(_SUBSCRIPTS) for number in numbers]
    steps = _as_quantiles(quantiles)
    check_equal_shapes(
        "leading axes of frames and (dimensions, quantiles)",
        frames.shape[:2],
        (len(names), len(steps)),
    )
    mode = "RGB" if frames.shape[-1] == 3 else "L"  # 256 greys are kept exactly
    pages = [
        _gif_page(
            as_images("frames", frames[:, step]), names, _percent(quantile)
        ).convert(mode)
        for step, quantile in enumerate(steps)
    ]
    pages += pages[-2:0:-1]

    def write(name: Path) -> None:
        pages[0].save(
            name,
            format="GIF",
            save_all=True,
            append_images=pages[1:],
            duration=milliseconds,
            loop=0,
        )

    write_atomically(path, write)


def check_steps(name: str, frames: np.ndarray, axes: str) -> None:
    """Refuses what are not images in steps.

    Args:
        name: What the caller calls the array, for the message.
        frames: Any array.
        axes: The names of its two leading axes.

    Raises:
        InputError: If the rank is not 5 or an axis is empty.
    """
    if frames.ndim != 5 or frames.size == 0:
        raise InputError(
            f"{name} must be images [{axes}, height, width, channels], not empty; "
            f"received shape {list(frames.shape)}; reshape it"
        )


def _as_dimensions(value: ArrayLike, count: int) -> list[int]:
    """Returns `count` indices of latent dimensions."""
    numbers = as_finite("dimensions", value, f"[{count}]")
    if len(numbers) != count or np.any((numbers < 0) | (numbers % 1 != 0)):
        raise InputError(
            f"dimensions must be {count} indices from 0, one for each row of frames; "
            f"received {numbers.tolist()}; give the latent dimensions shown"
        )
    return [int(number) for number in numbers]


def dimension_names(value: ArrayLike, count: int) -> list[str]:
    """Returns the names of latent dimensions, counted from 1.

    Args:
        value: [count] indices, counted from 0.
        count: How many there must be.

    Raises:
        InputError: If there are not `count` integers >= 0.
    """
    return [f"$z_{{{number + 1}}}$" for number in _as_dimensions(value, count)]


def _as_quantiles(value: ArrayLike) -> FloatArray:
    """Returns probabilities that ascend in (0, 1)."""
    quantiles = as_finite("quantiles", value, "[num_steps]")
    if not (quantiles[0] > 0 and quantiles[-1] < 1 and np.all(np.diff(quantiles) > 0)):
        raise InputError(
            "quantiles must ascend in (0, 1); received "
            f"{quantiles.tolist()[:5]}...; sort them, as 0.01 for 1 %"
        )
    return quantiles


def _percent(quantile: float) -> str:
    """Returns a probability in per cent, two digits of the smaller tail kept."""
    tail = 100 * min(quantile, 1 - quantile)
    decimals = max(0, 1 - int(np.floor(np.log10(tail))))
    text = f"{100 * quantile:.{decimals}f}"
    return (text.rstrip("0").rstrip(".") if decimals else text) + " %"


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
    bar.ax.set_yticklabels([_percent(quantiles[tick]) for tick in ticks])
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


def _gif_page(images: FloatArray, names: Sequence[str], quantile: str) -> Image.Image:
    """Returns one frame: tiles under their names, the quantile above all."""
    factor = make_sheet(images[:1], 1, "").pixels.shape[0] // images.shape[1]
    strip = -(-_STRIP_PIXELS // factor)
    padded = np.pad(images, ((0, 0), (strip, 0), (0, 0), (0, 0)), constant_values=1.0)
    columns = min(len(names), columns_for(images.shape[2], _GIF_WIDTH))
    sheet = make_sheet(padded, columns, "")
    header = np.ones((_STRIP_PIXELS, *sheet.pixels.shape[1:]))
    pixels = np.concatenate([header, sheet.pixels])
    blank = max(0, _GIF_LEAST_WIDTH - pixels.shape[1])
    pixels = np.pad(pixels, ((0, 0), (0, blank), (0, 0)), constant_values=1.0)
    page = Image.fromarray(np.round(255 * pixels).astype(np.uint8))
    font = ImageFont.truetype(font_manager.findfont("DejaVu Sans"), _GIF_FONT_PIXELS)
    pen = ImageDraw.Draw(page)
    pen.text((0, 0), f"{quantile} quantile of the prior", "black", font)
    tops = sheet.row_centres - (factor * padded.shape[1] - 1) / 2 + _STRIP_PIXELS
    across = sheet.pixels.shape[1] - factor * padded.shape[2]
    lefts = np.linspace(0, across, columns)
    for index, name in enumerate(names):
        corner = float(lefts[index % columns]), float(tops[index // columns])
        pen.text(corner, name, "black", font)
    return page
