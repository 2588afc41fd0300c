# SPDX-License-Identifier: Apache-2.0
"""Sheets of images, in which every pixel of an image is a square of whole pixels."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from tf_decomp.errors import InputError
from tf_decomp.plots.checks import FloatArray, as_finite
from tf_decomp.plots.style import PIXELS_PER_INCH

_CELL_PIXELS = 100
_GAP = 4
_GROUP_GAP = 16
_MARGIN = 0.3  # inches


class Sheet(NamedTuple):
    """A sheet of images, ready to be drawn.

    Args:
        pixels: [height, width, 3] in [0, 1], white between the images.
        row_centres: [rows] vertical positions of the images' centres, in pixels.
        title: What is seen.
        row_labels: A label for each row of images, or none.
    """

    pixels: FloatArray
    row_centres: FloatArray
    title: str
    row_labels: Sequence[str] = ()


def as_images(name: str, value: ArrayLike) -> FloatArray:
    """Returns images as colours [n, height, width, 3], clipped to [0, 1].

    Grey images get three equal channels. Of images with neither 1 nor 3 channels
    the first channel is shown.

    Args:
        name: What the caller calls the array, for the message.
        value: [n, height, width, channels] with values in [0, 1].

    Raises:
        InputError: If the rank is not 4, a value is not finite, or the values are
            integers above 1.
    """
    raw = np.asarray(value)
    images = as_finite(name, raw, "[n, height, width, channels]")
    if raw.dtype.kind in "iu" and images.max() > 1:
        raise InputError(
            f"{name} must hold values in [0, 1]; received {raw.dtype} up to "
            f"{images.max():.0f}; divide by 255"
        )
    images = np.clip(images, 0.0, 1.0)
    return images if images.shape[-1] == 3 else np.repeat(images[..., :1], 3, axis=-1)


def columns_for(image_width: int, sheet_width: int) -> int:
    """Returns how many images fit beside one another into a sheet.

    Args:
        image_width: The width of an image, in its own pixels.
        sheet_width: The width of the sheet, in pixels of the figure.
    """
    return max(
        1, (sheet_width + _GAP) // (_upscaling(image_width) * image_width + _GAP)
    )


def make_sheet(
    images: FloatArray,
    columns: int,
    title: str,
    row_labels: Sequence[str] = ("",),
) -> Sheet:
    """Returns a sheet of images in rows, read like text.

    Args:
        images: [n, height, width, 3] in [0, 1].
        columns: The number of images in a row.
        title: What is seen.
        row_labels: The labels of the rows of one group; groups repeat, with a wider
            gap between them.
    """
    factor = _upscaling(images.shape[2])
    images = images.repeat(factor, axis=1).repeat(factor, axis=2)
    count, height, width, _ = images.shape
    rows = -(-count // columns)
    group = np.arange(rows) // len(row_labels)
    wider = _GROUP_GAP - _GAP if len(row_labels) > 1 else 0
    tops = np.arange(rows) * (height + _GAP) + group * wider
    pixels = np.ones(
        (tops[-1] + height, columns * width + (columns - 1) * _GAP, 3), np.float64
    )
    for index, image in enumerate(images):
        top, left = tops[index // columns], index % columns * (width + _GAP)
        pixels[top : top + height, left : left + width] = image
    return Sheet(
        pixels,
        tops + (height - 1) / 2,
        title,
        [row_labels[row % len(row_labels)] for row in range(rows)],
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
        axes = figure.add_axes(
            (left / width, bottom / height, across / width, down / height)
        )
        axes.imshow(sheet.pixels, interpolation="nearest")
        axes.spines[:].set_visible(False)
        axes.set_xticks([])
        axes.set_yticks(sheet.row_centres, sheet.row_labels)
        axes.tick_params(length=0)
        axes.set_title(sheet.title)
        left += across + _MARGIN
    return figure


def _upscaling(image_width: int) -> int:
    """Returns the whole number of figure pixels for a pixel of an image."""
    return max(1, round(_CELL_PIXELS / image_width))
