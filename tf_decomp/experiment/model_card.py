# SPDX-License-Identifier: Apache-2.0
"""Exports of a finished run, each with a card that says what it is."""

import re
from pathlib import Path

import keras

from tf_decomp.experiment.run_files import RunFiles
from tf_decomp.export import export_saved_model
from tf_decomp.files import write_text

# A card says nothing of the machine that trained.
_PLACES = ("--output_dir", "--data_dir", "--overwrite")
_PATH = re.compile(r"npz:.*/")

_CARD = """# {name}

An encoder q(z|x) and decoder p(x|z) trained with tf-decomp on the objective
L = E_q[log p(x|z)] - beta KL(q(z|x) || p(z)) - alpha D(q(z), p(z)). TensorFlow alone
loads it:

```python
import tensorflow as tf

model = tf.saved_model.load("{name}/1")
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

    Args:
        run_dir: Folder of the run.
        export_dir: Folder to make; must hold no export yet.

    Raises:
        InputError: The run is not finished, or the export exists.
        OSError: The folder cannot be written.

    Example:
        >>> export_run(Path("runs/pinwheel"), Path("saved_models/pinwheel"))
    """
    files = RunFiles(run_dir)
    results = files.read_metrics()
    vae = keras.models.load_model(files.model)
    target = export_dir / "1"
    export_saved_model(vae, target)
    rows = [
        f"| {name} | {_number(of['value'])} | {_number(of['standard_error'])} "
        f"| {of['n']} |"
        for name, of in results.items()
    ]
    lines = files.config.read_text(encoding="utf-8").splitlines(keepends=True)
    config = [line for line in lines if not line.startswith(_PLACES)]
    card = _CARD.format(
        name=export_dir.name,
        shape=", ".join(map(str, vae.data_shape)),
        config=_PATH.sub("npz:", "".join(config)),
        metrics="\n".join(rows),
    )
    write_text(export_dir / "README.md", card)
    return target


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
