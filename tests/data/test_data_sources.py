# SPDX-License-Identifier: Apache-2.0
"""Data sets by name, from npz files and from TensorFlow Datasets."""

# Labels are optional in the type of a split, never in these tests.
# mypy: disable-error-code="arg-type,index,operator,union-attr"

import inspect
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from runs import one_line

from tf_decomp.data import (
    FactorCorrelation,
    color_dsprites,
    dsprites,
    fashion_mnist,
    load_dataset,
    load_npz,
    load_tfds,
    noisy_dsprites,
    pinwheel,
    xy_squares,
)
from tf_decomp.errors import InputError

_RNG = np.random.default_rng(0)
_BYTES = _RNG.integers(0, 256, (20, 6, 6, 3), dtype=np.uint8)


def _saved(folder: Path, **arrays: object) -> Path:
    path = folder / "data.npz"
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path


@pytest.mark.parametrize(
    ("x", "expected"),
    [
        (_BYTES, _BYTES / np.float32(255)),
        (_BYTES[..., 0], _BYTES[..., :1] / np.float32(255)),
        (_BYTES[:, 0, :, 0], _BYTES[:, 0, :, 0]),  # vectors keep their values
        (_BYTES[..., 0] % 2, _BYTES[..., :1] % 2),  # binary images too
        (_BYTES[..., 0] > 99, _BYTES[..., :1] > 99),
        (_BYTES.astype(np.int64) - 300, _BYTES.astype(np.float32) - 300),
        (_BYTES.astype(np.int64), _BYTES / np.float32(255)),
        (_BYTES.astype(np.uint16), _BYTES / np.float32(255)),
        (_BYTES.astype(">i4"), _BYTES / np.float32(255)),
        (np.asfortranarray(_BYTES), _BYTES / np.float32(255)),
        (_BYTES.astype(np.int64) * 257, _BYTES * np.float32(257) / np.float32(65535)),
        (_BYTES.astype(np.int64)[:, 0, :, 0], _BYTES[:, 0, :, 0]),
        (_BYTES.astype(np.int64) + 65535, _BYTES.astype(np.float32) + 65535),
        (_BYTES.astype(np.float64) / 7, (_BYTES / 7.0).astype(np.float32)),
        (_BYTES[..., 0].astype(np.float16), _BYTES[..., :1]),
    ],
)
def test_npz_values(tmp_path: Path, x: np.ndarray, expected: np.ndarray) -> None:
    dataset = load_npz(_saved(tmp_path, x_train=x[:15], x_test=x[15:]))
    assert dataset.train.x.dtype == dataset.test.x.dtype == np.float32
    np.testing.assert_array_equal(dataset.train.x, expected[:15].astype(np.float32))
    np.testing.assert_array_equal(dataset.test.x, expected[15:].astype(np.float32))
    assert dataset.train.labels is None


def test_npz_scale_is_the_training_images(tmp_path: Path) -> None:
    dark = np.zeros((5, 6, 6, 3), np.uint8)
    dark[0] = 1
    dataset = load_npz(_saved(tmp_path, x_train=_BYTES, x_test=dark))
    assert dataset.test.x.max() == np.float32(1) / np.float32(255)


def test_npz_labels(tmp_path: Path) -> None:
    path = _saved(
        tmp_path,
        x_train=np.zeros((6, 2)),
        y_train=np.arange(6),
        x_test=np.ones((4, 2)),
        y_test=np.arange(4),
        note=np.array("kept out"),
    )
    dataset = load_npz(path)
    assert dataset.train.labels.tolist() == [0, 1, 2, 3, 4, 5]
    assert dataset.test.labels.tolist() == [0, 1, 2, 3]


def test_npz_without_a_test_set_holds_out_a_tenth(tmp_path: Path) -> None:
    x = np.arange(200.0).reshape(100, 2)
    path = _saved(tmp_path, x_train=x, y_train=np.arange(100))
    first, again, other = (load_npz(path, seed=seed) for seed in (0, 0, 1))
    assert first.test.x.shape == (10, 2)
    for split in first:
        np.testing.assert_array_equal(split.x, x[split.labels])
    rows = np.concatenate([first.train.labels, first.test.labels])
    assert sorted(rows) == list(range(100))
    np.testing.assert_array_equal(first.test.labels, again.test.labels)
    assert not np.array_equal(first.test.labels, other.test.labels)


def test_npz_images_are_resized(tmp_path: Path) -> None:
    path = _saved(tmp_path, x_train=_BYTES[..., 0], x_test=_BYTES[:4, ..., 0])
    for size in (4, 16):
        dataset = load_npz(path, image_size=size)
        expected = tf.image.resize(
            _BYTES[..., :1] / np.float32(255), (size, size), antialias=size < 6
        )
        assert dataset.test.x.shape == (4, size, size, 1)
        np.testing.assert_allclose(dataset.train.x, expected, rtol=0, atol=1e-6)


_X = np.ones((4, 2))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": _X}, "must hold an array x_train; it holds none"),
        ({"x_test": _X}, "must hold an array x_train; it holds x_test"),
        ({"x_train": np.ones(4)}, r"x_train .* received shape \(4,\)"),
        ({"x_train": np.ones((4, 1, 1, 1, 1))}, "x_train .* received shape"),
        ({"x_train": np.float32(1)}, r"x_train .* received shape \(\)"),
        ({"x_train": np.ones((0, 2))}, "x_train .* must not be empty"),
        ({"x_train": np.ones((4, 0))}, "x_train .* must not be empty"),
        ({"x_train": _X, "x_test": np.ones((0, 2))}, "x_test .* must not be empty"),
        ({"x_train": _X * np.nan}, "x_train .* NaN or infinite"),
        ({"x_train": _X / 0.5 * np.inf}, "x_train .* NaN or infinite"),
        ({"x_train": _X * 1e300}, "finite in float32"),
        ({"x_train": _X, "x_test": _X * np.nan}, "x_test .* NaN or infinite"),
        ({"x_train": _X * 1j}, "real numbers; received dtype complex128"),
        ({"x_train": _X.astype(str)}, "real numbers; received dtype <U"),
        ({"x_train": _X.astype("M8[s]")}, "real numbers; received dtype datetime64"),
        ({"x_train": _X.astype(object)}, "plain arrays"),
        ({"x_train": _X, "y_train": np.array([None] * 4)}, "plain arrays"),
        ({"x_train": _X, "x_test": np.ones((4, 3))}, r"received \(4, 3\) and \(4, 2\)"),
        ({"x_train": _X, "x_test": np.ones((4, 2, 1))}, "must agree"),
        (
            {"x_train": _BYTES, "x_test": _BYTES / 255.0},
            r"one scale; received uint8 0..255 and float64 0..1; store both alike",
        ),
        ({"x_train": _X, "y_train": np.ones(3)}, r"y_train .* received shape \(3,\)"),
        ({"x_train": _X, "y_train": np.float32(1)}, r"received shape \(\)"),
        ({"x_train": _X, "x_test": _X, "y_test": np.ones(5)}, "y_test .* 4 rows"),
        ({"x_train": _X, "y_test": np.ones(4)}, "y_test but not x_test"),
        ({"x_train": _X[:1]}, "at least 2 examples"),
    ],
)
def test_npz_refuses(
    tmp_path: Path, arrays: dict[str, np.ndarray], message: str
) -> None:
    path = _saved(tmp_path, **arrays)
    with pytest.raises(InputError, match=message) as raised:
        load_npz(path)
    assert "\n" not in str(raised.value)


def test_npz_refuses_to_resize_vectors(tmp_path: Path) -> None:
    path = _saved(tmp_path, x_train=_X)
    with pytest.raises(InputError, match="image_size must be 0 for vectors"):
        load_npz(path, image_size=8)


def test_npz_refuses_another_file(tmp_path: Path) -> None:
    path = _saved(tmp_path, x_train=_BYTES)
    content = path.read_bytes()
    np.save(tmp_path / "data.npy", _BYTES)
    array = (tmp_path / "data.npy").read_bytes()
    altered = content[:600] + b"\xff" * 9 + content[609:]
    for other in (b"1,2,3\n", b"", array, content[: len(content) // 2], altered):
        path.write_bytes(other)
        with pytest.raises(InputError, match="must be a .npz file") as raised:
            load_npz(path)
        assert str(path) in str(raised.value)
        assert "\n" not in str(raised.value)


def test_npz_refuses_a_zip_of_other_files(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "data.npz", "w") as archive:
        archive.writestr("x_train", "1 2 3")
    with pytest.raises(InputError, match="plain arrays, .* magic"):
        load_npz(tmp_path / "data.npz")


def test_npz_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_npz(tmp_path / "none.npz")


class TinyImages(tfds.core.GeneratorBasedBuilder):
    """A data set that TFDS prepares from nothing, in several configurations."""

    VERSION = tfds.core.Version("1.0.0")
    # name: (splits, image shape, what the features are called)
    SETS = {
        "full": ({"train": 30, "test": 7}, (8, 8, 3), "image", "label"),
        "train_only": ({"train": 30}, (8, 8, 3), "image", "label"),
        "no_label": ({"train": 30}, (8, 8, 3), "image", "kind"),
        "no_image": ({"train": 3}, (8, 8, 3), "picture", "label"),
        "no_train": ({"test": 3}, (8, 8, 3), "image", "label"),
        "sizes": ({"train": 30}, (None, None, 1), "image", "label"),
    }
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=name) for name in SETS]
    pkg_dir_path = Path(__file__).parent

    def _info(self) -> tfds.core.DatasetInfo:
        _, shape, image, label = self.SETS[self.builder_config.name]
        features = {
            image: tfds.features.Image(shape=shape, encoding_format="png"),
            label: tfds.features.ClassLabel(num_classes=10),
        }
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict(features)
        )

    def _split_generators(self, dl_manager: object) -> dict[str, Any]:
        splits = self.SETS[self.builder_config.name][0]
        return {name: self._generate_examples(n) for name, n in splits.items()}

    def _generate_examples(self, number: int) -> Iterator[tuple[int, dict[str, Any]]]:
        _, shape, image, label = self.SETS[self.builder_config.name]
        for i in range(number):
            size = tuple(i + 4 if side is None else side for side in shape)
            pixels = np.full(size, 8 * i, np.uint8)
            pixels[0, 0, 0] = 255 - i
            yield i, {image: pixels, label: i % 10}


@pytest.fixture(scope="module")
def tiny_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tfds")


def _numbers(images: np.ndarray) -> list[int]:
    """Read the number of each image of TinyImages."""
    return (255 - np.rint(images[:, 0, 0, 0] * 255)).astype(int).tolist()


def test_tfds_reads_both_splits(tiny_dir: Path) -> None:
    dataset = load_tfds("tiny_images/full", tiny_dir)
    for split, number in zip(dataset, (30, 7), strict=True):
        assert split.x.dtype == np.float32
        assert split.x.shape == (number, 8, 8, 3)
        numbers = _numbers(split.x)
        assert sorted(numbers) == list(range(number))
        expected = np.float32(8) * np.array(numbers, np.float32) / np.float32(255)
        np.testing.assert_array_equal(split.x[:, 3, 3, 1], expected)
        np.testing.assert_array_equal(split.labels, np.array(numbers) % 10)


def test_tfds_without_a_test_split_holds_out_a_tenth(tiny_dir: Path) -> None:
    first, other = (load_tfds("tiny_images/train_only", tiny_dir, 0, s) for s in (0, 1))
    numbers = [_numbers(split.x) for split in first]
    assert len(numbers[1]) == 3
    assert sorted(numbers[0] + numbers[1]) == list(range(30))
    assert numbers[1] != _numbers(other.test.x)


def test_tfds_without_labels(tiny_dir: Path) -> None:
    assert load_tfds("tiny_images/no_label", tiny_dir).train.labels is None


def test_tfds_resizes_images_of_different_sizes(tiny_dir: Path) -> None:
    with pytest.raises(InputError, match="differ in size; set image_size"):
        load_tfds("tiny_images/sizes", tiny_dir)
    dataset = load_tfds("tiny_images/sizes", tiny_dir, image_size=16)
    assert dataset.train.x.shape == (27, 16, 16, 1)
    inside = np.concatenate([split.x[:, -1, -1, 0] for split in dataset])
    expected = np.arange(30) * 8 / 255
    np.testing.assert_allclose(np.sort(inside), expected, rtol=0, atol=1e-6)
    assert max(split.x.max() for split in dataset) <= 1.0


def test_tfds_of_a_mock() -> None:
    with tfds.testing.mock_data(num_examples=20):
        colour = load_dataset("tfds:cifar10", image_size=16, max_train_examples=5)
        binary = load_tfds("binarized_mnist")
    assert colour.train.x.shape == (5, 16, 16, 3)
    assert colour.test.x.shape == (2, 16, 16, 3)
    assert colour.train.labels.shape == (5,)
    assert 0.0 <= colour.train.x.min() < colour.train.x.max() <= 1.0
    assert binary.train.labels is None


def test_tfds_white_images_do_not_exceed_one() -> None:
    def as_dataset(self: object, **kwargs: object) -> tf.data.Dataset:
        image = np.full((28, 28, 1), 255, np.uint8)
        return tf.data.Dataset.from_tensors({"image": image, "label": 0}).repeat(20)

    with tfds.testing.mock_data(as_dataset_fn=as_dataset):
        dataset = load_tfds("mnist", image_size=7)
    assert dataset.train.x.max() == 1.0


def test_tfds_binary_images_stay_binary() -> None:
    with tfds.testing.mock_data(num_examples=20, max_value=2):
        dataset = load_tfds("binarized_mnist")
    assert np.unique(dataset.train.x).tolist() == [0.0, 1.0]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tiny_images/no_image", "feature 'image' .* label, picture"),
        ("tiny_images/no_train", "split 'train'; it has test"),
        ("tiny_images/unknown", "no data set 'tiny_images/unknown'"),
        ("no_such_set", "no data set 'no_such_set'"),
        ("not a name!", "no data set 'not a name!'"),
    ],
)
def test_tfds_refuses(tiny_dir: Path, name: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as raised:
        load_tfds(name, tiny_dir)
    assert "\n" not in str(raised.value)


def test_tfds_that_cannot_be_prepared(tmp_path: Path, monkeypatch: Any) -> None:
    def fail(self: object) -> None:
        raise ConnectionError("no route\nto host")

    monkeypatch.setattr(TinyImages, "download_and_prepare", fail)
    with pytest.raises(InputError, match="ConnectionError: no route") as raised:
        load_tfds("tiny_images/full", tmp_path)
    assert "\n" not in str(raised.value)


def test_load_dataset_by_name(tmp_path: Path, tiny_dir: Path) -> None:
    wheel = load_dataset("pinwheel", seed=3)
    np.testing.assert_array_equal(wheel.train.x, pinwheel(seed=3).train.x)
    path = _saved(tmp_path, x_train=_BYTES)
    np.testing.assert_array_equal(
        load_dataset(f"npz:{path}", seed=3).train.x, load_npz(path, seed=3).train.x
    )
    assert load_dataset(f"npz:{path}", image_size=4).test.x.shape == (2, 4, 4, 3)
    assert load_dataset("tfds:tiny_images/full", tiny_dir).test.x.shape[0] == 7


def test_load_dataset_takes_a_random_subset(tmp_path: Path) -> None:
    x = np.repeat(np.arange(10.0), 100)[:, None]  # sorted by class
    path = _saved(tmp_path, x_train=x, x_test=x)
    dataset = load_dataset(f"npz:{path}", max_train_examples=200)
    assert set(np.ravel(dataset.train.x)) == set(range(10))
    assert len(dataset.train.x) == 200
    assert len(dataset.test.x) == 1000
    dataset = load_dataset(f"npz:{path}", max_test_examples=100)
    assert set(np.ravel(dataset.test.x)) == set(range(10))
    assert len(dataset.train.x) == 1000
    assert len(dataset.test.x) == 100


_DRAWN = (dsprites, color_dsprites, noisy_dsprites, xy_squares)


@pytest.mark.parametrize(
    ("of", "size"), [*((of, 64) for of in _DRAWN), (fashion_mnist, 32)]
)
def test_load_dataset_passes_all_on(of: Any, size: int, monkeypatch: Any) -> None:
    calls = []

    def fake(*arguments: object) -> object:
        calls.append(inspect.signature(of).bind(*arguments).arguments)
        return pinwheel()

    monkeypatch.setattr(f"tf_decomp.data.sources.{of.__name__}", fake)
    load_dataset(of.__name__)
    load_dataset(of.__name__, "folder", 16, 500, 3)
    correlation = FactorCorrelation("a", "b", 0.3)
    if of in _DRAWN:
        load_dataset(of.__name__, "folder", 16, 500, 3, correlation=correlation)
    names = ("data_dir", "image_size", "max_train_examples", "seed", "correlation")
    taken = [name for name in names if name in inspect.signature(of).parameters]
    values = [
        (None, size, None, 0, None),
        ("folder", 16, 500, 3, None),
        ("folder", 16, 500, 3, correlation),
    ]
    every = [dict(zip(names, row, strict=True)) for row in values]
    expected = [{name: row[name] for name in taken} for row in every]
    assert calls == expected[: len(calls)]
    left = {fashion_mnist: {"correlation"}, xy_squares: {"data_dir"}}
    assert {*names} - {*taken} == left.get(of, set())
    assert len(calls) == (3 if of in _DRAWN else 2)


@pytest.mark.parametrize(
    "name", ["pinwheel", "fashion_mnist", "npz:x.npz", "tfds:mnist"]
)
def test_data_without_factors_cannot_be_correlated(name: str) -> None:
    with pytest.raises(InputError) as error:
        load_dataset(name, correlation=FactorCorrelation("posX", "posY"))
    one_line(error, "posX and posY", name, "xy_squares")


@pytest.mark.parametrize("of", _DRAWN)
def test_only_training_data_are_correlated(of: Any) -> None:
    """The test split and what is trained on do not depend on each other."""
    names = ("x_R", "x_B") if of is xy_squares else ("posX", "posY")
    correlation = FactorCorrelation(*names, width=0.05)
    options = {"max_train_examples": 400, "max_test_examples": 50}
    near = load_dataset(of.__name__, **options, correlation=correlation)
    plain = load_dataset(of.__name__, **options)
    np.testing.assert_array_equal(near.test.x, plain.test.x)
    np.testing.assert_array_equal(near.test.factors, plain.test.factors)
    assert len(near.train.x) == 400
    columns = [near.train.factor_names.index(name) for name in names]
    for split, least, most in ((near.train, 0.9, 1.0), (plain.train, -0.25, 0.25)):
        assert least < np.corrcoef(split.factors[:, columns].T)[0, 1] < most
    rows = [{*map(tuple, split.factors.tolist())} for split in near]
    assert len(rows[0]) == 400
    assert not rows[0] & rows[1]


def test_a_factor_that_is_not_there_is_refused() -> None:
    for of, known in ((xy_squares, "x_R, y_R, x_G"), (dsprites, "posX, posY")):
        with pytest.raises(InputError) as error:
            of(max_train_examples=10, correlation=FactorCorrelation("posX", "x_G"))
        one_line(error, known, "posX" if of is xy_squares else "x_G")


@pytest.mark.parametrize(
    "name", ["", "mnist", "npz", "npz:", "tfds:", "pinwheel:4", "Pinwheel", "csv:a"]
)
def test_load_dataset_lists_the_known_names(name: str) -> None:
    known = (
        "color_dsprites, dsprites, fashion_mnist, noisy_dsprites, npz:PATH, pinwheel, "
        "tfds:NAME, xy_squares"
    )
    with pytest.raises(InputError, match=f"one of {known}; received '{name}'"):
        load_dataset(name)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"image_size": -1}, "image_size must be a whole number >= 0"),
        ({"image_size": 32}, "image_size must be 0 for pinwheel"),
        ({"max_train_examples": 0}, "max_examples must be a whole number >= 1"),
        ({"seed": -1}, "seed must be a whole number >= 0"),
    ],
)
def test_load_dataset_refuses(wrong: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_dataset("pinwheel", **wrong)  # type: ignore[arg-type]
