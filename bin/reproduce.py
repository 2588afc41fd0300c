# SPDX-License-Identifier: Apache-2.0
"""Makes a figure of the paper: bin/reproduce.py --figure=fig3 --scale=cpu."""

import os
import signal
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
signal.signal(signal.SIGTERM, lambda *_: os._exit(143))  # until cli.run takes over
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # paper/

try:
    from absl import flags

    import paper
    from tf_decomp import cli
except ImportError as error:
    if error.name not in ("absl", "tf_decomp"):
        raise
    sys.exit(f"reproduce.py: {error}")
except KeyboardInterrupt:
    print("reproduce.py: interrupted; the same command continues", file=sys.stderr)
    sys.exit(130)


def main() -> None:
    """Makes the figure that the flags name, then prints the verdicts."""
    results, runs = map(cli.path_from_flag, ("results_dir", "runs_dir"))
    name, scale = flags.FLAGS.figure, flags.FLAGS.scale
    if flags.FLAGS.plot_only:
        paper.redraw(name, scale, results)
    elif name or not flags.FLAGS.verdicts:
        seeds, parallel = flags.FLAGS.seeds, flags.FLAGS.parallel
        paper.reproduce(name, scale, results, runs, seeds, parallel)
    for claim in paper.write_verdicts(results):
        print(f"{claim['id']}: {claim['verdict']}")


if __name__ == "__main__":
    cli.define_flags(
        figure=("", f"One of {', '.join(paper.FIGURES)}, or all."),
        scale=("cpu", f"One of {', '.join(paper.SCALES)}."),
        seeds=(0, "Networks of a cell; 0: the scale's own number."),
        parallel=(0, "Runs at once; 0: the number of cores."),
        plot_only=(False, "Draw from the table at hand; train nothing."),
        verdicts=(False, "Only judge the claims by the tables at hand."),
        results_dir=("docs/results", "Folder of the figures' tables and claims.json."),
        runs_dir=("runs/reproduce", "Folder of the runs."),
    )
    cli.run(main)
