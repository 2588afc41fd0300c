# SPDX-License-Identifier: Apache-2.0
"""The figures' tables and claims.json."""

import inspect
import json
from pathlib import Path
from typing import Any

import pytest
from claim_cases import CASES, fig4_rounds

from paper import FIGURES, verdicts
from paper.claims import CLAIMS
from paper.table import COLUMNS, read_rows, write_rows
from paper.verdicts import NOT_RUN, write_verdicts


def test_rows_come_back(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    rows = [
        {"scale": "cpu", "panel": "left", "prior": "normal", "beta": 0.1, "seed": 0},
        {"panel": "right", "df": float("inf"), "seed": 2**31 - 1, "kl": None},
        {"kl": 1.23456789e-12, "n": 73728, "log_likelihood": -30.4},
    ]
    write_rows(path, "fig2", rows)
    assert read_rows(path, "fig2") == [
        {"scale": "cpu", "panel": "left", "prior": "normal", "beta": 0.1, "seed": 0.0},
        {"panel": "right", "df": float("inf"), "seed": 2.0**31 - 1},
        {"kl": 1.234568e-12, "n": 73728.0, "log_likelihood": -30.4},
    ]
    assert path.read_text().splitlines()[0].split(",") == list(COLUMNS["fig2"])


def test_texts_that_look_like_numbers_stay_texts(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    write_rows(path, "fig5", [{"class": "7", "pixels": "00121e03", "datum": 3}])
    assert read_rows(path, "fig5") == [
        {"class": "7", "pixels": "00121e03", "datum": 3.0}
    ]


def test_a_table_takes_its_columns_only(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="typo"):
        write_rows(tmp_path / "data.csv", "fig2", [{"typo": 1.0}])
    assert not list(tmp_path.iterdir())


def test_every_rule_reads_columns_that_its_figure_has() -> None:
    for claim, cases in CASES.items():
        columns = {name for f in CLAIMS[claim].figures for name in COLUMNS[f]}
        assert all(set(row) <= columns for _, rows in cases for row in rows), claim


@pytest.mark.parametrize("claim", CLAIMS)
def test_verdicts_come_from_the_tables(
    claim: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verdicts, "_ready", lambda rows, *_: (list(rows), 1, 1))
    figures = CLAIMS[claim].figures
    figure = figures[0]
    for expected, rows in CASES[claim]:
        rows = [{"scale": "cpu", **row} for row in rows]
        for name in figures:
            mine = [
                row for row in rows if (row.get("panel") == "alpha") == (name == "fig3")
            ]
            write_rows(tmp_path / name / "data.csv", name, mine)
        entries = {entry["id"]: entry for entry in write_verdicts(tmp_path)}
        assert list(entries) == list(CLAIMS)
        entry = entries[claim]
        assert entry["verdict"] == expected
        assert entry["scale"] == "cpu"
        assert entry["claim"] == CLAIMS[claim].text
        judge = CLAIMS[claim].judge
        document = inspect.getdoc(getattr(judge, "func", judge)) or ""
        assert document.startswith(entry["rule"])
        assert len(entry["rule"]) > 40
        assert "Args:" not in entry["rule"]
        program = "python bin/reproduce.py"
        assert entry["commands"] == [
            f"{program} --figure={name} --scale=cpu" for name in figures
        ]
        assert entry["figures"] == list(figures)
        assert list(entry["beside"]) == list(CLAIMS[claim].beside)
        others = [e for e in entries.values() if e["figure"] != figure]
        assert {e["verdict"] for e in others} == {NOT_RUN}
        assert not any(e["evidence"] or e["commands"] for e in others)


def test_a_claim_is_judged_when_all_planned_networks_are_there(tmp_path: Path) -> None:
    path = tmp_path / "fig4" / "data.csv"
    planned = len(FIGURES["fig4"].scales["cpu"].planned())

    def verdict() -> dict[str, Any]:
        (entry,) = (e for e in write_verdicts(tmp_path) if e["id"] == "C5")
        return entry

    for rounds in (1, planned - 1):
        rows = fig4_rounds(range(rounds))
        write_rows(path, "fig4", rows)
        entry = verdict()
        assert entry["verdict"] == f"incomplete ({rounds} of {planned})"
        assert entry["evidence"] == []  # nothing to peek at
    # A round that lacks a cell does not count, nor do seeds that were not planned.
    write_rows(path, "fig4", fig4_rounds(range(planned))[:-1])
    assert verdict()["verdict"] == f"incomplete ({planned - 1} of {planned})"
    write_rows(path, "fig4", fig4_rounds(range(1000, 1000 + planned)))
    assert verdict()["verdict"] == f"incomplete (0 of {planned})"
    rows = fig4_rounds(range(planned))
    write_rows(path, "fig4", rows)
    evidence = verdict()["evidence"]
    assert verdict()["verdict"] in ("supported", "not supported", "inconclusive")
    extra = [r | {"seed": 99.0, "hoyer": 9.0} for r in fig4_rounds([0])]
    write_rows(path, "fig4", rows + extra)
    assert verdict()["evidence"] == evidence


def test_a_claim_of_two_figures_waits_for_both(tmp_path: Path) -> None:
    top = [
        {"scale": "cpu", **row} for row in CASES["C4"][0][1] if row["panel"] == "fresh"
    ]
    each = [row for row in top if row["seed"] == 0]
    rows = [r | {"seed": float(s)} for s in range(2000, 2040) for r in each]
    write_rows(tmp_path / "fig3_top" / "data.csv", "fig3_top", rows)
    (entry,) = (e for e in write_verdicts(tmp_path) if e["id"] == "C4")
    assert entry["verdict"] == "incomplete (0 of 20)"


def test_networks_trained_again_to_be_drawn_do_not_count_twice(tmp_path: Path) -> None:
    rows = [{"scale": "cpu", **row} for row in CASES["C4"][0][1]]
    each = {
        panel: [row for row in rows if (row["panel"], row["seed"]) == (panel, 0)]
        for panel in ("fresh", "alpha")
    }
    top = [r | {"seed": s} for s in range(2000, 2040) for r in each["fresh"]]
    beta = [r | {"panel": "beta", "alpha": 0.0, "beta": float(b)}
            for b, r in enumerate(each["alpha"])]  # fmt: skip
    bottom = [r | {"seed": s} for s in range(20) for r in [*each["alpha"], *beta]]

    def c4(top: list[Any], bottom: list[Any]) -> dict[str, Any]:
        write_rows(tmp_path / "fig3_top" / "data.csv", "fig3_top", top)
        write_rows(tmp_path / "fig3" / "data.csv", "fig3", bottom)
        (entry,) = (e for e in write_verdicts(tmp_path) if e["id"] == "C4")
        return entry

    alone = c4(top, bottom)
    assert len(alone["evidence"]) > 5
    drawn = [r | {"kind": "drawn", "inclusive_kl": 9.0} for r in bottom[:8]]
    points = [r | {"kind": "encoding"} for r in drawn]
    assert c4(top, bottom + drawn + points) == alone


def test_earlier_verdicts_stay_readable(tmp_path: Path) -> None:
    past = {
        "until": "2026-11-27",
        "verdict": "inconclusive",
        "rule": "r",
        "reason": "s",
    }
    (tmp_path / "history.json").write_text(json.dumps({"C4": [past]}))
    entries = {entry["id"]: entry for entry in write_verdicts(tmp_path)}
    assert entries["C4"]["history"] == [past]
    assert entries["C1"]["history"] == []
    written = json.loads((tmp_path / "claims.json").read_text())
    assert written[3]["history"] == [past]


def test_claims_json_is_standard_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verdicts, "_ready", lambda rows, *_: (list(rows), 1, 1))
    rows = CASES["C9"][0][1][:1]  # one network has no standard error
    rows = [{"scale": "cpu", **row} for row in rows]
    write_rows(tmp_path / "fig5" / "data.csv", "fig5", rows)
    entries = write_verdicts(tmp_path)
    text = (tmp_path / "claims.json").read_text()
    written = json.loads(text, parse_constant=pytest.fail)
    assert [entry["id"] for entry in written] == list(CLAIMS)
    evidence = written[9]["evidence"]
    assert evidence[0]["standard_error"] is None
    assert evidence[-1]["value"] == pytest.approx(entries[9]["evidence"][-1]["value"])
    assert evidence[-1].keys() == {"name", "value", "standard_error", "n"}
