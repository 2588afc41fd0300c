# SPDX-License-Identifier: Apache-2.0
"""Files that version 0.1.0 wrote in November 2026 load, resume and agree."""

import dataclasses
import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest

from tf_decomp import ExperimentConfig, train

EARLIER = Path(__file__).parents[1] / "fixtures" / "version_0_1_0"

# Keras saves with a call that NumPy 2 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't")


def test_a_model_file_loads() -> None:
    vae = keras.models.load_model(EARLIER / "run" / "model.keras")
    with np.load(EARLIER / "expected.npz") as file:
        expected = dict(file)
    q = vae.encode(expected["x"])
    found = {
        "loc": q.mean(),
        "scale": q.stddev(),
        "decoded": vae.decode(q.mean()).mean(),
        "generated": vae.generate(4, seed=1),
    }
    for name, values in found.items():
        np.testing.assert_allclose(values, expected[name], rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_a_run_is_recognised_and_continues(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(EARLIER / "run", folder)
    config = ExperimentConfig.from_flags((folder / "config.flags").read_text())
    config = dataclasses.replace(config, output_dir=str(folder))
    before = (folder / "metrics.json").read_bytes()
    train(config)
    assert (folder / "metrics.json").read_bytes() == before
    train(dataclasses.replace(config, epochs=6))
    metrics, expected = (
        json.loads(path.read_text())
        for path in (folder / "metrics.json", EARLIER / "six_epochs.json")
    )
    assert metrics.keys() == expected.keys()
    for name, number in expected.items():
        # Another processor rounds in another way.
        assert metrics[name]["value"] == pytest.approx(number["value"], rel=1e-4)
        assert metrics[name]["n"] == number["n"]
