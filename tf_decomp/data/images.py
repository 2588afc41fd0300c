# SPDX-License-Identifier: Apache-2.0
"""Images as NumPy arrays: scaled, resized, read from TensorFlow Datasets (TFDS)."""

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from tf_decomp.data.dataset import Split
from tf_decomp.errors import InputError

_BATCH_SIZE = 512
_ROWS_AT_ONCE = 4096  # bounds the memory of a conversion


def white_level(dtype: np.dtype, largest: float) -> float:
    """Returns the value of white: divided by it, images lie in [0, 1].

    Args:
        dtype: The type in which the images were stored.
        largest: The largest value of the training images.

    Returns:
        The largest value of an unsigned integer type; 1 for every other type,
        and for images that hold nothing but 0 and 1 (binary images).

    Example:
        >>> white_level(np.dtype(np.uint8), 254), white_level(np.dtype(np.uint8), 1)
        (255.0, 1.0)
    """
    if dtype.kind == "u" and largest > 1:
        return float(np.iinfo(dtype).max)
    return 1.0


def float_images(
    images: np.ndarray, image_size: int = 0, white: float = 1.0
) -> np.ndarray:
    """Returns images as float32, divided by the value of white and made square.

    Resizing is bilinear with half-pixel centres where an axis grows, and averages
    over the pixels that a new one covers (a triangular filter) where it shrinks.

    Args:
        images: [n, height, width, channels] of any real type.
        image_size: The new height and width; 0 leaves both as they are.
        white: What to divide by, see `white_level`.

    Returns:
        [n, image_size, image_size, channels] float32, within the range of
        `images / white`.

    Raises:
        InputError: If image_size is negative.

    Example:
        >>> float_images(np.ones((2, 28, 28, 1), np.uint8), 32).shape
        (2, 32, 32, 1)
    """
    if image_size < 0:
        raise InputError(
            f"image_size must be >= 0 (0: as stored); received {image_size}"
        )
    num_images, height, width, channels = images.shape
    side = (image_size, image_size) if image_size else (height, width)
    shrinks = side[0] < height or side[1] < width
    result = np.empty((num_images, *side, channels), np.float32)
    for start in range(0, num_images, _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        pixels = images[rows].astype(np.float32) / np.float32(white)
        if side == (height, width):
            result[rows] = pixels
            continue
        with tf.device("CPU"):  # the same pixels on every machine
            resized = tf.image.resize(pixels, side, antialias=shrinks)
        # Weighted means stay in the range of the data but for rounding.
        result[rows] = np.clip(resized, pixels.min(), pixels.max())
    return result


def prepared_builder(
    name: str, data_dir: str | Path | None = None
) -> tfds.core.DatasetBuilder:
    """Returns the builder of a TFDS data set, downloaded where it is not yet there.

    Args:
        name: A TFDS name, with a configuration and version where wanted:
            `NAME[/CONFIG][:VERSION]`.
        data_dir: The folder of TFDS; None takes its usual one.

    Raises:
        InputError: If TFDS does not know the name, or cannot prepare the data.

    Example:
        >>> with tfds.testing.mock_data():
        ...     prepared_builder("mnist").name
        'mnist'
    """
    try:
        builder = tfds.builder(name, data_dir=data_dir)
    except ValueError as error:  # an unknown name, configuration or version
        raise InputError(
            f"TFDS has no data set {name!r} ({_first_line(error)}); names are listed "
            "at https://www.tensorflow.org/datasets/catalog/overview"
        ) from error
    try:
        builder.download_and_prepare()
    except Exception as error:  # whatever a download or a builder's code may raise
        raise InputError(
            f"TFDS could not prepare {name!r} in {builder.data_dir} "
            f"({type(error).__name__}: {_first_line(error)}); prepare it there on a "
            "machine that reaches its source, or choose another folder"
        ) from error
    return builder


def read_split(
    builder: tfds.core.DatasetBuilder, split: str, image_size: int = 0
) -> Split:
    """Returns one split's images and labels as arrays.

    Args:
        builder: A prepared builder with a feature `image`; a scalar feature `label`
            is kept.
        split: The name of a split of the builder.
        image_size: The new height and width; 0 leaves the images as they are.

    Returns:
        A split with `x` [n, height, width, channels], not scaled: of the stored
        type, or float32 where the images were resized.

    Raises:
        InputError: If there is no feature `image`, if its sizes differ and none is
            asked for, or if the split is empty.

    Example:
        >>> with tfds.testing.mock_data(num_examples=5):
        ...     read_split(prepared_builder("mnist"), "train").x.shape
        (5, 28, 28, 1)
    """
    features = builder.info.features
    if "image" not in features or len(features["image"].shape) != 3:
        raise InputError(
            f"tfds:{builder.name} must have a feature 'image' of rank 3; its features "
            f"are {', '.join(sorted(features))}; choose a data set of images"
        )
    if not image_size and None in features["image"].shape:
        raise InputError(
            f"the images of tfds:{builder.name} differ in size; set image_size"
        )
    has_labels = "label" in features and features["label"].shape == ()

    def select(example: dict[str, Any]) -> dict[str, tf.Tensor]:
        image = example["image"]
        if image_size:
            image = tf.image.resize(image, (image_size,) * 2, antialias=True)
        kept = {"image": image}
        if has_labels:
            kept["label"] = example["label"]
        return kept

    examples = builder.as_dataset(split=split).map(
        select, num_parallel_calls=tf.data.AUTOTUNE
    )
    batches = list(tfds.as_numpy(examples.batch(_BATCH_SIZE)))
    if not batches:
        raise InputError(f"split {split!r} of tfds:{builder.name} has no example")
    arrays = {
        name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]
    }
    return Split(arrays["image"], arrays.get("label"))


def _first_line(error: Exception) -> str:
    """Returns the first line of an error's message."""
    return str(error).strip().partition("\n")[0]
