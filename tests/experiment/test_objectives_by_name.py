# SPDX-License-Identifier: Apache-2.0
"""Objectives by name: each is its paper's loss, and a start for settings."""

from typing import Any

import numpy as np
import pytest
import scipy.special
import scipy.stats
import tensorflow as tf
from runs import one_line

from tf_decomp import ExperimentConfig, InputError, build_vae
from tf_decomp.experiment.choices import OBJECTIVES
from tf_decomp.vae.steps import Batch

SIZE, NUM_DATA = 6, 40
SETTINGS: dict[str, Any] = {"latent_dim": 2, "hidden": (4,), "batch_size": SIZE}


class Numbers:
    """What a model makes of a fixed batch, in float64."""

    def __init__(self, config: ExperimentConfig) -> None:
        rng = np.random.default_rng(0)
        vae = build_vae(config, [3], num_data=NUM_DATA)
        for weight in [*vae.encoder.weights, *vae.decoder.weights]:
            # Larger ones make a likelihood beside which nothing else is seen.
            weight.assign(0.3 * rng.normal(size=weight.shape))
        vae.compile("sgd", run_eagerly=True)
        x = rng.normal(size=(SIZE, 3)).astype("float32")
        batch: Batch = vae.draw_batch(tf.constant(x))
        with_divergence = vae.divergence is not None
        self.loss = float(vae.batch_loss(batch, with_divergence)[0])
        q = vae.encode(x)
        self.loc, self.scale = (np.float64(a) for a in (q.mean(), q.stddev()))
        self.z = self.loc + self.scale * np.float64(batch.noise[0])
        self.y = np.float64(batch.prior_noise) if with_divergence else None
        p = vae.decode(self.z)
        likelihood = scipy.stats.norm(np.float64(p.mean()), np.float64(p.stddev()))
        self.log_likelihood = likelihood.logpdf(x).sum(axis=1).mean()
        assert abs(self.log_likelihood) < 100
        variance = self.scale**2
        kl = 0.5 * (self.loc**2 + variance - 1 - np.log(variance))
        self.kl = kl.sum(axis=1).mean()
        self.adversary = getattr(vae.divergence, "network", None)


def beta_vae(n: Numbers, beta: float) -> float:
    return n.log_likelihood - beta * n.kl


def annealed_vae(n: Numbers, gamma: float, capacity: float) -> float:
    return n.log_likelihood - gamma * abs(n.kl - capacity)


def factor_vae(n: Numbers, gamma: float) -> float:
    """ELBO - gamma mean log D(z) / (1 - D(z)), with their leaky ReLU."""
    assert n.adversary is not None
    weights = [np.float64(w) for w in n.adversary.get_weights()]
    hidden = n.z
    for kernel, bias in zip(weights[:-2:2], weights[1:-2:2], strict=True):
        hidden = hidden @ kernel + bias
        hidden = np.where(hidden > 0, hidden, 0.2 * hidden)
    is_code = scipy.special.expit(hidden @ weights[-2] + weights[-1])
    ratio = np.log(is_code / (1 - is_code)).mean()
    assert abs(ratio) > 0.01
    return n.log_likelihood - n.kl - gamma * ratio


def beta_tcvae(n: Numbers, beta: float) -> float:
    """ELBO - (beta - 1) TC, with densities (1 / NM) sum_j q(z_i|x_j)."""
    pairs = scipy.stats.norm(n.loc, n.scale).pdf(n.z[:, None])  # [M, M, latent_dim]
    log_joint = np.log(pairs.prod(axis=2).sum(axis=1) / (NUM_DATA * SIZE))
    log_marginals = np.log(pairs.sum(axis=1) / (NUM_DATA * SIZE))
    total_correlation = np.mean(log_joint - log_marginals.sum(axis=1))
    return n.log_likelihood - n.kl - (beta - 1) * total_correlation


def dip_penalty(covariance: np.ndarray, of_off: float, of_diagonal: float) -> float:
    dim = len(covariance)
    off = covariance[~np.eye(dim, dtype=bool)]
    return of_off * np.sum(off**2) + of_diagonal * np.sum(
        (np.diag(covariance) - 1) ** 2
    )


def dip_vae_i(n: Numbers, of_off: float, of_diagonal: float) -> float:
    covariance = np.cov(n.loc.T, bias=True)
    return n.log_likelihood - n.kl - dip_penalty(covariance, of_off, of_diagonal)


def dip_vae_ii(n: Numbers, of_off: float, of_diagonal: float) -> float:
    covariance = np.cov(n.loc.T, bias=True) + np.diag(np.mean(n.scale**2, axis=0))
    return n.log_likelihood - n.kl - dip_penalty(covariance, of_off, of_diagonal)


def mmd(n: Numbers) -> float:
    """Algorithm 2 of Tolstikhin et al. 2018, its kernels summed over scales."""

    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        squares = ((a[:, None] - b) ** 2).sum(axis=2)
        constants = 2 * a.shape[1] * np.array([0.1, 0.2, 0.5, 1, 2, 5, 10])
        return sum(c / (c + squares) for c in constants)

    other = ~np.eye(SIZE, dtype=bool)
    within = kernel(n.z, n.z)[other].sum() + kernel(n.y, n.y)[other].sum()
    return within / (SIZE * (SIZE - 1)) - 2 / SIZE**2 * kernel(n.z, n.y).sum()


def info_vae(n: Numbers, alpha: float, lamb: float) -> float:
    return n.log_likelihood - (1 - alpha) * n.kl - (alpha + lamb - 1) * mmd(n)


def wae_mmd(n: Numbers, lamb: float) -> float:
    return n.log_likelihood - lamb * mmd(n)


# The paper's formula with its own symbols, at the preset and at other settings of ours.
FORMULAS: list[tuple[str, dict[str, Any], Any, dict[str, float]]] = [
    ("beta_vae", {}, beta_vae, {"beta": 4}),
    ("beta_vae", {"beta": 0.3}, beta_vae, {"beta": 0.3}),
    ("annealed_vae", {}, annealed_vae, {"gamma": 1000, "capacity": 25}),
    (
        "annealed_vae",
        {"alpha": 3.0, "capacity": 0.01},
        annealed_vae,
        {"gamma": 3, "capacity": 0.01},
    ),
    ("factor_vae", {}, factor_vae, {"gamma": 35}),
    ("factor_vae", {"alpha": 2.0, "adversary_hidden": (5,)}, factor_vae, {"gamma": 2}),
    ("beta_tcvae", {}, beta_tcvae, {"beta": 6}),
    ("beta_tcvae", {"alpha": 1.5}, beta_tcvae, {"beta": 2.5}),
    ("dip_vae_i", {}, dip_vae_i, {"of_off": 10, "of_diagonal": 100}),
    ("dip_vae_i", {"alpha": 2.0}, dip_vae_i, {"of_off": 2, "of_diagonal": 20}),
    ("dip_vae_ii", {}, dip_vae_ii, {"of_off": 10, "of_diagonal": 10}),
    ("info_vae", {}, info_vae, {"alpha": 0.5, "lamb": 10}),
    # a = 0.25, lambda = 3: beta = 1 - a, alpha = a + lambda - 1.
    (
        "info_vae",
        {"beta": 0.75, "alpha": 2.25},
        info_vae,
        {"alpha": 0.25, "lamb": 3},
    ),
    ("wae_mmd", {}, wae_mmd, {"lamb": 10}),
    ("wae_mmd", {"alpha": 100.0}, wae_mmd, {"lamb": 100}),
]


@pytest.mark.parametrize(("name", "ours", "formula", "theirs"), FORMULAS)
def test_loss_is_that_of_the_paper(
    name: str, ours: dict[str, Any], formula: Any, theirs: dict[str, float]
) -> None:
    numbers = Numbers(ExperimentConfig.from_objective(name, **SETTINGS, **ours))
    assert numbers.loss == pytest.approx(-formula(numbers, **theirs), rel=1e-5)


def test_every_objective_has_a_formula_and_gives_back_its_settings() -> None:
    assert {name for name, *_ in FORMULAS} == OBJECTIVES.keys()
    for name, objective in OBJECTIVES.items():
        config = ExperimentConfig.from_objective(name, **SETTINGS)
        assert objective.settings.items() <= vars(config).items()
        assert ExperimentConfig.from_flags(config.to_flags()) == config
        assert "objective" not in config.to_flags()


@pytest.mark.parametrize(
    ("name", "settings", "named"),
    [
        ("vae", {}, ("objective", "'vae'", "beta_tcvae", "wae_mmd")),
        (None, {}, ("objective", "None")),
        (
            "wae_mmd",
            {"divergence": "inclusive_kl"},
            ("objective=wae_mmd", "divergence=joint_mmd", "'inclusive_kl'"),
        ),
        ("beta_vae", {"alpha": 1.0}, ("alpha=1.0", "divergence=none")),
        ("dip_vae_ii", {"batch_size": 1}, ("batch_size=1", "dip_vae_ii")),
        (
            "factor_vae",
            {"batch_size": 9, "latent_dim": 10},
            ("batch_size=9", "adversarial_total_correlation", "10 or more"),
        ),
    ],
)
def test_what_does_not_fit_is_one_line(
    name: Any, settings: dict[str, Any], named: tuple[str, ...]
) -> None:
    with pytest.raises(InputError) as caught:
        ExperimentConfig.from_objective(name, **settings)
    one_line(caught, *named)
    assert "--" not in str(caught.value)


def test_the_same_divergence_may_be_said() -> None:
    given = ExperimentConfig.from_objective("wae_mmd", divergence="joint_mmd", beta=0.1)
    assert (given.alpha, given.beta, given.divergence) == (10.0, 0.1, "joint_mmd")
