# SPDX-License-Identifier: Apache-2.0
"""Fashion-MNIST (Xiao, Rasul and Vollgraf, 2017): 70,000 grey images of clothes."""

import gzip
import hashlib
import zlib
from pathlib import Path

import numpy as np

from tf_decomp.checks import check_whole_number, expand_user
from tf_decomp.data.dataset import Dataset, Split, subset
from tf_decomp.data.images import float_images, prepared_builder, read_split
from tf_decomp.errors import InputError

# MD5 of the ungzipped bytes: Debian strips the headers of its gzip files.
_MD5 = {
    "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
    "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
    "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
    "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
}
_SYSTEM_DIR = Path("/usr/share/datasets/fashion-mnist")
# Of the largest of the files; what goes on is another file, however long.
_MOST_BYTES = 16 + 60_000 * 28 * 28
_WAYS = (
    "install the Debian package dataset-fashion-mnist, or give data_dir, a folder "
    f"with {', '.join(_MD5)} (each plain or .gz), or leave data_dir out and let "
    "TFDS prepare fashion_mnist where there is a network"
)


def fashion_mnist(
    data_dir: str | Path | None = None,
    image_size: int = 32,
    max_train_examples: int | None = None,
    seed: int = 0,
) -> Dataset:
    """Returns Fashion-MNIST, checked, scaled to [0, 1] and resized bilinearly.

    Args:
        data_dir: A folder with the four idx files, plain or gzipped; the only place
            searched when given. None searches the folder of Debian's package
            dataset-fashion-mnist, then TFDS, which downloads it where needed (the
            same images, in TFDS's order).
        image_size: Height and width of the images; 28 is their own.
        max_train_examples: Keep a seeded random subset of so many training images;
            None keeps all 60,000.
        seed: The subset is a function of this seed.

    Returns:
        60,000 and 10,000 images, `x` [n, image_size, image_size, 1] float32 in
        [0, 1], and `labels` [n] in 0..9.

    Raises:
        InputError: If the data are missing, truncated or altered, or if image_size
            or max_train_examples is below 1.

    Example:
        >>> fashion_mnist(max_train_examples=500).train.x.shape
        (500, 32, 32, 1)
    """
    check_whole_number("image_size", image_size, 1)
    if data_dir is not None:
        stored = _read_folder(expand_user(data_dir))
    elif all(_find(_SYSTEM_DIR, name) for name in _MD5):
        stored = _read_folder(_SYSTEM_DIR)
    else:
        stored = _read_tfds()
    return Dataset(
        *(
            split._replace(x=float_images(split.x, image_size, white=255.0))
            for split in (subset(stored.train, max_train_examples, seed), stored.test)
        )
    )


def _read_folder(folder: Path) -> Dataset:
    """Returns the data of the four idx files of a folder."""
    paths = {name: _find(folder, name) for name in _MD5}
    missing = [name for name, path in paths.items() if path is None]
    if missing:
        raise InputError(
            f"Fashion-MNIST is not complete in {folder}: {', '.join(missing)} missing; "
            f"{_WAYS}"
        )
    arrays = [_read_idx(path, _MD5[name]) for name, path in paths.items() if path]
    train_images, train_labels, test_images, test_labels = arrays
    return Dataset(
        train=Split(train_images[..., None], train_labels.astype(np.int64)),
        test=Split(test_images[..., None], test_labels.astype(np.int64)),
    )


def _read_tfds() -> Dataset:
    """Returns the images that TFDS has prepared or now prepares."""
    try:
        builder = prepared_builder("fashion_mnist")
    except InputError as error:
        raise InputError(
            f"Fashion-MNIST was not found in {_SYSTEM_DIR}; {error}; for Fashion-MNIST "
            f"also: {_WAYS}"
        ) from error
    return Dataset(read_split(builder, "train"), read_split(builder, "test"))


def _find(folder: Path, name: str) -> Path | None:
    """Returns the path of an idx file, plain or gzipped."""
    paths = (folder / name, folder / f"{name}.gz")
    return next((path for path in paths if path.is_file()), None)


def _read_idx(path: Path, md5: str) -> np.ndarray:
    """Returns the array of an idx file of unsigned bytes, whose content is known.

    The format: two zero bytes, the type, the rank, the big-endian sizes, the data.
    """
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        try:
            content = file.read(_MOST_BYTES + 1)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise _damaged(path, f"a gzip file that ends in '{error}'") from error
    if len(content) > _MOST_BYTES:
        raise _damaged(path, f"more than {_MOST_BYTES:,} bytes")
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if digest != md5:
        raise _damaged(path, f"bytes with the MD5 {digest}, not {md5}")
    rank = content[3]
    shape = np.frombuffer(content, ">u4", rank, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * rank).reshape(shape)


def _damaged(path: Path, found: str) -> InputError:
    """Returns the error of a file that is not Fashion-MNIST's."""
    return InputError(
        f"{path} is not the idx file of Fashion-MNIST: it holds {found}; get it again "
        "(the Debian package dataset-fashion-mnist has it)"
    )
