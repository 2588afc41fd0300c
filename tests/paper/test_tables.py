# SPDX-License-Identifier: Apache-2.0
"""Tables that were cut, torn, edited or written by earlier code."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from claim_cases import fig4_rounds
from hypothesis import given
from hypothesis import strategies as st
from processes import BIN, run_python
from properties import bounded

from paper import redraw, reproduce, rounds, write_verdicts
from paper.completeness import read_table
from paper.table import has_digest, read_rows, write_rows
from tf_decomp.errors import InputError

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs" / "results"
COMMITTED = sorted(path.parent.name for path in RESULTS.glob("*/data.csv"))


def table(folder: Path, seeds: int = 5) -> Path:
    path = folder / "fig4" / "data.csv"
    write_rows(path, "fig4", [r | {"scale": "cpu"} for r in fig4_rounds(range(seeds))])
    return path


def of_earlier_code(folder: Path, figure: str) -> Path:
    """Copies what is committed of a figure."""
    copy = folder / figure
    copy.mkdir(parents=True)
    for name in ("data.csv", "README.md", "config.flags"):
        shutil.copy(RESULTS / figure / name, copy / name)
    return copy / "data.csv"


def lines_changed(change: Callable[[list[bytes]], object]) -> Callable[[bytes], bytes]:
    def changed(content: bytes) -> bytes:
        lines = content.splitlines(keepends=True)
        change(lines)
        return b"".join(lines)

    return changed


def without_column(content: bytes) -> bytes:
    lines = [line.split(b",") for line in content.splitlines()]
    (place,) = (i for i, name in enumerate(lines[0]) if name == b"hoyer")
    return b"".join(b",".join(ls[:place] + ls[place + 1 :]) + b"\r\n" for ls in lines)


def without_a_seed(content: bytes) -> bytes:
    lines = [line.split(b",") for line in content.splitlines()]
    lines[3][lines[0].index(b"seed")] = b""
    return b"".join(b",".join(cells) + b"\r\n" for cells in lines)


DAMAGE: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "half": (lambda c: c[: len(c) // 2], "is cut off"),
    "half a line end": (lambda c: c[:-1], "is cut off"),
    "header only": (lambda c: c[: c.index(b"\n") + 1], "is cut off"),
    "empty": (lambda c: b"", "is cut off"),
    "torn row": (lambda c: c[: c.rindex(b",")] + b"\r\n", "cells in line 101"),
    "not UTF-8": (lambda c: c.replace(b"cpu", b"\xff\xfe", 1), "is no table .*utf-8"),
    "NUL": (lambda c: c.replace(b"cpu", b"c\0u", 1), "cut off|no table"),
    "a zeroed end": (lambda c: c[:-40] + bytes(40), "cut off|no table"),
    "quote": (lambda c: c.replace(b"cpu", b'"cpu', 1), "is no table"),
    "column missing": (without_column, "has not the columns scale, gamma"),
    "column twice": (lambda c: c.replace(b"hoyer,", b"kl,", 1), "has not the columns"),
    "no header": (lines_changed(lambda ls: ls.pop(0)), "has not the columns"),
}
UNSEEN_BUT_BY_THE_ROWS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "fewer rows": (lines_changed(lambda ls: ls.pop()), "19 of 20 networks of seed 4"),
    "rows twice": (lines_changed(lambda ls: ls.append(ls[3])), "2 of 1 rows network"),
    "another scale": (lambda c: c.replace(b"cpu", b"paper", 1), "must be of one scale"),
    "unknown scale": (lambda c: c.replace(b"cpu", b"huge"), "must be of one scale"),
    "no seed": (without_a_seed, "has rows without a seed"),
    "wrong number": (lambda c: c[: c.rindex(b",") + 1] + b"many\r\n", "many"),
}
ALL_DAMAGE = DAMAGE | UNSEEN_BUT_BY_THE_ROWS


@pytest.mark.parametrize("sealed", [True, False])
@pytest.mark.parametrize("damage", ALL_DAMAGE)
def test_a_damaged_table_is_refused(tmp_path: Path, damage: str, sealed: bool) -> None:
    path = table(tmp_path)
    change, message = ALL_DAMAGE[damage]
    content = path.read_bytes()
    assert change(content) != content
    path.write_bytes(change(content))
    if sealed and damage in UNSEEN_BUT_BY_THE_ROWS:
        message = "is not the table of data.csv.sha256"
    if not sealed:
        (path.parent / "data.csv.sha256").unlink()
    before = sorted(tmp_path.rglob("*"))
    for attempt in (
        lambda: redraw("fig4", "cpu", tmp_path),
        lambda: write_verdicts(tmp_path),
        lambda: read_table(tmp_path, "fig4"),
    ):
        with pytest.raises(InputError, match=message) as raised:
            attempt()
        assert str(path) in str(raised.value)
        assert "\n" not in str(raised.value)
    assert sorted(tmp_path.rglob("*")) == before  # no evidence was emptied
    path.write_bytes(content)
    assert len(read_table(tmp_path, "fig4")) == 100


def test_a_changed_digit_is_seen(tmp_path: Path) -> None:
    path = table(tmp_path)
    content = path.read_bytes()
    place = content.rindex(b".") + 1
    path.write_bytes(content[:place] + b"123" + content[place + 3 :])
    with pytest.raises(InputError, match=r"not the table of data.csv.sha256; restore"):
        read_rows(path, "fig4")


def test_a_table_is_written_before_its_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = table(tmp_path, seeds=4)

    def killed(path: Path, text: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("paper.table.write_text", killed)
        with pytest.raises(KeyboardInterrupt):
            table(tmp_path, seeds=5)
    assert not has_digest(path)
    assert len(read_table(tmp_path, "fig4")) == 100


def test_a_pipe_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "fig4").mkdir()
    os.mkfifo(tmp_path / "fig4" / "data.csv")
    with pytest.raises(InputError, match="it is a pipe"):
        write_verdicts(tmp_path)


@pytest.mark.parametrize("figure", COMMITTED)
def test_committed_tables_are_whole(tmp_path: Path, figure: str) -> None:
    of_earlier_code(tmp_path, figure)
    rows = read_table(tmp_path, figure)
    assert len(rows) > 3
    redraw(figure, "cpu", tmp_path)
    for name in ("data.csv", "config.flags"):
        committed = (RESULTS / figure / name).read_bytes()
        assert (tmp_path / figure / name).read_bytes() == committed
    assert not has_digest(tmp_path / figure / "data.csv")


@pytest.mark.slow
@pytest.mark.parametrize("figure", COMMITTED)
@bounded(max_examples=15)
@given(share=st.floats(0, 1, exclude_max=True))
def test_committed_tables_cut_anywhere_are_refused(
    figure: str, share: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = (RESULTS / figure / "data.csv").read_bytes()
    folder = tmp_path_factory.mktemp("cut")
    path = of_earlier_code(folder, figure)
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(InputError):
        read_table(folder, figure)


@pytest.mark.parametrize("figure", COMMITTED)
def test_committed_tables_cut_between_rows_are_refused(
    tmp_path: Path, figure: str
) -> None:
    path = of_earlier_code(tmp_path, figure)
    lines = path.read_bytes().splitlines(keepends=True)
    # Also between rounds, and before what is drawn.
    for kept in sorted({*range(1, len(lines), max(1, len(lines) // 12)), 19, 161}):
        if kept < len(lines):
            path.write_bytes(b"".join(lines[:kept]))
            with pytest.raises(InputError):
                read_table(tmp_path, figure)


def test_results_of_other_settings_are_not_redrawn(tmp_path: Path) -> None:
    path = table(tmp_path)
    redraw("fig4", "cpu", tmp_path)
    settings = path.with_name("config.flags")
    settings.write_text(settings.read_text() + "--hidden=7\n")
    with pytest.raises(InputError, match="config.flags beside it has others"):
        redraw("fig4", "cpu", tmp_path)
    assert settings.read_text().endswith("--hidden=7\n")


@pytest.mark.parametrize("name", ["config.flags", "notes.md", "README.md"])
def test_texts_beside_a_table_are_utf8(tmp_path: Path, name: str) -> None:
    path = table(tmp_path)
    (path.parent / "data.csv.sha256").unlink()
    (path.parent / name).write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=f"{name}: expected text in UTF-8"):
        redraw("fig4", "cpu", tmp_path)


@pytest.mark.parametrize("content", [b"{", b"\xff", b'{"C1": ['])
def test_a_damaged_history_is_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "history.json").write_bytes(content)
    with pytest.raises(InputError, match="history.json: .* restore it") as raised:
        write_verdicts(tmp_path)
    assert "\n" not in str(raised.value)


def test_a_damaged_table_stops_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = table(tmp_path)
    path.write_bytes(path.read_bytes()[:-50])
    monkeypatch.setattr(rounds, "_round", pytest.fail)
    with pytest.raises(InputError, match="is cut off"):
        reproduce("fig3", "cpu", tmp_path, tmp_path / "runs")
    with pytest.raises(InputError, match="is cut off"):
        reproduce("fig4", "cpu", tmp_path, tmp_path / "runs")


@pytest.mark.slow
def test_half_a_table_from_the_command_line(tmp_path: Path) -> None:
    path = of_earlier_code(tmp_path, "fig3")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    shutil.copy(RESULTS / "claims.json", tmp_path)
    before = json.loads((tmp_path / "claims.json").read_text())
    for flags in (["--verdicts"], ["--plot_only", "--figure=fig3"], ["--seeds=-1"]):
        _, err = run_python(
            *(BIN / "reproduce.py", *flags, "--figure=fig3"),
            f"--results_dir={tmp_path}",
            status=1,
            cwd=tmp_path,
            environment={"PYTHONPATH": str(ROOT)},
        )
        assert len(err.splitlines()) == 1, err
    assert json.loads((tmp_path / "claims.json").read_text()) == before
