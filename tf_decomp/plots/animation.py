# SPDX-License-Identifier: Apache-2.0
"""Traversals as an animation."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import font_manager
from numpy.typing import ArrayLike
from PIL import Image, ImageDraw, ImageFont

from tf_decomp.errors import InputError
from tf_decomp.files import write_atomically
from tf_decomp.plots.checks import FloatArray, check_equal_shapes
from tf_decomp.plots.sheets import as_images, columns_for, make_sheet
from tf_decomp.plots.steps import as_dimensions, as_quantiles, check_steps, percent

_STRIP_PIXELS = 20  # over an image, for its name
_GIF_WIDTH = 700
_GIF_LEAST_WIDTH = 240  # for the quantile's line
_GIF_FONT_PIXELS = 15
_SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


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
    numbers = as_dimensions(dimensions, len(frames))
    names = [f"z{number + 1}".translate(_SUBSCRIPTS) for number in numbers]
    steps = as_quantiles(quantiles)
    check_equal_shapes(
        "leading axes of frames and (dimensions, quantiles)",
        frames.shape[:2],
        (len(names), len(steps)),
    )
    mode = "RGB" if frames.shape[-1] == 3 else "L"  # 256 greys are kept exactly
    pages = [
        _gif_page(
            as_images("frames", frames[:, step]), names, percent(quantile)
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
