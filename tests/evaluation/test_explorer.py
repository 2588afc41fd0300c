# SPDX-License-Identifier: Apache-2.0
"""The explorer: what its page holds, and what moves in it in a real browser."""

import base64
import dataclasses
import gzip
import hashlib
import json
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import tensorflow as tf
from devtools import Tab, browse
from runs import copy_of, one_line, plain_operations
from scipy import stats
from tensorflow_probability import distributions as tfd

from tf_decomp import (
    DecompositionVAE,
    ExperimentConfig,
    NormalMixturePrior,
    NormalPrior,
    Prior,
    SpikeAndSlabPrior,
    StudentTPrior,
    train,
)
from tf_decomp.data import Split
from tf_decomp.errors import InputError
from tf_decomp.evaluation import evaluate_run, explore_run, explorer, judge
from tf_decomp.evaluation.explorer import page as pages
from tf_decomp.evaluation.explorer.page import decoder_onnx
from tf_decomp.evaluation.figures import Codes, collect_codes
from tf_decomp.experiment import finished
from tf_decomp.experiment.build import load_model
from tf_decomp.experiment.run_files import RunFiles
from tf_decomp.likelihoods import likelihood_point
from tf_decomp.metrics.encodings import encode_data

# Keras saves with a call that NumPy 2 deprecates.
pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't"),
    pytest.mark.filterwarnings("ignore:Even though the"),  # of eager functions
    # tf2onnx makes arrays as NumPy 2 deprecates.
    pytest.mark.filterwarnings("ignore::DeprecationWarning:tf2onnx"),
]

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
READY = "document.readyState === 'complete' && window.explorer?.decoded.length"


class Model(NamedTuple):
    """A run, its model and its explorer."""

    config: ExperimentConfig
    vae: DecompositionVAE
    path: Path


def explored(**settings: Any) -> Model:
    config = ExperimentConfig(**{"divergence": "none", "alpha": 0.0, **settings})
    with plain_operations():
        train(config)
    files = RunFiles(config.output_dir)
    return Model(config, load_model(files), explore_run(files.root))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A sparse model of images in colour, whose dimensions are hardly active."""
    root = tmp_path_factory.mktemp("images")
    y = np.arange(60) % 3
    x = np.random.default_rng(0).random((60, 16, 16, 3), np.float32)
    x *= (y[:, None, None, None] + 1) / 3
    np.savez(root / "x.npz", x_train=x, x_test=x[:30], y_train=y, y_test=y[:30])
    return explored(
        dataset=f"npz:{root / 'x.npz'}",
        prior="spike_and_slab",
        likelihood="bernoulli",
        beta=0.01,
        latent_dim=4,
        epochs=4,
        learning_rate=0.01,
        batch_size=60,
        output_dir=str(root / "run"),
    )


@pytest.fixture(scope="module")
def pinwheel(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A mixture prior and data of two numbers."""
    folder = tmp_path_factory.mktemp("pinwheel") / "run"
    return explored(prior="normal_mixture", beta=0.01, epochs=2, output_dir=str(folder))


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """Vectors, of classes with hostile names."""
    root = tmp_path_factory.mktemp("table")
    y = np.arange(300) % 3
    x = np.random.default_rng(0).normal(size=(300, 5)).astype(np.float32)
    x[:, 0] += 4 * y
    names = np.array(["ash", "birch", HOSTILE])[y]
    np.savez(root / "x.npz", x_train=x, x_test=x[:60], y_train=names, y_test=names[:60])
    return explored(
        dataset=f"npz:{root / 'x.npz'}",
        prior="normal",
        likelihood="normal",
        beta=0.1,
        latent_dim=3,
        hidden=(8,),
        epochs=4,
        learning_rate=0.01,
        batch_size=120,
        output_dir=str(root / "run"),
    )


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with browse(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


# -- what is vendored ---------------------------------------------------------------


def test_runtime_is_the_files_that_its_version_says() -> None:
    folder = Path(explorer.__file__).parent / "onnxruntime_web"
    described = json.loads((folder / "version.json").read_text(encoding="utf-8"))
    present = {path.name.removesuffix(".gz") for path in folder.iterdir()}
    assert present == {"version.json", *described["files"]}
    for name, of in described["files"].items():
        plain, packed = folder / name, folder / f"{name}.gz"
        content = (
            plain.read_bytes()
            if plain.exists()
            else gzip.decompress(packed.read_bytes())
        )
        assert len(content) == of["bytes"], name
        assert hashlib.sha256(content).hexdigest() == of["sha256"], name
    assert sum(path.stat().st_size for path in folder.iterdir()) < 4 * 2**20
    assert "MIT License" in (folder / "LICENSE").read_text(encoding="utf-8")


# -- what the page holds ------------------------------------------------------------


def codes_of(prior: tfd.Distribution, means: np.ndarray) -> Codes:
    scales = tf.fill(means.shape, 0.1)
    means = tf.constant(means, tf.float32)
    return collect_codes(tfd.MultivariateNormalDiag(means, scales), prior)


def slider_of(prior: Prior, means: np.ndarray) -> tuple[dict[str, Any], Codes]:
    codes = codes_of(prior.distribution, means)
    places = pages._places(prior, codes.prior_samples)
    return pages._slider(0, codes, places, prior), codes


def test_slider_runs_along_quantiles_and_then_to_the_encodings() -> None:
    means = np.random.default_rng(0).uniform(-1, 1, (100, 2))
    means[0] = [9, 0]
    slider, codes = slider_of(StudentTPrior(2, df=5.0), means)
    z, share = np.array(slider["z"]), np.array(slider["share"])
    assert (np.diff(z) > 0).all()
    samples = codes.prior_samples[:, 0]
    quantiles = np.quantile(samples, np.arange(1, 200) / 200)
    np.testing.assert_allclose(z[:199], quantiles, rtol=1e-4)
    np.testing.assert_allclose(share[:199], np.arange(1, 200) / 200, atol=1e-3)
    assert z[-1] == pytest.approx(9)
    assert len(z) == 199 + 20
    assert slider["band"] == (0, pytest.approx(198 / 218, abs=1e-3))


def test_slider_of_a_sparse_prior_gives_the_slab_room() -> None:
    prior = SpikeAndSlabPrior(2)
    slider, _ = slider_of(prior, np.zeros((10, 2)))
    z = np.array(slider["z"])
    np.testing.assert_allclose(z, stats.norm.ppf(np.arange(1, 200) / 200), atol=1e-5)
    low, high = slider["spike"]
    assert 0.25 < low < slider["marks"][0] == 0.5 < high < 0.75
    below = 0.2 * stats.norm.cdf(z) + 0.8 * stats.norm.cdf(z, scale=0.05**0.5)
    np.testing.assert_allclose(slider["share"], below, atol=0.02)


def test_the_spike_ends_where_the_slab_is_as_likely() -> None:
    prior = SpikeAndSlabPrior(2, gamma=0.7, spike_variance=0.1)
    reach = pages._spike_reach(prior)
    slab = 0.3 * tfd.Normal(0.0, 1.0).prob(reach)
    spike = 0.7 * tfd.Normal(0.0, 0.1**0.5).prob(reach)
    assert float(slab) == pytest.approx(float(spike), rel=1e-5)
    for other in (
        SpikeAndSlabPrior(2, gamma=0.0),
        SpikeAndSlabPrior(2, gamma=1.0),
        SpikeAndSlabPrior(2, gamma=0.01, spike_variance=0.9),
        SpikeAndSlabPrior(2, spike_variance=2.0),
        NormalMixturePrior([[0, 1]], 0.1),
    ):
        assert pages._spike_reach(other) == 0


def test_a_page_offers_the_first_of_many_modes() -> None:
    modes = [[float(k), 0.0] for k in range(30)]
    places = pages._places(NormalMixturePrior(modes, 0.1), np.zeros((1, 2)))
    names = [f"Mode {k} of 30" for k in range(1, 13)]
    assert [place["name"] for place in places] == names
    assert [place["z"] for place in places] == modes[:12]


def test_constant_dimension_has_a_slider() -> None:
    slider, _ = slider_of(NormalPrior(2), np.zeros((5, 2)))
    assert (len(slider["z"]), slider["band"], slider["spike"]) == (199, (0, 1), 0.0)
    assert not slider["active"]


def test_examples_take_turns() -> None:
    levels = np.array([2, 0, 0, 1, 2, 0])
    order = pages._take_turns(levels)
    assert levels[order].tolist() == [0, 1, 2, 0, 2, 0]
    assert sorted(order) == [*range(6)]


def test_colours_are_of_classes_and_factors() -> None:
    split = Split(
        np.zeros((4, 2), np.float32),
        np.array(["b", "a", "b", "c"]),
        np.array([[5, 0], [7, 0], [5, 1], [9, 1]]),
    )
    found = pages._colourings(split, np.array([3, 0]), ())
    assert [c["name"] for c in found] == ["class", "factor 1", "factor 2"]
    assert found[0] == {"name": "class", "levels": ["a", "b", "c"], "values": [2, 1]}
    assert found[1]["levels"] == ["5", "7", "9"]
    assert found[1]["values"] == [2, 0]
    assert pages._colourings(split._replace(labels=None, factors=None), [0], ()) == []


def test_an_evaluation_writes_the_same_page(
    table: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the same encodings: the test set is encoded once."""
    config, encoded = copy_of(table.config, tmp_path / "run"), []

    def encode(*given: Any) -> Any:
        encoded.append(given)
        return encode_data(*given)

    monkeypatch.setattr(finished, "encode_data", encode)
    # Names of its operations are numbered through a process.
    monkeypatch.setattr(pages, "decoder_onnx", lambda vae: b"decoder")
    page = explore_run(Path(config.output_dir))
    expected = page.read_bytes()
    page.unlink()
    evaluate_run(Path(config.output_dir), ["sparsity"])
    assert not page.exists()
    encoded.clear()
    evaluate_run(Path(config.output_dir), ["sparsity"], explorer=True)
    assert len(encoded) == 1
    assert page.read_bytes() == expected


# -- what is refused ----------------------------------------------------------------


def test_run_that_is_not_finished(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        explore_run(tmp_path)
    one_line(error, "no finished run")


@pytest.mark.parametrize("missing", ["tf2onnx", "onnx", "jinja2"])
def test_missing_package_is_named_by_its_extra(
    table: Model, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    """Before the evaluation, which may take long."""
    monkeypatch.setitem(sys.modules, missing, None)
    monkeypatch.setattr(judge, "load_finished_run", pytest.fail)
    folder = Path(table.config.output_dir)
    for make in (explore_run, partial(evaluate_run, explorer=True)):
        with pytest.raises(InputError) as error:
            make(folder)
        one_line(error, missing, "pip install 'tf-decomp[report,serving]'")


def test_decoder_that_onnx_cannot_hold(
    table: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    vae, decode = table.vae, table.vae.decode

    def gamma(z: tf.Tensor) -> tfd.Distribution:
        mean = 1 + decode(z).mean() ** 2
        return tfd.Independent(tfd.Normal(tf.math.betainc(mean, mean, 0.5), 1.0), 1)

    monkeypatch.setattr(vae, "decode", gamma)
    with pytest.raises(InputError) as error:
        decoder_onnx(vae)
    one_line(error, "Betainc")


def test_explorer_of_an_earlier_model_goes_with_it(
    table: Model, tmp_path: Path
) -> None:
    config = copy_of(table.config, tmp_path / "run")
    files = RunFiles(config.output_dir)
    files.explorer.write_text("of the earlier model")
    with plain_operations():
        train(config)
    assert files.explorer.exists()
    with plain_operations():
        train(dataclasses.replace(config, epochs=config.epochs + 1))
    assert not files.explorer.exists()


# -- what moves in a browser --------------------------------------------------------


def visit(tab: Tab, model: Model, width: int = 1280, **how: Any) -> None:
    """Opens the explorer of a run, which must load without a word or a request."""
    tab.events.clear()
    tab.open(model.path, width, **how)
    tab.wait(READY)
    assert wrong(tab) == []
    assert "Started from test example" in tab.run("byId('state').textContent")


def wrong(tab: Tab) -> list[Any]:
    """Returns what the page said on the console and asked of a network."""
    said = ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded")
    # The tests, not the page, read pixels often.
    found = [
        event
        for event in tab.events
        if event["method"] in said and "willReadFrequently" not in str(event)
    ]
    for event in tab.events:
        if event["method"] == "Network.requestWillBeSent":
            url = event["params"]["request"]["url"]
            if not url.startswith(("file:", "blob:", "data:")):
                found.append(url)
    return found


def settled(tab: Tab, model: Model) -> np.ndarray:
    """Returns what the page decoded last, which must be what TensorFlow decodes."""
    seen = tab.wait(
        "!busy && window.explorer && z.every((v, i) => v === explorer.latents[i])"
        " && [[...explorer.latents], [...explorer.decoded]]"
    )
    latents, decoded = (np.array(part, np.float32) for part in seen)
    expected = likelihood_point(model.vae.decode(latents[None])).numpy().ravel()
    np.testing.assert_allclose(decoded, expected, rtol=1e-4, atol=1e-4)
    return decoded


def middle(tab: Tab, selector: str) -> tuple[float, float]:
    """Returns the middle of an element, scrolled into sight."""
    return tuple(
        tab.run(
            f"(() => {{ const e = document.querySelector('{selector}');"
            "e.scrollIntoView({block: 'center', behavior: 'instant'});"
            "const b = e.getBoundingClientRect();"
            "return [b.x + b.width / 2, b.y + b.height / 2]; })()"
        )
    )


def on_screen(tab: Tab, point: str) -> tuple[float, float]:
    """Returns where the scatter draws a code, a script's value, by its margins."""
    return tuple(
        tab.run(
            f"""(() => {{
              const canvas = byId("scatter"), box = canvas.getBoundingClientRect();
              const along = (axis, size) => {{
                const d = byId("axis-" + axis).value, ends = page.dims[d].z;
                const range = ends.at(-1) - ends[0];
                const share = ({point}[d] - ends[0] + 0.04 * range) / (1.08 * range);
                return share * (size - 44);
              }};
              return [box.x + 35 + along("x", canvas.clientWidth),
                box.y + canvas.clientHeight - 33 - along("y", canvas.clientHeight)];
            }})()"""
        )
    )


def pixels(tab: Tab, canvas: str) -> np.ndarray:
    return np.array(
        tab.run(
            f"(() => {{ const c = byId('{canvas}'); return [...c.getContext('2d')"
            ".getImageData(0, 0, c.width, c.height).data]; })()"
        )
    )


def test_keys_on_a_slider_change_pixels_to_what_tensorflow_decodes(
    tab: Tab, images: Model
) -> None:
    visit(tab, images)
    before = settled(tab, images)
    tab.run("document.querySelector('.slider input').focus()")
    old = tab.run("Number(document.activeElement.value)")
    for _ in range(3):
        tab.press("ArrowRight")
    assert tab.run("Number(document.activeElement.value)") == old + 3
    tab.press("End")
    assert tab.run("document.activeElement.value === document.activeElement.max")
    after = settled(tab, images)
    assert np.abs(after - before).max() > 1e-3
    shown = pixels(tab, "decoded").reshape(-1, 4)[:, :3].ravel()
    np.testing.assert_allclose(shown, 255 * after, atol=0.51)
    text = tab.run("document.activeElement.getAttribute('aria-valuetext')")
    assert text.endswith("% of the prior")
    tab.run("byId('back').click()")
    np.testing.assert_array_equal(settled(tab, images), before)


def test_image_is_redrawn_while_dragging(tab: Tab, images: Model) -> None:
    visit(tab, images)
    x, y = middle(tab, ".slider input")
    tab.run("window.seen = []; setInterval(() => seen.push(explorer.decoded[0]), 1)")
    tab.drag([(x + 4 * step, y) for step in range(25)])
    settled(tab, images)
    assert len(set(tab.run("seen"))) > 3


def test_sparse_prior_marks_its_spike(tab: Tab, images: Model) -> None:
    visit(tab, images)
    assert tab.run("document.querySelectorAll('.spike').length") == 4
    tab.run("[...document.querySelectorAll('.place')].at(0).click()")
    settled(tab, images)
    assert tab.run("[...explorer.latents]") == [0, 0, 0, 0]
    assert tab.run("document.querySelector('.place').textContent") == "All at the spike"


def test_start_from_another_example(tab: Tab, images: Model) -> None:
    visit(tab, images)
    before = settled(tab, images)
    tab.run("document.querySelector('.start input:checked').focus()")
    tab.press("ArrowRight")
    tab.wait("explorer.start === 1")
    assert np.abs(settled(tab, images) - before).max() > 0
    assert "class 1" in tab.run("byId('state').textContent")
    shown = pixels(tab, "original").reshape(16, 16, 4)[:, :, :3] / 255
    with np.load(images.config.dataset.removeprefix("npz:")) as arrays:
        np.testing.assert_allclose(shown, arrays["x_test"][1], atol=0.003)


def test_modes_of_a_mixture_and_points(tab: Tab, pinwheel: Model) -> None:
    visit(tab, pinwheel)
    modes = pinwheel.vae.prior.get_config()["locs"]
    for number, mode in enumerate(modes):
        tab.run(f"document.querySelectorAll('.place')[{number}].click()")
        assert settled(tab, pinwheel).shape == (2,)
        assert tab.run("[...explorer.latents]") == pytest.approx(mode)
    tab.run("document.getElementById('plane').focus()")
    decoded = settled(tab, pinwheel)
    tab.press("Enter")  # starts from the example nearest to the decoded point
    settled(tab, pinwheel)
    start = tab.run("explorer.start")
    data = np.array(tab.run("[...parts.data]")).reshape(-1, 2)
    assert start == np.argmin(np.linalg.norm(data - decoded, axis=1))


def test_scatter_is_clicked_dragged_and_moved_by_keys(
    tab: Tab, pinwheel: Model
) -> None:
    visit(tab, pinwheel)
    tab.run("document.querySelectorAll('.place')[0].click()")
    settled(tab, pinwheel)
    middle(tab, "#scatter")
    path = ["z", "[0.5, 0.5]", "[0.25, -0.5]"]
    tab.drag([on_screen(tab, point) for point in path])
    settled(tab, pinwheel)
    assert tab.run("[...explorer.latents]") == pytest.approx([0.25, -0.5], abs=0.03)
    codes = np.array(tab.run("[...parts.codes]")).reshape(-1, 2)
    tab.drag([on_screen(tab, str([*map(float, codes[7])]))])
    settled(tab, pinwheel)
    np.testing.assert_allclose(
        tab.run("[...explorer.latents]"), codes[tab.run("explorer.start")]
    )
    assert np.linalg.norm(codes[tab.run("explorer.start")] - codes[7]) < 0.03
    tab.run("byId('scatter').focus()")
    before = tab.run("sliders.map((s) => Number(s.input.value))")
    tab.press("ArrowUp")
    settled(tab, pinwheel)
    after = tab.run("sliders.map((s) => Number(s.input.value))")
    assert sorted(np.subtract(after, before)) == pytest.approx([0, 1], abs=0.06)


def test_vectors_are_bars_and_names_are_text(tab: Tab, table: Model) -> None:
    visit(tab, table)
    decoded = settled(tab, table)
    assert decoded.shape == (5,)
    assert "since the data are no images" in tab.run("document.body.textContent")
    legend = "[...byId('legend').children].map((b) => b.textContent)"
    assert HOSTILE in tab.run(legend)
    blank = pixels(tab, "decoded")
    assert np.unique(blank.reshape(-1, 4), axis=0).shape[0] > 3
    tab.run("byId('draw').click()")
    settled(tab, table)
    assert (pixels(tab, "decoded") != blank).any()
    tab.run("byId('legend').children[0].click()")  # one class alone
    assert tab.run("byId('legend').children[0].getAttribute('aria-pressed')") == "true"
    assert wrong(tab) == []


def test_fingers_on_a_phone(tab: Tab, table: Model) -> None:
    tab.send("Emulation.setTouchEmulationEnabled", enabled=True)
    try:
        visit(tab, table, 390, height=844)
        before = settled(tab, table)
        x, y = middle(tab, ".slider input")
        tab.touch([(x + 5 * step, y) for step in range(8)])
        after = settled(tab, table)
        assert np.abs(after - before).max() > 1e-3
        # A finger that drags the ring does not scroll the page; another does.
        tab.run("go([0, 0, 0])")
        settled(tab, table)
        middle(tab, "#scatter")
        x, y = on_screen(tab, "z")
        scrolled = tab.run("scrollY")
        tab.touch([(x, y - 10 * step) for step in range(8)])
        settled(tab, table)
        assert tab.run("scrollY") == scrolled
        assert on_screen(tab, "z") == pytest.approx([x, y - 70], abs=5)
        tab.touch([(x, y + 100 - 10 * step) for step in range(8)])
        tab.wait(f"scrollY > {scrolled}")
    finally:
        tab.send("Emulation.setTouchEmulationEnabled", enabled=False)


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [360, 768, 1280])
def test_page_fits_its_window(tab: Tab, images: Model, width: int, dark: bool) -> None:
    visit(tab, images, width, dark=dark)
    beyond = "document.documentElement.scrollWidth - innerWidth"
    assert tab.run(beyond) <= 0
    background = tab.run("getComputedStyle(document.body).backgroundColor")
    light = np.mean([float(v) for v in background[4:-1].split(",")])
    assert (light > 128) == (not dark)


@pytest.mark.parametrize(
    ("part", "content", "said"),
    [("decoder", b"no model", "session"), ("reference", b"\0\0\0A" * 5, "TensorFlow")],
)
def test_page_says_that_its_decoder_fails(
    tab: Tab, table: Model, tmp_path: Path, part: str, content: bytes, said: str
) -> None:
    head, mark, tail = table.path.read_text(encoding="utf-8").partition(f'id="{part}">')
    packed = base64.b64encode(gzip.compress(content)).decode()
    path = tmp_path / "explorer.html"
    path.write_text(head + mark + packed + tail[tail.index("</script>") :])
    tab.open(path, 1280)
    tab.wait("document.readyState === 'complete' && byId('state').className")
    text = tab.run("byId('state').textContent")
    assert text.startswith("The decoder cannot run")
    assert said in text


def test_licences_are_in_the_page(tab: Tab, table: Model) -> None:
    visit(tab, table)
    tab.run("byId('licence').open = true")
    tab.wait("byId('licence').lastElementChild.textContent.includes('protobuf')")
    assert "Microsoft Corporation" in tab.run("byId('licence').textContent")


def test_page_may_not_load_anything(tab: Tab, table: Model) -> None:
    visit(tab, table)
    refused = tab.run("fetch('http://127.0.0.1:9/').then(() => '', (e) => e.name)")
    assert refused == "TypeError"
    assert any("Content Security Policy" in str(event) for event in wrong(tab))
