# SPDX-License-Identifier: Apache-2.0
"""The images of dSprites (Matthey et al., 2017), drawn from their factors.

The set is procedural: every image is a function of its row in the official file. The
drawing below was fitted to real images, of which about one in 7,000 differs from it,
by a single pixel.
"""

import math

import numpy as np

from tf_decomp.errors import InputError

FACTOR_NAMES = ("shape", "scale", "orientation", "posX", "posY")
FACTOR_SIZES = (3, 6, 40, 32, 32)
NUM_IMAGES = math.prod(FACTOR_SIZES)  # 737,280
SIDE = 64  # pixels

_UNITS = 256  # vertices are rounded to so many parts of a pixel
_IMAGES_AT_ONCE = 512  # bounds the memory; more would not fit a core's cache
# Entry c of 65: the 64 pixels of a row of which those from column c on are set.
_FROM_COLUMN = np.array([(1 << (SIDE - c)) - 1 for c in range(SIDE + 1)], np.uint64)


def factor_classes(indices: np.ndarray) -> np.ndarray:
    """Returns the classes of the factors of some rows of the official file.

    The rows count through the factors with the last one, posY, running fastest. The
    official file's first factor, the colour, has one class and is left out.

    Args:
        indices: [n] integers in [0, 737,280).

    Returns:
        [n, 5] int64, the columns as in FACTOR_NAMES, each from 0 to its number in
        FACTOR_SIZES less 1.

    Raises:
        InputError: If the indices are no integers, or out of range.

    Example:
        >>> factor_classes(np.array([0, 33, 737_279])).tolist()
        [[0, 0, 0, 0, 0], [0, 0, 0, 1, 1], [2, 5, 39, 31, 31]]
    """
    indices = np.asarray(indices)
    if indices.ndim != 1 or indices.dtype.kind not in "iu":
        raise InputError(
            "indices must be integers of shape [n]; received "
            f"{indices.dtype} of shape {indices.shape}"
        )
    if indices.size and not 0 <= indices.min() <= indices.max() < NUM_IMAGES:
        raise InputError(
            f"indices must be in [0, {NUM_IMAGES}); received values from "
            f"{indices.min()} to {indices.max()}"
        )
    return np.stack(np.unravel_index(indices, FACTOR_SIZES), axis=1)


def factor_values(classes: np.ndarray) -> np.ndarray:
    """Returns the values that the classes of the factors stand for.

    Args:
        classes: [n, 5] integers as from `factor_classes`.

    Returns:
        [n, 5] float64: shape 1, 2, 3 (square, ellipse, heart), scale in [0.5, 1],
        orientation in [0, 2 pi] (radians; the first and the last class look the
        same), posX and posY in [0, 1].

    Example:
        >>> factor_values(np.array([[2, 5, 0, 31, 0]])).tolist()
        [[3.0, 1.0, 0.0, 1.0, 0.0]]
    """
    highest = (3.0, 1.0, 2 * np.pi, 1.0, 1.0)
    lowest = (1.0, 0.5, 0.0, 0.0, 0.0)
    columns = [
        np.linspace(first, last, size)[classes[:, i]]
        for i, (first, last, size) in enumerate(
            zip(lowest, highest, FACTOR_SIZES, strict=True)
        )
    ]
    return np.stack(columns, axis=1)


def render_dsprites(indices: np.ndarray) -> np.ndarray:
    """Returns images of dSprites, drawn.

    Args:
        indices: [n] integers in [0, 737,280), rows of the official file.

    Returns:
        [n, 64, 64] uint8, 0 and 1.

    Raises:
        InputError: If the indices are no integers, or out of range.

    Example:
        >>> int(render_dsprites(np.array([0])).sum())
        100
    """
    packed = render_packed(indices)
    return np.unpackbits(packed, axis=1).reshape(-1, SIDE, SIDE)


def render_packed(indices: np.ndarray) -> np.ndarray:
    """Returns images of dSprites, drawn, with eight pixels in a byte.

    Args:
        indices: [n] integers in [0, 737,280), rows of the official file.

    Returns:
        [n, 512] uint8, what numpy.packbits makes of the rows of each image in turn.

    Raises:
        InputError: If the indices are no integers, or out of range.

    Example:
        >>> render_packed(np.array([0, 1])).shape
        (2, 512)
    """
    classes = factor_classes(indices)
    packed = np.empty((len(classes), SIDE * SIDE // 8), np.uint8)
    outlines = _square(), _ellipse(), _heart()
    for start in range(0, len(classes), _IMAGES_AT_ONCE):
        part = classes[start : start + _IMAGES_AT_ONCE]
        for shape, outline in enumerate(outlines):
            members = np.flatnonzero(part[:, 0] == shape)
            rows = _fill(*_vertices(outline, factor_values(part[members])))
            packed[start + members] = rows.astype(">u8").view(np.uint8)
    return packed


def _square() -> np.ndarray:
    """Returns the square's corners [4, 2]; the canvas has side 1, y points down."""
    return 0.15 * np.array([(1, 1), (-1, 1), (-1, -1), (1, -1)])


def _ellipse() -> np.ndarray:
    """Returns the vertices [100, 2] of the polygon that stands for the ellipse."""
    t = 2 * np.pi * np.arange(100) / 100
    return np.stack([0.15 * 1.33 * np.cos(t), 0.15 / 1.33 * np.sin(t)], axis=1)


def _heart() -> np.ndarray:
    """Returns the vertices [150, 2] of the heart, whose tip points down."""
    t = 2 * np.pi * np.arange(150) / 150
    x = 0.15 * np.sin(t) ** 3
    height = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return np.stack([x, -0.0225 - 0.3 / 29 * height], axis=1)


def _vertices(outline: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns x and y, each [n, num_vertices], of outlines in 1/256 pixel."""
    _, scale, orientation, pos_x, pos_y = values.T[:, :, None]
    cos, sin = scale * np.cos(orientation), scale * np.sin(orientation)
    # Counter-clockwise on the screen, where y points down.
    x = 0.25 + 0.5 * pos_x + cos * outline[:, 0] + sin * outline[:, 1]
    y = 0.25 + 0.5 * pos_y - sin * outline[:, 0] + cos * outline[:, 1]
    x, y = np.rint(SIDE * _UNITS * x), np.rint(SIDE * _UNITS * y)
    return x.astype(np.int32), y.astype(np.int32)


def _fill(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Returns the rows of pixels whose centres are inside of polygons.

    A row's line crosses the outline an even number of times, and each crossing
    switches all pixels to its right. All is in integers, thus exact. A centre on an
    edge is inside where that is a left or a bottom one.

    Args:
        x: [n, num_vertices] columns, in 1/256 pixel.
        y: [n, num_vertices] rows, counted downwards.

    Returns:
        [n, 64] uint64, the first pixel of a row in its highest bit.
    """
    num_images, num_vertices = x.shape
    half = _UNITS // 2  # centres of pixels are at half + 256 k
    # An edge crosses the rows whose centres are in (y of one end, y of the other].
    above = (y + half) // _UNITS  # rows with centres at or above a vertex
    next_above = np.roll(above, -1, axis=1)
    counts = np.abs(next_above - above).ravel()
    first = np.minimum(above, next_above).ravel()
    edge = np.repeat(np.arange(counts.size), counts)
    before = np.cumsum(counts) - counts
    row = np.arange(edge.size) + (first - before)[edge]
    image, start = edge // num_vertices, edge % num_vertices
    stop = (start + 1) % num_vertices
    x_start, y_start = x[image, start], y[image, start]
    dx, dy = x[image, stop] - x_start, y[image, stop] - y_start
    # The first column whose centre is not left of x_start + dx (row - y_start) / dy.
    numerator = (x_start - half) * dy + dx * (_UNITS * row + half - y_start)
    column = -(-numerator // (_UNITS * dy))
    rows = np.zeros(num_images * SIDE, np.uint64)
    np.bitwise_xor.at(rows, image * SIDE + row, _FROM_COLUMN[column])
    return rows.reshape(num_images, SIDE)
