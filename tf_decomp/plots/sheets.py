# SPDX-License-Identifier: Apache-2.0
"""Sheets of images, in which every pixel of an image is a square of whole pixels."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tf_decomp.plots.style import NOTE_COLOR, PIXELS_PER_INCH

_CELL_PIXELS = 100
_GAP = 4
_WIDE_GAP = 16
_CAPTION_PIXELS = 20
_MARGIN = 0.3  # inches


class Sheet(NamedTuple):
    """Images in rows and columns, ready to be drawn.

    Attributes:
        pixels: [height, width, 3] in [0, 1], white between the images.
        row_centres: [rows] vertical positions of the images' centres, in pixels.
        column_centres: [columns] their horizontal positions.
        caption_top: From an image's centre to its caption, in pixels.
        title: What is seen.
        row_labels: A label for each row, or none.
        column_labels: A label for each column, or none.
        captions: A text below each image, row by row, or none.
    """

    pixels: np.ndarray
    row_centres: np.ndarray
    column_centres: np.ndarray
    caption_top: float
    title: str
    row_labels: Sequence[str]
    column_labels: Sequence[str]
    captions: Sequence[str]


def make_sheet(
    images: np.ndarray,
    columns: int,
    title: str = "",
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
    captions: Sequence[str] = (),
    wide_gaps: Sequence[int] = (),
) -> Sheet:
    """Returns a sheet of images in rows, read like text.

    Args:
        images: [n, height, width, channels] in [0, 1], beyond which they are clipped;
            of neither 1 nor 3 channels the first one is shown.
        columns: The number of images in a row.
        title: What is seen.
        row_labels: A label for each row, or none.
        column_labels: A label for each column, or none.
        captions: A text below each image, or none.
        wide_gaps: The rows above which the gap is wider.
    """
    factor = _upscaling(images.shape[2])
    colours = images if images.shape[-1] == 3 else images[..., :1].repeat(3, axis=-1)
    tiles = np.clip(colours, 0, 1).repeat(factor, axis=1).repeat(factor, axis=2)
    count, height, width, _ = tiles.shape
    strip = _CAPTION_PIXELS if captions else 0
    steps = np.full(-(-count // columns), height + strip + _GAP)
    steps[list(wide_gaps)] += _WIDE_GAP - _GAP
    steps[0] = 0
    tops, lefts = np.cumsum(steps), np.arange(columns) * (width + _GAP)
    pixels = np.ones((tops[-1] + height + strip, lefts[-1] + width, 3))
    for index, tile in enumerate(tiles):
        top, left = tops[index // columns], lefts[index % columns]
        pixels[top : top + height, left : left + width] = tile
    return Sheet(
        pixels,
        tops + (height - 1) / 2,
        lefts + (width - 1) / 2,
        height / 2,
        title,
        row_labels,
        column_labels,
        captions,
    )


def columns_for(image_width: int, sheet_width: int) -> int:
    """Returns how many images fit beside one another into a sheet.

    Args:
        image_width: The width of an image, in its own pixels.
        sheet_width: The width of the sheet, in pixels of the figure.
    """
    tile = _upscaling(image_width) * image_width
    return max(1, (sheet_width + _GAP) // (tile + _GAP))


def draw_sheet(axes: Axes, sheet: Sheet) -> None:
    """Draws a sheet with its labels.

    Args:
        axes: Where to draw.
        sheet: What to draw.
    """
    axes.imshow(sheet.pixels, interpolation="nearest")
    axes.spines[:].set_visible(False)
    names = sheet.column_labels, sheet.row_labels
    axes.set_xticks(sheet.column_centres[: len(names[0])], names[0])
    axes.set_yticks(sheet.row_centres[: len(names[1])], names[1])
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.set_title(sheet.title)
    for index, caption in enumerate(sheet.captions):
        row, column = divmod(index, len(sheet.column_centres))
        axes.text(
            sheet.column_centres[column],
            sheet.row_centres[row] + sheet.caption_top,
            caption,
            fontsize=6,
            color=NOTE_COLOR,
            ha="center",
            va="top",
            in_layout=False,  # of so many texts, a third of the drawing time
        )


def draw_sheets(sheets: Sequence[Sheet], title: str | None = None) -> Figure:
    """Returns a figure of sheets side by side, one figure pixel for each of theirs.

    Args:
        sheets: The sheets, from left to right.
        title: A heading of all of them.
    """
    sizes = np.array([sheet.pixels.shape[:2] for sheet in sheets]) / PIXELS_PER_INCH
    width = sizes[:, 1].sum() + _MARGIN * (len(sheets) + 1)
    top = _MARGIN if title is None else 2 * _MARGIN
    height = sizes[:, 0].max() + top + _MARGIN
    figure = Figure(figsize=(width, height))
    if title is not None:
        figure.suptitle(title, y=1 - 0.2 * _MARGIN / height, va="top")
    left = _MARGIN
    for sheet, (down, across) in zip(sheets, sizes, strict=True):
        bottom = height - top - down
        place = left / width, bottom / height, across / width, down / height
        draw_sheet(figure.add_axes(place), sheet)
        left += across + _MARGIN
    return figure


def _upscaling(image_width: int) -> int:
    """Returns the whole number of figure pixels for a pixel of an image."""
    return max(1, round(_CELL_PIXELS / image_width))
