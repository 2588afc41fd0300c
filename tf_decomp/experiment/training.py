# SPDX-License-Identifier: Apache-2.0
"""A training run from its settings to its files."""

import contextlib
import dataclasses
import sys
import time
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_decomp.data import Dataset, Split, make_pipeline, subset
from tf_decomp.errors import InputError
from tf_decomp.experiment.build import build_dataset, build_vae, load_model
from tf_decomp.experiment.callbacks import EpochProgress, RunRecorder
from tf_decomp.experiment.choices import DIVERGENCES, PRIORS
from tf_decomp.experiment.config import ExperimentConfig
from tf_decomp.experiment.environment import describe_environment
from tf_decomp.experiment.failure import find_failure
from tf_decomp.experiment.figures import draw_run, missing_plots
from tf_decomp.experiment.run_files import REMEDY, RunFiles, describe_changes, warn
from tf_decomp.experiment.state import RunState, read_recorded_config
from tf_decomp.experiment.strategies import broadcast_number, is_chief, make_strategy
from tf_decomp.export import export_saved_model
from tf_decomp.files import naming, write_json, write_text
from tf_decomp.plots.style import plain_text
from tf_decomp.vae import DecompositionVAE, LinearSchedule
from tf_decomp.vae.whole_set import BatchBias

_LEAST_ROWS = 50
# A row of history.csv costs about 100 ms (Keras's epoch, validation, checkpoint).
_LEAST_STEPS_A_ROW = 100
_STEPS_AN_EXECUTION = 50
_VALIDATION_EXAMPLES = 1_000
_PRIOR_EXAMPLES = 20_000
# What the chief tells the other workers.
_GOES_ON, _FINISHED, _REFUSED = 1, 2, 3


def train(config: ExperimentConfig) -> dict[str, Any]:
    """Trains, evaluates, exports and draws a run; returns what metrics.json holds.

    The same settings on an unfinished run resume it, on a finished one return at
    once, and with more epochs continue it; until it is there, the results are those of
    fewer epochs. What is damaged is said on stderr and written again from the newest
    sound state. So are plots that cannot be drawn; the same settings try them again.

    Args:
        config: The settings.

    Raises:
        InputError: The data or the folder do not fit the settings, or the folder's
            files are damaged beyond repair.
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
            f"{len(dataset.train.x)} examples; lower batch_size"
        )
    _check_shares(dataset, config, strategy.num_replicas_in_sync)
    keras.utils.set_random_seed(config.seed)
    with strategy.scope():
        vae = build_vae(
            config,
            dataset.train.data_shape,
            _prior_examples(dataset.train, config),
            len(dataset.train.x),
        )
        vae.compile(keras.optimizers.Adam(config.learning_rate, amsgrad=True))
        state = RunState(vae, files, config)
    if not is_chief(strategy):
        return _follow_chief(vae, state, dataset, files, config)
    with _announce_end(strategy):
        return _lead_run(vae, state, dataset, files, config, start)


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
                f"examples, too few for {replicas} replicas; choose another batch_size"
            )


def _lead_run(
    vae: DecompositionVAE,
    state: RunState,
    dataset: Dataset,
    files: RunFiles,
    config: ExperimentConfig,
    start: float,
) -> dict[str, Any]:
    """Trains and writes the run's files."""
    _check_folder(files)
    if not config.overwrite and _is_finished(files, config):  # needs no lock
        return _report_finished(files, dataset, config)
    with files.locked():
        if config.overwrite:
            files.clear()
        if not _is_finished(files, config):
            return _train_to_the_end(vae, state, dataset, files, config, start)
    return _report_finished(files, dataset, config)


def _train_to_the_end(
    vae: DecompositionVAE,
    state: RunState,
    dataset: Dataset,
    files: RunFiles,
    config: ExperimentConfig,
    start: float,
) -> dict[str, Any]:
    """Goes on from the newest state, puts the results in place and draws."""
    if dataset.train.note:
        print(dataset.train.note, flush=True)
    config = dataclasses.replace(config, overwrite=False)
    damage = _find_damage(files, config)
    if damage:
        warn(f"{damage}; it is written again from the newest state")
    state.load()
    # Results of fewer epochs keep their settings until all new ones are there.
    if damage or not files.metrics.exists():
        write_text(files.config, config.to_flags())
    broadcast_number(vae.distribute_strategy, _GOES_ON)
    history, results = _fit_and_test(vae, state, dataset, files, config)

    def write(new: RunFiles) -> None:
        with naming(files.model):
            vae.save(new.model)  # Keras asks for the ending
        with naming(files.saved_model, new.saved_model):
            export_saved_model(vae, new.saved_model)
        facts = {**describe_environment(), "seed": config.seed}
        write_json(new.environment, {**facts, "seconds": time.time() - start})
        write_json(new.metrics, results)

    files.check_held()
    files.replace_results(config, write)
    _draw(files, vae, dataset, history, config)
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
    vae: DecompositionVAE,
    state: RunState,
    dataset: Dataset,
    files: RunFiles,
    config: ExperimentConfig,
) -> dict[str, Any]:
    """Computes a further worker's part and writes nothing."""
    strategy = vae.distribute_strategy
    results: dict[str, Any] = {}
    told = broadcast_number(strategy, 0)
    if told == _GOES_ON:
        _, results = _fit_and_test(vae, state, dataset, files, config)
        told = broadcast_number(strategy, 0)  # the chief still writes
    if told == _REFUSED:
        raise InputError(f"{files.root}: the first worker stopped; read its message")
    return results


def _check_folder(files: RunFiles) -> None:
    """Refuses a folder that holds files of a run's names but is no run's."""
    if files.config.exists() or _recorded_config(files):
        return
    strangers = files.existing()
    if strangers:
        raise InputError(
            f"{files.root}: holds {strangers[0].name} but no config.flags, so it is "
            "not a run's folder; choose another output_dir"
        )


def _recorded_config(files: RunFiles) -> ExperimentConfig | None:
    """Returns the settings that results, or else the newest state, were made with."""
    return files.read_recorded_config() or read_recorded_config(files.checkpoints)


def _is_finished(files: RunFiles, config: ExperimentConfig) -> bool:
    """Compares the folder with the settings; whether it holds their results, whole."""
    recorded = _recorded_config(files)
    try:
        earlier = files.read_config()
    except FileNotFoundError:
        if recorded is None:
            return False
        earlier = recorded
    except InputError as error:
        if recorded is None:
            raise InputError(f"{error}; {REMEDY}") from None
        earlier = recorded
    # What is recorded wins, but for states that are of another run.
    if recorded and (files.manifest.exists() or describe_changes(earlier, config)):
        earlier = recorded
    changes = describe_changes(
        earlier, config, *(("epochs",) if config.epochs < earlier.epochs else ())
    )
    if changes:
        raise InputError(
            f"{files.root}: holds a run with other settings ({changes}); use them, "
            "another output_dir or overwrite=true"
        )
    if config.epochs > earlier.epochs or files.replacing.exists():
        return False
    return files.metrics.exists() and _find_damage(files, config) is None


def _find_damage(files: RunFiles, config: ExperimentConfig) -> str | None:
    """Returns what of results, or of an unfinished run's settings, is damaged."""
    if files.metrics.exists() or files.manifest.exists():
        return files.find_damage()
    if _recorded_config(files) is None:
        return None
    try:
        changes = describe_changes(files.read_config(), config)
    except FileNotFoundError:
        return f"{files.config}: missing"
    except InputError as error:
        return str(error)
    return (
        f"{files.config}: is not as the run wrote it ({changes})" if changes else None
    )


def _report_finished(
    files: RunFiles, dataset: Dataset, config: ExperimentConfig
) -> dict[str, Any]:
    """Says so, and draws the plots that are missing."""
    results = files.read_metrics()
    print(f"{files.root}: this run is finished; nothing to do", flush=True)
    if missing_plots(files):
        try:
            with files.locked():
                history = files.read_history(config.epochs)
                _draw(files, load_model(files), dataset, history, config)
        except (InputError, OSError) as error:
            warn(f"{files.plots}: plots are missing and are not drawn ({error})")
    return results


def _draw(
    files: RunFiles,
    vae: DecompositionVAE,
    dataset: Dataset,
    history: list[dict[str, float]],
    config: ExperimentConfig,
) -> None:
    unit = DIVERGENCES[config.divergence].unit
    draw_run(files, vae, dataset.test, history, plain_text(_title(config)), unit)


def _fit_and_test(
    vae: DecompositionVAE,
    state: RunState,
    dataset: Dataset,
    files: RunFiles,
    config: ExperimentConfig,
) -> tuple[list[dict[str, float]], dict[str, Any]]:
    """Returns all history rows and what metrics.json holds."""
    history = _fit(vae, state, dataset, files, config)
    test = _pipeline(dataset.test, config)
    estimates = vae.evaluate_with_errors(test, verbose=0)
    return history, {f"test/{name}": e._asdict() for name, e in estimates.items()}


def _fit(
    vae: DecompositionVAE,
    state: RunState,
    dataset: Dataset,
    files: RunFiles,
    config: ExperimentConfig,
) -> list[dict[str, float]]:
    """Trains from the state that was loaded to the last epoch; returns all rows."""
    first, steps = state.share(), -(-len(dataset.train.x) // config.batch_size)
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
        schedules = []
        if config.divergence == "kl_capacity" and config.capacity_epochs:
            rise = (vae.divergence.capacity, 0.0, config.capacity)
            schedules = [LinearSchedule(*rise, config.capacity_epochs, first, a_row)]
        validation = dataset.test._replace(x=dataset.test.x[:_VALIDATION_EXAMPLES])
        vae.fit(
            _pipeline(dataset.train, config, first, epochs),
            epochs=epochs // a_row,
            steps_per_epoch=a_row * steps,
            shuffle=False,
            validation_data=_pipeline(validation, config),
            callbacks=[*schedules, recorder, progress, bias],
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


def _title(config: ExperimentConfig) -> str:
    divergence = "" if config.divergence == "none" else f" {config.divergence}"
    return (
        f"{config.dataset}, prior {config.prior}, beta {config.beta:g}, "
        f"alpha {config.alpha:g}{divergence}, {config.epochs} "
        f"epoch{'s' if config.epochs > 1 else ''}"
    )
