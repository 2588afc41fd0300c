# SPDX-License-Identifier: Apache-2.0
"""What the tests of figures share: drawing them, and reading what was drawn."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

Array = NDArray[Any]
Extent = tuple[float, float, float, float]


def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def draw(figure: Figure) -> Figure:
    """Draws for real, so that warnings and errors of the renderer count."""
    assert isinstance(figure, Figure)
    FigureCanvasAgg(figure).draw()
    return figure


def texts(figure: Figure) -> list[str]:
    """Every text of the drawn figure, legends, titles and labels included."""
    found = figure.findobj(mpl.text.Text)
    return [text.get_text() for text in found if text.get_text()]


def words(labels: Any) -> list[str]:
    return [label.get_text() for label in labels]


def legend(figure: Figure) -> list[str]:
    return [text for box in figure.legends for text in words(box.get_texts())]


def title(axes: Axes) -> str:
    return axes.get_title(loc="left")


def lines(axes: Axes) -> dict[str, Array]:
    return {
        str(line.get_label()): np.asarray(line.get_xydata())
        for line in axes.get_lines()
    }


def pixels(axes: Axes) -> Array:
    return np.asarray(axes.images[0].get_array())


def grid_of(axes: Axes) -> tuple[Array, Array, Array]:
    """Density, x and y of the points of a heat map."""
    image = axes.images[0]
    density = np.asarray(image.get_array())
    ny, nx = density.shape
    x0, x1, y0, y1 = image.get_extent()
    x = x0 + (np.arange(nx) + 0.5) * (x1 - x0) / nx
    y = y0 + (np.arange(ny) + 0.5) * (y1 - y0) / ny
    return density, x, y


def read_gif(path: Path) -> tuple[list[Array], dict[str, Any]]:
    with Image.open(path) as animation:
        pages = []
        for page in range(animation.n_frames):  # type: ignore[attr-defined]
            animation.seek(page)
            pages.append(np.asarray(animation.convert("RGB")))
        info = {str(name): value for name, value in animation.info.items()}
        return pages, info
