# SPDX-License-Identifier: Apache-2.0
"""claims.json: every claim's verdict, recomputed from the tables of all figures."""

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from paper.claims import CLAIMS
from paper.completeness import read_table
from paper.figures import FIGURES
from paper.runs import whole_rounds
from paper.statistics import Judged
from paper.table import Row
from tf_decomp.checks import check_file
from tf_decomp.errors import InputError
from tf_decomp.files import read_json, write_json

NOT_RUN, INCOMPLETE = "not run yet", "incomplete"


def write_verdicts(results_dir: Path) -> list[dict[str, Any]]:
    """Judges all claims by the tables in FIGURE/data.csv and writes claims.json.

    A claim is judged when all planned networks are there and not before: verdicts
    after each round would find an effect that is not there too often.

    Args:
        results_dir: Holds a folder for each figure, and history.json with the verdicts
            of earlier editions of the rules.

    Returns:
        What claims.json holds: for each claim `id`, `claim`, `verdict`, `evidence`
        (each `name`, `value`, `standard_error`, `n`), `beside` (verdicts of the same
        rule on other numbers), `rule`, `figure`, `figures`, `scale`, `commands`,
        `history`.

    Raises:
        InputError: A table is not whole, or history.json is damaged.

    Example:
        >>> write_verdicts(Path("docs/results"))
    """
    path = results_dir / "history.json"
    try:
        history = read_json(check_file(path)) if path.exists() else {}
    except InputError as error:
        raise InputError(f"{error}; restore it") from None
    claims = [
        judge_claim(claim, results_dir) | {"history": history.get(claim, [])}
        for claim in CLAIMS
    ]
    write_json(results_dir / "claims.json", claims)
    return claims


def judge_claim(name: str, results_dir: Path) -> dict[str, Any]:
    """Returns the entry of claims.json on one claim, without its history.

    Args:
        name: A key of CLAIMS.
        results_dir: Holds a folder for each figure.
    """
    claim = CLAIMS[name]
    tables = {f: read_table(results_dir, f) for f in claim.figures}
    first = next((table for table in tables.values() if table), [])
    scale = first[0].get("scale", "") if first else None
    rows: list[Row] = []
    pending = ""
    for figure, table in tables.items():
        ready, count, planned = _ready(table, figure, scale) if scale else ([], 0, 0)
        rows += ready
        if count < planned and not pending:
            pending = f"{INCOMPLETE} ({count} of {planned})"

    def judged(judge: Callable[[Sequence[Row]], Judged]) -> dict[str, Any]:
        pause = pending if first else NOT_RUN
        verdict, evidence = (pause, []) if pause else judge(rows)
        return {"verdict": verdict, "evidence": [n._asdict() for n in evidence]}

    commands = [
        f"python bin/reproduce.py --figure={figure} --scale={scale}"
        for figure in claim.figures
    ]
    rule = inspect.getdoc(getattr(claim.judge, "func", claim.judge)) or ""
    return {
        "id": name,
        "claim": claim.text,
        **judged(claim.judge),
        "beside": {of: judged(judge) for of, judge in claim.beside.items()},
        "rule": rule.partition("\n\nArgs:")[0],
        "figure": claim.figures[0],
        "figures": list(claim.figures),
        "scale": scale,
        "commands": commands if first else [],
    }


def _ready(rows: Sequence[Row], figure: str, scale: str) -> tuple[list[Row], int, int]:
    """Returns the rows of the planned networks, how many rounds are whole, and planned.

    Networks that were trained again to be drawn do not count twice.
    """
    planned = FIGURES[figure].scales[scale].planned()
    if not FIGURES[figure].scales[scale].panels:
        seeds = {row["seed"] for row in rows if "seed" in row} or set(planned)
        return list(rows), len(seeds & set(planned)), len(planned)
    rounds = whole_rounds(rows, figure, scale)
    ready = [row for mine in rounds.values() for row in mine]
    ready = [row for row in ready if row.get("kind") not in ("drawn", "encoding")]
    return ready, len(rounds), len(planned)
