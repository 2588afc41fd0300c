# SPDX-License-Identifier: Apache-2.0
"""Data sets by name: pinwheel, dsprites, fashion_mnist, npz:PATH and tfds:NAME."""

import zipfile
import zlib
from pathlib import Path

import numpy as np

from tf_decomp.data.dataset import Dataset, Split, hold_out, subset
from tf_decomp.data.dsprites import dsprites
from tf_decomp.data.fashion_mnist import fashion_mnist
from tf_decomp.data.images import (
    float_images,
    prepared_builder,
    read_split,
    white_level,
)
from tf_decomp.data.pinwheel import pinwheel
from tf_decomp.errors import InputError

_TEST_FRACTION = 0.1


def load_dataset(
    name: str,
    data_dir: str | Path | None = None,
    image_size: int = 0,
    max_train_examples: int | None = None,
    seed: int = 0,
    max_test_examples: int | None = None,
) -> Dataset:
    """Returns a data set by its name.

    Args:
        name: `pinwheel`, `dsprites`, `fashion_mnist`, `npz:PATH` (see `load_npz`) or
            `tfds:NAME` (see `load_tfds`).
        data_dir: Where `dsprites`, `fashion_mnist` or TFDS find their files; None
            searches the usual places. The others do not use it.
        image_size: Height and width of images; 0 takes the data set's own, which is
            64 for `dsprites` and 32 for `fashion_mnist`. Must be 0 for data that are
            not images.
        max_train_examples: Keep a seeded random subset of so many training examples;
            None keeps all.
        seed: Of the pinwheel's draws, the hold-out and the subsets.
        max_test_examples: The same of test examples.

    Raises:
        InputError: If the name is not known, or its data are missing or not usable.

    Example:
        >>> load_dataset("pinwheel", max_train_examples=100).train.x.shape
        (100, 2)
    """
    if image_size < 0:
        raise InputError(
            f"image_size must be >= 0 (0: the data set's own); received {image_size}"
        )
    match name.partition(":"):
        case "dsprites", "", _:
            dataset = dsprites(data_dir, image_size or 64, max_train_examples, seed)
        case "fashion_mnist", "", _:
            size = image_size or 32
            dataset = fashion_mnist(data_dir, size, max_train_examples, seed)
        case "npz", _, path if path:
            dataset = load_npz(path, image_size, seed)
        case "pinwheel", "", _:
            if image_size:
                raise InputError(
                    f"image_size must be 0 for pinwheel; received {image_size}"
                )
            dataset = pinwheel(seed=seed)
        case "tfds", _, tfds_name if tfds_name:
            dataset = load_tfds(tfds_name, data_dir, image_size, seed)
        case _:
            raise InputError(
                "dataset must be one of dsprites, fashion_mnist, npz:PATH, pinwheel, "
                f"tfds:NAME; received {name!r}"
            )
    return Dataset(
        subset(dataset.train, max_train_examples, seed),
        subset(dataset.test, max_test_examples, seed),
    )


def load_npz(path: str | Path, image_size: int = 0, seed: int = 0) -> Dataset:
    """Returns the arrays of a `.npz` file as a data set.

    The file holds `x_train` and, where there are any, `x_test`, `y_train` and
    `y_test`. Rank 2 is vectors [n, size], rank 3 grey images [n, height, width], rank
    4 images [n, height, width, channels]. Images of type uint8 are divided by 255,
    unless they are binary (0 and 1 only); all else keeps its values.

    Args:
        path: The file. Pickled objects in it are refused.
        image_size: The new height and width of images; 0 leaves them as they are.
        seed: Where `x_test` is missing, a tenth of the examples that is a function
            of this seed is held out.

    Returns:
        Splits with `x` float32 of rank 2 or 4, and the labels `y_train`, `y_test`.

    Raises:
        InputError: If an array is missing or not usable, or the file is no npz file.
        OSError: If the file cannot be read.

    Example:
        >>> import os, tempfile
        >>> path = os.path.join(tempfile.mkdtemp(), "mine.npz")
        >>> np.savez(path, x_train=np.zeros((20, 3)))
        >>> load_npz(path).train.x.shape
        (18, 3)
    """
    arrays = _read_npz(Path(path))
    if "x_train" not in arrays:
        raise InputError(
            f"{path} must hold an array x_train; it holds "
            f"{', '.join(arrays) or 'none of x_train, x_test, y_train, y_test'}"
        )
    for key in arrays:
        check = _check_data if key.startswith("x") else _check_labels
        check(path, key, arrays)
    x_train = arrays["x_train"]
    if image_size and x_train.ndim == 2:
        raise InputError(f"image_size must be 0 for vectors; received {image_size}")
    is_bytes = x_train.dtype == np.uint8
    white = white_level(x_train.dtype, x_train.max()) if is_bytes else 1.0

    def split(part: str) -> Split:
        with np.errstate(over="ignore"):
            x = arrays[f"x_{part}"].astype(np.float32, copy=False)
        if not np.isfinite(x).all():
            raise InputError(
                f"x_{part} of {path} must be finite in float32; it holds NaN or "
                "infinite values; clean the array"
            )
        if x.ndim > 2:  # images, grey ones without an axis of channels
            x = float_images(x.reshape(*x.shape[:3], -1), image_size, white)
        return Split(x, arrays.get(f"y_{part}"))

    if "x_test" in arrays:
        return Dataset(train=split("train"), test=split("test"))
    return hold_out(split("train"), _TEST_FRACTION, seed)


def load_tfds(
    name: str, data_dir: str | Path | None = None, image_size: int = 0, seed: int = 0
) -> Dataset:
    """Returns an image data set of TensorFlow Datasets, scaled to [0, 1].

    Args:
        name: A TFDS name, with a configuration and version where wanted:
            `NAME[/CONFIG][:VERSION]`.
        data_dir: The folder of TFDS; None takes its usual one. The data are
            downloaded and prepared there where they are not yet.
        image_size: The new height and width; 0 leaves the images as they are.
        seed: Where there is no split `test`, a tenth of the split `train` that is a
            function of this seed is held out.

    Returns:
        Splits with `x` [n, height, width, channels] float32 in [0, 1], and `labels`
        where there is a scalar feature `label`.

    Raises:
        InputError: If the name is not known, has no usable feature `image` or no
            split `train`, or if its data cannot be prepared.

    Example:
        >>> import tensorflow_datasets as tfds
        >>> with tfds.testing.mock_data(num_examples=20):
        ...     load_tfds("mnist").train.x.shape
        (18, 28, 28, 1)
    """
    builder = prepared_builder(name, data_dir)
    splits = builder.info.splits
    if splits and "train" not in splits:
        raise InputError(
            f"tfds:{name} must have a split 'train'; it has {', '.join(splits)}"
        )
    train = read_split(builder, "train", image_size)
    stored_type = np.dtype(builder.info.features["image"].np_dtype)
    white = white_level(stored_type, train.x.max())

    def scaled(split: Split) -> Split:
        x = float_images(split.x, white=white)
        # Resizing may round beyond the range.
        return split._replace(x=np.clip(x, 0.0, 1.0, out=x))

    if "test" in splits:
        return Dataset(scaled(train), scaled(read_split(builder, "test", image_size)))
    return hold_out(scaled(train), _TEST_FRACTION, seed)


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    """Returns those arrays of a npz file that have a meaning here."""
    keys = ("x_train", "x_test", "y_train", "y_test")
    with path.open("rb") as file:
        if not zipfile.is_zipfile(file):
            raise InputError(
                f"{path} must be a .npz file; it is another kind of file or cut off; "
                "write it with numpy.savez"
            )
        file.seek(0)
        try:
            with np.load(file, allow_pickle=False) as archive:
                # A member that is no array comes as bytes.
                return {key: np.asarray(archive[key]) for key in keys if key in archive}
        except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise InputError(
                f"{path} must be a .npz file of plain arrays, not damaged; reading it "
                f"gave '{error}'; write it with numpy.savez"
            ) from error


def _check_data(path: str | Path, key: str, arrays: dict[str, np.ndarray]) -> None:
    """Refuses data of the wrong type, rank or shape."""
    x, x_train = arrays[key], arrays["x_train"]
    if x.dtype.kind not in "buif":
        raise InputError(
            f"{key} of {path} must hold real numbers; received dtype {x.dtype}"
        )
    if x.ndim not in (2, 3, 4):
        raise InputError(
            f"{key} of {path} must be [n, size], [n, height, width] or [n, height, "
            f"width, channels]; received shape {x.shape}"
        )
    if not x.size:
        raise InputError(f"{key} of {path} must not be empty; received shape {x.shape}")
    if x.shape[1:] != x_train.shape[1:]:
        raise InputError(
            f"x_test and x_train of {path} must agree in all axes but the first; "
            f"received {x.shape} and {x_train.shape}"
        )
    # One of the two would be scaled to [0, 1] and the other not.
    if x.ndim > 2 and (x.dtype == np.uint8) != (x_train.dtype == np.uint8):
        raise InputError(
            f"x_test and x_train of {path} must both be uint8 or neither; received "
            f"{x.dtype} and {x_train.dtype}"
        )


def _check_labels(path: str | Path, key: str, arrays: dict[str, np.ndarray]) -> None:
    """Refuses labels that do not fit their data."""
    data_key = key.replace("y", "x")
    if data_key not in arrays:
        raise InputError(f"{path} holds {key} but not {data_key}; give both or neither")
    shape, num_examples = arrays[key].shape, len(arrays[data_key])
    if not shape or shape[0] != num_examples:
        raise InputError(
            f"{key} of {path} must have a row for each of the {num_examples} rows of "
            f"{data_key}; received shape {shape}"
        )
