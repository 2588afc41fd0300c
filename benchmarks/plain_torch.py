# SPDX-License-Identifier: Apache-2.0
"""The workloads in plain PyTorch, eager, as a competent user writes them."""

import functools
import math
import time
from collections.abc import Callable

import numpy as np
import torch

from benchmarks import torch_vae
from benchmarks.timing import (
    Settings,
    cores,
    interleaved,
    run_worker,
    seconds_a_call,
)
from benchmarks.workloads import NAIVE_SHARE


def _pinwheel(divergence: bool, settings: Settings) -> dict[str, float]:
    x = torch.randn(20 if settings.quick else 400, 2)
    call = torch_vae.train_call(torch_vae.pinwheel(divergence), x, 1e-3)
    return {"value": 1 / seconds_a_call(call, settings.seconds)}


def _dsprites(settings: Settings) -> dict[str, float]:
    batch = 8 if settings.quick else 64
    x = torch.rand(batch, 1, 64, 64).round()
    call = torch_vae.train_call(torch_vae.dsprites(), x, 5e-4)
    return {"value": batch / seconds_a_call(call, settings.seconds)}


def _fashion_mnist(settings: Settings) -> dict[str, float]:
    return {"value": _fashion_mnist_rate(None, settings)}


def _fashion_mnist_mmd(settings: Settings) -> dict[str, float]:
    """Returns the rate with [B, B, D] tensors, and with a loop over dimensions."""
    forms = {"value": torch_vae.mmd_vectorised, "loop": torch_vae.mmd_by_dimension}
    return {name: _fashion_mnist_rate(mmd, settings) for name, mmd in forms.items()}


def _fashion_mnist_rate(
    mmd: Callable[..., torch.Tensor] | None, settings: Settings
) -> float:
    batch = 8 if settings.quick else 500
    x = torch.rand(batch, 1, 32, 32)
    call = torch_vae.train_call(torch_vae.fashion_mnist(mmd), x, 5e-4)
    return batch / seconds_a_call(call, settings.seconds)


def _mmd(settings: Settings) -> dict[str, float]:
    size = (20, 3) if settings.quick else (500, 50)
    x, y = torch.randn(size, requires_grad=True), torch.randn(size)

    def gradient(mmd: Callable[..., torch.Tensor]) -> torch.Tensor:
        return torch.autograd.grad(mmd(x, y), x)[0]

    forms = {"value": torch_vae.mmd_vectorised, "loop": torch_vae.mmd_by_dimension}
    return {
        name: 1000 * seconds_a_call(functools.partial(gradient, mmd), settings.seconds)
        for name, mmd in forms.items()
    }


@torch.inference_mode()
def _encode(settings: Settings) -> dict[str, float]:
    model, n = torch_vae.fashion_mnist(), 100 if settings.quick else 10_000
    x = torch.rand(n, 1, 32, 32)
    model.encoder.eval()

    def call() -> torch.Tensor:
        means = [torch_vae.encode(model, rows).mean for rows in x.split(500)]
        return torch.cat(means)

    return {"value": n / seconds_a_call(call, settings.seconds)}


@torch.inference_mode()
def _iwae(settings: Settings) -> dict[str, float]:
    model, n = torch_vae.fashion_mnist(), 4 if settings.quick else 100
    samples = 10 if settings.quick else 100
    x = torch.rand(n, 1, 32, 32)
    model.encoder.eval()
    model.decoder.eval()
    times = interleaved(
        {"": lambda: torch_vae.importance_weighted_bound(model, x, samples).mean()},
        rounds=1 if settings.quick else 2,
    )
    return {"value": n / min(times[""])}


def _factor_vae(settings: Settings) -> dict[str, float]:
    sizes = (3, 4, 5, 6, 7) if settings.quick else (3, 6, 40, 32, 32)
    votes, samples = (200, 20) if settings.quick else (20_000, 1_000)
    rows = np.arange(math.prod(sizes))
    factors = torch.tensor(np.stack(np.unravel_index(rows, sizes), axis=1))
    codes = torch.randn(len(rows), 10)
    codes[:, :5] += factors / torch.tensor(sizes)
    start = time.perf_counter()
    torch_vae.factor_vae_score(codes, factors, votes // NAIVE_SHARE, samples)
    return {"value": NAIVE_SHARE * (time.perf_counter() - start)}


def _matmul(settings: Settings) -> dict[str, float]:
    n = 64 if settings.quick else 2048
    a, b = torch.randn(n, n), torch.randn(n, n)
    times = [seconds_a_call(lambda: a @ b, settings.seconds / 5) for _ in range(5)]
    return {"value": 2 * n**3 / min(times) / 1e9}


WORKLOADS: dict[str, Callable[[Settings], dict[str, float]]] = {
    "matmul": _matmul,
    "pinwheel_beta": lambda settings: _pinwheel(False, settings),
    "pinwheel_kl": lambda settings: _pinwheel(True, settings),
    "dsprites": _dsprites,
    "fashion_mnist": _fashion_mnist,
    "fashion_mnist_mmd": _fashion_mnist_mmd,
    "mmd": _mmd,
    "encode": _encode,
    "iwae": _iwae,
    "factor_vae": _factor_vae,
}

if __name__ == "__main__":
    torch.set_num_threads(cores())
    torch.distributions.Distribution.set_default_validate_args(False)
    torch.manual_seed(0)
    run_worker(WORKLOADS)
