# SPDX-License-Identifier: Apache-2.0
"""What a figure asks of one trained network, on its test set."""

from typing import Any

import numpy as np
import scipy.stats
import tensorflow as tf
from scipy import ndimage

from paper.table import Row
from tf_decomp.evaluation.rows import mapped_codes
from tf_decomp.experiment.finished import (
    FinishedRun,
    decode_moved,
    load_finished_run,
)
from tf_decomp.experiment.run_files import RunFiles
from tf_decomp.metrics import (
    active_dimensions,
    factor_vae_score,
    hoyer_sparsity,
    mutual_information_gap,
    overlap_report,
    regularisation_report,
)

_DRAWS = 50

CLASS_NAMES = (
    *("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt"),
    *("sneaker", "bag", "ankle boot"),
)
STEPS = 8

_PERMUTATIONS = 999
_MOVED = 200
# A region holds at most this share of the image's pixels.
_LARGEST_REGION = 0.25
# As the paper's: trousers, dress, shirt, and sleeves of t-shirt, dress and coat.
_SHOWN_CLASSES = (1, 3, 6, 0, 3, 4)


def measure_clusters(files: RunFiles) -> list[Row]:
    """Returns the two factors of a pinwheel network.

    Args:
        files: Of the run.
    """
    return [{"kind": "network", **_match(load_finished_run(files), files)}]


def measure_encodings(files: RunFiles) -> list[Row]:
    """Returns the two factors of a pinwheel network that is drawn, and its encodings.

    Args:
        files: Of the run.
    """
    run = load_finished_run(files)
    return [{"kind": "drawn", **_match(run, files)}, *_encodings(run.posterior)]


def measure_match(files: RunFiles) -> list[Row]:
    """Returns the two factors of a pinwheel network alone.

    Args:
        files: Of the run.
    """
    return [_match(load_finished_run(files), files)]


def measure_disentanglement(files: RunFiles) -> list[Row]:
    """Returns the scores of a dSprites network.

    Args:
        files: Of the run.
    """
    run = load_finished_run(files)
    codes, factors = run.posterior.mean().numpy(), np.asarray(run.test.factors)
    known = {
        "posterior_scales": run.posterior.stddev().numpy(),
        "seed": run.config.seed,
    }
    score = factor_vae_score(codes, factors, **known)
    # Normal priors are their own map; inactive dimensions are the same ones.
    mapped = mapped_codes(codes, run.vae.prior)
    kept = np.delete(mapped, score.dropped, axis=1) if mapped is not None else None
    other = score
    if kept is not None and kept.size:
        other = factor_vae_score(kept, factors, seed=run.config.seed)
    return [
        {
            **_fit(files),
            "active_dimensions": codes.shape[1] - len(score.dropped),
            "factor_vae_score": score.value,
            "factor_vae_score_all": score.value_all,
            "factor_vae_score_sampled": score.value_sampled,
            "factor_vae_score_mapped": other.value,
            "factor_vae_chance": score.chance,
            "margin": score.margin,
            "mutual_information_gap": mutual_information_gap(
                codes, factors, **known
            ).value,
            "n": len(codes),
        }
    ]


def measure_sparsity(files: RunFiles) -> list[Row]:
    """Returns the sparsity and the match of a Fashion-MNIST network.

    Args:
        files: Of the run.
    """
    run = load_finished_run(files)
    score = hoyer_sparsity(
        run.posterior.mean().numpy(), posterior_scales=run.posterior.stddev().numpy()
    )
    return [
        {
            **_fit(files),
            "mmd": read_metrics(files)["divergence"],
            "hoyer": score.value,
            "hoyer_active": score.active_value,
            "hoyer_sampled": score.value_sampled,
            "active_dimensions": run.vae.latent_dim - len(score.inactive),
            "hoyer_chance": score.gaussian_value,
            "n": score.n,
        }
    ]


def read_metrics(files: RunFiles) -> dict[str, float]:
    """Returns the values of metrics.json by name, without `test/`.

    Args:
        files: Of the run.
    """
    metrics = files.read_metrics()
    return {k.removeprefix("test/"): v["value"] for k, v in metrics.items()}


def _match(run: FinishedRun, files: RunFiles) -> Row:
    overlap = overlap_report(run.posterior)
    match = regularisation_report(run.posterior, run.vae.prior)
    return {
        **_fit(files),
        "overlap": overlap.overlap.value,
        "mutual_information": overlap.mutual_information.value,
        "encoder_entropy": overlap.encoder_entropy.value,
        "aggregate_kl": match.kl.value,
        "inclusive_kl": match.inclusive_kl.value,
        "joint_mmd": match.joint_mmd.value,
        "rarest_mode_share": _rarest_mode_share(run),
        "off_mode_mass": _off_mode_mass(run),
        "n": overlap.n,
    }


def _fit(files: RunFiles) -> dict[str, float]:
    metrics = read_metrics(files)
    return {name: metrics[name] for name in ("log_likelihood", "kl")}


def _rarest_mode_share(run: FinishedRun) -> float:
    """Returns the least share of codes, one a datum, whose nearest mode is the same."""
    locs = np.array(run.vae.prior.get_config()["locs"])
    z = run.posterior.sample(seed=tf.constant([0, 4])).numpy()
    nearest = np.argmin(((z[:, None] - locs) ** 2).sum(-1), axis=1)
    return float(np.bincount(nearest, minlength=len(locs)).min() / len(z))


def _off_mode_mass(run: FinishedRun) -> float:
    """Returns the share of q(z) outside the ellipses of 99% of every mode.

    Neither little overlap nor a lost mode raises it.
    """
    config = run.vae.prior.get_config()
    locs, variance = np.array(config["locs"]), config["variance"]
    z = run.posterior.sample(_DRAWS, seed=tf.constant([0, 5])).numpy()
    squares = ((z[..., None, :] - locs) ** 2).sum(-1).min(-1)
    return float(np.mean(squares > variance * scipy.stats.chi2(2).ppf(0.99)))


def _encodings(posterior: Any) -> list[Row]:
    """Returns one row a datum: its posterior's mean and standard deviation."""
    pairs = zip(posterior.mean().numpy(), posterior.stddev().numpy(), strict=True)
    return [
        {"kind": "encoding"}
        | {f"mean_{d + 1}": float(mean[d]) for d in (0, 1)}
        | {f"deviation_{d + 1}": float(deviation[d]) for d in (0, 1)}
        for mean, deviation in pairs
    ]


def measure_classes(files: RunFiles) -> list[Row]:
    """Returns the rows of a Fashion-MNIST network: numbers, moves and pictures.

    Args:
        files: Of the run.
    """
    run = load_finished_run(files)
    metrics = read_metrics(files)
    codes, labels = run.posterior.mean().numpy(), np.asarray(run.test.labels)
    scales = run.posterior.stddev().numpy()
    active = active_dimensions(codes, posterior_scales=scales)
    magnitudes = np.abs(codes)
    share, p_value = class_share(magnitudes, labels)
    network = {
        "kind": "network",
        "log_likelihood": metrics["log_likelihood"],
        "mmd": metrics["divergence"],
        "hoyer": hoyer_sparsity(codes).value,
        "active_dimensions": int(active.sum()),
        "permutation_p": p_value,
        "class_share": share,
        "n": len(codes),
    }
    moves = _moves(run, active)
    network["region_share"] = float(np.mean([row["region_share"] for row in moves]))
    network["swap_share"] = swap_share(_moved_data(run), labels[: len(moves)])
    return [
        network,
        *moves,
        *_magnitude_rows(magnitudes, labels),
        *_frames(run, active),
    ]


def class_share(
    magnitudes: np.ndarray, labels: np.ndarray, seed: int = 0
) -> tuple[float, float]:
    """Returns the share of the variance of |z_d| between classes, and its p-value.

    The share is of the variances summed over dimensions. The p-value is that of as
    large a between-class variance under permuted labels, at least 1/1000.

    Args:
        magnitudes: [n, latent_dim] |z_d|.
        labels: [n] classes.
        seed: Of the permutations.
    """
    rng = np.random.default_rng(seed)
    _, labels = np.unique(labels, return_inverse=True)
    counts = np.bincount(labels)
    centred = magnitudes - magnitudes.mean(axis=0)

    def between(order: np.ndarray) -> float:
        sums = np.zeros((len(counts), centred.shape[1]))
        # One column at a time: bincount is many times faster than add.at.
        for d, column in enumerate(centred.T):
            sums[:, d] = np.bincount(order, weights=column, minlength=len(counts))
        return float((sums**2 / counts[:, None]).sum() / len(order))

    observed = between(labels)
    permuted = [between(rng.permutation(labels)) for _ in range(_PERMUTATIONS)]
    p_value = (1 + np.sum(np.array(permuted) >= observed)) / (1 + _PERMUTATIONS)
    return observed / float((centred**2).mean(axis=0).sum()), float(p_value)


def region_of_change(change: np.ndarray) -> tuple[float, float]:
    """Returns the share of all change that one connected region holds, and its area.

    Of the quarter of the pixels that change most, the connected region (sides or
    corners touching) that holds most.

    Args:
        change: [height, width] absolute change of each pixel.
    """
    most = int(_LARGEST_REGION * change.size)
    threshold = np.sort(change, axis=None)[-most - 1]
    regions, count = ndimage.label(change > threshold, structure=np.ones((3, 3)))
    if not count:
        return 0.0, 0.0
    held = ndimage.sum_labels(change, regions, np.arange(1, count + 1))
    area = np.mean(regions == 1 + np.argmax(held))
    return float(held.max() / change.sum()), float(area)


def swap_share(images: np.ndarray, labels: np.ndarray) -> float:
    """Returns the mean `region_of_change` where a datum takes another's place.

    Each is swapped for the next one of its class; that is what an unrelated change
    within a class looks like.

    Args:
        images: [n, height, width].
        labels: [n] classes.
    """
    shares = []
    for label in np.unique(labels):
        mine = images[labels == label]
        if len(mine) > 1:
            changes = np.abs(np.roll(mine, -1, axis=0) - mine)
            shares += [region_of_change(change)[0] for change in changes]
    return float(np.mean(shares)) if shares else float("nan")


def _moved_data(run: FinishedRun) -> np.ndarray:
    return run.test.examples(slice(_MOVED))[..., 0]


def _move(
    run: FinishedRun, data: np.ndarray, steps: int, active: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Moves the largest active dimension of some data's codes.

    Returns the dimension of each datum and frames [n, steps, height, width].
    """
    codes = run.posterior.mean().numpy()[data]
    magnitudes = np.where(active, np.abs(codes), 0.0) if active.any() else np.abs(codes)
    dimensions = magnitudes.argmax(axis=1)
    return dimensions, decode_moved(run.vae, codes, dimensions, steps)[..., 0]


def _moves(run: FinishedRun, active: np.ndarray) -> list[Row]:
    """Returns one row for each of the first data whose largest dimension is moved."""
    data, labels = np.arange(min(_MOVED, len(run.test.x))), np.asarray(run.test.labels)
    dimensions, frames = _move(run, data, 2, active)
    changes = np.abs(frames[:, 1] - frames[:, 0])
    regions = map(region_of_change, changes)
    return [
        {
            "kind": "move",
            "class": CLASS_NAMES[labels[datum]],
            "datum": int(datum),
            "dimension": int(dimension) + 1,
            "region_share": share,
            "region_area": area,
            "largest_change": float(change.max()),
        }
        for datum, dimension, change, (share, area) in zip(
            data, dimensions, changes, regions, strict=True
        )
    ]


def _magnitude_rows(magnitudes: np.ndarray, labels: np.ndarray) -> list[Row]:
    rows: list[Row] = []
    for label, name in enumerate(CLASS_NAMES):
        mine = magnitudes[labels == label]
        errors = mine.std(axis=0, ddof=1) / len(mine) ** 0.5
        for d, (mean, error) in enumerate(zip(mine.mean(axis=0), errors, strict=True)):
            row = {"kind": "magnitude", "class": name, "dimension": d + 1}
            row |= {"magnitude": float(mean), "magnitude_standard_error": float(error)}
            rows.append({**row, "n": len(mine)})
    return rows


def _frames(run: FinishedRun, active: np.ndarray) -> list[Row]:
    """Returns the pictures: step 0 is the datum, then z_d to z_d + sign(z_d)."""
    labels = np.asarray(run.test.labels)
    # The second of a class that is shown twice is its next datum.
    earlier = [_SHOWN_CLASSES[:i].count(c) for i, c in enumerate(_SHOWN_CLASSES)]
    pairs = zip(_SHOWN_CLASSES, earlier, strict=True)
    data = np.array([np.flatnonzero(labels == c)[k] for c, k in pairs])
    dimensions, decoded = _move(run, data, STEPS, active)
    x = run.test.examples(data)[..., 0]
    frames = np.concatenate([x[:, None], decoded], axis=1)
    return [
        {
            "kind": "frame",
            "class": CLASS_NAMES[labels[datum]],
            "datum": int(datum),
            "dimension": int(dimensions[i]) + 1,
            "step": step,
            "pixels": _hexadecimal(frame),
        }
        for i, datum in enumerate(data)
        for step, frame in enumerate(frames[i])
    ]


def _hexadecimal(image: np.ndarray) -> str:
    """Returns a square image as two digits a pixel."""
    return np.round(255 * image.clip(0, 1)).astype(np.uint8).tobytes().hex()
