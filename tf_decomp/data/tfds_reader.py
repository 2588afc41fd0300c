# SPDX-License-Identifier: Apache-2.0
"""Reads image data sets of TensorFlow Datasets (TFDS) into NumPy arrays."""

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from tf_decomp.data.dataset import Split
from tf_decomp.errors import InputError

_BATCH_SIZE = 512


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
    return Split(
        x=np.concatenate([batch["image"] for batch in batches]),
        labels=(
            np.concatenate([batch["label"] for batch in batches])
            if has_labels
            else None
        ),
    )


def _first_line(error: Exception) -> str:
    """Returns the first line of an error's message."""
    return str(error).strip().partition("\n")[0]
