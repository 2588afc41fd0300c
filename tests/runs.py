# SPDX-License-Identifier: Apache-2.0
"""What tests of whole runs share: what a folder holds, and what a run has saved."""

from pathlib import Path
from typing import Any
from zipfile import ZipFile

import h5py
import numpy as np
import pytest

from tf_decomp.experiment.run_files import RunFiles


def contents(folder: Path) -> dict[str, bytes | None]:
    """Returns everything below a folder but the lock: a file's bytes, else None."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
        if path.name != ".lock"
    }


def tree(folder: Path) -> dict[str, Any]:
    """Returns the contents of a folder and when each was written."""
    return {
        name: (content, (folder / name).stat().st_mtime_ns if content else None)
        for name, content in contents(folder).items()
    }


def one_line(error: pytest.ExceptionInfo[Exception], *named: str) -> str:
    """Returns a message that must be one line, and name some things."""
    message = str(error.value)
    assert message
    assert "\n" not in message
    for part in named:
        assert part in message, message
    return message


def saved_arrays(files: RunFiles) -> dict[str, np.ndarray]:
    """Returns every array of model.keras: weights, optimiser, counters."""
    arrays: dict[str, np.ndarray] = {}

    def take(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            arrays[name] = np.asarray(item)

    with (
        ZipFile(files.model) as archive,
        archive.open("model.weights.h5") as member,
        h5py.File(member, "r") as file,
    ):
        file.visititems(take)
    return arrays
