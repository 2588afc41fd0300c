# SPDX-License-Identifier: Apache-2.0
"""Data sets by name: pinwheel, dsprites, npz:PATH, tfds:NAME and others."""

from pathlib import Path

import numpy as np

from tf_decomp.checks import (
    check_file,
    check_memory,
    check_whole_number,
    expand_user,
    short,
)
from tf_decomp.data.correlation import FactorCorrelation
from tf_decomp.data.dataset import Dataset, Split, hold_out, subset
from tf_decomp.data.dsprites import dsprites
from tf_decomp.data.dsprites_variants import color_dsprites, noisy_dsprites
from tf_decomp.data.fashion_mnist import fashion_mnist
from tf_decomp.data.images import (
    float_images,
    prepared_builder,
    read_split,
)
from tf_decomp.data.labels import class_labels
from tf_decomp.data.npz import Header, read_arrays, read_headers
from tf_decomp.data.pinwheel import pinwheel
from tf_decomp.data.scales import (
    check_values,
    describe_scale,
    one_white_level,
    white_level,
)
from tf_decomp.data.xy_squares import xy_squares
from tf_decomp.errors import InputError

_TEST_FRACTION = 0.1
_ROUNDING = 1e-3  # far more than resizing moves white
_WITH_FACTORS = ("color_dsprites", "dsprites", "noisy_dsprites", "xy_squares")
_NPZ_ARRAYS = ("x_train", "x_test", "y_train", "y_test")


def load_dataset(
    name: str,
    data_dir: str | Path | None = None,
    image_size: int = 0,
    max_train_examples: int | None = None,
    seed: int = 0,
    max_test_examples: int | None = None,
    correlation: FactorCorrelation | None = None,
) -> Dataset:
    """Returns a data set by its name.

    Args:
        name: `pinwheel`, `dsprites`, `color_dsprites`, `noisy_dsprites`, `xy_squares`,
            `fashion_mnist`, `npz:PATH` (see `load_npz`) or `tfds:NAME` (see
            `load_tfds`).
        data_dir: Where dSprites (in all three forms), `fashion_mnist` or TFDS find
            their files; None searches the usual places. The others do not use it.
        image_size: Height and width of images; 0 takes the data set's own, which is
            32 for `fashion_mnist` and 64 for those drawn from factors. Must be 0 for
            data that are not images.
        max_train_examples: Keep a seeded random subset of so many training examples;
            None keeps all.
        seed: Of the pinwheel's draws, the hold-out and the subsets.
        max_test_examples: The same of test examples.
        correlation: Two factors to be correlated in the training split; the test split
            stays as it is.

    Raises:
        InputError: If the name is not known, its data are missing or not usable, or
            they have no such factors.

    Example:
        >>> load_dataset("pinwheel", max_train_examples=100).train.x.shape
        (100, 2)
    """
    check_whole_number("image_size", image_size, 0)
    if correlation is not None and name not in _WITH_FACTORS:
        raise InputError(
            f"{correlation.first} and {correlation.second} cannot be correlated in "
            f"{short(name)}, whose factors are not known; choose one of "
            f"{', '.join(_WITH_FACTORS)}"
        )
    drawn = image_size or 64  # of images drawn from factors
    match name.partition(":"):
        case "dsprites", "", _:
            dataset = dsprites(data_dir, drawn, max_train_examples, seed, correlation)
        case "color_dsprites", "", _:
            dataset = color_dsprites(
                data_dir, drawn, max_train_examples, seed, correlation
            )
        case "noisy_dsprites", "", _:
            dataset = noisy_dsprites(
                data_dir, drawn, max_train_examples, seed, correlation
            )
        case "xy_squares", "", _:
            dataset = xy_squares(drawn, max_train_examples, seed, correlation)
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
                "dataset must be one of color_dsprites, dsprites, fashion_mnist, "
                "noisy_dsprites, npz:PATH, pinwheel, tfds:NAME, xy_squares; received "
                f"{name!r}"
            )
    return Dataset(
        subset(dataset.train, max_train_examples, seed),
        subset(dataset.test, max_test_examples, seed),
    )


def load_npz(path: str | Path, image_size: int = 0, seed: int = 0) -> Dataset:
    """Returns the arrays of a `.npz` file as a data set.

    The file holds `x_train` and, where there are any, `x_test`, `y_train` and
    `y_test`. Rank 2 is vectors [n, size], rank 3 grey images [n, height, width], rank
    4 images [n, height, width, channels].

    Images of whole numbers (any integer type) are divided by 255 where those of
    `x_train` are from 0 to at most 255, and by 65,535 where they go up to that; what
    serves `x_train` serves `x_test`. All else keeps its values: vectors, also of
    pixels; binary images (0 and 1 only); integers below 0; floats. The `note` of the
    splits says what was done. Neither array is read before its header is found to be
    of the right type and shape, and to fit the memory.

    Args:
        path: The file; `~` is the home folder. Pickled objects in it are refused.
        image_size: The new height and width of images; 0 leaves them as they are.
        seed: Where `x_test` is missing, a tenth of the examples that is a function
            of this seed is held out.

    Returns:
        Splits with `x` float32 of rank 2 or 4, and as `labels` the classes of
        `y_train`, `y_test` [n], see `class_labels`.

    Raises:
        InputError: An array is missing or not usable, the two `x` have not one scale,
            there is too little memory, or the file is no sound npz file.
        OSError: The file cannot be read.

    Example:
        >>> import os, tempfile
        >>> path = os.path.join(tempfile.mkdtemp(), "mine.npz")
        >>> np.savez(path, x_train=np.zeros((20, 3)))
        >>> load_npz(path).train.x.shape
        (18, 3)
    """
    path = check_file(path)
    headers = read_headers(path, _NPZ_ARRAYS)
    _check_headers(path, headers, image_size)
    arrays = read_arrays(path, headers)
    for key in ("x_train", "x_test"):
        if key in arrays:
            check_values(arrays[key], f"{key} of {path}")
    x_train = arrays["x_train"]
    white = one_white_level(x_train, arrays.get("x_test"), str(path))
    scale = describe_scale(x_train.dtype, x_train.min(), x_train.max(), white)

    def split(part: str) -> Split:
        x, labels = arrays[f"x_{part}"], arrays.get(f"y_{part}")
        if labels is not None:
            labels = class_labels(labels, f"y_{part} of {path}")
        if x.ndim > 2:  # images, grey ones without an axis of channels
            x = float_images(x.reshape(*x.shape[:3], -1), image_size, white)
        x = x.astype(np.float32, copy=False)
        return Split(x, labels, note=f"x_train of {path}: {scale}")

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
    folder = None if data_dir is None else expand_user(data_dir)
    builder = prepared_builder(name, folder)
    splits = builder.info.splits
    if splits and "train" not in splits:
        raise InputError(
            f"tfds:{name} must have a split 'train'; it has {', '.join(splits)}"
        )
    train = read_split(builder, "train", image_size)
    stored = np.dtype(builder.info.features["image"].np_dtype)
    low, high = float(train.x.min()), float(train.x.max())
    # Resizing moves the ends of whole numbers by rounding only.
    white = white_level(stored, round(low), round(high))
    note = f"images of tfds:{name}: {describe_scale(stored, low, high, white)}"

    def scaled(split: Split) -> Split:
        x = float_images(split.x, white=white)
        if x.min() < -_ROUNDING or x.max() > 1.0 + _ROUNDING:
            raise InputError(
                f"images of tfds:{name} must be in 0..1, or of whole numbers in "
                f"0..65535; received {note}; scale them, and use npz:PATH"
            )
        return split._replace(x=np.clip(x, 0.0, 1.0, out=x), note=note)

    if "test" in splits:
        return Dataset(scaled(train), scaled(read_split(builder, "test", image_size)))
    return hold_out(scaled(train), _TEST_FRACTION, seed)


def _check_headers(path: Path, headers: dict[str, Header], image_size: int) -> None:
    """Refuses arrays of the wrong type or shape, or too large to read."""
    if "x_train" not in headers:
        raise InputError(
            f"{path} must hold an array x_train; it holds "
            f"{', '.join(headers) or 'none of ' + ', '.join(_NPZ_ARRAYS)}"
        )
    for key in headers:
        check = _check_data if key.startswith("x") else _check_labels
        check(path, key, headers)
    check_whole_number("image_size", image_size, 0)
    if image_size and headers["x_train"].ndim == 2:
        raise InputError(f"image_size must be 0 for vectors; received {image_size}")
    # As stored, and in float32.
    needed = sum(header.nbytes + 4 * header.size for header in headers.values())
    check_memory(needed, f"reading {path}", "store fewer examples")


def _check_data(path: Path, key: str, headers: dict[str, Header]) -> None:
    """Refuses data of the wrong type, rank or shape."""
    x, x_train = headers[key], headers["x_train"]
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


def _check_labels(path: Path, key: str, headers: dict[str, Header]) -> None:
    """Refuses labels that do not fit their data."""
    data_key = key.replace("y", "x")
    if data_key not in headers:
        raise InputError(f"{path} holds {key} but not {data_key}; give both or neither")
    shape, num_examples = headers[key].shape, headers[data_key].shape[0]
    if not shape or shape[0] != num_examples:
        raise InputError(
            f"{key} of {path} must have a row for each of the {num_examples} rows of "
            f"{data_key}; received shape {shape}"
        )
