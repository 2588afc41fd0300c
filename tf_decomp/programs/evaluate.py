# SPDX-License-Identifier: Apache-2.0
"""The program tf-decomp-evaluate, bin/evaluate.py."""

from pathlib import Path

from absl import flags

from tf_decomp import cli, evaluation
from tf_decomp.errors import InputError


def main(*runs: str) -> None:
    """Judges a finished run or anybody's codes, or compares runs: --compare RUN RUN."""
    chosen = flags.FLAGS.flag_values_dict()
    if runs and not chosen["compare"]:
        raise InputError(cli.unexpected(runs[0]))
    if chosen["compare"]:
        _compare(runs)
    elif chosen["codes"]:
        _refuse("codes", "explorer")
        codes, output_dir = cli.path_from_flag("codes"), cli.path_from_flag("run_dir")
        report = evaluation.evaluate_codes(codes, output_dir, chosen["metrics"])
        print(f"report: {report}")
    else:
        run_dir = cli.path_from_flag("run_dir")
        explorer = chosen["explorer"]
        report = evaluation.evaluate_run(run_dir, chosen["metrics"], explorer)
        print(f"report: {report}")
        if explorer:
            print(f"explorer: {report.with_name('explorer.html')}")


def _compare(runs: tuple[str, ...]) -> None:
    _refuse("compare", "codes", "metrics", "explorer")
    paths = [Path(run).expanduser() for run in runs]
    output_dir = cli.path_from_flag("run_dir")
    print(f"comparison: {evaluation.compare_runs(paths, output_dir)}")


def _refuse(flag: str, *others: str) -> None:
    """Refuses flags that another leaves no use for."""
    for other in others:
        if flags.FLAGS[other].present:
            raise InputError(f"--{flag} and --{other}: expected one of them; got both")


def run() -> None:
    """Runs it with the flags of the command line."""
    cli.define_flags(
        "What",
        run_dir=(
            "",
            "Folder of a finished run; with --codes or --compare, where results go.",
        ),
        codes=("", "An npz with codes and any of scales, factors, instead of a run."),
        compare=(
            False,
            "Put the evaluated runs that follow (or a sweep's) side by side: page, "
            "CSV, LaTeX.",
        ),
        explorer=(
            False,
            "Also write explorer.html, a page to move the latents in (extras report "
            "and serving).",
        ),
        metrics=(list(evaluation.GROUPS), "Groups of metrics."),
    )
    cli.run(main, takes_arguments=True)
