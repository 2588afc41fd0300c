# SPDX-License-Identifier: Apache-2.0
"""Arrays of npz files: their headers are judged before anything else is read."""

import contextlib
import errno
import io
import math
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from tf_decomp.errors import InputError

_HEADER_BYTES = 2**14  # NumPy refuses headers longer than 10,000
# Version 3 is for structured arrays with field names outside Latin-1.
_READ_HEADER = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


class Header(NamedTuple):
    """What a npz file says of one of its arrays.

    Attributes:
        shape: Of the array.
        dtype: As stored, in any byte order.
        is_fortran: Whether the first axis runs fastest.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    is_fortran: bool = False

    def __str__(self) -> str:
        """Returns the type and the shape as a message shows them."""
        order = " in Fortran order" if self.is_fortran else ""
        return f"{self.dtype} {list(self.shape)}{order}"

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """The number of elements, of any size."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """The bytes of the array, unpacked."""
        return self.size * self.dtype.itemsize


def read_headers(path: Path, names: Sequence[str]) -> dict[str, Header]:
    """Returns the headers of those of the named arrays that a npz file holds.

    Args:
        path: From `check_file`.
        names: Without the ending `.npy`.

    Raises:
        InputError: It is no sound npz file, holds an array twice, or one of objects.
        OSError: The file cannot be read.
    """
    with _opened(path) as archive:
        headers = {}
        for name in names:
            found = _members(archive, name)
            if len(found) > 1:
                raise InputError(
                    f"{path} must hold {name} once; it holds {len(found)} members of "
                    "that name; write it anew with numpy.savez"
                )
            for member in found:
                with archive.open(member) as file:
                    start = file.read(_HEADER_BYTES)
                headers[name] = _header(start, name, member.file_size)
        return headers


def read_arrays(path: Path, headers: Mapping[str, Header]) -> dict[str, np.ndarray]:
    """Returns arrays of a npz file, in the machine's byte order.

    Args:
        path: From `check_file`.
        headers: From `read_headers`, of arrays that fit the memory.

    Raises:
        InputError: An array is cut off or damaged.
        OSError: The file cannot be read.
    """
    with _opened(path) as archive:
        arrays = {}
        for name in headers:
            (member,) = _members(archive, name)
            with archive.open(member) as file:
                array = np.lib.format.read_array(file, allow_pickle=False)
            native = array.dtype.newbyteorder("=")
            arrays[name] = array.astype(native, copy=False)
        return arrays


@contextlib.contextmanager
def open_array(path: Path, name: str) -> Iterator[IO[bytes]]:
    """Opens the data of an array of a npz file, behind its header.

    What is read to the end is compared with its checksum.

    Args:
        path: From `check_file`.
        name: Of an array whose header was read.

    Raises:
        InputError: What was read was cut off or damaged.
        OSError: The file cannot be read.
    """
    with _opened(path) as archive:
        (member,) = _members(archive, name)
        with archive.open(member) as file:
            version = np.lib.format.read_magic(file)
            _READ_HEADER[version](file)
            yield file


def _header(start: bytes, name: str, size: int) -> Header:
    """Returns what the start of a npy file of some bytes says of the array."""
    file = io.BytesIO(start)
    version = np.lib.format.read_magic(file)
    if version not in _READ_HEADER:
        raise ValueError(f"{name} in version {version[0]} of the format npy")
    shape, is_fortran, dtype = _READ_HEADER[version](file)
    if dtype.hasobject:
        raise ValueError(f"{name} of pickled objects")
    header, held = Header(shape, dtype, is_fortran), size - file.tell()
    if min(shape, default=0) < 0 or header.nbytes != held:
        raise ValueError(f"{name} is {header} in {held} bytes")
    return header


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """Opens a npz file; what is wrong with its content is one line."""
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except InputError:
        raise
    except Exception as error:  # whatever a stranger's bytes make their readers raise
        # A place before the file is an "invalid argument".
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise  # of the file system
        raise InputError(
            f"{path} must be a .npz file of plain arrays, not damaged; reading it gave "
            f"'{_first_words(error)}'; write it with numpy.savez"
        ) from error


def _members(archive: zipfile.ZipFile, name: str) -> list[zipfile.ZipInfo]:
    names = (name, f"{name}.npy")
    return [member for member in archive.infolist() if member.filename in names]


def _first_words(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else f"{text[:197]}..."
