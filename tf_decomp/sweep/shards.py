# SPDX-License-Identifier: Apache-2.0
"""A sweep in parts, each in a process of its own on any machine: `shard="3/10"`.

Shards know of each other by the files of their folder alone. Each holds a lock of its
own and writes a table of its own; what all of them write is written by one at a time.
"""

import contextlib
import csv
import fcntl
import re
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tf_decomp.errors import InputError
from tf_decomp.files import write_csv
from tf_decomp.sweep.grid import Run

_TABLE = re.compile(r"sweep-\d{4,}-of-\d{4,}\.csv")
_WAIT_SECONDS = 60.0  # for another shard that joins the tables


class Shard(NamedTuple):
    """One of the equal parts of a grid.

    Attributes:
        number: Which, from 0.
        parts: Of how many.
    """

    number: int
    parts: int

    @property
    def table(self) -> str:
        """The name of this part's table."""
        return f"sweep-{self.number:04d}-of-{self.parts:04d}.csv"

    def part_of(self, runs: Sequence[Run]) -> list[Run]:
        """Returns every parts-th run from its number on.

        Raises:
            InputError: There are fewer runs than parts.
        """
        if self.parts > len(runs):
            raise InputError(
                f"shard={self.number}/{self.parts}: expected at most as many parts as "
                f"runs; received {self.parts} of {len(runs)}; use fewer parts"
            )
        return list(runs[self.number :: self.parts])


def parse_shard(text: str) -> Shard | None:
    """Returns the part that a text as 3/10 names; none where it is empty.

    Args:
        text: i/n with 0 <= i < n, as job arrays number their tasks.

    Raises:
        InputError: It is another text.

    Example:
        >>> parse_shard("3/10")
        Shard(number=3, parts=10)
    """
    if text == "":
        return None
    found = re.fullmatch(r"\s*(\d{1,9})\s*/\s*(\d{1,9})\s*", str(text), re.ASCII)
    if not found or int(found[1]) >= int(found[2]):
        raise InputError(
            "shard: expected i/n with whole numbers 0 <= i < n, as 0/10 for the first "
            f"and 9/10 for the last of ten; received {text!r}"
        )
    return Shard(int(found[1]), int(found[2]))


@contextlib.contextmanager
def holding(root: Path, shard: Shard) -> Iterator[None]:
    """Holds a shard of a folder, and keeps whole sweeps out of it.

    Args:
        root: The sweep's folder.
        shard: Which part.

    Raises:
        InputError: A whole sweep, or this part, is at work there.
        OSError: The folder cannot be made or written.
    """
    root.mkdir(parents=True, exist_ok=True)
    own = root / f".lock-{shard.number}-of-{shard.parts}"
    with (
        _locked(root / ".lock", fcntl.LOCK_SH, 0, "a whole sweep"),
        _locked(own, fcntl.LOCK_EX, 0, f"shard {shard.number}/{shard.parts}"),
    ):
        yield


def alone(root: Path) -> contextlib.AbstractContextManager[None]:
    """Holds what all shards of a folder write, for a moment.

    Args:
        root: The sweep's folder.

    Raises:
        InputError: Others held it for a minute.
    """
    return _locked(root / ".lock-tables", fcntl.LOCK_EX, _WAIT_SECONDS, "another shard")


@contextlib.contextmanager
def _locked(path: Path, kind: int, seconds: float, who: str) -> Iterator[None]:
    deadline = time.monotonic() + seconds
    with path.open("a+") as file:
        while True:
            try:
                fcntl.flock(file, kind | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise InputError(
                        f"{path.parent}: {who} is at work there; wait for it or choose "
                        "another output_dir"
                    ) from None
            time.sleep(0.05)
        yield


def join_tables(root: Path, shard: Shard, runs: Sequence[Run]) -> None:
    """Writes sweep.csv of the tables of all shards, once all are there.

    A table that does not fit is named on stderr, and nothing is joined.

    Args:
        root: The sweep's folder.
        shard: Any of them.
        runs: Of the whole grid, in its order.
    """
    paths = [root / Shard(k, shard.parts).table for k in range(shard.parts)]
    if not all(path.exists() for path in paths):
        return
    columns: dict[str, None] = {}
    found: dict[str, dict[str, str]] = {}
    for k, path in enumerate(paths):
        names = [run.name for run in runs[k :: shard.parts]]
        with path.open(newline="", encoding="utf-8", errors="replace") as file:
            reader = csv.DictReader(file, strict=True)
            rows = _rows_of(reader)
        if [row.get("run") for row in rows] != names:
            print(
                f"{path}: is damaged or of another sweep, so sweep.csv is not joined; "
                f"run shard {k}/{shard.parts} again",
                file=sys.stderr,
                flush=True,
            )
            return
        columns |= dict.fromkeys(reader.fieldnames or ())
        found |= {row["run"]: row for row in rows}
    write_csv(root / "sweep.csv", list(columns), [found[run.name] for run in runs])


def forget_tables(root: Path) -> None:
    """Removes the tables of shards, which would be older than a sweep.csv of all runs.

    Args:
        root: The sweep's folder.
    """
    for path in root.glob("sweep-*-of-*.csv"):
        if _TABLE.fullmatch(path.name):
            path.unlink()


def _rows_of(reader: csv.DictReader) -> list[dict[str, str]]:
    """Returns the rows of a table; none where it is no table."""
    try:
        rows = list(reader)
    except csv.Error:
        return []
    return [] if any(None in row or None in row.values() for row in rows) else rows
