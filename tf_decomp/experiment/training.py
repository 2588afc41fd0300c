# SPDX-License-Identifier: Apache-2.0
"""A training run from its settings to its files."""

import contextlib
import dataclasses
import shutil
import sys
import time
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_decomp.data import Dataset, Split, make_pipeline, subset
from tf_decomp.errors import InputError
from tf_decomp.experiment.build import build_dataset, build_vae
from tf_decomp.experiment.callbacks import EpochProgress, RunRecorder, RunState
from tf_decomp.experiment.choices import DIVERGENCES, PRIORS
from tf_decomp.experiment.config import ExperimentConfig
from tf_decomp.experiment.environment import describe_environment
from tf_decomp.experiment.failure import find_failure
from tf_decomp.experiment.figures import draw_run
from tf_decomp.experiment.run_files import RunFiles
from tf_decomp.experiment.strategies import broadcast_number, is_chief, make_strategy
from tf_decomp.export import export_saved_model
from tf_decomp.files import write_atomically, write_json, write_text
from tf_decomp.vae import DecompositionVAE
from tf_decomp.vae.whole_set import BatchBias

_LEAST_ROWS = 50
# A row of history.csv costs about 100 ms (Keras's epoch, validation, checkpoint).
_LEAST_STEPS_A_ROW = 100
_STEPS_AN_EXECUTION = 50
_VALIDATION_EXAMPLES = 1_000
_PRIOR_EXAMPLES = 20_000
# What the chief tells the other workers.
_GOES_ON, _FINISHED, _REFUSED = 1, 2, 3
# Settings that say where a run happens, not what it computes.
_PLACEMENT = ("output_dir", "strategy", "overwrite", "epochs")


def train(config: ExperimentConfig) -> dict[str, Any]:
    """Trains, evaluates, exports and draws a run; returns what metrics.json holds.

    The same settings on an unfinished run resume it, on a finished one return at
    once, and with more epochs continue it.

    Args:
        config: The settings.

    Raises:
        InputError: The data or the folder do not fit the settings.
        NonFiniteLoss: The loss became infinite or NaN.
        OSError: The folder cannot be written.

    Example:
        >>> train(ExperimentConfig(epochs=10, output_dir="runs/short"))
    """
    start, files = time.time(), RunFiles(config.output_dir)
    strategy = make_strategy(config.strategy)
    dataset = build_dataset(config)
    if config.batch_size > len(dataset.train.x):
        raise InputError(
            f"batch_size={config.batch_size} is larger than the training data, "
            f"{len(dataset.train.x)} examples; lower --batch_size"
        )
    _check_shares(dataset, config, strategy.num_replicas_in_sync)
    keras.utils.set_random_seed(config.seed)
    with strategy.scope():
        vae = build_vae(
            config, dataset.train.data_shape, _prior_examples(dataset.train, config)
        )
    if not is_chief(strategy):
        return _follow_chief(vae, dataset, files, config)
    with _announce_end(strategy):
        return _lead_run(vae, dataset, files, config, start)


def _check_shares(dataset: Dataset, config: ExperimentConfig, replicas: int) -> None:
    """Refuses images of which a replica would get none: oneDNN's convolutions fail."""
    if replicas == 1 or len(dataset.train.data_shape) == 1:
        return
    sizes = [len(dataset.train.x), len(dataset.test.x)]
    for n in [*sizes, min(sizes[1], _VALIDATION_EXAMPLES)]:
        last = n % min(config.batch_size, n) or min(config.batch_size, n)
        if -(-last // replicas) * (replicas - 1) >= last:
            raise InputError(
                f"batch_size={config.batch_size} leaves a last batch of {last} of {n} "
                f"examples, too few for {replicas} replicas; choose another "
                "--batch_size"
            )


def _lead_run(
    vae: DecompositionVAE,
    dataset: Dataset,
    files: RunFiles,
    config: ExperimentConfig,
    start: float,
) -> dict[str, Any]:
    """Trains and writes the run's files."""
    _check_folder(files)
    with files.locked():
        if _is_finished(files, config):
            print(f"{files.root}: this run is finished; nothing to do", flush=True)
            return files.read_metrics()
        if dataset.train.note:
            print(dataset.train.note, flush=True)
        write_text(
            files.config, dataclasses.replace(config, overwrite=False).to_flags()
        )
        broadcast_number(vae.distribute_strategy, _GOES_ON)
        history, results = _fit_and_test(vae, dataset, files, config)
        _write_model(vae, files)
        unit = DIVERGENCES[config.divergence].unit
        draw_run(files, vae, dataset.test, history, _title(config), unit)
        facts = {**describe_environment(), "seed": config.seed}
        write_json(files.environment, {**facts, "seconds": time.time() - start})
        write_json(files.metrics, results)
    return results


@contextlib.contextmanager
def _announce_end(strategy: tf.distribute.Strategy) -> Iterator[None]:
    """Tells the other workers how the run ended."""
    try:
        yield
    except InputError:
        broadcast_number(strategy, _REFUSED)
        raise
    broadcast_number(strategy, _FINISHED)


def _follow_chief(
    vae: DecompositionVAE, dataset: Dataset, files: RunFiles, config: ExperimentConfig
) -> dict[str, Any]:
    """Computes a further worker's part and writes nothing."""
    strategy = vae.distribute_strategy
    results: dict[str, Any] = {}
    told = broadcast_number(strategy, 0)
    if told == _GOES_ON:
        _, results = _fit_and_test(vae, dataset, files, config)
        told = broadcast_number(strategy, 0)  # the chief still writes
    if told == _REFUSED:
        raise InputError(f"{files.root}: the first worker stopped; read its message")
    return results


def _check_folder(files: RunFiles) -> None:
    """Refuses a folder that holds files of a run's names but is no run's."""
    strangers = [] if files.config.exists() else files.existing()
    if strangers:
        raise InputError(
            f"{files.root}: holds {strangers[0].name} but no config.flags, so it is "
            "not a run's folder; choose another --output_dir"
        )


def _is_finished(files: RunFiles, config: ExperimentConfig) -> bool:
    """Compares the folder with the settings, and clears it where that is wanted."""
    if not files.config.exists():
        return False
    if config.overwrite:
        files.clear()
        return False
    earlier = files.read_config()
    old, new = earlier.to_texts(), config.to_texts()
    differing = [k for k in old if k not in _PLACEMENT and old[k] != new[k]]
    if config.epochs < earlier.epochs:
        differing.append("epochs")
    if differing:
        changes = ", ".join(f"--{k}={old[k]} is now {new[k]}" for k in differing)
        raise InputError(
            f"{files.root}: holds a run with other settings ({changes}); use them, "
            "another --output_dir or --overwrite"
        )
    if config.epochs > earlier.epochs:
        files.metrics.unlink(missing_ok=True)
    return files.metrics.exists()


def _fit_and_test(
    vae: DecompositionVAE, dataset: Dataset, files: RunFiles, config: ExperimentConfig
) -> tuple[list[dict[str, float]], dict[str, Any]]:
    """Returns all history rows and what metrics.json holds."""
    history = _fit(vae, dataset, files, config)
    test = _pipeline(dataset.test, config)
    estimates = vae.evaluate_with_errors(test, verbose=0)
    return history, {f"test/{name}": e._asdict() for name, e in estimates.items()}


def _fit(
    vae: DecompositionVAE, dataset: Dataset, files: RunFiles, config: ExperimentConfig
) -> list[dict[str, float]]:
    """Trains from the newest state to the last epoch and returns all history rows."""
    with vae.distribute_strategy.scope():
        vae.compile(keras.optimizers.Adam(config.learning_rate, amsgrad=True))
        state = RunState(vae, files)
    first, steps = state.restore(), -(-len(dataset.train.x) // config.batch_size)
    epochs = config.epochs - first
    if epochs > 0:
        if first == 0:
            state.save(0)
        a_row = _epochs_a_row(steps, config.epochs)
        if epochs % a_row:  # a finished run goes on for more epochs
            a_row = _epochs_a_row(steps, epochs)
        vae.steps_per_execution = _steps_an_execution(vae, a_row * steps)
        recorder = RunRecorder(files, state, first, a_row)
        progress = EpochProgress(first, a_row, config.epochs)
        bias = BatchBias(_pipeline(dataset.train, config), len(dataset.train.x))
        validation = dataset.test._replace(x=dataset.test.x[:_VALIDATION_EXAMPLES])
        vae.fit(
            _pipeline(dataset.train, config, first, epochs),
            epochs=epochs // a_row,
            steps_per_epoch=a_row * steps,
            shuffle=False,
            validation_data=_pipeline(validation, config),
            callbacks=[recorder, progress, bias],
            verbose=1 if sys.stdout.isatty() else 2,
        )
        if recorder.failed:
            first = state.restore()
            # Rounding may move the failure beyond the row in which `fit` met it.
            repeated = min(2 * a_row, config.epochs - first)
            batches = _pipeline(dataset.train, config, first, repeated)
            raise find_failure(vae, batches, first, steps, files)
    return files.read_history(config.epochs)


def _epochs_a_row(steps: int, epochs: int) -> int:
    """Returns the epochs of a history row: few short rows, and all equally long."""
    most = min(-(-_LEAST_STEPS_A_ROW // steps), max(1, epochs // _LEAST_ROWS))
    return _largest_divisor(epochs, most)


def _steps_an_execution(vae: DecompositionVAE, steps_a_row: int) -> int:
    """Returns the steps of one call: one where a step is long or a strategy splits it.

    Keras runs whole calls, so their number must divide the steps of a row; under a
    strategy it runs one step a call only (keras issue 19246).
    """
    replicas = vae.distribute_strategy.num_replicas_in_sync
    if replicas > 1 or len(vae.data_shape) > 1:
        return 1
    return _largest_divisor(steps_a_row, _STEPS_AN_EXECUTION)


def _largest_divisor(number: int, most: int) -> int:
    return next(k for k in range(min(most, number), 0, -1) if number % k == 0)


def _prior_examples(train: Split, config: ExperimentConfig) -> np.ndarray | None:
    """Returns the data that the prior is made from, if it needs any."""
    if not PRIORS[config.prior].takes_data:
        return None
    return subset(train, _PRIOR_EXAMPLES, config.seed).examples(slice(None))


def _pipeline(
    split: Split, config: ExperimentConfig, first_epoch: int = 0, epochs: int = 1
) -> tf.data.Dataset:
    batches = make_pipeline(
        split,
        min(config.batch_size, len(split.x)),
        shuffle=True,
        seed=config.seed,
        first_epoch=first_epoch,
        epochs=epochs,
    )
    # Every worker goes through all batches and takes its part of each.
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = (
        tf.data.experimental.AutoShardPolicy.DATA
    )
    return batches.with_options(options)


def _write_model(vae: DecompositionVAE, files: RunFiles) -> None:
    """Writes model.keras and the SavedModel, in place of those of fewer epochs."""
    # Keras asks for the ending.
    write_atomically(files.model, vae.save)
    if files.saved_model.exists():
        shutil.rmtree(files.saved_model)
    export_saved_model(vae, files.saved_model)


def _title(config: ExperimentConfig) -> str:
    divergence = "" if config.divergence == "none" else f" {config.divergence}"
    return (
        f"{config.dataset}, prior {config.prior}, beta {config.beta:g}, "
        f"alpha {config.alpha:g}{divergence}, {config.epochs} "
        f"epoch{'s' if config.epochs > 1 else ''}"
    )
