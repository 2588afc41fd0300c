# SPDX-License-Identifier: Apache-2.0
"""Runs on images drawn from factors: networks of three channels, correlated or not."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from runs import one_line, plain_operations, slow_behind

from tf_decomp import ExperimentConfig, train
from tf_decomp.data import xy_squares
from tf_decomp.data.dsprites_rendering import FACTOR_NAMES
from tf_decomp.errors import InputError
from tf_decomp.evaluation import judge
from tf_decomp.evaluation.explorer import page
from tf_decomp.experiment.build import build_dataset, load_model
from tf_decomp.experiment.run_files import RunFiles

pytestmark = [
    # Keras asks NumPy to convert TensorFlow's variables, which do not know `copy` yet.
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't"),
    pytest.mark.filterwarnings("ignore:Even though the `tf.config"),
]


CASES = [
    ("xy_squares", "x_R,y_B", "bernoulli"),
    ("color_dsprites", "shape,scale", "laplace"),
    ("noisy_dsprites", "", "continuous_bernoulli"),
]


@pytest.mark.parametrize(("dataset", "factors", "likelihood"), slow_behind(1, CASES))
def test_three_channels_train_from_flags(
    tmp_path: Path, dataset: str, factors: str, likelihood: str
) -> None:
    """A smoke test: settings to files and back."""
    config = ExperimentConfig(
        dataset=dataset,
        image_size=16,
        max_train_examples=40,
        max_test_examples=20,
        correlated_factors=factors,
        likelihood=likelihood,
        epochs=1,
        batch_size=20,
        output_dir=str(tmp_path / "run"),
    )
    with plain_operations():
        metrics = train(config)
    assert np.isfinite(metrics["test/elbo"]["value"])
    files = RunFiles(config.output_dir)
    assert files.read_config() == config
    assert load_model(files).data_shape == (16, 16, 3)


def test_flags_correlate_the_training_data_alone() -> None:
    config = ExperimentConfig(
        dataset="xy_squares",
        max_train_examples=500,
        correlated_factors="x_G,x_B",
        correlation_width=0.05,
    )
    train_, test = (split.factors for split in build_dataset(config))
    assert np.corrcoef(train_[:, 2], train_[:, 4])[0, 1] > 0.9
    assert abs(np.corrcoef(test[:, 2], test[:, 4])[0, 1]) < 0.05


@pytest.mark.parametrize(
    ("dataset", "named"),
    [
        ("xy_squares", ("'posX'", "x_R, y_R")),
        ("pinwheel", ("posX and posY", "pinwheel", "factors are not known")),
    ],
)
def test_factors_that_are_not_there_stop_a_run_before_it_begins(
    tmp_path: Path, dataset: str, named: tuple[str, ...]
) -> None:
    config = ExperimentConfig(
        dataset=dataset,
        correlated_factors="posX,posY",
        output_dir=str(tmp_path / "run"),
    )
    with pytest.raises(InputError) as error:
        train(config)
    one_line(error, *named)
    assert not (tmp_path / "run").exists()


def test_shapes_are_scored_as_classes_and_positions_in_order() -> None:
    assert FACTOR_NAMES[0] == "shape"
    sprites = ("dsprites", "color_dsprites", "noisy_dsprites")
    assert dict.fromkeys(sprites, (0,)) == judge._CATEGORICAL


def test_the_explorer_names_factors_as_the_data_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def describe(vae: Any, test: Any, codes: Any, names: Any) -> dict[str, str]:
        seen.append(names)
        return {"kind": "image"}

    monkeypatch.setattr(page, "_describe", describe)
    monkeypatch.setattr(page, "fill", lambda *arguments, **values: "filled")
    test = xy_squares(max_train_examples=1).test
    run: Any = SimpleNamespace(vae=None, test=test, config=ExperimentConfig())
    codes: Any = None
    assert page.describe_run(RunFiles(tmp_path), run, codes) == "filled"
    assert seen == [("x_R", "y_R", "x_G", "y_G", "x_B", "y_B")]
