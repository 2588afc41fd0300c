# SPDX-License-Identifier: Apache-2.0
"""What was trained: the settings of a run in words and in tables."""

from tf_decomp.experiment.choices import (
    CHOICES,
    DIVERGENCES,
    LIKELIHOODS,
    POSTERIORS,
    PRIORS,
)
from tf_decomp.experiment.config import SUBJECTS, ExperimentConfig

_DATASETS = {
    "color_dsprites": "Color-dSprites",
    "dsprites": "dSprites",
    "fashion_mnist": "Fashion-MNIST",
    "noisy_dsprites": "Noisy-dSprites",
    "pinwheel": "the pinwheel data",
    "xy_squares": "XYSquares",
}
_MEANING_OF_0 = {
    "image_size": "0 (as they are)",
    "max_train_examples": "0 (all)",
    "max_test_examples": "0 (all)",
}


def name_run(config: ExperimentConfig) -> str:
    """Returns the heading of a run."""
    prior = PRIORS[config.prior].short or config.prior
    texts = _plain_texts(config)
    return (
        f"{config.dataset}: {prior} prior, beta {texts['beta']}, alpha {texts['alpha']}"
    )


def describe_training(config: ExperimentConfig) -> str:
    """Says in two sentences what was trained."""
    texts = _plain_texts(config)
    data = _DATASETS.get(config.dataset, config.dataset)
    if config.max_train_examples:
        data = f"{config.max_train_examples:,} examples of {data}"
    if config.correlated_factors:
        names = config.correlated_factors.replace(",", " and ")
        data += f" with {names} correlated (width {texts['correlation_width']})"
    if config.alpha == 0:
        regularisation = (
            "there is no divergence between q(z) and p(z) in it (alpha = 0)"
        )
    else:
        divergence = DIVERGENCES[config.divergence].title.format_map(texts)
        regularisation = f"alpha = {texts['alpha']} weighs {divergence}"
    text = (
        f"A variational autoencoder with "
        f"{_counted(config.latent_dim, 'latent dimension')}, "
        f"{PRIORS[config.prior].title.format_map(texts)}, a "
        f"{POSTERIORS[config.posterior].title.format_map(texts)} encoder q(z|x) and a "
        f"{LIKELIHOODS[config.likelihood].title.format_map(texts)} likelihood "
        f"p(x|z) was trained on {data} for {_counted(config.epochs, 'epoch')} in "
        f"batches of {config.batch_size} (seed {config.seed}). In its objective beta = "
        f"{texts['beta']} weighs KL(q(z|x) ‖ p(z)), and {regularisation}."
    )
    for sign in ("=", "‖"):  # no line ends within a formula
        text = text.replace(f" {sign} ", f"\u00a0{sign}\u00a0")
    return text


def tabulate_settings(
    config: ExperimentConfig,
) -> dict[str, list[tuple[str, str, bool]]]:
    """Returns tables by subject: name, value, and whether the run used it."""
    texts = config.to_texts()
    for name, meaning in _MEANING_OF_0.items():
        texts[name] = meaning if texts[name] == "0" else texts[name]
    return {
        subject: [
            (name, texts[name] or "not set", _is_used(name, config)) for name in names
        ]
        for subject, names in SUBJECTS.items()
    }


def _plain_texts(config: ExperimentConfig) -> dict[str, str]:
    texts = config.to_texts()
    return {name: text.removesuffix(".0") for name, text in texts.items()}


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def _is_used(name: str, config: ExperimentConfig) -> bool:
    """Whether no choice, or one that was made, has a setting for itself."""
    if name == "correlation_width":
        return bool(config.correlated_factors)
    having = [
        getattr(config, setting) == chosen
        for setting, table in CHOICES.items()
        for chosen, choice in table.items()
        if name in choice.settings
    ]
    return any(having) or not having
