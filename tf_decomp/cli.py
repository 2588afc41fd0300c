# SPDX-License-Identifier: Apache-2.0
"""Command lines: absl flags made from ExperimentConfig, and one-line errors."""

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import tensorflow as tf
from absl import app, flags, logging

from tf_decomp.errors import InputError, NonFiniteLoss
from tf_decomp.experiment.config import DEFAULTS, ExperimentConfig, parse_setting

_DEFINE = {
    bool: flags.DEFINE_boolean,
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    str: flags.DEFINE_string,
    list: flags.DEFINE_list,
}


def define_config_flags() -> None:
    """Makes a flag of every field of ExperimentConfig."""
    fields = dataclasses.fields(ExperimentConfig)
    define_flags(**{f.name: (f.default, f.metadata["help"]) for f in fields})


def define_flags(**defaults: tuple[Any, str]) -> None:
    """Makes flags of the types of their defaults.

    Args:
        **defaults: Flag name to default and help text; a list is one of texts that
            commas part, and a path is a text, "" where it has no default.
    """
    for name, (default, text) in defaults.items():
        if isinstance(default, tuple):
            default = [str(item) for item in default]
        _DEFINE[type(default)](name, default, text)
        _show_in_help(name)


def config_from_flags(**changes: Any) -> ExperimentConfig:
    """Returns the settings that the command line and its flagfiles say.

    Args:
        **changes: Settings in place of what the flags say.

    Raises:
        InputError: A value is not usable.
    """
    values: dict[str, Any] = {}
    for name in DEFAULTS:
        value = flags.FLAGS[name].value
        values[name] = _joined(name, value) if isinstance(value, list) else value
    return ExperimentConfig(**{**values, **changes})


def path_from_flag(name: str) -> Path:
    """Returns the path of a required flag.

    Raises:
        InputError: It was not given.
    """
    value = flags.FLAGS[name].value
    if not value:
        raise InputError(f"--{name} is needed; pass --{name}=PATH")
    return Path(value)


def run(main: Callable[[], None]) -> None:
    """Parses the flags, runs `main` and exits.

    A mistake in the input ends with one line on stderr and status 1; any other
    exception keeps its traceback.

    Args:
        main: Takes nothing, reads the flags.
    """

    def guarded(arguments: list[str]) -> None:
        logging.set_verbosity(logging.WARNING)
        tf.get_logger().setLevel("ERROR")
        if len(arguments) > 1:
            _stop(f"unexpected argument {arguments[1]!r}; flags look like --name=value")
        try:
            main()
        except (InputError, NonFiniteLoss, OSError) as error:
            _stop(str(error))

    app.run(guarded, flags_parser=_parse)


def _show_in_help(name: str) -> None:
    """Makes --help list a flag: absl shows only those that the program defines."""
    flags.FLAGS.register_key_flag_for_module(sys.argv[0], flags.FLAGS[name])


def _parse(arguments: list[str]) -> list[str]:
    try:
        return flags.FLAGS(arguments)
    except flags.Error as error:
        _stop(str(error))


def _stop(message: str) -> NoReturn:
    program = Path(sys.argv[0]).name
    print(f"{program}: {' '.join(message.split())}", file=sys.stderr, flush=True)
    sys.exit(1)


def _joined(name: str, parts: list[str]) -> Any:
    """Returns a setting whose flag absl has split at its commas."""
    text = ",".join(parts)
    try:
        return parse_setting(name, text)
    except ValueError:
        raise InputError(
            f"{name} must hold whole numbers, as 100,100; received {text!r}"
        ) from None
