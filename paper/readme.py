# SPDX-License-Identifier: Apache-2.0
"""The README.md of a figure: what it shows, how far it went, what follows."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from paper.figures import FIGURES
from paper.table import Row, choose, count_networks, levels

_LEARNING_CURVES = {
    "fig1": "fig3_learning",
    "fig2": "fig2_learning",
    "fig3": "fig3_learning",
    "fig4": "fig4_learning",
    "fig5": "fig4_learning",
    "fig3_top": "fig3_learning",
}


def readme_text(
    figure: str,
    scale: str,
    rows: Sequence[Row],
    claims: Sequence[dict[str, Any]],
    notes: str,
) -> str:
    """Returns the README of a figure.

    Args:
        figure: A key of FIGURES.
        scale: One of SCALES.
        rows: Its table.
        claims: Entries of claims.json on it.
        notes: What was written by hand in notes.md.
    """
    definition = FIGURES[figure]
    size = definition.scales[scale]
    command = f"python bin/reproduce.py --figure={figure} --scale={scale}"
    parts = [
        f"# {definition.title}",
        f"{definition.section}. Scale `{scale}`, written by\n\n"
        f"    {command}\n\nand redrawn from [data.csv](data.csv) with `--plot_only`.",
        "![the figure](figure.png)",
        f"What this scale changes from the paper: {size.changes}. "
        f"Planned: {size.seeds} seed{'s' if size.seeds > 1 else ''}"
        + (f", about {size.hours:g} hours on two cores." if size.hours else "."),
        f"Reached: {reached(rows)}.",
        _above_chance(rows),
        _verdicts(claims),
        _learning_curve(figure),
        notes.strip(),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def reached(rows: Sequence[Row]) -> str:
    """Says how far a table goes: seeds and networks, or rows.

    Args:
        rows: Of a figure's table.
    """
    seeds = levels(rows, "seed")
    if not seeds:
        return f"{len(rows)} rows"
    numbers = {"seed": len(seeds), "network": count_networks(rows)}
    return ", ".join(f"{n} {name}" + "s" * (n != 1) for name, n in numbers.items())


def _above_chance(rows: Sequence[Row]) -> str:
    """Says how far scores are from those of meaningless codes."""
    lines = []
    for score, chance, name in (
        ("factor_vae_score", "factor_vae_chance", "FactorVAE score"),
        ("hoyer", "hoyer_chance", "Hoyer sparsity"),
    ):
        mine = choose(rows, chance)
        if mine:
            scores = [row[score] for row in mine]
            level = np.mean([row[chance] for row in mine])
            lines.append(
                f"Chance: meaningless codes have a {name} of {level:.3f}; the networks "
                f"have {min(scores):.3f} to {max(scores):.3f}, mean "
                f"{np.mean(scores):.3f}."
            )
    return "\n".join(lines)


def _learning_curve(figure: str) -> str:
    learning = _LEARNING_CURVES.get(figure)
    if not learning:
        return ""
    link = f"[{FIGURES[learning].title}](../{learning}/README.md)"
    picture = f"![learning curve](../{learning}/figure.png)"
    return f"## Length of training\n\n{picture}\n\n{link}"


def _verdicts(claims: Sequence[dict[str, Any]]) -> str:
    if not claims:
        return ""
    blocks = ["## Verdicts"]
    for claim in claims:
        rule = " ".join(str(claim["rule"]).split())
        text = claim["claim"][0].upper() + claim["claim"][1:]
        lines = [
            f"**{claim['id']}: {claim['verdict']}.** {text}.",
            f"Rule: {rule}",
            *_others(claim),
            "| evidence | value | standard error | n |\n|---|---|---|---|\n"
            + "\n".join(_line(number) for number in claim["evidence"]),
        ]
        blocks += lines if claim["evidence"] else lines[:-1]
    return "\n\n".join(blocks)


def _others(claim: dict[str, Any]) -> list[str]:
    """Says what the rule gives of other numbers, and what earlier rules gave."""
    lines = [
        f"The same rule, {of}: {judged['verdict']}"
        + "".join(f"; {n['name']} {n['value']:.3g}" for n in judged["evidence"][:2])
        + "."
        for of, judged in claim["beside"].items()
    ]
    return lines + [
        f"Before {past['until']}: {past['verdict']}, by another rule. {past['reason']}"
        for past in claim["history"]
    ]


def _line(number: dict[str, Any]) -> str:
    name = number["name"].replace("|", "\\|")
    error = number["standard_error"]
    known = "" if np.isnan(error) else f"{error:.2g}"
    return f"| {name} | {number['value']:.4g} | {known} | {number['n']} |"
