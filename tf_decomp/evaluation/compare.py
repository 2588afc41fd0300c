# SPDX-License-Identifier: Apache-2.0
"""Runs side by side: a page, a table for programs and one for papers."""

import base64
import dataclasses
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import PIL.Image

from tf_decomp.errors import InputError
from tf_decomp.estimates import mean_estimate
from tf_decomp.evaluation.report import latex
from tf_decomp.evaluation.report.numbers import (
    finite,
    format_count,
    format_estimate,
    format_number,
)
from tf_decomp.evaluation.report.render import (
    PLOTS,
    TEST_GROUP,
    fill_page,
    objective_rows,
)
from tf_decomp.evaluation.report.settings import tabulate_settings
from tf_decomp.evaluation.rows import GROUPS, Evaluation, Row
from tf_decomp.experiment.config import DEFAULTS, ExperimentConfig
from tf_decomp.experiment.run_files import RunFiles, warn
from tf_decomp.files import read_json, write_csv, write_text

_GROUPS = {**TEST_GROUP, **GROUPS}
# Settings that say where a run happens, not what it computes.
_PLACEMENT = ("output_dir", "strategy", "overwrite")
_TEST_DATA = ("dataset", "data_dir", "image_size", "max_test_examples")
_MOST_PICTURED = 60  # runs; of more, a page is slow to open
_SCREEN_SHARE = 96 / 150  # figures have 150 dots per inch, a page 96: their true size
_BETTER = {"higher": r" $\uparrow$", "lower": r" $\downarrow$", "": ""}


class _Cell(NamedTuple):
    """A metric of a column: its numbers, and remarks for readers."""

    value: float | None
    standard_error: float | None
    n: int | None
    remarks: list[str]


class _Column(NamedTuple):
    """A run, or the mean of runs that differ in their seed alone.

    Attributes:
        name: What readers know it by.
        settings: Those it used, as text.
        verdicts: By group.
        cells: By the metric's key.
    """

    name: str
    settings: dict[str, str]
    verdicts: dict[str, str]
    cells: dict[str, _Cell]


class _Run(NamedTuple):
    """A run, or judged codes, as found in a folder."""

    files: RunFiles
    config: ExperimentConfig | None
    evaluation: Evaluation
    rows: list[Row]
    column: _Column


def compare_runs(runs: Sequence[Path], output_dir: Path) -> Path:
    """Compares evaluated runs: comparison.html, comparison.csv and comparison.tex.

    Settings that differ come first, then every number of metrics.json and
    evaluation.json with its standard error, then the pictures. Where runs differ in
    their seed alone, page and LaTeX table show the mean over seeds with the standard
    error that their spread gives; the CSV has a row for each run and metric.

    Args:
        runs: Folders of evaluated runs or codes; that of a sweep stands for its
            finished runs.
        output_dir: Where the three files go.

    Returns:
        Where the page is.

    Raises:
        InputError: There are fewer than two runs, one is there twice, is not finished
            or not evaluated, or a folder holds none; or Jinja2 is missing.
        OSError: A file cannot be read or written.

    Example:
        >>> compare_runs([Path("runs/pinwheel"), Path("runs/sweep")], Path("runs"))
        PosixPath('runs/comparison.html')
    """
    output_dir = Path(output_dir)
    if output_dir.exists() and not output_dir.is_dir():
        raise InputError(
            f"{output_dir}: expected a folder for the comparison; received a file; "
            "choose another one"
        )
    folders = _expand([Path(run) for run in runs])
    _check_evaluated(folders)
    found = _read_all(folders)
    differing = _differing(found)
    columns = [run.column for run in found]
    means = _means_over_seeds(found, differing)
    rows = {row.key: row for run in reversed(found) for row in run.rows}
    metrics = {
        key: row for group in _GROUPS for key, row in rows.items() if row.group == group
    }
    sections = [
        ("compared", "Metrics", _compared(found, means, metrics, differing)),
        ("pictures", "Pictures", _pictures(found)),
        ("common", "Settings in common", _common(found, differing)),
    ]
    page = fill_page(
        "Comparison",
        f"{len(found)} runs compared",
        [
            {"anchor": anchor, "title": title, "content": content}
            for anchor, title, content in sections
            if content
        ],
    )
    _write_table(output_dir / "comparison.csv", columns, metrics, differing)
    blocks = _tabulate(means or columns, metrics, differing)
    of = "means over seeds" if means else "of one trained model each"
    write_text(output_dir / "comparison.tex", _typeset(of, means or columns, blocks))
    write_text(output_dir / "comparison.html", page)
    return output_dir / "comparison.html"


# -- reading -------------------------------------------------------------------------


def _expand(paths: Sequence[Path]) -> list[Path]:
    """Puts the finished runs of a sweep in its place, in the order of their settings.

    Raises:
        InputError: As `compare_runs`, of the list and its folders.
    """
    folders: dict[Path, Path] = {}
    for path in paths:
        inside = _runs_of_sweep(path) if (path / "sweep.json").exists() else [path]
        for folder in inside:
            if folder.resolve() in folders:
                raise InputError(f"{folder}: is there twice; name each run once")
            folders[folder.resolve()] = folder
    if len(folders) < 2:
        named = ", ".join(map(str, folders.values())) or "none"
        raise InputError(
            f"expected two runs or more to compare; received {named}; name another "
            "run, or a sweep with finished ones"
        )
    return list(folders.values())


def _runs_of_sweep(path: Path) -> list[Path]:
    started = [path / name for name in os.listdir(path) if name[0] != "."]
    started = [folder for folder in started if (folder / "config.flags").exists()]
    ended = [folder for folder in started if (folder / "metrics.json").exists()]
    if len(ended) < len(started):
        left = len(started) - len(ended)
        warn(f"{path}: {left} of {len(started)} runs are not finished and left out")

    def settings(folder: Path) -> tuple[Any, ...]:
        config = dataclasses.asdict(RunFiles(folder).read_config())
        values = [config[name] for name in config if name not in ("seed", *_PLACEMENT)]
        return (*values, config["seed"])

    return sorted(ended, key=settings)


def _check_evaluated(folders: Sequence[Path]) -> None:
    missing = [RunFiles(folder) for folder in folders]
    missing = [files for files in missing if not files.evaluation.exists()]
    if not missing:
        return
    first, more = missing[0], len(missing) - 1
    if not first.config.exists():
        raise InputError(
            f"{first.root}: expected the folder of a run, of judged codes or of a "
            "sweep; received none of them; look for a typing error"
        )
    first.read_metrics()  # one that is not finished says so
    others = f" (and {more} more)" * (more > 0)
    raise InputError(f"{first.root}{others}: no evaluation.json there; evaluate first")


def _read_all(folders: Sequence[Path]) -> list[_Run]:
    """Reads runs, named by what tells their paths apart."""
    paths = [os.path.abspath(folder) for folder in folders]
    common = os.path.commonpath([os.path.dirname(path) for path in paths])
    return [
        _read(folder, os.path.relpath(path, common))
        for folder, path in zip(folders, paths, strict=True)
    ]


def _read(folder: Path, name: str) -> _Run:
    files = RunFiles(folder)
    config = files.read_config() if files.config.exists() else None
    rows = objective_rows(files, config)
    found = read_json(files.evaluation)
    try:
        evaluation = Evaluation(
            rows=[Row(**entry) for entry in found["metrics"]],
            verdicts={key: dict(of) for key, of in found["verdicts"].items()},
            warnings=[
                text
                for group in found["groups"].values()
                for text in group.get("warnings", ())
            ],
            figures=[dict(figure) for figure in found["figures"]],
        )
        rows += evaluation.rows
        verdicts = {key: str(of["verdict"]) for key, of in evaluation.verdicts.items()}
        cells = {row.key: _cell(row) for row in rows}
        usable = {row.group for row in rows} <= _GROUPS.keys()
    except (TypeError, KeyError, AttributeError, ValueError):
        usable = False
    if not usable:
        raise InputError(
            f"{files.evaluation}: expected results as evaluation writes them; received "
            "a damaged file or one of another version; evaluate the run again"
        )
    name = os.fsencode(name).decode("utf-8", "replace")
    column = _Column(name, _used_settings(config), verdicts, cells)
    return _Run(files, config, evaluation, rows, column)


def _cell(row: Row) -> _Cell:
    """Returns a row's numbers, and what its report says beside them."""
    remarks = [f"{row.better} is better" if row.better else "", row.unit]
    if finite(row.chance) is not None:
        chance = format_estimate(row.chance, row.chance_standard_error)
        remarks.append(f"chance level {chance}")
    if finite(row.bound) is not None:
        remarks.append(f"bound {format_number(row.bound)}")
    remarks += [f"n = {format_count(row.n)}", *row.note.split("; ")]
    value, error = finite(row.value), finite(row.standard_error)
    return _Cell(value, error, row.n, [remark for remark in remarks if remark])


def _used_settings(config: ExperimentConfig | None) -> dict[str, str]:
    """Returns the settings that have a say in what the run computes."""
    if config is None:
        return {}
    texts = config.to_texts()
    used = {
        name
        for settings in tabulate_settings(config).values()
        for name, _, is_used in settings
        if is_used
    }
    return {name: texts[name] for name in texts if name in used - {*_PLACEMENT}}


# -- columns -------------------------------------------------------------------------


def _differing(runs: Sequence[_Run]) -> list[str]:
    """Returns the settings that differ, in the order of a run's flags."""
    each = [run.column.settings for run in runs if run.config]
    return [
        name for name in DEFAULTS if len({settings.get(name) for settings in each}) > 1
    ]


def _means_over_seeds(runs: Sequence[_Run], differing: Sequence[str]) -> list[_Column]:
    """Returns a column for each group of runs that differ in their seed alone.

    None at all where every run is a group of its own. Where a group has a seed twice,
    its runs are no independent ones and keep their own columns.

    Args:
        runs: All of them.
        differing: The settings that differ.
    """
    groups: dict[Any, list[_Column]] = {}
    for run in runs:
        settings = {**run.column.settings, "seed": ""}
        key = tuple(settings.items()) if run.config else run.column.name
        groups.setdefault(key, []).append(run.column)
    parts: list[list[_Column]] = []
    for group in groups.values():
        once = len({one.settings.get("seed") for one in group}) == len(group)
        parts += [group] if once else [[one] for one in group]
    if len(parts) == len(runs):
        return []
    return [_mean(part, differing) for part in parts]


def _mean(columns: Sequence[_Column], differing: Sequence[str]) -> _Column:
    """Returns means over runs, with the errors that the runs' spread gives."""
    first = columns[0]
    name = first.name
    if len(columns) > 1:
        named = [name for name in differing if name in {*first.settings} - {"seed"}]
        name = ", ".join(f"{k}={first.settings[k]}" for k in named) or "all runs"
    seeds = ", ".join(column.settings.get("seed", "") for column in columns)
    cells = {}
    for key in dict.fromkeys(key for column in columns for key in column.cells):
        present = [column.cells[key] for column in columns if key in column.cells]
        values = [cell.value for cell in present if cell.value is not None]
        remarks = _shared(present)
        if len(values) < len(columns):
            remarks.append(f"of {len(values)} of {len(columns)} runs")
        mean, error, n = mean_estimate(values) if values else (None, None, 0)
        cells[key] = _Cell(mean, finite(error), n, remarks)
    verdicts = {
        group: ", ".join(dict.fromkeys(c.verdicts.get(group, "–") for c in columns))
        for group in GROUPS
        if any(group in column.verdicts for column in columns)
    }
    settings = {**first.settings, "seed": seeds} if seeds else first.settings
    return _Column(name, settings, verdicts, cells)


def _shared(cells: Sequence[_Cell]) -> list[str]:
    """Returns the remarks that all cells have."""
    return [
        remark
        for remark in cells[0].remarks
        if all(remark in cell.remarks for cell in cells)
    ]


class _Line(NamedTuple):
    """A row of the table, with a text and its own remarks for each column.

    Attributes:
        name: What it is of.
        remarks: Those that hold for all columns.
        cells: Text and further remarks of each column.
        row: The metric, or None for words.
    """

    name: str
    remarks: Sequence[str]
    cells: Sequence[tuple[str, Sequence[str]]]
    row: Row | None = None


def _tabulate(
    columns: Sequence[_Column], metrics: Mapping[str, Row], differing: Sequence[str]
) -> dict[str, list[_Line]]:
    """Returns the lines of a table, in blocks by their headings."""
    settings = [
        _Line(name, (), [(_setting(column, name), ()) for column in columns])
        for name in differing
    ]
    verdicts = [
        _Line(title, (), [(column.verdicts.get(key, "–"), ()) for column in columns])
        for key, (title, _) in GROUPS.items()
        if any(key in column.verdicts for column in columns)
    ]
    blocks = {"Settings that differ": settings, "Verdict": verdicts}
    for key, row in metrics.items():
        cells = [column.cells.get(key) for column in columns]
        shared = _shared([cell for cell in cells if cell])
        texts = [
            (
                format_estimate(cell.value, cell.standard_error),
                [remark for remark in cell.remarks if remark not in shared],
            )
            if cell
            else ("–", [])
            for cell in cells
        ]
        line = _Line(row.name, shared, texts, row)
        blocks.setdefault(_GROUPS[row.group][0], []).append(line)
    return {title: lines for title, lines in blocks.items() if lines}


def _setting(column: _Column, name: str) -> str:
    return column.settings[name] or "not set" if name in column.settings else "–"


# -- the page ------------------------------------------------------------------------


def _compared(
    runs: Sequence[_Run],
    means: Sequence[_Column],
    metrics: Mapping[str, Row],
    differing: Sequence[str],
) -> dict[str, Any]:
    columns = [run.column for run in runs]
    tables = [
        {
            "anchor": anchor,
            "title": title,
            "names": [column.name for column in of],
            "blocks": _tabulate(of, metrics, differing),
        }
        for anchor, title, of in (
            ("means", "Means over seeds", means),
            ("runs", "Single runs", columns),
        )
        if of
    ]
    warnings: dict[str, list[str]] = {}
    for run in runs:
        for text in dict.fromkeys(run.evaluation.warnings):
            warnings.setdefault(text, []).append(run.column.name)
    codes = [run.column.name for run in runs if not run.config]
    return {
        "tables": tables,
        "alike": not (differing or codes),
        "codes": codes,
        "test_data": [name for name in differing if name in _TEST_DATA],
        "warnings": warnings,
        "entries": [(table["anchor"], table["title"]) for table in tables],
    }


def _pictures(runs: Sequence[_Run]) -> dict[str, Any]:
    """Returns the pictures by title, those of each run beside each other."""
    pictures: dict[str, list[dict[str, Any]]] = {}
    for run in runs[:_MOST_PICTURED]:
        named = [
            (figure["title"], run.files.root / figure["file"], figure["caption"])
            for figure in run.evaluation.figures
            if not figure["file"].endswith(".gif")
        ]
        named += [
            (name.replace("_", " ").capitalize(), run.files.plots / f"{name}.png", text)
            for name, (text, _) in PLOTS.items()
        ]
        for title, path, caption in named:
            if path.exists():
                image = _embed(path)
                words = {"name": run.column.name, "caption": caption}
                pictures.setdefault(title, []).append({**image, **words})
    if not pictures:
        return {}
    sections = [
        {
            "anchor": f"picture-{number}",
            "title": title,
            "images": images,
            "caption": images[0]["caption"]
            if len({image["caption"] for image in images}) == 1
            else "",
        }
        for number, (title, images) in enumerate(pictures.items(), start=1)
    ]
    entries = [(section["anchor"], section["title"]) for section in sections]
    most = _MOST_PICTURED if len(runs) > _MOST_PICTURED else None
    return {"sections": sections, "entries": entries, "most": most}


def _embed(path: Path) -> dict[str, Any]:
    """Returns a picture for a page of many: of 256 colours, a quarter of the bytes."""
    with PIL.Image.open(path) as image:
        size = [round(side * _SCREEN_SHARE) for side in image.size]
        data = io.BytesIO()
        few = image.convert("RGB").quantize(256, PIL.Image.Quantize.FASTOCTREE)
        few.save(data, "PNG")
    text = base64.b64encode(data.getvalue()).decode("ascii")
    return {"source": f"data:image/png;base64,{text}", "size": size}


def _common(runs: Sequence[_Run], differing: Sequence[str]) -> dict[str, Any]:
    configs = [run.config for run in runs if run.config]
    if len(configs) < 2:
        return {}
    tables = tabulate_settings(configs[0])
    kept = {
        heading: [
            row for row in rows if row[2] and row[0] not in (*differing, *_PLACEMENT)
        ]
        for heading, rows in tables.items()
    }
    return {"tables": {heading: rows for heading, rows in kept.items() if rows}}


# -- the other files -----------------------------------------------------------------


def _write_table(
    path: Path,
    columns: Sequence[_Column],
    metrics: Mapping[str, Row],
    differing: Sequence[str],
) -> None:
    names = ["run", *differing, "metric", "value", "standard_error", "n"]
    rows = [
        {
            "run": column.name,
            **{name: column.settings.get(name, "") for name in differing},
            "metric": key,
            **column.cells[key]._asdict(),
        }
        for column in columns
        for key in metrics
        if key in column.cells
    ]
    for row in rows:
        del row["remarks"]
    write_csv(path, names, rows)


def _typeset(
    of: str, columns: Sequence[_Column], blocks: Mapping[str, Sequence[_Line]]
) -> str:
    return latex.tabulate(
        f"Values, {of}, with one standard error.",
        [latex.escape(column.name) for column in columns],
        [
            (
                latex.escape(title),
                [
                    (_name(line), *(latex.typeset(text) for text, _ in line.cells))
                    for line in lines
                ],
            )
            for title, lines in blocks.items()
        ],
    )


def _name(line: _Line) -> str:
    """Returns a row's name with its unit, if all columns have it, and direction."""
    if line.row is None:
        return latex.escape(line.name)
    unit = f" ({line.row.unit})" if line.row.unit in line.remarks else ""
    return latex.escape(line.name + unit) + _BETTER[line.row.better]
