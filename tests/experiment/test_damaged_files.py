# SPDX-License-Identifier: Apache-2.0
"""Files of a run that are damaged, missing or of another run: said, and mended."""

import dataclasses
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from runs import (
    Killed,
    contents,
    copy_of,
    damages,
    finished,
    kill_at,
    one_line,
    plain_operations,
    slow_behind,
    small,
    tree,
)

from tf_decomp import ExperimentConfig, InputError, train
from tf_decomp.experiment.finished import load_finished_run
from tf_decomp.experiment.run_files import RunFiles
from tf_decomp.files import write_text

EARLIER = Path(__file__).parents[1] / "fixtures" / "version_0_1_0" / "run"

pytestmark = [
    # Keras asks NumPy to convert TensorFlow's variables, which do not know `copy` yet.
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't"),
    pytest.mark.filterwarnings("ignore:Even though the `tf.config"),
]

Damage = Callable[[Path], None]


def delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def empty(path: Path) -> None:
    path.write_bytes(b"")


def cut(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def garble(path: Path) -> None:
    """Changes a byte in the middle to one that is no text."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def alter(path: Path) -> None:
    """Changes a digit: the file is as well-formed as before."""
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("1", "2"), encoding="utf-8")


@pytest.fixture(autouse=True)
def _plain() -> Iterator[None]:
    with plain_operations():
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> ExperimentConfig:
    """A finished run of 4 epochs, a row and a state for each."""
    return finished(tmp_path_factory)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> RunFiles:
    """A finished run of another seed, whose files fit those of `whole`."""
    return RunFiles(finished(tmp_path_factory, seed=1).output_dir)


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> ExperimentConfig:
    """A run with states of epochs 2 and 3, killed before that of the fourth."""
    config = small(tmp_path_factory.mktemp("runs") / "killed")
    with pytest.MonkeyPatch.context() as patch, plain_operations():
        kill_at(patch, 4)
        with pytest.raises(Killed):
            train(config)
    return config


def assert_same_results(files: RunFiles, whole: ExperimentConfig) -> None:
    expected = RunFiles(whole.output_dir)
    assert files.history.read_bytes() == expected.history.read_bytes()
    assert files.metrics.read_bytes() == expected.metrics.read_bytes()
    assert files.find_damage() is None
    assert files.read_config().epochs == whole.epochs
    load_finished_run(files)


# -- a finished run -----------------------------------------------------------------

OF_RESULTS = [
    ("model.keras", [delete, empty, cut, garble]),
    ("metrics.json", [delete, empty, cut, garble, alter]),
    ("config.flags", [delete, empty, cut, garble, alter]),
    ("history.csv", [delete, empty, cut, garble, alter]),
    ("saved_model/1/saved_model.pb", [delete, garble]),
    ("saved_model", [delete]),
    ("environment.json", [delete, cut]),
    ("manifest.json", [empty, cut, garble]),
]
FAST = [("model.keras", delete), ("history.csv", cut), ("config.flags", empty)]
# An evaluation and an export need not the others.
NEEDED = ("model.keras", "metrics.json", "config.flags", "manifest.json")


@pytest.mark.parametrize(
    ("name", "damage"),
    damages(OF_RESULTS, lambda name, damage: (name, damage) in FAST),
)
def test_damaged_results_are_said_and_written_again(
    name: str,
    damage: Damage,
    whole: ExperimentConfig,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = copy_of(whole, tmp_path / "run")
    files = RunFiles(config.output_dir)
    damage(files.root / name)
    before = tree(tmp_path)
    if name in NEEDED:
        with pytest.raises(InputError) as caught:
            load_finished_run(files)
        one_line(caught, str(files.root / name), "overwrite=true")
        assert tree(tmp_path) == before
    train(config)
    err = capsys.readouterr().err
    assert str(files.root / name) in err
    assert err.count("\n") <= 2  # history.csv is written again before the results
    assert_same_results(files, whole)
    after = tree(tmp_path)
    train(config)
    assert "nothing to do" in capsys.readouterr().out
    assert tree(tmp_path) == after


@pytest.mark.parametrize(
    "name", slow_behind(1, ["model.keras", "metrics.json", "config.flags"])
)
def test_a_file_of_another_run_is_not_believed(
    name: str,
    whole: ExperimentConfig,
    other: RunFiles,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = copy_of(whole, tmp_path / "run")
    files = RunFiles(config.output_dir)
    shutil.copy(other.root / name, files.root / name)
    with pytest.raises(InputError) as caught:
        load_finished_run(files)
    one_line(caught, name)
    train(config)
    assert name in capsys.readouterr().err
    assert_same_results(files, whole)


def test_damaged_results_without_a_state_are_kept(
    whole: ExperimentConfig, tmp_path: Path
) -> None:
    config = copy_of(whole, tmp_path / "run")
    files = RunFiles(config.output_dir)
    shutil.rmtree(files.checkpoints)
    train(config)  # nothing is damaged
    files.model.unlink()
    before = contents(tmp_path)
    with pytest.raises(InputError, match="holds no state") as caught:
        train(config)
    one_line(caught, "overwrite=true")
    assert contents(tmp_path) == before


@pytest.mark.parametrize("damage", [empty, cut, garble])
def test_config_of_an_earlier_version(damage: Damage, tmp_path: Path) -> None:
    """Its runs have no digests; an empty file is not a file of defaults."""
    shutil.copytree(EARLIER, tmp_path / "run")
    files = RunFiles(tmp_path / "run")
    config = dataclasses.replace(files.read_config(), output_dir=str(files.root))
    damage(files.config)
    before = contents(tmp_path)
    with pytest.raises(InputError) as caught:
        train(config)
    one_line(caught, str(files.config), "overwrite=true")
    assert contents(tmp_path) == before


# -- the states of an unfinished run ------------------------------------------------

DATA = "ckpt-3.data-00000-of-00001"
OF_A_STATE = [
    ("ckpt-3.index", [delete, empty, cut, garble]),
    (DATA, [delete, empty, cut, garble]),
    ("ckpt-3.json", [empty, cut, garble]),
]
SILENT = [("checkpoint", delete), ("ckpt-3.json", delete), ("checkpoint", garble)]


@pytest.mark.parametrize(
    ("name", "damage"),
    damages(OF_A_STATE, lambda name, damage: (name, damage) == (DATA, garble)),
)
def test_a_damaged_state_gives_way_to_the_one_before(
    name: str,
    damage: Damage,
    killed: ExperimentConfig,
    whole: ExperimentConfig,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = copy_of(killed, tmp_path / "run")
    files = RunFiles(config.output_dir)
    damage(files.checkpoints / name)
    train(config)
    out, err = capsys.readouterr()
    assert err.count("\n") == 1
    assert str(files.checkpoints / "ckpt-3") in err
    assert "going on from the state of epoch 2" in err
    assert "Epoch 3 of 4" in out
    assert_same_results(files, whole)


@pytest.mark.parametrize(
    ("name", "damage"),
    slow_behind(1, SILENT),
    ids=lambda value: getattr(value, "__name__", value),
)
def test_what_a_state_does_not_need_may_be_gone(
    name: str,
    damage: Damage,
    killed: ExperimentConfig,
    whole: ExperimentConfig,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = copy_of(killed, tmp_path / "run")
    damage(RunFiles(config.output_dir).checkpoints / name)
    train(config)
    out, err = capsys.readouterr()
    assert not err
    assert "Epoch 4 of 4" in out
    assert "Epoch 3 of 4" not in out
    assert_same_results(RunFiles(config.output_dir), whole)


def of_another_run(files: RunFiles, other: RunFiles) -> None:
    """Puts states of another run in the places of the run's own."""
    for epoch in (2, 3):
        for path in other.checkpoints.glob("ckpt-4.*"):
            name = path.name.replace("ckpt-4", f"ckpt-{epoch}")
            shutil.copy(path, files.checkpoints / name)


@pytest.mark.parametrize(
    "kind", slow_behind(1, ["folder", "other", "data", "index", "json"])
)
def test_without_a_sound_state_nothing_starts_anew(
    kind: str, killed: ExperimentConfig, other: RunFiles, tmp_path: Path
) -> None:
    config = copy_of(killed, tmp_path / "run")
    files = RunFiles(config.output_dir)
    if kind == "folder":
        shutil.rmtree(files.checkpoints)
    elif kind == "other":
        of_another_run(files, other)
    else:
        for path in files.checkpoints.glob(f"*.{kind}*"):
            cut(path)
    before = contents(tmp_path)
    with pytest.raises(InputError) as caught:
        train(config)
    one_line(caught, str(files.checkpoints), "overwrite=true")
    assert contents(tmp_path) == before
    train(dataclasses.replace(config, overwrite=True))


@pytest.mark.parametrize("damage", slow_behind(1, [delete, cut, garble, alter]))
def test_history_is_written_again_from_the_state(
    damage: Damage,
    killed: ExperimentConfig,
    whole: ExperimentConfig,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = copy_of(killed, tmp_path / "run")
    files = RunFiles(config.output_dir)
    damage(files.history)
    train(config)
    assert str(files.history) in capsys.readouterr().err
    assert_same_results(files, whole)


@pytest.mark.parametrize("damage", slow_behind(1, [empty, delete, cut, garble, alter]))
def test_config_of_an_unfinished_run_is_written_again(
    damage: Damage,
    killed: ExperimentConfig,
    whole: ExperimentConfig,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = copy_of(killed, tmp_path / "run")
    files = RunFiles(config.output_dir)
    damage(files.config)
    with pytest.raises(InputError, match="beta=1.0 is now 3.0"):
        train(dataclasses.replace(config, beta=3.0))
    train(config)
    assert str(files.config) in capsys.readouterr().err
    assert_same_results(files, whole)


def test_fewer_epochs_than_trained_are_refused(
    whole: ExperimentConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = copy_of(whole, tmp_path / "run")
    kill_at(monkeypatch, 8)
    with pytest.raises(Killed):
        train(dataclasses.replace(config, epochs=9))
    with pytest.raises(InputError, match="trained 7 epochs") as caught:
        train(dataclasses.replace(config, epochs=5))
    one_line(caught, "epochs=7")


def test_a_row_of_an_earlier_version_must_be_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its states do not hold the history: the newest with its row is taken."""
    shutil.copytree(EARLIER, tmp_path / "run")
    files = RunFiles(tmp_path / "run")
    config = dataclasses.replace(
        files.read_config(), output_dir=str(files.root), epochs=5
    )
    lines = files.history.read_text(encoding="utf-8").splitlines(keepends=True)
    write_text(files.history, "".join(lines[:-1]))
    train(config)
    err = capsys.readouterr().err
    assert "has no row of epoch 4; going on from the state of epoch 3" in err
    assert [row["epoch"] for row in files.read_history(9)] == [1, 2, 3, 4, 5]
