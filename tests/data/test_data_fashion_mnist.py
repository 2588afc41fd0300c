# SPDX-License-Identifier: Apache-2.0
"""Fashion-MNIST: the real data where they are, and damaged files."""

# Labels are optional in the type of a split, never in these tests.
# mypy: disable-error-code="arg-type,index,operator,union-attr"

import gzip
import hashlib
import importlib
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from hypothesis import given
from hypothesis import strategies as st
from properties import bounded

from tf_decomp.data import fashion_mnist
from tf_decomp.errors import InputError

# The package's attribute of this name is the function.
_MODULE: ModuleType = importlib.import_module("tf_decomp.data.fashion_mnist")


def _real_folder() -> Path:
    """Return the folder of the real data; skip, or fail where they must be there."""
    folder: Path = _MODULE._SYSTEM_DIR
    if all(_MODULE._find(folder, name) for name in _MODULE._MD5):
        return folder
    reason = f"Fashion-MNIST is not in {folder} (Debian: dataset-fashion-mnist)"
    if os.environ.get("TF_DECOMP_REQUIRE_DATA") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


def _idx(array: np.ndarray) -> bytes:
    sizes = np.array(array.shape, ">u4").tobytes()
    return bytes([0, 0, 8, array.ndim]) + sizes + array.astype(np.uint8).tobytes()


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four small files that pass for the data set, two of them gzipped."""
    rng = np.random.default_rng(0)
    for part, number in (("train", 12), ("t10k", 5)):
        images = _idx(rng.integers(0, 256, (number, 28, 28)))
        labels = _idx(np.arange(number) % 10)
        (tmp_path / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(images))
        (tmp_path / f"{part}-labels-idx1-ubyte").write_bytes(labels)
        for name, content in (("images-idx3", images), ("labels-idx1", labels)):
            digest = hashlib.md5(content).hexdigest()
            monkeypatch.setitem(_MODULE._MD5, f"{part}-{name}-ubyte", digest)
    return tmp_path


def test_real_data() -> None:
    dataset = fashion_mnist(_real_folder(), image_size=28)
    for split, number in zip(dataset, (60_000, 10_000), strict=True):
        assert split.x.shape == (number, 28, 28, 1)
        assert split.x.dtype == np.float32
        assert (split.x.min(), split.x.max()) == (0.0, 1.0)
        assert np.bincount(split.labels).tolist() == [number // 10] * 10
    # Known to every user of the set: the training pixels' mean and deviation.
    assert round(float(dataset.train.x.mean(dtype=np.float64)), 4) == 0.2860
    assert round(float(dataset.train.x.std(dtype=np.float64)), 4) == 0.3530


def test_real_subset_is_seeded_and_has_every_class() -> None:
    _real_folder()
    first, again, other = (fashion_mnist(None, 32, 300, seed) for seed in (0, 0, 1))
    assert first.train.x.shape == (300, 32, 32, 1)
    assert first.test.x.shape == (10_000, 32, 32, 1)
    assert first.test.x.min() >= 0.0
    assert first.test.x.max() <= 1.0
    assert set(first.train.labels) == set(range(10))
    np.testing.assert_array_equal(first.train.x, again.train.x)
    assert not np.array_equal(first.train.x, other.train.x)


def test_resizing_is_that_of_tf_image(tiny: Path) -> None:
    small, large = fashion_mnist(tiny, 28), fashion_mnist(tiny)
    assert large.train.x.shape == (12, 32, 32, 1)
    for original, resized in zip(small, large, strict=True):
        expected = tf.image.resize(original.x, (32, 32), method="bilinear")
        np.testing.assert_allclose(resized.x, expected, rtol=0, atol=1e-6)


def test_reads_plain_and_gzipped_files(tiny: Path) -> None:
    dataset = fashion_mnist(tiny, 28)
    content = gzip.decompress((tiny / "train-images-idx3-ubyte.gz").read_bytes())
    pixels = np.frombuffer(content, np.uint8, offset=16).reshape(12, 28, 28, 1)
    np.testing.assert_array_equal(np.rint(dataset.train.x * 255.0), pixels)
    assert dataset.test.labels.tolist() == [0, 1, 2, 3, 4]


def _altered(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


@pytest.mark.parametrize(
    ("part", "change", "reason"),
    [
        ("images", lambda content: content[:-3], "gzip"),
        ("images", lambda content: content[:10] + b"\xff" * 40 + content[50:], "gzip"),
        ("images", lambda content: b"plain text", "gzip"),
        ("images", lambda content: gzip.compress(b"idx"), "MD5"),
        ("labels", _altered, "MD5"),
        ("labels", lambda content: content + b"0", "MD5"),
        ("labels", lambda content: b"", "MD5"),
    ],
)
def test_damaged_file(
    tiny: Path, part: str, change: Callable[[bytes], bytes], reason: str
) -> None:
    (path,) = tiny.glob(f"train-{part}*")
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(InputError, match=reason) as raised:
        fashion_mnist(tiny)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


def _assert_all_ways(message: str) -> None:
    assert "\n" not in message
    for way in ("dataset-fashion-mnist", "data_dir", "t10k-labels-idx1", "TFDS"):
        assert way in message


def test_given_folder_is_the_only_one_searched(
    tiny: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: Any
) -> None:
    monkeypatch.setattr(_MODULE, "_SYSTEM_DIR", tiny)
    assert fashion_mnist().train.x.shape == (12, 32, 32, 1)
    empty = tmp_path_factory.mktemp("empty")
    with pytest.raises(InputError, match="train-labels-idx1-ubyte") as raised:
        fashion_mnist(empty)
    assert str(empty) in str(raised.value)
    _assert_all_ways(str(raised.value))


def test_one_missing_file_is_named(tiny: Path) -> None:
    (tiny / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(InputError, match=": t10k-labels-idx1-ubyte missing"):
        fashion_mnist(tiny)


def test_falls_back_to_tfds(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(_MODULE, "_SYSTEM_DIR", tmp_path)
    with tfds.testing.mock_data(num_examples=9):
        dataset = fashion_mnist(max_train_examples=4)
    for split, number in zip(dataset, (4, 9), strict=True):
        assert split.x.shape == (number, 32, 32, 1)
        assert split.x.dtype == np.float32
        assert 0.5 < split.x.max() <= 1.0
        assert split.labels.shape == (number,)


def test_nowhere_found(tmp_path: Path, monkeypatch: Any) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise ConnectionError("no route\nto host")

    monkeypatch.setattr(_MODULE, "_SYSTEM_DIR", tmp_path)
    builder = type(tfds.builder("fashion_mnist"))
    monkeypatch.setattr(builder, "download_and_prepare", fail)
    with pytest.raises(InputError, match="no route") as raised:
        fashion_mnist()
    _assert_all_ways(str(raised.value))


@pytest.mark.parametrize("packed", [True, False])
def test_what_goes_on_is_not_read(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, packed: bool
) -> None:
    name = "train-images-idx3-ubyte"
    (tiny / f"{name}.gz").unlink()
    path = tiny / (f"{name}.gz" if packed else name)
    monkeypatch.setattr(_MODULE, "_MOST_BYTES", 1000)
    with gzip.open(path, "wb") if packed else path.open("wb") as file:
        file.write(bytes(10**6))
    if packed:
        # Of damage behind what is read nothing is said: it is not reached.
        path.write_bytes(path.read_bytes()[:-4] + b"\xff" * 4)
    with pytest.raises(InputError, match="it holds more than 1,000 bytes") as raised:
        fashion_mnist(tiny)
    assert str(path) in str(raised.value)


@pytest.mark.slow
def test_a_small_file_that_holds_gigabytes(tiny: Path) -> None:
    zeros = gzip.compress(bytes(10**8), mtime=0)
    (path,) = tiny.glob("train-images*")
    path.write_bytes(zeros * 30)  # members of one file
    assert path.stat().st_size < 4e6
    tracemalloc.start()
    with pytest.raises(InputError, match="it holds more than 47,040,016 bytes"):
        fashion_mnist(tiny)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2e8


def test_pipes_are_no_files(tiny: Path) -> None:
    (tiny / "t10k-labels-idx1-ubyte").unlink()
    os.mkfifo(tiny / "t10k-labels-idx1-ubyte")
    with pytest.raises(InputError, match=": t10k-labels-idx1-ubyte missing"):
        fashion_mnist(tiny)


def test_the_home_folder(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tiny.parent))
    assert fashion_mnist(f"~/{tiny.name}").train.x.shape == (12, 32, 32, 1)


@bounded(max_examples=100)
@given(content=st.binary(max_size=64), packed=st.booleans(), idx=st.booleans())
def test_any_bytes_are_refused(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, packed: bool, idx: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / ("idx.gz" if packed else "idx")
    content = _idx(np.zeros((1, 2, 2))) + content if idx else content
    path.write_bytes(gzip.compress(content) if packed and idx else content)
    with pytest.raises(InputError, match="is not the idx file") as raised:
        _MODULE._read_idx(path, "0" * 32)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("wrong", [{"image_size": 0}, {"max_train_examples": 0}])
def test_refuses(tiny: Path, wrong: dict[str, int]) -> None:
    with pytest.raises(InputError, match="must be a whole number >= 1; received 0"):
        fashion_mnist(tiny, **wrong)
