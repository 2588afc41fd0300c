# SPDX-License-Identifier: Apache-2.0
"""The report's tables: metrics by group, the last epoch, the environment."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tf_decomp.evaluation.report.bars import Bar, place_bar
from tf_decomp.evaluation.report.numbers import (
    format_count,
    format_estimate,
    format_number,
)

_TEST_GROUP = "test"
_TEST_TITLE = "Objective on the test set"
_TEST_TEXT = (
    "The terms of the training objective, as means over the test set; the errors are "
    "over its examples, that of the divergence over draws of the latents."
)
_TERMS = {
    "loss": ("loss", "lower"),
    "elbo": ("ELBO", "higher"),
    "log_likelihood": ("log-likelihood E_q[log p(x|z)]", "higher"),
    "kl": ("KL(q(z|x) ‖ p(z))", ""),
    "divergence": ("divergence D(q(z), p(z))", "lower"),
}


class MetricRow(NamedTuple):
    """A metric as words: `value` and `chance` carry their standard errors."""

    name: str
    notes: tuple[str, ...]
    value: str
    unit: str
    bar: Bar | None
    chance: str
    bound: str
    n: str


class MetricGroup(NamedTuple):
    """A table of metrics.

    Attributes:
        anchor: Of its heading.
        title: Its heading.
        text: What it says.
        warnings: What a reader must know before using its numbers.
        rows: Its metrics.
    """

    anchor: str
    title: str
    text: str
    warnings: tuple[str, ...]
    rows: tuple[MetricRow, ...]


def group_anchor(key: str) -> str:
    """Gives the anchor of a group of metrics.

    Args:
        key: Of the group.
    """
    return "metrics-" + re.sub(r"[^a-z0-9]+", "-", key.lower()).strip("-")


def metrics_of_run(
    results: Mapping[str, Mapping[str, Any]], divergence_unit: str
) -> list[dict[str, Any]]:
    """Gives the numbers of metrics.json in the form of those of evaluation.json.

    Args:
        results: Key to value, standard error and n.
        divergence_unit: "nats", or "" for a divergence without unit.
    """
    metrics = []
    for key, result in results.items():
        term = key.removeprefix("test/")
        name, better = _TERMS.get(term, (term.replace("_", " "), ""))
        unit = divergence_unit if term == "divergence" else "nats"
        unit = unit if term in _TERMS else ""
        words = {"key": key, "name": name, "better": better, "unit": unit}
        metrics.append({"group": _TEST_GROUP, **words, **result})
    return metrics


def group_metrics(
    metrics: Sequence[Mapping[str, Any]], groups: Mapping[str, Mapping[str, Any]]
) -> list[MetricGroup]:
    """Puts metrics into tables, those of the objective first, then as `groups` says.

    Args:
        metrics: As in evaluation.json.
        groups: Key to title, text and warnings; a metric of another group has a table
            named by that group, at the end.
    """
    titles = {_TEST_GROUP: {"title": _TEST_TITLE, "text": _TEST_TEXT}, **groups}
    keys = [*titles, *(metric.get("group", "other") for metric in metrics)]
    tables = []
    for key in dict.fromkeys(keys):
        words = titles.get(key, {})
        mine = [metric for metric in metrics if metric.get("group", "other") == key]
        if mine:
            title = words.get("title") or key.replace("_", " ").capitalize()
            rows = tuple(_metric_row(metric) for metric in mine)
            text = words.get("text") or ""
            warnings = tuple(words.get("warnings") or ())
            tables.append(MetricGroup(group_anchor(key), title, text, warnings, rows))
    return tables


def last_epoch(
    history: Sequence[Mapping[str, float]],
) -> list[tuple[str, str, str]]:
    """Gives term, training value and test value of the last row.

    Args:
        history: Rows of history.csv; NaN is a term that was not computed.
    """
    row = history[-1] if history else {}
    rows = []
    for term, (name, _) in _TERMS.items():
        train, test = (row.get(prefix + term, float("nan")) for prefix in ("", "val_"))
        if train == train or test == test:  # not NaN
            rows.append((name, format_number(train), format_number(test)))
    return rows


def environment_rows(environment: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Gives label and words of everything that environment.json holds.

    Args:
        environment: What the run ran on.
    """
    return [
        (key.replace("_", " "), _words(value)) for key, value in environment.items()
    ]


def _metric_row(metric: Mapping[str, Any]) -> MetricRow:
    better = metric.get("better")
    notes = (f"{better} is better" if better else "", metric.get("note") or "")
    chance, bound = metric.get("chance"), metric.get("bound")
    return MetricRow(
        name=metric.get("name") or metric["key"],
        notes=tuple(filter(None, notes)),
        value=format_estimate(metric.get("value"), metric.get("standard_error")),
        unit=metric.get("unit") or "",
        bar=place_bar(metric),
        chance=""
        if chance is None
        else format_estimate(chance, metric.get("chance_standard_error")),
        bound="" if bound is None else format_number(bound),
        n=format_count(metric.get("n")),
    )


def _words(value: Any) -> str:
    if value is None:
        return "not known"
    if isinstance(value, Mapping):
        return ", ".join(
            f"{key.replace('_', ' ')} {_words(item)}" for key, item in value.items()
        )
    if isinstance(value, list):
        return "; ".join(map(_words, value))
    if isinstance(value, float):
        return format_number(value)
    return str(value)
