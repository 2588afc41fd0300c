# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime, OpenVINO and LiteRT give TensorFlow's numbers."""

import itertools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import openvino
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from cases import DECODERS, ENCODERS, UserEncoder, make_vae
from runs import contents, one_line, slow_behind

from tf_decomp import DecompositionVAE, InputError
from tf_decomp.experiment.model_card import export_run
from tf_decomp.export import FORMATS, export_formats, formats, next_version

SIGNATURES = ("encode", "encode_sample", "decode")
INPUTS = {"encode": ("x",), "encode_sample": ("x", "eps"), "decode": ("z",)}
# Encoder (normal, Laplace, flow) and decoder (each likelihood) of tests/cases.py.
CASES = [
    ("conv_batch_norm", "conv_batch_norm"),
    ("conv", "conv"),
    ("functional_image", "conv_normal"),
    ("wrapped", "sequential"),
    ("sequential", "functional"),
    ("functional_image", "functional_image"),
    ("conv", "conv_continuous_bernoulli"),
    ("mlp_missing", "mlp_missing"),
    ("mlp", "mlp_poisson"),
    ("mlp_linear", "mlp_negative_binomial"),
    ("mlp", "mlp_categorical"),
    ("mlp_flow", "given_condition"),
]


def disturbed(encoder: Any, decoder: Any) -> DecompositionVAE:
    """Returns a model all of whose weights differ from those of an untrained one."""
    vae = make_vae(encoder=encoder, decoder=decoder)
    rng = np.random.default_rng(7)
    for weight in [*vae.encoder.weights, *vae.decoder.weights]:
        weight.assign_add(rng.uniform(0.0, 0.2, weight.shape))
    return vae


def inputs_of(vae: DecompositionVAE, name: str, n: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(n)
    shapes = {"x": vae.data_shape, "eps": (2,), "z": (2,)}
    return {
        key: rng.normal(size=(n, *shapes[key])).astype("float32")
        for key in INPUTS[name]
    }


def run_onnx(path: Path, name: str, inputs: dict[str, np.ndarray]) -> Any:
    session = onnxruntime.InferenceSession(path / "onnx" / f"{name}.onnx")
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, inputs), strict=True))


def run_openvino(path: Path, name: str, inputs: dict[str, np.ndarray]) -> Any:
    precise = {"INFERENCE_PRECISION_HINT": "f32"}
    file = path / "openvino" / f"{name}.xml"
    model = openvino.compile_model(file, "CPU", precise)
    return {output.any_name: value for output, value in model(inputs).items()}


def run_litert(path: Path, name: str, inputs: dict[str, np.ndarray]) -> Any:
    interpreter = Interpreter(str(path / "litert" / f"{name}.tflite"))
    return interpreter.get_signature_runner()(**inputs)


RUNTIMES = {"onnx": run_onnx, "openvino": run_openvino, "litert": run_litert}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[DecompositionVAE, Path]:
    """The smallest model in all formats."""
    vae = disturbed(ENCODERS["mlp"][0](), DECODERS["mlp"][0]())
    path = tmp_path_factory.mktemp("models") / "small" / "1"
    export_formats(vae, path, FORMATS)
    return vae, path


def test_numbers_of_the_smallest_model(small: Any) -> None:
    assert_numbers(*small)


@pytest.mark.slow
@pytest.mark.parametrize(("encoder", "decoder"), CASES)
def test_numbers(encoder: str, decoder: str, tmp_path: Path) -> None:
    vae = disturbed(ENCODERS[encoder][0](), DECODERS[decoder][0]())
    export_formats(vae, tmp_path / "1", FORMATS)
    assert_numbers(vae, tmp_path / "1")


def assert_numbers(vae: DecompositionVAE, path: Path) -> None:
    """Runs all files beside the SavedModel, on other inputs than the exporter's."""
    loaded = tf.saved_model.load(str(path))
    for name in SIGNATURES:
        for n in (1, 3, 7):
            inputs = inputs_of(vae, name, n)
            given = {key: tf.constant(value) for key, value in inputs.items()}
            expected = loaded.signatures[name](**given)
            for runtime, run in RUNTIMES.items():
                got = run(path, name, inputs)
                assert got.keys() == expected.keys()
                for key, value in expected.items():
                    np.testing.assert_allclose(
                        got[key], value, 1e-5, 1e-5, err_msg=f"{runtime} {name} {n}"
                    )


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_what_is_not_finite_gives_nan(small: Any, runtime: str) -> None:
    """The other rows stay as they are, whatever a runtime's ReLU makes of NaN."""
    vae, path = small
    for name in SIGNATURES:
        inputs = inputs_of(vae, name, 5)
        expected = RUNTIMES[runtime](path, name, inputs)
        first = next(iter(inputs.values()))
        first[1, 0], first[3, -1] = np.nan, np.inf
        wrong = np.array([False, True, False, True, False])
        for key, value in RUNTIMES[runtime](path, name, inputs).items():
            assert np.isnan(value[wrong]).all(), key
            np.testing.assert_allclose(value[~wrong], expected[key][~wrong], 1e-6)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_noise_is_not_broadcast(small: Any, runtime: str) -> None:
    vae, path = small
    inputs = inputs_of(vae, "encode_sample", 5)
    inputs["eps"] = inputs["eps"][:1]
    with pytest.raises(Exception, match=r"(?i)shape|dim|concat"):
        RUNTIMES[runtime](path, "encode_sample", inputs)


def test_files_and_parity(small: Any) -> None:
    _, path = small
    endings = {"onnx": [".onnx"], "openvino": [".bin", ".xml"], "litert": [".tflite"]}
    for runtime, wanted in endings.items():
        found = sorted(file.name for file in (path / runtime).iterdir())
        assert found == sorted(n + ending for n in SIGNATURES for ending in wanted)
    parity = json.loads((path / "parity.json").read_text())
    assert parity["tolerance"] == 1e-5
    assert set(parity["largest_difference"]) == set(RUNTIMES)
    for of in parity["largest_difference"].values():
        assert set(of) == set(SIGNATURES)
        assert all(0 <= apart <= 1e-5 for apart in of.values())


def test_batches_have_a_name(small: Any) -> None:
    session = onnxruntime.InferenceSession(small[1] / "onnx" / "encode_sample.onnx")
    shapes = {value.name: value.shape for value in session.get_inputs()}
    assert shapes == {"x": ["batch", 3], "eps": ["batch", 2]}


WRONG: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "in the largest batch": lambda v: v + 2e-5 * (len(v) == 7),
    "without NaN": np.nan_to_num,
}


@pytest.mark.parametrize(
    ("name", "wrong"),
    slow_behind(2, list(itertools.product(["onnx", "openvino", "litert"], WRONG))),
)
def test_one_that_differs_is_not_kept(
    name: str, wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check is the runtime's own numbers against TensorFlow's."""
    found = formats._FORMATS[name]

    def opened(folder: Path, signature: str) -> Any:
        run = found.open(folder, signature)
        return lambda x: {k: WRONG[wrong](v) for k, v in run(x).items()}

    monkeypatch.setitem(formats._FORMATS, name, found._replace(open=opened))
    vae = make_vae()
    with pytest.raises(InputError, match="differs from TensorFlow's") as caught:
        export_formats(vae, tmp_path / "model" / "1", [name])
    one_line(caught, name, "encode", "1e-05", f"export without {name}")
    assert not contents(tmp_path / "model")


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.5])
def test_difference(value: float) -> None:
    """NaN and infinity must stand where TensorFlow has them."""
    expected = np.array([1.0, value, 100.0], "float32")
    assert formats._apart(expected.copy(), expected) == 0
    assert formats._apart(expected + [0, 0, 1e-3], expected) == pytest.approx(1e-5, 0.1)
    for other in (np.nan, np.inf, -np.inf, 0.25):
        got = np.array([1.0, other, 100.0], "float32")
        same = np.isnan(other) and np.isnan(value) or other == value
        assert (formats._apart(got, expected) <= 1e-5) == same
    assert np.isnan(formats._apart(expected[:2], expected))


@pytest.mark.slow
def test_signature_that_litert_lacks_is_left_out(tmp_path: Path) -> None:
    """The decoder of a posterior that a runtime does not know is kept."""
    vae = make_vae(encoder=UserEncoder("tril"))
    with pytest.warns(UserWarning, match="left out|leaves") as caught:
        export_formats(vae, tmp_path / "1", ["litert"])
    said = [str(warning.message) for warning in caught]
    assert any("leaves encode_sample out" in message for message in said)
    assert any("litert: encode is left out" in message for message in said)
    assert all("\n" not in message and len(message) < 400 for message in said)
    files = [file.name for file in (tmp_path / "1" / "litert").iterdir()]
    assert files == ["decode.tflite"]
    parity = json.loads((tmp_path / "1" / "parity.json").read_text())
    assert set(parity["largest_difference"]["litert"]) == {"decode"}


def test_decoder_that_cannot_be_converted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(folder: Path, name: str, function: Any) -> None:
        raise ValueError("first line\nsecond line")

    failing = formats._FORMATS["onnx"]._replace(write=fail)
    monkeypatch.setitem(formats._FORMATS, "onnx", failing)
    with (
        pytest.warns(UserWarning, match="encode"),
        pytest.raises(InputError, match="onnx: decode cannot be converted") as caught,
    ):
        export_formats(make_vae(), tmp_path / "model" / "1", ["onnx"])
    one_line(caught, "first line second line")
    assert not contents(tmp_path / "model")


# -- what is refused before anything is made -----------------------------------------


@pytest.mark.parametrize("wrong", [["onnx", "torch"], "onnx", ["ONNX"], [None]])
def test_unknown_format(wrong: Any, tmp_path: Path) -> None:
    for export in (
        lambda: export_formats(make_vae(), tmp_path / "1", wrong),
        lambda: export_run(tmp_path / "run", tmp_path / "served", wrong),
    ):
        with pytest.raises(InputError, match="formats: expected a list") as caught:
            export()
        one_line(caught, "saved_model, onnx, openvino, litert")
    assert not contents(tmp_path)


@pytest.mark.parametrize(
    ("name", "package"),
    [
        ("onnx", "tf2onnx"),
        ("onnx", "onnxruntime"),
        ("openvino", "openvino"),
        ("litert", "ai_edge_litert"),
    ],
)
def test_runtime_that_is_not_installed(
    name: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    for export in (
        lambda: export_formats(make_vae(), tmp_path / "1", [name]),
        lambda: export_run(tmp_path / "run", tmp_path / "served", [name]),
    ):
        with pytest.raises(InputError, match="is not installed") as caught:
            export()
        one_line(caught, name, package, "tf-decomp[serving]")
    assert not contents(tmp_path)


def test_export_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for path in (tmp_path / "file", tmp_path / "file" / "1"):
        with pytest.raises(InputError) as caught:
            export_formats(make_vae(), path, ["onnx"])
        one_line(caught, str(path))
    assert contents(tmp_path) == {"file": b"mine"}


def test_next_version(tmp_path: Path) -> None:
    assert next_version(tmp_path / "none") == tmp_path / "none" / "1"
    assert next_version(tmp_path) == tmp_path / "1"
    for name in ("1", "9", "10", "11.5", "x12", ".123-13", "openvino"):
        (tmp_path / name).mkdir()
    (tmp_path / "14").write_text("a file has a number too")
    assert next_version(tmp_path) == tmp_path / "15"
