# SPDX-License-Identifier: Apache-2.0
"""More epochs for a finished run: its results are kept until all new ones are there."""

import dataclasses
import itertools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from runs import (
    Killed,
    contents,
    copy_of,
    finished,
    kill_at,
    plain_operations,
    slow_behind,
    tree,
)

from tf_decomp import ExperimentConfig, train
from tf_decomp.errors import InputError
from tf_decomp.experiment import training
from tf_decomp.experiment.finished import load_finished_run
from tf_decomp.experiment.run_files import RunFiles
from tf_decomp.files import write_text

pytestmark = [
    # Keras asks NumPy to convert TensorFlow's variables, which do not know `copy` yet.
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't"),
    pytest.mark.filterwarnings("ignore:Even though the `tf.config"),
]


@pytest.fixture(autouse=True)
def _plain() -> Iterator[None]:
    with plain_operations():
        yield


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> ExperimentConfig:
    """A finished run of 2 epochs, evaluated and drawn (so it seems)."""
    config = finished(tmp_path_factory, epochs=2)
    pretend_evaluated(RunFiles(config.output_dir))
    return config


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> ExperimentConfig:
    """A finished run of 3 epochs, without a break."""
    return finished(tmp_path_factory, epochs=3)


def pretend_evaluated(files: RunFiles) -> None:
    for path in (files.evaluation, files.report, files.plots / "latents.png"):
        write_text(path, "of 2 epochs")


def results_of(files: RunFiles) -> dict[str, bytes | None]:
    """Returns the files that belong together."""
    names = ("metrics", "model", "saved_model", "config", "evaluation", "report")
    kept = {str(getattr(files, name).relative_to(files.root)) for name in names}
    return {
        name: content
        for name, content in contents(files.root).items()
        if any(name == own or name.startswith(f"{own}/") for own in kept)
    }


def die_at_change(number: int, patch: pytest.MonkeyPatch) -> list[str]:
    """Kills at the n-th file that is renamed or removed, and lets nothing be undone.

    Returns what was renamed and removed, to which the death is added.
    """
    done: list[str] = []

    def counted(change: Callable[..., Any]) -> Callable[..., Any]:
        def perform(*arguments: Any, **keywords: Any) -> Any:
            if len(done) >= number:
                done.append("dead")
                raise Killed
            done.append(str(arguments[0]))
            return change(*arguments, **keywords)

        return perform

    patch.setattr(Path, "replace", counted(Path.replace))
    patch.setattr(Path, "unlink", counted(Path.unlink))
    patch.setattr("tf_decomp.files.shutil.rmtree", counted(shutil.rmtree))
    return done


def check_killed_continuation(
    two: ExperimentConfig, three: ExperimentConfig, folder: Path, number: int
) -> bool:
    """Kills at a change, looks at what is left, and continues; whether it died."""
    config = copy_of(two, folder, epochs=3)
    files, whole = RunFiles(folder), RunFiles(three.output_dir)
    before = results_of(files)
    with pytest.MonkeyPatch.context() as patch:
        done = die_at_change(number, patch)
        try:
            train(config)
        except Killed:
            assert done[-1] == "dead"
        else:
            return False
    is_old = results_of(files) == before and not files.replacing.exists()
    if is_old:
        # The run of two epochs is as finished as it was.
        found = load_finished_run(files).config.epochs
        assert found == 2
        train(dataclasses.replace(config, epochs=2))
        assert results_of(files) == before
    else:
        # The reader puts the complete new ones in place.
        assert load_finished_run(files).config.epochs == 3
        assert files.metrics.read_bytes() == whole.metrics.read_bytes()
    train(config)
    assert files.find_damage() is None
    assert files.metrics.read_bytes() == whole.metrics.read_bytes()
    assert files.history.read_bytes() == whole.history.read_bytes()
    assert not files.evaluation.exists()
    assert not files.report.exists()
    assert not (files.plots / "latents.png").exists()
    left = {p.name for p in files.root.rglob(".*")} - {".lock"}
    assert not left
    return True


@pytest.mark.slow
def test_a_continuation_killed_at_any_change(
    two: ExperimentConfig, three: ExperimentConfig, tmp_path: Path
) -> None:
    died = 0
    for number in itertools.count():
        if not check_killed_continuation(two, three, tmp_path / str(number), number):
            break
        died += 1
        shutil.rmtree(tmp_path / str(number))
    assert died > 20


@pytest.mark.parametrize(
    "what", slow_behind(1, ["model.keras", "manifest.json", "evaluation.json"])
)
def test_a_continuation_killed_while_it_replaces(
    what: str, two: ExperimentConfig, three: ExperimentConfig, tmp_path: Path
) -> None:
    """The shorter one: dies just before a file takes its place or goes."""
    config = copy_of(two, tmp_path / "run", epochs=3)
    files = RunFiles(config.output_dir)
    replace, unlink = Path.replace, Path.unlink

    def killed(self: Path, *arguments: Any, **keywords: Any) -> Any:
        if files.root / what in (self, *arguments):
            raise Killed
        return (replace if arguments else unlink)(self, *arguments, **keywords)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        patch.setattr(Path, "unlink", killed)
        with pytest.raises(Killed):
            train(config)
    assert load_finished_run(files).config.epochs == 3
    assert files.metrics.read_bytes() == RunFiles(three.output_dir).metrics.read_bytes()
    assert not files.evaluation.exists()
    assert not files.replacing.exists()
    before = results_of(files)
    train(config)
    assert results_of(files) == before


def test_results_of_fewer_epochs_are_there_meanwhile(
    two: ExperimentConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = copy_of(two, tmp_path / "run", epochs=9)
    files = RunFiles(config.output_dir)
    before = results_of(files)
    seen = []

    def look(*arguments: Any) -> Any:
        """While the lock is held."""
        seen.append(load_finished_run(files).config.epochs)
        train(dataclasses.replace(config, epochs=2))
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(training, "export_saved_model", look)
    with pytest.raises(OSError, match="saved_model"):
        train(config)
    assert seen == [2]
    assert "nothing to do" in capsys.readouterr().out
    assert results_of(files) == before
    assert [row["epoch"] for row in files.read_history(99)] == [*range(1, 10)]


def test_a_continuation_killed_before_its_first_state(
    two: ExperimentConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = copy_of(two, tmp_path / "run", epochs=3)
    files = RunFiles(config.output_dir)
    before = results_of(files)
    kill_at(monkeypatch, 3)
    with pytest.raises(Killed):
        train(config)
    assert results_of(files) == before
    assert load_finished_run(files).config.epochs == 2


def test_an_evaluation_of_fewer_epochs_goes_with_its_model(
    two: ExperimentConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = copy_of(two, tmp_path / "run", epochs=3)
    files = RunFiles(config.output_dir)
    train(config)
    assert "evaluate again" in capsys.readouterr().out
    assert not files.evaluation.exists()
    assert not files.report.exists()
    # What is only written again is of the same model.
    pretend_evaluated(files)
    shutil.rmtree(files.saved_model)
    train(config)
    assert files.saved_model.exists()
    assert files.evaluation.exists()
    assert files.report.exists()


def test_a_finished_run_needs_no_lock(
    two: ExperimentConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that its folder may be read-only, or another process may continue it."""
    config = copy_of(two, tmp_path / "run")
    for name in ("training_curves", "reconstructions", "samples"):
        write_text(RunFiles(config.output_dir).plots / f"{name}.png", name)
    before = tree(tmp_path)

    def locked(self: RunFiles) -> None:
        raise AssertionError("locked")

    monkeypatch.setattr(RunFiles, "locked", locked)
    train(config)
    with pytest.raises(InputError, match="other settings"):
        train(dataclasses.replace(config, beta=3.0))
    load_finished_run(RunFiles(config.output_dir))
    assert tree(tmp_path) == before
