# SPDX-License-Identifier: Apache-2.0
"""The report: its structure, numbers, escaping, missing parts, and a real browser."""

import base64
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from devtools import FLAGS, find_browser
from runs import one_line

from tf_decomp.errors import InputError
from tf_decomp.evaluation import GROUPS
from tf_decomp.evaluation.report import render_report
from tf_decomp.evaluation.report.numbers import (
    Bar,
    format_count,
    format_estimate,
    format_number,
    place_bar,
)
from tf_decomp.evaluation.report.settings import (
    describe_training,
    name_run,
    tabulate_settings,
)
from tf_decomp.evaluation.rows import Evaluation, Row
from tf_decomp.experiment.choices import DIVERGENCES, PRIORS
from tf_decomp.experiment.config import ExperimentConfig
from tf_decomp.experiment.run_files import RunFiles
from tf_decomp.files import write_json, write_text

VOID = {"meta", "link", "img"}
CONTENT = {"p", "table", "img"}
HOSTILE = "\"'><script>alert(1)</script><img src=x onerror=alert(2)>&amp;{{7*7}}"


class Page(HTMLParser):
    """A parsed page: tags in order, each with its attributes, its text and parents."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[dict[str, Any]] = []
        self.open: list[dict[str, Any]] = []
        self.feed(html)
        self.close()
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        parents = tuple(parent["tag"] for parent in self.open)
        for parent in self.open:
            parent["size"] += tag in CONTENT
        node = {"tag": tag, "text": "", "size": 0, "parents": parents, **dict(attrs)}
        self.tags.append(node)
        if tag not in VOID:
            self.open.append(node)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append({"tag": tag, "text": "", "parents": (), **dict(attrs)})

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop()["tag"] == tag

    def handle_data(self, data: str) -> None:
        for node in self.open:
            node["text"] += data

    def all(self, *tags: str) -> list[dict[str, Any]]:
        return [node for node in self.tags if node["tag"] in tags]

    def texts(self, *tags: str) -> list[str]:
        return [" ".join(node["text"].split()) for node in self.all(*tags)]


def figure(name: str, title: str, caption: str, alt: str) -> dict[str, str]:
    return {"file": f"plots/{name}", "title": title, "caption": caption, "alt": alt}


EVALUATION = Evaluation(
    rows=[
        Row(
            "overlap",
            "overlap/mutual_information",
            "mutual information",
            4.12345678,
            0.0213,
            1000,
            unit="nats",
            bound=5.9914645,
            note="bound log n",
        ),
        Row("regularisation", "regularisation/kl", "KL(q ‖ p)", 0.141, 0.0093, 1000),
        Row(
            "disentanglement",
            "disentanglement/factorvae_score",
            "FactorVAE score",
            0.83123,
            0.0042,
            737280,
            chance=0.2,
            chance_standard_error=0.011,
            bound=1.0,
            better="higher",
            dropped=(2,),
        ),
        Row(
            "disentanglement",
            "disentanglement/sap",
            "SAP",
            float("nan"),
            chance=float("nan"),
            note="one factor only",
        ),
    ],
    verdicts={
        "overlap": {"verdict": "appropriate", "text": "I(x;z) is 4.12 ± 0.02."},
        "regularisation": {
            "verdict": "not matched",
            "text": "KL is 0.141.",
            "parts": ["every marginal", "joint MMD"],
        },
    },
    warnings=["Few dimensions are active."],
    figures=[
        figure("traversals.png", "Traversals", "Along quantiles.", "Rows of images."),
        figure("moving.gif", "Moving traversals", "The same.", "An animation."),
    ],
)
RESULTS = {
    "test/elbo": {"value": -1.52237, "standard_error": 0.15739, "n": 400},
    "test/divergence": {"value": 0.14713, "standard_error": 0.011694, "n": 400},
    "test/new_number": {"value": 7.0, "standard_error": 0.5, "n": 400},
}
CONFIG = ExperimentConfig(
    prior="normal_mixture", divergence="inclusive_kl", alpha=5.0, beta=0.01
)
SECTIONS = {
    "trained": "What was trained",
    "verdict": "Verdict",
    "metrics": "Metrics",
    "training": "Training curves",
    "samples": "Samples",
    "reconstructions": "Reconstructions",
    "figures": "Latent space",
    "environment": "Environment",
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFiles:
    """A finished run and the images of its evaluation; not to be changed."""
    files = RunFiles(tmp_path_factory.mktemp("report") / "run")
    write_text(files.config, CONFIG.to_flags())
    versions = {"keras": "3.15.1", "tf-decomp": None}
    devices = [{"type": "CPU", "name": "/device:CPU:0"}]
    facts = {"versions": versions, "devices": devices, "seconds": 19.96990728378296}
    write_json(files.environment, facts)
    files.write_history(
        [
            {"epoch": 1, "loss": 9.0, "elbo": -9.0, "val_loss": 8.0},
            {"epoch": 2, "loss": 1.23456, "elbo": -1.5, "val_loss": 2.34567},
        ]
    )
    write_json(files.metrics, RESULTS)
    files.plots.mkdir()
    for index, name in enumerate(IMAGES):
        image = PIL.Image.new("L", (1650, 300), 200 + index)
        image.save(files.plots / name)
    return files


IMAGES = (
    "training_curves.png",
    "samples.png",
    "reconstructions.png",
    "traversals.png",
    "moving.gif",
)


@pytest.fixture
def files(run: RunFiles, tmp_path: Path) -> RunFiles:
    """A copy of the run, to be changed."""
    return RunFiles(shutil.copytree(run.root, tmp_path / "run"))


def render(files: RunFiles, evaluation: Evaluation = EVALUATION) -> Page:
    path = render_report(files, evaluation)
    assert path == files.root / "report.html"
    return Page(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def page(run: RunFiles) -> Page:
    return render(run)


def section_titles(page: Page) -> list[str]:
    return page.texts("h2")[1:]  # behind that of the contents


# -- structure ----------------------------------------------------------------------


def test_sections_and_headings_in_order(page: Page) -> None:
    assert section_titles(page) == list(SECTIONS.values())
    assert page.texts("h1") == ["pinwheel: normal-mixture prior, beta 0.01, alpha 5"]
    levels = [int(node["tag"][1]) for node in page.all("h1", "h2", "h3", "h4")]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert max(np.diff(levels)) <= 1  # none is skipped on the way down
    overlap, match, scores = (
        GROUPS[key][0] for key in ("overlap", "regularisation", "disentanglement")
    )
    assert page.texts("h3") == [
        *(overlap, match),  # the verdicts
        *("Objective on the test set", overlap, match, scores, "Dimensions left out"),
        *("Traversals", "Moving traversals"),
    ]


def test_landmarks_anchors_and_contents(page: Page) -> None:
    for landmark in ("header", "nav", "main", "footer"):
        assert len(page.all(landmark)) == 1
    ids = [node["id"] for node in page.tags if "id" in node]
    assert len(ids) == len(set(ids))
    links = page.all("a")
    assert all(link["href"].startswith("#") for link in links)
    assert {link["href"][1:] for link in links} <= set(ids)
    assert links[0]["href"][1:] == page.all("main")[0]["id"]  # the skip link is first
    entries = [link["href"][1:] for link in links if "nav" in link["parents"]]
    targets = [node["id"] for node in page.all("h2", "h3") if "id" in node]
    assert entries == targets[1:]  # all but the heading of the contents itself
    for node in page.tags:
        for name in node.get("aria-labelledby", "").split():
            assert name in ids
    assert page.all("html")[0]["lang"] == "en"


def test_tables_are_labelled_and_scroll(page: Page) -> None:
    assert len(page.all("table")) == len(page.all("caption")) >= 10
    assert all(page.texts("caption"))
    for header in page.all("th"):
        assert header["scope"] in ("row", "col")
    wide = [node for node in page.all("div") if node.get("class") == "scroll"]
    plates = [node for node in page.all("div") if node.get("class") == "plate"]
    assert len(wide) == 5
    assert len(plates) == 5
    for node in wide + plates:
        assert node["tabindex"] == "0"
        assert node["aria-label"]


def test_every_metric_with_error_chance_and_n(page: Page) -> None:
    texts = page.texts("tr")
    for expected in (
        "mutual information bound log n 4.123 ± 0.021 nats 0 5.99 5.99 1,000",
        "KL(q ‖ p) 0.1410 ± 0.0093 1,000",
        "FactorVAE score higher is better 0.8312 ± 0.0042 0 1 0.200 ± 0.011 1 737,280",
        "SAP one factor only n/a – – n/a",
        "ELBO higher is better −1.52 ± 0.16 nats 400",
        "divergence D(q(z), p(z)) lower is better 0.147 ± 0.012 nats 400",
        "new number 7.00 ± 0.50 400",
    ):
        assert expected in texts
    text = " ".join(page.texts("main"))
    assert not re.search(r"\d\.\d{7}", text.replace("10⁻", ""))


def test_mmd_has_no_unit(files: RunFiles) -> None:
    config = ExperimentConfig(divergence="dimensionwise_mmd", alpha=2.0)
    write_text(files.config, config.to_flags())
    assert "divergence D(q(z), p(z)) lower is better 0.147 ± 0.012 400" in render(
        files
    ).texts("tr")


def test_verdicts_link_to_their_numbers(page: Page) -> None:
    text = " ".join(page.texts("main"))
    for verdict in EVALUATION.verdicts.values():
        for said in (verdict["verdict"], verdict["text"], *verdict.get("parts", ())):
            assert said in text
    more = [node for node in page.all("a") if node["text"].startswith("All numbers")]
    assert [node["href"] for node in more] == [
        "#metrics-overlap",
        "#metrics-regularisation",
    ]


def test_warnings_stand_at_the_scores_alone(page: Page) -> None:
    assert page.texts("p").count("Note: Few dimensions are active.") == 1


# -- images, and nothing from elsewhere ----------------------------------------------


def test_images_are_embedded_in_order_with_words(page: Page, run: RunFiles) -> None:
    images = page.all("img")
    for image, name in zip(images, IMAGES, strict=True):
        kind, _, data = image["src"].partition(";base64,")
        assert kind == f"data:image/{name[-3:]}"
        assert base64.b64decode(data) == (run.plots / name).read_bytes()
        assert len(image["alt"]) > 10
        assert "figure" in image["parents"]
        # 150 dots per inch become 96
        assert image.get("width") == ("1056" if name.endswith("png") else None)
    assert [i["alt"] for i in images[3:]] == [f["alt"] for f in EVALUATION.figures]
    assert "details" in images[4]["parents"]  # moves only for who asks for it
    assert "details" not in images[3]["parents"]


def test_page_needs_nothing_else(page: Page, run: RunFiles) -> None:
    assert not page.all("script", "iframe", "object", "embed", "base")
    for node in page.tags:
        for name, value in node.items():
            assert not name.startswith("on")
            if name in ("src", "href", "srcset", "xlink:href", "action"):
                assert value.startswith(("data:", "#"))
    html = run.report.read_text(encoding="utf-8")
    assert "http://" not in html
    assert "https://" not in html
    style = page.texts("style")[0]
    assert "url(" not in style
    assert "@import" not in style
    policy = [node for node in page.all("meta") if "http-equiv" in node]
    assert policy[0]["content"].startswith("default-src 'none'")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast(page: Page, scheme: str) -> None:
    """WCAG 2 asks for 4.5 of text, 3 of drawings."""
    style = page.texts("style")[0]
    blocks = re.findall(r":root \{(.*?)\}", style)
    colors: dict[str, str] = {}
    for block in blocks[: 1 if scheme == "light" else 2]:
        colors |= dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", block))
    for ink, least in {"text": 7, "muted": 4.5, "accent": 4.5, "chance": 3}.items():
        for paper in ("page", "raised"):
            assert contrast(colors[ink], colors[paper]) >= least
    assert (luminance(colors["page"]) > 0.5) == (scheme == "light")
    assert luminance(colors["plate"]) > 0.9  # the figures are black on white


def luminance(color: str) -> float:
    parts = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(first: str, second: str) -> float:
    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


def test_hostile_words_stay_words(files: RunFiles) -> None:
    words = {"title": HOSTILE, "caption": HOSTILE, "alt": HOSTILE}
    hostile = Evaluation(
        [Row("overlap", "a", HOSTILE, 1.0, 0.1, 9, unit=HOSTILE, note=HOSTILE)],
        {"overlap": {"verdict": HOSTILE, "text": HOSTILE, "parts": [HOSTILE]}},
        [HOSTILE],
        [{**shown, **words} for shown in EVALUATION.figures],
        HOSTILE,
    )
    config = ExperimentConfig(dataset=f"npz:{HOSTILE}", data_dir=HOSTILE)
    write_text(files.config, config.to_flags())
    write_json(files.environment, {HOSTILE: {HOSTILE: [HOSTILE]}})
    write_json(files.metrics, {HOSTILE: {"value": 1.0, "standard_error": 0.1, "n": 1}})
    page = render(files, hostile)
    assert not page.all("script")
    assert len(page.all("img")) == 5
    assert page.texts("h1") == [HOSTILE]
    assert f"npz:{HOSTILE}" in page.texts("td")
    assert page.all("img")[-1]["alt"] == HOSTILE
    assert "49" not in page.texts("main")[0]


# -- missing parts ------------------------------------------------------------------

REMOVALS = [
    (["config.flags"], {"trained"}),
    (["environment.json"], {"environment"}),
    (["history.csv", "plots/training_curves.png"], {"training"}),
    (["history.csv"], set()),
    (["plots/training_curves.png"], set()),
    (["plots/samples.png"], {"samples"}),
    (["plots/reconstructions.png"], {"reconstructions"}),
]


@pytest.mark.parametrize(
    ("names", "missing"), REMOVALS, ids=lambda value: ",".join(sorted(value))
)
def test_missing_files_have_no_section(
    files: RunFiles, names: list[str], missing: set[str]
) -> None:
    for name in names:
        (files.root / name).unlink()
    page = render(files)
    expected = [title for key, title in SECTIONS.items() if key not in missing]
    assert section_titles(page) == expected
    check_no_empty_headings(page)


def test_an_evaluation_without_numbers_shows_the_run(files: RunFiles) -> None:
    page = render(files, Evaluation([]))
    assert "Verdict" not in section_titles(page)
    assert "Latent space" not in section_titles(page)
    assert page.texts("h3") == ["Objective on the test set"]
    check_no_empty_headings(page)


def check_no_empty_headings(page: Page) -> None:
    headings = {node.get("id") for node in page.all("h2", "h3")}
    for node in page.all("section"):
        assert node["aria-labelledby"] in headings
        assert node["size"] > 0


def test_codes_of_another_model(tmp_path: Path) -> None:
    rows = [EVALUATION.rows[0]]
    evaluation = EVALUATION._replace(rows=rows, figures=[], title="Codes of mine")
    page = render(RunFiles(tmp_path), evaluation)
    assert page.texts("h1") == ["Codes of mine"]
    assert section_titles(page) == ["Verdict", "Metrics"]
    assert "Dimensions left out" not in page.texts("h3")
    assert "Objective on the test set" not in page.texts("h3")


def test_metrics_alone(tmp_path: Path) -> None:
    rows = [Row("overlap", "overlap/active_units", "active units", 3, n=1000)]
    page = render(RunFiles(tmp_path), Evaluation(rows))
    assert page.texts("h1") == ["Evaluation of a representation"]
    assert section_titles(page) == ["Metrics"]
    assert page.texts("h3") == [GROUPS["overlap"][0]]
    assert page.texts("tr") == [
        "Metric Value ± standard error n",
        "active units 3 1,000",
    ]
    assert not page.all("svg")  # nothing to hold the value to


def test_nothing_to_report(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        render_report(RunFiles(tmp_path), Evaluation([]))
    one_line(error, str(tmp_path), "evaluation.json", "tf-decomp-evaluate")
    assert not list(tmp_path.iterdir())


def test_without_jinja(files: RunFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    files.report.write_text("before")
    with pytest.raises(InputError) as error:
        render_report(files, EVALUATION)
    one_line(error, "jinja2", "pip install")
    assert files.report.read_text() == "before"


def test_same_files_same_report(page: Page, files: RunFiles, run: RunFiles) -> None:
    assert render_report(files, EVALUATION).read_bytes() == run.report.read_bytes()


# -- numbers ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "standard_error", "expected"),
    [
        (4.1, 0.02, "4.100 ± 0.020"),
        (4.0987654, 0.0213, "4.099 ± 0.021"),
        (-1.5223751740157605, 0.157393316491365, "−1.52 ± 0.16"),
        (0.95, 0.0996, "0.95 ± 0.10"),  # the error gains a digit in rounding
        (12.3456, 9.96, "12 ± 10"),
        (1056.27, 31.4, "1,056 ± 31"),
        (123456.0, 2634.2, "123,500 ± 2,600"),
        (0.003, 12.0, "0 ± 12"),
        (-0.001, 0.5, "0.00 ± 0.50"),  # not minus zero
        (0.0, 0.5, "0.00 ± 0.50"),
        (0.00012, 0.00003, "0.000120 ± 0.000030"),
        (1.2e-7, 3e-9, "(1.200 ± 0.030) × 10⁻⁷"),
        (-2.5e9, 1.1e8, "(−2.50 ± 0.11) × 10⁹"),
        (0.0, 4e-12, "(0.0 ± 4.0) × 10⁻¹²"),
        (5.991464547107982, 1e-9, "5.991465 ± 1.00 × 10⁻⁹"),
        (1.0, 0.0, "1 ± 0"),
        (0.123456789, None, "0.123"),
        (None, 0.1, "n/a"),
        (None, None, "n/a"),
        (float("inf"), 1.0, "∞"),
        (-float("inf"), None, "−∞"),
        (float("nan"), 1.0, "n/a"),
        (2.0, float("nan"), "2"),
    ],
)
def test_format_estimate(
    value: float | None, standard_error: float | None, expected: str
) -> None:
    assert format_estimate(value, standard_error) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (5.9914645, "5.99"),
        (400, "400"),
        (1.0, "1"),
        (737280.0, "737,280"),
        (1234.567, "1,235"),
        (-0.25, "−0.250"),
        (0.0, "0"),
        (1e-5, "1.00 × 10⁻⁵"),
        (9.996, "10.0"),
        (None, "n/a"),
    ],
)
def test_format_number(value: float | None, expected: str) -> None:
    assert format_number(value) == expected


def test_format_count() -> None:
    assert [format_count(count) for count in (7, 20000.0, None)] == [
        "7",
        "20,000",
        "n/a",
    ]


def test_rounding_never_moves_a_value_by_more_than_its_error_allows() -> None:
    rng = np.random.default_rng(0)
    for _ in range(2000):
        value = float(rng.normal() * 10.0 ** rng.integers(-8, 9))
        standard_error = abs(value) * float(10.0 ** rng.uniform(-4, 2))
        text = format_estimate(value, standard_error)
        numbers, _, power = text.strip("(").replace(",", "").partition(") × 10")
        shown, error = (float(part.replace("−", "-")) for part in numbers.split(" ± "))
        digits = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")
        scale = 10.0 ** int(power.translate(digits) or 0)
        # two digits of the error are within 5% of it
        assert abs(error * scale - standard_error) <= 0.0501 * standard_error
        assert abs(shown * scale - value) <= 0.0501 * standard_error
        assert sum(map(str.isdigit, numbers.split(" ± ")[0])) <= 10


# -- bars ---------------------------------------------------------------------------


def bar_of(value: float | None, standard_error: Any = None, **marks: Any) -> Bar | None:
    return place_bar(Row("sparsity", "key", "name", value, standard_error, **marks))


def test_bar_places() -> None:
    bar = bar_of(0.5, 0.05, chance=0.25, chance_standard_error=0.125, bound=1.0)
    assert bar == (80.0, (65.2, 94.8), 43.0, (6.0, 80.0), 154.0, "0", "1")


def test_bar_of_a_negative_value_and_of_a_value_beyond_its_bound() -> None:
    bar = bar_of(-3.0, 0.5, chance=1.0)
    assert bar is not None
    assert (bar.start, bar.end, bar.bound) == ("−4", "1", None)
    assert bar.value == pytest.approx(6 + 148 / 5)
    bar = bar_of(1.5, bound=1.0)
    assert bar is not None
    assert (bar.value, bar.end) == (154.0, "1.5")
    assert bar.bound == pytest.approx(6 + 148 * 2 / 3, abs=0.05)


def test_whisker_ends_at_a_bound_that_the_value_respects() -> None:
    bar = bar_of(0.99, 0.1, bound=1.0)
    assert bar is not None
    assert bar.whisker[1] == bar.bound == 154.0
    assert bar.end == "1"


def test_no_bar() -> None:
    assert bar_of(1.0, 0.1) is None
    assert bar_of(None, chance=0.2) is None
    assert bar_of(float("inf"), bound=1.0) is None
    assert bar_of(0.0, chance=0.0) is None


# -- words about the training --------------------------------------------------------


def words_about(**settings: Any) -> str:
    return describe_training(ExperimentConfig(**settings)).replace("\u00a0", " ")


@pytest.mark.parametrize("prior", PRIORS)
def test_sentence_of_every_prior(prior: str) -> None:
    settings = {"df": 7.0, "latent_dim": 2, "max_train_examples": 500}
    text = words_about(dataset="dsprites", prior=prior, **settings)
    assert "{" not in text
    assert "_" not in text
    assert "with 2 latent dimensions" in text
    assert "trained on 500 examples of dSprites" in text
    assert "beta = 1 weighs KL(q(z|x) ‖ p(z))" in text
    assert "(alpha = 0)" in text
    assert ("7 degrees of freedom" in text) == (
        prior in ("student_t", "independent_subspaces")
    )
    assert "_" not in name_run(ExperimentConfig(prior=prior))


@pytest.mark.parametrize("name", [name for name in DIVERGENCES if name != "none"])
def test_sentence_of_every_divergence(name: str) -> None:
    text = words_about(alpha=5.0, divergence=name)
    title = DIVERGENCES[name].title.format(capacity=25)
    assert f"alpha = 5 weighs {title}" in text
    assert "{" not in text


def test_one_of_a_thing_has_no_plural_and_names_are_names() -> None:
    text = words_about(
        epochs=1, latent_dim=1, likelihood="bernoulli", max_train_examples=200000
    )
    assert "with 1 latent dimension," in text
    assert "for 1 epoch in" in text
    assert "a Bernoulli likelihood" in text
    assert "200,000 examples of" in text


def test_correlated_factors_are_said() -> None:
    settings: dict[str, Any] = {"dataset": "xy_squares", "correlation_width": 0.3}
    assert "correlated" not in words_about(**settings)
    text = words_about(**settings, correlated_factors="x_R,y_B")
    assert "trained on XYSquares with x_R and y_B correlated (width 0.3) for" in text
    for names, used in (("", False), ("x_R,y_B", True)):
        config = ExperimentConfig(**settings, correlated_factors=names)
        rows = tabulate_settings(config)["Data"]
        assert ("correlated_factors", names or "not set", True) in rows
        assert ("correlation_width", "0.3", used) in rows


def test_settings_are_all_there_and_unused_ones_say_so(page: Page) -> None:
    rows, names = page.texts("tr"), page.texts("th")
    for name in CONFIG.to_texts():
        assert names.count(name) == 1
    assert "gamma 0.8 (not used)" in rows
    assert "mixture_variance 0.03" in rows
    assert "data_dir not set" in rows
    assert "max_train_examples 0 (all)" in rows


def test_environment_and_last_epoch_in_words(page: Page) -> None:
    rows = page.texts("tr")
    assert "versions keras 3.15.1, tf-decomp not known" in rows
    assert "devices type CPU, name /device:CPU:0" in rows
    assert "seconds 20.0" in rows
    assert "loss 1.23 2.35" in rows
    assert "ELBO −1.50 n/a" in rows


# -- a browser ----------------------------------------------------------------------

PROBE = """<script>
addEventListener("load", () => {
  const root = document.documentElement;
  parent.postMessage({
    width: innerWidth,
    beyond: root.scrollWidth - root.clientWidth,
    broken: [...document.images].filter((i) => !i.complete || !i.naturalWidth).length,
    images: document.images.length,
    scrollers: [...document.querySelectorAll(".scroll, .plate")].filter(
      (box) => box.scrollWidth > box.clientWidth).length,
    background: getComputedStyle(document.body).backgroundColor,
  }, "*");
});
</script></body>"""
FRAMES = """<!DOCTYPE html><html lang="en"><title>frames</title><body>
<pre></pre>
<script>
const found = {};
addEventListener("message", (event) => {
  found[event.data.width] = event.data;
  document.querySelector("pre").textContent = JSON.stringify(found);
});
</script>
<iframe src="probed.html" style="border: 0; width: 360px; height: 800px"></iframe>
<iframe src="probed.html" style="border: 0; width: 1280px; height: 800px"></iframe>
</body></html>"""


@pytest.fixture
def browser() -> str:
    """The name of Chromium, whose absence is a failure where it is required."""
    return find_browser()


def browse(browser: str, path: Path, profile: Path, *flags: str) -> tuple[str, str]:
    """Returns the DOM after loading and the lines of the console."""
    profile.mkdir()  # new and empty
    run = subprocess.run(
        [
            browser,
            *FLAGS,
            f"--user-data-dir={profile}",
            "--enable-logging=stderr",
            "--virtual-time-budget=5000",
            *flags,
            "--dump-dom",
            path.as_uri(),
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    lines = [line for line in run.stderr.splitlines() if ":CONSOLE" in line]
    return run.stdout, "\n".join(lines)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_in_a_browser(
    browser: str, files: RunFiles, tmp_path: Path, scheme: str
) -> None:
    long = Row("overlap", "a", "verylongname" * 8, 1e5, unit="u" * 30)
    title = "averylongnamewithoutanyspaceinit" * 4
    evaluation = EVALUATION._replace(rows=[*EVALUATION.rows, long], title=title)
    config = files.config.read_text().replace("pinwheel", "npz:/a" + "/folder" * 20)
    write_text(files.config, config)
    html = render_report(files, evaluation).read_text(encoding="utf-8")
    probed = html.replace("</body>", PROBE).replace(
        "default-src 'none';", "default-src 'none'; script-src 'unsafe-inline';"
    )
    (tmp_path / "probed.html").write_text(probed, encoding="utf-8")
    (tmp_path / "frames.html").write_text(FRAMES, encoding="utf-8")
    flag = f"--blink-settings=preferredColorScheme={int(scheme == 'light')}"
    dom, console = browse(browser, tmp_path / "frames.html", tmp_path / "p", flag)
    assert console == ""
    found = json.loads(Page(dom).texts("pre")[0])
    assert found.keys() == {"360", "1280"}
    for width in (360, 1280):
        seen = found[str(width)]
        assert seen["beyond"] == 0  # the page does not scroll sideways
        assert (seen["broken"], seen["images"]) == (0, 5)
        parts = [int(part) for part in re.findall(r"\d+", seen["background"])]
        assert (np.mean(parts) > 128) == (scheme == "light")
    assert found["360"]["scrollers"] >= 5  # wide tables and figures do, instead


def test_page_alone_leaves_the_console_empty(
    browser: str, files: RunFiles, tmp_path: Path
) -> None:
    path = render_report(files, EVALUATION)
    dom, console = browse(browser, path, tmp_path / "first")
    assert console == ""
    assert "Environment" in Page(dom).texts("h2")
    # The console is really read: a script, which the page forbids, shows in it.
    text = path.read_text(encoding="utf-8").replace("</body>", PROBE)
    (tmp_path / "scripted.html").write_text(text, encoding="utf-8")
    _, console = browse(browser, tmp_path / "scripted.html", tmp_path / "second")
    assert "Content Security Policy" in console
