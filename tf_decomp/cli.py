# SPDX-License-Identifier: Apache-2.0
"""Command lines: absl flags made from ExperimentConfig, and one-line errors."""

import dataclasses
import inspect
import io
import math
import os
import signal
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import tensorflow as tf
from absl import app, flags, logging

from tf_decomp.checks import check_file
from tf_decomp.errors import InputError, NonFiniteLoss, reason_of
from tf_decomp.experiment.choices import OBJECTIVES
from tf_decomp.experiment.config import (
    DEFAULTS,
    SUBJECTS,
    ExperimentConfig,
    flag_lines,
    parse_setting,
)
from tf_decomp.files import read_text

INTERRUPTED = "interrupted; the same command continues"
_CONFIG, _OBJECTIVE = "config", "objective"
_HELP = {"--help", "-help", "-h"}
_INDENT = 32  # of help texts
_LONGEST = 1_000  # line
_MOST_BYTES = 2**20  # of a flagfile
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_OURS = (__name__.partition(".")[0], "paper", "__main__")


class _FloatParser(flags.FloatParser):
    def convert(self, argument: Any) -> float:
        """Refuses a number that is infinite without saying so, as 1e400."""
        value = super().convert(argument)
        if math.isinf(value) and "inf" not in str(argument).lower():
            raise ValueError(f"{argument} is too large")
        return value


def _define_float(name: str, default: float, text: str, **others: Any) -> None:
    serializer = flags.ArgumentSerializer()
    flags.DEFINE(_FloatParser(), name, default, text, serializer=serializer, **others)


_DEFINE = {
    bool: flags.DEFINE_boolean,
    int: flags.DEFINE_integer,
    float: _define_float,
    str: flags.DEFINE_string,
    list: flags.DEFINE_list,
}


def define_config_flags() -> None:
    """Makes a flag of every field of ExperimentConfig, --config and --objective."""
    configs = f"Settings of the paper: {', '.join(shipped_configs())}. Later flags win."
    objectives = (
        f"Sets divergence, alpha and beta, one of {', '.join(OBJECTIVES)}. Later flags "
        "for alpha and beta win."
    )
    presets = {_CONFIG: ("", configs), _OBJECTIVE: ("", objectives)}
    define_flags("Settings of an experiment", **presets)
    fields = {field.name: field for field in dataclasses.fields(ExperimentConfig)}
    for subject, names in SUBJECTS.items():
        ours = [fields[name] for name in names]
        define_flags(subject, **{f.name: (f.default, f.metadata["help"]) for f in ours})


def define_flags(subject: str, **defaults: tuple[Any, str]) -> None:
    """Makes flags of the types of their defaults.

    Args:
        subject: What they are about; the heading above them in --help.
        **defaults: Flag name to default and help text; a list is one of texts that
            commas part, and a path is a text, "" where it has no default.
    """
    for name, (default, text) in defaults.items():
        if isinstance(default, tuple):
            default = [str(item) for item in default]
        _DEFINE[type(default)](name, default, text, module_name=subject)
        flags.FLAGS.register_key_flag_for_module(sys.argv[0], flags.FLAGS[name])


def shipped_configs() -> dict[str, Path]:
    """Returns the flagfiles that come with the package, by name."""
    # An installed package holds them; in a checkout they lie beside it.
    package = Path(__file__).parent
    folders = (package / "configs", package.parent / "configs")
    return {
        path.stem: path for folder in folders for path in sorted(folder.glob("*.flags"))
    }


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
    settings, objective = {**values, **changes}, flags.FLAGS[_OBJECTIVE].value
    if objective:
        return ExperimentConfig.from_objective(objective, **settings)
    return ExperimentConfig(**settings)


def path_from_flag(name: str) -> Path:
    """Returns the path of a required flag; `~` is the user's home.

    Raises:
        InputError: It was not given.
    """
    value = flags.FLAGS[name].value
    if not value:
        raise InputError(f"--{name} is needed; pass --{name}=PATH")
    if "\0" in value:
        raise InputError(f"--{name}: expected a path; received {value!r}")
    return Path(os.path.expanduser(value))


def announce(config: ExperimentConfig) -> None:
    """Prints what is about to be trained, and whether nobody has chosen it.

    Args:
        config: The settings.
    """
    objective = flags.FLAGS[_OBJECTIVE].value
    weights = f"alpha {config.alpha:g}, beta {config.beta:g}"
    if objective:
        weights = f"{OBJECTIVES[objective].title} with {weights}"
    epochs = "1 epoch" if config.epochs == 1 else f"{config.epochs} epochs"
    print(
        f"{config.dataset}: {config.prior} prior, {weights}, {epochs} in batches of "
        f"{config.batch_size}; files go to {config.output_dir}",
        flush=True,
    )
    if all(flags.FLAGS[name].using_default_value for name in DEFAULTS):
        print(
            "No flags were given, so these are the defaults; the paper's settings are "
            f"--config={', --config='.join(shipped_configs())}; --help lists all flags",
            flush=True,
        )


def unexpected(argument: str) -> str:
    """Returns what is said of an argument that is no flag.

    Args:
        argument: As it was given.
    """
    return f"unexpected argument {argument!r}; flags look like --name=value"


def run(main: Callable[..., None], takes_arguments: bool = False) -> None:
    """Parses the flags, runs `main` and exits.

    A mistake in the input, a full disk or too little memory ends with one line on
    stderr and status 1; Ctrl-C and SIGTERM with one line and status 130 or 143, after
    the files of the moment are closed (a second signal ends at once). Any other
    exception keeps its traceback.

    Args:
        main: Reads the flags; its docstring opens --help.
        takes_arguments: Whether it takes, as texts, what is no flag; else such
            arguments are refused.
    """

    def guarded(arguments: list[str]) -> None:
        if sys.stdout is None:  # closed
            sys.stdout = open(os.devnull, "w")
        if isinstance(sys.stdout, io.TextIOWrapper):  # may not know all letters
            sys.stdout.reconfigure(errors="backslashreplace")
        logging.set_verbosity(logging.WARNING)
        tf.get_logger().setLevel("ERROR")
        if len(arguments) > 1 and not takes_arguments:
            _stop(unexpected(arguments[1]))
        try:
            main(*arguments[1:])
        except Exception as error:
            line = _line_of(error)
            if line is None:
                raise
            _stop(line)

    def parse(arguments: list[str]) -> list[str]:
        if _HELP & set(arguments[1:]):
            try:
                print(_help_text(inspect.getdoc(main) or ""), flush=True)
            except BrokenPipeError:  # of `| head`
                _drop_output()
            sys.exit()
        return _parse(arguments)

    flags.FLAGS.set_gnu_getopt(True)  # flags may follow other arguments
    _on_signals(_interrupt)
    try:
        app.run(guarded, flags_parser=parse)
    except KeyboardInterrupt as error:
        _stop(INTERRUPTED, 128 + next(iter(error.args), signal.SIGINT))
    finally:
        # What is left, the end of the libraries, is not worth waiting for.
        _on_signals(_leave)


def _parse(arguments: list[str]) -> list[str]:
    try:
        return flags.FLAGS(_with_flagfiles(arguments))
    except (flags.Error, InputError) as error:
        _stop(str(error))


def _with_flagfiles(
    arguments: Sequence[str], above: tuple[Path, ...] = ()
) -> list[str]:
    """Puts the lines of flagfiles, `above` which hold these, where they are named.

    absl would wait for a pipe, and fails at bytes that are no text. The settings of an
    objective are put behind its name.
    """
    given: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        name, equals, text = argument.partition("=")
        if argument == "--":
            return [*given, argument, *rest]
        flag = name.removeprefix("-").removeprefix("-")
        if name == flag or flag not in ("flagfile", _CONFIG, _OBJECTIVE):
            given.append(argument)
            continue
        value = (text if equals else next(rest, "")).strip()
        if flag == _OBJECTIVE:
            preset = OBJECTIVES[value].settings if value in OBJECTIVES else {}
            settings = [f"--{key}={setting}" for key, setting in preset.items()]
            given += [f"{name}={value}", *settings]
            continue
        file = _find_flagfile(flag, value)
        if file in above:
            raise InputError(f"{file}: this flagfile includes itself; remove that line")
        given += _with_flagfiles([*flag_lines(_flagfile_text(file))], (*above, file))
    return given


def _find_flagfile(flag: str, name: str) -> Path:
    """Returns the path of a flagfile, or of a shipped one by its name."""
    shipped, path = shipped_configs(), Path(os.path.expanduser(name))
    if flag == _CONFIG and name not in shipped:
        raise InputError(
            f"--{_CONFIG}: expected one of {', '.join(shipped)}; received {name!r}; a "
            "file of yours is --flagfile=PATH"
        )
    ours = name in shipped and (flag == _CONFIG or not path.exists())
    return shipped[name] if ours else path


def _help_text(about: str) -> str:
    """Returns what --help prints: every flag of the program, by subject."""
    lines, subject = [about], ""
    for flag in flags.FLAGS.get_key_flags_for_module(sys.argv[0]):
        if flag.name not in flags.FLAGS:
            continue
        heading = flags.FLAGS.find_module_defining_flag(flag.name)
        if heading != subject:
            lines += ["", heading]
            subject = heading
        usage = (
            f"  --[no]{flag.name}" if flag.boolean else f"  --{flag.name}={_text(flag)}"
        )
        if len(usage) > _INDENT - 2:
            lines.append(usage)
            usage = ""
        text = f"{usage:{_INDENT}}{flag.help}"
        lines.append(textwrap.fill(text, 88, subsequent_indent=" " * _INDENT))
    lines += ["", "--flagfile=PATH reads flags from a file; --helpfull lists more."]
    return "\n".join(lines)


def _text(flag: flags.Flag) -> str:
    """Returns a flag's default as one writes it."""
    default = flag.default_unparsed
    return ",".join(default) if isinstance(default, list) else str(default)


def _flagfile_text(path: Path) -> str:
    try:
        path = check_file(path)
        size, text = path.stat().st_size, ""
        if size <= _MOST_BYTES:
            text = read_text(path)
    except OSError as error:
        raise InputError(f"flagfile {path}: {error.strerror}") from None
    except InputError as error:
        raise InputError(f"flagfile {error}") from None
    if "\0" in text or size > _MOST_BYTES:
        raise InputError(
            f"flagfile {path}: expected lines --name=value without NUL bytes, at most "
            f"{_MOST_BYTES} bytes of them; it has {size} bytes"
        )
    return text


def _line_of(error: Exception) -> str | None:
    """Returns what a user is told of an error that is not ours, else None."""
    match error:
        case InputError() | NonFiniteLoss():
            return str(error)
        case BrokenPipeError():
            _drop_output()
            return "nobody reads what is printed any more; the same command continues"
        case OSError(filename=None):
            return f"{error} (in {_places()})"
        case OSError():
            return str(error)
        case MemoryError():
            return f"not enough memory; use smaller batches or networks ({error})"
        case (
            tf.errors.ResourceExhaustedError()
            | tf.errors.PermissionDeniedError()
            | tf.errors.NotFoundError()
            | tf.errors.DataLossError()
        ):
            return f"TensorFlow: {reason_of(error.message)} (in {_places()})"
    return None


def _drop_output() -> None:
    """Lets Python flush what nobody reads, at its end, without another error."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _places() -> str:
    """Returns the paths that the flags name."""
    names = [n for n in flags.FLAGS if n.endswith("_dir") or n in ("output", "codes")]
    paths = [flags.FLAGS[name].value for name in names]
    return ", ".join(path for path in paths if path)


def _on_signals(handler: Any) -> None:
    for number in _SIGNALS:
        # A shell that starts a program in the background has it ignore Ctrl-C.
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, handler)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Lets whatever runs close its files; a second signal ends at once.

    TensorFlow calls Python from C++, where an exception that no line of its own has
    raised crashes the process. So it goes on to where our next line would run.
    """
    _on_signals(signal.SIG_DFL)
    callers = []
    while frame is not None:
        callers.append(frame)
        frame = frame.f_back
    if "tensorflow" not in map(_package, callers):
        raise KeyboardInterrupt(number)

    def end(frame: FrameType, *_: Any) -> None:
        if _package(frame) in _OURS:
            sys.settrace(None)
            raise KeyboardInterrupt(number)

    for caller in callers:
        caller.f_trace = end
    sys.settrace(end)


def _package(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__")).partition(".")[0]


def _leave(number: int, _: Any) -> NoReturn:
    _print(INTERRUPTED)
    os._exit(128 + number)


def _print(message: str) -> None:
    line = f"{Path(sys.argv[0]).name}: {' '.join(message.split())}"
    print(line[:_LONGEST], file=sys.stderr, flush=True)


def _stop(message: str, status: int = 1) -> NoReturn:
    _print(message)
    sys.exit(status)


def _joined(name: str, parts: list[str]) -> Any:
    """Returns a setting whose flag absl has split at its commas."""
    text = ",".join(parts)
    try:
        return parse_setting(name, text)
    except ValueError:
        raise InputError(
            f"{name} must hold whole numbers, as 100,100; received {text!r}"
        ) from None
