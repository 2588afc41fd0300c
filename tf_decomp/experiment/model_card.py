# SPDX-License-Identifier: Apache-2.0
"""Exports of a finished run, each with a card that says what it is."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tf_decomp.errors import InputError
from tf_decomp.experiment.build import load_model
from tf_decomp.experiment.choices import DIVERGENCES
from tf_decomp.experiment.config import ExperimentConfig
from tf_decomp.experiment.run_files import RunFiles
from tf_decomp.export import (
    Exported,
    check_formats,
    check_free,
    next_version,
    write_formats,
)
from tf_decomp.files import write_atomically, write_text

# A card says nothing of the machine that trained.
_PLACES = ("--output_dir", "--data_dir", "--overwrite")
_DIVERGENCE = "test/divergence"
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

Signatures: {signatures}. The first is `serving_default` too.
{runtimes}
## Settings

`tf-decomp-train --flagfile=FILE` trains it, where FILE holds

```
{config}```

## Test set

| quantity (nats unless said otherwise) | value | standard error | n |
|---|---|---|---|
{metrics}

Standard errors are over the examples of the test set, for this one network.

## Limits

It knows examples [{shape}] as those of `--dataset={dataset}`, on their scale. What its
latents say of other data was not measured. Another seed gives other latents: judge a
method by several networks.
"""


def export_run(
    run_dir: Path, export_dir: Path, formats: Sequence[str] = ("saved_model",)
) -> Path:
    """Writes the next version of a model, with its card, from a finished run.

    EXPORT_DIR/1, or the number above the highest there; earlier versions stay. A
    version holds its card, and EXPORT_DIR/README.md is that of the newest.

    Args:
        run_dir: Folder of the run.
        export_dir: Folder of the model's versions.
        formats: As of `tf_decomp.export_formats`.

    Returns:
        The version's folder.

    Raises:
        InputError: The run is not finished, a format cannot be written
            (`tf_decomp.export_formats`), or EXPORT_DIR is a file, lies inside the run
            or holds a README.md of another kind.
        OSError: The folder cannot be written.

    Example:
        >>> export_run(Path("runs/pinwheel"), Path("saved_models/pinwheel"), ["onnx"])
    """
    check_formats(formats)
    files = RunFiles(run_dir)
    target, card = next_version(export_dir), export_dir / "README.md"
    _check_place(files, export_dir, card)
    check_free(target)
    results, config = files.read_metrics(), files.read_config()
    vae = load_model(files)
    version = f"{export_dir.resolve().name}/{target.name}"

    def write(folder: Path) -> None:
        exported = write_formats(vae, folder, formats)
        text = _card_text(version, folder, exported, vae.data_shape, config, results)
        write_text(folder / card.name, text)

    write_atomically(target, write)
    write_text(card, (target / card.name).read_text("utf-8"))
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


def _card_text(
    version: str,
    folder: Path,
    exported: Exported,
    data_shape: Sequence[int],
    config: ExperimentConfig,
    results: dict[str, Any],
) -> str:
    units = {} if DIVERGENCES[config.divergence].unit else {_DIVERGENCE: " (no unit)"}
    rows = [
        f"| {name}{units.get(name, '')} | {_number(of['value'])} "
        f"| {_number(of['standard_error'])} | {of['n']} |"
        for name, of in results.items()
    ]
    lines = config.to_flags().splitlines(keepends=True)
    settings = "".join(line for line in lines if not line.startswith(_PLACES))
    return _CARD.format(
        name=version.partition("/")[0],
        path=json.dumps(version),
        shape=", ".join(map(str, data_shape)),
        signatures=", ".join(f"`{name}`" for name in exported.signatures),
        runtimes=_runtimes_text(folder, exported.differences),
        config=_PATH.sub("npz:", settings),
        metrics="\n".join(rows),
        dataset=_PATH.sub("npz:", config.dataset),
    )


def _runtimes_text(folder: Path, differences: dict[str, dict[str, float]]) -> str:
    """Returns a table of the files for other runtimes."""
    if not differences:
        return ""
    rows = [
        f"| {runtime}/{name}.* | {_bytes(folder / runtime, name):,} | {apart:.1e} |"
        for runtime, of in differences.items()
        for name, apart in of.items()
    ]
    return "\n".join(
        (
            "\nOther runtimes, with the largest difference from TensorFlow in batches "
            "of random\nexamples:\n",
            "| files | bytes | largest difference |",
            "|---|---|---|",
            *rows,
            "",
        )
    )


def _bytes(folder: Path, name: str) -> int:
    return sum(path.stat().st_size for path in folder.glob(f"{name}.*"))


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
