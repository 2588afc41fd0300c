# SPDX-License-Identifier: Apache-2.0
"""Training curves: one panel for each term of the objective."""

from collections.abc import Mapping

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tf_decomp.plots.style import DATA_COLOR, MODEL_COLOR, NOTE_COLOR, STYLE

_TERMS = ("loss", "elbo", "log_likelihood", "kl", "divergence")
_TITLES = {
    "loss": "loss",
    "elbo": "ELBO",
    "log_likelihood": r"$E_q[\log p(x|z)]$",
    "kl": r"KL$(q(z|x)\,\|\,p(z))$",
    "divergence": r"$D(q(z), p(z))$",
}
_TEST_PREFIX = "val_"
_PANEL_INCHES = (3.1, 2.3)
_FEW_ROWS = 10
# The axis is cut where the start would leave the rest less than this share of it.
_SMALLEST_SHARE = 0.25


@mpl.rc_context(STYLE)
def training_curves(
    history: Mapping[str, np.ndarray],
    title: str | None = None,
    divergence_unit: str = "nats",
) -> Figure:
    """Draws every term against the epoch, training and test split in one panel.

    The first epochs often dwarf all others. Where they do, the vertical axis holds
    the epochs after the first tenth (their quantiles 0.005 to 0.995), and the panel
    says so and gives the full range.

    Args:
        history: [rows] each: `epoch` (that of the row's end, counted from 1), terms
            such as `loss`, `elbo`, `log_likelihood`, `kl`, `divergence`, and the
            test split's `val_loss` and so on. NaN means not computed; a term that
            is NaN throughout has no panel, an infinite value is left out and
            counted in the panel.
        title: The heading, or None.
        divergence_unit: Of D; "" where it has none.

    Example:
        >>> epoch, loss = np.array([[1.0, 2.0], [3.0, 2.5]])
        >>> figure = training_curves({"epoch": epoch, "loss": loss})
        >>> figure.axes[0].get_ylabel()
        'nats'
    """
    units = dict.fromkeys(_TERMS, "nats") | {"divergence": divergence_unit or "no unit"}
    columns = {name: column for name, column in history.items() if name != "epoch"}
    terms = _terms_with_values(columns)
    width, height = min(len(terms), 3), -(-len(terms) // 3)
    figure = Figure(
        figsize=(_PANEL_INCHES[0] * width, _PANEL_INCHES[1] * height + 0.4),
        layout="constrained",
    )
    panels = figure.subplots(height, width, squeeze=False).ravel()
    for panel, term in zip(panels, terms, strict=False):
        _draw_term(panel, term, history["epoch"], columns)
        panel.set_ylabel(units.get(term, "value"))
    for panel in panels[len(terms) :]:
        panel.remove()
    _draw_legend(figure, panels[: len(terms)])
    if title is not None:
        figure.suptitle(title)
    return figure


def _terms_with_values(columns: Mapping[str, np.ndarray]) -> list[str]:
    """Returns the terms that have a finite value, those of the objective first."""
    present = [
        name.removeprefix(_TEST_PREFIX)
        for name, column in columns.items()
        if np.any(np.isfinite(column))
    ]
    terms = [term for term in _TERMS if term in present]
    terms += [term for term in dict.fromkeys(present) if term not in _TERMS]
    return terms


def _draw_term(
    panel: Axes, term: str, epochs: np.ndarray, columns: Mapping[str, np.ndarray]
) -> None:
    """Draws one term of both splits, as far as they have values."""
    absent = np.full(epochs.shape, np.nan)
    splits = [columns.get(prefix + term, absent) for prefix in ("", _TEST_PREFIX)]
    for values, label, color, line, marker, first in (
        (splits[0], "train", DATA_COLOR, "-", "o", 0.0),
        (splits[1], "test", MODEL_COLOR, "--", "s", 0.5),
    ):
        finite = np.isfinite(values)
        if finite.any():
            step = max(1, int(finite.sum()) // _FEW_ROWS)
            panel.plot(
                epochs[finite],
                values[finite],
                color=color,
                linestyle=line,
                marker=marker,
                markersize=3.5,
                markevery=(int(first * step), step),  # the splits' markers alternate
                label=label,
            )
    notes = _cut_axis(panel, np.tile(epochs, 2), np.concatenate(splits))
    panel.set_title(_TITLES.get(term, term), pad=16 if notes else None)
    panel.text(0, 1.03, notes, transform=panel.transAxes, fontsize=7, color=NOTE_COLOR)
    panel.set_xlabel("epoch")
    panel.set_xlim(0, 1.03 * epochs[-1])
    panel.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    panel.grid(True)


def _cut_axis(panel: Axes, epochs: np.ndarray, values: np.ndarray) -> str:
    """Cuts the vertical axis if the start dominates it; returns what to say."""
    infinite = np.count_nonzero(np.isinf(values))
    notes = [f"{infinite} infinite left out"] if infinite else []
    finite = np.isfinite(values)
    epochs, values = epochs[finite], values[finite]
    late = values[epochs > epochs.min() + 0.1 * np.ptp(epochs)]
    if late.size >= _FEW_ROWS:
        low, high = np.quantile(late, (0.005, 0.995))
        if 0 < high - low < _SMALLEST_SHARE * np.ptp(values):
            margin = 0.08 * (high - low)
            panel.set_ylim(low - margin, high + margin)
            notes.append(f"axis cut, values {values.min():.4g} to {values.max():.4g}")
    return "; ".join(notes)


def _draw_legend(figure: Figure, panels: np.ndarray) -> None:
    """Draws one legend for all panels, an entry for each split that was drawn."""
    handles = {
        str(line.get_label()): line for panel in panels for line in panel.get_lines()
    }
    figure.legend(
        handles=[handles[label] for label in ("train", "test") if label in handles],
        loc="outside lower center",
        ncols=2,
        handlelength=3,
    )
