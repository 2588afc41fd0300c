# SPDX-License-Identifier: Apache-2.0
"""Toy tables for every claim of the paper, with the verdict that each should get."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tf_decomp.reproduce.statistics import INCONCLUSIVE, NOT_SUPPORTED, SUPPORTED

Rows = list[dict[str, Any]]


def networks(
    cells: Sequence[dict[str, Any]],
    seeds: int = 10,
    spread: float = 0.01,
    **quantities: Callable[[dict[str, Any]], float],
) -> Rows:
    """Gives one row a cell and seed: means times log-normal noise."""
    rng = np.random.default_rng(0)
    return [
        {"seed": float(seed), **cell}
        | {k: f(cell) * np.exp(spread * rng.normal()) for k, f in quantities.items()}
        for seed, cell in itertools.product(range(seeds), cells)
    ]


def grid(**settings: Sequence[Any]) -> list[dict[str, Any]]:
    points = itertools.product(*settings.values())
    return [dict(zip(settings, point, strict=True)) for point in points]


# -- data for each claim, by what holds in them ------------------------------------


def left(pca: float, learnt: float, slope: float = 0.0, **kwargs: Any) -> Rows:
    """Figure 2 left: gains of the score, and what beta adds to the isotropic one."""
    gains = {"normal": 0.0, "normal_pca": pca, "normal_learnt": learnt}
    return networks(
        grid(panel=["left"], prior=list(gains), beta=[1.0, 2.0, 4.0, 6.0]),
        factor_vae_score=lambda c: 0.6 + gains[c["prior"]] + slope * c["beta"],
        # Better priors also fit better, so that cells of equal beta do not compare.
        log_likelihood=lambda c: -30 - 10 * c["beta"] + 20 * gains[c["prior"]],
        **kwargs,
    )


def right(few: float, least: float, cost: float = 1.0, **kwargs: Any) -> Rows:
    """Figure 2 right: gains of few and of the fewest degrees of freedom."""
    gains = {3.0: least, 5.0: few, 9.0: few, 30.0: 0.0, float("inf"): 0.0}
    return networks(
        grid(panel=["right"], df=list(gains)),
        factor_vae_score=lambda c: 0.6 + gains[c["df"]],
        log_likelihood=lambda c: -30 - cost * (c["df"] < 30),
        **kwargs,
    )


def pinwheel(
    growth: float = 3.0,
    too_large: float = 0.5,
    kls: Sequence[float] = (0.4, 0.3, 0.2, 0.15),
    rarest: float = 0.24,
    **kwargs: Any,
) -> Rows:
    """Figure 3: growth of the overlap, MMD at the largest beta, KL by alpha."""
    top = networks(
        grid(panel=["beta"], alpha=[0.0], beta=[0.01, 0.5, 1.0, 1.2]),
        overlap=lambda c: growth ** (1 + c["beta"]),
        joint_mmd=lambda c: too_large if c["beta"] == 1.2 else 0.2,
        **kwargs,
    )
    by_alpha = dict(zip((1.0, 3.0, 5.0, 8.0), kls, strict=True))
    bottom = networks(
        grid(panel=["alpha"], alpha=list(by_alpha), beta=[0.0]),
        inclusive_kl=lambda c: by_alpha[c["alpha"]],
        rarest_mode_share=lambda c: rarest,
        **kwargs,
    )
    return top + bottom


def fashion(
    gain: float = 0.3,
    alpha_cost: float = 20.0,
    mmd_falls: float = 0.5,
    mmd_normal: float = 0.5,
    harm: tuple[float, float] = (0.1, 0.1),
    **kwargs: Any,
) -> Rows:
    """Figure 4: gains of Hoyer by alpha > 0 and gamma, costs, MMDs, harm by beta."""
    spikes = [(0.0, 0.05), (0.8, 0.05), (0.8, 0.0025)]
    cells = [
        {"gamma": gamma, "spike_variance": variance, "alpha": alpha, "beta": beta}
        for gamma, variance in spikes
        for alpha in (0.0, 10.0, 100.0, 1000.0)
        for beta in (0.1, 1.0, 5.0)
    ]
    return networks(
        cells,
        hoyer=lambda c: (
            0.25
            + gain * (c["gamma"] > 0) * (c["alpha"] > 0)
            - harm[0] * (c["beta"] < 1)
            - harm[1] * (c["beta"] > 1)
        ),
        log_likelihood=lambda c: 1000 - alpha_cost * (c["alpha"] > 0) - 40 * c["beta"],
        mmd=lambda c: (
            (1.0 if c["gamma"] else mmd_normal) * (mmd_falls if c["alpha"] else 1.0)
        ),
        **kwargs,
    )


def sparse_network(
    p: float = 0.002, share: float = 0.3, region: float = 0.8, **kwargs: Any
) -> Rows:
    network = {"kind": "network", "seed": 0.0, "permutation_p": p, "class_share": share}
    cell: dict[str, Any] = {"kind": "move"}
    return [network, *networks([cell], region_share=lambda c: region, **kwargs)]


PRIORS = ("normal", "normal_anisotropic", "student_t", "normal_mixture")
PRIORS += ("spike_and_slab",)


def identities(*parts: str, gap: float = 1e-12, control: float = 0.5) -> Rows:
    return [
        {"part": part, "prior": prior, "gap": gap, "control_gap": control, "n": 20.0}
        for part in parts
        for prior in PRIORS
    ]


def rotations(normal: float = 0.0, student_t: float = -0.027, n: float = 6000) -> Rows:
    changes = dict.fromkeys(PRIORS, 0.2) | {"normal": normal, "student_t": student_t}
    return [
        {
            "part": "theorem 2",
            "prior": prior,
            "seed": seed,
            "degrees": degrees,
            "difference": changes[prior] * np.sin(np.radians(2 * degrees)),
            "difference_standard_error": 1e-6 if prior == "normal" else 0.003,
            "rounding": 1e-5,
            "n": n,
        }
        for prior in PRIORS
        for seed in (0.0, 1.0)
        for degrees in (0.0, 30.0, 60.0, 90.0)
    ]


def unknown_at(degrees: float, prior: str, rows: Rows) -> Rows:
    """Makes the change of one angle of a prior NaN."""
    where = {"degrees": degrees, "prior": prior}
    return [
        {**row, "difference": np.nan} if where.items() <= row.items() else row
        for row in rows
    ]


ESTIMATORS = ("naive_mixture", "weighted_sampling", "stratified_sampling")


def estimates(
    at_64: float = 3.0, at_512: float = 1.0, error: float = 0.01, count: int = 3
) -> Rows:
    biases = {16.0: 5.0, 64.0: at_64, 512.0: at_512, 4096.0: 0.0}
    return [
        {"estimator": estimator, "latent_dim": 10.0, "batch_size": size}
        | {"bias": sign * bias, "bias_standard_error": error, "truth": 1.0, "n": 100.0}
        for estimator, sign in zip(ESTIMATORS[:count], (1, -1, 1), strict=False)
        for size, bias in biases.items()
    ]


noisy: dict[str, Any] = {"spread": 0.6, "seeds": 4}
CASES: dict[str, list[tuple[str, Rows]]] = {
    "C1": [
        (SUPPORTED, left(0.1, 0.2)),
        (NOT_SUPPORTED, left(0.1, 0.1)),
        (NOT_SUPPORTED, left(-0.1, 0.2)),
        (INCONCLUSIVE, left(0.1, 0.2, **noisy)),
        (INCONCLUSIVE, left(0.1, 0.2, seeds=2)),
        (INCONCLUSIVE, left(0.1, 20.0)),  # no common range of reconstructions
    ],
    "C2": [
        (SUPPORTED, right(0.2, 0.1)),
        (NOT_SUPPORTED, right(0.2, 0.3)),
        (NOT_SUPPORTED, right(0.2, -0.1)),
        (NOT_SUPPORTED, right(0.0, -0.1)),
        (NOT_SUPPORTED, right(0.2, 0.1, cost=6.0)),
        (INCONCLUSIVE, right(0.2, 0.1, **noisy)),
    ],
    "C3": [
        (SUPPORTED, left(0, 0)),
        (NOT_SUPPORTED, left(0, 0, slope=0.03)),
        (INCONCLUSIVE, left(0, 0, **noisy)),
        (INCONCLUSIVE, left(0, 0, slope=-0.03)),
    ],
    "C4": [
        (SUPPORTED, pinwheel()),
        (NOT_SUPPORTED, pinwheel(growth=1.01)),
        (NOT_SUPPORTED, pinwheel(too_large=0.1)),
        (NOT_SUPPORTED, pinwheel(kls=(0.4, 0.4, 0.4, 0.4))),
        (NOT_SUPPORTED, pinwheel(kls=(0.4, 0.2, 0.3, 0.15))),
        (NOT_SUPPORTED, pinwheel(rarest=0.05)),
        (INCONCLUSIVE, pinwheel(**noisy)),
    ],
    "C5": [
        (SUPPORTED, fashion()),
        (NOT_SUPPORTED, fashion(gain=0.05)),
        (INCONCLUSIVE, fashion(gain=0.15, **noisy)),
    ],
    "C6": [
        (SUPPORTED, fashion()),
        (NOT_SUPPORTED, fashion(alpha_cost=150.0)),
        (INCONCLUSIVE, fashion(**noisy)),
    ],
    "C7": [
        (SUPPORTED, fashion()),
        (NOT_SUPPORTED, fashion(mmd_falls=1.0)),
        (NOT_SUPPORTED, fashion(mmd_normal=1.5)),
        (INCONCLUSIVE, fashion(mmd_falls=0.85, **noisy)),
    ],
    "C8": [
        (SUPPORTED, fashion()),
        (NOT_SUPPORTED, fashion(harm=(0.0, 0.1))),
        (NOT_SUPPORTED, fashion(harm=(0.1, 0.0))),
        (INCONCLUSIVE, fashion(harm=(0.02, 0.02), **noisy)),
    ],
    "C9": [
        (SUPPORTED, sparse_network()),
        (NOT_SUPPORTED, sparse_network(p=0.3)),
        (NOT_SUPPORTED, sparse_network(share=0.01)),
        (NOT_SUPPORTED, sparse_network(region=0.3)),
        (INCONCLUSIVE, sparse_network(region=0.6, **noisy)),
    ],
    "C10": [
        (SUPPORTED, identities("theorem 1", "log F_beta")),
        (NOT_SUPPORTED, identities("theorem 1", "log F_beta", gap=1e-3)),
        (NOT_SUPPORTED, identities("theorem 1", "log F_beta", gap=float("nan"))),
        (INCONCLUSIVE, identities("theorem 1", "log F_beta", control=0.0)),
        (INCONCLUSIVE, identities("theorem 1")),
        (INCONCLUSIVE, identities("theorem 1", "log F_beta")[:-1]),
    ],
    "C11": [
        (SUPPORTED, identities("corollary 1", "corollary 2")),
        (NOT_SUPPORTED, identities("corollary 1", "corollary 2", gap=1e-3)),
        (INCONCLUSIVE, identities("corollary 1", "corollary 2", control=0.0)),
        (INCONCLUSIVE, identities("corollary 2")),
    ],
    "C12": [
        (SUPPORTED, rotations()),
        (NOT_SUPPORTED, rotations(normal=0.1)),
        (NOT_SUPPORTED, rotations(student_t=0.001)),
        (INCONCLUSIVE, rotations(student_t=0.001, n=600)),
        (INCONCLUSIVE, rotations(n=600)),
        # An angle without a number: of the isotropic normal it could hide a change.
        (INCONCLUSIVE, unknown_at(60.0, "normal", rotations())),
        (SUPPORTED, unknown_at(30.0, "student_t", rotations())),
        (INCONCLUSIVE, [r for r in rotations() if r["prior"] != "student_t"]),
    ],
    "C13": [
        (SUPPORTED, estimates()),
        (NOT_SUPPORTED, estimates(at_64=0.2)),
        (NOT_SUPPORTED, estimates(at_512=0.05)),
        (INCONCLUSIVE, estimates(error=0.9)),
        (INCONCLUSIVE, estimates(count=2)),
    ],
}
