# SPDX-License-Identifier: Apache-2.0
"""Whether a figure's table holds all that was written, where no digest tells."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from paper.figures import FIGURES, SCALES
from paper.readme import reached
from paper.runs import count_cells
from paper.table import (
    COLUMNS,
    Row,
    count_networks,
    has_digest,
    network_of,
    read_rows,
    read_text,
)
from tf_decomp.errors import InputError


def read_table(results_dir: Path, figure: str) -> list[Row]:
    """Returns the rows of FIGURE/data.csv, none if there is none.

    A table with a digest is whole (see `read_rows`). One of earlier code, which has
    none, must consist of whole rounds, no fewer than README.md beside it tells of.

    Args:
        results_dir: Holds a folder for each figure.
        figure: A key of FIGURES.

    Raises:
        InputError: Rows are missing, or are there twice.
        OSError: It cannot be read.
    """
    path = results_dir / figure / "data.csv"
    rows = read_rows(path, figure)
    if rows and not has_digest(path):
        found = _missing(rows, figure) or _lost(rows, path.with_name("README.md"))
        if found:
            raise InputError(
                f"{path}: {found}; restore it, or run --figure={figure} without "
                "--plot_only"
            )
    return rows


def _missing(rows: Sequence[Row], figure: str) -> str:
    """Says what keeps rows from being whole rounds; "" for nothing."""
    scales = {row.get("scale", "") for row in rows}
    if len(scales) > 1 or not scales <= {*SCALES}:
        return f"must be of one scale, {' or '.join(SCALES)}; it has {sorted(scales)}"
    size = FIGURES[figure].scales[scales.pop()]
    if size.panels and not all("seed" in row for row in rows):
        return "has rows without a seed"
    rounds: dict[float, list[Row]] = {}
    for row in rows:
        rounds.setdefault(row.get("seed", 0.0), []).append(row)
    for seed, mine in rounds.items():
        found, expected = len(mine), size.rows
        unit = "rows"
        if size.panels:
            cells = count_cells(figure, rows[0]["scale"])
            found, expected, unit = count_networks(mine), cells, "networks"
        if found != expected or not float(seed).is_integer():
            return f"has {found} of {expected} {unit} of seed {seed:g}"
    if not size.panels:
        return ""
    return _uneven(rows) or _undrawn(rows, figure, {*size.planned()} <= rounds.keys())


def _uneven(rows: Sequence[Row]) -> str:
    """Says where a network lacks rows that others have, or has some twice."""
    counts = Counter((row.get("kind", "network"), network_of(row)) for row in rows)
    networks = {network for _, network in counts}
    drawn = [row for row in rows if row.get("kind") == "drawn"]
    points = {network_of(row): row.get("n", 0) for row in drawn}
    for kind in {kind for kind, _ in counts}:
        most = max(counts[kind, network] for network in networks)
        for network in networks:
            found, expected = counts[kind, network], most
            if kind == "network":
                expected = 1
            elif kind == "drawn":
                expected = min(found, 1)
            elif kind == "encoding":
                expected = int(points.get(network, 0))
            if found != expected:
                return f"has {found} of {expected} rows {kind} of seed {network[0]:g}"
    return ""


def _undrawn(rows: Sequence[Row], figure: str, is_last: bool) -> str:
    """Says how many networks that are to be drawn are not there; "" for none."""
    if "mean_1" not in COLUMNS[figure]:
        return ""
    found = sum(row.get("kind") == "drawn" for row in rows)
    cells = count_cells(figure, rows[0]["scale"])
    if found == cells or (found == 0 and not is_last):
        return ""
    return f"has {found} of {cells} networks that are drawn"


def _lost(rows: Sequence[Row], readme: Path) -> str:
    """Says which rounds a README tells of that are not there; "" for none."""
    line = re.search(r"^Reached: (.*)\.$", read_text(readme), re.MULTILINE)
    if not line:
        return ""
    now, then = (
        {unit.rstrip("s"): int(n) for n, unit in re.findall(r"(\d+) (\w+)", text)}
        for text in (reached(rows), line[1])
    )
    if any(now.get(unit, 0) < number for unit, number in then.items()):
        return f"has {reached(rows)}, and {readme.name} beside it tells of {line[1]}"
    return ""
