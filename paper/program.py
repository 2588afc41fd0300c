# SPDX-License-Identifier: Apache-2.0
"""The program bin/reproduce.py."""

from absl import flags

import paper
from tf_decomp import cli


def run() -> None:
    """Runs it with the flags of the command line."""
    cli.define_flags(
        "What",
        figure=("", f"One of {', '.join(paper.FIGURES)}, or all."),
        scale=("cpu", f"One of {', '.join(paper.SCALES)}."),
        seeds=(0, "Networks of a cell; 0: the scale's own number."),
        plot_only=(False, "Draw from the table at hand; train nothing."),
        verdicts=(False, "Only judge the claims by the tables at hand."),
    )
    cli.define_flags(
        "Where and how",
        parallel=(0, "Runs at once; 0: the number of cores."),
        results_dir=("docs/results", "Folder of the figures' tables and claims.json."),
        runs_dir=("runs/reproduce", "Folder of the runs."),
    )
    cli.run(main)


def main() -> None:
    """Makes figures of the paper and judges its claims."""
    results, runs = map(cli.path_from_flag, ("results_dir", "runs_dir"))
    name, scale = flags.FLAGS.figure, flags.FLAGS.scale
    if flags.FLAGS.plot_only:
        paper.redraw(name, scale, results)
    elif name or not flags.FLAGS.verdicts:
        seeds, parallel = flags.FLAGS.seeds, flags.FLAGS.parallel
        paper.reproduce(name, scale, results, runs, seeds, parallel)
    for claim in paper.write_verdicts(results):
        print(f"{claim['id']}: {claim['verdict']}")
