# SPDX-License-Identifier: Apache-2.0
"""Judges a finished run, or anybody's codes: evaluation.json and report.html."""

import errno
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tensorflow_probability import distributions as tfd

from tf_decomp.checks import check_file, check_memory
from tf_decomp.data.npz import Header, read_arrays, read_headers
from tf_decomp.errors import InputError
from tf_decomp.evaluation.explorer.page import check_explorer, describe_run
from tf_decomp.evaluation.figures import collect_codes, draw_evaluation
from tf_decomp.evaluation.report import render_report
from tf_decomp.evaluation.report.numbers import (
    format_count,
    format_estimate,
    format_number,
)
from tf_decomp.evaluation.rows import (
    GROUPS,
    SCORES,
    Evaluation,
    Row,
    disentanglement_rows,
    likelihood_rows,
    mapped_codes,
    overlap_rows,
    regularisation_rows,
    sparsity_rows,
)
from tf_decomp.experiment.finished import load_finished_run
from tf_decomp.experiment.run_files import RunFiles
from tf_decomp.files import read_json, write_json, write_text
from tf_decomp.metrics.codes import check_codes
from tf_decomp.metrics.likelihood import marginal_log_likelihood
from tf_decomp.metrics.overlap import OVER_SMOOTHED, OverlapReport, overlap_report
from tf_decomp.metrics.regularisation import RegularisationReport, regularisation_report
from tf_decomp.priors import Prior

_LIKELIHOOD_EXAMPLES, _LIKELIHOOD_SAMPLES = 1_000, 100
_CATEGORICAL = dict.fromkeys(("dsprites", "color_dsprites", "noisy_dsprites"), (0,))
# Groups that data or priors without what they need do not have.
_OPTIONAL = ("disentanglement", "disentanglement_mapped", "sparsity")
_CODES_ALONE = (
    "Of codes alone a collapsed dimension cannot be told from a small one, and only "
    "constant dimensions are left out. Save the posteriors' standard deviations as "
    "`scales` beside the codes, to have collapsed ones left out too."
)


def evaluate_run(
    run_dir: Path, groups: Sequence[str] = tuple(GROUPS), explorer: bool = False
) -> Path:
    """Evaluates a finished run on its test set and writes its report.

    Args:
        run_dir: Folder of the run.
        groups: Which groups of metrics, keys of GROUPS.
        explorer: Whether to write explorer.html too, as `explore_run` does, of the
            same encodings.

    Raises:
        InputError: The run is not finished, its files do not belong together, it was
            trained on meanwhile, a group is not known, or a package is missing.
        OSError: The report cannot be written.

    Example:
        >>> evaluate_run(Path("runs/pinwheel"))
    """
    files = RunFiles(run_dir)
    _check_groups(groups)
    if explorer:
        check_explorer()
    results = files.read_metrics()
    if not os.access(files.root, os.W_OK):
        return _report_at_hand(files, groups, explorer)
    config, vae, test, posterior = run = load_finished_run(files)
    # The prior, not its distribution, which may hold a variable: a user's own.
    rows, verdicts, warnings = _judge_factors(
        posterior, vae.prior, test.factors, groups
    )
    if "likelihood" in groups:
        x = test.examples(slice(_LIKELIHOOD_EXAMPLES))
        rows += likelihood_rows(marginal_log_likelihood(vae, x, _LIKELIHOOD_SAMPLES))
    codes = collect_codes(posterior, vae.prior.distribution)
    scored = test.factors, _CATEGORICAL.get(config.dataset, ())
    rows += _judge_codes(codes.means, codes.scales, *scored, groups)
    if "disentanglement_mapped" in groups:
        rows += _judge_mapped(codes.means, codes.scales, *scored, vae.prior)
    texts = [_headline(verdicts, factor) for factor in ("overlap", "regularisation")]
    page = describe_run(files, run, codes) if explorer else ""
    if files.read_metrics() != results:
        raise InputError(
            f"{files.root}: more epochs were trained while it was evaluated; evaluate "
            "again"
        )
    figures = draw_evaluation(files, vae, test, codes, texts)
    if explorer:
        write_text(files.explorer, page)
    return _write(files, Evaluation(rows, verdicts, warnings, figures))


def _report_at_hand(files: RunFiles, groups: Sequence[str], explorer: bool) -> Path:
    """Returns the report of a folder that cannot be written, if all asked for is there.

    Results in place are always of the model beside them.
    """
    try:
        present = read_json(files.evaluation)["groups"].keys()
    except (OSError, InputError, TypeError, KeyError, AttributeError):
        present = set()
    pages = [files.report, *([files.explorer] if explorer else [])]
    there = present and all(page.exists() for page in pages)
    if there and {*groups} <= {*present, *_OPTIONAL}:
        print(f"{files.root}: cannot be written; its evaluation is there", flush=True)
        return files.report
    raise PermissionError(
        errno.EACCES,
        "the evaluation cannot be written there; copy the run to another folder",
        str(files.root),
    )


def evaluate_codes(
    path: Path, output_dir: Path, groups: Sequence[str] = tuple(GROUPS)
) -> Path:
    """Judges codes from anybody's model.

    Args:
        path: An npz with `codes` [n, latent_dim] and any of `scales` [n, latent_dim]
            (standard deviations of normal encoders; the prior is then taken as
            N(0, I)), `factors` [n, num_factors] integers.
        output_dir: Where evaluation.json and report.html go.
        groups: Which groups of metrics.

    Raises:
        InputError: The file is not so, or a group is not known.

    Example:
        >>> evaluate_codes(Path("codes.npz"), Path("runs/codes"))
    """
    _check_groups(groups)
    arrays = _read_codes(path)
    codes = arrays["codes"]
    scales, factors = arrays.get("scales"), arrays.get("factors")
    files = RunFiles(output_dir)
    if files.config.exists():
        raise InputError(f"{output_dir}: holds a run; choose another folder")
    rows: list[Row] = []
    verdicts: dict[str, dict[str, Any]] = {}
    warnings = [_CODES_ALONE]
    if scales is not None:
        posterior = tfd.MultivariateNormalDiag(codes, scales.astype(codes.dtype))
        prior = tfd.MultivariateNormalDiag(np.zeros(codes.shape[1], codes.dtype))
        rows, verdicts, warnings = _judge_factors(posterior, prior, factors, groups)
    rows += _judge_codes(codes, scales, factors, (), groups)
    title = f"Codes of {path.name}"
    return _write(files, Evaluation(rows, verdicts, warnings, title=title))


def _write(files: RunFiles, evaluation: Evaluation) -> Path:
    write_json(files.evaluation, evaluation.to_json())
    return render_report(files, evaluation)


def _judge_factors(
    posterior: tfd.Distribution,
    prior: Prior | tfd.Distribution,
    factors: np.ndarray | None,
    groups: Sequence[str],
) -> tuple[list[Row], dict[str, dict[str, Any]], list[str]]:
    """Returns rows, verdicts, and what to know of scores of these encodings."""
    rows: list[Row] = []
    verdicts: dict[str, dict[str, Any]] = {}
    warnings: list[str] = []
    scored = None if {*groups}.isdisjoint(SCORES) else factors
    if "overlap" in groups or scored is not None:
        overlap = overlap_report(posterior, prior=prior)
    if scored is not None:
        warnings = _warnings(overlap, scored)
    if "overlap" in groups:
        rows += overlap_rows(overlap)
        text = _overlap_text(overlap)
        verdicts["overlap"] = {"verdict": overlap.verdict, "text": text}
    if "regularisation" in groups:
        match = regularisation_report(posterior, prior)
        rows += regularisation_rows(match)
        verdicts["regularisation"] = {
            "verdict": match.verdict,
            "text": f"KL(q(z) ‖ p(z)) = {_text_of(match.kl)} nats; {_failures(match)}. "
            "Matched needs all of:",
            "parts": _match_rules(match),
        }
    return rows, verdicts, warnings


def _judge_codes(
    codes: np.ndarray,
    scales: np.ndarray | None,
    factors: np.ndarray | None,
    categorical: Sequence[int],
    groups: Sequence[str],
) -> list[Row]:
    rows: list[Row] = []
    if "sparsity" in groups and codes.shape[1] > 1:
        rows += sparsity_rows(codes, scales)
    if "disentanglement" in groups and factors is not None:
        rows += disentanglement_rows(
            codes, factors, categorical, posterior_scales=scales
        )
    return rows


def _judge_mapped(
    codes: np.ndarray,
    scales: np.ndarray,
    factors: np.ndarray | None,
    categorical: Sequence[int],
    prior: Prior,
) -> list[Row]:
    """Returns the scores of codes mapped to a normal, if the prior asks for that."""
    mapped = mapped_codes(codes, prior)
    if mapped is None or factors is None:
        return []
    # The noise with which mapped dimensions are as active.
    noise = np.sqrt(np.mean(scales.astype(np.float64) ** 2, axis=0))
    spread, mapped_spread = codes.std(axis=0), mapped.std(axis=0)
    ratio = np.divide(mapped_spread, spread, out=np.ones_like(noise), where=spread > 0)
    noise = np.maximum(noise * ratio, np.finfo(np.float64).tiny)
    group = "disentanglement_mapped"
    return disentanglement_rows(mapped, factors, categorical, group, scale=noise)


def _warnings(report: OverlapReport, factors: np.ndarray) -> list[str]:
    """Returns what a reader of scores must know of the codes that they are of."""
    latent_dim = len(report.posterior_variances)
    count, num_factors = len(report.active), int((np.ptp(factors, axis=0) > 0).sum())
    warnings = []
    if report.verdict == OVER_SMOOTHED:
        warnings.append(
            f"The encodings are over-smoothed: I(x;z) is "
            f"{_text_of(report.mutual_information)} nats of at most "
            f"{format_number(report.mutual_information_bound)} (n = "
            f"{format_count(report.n)}). Scores are of the little that the codes still "
            "say."
        )
    if count < num_factors:
        warnings.append(
            f"{count} of {latent_dim} latent dimensions are active: at most about "
            f"{count} of {num_factors} factors can have a dimension of their own."
        )
    return warnings


def _overlap_text(report: OverlapReport) -> str:
    bound = format_number(report.mutual_information_bound)
    text = (
        f"A code could have come from {_text_of(report.overlap)} of "
        f"{format_count(report.n)} data; I(x;z) = "
        f"{_text_of(report.mutual_information)} of at most log n = {bound} nats; "
    )
    if report.kl is not None:
        text += f"the mean KL(q(z|x) ‖ p(z)) is {_text_of(report.kl)} nats; "
    if report.verdict.startswith("not resolvable"):
        text += (
            "so near log n I(x;z) may be larger by any amount, and what looks like a "
            "lookup table may be encodings that overlap among more data; "
        )
    return (
        f"{text}{len(report.active)} of {len(report.posterior_mean_variances)} units "
        "are active."
    )


def _match_rules(report: RegularisationReport) -> list[str]:
    """Says what each part of the verdict is judged by, and its number."""
    total, joint = report.gaussian_total_correlation, report.joint_mmd
    correlation = "cannot be told with less than 2 data a dimension"
    if total is not None:
        prior = format_number(round(total.prior, 3) + 0.0)  # no -0
        correlation = f"{_text_of(total)} nats, that of the prior {prior}"
    p_value = (
        f"unknown with {format_count(report.n)} data"
        if joint.p_value is None
        else f"{joint.p_value:.3f}"
    )
    texts = (
        "every marginal (largest Kolmogorov-Smirnov distance {value}, at most {limit})",
        "300 random projections (the same, {value}, at most {limit})",
        f"Gaussian total correlation ({correlation}; difference {{value}}, at most "
        "{limit})",
        f"joint MMD (share {{value}}, at most {{limit}} or permutation p >= 0.01; p "
        f"{p_value}; MMD {_text_of(joint)})",
    )
    return [
        text.format(value=format_number(part.value), limit=format_number(part.limit))
        for text, part in zip(texts, report.parts, strict=True)
    ]


def _failures(report: RegularisationReport) -> str:
    """Says which parts failed, or which cannot be told."""
    failed = [part.name for part in report.parts if part.failed]
    unknown = [part.name for part in report.parts if part.failed is None]
    if failed:
        return f"failed: {', '.join(failed)}"
    if unknown:
        return f"too few data to tell: {', '.join(unknown)}"
    return "no part failed"


def _text_of(estimate: Any) -> str:
    return format_estimate(estimate.value, estimate.standard_error)


def _headline(verdicts: dict[str, dict[str, Any]], factor: str) -> str:
    if factor not in verdicts:
        return ""
    verdict = verdicts[factor]
    return f"{verdict['verdict']}\n{verdict['text'].split(';')[0].rstrip('.')}"


def _read_codes(path: Path) -> dict[str, np.ndarray]:
    """Returns `codes`, and `scales` and `factors` where the file holds them."""
    path = check_file(path)
    headers = read_headers(path, ("codes", "scales", "factors"))
    codes = headers.get("codes")
    if codes is None or codes.ndim != 2 or not codes.size or codes.dtype.kind != "f":
        held = ", ".join(f"{name} {header}" for name, header in headers.items())
        raise InputError(
            f"{path}: expected floats `codes` [n, latent_dim]; received "
            f"{held or 'no such array'}, save them with np.savez(path, codes=...)"
        )
    _check_beside(path, headers)
    check_memory(
        2 * sum(header.nbytes for header in headers.values()),
        f"judging {path}",
        "save fewer rows",
    )
    arrays = read_arrays(path, headers)
    # Half precision is too little to judge by, and TensorFlow has no more than double.
    bytes_ = min(max(codes.dtype.itemsize, 4), 8)
    try:
        arrays["codes"] = check_codes(arrays["codes"]).astype(f"f{bytes_}")
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    scales = arrays.get("scales")
    if scales is not None:
        in_type = scales.astype(arrays["codes"].dtype)
        if not (np.isfinite(in_type) & (in_type > 0)).all():
            raise InputError(
                f"{path}: `scales` must be positive and finite in {in_type.dtype}, "
                "standard deviations; leave the rows of others out"
            )
    return arrays


def _check_beside(path: Path, headers: Mapping[str, Header]) -> None:
    """Refuses scales and factors of the wrong type or shape."""
    codes, scales = headers["codes"], headers.get("scales")
    if scales is not None and (
        scales.shape != codes.shape or scales.dtype.kind not in "fiu"
    ):
        raise InputError(
            f"{path}: `scales` must be positive and shaped as `codes`; received "
            f"{scales}, and codes {codes}"
        )
    factors = headers.get("factors")
    if factors is not None and (
        factors.ndim != 2
        or factors.shape[0] != codes.shape[0]
        or factors.dtype.kind not in "iu"
    ):
        raise InputError(
            f"{path}: `factors` must be integers [{codes.shape[0]}, num_factors], "
            f"class indices; received {factors}"
        )


def _check_groups(groups: Sequence[str]) -> None:
    unknown = [group for group in groups if group not in GROUPS]
    if unknown or not groups:
        raise InputError(
            f"metrics: expected some of {', '.join(GROUPS)}; received "
            f"{', '.join(unknown) or 'none'}"
        )
