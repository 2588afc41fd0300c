# SPDX-License-Identifier: Apache-2.0
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from drawings import (
    Array,
    Extent,
    draw,
    grid_of,
    legend,
    lines,
    pixels,
    rng,
    texts,
    title,
    words,
)
from matplotlib import colors, pyplot
from matplotlib.collections import LineCollection
from matplotlib.contour import ContourSet
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.patches import StepPatch

from tf_decomp.plots import (
    CLASS_COLORS,
    CLASS_MARKERS,
    DATA_COLOR,
    MODEL_COLOR,
    latent_density,
    latent_marginals,
    reconstructions,
    samples,
    save_figure,
    training_curves,
)
from tf_decomp.plots.densities import draw_contours
from tf_decomp.plots.sheets import draw_sheets, make_sheet

NAN = np.nan
Columns = dict[str, Array]


def history(rows: int = 50, **others: Array) -> Columns:
    epochs = 10.0 * np.arange(1, rows + 1)
    terms = ("loss", "elbo", "log_likelihood", "kl", "divergence")
    columns = {name: 2 + rng().normal(size=rows) for name in terms}
    columns |= {"val_" + name: values + 0.1 for name, values in columns.items()}
    return {"epoch": epochs, **columns, **others}


def normal_grid(limit: float = 4.0, points: int = 161) -> tuple[Array, Extent]:
    axis = np.linspace(-limit, limit, points)
    squares = axis**2 + axis[:, None] ** 2
    density = np.exp(-squares / 2) / (2 * np.pi)
    return density, (-limit, limit, -limit, limit)


# Style and files


def test_figures_and_a_users_own_style_leave_one_another_alone(tmp_path: Path) -> None:
    columns = {"epoch": np.arange(1, 6), "loss": rng().normal(size=5)}
    own: dict[Any, Any] = {"figure.facecolor": "black", "font.size": 30}
    for name, style in (("plain", {}), ("own", own)):
        with mpl.rc_context(style):
            before = dict(mpl.rcParams)
            save_figure(training_curves(columns), tmp_path / f"{name}.png")
            assert dict(mpl.rcParams) == before
    assert (tmp_path / "own.png").read_bytes() == (tmp_path / "plain.png").read_bytes()
    assert pyplot.get_fignums() == []


# Machado, Oliveira and Fernandes (2009), severity 1, on linear RGB.
VISION: dict[str, Any] = {
    "full": np.eye(3),
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
                     [-0.011820, 0.042940, 0.968881]],
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
                   [-0.003882, -0.048116, 1.051998]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
                   [0.004733, 0.691367, 0.303900]],
}  # fmt: skip
TO_XYZ = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]


def cielab(names: Sequence[str], vision: str) -> Array:
    rgb = np.array([colors.to_rgb(name) for name in names])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.transpose(VISION[vision]), 0, 1)
    x, y, z = np.cbrt(seen @ np.transpose(TO_XYZ) / [0.9505, 1.0, 1.089]).T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)


@pytest.mark.parametrize("vision", VISION)
def test_classes_stay_apart_for_colour_blind_readers(vision: str) -> None:
    assert len(set(CLASS_COLORS)) == len(set(CLASS_MARKERS)) == 10
    places = cielab(CLASS_COLORS, vision)
    nearest = min(np.linalg.norm(a - b) for a, b in itertools.combinations(places, 2))
    assert nearest > 15  # 2.3 is a just noticeable difference
    data, model = cielab([DATA_COLOR, MODEL_COLOR], vision)
    assert np.linalg.norm(data - model) > 60


@pytest.mark.parametrize(
    ("suffix", "start"), [(".png", b"\x89PNG"), (".svg", b"<?xml")]
)
def test_save_makes_folders_and_equal_files(
    tmp_path: Path, suffix: str, start: bytes
) -> None:
    path = tmp_path / "a" / "b" / f"figure{suffix}"
    figure = Figure()
    figure.add_subplot().plot([0, 1])
    save_figure(figure, path)
    first = path.read_bytes()
    path.write_bytes(b"old")
    save_figure(figure, path)
    assert path.read_bytes() == first
    assert first.startswith(start)
    assert list(path.parent.iterdir()) == [path]


def test_a_failed_save_keeps_the_old_file_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "figure.png"
    path.write_bytes(b"old")

    def fail(self: Figure, name: Path, **settings: Any) -> None:
        name.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(Figure, "savefig", fail)
    with pytest.raises(OSError, match="disk full"):
        save_figure(Figure(), path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


# Training curves


@pytest.mark.parametrize(("given", "shown"), [("nats", "nats"), ("", "no unit")])
def test_training_curves_draw_both_splits_of_every_term(given: str, shown: str) -> None:
    columns = history()
    figure = draw(training_curves(columns, "a run", given))
    assert len(figure.axes) == 5
    titles = [title(axes) for axes in figure.axes]
    assert titles[:2] == ["loss", "ELBO"]
    assert "KL" in titles[3]
    for axes, term in zip(figure.axes, list(columns)[1:6], strict=True):
        drawn = lines(axes)
        for label, name in (("train", term), ("test", "val_" + term)):
            expected = np.stack([columns["epoch"], columns[name]], axis=1)
            np.testing.assert_array_equal(drawn[label], expected)
        assert axes.get_xlabel() == "epoch"
        assert axes.get_ylabel() == (shown if term == "divergence" else "nats")
        assert axes.get_xlim()[0] <= 10
        assert axes.get_xlim()[1] >= 500
    assert legend(figure) == ["train", "test"]
    assert "a run" in texts(figure)
    train, test = figure.axes[0].get_lines()
    for get in ("get_color", "get_linestyle", "get_marker"):
        assert getattr(train, get)() != getattr(test, get)()


def test_nan_columns_have_no_panel_and_sparse_ones_are_joined() -> None:
    columns = history(divergence=np.full(50, NAN), val_kl=np.full(50, NAN))
    columns["elbo"] = columns["val_elbo"] = np.full(50, NAN)
    columns["val_divergence"] = np.where(np.arange(50) % 10 == 9, 0.25, NAN)
    figure = draw(training_curves(columns))
    loss, log_likelihood, kl, divergence = figure.axes
    assert "log p(x|z)" in title(log_likelihood)
    assert list(lines(kl)) == ["train"]
    expected = [[epoch, 0.25] for epoch in (100, 200, 300, 400, 500)]
    np.testing.assert_array_equal(lines(divergence)["test"], expected)
    assert len(divergence.get_lines()) == 1
    assert legend(figure) == ["train", "test"]


@pytest.mark.parametrize("rows", [1, 11])
def test_few_and_constant_rows(rows: int) -> None:
    constant = {name: np.zeros(rows) for name in ("loss", "val_loss", "rate")}
    figure = draw(training_curves({"epoch": np.arange(1, rows + 1), **constant}))
    assert [axes.get_ylabel() for axes in figure.axes] == ["nats", "value"]
    for axes in figure.axes:
        assert axes.get_ylim()[0] < 0 < axes.get_ylim()[1]
        ticks = axes.get_xticks()
        np.testing.assert_array_equal(ticks, np.round(ticks))
        for line in axes.get_lines():
            assert line.get_marker() not in ("None", "")  # one row is a point


def test_the_axis_is_cut_when_the_start_dwarfs_the_rest() -> None:
    epochs = np.arange(1, 101)
    loss = np.where(epochs <= 5, 1e6, 3 + np.sin(epochs))
    loss[[49, 50]] = np.inf, -np.inf
    finite = np.isfinite(loss)
    plain = np.linspace(9.0, 1.0, 100)
    figure = draw(training_curves({"epoch": epochs, "loss": loss, "kl": plain}))
    cut, whole = figure.axes
    assert -2 < cut.get_ylim()[0] < 2 + 1e-9
    assert 4 - 1e-9 < cut.get_ylim()[1] < 6
    note = f"axis cut, values {loss[finite].min():.4g} to 1e+06"
    assert f"2 infinite left out; {note}" in texts(figure)
    assert whole.get_ylim()[0] <= 1
    assert whole.get_ylim()[1] >= 9
    np.testing.assert_array_equal(lines(cut)["train"][:, 1], loss[finite])


# Latents


@pytest.fixture(scope="module")
def density() -> Figure:
    """A spike as q(z), a normal as p(z), and 4,001 means, some outside the frame."""
    prior, _ = normal_grid()
    spike = np.zeros_like(prior)
    spike[20, 130] = 1.0
    frame, means = (-4.0, 4.0, -4.0, 4.0), 0.5 * rng().normal(size=(4001, 2))
    means[[0, 1]] = 9.0  # the second one is not among the 2,000 shown
    labels = np.arange(4001) % 11
    return draw(latent_density(spike, prior, frame, means, labels, "a run"))


def test_density_is_drawn_where_its_grid_points_are(density: Figure) -> None:
    axes = density.axes[0]
    values, x, y = grid_of(axes)
    assert axes.images[0].origin == "lower"
    assert np.argwhere(values).tolist() == [[20, 130]]
    np.testing.assert_allclose(x, np.linspace(-4, 4, 161), atol=1e-12)
    np.testing.assert_allclose(y, x)
    assert axes.get_xlim() == axes.get_ylim() == (-4, 4)
    assert axes.get_aspect() == 1


def test_contours_hold_the_stated_mass_of_a_normal_prior(density: Figure) -> None:
    (contours,) = density.axes[0].findobj(ContourSet)
    radii = [
        np.linalg.norm(path.vertices, axis=1) for path in reversed(contours.get_paths())
    ]
    for mass, found in zip((0.5, 0.9, 0.99), radii, strict=True):
        np.testing.assert_allclose(found, np.sqrt(-2 * np.log1p(-mass)), atol=8 / 160)
    widths = contours.get_linewidths()  # type: ignore[attr-defined]
    assert widths[0] < widths[1] < widths[2]  # the inner one is the widest


def test_density_says_what_is_what(density: Figure) -> None:
    assert legend(density) == [
        "q(z), darker is denser",
        "prior p(z), contours around 50, 90, 99 % of its mass",
    ]
    assert {
        "a run",
        "latent dimension 1",
        "latent dimension 2",
        "density q(z), per unit of area",
        "points: posterior means, 2000 of n = 4001, 1 outside the frame",
    } <= set(texts(density))
    # More than ten classes have one colour.
    (drawn,) = density.axes[0].get_lines()
    assert drawn.get_label() == "posterior means"
    assert np.shape(drawn.get_xydata()) == (2000, 2)


@pytest.mark.parametrize(("limit", "words"), [(2.0, "around 50 % of"), (0.1, "none")])
def test_contours_outside_the_frame_are_not_claimed(limit: float, words: str) -> None:
    prior, extent = normal_grid(limit, points=41)
    axes = Figure().add_subplot()
    assert f"contours {words}" in draw_contours(axes, prior, extent).get_label()


def test_means_are_coloured_by_class() -> None:
    prior, extent = normal_grid(points=41)
    means, labels = rng().normal(size=(40, 2)), np.arange(40) % 10
    axes = draw(latent_density(0 * prior, prior, extent, means, labels)).axes[0]
    drawn = lines(axes)
    for name in range(10):
        np.testing.assert_array_equal(drawn[f"class {name}"], means[labels == name])
    looks = {(line.get_color(), line.get_marker()) for line in axes.get_lines()}
    assert len(looks) == 10
    assert words(axes.get_legend().get_texts()) == list(drawn)


@pytest.mark.parametrize(("latent_dim", "panels"), [(1, 1), (20, 12)])
def test_marginals_show_the_most_active_dimensions_first(
    latent_dim: int, panels: int
) -> None:
    codes = rng().normal(size=(300, latent_dim))
    prior = rng().standard_t(3, size=(200, latent_dim))
    scales = 1 + np.roll(np.arange(latent_dim), 1)
    means = scales * np.where(np.arange(100) % 2, 1.0, -1.0)[:, None]
    figure = draw(latent_marginals(codes, prior, means, "a run"))
    assert len(figure.axes) == panels
    expected = [
        f"$z_{{{d + 1}}}$, sd of means {scales[d]:#.2g}" for d in np.argsort(-scales)
    ]
    assert [title(axes) for axes in figure.axes] == expected[:panels]
    assert legend(figure) == [
        "q(z), aggregate posterior, n = 300",
        "p(z), prior, n = 200",
    ]
    assert "a run" in texts(figure)
    below = [axes.get_xlabel() for axes in figure.axes]
    assert below.count("value of $z_d$") == min(panels, 4)
    assert figure.axes[0].get_ylabel() == "density, per unit"


def test_marginals_are_densities_of_the_given_samples() -> None:
    codes, prior = rng().normal(1.5, size=(400, 2)), rng().normal(size=(300, 2))
    prior[0] = 1e6  # heavy tails do not squeeze the rest
    axes = latent_marginals(codes, prior, codes * [1.0, 9.0], "").axes[0]
    assert np.abs(axes.get_xlim()).max() < 6
    for patch, values in zip(axes.patches, (codes[:, 1], prior[:, 1]), strict=True):
        assert isinstance(patch, StepPatch)
        heights, edges, _ = patch.get_data()
        counts = heights * np.diff(edges) * len(values)
        np.testing.assert_allclose(counts, np.histogram(values, edges)[0], atol=1e-9)
        assert 0.98 < np.sum(heights * np.diff(edges)) <= 1 + 1e-9


@pytest.mark.parametrize("value", [0.0, 1e8])
def test_constant_codes_are_drawn(value: float) -> None:
    constant = np.full((5, 2), value)
    figure = draw(latent_marginals(constant, constant, constant, ""))
    low, high = figure.axes[0].get_xlim()
    assert low < value < high
    draw(latent_marginals(constant, rng().normal(size=(50, 2)), constant, ""))


# Reconstructions and samples


def cell(sheet: Array, row: int, column: int, size: int, group_rows: int = 1) -> Array:
    """The pixels of one image of 28 x 28, shown as 4 x 4 blocks, in a sheet."""
    extra = 12 * (row // group_rows) if group_rows > 1 else 0
    top, left = row * (4 * size + 4) + extra, column * (4 * size + 4)
    block = sheet[top : top + 4 * size, left : left + 4 * size]
    np.testing.assert_array_equal(block, block[::4, ::4].repeat(4, 0).repeat(4, 1))
    return block[::4, ::4]


@pytest.mark.parametrize(("count", "channels"), [(1, 1), (12, 3)])
def test_image_pairs_are_data_above_reconstruction(
    count: int, channels: int, caplog: pytest.LogCaptureFixture
) -> None:
    x = rng().random((count, 28, 28, channels))
    means = x + rng().normal(size=x.shape)  # also outside [0, 1]
    figure = draw(reconstructions(x, means, "a run"))
    assert caplog.records == []  # Matplotlib logs values outside [0, 1]
    (axes,) = figure.axes
    shown = min(count, 18)
    for index in range(shown):
        row, column = 2 * (index // 9), index % 9
        for below, images in enumerate((x, means)):
            seen = cell(pixels(axes), row + below, column, 28, group_rows=2)
            expected = np.broadcast_to(np.clip(images[index], 0, 1), (28, 28, 3))
            np.testing.assert_array_equal(seen, expected)
    pairs = -(-shown // 9)
    labels = words(axes.get_yticklabels())
    assert labels == ["data", "reconstruction"] * pairs
    assert len(axes.get_xticks()) == 0
    assert axes.images[0].get_interpolation() == "nearest"
    assert title(axes) == "a run"


@pytest.mark.parametrize(("count", "channels"), [(1, 1), (20, 4)])
def test_image_samples_fill_a_sheet_row_by_row(count: int, channels: int) -> None:
    generated, x = rng().normal(size=(2, count, 28, 28, channels))
    figure = draw(samples(generated, x, "a run"))
    titles = [title(axes) for axes in figure.axes]
    note = " (channel 1 of 4)" if channels == 4 else ""
    assert titles == [f"{name}, n = {count}{note}" for name in ("Generated", "Data")]
    columns = min(count, 6)
    for axes, images in zip(figure.axes, (generated, x), strict=True):
        for index in range(count):
            seen = cell(pixels(axes), index // columns, index % columns, 28)
            expected = np.clip(images[index, ..., :1], 0, 1).repeat(3, axis=-1)
            np.testing.assert_array_equal(seen, expected)
        blanks = -count % columns
        if blanks:
            last = cell(pixels(axes), count // columns, columns - 1, 28)
            np.testing.assert_array_equal(last, 1.0)


def test_a_long_title_of_samples_overlaps_nothing() -> None:
    images = np.zeros([9, 8, 8, 1])
    figure = draw(samples(images, images, "a title, " * 6))
    names = ["Generated, n = 9", "Data, n = 9", figure.get_suptitle()]
    found = {t.get_text(): t for t in figure.findobj(mpl.text.Text)}
    boxes = [found[name].get_window_extent() for name in names]
    for first, second in itertools.combinations(boxes, 2):
        assert not first.overlaps(second)
    assert boxes[2].y1 <= figure.bbox.y1


@pytest.mark.parametrize("size", [8, 45, 300])
def test_every_image_pixel_is_a_square_of_whole_pixels_in_the_file(
    tmp_path: Path, size: int
) -> None:
    tiles = np.indices((size, size)).sum(axis=0) % 2  # a chessboard
    board = draw_sheets([make_sheet(tiles[None, :, :, None], 1)])
    save_figure(board, tmp_path / "board.png")
    seen = imread(tmp_path / "board.png")[..., 0]
    rows, columns = np.nonzero(seen < 1)
    seen = seen[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    factor = max(1, round(100 / size))
    np.testing.assert_array_equal(seen, tiles.repeat(factor, 0).repeat(factor, 1))


def test_point_pairs_are_linked() -> None:
    x = rng().normal(size=(1001, 2))
    means = 0.9 * x
    figure = draw(reconstructions(x, means, "a run"))
    (axes,) = figure.axes
    rows = np.arange(400) * 1001 // 400
    drawn = lines(axes)
    np.testing.assert_array_equal(drawn["data"], x[rows])
    np.testing.assert_array_equal(drawn["reconstruction"], means[rows])
    (links,) = axes.findobj(LineCollection)
    expected = np.stack([x[rows], means[rows]], axis=1)
    np.testing.assert_array_equal(links.get_segments(), expected)
    assert legend(figure) == ["data", "reconstruction"]
    assert axes.get_xlabel() == "data dimension 1"
    assert axes.get_ylabel() == "data dimension 2"
    assert axes.get_aspect() == 1
    assert title(axes) == "a run"


def test_point_samples_stand_beside_the_data_with_common_axes() -> None:
    generated, x = rng().normal(size=(300, 2)), 5 * rng().normal(size=(70, 2))
    figure = draw(samples(generated, x, title="beside"))
    left, right = figure.axes
    np.testing.assert_array_equal(lines(left)["generated"], generated)
    np.testing.assert_array_equal(lines(right)["data"], x)
    assert left.get_xlim() == right.get_xlim()
    assert left.get_ylim() == right.get_ylim()
    assert title(left) == "Generated, n = 300"
    assert title(right) == "Data, n = 70"
    assert "beside" in texts(figure)


@pytest.mark.parametrize(("count", "data_dim"), [(4, 1), (7, 100)])
def test_vector_pairs_have_a_panel_each(count: int, data_dim: int) -> None:
    x = rng().normal(size=(count, data_dim))
    figure = draw(reconstructions(x, -x, "a run"))
    assert len(figure.axes) == min(count, 6)
    for index, axes in enumerate(figure.axes):
        drawn = lines(axes)
        dimensions = np.arange(1, data_dim + 1)
        np.testing.assert_array_equal(
            drawn["data"], np.stack([dimensions, x[index]], axis=1)
        )
        np.testing.assert_array_equal(drawn["reconstruction"][:, 1], -x[index])
        assert axes.get_xlabel() == "data dimension"
        np.testing.assert_array_equal(axes.get_xticks(), np.round(axes.get_xticks()))
    assert legend(figure) == ["data", "reconstruction"]
    assert "a run" in texts(figure)


def test_vector_samples_are_lines_beside_the_data() -> None:
    generated, x = rng().normal(size=(4, 5)), rng().normal(size=(46, 5))
    left, right = draw(samples(generated, x, "")).axes
    for axes, expected in ((left, generated), (right, x[:10])):
        drawn = [line.get_ydata() for line in axes.get_lines()]
        np.testing.assert_array_equal(drawn, expected)
    assert title(right) == "Data, 10 of n = 46"
