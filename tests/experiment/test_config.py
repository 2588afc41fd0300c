# SPDX-License-Identifier: Apache-2.0
"""ExperimentConfig: its checks, and flagfiles that give back what they were made of."""

import dataclasses
import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import CALLABLES, LEARNT_PRIORS
from runs import one_line

from tf_decomp import ExperimentConfig, InputError, build_vae
from tf_decomp.experiment.choices import CHOICES, DIVERGENCES, PRIORS
from tf_decomp.likelihoods import class_probabilities
from tf_decomp.networks import LIKELIHOODS, POSTERIORS

CONFIGS = Path(__file__).parents[2] / "configs"
FIELDS = dataclasses.fields(ExperimentConfig)
NAN, INF = float("nan"), float("inf")

BAD: list[tuple[dict[str, Any], tuple[str, ...]]] = [
    # (settings, what the message must name)
    ({"prior": "gamma"}, ("prior", "'gamma'", "spike_and_slab")),
    ({"posterior": "cauchy"}, ("posterior", "'cauchy'", "laplace")),
    ({"likelihood": "gauss"}, ("likelihood", "'gauss'", "bernoulli")),
    ({"divergence": "kl"}, ("divergence", "'kl'", "none", "inclusive_kl")),
    ({"strategy": "tpu"}, ("strategy", "'tpu'", "mirrored")),
    ({"alpha": 1.0}, ("alpha=1.0", "divergence=none", "inclusive_kl")),
    (
        {"alpha": 1.0, "divergence": "dip_vae_i", "batch_size": 1},
        ("batch_size=1", "dip_vae_i", "alpha"),
    ),
    ({"alpha": -1.0, "divergence": "inclusive_kl"}, ("alpha", "-1.0")),
    ({"alpha": NAN, "divergence": "inclusive_kl"}, ("alpha", "nan")),
    ({"alpha": INF, "divergence": "inclusive_kl"}, ("alpha", "inf")),
    ({"beta": -0.1}, ("beta", "-0.1")),
    ({"beta": NAN}, ("beta", "nan")),
    ({"beta": INF}, ("beta", "inf")),
    ({"prior": "normal_mixture", "latent_dim": 3}, ("latent_dim=3", "latent_dim=2")),
    (
        {"prior": "independent_subspaces", "subspaces": (2, 1), "latent_dim": 4},
        ("subspaces=2,1", "3 dimensions", "latent_dim=4"),
    ),
    ({"prior": "independent_subspaces", "subspaces": ()}, ("subspaces=", "0 dim")),
    ({"subspaces": (2, 0)}, ("subspaces", "0")),
    ({"num_modes": 0}, ("num_modes", "0")),
    (
        {"prior": "normal_mixture_learnt", "num_modes": 10**5, "batch_size": 501},
        ("num_modes=100000", "latent_dim=2", "batch_size=501"),
    ),
    ({"latent_dim": 0}, ("latent_dim", "0")),
    ({"num_samples": 0}, ("num_samples", "0")),
    ({"epochs": 0}, ("epochs", "0")),
    ({"epochs": -5}, ("epochs", "-5")),
    ({"batch_size": 0}, ("batch_size", "0")),
    ({"learning_rate": 0.0}, ("learning_rate", "0.0")),
    ({"learning_rate": -1e-3}, ("learning_rate", "-0.001")),
    ({"learning_rate": NAN}, ("learning_rate", "nan")),
    ({"learning_rate": INF}, ("learning_rate", "inf")),
    ({"gamma": -0.01}, ("gamma", "-0.01")),
    ({"gamma": 1.01}, ("gamma", "1.01")),
    ({"gamma": NAN}, ("gamma", "nan")),
    ({"spike_variance": 0.0}, ("spike_variance", "0.0")),
    ({"mixture_variance": INF}, ("mixture_variance", "inf")),
    ({"df": 0.0}, ("df", "0.0")),
    ({"df": -3.0}, ("df", "-3.0")),
    ({"df": NAN}, ("df", "nan")),
    ({"hidden": (100, 0)}, ("hidden", "0")),
    ({"seed": -1}, ("seed", "-1")),
    ({"seed": 2**32}, ("seed", "4294967296")),  # more than NumPy's seeds
    ({"image_size": -1}, ("image_size", "-1")),
    ({"max_test_examples": -1}, ("max_test_examples", "-1")),
    ({"max_train_examples": -1}, ("max_train_examples", "-1")),
    ({"latent_dim": 2.5}, ("latent_dim",)),
    ({"epochs": "5"}, ("epochs",)),
    ({"hidden": (1.5,)}, ("hidden",)),
    ({"hidden": 100}, ("hidden",)),
    ({"output_dir": None}, ("output_dir",)),
    ({"epochs": True}, ("epochs", "True")),
    ({"batch_norm": "true"}, ("batch_norm", "'true'")),
    ({"batch_norm": 2}, ("batch_norm", "2")),
    ({"beta": "0.5"}, ("beta", "'0.5'")),
    ({"beta": 1 + 0j}, ("beta", "(1+0j)")),
    ({"beta": np.complex64(1)}, ("beta", "(1+0j)")),
    ({"beta": 1e39}, ("beta", "3.4e+38", "1e+39")),
    ({"beta": 1e-46}, ("beta", "1.18e-38", "1e-46")),
    ({"beta": 2**53 + 1}, ("beta", "9007199254740993")),
    ({"beta": 10**400}, ("beta",)),
    ({"gamma": 1e-40}, ("gamma", "1e-40")),
    ({"df": 1e39}, ("df", "1e+39")),
    ({"spike_variance": 1e-60}, ("spike_variance", "1e-60")),
    ({"learning_rate": 1e-46}, ("learning_rate", "1e-46")),
    ({"epochs": 2**31}, ("epochs", "2147483648")),
    ({"epochs": None}, ("epochs", "None")),
    ({"latent_dim": 2**31}, ("latent_dim", "10000")),
    ({"hidden": (10**9,)}, ("hidden", "1000000000")),
    ({"hidden": (10**5, 10**5)}, ("hidden=100000,100000", "1e+10 weights")),
    ({"hidden": (10**5,), "latent_dim": 10**3}, ("hidden=100000", "latent_dim=1000")),
    ({"hidden": (10**5,), "batch_size": 1001}, ("batch_size=1001", "outputs")),
    ({"hidden": (1,) * 101}, ("hidden",)),
    ({"hidden": range(10**30)}, ("hidden",)),
    ({"hidden": itertools.count(1)}, ("hidden",)),
    ({"hidden": {64, 32}}, ("hidden",)),
    ({"hidden": (True,)}, ("hidden", "True")),
    ({"num_samples": 10**6}, ("num_samples=1000000", "batch_size=400")),
    ({"image_size": 10**6}, ("image_size", "4096")),
    ({"output_dir": ""}, ("output_dir",)),
    ({"output_dir": "run\n"}, ("output_dir", r"'run\n'")),
    ({"output_dir": "a\u2028b"}, ("output_dir", r"'a\u2028b'")),
    ({"output_dir": " run"}, ("output_dir", "' run'")),
    ({"output_dir": "run "}, ("output_dir", "'run '")),
    ({"output_dir": "a\0b"}, ("output_dir", r"'a\x00b'")),
    ({"output_dir": "a\udcffb"}, ("output_dir", r"'a\udcffb'", "UTF-8")),
    ({"output_dir": b"run"}, ("output_dir",)),
    ({"output_dir": "~nobody_of_this_name"}, ("output_dir", "~nobody", "no such user")),
    ({"data_dir": "a\r"}, ("data_dir",)),
    ({"correlated_factors": "posX"}, ("correlated_factors", "'posX'", "posX,posY")),
    ({"correlated_factors": "posX,posX"}, ("correlated_factors", "'posX,posX'")),
    ({"correlated_factors": "a,b,c"}, ("correlated_factors", "'a,b,c'")),
    ({"correlated_factors": ",b"}, ("correlated_factors", "',b'")),
    ({"correlated_factors": ("a", "b")}, ("correlated_factors",)),
    ({"correlation_width": 0.0}, ("correlation_width", "> 0", "0.0")),
    ({"correlation_width": -0.2}, ("correlation_width", "> 0", "-0.2")),
    ({"correlation_width": NAN}, ("correlation_width", "nan")),
    ({"dataset": "npz:a\n.npz"}, ("dataset",)),
    ({"dataset": "npz:~nobody_of_this_name/x.npz"}, ("dataset", "no such user")),
]
# Slips of Python users: refused or understood, but never written to a flagfile that
# cannot be read again.
SLIPS: list[dict[str, Any]] = [
    {"epochs": 5.0},
    {"hidden": [64, 32]},
    {"hidden": np.array([7]), "epochs": np.array(5), "batch_norm": np.bool_(True)},
    {"hidden": np.array([64, 32])},
    {"batch_norm": 1},
    {"seed": np.int64(3), "beta": np.float32(0.5)},
    {"alpha": 5, "beta": 0, "df": 3, "divergence": "inclusive_kl"},
]
GOOD: list[dict[str, Any]] = [
    {},
    {"df": INF, "prior": "student_t"},
    {"prior": "independent_subspaces", "subspaces": (3, 1, 2), "latent_dim": 6},
    {"prior": "tree_mixture", "branching": (4, 3, 2), "radius_ratio": 1.0},
    {"prior": "lp_nested", "outer_exponent": 1, "group_exponent": 2.5},
    {"gamma": 0.0, "beta": 0.0},
    {"gamma": 1.0, "alpha": 1e-30, "divergence": "dimensionwise_mmd"},
    {"alpha": 0.0, "divergence": "inclusive_kl"},
    {"num_modes": 10**5, "batch_size": 501},  # the prior has none
    {"alpha": 0.0, "divergence": "dip_vae_i", "batch_size": 1},
    {"hidden": ()},
    {"hidden": (64, 32, 16)},
    {"batch_norm": True, "overwrite": True},
    {"learning_rate": 0.1 + 0.2, "beta": 1e22},
    {"dataset": "npz:/a path/with=equals#and,commas.npz", "data_dir": "~/x y"},
    {"output_dir": "--looks_like=a_flag", "strategy": "mirrored"},
]


@pytest.mark.parametrize(("settings", "named"), BAD, ids=[str(b[0]) for b in BAD])
def test_bad_value(settings: dict[str, Any], named: tuple[str, ...]) -> None:
    with pytest.raises(InputError) as caught:
        ExperimentConfig(**settings)
    one_line(caught, *named)


@pytest.mark.parametrize("settings", GOOD, ids=str)
def test_flagfile_gives_back_the_settings(settings: dict[str, Any]) -> None:
    config = ExperimentConfig(**settings)
    text = config.to_flags()
    assert ExperimentConfig.from_flags(text) == config
    names = [line.split("=")[0] for line in text.splitlines()]
    assert names == [f"--{field.name}" for field in FIELDS]


@pytest.mark.parametrize("settings", SLIPS, ids=str)
def test_slip(settings: dict[str, Any]) -> None:
    try:
        config = ExperimentConfig(**settings)
    except InputError as error:
        assert next(iter(settings)) in str(error)  # noqa: PT017
    else:
        assert ExperimentConfig.from_flags(config.to_flags()) == config


def test_home_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    config = ExperimentConfig(
        dataset="npz:~/x.npz", data_dir="~", output_dir="~/runs/~a"
    )
    assert (config.dataset, config.data_dir) == ("npz:/home/me/x.npz", "/home/me")
    assert config.output_dir == "/home/me/runs/~a"
    assert ExperimentConfig(output_dir="./~a").output_dir == "./~a"


def test_messages_know_no_command_line() -> None:
    for settings, _ in BAD:
        with pytest.raises(InputError) as caught:
            ExperimentConfig(**settings)
        assert "--" not in str(caught.value)


def test_old_flagfiles_stay_valid() -> None:
    text = "\ufeff# a comment\r\n\n  --epochs=7 \n//\n-beta=0.5\n--overwrite=True\n"
    assert ExperimentConfig.from_flags(text) == ExperimentConfig(
        epochs=7, beta=0.5, overwrite=True
    )
    assert ExperimentConfig.from_flags("") == ExperimentConfig()


@pytest.mark.parametrize(
    "line",
    [
        "--epoch=7",
        "--epochs",
        "epochs 7",
        "--epochs=seven",
        "--epochs=7.5",
        "--beta=",
        "--df=1e400",
        "--beta=1e-46",
        "--epochs=1e3",
        "--epochs=5\0",
        "--epochs = 5",
        "--output_dir=a\0b",
        "--flagfile=x.flags",
        "--batch_norm=maybe",
        "--hidden=100,abc",
        "--hidden=100,",
        "--hidden=[100]",
        "--beta=-1",
    ],
)
def test_bad_line_of_a_flagfile(line: str) -> None:
    with pytest.raises(InputError) as caught:
        ExperimentConfig.from_flags(f"--seed=1\n{line}\n")
    one_line(caught, line.lstrip("-").split("=")[0].split()[0])


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.flags")), ids=lambda p: p.stem)
def test_shipped_config(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    config = ExperimentConfig.from_flags(text)
    assert config.dataset.startswith(path.stem)
    assert config.output_dir == f"runs/{path.stem}"
    # Every line counts: none is a typing error of a default.
    lines = [line for line in text.splitlines() if line.startswith("--")]
    assert lines
    for line in lines:
        name, _, value = line[2:].partition("=")
        got = getattr(config, name)
        if isinstance(got, float):
            assert math.isclose(got, float(value))
        elif isinstance(got, tuple):
            assert ",".join(map(str, got)) == value
        else:
            assert str(got).lower() == value.lower()


def test_header_of_shipped_configs() -> None:
    """A config opens with its command, its run time and what to expect."""
    for path in CONFIGS.glob("*.flags"):
        text = path.read_text(encoding="utf-8")
        header = text[: text.index("--dataset")]
        comments = [line for line in header.splitlines() if line]
        assert len(comments) >= 3, path
        assert all(line.startswith("#") for line in comments)
        assert f"--flagfile=configs/{path.name}" in header
        for name in ("Run time: ", "Result: "):
            line = next(line for line in comments if name in line)
            assert any(letter.islower() for letter in line.partition(name)[2]), line


def test_settings_are_frozen_and_explained() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        ExperimentConfig().beta = 2.0  # type: ignore[misc]
    for field in FIELDS:
        assert field.metadata["help"].endswith("."), field.name


@pytest.mark.parametrize("prior", PRIORS)
def test_every_prior_builds(prior: str) -> None:
    x = np.random.default_rng(0).normal(size=(60, 3)).astype("float32")
    config = ExperimentConfig(prior=prior, hidden=(4,), gamma=0.3, df=7.0)
    vae = build_vae(config, [3], x)
    assert vae.latent_dim == 2
    assert vae.data_shape == (3,)
    log_prob = vae.prior.distribution.log_prob(np.zeros([5, 2], "float32"))
    assert log_prob.shape == [5]
    assert bool(vae.prior.trainable_variables) == (prior in LEARNT_PRIORS)


def test_settings_reach_the_model() -> None:
    config = ExperimentConfig(
        prior="spike_and_slab",
        gamma=0.25,
        spike_variance=0.5,
        posterior="laplace",
        likelihood="laplace",
        divergence="dimensionwise_mmd",
        alpha=3.0,
        beta=0.5,
        num_samples=4,
        latent_dim=5,
        hidden=(7, 6),
        seed=11,
    )
    vae = build_vae(config, [3])
    assert (float(vae.alpha), float(vae.beta)) == (3.0, 0.5)
    assert (vae.num_samples, vae.seed, vae.latent_dim) == (4, 11, 5)
    # Variance of the mixture of N(0, 0.5), weight 0.25, and N(0, 1).
    variance = vae.prior.distribution.variance()
    assert variance.shape == [5]
    assert abs(variance.numpy() - (0.25 * 0.5 + 0.75)).max() < 1e-6
    kernels = {tuple(w.shape) for w in vae.trainable_variables if len(w.shape) == 2}
    assert {(3, 7), (7, 6), (6, 10), (5, 7), (7, 6)} <= kernels


def test_settings_reach_the_groups_of_dimensions() -> None:
    settings = {"prior": "independent_subspaces", "latent_dim": 6, "df": 7.0}
    vae = build_vae(ExperimentConfig(**settings, subspaces=(3, 1, 2)), [3])
    config = vae.prior.get_config()
    assert config["groups"] == [[0, 1, 2], [3], [4, 5]]
    assert config["df"] == 7.0


def test_settings_reach_the_learnt_mixtures() -> None:
    def prior(name: str, **settings: Any) -> Any:
        return build_vae(ExperimentConfig(prior=name, **settings), [3]).prior

    # Of so many modes the locations have their own variance, 3/4.
    wide = prior("normal_mixture_learnt", num_modes=50_000).distribution
    np.testing.assert_allclose(wide.mean(), [0, 0], atol=0.02)
    np.testing.assert_allclose(wide.variance(), [1, 1], atol=0.03)
    few = [prior("normal_mixture_learnt", num_modes=7, seed=k) for k in (0, 0, 1)]
    first, again, other = (each.get_config()["locs"] for each in few)
    assert first == again != other
    assert np.shape(first) == (7, 2)
    assert few[0].get_config()["variance"] == 0.25
    assert prior("factorised_mixture", num_modes=7).get_config()["num_components"] == 7


@pytest.mark.parametrize(
    ("shape", "batch_norm"), [([3], False), ([16, 16, 1], False), ([16, 16, 1], True)]
)
def test_number_of_classes_reaches_every_decoder(
    shape: list[int], batch_norm: bool
) -> None:
    config = ExperimentConfig(
        likelihood="categorical", num_classes=5, batch_norm=batch_norm
    )
    likelihood = build_vae(config, shape).decode(np.zeros([2, 2], "float32"))
    assert class_probabilities(likelihood).shape == [2, *shape, 5]


@pytest.mark.parametrize("divergence", CALLABLES)
def test_one_code_is_enough_for_few_divergences(divergence: str) -> None:
    settings: dict[str, Any] = {"divergence": divergence, "alpha": 1.0}
    ExperimentConfig(**settings, batch_size=2)
    least = getattr(CALLABLES[divergence](), "least_batch", 1)
    few = ("inclusive_kl", "dimensionwise_mmd", "sliced_wasserstein")
    assert (least == 1) == (divergence in (*few, "adversarial_kl", "kl_capacity"))
    if least == 1:
        ExperimentConfig(**settings, batch_size=1)
        return
    with pytest.raises(InputError) as caught:
        ExperimentConfig(**settings, batch_size=1)
    one_line(caught, "batch_size=1", f"divergence={divergence}")


def test_units_of_divergences() -> None:
    in_nats = {name for name, choice in DIVERGENCES.items() if choice.unit == "nats"}
    assert in_nats == {
        "none",
        "inclusive_kl",
        "total_correlation_weighted",
        "total_correlation_stratified",
        "adversarial_kl",
        "adversarial_total_correlation",
        "kl_capacity",
    }


@pytest.mark.parametrize(
    ("settings", "shape", "named"),
    [
        ({"prior": "normal_pca"}, [3], "pass x"),
        ({"divergence": "total_correlation_weighted"}, [3], "pass num_data"),
        ({}, [4, 4], "[4, 4]"),
        ({"batch_norm": True}, [20, 16, 1], "20"),
    ],
)
def test_data_that_no_network_takes(
    settings: dict[str, Any], shape: list[int], named: str
) -> None:
    with pytest.raises(InputError) as caught:
        build_vae(ExperimentConfig(**settings), shape)
    one_line(caught, named)


def test_flags_offer_all_that_the_package_has() -> None:
    assert CHOICES["divergence"].keys() == {"none", *CALLABLES}
    assert CHOICES["posterior"].keys() == POSTERIORS.keys()
    assert CHOICES["likelihood"].keys() == LIKELIHOODS.keys()
