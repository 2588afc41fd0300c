# SPDX-License-Identifier: Apache-2.0
"""Checks of what callers give that all rooms share: numbers, files, memory."""

import importlib.util
import math
import numbers
import os
import stat
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from tf_decomp.errors import InputError

try:
    import resource
except ImportError:  # not a Unix
    resource = None  # type: ignore[assignment]

_GROUP = Path("/sys/fs/cgroup")
_UNKNOWN = 2**63
# A weight, its gradient and Adam's two moments, in float32.
_BYTES_A_WEIGHT = 16
_SHARE = 0.5
# Of the normal numbers of float32: between 0 and the first TensorFlow's kernels have 0.
SMALLEST, LARGEST = (float(x) for x in (np.finfo("f4").tiny, np.finfo("f4").max))
_INT64 = 2**63 - 1
_LONGEST = 200


def check_whole_number(
    name: str, value: Any, least: int, most: int | None = None
) -> int:
    """Returns a whole number within bounds, of NumPy too; a bool or 2.0 is none.

    Args:
        name: What the caller knows it by.
        value: What was given.
        least: The smallest allowed.
        most: The largest allowed; None for what int64 holds.

    Raises:
        InputError: It is another number, or none.

    Example:
        >>> check_whole_number("seed", np.int64(3), least=0)
        3
    """
    if _is_whole(value) and least <= value <= (_INT64 if most is None else most):
        return int(value)
    if most is None and _is_whole(value) and value > _INT64:
        most = _INT64
    bounds = f">= {least}" if most is None else f"between {least} and {most:,}"
    raise InputError(f"{name} must be a whole number {bounds}; received {short(value)}")


def check_real_number(name: str, value: Any, least: float | None = None) -> float:
    """Returns a real number that float32 holds, if it is one and in range.

    Args:
        name: What a message calls it.
        value: A number of Python, NumPy or TensorFlow.
        least: The smallest.

    Raises:
        InputError: It is of another type, not finite or out of range.

    Example:
        >>> check_real_number("beta", 0.01, least=0)
        0.01
    """
    try:
        if isinstance(value, str | bytes | bool):
            raise TypeError(value)
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{name} must be a number; received {short(value)}") from None
    if not math.isfinite(number) or (least is not None and number < least):
        limit = "" if least is None else f">= {least} and "
        raise InputError(f"{name} must be {limit}finite; received {number}")
    if number and not SMALLEST <= abs(number) <= LARGEST:
        raise InputError(
            f"{name} must be 0 or of a size between {SMALLEST:.2g} and "
            f"{LARGEST:.2g}, as float32 holds it; received {number}"
        )
    return number


def check_sizes(name: str, values: Any, at_least: int = 0) -> tuple[int, ...]:
    """Returns a sequence of whole numbers >= 1 as a tuple.

    Args:
        name: What they are, for the message.
        values: The sequence.
        at_least: How many there must be.

    Raises:
        InputError: It is none.

    Example:
        >>> check_sizes("MLPEncoder: hidden", (100,))
    """
    try:
        sizes: list[Any] = [None] if isinstance(values, str) else list(values)
    except TypeError:
        sizes = [None]
    usable = (_is_whole(size) and 1 <= size <= _INT64 for size in sizes)
    if len(sizes) < at_least or not all(usable):
        count = f"{at_least} or more " if at_least else ""
        raise InputError(
            f"{name} must be a sequence of {count}whole numbers >= 1, as (100,); "
            f"received {short(values)}"
        )
    return tuple(map(int, sizes))


def finite_numbers(values: Any, dtype: str) -> np.ndarray | None:
    """Returns real numbers as a float64 array.

    None where they are none (text, truth values, ragged), or not finite in a type.

    Args:
        values: The numbers.
        dtype: The floating-point type that is to hold them.

    Example:
        >>> finite_numbers([1.0, 1e39], "float32")  # None: the second is infinite
    """
    try:
        array = np.asarray(values)
        if array.dtype.kind not in "fiuO":
            return None
        numbers = array.astype(float)
    except (TypeError, ValueError, OverflowError):
        return None
    with np.errstate(over="ignore"):
        is_finite = np.all(np.isfinite(numbers.astype(dtype)))
    return numbers if is_finite else None


def positive_numbers(values: Any, dtype: str) -> np.ndarray | None:
    """Returns positive numbers as a float64 array; None as of `finite_numbers`.

    None also where one is so small that the type takes it for 0.

    Args:
        values: The numbers.
        dtype: The floating-point type that is to hold them.

    Example:
        >>> positive_numbers([1.0, 0.0], "float32")  # None
    """
    numbers = finite_numbers(values, dtype)
    smallest = float(ml_dtypes.finfo(dtype).tiny)
    return None if numbers is None or np.any(numbers < smallest) else numbers


def check_positive(name: str, value: Any, dtype: str) -> float:
    """Returns a positive number as a float.

    Args:
        name: What it is, for the message.
        value: The number.
        dtype: The floating-point type that is to hold it.

    Raises:
        InputError: It is none, or 0 or infinite in that type.

    Example:
        >>> check_positive("NormalLikelihood: scale", 0.1, "float32")
    """
    number = positive_numbers(value, dtype)
    if number is None or number.ndim:
        raise InputError(
            f"{name} must be > 0 and finite in {dtype}; received {short(value)}"
        )
    return float(number)


def short(value: Any) -> str:
    """Returns what a message can show of any value: one line of at most 200 characters.

    Args:
        value: Anything; one whose `repr` fails is named by its type.
    """
    try:
        if isinstance(value, np.ndarray) and value.size > 8:
            return f"shape {list(value.shape)}"
        text = " ".join((repr if isinstance(value, str) else str)(value).split())
    except Exception:  # a stranger's code
        text = type(value).__name__
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def check_packages(what: str, extra: str, *packages: str) -> None:
    """Refuses what needs packages of an extra where they are not installed.

    Args:
        what: Needs them.
        extra: One of this package's, or several parted by commas.
        *packages: As they are imported.

    Raises:
        InputError: One is missing.

    Example:
        >>> check_packages("a report", "report", "jinja2")
    """
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise InputError(
                f"{what} needs {package}, which is not installed; run pip install "
                f"'tf-decomp[{extra}]'"
            )


def check_file(path: str | Path) -> Path:
    """Returns the path of a plain file, `~` expanded.

    A pipe or a device is refused before it is opened, since reading it may never end.

    Args:
        path: Any.

    Raises:
        InputError: It is no path, or of something else than a file.
        OSError: It is not there, or may not be looked at.

    Example:
        >>> check_file(__file__) == Path(__file__)
        True
    """
    path = expand_user(path)
    try:
        mode = path.stat().st_mode
    except ValueError as error:  # a NUL byte
        raise InputError(
            f"{str(path)!r} must be the path of a file; received one with {error}"
        ) from None
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "a pipe, socket or device"
        raise InputError(f"{path} must be a file; it is {kind}; give that of a file")
    return path


def expand_user(path: str | Path) -> Path:
    """Returns a path with `~` expanded, where there is such a user.

    Args:
        path: Any.
    """
    path = Path(path)
    try:
        return path.expanduser()
    except RuntimeError:  # a name that begins with ~
        return path


def check_memory(needed: int, what: str, advice: str) -> None:
    """Refuses what would take more memory than there is.

    Args:
        needed: Bytes, a lower bound.
        what: Begins the message, as "reading data.npz".
        advice: What to do.

    Raises:
        InputError: Fewer bytes are available.

    Example:
        >>> check_memory(10**20, "an array", "make it smaller")
        Traceback (most recent call last):
        tf_decomp.errors.InputError: an array needs 100,000,000,000.0 GB of memory...
    """
    available = available_memory()
    if needed > available:
        wanted = min(needed, 10**24)  # more has no float
        raise InputError(
            f"{what} needs {wanted / 1e9:,.1f} GB of memory at least; "
            f"{available / 1e9:,.1f} GB are available; {advice}"
        )


def check_weights(name: str, count: int) -> None:
    """Refuses more weights than there is memory to train, before any is made.

    The limit: 16 bytes a weight (itself, its gradient and Adam's two moments) in half
    of the memory that is available.

    Args:
        name: What has the weights, for the message.
        count: How many.

    Raises:
        InputError: There are too many.

    Example:
        >>> check_weights("MLPEncoder", 600)
    """
    needed, available = count * _BYTES_A_WEIGHT, available_memory()
    if needed > _SHARE * available:
        raise InputError(
            f"{name}: {count:.3g} weights take {needed / 1e9:.3g} GB to train, more "
            f"than half of the {available / 1e9:.3g} GB of memory that are "
            "available; choose smaller sizes"
        )


def available_memory() -> int:
    """Returns how many bytes this process may take: the least of three limits.

    They are what the machine has left, the control group that holds the process (of
    containers and batch jobs) and the process's own limit of addresses.

    Example:
        >>> available_memory() > 0
        True
    """
    return max(0, min(_of_machine(), _of_group(), _of_process()))


def _is_whole(value: Any) -> bool:
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def _of_machine() -> int:
    for line in _lines(Path("/proc/meminfo")):
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return _UNKNOWN


def _of_group() -> int:
    limit, used = (
        "".join(_lines(_GROUP / f"memory.{name}")) for name in ("max", "current")
    )
    if not (limit.isdigit() and used.isdigit()):
        return _UNKNOWN
    cached = [
        int(line.split()[1])
        for line in _lines(_GROUP / "memory.stat")
        if line.startswith(("active_file ", "inactive_file "))
    ]
    return int(limit) - int(used) + sum(cached)  # the cache of files gives way


def _of_process() -> int:
    if resource is None:
        return _UNKNOWN
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    pages = _lines(Path("/proc/self/statm"))
    if limit == resource.RLIM_INFINITY or not pages:
        return _UNKNOWN
    return limit - int(pages[0].split()[0]) * os.sysconf("SC_PAGE_SIZE")


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return []
