# SPDX-License-Identifier: Apache-2.0
"""Command lines: flags that arrive, mistakes that end with one line, quiet start-up.

Most command lines run inside this process, as `python bin/train.py` would run them.
"""

import dataclasses
import importlib
import logging
import os
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import keras
import numpy as np
import pytest
import tensorflow as tf
from absl import flags
from absl import logging as absl_logging
from processes import BIN, ROOT, TRAIN, finish, run_python, start_python, wait_until
from runs import tree
from tensorflow_probability import distributions as tfd

from tf_decomp import (
    ExperimentConfig,
    StudentTPrior,
    build_vae,
    evaluation,
    startup,
)
from tf_decomp.evaluation.report.settings import describe_training, tabulate_settings
from tf_decomp.experiment import model_card
from tf_decomp.experiment.choices import CHOICES, Choice
from tf_decomp.experiment.config import DEFAULTS, SUBJECTS
from tf_decomp.likelihoods import LaplaceLikelihood
from tf_decomp.posteriors import LaplacePosterior
from tf_decomp.programs import train as train_program

CONFIGS = sorted((ROOT / "configs").glob("*.flags"))
PROGRAMS = sorted(path.name for path in BIN.glob("*.py"))
OUR_FLAGS = {
    *ExperimentConfig.__dataclass_fields__,
    *(
        "config",
        "objective",
        "run_dir",
        "export_dir",
        "codes",
        "compare",
        "explorer",
        "metrics",
    ),
    "format",
}
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Result(NamedTuple):
    status: Any
    out: str
    err: str


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[Any]:
    """Runs programs of bin/ in this process, in an empty working directory."""
    monkeypatch.chdir(tmp_path)
    handlers, tf_level = logging.root.handlers[:], tf.get_logger().level
    on_signals = [signal.getsignal(number) for number in SIGNALS]
    verbosity = absl_logging.get_verbosity()

    def run_here(program: str, *arguments: str) -> Result:
        monkeypatch.setattr(sys, "argv", [f"bin/{program}", *arguments])
        capfd.readouterr()
        try:
            with pytest.raises(SystemExit) as stopped:
                runpy.run_path(str(BIN / program), run_name="__main__")
        finally:
            for number, handler in zip(SIGNALS, on_signals, strict=True):
                signal.signal(number, handler)
            for name in OUR_FLAGS & set(flags.FLAGS):
                delattr(flags.FLAGS, name)
            flags.FLAGS.unparse_flags()
        return Result(stopped.value.code, *capfd.readouterr())

    yield run_here
    logging.root.handlers[:] = handlers
    absl_logging.set_verbosity(verbosity)
    tf.get_logger().setLevel(tf_level)


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[ExperimentConfig]:
    """Replaces training; returns the list of settings that reached it."""
    configs: list[ExperimentConfig] = []

    def train(config: ExperimentConfig) -> dict[str, Any]:
        configs.append(config)
        return {"test/elbo": {"value": -1.25, "standard_error": 0.5, "n": 400}}

    monkeypatch.setattr(train_program, "train", train)
    return configs


def assert_one_line(result: Result, program: str, *named: str) -> None:
    assert result.status == 1, result
    assert result.err.endswith("\n")
    lines = result.err.splitlines()
    assert len(lines) == 1, result.err
    assert lines[0].startswith(f"{program}: "), lines
    for part in named:
        assert part in lines[0], lines


# -- flags ------------------------------------------------------------------------


def test_every_setting_is_a_flag_with_its_default(
    command: Any, trained: list[ExperimentConfig]
) -> None:
    result = command("train.py")
    assert result.status in (None, 0), result
    assert trained == [ExperimentConfig()]
    assert "test/elbo" in result.out
    assert "-1.2500 +- 0.5000 (standard error, n = 400)" in result.out
    assert "files: runs/run" in result.out
    assert result.err == ""


def test_later_flags_win_over_the_flagfile(
    command: Any, trained: list[ExperimentConfig], tmp_path: Path
) -> None:
    (tmp_path / "inner.flags").write_text("--epochs=3\n--beta=0.5\n")
    (tmp_path / "mine.flags").write_text("# mine\n\n--flagfile=inner.flags\n--df=7\n")
    arguments = ("--flagfile=mine.flags", "--epochs=9", "--hidden=64,32", "--overwrite")
    for order in (arguments, ("--epochs=9", "--flagfile=mine.flags")):
        assert command("train.py", *order).status in (None, 0)
    assert trained == [
        ExperimentConfig(beta=0.5, df=7, epochs=9, hidden=(64, 32), overwrite=True),
        ExperimentConfig(beta=0.5, df=7, epochs=3),
    ]


def test_an_objective_sets_what_no_later_flag_does(
    command: Any, trained: list[ExperimentConfig], tmp_path: Path
) -> None:
    (tmp_path / "mine.flags").write_text("--beta=1\n--epochs=3\n")
    said = command("train.py", "--objective=wae_mmd").out.splitlines()
    assert "WAE-MMD with alpha 10, beta 0" in said[0]
    assert "default" not in said[1]
    for arguments in (
        ("--objective", "beta_tcvae", "--alpha=2"),
        ("--alpha=2", "--objective=beta_tcvae"),
        ("--flagfile=mine.flags", "--objective=beta_vae"),
        ("--objective=beta_vae", "--flagfile=mine.flags"),
        # Its own divergence, alpha and beta do not stay.
        ("--config=pinwheel", "--objective=beta_vae"),
    ):
        assert command("train.py", *arguments).status in (None, 0)
    correlated = ExperimentConfig(
        divergence="total_correlation_weighted", alpha=2.0, beta=1.0
    )
    pinwheel = trained.pop()
    assert (pinwheel.prior, pinwheel.divergence) == ("normal_mixture", "none")
    assert (pinwheel.alpha, pinwheel.beta) == (0.0, 4.0)
    assert trained == [
        ExperimentConfig(divergence="joint_mmd", alpha=10.0, beta=0.0),
        correlated,
        dataclasses.replace(correlated, alpha=5.0),
        ExperimentConfig(beta=4.0, epochs=3),
        ExperimentConfig(beta=1.0, epochs=3),
    ]


SETTINGS: list[dict[str, Any]] = [
    {"hidden": (), "df": float("inf"), "batch_norm": True, "learning_rate": 5e-4},
    {"hidden": (64, 32), "output_dir": "a folder/with = and, comma", "alpha": 0.0},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=["1", "2"])
def test_flagfile_of_a_run_gives_the_same_settings(
    command: Any,
    trained: list[ExperimentConfig],
    tmp_path: Path,
    settings: dict[str, Any],
) -> None:
    config = ExperimentConfig(**settings)
    (tmp_path / "config.flags").write_text(config.to_flags())
    assert command("train.py", "--flagfile=config.flags").status in (None, 0)
    assert trained == [config]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_shipped_config(
    command: Any, trained: list[ExperimentConfig], path: Path
) -> None:
    assert command("train.py", f"--flagfile={path}").status in (None, 0)
    assert trained == [ExperimentConfig.from_flags(path.read_text(encoding="utf-8"))]


def test_flagfiles_of_other_editors(
    command: Any, trained: list[ExperimentConfig], tmp_path: Path
) -> None:
    """A byte-order mark, ends of lines of Windows, comments, both forms, `~`."""
    text = "\ufeff--epochs=3\r\n  # mine\r\n// too\r\n\r\n  --beta=0.5  \r\n"
    (tmp_path / "windows.flags").write_bytes(text.encode())
    (tmp_path / "outer.flags").write_text("--df=7\n--flagfile=windows.flags\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path))
        for arguments in (
            ["--flagfile=outer.flags"],
            ["--flagfile", "outer.flags"],
            ["-flagfile=~/outer.flags"],
        ):
            assert command("train.py", *arguments).status in (None, 0)
    assert trained == [ExperimentConfig(epochs=3, beta=0.5, df=7)] * 3


def test_a_run_says_first_what_it_does(
    command: Any, trained: list[ExperimentConfig]
) -> None:
    lines = command("train.py").out.splitlines()
    assert lines[0] == (
        "pinwheel: normal prior, alpha 0, beta 1, 500 epochs in batches of 400; "
        "files go to runs/run"
    )
    assert "defaults" in lines[1]
    assert "--config=pinwheel" in lines[1]
    lines = command("train.py", "--epochs=1").out.splitlines()
    assert "1 epoch in batches" in lines[0]
    assert "default" not in lines[1]


def test_help_shows_every_setting_by_subject(command: Any) -> None:
    result = command("train.py", "--help")
    assert result.status is None
    assert result.err == ""
    lines = result.out.splitlines()
    assert max(map(len, lines)) <= 88
    headings = [line for line in lines[1:-1] if line and not line.startswith(" ")]
    assert headings == ["Settings of an experiment", *SUBJECTS]
    flat = " ".join(result.out.split())
    for name, field in ExperimentConfig.__dataclass_fields__.items():
        usage = f"  --[no]{name} " if field.default is False else f"  --{name}="
        assert [usage in line for line in lines].count(True) == 1, name
        assert " ".join(field.metadata["help"].split()) in flat.replace("- ", "-")
    assert sorted(sum(SUBJECTS.values(), ())) == sorted(DEFAULTS)


def test_help_full_names_every_flag(command: Any) -> None:
    result = command("train.py", "--helpfull")
    for name, field in ExperimentConfig.__dataclass_fields__.items():
        assert f"--{name}:" in result.out or f"--[no]{name}:" in result.out
        assert field.metadata["help"].split()[0] in result.out
    assert result.err == ""


@pytest.mark.parametrize("program", PROGRAMS)
def test_help_that_nobody_reads_to_its_end(program: str) -> None:
    command = f"{sys.executable} {BIN / program} --help | true"
    result = subprocess.run(
        ["bash", "-c", f"{command}; echo ${{PIPESTATUS[0]}}"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (result.stdout, result.stderr) == ("0\n", "")


@pytest.mark.parametrize(
    "flag", ["--config=pinwheel", "--flagfile=pinwheel", "-config pinwheel"]
)
def test_shipped_configs_have_names(
    command: Any, trained: list[ExperimentConfig], flag: str
) -> None:
    command("train.py", *flag.split(), "--alpha=0")
    shipped = (ROOT / "configs/pinwheel.flags").read_text()
    (config,) = trained
    assert config == dataclasses.replace(ExperimentConfig.from_flags(shipped), alpha=0)


def test_a_file_of_the_users_own_comes_before_a_shipped_one(
    command: Any, trained: list[ExperimentConfig]
) -> None:
    Path("pinwheel").write_text("--epochs=3\n")
    command("train.py", "--flagfile=pinwheel")
    command("train.py", "--config=pinwheel")
    assert [config.epochs for config in trained] == [3, 500]


@pytest.mark.parametrize("name", ["", "pinwheels", "configs/pinwheel.flags", "../x"])
def test_unknown_configs_are_one_line(command: Any, name: str) -> None:
    result = command("train.py", f"--config={name}")
    known = ("dsprites", "fashion_mnist", "pinwheel", "--flagfile")
    assert_one_line(result, "train.py", "--config", repr(name), *known)


# -- choices ----------------------------------------------------------------------


class WidePrior(StudentTPrior):
    """A prior of a user's own."""


@keras.saving.register_keras_serializable("tests")
class WidePosterior(LaplacePosterior):
    """A posterior of a user's own."""

    def _family(self, loc: tf.Tensor, scale: tf.Tensor) -> tfd.Distribution:
        return super()._family(loc, 2 * scale)


@keras.saving.register_keras_serializable("tests")
class WideLikelihood(LaplaceLikelihood):
    """A likelihood of a user's own."""


@keras.saving.register_keras_serializable("tests")
def gap_of_means(
    posterior: tfd.Distribution, prior: tfd.Distribution, x: tf.Tensor, y: tf.Tensor
) -> tf.Tensor:
    """A divergence of a user's own."""
    return tf.reduce_sum((tf.reduce_mean(x, 0) - tf.reduce_mean(y, 0)) ** 2)


ROWS = {
    "prior": Choice(
        "wide priors ({df})",
        lambda config, *_: WidePrior(2, config.df),
        "wide",
        ("df",),
    ),
    "posterior": Choice("wide", lambda config, *_: "tests>WidePosterior"),
    "likelihood": Choice("broad", lambda config, *_: "tests>WideLikelihood"),
    "divergence": Choice("the gap of means", lambda config, *_: gap_of_means),
}


# Keras asks NumPy to convert TensorFlow's variables, which do not know `copy` yet.
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't")
def test_a_row_is_all_that_a_new_choice_needs(
    command: Any,
    trained: list[ExperimentConfig],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for setting, row in ROWS.items():
        monkeypatch.setitem(CHOICES[setting], "wide", row)
    arguments = [f"--{setting}=wide" for setting in ROWS]
    command("train.py", *arguments, "--alpha=2", "--df=7", "--hidden=4", "--seed=1")
    (config,) = trained
    vae = build_vae(config, [3])
    vae.compile("adam", run_eagerly=True)
    x = np.random.default_rng(0).normal(size=(8, 3)).astype("float32")
    history = vae.fit(x, batch_size=8, verbose=0).history
    assert np.isfinite(history["divergence"]).all()
    vae.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras", {"WidePrior": WidePrior})
    np.testing.assert_array_equal(again.encode(x).stddev(), vae.encode(x).stddev())
    assert isinstance(again.prior, WidePrior)
    assert again.divergence is gap_of_means
    words = describe_training(config)
    for said in ("wide priors (7)", "a wide encoder", "a broad likelihood", "the gap"):
        assert said in words
    tables = tabulate_settings(config)
    assert ("df", "7.0", True) in tables["Prior p(z)"]
    assert ("gamma", "0.8", False) in tables["Prior p(z)"]
    assert_one_line(command("train.py", "--prior=wider"), "train.py", ", wide; ")


# -- mistakes ---------------------------------------------------------------------

# Values that a setting refuses are of test_config.py, data of tests/data.
BAD: list[tuple[str, tuple[str, ...]]] = [
    ("--prior=gamma", ("prior", "gamma", "student_t")),
    ("--dataset=mnist2", ("dataset", "mnist2", "pinwheel")),
    ("--dataset=npz:", ("dataset", "npz:")),
    ("--strategy=multi_worker", ("strategy", "multi_worker")),
    ("--prior=normal_pca --latent_dim=5", ("latent_dim", "5")),
    ("--batch_size=401", ("batch_size", "401", "400")),
    ("--max_train_examples=99 --batch_size=100", ("batch_size", "100", "99")),
    ("--learning_rate=nan", ("learning_rate", "nan")),
    ("--image_size=32", ("image_size", "32")),
    ("stray", ("stray",)),
    ("--epochs 5 stray", ("stray",)),
    ("--epoch=5", ("epoch",)),
    ("--epochs=five", ("epochs", "five")),
    ("--epochs=2.5", ("epochs", "2.5")),
    ("--beta=high", ("beta", "high")),
    ("--hidden=abc", ("hidden", "abc")),
    ("--hidden=100,1.5", ("hidden must hold whole numbers", "'100,1.5'")),
    ("--hidden=100,", ("hidden", "'100,'")),
    ("--overwrite=perhaps", ("overwrite", "perhaps")),
    ("--flagfile=missing.flags", ("missing.flags",)),
    ("--flagfile=wrong.flags", ("epoch",)),
    ("--dataset=fashion_mnist --data_dir=empty", ("empty", "Debian")),
    ("--dataset=fashion_mnist --data_dir=missing", ("missing", "Debian")),
    ("--dataset=npz:missing.npz", ("missing.npz",)),
    ("--dataset=npz:empty", ("empty",)),
    ("--dataset=npz:text.npz", ("text.npz",)),
    ("--dataset=npz:words.npz", ("words.npz", "x_train", "dtype")),
    ("--dataset=npz:odd_image.npz --batch_size=5", ("5",)),
    ("--hidden=1000000000", ("hidden", "1000000000", "100000")),
    ("--hidden=100000,100000", ("hidden=100000,100000", "1e+10 weights")),
    ("--latent_dim=2147483648", ("latent_dim", "10000", "2147483648")),
    ("--image_size=5000000", ("image_size", "4096", "5000000")),
    ("--batch_size=1000000000000", ("batch_size", "2147483647")),
    ("--seed=9223372036854775808", ("seed", "2147483647")),
    ("--epochs=1e3", ("epochs", "1e3")),
    ("--learning_rate=1e-46", ("learning_rate", "1e-46", "1.18e-38")),
    ("--beta=1e39", ("beta", "1e+39", "3.4e+38")),
    ("--df=1e400", ("df", "1e400")),
    ("--output_dir=", ("output_dir",)),
    ("--output_dir=~nobody_of_this_name/run", ("output_dir", "no such user")),
    ("--output_dir=run\udcff", ("output_dir", "UTF-8", "\\udcff")),
    ("--flagfile", ("flagfile",)),
    ("--flagfile=", ("flagfile",)),
    ("--flagfile=empty", ("flagfile empty", "folder")),
    ("--flagfile=pipe", ("flagfile pipe", "pipe")),
    ("--flagfile=/dev/zero", ("flagfile /dev/zero", "device")),
    ("--flagfile=latin.flags", ("flagfile latin.flags", "UTF-8")),
    ("--flagfile=utf16.flags", ("flagfile utf16.flags", "UTF-8")),
    ("--flagfile=nul.flags", ("flagfile nul.flags", "NUL")),
    ("--flagfile=large.flags", ("flagfile large.flags", "1048577 bytes")),
    ("--flagfile=itself.flags", ("itself.flags", "includes itself")),
    ("--flagfile=one.flags", ("one.flags", "includes itself")),
    ("--flagfile=spaces.flags", ("epochs",)),
    ("--objective=vae", ("objective", "'vae'", "beta_tcvae")),
    (
        "--objective=wae_mmd --divergence=inclusive_kl",
        ("objective=wae_mmd", "joint_mmd", "'inclusive_kl'"),
    ),
    ("--output_dir=text.npz", ("text.npz",)),
    ("--output_dir=text.npz/run", ("text.npz",)),
]


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.npz").write_text("no archive\n")
    (tmp_path / "wrong.flags").write_text("--epoch=5\n")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "latin.flags").write_bytes("--output_dir=Größe\n".encode("latin-1"))
    (tmp_path / "utf16.flags").write_bytes("--epochs=5\n".encode("utf-16"))
    (tmp_path / "nul.flags").write_bytes(b"--epochs=5\0\n")
    (tmp_path / "large.flags").write_bytes(b"#" * (2**20 + 1))
    (tmp_path / "itself.flags").write_text("--epochs=5\n--flagfile=itself.flags\n")
    (tmp_path / "one.flags").write_text("--flagfile=two.flags\n")
    (tmp_path / "two.flags").write_text("--flagfile=./one.flags\n")
    (tmp_path / "spaces.flags").write_text("--epochs = 5\n")
    np.savez(tmp_path / "words.npz", x_train=[["a", "b"]] * 20)
    np.savez(tmp_path / "odd_image.npz", x_train=np.zeros((20, 5, 5)))
    return tmp_path


@pytest.mark.parametrize(("arguments", "named"), BAD, ids=[line for line, _ in BAD])
def test_mistake(
    command: Any, inputs: Path, arguments: str, named: tuple[str, ...]
) -> None:
    before = tree(inputs)
    assert_one_line(command("train.py", *arguments.split()), "train.py", *named)
    assert tree(inputs) == before


def test_mistake_spares_an_earlier_run(command: Any, tmp_path: Path) -> None:
    run = tmp_path / "runs" / "run"
    run.mkdir(parents=True)
    (run / "config.flags").write_text(ExperimentConfig(beta=2.0).to_flags())
    (run / "metrics.json").write_text("{}")
    before = tree(run)
    for arguments in (
        ["--beta=-1"],
        ["--beta=3"],
        ["--overwrite", "--batch_size=401"],
        ["--overwrite", "--dataset=npz:missing.npz"],
    ):
        assert_one_line(command("train.py", *arguments), "train.py")
        assert tree(run) == before


def test_export_mistakes(command: Any, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for arguments, named in (
        ([], "--run_dir"),
        (["--run_dir=empty"], "--export_dir"),
        (["--export_dir=served"], "--run_dir"),
        (["--run_dir=empty", "--export_dir=served"], "empty"),
        (["--run_dir=missing", "--export_dir=served"], "missing"),
        (["--run_dir=empty", "--export_dir=served", "stray"], "stray"),
        (["--run=empty"], "run"),
    ):
        assert_one_line(command("export.py", *arguments), "export.py", named)
        assert set(tree(tmp_path)) == {"empty"}


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], "--run_dir"),
        (["--run_dir=missing"], "missing"),
        (["--run_dir=empty"], "no finished run"),
        (["--run_dir=empty", "--metrics="], "metrics: expected some of"),
        (["--run_dir=empty", "--metrics=overlap,nothing"], "nothing"),
        (["--codes=missing.npz"], "--run_dir"),
        (["--codes=missing.npz", "--run_dir=out"], "missing.npz"),
        (["--run_dir=empty", "stray"], "stray"),
        (["stray", "--run_dir=empty"], "stray"),
        (["--run_dir"], "run_dir"),
        (["--compare", "empty"], "--run_dir"),
        (["--compare", "empty", "--run_dir=out"], "two"),
        (["--compare", "empty", "missing", "--run_dir=out"], "empty"),
        (["--compare", "empty", "--run_dir=out", "--codes=a.npz"], "--codes"),
        (["--compare", "empty", "--run_dir=out", "--metrics=overlap"], "--metrics"),
        (["--codes=a.npz", "--run_dir=out", "--explorer"], "--explorer"),
        (["--runs_dir=empty"], "runs_dir"),
    ],
    ids=str,
)
def test_evaluate_mistakes(
    command: Any, tmp_path: Path, arguments: list[str], named: str
) -> None:
    (tmp_path / "empty").mkdir()
    assert_one_line(command("evaluate.py", *arguments), "evaluate.py", named)
    assert set(tree(tmp_path)) == {"empty"}


def test_compare_takes_its_runs(
    command: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Commas in the names of a sweep's runs are no trap."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(evaluation, "compare_runs", lambda runs, out: (runs, out))
    runs = ("~/beta=0.1,seed=3", "sweep")
    result = command("evaluate.py", "--compare", *runs, "--run_dir=out")
    paths = [tmp_path / "beta=0.1,seed=3", Path("sweep")]
    assert result.out == f"comparison: {(paths, Path('out'))}\n"


def test_paths_of_flags_know_the_home(
    command: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(model_card, "export_run", lambda *given: given)
    result = command("export.py", "--run_dir=~/a", "--export_dir=~/b")
    assert f"{tmp_path}/a" in result.out
    assert f"{tmp_path}/b" in result.out


@pytest.mark.parametrize(
    ("flag", "formats"),
    [([], ["saved_model"]), (["--format=onnx,litert"], ["onnx", "litert"])],
)
def test_export_takes_its_arguments(
    command: Any, monkeypatch: pytest.MonkeyPatch, flag: list[str], formats: list[str]
) -> None:
    monkeypatch.setattr(model_card, "export_run", lambda *given: given)
    result = command("export.py", "--run_dir=runs/a", "--export_dir=served/a", *flag)
    assert result.status in (None, 0)
    given = (Path("runs/a"), Path("served/a"), formats)
    assert result.out == f"exported: {given}\n"
    assert result.err == ""


def test_the_explorer_follows_the_report(
    command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []

    def evaluate_run(run: Path, groups: list[str], explorer: bool) -> Path:
        asked.append(explorer)
        return run / "report.html"

    monkeypatch.setattr(evaluation, "evaluate_run", evaluate_run)
    assert command("evaluate.py", "--run_dir=run").out == "report: run/report.html\n"
    result = command("evaluate.py", "--run_dir=run", "--explorer")
    assert result.out == "report: run/report.html\nexplorer: run/explorer.html\n"
    assert asked == [False, True]


def test_other_exceptions_keep_their_traceback(
    command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(config: ExperimentConfig) -> None:
        raise ZeroDivisionError("a bug of ours")

    monkeypatch.setattr(train_program, "train", broken)
    with pytest.raises(ZeroDivisionError, match="a bug of ours"):
        command("train.py")


ERRORS: list[tuple[Exception, tuple[str, ...]]] = [
    (OSError(28, "No space left on device", "runs/x/model.keras"), ("x/model.keras",)),
    (OSError(28, "No space left on device"), ("No space left", "runs/run")),
    (MemoryError("Unable to allocate 7 GiB"), ("not enough memory", "7 GiB")),
    (
        tf.errors.ResourceExhaustedError(
            None,
            None,
            "{{function_node __wrapped__SaveV2}} runs/run/checkpoints/ckpt-3; No space "
            "left on device [Op:SaveV2]",
        ),
        ("TensorFlow: runs/run/checkpoints/ckpt-3; No space left on device (in",),
    ),
    (
        tf.errors.ResourceExhaustedError(
            None,
            None,
            "Graph execution error:\n\nDetected at node mul defined at (most recent "
            "call last):\n<stack traces unavailable>\nOOM when allocating tensor with "
            "shape[9,9]\nHint: ...\n",
        ),
        ("OOM when allocating tensor with shape[9,9] (in runs/run)",),
    ),
    (tf.errors.DataLossError(None, None, "Checksum does not match"), ("Checksum",)),
    (tf.errors.PermissionDeniedError(None, None, "logs; Denied"), ("logs; Denied",)),
    (BrokenPipeError(32, "Broken pipe"), ("nobody reads", "continues")),
]


@pytest.mark.parametrize(("error", "named"), ERRORS, ids=[repr(e) for e, _ in ERRORS])
def test_errors_of_the_machine_are_one_line(
    command: Any,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    named: tuple[str, ...],
) -> None:
    def full(config: ExperimentConfig) -> None:
        raise error

    monkeypatch.setattr(train_program, "train", full)
    monkeypatch.setattr(os, "dup2", lambda *descriptors: None)  # of pytest's stdout
    assert_one_line(command("train.py"), "train.py", *named)


@pytest.mark.parametrize("number", SIGNALS)
def test_interrupt_is_one_line(
    command: Any, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    closed: list[bool] = []

    def interrupted(config: ExperimentConfig) -> None:
        try:
            os.kill(os.getpid(), number)
            time.sleep(60)
        finally:
            closed.append(True)

    monkeypatch.setattr(train_program, "train", interrupted)
    result = command("train.py")
    assert result.status == 128 + number
    assert result.err == "train.py: interrupted; the same command continues\n"
    assert closed


LIBRARY = """
import os

def call(number, ours):
    os.kill(os.getpid(), number)
    done.append("a line of the library")
    ours()
    done.append("its last line")
"""
OURS = """
def train(config):
    call(number, callback)
    done.append("a line of ours")

def callback():
    done.append("a callback of ours")
"""


@pytest.mark.parametrize("calls_back", [False, True])
@pytest.mark.parametrize("number", SIGNALS)
def test_interrupt_ends_lines_of_ours_alone(
    command: Any,
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
    calls_back: bool,
) -> None:
    """C++ of TensorFlow ends the process where Python of its own is interrupted."""
    done: list[str] = []
    library: dict[str, Any] = {"__name__": "tensorflow.python.of_a_test", "done": done}
    exec(LIBRARY, library)
    ours = {"__name__": "tf_decomp.of_a_test", "done": done, "number": number}
    ours["call"] = library["call"]
    exec(OURS, ours)
    if not calls_back:
        ours["callback"] = list  # no Python code
    monkeypatch.setattr(train_program, "train", ours["train"])
    assert command("train.py").status == 128 + number
    assert done == ["a line of the library", "its last line"][: 2 - calls_back]
    assert sys.gettrace() is None


# -- true processes -----------------------------------------------------------------


def run_shell(*arguments: str, status: int = 0, **environment: str) -> Result:
    """Runs Python as a user's shell does: with none of this process's settings."""
    ours = ("TF_CPP_MIN_LOG_LEVEL", "TF_ENABLE_ONEDNN_OPTS", "KERAS_BACKEND")
    with pytest.MonkeyPatch.context() as patch:
        for name in ours:
            patch.delenv(name, raising=False)
        return Result(
            status, *run_python(*arguments, status=status, environment=environment)
        )


SHORT = "--prior=normal_mixture --hidden=8 --epochs=2000 --batch_size=90 --seed=3"


@pytest.mark.slow
def test_interrupted_training_goes_on(tmp_path: Path) -> None:
    """One line, the state of the last whole row, and the lock is free."""
    first, second = SIGNALS
    folder = tmp_path / "run"
    arguments = (TRAIN, *SHORT.split(), f"--output_dir={folder}")
    history = folder / "history.csv"

    def rows() -> int:
        return len(history.read_text().splitlines()) if history.exists() else 0

    process = start_python(*arguments)
    wait_until(lambda: rows() > 2, process)
    process.send_signal(first)
    _, err = finish(process, status=128 + first)
    assert err == "train.py: interrupted; the same command continues\n"
    before = history.read_text()
    assert not list(folder.rglob(".[0-9]*-*"))

    process = start_python(*arguments)
    wait_until(lambda: rows() > len(before.splitlines()), process)
    assert history.read_text().startswith(before)
    process.send_signal(second)
    finish(process, status=128 + second)


@pytest.mark.slow
def test_interrupts_at_any_moment_of_tensorflow() -> None:
    program = """
import random, signal
from absl import flags
from tf_decomp import cli
import tensorflow as tf

def main():
    variable, interrupted = tf.Variable(0, dtype=tf.int64), 0
    for value in range(3000):
        try:
            signal.signal(signal.SIGALRM, handler)
            signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-4, 4e-4))
            for _ in range(9):
                variable.assign(value)
            signal.setitimer(signal.ITIMER_REAL, 0)
        except KeyboardInterrupt:
            interrupted += 1
    print(interrupted)

random.seed(0)
handler = cli._interrupt
cli.run(main)
"""
    assert int(run_shell("-c", program).out) > 1000


@pytest.mark.slow
@pytest.mark.parametrize("program", ["train.py", "evaluate.py", "export.py"])
@pytest.mark.parametrize("seconds", [0.5, 1.5, 3.0, 4.5])
def test_interrupt_while_libraries_load(program: str, seconds: float) -> None:
    """No traceback at any moment."""
    process = start_python(BIN / program, "--helpfull")
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    # --helpfull itself ends with 1; behind it Python dies of the signal.
    assert process.returncode in (1, 130, -signal.SIGINT)
    assert err in ("", f"{program}: interrupted; the same command continues\n"), err


@pytest.mark.parametrize("program", PROGRAMS)
def test_other_backend(program: str) -> None:
    result = run_shell(str(BIN / program), status=1, KERAS_BACKEND="jax")
    assert_one_line(result, program, "KERAS_BACKEND=jax", "KERAS_BACKEND=tensorflow")
    assert result.out == ""


def test_real_process_prints_one_line(tmp_path: Path) -> None:
    """Nor do the notes of C++ libraries appear, which no Python code sees."""
    arguments = ("--prior=gamma", f"--output_dir={tmp_path}/run")
    result = run_shell(str(TRAIN), *arguments, status=1)
    assert_one_line(result, "train.py", "gamma")
    assert result.out == ""
    assert not tree(tmp_path)


def test_metrics_and_theory_are_there_when_they_are_used() -> None:
    program = """
import sys, tf_decomp
lazy = ("tf_decomp.metrics", "tf_decomp.theory")
assert not [name for name in lazy if name in sys.modules]
assert {"metrics", "theory", "NormalPrior"} <= set(dir(tf_decomp))
for module in (tf_decomp.metrics, tf_decomp.theory):
    assert all(callable(getattr(module, name)) for name in module.__all__)
try:
    tf_decomp.metric
except AttributeError as error:
    print(error)
"""
    result = run_shell("-c", program)
    assert result.out == "module 'tf_decomp' has no attribute 'metric'\n"


# -- start-up -----------------------------------------------------------------------


@pytest.fixture
def unstarted(monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """A process without TensorFlow; lists what oneDNN is set to at each import."""
    seen: list[str | None] = []

    def imported(name: str) -> None:
        assert name == "tensorflow"
        seen.append(os.environ.get("TF_ENABLE_ONEDNN_OPTS"))
        os.write(2, b"note of a C++ library\n")

    monkeypatch.setattr(importlib, "import_module", imported)
    monkeypatch.delitem(sys.modules, "tensorflow")
    # Set first, so that what the function sets is taken back afterwards.
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "unused")
    monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS")
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    return seen


def test_onednn_is_on_before_tensorflow_loads(unstarted: list[str | None]) -> None:
    startup.start_tensorflow()
    assert unstarted == ["1"]


def test_own_onednn_setting_wins(
    unstarted: list[str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    startup.start_tensorflow()
    assert unstarted == ["0"]


def test_onednn_is_left_alone_behind_tensorflow(
    unstarted: list[str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow", tf)
    startup.start_tensorflow()
    assert unstarted == []
    assert "TF_ENABLE_ONEDNN_OPTS" not in os.environ


@pytest.mark.parametrize(("level", "notes"), [("0", 1), ("2", 0), ("3", 0), (None, 0)])
def test_notes_of_libraries_obey_the_log_level(
    level: str | None,
    notes: int,
    unstarted: list[str | None],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    if level is None:
        monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)
    else:
        monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", level)
    startup.start_tensorflow()
    os.write(2, b"after\n")
    assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == (level or "3")
    assert capfd.readouterr().err.splitlines() == [
        *["note of a C++ library"] * notes,
        "after",
    ]


def test_backend_of_the_keras_file(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = SimpleNamespace(backend=SimpleNamespace(backend=lambda: "numpy"))
    monkeypatch.setitem(sys.modules, "keras", backend)
    with pytest.raises(ImportError, match=r"numpy from keras\.json") as caught:
        startup.start_tensorflow()
    assert caught.value.name == "tf_decomp"
