# SPDX-License-Identifier: Apache-2.0
"""What was trained: a run's config.flags in words and in tables."""

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

_DATASETS = {
    "dsprites": "dSprites",
    "fashion_mnist": "Fashion-MNIST",
    "pinwheel": "the pinwheel data",
}
_PRIORS = {
    "normal": "a standard normal prior",
    "normal_pca": "a normal prior with variances from the data's principal components",
    "normal_learnt": "a normal prior with learnt variances",
    "normal_learnt_fixed_total": "a normal prior with learnt variances of fixed total",
    "student_t": "independent Student-t priors with {df} degrees of freedom",
    "normal_mixture": "a mixture of four normals with variance {mixture_variance} as "
    "the prior",
    "spike_and_slab": "a spike-and-slab prior (weight {gamma} on a spike with variance "
    "{spike_variance})",
}
_SHORT_PRIORS = {
    "normal_pca": "normal (principal components)",
    "normal_learnt": "learnt normal",
    "normal_learnt_fixed_total": "learnt normal (fixed total)",
    "student_t": "Student-t",
    "normal_mixture": "normal-mixture",
    "spike_and_slab": "spike-and-slab",
}
_FAMILIES = {"bernoulli": "Bernoulli", "laplace": "Laplace"}
_DIVERGENCES = {
    "inclusive_kl": "the inclusive KL(p(z) ‖ q(z))",
    "dimensionwise_mmd": "the dimension-wise MMD of q(z) and p(z)",
}
_GROUPS = {
    "Data": (
        "dataset",
        "data_dir",
        "image_size",
        "max_train_examples",
        "max_test_examples",
    ),
    "Model": (
        "prior",
        "gamma",
        "spike_variance",
        "df",
        "mixture_variance",
        "posterior",
        "likelihood",
        "latent_dim",
        "hidden",
        "batch_norm",
    ),
    "Objective": ("alpha", "beta", "divergence", "num_samples"),
    "Optimisation": ("epochs", "batch_size", "learning_rate", "seed", "strategy"),
}
_OTHERS = "Run"
_MEANINGS = {
    ("image_size", "0"): "0 (as they are)",
    ("max_train_examples", "0"): "0 (all)",
    ("max_test_examples", "0"): "0 (all)",
}
_ONLY_OF_PRIOR = {
    "gamma": "spike_and_slab",
    "spike_variance": "spike_and_slab",
    "df": "student_t",
    "mixture_variance": "normal_mixture",
}


class SettingTable(NamedTuple):
    """Settings that belong together.

    Attributes:
        title: Their heading.
        rows: Name, value, and whether the run used it.
    """

    title: str
    rows: tuple[tuple[str, str, bool], ...]


def read_settings(path: Path) -> dict[str, str]:
    """Reads a flagfile, or gives no settings where there is none.

    Args:
        path: Of lines `--name=value`.
    """
    if not path.exists():
        return {}
    settings = {}
    for line in map(str.strip, path.read_text(encoding="utf-8").splitlines()):
        if line.startswith("-"):
            name, equals, value = line.lstrip("-").partition("=")
            settings[name] = value if equals else "true"
    return settings


def name_run(settings: Mapping[str, str]) -> str:
    """Gives the heading of a run.

    Args:
        settings: Of the run.
    """
    known = _known(settings)
    return (
        f"{known['dataset']}: {_SHORT_PRIORS.get(known['prior'], known['prior'])} "
        f"prior, "
        f"beta {known['beta']}, alpha {known['alpha']}"
    )


def describe_training(settings: Mapping[str, str]) -> str:
    """Says in two sentences what was trained.

    Args:
        settings: Of the run.
    """
    known = _known(settings)
    data = _DATASETS.get(known["dataset"], known["dataset"])
    if settings.get("max_train_examples", "0") != "0":
        data = f"{_grouped(known['max_train_examples'])} examples of {data}"
    prior = _PRIORS.get(known["prior"])
    prior = f"the prior {known['prior']}" if not prior else prior.format_map(known)
    if known["alpha"] == "0":
        regularisation = (
            "there is no divergence between q(z) and p(z) in it (alpha = 0)"
        )
    else:
        divergence = _DIVERGENCES.get(known["divergence"], known["divergence"])
        regularisation = f"alpha = {known['alpha']} weighs {divergence}"
    text = (
        f"A variational autoencoder with "
        f"{_counted(known['latent_dim'], 'latent dimension')}, {prior}, a "
        f"{_family(known['posterior'])} encoder q(z|x) and a "
        f"{_family(known['likelihood'])} likelihood p(x|z) was trained on {data} for "
        f"{_counted(known['epochs'], 'epoch')} in batches of {known['batch_size']} "
        f"(seed {known['seed']}). In its objective beta = {known['beta']} weighs "
        f"KL(q(z|x) ‖ p(z)), and {regularisation}."
    )
    for sign in ("=", "‖"):  # no line ends within a formula
        text = text.replace(f" {sign} ", f"\u00a0{sign}\u00a0")
    return text


def tabulate_settings(settings: Mapping[str, str]) -> list[SettingTable]:
    """Puts every setting into the table that it belongs to.

    Args:
        settings: Of the run.
    """
    grouped = {name for names in _GROUPS.values() for name in names}
    others = tuple(name for name in settings if name not in grouped)
    tables = []
    for title, names in {**_GROUPS, _OTHERS: others}.items():
        rows = tuple(
            (name, _show(name, settings[name]), _is_used(name, settings))
            for name in names
            if name in settings
        )
        if rows:
            tables.append(SettingTable(title, rows))
    return tables


def _counted(number: str, thing: str) -> str:
    return f"{number} {thing}" if number == "1" else f"{number} {thing}s"


def _grouped(number: str) -> str:
    return f"{int(number):,}" if number.isdecimal() else number


def _family(name: str) -> str:
    return _FAMILIES.get(name, name)


def _known(settings: Mapping[str, str]) -> Mapping[str, str]:
    """Gives the settings as words of a sentence, "unknown" where one is missing."""
    plain = {name: value.removesuffix(".0") for name, value in settings.items()}
    return defaultdict(_unknown, plain)


def _unknown() -> str:
    return "unknown"


def _show(name: str, value: str) -> str:
    return _MEANINGS.get((name, value), value or "not set")


def _is_used(name: str, settings: Mapping[str, str]) -> bool:
    return _ONLY_OF_PRIOR.get(name) in (None, settings.get("prior"))
