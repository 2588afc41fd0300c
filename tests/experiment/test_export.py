# SPDX-License-Identifier: Apache-2.0
"""Exports: signatures, their numbers, and a process that knows TensorFlow alone."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from cases import DECODERS, ENCODERS, UserEncoder, make_vae
from processes import run_python
from runs import contents, one_line

from tf_decomp import (
    DecompositionVAE,
    ExperimentConfig,
    InputError,
    MLPEncoder,
    NormalMixturePrior,
    NormalPosterior,
    NormalPrior,
    SpikeAndSlabPrior,
    build_vae,
    export_saved_model,
    load_encoder,
)
from tf_decomp.experiment.model_card import export_run
from tf_decomp.experiment.run_files import RunFiles
from tf_decomp.export import Exported
from tf_decomp.files import write_json, write_text

tfd = tfp.distributions
# Keras asks NumPy to convert TensorFlow's variables, which do not know `copy` yet.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't")

SIGNATURES = (
    "encode",
    "encode_sample",
    "decode",
    "sample_prior",
    "generate",
    "log_prob_prior",
)
WITHOUT_NOISE = set(SIGNATURES[:3])
TRIL = np.array([[1.0, 0.0], [0.5, 2.0]], "float32")
# Op types of TensorFlow that draw numbers, stateless or not.
RANDOM = re.compile(r"(?i)random|multinomial|rng|bernoulli|poisson|binomial|truncated")


def mlp_mixture() -> DecompositionVAE:
    return make_vae(prior=NormalMixturePrior([[0, 1], [3, 0]], 0.3, learnable=True))


def laplace_learnt() -> DecompositionVAE:
    prior = NormalPrior(2, variances=[0.25, 4.0], learnable=True)
    return make_vae(prior, MLPEncoder(2, hidden=(4,), posterior="laplace"))


def tril_fixed() -> DecompositionVAE:
    """A posterior without loc and scale, a prior that no class of ours is."""
    loc = tf.constant([0.5, -0.5])
    prior = tfd.Independent(tfd.Laplace(loc, tf.constant([1.0, 2.0])), 1)
    return make_vae(prior, UserEncoder("tril"))


def images_batch_norm() -> DecompositionVAE:
    encoder, _ = ENCODERS["conv_batch_norm"]
    decoder, _ = DECODERS["conv_batch_norm"]
    return make_vae(SpikeAndSlabPrior(2), encoder(), decoder())


CASES: dict[str, Callable[[], DecompositionVAE]] = {
    "mlp_mixture": mlp_mixture,
    "laplace_learnt": laplace_learnt,
    "tril_fixed": tril_fixed,
    "images_batch_norm": images_batch_norm,
}


class Export(NamedTuple):
    vae: DecompositionVAE
    path: Path
    loaded: Any


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("saved_models")


@pytest.fixture(scope="module")
def exports(folder: Path) -> dict[str, Export]:
    results = {}
    for name, make in CASES.items():
        vae, path = make(), folder / name / "1"
        disturb(vae)
        no_sample = pytest.warns(UserWarning, match="leaves encode_sample out")
        with no_sample if name == "tril_fixed" else nullcontext():
            export_saved_model(vae, path)
        results[name] = Export(vae, path, tf.saved_model.load(str(path)))
    return results


@pytest.fixture(params=[name for name in CASES if name != "tril_fixed"])
def sampling(request: pytest.FixtureRequest, exports: dict[str, Export]) -> Export:
    """An export of a posterior with loc and scale."""
    return exports[request.param]


@pytest.fixture(params=CASES)
def export(request: pytest.FixtureRequest, exports: dict[str, Export]) -> Export:
    return exports[request.param]


def disturb(vae: DecompositionVAE) -> None:
    """Moves all weights, so that no output is what an untrained model gives."""
    rng = np.random.default_rng(7)
    for weight in [*vae.encoder.weights, *vae.decoder.weights]:
        weight.assign_add(rng.uniform(0.0, 0.2, weight.shape))


def data_of(vae: DecompositionVAE, n: int) -> np.ndarray:
    x = np.random.default_rng(n).uniform(size=(n, *vae.data_shape))
    return x.astype("float32")


def codes(n: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, 2)).astype("float32")


def loc_and_scale(vae: DecompositionVAE, x: np.ndarray) -> tuple[Any, Any]:
    """Returns the parameters that the posterior was made of, or its moments."""
    posterior = vae.encode(x)
    if isinstance(posterior, tfd.Independent):
        return posterior.distribution.loc, posterior.distribution.scale
    return posterior.mean(), posterior.stddev()


# -- what is in it ------------------------------------------------------------------


def test_every_weight_is_there_once(tmp_path: Path) -> None:
    vae = make_vae(encoder=MLPEncoder(2, hidden=(20_000,)))
    export_saved_model(vae, tmp_path / "1")
    weights = sum(weight.numpy().nbytes for weight in vae.weights)
    kept = sum(path.stat().st_size for path in tmp_path.glob("1/variables/*.data-*"))
    assert weights < kept < 1.1 * weights


class Lookup(keras.Model):
    """An encoder that looks data up in a table."""

    def __init__(self, table: Any) -> None:
        super().__init__()
        self.table, self.dense = table, keras.layers.Dense(4)
        self.head = NormalPosterior(2)

    def call(self, x: tf.Tensor) -> tfd.Distribution:
        look = self.table if callable(self.table) else self.table.lookup
        return self.head(self.dense(x + tf.cast(look(tf.cast(x, tf.int64)), x.dtype)))


def test_tables_of_an_encoder_are_in_it(tmp_path: Path) -> None:
    keys, values = tf.constant([0, 1], tf.int64), tf.constant([5.0, 7.0])
    pairs = tf.lookup.KeyValueTensorInitializer(keys, values)
    tables = {
        "tensorflow": tf.lookup.StaticHashTable(pairs, 0.0),
        "keras": keras.layers.IntegerLookup(vocabulary=[1, 0]),
    }
    for name, table in tables.items():
        vae = make_vae(encoder=Lookup(table))
        export_saved_model(vae, tmp_path / name / "1")
        x = 2 * data_of(vae, 5)
        loc = load_encoder(tmp_path / name).encode(x)["loc"]
        np.testing.assert_allclose(loc, vae.encode(x).mean(), rtol=1e-5, atol=1e-6)


# -- signatures ---------------------------------------------------------------------


def test_names_inputs_and_outputs(export: Export) -> None:
    vae, _, loaded = export
    x, z = {"x": [None, *vae.data_shape]}, {"z": [None, 2]}
    request: dict[str, list[Any]] = {"n": [], "seed": []}
    expected: dict[str, tuple[dict[str, list[Any]], dict[str, list[Any]]]] = {
        "encode": (x, {"loc": [None, 2], "scale": [None, 2]}),
        "encode_sample": ({**x, "eps": [None, 2]}, z),
        "decode": (z, {"mean": [None, *vae.data_shape]}),
        "sample_prior": (request, z),
        "generate": (request, x),
        "log_prob_prior": (z, {"log_prob": [None]}),
    }
    if isinstance(vae.encoder, UserEncoder):
        del expected["encode_sample"]
    expected["serving_default"] = expected["encode"]
    assert set(loaded.signatures) == set(expected)
    for name, (inputs, outputs) in expected.items():
        signature = loaded.signatures[name]
        _, given = signature.structured_input_signature
        assert {k: v.shape.as_list() for k, v in given.items()} == inputs, name
        for key, spec in given.items():
            kind = tf.int32 if key in ("n", "seed") else tf.float32
            assert spec.dtype == kind
        assert signature.structured_outputs.keys() == outputs.keys(), name
        for key, spec in signature.structured_outputs.items():
            assert spec.dtype == tf.float32
            assert spec.shape.is_compatible_with(outputs[key]), (name, key)


def ops_of(function: Any) -> set[str]:
    """Returns the op types of a function and of all functions that it reaches."""
    graph = function.graph.as_graph_def()
    library = {f.signature.name: f for f in graph.library.function}
    ops: set[str] = set()
    seen: set[str] = set()
    pending = list(graph.node)
    while pending:
        node = pending.pop()
        ops.add(node.op)
        names = {node.op}
        for value in node.attr.values():
            names |= {value.func.name, *(f.name for f in value.list.func)}
        for name in (names & library.keys()) - seen:
            seen.add(name)
            pending.extend(library[name].node_def)
    return ops


def test_what_other_runtimes_run_draws_no_numbers(export: Export) -> None:
    for name in sorted(export.loaded.signatures.keys() & WITHOUT_NOISE):
        ops = ops_of(export.loaded.signatures[name])
        assert {"MatMul", "BatchMatMulV2", "Conv2D", "Einsum"} & ops, ops
        assert not [op for op in ops if RANDOM.search(op)], name
    for name in ("sample_prior", "generate"):
        ops = ops_of(export.loaded.signatures[name])
        assert [op for op in ops if RANDOM.search(op)], name


@pytest.mark.parametrize("n", [1, 7])
def test_encode_and_decode(export: Export, n: int) -> None:
    vae, _, loaded = export
    x, z = data_of(vae, n), codes(n, 3)
    loc, scale = loc_and_scale(vae, x)
    for name in ("encode", "serving_default"):
        parts = loaded.signatures[name](x=tf.constant(x))
        np.testing.assert_allclose(parts["loc"], loc, atol=1e-5)
        np.testing.assert_allclose(parts["scale"], scale, atol=1e-5)
    mean = loaded.signatures["decode"](z=tf.constant(z))["mean"]
    np.testing.assert_allclose(mean, vae.decode(z).mean(), atol=1e-5)


@pytest.mark.parametrize("n", [1, 7])
def test_encode_sample(sampling: Export, n: int) -> None:
    vae, _, loaded = sampling
    x, eps = data_of(vae, n), codes(n, 2)
    loc, scale = loc_and_scale(vae, x)
    drawn = loaded.signatures["encode_sample"](x=tf.constant(x), eps=tf.constant(eps))
    np.testing.assert_allclose(drawn["z"], loc + scale * eps, atol=1e-5)


def test_scale_is_the_family_s_own(exports: dict[str, Export]) -> None:
    """Laplace noise of scale 1 has the standard deviation sqrt(2)."""
    vae, _, loaded = exports["laplace_learnt"]
    x = data_of(vae, 5)
    scale = loaded.signatures["encode"](x=tf.constant(x))["scale"]
    np.testing.assert_allclose(np.sqrt(2.0) * scale, vae.encode(x).stddev(), rtol=1e-5)


def test_prior(export: Export) -> None:
    vae, _, loaded = export
    prior, z = vae.prior.distribution, codes(9)
    got = loaded.signatures["log_prob_prior"](z=tf.constant(z))["log_prob"]
    np.testing.assert_allclose(got, prior.log_prob(z), rtol=1e-5, atol=1e-5)

    def draw(n: int, seed: int) -> np.ndarray:
        call = loaded.signatures["sample_prior"]
        return call(n=tf.constant(n), seed=tf.constant(seed))["z"].numpy()

    samples = draw(4_000, 0)
    assert samples.shape == (4_000, 2)
    np.testing.assert_array_equal(samples, draw(4_000, 0))
    assert np.mean(samples == draw(4_000, 1)) < 0.01
    for power in (1, 2):
        # The noise of `prior` is independent: the difference has both errors.
        other = prior.sample(4_000, seed=[1, 2]).numpy() ** power
        ours = samples**power
        error = np.hypot(ours.std(0), other.std(0)) / np.sqrt(4_000)
        assert np.all(np.abs(ours.mean(0) - other.mean(0)) < 5 * error)


def test_generate_decodes_samples_of_the_prior(export: Export) -> None:
    vae, _, loaded = export
    inputs = {"n": tf.constant(3), "seed": tf.constant(5)}
    z = loaded.signatures["sample_prior"](**inputs)["z"]
    x = loaded.signatures["generate"](**inputs)["x"]
    assert x.shape == (3, *vae.data_shape)
    np.testing.assert_allclose(x, vae.decode(z).mean(), atol=1e-5)


def test_signatures_are_methods_too(exports: dict[str, Export]) -> None:
    vae, path, _ = exports["mlp_mixture"]
    encoder, x = load_encoder(path), data_of(vae, 4)
    assert all(callable(getattr(encoder, name)) for name in SIGNATURES)
    np.testing.assert_allclose(encoder.encode(x)["loc"], vae.encode(x).mean(), 1e-5)


# -- posteriors that do not give all ---------------------------------------------------


@keras.saving.register_keras_serializable("tests")
class FlowEncoder(UserEncoder):
    """An affine flow, of which TFP knows the mean but no standard deviation."""

    def call(self, x: Any, training: bool = False) -> Any:
        inner = super().call(x, training)
        return tfd.TransformedDistribution(inner, tfp.bijectors.ScaleMatvecTriL(TRIL))


def test_sample_of_a_posterior_without_loc_and_scale(
    exports: dict[str, Export],
) -> None:
    encoder = load_encoder(exports["tril_fixed"].path)
    with pytest.raises(InputError, match="encode_sample: was left out") as caught:
        encoder.encode_sample(data_of(exports["tril_fixed"].vae, 1), codes(1))
    one_line(caught)


def test_posterior_without_a_standard_deviation(tmp_path: Path) -> None:
    vae = make_vae(encoder=FlowEncoder())
    with pytest.warns(UserWarning, match="leaves encode and encode_sample out"):
        export_saved_model(vae, tmp_path / "1")
    loaded = tf.saved_model.load(str(tmp_path / "1"))
    assert set(loaded.signatures) == {*SIGNATURES[2:], "serving_default"}
    mean = load_encoder(tmp_path).decode(codes(3))["mean"]
    np.testing.assert_allclose(mean, vae.decode(codes(3)).mean(), atol=1e-5)


# -- hostile requests -----------------------------------------------------------------


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_gives_nan(export: Export, bad: float) -> None:
    """ReLU in a graph gives 0 of NaN; the other rows stay as they are."""
    vae, _, loaded = export
    x, eps, z = data_of(vae, 5), codes(5, 2), codes(5, 3)
    expected = ask(loaded, x, eps, z)
    x[1].flat[0], x[3] = bad, bad
    z[1, 0], z[3] = bad, bad
    wrong = np.array([False, True, False, True, False])
    got_all = ask(loaded, x, eps, z)
    if not np.isnan(bad):
        del got_all["log_prob"]  # of infinity it is minus infinity
    for name, got in got_all.items():
        assert np.isnan(got[wrong]).all(), name
        np.testing.assert_array_equal(got[~wrong], expected[name][~wrong])


def ask(loaded: Any, x: Any, eps: Any, z: Any) -> dict[str, np.ndarray]:
    """Returns what the signatures without noise give."""
    x, eps, z = map(tf.constant, (x, eps, z))
    parts = loaded.signatures["encode"](x=x)
    sample = loaded.signatures.get("encode_sample", lambda x, eps: {})
    drawn = sample(x=x, eps=eps)
    mean = loaded.signatures["decode"](z=z)
    prior = loaded.signatures["log_prob_prior"](z=z)
    return {k: v.numpy() for k, v in (parts | drawn | mean | prior).items()}


def test_noise_is_not_broadcast(sampling: Export) -> None:
    """Nor by a runtime that does not compare shapes with the signature."""
    vae, _, loaded = sampling
    x = tf.constant(data_of(vae, 5))
    sample = loaded.signatures["encode_sample"]
    for shape in ([1, 2], [2, 2], [5, 1], [1, 1], [6, 2], [2], [], [5, 2, 1]):
        with pytest.raises((tf.errors.InvalidArgumentError, TypeError, ValueError)):
            sample(x=x, eps=tf.zeros(shape))
        with pytest.raises(tf.errors.InvalidArgumentError):
            in_graph(sample, x=x, eps=tf.zeros(shape))
    for n in (1, 5):
        x = tf.constant(data_of(vae, n))
        assert in_graph(sample, x=x, eps=tf.zeros([n, 2])).shape == (n, 2)


def in_graph(signature: Any, **inputs: tf.Tensor) -> np.ndarray:
    """Calls a signature as a server does: its graph alone looks at the shapes."""
    ordered = [inputs[name] for name in sorted(inputs)]
    (value,) = signature._call_flat(ordered, signature.captured_inputs).values()
    return value.numpy()


@pytest.mark.parametrize("name", ["sample_prior", "generate"])
def test_requests_have_limits(export: Export, name: str) -> None:
    _, _, loaded = export

    def request(n: int) -> np.ndarray:
        call = loaded.signatures[name]
        (value,) = call(n=tf.constant(n), seed=tf.constant(0)).values()
        return value.numpy()

    assert request(0).shape[0] == 0
    assert request(1).shape[0] == 1
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        request(-1)
    most = int(
        re.search(r"n must be from 0 to (\d+); received\] \[-1\]", str(caught.value))[1]
    )
    assert 1_000 < most < 10**8
    for n in (-(2**31), most + 1, 10**8, 2**31 - 1):
        with pytest.raises(tf.errors.InvalidArgumentError, match="n must be from 0 to"):
            request(n)


REQUESTS: list[tuple[str, tuple[Any, ...], str]] = [
    ("encode", (np.zeros((5, 9)),), "encode: x must be float32 of shape [None, 3]"),
    ("encode", (np.zeros(3),), "shape (3,)"),
    ("encode", (["a", "b"],), "encode: x must be"),
    ("encode", (None,), "encode: x must be"),
    ("encode", (np.zeros((5, 3), complex),), "complex128"),
    ("encode", (), "encode: expected x; received 0 arguments"),
    ("encode_sample", (np.zeros((5, 3)), np.zeros((1, 2))), "must match"),
    ("encode_sample", (np.zeros((5, 3)),), "expected x, eps; received 1"),
    ("decode", (np.zeros((5, 1)),), "decode: z must be float32 of shape [None, 2]"),
    ("sample_prior", (-1, 0), "n must be from 0 to"),
    ("sample_prior", (1.5, 0), "sample_prior: n must be int32 of shape []"),
    ("sample_prior", (np.float64(1.5), 0), "sample_prior: n must be"),
    ("sample_prior", (np.int64(2**32 + 5), 0), "sample_prior: n must be"),
    ("sample_prior", (2**40, 0), "sample_prior: n must be"),
    ("sample_prior", (True, 0), "sample_prior: n must be"),
    ("sample_prior", ([1, 2], 0), "sample_prior: n must be"),
    ("generate", (10**9, 0), "n must be from 0 to"),
    ("generate", (1, "seed"), "generate: seed must be"),
]


@pytest.mark.parametrize(("name", "values", "said"), REQUESTS, ids=str)
def test_methods_refuse_in_one_line(
    exports: dict[str, Export], name: str, values: tuple[Any, ...], said: str
) -> None:
    encoder = load_encoder(exports["mlp_mixture"].path)
    with pytest.raises(InputError) as caught:
        getattr(encoder, name)(*values)
    one_line(caught, said)


def test_methods_take_arrays_lists_and_numbers(exports: dict[str, Export]) -> None:
    vae, path, _ = exports["mlp_mixture"]
    encoder, x = load_encoder(path), data_of(vae, 4)
    expected = encoder.encode(x)["loc"]
    for same in (x.astype("float64"), x.tolist(), tf.constant(x), x.astype("float16")):
        np.testing.assert_allclose(encoder.encode(same)["loc"], expected, atol=1e-2)
    for n in (3, np.int64(3), np.array(3), tf.constant(3)):
        assert encoder.generate(n, 0)["x"].shape == (3, 3)
    with pytest.raises(AttributeError, match="encode_sample"):
        encoder.transform(x)


# -- a process of its own -----------------------------------------------------------

CLIENT = """
import json, os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import numpy as np
import tensorflow as tf

folder = sys.argv[1]
results = {}
with np.load(os.path.join(folder, "inputs.npz")) as inputs:
    for key, x in inputs.items():
        name = key.partition("/")[0]
        model = tf.saved_model.load(os.path.join(folder, name, "1"))
        parts = model.signatures["encode"](x=tf.constant(x))
        z = parts["loc"] + parts["scale"]
        if "encode_sample" in model.signatures:
            eps = tf.ones_like(z)
            z = model.signatures["encode_sample"](x=tf.constant(x), eps=eps)["z"]
        mean = model.signatures["decode"](z=z)["mean"]
        n, seed = tf.constant(3), tf.constant(1)
        made = model.signatures["generate"](n=n, seed=seed)["x"]
        prior = model.signatures["log_prob_prior"](z=z)["log_prob"]
        results |= {f"{key}/{k}": v for k, v in parts.items()}
        results |= {f"{key}/mean": mean, f"{key}/made": made, f"{key}/prior": prior}
np.savez(os.path.join(folder, "outputs.npz"), **results)
os.chdir(folder)
for block in json.load(open("blocks.json")):
    exec(block, {})
ours = [m for m in sys.modules if m.split(".")[0] in
        ("tf_decomp", "tensorflow_probability", "tf_keras")]
sys.exit(f"imported: {ours}" if ours else 0)
"""


def test_process_that_knows_tensorflow_alone(
    exports: dict[str, Export], card: Path, folder: Path
) -> None:
    inputs = {
        f"{name}/{n}": data_of(export.vae, n)
        for name, export in exports.items()
        for n in (1, 7)
    }
    np.savez(folder / "inputs.npz", **inputs)  # type: ignore[arg-type]
    # What the model card says to type is tried as well.
    blocks = re.findall(r"```python\n(.*?)```", card.read_text("utf-8"), re.DOTALL)
    assert blocks
    (folder / "blocks.json").write_text(json.dumps(blocks))
    run_python("-c", CLIENT, folder, cwd=folder)
    with np.load(folder / "outputs.npz") as outputs:
        for key, x in inputs.items():
            vae = exports[key.partition("/")[0]].vae
            loc, scale = loc_and_scale(vae, x)
            close = partial(np.testing.assert_allclose, atol=1e-5, err_msg=key)
            close(outputs[f"{key}/loc"], loc)
            close(outputs[f"{key}/scale"], scale)
            z = loc + scale
            close(outputs[f"{key}/mean"], vae.decode(z).mean())
            close(outputs[f"{key}/prior"], vae.prior.distribution.log_prob(z), 1e-5)
            assert outputs[f"{key}/made"].shape == (3, *vae.data_shape)


# -- paths --------------------------------------------------------------------------


def test_nothing_is_exported_over(exports: dict[str, Export]) -> None:
    vae, path, _ = exports["mlp_mixture"]
    before = contents(path)
    with pytest.raises(InputError, match="already exists") as caught:
        export_saved_model(vae, path)
    one_line(caught, str(path))
    assert contents(path) == before


def test_failed_export_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(model: Any, path: str, *arguments: Any, **others: Any) -> None:
        write_text(Path(path) / "saved_model.pb", "half")
        raise KeyboardInterrupt

    monkeypatch.setattr(tf.saved_model, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        export_saved_model(mlp_mixture(), tmp_path / "name" / "1")
    assert set(contents(tmp_path)) <= {"name"}


@pytest.mark.parametrize("name", ["file/1", "file/below/1", "link"])
def test_export_below_a_file(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    before = contents(tmp_path)
    with pytest.raises(InputError) as caught:
        export_saved_model(mlp_mixture(), tmp_path / name)
    one_line(caught, str(tmp_path / name))
    assert contents(tmp_path) == before


def test_leftovers_of_killed_exports_go(tmp_path: Path) -> None:
    dead = subprocess.Popen(["true"])
    dead.wait()
    for owner in (dead.pid, 1):  # the second runs: its export is under way
        (tmp_path / f".{owner}-1").mkdir()
        (tmp_path / f".{owner}-2").mkdir()
    export_saved_model(mlp_mixture(), tmp_path / "1")
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"1", ".1-1", ".1-2", f".{dead.pid}-2"}


def test_load_encoder_finds_the_newest(
    exports: dict[str, Export], tmp_path: Path
) -> None:
    for version, name in (("9", "laplace_learnt"), ("10", "mlp_mixture")):
        (tmp_path / version).symlink_to(exports[name].path)
    (tmp_path / "README.md").write_text("a card")
    vae = exports["mlp_mixture"].vae
    x = data_of(vae, 3)
    for path in (tmp_path, str(tmp_path), tmp_path / "10"):
        # In one expression: what is loaded must outlive the name that it has not.
        loc = load_encoder(path).encode(x)["loc"]
        np.testing.assert_allclose(loc, vae.encode(x).mean(), atol=1e-5)


@pytest.mark.parametrize("name", ["missing", "file", "empty", "half", "run/1"])
def test_load_encoder_of_something_else(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "empty").mkdir()
    (tmp_path / "half" / "1").mkdir(parents=True)
    with pytest.raises(InputError, match="holds no SavedModel") as caught:
        load_encoder(tmp_path / name)
    one_line(caught, str(tmp_path / name))


# -- export of a run ------------------------------------------------------------------


METRICS: dict[str, dict[str, Any]] = {
    "test/elbo": {"value": -1.23456, "standard_error": 0.25, "n": 9},
}


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder with what its export needs."""
    folder = tmp_path_factory.mktemp("runs") / "mine"
    files = RunFiles(folder)
    config = ExperimentConfig(
        dataset=f"npz:{folder}/data.npz",
        data_dir=f"{folder}/data",
        beta=0.75,
        hidden=(4,),
        output_dir=str(folder),
    )
    vae = build_vae(config, [3])
    write_text(files.config, config.to_flags())
    vae.save(files.model)
    write_json(files.metrics, METRICS)
    return folder


@pytest.fixture(scope="module")
def card(folder: Path, run_dir: Path) -> Path:
    target = export_run(run_dir, folder / "of_a_run")
    assert target == folder / "of_a_run" / "1"
    return folder / "of_a_run" / "README.md"


def test_model_card(card: Path, run_dir: Path, folder: Path) -> None:
    text = card.read_text(encoding="utf-8")
    assert text.startswith("# of_a_run\n")
    assert all(f"`{name}`" in text for name in SIGNATURES)
    assert "Other runtimes" not in text
    assert "--beta=0.75\n" in text
    assert "--hidden=4\n" in text
    assert "| test/elbo | -1.2346 | 0.2500 | 9 |" in text
    # Nothing says where it was made.
    for place in (run_dir, folder, Path.cwd()):
        assert str(place) not in text
    assert "--output_dir" not in text
    # The name of the data stays.
    assert "data.npz" in text


def no_files(vae: DecompositionVAE, folder: Path, formats: Any) -> Exported:
    folder.mkdir()
    return Exported(["encode"], {})


def test_model_card_of_one_test_example(
    run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One example has no standard error."""
    monkeypatch.setattr("tf_decomp.experiment.model_card.write_formats", no_files)
    shutil.copytree(run_dir, tmp_path / "run")
    results = {"test/kl": {"value": 2.5, "standard_error": float("nan"), "n": 1}}
    write_json(RunFiles(tmp_path / "run").metrics, results)
    export_run(tmp_path / "run", tmp_path / "served")
    text = (tmp_path / "served" / "README.md").read_text(encoding="utf-8")
    assert "| test/kl | 2.5000 |" in text
    assert "None" not in text


def test_model_card_of_other_runtimes(
    run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(vae: DecompositionVAE, folder: Path, formats: Any) -> Exported:
        for name in ("decode.xml", "decode.bin", "encode.xml"):
            write_text(folder / "openvino" / name, "x" * 1000)
        return Exported(["decode"], {"openvino": {"decode": 1.25e-7}})

    monkeypatch.setattr("tf_decomp.experiment.model_card.write_formats", write)
    export_run(run_dir, tmp_path / "served", ["openvino"])
    text = (tmp_path / "served" / "README.md").read_text(encoding="utf-8")
    assert "| openvino/decode.* | 2,000 | 1.2e-07 |\n\n## Settings" in text


def test_export_of_a_run_equals_its_model(card: Path, run_dir: Path) -> None:
    vae = keras.saving.load_model(RunFiles(run_dir).model)
    x = np.random.default_rng(0).normal(size=(5, 3)).astype("float32")
    encoder = load_encoder(card.parent)
    np.testing.assert_allclose(encoder.encode(x)["loc"], vae.predict(x, verbose=0))


def test_next_export_is_the_next_version(
    card: Path, run_dir: Path, tmp_path: Path
) -> None:
    """Earlier versions stay, each with its card; numbers are compared as numbers."""
    folder = tmp_path / "of_a_run"
    shutil.copytree(card.parent, folder)
    (folder / "9").mkdir()
    before = contents(folder)
    assert export_run(run_dir, folder) == folder / "10"
    after = contents(folder)
    text = (folder / "10" / "README.md").read_text(encoding="utf-8")
    assert 'load("of_a_run/10")' in text
    assert (folder / "README.md").read_text(encoding="utf-8") == text
    del before["README.md"]
    assert before.items() <= after.items()
    assert 'load("of_a_run/1")' in (folder / "1" / "README.md").read_text("utf-8")


def test_killed_export_leaves_no_version(
    card: Path, run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A version takes its name when all of it is there."""
    folder = tmp_path / "of_a_run"
    shutil.copytree(card.parent, folder)
    before = contents(folder)

    def killed(vae: DecompositionVAE, path: Path, formats: Any) -> None:
        write_text(path / "saved_model.pb", "half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("tf_decomp.experiment.model_card.write_formats", killed)
        with pytest.raises(KeyboardInterrupt):
            export_run(run_dir, folder)
    assert contents(folder) == before
    # One killed after that has its card inside; the next makes the one beside.
    (folder / "README.md").unlink()
    monkeypatch.setattr("tf_decomp.experiment.model_card.write_formats", no_files)
    assert export_run(run_dir, folder) == folder / "2"
    assert (folder / "README.md").read_bytes() == (
        folder / "2" / "README.md"
    ).read_bytes()


def test_folders_that_are_no_place_for_an_export(run_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "README.md").write_text("# My notes\n")
    (tmp_path / "link").symlink_to(run_dir)
    places = {
        tmp_path / "file": "is a file",
        tmp_path / "file" / "below": "is a file",
        tmp_path / "mine": "no model card",
        run_dir: "inside the run",
        run_dir / "saved_model": "inside the run",
        tmp_path / "link" / "served": "inside the run",
    }
    before = contents(tmp_path), contents(run_dir)
    for place, said in places.items():
        with pytest.raises(InputError, match=said) as caught:
            export_run(run_dir, place)
        one_line(caught, str(place))
        assert (contents(tmp_path), contents(run_dir)) == before


def test_unfinished_run_is_not_exported(tmp_path: Path) -> None:
    write_text(tmp_path / "run" / "config.flags", ExperimentConfig().to_flags())
    for name in ("run", "missing"):
        with pytest.raises(InputError, match="no finished run") as caught:
            export_run(tmp_path / name, tmp_path / "served")
        one_line(caught, name)
    assert not (tmp_path / "served").exists()
