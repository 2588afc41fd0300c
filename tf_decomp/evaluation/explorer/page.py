# SPDX-License-Identifier: Apache-2.0
"""Renders explorer.html of a finished run."""

import base64
import gzip
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from scipy import stats
from tensorflow_probability import distributions as tfd

from tf_decomp.checks import check_packages, short
from tf_decomp.data import Split
from tf_decomp.errors import InputError
from tf_decomp.evaluation.figures import Codes, collect_codes
from tf_decomp.evaluation.report.render import fill
from tf_decomp.evaluation.report.settings import name_run
from tf_decomp.experiment.finished import FinishedRun, load_finished_run
from tf_decomp.experiment.run_files import RunFiles
from tf_decomp.export.formats import CONVERTER, to_onnx
from tf_decomp.files import read_json, read_text, write_text
from tf_decomp.likelihoods import likelihood_point
from tf_decomp.plots.arrays import spread_indices
from tf_decomp.plots.style import CLASS_COLORS
from tf_decomp.priors import Prior, SpikeAndSlabPrior
from tf_decomp.vae import DecompositionVAE

_FOLDER = Path(__file__).parent
_RUNTIME = _FOLDER / "onnxruntime_web"
_PROBABILITIES = np.arange(1, 200) / 200  # of quantiles: a slider's step is 0.5 %
_BEYOND = 20  # steps of a slider from the prior's quantiles to encodings beyond
_MOST_POINTS = 2_000
_MOST_NUMBERS = 200_000  # of all codes in a page
_MOST_DATA_BYTES = 2**21  # of the examples in a page, before compression
_NUM_STARTS = 24
_MOST_PLACES = 12
_NUM_PRIOR_SAMPLES = 300
_KINDS = {
    "image": "images",
    "points": "points, since a datum is two numbers",
    "bars": "bars, since the data are no images",
}


def explore_run(run_dir: Path) -> Path:
    """Writes explorer.html of a finished run, a page to move its latents in.

    The page holds the decoder, ONNX Runtime Web to run it, encodings of test examples
    and their data; it opens without a network. Images are drawn as such, vectors of
    two numbers as points, all other data as bars.

    Args:
        run_dir: Folder of the run.

    Returns:
        Where the page is.

    Raises:
        InputError: The run is not finished, its files do not belong together, it was
            trained on meanwhile, or Jinja2 or tf2onnx is missing.
        OSError: The page cannot be written.

    Example:
        >>> explore_run(Path("runs/pinwheel"))
        PosixPath('runs/pinwheel/explorer.html')
    """
    files = RunFiles(run_dir)
    check_explorer()
    results = files.read_metrics()
    run = load_finished_run(files)
    codes = collect_codes(run.posterior, run.vae.prior.distribution)
    html = describe_run(files, run, codes)
    if files.read_metrics() != results:
        raise InputError(
            f"{files.root}: more epochs were trained while the explorer was made; make "
            "it again"
        )
    write_text(files.explorer, html)
    return files.explorer


def check_explorer() -> None:
    """Refuses to make a page without the packages that it needs.

    Raises:
        InputError: One is missing.
    """
    check_packages("explorer.html", "report,serving", "jinja2", *CONVERTER)


def describe_run(files: RunFiles, run: FinishedRun, codes: Codes) -> str:
    """Returns explorer.html of a run.

    Args:
        files: Of the run, for messages.
        run: As it was read back.
        codes: Of its test set.

    Raises:
        InputError: The decoder uses what ONNX does not have.
    """
    page = _describe(run.vae, run.test, codes, run.test.factor_names)
    if page["kind"] != "image":
        print(
            f"{files.root}: its data are no images; the explorer draws {page['kind']}",
            flush=True,
        )
    folders = [_FOLDER / "templates"]
    return fill("explorer.html", folders, title=name_run(run.config), **page)


def _describe(
    vae: DecompositionVAE, test: Split, codes: Codes, factor_names: Sequence[str]
) -> dict[str, Any]:
    """Returns what the templates are filled with."""
    shape = [*map(int, vae.data_shape)]
    kind = "image" if len(shape) == 3 else "points" if shape == [2] else "bars"
    rows, colourings = _choose_examples(test, codes.means.shape, factor_names)
    bytes_each = math.prod(shape) * (1 if kind == "image" else 4)
    pictured = rows[: max(_NUM_STARTS, _MOST_DATA_BYTES // bytes_each)]
    data, value_range = _examples(test, pictured, kind)
    places = _places(vae.prior, codes.prior_samples)
    sliders = [_slider(d, codes, places, vae.prior) for d in codes.order]
    return {
        "kind": kind,
        "kind_text": _KINDS[kind],
        "sliders": sliders,
        "places": places,
        "colourings": colourings,
        "is_sparse": any(slider["spike"] for slider in sliders),
        "num_starts": 0 if kind == "points" else min(_NUM_STARTS, len(rows)),
        "num_test": len(codes.means),
        "runtime": read_json(_RUNTIME / "version.json"),
        "licence": read_text(_RUNTIME / "LICENSE"),
        "page": {
            "kind": kind,
            "shape": shape,
            "rows": rows.tolist(),
            "pictured": len(pictured),
            "range": value_range,
            "dims": {s["index"]: {"z": s["z"], "share": s["share"]} for s in sliders},
            "places": [place["z"] for place in places],
            "colourings": colourings,
            "palette": CLASS_COLORS,
        },
        "parts": _parts(vae, codes.means[rows], data, codes.prior_samples),
    }


def _choose_examples(
    test: Split, shape: tuple[int, int], factor_names: Sequence[str]
) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """Returns rows of the test set, which take turns by class, and their colours."""
    num_examples, latent_dim = shape
    most = min(_MOST_POINTS, max(_NUM_STARTS, _MOST_NUMBERS // latent_dim))
    rows = spread_indices(num_examples, most)
    colourings = _colourings(test, rows, factor_names)
    if colourings:
        rows = rows[_take_turns(np.array(colourings[0]["values"]))]
        colourings = _colourings(test, rows, factor_names)
    return rows, colourings


def _examples(
    test: Split, rows: np.ndarray, kind: str
) -> tuple[np.ndarray, list[float]]:
    """Returns examples, images in 256 steps of the range beside them."""
    data = test.examples(rows)
    low, high = float(np.nanmin(data)), float(np.nanmax(data))
    if kind == "image":
        low, high = min(low, 0.0), max(high, 1.0)
        steps = (np.nan_to_num(data, nan=low) - low) / (high - low) * 255
        data = np.rint(steps).astype(np.uint8)
    return data, [low, high]


def _parts(
    vae: DecompositionVAE, means: np.ndarray, data: np.ndarray, samples: np.ndarray
) -> dict[str, str]:
    """Returns what the page unpacks: its runtime, the decoder and arrays."""
    means = means.astype(np.float32)
    expected = likelihood_point(vae.decode(means[:1])).numpy()
    return {
        "runtime-code": _embed(_RUNTIME / "ort.wasm.bundle.min.mjs.gz"),
        "runtime-wasm": _embed(_RUNTIME / "ort-wasm-simd-threaded.wasm.gz"),
        "notices": _embed(_RUNTIME / "ThirdPartyNotices.txt.gz"),
        "decoder": _pack(decoder_onnx(vae)),
        "codes": _pack(means),
        "data": _pack(data),
        "draws": _pack(samples[:_NUM_PRIOR_SAMPLES].astype(np.float32)),
        # What TensorFlow decodes the first code to, by which the page checks itself.
        "reference": _pack(expected.astype(np.float32)),
    }


def _slider(
    dimension: int, codes: Codes, places: list[dict[str, Any]], prior: Prior
) -> dict[str, Any]:
    """Returns a slider: z at each of its whole positions, and what is marked on it.

    Positions are quantiles of the prior's marginal, of the slab where it has a spike,
    which would leave the slab next to no room. Where encodings lie beyond them, more
    positions lead there in even steps. `share` is how much of the prior lies below.
    """
    column, reach = codes.means[:, dimension], _spike_reach(prior)
    samples = np.sort(codes.prior_samples[:, dimension])
    grid = np.quantile(samples, _PROBABILITIES)
    if reach:
        grid = stats.norm.ppf(_PROBABILITIES)
    below = np.linspace(column.min(), grid[0], _BEYOND + 1)[:-1]
    above = np.linspace(grid[-1], column.max(), _BEYOND + 1)[1:]
    below, above = below[below < grid[0]], above[above > grid[-1]]
    z = np.concatenate([below, grid, above])

    def position(value: float) -> float:
        return round(float(np.interp(value, z, np.arange(len(z)))) / (len(z) - 1), 4)

    return {
        "index": int(dimension),
        "active": bool(codes.active[dimension]),
        "z": [float(f"{value:.6g}") for value in z],
        "share": np.round(np.searchsorted(samples, z) / len(samples), 4).tolist(),
        "band": (position(grid[0]), position(grid[-1])),
        "spike": reach and (position(-reach), position(reach)),
        "marks": sorted({position(place["z"][dimension]) for place in places}),
    }


def _spike_reach(prior: Prior) -> float:
    """Returns up to which |z_d| a value rather comes from the spike; 0 without one."""
    if not isinstance(prior, SpikeAndSlabPrior):
        return 0.0
    config = prior.get_config()
    gamma, variance = config["gamma"], config["spike_variance"]
    if not (0 < gamma < 1 and variance < 1):
        return 0.0
    log_odds = math.log(gamma / (1 - gamma)) - math.log(variance) / 2
    return math.sqrt(max(0.0, 2 * log_odds / (1 / variance - 1)))


def _places(prior: Prior, samples: np.ndarray) -> list[dict[str, Any]]:
    """Returns where one can go at once: the prior's modes or its centre."""
    distribution = prior.distribution
    if isinstance(distribution, tfd.MixtureSameFamily):
        modes = distribution.components_distribution.mean().numpy()
        of_all = f" of {len(modes)}" if len(modes) > _MOST_PLACES else ""
        shown = enumerate(modes[:_MOST_PLACES], start=1)
        named = {f"Mode {k}{of_all}": mode for k, mode in shown}
    elif isinstance(prior, SpikeAndSlabPrior):
        named = {"All at the spike": np.zeros(prior.latent_dim)}
    else:
        named = {"Centre of the prior": np.median(samples, axis=0)}
    return [{"name": name, "z": z.tolist()} for name, z in named.items()]


def _colourings(
    test: Split, rows: np.ndarray, factor_names: Sequence[str]
) -> list[dict[str, Any]]:
    """Returns what tells examples apart: names of levels, and each example's level."""
    columns = {} if test.labels is None else {"class": test.labels}
    if test.factors is not None:
        names = factor_names or [
            f"factor {k + 1}" for k in range(test.factors.shape[1])
        ]
        columns |= dict(zip(names, test.factors.T, strict=True))
    colourings = []
    for name, column in columns.items():
        levels = np.unique(column)
        values = np.searchsorted(levels, column[rows]).tolist()
        colourings.append(
            {"name": name, "levels": [*map(str, levels)], "values": values}
        )
    return colourings


def _take_turns(levels: np.ndarray) -> np.ndarray:
    """Returns the order in which all levels come once, then all twice, and so on."""
    order = np.argsort(levels, kind="stable")
    sorted_levels = levels[order]
    turns = np.empty_like(levels)
    turns[order] = np.arange(len(levels)) - np.searchsorted(
        sorted_levels, sorted_levels
    )
    return np.lexsort((levels, turns))


def _embed(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode("ascii")


def _pack(content: bytes | np.ndarray) -> str:
    raw = content if isinstance(content, bytes) else content.tobytes()
    return base64.b64encode(gzip.compress(raw, mtime=0)).decode("ascii")


def decoder_onnx(vae: DecompositionVAE) -> bytes:
    """Returns an ONNX model of z [batch, latent_dim] -> mean of p(x|z), in float32.

    Args:
        vae: The model, whatever it computes in.

    Raises:
        InputError: The decoder uses what ONNX does not have.
    """

    def decode(z: tf.Tensor) -> dict[str, tf.Tensor]:
        mean = likelihood_point(vae.decode(tf.cast(z, vae.variable_dtype)))
        return {"mean": tf.cast(mean, tf.float32)}

    try:
        return to_onnx(decode, [tf.TensorSpec([None, vae.latent_dim], tf.float32, "z")])
    except (OSError, MemoryError):
        raise
    except Exception as error:  # a converter's own
        raise InputError(
            "explorer.html: expected a decoder that ONNX can hold; received one with "
            f"other operations ({short(error)}); evaluate without it"
        ) from error
