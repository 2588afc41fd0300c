# SPDX-License-Identifier: Apache-2.0
"""docs/serving.md: its programs run, its requests are the signatures' own.

The server is a stand-in that knows the SavedModel and the two protocols.
"""

import json
import re
import shlex
import threading
from collections.abc import Iterator
from concurrent import futures
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import server_requests
import tensorflow as tf
from google.protobuf import text_format
from tensorflow_serving.apis import (
    predict_pb2,
    prediction_log_pb2,
    prediction_service_pb2_grpc,
)

from tf_decomp.export import warm_up

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", TEXT, flags=re.DOTALL)
PROGRAMS = [block for language, block in BLOCKS if language == "python"]
# Of the programs behind the first: what each computes.
RESULTS = [
    (1, "outputs", (2, 2)),  # REST
    (2, "mean", (3, 2)),  # gRPC
    (3, "loc", (3, 2)),  # ONNX Runtime
    (4, "mean", (3, 2)),  # OpenVINO
    (5, "z", (3, 2)),  # LiteRT
    (6, "x", (5, 2)),  # TensorFlow
]


def lines_of(wanted: str) -> list[str]:
    (block,) = [block for language, block in BLOCKS if language == wanted]
    return block.splitlines()


def ask(loaded: Any, name: str, inputs: dict[str, Any]) -> dict[str, np.ndarray]:
    """Answers a request as a server does: it must name all inputs and no other."""
    signature = loaded.signatures[name]
    specs = signature.structured_input_signature[1]
    assert inputs.keys() == specs.keys()
    tensors = {key: tf.constant(inputs[key], spec.dtype) for key, spec in specs.items()}
    return {key: value.numpy() for key, value in signature(**tensors).items()}


class Server:
    """Speaks REST and gRPC for one model on free ports."""

    def __init__(self, loaded: Any) -> None:
        class Rest(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert self.path == "/v1/models/pinwheel:predict"
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                given = ask(loaded, body["signature_name"], body["inputs"])
                columns = {key: value.tolist() for key, value in given.items()}
                outputs = columns if len(columns) > 1 else next(iter(columns.values()))
                self.send_response(200)
                self.end_headers()
                self.wfile.write(json.dumps({"outputs": outputs}).encode())

            def log_message(self, *arguments: Any) -> None:
                pass

        class Grpc(prediction_service_pb2_grpc.PredictionServiceServicer):
            def Predict(self, request: Any, context: Any) -> Any:
                answer = predict_pb2.PredictResponse()
                for key, value in predict(loaded, request).items():
                    answer.outputs[key].CopyFrom(tf.make_tensor_proto(value))
                return answer

        self.rest = HTTPServer(("localhost", 0), Rest)
        threading.Thread(target=self.rest.serve_forever, daemon=True).start()
        self.grpc = grpc.server(futures.ThreadPoolExecutor(1))
        service = prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server
        service(Grpc(), self.grpc)
        self.ports = {
            ":8501": f":{self.rest.server_port}",
            ":8500": f":{self.grpc.add_insecure_port('localhost:0')}",
        }
        self.grpc.start()

    def close(self) -> None:
        self.rest.shutdown()
        self.rest.server_close()
        self.grpc.stop(None).wait(10)


def predict(loaded: Any, request: Any) -> dict[str, np.ndarray]:
    assert request.model_spec.name == "pinwheel"
    inputs = {key: tf.make_ndarray(value) for key, value in request.inputs.items()}
    return ask(loaded, request.model_spec.signature_name, inputs)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the first program has exported its model in all formats."""
    folder = tmp_path_factory.mktemp("docs")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        exec(compile(PROGRAMS[0], "serving.md", "exec"), {})
    return folder


@pytest.fixture(scope="module")
def loaded(folder: Path) -> Any:
    return tf.saved_model.load(str(folder / "saved_models" / "pinwheel" / "1"))


@pytest.fixture
def server(loaded: Any) -> Iterator[Server]:
    server = Server(loaded)
    yield server
    server.close()


@pytest.mark.parametrize(("number", "name", "shape"), RESULTS)
def test_program(
    number: int,
    name: str,
    shape: tuple[int, ...],
    folder: Path,
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(folder)
    program, names = PROGRAMS[number], {}
    for port, other in server.ports.items():
        program = program.replace(port, other)
    exec(compile(program, "serving.md", "exec"), names)
    result = names[name]["loc"] if name == "outputs" else names[name]
    assert np.shape(result) == shape
    assert np.isfinite(result).all()


def test_no_program_is_left_out() -> None:
    assert [number for number, *_ in RESULTS] == list(range(1, len(PROGRAMS)))


def test_rest_bodies_are_of_the_signatures(loaded: Any) -> None:
    expected = [server_requests.rest(*of) for of in server_requests.examples(loaded)]
    assert lines_of("json") == expected
    for line in expected:
        body = json.loads(line)
        outputs = ask(loaded, body["signature_name"], body["inputs"])
        assert all(np.isfinite(value).all() for value in outputs.values())


def test_grpc_requests_are_of_the_signatures(loaded: Any) -> None:
    expected = [server_requests.grpc(*of) for of in server_requests.examples(loaded)]
    assert lines_of("textproto") == expected
    for line in expected:
        request = text_format.Parse(line, predict_pb2.PredictRequest())
        outputs = predict(loaded, request)
        assert all(np.isfinite(value).all() for value in outputs.values())


def test_docker_mounts_the_folder_of_versions(folder: Path) -> None:
    """What stands behind -v is what TensorFlow Serving looks for."""
    (block,) = [block for language, block in BLOCKS if language == "sh"]
    words = shlex.split(block.replace("\\\n", " "))
    assert words[:2] == ["docker", "run"]
    place, inside = words[words.index("-v") + 1].split(":")
    model = words[words.index("-e") + 1]
    assert inside == f"/models/{model.removeprefix('MODEL_NAME=')}"
    assert model == f"MODEL_NAME={server_requests.MODEL}"
    versions = Path(place.replace("$PWD", str(folder)))
    assert [path.name for path in versions.iterdir()] == ["1"]
    assert (versions / "1" / "saved_model.pb").is_file()


def test_files_are_those_of_the_page(folder: Path) -> None:
    version = folder / "saved_models" / "pinwheel" / "1"
    for file in version.rglob("*"):
        if file.is_file() and file.parent.name in ("onnx", "openvino", "litert"):
            assert file.parent.name + "/" in TEXT
            assert file.stem in ("encode", "encode_sample", "decode")
            assert file.suffix in TEXT


# -- warm-up -------------------------------------------------------------------------


def test_warm_up_requests(loaded: Any, folder: Path) -> None:
    """Each signature is asked once for one example, in the server's own protocol."""
    extra = folder / "saved_models" / "pinwheel" / "1" / "assets.extra"
    records = tf.data.TFRecordDataset(str(extra / "tf_serving_warmup_requests"))
    asked = []
    for record in records.as_numpy_iterator():
        log = prediction_log_pb2.PredictionLog.FromString(record)
        assert log.WhichOneof("log_type") == "predict_log"
        request = log.predict_log.request
        inputs = {key: tf.make_ndarray(value) for key, value in request.inputs.items()}
        name = request.model_spec.signature_name
        outputs = ask(loaded, name, inputs)
        assert all(len(value) == 1 for value in outputs.values())
        asked.append(name)
        # Nothing else is in it.
        known = prediction_log_pb2.PredictionLog()
        known.predict_log.request.model_spec.name = "model"
        known.predict_log.request.model_spec.signature_name = name
        for key, tensor in request.inputs.items():
            known.predict_log.request.inputs[key].CopyFrom(tensor)
        assert log == known
    assert {*asked, "serving_default"} == set(loaded.signatures)
    assert len(asked) == len(set(asked))


@pytest.mark.parametrize("length", [0, 1, 127, 128, 300, 20_000])
def test_messages_of_any_length(length: int) -> None:
    """Lengths above 127 take several bytes."""
    text = "x" * length
    message = warm_up._message((1, warm_up._message((1, text.encode()))))
    parsed = predict_pb2.PredictRequest.FromString(message)
    assert parsed.model_spec.name == text
