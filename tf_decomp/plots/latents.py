# SPDX-License-Identifier: Apache-2.0
"""The aggregate posterior q(z) against the prior p(z), as in the paper's Figure 3."""

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tf_decomp.plots.arrays import describe_count, dimension_name, spread_indices
from tf_decomp.plots.densities import (
    Extent,
    draw_contours,
    draw_density,
    draw_marginal,
)
from tf_decomp.plots.style import (
    CLASS_COLORS,
    CLASS_MARKERS,
    NOTE_COLOR,
    STYLE,
    plain_text,
)

_MOST_POINTS = 2000
_MOST_PANELS = 12
_PANEL_COLUMNS = 4


@mpl.rc_context(STYLE)
def latent_density(
    density: np.ndarray,
    prior_density: np.ndarray,
    extent: Extent,
    means: np.ndarray,
    labels: np.ndarray | None = None,
    title: str = "Aggregate posterior and prior",
) -> Figure:
    """Draws a 2-d aggregate posterior as a heat map under the prior's contours.

    The contours are the borders of the prior's regions of highest density that hold
    50, 90 and 99 % of its mass, by a sum over the grid; a region that does not fit
    the frame is left out.

    Args:
        density: [ny, nx] q(z) at the points of a grid; row 0 has the lowest z_2. Its
            rows are at `linspace(y0, y1, ny)`, its columns at `linspace(x0, x1, nx)`.
        prior_density: [ny, nx] p(z) at the same points.
        extent: (x0, x1, y0, y1), the first and last points of the grid.
        means: [n, 2] posterior means, drawn as points (at most 2,000, evenly spread
            over the rows).
        labels: [n] classes of the means; up to ten get a colour and marker each.
        title: The heading.

    Example:
        >>> axis = np.linspace(-4, 4, 81)
        >>> normal = np.exp(-(axis**2 + axis[:, None] ** 2) / 2) / (2 * np.pi)
        >>> means = np.random.default_rng(0).normal(size=(100, 2))
        >>> figure = latent_density(normal, normal, (-4, 4, -4, 4), means)
    """
    figure = Figure(figsize=(5.2, 5.2), layout="constrained")
    axes = figure.add_subplot()
    handles = [
        draw_density(axes, density, extent),
        draw_contours(axes, prior_density, extent),
    ]
    bar = axes.inset_axes((1.03, 0.0, 0.04, 1.0))
    figure.colorbar(axes.images[0], cax=bar, label="density q(z), per unit of area")
    axes.set(aspect="equal", xlabel="latent dimension 1", ylabel="latent dimension 2")
    axes.set_title(title, pad=16)
    _draw_means(axes, means, labels)
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure


@mpl.rc_context(STYLE)
def latent_marginals(
    codes: np.ndarray, prior_samples: np.ndarray, means: np.ndarray, title: str
) -> Figure:
    """Draws histograms of samples of q(z) and of p(z) for up to twelve dimensions.

    The dimensions come in falling order of the standard deviation of the posterior
    means, so unused ones come last or not at all. A histogram integrates to the
    share of the samples inside its panel, which holds their quantiles 0.005 to
    0.995: heavy tails do not squeeze the rest.

    Args:
        codes: [n, latent_dim] samples of q(z), such as one of each posterior.
        prior_samples: [m, latent_dim] samples of the prior.
        means: [k, latent_dim] posterior means, which give the order.
        title: The heading.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> codes, samples = rng.normal(size=(2, 1000, 50))
        >>> figure = latent_marginals(codes, samples, codes, "a normal prior")
    """
    deviations = means.std(axis=0)
    order = np.argsort(-deviations, kind="stable")[:_MOST_PANELS]
    width, height = min(len(order), _PANEL_COLUMNS), -(-len(order) // _PANEL_COLUMNS)
    figure = Figure(
        figsize=(2.2 * max(width, 2), 1.8 * height + 0.9), layout="constrained"
    )
    panels = figure.subplots(height, width, squeeze=False).ravel()
    for panel, dimension in zip(panels, order, strict=False):
        draw_marginal(panel, codes[:, dimension], prior_samples[:, dimension])
        panel.set_title(
            f"{dimension_name(dimension)}, sd of means {deviations[dimension]:#.2g}"
        )
    for panel in panels[len(order) :]:
        panel.remove()
    for panel in panels[max(0, len(order) - width) : len(order)]:
        panel.set_xlabel("value of $z_d$")
    for panel in panels[: len(order) : width]:
        panel.set_ylabel("density, per unit")
    figure.legend(
        *panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2
    )
    figure.suptitle(title)
    return figure


def _draw_means(axes: Axes, means: np.ndarray, labels: np.ndarray | None) -> None:
    """Draws posterior means, a colour and marker for each class, and their legend."""
    shown = spread_indices(len(means), _MOST_POINTS)
    classes = np.zeros(len(means)) if labels is None else labels
    names = np.unique(classes)
    legend = [plain_text(f"class {name}") for name in names]
    if labels is None or len(names) > len(CLASS_COLORS):
        classes, names = np.zeros(len(means)), np.zeros(1)
        legend = ["posterior means"]
    (x0, x1), (y0, y1) = axes.get_xlim(), axes.get_ylim()
    inside = (means >= (x0, y0)) & (means <= (x1, y1))
    outside = np.count_nonzero(~inside[shown].all(axis=1))
    for index, name in enumerate(names):
        axes.plot(
            *means[shown[classes[shown] == name]].T,
            linestyle="none",
            color=CLASS_COLORS[index],
            marker=CLASS_MARKERS[index],
            markersize=3.5,
            markeredgecolor="black",
            markeredgewidth=0.3,
            label=legend[index],
        )
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=5)
    note = f"points: posterior means, {describe_count(len(shown), len(means))}"
    note += f", {outside} outside the frame" if outside else ""
    axes.text(0, 1.02, note, transform=axes.transAxes, fontsize=7, color=NOTE_COLOR)
