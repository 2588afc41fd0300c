# SPDX-License-Identifier: Apache-2.0
"""Toy tables for every claim of the paper, with the verdict that each should get."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from paper.statistics import INCONCLUSIVE, NOT_SUPPORTED, SUPPORTED

Rows = list[dict[str, Any]]


def networks(
    cells: Sequence[dict[str, Any]],
    seeds: int = 10,
    spread: float = 0.01,
    **quantities: Callable[[dict[str, Any]], float],
) -> Rows:
    """Returns one row a cell and seed: means times log-normal noise."""
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


def fig2(
    pca: float = 0.0,
    learnt: float = 0.0,
    slope: float = 0.0,
    hump: float = 0.0,
    few: float = 0.0,
    least: float = 0.0,
    cost: float = 1.0,
    **kwargs: Any,
) -> Rows:
    """Figure 2: gains of the score by prior, by beta of the isotropic one, by df."""
    gains = {"normal": 0.0, "normal_pca": pca, "normal_learnt": learnt}
    cells = [
        {"panel": "a", "prior": prior, "beta": beta}
        for prior in gains
        for beta in (1.0, 2.0, 4.0)
        if prior == "normal" or beta != 2.0
    ]
    cells += [
        {"panel": "t", "prior": "student_t", "df": df, "beta": 1.0} for df in (3.0, 7.0)
    ]
    by_df = {3.0: least, 7.0: few}

    def score(c: dict[str, Any]) -> float:
        if "df" in c:
            return 0.6 + by_df[c["df"]] + slope
        above = slope * c["beta"] + hump * (c["beta"] == 2.0)
        return 0.6 + gains[c["prior"]] + (above if c["prior"] == "normal" else 0.0)

    return networks(
        cells,
        factor_vae_score=score,
        factor_vae_score_all=score,
        # Better priors also fit better, so that cells of equal beta do not compare.
        log_likelihood=lambda c: (
            -30
            - 10 * c["beta"]
            + 20 * gains.get(c["prior"], 0.0)
            - cost * (c.get("df") == 7.0)
        ),
        **kwargs,
    )


def pinwheel(
    growth: float = 3.0,
    too_large: float = 0.5,
    kls: Sequence[float] = (0.4, 0.3, 0.2, 0.15),
    rarest: float = 0.24,
    **kwargs: Any,
) -> Rows:
    """Figure 3: overlap growth, off-mode mass at the largest beta, KL by alpha."""
    top = networks(
        grid(kind=["network"], panel=["fresh"], alpha=[0.0], beta=[0.5, 1.0, 1.2]),
        overlap=lambda c: growth ** (5 * c["beta"]),
        off_mode_mass=lambda c: too_large if c["beta"] == 1.2 else 0.2,
        joint_mmd=lambda c: 0.2,
        rarest_mode_share=lambda c: 0.2,
        **kwargs,
    )
    by_alpha = dict(zip((1.0, 3.0, 5.0, 8.0), kls, strict=True))
    bottom = networks(
        grid(kind=["network"], panel=["alpha"], alpha=list(by_alpha), beta=[0.0]),
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


def fig4_rounds(seeds: Sequence[int]) -> Rows:
    """Returns whole rounds of Figure 4 at scale cpu, in which C5 to C8 hold."""
    rows = [
        {"scale": "cpu", **row}
        for row in fashion(seeds=1)
        if (row["gamma"], row["spike_variance"]) == (0.8, 0.05) or row["beta"] == 1.0
    ]
    return [
        row | {"seed": float(seed), "hoyer": row["hoyer"] + 1e-3 * (seed % 3)}
        for seed in seeds
        for row in rows
    ]


def sparse_network(
    p: float = 0.002, share: float = 0.3, region: float = 0.8, **kwargs: Any
) -> Rows:
    cells = grid(kind=["network"], panel=["variance", "deviation"], permutation_p=[p])
    rows = networks(
        cells,
        class_share=lambda c: share,
        region_share=lambda c: region,
        swap_share=lambda c: 0.55,
        **{"seeds": 3, **kwargs},
    )
    # Moves are many a network and count for nothing by themselves.
    moves = [{"kind": "move", "panel": "variance", "seed": 0.0, "region_share": 0.1}]
    return rows + 200 * moves


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


FACTORS: dict[str, Callable[[dict[str, Any]], float]] = {
    "overlap": lambda c: 5.0,
    "joint_mmd_share": lambda c: 0.002,
    "aggregate_kl": lambda c: 1.0,
    "dependence": lambda c: 0.3,
    "prior_dependence": lambda c: 0.2,
}


def planes(
    gain: float = 0.4, gain_over_normal: float = 0.4, by: str = "", **kwargs: Any
) -> Rows:
    """Position in the prior's planes, above any of its own and of the normal's."""
    gains = {"independent_subspaces": gain, "normal": gain_over_normal}
    return networks(
        grid(prior=["normal", "independent_subspaces"]),
        **{
            f"plane{by}": lambda c: 0.9,
            f"plane_any{by}": lambda c: 0.9 - gains[c["prior"]],
            "pair": lambda c: 0.9,
            "axis": lambda c: 0.5,
            **FACTORS,
        },
        **{"seeds": 5, **kwargs},
    )


def hierarchy(
    gain: float = 0.2, normal: float = 0.0, by: str = "", **kwargs: Any
) -> Rows:
    """Accuracies of the class group above the style group, with each prior."""
    gains = {"hierarchical": gain, "normal": normal}
    return networks(
        grid(prior=["normal", "hierarchical"]),
        **{
            f"class_accuracy{by}": lambda c: 0.6 + gains[c["prior"]],
            f"style_accuracy{by}": lambda c: 0.6,
            "both_accuracy": lambda c: 0.8,
            **FACTORS,
        },
        **{"seeds": 5, **kwargs},
    )


noisy: dict[str, Any] = {"spread": 0.6, "seeds": 4}
CASES: dict[str, list[tuple[str, Rows]]] = {
    "C1": [
        (SUPPORTED, fig2(0.1, 0.2)),
        (NOT_SUPPORTED, fig2(0.1, 0.1)),
        (NOT_SUPPORTED, fig2(-0.1, 0.2)),
        (NOT_SUPPORTED, fig2(0.1, 0.12)),  # there, but smaller than what matters
        (INCONCLUSIVE, fig2(0.1, 0.2, **noisy)),
        (INCONCLUSIVE, fig2(0.1, 0.2, seeds=2)),
        (INCONCLUSIVE, fig2(0.1, 20.0)),  # no common range of reconstructions
    ],
    "C2": [
        (SUPPORTED, fig2(few=0.2, least=0.1)),
        (NOT_SUPPORTED, fig2(few=0.2, least=0.3)),
        (NOT_SUPPORTED, fig2(few=0.2, least=-0.1)),
        (NOT_SUPPORTED, fig2(few=0.0, least=-0.1)),
        (NOT_SUPPORTED, fig2(few=0.2, least=0.1, cost=6.0)),
        (INCONCLUSIVE, fig2(few=0.2, least=0.1, **noisy)),
    ],
    "C3": [
        (SUPPORTED, fig2()),
        (NOT_SUPPORTED, fig2(slope=0.03)),
        (NOT_SUPPORTED, fig2(hump=0.1)),  # a slope would not see it
        (INCONCLUSIVE, fig2(spread=0.3)),
        (INCONCLUSIVE, fig2(slope=-0.03)),
    ],
    "C4": [
        (SUPPORTED, pinwheel()),
        (NOT_SUPPORTED, pinwheel(growth=1.001)),
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
    "C5b": [
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
        (NOT_SUPPORTED, sparse_network(region=0.55)),  # as unrelated data of a class
        (INCONCLUSIVE, sparse_network(region=0.65, **noisy)),
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
    "S1": [
        (SUPPORTED, planes()),
        (NOT_SUPPORTED, planes(gain=0.0)),
        (NOT_SUPPORTED, planes(gain_over_normal=0.05)),  # there, but too small
        (INCONCLUSIVE, planes(gain=0.2, **noisy)),
        (INCONCLUSIVE, planes(seeds=2)),
        (INCONCLUSIVE, planes(by="_linear")),  # another score's columns
    ],
    "S2": [
        (SUPPORTED, hierarchy()),
        (NOT_SUPPORTED, hierarchy(gain=0.0)),
        (NOT_SUPPORTED, hierarchy(normal=0.2)),  # of these groups, not of the prior
        (NOT_SUPPORTED, hierarchy(gain=-0.2)),
        (INCONCLUSIVE, hierarchy(gain=0.1, **noisy)),
        (INCONCLUSIVE, hierarchy(by="_linear")),
    ],
}
