# SPDX-License-Identifier: Apache-2.0
"""dSprites: the drawing against real images and exact geometry, and the sources."""

# Factors are optional in the type of a split, never in these tests.
# mypy: disable-error-code="arg-type,index,operator,union-attr"

import hashlib
import importlib
import itertools
import os
import time
import tracemalloc
import warnings
import zipfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from monte_carlo import assert_mean_close

from tf_decomp.data import (
    Split,
    dsprites,
    hold_out,
    make_pipeline,
    render_dsprites,
    subset,
)
from tf_decomp.data import dsprites_rendering as rendering
from tf_decomp.data.dsprites_rendering import (
    FACTOR_NAMES,
    FACTOR_SIZES,
    NUM_IMAGES,
    factor_classes,
    factor_values,
    render_packed,
)
from tf_decomp.errors import InputError

# The package's attribute of this name is the function.
_MODULE: ModuleType = importlib.import_module("tf_decomp.data.dsprites")
_SAMPLE = "TF_DECOMP_DSPRITES_SAMPLE"
_TINY = 300  # images of the tiny data set: the first rows of the official file


class TinySprites(tfds.core.GeneratorBasedBuilder):
    """The first rows of dSprites as TFDS has them, in another order."""

    VERSION = tfds.core.Version("2.0.0")
    pkg_dir_path = Path(__file__).parent
    rows = range(_TINY)
    names = ("shape", "scale", "orientation", "x_position", "y_position")
    labels = dict(zip((f"label_{name}" for name in names), FACTOR_SIZES, strict=True))

    def _info(self) -> tfds.core.DatasetInfo:
        features = {"image": tfds.features.Image(shape=(64, 64, 1))} | {
            name: tfds.features.ClassLabel(num_classes=size)
            for name, size in self.labels.items()
        }
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict(features)
        )

    def _split_generators(self, dl_manager: object) -> dict[str, Any]:
        return {"train": self._generate_examples()}

    def _generate_examples(self) -> Iterator[tuple[int, dict[str, Any]]]:
        for row in self.rows:
            index = np.array([row])
            classes = zip(self.labels, factor_classes(index)[0].tolist(), strict=True)
            yield row, {"image": render_dsprites(index)[0, ..., None], **dict(classes)}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing of the machine's own: an empty cache, and a TFDS without the data."""

    def builder(name: str) -> tfds.core.DatasetBuilder:
        assert name == "dsprites"
        return TinySprites(data_dir=tmp_path / "tfds")

    monkeypatch.setattr(tfds, "builder", builder)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "tf_decomp" / "dsprites_64x64.bin"


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """The packed images of a data set that has the first rows only."""
    packed = render_packed(np.arange(_TINY))
    monkeypatch.setattr(_MODULE, "NUM_IMAGES", _TINY)
    monkeypatch.setattr(_MODULE, "_CACHE_SHA256", hashlib.sha256(packed).hexdigest())
    return packed


@pytest.fixture
def no_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail where an image is drawn."""

    def fail(indices: np.ndarray) -> None:
        pytest.fail("an image was drawn")

    monkeypatch.setattr(_MODULE, "render_packed", fail)


def _rows(split: Split) -> np.ndarray:
    """Return the official rows of a split, from its factors."""
    return np.asarray(np.ravel_multi_index(tuple(split.factors.T), FACTOR_SIZES))


def _assert_whole(dataset: Any, packed: np.ndarray) -> None:
    """Check that the two splits hold each of the first rows once."""
    rows = np.concatenate([_rows(split) for split in dataset])
    assert sorted(rows) == list(range(len(packed)))
    for split in dataset:
        assert type(split.x) is np.ndarray
        np.testing.assert_array_equal(split.x, packed[_rows(split)])


def _index(**classes: int) -> np.ndarray:
    """Return the row of the given classes; the others are 0."""
    digits = [classes.get(name, 0) for name in FACTOR_NAMES]
    return np.array([np.ravel_multi_index(digits, FACTOR_SIZES)])


# The drawing.


def test_real_images() -> None:
    path = os.environ.get(_SAMPLE)
    if path is None:
        pytest.skip(f"{_SAMPLE} does not name a file of real dSprites images")
    with np.load(path) as sample:
        rows = sample["original_index"].astype(np.int64)
        real = np.unpackbits(sample["imgs_packed"], axis=-1)
        classes = sample["latents_classes"]
    assert len(rows) == 2400
    num_wrong = (render_dsprites(rows) != real).sum(axis=(1, 2))
    assert num_wrong.max() <= 1
    assert (num_wrong == 0).mean() >= 0.999
    np.testing.assert_array_equal(classes[:, 1:], factor_classes(rows))


@pytest.mark.slow
def test_all_images(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start = time.process_time()
    drawn = dsprites()
    assert time.process_time() - start < 40
    assert [len(split.x) for split in drawn] == [663_552, 73_728]
    assert sum(split.x.nbytes for split in drawn) == NUM_IMAGES * 512
    num_set = sum(
        int(np.bitwise_count(split.x.view(np.uint64)).sum()) for split in drawn
    )
    # The official images' mean; a wrong pixel in each 7,000th one would be 3e-8.
    assert abs(num_set / NUM_IMAGES / 64**2 - 0.04249442352) < 3e-8
    factors = np.concatenate([split.factors for split in drawn])
    for column, size in zip(factors.T, FACTOR_SIZES, strict=True):
        assert np.bincount(column).tolist() == [NUM_IMAGES // size] * size
    assert hashlib.sha256(cache.read_bytes()).hexdigest() == _MODULE._CACHE_SHA256
    monkeypatch.setattr(_MODULE, "render_packed", None)
    for split, again in zip(drawn, dsprites(), strict=True):
        np.testing.assert_array_equal(split.x, again.x)
    cache.unlink()  # pytest keeps the folders of some runs


def test_rows_count_through_the_factors() -> None:
    assert FACTOR_NAMES == ("shape", "scale", "orientation", "posX", "posY")
    expected = itertools.product(*map(range, (3, 6, 40, 32, 32)))
    np.testing.assert_array_equal(
        factor_classes(np.arange(737_280)), np.array(list(expected))
    )


def test_factor_values() -> None:
    classes = np.stack([np.arange(40) % size for size in FACTOR_SIZES], axis=1)
    values = factor_values(classes)
    np.testing.assert_array_equal(values[:3, 0], [1, 2, 3])
    np.testing.assert_allclose(values[:6, 1], [0.5, 0.6, 0.7, 0.8, 0.9, 1], 1e-15)
    np.testing.assert_allclose(values[:, 2], np.arange(40) * 2 * np.pi / 39, 1e-15)
    np.testing.assert_allclose(values[:32, 3:], classes[:32, 3:] / 31, 1e-15)


def test_drawing_is_a_function_of_the_row() -> None:
    rows = np.random.default_rng(0).integers(0, NUM_IMAGES, 1200)
    images = render_dsprites(rows)
    assert images.dtype == np.uint8
    assert images.shape == (1200, 64, 64)
    for i in (0, 511, 512, 1199):
        np.testing.assert_array_equal(images[i], render_dsprites(rows[i : i + 1])[0])
    packed = render_packed(rows)
    np.testing.assert_array_equal(packed, np.packbits(images.reshape(1200, -1), axis=1))
    assert render_dsprites(np.array([], np.int64)).shape == (0, 64, 64)


def test_square() -> None:
    image = render_dsprites(_index(scale=5, posX=31, posY=0))[0]
    # Centre (48, 16), half side 9.6: the centres from 38.5 to 57.5, 6.5 to 25.5.
    expected = np.zeros((64, 64), np.uint8)
    expected[6:26, 38:58] = 1
    np.testing.assert_array_equal(image, expected)


def _polygon_area(x: np.ndarray, y: np.ndarray) -> float:
    return float(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1))) / 2


@pytest.mark.parametrize("scale", [0, 5])
@pytest.mark.parametrize("shape", [0, 1, 2])
def test_area_and_place(shape: int, scale: int) -> None:
    index = np.arange(NUM_IMAGES).reshape(FACTOR_SIZES)[shape, scale, :, 1:-1, 1:-1]
    index = np.random.default_rng(0).choice(index.ravel(), 4000, replace=False)
    images = render_dsprites(index).astype(np.float64)
    t = 2 * np.pi * np.arange(150) / 150
    heart = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    area = (
        0.3**2,
        0.15**2 * 50 * np.sin(2 * np.pi / 100),  # axes of product 0.15^2, 100 sides
        abs(_polygon_area(0.15 * np.sin(t) ** 3, 0.3 / 29 * heart)),
    )[shape] * (64 * (0.5 + scale / 10)) ** 2
    # A figure at a random place covers as many pixel centres as its area says, in the
    # mean, and their mean place is its own.
    assert_mean_close(images.sum(axis=(1, 2)), area)
    if shape < 2:  # these have their centre in the middle
        centre = 16 + 32 * factor_values(factor_classes(index))[:, 3:]
        pixels = np.arange(64) + 0.5
        for axis in (0, 1):
            sums = images.sum(axis=1 + axis)
            assert_mean_close(sums @ pixels / sums.sum(axis=1), centre[:, axis].mean())


def test_orientation_is_counter_clockwise_on_the_screen() -> None:
    index = np.arange(NUM_IMAGES).reshape(FACTOR_SIZES)[1, 5, 4].ravel()
    images = render_dsprites(index).astype(np.float64)
    centre = 16 + 32 * factor_values(factor_classes(index))[:, 3:, None]
    right, down = (np.arange(64) + 0.5 - centre).transpose(1, 0, 2)
    products = np.einsum("nrc,nc,nr->n", images, right, down)
    # A filled ellipse has the second moments pi a b (a^2, b^2) / 4 along its axes.
    a, b, angle = 64 * 0.15 * 1.33, 64 * 0.15 / 1.33, 4 * 2 * np.pi / 39
    moment = np.pi * a * b * (a**2 - b**2) / 4
    assert_mean_close(products, -moment * np.sin(angle) * np.cos(angle))


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_heart_turns_with_its_tip(quarters: int) -> None:
    index = _index(shape=2, scale=5, orientation=10 * quarters, posX=16, posY=16)
    # NumPy's turns are counter-clockwise too; ten classes are 92 degrees.
    upright = np.rot90(render_dsprites(index)[0], -quarters)
    row, column = np.nonzero(upright)
    assert upright[row.max()].sum() <= 3 < 18 <= upright[row.min() + 4].sum()


def test_first_and_last_orientation_look_the_same() -> None:
    grid = np.arange(NUM_IMAGES).reshape(FACTOR_SIZES)[:, ::2, :, ::5, ::5]
    first, last = (render_packed(grid[:, :, i].ravel()) for i in (0, 39))
    np.testing.assert_array_equal(first, last)


def _is_inside(x: list[int], y: list[int], column: int, row: int) -> bool:
    """Say in fractions whether a pixel's centre is inside, with ties left and down.

    A point on an edge belongs to the side on which it falls when it is moved to the
    right and, by far less, up: edges on the left and at the bottom stay inside.
    """
    right = Fraction(1, 10**6)
    px = 256 * column + 128 + right
    py = 256 * row + 128 - right / 10**9
    inside = False
    for i in range(len(x)):
        (x0, y0), (x1, y1) = (x[i - 1], y[i - 1]), (x[i], y[i])
        if (y0 < py) != (y1 < py):
            crossing = x0 + Fraction(x1 - x0) * (py - y0) / (y1 - y0)
            inside ^= crossing < px
    return inside


def test_filling_is_exact() -> None:
    rng = np.random.default_rng(0)
    # Vertices on pixel centres and half way between make many ties.
    x, y = (10 * 256 + 128 * rng.integers(0, 25, (30, 7)) for _ in range(2))
    rows = rendering._fill(x.astype(np.int32), y.astype(np.int32))
    images = np.unpackbits(rows.astype(">u8").view(np.uint8), axis=1)
    images = images.reshape(30, 64, 64)
    assert images[:, 9:24, 9:24].sum() == images.sum() > 0
    for i, row, column in itertools.product(range(30), range(9, 24), range(9, 24)):
        expected = _is_inside(x[i].tolist(), y[i].tolist(), column, row)
        assert images[i, row, column] == expected, (i, row, column)


@pytest.mark.parametrize(
    ("indices", "message"),
    [
        (np.array([0.0]), r"integers of shape \[n\]; received float64"),
        (np.array([True]), "received bool"),
        (np.array(3), r"of shape \(\)"),
        (np.zeros((2, 2), int), r"of shape \(2, 2\)"),
        (np.array([5, 737_280]), r"in \[0, 737280\); .* from 5 to 737280"),
        (np.array([-1]), "from -1 to -1"),
    ],
)
def test_drawing_refuses(indices: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        render_dsprites(indices)


# Splits.


def test_splits_are_seeded_and_aligned(cache: Path) -> None:
    first, again, other = (dsprites(None, 64, 700, seed) for seed in (0, 0, 1))
    assert [len(split.x) for split in first] == [700, 73_728]
    assert len({*_rows(first.train), *_rows(first.test)}) == 700 + 73_728
    for split, same in zip(first, again, strict=True):
        np.testing.assert_array_equal(split.x, same.x)
        np.testing.assert_array_equal(split.factors, same.factors)
    for split in first:
        some = slice(0, len(split.x), 100)
        assert split.factors.dtype == np.int64
        np.testing.assert_array_equal(split.x[some], render_packed(_rows(split)[some]))
    assert not np.array_equal(_rows(first.test), _rows(other.test))
    assert not np.array_equal(_rows(first.train), _rows(other.train))
    assert not cache.exists()  # a part is not kept


def test_a_part_is_that_of_the_whole(tiny: np.ndarray) -> None:
    whole, part = dsprites(seed=3), dsprites(max_train_examples=50, seed=3)
    _assert_whole(whole, tiny)
    expected = subset(hold_out(Split(np.arange(_TINY)), 0.1, 3).train, 50, 3).x
    np.testing.assert_array_equal(_rows(part.train), expected)
    np.testing.assert_array_equal(part.train.x, tiny[expected])
    np.testing.assert_array_equal(part.test.x, whole.test.x)
    np.testing.assert_array_equal(part.train.x, subset(whole.train, 50, 3).x)


def test_memory_of_a_small_run() -> None:
    tracemalloc.start()
    try:
        kept = dsprites(max_train_examples=1000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # The packed test images are 38 MB, all packed images 377 MB, one as floats 16 KB.
    assert kept.test.x.nbytes < peak < 100e6


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"image_size": 28}, "image_size must be one of 64, 32, 16 .* received 28"),
        ({"image_size": 0}, "received 0"),
        (
            {"max_train_examples": 0},
            "max_examples must be a whole number >= 1; received 0",
        ),
        ({"seed": -1}, "seed must be a whole number >= 0; received -1"),
    ],
)
def test_refuses(wrong: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message) as raised:
        dsprites(**wrong)
    assert "\n" not in str(raised.value)


# Unpacking.


@pytest.mark.parametrize("size", [64, 32, 16])
@pytest.mark.usefixtures("tiny")
def test_unpacking_in_the_pipeline(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    train = dsprites(image_size=size).train
    assert train.x.dtype == np.uint8
    assert train.x.shape == (270, 512)
    pipeline = make_pipeline(train, 64, shuffle=False, seed=0)
    assert pipeline.element_spec == tf.TensorSpec((None, size, size, 1), tf.float32)
    block = 64 // size
    blocks = render_dsprites(_rows(train)).reshape(-1, size, block, size, block)
    expected = blocks.sum(axis=(2, 4))[..., None] / np.float32(block**2)
    if block > 1:
        assert len(np.unique(expected)) > 2
    np.testing.assert_array_equal(np.concatenate(list(pipeline)), expected)
    assert train.data_shape == (size, size, 1)
    monkeypatch.setattr("tf_decomp.data.dataset._ROWS_AT_ONCE", 7)
    assert train.examples(slice(0, 0)).shape == (0, size, size, 1)
    chosen = np.array([5, 0, 200])
    for rows in (chosen, slice(3, 9), np.arange(270) % 7 == 0):
        examples = train.examples(rows)
        assert examples.dtype == np.float32
        np.testing.assert_array_equal(examples, expected[rows])


def test_examples_that_are_not_packed() -> None:
    split = Split(np.arange(24.0).reshape(4, 3, 2, 1))
    assert split.data_shape == (3, 2, 1)
    assert split.examples(slice(0, 0)).shape == (0, 3, 2, 1)
    examples = split.examples(np.array([2, 0]))
    assert examples.dtype == np.float32
    np.testing.assert_array_equal(examples, split.x[[2, 0]])


# The cache.


def test_cache_is_made_once_and_part_by_part(
    tiny: np.ndarray, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_MODULE, "_ROWS_AT_ONCE", 37)
    first = dsprites()
    assert cache.read_bytes() == tiny.tobytes()
    assert [path.name for path in cache.parent.iterdir()] == [cache.name]
    monkeypatch.setattr(_MODULE, "render_packed", None)
    _assert_whole(first, tiny)
    _assert_whole(dsprites(), tiny)


def test_cache_is_in_the_home_folder(
    tiny: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    dsprites()
    path = tmp_path / ".cache" / "tf_decomp" / "dsprites_64x64.bin"
    assert path.read_bytes() == tiny.tobytes()


def test_damaged_cache_is_drawn_again(tiny: np.ndarray, cache: Path) -> None:
    content = tiny.tobytes()
    altered = content[:999] + bytes([content[999] ^ 4]) + content[1000:]
    cache.parent.mkdir(parents=True)
    for damaged in (content[:-512], altered, b"", content + b"0"):
        cache.write_bytes(damaged)
        _assert_whole(dsprites(), tiny)
        assert cache.read_bytes() == content


def test_interrupted_cache_leaves_nothing(
    tiny: np.ndarray, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(indices: np.ndarray) -> np.ndarray:
        if indices[0] > 100:
            assert not cache.exists()
            raise KeyboardInterrupt
        return render_packed(indices)

    with monkeypatch.context() as patch:
        patch.setattr(_MODULE, "_ROWS_AT_ONCE", 37)
        patch.setattr(_MODULE, "render_packed", interrupt)
        with pytest.raises(KeyboardInterrupt):
            dsprites()
    assert list(cache.parent.iterdir()) == []
    _assert_whole(dsprites(), tiny)


def test_without_a_cache_folder(tiny: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("not a folder")
    _assert_whole(dsprites(), tiny)


# The official file.


def _official(folder: Path, **changes: object) -> Path:
    """Write the first rows in the form of the official file."""
    rows = np.arange(_TINY)
    classes = np.pad(factor_classes(rows), ((0, 0), (1, 0)))
    arrays = {
        "metadata": np.array({"author": "somebody"}),  # pickled, as in the real one
        "imgs": render_dsprites(rows),
        "latents_values": np.pad(factor_values(classes[:, 1:]), ((0, 0), (1, 0))),
        "latents_classes": classes,
        **changes,
    }
    kept = {name: array for name, array in arrays.items() if array is not None}
    path = folder / "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz"
    np.savez_compressed(path, **kept)  # type: ignore[arg-type]
    return path


@pytest.mark.usefixtures("no_drawing")
def test_official_file(
    tiny: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inverted = 1 - render_dsprites(np.arange(_TINY))  # to tell it from the drawing
    _official(tmp_path, imgs=inverted)
    monkeypatch.setattr(_MODULE, "_ROWS_AT_ONCE", 37)
    _assert_whole(dsprites(tmp_path), ~tiny)
    part = dsprites(str(tmp_path), max_train_examples=40).train
    np.testing.assert_array_equal(part.x, ~tiny[_rows(part)])


@pytest.mark.usefixtures("no_drawing", "tiny")
def test_official_file_is_the_only_place(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="dSprites was not found: .* no") as raised:
        dsprites(tmp_path)
    assert str(tmp_path) in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.usefixtures("no_drawing", "tiny")
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"imgs": None}, "its imgs are None"),
        ({"latents_classes": None}, "its latents_classes are None"),
        ({"imgs": np.zeros((9, 64, 64), np.uint8)}, r"uint8 \[9, 64, 64\]"),
        ({"imgs": np.zeros((_TINY, 64, 64), np.int64)}, "its imgs are int64"),
        ({"imgs": np.zeros((64, 64, _TINY), np.uint8).T}, "in Fortran order"),
        ({"imgs": np.array([None] * _TINY)}, "imgs of pickled objects"),
        ({"latents_classes": np.zeros((_TINY, 6), np.int64)}, "not the grid"),
        ({"latents_classes": np.zeros((9, 6), np.int64)}, r"int64 \[9, 6\]"),
        ({"latents_classes": np.array([None] * _TINY)}, "reading it gave"),
    ],
)
def test_official_file_with_other_arrays(
    tmp_path: Path, changes: dict[str, object], reason: str
) -> None:
    _official(tmp_path, **changes)
    with pytest.raises(InputError, match=f"not the official .*{reason}") as raised:
        dsprites(tmp_path)
    assert "\n" not in str(raised.value)


def _damaged(path: Path, damage: str) -> bytes:
    """Return the content of an npz file, damaged."""
    content = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        images = archive.getinfo("imgs.npy")
        members = {name: archive.read(name) for name in archive.namelist()}
    if damage == "truncated":
        return content[: len(content) // 2]
    if damage == "stream":
        start = images.header_offset + 500
        return content[:start] + b"\xff" * 9 + content[start + 9 :]
    if damage == "checksum":
        return content.replace(images.CRC.to_bytes(4, "little"), b"1234")
    if damage == "short":
        members["imgs.npy"] = members["imgs.npy"][: 128 + 4096 * 100]
        with zipfile.ZipFile(path, "w") as archive:
            for name, member in members.items():
                archive.writestr(name, member)
        return path.read_bytes()
    if damage == "encrypted":
        central = content.rindex(b"imgs.npy") - 46
        for flags in (images.header_offset + 6, central + 8):
            content = content[:flags] + b"\1" + content[flags + 1 :]
        return content
    if damage == "twice":
        with warnings.catch_warnings(), zipfile.ZipFile(path, "a") as archive:
            warnings.simplefilter("ignore")
            archive.writestr("imgs.npy", members["imgs.npy"])
        return path.read_bytes()
    return b"1 2 3" if damage == "text" else b""


@pytest.mark.usefixtures("no_drawing", "tiny")
@pytest.mark.parametrize(
    "damage",
    ["truncated", "stream", "checksum", "short", "text", "empty", "encrypted", "twice"],
)
def test_damaged_official_file(tmp_path: Path, damage: str) -> None:
    path = _official(tmp_path)
    path.write_bytes(_damaged(path, damage))
    with pytest.raises(InputError, match="not the official dSprites"):
        dsprites(tmp_path)


# TFDS.


@pytest.mark.usefixtures("no_drawing")
def test_prepared_tfds(
    tiny: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    TinySprites(data_dir=tmp_path / "tfds").download_and_prepare()
    monkeypatch.setattr(_MODULE, "_ROWS_AT_ONCE", 37)
    _assert_whole(dsprites(), tiny)
    part = dsprites(max_train_examples=40).train
    np.testing.assert_array_equal(part.x, tiny[_rows(part)])


@pytest.mark.usefixtures("no_drawing", "tiny")
def test_incomplete_tfds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TinySprites, "rows", range(_TINY - 2))
    TinySprites(data_dir=tmp_path / "tfds").download_and_prepare()
    with pytest.raises(InputError, match="must hold 300 .* received 298"):
        dsprites()
