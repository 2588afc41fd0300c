# SPDX-License-Identifier: Apache-2.0
"""ExperimentConfig: every setting of a run, its default, and its check."""

import dataclasses
import itertools
import math
import numbers
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from tf_decomp.checks import LARGEST, SMALLEST, short
from tf_decomp.errors import InputError
from tf_decomp.experiment.choices import (
    CHOICES,
    DIVERGENCES,
    LIKELIHOODS,
    OBJECTIVES,
    POSTERIORS,
    PRIORS,
)
from tf_decomp.networks import POSTERIORS as HEADS

STRATEGIES = ("none", "mirrored", "multi_worker")

_MOST_WHOLE = 2**31 - 1  # TensorFlow counts in int32
# Of weights in a network, which take 9 GB in training (two networks, gradients, Adam's
# slots), and of outputs of a layer in a step.
_MOST_NUMBERS = 10**8
_PATHS = ("data_dir", "output_dir")

# What each setting is about, as `--help` and reports show them.
SUBJECTS = {
    "Data": (
        "dataset",
        "data_dir",
        "image_size",
        "max_train_examples",
        "max_test_examples",
        "correlated_factors",
        "correlation_width",
    ),
    "Prior p(z)": (
        "prior",
        "latent_dim",
        "gamma",
        "spike_variance",
        "df",
        "mixture_variance",
        "branching",
        "radius_ratio",
        "num_modes",
        "subspaces",
        "outer_exponent",
        "group_exponent",
        "num_pseudo_inputs",
        "num_couplings",
        "prior_hidden",
    ),
    "Posterior q(z|x) and likelihood p(x|z)": (
        "posterior",
        "posterior_num_couplings",
        "posterior_units",
        "likelihood",
        "num_classes",
        "hidden",
        "batch_norm",
    ),
    "Objective": (
        "divergence",
        "alpha",
        "beta",
        "capacity",
        "capacity_epochs",
        "adversary_hidden",
        "adversary_learning_rate",
        "num_samples",
    ),
    "Training": ("epochs", "batch_size", "learning_rate", "seed", "strategy"),
    "Files": ("output_dir", "overwrite"),
}


def _setting(
    default: Any, help: str, least: float | None = None, most: float | None = None
) -> Any:
    if most is None:
        most = LARGEST if isinstance(default, float) else _MOST_WHOLE
    return dataclasses.field(
        default=default, metadata={"help": help, "least": least, "most": most}
    )


@dataclasses.dataclass(frozen=True)
class ExperimentConfig:
    """Every setting of a training run; each is a flag of `tf-decomp-train`.

    The fields' help texts are their documentation: `tf-decomp-train --help`. A `~` in
    front of a path is the user's home.

    Raises:
        InputError: A value is out of range or does not fit another one.

    Example:
        >>> ExperimentConfig(dataset="pinwheel", prior="normal_mixture", beta=0.01)
    """

    dataset: str = _setting(
        "pinwheel",
        "pinwheel, dsprites, color_dsprites, noisy_dsprites, xy_squares, "
        "fashion_mnist, npz:PATH (x_train ...) or tfds:NAME.",
    )
    data_dir: str = _setting("", "The only folder to look for the data in; else usual.")
    image_size: int = _setting(
        0,
        "Of images: the side to which they are resized; 0: none (Fashion-MNIST: 32).",
        least=0,
        most=4096,
    )
    max_train_examples: int = _setting(
        0, "Train on a seeded random subset of this size; 0: on all.", least=0
    )
    max_test_examples: int = _setting(
        0, "Test on a seeded random subset of this size; 0: on all.", least=0
    )
    correlated_factors: str = _setting(
        "",
        "Two factors to be correlated in the training data, as posX,posY; tests stay "
        "uncorrelated.",
    )
    correlation_width: float = _setting(
        0.2,
        "Of correlated factors, scaled to [0, 1]: the standard deviation around their "
        "line.",
        least=SMALLEST,
    )
    prior: str = _setting("normal", f"p(z), one of {', '.join(PRIORS)}.")
    gamma: float = _setting(
        0.8, "Of prior spike_and_slab: the spike's weight, in [0, 1].", least=0, most=1
    )
    spike_variance: float = _setting(
        0.05, "Of prior spike_and_slab: the spike's variance.", least=SMALLEST
    )
    df: float = _setting(
        5.0,
        "Of priors student_t and independent_subspaces: degrees of freedom; inf: the "
        "normal.",
        least=SMALLEST,
        most=math.inf,
    )
    mixture_variance: float = _setting(
        0.03, "Of prior normal_mixture: variance of its four modes.", least=SMALLEST
    )
    branching: tuple[int, ...] = _setting(
        (3, 2),
        "Of prior tree_mixture: clusters within each cluster, level by level.",
        least=2,
        most=100_000,
    )
    radius_ratio: float = _setting(
        0.25,
        "Of prior tree_mixture: clusters lie at distance 1 from 0, those in them at so "
        "many times that of the level above, and once more so is the last ones' "
        "standard deviation.",
        least=SMALLEST,
        most=1,
    )
    num_modes: int = _setting(
        10,
        "Of priors normal_mixture_learnt and, in each dimension, factorised_mixture: "
        "how many normals.",
        least=1,
        most=100_000,
    )
    subspaces: tuple[int, ...] = _setting(
        (2,),
        "Of priors independent_subspaces and lp_nested: sizes of the groups of "
        "dimensions, in order.",
        least=1,
        most=100_000,
    )
    outer_exponent: float = _setting(
        1.0,
        "Of prior lp_nested: exponent of the groups' norms; 2: as in a normal.",
        least=1,
    )
    group_exponent: float = _setting(
        2.0,
        "Of prior lp_nested: the p of the norms within groups; 2: lengths.",
        least=1,
    )
    num_pseudo_inputs: int = _setting(
        50, "Of prior vamp: learnt inputs; it is the mixture of their encodings.", 1
    )
    num_couplings: int = _setting(
        6, "Of prior flow: affine couplings in a row.", 2, 1000
    )
    prior_hidden: tuple[int, ...] = _setting(
        (64,),
        "Of priors flow and hierarchical: units of their networks' hidden layers.",
        least=1,
        most=10_000,
    )
    posterior: str = _setting("normal", f"q(z|x), one of {', '.join(POSTERIORS)}.")
    posterior_num_couplings: int = _setting(
        4, "Of posterior flow: affine couplings in a row.", 2, 1000
    )
    posterior_units: int = _setting(
        8, "Of posterior flow: hidden units of each coupling.", 1, 10_000
    )
    likelihood: str = _setting("normal", f"p(x|z), one of {', '.join(LIKELIHOODS)}.")
    num_classes: int = _setting(
        2, "Of likelihood categorical: data are numbers from 0 to below it.", least=2
    )
    latent_dim: int = _setting(2, "Number of latent dimensions.", least=1, most=100_000)
    hidden: tuple[int, ...] = _setting(
        (100,),
        "Of data that are vectors: units of the hidden layers.",
        least=1,
        most=100_000,
    )
    batch_norm: bool = _setting(
        False, "Of images: batch-normalised networks, as for Fashion-MNIST."
    )
    divergence: str = _setting(
        "none", f"D(q(z), p(z)), one of {', '.join(DIVERGENCES)}."
    )
    alpha: float = _setting(0.0, "Weight of D in the objective (7).", least=0)
    beta: float = _setting(1.0, "Weight of the KL in the objective (7).", least=0)
    capacity: float = _setting(
        25.0, "Of divergence kl_capacity: of the mean KL, in nats.", least=0
    )
    capacity_epochs: int = _setting(
        0,
        "Of divergence kl_capacity: epochs in which the capacity rises from 0 (a step "
        "in each row of history.csv); 0: it is fixed.",
        least=0,
    )
    adversary_hidden: tuple[int, ...] = _setting(
        (256, 256),
        "Of adversarial divergences: units of the adversary's hidden layers.",
        least=1,
        most=10_000,
    )
    adversary_learning_rate: float = _setting(
        1e-4, "Of adversarial divergences: of the adversary's Adam.", least=SMALLEST
    )
    num_samples: int = _setting(1, "Posterior samples a datum.", least=1)
    epochs: int = _setting(500, "Passes over the training data.", least=1)
    batch_size: int = _setting(400, "Examples a step, over all replicas.", least=1)
    learning_rate: float = _setting(1e-3, "Of Adam (AMSGrad).", least=SMALLEST)
    seed: int = _setting(0, "Of data, weights, order and noise.", least=0)
    strategy: str = _setting("none", f"One of {', '.join(STRATEGIES)}.")
    output_dir: str = _setting("runs/run", "Where the run's files go.")
    overwrite: bool = _setting(False, "Remove an earlier run in output_dir first.")

    def __post_init__(self) -> None:
        """Checks every value, so that a mistake shows before anything is written."""
        for field in dataclasses.fields(self):
            value = _typed(field.name, getattr(self, field.name), field.default)
            if isinstance(value, str):
                value = _checked_text(field.name, value)
            elif not isinstance(value, bool):
                for number in value if isinstance(value, tuple) else (value,):
                    _check_number(field.name, number, field.metadata)
            object.__setattr__(self, field.name, value)
        for setting, known in (*CHOICES.items(), ("strategy", STRATEGIES)):
            if getattr(self, setting) not in known:
                raise InputError(
                    f"{setting}: expected one of {', '.join(known)}; "
                    f"received {short(getattr(self, setting))}"
                )
        self._check_together()

    def _check_together(self) -> None:
        """Refuses values that do not fit each other."""
        if self.alpha > 0 and self.divergence == "none":
            others = " or ".join(name for name in DIVERGENCES if name != "none")
            raise InputError(
                f"alpha={self.alpha} weighs a divergence, but divergence=none; "
                f"set divergence to {others}, or alpha to 0"
            )
        choice = DIVERGENCES[self.divergence]
        least = max(choice.least_batch, choice.batch_per_dimension * self.latent_dim)
        if self.alpha > 0 and self.batch_size < least:
            raise InputError(
                f"batch_size={self.batch_size}: divergence={self.divergence} compares "
                f"the encodings of a batch with each other and needs {least} or more; "
                "raise batch_size, or set alpha to 0"
            )
        latent_dim = PRIORS[self.prior].latent_dim
        if latent_dim not in (None, self.latent_dim):
            raise InputError(
                f"prior={self.prior} has latent_dim={latent_dim}; received "
                f"latent_dim={self.latent_dim}, set it to {latent_dim}"
            )
        total = sum(self.subspaces)
        if "subspaces" in PRIORS[self.prior].settings and total != self.latent_dim:
            raise InputError(
                f"subspaces={_text(self.subspaces)} have {total} dimensions in all; "
                f"received latent_dim={self.latent_dim}, set one to fit the other"
            )
        if "branching" in PRIORS[self.prior].settings and not self.branching:
            raise InputError(
                f"prior={self.prior} needs one or more levels of branching; received "
                "none, set it, as branching=3,2"
            )
        for setting, row in (
            ("prior", PRIORS[self.prior]),
            ("posterior", POSTERIORS[self.posterior]),
        ):
            if self.latent_dim < row.least_latent_dim:
                raise InputError(
                    f"{setting}={getattr(self, setting)} needs latent_dim >= "
                    f"{row.least_latent_dim}; received latent_dim={self.latent_dim}, "
                    "raise it"
                )
        self._check_correlation()
        self._check_sizes()

    def _check_correlation(self) -> None:
        """Refuses correlated factors that are not two names."""
        if self.correlated_factors:
            names = self.correlated_factors.split(",")
            if len(names) != 2 or "" in names or names[0] == names[1]:
                raise InputError(
                    "correlated_factors: expected two different factors, as posX,posY; "
                    f"received {short(self.correlated_factors)}"
                )

    def _check_sizes(self) -> None:
        """Refuses networks and steps that no memory holds."""
        params = HEADS["normal"].params_size(self.latent_dim)
        if self.posterior in HEADS:  # a row may name a user's own
            params = HEADS[self.posterior].params_size(
                self.latent_dim, **self.posterior_settings
            )
        layers = (*self.hidden, params)
        weights = sum(before * after for before, after in itertools.pairwise(layers))
        outputs = max(layers) * self.num_samples * self.batch_size
        used = PRIORS[self.prior].settings
        modes = "num_modes" in used and self.num_modes
        branching = self.branching if "branching" in used else (0,)
        leaves = math.prod(map(float, branching))
        for count, what, names in (
            (weights, "weights in a network", ("hidden", "latent_dim")),
            (
                modes * self.latent_dim * self.batch_size,
                "numbers in the prior's samples of a step",
                ("num_modes", "latent_dim", "batch_size"),
            ),
            (
                leaves * self.latent_dim * self.batch_size,
                "numbers in the prior's samples of a step",
                ("branching", "latent_dim", "batch_size"),
            ),
            (
                outputs,
                "outputs of a layer in a step",
                ("hidden", "latent_dim", "num_samples", "batch_size"),
            ),
        ):
            if count > _MOST_NUMBERS:
                given = ", ".join(f"{k}={_text(getattr(self, k))}" for k in names)
                raise InputError(
                    f"{given} make {count:.2g} {what}, more than {_MOST_NUMBERS:.0g}; "
                    "lower them"
                )

    @property
    def posterior_settings(self) -> dict[str, Any]:
        """What the posterior's head takes beside latent_dim."""
        return {
            name.removeprefix("posterior_"): getattr(self, name)
            for name in POSTERIORS[self.posterior].settings
        }

    @classmethod
    def from_objective(cls, name: str, **settings: Any) -> "ExperimentConfig":
        """Returns settings with the divergence, alpha and beta of a known objective.

        It is a start: what is recorded of a run are its settings alone.

        Args:
            name: A key of OBJECTIVES.
            **settings: Others, and alpha or beta in place of the objective's.

        Raises:
            InputError: There is no such objective, another divergence is given, or a
                value is not usable.

        Example:
            >>> ExperimentConfig.from_objective("beta_tcvae", alpha=3.0, latent_dim=10)
        """
        if not isinstance(name, str) or name not in OBJECTIVES:
            raise InputError(
                f"objective: expected one of {', '.join(OBJECTIVES)}; received "
                f"{short(name)}"
            )
        preset = OBJECTIVES[name].settings
        divergence = settings.get("divergence", preset["divergence"])
        if divergence != preset["divergence"]:
            raise InputError(
                f"objective={name} has divergence={preset['divergence']}; received "
                f"divergence={short(divergence)}, leave one of the two out"
            )
        return cls(**{**preset, **settings})

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
            text: As `flag_lines` takes it.

        Raises:
            InputError: A line is not of that form, or a name or value is not known.
        """
        values: dict[str, Any] = {}
        for line in flag_lines(text):
            name, equals, value = line.lstrip("-").partition("=")
            if name not in DEFAULTS or not equals:
                raise InputError(
                    f"config: expected --setting=value; received {short(line)}"
                )
            try:
                values[name] = parse_setting(name, value)
            except ValueError:
                raise InputError(
                    f"config: {name} cannot be {short(value)}; expected a value as "
                    f"{DEFAULTS[name]!r}"
                ) from None
        return cls(**values)


DEFAULTS: dict[str, Any] = {
    field.name: field.default for field in dataclasses.fields(ExperimentConfig)
}


def flag_lines(text: str) -> Iterator[str]:
    r"""Yields the lines of a flagfile that say something.

    Args:
        text: Lines `--name=value`; empty lines, comments (# or //) and a byte-order
            mark in front are skipped.

    Example:
        >>> list(flag_lines("# mine\n--beta=2\n"))
        ['--beta=2']
    """
    for line in map(str.strip, text.removeprefix("\ufeff").splitlines()):
        if line and not line.startswith(("#", "//")):
            yield line


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
    value = type(like)(text)
    if isinstance(like, float) and math.isinf(value) and "inf" not in text.lower():
        raise ValueError(text)  # 1e400
    return value


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _typed(name: str, value: Any, like: Any) -> Any:
    """Returns the value in the type of the setting's default, if nothing is lost."""
    if isinstance(value, np.generic | np.ndarray) and value.ndim == 0:
        value = value.item()
    if isinstance(like, tuple):
        # Of any other iterable the end or the order is not known.
        known = isinstance(value, Sequence | np.ndarray)
        if known and not isinstance(value, str | bytes) and _length(value) <= 100:
            return tuple(_typed(name, item, 0) for item in value)
        kept = False
    elif isinstance(like, str):
        kept = isinstance(value, str)
    elif isinstance(like, bool):
        kept = isinstance(value, int) and value in (0, 1)
    else:
        kept = isinstance(value, numbers.Real) and not isinstance(value, bool)
    try:
        typed = type(like)(value) if kept else None
        kept = kept and (typed == value or typed != typed)  # NaN is for the checks
    except (ValueError, ArithmeticError):
        kept = False
    if not kept:
        raise InputError(
            f"{name}: expected a value as {like!r}; received {short(value)}"
        )
    return typed


def _length(value: Any) -> int:
    try:
        return len(value)
    except OverflowError:  # of a range
        return _MOST_WHOLE


def _check_number(name: str, value: float, limits: Any) -> None:
    """Refuses a number out of range, or that float32 does not hold."""
    least, most = limits["least"], limits["most"]
    if not value >= least:  # NaN too
        bound = "> 0" if least == SMALLEST and not value > 0 else f">= {least:.3g}"
    elif value > most:
        bound = f"<= {most}" if isinstance(value, int) else f"<= {most:.3g}"
    elif value in (0, math.inf) or SMALLEST <= value <= LARGEST:
        return
    else:
        bound = f"a number that float32 holds, from {SMALLEST:.3g} to {LARGEST:.3g}"
    raise InputError(f"{name} must be {bound}; received {short(value)}")


def _checked_text(name: str, value: str) -> str:
    """Returns a text with its `~` replaced, if a flagfile gives it back."""
    _check_one_line(name, value)
    if name == "output_dir" and not value:
        raise InputError("output_dir: expected a folder; received ''; name one")
    scheme = "npz:" if name == "dataset" else ""
    if name not in (*_PATHS, "dataset") or not value.startswith(scheme + "~"):
        return value
    expanded = scheme + os.path.expanduser(value.removeprefix(scheme))
    if expanded == value:
        raise InputError(
            f"{name}: expected a path; received {short(value)}, but there is no such "
            "user; write ./~ for a name that begins with ~"
        )
    _check_one_line(name, expanded)
    return expanded


def _check_one_line(name: str, value: str) -> None:
    """Refuses a text that a flagfile would not give back."""
    if (
        value.splitlines() not in ([], [value])
        or value != value.strip()
        or "\0" in value
        or not _is_utf8(value)
    ):
        raise InputError(
            f"{name}: expected one line of UTF-8 text without a NUL byte and without "
            f"spaces at its ends; received {short(value)}; rename it"
        )


def _is_utf8(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:  # bytes of a file name that are none
        return False
    return True
