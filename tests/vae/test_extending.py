# SPDX-License-Identifier: Apache-2.0
"""Subclasses that weigh the terms themselves, or take the step themselves."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from cases import data, make_vae

from tf_decomp import DecompositionVAE, ObjectiveTerms, decomposition_objective

X = data(20)
GUIDE = Path(__file__).parents[2] / "docs" / "extending.md"
PROGRAMS = re.findall(r"```python\n(.*?)```", GUIDE.read_text("utf-8"), re.DOTALL)


class OwnObjective(DecompositionVAE):
    def objective(self, terms: ObjectiveTerms) -> tf.Tensor:
        return decomposition_objective(terms, alpha=2.0, beta=3.0)


class OwnStep(DecompositionVAE):
    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        batch = self.draw_batch(data)
        with tf.GradientTape() as tape:
            loss, terms = self.batch_loss(batch, with_divergence=True)
        variables = self.trainable_variables
        self.optimizer.apply(tape.gradient(loss, variables), variables)
        self.add_to_means(terms)
        return self.get_metrics_result()


def trained(kind: type, alpha: float, beta: float, **compiling: Any) -> Any:
    """Returns the weights and logs after three epochs, and what `evaluate` finds."""
    base = make_vae()
    vae = kind(
        *(base.encoder, base.decoder, base.prior),
        divergence="inclusive_kl",
        alpha=alpha,
        beta=beta,
    )
    vae.compile("adam", **compiling)
    history = vae.fit(X, batch_size=10, epochs=3, shuffle=False, verbose=0).history
    found = vae.evaluate(X, verbose=0, return_dict=True)
    weights = [v.numpy() for v in vae.trainable_variables]
    return weights, history, found


@pytest.fixture(scope="module")
def expected() -> Any:
    return trained(DecompositionVAE, alpha=2.0, beta=3.0, jit_compile=False)


@pytest.mark.parametrize(
    ("kind", "alpha", "beta", "compiling"),
    [
        (OwnObjective, 0.1, 0.1, {"jit_compile": False}),
        (OwnObjective, 0.1, 0.1, {"jit_compile": True, "steps_per_execution": 2}),
        (OwnStep, 2.0, 3.0, {"jit_compile": True, "steps_per_execution": 2}),
    ],
)
def test_a_subclass_trains_as_the_base_class_with_the_same_weights(
    kind: type, alpha: float, beta: float, compiling: dict[str, Any], expected: Any
) -> None:
    ours, history, found = trained(kind, alpha, beta, **compiling)
    theirs, its_history, its_found = expected
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine, other, rtol=2e-5, atol=1e-6)
    assert history.keys() == its_history.keys()
    for name, values in its_history.items():
        np.testing.assert_allclose(history[name], values, rtol=2e-5)
        assert found[name] == pytest.approx(its_found[name], rel=2e-5)


@pytest.mark.slow
def test_the_guide_s_objective_holds_the_kl_near_its_capacity() -> None:
    names: dict[str, Any] = {}
    exec(compile(PROGRAMS[0], str(GUIDE), "exec"), names)
    assert names["history"]["kl"][-1] == pytest.approx(2.0, abs=0.2)


def test_the_guide_s_step_trains() -> None:
    names: dict[str, Any] = {}
    exec(compile(PROGRAMS[1], str(GUIDE), "exec"), names)
    losses = names["vae"].history.history["loss"]
    assert losses[-1] < losses[0]
    assert int(names["vae"].train_batches.value) == 20


# Keras saves with a call that NumPy 2 deprecates.
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't")
def test_the_guide_s_networks_train_and_are_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(compile(PROGRAMS[2], str(GUIDE), "exec"), names)
    assert all(losses[-1] < losses[0] for losses in names["losses"])
    found, expected = names["again"].encode(X), names["vae"].encode(X)
    np.testing.assert_array_equal(found.mean(), expected.mean())
