# SPDX-License-Identifier: Apache-2.0
"""Judges codes of any model: save arrays, then read the report."""

import tempfile
from pathlib import Path

import numpy as np

from tf_decomp.evaluation import evaluate_codes
from tf_decomp.metrics import factor_vae_score, hoyer_sparsity


def main() -> None:
    """Makes codes of a pretend encoder, scores them, writes a report."""
    rng = np.random.default_rng(0)
    factors = rng.integers(0, 8, size=(2000, 3))
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    mixed = (factors - 3.5) / 2.3 @ rotation + 0.05 * rng.normal(size=factors.shape)
    codes = np.concatenate([mixed, 0.001 * rng.normal(size=(2000, 1))], axis=1)

    # By the posteriors' standard deviations the last dimension is inactive.
    scales = np.full_like(codes, 0.1)

    # One metric on plain arrays: the value never comes without its company.
    score = factor_vae_score(codes, factors, posterior_scales=scales)
    print(f"FactorVAE score {score.value:.3f} +- {score.standard_error:.3f}")
    print(f"chance {score.chance:.3f}, dropped dimensions {score.dropped}")
    print(f"nothing dropped {score.value_all:.3f}, sampled {score.value_sampled:.3f}")
    print(f"Hoyer sparsity {hoyer_sparsity(codes).value:.3f}")

    # All of them, and the page; scales (of normal encoders) add the two factors.
    folder = Path(tempfile.mkdtemp())
    np.savez(folder / "codes.npz", codes=codes, scales=scales, factors=factors)
    print("report:", evaluate_codes(folder / "codes.npz", folder / "report"))


if __name__ == "__main__":
    main()
