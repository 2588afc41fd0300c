# SPDX-License-Identifier: Apache-2.0
"""Files that are written whole or not at all, and read with one line for a fault."""

import contextlib
import csv
import errno
import hashlib
import json
import math
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from tf_decomp.errors import InputError

# What TensorFlow says in words only.
_ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES)
# What TensorFlow's search for files takes for a pattern.
_PATTERN = re.compile(r"[\[\]*?\\{}]")


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Lets `write` fill a temporary name beside `path`, then renames it.

    What a killed process has left under such a name is removed.

    Args:
        path: A file or a folder; a folder must not exist yet.
        write: Receives the temporary name.

    Raises:
        OSError: It cannot be written; the error names `path`.
    """
    temporary = path.with_name(f".{os.getpid()}-{path.name}")  # keeps the ending
    with naming(path, temporary):
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(path)
        try:
            write(temporary)
            temporary.replace(path)
        finally:
            remove(temporary)


def remove_leftovers(path: Path, own: bool = False) -> None:
    """Removes what `write_atomically` made for a path in a process that is gone.

    Args:
        path: What was to be written.
        own: Remove that of this process's number too, which in a container a killed
            process may have had.
    """
    for entry in os.listdir(path.parent) if path.parent.is_dir() else ():
        found = re.fullmatch(rf"\.(\d+)-{re.escape(path.name)}", entry)
        if found and not _runs(int(found[1]), own):
            remove(path.with_name(entry))


@contextlib.contextmanager
def naming(path: Path, temporary: Path | None = None) -> Iterator[None]:
    """Gives an error of reading or writing, TensorFlow's too, the name of the file.

    Args:
        path: What is read or written.
        temporary: The name that it has meanwhile, which the error shall not say.

    Raises:
        OSError: With number, reason and file.

    Example:
        >>> with naming(Path("logs")):
        ...     writer.flush()
    """
    try:
        yield
    except OSError as error:
        name = str(error.filename or temporary or path)
        name = name.replace(str(temporary or path), str(path), 1)
        reason = error.strerror or " ".join(str(error).split())
        raise OSError(error.errno or errno.EIO, reason, name) from error
    except tf.errors.OpError as error:
        said = " ".join(error.message.split())
        known = (number for number in _ERRNOS if os.strerror(number) in said)
        number = next(known, errno.EIO)
        reason = said if number == errno.EIO else os.strerror(number)
        raise OSError(number, reason, str(path)) from error


@contextlib.contextmanager
def exact(folder: Path) -> Iterator[Path]:
    """Returns a name of a folder that TensorFlow does not take for a pattern.

    It looks for the files of a checkpoint by a pattern, and would not find them in a
    folder as `run[1]`.

    Args:
        folder: Must exist.

    Example:
        >>> with exact(Path("runs/run[1]")) as folder:
        ...     checkpoint.read(str(folder / "ckpt-1"))
    """
    if not _PATTERN.search(str(folder)):
        yield folder
        return
    with tempfile.TemporaryDirectory() as place:
        link = Path(place) / "folder"
        link.symlink_to(folder.resolve(), target_is_directory=True)
        yield link


def write_text(path: Path, text: str) -> None:
    """Writes a text file whole or not at all."""

    def write(name: Path) -> None:
        name.write_text(text, encoding="utf-8")

    write_atomically(path, write)


def read_text(path: Path) -> str:
    """Returns what a text file holds.

    Raises:
        InputError: It is not text in UTF-8.
        OSError: It cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: expected text in UTF-8; received the byte "
            f"{error.object[error.start]:#04x} at {error.start}, so it is damaged or "
            "another kind of file"
        ) from None


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON file whole or not at all; NaN and infinity become null."""
    write_text(path, json.dumps(_standard(value), indent=2) + "\n")


def read_json(path: Path) -> Any:
    """Returns what a JSON file holds.

    Raises:
        InputError: It is no JSON.
        OSError: It cannot be read.
    """
    text = read_text(path)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{path}: expected JSON; received a damaged file ({error})"
        ) from None


def write_csv(
    path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]
) -> None:
    """Writes a table whole or not at all; what a row lacks is an empty cell."""

    def write(name: Path) -> None:
        with name.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(rows)

    write_atomically(path, write)


def digest(path: Path, size: int | None = None) -> str:
    """Returns the SHA-256 of a file, or of its first bytes.

    Args:
        path: The file.
        size: How many bytes; None: all.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        if size is not None:
            return hashlib.sha256(file.read(size)).hexdigest()
        return hashlib.file_digest(file, "sha256").hexdigest()


def remove(path: Path) -> None:
    """Removes a file or a folder with all that it holds; nothing where neither is.

    Args:
        path: A file or a folder.
    """
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _runs(number: int, own: bool) -> bool:
    """Whether a process of that number runs, and, with `own`, is not this one."""
    if number == os.getpid():
        return not own
    try:
        os.kill(number, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        pass  # of another user
    return True


def _standard(value: Any) -> Any:
    """Replaces what JSON does not know."""
    if isinstance(value, Mapping):
        return {key: _standard(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_standard(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
