# SPDX-License-Identifier: Apache-2.0
"""Renders report.html; every section stands for something that is there."""

import base64
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import PIL.Image

from tf_decomp.errors import InputError
from tf_decomp.evaluation.report.numbers import (
    BAR_WIDTH,
    finite,
    format_count,
    format_estimate,
    format_number,
    place_bar,
)
from tf_decomp.evaluation.report.settings import (
    describe_training,
    name_run,
    tabulate_settings,
)
from tf_decomp.evaluation.rows import GROUPS, Evaluation, Row
from tf_decomp.experiment.choices import DIVERGENCES
from tf_decomp.experiment.config import ExperimentConfig
from tf_decomp.experiment.run_files import RunFiles
from tf_decomp.files import read_json, write_text

_DEFAULT_TITLE = "Evaluation of a representation"
_TEST_GROUP = {
    "test": (
        "Objective on the test set",
        "The terms of the training objective, as means over the test set; the errors "
        "are over its examples, that of the divergence over draws of the latents.",
    )
}
_TERMS = {
    "loss": ("loss", "lower"),
    "elbo": ("ELBO", "higher"),
    "log_likelihood": ("log-likelihood E_q[log p(x|z)]", "higher"),
    "kl": ("KL(q(z|x) ‖ p(z))", ""),
    "divergence": ("divergence D(q(z), p(z))", "lower"),
}
_TRAINING_PLOT = {
    "file": "plots/training_curves.png",
    "title": "Training curves",
    "caption": "The terms of the objective against the epoch, in nats unless the panel "
    "says otherwise: training set solid with circles, test set dashed with squares.",
    "alt": "Line plots of the objective's terms against the epoch, for training and "
    "test set; the table beside it gives the last epoch.",
}
_DATA_PLOTS = (
    {
        "file": "plots/samples.png",
        "title": "Samples",
        "caption": "The means of p(x|z) at codes drawn from the prior p(z), and test "
        "data to compare.",
        "alt": "Generated examples beside examples of the test set.",
    },
    {
        "file": "plots/reconstructions.png",
        "title": "Reconstructions",
        "caption": "Test data, and the means of p(x|z) at the mean of each q(z|x).",
        "alt": "Examples of the test set, each with its reconstruction.",
    },
)
_SCREEN_SHARE = 96 / 150  # figures have 150 dots per inch, a page 96: their true size


class _Section(NamedTuple):
    """A section: its anchor, heading, template, what that shows, its entries."""

    anchor: str
    title: str
    template: str
    content: Mapping[str, Any]
    entries: Sequence[tuple[str, str]] = ()


def render_report(files: RunFiles, evaluation: Evaluation) -> Path:
    """Writes report.html of an evaluation, and of the run's files as far as they are.

    The page holds its style and all images, loads nothing and runs no script. What
    is not there has no section.

    Args:
        files: config.flags, environment.json, history.csv, metrics.json and plots/.
        evaluation: What was found.

    Returns:
        Where the report is.

    Raises:
        InputError: There is nothing to report, or Jinja2 is missing.
        OSError: A file cannot be read or the report cannot be written.

    Example:
        >>> render_report(RunFiles("runs/pinwheel"), evaluation)
        PosixPath('runs/pinwheel/report.html')
    """
    config = files.read_config() if files.config.exists() else None
    sections = [
        *_trained_section(config),
        *_verdict_section(evaluation),
        *_metric_section(files, evaluation, config),
        *_training_section(files),
        *_figure_sections(files, evaluation),
        *_environment_section(files),
    ]
    if not sections:
        raise InputError(
            f"{files.root}: expected a run or an evaluation.json; received neither; "
            "run bin/evaluate.py first"
        )
    title = evaluation.title or (name_run(config) if config else _DEFAULT_TITLE)
    write_text(files.report, _fill_page(title, sections))
    return files.report


def _trained_section(config: ExperimentConfig | None) -> list[_Section]:
    if config is None:
        return []
    content = {"text": describe_training(config), "tables": tabulate_settings(config)}
    return [_Section("trained", "What was trained", "trained.html", content)]


def _verdict_section(evaluation: Evaluation) -> list[_Section]:
    if not evaluation.verdicts:
        return []
    verdicts = [
        {"title": GROUPS[key][0], "anchor": _anchor(key), "parts": (), **verdict}
        for key, verdict in evaluation.verdicts.items()
    ]
    content = {"verdicts": verdicts}
    return [_Section("verdict", "Verdict", "verdict.html", content)]


def _metric_section(
    files: RunFiles, evaluation: Evaluation, config: ExperimentConfig | None
) -> list[_Section]:
    rows = [*_objective_rows(files, config), *evaluation.rows]
    tables: list[dict[str, Any]] = [
        {
            "anchor": _anchor(key),
            "title": title,
            "text": text,
            "warnings": evaluation.warnings_of(key),
            "rows": [row for row in rows if row.group == key],
        }
        for key, (title, text) in {**_TEST_GROUP, **GROUPS}.items()
        if any(row.group == key for row in rows)
    ]
    if not tables:
        return []
    entries = [(table["anchor"], table["title"]) for table in tables]
    dropped = evaluation.dropped
    if dropped:
        entries.append(("dropped", "Dimensions left out"))
    bars = {row.key: bar for row in rows if (bar := place_bar(row))}
    content = {"tables": tables, "bars": bars, "dropped": dropped and dropped["text"]}
    return [_Section("metrics", "Metrics", "metrics.html", content, entries)]


def _objective_rows(files: RunFiles, config: ExperimentConfig | None) -> list[Row]:
    """Returns the numbers of metrics.json."""
    rows = []
    unit_of_d = DIVERGENCES[config.divergence].unit if config else "nats"
    for key, result in (files.read_metrics() if config else {}).items():
        term = key.removeprefix("test/")
        name, better = _TERMS.get(term, (term.replace("_", " "), ""))
        unit = unit_of_d if term == "divergence" else "nats" * (term in _TERMS)
        rows.append(Row("test", key, name, **result, unit=unit, better=better))
    return rows


def _training_section(files: RunFiles) -> list[_Section]:
    """Returns the training curves, and training and test value of the last row."""
    row = [{}, *files.read_history(sys.maxsize)][-1]
    rows = []
    for term, (name, _) in _TERMS.items():
        values = [finite(row.get(prefix + term)) for prefix in ("", "val_")]
        if values != [None, None]:
            rows.append((name, *map(format_number, values)))
    image = _embed(files, _TRAINING_PLOT)
    if not (rows or image):
        return []
    content = {"rows": rows, "image": image}
    return [_Section("training", "Training curves", "training.html", content)]


def _figure_sections(files: RunFiles, evaluation: Evaluation) -> list[_Section]:
    """Returns samples and reconstructions, then the evaluation's figures in order."""
    sections = []
    for plot in _DATA_PLOTS:
        if image := _embed(files, plot):
            title = plot["title"]
            sections.append(
                _Section(title.lower(), title, "plot.html", {"image": image})
            )
    images = {
        f"figure-{number}": _embed(files, figure)
        for number, figure in enumerate(evaluation.figures, start=1)
    }
    if images:
        entries = [(anchor, image["title"]) for anchor, image in images.items()]
        content = {"figures": images}
        sections.append(
            _Section("figures", "Latent space", "figures.html", content, entries)
        )
    return sections


def _environment_section(files: RunFiles) -> list[_Section]:
    if not files.environment.exists():
        return []
    facts = read_json(files.environment)
    rows = [(key.replace("_", " "), _words(value)) for key, value in facts.items()]
    return [_Section("environment", "Environment", "environment.html", {"rows": rows})]


def _anchor(group: str) -> str:
    return f"metrics-{group.replace('_', '-')}"


def _embed(files: RunFiles, figure: Mapping[str, str]) -> dict[str, Any]:
    """Returns a figure with its data, so that the page needs no other file."""
    path = files.root / figure["file"]
    if not path.exists():
        return {}
    moves, size = path.suffix == ".gif", None
    if not moves:
        with PIL.Image.open(path) as image:
            size = [round(side * _SCREEN_SHARE) for side in image.size]
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    source = f"data:image/{path.suffix[1:]};base64,{data}"
    return {**figure, "source": source, "size": size, "moves": moves}


def _words(value: Any) -> str:
    if value is None:
        return "not known"
    if isinstance(value, Mapping):
        return ", ".join(
            f"{key.replace('_', ' ')} {_words(item)}" for key, item in value.items()
        )
    if isinstance(value, list):
        return "; ".join(map(_words, value))
    return format_number(value) if isinstance(value, float) else str(value)


def _fill_page(title: str, sections: Sequence[_Section]) -> str:
    try:
        import jinja2  # noqa: PLC0415  (of an extra)
    except ModuleNotFoundError:
        raise InputError(
            "report.html needs Jinja2, which is not installed; "
            "run pip install 'tf-decomp[report]'"
        ) from None
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.tests["known"] = lambda number: finite(number) is not None
    environment.globals |= {
        "count": format_count,
        "estimate": format_estimate,
        "number": format_number,
        "width": BAR_WIDTH,
    }
    return environment.get_template("page.html").render(title=title, sections=sections)
