# SPDX-License-Identifier: Apache-2.0
import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection, PathCollection, QuadMesh
from matplotlib.contour import ContourSet
from matplotlib.figure import Figure
from matplotlib.patches import StepPatch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import stats

from tf_decomp.errors import InputError
from tf_decomp.plots import (
    class_magnitudes,
    interpolations,
    pairwise_marginals,
    save_traversal_gif,
    traversals,
    two_factors,
)
from tf_decomp.plots.densities import kernel_width, normal_shares

Array = NDArray[Any]

NAN = np.nan
QUANTILES = np.array([0.001, 0.1, 0.5, 0.9, 0.999])
PERCENTS = ["0.1 %", "10 %", "50 %", "90 %", "99.9 %"]


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


def title(axes: Axes) -> str:
    return axes.get_title(loc="left")


def positions(num_dims: int) -> Array:
    return np.arange(1, num_dims + 1)[:, None] * stats.norm.ppf(QUANTILES)


# Traversals


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("height", "width"), [(28, 28), (12, 20), (64, 64)])
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
    frames = np.zeros((1, 3, 28, 28, 1))
    axes = traversals(frames, [0], [values], [0.1, 0.5, 0.9]).axes[0]
    assert words(axes.texts) == expected


def test_quantiles_keep_two_digits_of_the_smaller_tail() -> None:
    quantiles = [0.0001, 0.02275, 0.07, 1 / 3, 0.5, 0.97725, 0.99, 0.9999]
    frames = np.zeros((1, 8, 28, 28, 1))
    axes = traversals(frames, [0], [np.arange(8)], quantiles).axes[0]
    assert words(axes.get_xticklabels()) == [
        *("0.01 %", "2.3 %", "7 %", "33 %"),
        *("50 %", "97.7 %", "99 %", "99.99 %"),
    ]


@pytest.mark.parametrize("count", [1, 6])
def test_decoded_points_are_joined_and_coloured_by_quantile(count: int) -> None:
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
    assert words(figure.legends[0].get_texts()) == ["data, 2000 of n = 3000"]


def test_the_bar_names_both_ends_of_many_quantiles() -> None:
    quantiles = np.linspace(0.01, 0.99, 99)
    frames, values = np.zeros((1, 99, 2)), quantiles[None]
    bar = draw(traversals(frames, [0], values, quantiles)).axes[-1]
    labels = words(bar.get_yticklabels())
    assert labels[0] == "1 %"
    assert labels[-1] == "99 %"
    assert len(labels) == 11


@pytest.mark.parametrize("data_dim", [1, 3, 40])
def test_decoded_vectors_are_lines_over_the_data_dimensions(data_dim: int) -> None:
    frames = rng().normal(size=(2, 5, data_dim))
    first, second, bar = draw(traversals(frames, [1, 0], positions(2), QUANTILES)).axes
    for panel, vectors in zip((first, second), frames, strict=True):
        drawn = panel.get_lines()
        np.testing.assert_array_equal([line.get_ydata() for line in drawn], vectors)
        for line in drawn:
            np.testing.assert_array_equal(line.get_xdata(), np.arange(data_dim) + 1)
        assert panel.get_xlabel() == "data dimension"
    assert title(first) == "$z_{2}$, from −3.09 to 3.09"
    assert words(bar.get_yticklabels()) == PERCENTS


BOARD = np.zeros((2, 5, 8, 8, 1))
VALUES = positions(2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((BOARD[0], [0, 1], VALUES, QUANTILES), r"frames must be images .* \[5, 8, 8"),
        ((BOARD[:0], [], VALUES, QUANTILES), "frames must be images .* not empty"),
        ((BOARD, [0], VALUES, QUANTILES), r"dimensions must be 2 indices .* \[0.0\]"),
        ((BOARD, [0, -1], VALUES, QUANTILES), "dimensions must be 2 indices from 0"),
        ((BOARD, [0, 0.5], VALUES, QUANTILES), "dimensions must be 2 indices from 0"),
        ((BOARD, [0, 1], VALUES[:1], QUANTILES), r"received \[2, 5\], \[1, 5\], \[2"),
        ((BOARD, [0, 1], VALUES, QUANTILES[:4]), r"\[2, 5\], \[2, 5\], \[2, 4\]"),
        ((BOARD, [0, 1], VALUES, QUANTILES[::-1]), "quantiles must ascend in .0, 1.;"),
        ((BOARD, [0, 1], VALUES, 100 * QUANTILES), "quantiles must ascend .* 0.01 for"),
        ((BOARD, [0, 1], VALUES, QUANTILES - 0.001), "quantiles must ascend"),
        ((BOARD, [0, 1], VALUES * NAN, QUANTILES), "positions must be finite"),
        ((BOARD * NAN, [0, 1], VALUES, QUANTILES), "frames must be finite"),
        ((BOARD[..., 0, 0] * NAN, [0, 1], VALUES, QUANTILES), "frames must be finite"),
        ((BOARD.astype(int) + 255, [0, 1], VALUES, QUANTILES), "int64 up to 255"),
        (
            (BOARD[..., :2, 0, 0], [0, 1], VALUES, QUANTILES, np.ones((4, 3))),
            r"vectors of frames and x .* received \[2\], \[3\]",
        ),
    ],
)
def test_bad_traversals_are_refused_in_one_line(
    arguments: tuple[Any, ...], message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        traversals(*arguments)
    assert "\n" not in str(caught.value)


# The animation


def read_gif(path: Path) -> tuple[list[Array], dict[str, Any]]:
    with Image.open(path) as animation:
        pages = []
        for page in range(animation.n_frames):  # type: ignore[attr-defined]
            animation.seek(page)
            pages.append(np.asarray(animation.convert("RGB")))
        info = {str(name): value for name, value in animation.info.items()}
        return pages, info


@pytest.mark.parametrize("num_steps", [1, 2, 5])
@pytest.mark.parametrize("num_dims", [1, 3, 8])
def test_the_animation_runs_to_and_fro(
    tmp_path: Path, num_dims: int, num_steps: int
) -> None:
    frames = rng().random((num_dims, num_steps, 28, 28, 1))
    path = tmp_path / "new" / "traversals.gif"
    quantiles = QUANTILES[:num_steps]
    save_traversal_gif(frames, path, np.arange(num_dims), quantiles, 250)
    pages, info = read_gif(path)
    steps = [*range(num_steps), *range(num_steps - 2, 0, -1)]
    assert len(pages) == len(steps)
    columns = min(num_dims, 6)  # 6 x 112 and the gaps are less than 700
    rows = -(-num_dims // 6)
    size = 20 + 132 * rows + 4 * (rows - 1), max(240, 116 * columns - 4), 3
    for page, step in zip(pages, steps, strict=True):
        assert page.shape == size
        for index in range(num_dims):
            top, left = 40 + 136 * (index // 6), 116 * (index % 6)
            tile = page[top : top + 112, left : left + 112]
            expected = np.round(255 * frames[index, step]).repeat(3, axis=-1)
            np.testing.assert_array_equal(tile, expected.repeat(4, 0).repeat(4, 1))
            assert page[top - 20 : top, left : left + 112].min() < 128  # its name
    if num_steps > 1:
        assert info["duration"] == 250
        assert info["loop"] == 0
        headers = [page[:20] for page in pages[:num_steps]]
        for first, second in itertools.combinations(headers, 2):
            assert not np.array_equal(first, second)
    assert list(path.parent.iterdir()) == [path]


def test_tiles_of_the_animation_are_named_after_their_dimensions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []

    def spy(self: ImageDraw.ImageDraw, place: Any, text: str, *others: Any) -> None:
        written.append((place, text))

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", spy)
    save_traversal_gif(BOARD[:, :1], tmp_path / "a.gif", [6, 48], [0.001])
    assert written == [
        ((0, 0), "0.1 % quantile of the prior"),
        ((0, 20), "z₇"),
        ((100, 20), "z₄₉"),
    ]


def test_a_coloured_animation_keeps_its_colours(tmp_path: Path) -> None:
    frames = np.tile(np.linspace(0, 1, 64).reshape(8, 8, 1), (1, 3, 1, 1, 1))
    frames = frames * np.array([[1, 0.5, 0], [0, 1, 0], [0, 0, 0]])[:, None, None]
    save_traversal_gif(frames, tmp_path / "a.gif", [0], QUANTILES[:3])
    pages, _ = read_gif(tmp_path / "a.gif")
    assert len(pages) == 4
    factor = round(100 / 8)
    top = 20 + -(-20 // factor) * factor
    for page, expected in zip(pages, frames[0, [0, 1, 2, 1]], strict=True):
        tile = page[top::factor, : 8 * factor : factor]
        np.testing.assert_allclose(tile, 255 * expected, atol=6)


def test_the_animation_replaces_whole_files_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.gif"
    path.write_bytes(b"old")
    replaced = []
    real_replace = os.replace

    def spy(source: Path, target: Path) -> None:
        replaced.append((os.path.getsize(source), os.fspath(target)))
        real_replace(source, target)

    monkeypatch.setattr(os, "replace", spy)
    save_traversal_gif(BOARD, str(path), [0, 1], QUANTILES)
    whole = path.read_bytes()
    assert whole.startswith(b"GIF89a")
    assert replaced == [(len(whole), str(path))]

    def fail(self: Image.Image, name: Path, **settings: Any) -> None:
        name.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        save_traversal_gif(BOARD, path, [0, 1], QUANTILES)
    assert path.read_bytes() == whole
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"path": "a.png"}, "saved as .gif, .* received 'a.png', 120"),
        ({"milliseconds": 5}, "20 to 10,000 milliseconds .* received .a.gif., 5"),
        ({"frames": BOARD[..., 0]}, r"frames must be images .* received shape \[2, 5"),
        ({"frames": BOARD[:0]}, "frames must be images .* not empty"),
        ({"frames": BOARD * NAN}, "frames must be finite"),
        ({"dimensions": [0]}, "dimensions must be 2 indices"),
        ({"quantiles": QUANTILES[:3]}, r"received \[2, 5\], \[2, 3\]"),
        ({"quantiles": QUANTILES[::-1]}, "quantiles must ascend"),
    ],
)
def test_bad_animations_are_refused_in_one_line(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    usual = {"frames": BOARD, "dimensions": [0, 1], "quantiles": QUANTILES}
    path = tmp_path / changes.get("path", "a.gif")
    arguments: dict[str, Any] = usual | changes | {"path": path}
    with pytest.raises(InputError, match=message) as caught:
        save_traversal_gif(**arguments)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


# Classes


def bars(axes: Axes) -> tuple[Array, Array]:
    """The heights and centres of the bars of a panel."""
    patch = axes.patches[0]
    assert isinstance(patch, StepPatch)
    heights, edges, _ = patch.get_data()
    return heights[::2], (edges[::2] + edges[1::2]) / 2


@pytest.mark.parametrize("count", [1, 3, 10])
def test_bars_are_mean_magnitudes_with_two_standard_errors(count: int) -> None:
    codes = rng().normal(size=(400, 7)) * (1 + np.arange(7))
    labels = np.arange(400) % count
    names = [f"garment {label}" for label in range(count)]
    figure = draw(class_magnitudes(codes, labels, names))
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
        expected = f"garment {label}, n = {len(mine)}, largest at $z_{{{largest}}}$"
        assert title(axes) == expected
        assert axes.get_ylim() == figure.axes[0].get_ylim()
        assert axes.get_xlim() == figure.axes[0].get_xlim()
    assert figure.axes[0].get_ylabel() == "mean of $|z_d|$"
    for axes in figure.axes[-2:]:
        assert axes.get_xlabel() == "latent dimension d"
        assert words(axes.get_xticklabels()) == list("1234567")
    assert sorted(words(figure.legends[0].get_texts())) == [
        "mean of $|z_d|$ over the class",
        "mean over all data",
        "± 2 standard errors",
    ]


def test_a_class_of_one_datum_has_no_error_bars() -> None:
    codes = rng().normal(size=(5, 3))
    figure = draw(class_magnitudes(codes, ["b", "a", "b", "b", "b"]))
    one, four = figure.axes
    assert title(one).startswith("class a, n = 1,")
    assert list(one.collections) == []
    np.testing.assert_allclose(bars(one)[0], np.abs(codes[1]))
    assert len(four.collections) == 1
    assert "± 2 standard errors" in words(figure.legends[0].get_texts())
    draw(class_magnitudes(codes, np.arange(5)))  # no class has error bars


def test_wide_codes_show_the_most_varying_dimensions_in_their_order() -> None:
    scales = np.where(np.arange(200) % 3 == 1, 5.0, 0.1)  # 67 wide ones
    scales[[1, 4, 7]] = 4.0
    codes = scales * np.where(np.arange(60) % 2, 1.0, -1.0)[:, None]
    figure = draw(class_magnitudes(codes, np.arange(60) % 2))
    shown = np.flatnonzero(scales == 5.0)
    for axes in figure.axes:
        np.testing.assert_allclose(bars(axes)[0], scales[shown])
        expected = [str(number + 1) for number in shown[9::10]]
        assert words(axes.get_xticklabels()) == expected
        np.testing.assert_array_equal(axes.get_xticks(), np.arange(10, 65, 10))
    assert "the 64 most varying of 200 dimensions" in " ".join(texts(figure))


def test_of_many_classes_the_first_ten_are_shown() -> None:
    codes, labels = rng().normal(size=(130, 4)), 25 - np.arange(130) % 26
    figure = draw(class_magnitudes(codes, labels))
    heads = [title(axes).split(",")[0] for axes in figure.axes]
    assert heads == [f"class {label}" for label in range(10)]
    assert "10 of 26 classes" in " ".join(texts(figure))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.ones(3), [0, 0, 0]), r"codes must have the shape \[n, latent_dim\]"),
        ((np.ones((3, 2)) * NAN, [0, 0, 0]), "codes must be finite"),
        ((np.ones((3, 2)), [0, 0]), r"labels must be .* \[3\].* received int64 of \[2"),
        ((np.ones((3, 2)), [0, 0, NAN]), "labels must be integers or words.* float64"),
        ((np.ones((3, 2)), [0, 1, 2], ["a", "b"]), r"0 to 1; received \[2\]; name"),
        ((np.ones((3, 2)), [0, 1, -1], ["a", "b"]), r"0 to 1; received \[-1\]"),
        ((np.ones((3, 2)), ["a", "b", "b"], ["a", "b"]), r"received \['a', 'b'\]"),
    ],
)
def test_bad_classes_are_refused_in_one_line(
    arguments: tuple[Any, ...], message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        class_magnitudes(*arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("count", "steps"), [(1, 2), (4, 6)])
def test_interpolations_stand_below_their_data(count: int, steps: int) -> None:
    frames, x = (
        rng().random((count, steps, 28, 20, 1)),
        rng().random((count, 28, 20, 1)),
    )
    names = ["Trouser", "Ankle boot", "T-shirt/top or vest", "Bag"][:count]
    dimensions = [48, 29, 18, 39][:count]
    (axes,) = draw(interpolations(frames, dimensions, x, names)).axes
    sheet = np.asarray(axes.images[0].get_array())
    tops = [0, *(144 + 16 + 144 * np.arange(steps))]  # rows of 28 x 5 and a gap of 4
    for column in range(count):
        for row, image in enumerate([x[column], *frames[column]]):
            left = 104 * column
            seen = sheet[tops[row] : tops[row] + 140, left : left + 100]
            expected = image.repeat(5, 0).repeat(5, 1) * np.ones(3)
            np.testing.assert_array_equal(seen, expected)
    np.testing.assert_array_equal(sheet[140:160], 1)
    np.testing.assert_allclose(axes.get_yticks(), np.array(tops) + 69.5)
    np.testing.assert_allclose(axes.get_xticks(), 104 * np.arange(count) + 49.5)
    heads = ["Trouser\n$z_{49}$", "Ankle boot\n$z_{30}$"]
    heads += ["T-shirt/top\nor vest\n$z_{19}$", "Bag\n$z_{40}$"]
    assert words(axes.get_xticklabels()) == heads[:count]
    sides = words(axes.get_yticklabels())
    assert sides[:2] == ["datum", "$z_d$"]
    assert sides[-1] == r"$z_d + \,\mathrm{sign}(z_d)$"
    if steps == 6:
        assert sides[2] == r"$z_d + 0.2\,\mathrm{sign}(z_d)$"
    bare = interpolations(frames, dimensions, x).axes[0].get_xticklabels()
    assert words(bare)[0] == "$z_{49}$"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            (BOARD[0], [0, 1], BOARD[:, 0]),
            "frames must be images .num_examples, num_st",
        ),
        ((BOARD, [0, 1], BOARD[:1, 0]), r"received \[2, 8, 8, 1\], \[1, 8, 8, 1\]"),
        ((BOARD, [0, 1], BOARD[:, 0], ["a"]), r"\[1, 8, 8, 1\]; pass arrays"),
        ((BOARD, [0], BOARD[:, 0]), "dimensions must be 2 indices"),
        ((BOARD[:, :1], [0, 1], BOARD[:, 0]), "at least 2 steps; received 1"),
        ((BOARD, [0, 1], BOARD[:, 0] * NAN), "x must be finite"),
        ((BOARD * NAN, [0, 1], BOARD[:, 0]), "frames must be finite"),
    ],
)
def test_bad_interpolations_are_refused_in_one_line(
    arguments: tuple[Any, ...], message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        interpolations(*arguments)
    assert "\n" not in str(caught.value)


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


def test_no_more_than_twenty_thousand_normals_are_summed() -> None:
    shares = normal_shares(np.arange(50_000.0), 1.0, 0.0, 1.0, 2)
    assert len(shares) == 20_000


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


def encodings(n: int = 500, num_samples: int = 2000) -> tuple[Array, Array, Array]:
    return (
        rng().normal(size=(n, 2)),
        rng().uniform(0.1, 0.5, size=(n, 2)),
        np.random.default_rng(8).normal(size=(num_samples, 2)),
    )


def factors(
    locs: Array, scales: Array, samples: Array, **others: Any
) -> tuple[Figure, Axes, Axes]:
    notes = "some overlap", "some regularity"
    figure = draw(two_factors(locs, scales, samples, *notes, **others))
    left, right = figure.axes
    return figure, left, right


def ellipses(axes: Axes, deviations: int) -> list[Array]:
    """[4] centre and radii in standard deviations of each ellipse drawn."""
    collection = axes.collections[2 - deviations]
    boxes = [path.get_extents() for path in collection.get_paths()]
    return [
        np.array(
            [
                (box.x0 + box.x1) / 2,
                (box.y0 + box.y1) / 2,
                (box.x1 - box.x0) / 2 / deviations,
                (box.y1 - box.y0) / 2 / deviations,
            ]
        )
        for box in boxes
    ]


@pytest.mark.parametrize("n", [1, 7, 500])
def test_ellipses_are_encodings(n: int) -> None:
    locs, scales, samples = encodings(n)
    figure, left, _ = factors(locs, scales, samples, dimensions=(48, 6))
    others, means = left.get_lines()
    np.testing.assert_array_equal(others.get_xydata(), locs)
    chosen = np.asarray(means.get_xydata())
    assert len(chosen) == min(n, 25)
    rows = [int(np.flatnonzero((locs == place).all(axis=1))[0]) for place in chosen]
    assert len(set(rows)) == len(rows)
    expected = np.hstack([locs[rows], scales[rows]])
    for deviations in (1, 2):
        np.testing.assert_allclose(ellipses(left, deviations), expected, rtol=1e-3)
    count = "25 of n = 500" if n == 500 else f"n = {n}"
    assert title(left) == f"Overlap: encodings q(z|x), {count}"
    assert left.get_xlabel() == "latent dimension 49"
    assert left.get_ylabel() == "latent dimension 7"
    assert {"some overlap", "some regularity"} <= set(texts(figure))
    box = left.get_legend()
    assert box is not None
    assert words(box.get_texts()) == [
        "encodings q(z|x), 1 and 2 sd",
        "their means",
        "means of all data",
    ]


def test_the_encodings_shown_lie_apart_and_are_seeded() -> None:
    locs, scales, samples = encodings(2000)
    shown = []
    for seed in (0, 0, 1):
        left, _ = two_factors(locs, scales, samples, "", "", seed=seed).axes
        shown.append(np.asarray(left.get_lines()[1].get_xydata()))
    np.testing.assert_array_equal(shown[0], shown[1])
    assert not np.array_equal(shown[0], shown[2])

    def nearest(places: Array) -> float:
        pairs = itertools.combinations(places, 2)
        return float(min(np.linalg.norm(a - b) for a, b in pairs))

    generator = np.random.default_rng(9)
    by_chance = [nearest(generator.permutation(locs)[:25]) for _ in range(50)]
    assert nearest(shown[0]) > 2 * max(by_chance)


@pytest.mark.parametrize(("low", "inside"), [(-0.5, 1.0), (50.0, 0.0)])
def test_the_encodings_shown_lie_in_the_frame_if_any_do(
    low: float, inside: float
) -> None:
    locs, scales, samples = encodings()
    extent = (low, low + 1, low, low + 1)
    _, left, _ = factors(
        locs, scales, samples, prior_density=np.ones((3, 3)), extent=extent
    )
    shown = np.asarray(left.get_lines()[1].get_xydata())
    assert len(shown) == 25
    assert np.mean((shown >= low) & (shown <= low + 1)) == inside


def test_equal_means_are_shown_each() -> None:
    locs, scales, samples = (
        np.zeros((30, 2)),
        np.ones((30, 2)),
        rng().normal(size=(9, 2)),
    )
    scales[:, 0] = 1 + np.arange(30)
    _, left, _ = factors(locs, scales, samples)
    widths = {round(float(ellipse[2]), 3) for ellipse in ellipses(left, 1)}
    assert len(widths) == 25


def test_the_aggregate_posterior_is_the_mean_of_the_encodings() -> None:
    locs, scales, samples = encodings()
    _, left, right = factors(locs, scales, samples)
    image = right.images[0]
    density = np.asarray(image.get_array())
    x0, x1, y0, y1 = image.get_extent()
    ny, nx = density.shape
    area = (x1 - x0) * (y1 - y0) / density.size
    assert 0.98 < density.sum() * area <= 1
    x = x0 + (np.arange(nx) + 0.5) * (x1 - x0) / nx
    y = y0 + (np.arange(ny) + 0.5) * (y1 - y0) / ny
    row, column = 90, 70
    normals = stats.norm(locs, scales).pdf((x[column], y[row])).prod(axis=1)
    assert density[row, column] == pytest.approx(normals.mean(), rel=0.01)
    assert image.origin == "lower"
    assert left.get_xlim() == right.get_xlim() == pytest.approx((x[0], x[-1]))
    assert left.get_ylim() == right.get_ylim() == pytest.approx((y[0], y[-1]))
    assert x1 - x0 == pytest.approx(y1 - y0)  # circles look like circles
    box = right.get_legend()
    assert box is not None
    assert words(box.get_texts()) == [
        "q(z), darker is denser",
        "prior p(z), contours around 50, 90 % of its mass",
    ]


def test_contours_from_samples_hold_the_stated_mass() -> None:
    locs, scales, samples = encodings(num_samples=20_000)
    _, _, right = factors(locs, scales, samples)
    (contours,) = right.findobj(ContourSet)
    fresh = np.random.default_rng(9).normal(size=(20_000, 2))
    # The kernel makes a normal of variance 1 one of variance 1 + width^2.
    inflation = 1 + kernel_width(samples[:, 0]) ** 2
    for path, mass in zip(reversed(contours.get_paths()), (0.5, 0.9), strict=True):
        inside = path.contains_points(fresh).mean()
        expected = 1 - (1 - mass) ** inflation
        error = np.sqrt(2 * expected * (1 - expected) / 20_000)
        assert abs(inside - expected) < 5 * error


def test_a_given_density_gives_contours_and_frame() -> None:
    locs, scales, samples = encodings()
    axis = np.linspace(-4, 4, 161)
    density = np.exp(-(axis**2 + axis[:, None] ** 2) / 2) / (2 * np.pi)
    extent = (-4.0, 4.0, -4.0, 4.0)
    _, left, right = factors(
        locs, scales, samples, prior_density=density, extent=extent
    )
    assert (*left.get_xlim(), *right.get_ylim()) == extent
    (contours,) = right.findobj(ContourSet)
    for path, mass in zip(
        reversed(contours.get_paths()), (0.5, 0.9, 0.99), strict=True
    ):
        radii = np.linalg.norm(path.vertices, axis=1)
        np.testing.assert_allclose(radii, np.sqrt(-2 * np.log1p(-mass)), atol=0.05)


def test_a_lookup_table_and_heavy_tails_fit_the_frame() -> None:
    locs, samples = encodings()[0], rng().standard_t(1, size=(5000, 2))
    _, left, right = factors(locs, np.full_like(locs, 1e-4), samples)
    assert 60 < left.get_xlim()[1] < 200  # the quantile of 99.5 % is 64
    assert samples.max() > 1000
    density = np.asarray(right.images[0].get_array())
    x0, x1, y0, y1 = right.images[0].get_extent()
    assert density.sum() * (x1 - x0) * (y1 - y0) / density.size == pytest.approx(1)


def test_sides_of_very_different_lengths_stay_different() -> None:
    locs, scales, samples = (array * [100, 1] for array in encodings())
    _, left, _ = factors(locs, scales, samples)
    assert np.diff(left.get_xlim())[0] > 50 * np.diff(left.get_ylim())[0]
    assert left.get_box_aspect() == 1


@pytest.mark.parametrize("place", [0.0, 1e8])
def test_constant_encodings_are_drawn(place: float) -> None:
    constant = np.full((5, 2), place)
    _, left, _ = factors(constant, np.full((5, 2), 1e-12), constant)
    low, high = left.get_xlim()
    assert low < place < high


@pytest.mark.parametrize(("lines", "repeats"), [(0, 1), (1, 1), (1, 3), (9, 3)])
def test_no_text_of_the_two_factors_overlaps_another(lines: int, repeats: int) -> None:
    locs, scales, samples = encodings()
    text = "\n".join(["I(x; z) = 9.19, bound 9.21 nats " * repeats] * lines)
    figure = draw(two_factors(100 * locs, scales, samples, text, "short"))
    suptitle = figure.get_suptitle()
    boxes = [
        found.get_window_extent()
        for found in figure.findobj(mpl.text.Text)
        if found.get_text() == suptitle
    ]
    for axes in figure.axes:
        legend = axes.get_legend()
        assert legend is not None
        boxes += [
            axes.get_window_extent(),
            axes.xaxis.label.get_window_extent(),
            legend.get_window_extent(),
            *(note.get_window_extent() for note in axes.texts if note.get_text()),
        ]
        boxes += [
            found.get_window_extent()
            for found in axes.findobj(mpl.text.Text)
            if found.get_text() == title(axes)
        ]
    for first, second in itertools.combinations(boxes, 2):
        across = min(first.x1, second.x1) - max(first.x0, second.x0)
        down = min(first.y1, second.y1) - max(first.y0, second.y0)
        assert min(across, down) < 2.0  # pixels of white space around letters


PLANE = np.ones((3, 2))


@pytest.mark.parametrize(
    ("arguments", "others", "message"),
    [
        ((PLANE[0], PLANE, PLANE), {}, r"locs must have the shape \[n, 2\]"),
        ((np.ones((3, 3)),) * 3, {}, r"received \[3, 2\], \[3, 3\], \[3, 3\]"),
        ((PLANE, PLANE[:2], PLANE), {}, r"received \[3, 2\], \[3, 2\], \[2, 2\]"),
        ((PLANE, PLANE, np.ones((3, 5))), {}, r"sample of the prior .* \[2\], \[5\]"),
        ((PLANE, 0 * PLANE, PLANE), {}, "scales must be > 0; received a minimum of 0"),
        ((PLANE, PLANE, PLANE * NAN), {}, "prior_samples must be finite"),
        ((PLANE, PLANE, PLANE), {"dimensions": 0}, r"dimensions must have the shape"),
        ((PLANE, PLANE, PLANE), {"dimensions": (1, 2, 3)}, r"received \[2\], \[3\]"),
        ((PLANE, PLANE, PLANE), {"extent": (0, 1, 0, 1)}, "both be given or neither"),
        (
            (PLANE, PLANE, PLANE),
            {"extent": (0, 1, 0, 1), "prior_density": -PLANE},
            "prior_density must be >= 0",
        ),
        (
            (PLANE, PLANE, PLANE),
            {"extent": (0, 0, 0, 1), "prior_density": PLANE},
            "extent must be",
        ),
    ],
)
def test_bad_encodings_are_refused_in_one_line(
    arguments: tuple[Any, ...], others: dict[str, Any], message: str
) -> None:
    locs, scales, samples = arguments
    with pytest.raises(InputError, match=message) as caught:
        two_factors(locs, scales, samples, "", "", **others)
    assert "\n" not in str(caught.value)


# Pairs


@pytest.mark.parametrize("latent_dim", [1, 2, 50])
def test_pairs_of_the_most_varying_dimensions_fill_the_lower_triangle(
    latent_dim: int,
) -> None:
    scales = 1 + np.roll(np.arange(latent_dim), 1) / 10
    codes = scales * rng().normal(size=(300, latent_dim))
    order = np.argsort(-codes.std(axis=0))[:4]
    count = len(order)
    figure = draw(pairwise_marginals(codes, rng().normal(size=(200, latent_dim))))
    assert len(figure.axes) == count * (count + 1) // 2
    panels = dict(
        zip(zip(*np.tril_indices(count), strict=True), figure.axes, strict=True)
    )
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
    labels = words(figure.legends[0].get_texts())
    assert labels[:2] == ["q(z), aggregate posterior, n = 300", "p(z), prior, n = 200"]
    assert len(labels) == (2 if count == 1 else 4)
    assert f"q(z) against p(z), {count} of {latent_dim} latent dimensions" in texts(
        figure
    )


def test_a_pair_shows_its_densities() -> None:
    codes = rng().normal(size=(4000, 3)) @ [[1, 0, 0.8], [0, 1, 0], [0, 0, 0.6]]
    prior = np.random.default_rng(8).normal(size=(20_000, 3))
    figure = draw(pairwise_marginals(codes, prior, [2, 0]))
    _, pair, _ = figure.axes
    image = pair.images[0]
    density = np.asarray(image.get_array())
    x0, x1, y0, y1 = image.get_extent()
    ny, nx = density.shape
    x = x0 + (np.arange(nx) + 0.5) * (x1 - x0) / nx
    y = y0 + (np.arange(ny) + 0.5) * (y1 - y0) / ny
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
    draw(pairwise_marginals(constant, constant))
    draw(pairwise_marginals(constant, rng().normal(size=(50, 2))))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.ones(3), np.ones((3, 1))), r"codes must have the shape \[n, latent_dim\]"),
        ((np.ones((3, 2)), np.ones((3, 3))), r"received \[2\], \[3\]"),
        ((np.ones((3, 2)), np.ones((3, 2)) * NAN), "prior_samples must be finite"),
        ((np.ones((3, 2)), np.ones((3, 2)), [0, 2]), r"0 to 1; received \[0.0, 2.0\]"),
        ((np.ones((3, 2)), np.ones((3, 2)), [1, 1]), "at most 6 different indices"),
        ((np.ones((3, 9)), np.ones((3, 9)), range(7)), "at most 6 different indices"),
        ((np.ones((3, 2)), np.ones((3, 2)), [0.5]), "at most 6 different indices"),
    ],
)
def test_bad_pairs_are_refused_in_one_line(
    arguments: tuple[Any, ...], message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        pairwise_marginals(*arguments)
    assert "\n" not in str(caught.value)


# All


@pytest.mark.parametrize(
    "figure",
    [
        lambda title: traversals(BOARD, [0, 1], VALUES, QUANTILES, title=title),
        lambda title: traversals(
            BOARD[..., :2, 0, 0], [0, 1], VALUES, QUANTILES, title=title
        ),
        lambda title: interpolations(BOARD, [0, 1], BOARD[:, 0], title=title),
        lambda title: class_magnitudes(PLANE, [0, 1, 1], title=title),
        lambda title: two_factors(PLANE, PLANE, PLANE, "", "", title=title),
        lambda title: pairwise_marginals(PLANE, PLANE, title=title),
    ],
)
def test_a_given_title_is_the_heading_and_no_setting_stays(
    figure: Callable[[str], Figure],
) -> None:
    before = dict(mpl.rcParams)
    assert "my heading" in texts(draw(figure("my heading")))
    assert dict(mpl.rcParams) == before
    assert pyplot.get_fignums() == []
