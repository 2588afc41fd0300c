# SPDX-License-Identifier: Apache-2.0
"""The examples run, and are as short and as true as they say."""

import ast
import re
import runpy
import tempfile
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_decomp import DecompositionVAE, NormalPrior

EXAMPLES = Path(__file__).parents[2] / "examples"
# Keras asks NumPy to convert TensorFlow's variables, which do not know `copy` yet.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't")


def code_lines(path: Path) -> set[int]:
    """Returns the numbers of the lines that hold code, docstrings aside."""
    lines: set[int] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if isinstance(node, ast.stmt) and not is_text:
            inner = getattr(node, "body", None)
            last = inner[0].lineno - 1 if inner else node.end_lineno or 0
            lines |= set(range(node.lineno, last + 1))
    return lines


def test_every_example_is_run_by_a_test() -> None:
    tests = "".join(
        path.read_text(encoding="utf-8")
        for path in Path(__file__).parents[1].rglob("*.py")
    )
    for path in EXAMPLES.glob("*.py"):
        assert f'"{path.name}"' in tests, path


def test_quickstart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names = runpy.run_path(str(EXAMPLES / "quickstart.py"), run_name="__main__")
    out = capsys.readouterr().out
    assert "Epoch 5/5" in out
    assert "q(z|x)" in out
    assert "means:" in out
    assert len(code_lines(EXAMPLES / "quickstart.py")) <= 25
    # It learns: two directions carry all but 1% of the data.
    vae, x = names["vae"], names["x"]
    assert isinstance(vae, DecompositionVAE)
    losses = [float(loss) for loss in re.findall(r" loss: (\S+)", out)]
    assert len(losses) == 5
    assert losses[-1] < losses[0]
    assert vae.predict(x[:7], verbose=0).shape == (7, 2)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_custom_networks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names = runpy.run_path(str(EXAMPLES / "custom_networks.py"))
    assert capsys.readouterr().out == ""  # nothing runs at import
    names["main"]()
    out = capsys.readouterr().out
    assert "Epoch 10/10" in out
    shown = re.search(r"prior variances: \[(.*)\]", out)
    assert shown
    variances = np.array(shown[1].split(), float)
    assert variances.shape == (3,)
    assert abs(variances.sum() - 3.0) < 0.02  # rounded to two digits
    assert variances.max() - variances.min() > 0.1  # it learnt them
    # Its networks survive saving, as their comments say.
    vae = DecompositionVAE(
        names["ResidualEncoder"](latent_dim=3, units=5),
        names["Decoder"](data_dim=8),
        NormalPrior(3),
    )
    vae.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    x = np.random.default_rng(0).normal(size=(4, 8)).astype("float32")
    np.testing.assert_array_equal(again.encode(x).mean(), vae.encode(x).mean())
    z = tf.zeros([4, 3])
    np.testing.assert_array_equal(again.decode(z).mean(), vae.decode(z).mean())


@pytest.mark.slow
def test_evaluate_your_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    runpy.run_path(str(EXAMPLES / "evaluate_your_own.py"), run_name="__main__")
    out = capsys.readouterr().out
    score = re.search(r"FactorVAE score (\S+) \+- (\S+)", out)
    assert score
    assert 0.3 < float(score[1]) <= 1.0
    report = re.search(r"report: (.*)", out)
    assert report
    assert tmp_path in Path(report[1]).parents
    assert "</html>" in Path(report[1]).read_text(encoding="utf-8")
