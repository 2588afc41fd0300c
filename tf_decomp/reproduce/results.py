# SPDX-License-Identifier: Apache-2.0
"""claims.json: every claim's verdict, recomputed from the tables of all figures."""

import inspect
from pathlib import Path
from typing import Any

from tf_decomp.reproduce.claims import CLAIMS
from tf_decomp.reproduce.tables import read_rows
from tf_decomp.run_files import write_json

NOT_RUN = "not run yet"


def write_verdicts(results_dir: Path) -> list[dict[str, Any]]:
    """Judges all claims by the tables in FIGURE/data.csv and writes claims.json.

    Args:
        results_dir: Holds a folder for each figure.

    Returns:
        What claims.json holds: for each claim `id`, `claim`, `verdict`, `evidence`
        (each `name`, `value`, `standard_error`, `n`), `rule`, `figure`, `scale`,
        `commands`.

    Example:
        >>> write_verdicts(Path("docs/results"))
    """
    claims = [judge_claim(claim, results_dir) for claim in CLAIMS]
    write_json(results_dir / "claims.json", claims)
    return claims


def judge_claim(name: str, results_dir: Path) -> dict[str, Any]:
    """Gives the entry of claims.json on one claim.

    Args:
        name: A key of CLAIMS.
        results_dir: Holds a folder for each figure.
    """
    claim = CLAIMS[name]
    table = results_dir / claim.figure / "data.csv"
    rows = read_rows(table) if table.exists() else []
    scale = rows[0].get("scale", "") if rows else None
    verdict, evidence = claim.judge(rows) if rows else (NOT_RUN, [])
    command = f"python bin/reproduce.py --figure={claim.figure} --scale={scale}"
    return {
        "id": name,
        "claim": claim.text,
        "verdict": verdict,
        "evidence": [number._asdict() for number in evidence],
        "rule": (inspect.getdoc(claim.judge) or "").partition("\n\nArgs:")[0],
        "figure": claim.figure,
        "scale": scale,
        "commands": [command] if rows else [],
    }
