# SPDX-License-Identifier: Apache-2.0
"""The figures' tables and claims.json."""

import inspect
import json
from pathlib import Path

import pytest
from claim_cases import CASES

from tf_decomp.errors import InputError
from tf_decomp.reproduce.claims import CLAIMS
from tf_decomp.reproduce.results import NOT_RUN, write_verdicts
from tf_decomp.reproduce.tables import COLUMNS, read_rows, write_rows


def test_rows_come_back(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    rows = [
        {"scale": "cpu", "panel": "left", "prior": "normal", "beta": 0.1, "seed": 0},
        {"panel": "right", "df": float("inf"), "seed": 2**31 - 1, "kl": None},
        {"kl": 1.23456789e-12, "n": 73728, "log_likelihood": -30.4},
    ]
    write_rows(path, "fig2", rows)
    assert read_rows(path) == [
        {"scale": "cpu", "panel": "left", "prior": "normal", "beta": 0.1, "seed": 0.0},
        {"panel": "right", "df": float("inf"), "seed": 2.0**31 - 1},
        {"kl": 1.234568e-12, "n": 73728.0, "log_likelihood": -30.4},
    ]
    assert path.read_text().splitlines()[0].split(",") == list(COLUMNS["fig2"])


def test_texts_that_look_like_numbers_stay_texts(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    write_rows(path, "fig5", [{"class": "7", "pixels": "00121e03", "datum": 3}])
    assert read_rows(path) == [{"class": "7", "pixels": "00121e03", "datum": 3.0}]


def test_a_table_takes_its_columns_only(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="typo"):
        write_rows(tmp_path / "data.csv", "fig2", [{"typo": 1.0}])
    assert not list(tmp_path.iterdir())
    (tmp_path / "data.csv").write_text("beta\nmany\n")
    with pytest.raises(InputError, match="many"):
        read_rows(tmp_path / "data.csv")


def test_every_rule_reads_columns_that_its_figure_has() -> None:
    for claim, cases in CASES.items():
        columns = set(COLUMNS[CLAIMS[claim].figure])
        assert all(set(row) <= columns for _, rows in cases for row in rows), claim


@pytest.mark.parametrize("claim", CLAIMS)
def test_verdicts_come_from_the_tables(claim: str, tmp_path: Path) -> None:
    for expected, rows in CASES[claim]:
        figure = CLAIMS[claim].figure
        rows = [{"scale": "cpu", **row} for row in rows]
        write_rows(tmp_path / figure / "data.csv", figure, rows)
        entries = {entry["id"]: entry for entry in write_verdicts(tmp_path)}
        assert list(entries) == list(CLAIMS)
        entry = entries[claim]
        assert entry["verdict"] == expected
        assert entry["scale"] == "cpu"
        assert entry["claim"] == CLAIMS[claim].text
        document = inspect.getdoc(CLAIMS[claim].judge) or ""
        assert document.startswith(entry["rule"])
        assert len(entry["rule"]) > 40
        assert "Args:" not in entry["rule"]
        program = "python bin/reproduce.py"
        assert entry["commands"] == [f"{program} --figure={figure} --scale=cpu"]
        others = [e for e in entries.values() if e["figure"] != figure]
        assert {e["verdict"] for e in others} == {NOT_RUN}
        assert not any(e["evidence"] or e["commands"] for e in others)


def test_claims_json_is_standard_json(tmp_path: Path) -> None:
    rows = CASES["C9"][0][1]  # its p-value has no standard error
    write_rows(tmp_path / "fig5" / "data.csv", "fig5", rows)
    entries = write_verdicts(tmp_path)
    text = (tmp_path / "claims.json").read_text()
    written = json.loads(text, parse_constant=pytest.fail)
    assert [entry["id"] for entry in written] == list(CLAIMS)
    evidence = written[8]["evidence"]
    assert evidence[0]["standard_error"] is None
    assert evidence[-1]["value"] == pytest.approx(entries[8]["evidence"][-1]["value"])
    assert evidence[-1].keys() == {"name", "value", "standard_error", "n"}
