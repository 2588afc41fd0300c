# SPDX-License-Identifier: Apache-2.0
"""What each figure is made of: the settings of its networks at three scales."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tf_decomp.experiment.config import ExperimentConfig

SCALES = ("smoke", "cpu", "paper")

_PINWHEEL = """
--dataset=pinwheel
--prior=normal_mixture
--latent_dim=2
--hidden=100
--likelihood=normal
--divergence=inclusive_kl
--epochs=500
--batch_size=400
--learning_rate=1e-3
"""
_DSPRITES = """
--dataset=dsprites
--latent_dim=10
--likelihood=bernoulli
--divergence=none
--epochs=20
--batch_size=64
--learning_rate=5e-4
"""
_FASHION_MNIST = """
--dataset=fashion_mnist
--prior=spike_and_slab
--gamma=0.8
--spike_variance=0.05
--latent_dim=50
--batch_norm=true
--likelihood=laplace
--divergence=dimensionwise_mmd
--epochs=80
--batch_size=500
--learning_rate=5e-4
"""
_SUBSPACES = """
--dataset=dsprites
--image_size=16
--max_train_examples=50000
--max_test_examples=5000
--subspaces=2,2,2
--df=3
--latent_dim=6
--likelihood=bernoulli
--divergence=joint_mmd
--alpha=10
--beta=0.25
--epochs=1
--batch_size=64
--learning_rate=1e-3
"""
_HIERARCHY = """
--dataset=fashion_mnist
--image_size=16
--max_train_examples=20000
--max_test_examples=5000
--latent_dim=8
--batch_norm=true
--likelihood=laplace
--divergence=joint_mmd
--alpha=200
--beta=5
--epochs=5
--batch_size=100
--learning_rate=1e-3
"""
_SMALL_FASHION = (
    "--image_size=16 --latent_dim=2 --max_train_examples=200 --batch_size=100 "
    "--max_test_examples=1000 --epochs=1"
)
_TINY_DSPRITES = (
    "--image_size=16 --max_train_examples=512 --batch_size=512 "
    "--max_test_examples=2000 --epochs=1"
)
_FIG2_CPU = "--image_size=32 --max_train_examples=200000 --epochs=1"
# A Student-t of infinite df is the isotropic normal at beta 1: one cell for both.
_FIG2_CELLS = {
    "isotropic": "prior=normal;beta=1,2,4",
    "anisotropic": "prior=normal_pca,normal_learnt;beta=1,4",
    "student_t": "prior=student_t;df=3,7;beta=1",
}
# The least number with a power of 0.8 at the least effects, by `power` from the pilots.
FIG2_NETWORKS = 45
# The spike whose standard deviation, not variance, is 0.05.
_DEVIATION = "spike_variance=0.0025;alpha=0,10,100,1000;beta=1"
_NOT_PAPER = "No figure of the paper"
_NO_FIGURE = "the paper has no such figure"
_TINY_SUBSPACES = "--max_train_examples=512 --max_test_examples=2000"
_TINY_HIERARCHY = "--max_train_examples=200 --max_test_examples=1000 --epochs=1"
_ONE_NETWORK = "the paper shows no learning curve; one network a point"


class Scale(NamedTuple):
    """One size of a figure.

    Attributes:
        seeds: Networks of a cell, as planned before any was trained.
        flags: Settings in place of the figure's, parted by blanks.
        hours: What it takes on two cores, planned before it was run.
        changes: What it changes from the paper, for readers.
        first_seed: Of the networks. Pilots have 1000 to 1009 and enter no verdict.
        panels: For each panel the grid of its cells, as bin/sweep.py takes it; none
            for the figure's own, and for what is computed without runs.
        rows: Of a round of what is computed without runs.
    """

    seeds: int
    flags: str = ""
    hours: float = 0.0
    changes: str = "nothing"
    first_seed: int = 0
    panels: Mapping[str, str] = {}
    rows: int = 0

    def planned(self) -> range:
        """Returns the seeds of all planned networks of a cell."""
        return range(self.first_seed, self.first_seed + self.seeds)


class Definition(NamedTuple):
    """A figure.

    Attributes:
        title: What it shows.
        section: Where the paper has it.
        flags: Settings that all its cells share, a flagfile.
        panels: As of a `Scale`, for those that have none of their own.
        smoke: The size that only runs.
        cpu: The size for two cores.
        paper: The paper's size.
    """

    title: str
    section: str
    flags: str
    panels: Mapping[str, str]
    smoke: Scale
    cpu: Scale
    paper: Scale

    @property
    def scales(self) -> dict[str, Scale]:
        """All sizes by SCALES."""
        larger = {"cpu": self.cpu, "paper": self.paper}
        return {"smoke": self.smoke} | {
            name: scale._replace(panels=scale.panels or self.panels)
            for name, scale in larger.items()
        }


def _smoke(panel: str, cell: str, flags: str) -> Scale:
    """Returns the size of one cell."""
    changes = "nearly everything: it only runs"
    return Scale(1, flags, changes=changes, panels={panel: cell})


FIGURES: Mapping[str, Definition] = {
    "fig1": Definition(
        "The two factors of decomposition",
        "Section 3, Figure 1 of the paper",
        _PINWHEEL,
        {
            "too little overlap": "alpha=0;beta=0.01",
            "too much overlap": "alpha=0;beta=2",
            "overlap, poor match": "alpha=3;beta=0",
            "both factors right": "alpha=5;beta=0.01",
        },
        _smoke("both factors right", "alpha=5;beta=0.01", "--epochs=1"),
        cpu=Scale(5, hours=0.1, changes="the paper's figure is a sketch"),
        paper=Scale(20, hours=0.4, changes="the paper's figure is a sketch"),
    ),
    "fig2": Definition(
        "Reconstruction loss against the FactorVAE score on dSprites",
        "Section 6.1, Figure 2 of the paper",
        _DSPRITES,
        {
            "isotropic": "prior=normal;beta=1,2,4,6,8,10",
            "anisotropic": "prior=normal_pca,normal_learnt;beta=1,2,4,6,8,10",
            "student_t": "prior=student_t;df=3,5,7,9,11,15,30,100;beta=1",
        },
        _smoke("isotropic", "prior=normal;beta=1", _TINY_DSPRITES),
        cpu=Scale(
            FIG2_NETWORKS,
            _FIG2_CPU,
            panels=_FIG2_CELLS,
            hours=8.0,  # 405 networks, two at a time, 70 s each with its measures
            changes="32x32 images instead of 64x64; 3,125 steps of 64 images "
            "instead of 207,360 (200,000 images seen instead of 13 million); 9 "
            f"cells; {FIG2_NETWORKS} networks a cell instead of 100",
        ),
        paper=Scale(100),
    ),
    "fig2_pilots": Definition(
        "How much the scores of Figure 2 spread",
        "No figure of the paper; for the number of networks of Figure 2",
        _DSPRITES,
        {},
        _smoke("isotropic", "prior=normal;beta=1", _TINY_DSPRITES),
        cpu=Scale(
            2,
            _FIG2_CPU,
            panels=_FIG2_CELLS,
            hours=0.4,
            changes="the cells of Figure 2 at scale cpu, seeds of their own",
            first_seed=1000,
        ),
        paper=Scale(2, panels={"isotropic": "prior=normal;beta=1"}, first_seed=1000),
    ),
    "fig3": Definition(
        "Aggregate posteriors of the pinwheel for different alpha and beta",
        "Section 6.2, Figure 3 of the paper",
        _PINWHEEL,
        {"beta": "alpha=0;beta=0.01,0.5,1,1.2", "alpha": "alpha=1,3,5,8;beta=0"},
        _smoke("alpha", "alpha=5;beta=0.01", "--epochs=1"),
        cpu=Scale(20, hours=1.5, changes="20 networks a cell instead of 1"),
        paper=Scale(20, hours=1.5, changes="20 networks a cell instead of 1"),
    ),
    "fig3_top": Definition(
        "Aggregate posteriors of the pinwheel for rising beta, on fresh networks",
        "Section 6.2, Figure 3 (top) of the paper",
        _PINWHEEL,
        {"fresh": "alpha=0;beta=0.5,1,1.2"},
        # A run that other figures have too.
        _smoke("fresh", "alpha=5;beta=0.01", "--epochs=1"),
        cpu=Scale(40, "", 0.6, "40 networks a cell instead of 1", 2000),
        paper=Scale(40, "", 0.6, "40 networks a cell instead of 1", 2000),
    ),
    "fig4": Definition(
        "Sparsity, reconstruction and divergence on Fashion-MNIST",
        "Section 6.3, Figure 4 of the paper",
        _FASHION_MNIST,
        {
            "variance": "gamma=0,0.8;alpha=0,10,100,1000;beta=0.1,1,5",
            "deviation": _DEVIATION,
        },
        _smoke("variance", "gamma=0.8;alpha=1000;beta=1", _SMALL_FASHION),
        cpu=Scale(
            5,
            "--batch_size=100 --epochs=10",
            panels={
                "variance": "gamma=0.8;alpha=0,10,100,1000;beta=0.1,1,5",
                "normal": "gamma=0;alpha=0,10,100,1000;beta=1",
                "deviation": _DEVIATION,
            },
            hours=13.0,
            changes="6,000 steps of 100 images instead of 9,600 of 500 (600,000 "
            "images seen instead of 4.8 million); gamma 0 at beta 1 alone; 5 "
            "networks a cell instead of 8",
        ),
        paper=Scale(8),
    ),
    "fig5": Definition(
        "Which dimensions classes use, and what one dimension changes",
        "Section 6.3, Figure 5 of the paper",
        _FASHION_MNIST,
        {
            "variance": "gamma=0.8;alpha=1000;beta=1",
            "deviation": "spike_variance=0.0025;alpha=1000;beta=1",
        },
        _smoke("variance", "gamma=0.8;alpha=1000;beta=1", _SMALL_FASHION),
        cpu=Scale(
            3,
            "--batch_size=100 --epochs=20",
            hours=1.5,
            changes="12,000 steps of 100 images instead of 9,600 of 500 (1.2 "
            "million images seen instead of 4.8 million)",
        ),
        paper=Scale(3),
    ),
    # Learning curves: what the scale `cpu` of a data set was chosen by.
    "fig2_learning": Definition(
        "How long to train on dSprites",
        "No figure of the paper; for Figure 2",
        _DSPRITES,
        {
            "examples": "max_train_examples=64,20000,50000,100000,200000,400000;"
            "prior=normal;beta=1"
        },
        _smoke("left", "prior=normal;beta=1", _TINY_DSPRITES),
        cpu=Scale(1, "--image_size=32 --epochs=1", 0.2, _ONE_NETWORK),
        paper=Scale(1, "--epochs=1", 0.6, _ONE_NETWORK),
    ),
    "fig3_learning": Definition(
        "How long to train on the pinwheel",
        "No figure of the paper; for Figure 3",
        _PINWHEEL,
        {"epochs": "epochs=20,50,100,200,500,1000;alpha=5;beta=0"},
        _smoke("alpha", "alpha=5;beta=0.01", "--epochs=1"),
        cpu=Scale(1, hours=0.1, changes=_ONE_NETWORK),
        paper=Scale(1, hours=0.1, changes=_ONE_NETWORK),
    ),
    "fig4_learning": Definition(
        "How long to train on Fashion-MNIST",
        "No figure of the paper; for Figures 4 and 5",
        _FASHION_MNIST,
        {"epochs": "epochs=1,2,5,15;alpha=1000;beta=1"},
        _smoke("network", "gamma=0.8;alpha=1000;beta=1", _SMALL_FASHION),
        cpu=Scale(
            1,
            "--max_train_examples=20000 --batch_size=100",
            0.3,
            f"{_ONE_NETWORK}; batches of 100 of 20,000 images",
        ),
        paper=Scale(1, changes=_ONE_NETWORK),
    ),
    # Priors with structure: what the paper's decomposition is for, beyond its examples.
    "subspaces": Definition(
        "Whether a prior of planes gathers a position in one of them, on dSprites",
        _NOT_PAPER,
        _SUBSPACES,
        {"priors": "prior=normal,independent_subspaces"},
        _smoke("planes", "prior=independent_subspaces", _TINY_SUBSPACES),
        cpu=Scale(5, hours=0.4, changes=_NO_FIGURE),
        paper=Scale(5, hours=0.4, changes=_NO_FIGURE),
    ),
    "hierarchy": Definition(
        "Whether a hierarchical prior puts classes above style, on Fashion-MNIST",
        _NOT_PAPER,
        _HIERARCHY,
        {"priors": "prior=normal,hierarchical"},
        _smoke("hierarchy", "prior=hierarchical", _TINY_HIERARCHY),
        cpu=Scale(5, hours=0.4, changes=_NO_FIGURE),
        paper=Scale(5, hours=0.4, changes=_NO_FIGURE),
    ),
    "theory": Definition(
        "Theorems 1 and 2, Corollaries 1 and 2, on networks",
        "Section 4 of the paper",
        "",
        {},
        smoke=Scale(1, changes="one network a prior, few data", rows=17),
        cpu=Scale(3, hours=0.1, changes="the paper proves these", rows=137),
        paper=Scale(10, hours=0.3, changes="the paper proves these", rows=137),
    ),
    "estimators": Definition(
        "Bias and spread of estimates of D against the batch size",
        "Section 5, and the topic of the paper's Appendix C",
        "",
        {},
        smoke=Scale(1, changes="few data and repetitions", rows=14),
        cpu=Scale(1, hours=0.4, changes="the paper has no such figure", rows=245),
        paper=Scale(1, hours=0.4, changes="the paper has no such figure", rows=245),
    ),
}


def configure(figure: str, scale: str, output_dir: Path, **point: Any) -> Any:
    """Returns the settings of one network.

    Args:
        figure: A key of FIGURES.
        scale: One of SCALES.
        output_dir: Of its sweep.
        **point: The cell's settings and the seed.
    """
    return dataclasses.replace(
        ExperimentConfig.from_flags(settings_text(figure, scale)),
        output_dir=str(output_dir),
        **point,
    )


def settings_text(figure: str, scale: str) -> str:
    """Returns the flagfile of a figure: shared settings, and its grids as comments.

    Args:
        figure: A key of FIGURES.
        scale: One of SCALES.
    """
    definition = FIGURES[figure]
    size = definition.scales[scale]
    lines = [f"# {definition.title}: {definition.section}, scale {scale}."]
    seeds = f"seed={size.first_seed}:{size.first_seed + size.seeds}"
    lines += [
        f"# Panel {name!r}: --grid={grid};{seeds}" for name, grid in size.panels.items()
    ]
    changed = [flag.partition("=")[0] for flag in size.flags.split()]
    lines += [
        line
        for line in definition.flags.split()
        if line.partition("=")[0] not in changed
    ]
    return "\n".join([*lines, *size.flags.split()]) + "\n"
