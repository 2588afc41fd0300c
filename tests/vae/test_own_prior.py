# SPDX-License-Identifier: Apache-2.0
"""The prior that docs/howto/prior.md writes trains, is judged, saved and served."""

import ast
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import scipy.special
import scipy.stats
from cases import DATA_DIM, data, make_vae
from monte_carlo import mean_and_error
from runs import small

import tf_decomp
from tf_decomp import metrics
from tf_decomp.evaluation import evaluate_run
from tf_decomp.experiment import train
from tf_decomp.experiment.choices import PRIORS, Choice
from tf_decomp.files import read_json

# Keras saves with a call that NumPy 2 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't")

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "prior.md"
X = data(500)


def program() -> list[str]:
    """Returns the lines of the page's one class, behind the page's imports."""
    imports, classes = [], []
    for part in PAGE.read_text(encoding="utf-8").split("```python\n")[1:]:
        block = part.partition("```")[0]
        for node in ast.parse(block).body:
            first = min([node.lineno, *(d.lineno for d in decorators(node))])
            lines = block.splitlines()[first - 1 : node.end_lineno]
            if isinstance(node, ast.ClassDef):
                classes.append(lines)
            elif isinstance(node, ast.Import | ast.ImportFrom):
                imports += lines
    (only,) = classes
    return [line for line in [*imports, *only] if line.strip()]


def decorators(node: Any) -> list[Any]:
    return getattr(node, "decorator_list", [])


@pytest.fixture(scope="module")
def own_prior() -> Any:
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(compile("\n".join(program()), str(PAGE), "exec"), names)
    return names["LearntMixturePrior"]


def moved(vae: Any) -> np.ndarray:
    """Returns how far each location of the prior goes in a short fit."""
    before = vae.prior.locs.numpy()
    vae.compile(keras.optimizers.Adam(0.01))
    logs = vae.fit(X, batch_size=100, epochs=3, verbose=0).history
    assert ("divergence" in logs) == (float(vae.alpha) > 0)
    assert np.all(np.isfinite([*logs.values()]))
    return np.abs(vae.prior.locs.numpy() - before)


def log_density(prior: Any, z: Any) -> np.ndarray:
    """Returns log p(z), written down."""
    locs = prior.locs.numpy()
    parts = scipy.stats.norm(locs, 0.5).logpdf(np.asarray(z)[:, None])
    return scipy.special.logsumexp(parts.sum(-1), axis=1) - np.log(len(locs))


def test_it_takes_no_more_than_25_lines() -> None:
    assert len(program()) <= 25


@pytest.mark.parametrize("key", ["inclusive_kl", "dimensionwise_mmd"])
def test_it_learns_from_d_alone(own_prior: Any, key: str) -> None:
    vae = make_vae(own_prior(3, 2), divergence=key, alpha=1.0, beta=0.0)
    assert np.all(moved(vae) > 1e-5)


def test_it_learns_from_the_kl_alone(own_prior: Any) -> None:
    assert np.all(moved(make_vae(own_prior(3, 2))) > 1e-5)


@pytest.fixture(scope="module")
def trained(own_prior: Any) -> Any:
    vae = make_vae(own_prior(3, 2), divergence="inclusive_kl", alpha=1.0)
    assert np.all(moved(vae) > 1e-5)
    return vae


def test_its_kl_is_that_of_its_density(trained: Any) -> None:
    q = trained.encode(X[:20])
    z = q.sample(1, seed=[0, 1])
    kl = tf_decomp.kl_divergence(q, trained.prior, z)
    by_hand = q.log_prob(z[0]) - log_density(trained.prior, z[0])
    np.testing.assert_allclose(kl, by_hand, rtol=1e-4, atol=1e-5)


def test_it_is_judged(trained: Any) -> None:
    found = trained.evaluate(X, verbose=0, return_dict=True)
    assert found["elbo"] == pytest.approx(found["log_likelihood"] - found["kl"])
    posterior, prior = trained.encode(X), trained.prior
    overlap = metrics.overlap_report(posterior, prior=prior)
    assert abs(overlap.kl.value - found["kl"]) < 5 * overlap.kl.standard_error
    match = metrics.regularisation_report(posterior, prior)
    # KL(q(z) || p(z)) once more, from other samples and the density by hand.
    z = tf_decomp.aggregate_posterior(posterior).sample(5000, seed=[0, 1])
    log_q = tf_decomp.aggregate_posterior(posterior).log_prob(z)
    mean, error = mean_and_error(log_q - log_density(prior, z))
    error = np.hypot(error, match.kl.standard_error)
    assert abs(match.kl.value - mean) < 5 * error
    bound = metrics.marginal_log_likelihood(trained, X, num_samples=50)
    assert bound.value > found["elbo"]


def test_it_is_saved(trained: Any, tmp_path: Path) -> None:
    trained.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert type(again.prior) is type(trained.prior)
    np.testing.assert_array_equal(again.prior.locs, trained.prior.locs)
    for method in ("predict", "evaluate"):
        ours, theirs = (getattr(v, method)(X, verbose=0) for v in (again, trained))
        np.testing.assert_array_equal(ours, theirs)
    assert np.all(moved(again) > 1e-5)


def test_it_is_served(trained: Any, tmp_path: Path) -> None:
    tf_decomp.export_saved_model(trained, tmp_path / "1")
    served, prior = tf_decomp.load_encoder(tmp_path), trained.prior
    loc = served.encode(X)["loc"]
    np.testing.assert_allclose(loc, trained.encode(X).mean(), rtol=1e-5, atol=1e-6)
    log_prob = served.log_prob_prior(loc)["log_prob"]
    np.testing.assert_allclose(log_prob, log_density(prior, loc), rtol=1e-4)
    z = served.sample_prior(4, 3)["z"]
    expected = prior.distribution.sample(4, seed=[3, 0])
    np.testing.assert_allclose(z, expected, rtol=1e-5, atol=1e-6)
    assert served.generate(4, 3)["x"].shape == [4, DATA_DIM]


@pytest.mark.slow
def test_with_a_row_it_is_a_prior_of_runs_and_reports(
    own_prior: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = Choice(
        "a learnt mixture of {num_modes} normals as the prior",
        lambda config, *_: own_prior(config.num_modes, config.latent_dim),
        settings=("num_modes",),
    )
    monkeypatch.setitem(PRIORS, "own", row)
    config = small(
        tmp_path / "run",
        prior="own",
        num_modes=3,
        divergence="inclusive_kl",
        alpha=1.0,
        max_test_examples=100,
    )
    train(config)
    page = evaluate_run(tmp_path / "run").read_text(encoding="utf-8")
    assert "a learnt mixture of 3 normals" in page.replace("\u00a0", " ")
    values = read_json(tmp_path / "run" / "evaluation.json")["groups"]
    assert {"overlap", "regularisation", "likelihood"} <= values.keys()
