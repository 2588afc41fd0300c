# SPDX-License-Identifier: Apache-2.0
"""Exports of a finished run, each with a card that says what it is."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from tf_decomp.errors import InputError
from tf_decomp.experiment.build import load_model
from tf_decomp.experiment.config import ExperimentConfig
from tf_decomp.experiment.run_files import RunFiles
from tf_decomp.export import check_free, export_saved_model, load_encoder
from tf_decomp.files import write_text
from tf_decomp.likelihoods import likelihood_mean
from tf_decomp.vae import DecompositionVAE

# A card says nothing of the machine that trained.
_PLACES = ("--output_dir", "--data_dir", "--overwrite")
_MARK = "trained with tf-decomp on the objective"
_PATH = re.compile(r"npz:.*/")

_CARD = """# {name}

An encoder q(z|x) and decoder p(x|z) trained with tf-decomp on the objective
L = E_q[log p(x|z)] - beta KL(q(z|x) || p(z)) - alpha D(q(z), p(z)). TensorFlow alone
loads it:

```python
import tensorflow as tf

model = tf.saved_model.load({path})
parts = model.signatures["encode"](x=tf.zeros([1, {shape}]))  # loc, scale
```

Signatures: `encode` (also `serving_default`), `encode_sample`, `decode`,
`sample_prior`, `generate`, `log_prob_prior`.

## Settings

```
{config}```

## Test set

| quantity (nats unless said otherwise) | value | standard error | n |
|---|---|---|---|
{metrics}
"""


def export_run(run_dir: Path, export_dir: Path) -> Path:
    """Writes EXPORT_DIR/1 and a model card from a finished run; returns the former.

    An export that was killed before its card was written is completed.

    Args:
        run_dir: Folder of the run.
        export_dir: Folder to make; must hold no export yet.

    Raises:
        InputError: The run is not finished, or the export exists, lies inside the run
            or is of another one.
        OSError: The folder cannot be written.

    Example:
        >>> export_run(Path("runs/pinwheel"), Path("saved_models/pinwheel"))
    """
    files = RunFiles(run_dir)
    target, card = export_dir / "1", export_dir / "README.md"
    _check_place(files, export_dir, card)
    results, config = files.read_metrics(), files.read_config()
    # Of an export that was killed; a finished one has a card.
    half = target.exists() and not card.exists()
    if not half:
        check_free(target)
    vae = load_model(files)
    if not half:
        export_saved_model(vae, target)
    elif not _serves(target, vae):
        raise InputError(
            f"{target}: holds no export of this run, and no model card is beside it; "
            "remove it or choose another folder"
        )
    write_text(card, _card_text(export_dir.resolve().name, vae, config, results))
    return target


def _check_place(files: RunFiles, export_dir: Path, card: Path) -> None:
    """Refuses folders whose files would be lost, or lose others."""
    if export_dir.resolve().is_relative_to(files.root.resolve()):
        raise InputError(
            f"{export_dir}: lies inside the run {files.root}, which has an export of "
            "its own; choose a folder outside"
        )
    if card.exists() and _MARK not in card.read_text("utf-8", errors="replace"):
        raise InputError(
            f"{card}: is no model card and would be overwritten; choose another folder"
        )


def _serves(target: Path, vae: DecompositionVAE) -> bool:
    """Whether an export gives what the model gives, on a few random inputs."""
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(8, *vae.data_shape)).astype("float32")
    z = rng.normal(size=(8, vae.latent_dim)).astype("float32")
    try:
        served = load_encoder(target)
        pairs = (
            (served.encode(x)["loc"], vae.encode(x).mean()),
            (served.decode(z)["mean"], likelihood_mean(vae.decode(z))),
            (served.log_prob_prior(z)["log_prob"], vae.prior.distribution.log_prob(z)),
        )
    except (InputError, KeyError):  # of other shapes, or of another program
        return False
    return all(np.allclose(theirs, ours, 1e-4, 1e-5) for theirs, ours in pairs)


def _card_text(
    name: str, vae: DecompositionVAE, config: ExperimentConfig, results: dict[str, Any]
) -> str:
    rows = [
        f"| {name} | {_number(of['value'])} | {_number(of['standard_error'])} "
        f"| {of['n']} |"
        for name, of in results.items()
    ]
    lines = config.to_flags().splitlines(keepends=True)
    settings = "".join(line for line in lines if not line.startswith(_PLACES))
    return _CARD.format(
        name=name,
        path=json.dumps(f"{name}/1"),
        shape=", ".join(map(str, vae.data_shape)),
        config=_PATH.sub("npz:", settings),
        metrics="\n".join(rows),
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
