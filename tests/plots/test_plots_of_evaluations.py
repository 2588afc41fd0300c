# SPDX-License-Identifier: Apache-2.0
import itertools
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from drawings import (
    Array,
    draw,
    grid_of,
    legend,
    read_gif,
    rng,
    texts,
    title,
    words,
)
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection, QuadMesh
from matplotlib.contour import ContourSet
from matplotlib.figure import Figure
from matplotlib.patches import StepPatch
from scipy import stats

from tf_decomp.plots import (
    class_magnitudes,
    interpolations,
    pairwise_marginals,
    save_traversal_gif,
    traversals,
    two_factors,
)
from tf_decomp.plots.arrays import percent
from tf_decomp.plots.densities import kernel_width, normal_shares
from tf_decomp.plots.factors import draw_encodings
from tf_decomp.plots.traversals import _three_digits

QUANTILES = np.array([0.001, 0.1, 0.5, 0.9, 0.999])
PERCENTS = ["0.1 %", "10 %", "50 %", "90 %", "99.9 %"]


def positions(num_dims: int) -> Array:
    return np.arange(1, num_dims + 1)[:, None] * stats.norm.ppf(QUANTILES)


# Traversals


@pytest.mark.parametrize(
    ("height", "width", "channels"), [(28, 28, 1), (12, 20, 3), (64, 64, 1)]
)
def test_a_row_of_images_is_a_dimension_and_a_column_a_quantile(
    height: int, width: int, channels: int
) -> None:
    frames = rng().normal(size=(3, 5, height, width, channels))
    figure = draw(traversals(frames, [6, 0, 48], positions(3), QUANTILES))
    (axes,) = figure.axes
    sheet = np.asarray(axes.images[0].get_array())
    factor = round(100 / width)
    rows, columns = axes.get_yticks(), axes.get_xticks()
    for row, column in itertools.product(range(3), range(5)):
        top = round(rows[row] + 0.5 - factor * height / 2)
        left = round(columns[column] + 0.5 - factor * width / 2)
        seen = sheet[top : top + factor * height, left : left + factor * width]
        image = np.clip(frames[row, column], 0, 1) * np.ones(3)
        np.testing.assert_array_equal(seen, image.repeat(factor, 0).repeat(factor, 1))
        sheet[top : top + factor * height, left : left + factor * width] = 1
    np.testing.assert_array_equal(sheet, 1)  # nothing else was drawn
    assert words(axes.get_yticklabels()) == ["$z_{7}$", "$z_{1}$", "$z_{49}$"]
    assert words(axes.get_xticklabels()) == PERCENTS
    assert axes.xaxis.get_ticks_position() == "top"
    assert title(axes).startswith("Decoded along quantiles of the prior")


def test_each_value_stands_under_its_image_and_over_the_next() -> None:
    frames = np.zeros((3, 5, 28, 28, 1))
    figure = draw(traversals(frames, range(3), positions(3), QUANTILES))
    (axes,) = figure.axes
    rows, columns = axes.get_yticks(), axes.get_xticks()
    expected = [
        ["−3.09", "−1.28", "0", "1.28", "3.09"],
        ["−6.18", "−2.56", "0", "2.56", "6.18"],
        ["−9.27", "−3.84", "0", "3.84", "9.27"],
    ]
    cells = itertools.product(range(3), range(5))
    for text, (row, column) in zip(axes.texts, cells, strict=True):
        assert text.get_text() == expected[row][column]
        box = text.get_window_extent().transformed(axes.transData.inverted())
        bottom, top = sorted((box.y0, box.y1))[::-1]  # rows count downwards
        assert abs((box.x0 + box.x1) / 2 - columns[column]) < 1
        assert top >= rows[row] + 56 - 0.5
        assert bottom <= rows[row] + 56 + 24 - 0.5
        assert box.x1 - box.x0 < 112


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([-1e-17, 0.5, 1.0], ["0", "0.5", "1"]),
        ([0.0, 0.0, 0.0], ["0", "0", "0"]),
        ([-318.3, 0.011, 318.3], ["−318", "0", "318"]),
        ([1e-9, 2e-9, 3e-9], ["1e−09", "2e−09", "3e−09"]),
    ],
)
def test_values_have_three_digits(values: list[float], expected: list[str]) -> None:
    assert _three_digits(np.array(values)) == expected


def test_quantiles_keep_two_digits_of_the_smaller_tail() -> None:
    quantiles = [0.0001, 0.02275, 0.07, 1 / 3, 0.5, 0.97725, 0.99, 0.9999]
    assert [percent(quantile) for quantile in quantiles] == [
        *("0.01 %", "2.3 %", "7 %", "33 %"),
        *("50 %", "97.7 %", "99 %", "99.99 %"),
    ]


def test_decoded_points_are_joined_and_coloured_by_quantile() -> None:
    count = 6
    frames, x = rng().normal(size=(count, 5, 2)), rng().normal(size=(3000, 2))
    dimensions = np.arange(count) + 3
    figure = draw(traversals(frames, dimensions, positions(count), QUANTILES, x))
    *panels, bar = figure.axes
    assert len(panels) == count
    for index, panel in enumerate(panels):
        (curve,) = (c for c in panel.collections if isinstance(c, LineCollection))
        pairs = np.stack([frames[index, :-1], frames[index, 1:]], axis=1)
        np.testing.assert_array_equal(curve.get_segments(), pairs)
        (points,) = (c for c in panel.collections if isinstance(c, PathCollection))
        np.testing.assert_array_equal(points.get_offsets(), frames[index])
        shades = np.asarray(points.get_facecolor())
        assert len(np.unique(shades, axis=0)) == 5
        np.testing.assert_array_equal(curve.get_colors(), shades[:4])
        (cloud,) = panel.get_lines()
        expected = x[np.arange(2000) * 3000 // 2000]
        np.testing.assert_array_equal(cloud.get_xydata(), expected)
        assert cloud.get_zorder() <= points.get_zorder()
        assert panel.get_aspect() == 1
        assert title(panel).startswith(f"$z_{{{index + 4}}}$, from −")
        if index >= count - 4:
            assert panel.get_xlabel() == "data dimension 1"
            assert any(words(panel.get_xticklabels()))
    assert panels[0].get_ylabel() == "data dimension 2"
    assert bar.get_ylabel() == "quantile of the prior"
    assert words(bar.get_yticklabels()) == PERCENTS
    np.testing.assert_allclose(bar.get_yticks(), [0.5, 1.5, 2.5, 3.5, 4.5])
    (shown,) = bar.findobj(QuadMesh)
    np.testing.assert_array_equal(shown.get_facecolor(), shades)
    assert legend(figure) == ["data, 2000 of n = 3000"]


def test_decoded_vectors_are_lines_over_the_data_dimensions() -> None:
    quantiles, values = np.linspace(0.01, 0.99, 99), np.linspace(-2, 2, 99)
    frames = rng().normal(size=(2, 99, 4))
    figure = draw(traversals(frames, [1, 0], np.stack([values] * 2), quantiles))
    *panels, bar = figure.axes
    for panel, vectors in zip(panels, frames, strict=True):
        drawn = np.array([line.get_xydata() for line in panel.get_lines()])
        np.testing.assert_array_equal(drawn[..., 0], [[1, 2, 3, 4]] * 99)
        np.testing.assert_array_equal(drawn[..., 1], vectors)
        assert panel.get_xlabel() == "data dimension"
    assert title(panels[0]) == "$z_{2}$, from −2 to 2"
    labels = words(bar.get_yticklabels())
    assert (labels[0], labels[-1], len(labels)) == ("1 %", "99 %", 11)


# The animation


@pytest.mark.parametrize(("num_dims", "num_steps"), [(1, 1), (8, 3)])
def test_the_animation_runs_to_and_fro(
    tmp_path: Path, num_dims: int, num_steps: int
) -> None:
    frames = rng().random((num_dims, num_steps, 28, 28, 1))
    path = tmp_path / "new" / "traversals.gif"
    save_traversal_gif(frames, path, np.arange(num_dims), QUANTILES[:num_steps])
    pages, info = read_gif(path)
    steps = [*range(num_steps), *range(num_steps - 2, 0, -1)]
    assert len(pages) == len(steps)
    margin, columns = 45, min(max(num_dims, 2), 6)  # 6 x 112 and gaps are below 700
    rows = -(-num_dims // columns)
    size = 2 * margin + 136 * rows - 4, 2 * margin + 116 * columns - 4, 3
    for page, step in zip(pages, steps, strict=True):
        np.testing.assert_allclose(page.shape, size, atol=1)
        for index in range(num_dims):
            top, left = margin + 136 * (index // 6), margin + 116 * (index % 6)
            tile = page[top : top + 112, left : left + 112]
            expected = np.round(255 * frames[index, step]).repeat(3, axis=-1)
            expected = expected.repeat(4, 0).repeat(4, 1)
            np.testing.assert_allclose(tile, expected, atol=1)
            assert page[top + 112 : top + 132, left : left + 112].min() < 192  # name
        assert page[margin - 5 :, :margin].min() == 255  # no text leaves its place
        assert page[:, size[1] - margin + 1 :].min() == 255
    if num_steps > 1:
        assert info["duration"] == 120
        assert info["loop"] == 0
        headers = [page[:margin] for page in pages[:num_steps]]
        for first, second in itertools.combinations(headers, 2):
            assert not np.array_equal(first, second)
    assert list(path.parent.iterdir()) == [path]


def test_a_coloured_animation_keeps_its_colours(tmp_path: Path) -> None:
    frames = np.tile(np.linspace(0, 1, 64).reshape(8, 8, 1), (1, 3, 1, 1, 1))
    frames = frames * np.array([[1, 0.5, 0], [0, 1, 0], [0, 0, 0]])[:, None, None]
    save_traversal_gif(frames, tmp_path / "a.gif", [0], QUANTILES[:3])
    pages, _ = read_gif(tmp_path / "a.gif")
    assert len(pages) == 4
    size = round(100 / 8)
    middles = 45 + size // 2 + size * np.arange(8)
    for page, expected in zip(pages, frames[0, [0, 1, 2, 1]], strict=True):
        tile = page[np.ix_(middles, middles)]
        np.testing.assert_allclose(tile, 255 * expected, atol=6)


# Classes


def bars(axes: Axes) -> tuple[Array, Array]:
    """The heights and centres of the bars of a panel."""
    patch = axes.patches[0]
    assert isinstance(patch, StepPatch)
    heights, edges, _ = patch.get_data()
    return heights[::2], (edges[::2] + edges[1::2]) / 2


def test_bars_are_mean_magnitudes_with_two_standard_errors() -> None:
    count = 3
    codes = rng().normal(size=(400, 7)) * (1 + np.arange(7))
    labels = np.arange(400) % count
    figure = draw(class_magnitudes(codes, labels))
    assert len(figure.axes) == count
    for label, axes in enumerate(figure.axes):
        mine = np.abs(codes[labels == label])
        heights, centres = bars(axes)
        np.testing.assert_allclose(heights, mine.mean(axis=0), rtol=1e-12)
        np.testing.assert_allclose(centres, np.arange(1, 8))
        (errors,) = axes.collections
        assert isinstance(errors, LineCollection)
        segments = np.array(errors.get_segments())
        np.testing.assert_allclose(segments[..., 0], [[d, d] for d in range(1, 8)])
        np.testing.assert_allclose(segments[..., 1].mean(axis=1), heights)
        np.testing.assert_allclose(
            np.diff(segments[..., 1])[:, 0], 4 * stats.sem(mine, axis=0)
        )
        overall, _, _ = axes.patches[1].get_data()  # type: ignore[attr-defined]
        np.testing.assert_allclose(overall, np.abs(codes).mean(axis=0))
        largest = int(np.argmax(heights)) + 1
        expected = f"class {label}, n = {len(mine)}, largest at $z_{{{largest}}}$"
        assert title(axes) == expected
        assert axes.get_ylim() == figure.axes[0].get_ylim()
        assert axes.get_xlim() == figure.axes[0].get_xlim()
    assert figure.axes[0].get_ylabel() == "mean of $|z_d|$"
    for axes in figure.axes[-2:]:
        assert axes.get_xlabel() == "latent dimension d"
        assert words(axes.get_xticklabels()) == list("1234567")
    assert sorted(legend(figure)) == [
        "mean of $|z_d|$ over the class",
        "mean over all data",
        "± 2 standard errors",
    ]


def test_a_class_of_one_datum_has_no_error_bars() -> None:
    codes = rng().normal(size=(5, 3))
    figure = draw(class_magnitudes(codes, np.array(list("babbb"))))
    one, four = figure.axes
    assert title(one).startswith("class a, n = 1,")
    assert list(one.collections) == []
    np.testing.assert_allclose(bars(one)[0], np.abs(codes[1]))
    assert len(four.collections) == 1
    assert "± 2 standard errors" in legend(figure)


def test_of_many_classes_and_dimensions_some_are_shown() -> None:
    scales = np.where(np.arange(200) % 3 == 1, 5.0, 0.1)  # 67 wide ones
    scales[[1, 4, 7]] = 4.0
    codes = scales * np.where(np.arange(26) % 2, 1.0, -1.0)[:, None]
    figure = draw(class_magnitudes(codes, 25 - np.arange(26)))
    shown = np.flatnonzero(scales == 5.0)
    for index, axes in enumerate(figure.axes):
        assert title(axes).startswith(f"class {index},")
        np.testing.assert_allclose(bars(axes)[0], scales[shown])
        np.testing.assert_array_equal(axes.get_xticks(), np.arange(10, 65, 10))
    expected = [str(number + 1) for number in shown[9::10]]
    assert words(axes.get_xticklabels()) == expected
    assert len(figure.axes) == 10
    found = " ".join(texts(figure))
    assert "10 of 26 classes" in found
    assert "the 64 most varying of 200 dimensions" in found


def test_interpolations_stand_below_their_data() -> None:
    count, steps = 3, 6
    frames, x = rng().random((3, 6, 28, 20, 1)), rng().random((3, 28, 20, 1))
    names = ["Trouser", "Ankle boot", "T-shirt/top or vest"]
    dimensions = [48, 29, 18]
    (axes,) = draw(interpolations(frames, dimensions, x, names)).axes
    sheet = np.asarray(axes.images[0].get_array())
    tops = [0, *(140 + 16 + 144 * np.arange(steps))]  # rows of 28 x 5 and a gap of 4
    for column in range(count):
        for row, image in enumerate([x[column], *frames[column]]):
            left = 104 * column
            seen = sheet[tops[row] : tops[row] + 140, left : left + 100]
            expected = image.repeat(5, 0).repeat(5, 1) * np.ones(3)
            np.testing.assert_array_equal(seen, expected)
    np.testing.assert_array_equal(sheet[140:156], 1)
    np.testing.assert_allclose(axes.get_yticks(), np.array(tops) + 69.5)
    np.testing.assert_allclose(axes.get_xticks(), 104 * np.arange(count) + 49.5)
    heads = ["Trouser\n$z_{49}$", "Ankle boot\n$z_{30}$"]
    heads += ["T-shirt/top\nor vest\n$z_{19}$"]
    assert words(axes.get_xticklabels()) == heads
    sides = words(axes.get_yticklabels())
    assert sides[:2] == ["datum", "$z_d$"]
    assert sides[2] == r"$z_d + 0.2\,\mathrm{sign}(z_d)$"
    assert sides[-1] == r"$z_d + \,\mathrm{sign}(z_d)$"
    bare = interpolations(frames, dimensions, x).axes[0].get_xticklabels()
    assert words(bare)[0] == "$z_{49}$"


# Densities


def test_normal_shares_are_means_over_pixels() -> None:
    locs, scales = rng().normal(size=20), rng().uniform(0.5, 2, size=20)
    shares = normal_shares(locs, scales, -3.0, 3.0, 61)
    fine = np.linspace(-3.05, 3.05, 61 * 200 + 1)
    middles = (fine[1:] + fine[:-1]) / 2
    exact = stats.norm(locs[:, None], scales[:, None]).pdf(middles)
    np.testing.assert_allclose(shares, exact.reshape(20, 61, 200).mean(-1), rtol=1e-5)


def test_a_narrow_normal_keeps_its_mass() -> None:
    shares = normal_shares(np.array([0.012, 1.0]), 1e-9, -3.0, 3.0, 61)
    np.testing.assert_allclose(shares.sum(axis=1) * 0.1, 1)
    assert np.argmax(shares, axis=1).tolist() == [30, 40]
    assert len(normal_shares(np.arange(50_000.0), 1.0, 0.0, 1.0, 2)) == 20_000


def test_the_kernel_is_as_narrow_as_a_spike_and_never_empty() -> None:
    normal = rng().normal(size=4096)
    assert kernel_width(5 * normal) == pytest.approx(5 * kernel_width(normal))
    assert kernel_width(normal) == pytest.approx(1.3 / 4, rel=0.05)
    spiky = np.where(np.arange(4096) % 4 == 0, 50 * normal, normal)
    assert kernel_width(spiky) < 2 * kernel_width(normal)
    assert kernel_width(np.zeros(9)) > 0
    rare = np.where(np.arange(4096) % 8 == 0, normal, 0.0)
    assert kernel_width(rare) == pytest.approx(1.3 / 4 * rare.std())


# Two factors


def encodings(n: int = 500) -> tuple[Array, Array, Array]:
    generator = np.random.default_rng(8)
    scales = rng().uniform(0.1, 0.5, size=(n, 2))
    return rng().normal(size=(n, 2)), scales, generator.normal(size=(20_000, 2))


@pytest.fixture(scope="module")
def factors() -> Figure:
    notes = "some overlap", "some regularity"
    return draw(two_factors(*encodings(), *notes, dimensions=(48, 6)))


def ellipses(axes: Axes, deviations: int) -> list[Array]:
    """[4] centre and radii in standard deviations of each ellipse drawn."""
    collection = axes.collections[2 - deviations]
    boxes = [path.get_extents() for path in collection.get_paths()]
    return [np.append((b.min + b.max) / 2, b.size / 2 / deviations) for b in boxes]


def test_ellipses_are_encodings(factors: Figure) -> None:
    locs, scales, _ = encodings()
    left, _ = factors.axes
    others, means = left.get_lines()
    np.testing.assert_array_equal(others.get_xydata(), locs)
    chosen = np.asarray(means.get_xydata())
    assert len(chosen) == 25
    rows = [int(np.flatnonzero((locs == place).all(axis=1))[0]) for place in chosen]
    assert len(set(rows)) == len(rows)
    expected = np.hstack([locs[rows], scales[rows]])
    for deviations in (1, 2):
        np.testing.assert_allclose(ellipses(left, deviations), expected, rtol=1e-3)


def test_the_two_factors_say_what_is_what(factors: Figure) -> None:
    left, right = factors.axes
    assert title(left) == "Overlap: encodings q(z|x), 25 of n = 500"
    assert left.get_xlabel() == "latent dimension 49"
    assert left.get_ylabel() == "latent dimension 7"
    assert {"some overlap", "some regularity"} <= set(texts(factors))
    assert words(left.get_legend().get_texts()) == [
        *("encodings q(z|x), 1 and 2 sd", "their means", "means of all data")
    ]
    assert words(right.get_legend().get_texts()) == [
        *("q(z), darker is denser", "prior p(z), contours around 50, 90 % of its mass")
    ]


def test_the_encodings_shown_lie_apart(factors: Figure) -> None:
    def nearest(places: Array) -> float:
        pairs = itertools.combinations(places, 2)
        return float(min(np.linalg.norm(a - b) for a, b in pairs))

    locs, generator = encodings()[0], np.random.default_rng(9)
    by_chance = [nearest(generator.permutation(locs)[:25]) for _ in range(50)]
    shown = np.asarray(factors.axes[0].get_lines()[1].get_xydata())
    assert nearest(shown) > 2 * max(by_chance)


@pytest.mark.parametrize(("low", "inside"), [(-0.5, 1.0), (50.0, 0.0)])
def test_the_encodings_shown_lie_in_the_frame_if_any_do(
    low: float, inside: float
) -> None:
    locs, scales, _ = encodings()
    axes = Figure().add_subplot()
    draw_encodings(axes, locs, scales, (low, low + 1, low, low + 1))
    assert axes.get_xlim() == axes.get_ylim() == (low, low + 1)
    shown = np.asarray(axes.get_lines()[1].get_xydata())
    assert len(shown) == 25
    assert np.mean((shown >= low) & (shown <= low + 1)) == inside


def test_equal_means_are_shown_each() -> None:
    axes, scales = Figure().add_subplot(), np.ones((30, 2))
    scales[:, 0] = 1 + np.arange(30)
    draw_encodings(axes, np.zeros((30, 2)), scales, (-9.0, 9.0, -9.0, 9.0))
    assert len({round(float(ellipse[2]), 3) for ellipse in ellipses(axes, 1)}) == 25


def test_the_aggregate_posterior_is_the_mean_of_the_encodings(factors: Figure) -> None:
    locs, scales, _ = encodings()
    left, right = factors.axes
    density, x, y = grid_of(right)
    assert 0.98 < density.sum() * (x[1] - x[0]) * (y[1] - y[0]) <= 1
    row, column = 90, 70
    normals = stats.norm(locs, scales).pdf((x[column], y[row])).prod(axis=1)
    assert density[row, column] == pytest.approx(normals.mean(), rel=0.01)
    assert right.images[0].origin == "lower"
    assert left.get_xlim() == right.get_xlim() == pytest.approx((x[0], x[-1]))
    assert left.get_ylim() == right.get_ylim() == pytest.approx((y[0], y[-1]))
    assert x[-1] - x[0] == pytest.approx(y[-1] - y[0])  # circles look like circles


def test_contours_from_samples_hold_the_stated_mass(factors: Figure) -> None:
    (contours,) = factors.axes[1].findobj(ContourSet)
    fresh = np.random.default_rng(9).normal(size=(20_000, 2))
    # The kernel makes a normal of variance 1 one of variance 1 + width^2.
    inflation = 1 + kernel_width(encodings()[2][:, 0]) ** 2
    for path, mass in zip(reversed(contours.get_paths()), (0.5, 0.9), strict=True):
        inside = path.contains_points(fresh).mean()
        expected = 1 - (1 - mass) ** inflation
        error = np.sqrt(2 * expected * (1 - expected) / 20_000)
        assert abs(inside - expected) < 5 * error


def test_a_lookup_table_and_heavy_tails_fit_the_frame() -> None:
    locs, samples = encodings()[0], rng().standard_t(1, size=(5000, 2))
    left, right = two_factors(locs, np.full_like(locs, 1e-4), samples, "", "").axes
    assert 60 < left.get_xlim()[1] < 200  # the quantile of 99.5 % is 64
    assert samples.max() > 1000
    density, x, y = grid_of(right)
    assert density.sum() * (x[1] - x[0]) * (y[1] - y[0]) == pytest.approx(1)


def test_sides_of_very_different_lengths_stay_different() -> None:
    locs, scales, samples = (array * [100, 1] for array in encodings())
    left, _ = two_factors(locs, scales, samples, "", "").axes
    assert np.diff(left.get_xlim())[0] > 50 * np.diff(left.get_ylim())[0]


@pytest.mark.parametrize("place", [0.0, 1e8])
def test_constant_encodings_are_drawn(place: float) -> None:
    constant = np.full((5, 2), place)
    left, _ = draw(two_factors(constant, np.full((5, 2), 1e-12), constant, "", "")).axes
    low, high = left.get_xlim()
    assert low < place < high


def test_no_text_of_the_two_factors_overlaps_another() -> None:
    locs, scales, samples = encodings()
    text = "\n".join(["I(x; z) = 9.19, bound 9.21 nats " * 3] * 9)
    figure = draw(two_factors(100 * locs, scales, samples, text, "short"))
    headings = [figure.get_suptitle(), *(title(axes) for axes in figure.axes)]
    found = [t for t in figure.findobj(mpl.text.Text) if t.get_text() in headings]
    for axes in figure.axes:
        found += [axes, axes.xaxis.label, axes.get_legend()]
        found += [note for note in axes.texts if note.get_text()]
    boxes = [artist.get_window_extent() for artist in found]
    for first, second in itertools.combinations(boxes, 2):
        across = min(first.x1, second.x1) - max(first.x0, second.x0)
        down = min(first.y1, second.y1) - max(first.y0, second.y0)
        assert min(across, down) < 2.0  # pixels of white space around letters


# Pairs


@pytest.mark.parametrize("latent_dim", [1, 50])
def test_pairs_fill_the_lower_triangle(latent_dim: int) -> None:
    codes, prior = (rng().normal(size=(n, latent_dim)) for n in (300, 200))
    order = [33, 7, 8] if latent_dim > 1 else [0]
    count = len(order)
    figure = draw(pairwise_marginals(codes, prior, order))
    places = list(zip(*np.tril_indices(count), strict=True))
    panels = dict(zip(places, figure.axes, strict=True))
    for (row, column), axes in panels.items():
        if row == column:
            deviation = codes[:, order[row]].std()
            assert title(axes) == f"$z_{{{order[row] + 1}}}$, sd {deviation:#.2g}"
            assert len(axes.patches) == 2
        else:
            assert axes.get_xlim() == panels[column, column].get_xlim()
            assert axes.get_ylim() == panels[row, row].get_xlim()
            assert len(axes.images) == 1
            if column == 0:
                assert axes.get_ylabel() == f"value of $z_{{{order[row] + 1}}}$"
        if row == count - 1:
            assert axes.get_xlabel() == f"value of $z_{{{order[column] + 1}}}$"
    labels = legend(figure)
    assert labels[:2] == ["q(z), aggregate posterior, n = 300", "p(z), prior, n = 200"]
    assert len(labels) == (2 if count == 1 else 4)
    heading = f"q(z) against p(z), {count} of {latent_dim} latent dimensions"
    assert heading in texts(figure)


def test_a_pair_shows_its_densities() -> None:
    codes = rng().normal(size=(4000, 3)) @ [[1, 0, 0.8], [0, 1, 0], [0, 0, 0.6]]
    prior = np.random.default_rng(8).normal(size=(20_000, 3))
    figure = draw(pairwise_marginals(codes, prior, [2, 0]))
    _, pair, _ = figure.axes
    density, x, y = grid_of(pair)
    weights = density / density.sum()
    widths = [kernel_width(codes[:, d]) for d in (2, 0)]
    covariance = x @ (weights.T @ y) - (weights.sum(0) @ x) * (weights.sum(1) @ y)
    expected = np.cov(codes[:, 2], codes[:, 0])
    assert covariance == pytest.approx(expected[0, 1], rel=0.05)  # the frame cuts tails
    variance = weights.sum(0) @ x**2 - (weights.sum(0) @ x) ** 2
    assert variance == pytest.approx(expected[0, 0] + widths[0] ** 2, rel=0.05)
    (contours,) = pair.findobj(ContourSet)
    fresh = np.random.default_rng(9).normal(size=(20_000, 2))
    inside = contours.get_paths()[-1].contains_points(fresh).mean()
    half = 1 - 0.5 ** (1 + kernel_width(prior[:, 0]) ** 2)
    assert abs(inside - half) < 5 * np.sqrt(2 * half * (1 - half) / 20_000)


@pytest.mark.parametrize("value", [0.0, 1e8])
def test_constant_codes_are_drawn_in_pairs(value: float) -> None:
    constant = np.full((5, 2), value)
    draw(pairwise_marginals(constant, rng().normal(size=(50, 2)), [1, 0]))
