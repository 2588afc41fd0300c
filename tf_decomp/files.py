# SPDX-License-Identifier: Apache-2.0
"""Files that are written whole or not at all."""

import csv
import json
import math
import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Lets `write` fill a temporary name beside `path`, then renames it.

    Args:
        path: A file or a folder; a folder must not exist yet.
        write: Receives the temporary name.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{os.getpid()}-{path.name}")  # keeps the ending
    try:
        write(temporary)
        temporary.replace(path)
    finally:
        remove(temporary)


def write_text(path: Path, text: str) -> None:
    """Writes a text file whole or not at all."""

    def write(name: Path) -> None:
        name.write_text(text, encoding="utf-8")

    write_atomically(path, write)


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON file whole or not at all; NaN and infinity become null."""
    write_text(path, json.dumps(_standard(value), indent=2) + "\n")


def read_json(path: Path) -> Any:
    """Returns what a JSON file holds."""
    return json.loads(path.read_text(encoding="utf-8"))


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


def remove(path: Path) -> None:
    """Removes a file or a folder with all that it holds; nothing where neither is.

    Args:
        path: A file or a folder.
    """
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _standard(value: Any) -> Any:
    """Replaces what JSON does not know."""
    if isinstance(value, Mapping):
        return {key: _standard(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_standard(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
