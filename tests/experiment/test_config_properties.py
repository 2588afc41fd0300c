# SPDX-License-Identifier: Apache-2.0
"""Any settings, texts and flagfiles: understood and given back, or refused in a line.

The examples are drawn from a fixed seed.
"""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from absl import flags
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tf_decomp import ExperimentConfig, InputError, cli
from tf_decomp.experiment.choices import CHOICES
from tf_decomp.experiment.config import STRATEGIES

FIELDS = dataclasses.fields(ExperimentConfig)
NAMES = [field.name for field in FIELDS]

bounded = settings(
    deadline=None,
    derandomize=True,
    database=None,
    max_examples=300,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

WHOLE = st.one_of(
    st.integers(0, 5),
    st.integers(),
    st.sampled_from([2**31 - 1, 2**31, 2**53 + 1, 2**63, -(2**31), 10**5000]),
)
REAL = st.one_of(st.floats(), st.floats(0, 2), st.sampled_from([1e-46, 1e39, -0.0]))
TEXT = st.one_of(
    st.text(max_size=20),
    st.text(st.characters(), max_size=20),  # lone surrogates too
    st.sampled_from(["~/x", "~", "~nobody_of_this_name", "npz:~/x.npz", "a\n", "\0"]),
)
ANYTHING = st.one_of(
    WHOLE,
    REAL,
    TEXT,
    st.none(),
    st.booleans(),
    st.complex_numbers(),
    st.binary(max_size=5),
    st.fractions(),
    st.decimals(),
    st.lists(st.one_of(WHOLE, REAL, TEXT), max_size=4),
    st.tuples(WHOLE),
    st.dictionaries(st.integers(0, 5), st.integers(0, 5), max_size=2),
    st.sampled_from(
        [
            np.float32(0.5),
            np.float16(3),
            np.int64(7),
            np.bool_(True),
            np.complex64(1),
            np.longdouble(2),
            np.array(3),
            np.array([4, 5]),
            np.array([[4]]),
            np.array(["a"]),
            np.str_("normal"),
            range(3),
            range(10**30),
            iter([1]),
            {1, 2},
            object(),
            print,
        ]
    ),
)


def digits(number: int) -> str:
    """Returns a number as text, which Python refuses for long ones."""
    return str(number) if abs(number) < 10**4000 else "1" * 5000


def usable(field: dataclasses.Field[Any]) -> st.SearchStrategy[Any]:
    """Returns values of which a setting takes most."""
    name, default = field.name, field.default
    if name in CHOICES:
        return st.sampled_from(list(CHOICES[name]))
    if name == "strategy":
        return st.sampled_from(STRATEGIES)
    if isinstance(default, bool):
        return st.booleans()
    if isinstance(default, int):
        return st.integers(max(1, field.metadata["least"]), 4_000)
    if isinstance(default, float):
        return st.floats(0, 1, width=64) | st.floats(1e-30, 1e30)
    if isinstance(default, tuple):
        return st.lists(st.integers(1, 1_000), max_size=4).map(tuple)
    return TEXT.filter(lambda text: text.strip() == text and text)


CONFIGS = st.fixed_dictionaries({}, optional={f.name: usable(f) for f in FIELDS})


def config_or_line(**given: Any) -> ExperimentConfig | None:
    try:
        return ExperimentConfig(**given)
    except InputError as error:
        assert_line(str(error))
        return None


def assert_line(message: str) -> None:
    assert message
    assert len(message.splitlines()) == 1, message
    assert len(message) < 1_500, message


@pytest.fixture
def flagged() -> Iterator[None]:
    """The flags of bin/train.py, in this process."""
    cli.define_config_flags()
    yield
    for name in ("config", "objective", *NAMES):
        delattr(flags.FLAGS, name)
    flags.FLAGS.unparse_flags()


def parsed(*arguments: str) -> ExperimentConfig:
    """Returns what bin/train.py makes of its arguments."""
    for name in NAMES:
        flags.FLAGS[name].unparse()
    assert cli._parse(["train.py", *arguments]) == ["train.py"]
    return cli.config_from_flags()


@bounded
@given(CONFIGS)
def test_flags_give_back_every_config(
    flagged: None, tmp_path: Path, given: dict[str, Any]
) -> None:
    """Read by the library, by the program and from the command line."""
    config = config_or_line(**given)
    if config is None:
        return
    text = config.to_flags()
    assert ExperimentConfig.from_flags(text) == config
    path = tmp_path / "config.flags"
    path.write_text(text, encoding="utf-8")
    assert parsed(f"--flagfile={path}") == config
    assert parsed(*text.splitlines()) == config
    for name, value in dataclasses.asdict(config).items():
        assert type(value) is type(getattr(ExperimentConfig(), name))


@bounded
@given(st.sampled_from(NAMES), ANYTHING)
def test_any_value_of_a_setting(name: str, value: Any) -> None:
    config = config_or_line(**{name: value})
    if config is not None:
        assert ExperimentConfig.from_flags(config.to_flags()) == config
        if isinstance(value, int | float) and not isinstance(value, bool):
            assert getattr(config, name) == value


LINES = st.lists(
    st.one_of(
        st.text(max_size=20),
        st.builds("--{}={}".format, st.sampled_from(NAMES), TEXT | WHOLE.map(digits)),
        st.builds("--{}={}".format, st.sampled_from(NAMES), REAL),
    ),
    max_size=6,
).map("\n".join)


@bounded
@given(LINES)
def test_any_text_of_flags(text: str) -> None:
    try:
        config = ExperimentConfig.from_flags(text)
    except InputError as error:
        assert_line(str(error))
    else:
        assert ExperimentConfig.from_flags(config.to_flags()) == config


@bounded
@given(st.binary(max_size=60) | LINES.map(lambda text: text.encode("utf-8", "replace")))
def test_any_bytes_of_a_flagfile(
    flagged: None, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    for name in NAMES:
        flags.FLAGS[name].unparse()
    path = tmp_path / "any.flags"
    path.write_bytes(content)
    try:
        cli._parse(["train.py", f"--flagfile={path}"])
    except SystemExit as stopped:
        err = capsys.readouterr().err
        assert stopped.code == 1  # noqa: PT017
        assert_line(err)
        return
    try:
        config = cli.config_from_flags()
    except InputError as error:
        assert_line(str(error))
    else:
        assert ExperimentConfig.from_flags(config.to_flags()) == config
