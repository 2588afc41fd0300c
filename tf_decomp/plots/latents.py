# SPDX-License-Identifier: Apache-2.0
"""The aggregate posterior q(z) against the prior p(z), as in the paper's Figure 3."""

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import ArrayLike

from tf_decomp.errors import InputError
from tf_decomp.plots.checks import (
    as_finite,
    check_equal_shapes,
    describe_count,
    spread_indices,
)
from tf_decomp.plots.densities import as_density, as_extent, pixel_extent
from tf_decomp.plots.densities_ import draw_contours, draw_marginal
from tf_decomp.plots.style import (
    CLASS_COLORS,
    CLASS_MARKERS,
    NOTE_COLOR,
    STYLE,
)

_DENSITY_COLORS = "Blues"
_MOST_POINTS = 2000
_MOST_PANELS = 12
_PANEL_COLUMNS = 4


@mpl.rc_context(STYLE)
def latent_density(
    density: ArrayLike,
    prior_density: ArrayLike,
    extent: tuple[float, float, float, float],
    means: ArrayLike | None = None,
    labels: ArrayLike | None = None,
    title: str | None = None,
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
            over the rows), or None.
        labels: [n] classes of the means; up to ten get a colour and marker each.
        title: The heading; by default it says what is seen.

    Raises:
        InputError: If shapes do not fit together, a density is negative or not
            finite, or the extent is empty.

    Example:
        >>> axis = np.linspace(-4, 4, 81)
        >>> normal = np.exp(-(axis**2 + axis[:, None] ** 2) / 2) / (2 * np.pi)
        >>> figure = latent_density(normal, normal, (-4, 4, -4, 4))
    """
    density = as_density("density", density)
    prior_density = as_density("prior_density", prior_density)
    check_equal_shapes("density and prior_density", density.shape, prior_density.shape)
    frame = as_extent(extent)
    figure = Figure(figsize=(5.2, 5.2), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(
        density,
        origin="lower",
        extent=pixel_extent(frame, density.shape),
        cmap=_DENSITY_COLORS,
        vmin=0.0,
        interpolation="nearest",
    )
    bar = axes.inset_axes((1.03, 0.0, 0.04, 1.0))
    figure.colorbar(image, cax=bar, label="density q(z), per unit of area")
    handles: list[Patch | Line2D] = [
        Patch(color=image.get_cmap()(0.7), label="q(z), aggregate posterior"),
        draw_contours(axes, prior_density, frame),
    ]
    axes.set(
        xlim=frame[:2],
        ylim=frame[2:],
        aspect="equal",
        xlabel="latent dimension 1",
        ylabel="latent dimension 2",
    )
    axes.set_title(
        "Aggregate posterior and prior" if title is None else title,
        pad=None if means is None else 16,
    )
    if means is not None:
        _draw_means(axes, means, labels)
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure


@mpl.rc_context(STYLE)
def latent_marginals(
    codes: ArrayLike,
    prior_samples: ArrayLike,
    means: ArrayLike | None = None,
    title: str | None = None,
) -> Figure:
    """Draws histograms of samples of q(z) and of p(z) for up to twelve dimensions.

    The dimensions come in falling order of the standard deviation of the posterior
    means, so unused ones come last or not at all. A histogram integrates to the
    share of the samples inside its panel, which holds their quantiles 0.005 to
    0.995: heavy tails do not squeeze the rest.

    Args:
        codes: [n, latent_dim] samples of q(z), such as one of each posterior.
        prior_samples: [m, latent_dim] samples of the prior.
        means: [k, latent_dim] posterior means, which give the order; by default the
            codes themselves.
        title: The heading; by default it says what is seen.

    Raises:
        InputError: If an array has another rank or width, or a value is not finite.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> codes, samples = rng.normal(size=(2, 1000, 50))
        >>> figure = latent_marginals(codes, samples)
    """
    codes = as_finite("codes", codes, "[n, latent_dim]")
    samples = as_finite("prior_samples", prior_samples, "[m, latent_dim]")
    means = codes if means is None else as_finite("means", means, "[k, latent_dim]")
    check_equal_shapes(
        "rows of codes, prior_samples and means",
        codes.shape[1:],
        samples.shape[1:],
        means.shape[1:],
    )
    deviations = means.std(axis=0)
    order = np.argsort(-deviations, kind="stable")[:_MOST_PANELS]
    width, height = min(len(order), _PANEL_COLUMNS), -(-len(order) // _PANEL_COLUMNS)
    figure = Figure(
        figsize=(2.2 * max(width, 2), 1.8 * height + 0.9), layout="constrained"
    )
    panels = figure.subplots(height, width, squeeze=False).ravel()
    for panel, dimension in zip(panels, order, strict=False):
        draw_marginal(panel, codes[:, dimension], samples[:, dimension])
        panel.set_title(
            f"$z_{{{dimension + 1}}}$, sd of means {deviations[dimension]:#.2g}"
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
    figure.suptitle(
        f"Marginals of q(z) and p(z), most active dimensions first "
        f"({len(order)} of {codes.shape[1]})"
        if title is None
        else title
    )
    return figure


def _draw_means(axes: Axes, means: ArrayLike, labels: ArrayLike | None) -> None:
    """Draws posterior means, a colour and marker for each class, and their legend."""
    points = as_finite("means", means, "[n, 2]")
    classes = np.zeros(len(points)) if labels is None else np.asarray(labels)
    if points.shape[1] != 2 or classes.shape != points.shape[:1]:
        raise InputError(
            "means must have the shape [n, 2] and labels [n]; received "
            f"{list(points.shape)} and {list(classes.shape)}; "
            "pass the means and labels of the same rows"
        )
    shown = spread_indices(len(points), _MOST_POINTS)
    names = np.unique(classes)
    legend = [f"class {name}" for name in names]
    if labels is None or len(names) > len(CLASS_COLORS):
        classes, names = np.zeros(len(points)), np.zeros(1)
        legend = ["posterior means"]
    (x0, x1), (y0, y1) = axes.get_xlim(), axes.get_ylim()
    inside = (points >= (x0, y0)) & (points <= (x1, y1))
    outside = np.count_nonzero(~inside[shown].all(axis=1))
    for index, name in enumerate(names):
        mine = points[shown[classes[shown] == name]]
        axes.plot(
            mine[:, 0],
            mine[:, 1],
            linestyle="none",
            color=CLASS_COLORS[index],
            marker=CLASS_MARKERS[index],
            markersize=3.5,
            markeredgecolor="black",
            markeredgewidth=0.3,
            label=legend[index],
        )
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=5)
    note = f"points: posterior means, {describe_count(len(shown), len(points))}"
    note += f", {outside} outside the frame" if outside else ""
    axes.text(0, 1.02, note, transform=axes.transAxes, fontsize=7, color=NOTE_COLOR)
