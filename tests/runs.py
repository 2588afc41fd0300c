# SPDX-License-Identifier: Apache-2.0
"""What a run has saved, for tests of whole runs."""

from typing import Any
from zipfile import ZipFile

import h5py
import numpy as np

from tf_decomp.experiment.run_files import RunFiles


def saved_arrays(files: RunFiles) -> dict[str, np.ndarray]:
    """Gives every array of model.keras: weights, optimiser, counters."""
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
