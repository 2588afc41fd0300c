# SPDX-License-Identifier: Apache-2.0
"""The models in saved_models/ give the numbers that their cards state."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from processes import ROOT
from tensorflow_probability import distributions as tfd

from tf_decomp import ExperimentConfig, load_encoder
from tf_decomp.experiment.build import build_dataset

MODELS = sorted(path for path in (ROOT / "saved_models").iterdir() if path.is_dir())
# The scale of a normal p(x|z) is learnt, and not served.
LIKELIHOODS: dict[str, Any] = {
    "laplace": lambda mean: tfd.Laplace(mean, 0.1),
    "bernoulli": lambda mean: tfd.Bernoulli(probs=np.clip(mean, 1e-7, 1 - 1e-7)),
}
MOST = 2_000  # examples; a sample of what the card measured on


def settings_of(card: str) -> ExperimentConfig:
    (flags,) = re.findall(r"holds\n\n```\n(.*?)```", card, re.DOTALL)
    return ExperimentConfig.from_flags(flags)


def stated(card: str, name: str) -> tuple[float, float, int]:
    """Value, standard error and n of a quantity in a card's table."""
    numbers = re.findall(rf"^\| test/{name} \| (\S+) \| (\S+) \| (\d+) ", card, re.M)
    ((value, error, n),) = numbers
    return float(value), float(error), int(n)


def test_models_are_the_three_of_the_paper() -> None:
    names = [path.name for path in MODELS]
    assert names == ["dsprites_student_t", "fashion_mnist_sparse", "pinwheel"]


@pytest.mark.parametrize("model", MODELS, ids=lambda path: path.name)
def test_files_are_small_and_of_one_version(model: Path) -> None:
    files = [path for path in model.rglob("*") if path.is_file()]
    assert max(path.stat().st_size for path in files) < 4 * 2**20
    assert [path.name for path in sorted(model.iterdir())] == ["1", "README.md"]
    card = (model / "README.md").read_text()
    assert card == (model / "1" / "README.md").read_text()
    assert card.startswith(f"# {model.name}\n")


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS, ids=lambda path: path.name)
def test_numbers_of_the_card(model: Path) -> None:
    """log p(x|z) and the KL, from the served signatures and TFP alone."""
    card = (model / "README.md").read_text()
    config, served = settings_of(card), load_encoder(model)
    test = build_dataset(config).test
    rng = np.random.default_rng(0)
    rows = np.sort(rng.permutation(len(test.x))[:MOST])
    x = np.asarray(test.examples(rows), np.float32)
    parts = served.encode(x)
    noise = rng.normal(size=parts["loc"].shape).astype(np.float32)
    z = served.encode_sample(x, noise)["z"]
    log_q = tfd.MultivariateNormalDiag(parts["loc"], parts["scale"]).log_prob(z)
    estimates = {"kl": log_q - served.log_prob_prior(z)["log_prob"]}
    if config.likelihood in LIKELIHOODS:
        each = LIKELIHOODS[config.likelihood](served.decode(z)["mean"]).log_prob(x)
        estimates["log_likelihood"] = np.sum(np.reshape(each, [len(x), -1]), axis=1)
    for name, ours in estimates.items():
        value, error, n = stated(card, name)
        assert n == len(test.x)
        spread = np.std(ours) / np.sqrt(len(x))
        assert abs(np.mean(ours) - value) < 4 * np.hypot(spread, error), name
        # It would see another model: the tolerance is small beside the value.
        assert spread < 0.2 * abs(value)
