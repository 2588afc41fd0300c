# SPDX-License-Identifier: Apache-2.0
"""Images as NumPy arrays: scaled, resized, read from TensorFlow Datasets (TFDS)."""

import http.client
import math
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from tf_decomp.checks import check_memory, check_whole_number, short
from tf_decomp.data.dataset import Split
from tf_decomp.errors import InputError

_BATCH_SIZE = 512
_ROWS_AT_ONCE, _NUMBERS_AT_ONCE = 4096, 2**26  # bound the memory of a conversion
_MOST_HOSTS = 3
_PATIENCE = 10.0  # seconds


def float_images(
    images: np.ndarray, image_size: int = 0, white: float = 1.0
) -> np.ndarray:
    """Returns images as float32, divided by the value of white and made square.

    Resizing is bilinear with half-pixel centres where an axis grows, and averages
    over the pixels that a new one covers (a triangular filter) where it shrinks.

    Args:
        images: [n, height, width, channels] of any real type.
        image_size: The new height and width; 0 leaves both as they are.
        white: What to divide by, see `scales.white_level`.

    Returns:
        [n, image_size, image_size, channels] float32, within the range of
        `images / white`.

    Raises:
        InputError: If image_size is negative, or there is too little memory.

    Example:
        >>> float_images(np.ones((2, 28, 28, 1), np.uint8), 32).shape
        (2, 32, 32, 1)
    """
    check_whole_number("image_size", image_size, 0)
    num_images, height, width, channels = images.shape
    side = (image_size, image_size) if image_size else (height, width)
    shrinks = side[0] < height or side[1] < width
    _check_room(num_images, (*side, channels))
    result = np.empty((num_images, *side, channels), np.float32)
    at_once = min(
        _ROWS_AT_ONCE, max(1, _NUMBERS_AT_ONCE // math.prod(result.shape[1:]))
    )
    for start in range(0, num_images, at_once):
        rows = slice(start, start + at_once)
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

    Whether a source answers is tried once: TFDS itself tries each for minutes.

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
    except Exception as error:  # an unknown name, or whatever its code may raise
        raise InputError(
            f"TFDS has no data set {name!r} ({_first_line(error)}); names are listed "
            "at https://www.tensorflow.org/datasets/catalog/overview"
        ) from error
    _try_once_first(builder)
    try:
        builder.download_and_prepare()
    except Exception as error:  # whatever a download or a builder's code may raise
        raise InputError(
            f"TFDS could not prepare {name!r} in {builder.data_dir} "
            f"({type(error).__name__}: {_first_line(error)}); run the same where there "
            "is a network, or copy that folder from a machine that has prepared it, or "
            "save the images in an npz file and use npz:PATH"
        ) from error
    return builder


def _try_once_first(builder: tfds.core.DatasetBuilder) -> None:
    """Makes a builder look for its sources before it downloads, and at no other time.

    A builder that has its data, or is a mock, makes no download manager.
    """
    make = builder._make_download_manager

    def look_and_make(**arguments: Any) -> Any:
        urls = _one_a_host(builder.url_infos or ())
        if urls and not any(map(_answers, urls)):
            hosts = ", ".join(urllib.parse.urlsplit(url).netloc for url in urls)
            raise ConnectionError(f"no answer from {hosts}")
        return make(**arguments)

    builder._make_download_manager = look_and_make


def _one_a_host(urls: Iterable[str]) -> list[str]:
    """Returns one URL of each of the first hosts."""
    parsed = [(urllib.parse.urlsplit(url), url) for url in urls]
    hosts = {p.netloc: url for p, url in parsed if p.scheme in ("http", "https", "ftp")}
    return list(hosts.values())[:_MOST_HOSTS]


def _answers(url: str) -> bool:
    """Returns whether a server answers, even though with a refusal."""
    try:
        request = urllib.request.Request(url, method="HEAD")
        with urllib.request.urlopen(request, timeout=_PATIENCE):
            return True
    except urllib.error.HTTPError:
        return True
    except urllib.error.URLError as error:  # TFDS has certificates of its own
        return isinstance(error.reason, ssl.SSLError)
    except (OSError, ValueError, http.client.HTTPException):
        return False


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
            asked for, if they are too large for the memory, or if the split is empty
            or damaged.

    Example:
        >>> with tfds.testing.mock_data(num_examples=5):
        ...     read_split(prepared_builder("mnist"), "train").x.shape
        (5, 28, 28, 1)
    """
    features, splits = builder.info.features, builder.info.splits
    if "image" not in features or len(features["image"].shape) != 3:
        raise InputError(
            f"tfds:{builder.name} must have a feature 'image' of rank 3; its features "
            f"are {', '.join(sorted(features))}; choose a data set of images"
        )
    if not image_size and None in features["image"].shape:
        raise InputError(
            f"the images of tfds:{builder.name} differ in size; set image_size"
        )
    num_images = max(1, splits[split].num_examples) if split in splits else 1
    sides = (image_size, image_size) if image_size else features["image"].shape[:2]
    _check_room(num_images, (*sides, features["image"].shape[2] or 1))
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
    try:
        batches = list(tfds.as_numpy(examples.batch(_BATCH_SIZE)))
    except (tf.errors.OpError, ValueError) as error:
        raise InputError(
            f"TFDS could not read {builder.name} in {builder.data_dir} "
            f"({_first_line(error)}); remove that folder to have it prepared anew"
        ) from error
    if not batches:
        raise InputError(f"split {split!r} of tfds:{builder.name} has no example")
    arrays = {
        name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]
    }
    return Split(arrays["image"], arrays.get("label"))


def _check_room(num_images: int, shape: Sequence[int]) -> None:
    """Refuses images [num_images, *shape] for which there is too little memory."""
    sides = " x ".join(map(short, shape[:2]))
    check_memory(
        4 * num_images * math.prod(shape),
        f"{num_images:,} images of {sides} pixels",
        "choose a smaller image_size or fewer images",
    )


def _first_line(error: Exception) -> str:
    """Returns the first line of an error's message."""
    return str(error).strip().partition("\n")[0]
