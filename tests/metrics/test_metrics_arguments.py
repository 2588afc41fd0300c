# SPDX-License-Identifier: Apache-2.0
"""Arrays and numbers that metrics cannot use, and codes files: one line each."""

import os
import warnings
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of
from properties import bounded
from tensorflow_probability import distributions as tfd

from tf_decomp import NormalPrior, checks, metrics
from tf_decomp.errors import InputError
from tf_decomp.evaluation import evaluate_codes
from tf_decomp.metrics.encodings import batches

RNG = np.random.default_rng(0)
FACTORS = np.stack(np.unravel_index(np.arange(100), (10, 10)), axis=1)
CODES = (FACTORS - 4.5) + 0.1 * RNG.normal(size=(100, 2))
SCALES = np.full(CODES.shape, 0.1)
POSTERIOR = tfd.MultivariateNormalDiag(CODES, SCALES)
FEW = {"train_votes": 50, "evaluation_votes": 50}

OF_FACTORS: dict[str, Callable[..., Any]] = {
    "factor_vae_score": partial(metrics.factor_vae_score, **FEW, samples_per_vote=9),
    "beta_vae_score": partial(metrics.beta_vae_score, **FEW, pairs_per_vote=4),
    "interventional_robustness_score": metrics.interventional_robustness_score,
    "mutual_information_gap": metrics.mutual_information_gap,
    "info_mec": metrics.info_mec,
    "sap_score": metrics.sap_score,
    "dci_disentanglement": metrics.dci_disentanglement,
    "modularity_explicitness": metrics.modularity_explicitness,
}
OF_CODES: dict[str, Callable[..., Any]] = {
    **{name: partial(metric, factors=FACTORS) for name, metric in OF_FACTORS.items()},
    "hoyer_sparsity": metrics.hoyer_sparsity,
    "active_dimensions": metrics.active_dimensions,
    "normal_scores": partial(metrics.normal_scores, cdf=lambda z: 1 / (1 + np.exp(-z))),
}


def one_line(
    message: str, call: Callable[..., Any], *given: Any, **others: Any
) -> None:
    with pytest.raises(InputError, match=message) as raised:
        call(*given, **others)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 400


NO_CODES = {
    "None": (None, r"received object \[\]"),
    "a number": (1.5, r"received float64 \[\]"),
    "words": (CODES.astype(str), "received <U"),
    "bytes": (CODES.astype("S"), r"received \|S"),
    "complex": (CODES + 1j, "received complex128"),
    "booleans": (CODES > 0, "received bool"),
    "objects": (CODES.astype(object), "received object"),
    "dates": (CODES.astype("M8[s]"), "received datetime64"),
    "rank 1": (CODES[:, 0], r"received float64 \[100\]"),
    "rank 3": (CODES[None], r"received float64 \[1, 100, 2\]"),
    "no rows": (CODES[:0], r"received float64 \[0, 2\]"),
    "no columns": (CODES[:, :0], r"received float64 \[100, 0\]"),
    "a list of two lengths": ([[1.0], [1.0, 2.0]], r"must be an array of numbers"),
    "a dictionary": ({"codes": CODES}, r"received object \[\]"),
    "a generator": ((row for row in CODES), r"received object \[\]"),
    "sparse": (scipy.sparse.csr_array(CODES), r"received object \[\]"),
    "ragged": (tf.ragged.constant([[1.0], [1.0, 2.0]]), "codes must be"),
    "masked": (np.ma.masked_greater(CODES, 4), "must have a value everywhere"),
    "a distribution": (POSTERIOR, r"codes must be"),
    "NaN": (np.where(CODES > 4, np.nan, CODES), "must be finite"),
    "infinity": (np.where(CODES > 4, -np.inf, CODES), "must be finite"),
    "beyond float64": (np.full((99, 2), np.longdouble(10) ** 400), "must be finite"),
    "structured": (np.zeros((99, 2), [("a", "f4")]), "codes must be"),
}


@pytest.mark.parametrize("name", OF_CODES)
@pytest.mark.parametrize("case", NO_CODES)
def test_what_are_no_codes(name: str, case: str) -> None:
    codes, message = NO_CODES[case]
    one_line(message, OF_CODES[name], codes)


NO_FACTORS = {
    "None": (None, "received object"),
    "floats": (FACTORS + 0.5, "received float64"),
    "whole floats": (FACTORS * 1.0, "must be integers .* received float64"),
    "words": (FACTORS.astype(str), "received <U"),
    "booleans": (FACTORS > 3, "received bool"),
    "complex": (FACTORS * 1j, "received complex128"),
    "objects": (FACTORS.astype(object), "received object"),
    "rank 1": (FACTORS[:, 0], r"received int64 \[100\]"),
    "rank 3": (FACTORS[None], r"received int64 \[1, 100, 2\]"),
    "fewer rows": (FACTORS[:99], r"received int64 \[99, 2\]"),
    "no columns": (FACTORS[:, :0], "at least two factors must vary; received 0"),
    "constant": (FACTORS * 0, "at least two factors must vary; received 0"),
    "one": (FACTORS * [1, 0], "at least two factors must vary; received 1"),
    "two lengths": ([[1], [1, 2]], "must be an array of numbers"),
    "sparse": (scipy.sparse.csr_array(FACTORS), "received object"),
    "masked": (np.ma.masked_equal(FACTORS, 3), "must have a value everywhere"),
}


@pytest.mark.parametrize("name", OF_FACTORS)
@pytest.mark.parametrize("case", NO_FACTORS)
def test_what_are_no_factors(name: str, case: str) -> None:
    factors, message = NO_FACTORS[case]
    one_line(message, OF_FACTORS[name], CODES, factors)


def test_factors_of_the_largest_range_vary() -> None:
    ends = np.array([-(2**63), 2**63 - 1])
    far = np.stack([ends[FACTORS[:, 0] % 2], FACTORS[:, 1]], axis=1)
    near = np.stack([FACTORS[:, 0] % 2, FACTORS[:, 1]], axis=1)
    scores = [metrics.sap_score(CODES, factors) for factors in (far, near)]
    assert scores[0] == scores[1]
    assert scores[0].factors_used == (0, 1)


NO_SCALES = {
    "zero": ({"scale": 0}, "scale must be a positive number"),
    "NaN": ({"scale": float("nan")}, "scale must be a positive number"),
    "a word": ({"scale": "one"}, "scale must be a positive number"),
    "boolean": ({"scale": True}, "scale must be a positive number"),
    "complex": ({"scale": 1j}, "scale must be a positive number"),
    "too many": ({"scale": np.ones((100, 2))}, "scale must be a positive number"),
    "two lengths": ({"scale": [[1.0], [1.0, 2.0]]}, "scale must be an array"),
    "masked": ({"scale": np.ma.masked_equal([1, 2], 2)}, "scale must have a value"),
    "infinite": ({"posterior_scales": SCALES * np.inf}, "must be standard deviations"),
    "negative": ({"posterior_scales": -SCALES}, "must be standard deviations"),
    "words": ({"posterior_scales": SCALES.astype(str)}, "must be standard deviations"),
    "fewer": ({"posterior_scales": SCALES[:9]}, "must be standard deviations"),
    "lengths": ({"posterior_scales": [[1.0], [1.0, 2.0]]}, "posterior_scales must be"),
    "both": ({"posterior_scales": SCALES, "scale": 1.0}, "pass one"),
}


@pytest.mark.parametrize("name", [name for name in OF_CODES if name != "normal_scores"])
@pytest.mark.parametrize("case", NO_SCALES)
def test_what_are_no_scales(name: str, case: str) -> None:
    options, message = NO_SCALES[case]
    one_line(message, OF_CODES[name], CODES, **options)


@pytest.mark.parametrize("seed", [-1, 1.5, "1", None, True, float("nan"), 2.0, [1]])
@pytest.mark.parametrize("name", [*OF_FACTORS, "hoyer_sparsity"])
def test_what_are_no_seeds(name: str, seed: Any) -> None:
    one_line("seed must be .*>= 0", OF_CODES[name], CODES, seed=seed)


@pytest.mark.parametrize("seed", [-1, 1.5, "1", True, 2**31, 10**30])
def test_what_are_no_seeds_of_tensorflow(seed: Any) -> None:
    for report in (
        partial(metrics.overlap_report, POSTERIOR, 10),
        partial(metrics.regularisation_report, POSTERIOR, NormalPrior(2), 10),
        partial(metrics.marginal_log_likelihood, None, CODES, 10),
    ):
        one_line("seed must be .*between 0 and 2,147,483,647", report, seed=seed)


@pytest.mark.parametrize("count", [0, -3, 1.5, 100.0, "100", None, True, 10**15])
def test_what_are_no_numbers_of_samples(count: Any) -> None:
    for report in (
        partial(metrics.overlap_report, POSTERIOR),
        partial(metrics.regularisation_report, POSTERIOR, NormalPrior(2)),
        partial(metrics.marginal_log_likelihood, None, CODES),
    ):
        one_line("samples.* must be .*>=|GB of memory", report, count)


@pytest.mark.parametrize("count", [0, 1, -3, 64.0, "64", None, True, 10**15])
def test_what_are_no_numbers_of_votes(count: Any) -> None:
    of_factors = partial(metrics.factor_vae_score, CODES, FACTORS)
    of_pairs = partial(metrics.beta_vae_score, CODES, FACTORS)
    for call, name in (
        (of_factors, "train_votes"),
        (of_factors, "evaluation_votes"),
        (of_factors, "samples_per_vote"),
        (of_pairs, "train_votes"),
        (of_pairs, "evaluation_votes"),
        (of_pairs, "pairs_per_vote"),
    ):
        if (name, count) != ("pairs_per_vote", 1):
            one_line(f"{name} must be .*>=|GB of memory", call, **{name: count})


@pytest.mark.parametrize("quantile", [0.5, 1.01, -1, 99, "0.99", None, float("nan")])
def test_what_are_no_quantiles(quantile: Any) -> None:
    score = metrics.interventional_robustness_score
    one_line("quantile must be", score, CODES, FACTORS, quantile=quantile)


@pytest.mark.parametrize("wrong", ["0", 0, [0.5], [True], [[0]], ["a"], [-1], [2], {0}])
def test_what_are_no_columns(wrong: Any) -> None:
    for metric in (metrics.sap_score, metrics.dci_disentanglement):
        one_line("categorical must", metric, CODES, FACTORS, categorical=wrong)


@pytest.mark.parametrize(
    ("classes", "factors", "message"),
    [
        (CODES, FACTORS, "classes must be class indices .* float64"),
        (FACTORS, CODES, "factors must be class indices .* float64"),
        (FACTORS, FACTORS[:9], "received 100 and 9 rows"),
        (FACTORS[:, 0], FACTORS, r"received int64 \[100\]"),
        (FACTORS[:0], FACTORS[:0], r"received int64 \[0, 2\]"),
        (None, FACTORS, "received object"),
        ([[1], [1, 2]], FACTORS, "classes must be an array"),
    ],
)
def test_what_are_no_classes(classes: Any, factors: Any, message: str) -> None:
    one_line(message, metrics.mutual_information, classes, factors)


def test_classes_may_have_gaps_and_be_negative() -> None:
    expected = metrics.mutual_information(FACTORS, FACTORS)
    far = metrics.mutual_information(10**12 * FACTORS - 5, -(10**15) * FACTORS)
    np.testing.assert_allclose(far, expected, rtol=1e-12)


def test_a_table_beyond_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "available_memory", lambda: 10**6)
    many = np.arange(1_000)[:, None]
    one_line("table of 1,000,000 cells needs", metrics.mutual_information, many, many)


@pytest.mark.parametrize("wrong", [None, "cdf", 0.5, CODES])
def test_what_is_no_distribution_function(wrong: Any) -> None:
    one_line("must be functions", metrics.normal_scores, CODES, wrong)
    one_line("must be functions", metrics.normal_scores, CODES, np.exp, "no")


@pytest.mark.parametrize(
    "wrong", [None, "q(z|x)", CODES, [POSTERIOR], tfd.Normal(0.0, 1.0), NormalPrior(2)]
)
def test_what_is_no_posterior(wrong: Any) -> None:
    one_line("posterior: expected a distribution", metrics.overlap_report, wrong)


@pytest.mark.parametrize(
    "codes",
    [
        CODES.tolist(),
        CODES.astype(np.float32),
        CODES.astype(">f8"),
        CODES.astype(np.longdouble),
        np.asfortranarray(CODES),
        tf.constant(CODES),
        np.ma.array(CODES),
    ],
)
def test_codes_of_every_layout_score_alike(codes: Any) -> None:
    expected = metrics.mutual_information_gap(CODES, FACTORS)
    score = metrics.mutual_information_gap(codes, FACTORS.tolist())
    assert score.value == pytest.approx(expected.value, rel=1e-6)


def test_integer_codes_of_any_size() -> None:
    far = np.where(np.arange(100)[:, None] % 2, -(2**63), 2**63 - 1) * [1, 0]
    assert metrics.active_dimensions(far).tolist() == [True, False]


# -- codes files -----------------------------------------------------------------------

OVERLAP = ["overlap", "sparsity"]


def judged(folder: Path, **arrays: Any) -> Path:
    np.savez(folder / "codes.npz", **arrays)
    return evaluate_codes(folder / "codes.npz", folder / "out", OVERLAP)


@pytest.mark.parametrize(
    "arrays",
    [
        {"codes": CODES},
        {"codes": CODES.astype(np.float16), "scales": SCALES},
        {"codes": CODES.astype(np.longdouble), "scales": SCALES},
        {"codes": CODES.astype(">f4"), "scales": SCALES.astype(">f8")},
        {"codes": np.asfortranarray(CODES), "scales": np.ones(CODES.shape, int)},
        {"codes": CODES, "scales": SCALES, "factors": FACTORS.astype(">i2")},
        {"codes": CODES, "notes": np.array("kept out")},
    ],
)
def test_codes_files_of_every_layout(tmp_path: Path, arrays: dict[str, Any]) -> None:
    assert judged(tmp_path, **arrays).exists()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, "expected floats `codes` .* received no such array"),
        ({"scales": SCALES}, "expected floats `codes` .* received scales float64"),
        ({"codes": FACTORS}, "expected floats `codes` .* received codes int64"),
        ({"codes": CODES + 1j}, "expected floats `codes` .* complex128"),
        ({"codes": CODES.astype(str)}, "expected floats `codes` .* <U"),
        ({"codes": CODES.astype(object)}, "plain arrays, .* pickled objects"),
        ({"codes": CODES[:, 0]}, r"expected floats `codes` .* \[100\]"),
        ({"codes": CODES[:0]}, r"expected floats `codes` .* \[0, 2\]"),
        ({"codes": np.float64(1)}, r"expected floats `codes` .* float64 \[\]"),
        ({"codes": CODES * np.nan}, "codes.npz: codes must be finite; received 200"),
        ({"codes": np.full((9, 2), np.longdouble(10) ** 400)}, "must be finite"),
        ({"codes": CODES, "scales": SCALES[:9]}, "shaped as `codes`; received float64"),
        ({"codes": CODES, "scales": SCALES * 1j}, "shaped as `codes`; .* complex128"),
        ({"codes": CODES, "scales": SCALES.astype(str)}, "shaped as `codes`"),
        ({"codes": CODES, "scales": -SCALES}, "`scales` must be positive and finite"),
        ({"codes": CODES, "scales": SCALES * np.nan}, "must be positive and finite"),
        ({"codes": CODES, "scales": SCALES * np.inf}, "must be positive and finite"),
        (
            {"codes": CODES.astype(np.float32), "scales": SCALES * 1e-50},
            "must be positive and finite in float32",
        ),
        ({"codes": CODES, "factors": FACTORS[:9]}, r"integers \[100, num_factors\]"),
        ({"codes": CODES, "factors": FACTORS * 1.0}, "integers .* received float64"),
        ({"codes": CODES, "factors": FACTORS[:, 0]}, r"integers .* int64 \[100\]"),
        ({"codes": CODES, "factors": FACTORS.astype(str)}, "integers .* <U"),
        ({"codes": CODES, "factors": FACTORS.astype(object)}, "pickled objects"),
    ],
)
def test_codes_files_that_are_refused(
    tmp_path: Path, arrays: dict[str, Any], message: str
) -> None:
    one_line(message, judged, tmp_path, **arrays)
    assert not (tmp_path / "out").exists()


def test_codes_files_that_are_no_files(tmp_path: Path, monkeypatch: Any) -> None:
    def judge(path: Path) -> Path:
        return evaluate_codes(path, tmp_path / "out", OVERLAP)

    pipe = tmp_path / "pipe.npz"
    os.mkfifo(pipe)
    one_line("must be a file; it is a pipe", judge, pipe)
    one_line("must be a file; it is a folder", judge, tmp_path)
    path = tmp_path / "codes.npz"
    np.savez(path, codes=CODES)
    content = path.read_bytes()
    for damaged in (b"", b"1,2\n", content[:99], content.replace(b"NUMPY", b"numpy")):
        path.write_bytes(damaged)
        one_line("must be a .npz file of plain arrays", judge, path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("codes.npy", content[30:200])
    one_line("must be a .npz file of plain arrays", judge, path)
    path.write_bytes(content)
    monkeypatch.setattr(checks, "available_memory", lambda: 3_199)  # of 2 x 1600
    one_line("judging .* GB of memory", judge, path)
    monkeypatch.undo()
    monkeypatch.setenv("HOME", str(tmp_path))
    assert judge(Path("~/codes.npz")).exists()
    with pytest.raises(FileNotFoundError):
        judge(tmp_path / "none.npz")


# -- properties ------------------------------------------------------------------------

SHAPES = arrays_of.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=60)
ANY = arrays_of.arrays(
    st.one_of(arrays_of.scalar_dtypes(), arrays_of.array_dtypes(max_size=2)),
    st.one_of(st.sampled_from([(60, 2), (60, 1), (60, 3), (50, 2)]), SHAPES),
)
CODE_ARRAYS = arrays_of.arrays(
    st.sampled_from([np.float16, np.float32, np.float64, np.int64, np.uint8]), (60, 2)
)
FACTOR_ARRAYS = arrays_of.arrays(st.sampled_from([np.int64, np.uint8]), (60, 2))


def ends_well(call: Callable[..., Any], *given: Any, **others: Any) -> None:
    try:
        result = call(*given, **others)
    except InputError as error:
        message = str(error)
    else:
        message = ""
        values = [v for v in result if isinstance(v, float)]
        assert np.isfinite(values).all()
    assert "\n" not in message


@bounded(max_examples=150)
@given(
    codes=st.one_of(CODE_ARRAYS, ANY),
    factors=st.one_of(FACTOR_ARRAYS, ANY),
    scales=st.one_of(st.none(), CODE_ARRAYS, ANY),
)
def test_any_arguments_end_well(
    codes: np.ndarray, factors: np.ndarray, scales: np.ndarray | None
) -> None:
    ends_well(metrics.hoyer_sparsity, codes, posterior_scales=scales)
    ends_well(metrics.sap_score, codes, factors, posterior_scales=scales)
    ends_well(OF_FACTORS["factor_vae_score"], codes, factors, posterior_scales=scales)


@bounded(max_examples=60)
@given(
    codes=st.one_of(CODE_ARRAYS, ANY),
    others=st.fixed_dictionaries(
        {},
        optional={
            "scales": st.one_of(CODE_ARRAYS, ANY),
            "factors": st.one_of(FACTOR_ARRAYS, ANY),
        },
    ),
)
def test_any_codes_file_ends_well(
    tmp_path_factory: pytest.TempPathFactory,
    codes: np.ndarray,
    others: dict[str, np.ndarray],
) -> None:
    folder = tmp_path_factory.getbasetemp() / "codes"
    folder.mkdir(exist_ok=True)

    def judge() -> list[float]:
        with warnings.catch_warnings():  # of NumPy, at names of fields in any script
            warnings.simplefilter("ignore")
            np.savez(folder / "codes.npz", codes=codes, **others)
        evaluate_codes(folder / "codes.npz", folder / "out", ["sparsity"])
        return []

    ends_well(judge)


@pytest.mark.parametrize("make", [lambda x: {"image": x}, lambda x: (x, x)])
def test_batches_of_several_tensors_are_refused(make: Any) -> None:
    x = np.zeros([6, 3], np.float32)
    for data in (
        tf.data.Dataset.from_tensor_slices((make(x),)).batch(2),
        [(make(x), x)],
    ):
        with pytest.raises(InputError, match="batches: expected one dense"):
            list(batches(None, data, 2))
    with pytest.raises(InputError, match="a dict with the keys image"):
        list(batches(None, {"image": x}, 2))
    assert [len(rows) for (rows,) in batches(None, [x[:4], x[4:]], 3)] == [3, 1, 2]
