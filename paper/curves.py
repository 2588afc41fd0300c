# SPDX-License-Identifier: Apache-2.0
"""The figures that are curves (2, 4, the theorems, the estimators), and captions."""

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paper.estimators import ADVERSARY_STEPS, LEARNT, RELATED
from paper.statistics import mean_number
from paper.table import Row, choose, levels
from tf_decomp.plots.style import CLASS_COLORS, CLASS_MARKERS, NOTE_COLOR, STYLE

_LINES = ("-", "--", "-.", ":")
_TWO = "\N{PLUS-MINUS SIGN}2"
_BAND = f"Bands: {_TWO} standard errors of the mean; small points: single"
_PRIOR_NAMES = {
    "normal": "isotropic normal",
    "normal_pca": "anisotropic (PCA)",
    "normal_learnt": "anisotropic (learnt)",
    "normal_anisotropic": "anisotropic normal",
    "student_t": "Student-t",
    "normal_mixture": "mixture of normals",
    "spike_and_slab": "spike and slab",
}
_ESTIMATOR_NAMES = {
    "naive_mixture": "KL(q || p), naive mixture",
    "weighted_sampling": "KL(q || p), weighted sampling",
    "stratified_sampling": "KL(q || p), stratified sampling",
    "inclusive_kl": "KL(p || q), inclusive",
    "dimensionwise_mmd": "MMD, dimension-wise",
    "joint_mmd": "joint MMD",
    "sliced_wasserstein": "sliced Wasserstein",
    "dip_vae_i": "DIP-VAE-I",
    "dip_vae_ii": "DIP-VAE-II",
    "total_correlation_weighted": "total correlation, weighted",
    "total_correlation_stratified": "total correlation, stratified",
    "adversarial_kl": "KL(q || p), adversary",
    "adversarial_total_correlation": "total correlation, adversary",
    "hausdorff_support": "Hausdorff support",
}
_LENGTHS = {"epochs": "epochs", "max_train_examples": "images, each seen once"}
_CHANCE = {"factor_vae_score": "factor_vae_chance", "hoyer": "hoyer_chance"}
_SCORE_NAMES = {
    "factor_vae_score": "FactorVAE score",
    "hoyer": "Hoyer sparsity",
    "inclusive_kl": "KL(p || q), nats (lower is better)",
    "log_likelihood": r"$E_q[\log p(x|z)]$, nats",
}


@mpl.rc_context(STYLE)
def draw_fig2(rows: Sequence[Row]) -> Figure:
    """Draws the score against the reconstruction loss, as the paper's Figure 2.

    Args:
        rows: Of its table.
    """
    figure = Figure(figsize=(8.6, 6.4), layout="constrained")
    (left, right), (below_left, below_right) = figure.subplots(
        2, 2, height_ratios=(2, 1), sharex="col"
    )
    score, fit, active = "factor_vae_score", "log_likelihood", "active_dimensions"
    for index, prior in enumerate(("normal", "normal_pca", "normal_learnt")):
        mine = choose(rows, score, prior=prior)
        for panel, column in ((left, score), (below_left, active)):
            name = _PRIOR_NAMES[prior]
            draw_curve(panel, mine, "beta", column, name, index, x=fit, sign=-1)
        name_points(left, mine, "beta", fit, score, -1)
    of_right = choose(rows, score, prior="student_t")
    if of_right:  # the isotropic normal at beta 1 is the Student-t of infinite df
        gaussian = choose(rows, score, prior="normal", beta=1.0)
        of_right += [{**row, "df": float("inf")} for row in gaussian]
    for panel, column, name, index in (
        (right, score, "means", 0),
        (right, "factor_vae_score_mapped", "means mapped to a normal", 1),
        (below_right, active, "", 0),
    ):
        draw_curve(panel, of_right, "df", column, name, index, x=fit, sign=-1)
    name_points(right, of_right, "df", fit, score, -1)
    left.set_title("Normal priors, labelled by beta")
    right.set_title("Student-t priors, beta 1, labelled by df")
    for panel in (left, right):
        panel.set_ylabel("FactorVAE score")
        _finish(panel)
    for panel in (below_left, below_right):
        panel.set(xlabel="reconstruction loss, nats", ylabel="active dimensions")
        panel.yaxis.get_major_locator().set_params(integer=True)
        panel.grid(True)
    counts = networks_a_cell(rows, "panel", "prior", "beta", "df")
    text = f"{_BAND} networks; {counts}.\nInactive dimensions are dropped."
    write_caption(figure, rows, text)
    return figure


@mpl.rc_context(STYLE)
def draw_fig4(rows: Sequence[Row]) -> Figure:
    """Draws sparsity, reconstruction and MMD against alpha, as the paper's Figure 4.

    Args:
        rows: Of its table.
    """
    figure = Figure(figsize=(10.4, 4.2), layout="constrained")
    panels = figure.subplots(1, 3)
    kinds = sorted({(r["gamma"], r["spike_variance"], r["beta"]) for r in rows})
    columns = ("hoyer", "log_likelihood", "mmd")
    for index, (gamma, variance, beta) in enumerate(kinds):
        settings = {"gamma": gamma, "spike_variance": variance, "beta": beta}
        name = rf"$\gamma$ = {gamma:g}, $\beta$ = {beta:g}"
        if gamma and variance != 0.05:
            name += f", spike variance {variance:g}"
        for panel, column in zip(panels, columns, strict=True):
            mine = choose(rows, column, **settings)
            draw_curve(panel, mine, "alpha", column, name, index)
    titles = (
        ("Sparsity", "Hoyer sparsity (higher is sparser)"),
        ("Reconstruction", r"$E_q[\log p(x|z)]$, nats (higher is better)"),
        ("Divergence", "MMD (lower is better)"),
    )
    for panel, (title, label) in zip(panels, titles, strict=True):
        panel.set_xscale("symlog", linthresh=10)
        panel.set(xlabel=r"$\alpha$", ylabel=label, title=title)
        panel.grid(True)
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=4)
    counts = networks_a_cell(rows, "gamma", "spike_variance", "alpha", "beta")
    write_caption(figure, rows, f"{_BAND} networks; {counts}.")
    return figure


@mpl.rc_context(STYLE)
def draw_learning(rows: Sequence[Row], score: str) -> Figure:
    """Draws the score and the reconstruction against the length of training.

    Args:
        rows: Of the table.
        score: Column of what the claims are judged by.
    """
    figure = Figure(figsize=(8.6, 3.6), layout="constrained")
    panels = figure.subplots(1, 2)
    along = max(_LENGTHS, key=lambda name: len(levels(rows, name)))
    columns = (score, "log_likelihood")
    for index, (panel, column) in enumerate(zip(panels, columns, strict=True)):
        draw_curve(panel, rows, along, column, "", index)
        panel.set(xscale="log", xlabel=_LENGTHS[along], ylabel=_SCORE_NAMES[column])
        chance = choose(rows, _CHANCE.get(column, ""))
        if chance:
            level = float(np.mean([row[_CHANCE[column]] for row in chance]))
            panel.axhline(level, color="black", linestyle=":", label="chance")
            panel.legend()
        panel.grid(True)
    n = networks_a_cell(rows, along)
    write_caption(figure, rows, f"Networks of other lengths, each on its own; {n}.")
    return figure


@mpl.rc_context(STYLE)
def draw_theory(rows: Sequence[Row]) -> Figure:
    """Draws the objective by angle, and the gaps of the identities.

    Args:
        rows: Of the table.
    """
    figure = Figure(figsize=(8.6, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    curves = choose(rows, "difference", part="theorem 2")
    priors = dict.fromkeys(row["prior"] for row in curves)
    for index, prior in enumerate(priors):
        for seed in levels(curves, "seed"):
            curve = choose(curves, "difference", prior=prior, seed=seed)
            _draw_rotation(left, curve, index)
    left.set_yscale("symlog", linthresh=1e-3)
    left.set_ylim(top=30)  # room for the legend
    left.set(xlabel="rotation, degrees", ylabel=r"change of $L_\beta$, nats")
    left.set_title("Theorem 2: rotated networks")
    parts = list(dict.fromkeys(row["part"] for row in choose(rows, "gap")))
    for place, part in enumerate(parts):
        mine = choose(rows, "gap", part=part)
        for column, color, marker, label in (
            ("gap", 6, "o", "the identity"),
            ("control_gap", 5, "x", "a wrong identity"),
        ):
            right.plot(
                np.full(len(mine), place),
                [max(row[column], 1e-17) for row in mine],
                linestyle="none",
                marker=marker,
                color=CLASS_COLORS[color],
                label=label if not place else None,
            )
    right.set_yscale("log")
    right.set_xticks(range(len(parts)), parts, rotation=20)
    right.set_ylabel("largest gap over data, nats")
    right.set_title("Identities, every prior and beta")
    for panel in (left, right):
        _finish(panel)
    left.legend(loc="upper left", ncols=2)
    n = int(max((row["n"] for row in curves), default=0))
    text = f"Left: one line a network, of {n:,} data, bands {_TWO} paired standard "
    write_caption(figure, rows, f"{text}errors. Right: float64.")
    return figure


@mpl.rc_context(STYLE)
def draw_estimators(rows: Sequence[Row]) -> Figure:
    """Draws bias and spread of each estimator against the batch size.

    Args:
        rows: Of the table.
    """
    groups = {
        "D of related work": [row for row in rows if row["estimator"] in RELATED],
        "adversary and support": [row for row in rows if row["estimator"] in LEARNT],
    }
    groups = {title: group for title, group in groups.items() if group}
    rows = [row for row in rows if row["estimator"] not in (*RELATED, *LEARNT)]
    dims, num_panels = levels(rows, "latent_dim"), 2 + len(groups)
    figure = Figure(figsize=(9.6, 3.1 * num_panels), layout="constrained")
    panels = figure.subplots(num_panels, len(dims), squeeze=False, sharex=True)
    for column, latent_dim in enumerate(dims):
        above, below, *others = panels[:, column]
        _draw_biases(above, rows, latent_dim)
        for index, name in enumerate(_names(rows)):
            mine = choose(rows, "deviation", estimator=name, latent_dim=latent_dim)
            size, deviation = _columns(mine, "batch_size", "deviation")
            look = _look(index)
            below.plot(size, deviation, **look, markersize=4, linestyle="--")
        truth = choose(rows, "truth", estimator="naive_mixture", latent_dim=latent_dim)
        kl = f"KL(q(z) || p(z)) = {truth[0]['truth']:.3g} nats"
        above.set_title(f"{latent_dim:g} dimensions, {kl}")
        below.set(xscale="log", yscale="log")
        for panel, (title, group) in zip(others, groups.items(), strict=True):
            _draw_biases(panel, group, latent_dim)
            panel.set_title(f"{latent_dim:g} dimensions, {title}")
        panels[-1, column].set_xlabel("batch size")
    panels[0, 0].set_ylabel("bias, nats\n(MMD: no unit)")
    panels[1, 0].set_ylabel("standard deviation, nats\n(MMD: no unit)")
    for panel in panels.ravel():
        panel.grid(True)
    figure.legend(*_legend(panels[0, 0]), loc="outside upper center", ncols=3)
    for index, group in enumerate(groups.values(), start=2):
        units = "total correlation; else no unit"
        if group[0]["estimator"] in LEARNT:
            units = "support: in units of z"
        panels[index, 0].set_ylabel(f"bias, nats\n({units})")
        handles, labels = _legend(panels[index, 0])
        panels[index, -1].legend(
            handles, labels, loc="upper left", bbox_to_anchor=(1.01, 1.0)
        )
    counts = sorted({f"{row['n']:.0f}" for row in rows}, key=int)
    batches = " to ".join(dict.fromkeys((counts[0], counts[-1])))
    text = f"Error bars: {_TWO} standard errors; {batches} minibatches a point. "
    text += "In the second row the naive mixture is behind weighted sampling."
    if len(groups) > 1:
        text += (
            f"\nAdversaries: one a point, after {ADVERSARY_STEPS:,} steps on batches "
            "of the size; bars do not show how adversaries differ."
        )
    write_caption(figure, rows, text)
    return figure


def _draw_biases(axes: Axes, rows: Sequence[Row], latent_dim: float) -> None:
    for index, name in enumerate(_names(rows)):
        mine = choose(rows, "bias", estimator=name, latent_dim=latent_dim)
        size, bias, error = _columns(mine, "batch_size", "bias", "bias_standard_error")
        axes.errorbar(size, bias, 2 * error, **_look(index), markersize=4, label=name)
    axes.set_yscale("symlog", linthresh=0.1)
    axes.axhline(0, color="black", linewidth=0.8)


def _names(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row["estimator"] for row in rows))


def _columns(rows: Sequence[Row], *keys: str) -> list[np.ndarray]:
    return [np.array([row[key] for row in rows]) for key in keys]


def _legend(axes: Axes) -> tuple[list[Any], list[str]]:
    """Returns handles and readable labels of estimators."""
    handles, labels = axes.get_legend_handles_labels()
    return handles, [_ESTIMATOR_NAMES[label] for label in labels]


def _draw_rotation(axes: Axes, rows: Sequence[Row], index: int) -> None:
    degrees, change, error = (
        np.array([row[key] for row in rows])
        for key in ("degrees", "difference", "difference_standard_error")
    )
    look, prior = _look(index), rows[0]["prior"]
    axes.fill_between(
        degrees,
        change - 2 * error,
        change + 2 * error,
        color=look["color"],
        alpha=0.2,
        lw=0,
    )
    axes.plot(
        degrees,
        change,
        **look,
        markersize=3,
        markevery=3,
        linewidth=1,
        label=_PRIOR_NAMES[prior] if rows[0]["seed"] == 0 else None,
    )


def _look(index: int) -> dict[str, Any]:
    return {"color": CLASS_COLORS[index], "marker": CLASS_MARKERS[index]}


def _finish(panel: Axes) -> None:
    panel.grid(True)
    if panel.get_legend_handles_labels()[0]:
        panel.legend()


def draw_curve(
    axes: Axes,
    rows: Sequence[Row],
    along: str,
    y: str,
    label: str,
    index: int,
    x: str = "",
    sign: float = 1.0,
) -> None:
    """Draws means over networks, +-2 standard errors as a band, and every network.

    Args:
        axes: Where to draw.
        rows: Of one curve, one a network.
        along: The setting that tells its points apart.
        y: Column of the height.
        label: For the legend.
        index: Of the curve in its panel: its colour, marker and line.
        x: Column whose mean places a point; the setting itself by default.
        sign: What x is multiplied by.
    """
    rows = choose(rows, y)
    if not rows:
        return
    look = _look(index)
    points = []
    for level in levels(rows, along):
        cell = choose(rows, y, **{along: level})
        places = [sign * row[x] if x else level for row in cell]
        heights = [row[y] for row in cell]
        axes.plot(places, heights, **look, linestyle="none", markersize=2.5, alpha=0.35)
        number = mean_number("", heights)
        error = 2 * number.standard_error if number.n > 1 else 0.0
        place = sign * float(np.mean([row[x] for row in cell])) if x else level
        points.append((place, number.value, error))
    xs, ys, halves = np.array(sorted(points, key=lambda point: point[0])).T
    axes.fill_between(
        xs, ys - halves, ys + halves, color=look["color"], alpha=0.2, lw=0
    )
    line = _LINES[index % len(_LINES)]
    axes.plot(xs, ys, **look, markersize=4.5, linestyle=line, label=label)


def name_points(
    axes: Axes, rows: Sequence[Row], along: str, x: str, y: str, sign: float
) -> None:
    """Writes the setting beside the mean of each cell, as the paper's Figure 2 does.

    Args:
        axes: Where to write.
        rows: One a network.
        along: The setting.
        x: Column of the place.
        y: Column of the height.
        sign: What x is multiplied by.
    """
    for level in levels(choose(rows, y), along):
        cell = choose(rows, y, **{along: level})
        place = sign * np.mean([row[x] for row in cell])
        text = "\N{INFINITY}" if np.isinf(level) else f"{level:g}"
        height = np.mean([row[y] for row in cell])
        axes.annotate(
            text, (place, height), (3, 4), textcoords="offset points", fontsize=7
        )


def write_caption(figure: Figure, rows: Sequence[Row], text: str) -> None:
    """Writes the scale and what is seen below a figure.

    Args:
        figure: The figure.
        rows: Its table.
        text: What is seen.
    """
    scale = rows[0].get("scale", "") if rows else ""
    figure.supxlabel(f"Scale {scale}. {text}", fontsize=7, color=NOTE_COLOR)


def networks_a_cell(rows: Sequence[Row], *settings: str) -> str:
    """Returns the number of networks of a cell, as n = 3, or n = 2 to 3.

    Args:
        rows: One a network.
        *settings: Columns that make a cell.
    """
    cells: dict[tuple[object, ...], set[float]] = {}
    for row in rows:
        cell = tuple(row.get(setting) for setting in settings)
        cells.setdefault(cell, set()).add(row["seed"])
    sizes = sorted({len(seeds) for seeds in cells.values()} or {0})
    if len(sizes) == 1:
        return f"n = {sizes[0]} network{'s' if sizes[0] != 1 else ''} a point"
    return f"n = {sizes[0]} to {sizes[-1]} networks a point"
