# SPDX-License-Identifier: Apache-2.0
"""Renders report.html; every section stands for something that is there."""

import base64
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import PIL.Image

from tf_decomp.checks import check_packages
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

_TEMPLATES = Path(__file__).with_name("templates")
_DEFAULT_TITLE = "Evaluation of a representation"
TEST_GROUP = {
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
_SECTIONS = {
    "trained": "What was trained",
    "verdict": "Verdict",
    "metrics": "Metrics",
    "training": "Training curves",
    "samples": "Samples",
    "reconstructions": "Reconstructions",
    "figures": "Latent space",
    "environment": "Environment",
}
# Caption of a plot of the run, and what a reader who does not see it should know.
PLOTS = {
    "training_curves": (
        "The terms of the objective against the epoch, in nats unless the panel says "
        "otherwise: training set solid with circles, test set dashed with squares.",
        "Line plots of the objective's terms against the epoch, for training and test "
        "set; the table beside it gives the last epoch.",
    ),
    "samples": (
        "The means of p(x|z) at codes drawn from the prior p(z), and test data to "
        "compare.",
        "Generated examples beside examples of the test set.",
    ),
    "reconstructions": (
        "Test data, and the means of p(x|z) at the mean of each q(z|x).",
        "Examples of the test set, each with its reconstruction.",
    ),
}
_SCREEN_SHARE = 96 / 150  # figures have 150 dots per inch, a page 96: their true size


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
    contents: dict[str, Any] = {
        "trained": _trained(config),
        "verdict": _verdicts(evaluation),
        "metrics": _metrics(files, evaluation, config),
        "training": _training(files, config),
        "samples": _plot(files, "samples"),
        "reconstructions": _plot(files, "reconstructions"),
        "figures": _figures(files, evaluation),
        "environment": _environment(files),
    }
    sections = [
        {"anchor": anchor, "title": title, "content": contents[anchor]}
        for anchor, title in _SECTIONS.items()
        if contents[anchor]
    ]
    if not sections:
        raise InputError(
            f"{files.root}: expected a run or an evaluation.json; received neither; "
            "evaluate the run first (tf-decomp-evaluate)"
        )
    title = evaluation.title or (name_run(config) if config else _DEFAULT_TITLE)
    write_text(files.report, fill_page("Evaluation report", title, sections))
    return files.report


def _trained(config: ExperimentConfig | None) -> dict[str, Any]:
    if config is None:
        return {}
    return {"text": describe_training(config), "tables": tabulate_settings(config)}


def _verdicts(evaluation: Evaluation) -> list[dict[str, Any]]:
    return [
        {"title": GROUPS[key][0], "anchor": _anchor(key), "parts": (), **verdict}
        for key, verdict in evaluation.verdicts.items()
    ]


def _metrics(
    files: RunFiles, evaluation: Evaluation, config: ExperimentConfig | None
) -> dict[str, Any]:
    rows = [*objective_rows(files, config), *evaluation.rows]
    tables = [
        {
            "anchor": _anchor(key),
            "title": title,
            "text": text,
            "warnings": evaluation.warnings_of(key),
            "rows": [row for row in rows if row.group == key],
        }
        for key, (title, text) in {**TEST_GROUP, **GROUPS}.items()
        if any(row.group == key for row in rows)
    ]
    if not tables:
        return {}
    entries = [(table["anchor"], table["title"]) for table in tables]
    dropped = evaluation.dropped
    if dropped:
        entries.append(("dropped", "Dimensions left out"))
    return {
        "tables": tables,
        "bars": {row.key: bar for row in rows if (bar := place_bar(row))},
        "dropped": dropped and dropped["text"],
        "entries": entries,
    }


def objective_rows(files: RunFiles, config: ExperimentConfig | None) -> list[Row]:
    """Returns the numbers of metrics.json; none where there is no run.

    Args:
        files: Of the run.
        config: Its settings, or None.

    Raises:
        InputError: The run is not finished, or its files do not belong together.
        OSError: A file cannot be read.
    """
    rows = []
    unit_of_d = DIVERGENCES[config.divergence].unit if config else "nats"
    for key, result in (files.read_metrics() if config else {}).items():
        term = key.removeprefix("test/")
        name, better = _TERMS.get(term, (term.replace("_", " "), ""))
        unit = unit_of_d if term == "divergence" else "nats" * (term in _TERMS)
        rows.append(Row("test", key, name, **result, unit=unit, better=better))
    return rows


def _training(files: RunFiles, config: ExperimentConfig | None) -> dict[str, Any]:
    """Returns the training curves, and training and test value of the last row."""
    last = config.epochs if config else sys.maxsize  # more may be in training
    row = [{}, *files.read_history(last)][-1]
    rows = []
    for term, (name, _) in _TERMS.items():
        values = [finite(row.get(prefix + term)) for prefix in ("", "val_")]
        if values != [None, None]:
            rows.append((name, *map(format_number, values)))
    image = _plot(files, "training_curves")
    return {"rows": rows, "image": image} if rows or image else {}


def _plot(files: RunFiles, name: str) -> dict[str, Any]:
    path, (caption, alt) = files.plots / f"{name}.png", PLOTS[name]
    title = name.replace("_", " ").capitalize()
    return _embed(path, title, caption, alt) if path.exists() else {}


def _figures(files: RunFiles, evaluation: Evaluation) -> dict[str, Any]:
    if not evaluation.figures:
        return {}
    images = {
        f"figure-{number}": _embed(files.root / figure.pop("file"), **figure)
        for number, figure in enumerate(map(dict, evaluation.figures), start=1)
    }
    entries = [(anchor, image["title"]) for anchor, image in images.items()]
    return {"images": images, "entries": entries}


def _environment(files: RunFiles) -> list[tuple[str, str]]:
    facts = read_json(files.environment) if files.environment.exists() else {}
    return [(key.replace("_", " "), _words(value)) for key, value in facts.items()]


def _anchor(group: str) -> str:
    return f"metrics-{group.replace('_', '-')}"


def _embed(path: Path, title: str, caption: str, alt: str) -> dict[str, Any]:
    """Returns an image with its words and its data, for a page of one file."""
    moves, size = path.suffix == ".gif", None
    if not moves:
        with PIL.Image.open(path) as image:
            size = [round(side * _SCREEN_SHARE) for side in image.size]
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    source = f"data:image/{path.suffix[1:]};base64,{data}"
    words = {"title": title, "caption": caption, "alt": alt}
    return {**words, "source": source, "size": size, "moves": moves}


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


def fill_page(kind: str, title: str, sections: Sequence[Mapping[str, Any]]) -> str:
    """Returns a page of sections, with a list of contents.

    Args:
        kind: What kind of page it is, for its head.
        title: Its heading.
        sections: `anchor`, `title` and `content` of each; the template has the name of
            the anchor.

    Raises:
        InputError: Jinja2 is missing.
    """
    return fill("page.html", kind=kind, title=title, sections=sections)


def fill(name: str, folders: Sequence[Path] = (), **content: Any) -> str:
    """Returns a filled template, which holds its style and all images.

    Args:
        name: Of the template.
        folders: Where templates are besides the reports' own.
        **content: What it names.

    Raises:
        InputError: Jinja2 is missing.
    """
    check_packages("a page", "report", "jinja2")
    import jinja2  # noqa: PLC0415  (of an extra)

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([*folders, _TEMPLATES]),
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
    return environment.get_template(name).render(content)
