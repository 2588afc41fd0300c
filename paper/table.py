# SPDX-License-Identifier: Apache-2.0
"""data.csv, the tidy table behind a figure: one row a network, point or picture."""

import csv
import hashlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tf_decomp import files
from tf_decomp.checks import check_file
from tf_decomp.errors import InputError
from tf_decomp.files import write_atomically, write_text

# A line of data.csv: names to numbers and texts; an empty cell is not there.
Row = Mapping[str, Any]

# What tells the cells of a figure apart.
_CELL = (
    *("panel", "prior", "df", "gamma", "spike_variance", "alpha", "beta"),
    *("epochs", "max_train_examples"),
)
_TEXTS = {"scale", "kind", "panel", "prior", "part", "estimator", "class", "pixels"}
# Columns that tables of earlier code lack.
_LATER = {
    *("active_dimensions", "factor_vae_score_all", "factor_vae_score_sampled"),
    *("hoyer_sampled", "off_mode_mass"),
}
_POINT = ("mean_1", "mean_2", "deviation_1", "deviation_2")
_MATCH = (
    *("overlap", "mutual_information", "encoder_entropy", "aggregate_kl"),
    *("inclusive_kl", "joint_mmd", "rarest_mode_share", "off_mode_mass"),
)
_CLUSTERS = ("scale", "kind", "panel", "alpha", "beta", "seed", "log_likelihood", "kl")
_SCORES = (
    *("active_dimensions", "factor_vae_score", "factor_vae_score_all"),
    *("factor_vae_score_sampled", "factor_vae_score_mapped", "factor_vae_chance"),
    *("margin", "mutual_information_gap", "n"),
)
_SPARSITY = (
    *("mmd", "hoyer", "hoyer_active", "hoyer_sampled", "hoyer_chance"),
    *("active_dimensions", "n"),
)
_FIG2 = (
    *("scale", "panel", "prior", "df", "beta", "seed", "log_likelihood", "kl"),
    *_SCORES,
)
_LEARNING = (
    *("scale", "panel", "epochs", "max_train_examples", "seed"),
    *("log_likelihood", "kl"),
)
_STRUCTURE = (
    *("scale", "prior", "seed", "log_likelihood", "kl", "overlap"),
    *("mutual_information", "aggregate_kl", "joint_mmd", "joint_mmd_share"),
    *("dependence", "prior_dependence", "active_dimensions"),
)

# The columns of each figure, in order. `kind` tells rows of different things apart;
# `n` is what a row's numbers stand on. Empty: not known of this row.
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "fig1": (*_CLUSTERS, *_MATCH, "n", *_POINT),
    "fig2": _FIG2,
    "fig2_pilots": _FIG2,
    "fig2_learning": (*_LEARNING, *_SCORES),
    "fig3_learning": (*_LEARNING, *_MATCH, "n"),
    "fig4_learning": (*_LEARNING, *_SPARSITY),
    "fig3": (*_CLUSTERS, *_MATCH, "n", *_POINT),
    "fig3_top": (*_CLUSTERS, *_MATCH, "n", *_POINT),
    "fig4": (
        *("scale", "gamma", "spike_variance", "alpha", "beta", "seed"),
        *("log_likelihood", "kl", *_SPARSITY),
    ),
    "fig5": (
        *("scale", "kind", "panel", "spike_variance", "seed", "log_likelihood", "mmd"),
        *("hoyer", "active_dimensions", "permutation_p", "class_share", "class"),
        *("dimension", "magnitude", "magnitude_standard_error", "n", "datum"),
        *("region_share", "swap_share", "region_area", "largest_change", "step"),
        "pixels",
    ),
    "theory": (
        *("scale", "part", "prior", "beta", "seed", "gap", "control_gap", "n"),
        *("degrees", "objective", "difference", "difference_standard_error"),
        "rounding",
    ),
    "subspaces": (
        *_STRUCTURE,
        *("plane", "plane_any", "pair", "axis", "plane_linear", "plane_any_linear"),
        *("chance", "n"),
    ),
    "hierarchy": (
        *_STRUCTURE,
        *("class_accuracy", "style_accuracy", "both_accuracy"),
        *("class_accuracy_linear", "style_accuracy_linear", "chance", "n"),
    ),
    "estimators": (
        *("scale", "estimator", "latent_dim", "batch_size", "truth"),
        *("truth_standard_error", "bias", "bias_standard_error", "deviation", "n"),
    ),
}


def write_rows(path: Path, figure: str, rows: Sequence[Row]) -> None:
    """Writes a figure's data.csv, and its digest beside it; numbers keep 7 digits.

    Args:
        path: The file.
        figure: A key of COLUMNS.
        rows: Their keys are columns; one that is missing or None leaves a cell empty.
    """
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS[figure], restval="")
    writer.writeheader()
    writer.writerows({k: _text(v) for k, v in row.items()} for row in rows)
    content = text.getvalue().encode()
    # A table without a digest is judged by its rows: whoever dies here leaves that.
    _digest_path(path).unlink(missing_ok=True)
    write_atomically(path, lambda name: _write(name, content))
    digest = hashlib.sha256(content).hexdigest()
    write_text(_digest_path(path), f"{digest}  {path.name}\n")


def has_digest(path: Path) -> bool:
    """Returns whether a digest lies beside a data.csv; earlier code wrote none.

    Args:
        path: Of data.csv.
    """
    return _digest_path(path).exists()


def read_rows(path: Path, figure: str) -> list[Row]:
    """Returns the rows of a data.csv, none if there is none; without empty cells.

    Args:
        path: The file.
        figure: A key of COLUMNS.

    Raises:
        InputError: It is not as it was written: cut off, torn, without a column, not
            of the digest beside it; or a cell that should hold a number does not.
        OSError: It cannot be read.
    """
    if not path.exists():
        return []
    content = check_file(path).read_bytes()
    try:
        text = content.decode()
        lines = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise _unsound(path, f"holds what is no table ({error})") from None
    if "\0" in text or not text.endswith("\n") or len(lines) < 2:
        raise _unsound(path, "is cut off or overwritten")
    columns, *rows = lines
    known = set(COLUMNS[figure])
    if len(set(columns)) < len(columns) or not known - _LATER <= {*columns} <= known:
        raise _unsound(path, f"has not the columns {', '.join(COLUMNS[figure])}")
    for number, cells in enumerate(rows, start=2):
        if len(cells) != len(columns):
            found = f"has {len(cells)} of {len(columns)} cells in line {number}"
            raise _unsound(path, found)
    digest = hashlib.sha256(content).hexdigest()
    if has_digest(path) and digest.encode() not in _digest_path(path).read_bytes():
        raise _unsound(path, f"is not the table of {_digest_path(path).name}")
    return [_row(path, dict(zip(columns, cells, strict=True))) for cells in rows]


def read_text(path: Path) -> str:
    """Returns what a text file beside a table holds; nothing if there is none.

    Args:
        path: The file.

    Raises:
        InputError: It is not UTF-8.
        OSError: It cannot be read.
    """
    return files.read_text(check_file(path)) if path.exists() else ""


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _digest_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _unsound(path: Path, found: str) -> InputError:
    return InputError(
        f"{path}: {found}; restore it, or move it and {_digest_path(path).name} away "
        "and run the figure again"
    )


def _row(path: Path, cells: Mapping[str, str]) -> Row:
    try:
        return {
            name: text if name in _TEXTS else float(text)
            for name, text in cells.items()
            if text
        }
    except ValueError as error:
        raise _unsound(path, str(error)) from None


def _text(value: object) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    number = float(value)  # type: ignore[arg-type]
    return str(int(number)) if number.is_integer() else f"{number:.7g}"


def choose(rows: Sequence[Row], quantity: str, **settings: object) -> list[Row]:
    """Returns the rows that have the quantity and these settings.

    Args:
        rows: Any.
        quantity: A column.
        **settings: A value, or a set of them.
    """
    sets = {k: v if isinstance(v, set) else {v} for k, v in settings.items()}
    return [
        row
        for row in rows
        if quantity in row and all(row.get(k) in v for k, v in sets.items())
    ]


def levels(rows: Sequence[Row], setting: str) -> list[float]:
    """Returns the values of a setting in rising order.

    Args:
        rows: Any.
        setting: A column; rows without it do not count.
    """
    return sorted({row[setting] for row in rows if setting in row})


def count_networks(rows: Sequence[Row]) -> int:
    """Returns the number of networks that rows of all kinds are of.

    Args:
        rows: With the columns of their cell, and a seed.
    """
    return len({network_of(row) for row in rows})


def network_of(row: Row) -> tuple[Any, ...]:
    """Returns what tells the network of a row from others: its seed and its cell.

    Args:
        row: With a seed.
    """
    return (row["seed"], *(row.get(name) for name in _CELL))
