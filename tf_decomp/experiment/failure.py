# SPDX-License-Identifier: Apache-2.0
"""Which batch made the loss infinite or NaN: training repeated one step at a time."""

import math

import numpy as np
import tensorflow as tf

from tf_decomp.errors import NonFiniteLoss
from tf_decomp.experiment.run_files import RunFiles
from tf_decomp.experiment.strategies import is_chief
from tf_decomp.files import write_atomically, write_json
from tf_decomp.tracing import traced
from tf_decomp.vae import DecompositionVAE

_REMEDY = "lower --learning_rate, --alpha or --beta"


def find_failure(
    vae: DecompositionVAE,
    batches: tf.data.Dataset,
    first_epoch: int,
    steps_an_epoch: int,
    files: RunFiles,
) -> NonFiniteLoss:
    """Trains to the first loss that is not finite and keeps the batch that gave it.

    Args:
        vae: Compiled, in the state behind `first_epoch` epochs.
        batches: [batch, ...], the next ones of the run, the same on each pass.
        first_epoch: Epochs done before.
        steps_an_epoch: Batches of an epoch.
        files: Of the run.

    Returns:
        What to raise. Where rounding keeps every loss finite this time, it says so.
    """
    found = _first_not_finite(vae, batches)
    if found is None:
        last = first_epoch + len(batches) // steps_an_epoch
        return NonFiniteLoss(
            f"training stopped: a loss after epoch {first_epoch} was not finite, but "
            f"none is step by step up to epoch {last}: it overflows with another "
            f"rounding; {_REMEDY}"
        )
    number, x, values = found
    bad = [name for name in values if not math.isfinite(values[name])] or ["loss"]
    step = first_epoch * steps_an_epoch + number
    epoch, batch = (step - 1) // steps_an_epoch + 1, files.failure / "batch.npz"
    if is_chief(vae.distribute_strategy):
        write_atomically(batch, lambda name: np.savez(name, x=x))
        report = {"terms": bad, "step": step, "epoch": epoch, "values": str(values)}
        write_json(files.failure / "report.json", report)
    return NonFiniteLoss(
        f"training stopped: {', '.join(bad)} not finite at step {step} (epoch "
        f"{epoch}); its batch is kept in {batch}; {_REMEDY}"
    )


def _first_not_finite(
    vae: DecompositionVAE, batches: tf.data.Dataset
) -> tuple[int, np.ndarray, dict[str, float]] | None:
    """Returns the number of the step from 1, its batch and the values of its terms."""
    strategy = vae.distribute_strategy
    terms = ["log_likelihood", "kl"] + ["divergence"] * (vae.number(vae.alpha) > 0)

    @traced
    def take(part: tf.Tensor) -> dict[str, tf.Tensor]:
        return strategy.run(vae.train_step, args=(part,))

    # Replicas get their parts as in `fit`; the whole batch is that of a second pass.
    parts = strategy.experimental_distribute_dataset(batches)
    for number, (part, x) in enumerate(zip(parts, batches, strict=True), start=1):
        vae.reset_metrics()  # else a loss is the mean of all so far
        logs = {
            name: float(tf.squeeze(strategy.experimental_local_results(value)[0]))
            for name, value in take(part).items()
        }
        if not math.isfinite(logs["loss"]):
            return number, x.numpy(), {name: logs[name] for name in terms}
    return None
