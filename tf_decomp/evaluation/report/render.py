# SPDX-License-Identifier: Apache-2.0
"""Renders report.html; every section stands for files that are there."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tf_decomp.errors import InputError
from tf_decomp.evaluation.report.bars import WIDTH
from tf_decomp.evaluation.report.images import Image, embed_image
from tf_decomp.evaluation.report.settings import (
    describe_training,
    name_run,
    read_settings,
    tabulate_settings,
)
from tf_decomp.evaluation.report.tables import (
    environment_rows,
    group_anchor,
    group_metrics,
    last_epoch,
    metrics_of_run,
)
from tf_decomp.experiment.run_files import RunFiles
from tf_decomp.files import write_text

_DEFAULT_TITLE = "Evaluation of a representation"
_FACTORS = {
    "overlap": "Factor (a): overlap of the encodings",
    "regularisation": "Factor (b): match of q(z) and the prior",
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


class _Section(NamedTuple):
    """A section: its anchor, heading, template, what that shows, its entries."""

    anchor: str
    title: str
    template: str
    content: Mapping[str, Any]
    entries: Sequence[tuple[str, str]] = ()


def render_report(files: RunFiles) -> Path:
    """Writes report.html from the files of a run, of an evaluation, or of both.

    The page holds its style and all images, loads nothing and runs no script. What
    has no file has no section.

    Args:
        files: config.flags, environment.json, history.csv, metrics.json, plots/ and
            evaluation.json, as far as they are there.

    Returns:
        Where the report is.

    Raises:
        InputError: There is nothing to report, a file is not JSON, a figure is no
            image inside the folder, or Jinja2 is missing.
        OSError: A file cannot be read or the report cannot be written.

    Example:
        >>> render_report(RunFiles("runs/pinwheel"))
        PosixPath('runs/pinwheel/report.html')
    """
    evaluation = _read_json(files.root / "evaluation.json")
    settings = read_settings(files.config)
    sections = [
        *_training_sections(files, evaluation, settings),
        *_figure_sections(files, evaluation),
    ]
    environment = environment_rows(_read_json(files.environment))
    if environment:
        content = {"rows": environment}
        sections.append(
            _Section("environment", "Environment", "environment.html", content)
        )
    if not sections:
        raise InputError(
            f"{files.root}: expected a run or an evaluation.json; received neither; "
            "run bin/evaluate.py first"
        )
    title = evaluation.get("title") or (name_run(settings) if settings else "")
    path = files.root / "report.html"
    write_text(path, _fill_page(title or _DEFAULT_TITLE, sections))
    return path


def _training_sections(
    files: RunFiles, evaluation: Mapping[str, Any], settings: Mapping[str, str]
) -> list[_Section]:
    """Gives what was trained, the verdicts, the metrics and the training curves."""
    sections = []
    content: dict[str, Any]
    if settings:
        content = {
            "text": describe_training(settings),
            "tables": tabulate_settings(settings),
        }
        sections.append(
            _Section("trained", "What was trained", "trained.html", content)
        )
    verdicts = evaluation.get("verdicts") or {}
    if verdicts:
        content = {"verdicts": _verdicts(evaluation)}
        sections.append(_Section("verdict", "Verdict", "verdict.html", content))
    sections += _metric_sections(files, evaluation, settings)
    rows = last_epoch(files.read_history(sys.maxsize))
    plot = _image_unless_listed(files, _TRAINING_PLOT, evaluation)
    if rows or plot:
        content = {"rows": rows, "image": plot}
        sections.append(
            _Section("training", "Training curves", "training.html", content)
        )
    return sections


def _verdicts(evaluation: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Gives title, verdict, text and parts of each factor, and its numbers' anchor."""
    measured = {metric.get("group") for metric in evaluation.get("metrics") or ()}
    return [
        {
            "title": _FACTORS.get(key, key.replace("_", " ").capitalize()),
            "verdict": verdict.get("verdict") or "",
            "text": verdict.get("text") or "",
            "parts": verdict.get("parts") or (),
            "anchor": group_anchor(key) if key in measured else "",
        }
        for key, verdict in evaluation["verdicts"].items()
    ]


def _metric_sections(
    files: RunFiles, evaluation: Mapping[str, Any], settings: Mapping[str, str]
) -> list[_Section]:
    """Gives the section of all metrics, or none."""
    unit = "" if settings.get("divergence") == "dimensionwise_mmd" else "nats"
    evaluated = evaluation.get("metrics") or []
    known = {metric.get("key") for metric in evaluated}
    results = {
        key: result
        for key, result in _read_json(files.metrics).items()
        if key not in known
    }
    groups = group_metrics(
        [*metrics_of_run(results, unit), *evaluated], evaluation.get("groups") or {}
    )
    if not groups:
        return []
    dropped = (evaluation.get("dropped") or {}).get("text") or ""
    entries = [(group.anchor, group.title) for group in groups]
    if dropped:
        entries.append(("dropped", "Dimensions left out"))
    content = {
        "groups": groups,
        "drawn": any(row.bar for group in groups for row in group.rows),
        "width": WIDTH,
        "dropped": dropped,
    }
    return [_Section("metrics", "Metrics", "metrics.html", content, entries)]


def _figure_sections(files: RunFiles, evaluation: Mapping[str, Any]) -> list[_Section]:
    """Gives samples and reconstructions, then the evaluation's figures in order."""
    sections = []
    for plot in _DATA_PLOTS:
        image = _image_unless_listed(files, plot, evaluation)
        if image:
            sections.append(
                _Section(
                    image.title.lower(), image.title, "plot.html", {"image": image}
                )
            )
    images = [
        embed_image(files.root, figure) for figure in evaluation.get("figures") or ()
    ]
    numbered = {
        f"figure-{index}": image
        for index, image in enumerate((image for image in images if image), start=1)
    }
    if numbered:
        entries = [(anchor, image.title) for anchor, image in numbered.items()]
        content = {"figures": numbered}
        sections.append(
            _Section("figures", "Latent space", "figures.html", content, entries)
        )
    return sections


def _image_unless_listed(
    files: RunFiles, plot: Mapping[str, str], evaluation: Mapping[str, Any]
) -> Image | None:
    """Reads a plot of the run, which the evaluation may show at a place of its own."""
    listed = {figure["file"] for figure in evaluation.get("figures") or ()}
    return None if plot["file"] in listed else embed_image(files.root, plot)


def _read_json(path: Path) -> dict[str, Any]:
    """Reads an object; one without keys where there is no file."""
    if not path.exists():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(
            f"{path}: expected JSON; received {error}; evaluate again"
        ) from None
    if not isinstance(value, dict):
        raise InputError(
            f"{path}: expected a JSON object; received {type(value).__name__}; "
            "evaluate again"
        )
    return value


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
    return environment.get_template("page.html").render(title=title, sections=sections)
