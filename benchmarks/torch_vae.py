# SPDX-License-Identifier: Apache-2.0
"""Equation (7) in plain PyTorch, written from the paper: no line of tf_decomp."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import distributions as td
from torch import nn
from torch.nn import functional as F

BANDWIDTHS = (0.2, 0.4, 1.0, 2.0, 4.0, 10.0)
_SCALE_FLOOR = 1e-4


class Model(NamedTuple):
    """Networks, prior and weights of the objective.

    Attributes:
        encoder: x -> loc and raw scale [batch, 2 latent_dim].
        decoder: z -> parameters of p(x|z).
        prior: Event shape [latent_dim].
        likelihood: "normal", "bernoulli" or "laplace" (scale 0.1).
        alpha: Weight of D.
        beta: Weight of the KL.
        divergence: Maps (q(z|x), prior, z, prior samples) to D, or None.
    """

    encoder: nn.Module
    decoder: nn.Module
    prior: td.Distribution
    likelihood: str
    alpha: float
    beta: float
    divergence: Callable[..., torch.Tensor] | None


def pinwheel(divergence: bool) -> Model:
    """Returns the model of Section 6.2: MLPs, four normals as the prior."""
    locs = torch.tensor([[0.0, 1], [0, -1], [1, 0], [-1, 0]])
    prior = td.MixtureSameFamily(
        td.Categorical(torch.ones(4)),
        td.Independent(td.Normal(locs, torch.full_like(locs, 0.03**0.5)), 1),
    )
    encoder, decoder = (
        nn.Sequential(nn.Linear(2, 100), nn.ReLU(), nn.Linear(100, 4)) for _ in range(2)
    )
    for network in (encoder, decoder):
        _glorot(network)
    return Model(
        encoder,
        decoder,
        prior,
        "normal",
        5.0 if divergence else 0.0,
        0.01,
        inclusive_kl if divergence else None,
    )


def dsprites() -> Model:
    """Returns the model of Section 6.1: 64x64 binary images, ten latents."""
    encoder = nn.Sequential(
        *(nn.Conv2d(1, 32, 4, 2, 1), nn.ReLU()),
        *(nn.Conv2d(32, 32, 4, 2, 1), nn.ReLU()),
        *(nn.Conv2d(32, 64, 4, 2, 1), nn.ReLU()),
        *(nn.Conv2d(64, 64, 4, 2, 1), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(1024, 128), nn.ReLU(), nn.Linear(128, 20)),
    )
    decoder = nn.Sequential(
        *(nn.Linear(10, 128), nn.ReLU(), nn.Linear(128, 1024)),
        *(nn.Unflatten(1, (64, 4, 4)), nn.ReLU()),
        *(nn.ConvTranspose2d(64, 64, 4, 2, 1), nn.ReLU()),
        *(nn.ConvTranspose2d(64, 64, 4, 2, 1), nn.ReLU()),
        *(nn.ConvTranspose2d(64, 32, 4, 2, 1), nn.ReLU()),
        nn.ConvTranspose2d(32, 1, 4, 2, 1),
    )
    for network in (encoder, decoder):
        _glorot(network)
    prior = td.Independent(td.Normal(torch.zeros(10), torch.ones(10)), 1)
    return Model(encoder, decoder, prior, "bernoulli", 0.0, 1.0, None)


def fashion_mnist(mmd: Callable[..., torch.Tensor] | None = None) -> Model:
    """Returns the model of Section 6.3: batch-normalised, spike-and-slab prior.

    Args:
        mmd: How D is computed, of two samples [batch, latent_dim]; None is without D.
    """

    def normal(channels: int) -> nn.Module:
        return nn.BatchNorm2d(channels, eps=1e-5, momentum=0.1)

    encoder = nn.Sequential(
        *(nn.Conv2d(1, 32, 4, 2, 1, bias=False), nn.LeakyReLU(0.2)),
        *(nn.Conv2d(32, 64, 4, 2, 1, bias=False), normal(64), nn.LeakyReLU(0.2)),
        *(nn.Conv2d(64, 128, 4, 2, 1, bias=False), normal(128), nn.LeakyReLU(0.2)),
        *(nn.Flatten(), nn.Linear(2048, 100, bias=False)),
    )
    decoder = nn.Sequential(
        *(nn.Linear(50, 2048, bias=False), nn.Unflatten(1, (128, 4, 4))),
        *(normal(128), nn.ReLU(), nn.ConvTranspose2d(128, 64, 4, 2, 1, bias=False)),
        *(normal(64), nn.ReLU(), nn.ConvTranspose2d(64, 32, 4, 2, 1, bias=False)),
        *(normal(32), nn.ReLU(), nn.ConvTranspose2d(32, 1, 4, 2, 1, bias=False)),
    )
    for network in (encoder, decoder):
        for module in network:
            if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
                nn.init.normal_(module.weight, std=0.02)
    parts = td.Normal(torch.zeros(50, 2), torch.tensor([1.0, 0.05**0.5]).expand(50, 2))
    weights = td.Categorical(torch.tensor([0.2, 0.8]).expand(50, 2))
    prior = td.Independent(td.MixtureSameFamily(weights, parts), 1)
    return Model(
        encoder,
        decoder,
        prior,
        "laplace",
        0.0 if mmd is None else 1000.0,
        1.0,
        None if mmd is None else lambda q, p, z, prior_samples: mmd(z, prior_samples),
    )


def loss(
    model: Model,
    x: torch.Tensor,
    noise: torch.Tensor,
    prior_samples: torch.Tensor | None,
) -> torch.Tensor:
    """Returns minus equation (7), the mean over the batch.

    Args:
        model: The model, in training mode.
        x: [batch, ...], images with channels first.
        noise: [batch, latent_dim] standard normal.
        prior_samples: [batch, latent_dim] for D, if it is used.
    """
    posterior = encode(model, x)
    z = posterior.base_dist.loc + posterior.base_dist.scale * noise
    log_likelihood = decode(model, z).log_prob(x)
    objective = (log_likelihood - model.beta * kl(posterior, model.prior, z)).mean()
    if model.divergence is not None:
        objective = objective - model.alpha * model.divergence(
            posterior, model.prior, z, prior_samples
        )
    return -objective


def encode(model: Model, x: torch.Tensor) -> td.Independent:
    """Returns q(z|x)."""
    loc, raw_scale = model.encoder(x).chunk(2, dim=-1)
    return td.Independent(td.Normal(loc, _SCALE_FLOOR + F.softplus(raw_scale)), 1)


def decode(model: Model, z: torch.Tensor) -> td.Independent:
    """Returns p(x|z)."""
    params = model.decoder(z)
    values: td.Distribution
    if model.likelihood == "normal":
        loc, raw_scale = params.chunk(2, dim=-1)
        values = td.Normal(loc, _SCALE_FLOOR + F.softplus(raw_scale))
    elif model.likelihood == "laplace":
        values = td.Laplace(params, torch.tensor(0.1))
    else:
        values = td.Bernoulli(logits=params)
    return td.Independent(values, params.dim() - 1)


def kl(
    posterior: td.Distribution, prior: td.Distribution, z: torch.Tensor
) -> torch.Tensor:
    """Returns KL(q(z|x) || p(z)) [batch], exact between normals."""
    if isinstance(prior.base_dist if hasattr(prior, "base_dist") else None, td.Normal):
        return td.kl_divergence(posterior, prior)
    return posterior.log_prob(z) - prior.log_prob(z)


def inclusive_kl(
    posterior: td.Independent,
    prior: td.Distribution,
    z: torch.Tensor,
    prior_samples: torch.Tensor,
) -> torch.Tensor:
    """Returns the mean of log p(z) - log (1/B) sum_i q(z|x_i) over prior samples."""
    log_q = torch.logsumexp(posterior.log_prob(prior_samples[:, None]), dim=1)
    log_q = log_q - math.log(len(z))
    return (prior.log_prob(prior_samples) - log_q).mean()


def mmd_by_dimension(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Returns the sum over dimensions of the unbiased squared MMD, [B, B] at a time."""
    columns = zip(x.T[..., None], y.T[..., None], strict=True)
    return torch.stack([mmd_vectorised(a, b) for a, b in columns]).sum()


def mmd_vectorised(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Returns the same, with tensors [B, B, latent_dim]."""
    n, m = len(x), len(y)
    within_x = (_kernels(x, x) - n * x.shape[1] * len(BANDWIDTHS)) / (n * (n - 1))
    within_y = (_kernels(y, y) - m * y.shape[1] * len(BANDWIDTHS)) / (m * (m - 1))
    return within_x + within_y - 2 * _kernels(x, y) / (n * m)


def train_call(model: Model, x: torch.Tensor, learning_rate: float) -> Callable:
    """Returns a function that takes one step of Adam (AMSGrad) and returns the loss."""
    parameters = [*model.encoder.parameters(), *model.decoder.parameters()]
    optimizer = torch.optim.Adam(
        parameters, learning_rate, eps=1e-7, amsgrad=True, foreach=True
    )
    shape, draws = (len(x), *model.prior.event_shape), model.divergence is not None

    def step() -> torch.Tensor:
        optimizer.zero_grad(set_to_none=True)
        prior_samples = model.prior.sample((len(x),)) if draws else None
        value = loss(model, x, torch.randn(shape), prior_samples)
        value.backward()
        optimizer.step()
        return value.detach()

    return step


def importance_weighted_bound(
    model: Model, x: torch.Tensor, num_samples: int
) -> torch.Tensor:
    """Returns log (1/K) sum_k w_k [batch], one sample of every datum at a time."""
    posterior = encode(model, x)
    log_weights = []
    for _ in range(num_samples):
        z = posterior.sample()
        log_joint = decode(model, z).log_prob(x) + model.prior.log_prob(z)
        log_weights.append(log_joint - posterior.log_prob(z))
    return torch.logsumexp(torch.stack(log_weights), 0) - math.log(num_samples)


def factor_vae_score(
    codes: torch.Tensor, factors: torch.Tensor, votes: int, samples: int
) -> float:
    """Returns the share of right votes: half of them train, half are scored."""
    variances, (n, num_factors) = codes.var(0), factors.shape
    table = torch.zeros(2, codes.shape[1], num_factors)
    for vote in range(votes):
        k = int(torch.randint(num_factors, ()))
        value = factors[int(torch.randint(n, ())), k]
        rows = (factors[:, k] == value).nonzero()[:, 0]
        rows = rows[torch.randint(len(rows), (samples,))]
        winner = (codes[rows].var(0) / variances).argmin()
        table[vote % 2, winner, k] += 1
    names = table[0].argmax(1)
    right = table[1][torch.arange(codes.shape[1]), names].sum()
    return float(right / table[1].sum())


def _kernels(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    squares = (x[:, None] - y[None]).square()
    return torch.stack([(c / (c + squares)).sum() for c in BANDWIDTHS]).sum()


def _glorot(network: Sequence[nn.Module]) -> None:
    """Initialises as Keras does by default."""
    for module in network:
        if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
