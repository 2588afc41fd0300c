# SPDX-License-Identifier: Apache-2.0
"""dSprites (Matthey et al., 2017): 737,280 binary images of three shapes."""

import functools
import hashlib
import os
from pathlib import Path
from typing import IO

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from tf_decomp.checks import expand_user
from tf_decomp.data.correlation import FactorCorrelation, correlate_factors
from tf_decomp.data.dataset import Dataset, Split, hold_out, subset
from tf_decomp.data.dsprites_rendering import (
    FACTOR_NAMES,
    FACTOR_SIZES,
    NUM_IMAGES,
    SIDE,
    factor_classes,
    render_packed,
)
from tf_decomp.data.npz import open_array, read_arrays, read_headers
from tf_decomp.errors import InputError
from tf_decomp.files import write_atomically

_IMAGE_SIZES = (64, 32, 16)
_TEST_FRACTION = 0.1
_ROW_BYTES = SIDE * SIDE // 8
_ROWS_AT_ONCE = 4096  # bounds the memory of a conversion
_OFFICIAL_NAME = "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz"
_TFDS_FACTORS = ("shape", "scale", "orientation", "x_position", "y_position")
_CACHE_NAME = "dsprites_64x64.bin"
# Of the bit-packed rows that `render_packed` gives for all images.
_CACHE_SHA256 = "3a228f4037ef3d42a42588e0e01f1078aa2df13cfa17584e88c95ed9fb5672da"


def dsprites(
    data_dir: str | Path | None = None,
    image_size: int = 64,
    max_train_examples: int | None = None,
    seed: int = 0,
    correlation: FactorCorrelation | None = None,
) -> Dataset:
    """Returns dSprites, bit-packed, with its ground-truth factors.

    Without `data_dir`, the images are those that TFDS has prepared on this machine.
    Where it has none, they are drawn (see `render_dsprites`): nothing is downloaded.
    All images drawn are kept for the next time, 377 MB in the folder tf_decomp of
    `$XDG_CACHE_HOME` or `~/.cache`, if that can be written; parts are drawn anew.

    The set has no test set of its own: a random tenth is held out.

    Args:
        data_dir: The folder of the official npz file; the only place searched when
            given.
        image_size: Height and width of the images as unpacked: 64 is their own, 32
            and 16 take the mean of each 2x2 or 4x4 pixels.
        max_train_examples: Keep a seeded random subset of so many training images;
            None keeps all 663,552.
        seed: The hold-out and the subsets are functions of this seed.
        correlation: Train on images in which these two factors are correlated, as
            `correlate_factors` chooses them; the test set stays as it is.

    Returns:
        Splits with `x` [n, 512] uint8, eight pixels in a byte, which `unpack` turns
        into float32 [n, image_size, image_size, 1] in [0, 1]; and `factors` [n, 5]
        int64, the classes of shape, scale, orientation, posX and posY. They are the
        official file's but for the colour, which is constant and left out;
        `dsprites_rendering.factor_values` gives the values they stand for.

    Raises:
        InputError: If the official file is missing or damaged, if image_size,
            max_train_examples or the seed is out of range, or if there is no such
            factor.

    Example:
        >>> train = dsprites(image_size=32, max_train_examples=500).train
        >>> train.x.shape, train.data_shape, train.factors.shape
        ((500, 512), (32, 32, 1), (500, 5))
    """
    if image_size not in _IMAGE_SIZES:
        raise InputError(
            f"image_size must be one of {', '.join(map(str, _IMAGE_SIZES))} for "
            f"dsprites; received {image_size}"
        )
    all_rows = Split(np.arange(NUM_IMAGES))
    train, test = (part.x for part in hold_out(all_rows, _TEST_FRACTION, seed))
    chosen = train
    if correlation is not None:
        chosen = correlate_factors(_with_factors(train), correlation, seed).x
    kept = subset(Split(chosen), max_train_examples, seed).x
    packed = _stored_images(data_dir, wants_all=len(kept) == len(train))
    unpack = functools.partial(_unpack, image_size=image_size)

    def split(rows: np.ndarray) -> Split:
        x = render_packed(rows) if packed is None else packed[rows]
        return _with_factors(rows)._replace(x=np.asarray(x), unpack=unpack)

    return Dataset(train=split(kept), test=split(test))


def _with_factors(rows: np.ndarray) -> Split:
    """Returns rows of the official file with the factors of their images."""
    return Split(rows, factors=factor_classes(rows), factor_names=FACTOR_NAMES)


def unpack_pixels(rows: tf.Tensor) -> tf.Tensor:
    """Returns the pixels of packed images.

    Args:
        rows: [n, 512] uint8, as `render_packed` gives them.

    Returns:
        [n, 64, 64, 1] float32, 0 and 1.

    Example:
        >>> unpack_pixels(tf.zeros([2, 512], tf.uint8)).shape
        TensorShape([2, 64, 64, 1])
    """
    shifts = tf.constant([7, 6, 5, 4, 3, 2, 1, 0], tf.uint8)
    bits = tf.bitwise.right_shift(rows[..., None], shifts) % 2
    return tf.reshape(tf.cast(bits, tf.float32), [-1, SIDE, SIDE, 1])


def average_blocks(images: tf.Tensor, image_size: int) -> tf.Tensor:
    """Returns images made smaller, each pixel the mean of a block.

    Args:
        images: [n, 64, 64, channels] float32.
        image_size: The new height and width, of which 64 is a multiple.

    Returns:
        [n, image_size, image_size, channels].

    Example:
        >>> average_blocks(tf.ones([2, 64, 64, 3]), 16).shape
        TensorShape([2, 16, 16, 3])
    """
    block = SIDE // image_size
    shape = [-1, image_size, block, image_size, block, images.shape[-1]]
    return tf.reduce_mean(tf.reshape(images, shape), axis=[2, 4])


def _unpack(rows: tf.Tensor, image_size: int) -> tf.Tensor:
    """Returns the images [n, image_size, image_size, 1] of packed rows [n, 512]."""
    return average_blocks(unpack_pixels(rows), image_size)


def _stored_images(data_dir: str | Path | None, wants_all: bool) -> np.ndarray | None:
    """Returns all images [737280, 512] in the official order, or None to draw them."""
    if data_dir is not None:
        return _read_official(expand_user(data_dir) / _OFFICIAL_NAME)
    builder = tfds.builder("dsprites")
    # TFDS warns of a folder that is not there.
    if tf.io.gfile.exists(str(builder.data_dir)) and builder.is_prepared():
        return _read_tfds(builder)
    return _cached_images() if wants_all else None


def _read_official(path: Path) -> np.ndarray:
    """Returns the images of the official file, whose factors are checked."""
    if not path.is_file():
        raise InputError(
            f"dSprites was not found: there is no {path}; get it from "
            "https://github.com/google-deepmind/dsprites-dataset, or leave data_dir "
            "out to have the images drawn"
        )
    expected = factor_classes(np.arange(NUM_IMAGES))
    expected = np.pad(expected, ((0, 0), (1, 0)))  # no colour
    try:
        headers = read_headers(path, ("imgs", "latents_classes"))
        images, classes = headers.get("imgs"), headers.get("latents_classes")
        if images != ((NUM_IMAGES, SIDE, SIDE), np.uint8, False):
            raise InputError(f"its imgs are {images}")
        if classes is None or classes.shape != expected.shape:
            raise InputError(f"its latents_classes are {classes}")
        found = read_arrays(path, {"latents_classes": classes})["latents_classes"]
        if not np.array_equal(found, expected):
            raise InputError("its latents_classes are not the grid of the factors")
        with open_array(path, "imgs") as file:
            return _read_images(file)
    except InputError as error:
        raise InputError(
            f"{path} is not the official dSprites file: {error}; get it again from "
            "https://github.com/google-deepmind/dsprites-dataset, or leave data_dir "
            "out to have the images drawn"
        ) from error


def _read_images(file: IO[bytes]) -> np.ndarray:
    """Returns the packed images of a npy file, 3 GB unpacked, part by part."""
    packed = np.empty((NUM_IMAGES, _ROW_BYTES), np.uint8)
    for start in range(0, NUM_IMAGES, _ROWS_AT_ONCE):
        part = packed[start : start + _ROWS_AT_ONCE]
        pixels = np.frombuffer(file.read(len(part) * SIDE * SIDE), np.uint8)
        part[:] = np.packbits(pixels.reshape(len(part), SIDE * SIDE), axis=1)
    return packed


def _read_tfds(builder: tfds.core.DatasetBuilder) -> np.ndarray:
    """Returns the images of TFDS, each in the row that its factors tell."""
    packed = np.empty((NUM_IMAGES, _ROW_BYTES), np.uint8)
    is_read = np.zeros(NUM_IMAGES, bool)
    examples = builder.as_dataset(split="train", batch_size=_ROWS_AT_ONCE)
    for batch in tfds.as_numpy(examples):
        classes = tuple(batch[f"label_{name}"] for name in _TFDS_FACTORS)
        rows = np.ravel_multi_index(classes, FACTOR_SIZES)
        packed[rows] = np.packbits(batch["image"].reshape(len(rows), -1), axis=1)
        is_read[rows] = True
    if not is_read.all():
        raise InputError(
            f"dSprites in {builder.data_dir} must hold {NUM_IMAGES} combinations of "
            f"factors; received {is_read.sum()}; remove that folder"
        )
    return packed


def _cached_images() -> np.ndarray | None:
    """Returns all images from the cache, made where needed; None without a cache."""
    try:
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        path = Path(home) / "tf_decomp" / _CACHE_NAME
        if not _is_sound(path):
            write_atomically(path, _draw_all)
        return np.memmap(path, np.uint8, "r", shape=(NUM_IMAGES, _ROW_BYTES))
    except (OSError, RuntimeError):  # no space or permission; no home folder
        return None


def _is_sound(path: Path) -> bool:
    """Returns whether a cache file is there and holds what was written."""
    if not path.is_file() or path.stat().st_size != NUM_IMAGES * _ROW_BYTES:
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == _CACHE_SHA256


def _draw_all(path: Path) -> None:
    """Draws all images into a file."""
    with path.open("wb") as file:
        for start in range(0, NUM_IMAGES, _ROWS_AT_ONCE):
            rows = np.arange(start, min(start + _ROWS_AT_ONCE, NUM_IMAGES))
            file.write(render_packed(rows).tobytes())
