# SPDX-License-Identifier: Apache-2.0
"""The one look of all figures, and how a figure becomes a file.

Colours are those of Okabe and Ito (2008), which stay apart for readers with any
common colour vision deficiency; line style or marker always repeats the message.
"""

from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from tf_decomp.files import write_atomically

DATA_COLOR = "#0072B2"  # data, training split, q(z): what was observed
MODEL_COLOR = "#D55E00"  # reconstructions, test split, p(z): what is compared to it
NOTE_COLOR = "#595959"

# Okabe and Ito's eight, then brown and light grey, which come no nearer to them
# under simulated colour vision deficiencies than they are to one another.
CLASS_COLORS = (
    "#E69F00",
    "#009E73",
    "#CC79A7",
    "#000000",
    "#56B4E9",
    "#D55E00",
    "#0072B2",
    "#F0E442",
    "#6B3A1E",
    "#C8C8C8",
)
CLASS_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p")

PIXELS_PER_INCH = 150

STYLE: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": "#404040",
    "axes.facecolor": "white",
    "axes.grid": False,
    "axes.labelcolor": "black",
    "axes.labelsize": 9,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "axes.unicode_minus": True,
    "figure.dpi": PIXELS_PER_INCH,
    "figure.facecolor": "white",
    "figure.titlesize": 11,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "grid.color": "#E0E0E0",
    "grid.linewidth": 0.6,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "legend.title_fontsize": 8,
    "lines.linewidth": 1.5,
    "svg.hashsalt": "tf_decomp",
    "text.color": "black",
    "text.usetex": False,
    "xtick.color": "#404040",
    "xtick.labelsize": 8,
    "ytick.color": "#404040",
    "ytick.labelsize": 8,
}

# Neither version nor date goes into a file, so equal figures are equal files.
_METADATA: dict[str, dict[str, str | None]] = {
    ".png": {"Software": None},
    ".svg": {"Date": None},
}


def plain_text(text: str) -> str:
    r"""Returns a text that Matplotlib prints as it is, with no formulas in it.

    Args:
        text: Such as a name that a user chose, which may hold dollar signs.

    Example:
        >>> plain_text("npz:prices_in_$.npz")
        'npz:prices_in_\\$.npz'
    """
    return text.replace("$", r"\$")


def save_figure(figure: Figure, path: Path) -> None:
    """Writes a figure as .png (150 dots per inch) or .svg, with little margin.

    The file appears whole or not at all: it is written under another name in the
    same folder, which is made if it is missing, and then takes the place of an
    older file of that name.

    Args:
        figure: The figure.
        path: Where to write; the suffix, .png or .svg, gives the format.

    Example:
        >>> epoch, loss = np.array([[1.0, 2.0], [3.0, 2.5]])
        >>> figure = training_curves({"epoch": epoch, "loss": loss})
        >>> save_figure(figure, Path("plots/training_curves.png"))
    """

    def write(name: Path) -> None:
        # Ticks are made while drawing, so the style is needed here once more.
        with mpl.rc_context(STYLE):
            figure.savefig(
                name,
                format=path.suffix[1:],
                dpi=PIXELS_PER_INCH,
                bbox_inches="tight",
                metadata=_METADATA[path.suffix],
            )

    write_atomically(path, write)
