# SPDX-License-Identifier: Apache-2.0
"""ExperimentConfig: every setting of a run, its default, and its check."""

import dataclasses
import math
from typing import Any

from tf_decomp.errors import InputError
from tf_decomp.experiment.choices import (
    CHOICES,
    DIVERGENCES,
    LIKELIHOODS,
    POSTERIORS,
    PRIORS,
)

STRATEGIES = ("none", "mirrored", "multi_worker")


def _setting(default: Any, help: str, least: int | None = None) -> Any:
    metadata = {"help": help, "least": least}
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True)
class ExperimentConfig:
    """Every setting of a training run; each is a flag of bin/train.py.

    The fields' help texts are their documentation: `bin/train.py --help`.

    Raises:
        InputError: A value is out of range or does not fit another one.

    Example:
        >>> ExperimentConfig(dataset="pinwheel", prior="normal_mixture", beta=0.01)
    """

    dataset: str = _setting(
        "pinwheel",
        "pinwheel, dsprites, fashion_mnist, npz:PATH (x_train ...) or tfds:NAME.",
    )
    data_dir: str = _setting("", "The only folder to look for the data in; else usual.")
    image_size: int = _setting(
        0,
        "Side to which images are resized; 0: as they are (Fashion-MNIST: 32).",
        least=0,
    )
    max_train_examples: int = _setting(
        0, "Train on a seeded random subset of this size; 0: on all.", least=0
    )
    max_test_examples: int = _setting(
        0, "Test on a seeded random subset of this size; 0: on all.", least=0
    )
    prior: str = _setting("normal", f"p(z), one of {', '.join(PRIORS)}.")
    gamma: float = _setting(0.8, "Weight of the spike of spike_and_slab, in [0, 1].")
    spike_variance: float = _setting(0.05, "Variance of that spike.")
    df: float = _setting(5.0, "Degrees of freedom of student_t; inf: the normal.")
    mixture_variance: float = _setting(
        0.03, "Variance of the four normals of normal_mixture."
    )
    posterior: str = _setting("normal", f"q(z|x), one of {', '.join(POSTERIORS)}.")
    likelihood: str = _setting("normal", f"p(x|z), one of {', '.join(LIKELIHOODS)}.")
    latent_dim: int = _setting(2, "Number of latent dimensions.", least=1)
    hidden: tuple[int, ...] = _setting(
        (100,), "Units of the hidden layers of networks for vectors."
    )
    batch_norm: bool = _setting(
        False, "Batch-normalised convolutional networks, as for Fashion-MNIST."
    )
    divergence: str = _setting(
        "none", f"D(q(z), p(z)), one of {', '.join(DIVERGENCES)}."
    )
    alpha: float = _setting(0.0, "Weight of D in the objective (7).", least=0)
    beta: float = _setting(1.0, "Weight of the KL in the objective (7).", least=0)
    num_samples: int = _setting(1, "Posterior samples a datum.", least=1)
    epochs: int = _setting(500, "Passes over the training data.", least=1)
    batch_size: int = _setting(400, "Examples a step, over all replicas.", least=1)
    learning_rate: float = _setting(1e-3, "Of Adam (AMSGrad).")
    seed: int = _setting(0, "Of data, weights, order and noise.", least=0)
    strategy: str = _setting("none", f"One of {', '.join(STRATEGIES)}.")
    output_dir: str = _setting("runs/run", "Where the run's files go.")
    overwrite: bool = _setting(False, "Remove an earlier run in output_dir first.")

    def __post_init__(self) -> None:
        """Checks every value, so that a mistake shows before anything is written."""
        for field in dataclasses.fields(self):
            value = _typed(field.name, getattr(self, field.name), field.default)
            object.__setattr__(self, field.name, value)
        for setting, known in (*CHOICES.items(), ("strategy", STRATEGIES)):
            if getattr(self, setting) not in known:
                raise InputError(
                    f"{setting}: expected one of {', '.join(known)}; "
                    f"received {getattr(self, setting)!r}"
                )
        self._check_numbers()
        if self.alpha > 0 and self.divergence == "none":
            others = "|".join(name for name in DIVERGENCES if name != "none")
            raise InputError(
                f"alpha={self.alpha} weighs a divergence, but divergence=none; "
                f"choose --divergence={others} or --alpha=0"
            )
        latent_dim = PRIORS[self.prior].latent_dim
        if latent_dim not in (None, self.latent_dim):
            raise InputError(
                f"prior={self.prior} has latent_dim={latent_dim}; received "
                f"latent_dim={self.latent_dim}, set --latent_dim={latent_dim}"
            )

    def _check_numbers(self) -> None:
        for field in dataclasses.fields(self):
            value, least = getattr(self, field.name), field.metadata["least"]
            if least is not None and not (math.isfinite(value) and value >= least):
                raise InputError(f"{field.name} must be >= {least}; received {value}")
        for name in ("learning_rate", "spike_variance", "mixture_variance"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise InputError(f"{name} must be > 0 and finite; received {value}")
        if self.seed >= 2**31:
            raise InputError(f"seed must be below 2147483648; received {self.seed}")
        if not self.df > 0:
            raise InputError(f"df must be > 0 (inf for the normal); received {self.df}")
        if not 0 <= self.gamma <= 1:
            raise InputError(f"gamma must lie in [0, 1]; received {self.gamma}")
        if any(units < 1 for units in self.hidden):
            raise InputError(
                f"hidden must hold numbers >= 1; received {list(self.hidden)}"
            )

    def to_texts(self) -> dict[str, str]:
        """Returns the text of every setting's flag by its name."""
        fields = dataclasses.fields(self)
        return {field.name: _text(getattr(self, field.name)) for field in fields}

    def to_flags(self) -> str:
        """Returns a flagfile with every setting."""
        lines = (f"--{name}={text}\n" for name, text in self.to_texts().items())
        return "".join(lines)

    @classmethod
    def from_flags(cls, text: str) -> "ExperimentConfig":
        """Returns the settings of a flagfile; those it does not name have defaults.

        Args:
            text: Lines `--name=value`; empty lines and # comments are skipped.

        Raises:
            InputError: A line is not of that form, or a name or value is not known.
        """
        values: dict[str, Any] = {}
        for line in map(str.strip, text.splitlines()):
            if not line or line.startswith("#"):
                continue
            name, equals, value = line.lstrip("-").partition("=")
            if name not in DEFAULTS or not equals:
                raise InputError(f"config: expected --setting=value; received {line!r}")
            try:
                values[name] = parse_setting(name, value)
            except ValueError:
                raise InputError(
                    f"config: {name} cannot be {value!r}; expected a value as "
                    f"{DEFAULTS[name]!r}"
                ) from None
        return cls(**values)


DEFAULTS: dict[str, Any] = {
    field.name: field.default for field in dataclasses.fields(ExperimentConfig)
}


def parse_setting(name: str, text: str) -> Any:
    """Returns the value that a flag's text stands for, in the setting's type.

    Args:
        name: A key of DEFAULTS.
        text: As `ExperimentConfig.to_texts` writes it.

    Raises:
        ValueError: The text stands for no such value.
    """
    like = DEFAULTS[name]
    if isinstance(like, bool):
        if text.lower() not in ("true", "false"):
            raise ValueError(text)
        return text.lower() == "true"
    if isinstance(like, tuple):
        return tuple(int(part) for part in text.split(",")) if text else ()
    return type(like)(text)


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _typed(name: str, value: Any, like: Any) -> Any:
    """Returns the value in the type of the setting's default, if nothing is lost."""
    try:
        if isinstance(like, tuple):
            return tuple(_typed(name, item, 0) for item in value)
        typed = type(like)(value)
        kept = typed == value or typed != typed  # NaN is for the checks
    except (TypeError, ValueError):
        kept = False
    if not kept or isinstance(value, str) != isinstance(like, str):
        raise InputError(f"{name}: expected a value as {like!r}; received {value!r}")
    return typed
