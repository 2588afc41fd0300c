# SPDX-License-Identifier: Apache-2.0
"""Which latent dimensions a class uses, and what for, as in the paper's Figure 5."""

import textwrap
from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from tf_decomp.errors import InputError
from tf_decomp.plots.checks import FloatArray, as_finite, check_equal_shapes
from tf_decomp.plots.sheets import Sheet, as_images, draw_sheets, make_sheet
from tf_decomp.plots.steps import check_steps, dimension_names
from tf_decomp.plots.style import DATA_COLOR, MODEL_COLOR, STYLE
from tf_decomp.plots.traversals import label_columns

_MOST_CLASSES = 10
_MOST_DIMENSIONS = 64
_MOST_TICKS = 11
_PANEL_COLUMNS = 2
_PANEL_INCHES = (3.9, 1.35)
_DATUM_GAP = 16  # pixels between the data and what is decoded
_HEADING_COLUMNS = 12


@mpl.rc_context(STYLE)
def class_magnitudes(
    codes: ArrayLike,
    labels: ArrayLike,
    class_names: Sequence[str] | None = None,
    title: str | None = None,
) -> Figure:
    """Draws the mean of |z_d| over the data of each class, with error bars.

    As the upper half of the paper's Figure 5: a panel for each of the first ten
    classes, all with the same axes, over at most 64 dimensions, those with the largest
    standard deviation of the codes. Error bars are +-2 standard errors of the mean; a
    class of one datum has none. The line is the mean over all data.

    Args:
        codes: [n, latent_dim] posterior means.
        labels: [n] classes, integers or words; indices of `class_names` if there are
            any.
        class_names: The name of each class, or None for the labels themselves.
        title: The heading; by default it says what is seen.

    Raises:
        InputError: If shapes do not fit together, a code is not finite, or a label
            has no name.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> labels = rng.integers(3, size=300)
        >>> codes = rng.normal(size=(300, 50)) * (labels[:, None] == np.arange(50))
        >>> figure = class_magnitudes(codes, labels, ["trouser", "dress", "shirt"])
    """
    codes = as_finite("codes", codes, "[n, latent_dim]")
    labels = _as_labels(labels, len(codes), class_names)
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
        _draw_class(panel, mine, overall)
        largest = dimensions[np.argmax(mine.mean(axis=0))] + 1
        name = f"class {label}" if class_names is None else class_names[label]
        panel.set_title(f"{name}, n = {len(mine)}, largest at $z_{{{largest}}}$")
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
    figure.suptitle(heading if title is None else title)
    return figure


@mpl.rc_context(STYLE)
def interpolations(
    frames: ArrayLike,
    dimensions: ArrayLike,
    x: ArrayLike,
    classes: Sequence[str] | None = None,
    title: str | None = None,
) -> Figure:
    """Draws images decoded along one active dimension of each example's code.

    As the lower half of the paper's Figure 5: a column is an example, the datum at
    its top, and below it what is decoded while z_d runs evenly from its encoding to
    z_d + sign(z_d), all other dimensions fixed.

    Args:
        frames: [num_examples, num_steps, height, width, channels] images in [0, 1],
            num_steps >= 2.
        dimensions: [num_examples] the index d for each example, counted from 0; the
            figure, as all others, counts from 1.
        x: [num_examples, height, width, channels] the data.
        classes: The name of each example's class, or None.
        title: The heading; by default it says what is seen.

    Raises:
        InputError: If shapes do not fit together, there is one step, or a value is
            not finite.

    Example:
        >>> frames = np.random.default_rng(0).random((3, 5, 28, 28, 1))
        >>> figure = interpolations(frames, [48, 29, 18], frames[:, 0])
    """
    frames, x = np.asarray(frames), np.asarray(x)
    check_steps("frames", frames, "num_examples, num_steps")
    names = dimension_names(dimensions, len(frames))
    classes = [""] * len(frames) if classes is None else list(classes)
    check_equal_shapes(
        "examples of frames, x, dimensions and classes",
        (len(frames), *frames.shape[2:]),
        x.shape,
        (len(names), *frames.shape[2:]),
        (len(classes), *frames.shape[2:]),
    )
    steps = frames.shape[1]
    if steps < 2:
        raise InputError(
            f"frames must have at least 2 steps; received {steps}; "
            "decode z_d and z_d + sign(z_d)"
        )
    images = np.concatenate(
        [
            as_images("x", x),
            as_images("frames", frames.swapaxes(0, 1).reshape(-1, *frames.shape[2:])),
        ]
    )
    sheet = _datum_above_steps(images, len(frames))
    figure = draw_sheets([sheet])
    headings = [
        f"{textwrap.fill(name, _HEADING_COLUMNS)}\n{dimension}".strip()
        for name, dimension in zip(classes, names, strict=True)
    ]
    axes = figure.axes[0]
    label_columns(axes, images, headings)
    offsets = [f"{offset:.2g}" for offset in np.linspace(0, 1, steps)[1:-1]]
    moved = [rf"$z_d + {offset}\,\mathrm{{sign}}(z_d)$" for offset in (*offsets, "")]
    labels = ["datum", "$z_d$", *moved]
    axes.set_yticks(sheet.row_centres, labels)
    heading = "Interpolation along one active dimension of each example"
    axes.set_title(heading if title is None else title)
    return figure


def _datum_above_steps(images: FloatArray, columns: int) -> Sheet:
    """Returns a sheet with a wider gap below its first row."""
    sheet = make_sheet(images, columns, "")
    cut = round(sheet.row_centres[:2].mean())
    gap = np.ones((_DATUM_GAP, *sheet.pixels.shape[1:]))
    below = np.arange(len(sheet.row_centres)) > 0
    return sheet._replace(
        pixels=np.concatenate([sheet.pixels[:cut], gap, sheet.pixels[cut:]]),
        row_centres=sheet.row_centres + _DATUM_GAP * below,
    )


def _as_labels(
    value: ArrayLike, count: int, class_names: Sequence[str] | None
) -> np.ndarray:
    """Returns a label for each code; indices if the classes have names."""
    labels = np.asarray(value)
    if labels.shape != (count,) or labels.dtype.kind not in "biuUS":
        raise InputError(
            f"labels must be integers or words of the shape [{count}], one for each "
            f"row of codes; received {labels.dtype} of {list(labels.shape)}; "
            "pass the labels of the same rows"
        )
    if class_names is not None:
        found = set(labels.tolist())
        missing = sorted(found - set(range(len(class_names))), key=str)
        if missing:
            raise InputError(
                f"labels must be indices of class_names, 0 to {len(class_names) - 1}; "
                f"received {missing[:5]}; name every class"
            )
    return labels


def _draw_class(panel: Axes, magnitudes: FloatArray, overall: FloatArray) -> None:
    """Draws the means of one class, their error bars, and the means of all data."""
    places = np.arange(1, len(overall) + 1)
    means = magnitudes.mean(axis=0)
    # Bars and the gaps between them in one artist: a tenth of the drawing time.
    panel.stairs(
        np.stack([means, np.full_like(means, np.nan)], axis=1).ravel()[:-1],
        np.stack([places - 0.4, places + 0.4], axis=1).ravel(),
        fill=True,
        color=DATA_COLOR,
        alpha=0.6,
        label="mean of $|z_d|$ over the class",
    )
    if len(magnitudes) > 1:
        errors = magnitudes.std(axis=0, ddof=1) / np.sqrt(len(magnitudes))
        panel.errorbar(
            places,
            means,
            yerr=2 * errors,
            fmt="none",
            ecolor="black",
            elinewidth=0.9,
            label="± 2 standard errors",
        )
    panel.stairs(
        overall,
        np.arange(len(overall) + 1) + 0.5,
        baseline=None,
        color=MODEL_COLOR,
        linewidth=0.9,
        label="mean over all data",
    )
    panel.set_xlim(0.25, len(overall) + 0.75)


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
