# SPDX-License-Identifier: Apache-2.0
"""Training runs: their files, how they resume, what they refuse, how they fail."""

import csv
import dataclasses
import fcntl
import importlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from runs import Killed, kill_at, one_line, plain_operations, small, tree
from tensorflow.core.util import event_pb2

from tf_decomp import (
    ExperimentConfig,
    InputError,
    build_vae,
    fashion_mnist,
    load_dataset,
    load_encoder,
    make_pipeline,
    train,
)
from tf_decomp.errors import NonFiniteLoss
from tf_decomp.experiment import training
from tf_decomp.experiment.run_files import RunFiles
from tf_decomp.files import read_json
from tf_decomp.vae.whole_set import BatchBias

CONFIGS = Path(__file__).parents[2] / "configs"
COLUMNS = ["epoch", "loss", "elbo", "log_likelihood", "kl", "divergence"]
TERMS = ("loss", "elbo", "log_likelihood", "kl", "divergence")
# Adam with it makes a loss that overflows in its second epoch.
TOO_FAST = 1e3
# Keras asks NumPy to convert TensorFlow's variables, which do not know `copy` yet.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't")


def read_rows(files: RunFiles) -> tuple[list[str], dict[str, list[str]]]:
    with files.history.open(newline="") as file:
        header, *rows = csv.reader(file)
    return header, {name: list(c) for name, *c in zip(header, *rows, strict=True)}


def weights_of(files: RunFiles) -> list[np.ndarray]:
    """Returns what the newest checkpoint holds, in the order of its names."""
    path = tf.train.latest_checkpoint(str(files.checkpoints))
    reader = tf.train.load_checkpoint(path)
    return [
        reader.get_tensor(name)
        for name in sorted(reader.get_variable_to_shape_map())
        if name.startswith(("variables", "epoch"))
    ]


def assert_same_run(got: RunFiles, expected: RunFiles) -> None:
    """Fails unless two runs have the same numbers, bit for bit."""
    assert got.history.read_bytes() == expected.history.read_bytes()
    assert_same_end(got, expected)


def assert_same_end(got: RunFiles, expected: RunFiles) -> None:
    assert got.metrics.read_bytes() == expected.metrics.read_bytes()
    ours, theirs = weights_of(got), weights_of(expected)
    assert len(ours) > 10
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one, other)


# -- a whole run --------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> ExperimentConfig:
    """Settings of a finished run: 7 epochs of 5 uneven batches."""
    config = ExperimentConfig(
        prior="normal_mixture",
        divergence="inclusive_kl",
        alpha=5.0,
        beta=0.01,
        hidden=(8,),
        epochs=7,
        batch_size=90,
        output_dir=str(tmp_path_factory.mktemp("runs") / "finished"),
    )
    train(config)
    return config


@pytest.fixture
def files(finished: ExperimentConfig) -> RunFiles:
    return RunFiles(finished.output_dir)


def copy_of(finished: ExperimentConfig, folder: Path) -> ExperimentConfig:
    shutil.copytree(finished.output_dir, folder)
    return dataclasses.replace(finished, output_dir=str(folder))


def test_files_of_a_run(finished: ExperimentConfig, files: RunFiles) -> None:
    assert {path.name for path in files.root.iterdir()} == {
        ".lock",
        "config.flags",
        "environment.json",
        "history.csv",
        "manifest.json",
        "metrics.json",
        "checkpoints",
        "model.keras",
        "saved_model",
        "plots",
        "logs",
    }
    assert files.read_config() == finished


def test_history(files: RunFiles) -> None:
    header, columns = read_rows(files)
    assert header[:6] == COLUMNS
    assert set(header[6:]) == {f"val_{name}" for name in TERMS}
    assert columns["epoch"] == [str(epoch) for epoch in range(1, 8)]
    assert all(np.isfinite(np.array(columns[name], float)).all() for name in header)
    for prefix in ("", "val_"):
        loss, elbo, log_likelihood, kl, divergence = (
            np.array(columns[prefix + name], float) for name in TERMS
        )
        np.testing.assert_allclose(elbo, log_likelihood - kl, rtol=1e-5)
        objective = log_likelihood - 0.01 * kl - 5 * divergence
        np.testing.assert_allclose(loss, -objective, rtol=1e-5)


def test_metrics(finished: ExperimentConfig, files: RunFiles) -> None:
    text = files.metrics.read_text(encoding="utf-8")
    metrics = json.loads(text)
    assert list(metrics) == [f"test/{name}" for name in TERMS]
    for result in metrics.values():
        assert list(result) == ["value", "standard_error", "n"]
        assert result["n"] == 400
        assert 0 < result["standard_error"] < 10
    value = {name: metrics[f"test/{name}"]["value"] for name in TERMS}
    assert value["elbo"] == pytest.approx(value["log_likelihood"] - value["kl"])
    objective = value["log_likelihood"] - 0.01 * value["kl"] - 5 * value["divergence"]
    assert value["loss"] == pytest.approx(-objective)
    # The validation set is the whole test set here.
    _, columns = read_rows(files)
    for name in TERMS:
        assert float(columns[f"val_{name}"][-1]) == pytest.approx(value[name], rel=1e-5)
    for secret in (finished.output_dir, "runs", "seconds", "time", str(os.getpid())):
        assert secret not in text


def test_environment(files: RunFiles) -> None:
    facts = read_json(files.environment)
    assert {"python", "tensorflow", "keras", "tf-decomp"} <= set(facts["versions"])
    assert facts["versions"]["tensorflow"] == tf.__version__
    assert facts["seed"] == 0
    assert facts["devices"]
    assert facts["threads"].keys() == {"intra_op", "inter_op"}
    assert 1 < facts["seconds"] < 600
    # conftest.py imports tf_decomp before TensorFlow, so it is set.
    assert facts["onednn"] == os.environ.get("TF_ENABLE_ONEDNN_OPTS") is not None
    assert facts["commit"] is None or len(facts["commit"]) == 40


def test_plots(files: RunFiles) -> None:
    plots = {path.name: path.read_bytes() for path in files.plots.iterdir()}
    assert set(plots) == {
        "training_curves.png",
        "latents.png",
        "reconstructions.png",
        "samples.png",
    }
    for content in plots.values():
        assert content.startswith(b"\x89PNG\r\n\x1a\n")
        width, height = np.frombuffer(content, ">u4", 2, offset=16)
        assert min(width, height) > 200


def test_models(finished: ExperimentConfig, files: RunFiles) -> None:
    x = load_dataset("pinwheel").test.x
    vae = keras.saving.load_model(files.model)
    assert float(vae.alpha) == 5.0
    assert float(vae.beta) == np.float32(0.01)
    means = vae.predict(x, verbose=0)
    served = load_encoder(files.root / "saved_model").encode(x)
    np.testing.assert_allclose(served["loc"], means, atol=1e-5)
    np.testing.assert_allclose(served["scale"], vae.encode(x).stddev(), atol=1e-5)
    # The saved model is the one that was judged.
    metrics = read_json(files.metrics)
    pipeline = training._pipeline(load_dataset("pinwheel").test, finished)
    logs = vae.evaluate(pipeline, verbose=0, return_dict=True)
    for name, value in logs.items():
        assert value == pytest.approx(metrics[f"test/{name}"]["value"], rel=1e-5)


def test_tensorboard(files: RunFiles) -> None:
    seen: dict[str, dict[int, float]] = {}
    for path in files.logs.iterdir():
        for record in tf.data.TFRecordDataset(str(path)):
            event = event_pb2.Event.FromString(record.numpy())
            for value in event.summary.value:
                number = float(tf.make_ndarray(value.tensor))
                seen.setdefault(value.tag, {})[event.step] = number
    assert set(seen) == {f"{s}/{name}" for s in ("train", "test") for name in TERMS}
    _, columns = read_rows(files)
    for prefix, split in (("", "train"), ("val_", "test")):
        for name in TERMS:
            assert list(seen[f"{split}/{name}"]) == list(range(1, 8))
            np.testing.assert_allclose(
                list(seen[f"{split}/{name}"].values()),
                np.array(columns[prefix + name], float),
                rtol=1e-6,
            )


def test_checkpoints(files: RunFiles) -> None:
    newest = tf.train.latest_checkpoint(str(files.checkpoints))
    assert newest == str(files.checkpoints / "ckpt-7")
    assert {path.suffix for path in files.checkpoints.iterdir()} <= {
        "",
        ".index",
        ".data-00000-of-00001",
        ".json",
    }


# -- the same folder again --------------------------------------------------------


def test_same_command_on_a_finished_run(
    finished: ExperimentConfig, files: RunFiles, capsys: pytest.CaptureFixture[str]
) -> None:
    before = tree(files.root)
    for config in (
        finished,
        dataclasses.replace(finished, strategy="mirrored"),
        files.read_config(),
    ):
        results = train(config)
        assert results == read_json(files.metrics)
        assert "finished" in capsys.readouterr().out
    assert tree(files.root) == before


def test_finished_run_in_another_place(
    finished: ExperimentConfig, tmp_path: Path
) -> None:
    config = copy_of(finished, tmp_path / "moved")
    before = tree(tmp_path)
    train(config)
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    "changes",
    [
        {"beta": 0.02},
        {"seed": 1, "hidden": (9,), "batch_norm": True},
        {"epochs": 6},
        {"epochs": 8, "alpha": 4.0},
        {"max_train_examples": 399},
        {"num_samples": 2, "learning_rate": 0.002},
    ],
    ids=str,
)
def test_other_settings_are_refused(
    finished: ExperimentConfig, files: RunFiles, changes: dict[str, Any]
) -> None:
    before = tree(files.root)
    with pytest.raises(InputError) as caught:
        train(dataclasses.replace(finished, **changes))
    message = one_line(caught, str(files.root), "overwrite=true")
    assert tree(files.root) == before
    # More epochs alone would be no difference.
    expected = set(changes) - ({"epochs"} if changes.get("epochs") == 8 else set())
    assert set(re.findall(r"(\w+)=\S* is now", message)) == expected


# -- runs of plain operations: fast enough to be many -----------------------------


@pytest.fixture
def eager() -> Iterator[None]:
    with plain_operations():
        yield


def is_eager(test: Any) -> Any:
    # tf.data says that it compiles nevertheless.
    quiet = pytest.mark.filterwarnings("ignore:Even though the `tf.config")
    return pytest.mark.usefixtures("eager")(quiet(test))


@is_eager
def test_interrupted_run_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def config(name: str) -> ExperimentConfig:
        return small(tmp_path / name, prior="normal_learnt", epochs=3)

    train(config("whole"))
    # At 0 there is no state yet.
    for epoch in (0, 2):
        run = config(f"killed_at_{epoch}")
        files = RunFiles(run.output_dir)
        kill_at(monkeypatch, epoch)
        with pytest.raises(Killed):
            train(run)
        assert not files.metrics.exists()
        if epoch:
            # The row is there, its state is not.
            assert read_rows(files)[1]["epoch"][-1] == str(epoch)
        # An unfinished run refuses other settings as a finished one does.
        with pytest.raises(InputError, match="beta="):
            train(dataclasses.replace(run, beta=3.0))
        train(run)
        assert_same_run(files, RunFiles(tmp_path / "whole"))
        assert read_rows(files)[1]["epoch"] == ["1", "2", "3"]


@is_eager
@pytest.mark.slow
def test_more_epochs_continue(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = RunFiles(tmp_path / "run")
    train(small(files.root, epochs=1))
    one = files.history.read_bytes(), files.metrics.read_bytes()
    train(small(files.root, epochs=3))
    train(small(tmp_path / "whole", epochs=3))
    assert_same_run(files, RunFiles(tmp_path / "whole"))
    assert files.history.read_bytes().startswith(one[0])
    assert files.metrics.read_bytes() != one[1]
    assert "--epochs=3\n" in files.config.read_text(encoding="utf-8")
    with pytest.raises(InputError, match="epochs=3 is now 1"):
        train(small(files.root, epochs=1))
    out = capsys.readouterr().out
    assert "Epoch 2 of 3" in out


@is_eager
@pytest.mark.slow
def test_rows_of_several_epochs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(training, "_LEAST_ROWS", 2)
    whole = RunFiles(tmp_path / "whole")
    train(small(whole.root, epochs=8, batch_size=400))
    assert read_rows(whole)[1]["epoch"] == ["4", "8"]
    assert "Epochs 5-8 of 8" in capsys.readouterr().out
    # Resumed, its rows may be shorter; all else is the same.
    files = RunFiles(tmp_path / "run")
    kill_at(monkeypatch, 8)
    with pytest.raises(Killed):
        train(small(files.root, epochs=8, batch_size=400))
    assert read_rows(files)[1]["epoch"] == ["4", "8"]
    train(small(files.root, epochs=8, batch_size=400))
    epochs = [int(epoch) for epoch in read_rows(files)[1]["epoch"]]
    assert epochs[0] == 4
    assert epochs[-1] == 8
    assert epochs == sorted(set(epochs))
    assert_same_end(files, whole)


def test_rows_are_equally_long_and_at_least_fifty() -> None:
    for steps in (1, 3, 7, 100, 938):
        for epochs in range(1, 1101):
            a_row = training._epochs_a_row(steps, epochs)
            assert epochs % a_row == 0
            assert epochs // a_row >= min(50, epochs)
            # No row is longer than it needs to be.
            assert a_row == 1 or (a_row - 1) * steps < 100
    assert training._epochs_a_row(1, 500) == 10
    assert training._epochs_a_row(1, 5000) == 100
    assert training._epochs_a_row(600, 80) == 1


@is_eager
def test_overwrite_removes_a_run_and_nothing_else(tmp_path: Path) -> None:
    files = RunFiles(tmp_path / "run")
    train(small(files.root, epochs=2))
    first = files.metrics.read_bytes()
    (files.root / "notes.txt").write_text("mine")
    (files.failure).mkdir()
    old_logs = set(files.logs.iterdir())
    train(small(files.root, epochs=1, seed=3, overwrite=True))
    assert (files.root / "notes.txt").read_text() == "mine"
    assert not files.failure.exists()
    assert not old_logs & set(files.logs.iterdir())
    assert read_rows(files)[1]["epoch"] == ["1"]
    assert files.metrics.read_bytes() != first
    newest = tf.train.latest_checkpoint(str(files.checkpoints))
    assert newest.endswith("ckpt-1")
    # The flagfile does not overwrite by itself.
    assert "--overwrite=false\n" in files.config.read_text(encoding="utf-8")
    train(small(tmp_path / "new", epochs=1, seed=3, overwrite=True))
    assert_same_run(files, RunFiles(tmp_path / "new"))


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("name", ["metrics.json", "plots/mean.png", "logs/build.log"])
def test_folder_of_something_else_is_refused(
    tmp_path: Path, name: str, overwrite: bool
) -> None:
    path = tmp_path / "mine" / name
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    before = tree(tmp_path)
    with pytest.raises(InputError) as caught:
        train(small(tmp_path / "mine", overwrite=overwrite))
    one_line(caught, name.partition("/")[0])
    assert tree(tmp_path) == before
    assert not (tmp_path / "mine" / ".lock").exists()


def test_locked_folder_is_refused(tmp_path: Path) -> None:
    config = small(tmp_path / "run")
    files = RunFiles(config.output_dir)
    files.root.mkdir()
    files.config.write_text(config.to_flags())
    files.metrics.write_text("{}")
    before = tree(tmp_path)
    with (files.root / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for change in ({}, {"epochs": 9}, {"overwrite": True}):
            with pytest.raises(InputError, match="another run is writing") as caught:
                train(dataclasses.replace(config, **change))
            one_line(caught)
    assert tree(tmp_path) == before


# -- a loss that is not finite ----------------------------------------------------


def check_failure(config: ExperimentConfig, caught: Any) -> dict[str, Any]:
    """Checks message, report and batch against each other; returns the report."""
    files = RunFiles(config.output_dir)
    report = read_json(files.failure / "report.json")
    step, batch = f"step {report['step']} ", files.failure / "batch.npz"
    one_line(caught, step, *report["terms"], str(batch))
    split = load_dataset(config.dataset, seed=config.seed).train
    batches = make_pipeline(
        split, config.batch_size, shuffle=True, seed=config.seed, epochs=config.epochs
    )
    expected = list(batches)[report["step"] - 1]
    with np.load(batch) as kept:
        np.testing.assert_array_equal(kept["x"], expected)
    assert not files.metrics.exists()
    assert not files.model.exists()
    if files.history.exists():
        _, columns = read_rows(files)
        assert np.isfinite(np.array(columns["loss"], float)).all()
    return report


def first_bad_step(config: ExperimentConfig) -> int:
    """Trains step by step from the start, to the first loss that is not finite."""
    split = load_dataset(config.dataset, seed=config.seed).train
    keras.utils.set_random_seed(config.seed)
    vae = build_vae(config, split.x.shape[1:])
    vae.compile(keras.optimizers.Adam(config.learning_rate, amsgrad=True))
    batches = make_pipeline(
        split, config.batch_size, shuffle=True, seed=config.seed, epochs=config.epochs
    )
    for step, x in enumerate(batches, start=1):
        if not np.isfinite(vae.train_on_batch(x, return_dict=True)["loss"]):
            return step
    raise AssertionError("every loss is finite")


@is_eager
@pytest.mark.parametrize("rows", [1, pytest.param(50, marks=pytest.mark.slow)])
def test_loss_explodes(
    tmp_path: Path, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In its first epochs or later, with a row for each epoch or for several."""
    monkeypatch.setattr(training, "_LEAST_ROWS", rows)
    config = small(tmp_path / "run", learning_rate=TOO_FAST, epochs=6)
    with pytest.raises(NonFiniteLoss) as caught:
        train(config)
    report = check_failure(config, caught)
    assert report["step"] == first_bad_step(config)
    assert report["epoch"] == (report["step"] + 1) // 2
    assert report["epoch"] > 1
    with pytest.raises(NonFiniteLoss) as again:
        train(config)
    assert str(again.value) == str(caught.value)
    check_failure(config, again)


@is_eager
def test_bad_example_is_in_the_batch_that_is_kept(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(40, 3))
    x[17] = 1e25  # its square is infinite in float32
    np.savez(tmp_path / "data.npz", x_train=x, x_test=x[:5])
    config = small(
        tmp_path / "run",
        dataset=f"npz:{tmp_path}/data.npz",
        batch_size=10,
        seed=3,  # its third batch holds the row
        divergence="dimensionwise_mmd",
        alpha=1.0,
        epochs=2,
    )
    with pytest.raises(NonFiniteLoss) as caught:
        train(config)
    report = check_failure(config, caught)
    assert {"log_likelihood", "kl"} <= set(report["terms"])
    with np.load(tmp_path / "run" / "failure" / "batch.npz") as batch:
        assert np.float32(1e25) in batch["x"]
    assert report["step"] == first_bad_step(config) == 3
    assert report["epoch"] == 1


# -- images -------------------------------------------------------------------------


def images(n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, 16, 16), dtype=np.uint8)


@pytest.mark.slow
def test_npz_images_train_a_convolutional_network(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x_train=images(20, 0), x_test=images(7, 1))
    config = ExperimentConfig(
        dataset=f"npz:{tmp_path}/data.npz",
        prior="spike_and_slab",
        likelihood="bernoulli",
        latent_dim=3,
        batch_size=8,
        epochs=1,
        output_dir=str(tmp_path / "run"),
    )
    results = train(config)
    assert {result["n"] for result in results.values()} == {7}
    assert all(np.isfinite(result["value"]) for result in results.values())
    assert "test/divergence" not in results
    files = RunFiles(config.output_dir)
    header, columns = read_rows(files)
    assert header[:6] == COLUMNS
    assert columns["divergence"] == [""]
    assert len(list(files.plots.glob("*.png"))) == 4
    served = load_encoder(files.root / "saved_model")
    parts = served.encode(np.zeros([2, 16, 16, 1], "float32"))
    assert parts["loc"].shape == parts["scale"].shape == [2, 3]
    assert served.decode(parts["loc"])["mean"].shape == [2, 16, 16, 1]


@pytest.mark.slow
def test_fashion_mnist_config_fits_real_images() -> None:
    module: ModuleType = importlib.import_module("tf_decomp.data.fashion_mnist")
    folder: Path = module._SYSTEM_DIR
    if not all(module._find(folder, name) for name in module._MD5):
        reason = f"Fashion-MNIST is not in {folder} (Debian: dataset-fashion-mnist)"
        if os.environ.get("TF_DECOMP_REQUIRE_DATA") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    config = ExperimentConfig.from_flags(
        (CONFIGS / "fashion_mnist.flags").read_text(encoding="utf-8")
    )
    x = fashion_mnist(folder, max_train_examples=200).train.x
    assert x.shape == (200, 32, 32, 1)
    vae = build_vae(config, x.shape[1:], x)
    vae.compile(keras.optimizers.Adam(config.learning_rate, amsgrad=True))
    history = vae.fit(x, batch_size=100, epochs=1, verbose=0).history
    for name in TERMS:
        assert np.isfinite(history[name]).all(), name
    assert vae.predict(x[:9], verbose=0).shape == (9, 50)
    assert vae.reconstruct(x[:9]).shape == (9, 32, 32, 1)
    assert vae.generate(3).shape == (3, 32, 32, 1)


@pytest.mark.parametrize("shape", [[2], [16, 16, 1]])
def test_step_of_keras_is_not_compiled_by_xla(shape: list[int]) -> None:
    """XLA would draw other noise, fails under a strategy and slows convolutions."""
    vae = build_vae(ExperimentConfig(), shape)
    vae.compile("adam")
    assert vae.jit_compile is False


@is_eager
@pytest.mark.parametrize(
    ("divergence", "unit"), [("inclusive_kl", "nats"), ("dimensionwise_mmd", "")]
)
def test_plots_know_the_unit_of_d(
    divergence: str, unit: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    units: list[str] = []
    monkeypatch.setattr(training, "draw_run", lambda *given: units.append(given[-1]))
    train(small(tmp_path / "run", divergence=divergence, alpha=1.0, epochs=1))
    assert units == [unit]


@is_eager
def test_total_correlation_counts_data_that_the_prior_does_not_see(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models: list[Any] = []
    monkeypatch.setattr(training, "_PRIOR_EXAMPLES", 60)
    monkeypatch.setattr(training, "draw_run", lambda *given: models.append(given[1]))
    settings = {"prior": "vamp", "divergence": "total_correlation_stratified"}
    train(small(tmp_path / "run", **settings, alpha=1.0, epochs=1))
    assert models[0].divergence.num_data == len(load_dataset("pinwheel").train.x)


# -- several replicas ---------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:Even though the `tf.config")
@pytest.mark.slow
def test_mirrored_run_equals_the_run_on_one_replica(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setattr(training, "draw_run", lambda *arguments: None)
    results, histories = [], []
    for strategy in ("mirrored", "none"):
        config = small(
            tmp_path / strategy,
            strategy=strategy,
            divergence="dimensionwise_mmd",
            alpha=1.0,
            epochs=2,
        )
        results.append(train(config))
        histories.append(read_rows(RunFiles(config.output_dir)))
        request.getfixturevalue("eager")  # the second need not be compiled
    two, one = (columns for _, columns in histories)
    assert list(two) == list(one)
    # The MMD of 0.3 is a difference of sums near 12, whose rounding is 1e-6.
    for name in one:
        np.testing.assert_allclose(
            np.array(two[name], float), np.array(one[name], float), 1e-5, 2e-5
        )
    for name, result in results[1].items():
        assert results[0][name]["value"] == pytest.approx(result["value"], 1e-5, 2e-5)


def test_images_of_which_a_replica_gets_none_are_refused(tmp_path: Path) -> None:
    """oneDNN's convolutions of no image give wrong shapes."""
    np.savez(tmp_path / "data.npz", x_train=images(21, 0), x_test=images(20, 1))
    config = small(
        tmp_path / "run",
        dataset=f"npz:{tmp_path}/data.npz",
        batch_size=10,
        strategy="mirrored",
    )
    with pytest.raises(InputError, match="last batch of 1 of 21") as caught:
        train(config)
    one_line(caught, "batch_size")
    assert not (tmp_path / "run").exists()


# -- the claim of Section 6.2 -------------------------------------------------------


@pytest.mark.slow
def test_alpha_matches_the_prior_better_than_beta() -> None:
    """With D alone q(z) comes far nearer to p(z) than with a weak KL alone.

    One compiled model serves all runs: its weights are those of each seed's own, and
    other counts of batches give other noise.
    """
    config = ExperimentConfig(
        prior="normal_mixture", divergence="inclusive_kl", alpha=5.0, beta=0.0
    )
    vae = build_vae(config, [2])
    vae.compile(keras.optimizers.Adam(config.learning_rate, amsgrad=True))
    fresh = [variable.numpy() for variable in vae.optimizer.variables]
    gains = []
    for seed in range(3):
        dataset = load_dataset("pinwheel", seed=seed)
        keras.utils.set_random_seed(seed)
        start = build_vae(config, [2]).get_weights()
        found = []
        for alpha, beta in ((5.0, 0.0), (0.0, 0.01)):
            vae.set_weights(start)
            for variable, value in zip(vae.optimizer.variables, fresh, strict=True):
                variable.assign(value)
            vae.alpha, vae.beta = alpha, beta
            vae.train_batches.assign(1_000 * seed)
            batches = make_pipeline(
                dataset.train, 400, shuffle=True, seed=seed, epochs=200
            )
            vae.fit(
                batches,
                callbacks=[BatchBias(dataset.train.x, 400)],
                verbose=0,
                shuffle=False,
            )
            found.append(
                vae.evaluate_with_errors(dataset.test.x, batch_size=400, verbose=0)[
                    "divergence"
                ]
            )
        matched, weak = found
        error = np.hypot(matched.standard_error, weak.standard_error)
        assert weak.value - matched.value > 5 * error
        # Its spread over seeds grows with its size: compare on a scale of factors.
        gains.append(np.log(weak.value / matched.value))
    assert np.mean(gains) > 5 * np.std(gains, ddof=1) / np.sqrt(len(gains))
