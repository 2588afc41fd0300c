# SPDX-License-Identifier: Apache-2.0
"""The report: its structure, numbers, escaping, missing parts, and a real browser."""

import base64
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import zlib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tf_decomp.errors import InputError
from tf_decomp.evaluation.report import render_report
from tf_decomp.evaluation.report.bars import place_bar
from tf_decomp.evaluation.report.numbers import (
    format_count,
    format_estimate,
    format_number,
)
from tf_decomp.evaluation.report.settings import (
    describe_training,
    name_run,
    read_settings,
)
from tf_decomp.experiment.config import PRIORS, ExperimentConfig
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


def png(width: int, height: int, grey: int = 200) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        checksum = zlib.crc32(name + data)
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress((b"\0" + bytes([grey]) * width) * height)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", rows)
        + chunk(b"IEND", b"")
    )


GIF = base64.b64decode("R0lGODlhAQABAIAAAAAAAP///ywAAAAAAQABAAACAUwAOw==")


def metric(group: str, name: str, value: float | None, **others: Any) -> dict[str, Any]:
    return {
        "group": group,
        "key": f"{group}/{name.replace(' ', '_')}",
        "name": name,
        "value": value,
        "standard_error": None,
        "n": 1000,
        "unit": "",
        "chance": None,
        "chance_standard_error": None,
        "bound": None,
        "better": "",
        "note": "",
        **others,
    }


def evaluation() -> dict[str, Any]:
    return {
        "metrics": [
            metric(
                "overlap",
                "mutual information",
                4.12345678,
                standard_error=0.0213,
                unit="nats",
                bound=5.9914645,
                note="bound log n",
            ),
            metric("regularisation", "KL(q(z) ‖ p(z))", 0.141, standard_error=0.0093),
            metric(
                "disentanglement",
                "FactorVAE score",
                0.83123,
                standard_error=0.0042,
                n=737280,
                chance=0.2,
                chance_standard_error=0.011,
                bound=1.0,
                better="higher",
            ),
            metric("disentanglement", "SAP", None, n=None, note="one factor only"),
        ],
        # Disentanglement has no words here, and is shown all the same.
        "groups": {
            "regularisation": {"title": "Match of q(z) and p(z)", "text": "Near 0."},
            "overlap": {"title": "Overlap of encodings", "text": "Of 1 to n."},
            "unmeasured": {"title": "Nothing here", "text": "No metric."},
        },
        "verdicts": {
            "overlap": {"verdict": "appropriate", "text": "I(x;z) is 4.12 ± 0.02."},
            "regularisation": {"verdict": "not matched", "text": "KL is 0.141."},
        },
        "figures": [
            {
                "file": "plots/traversals.png",
                "title": "Traversals",
                "caption": "Along quantiles.",
                "alt": "Rows of images.",
            },
            {
                "file": "plots/moving.gif",
                "title": "Moving traversals",
                "caption": "The same.",
                "alt": "An animation.",
            },
        ],
        "dropped": {"text": "Dimension 3 is constant."},
    }


RESULTS = {
    "test/elbo": {"value": -1.52237, "standard_error": 0.15739, "n": 400},
    "test/divergence": {"value": 0.14713, "standard_error": 0.011694, "n": 400},
    "test/new_number": {"value": 7.0, "standard_error": 0.5, "n": 400},
}
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


def write_evaluation(files: RunFiles, value: dict[str, Any]) -> None:
    write_json(files.root / "evaluation.json", value)


def write_images(files: RunFiles) -> None:
    files.plots.mkdir(parents=True, exist_ok=True)
    for index, name in enumerate(
        ("training_curves", "samples", "reconstructions", "traversals")
    ):
        (files.plots / f"{name}.png").write_bytes(png(1650, 300, 200 + index))
    (files.plots / "moving.gif").write_bytes(GIF)


@pytest.fixture
def files(tmp_path: Path) -> RunFiles:
    """A finished run with its evaluation."""
    files = RunFiles(tmp_path / "run")
    config = ExperimentConfig(
        prior="normal_mixture", divergence="inclusive_kl", alpha=5.0, beta=0.01
    )
    write_text(files.config, config.to_flags())
    write_json(
        files.environment,
        {
            "versions": {"keras": "3.15.1", "tf-decomp": None},
            "devices": [{"type": "CPU", "name": "/device:CPU:0"}],
            "seconds": 19.96990728378296,
        },
    )
    files.write_history(
        [
            {"epoch": 1, "loss": 9.0, "elbo": -9.0, "val_loss": 8.0},
            {"epoch": 2, "loss": 1.23456, "elbo": -1.5, "val_loss": 2.34567},
        ]
    )
    write_json(files.metrics, RESULTS)
    write_images(files)
    write_evaluation(files, evaluation())
    return files


def render(files: RunFiles) -> Page:
    path = render_report(files)
    assert path == files.root / "report.html"
    return Page(path.read_text(encoding="utf-8"))


def section_titles(page: Page) -> list[str]:
    return page.texts("h2")[1:]  # behind that of the contents


# -- structure ----------------------------------------------------------------------


def test_sections_and_headings_in_order(files: RunFiles) -> None:
    page = render(files)
    assert section_titles(page) == list(SECTIONS.values())
    assert page.texts("h1") == ["pinwheel: normal-mixture prior, beta 0.01, alpha 5"]
    levels = [int(node["tag"][1]) for node in page.all("h1", "h2", "h3", "h4")]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert max(np.diff(levels)) <= 1  # none is skipped on the way down
    assert page.texts("h3") == [
        "Factor (a): overlap of the encodings",
        "Factor (b): match of q(z) and the prior",
        "Objective on the test set",
        "Match of q(z) and p(z)",
        "Overlap of encodings",
        "Disentanglement",
        "Dimensions left out",
        "Traversals",
        "Moving traversals",
    ]


def test_landmarks_anchors_and_contents(files: RunFiles) -> None:
    page = render(files)
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


def test_tables_are_labelled_and_scroll(files: RunFiles) -> None:
    page = render(files)
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


def test_every_metric_with_error_chance_and_n(files: RunFiles) -> None:
    page = render(files)
    texts = page.texts("tr")
    for expected in (
        "mutual information bound log n 4.123 ± 0.021 nats 0 5.99 5.99 1,000",
        "KL(q(z) ‖ p(z)) 0.1410 ± 0.0093 1,000",
        "FactorVAE score higher is better 0.8312 ± 0.0042 0 1 0.200 ± 0.011 1 737,280",
        "SAP one factor only n/a – – n/a",
        "ELBO higher is better −1.52 ± 0.16 nats 400",
        "divergence D(q(z), p(z)) lower is better 0.147 ± 0.012 nats 400",
        "new number 7.00 ± 0.50 400",
    ):
        assert expected in texts
    text = " ".join(page.texts("main"))
    assert not re.search(r"\d\.\d{7}", text.replace("10⁻", ""))


def test_a_metric_of_both_files_is_shown_once(files: RunFiles) -> None:
    value = evaluation()
    value["metrics"].append({**metric("likelihood", "ELBO", 1.0), "key": "test/elbo"})
    write_evaluation(files, value)
    names = [text for text in render(files).texts("th") if text.startswith("ELBO")]
    assert names == ["ELBO", "ELBO"]  # the evaluation's, and the history's last row


def test_mmd_has_no_unit(files: RunFiles) -> None:
    config = ExperimentConfig(divergence="dimensionwise_mmd", alpha=2.0)
    write_text(files.config, config.to_flags())
    assert "divergence D(q(z), p(z)) lower is better 0.147 ± 0.012 400" in render(
        files
    ).texts("tr")


def test_verdicts_link_to_their_numbers(files: RunFiles) -> None:
    page = render(files)
    text = " ".join(page.texts("main"))
    for verdict in evaluation()["verdicts"].values():
        assert verdict["verdict"] in text
        assert verdict["text"] in text
    more = [node for node in page.all("a") if node["text"].startswith("All numbers")]
    assert [node["href"] for node in more] == [
        "#metrics-overlap",
        "#metrics-regularisation",
    ]


# -- images, and nothing from elsewhere ----------------------------------------------


def test_images_are_embedded_in_order_with_words(files: RunFiles) -> None:
    images = render(files).all("img")
    names = (
        "training_curves.png",
        "samples.png",
        "reconstructions.png",
        "traversals.png",
        "moving.gif",
    )
    for image, name in zip(images, names, strict=True):
        kind, _, data = image["src"].partition(";base64,")
        assert kind == f"data:image/{name[-3:]}"
        assert base64.b64decode(data) == (files.plots / name).read_bytes()
        assert len(image["alt"]) > 10
        assert "figure" in image["parents"]
        # 150 dots per inch become 96
        assert image.get("width") == ("1056" if name.endswith("png") else None)
    assert [image["alt"] for image in images[3:]] == [
        figure["alt"] for figure in evaluation()["figures"]
    ]
    assert "details" in images[4]["parents"]  # moves only for who asks for it
    assert "details" not in images[3]["parents"]


def test_a_plot_that_the_evaluation_lists_stands_only_there(files: RunFiles) -> None:
    value = evaluation()
    value["figures"].insert(0, {"file": "plots/samples.png", "title": "", "alt": ""})
    write_evaluation(files, value)
    page = render(files)
    assert "Samples" not in section_titles(page)
    images = page.all("img")
    assert len(images) == 5
    assert images[2]["alt"] == "samples"


def test_page_needs_nothing_else(files: RunFiles) -> None:
    page = render(files)
    assert not page.all("script", "iframe", "object", "embed", "base")
    for node in page.tags:
        for name, value in node.items():
            assert not name.startswith("on")
            if name in ("src", "href", "srcset", "xlink:href", "action"):
                assert value.startswith(("data:", "#"))
    html = (files.root / "report.html").read_text(encoding="utf-8")
    assert "http://" not in html
    assert "https://" not in html
    style = page.texts("style")[0]
    assert "url(" not in style
    assert "@import" not in style
    policy = [node for node in page.all("meta") if "http-equiv" in node]
    assert policy[0]["content"].startswith("default-src 'none'")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast(files: RunFiles, scheme: str) -> None:
    """WCAG 2 asks for 4.5 of text, 3 of drawings."""
    style = render(files).texts("style")[0]
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
    hostile = evaluation()
    hostile["title"] = HOSTILE
    hostile["metrics"] = [metric(HOSTILE, HOSTILE, 1.0, unit=HOSTILE, note=HOSTILE)]
    hostile["groups"] = {HOSTILE: {"title": HOSTILE, "text": HOSTILE}}
    hostile["verdicts"] = {HOSTILE: {"verdict": HOSTILE, "text": HOSTILE}}
    hostile["dropped"] = {"text": HOSTILE}
    for figure in hostile["figures"]:
        figure |= {"title": HOSTILE, "caption": HOSTILE, "alt": HOSTILE}
    write_evaluation(files, hostile)
    write_text(files.config, f"--dataset=npz:{HOSTILE}\n--{HOSTILE}=3\n--bad\n")
    write_json(files.environment, {HOSTILE: {HOSTILE: [HOSTILE]}})
    write_json(files.metrics, {HOSTILE: {"value": 1.0, "standard_error": 0.1, "n": 1}})
    page = render(files)
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
    (["plots/traversals.png"], set()),
    (["plots/traversals.png", "plots/moving.gif"], {"figures"}),
    (["metrics.json"], set()),
    (["evaluation.json"], {"verdict", "figures"}),
    (["evaluation.json", "metrics.json"], {"verdict", "figures", "metrics"}),
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


def check_no_empty_headings(page: Page) -> None:
    headings = {node.get("id") for node in page.all("h2", "h3")}
    for node in page.all("section"):
        assert node["aria-labelledby"] in headings
        assert node["size"] > 0


def test_codes_of_another_model(tmp_path: Path) -> None:
    files = RunFiles(tmp_path)
    value = evaluation() | {"title": "Codes of my encoder", "dropped": None}
    write_evaluation(files, value)
    write_images(files)
    for name in ("training_curves", "samples", "reconstructions"):
        (files.plots / f"{name}.png").unlink()
    page = render(files)
    assert page.texts("h1") == ["Codes of my encoder"]
    assert section_titles(page) == ["Verdict", "Metrics", "Latent space"]
    assert "Dimensions left out" not in page.texts("h3")
    assert "Objective on the test set" not in page.texts("h3")


def test_metrics_alone(tmp_path: Path) -> None:
    files = RunFiles(tmp_path)
    write_evaluation(files, {"metrics": [metric("overlap", "active units", 3)]})
    page = render(files)
    assert page.texts("h1") == ["Evaluation of a representation"]
    assert section_titles(page) == ["Metrics"]
    assert page.texts("h3") == ["Overlap"]
    assert page.texts("tr") == [
        "Metric Value ± standard error n",
        "active units 3 1,000",
    ]
    assert not page.all("svg")  # nothing to hold the value to


def one_line(error: pytest.ExceptionInfo[InputError], *parts: str) -> None:
    message = str(error.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


def test_nothing_to_report(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        render_report(RunFiles(tmp_path))
    one_line(error, str(tmp_path), "evaluation.json", "bin/evaluate.py")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["{", "[1]", "3"])
def test_file_that_is_no_object_keeps_the_old_report(
    files: RunFiles, text: str
) -> None:
    render_report(files)
    before = (files.root / "report.html").read_bytes()
    write_text(files.root / "evaluation.json", text)
    with pytest.raises(InputError) as error:
        render_report(files)
    one_line(error, "evaluation.json", "expected")
    assert (files.root / "report.html").read_bytes() == before
    assert not [path for path in files.root.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("name", ["../secret.png", "config.flags", "/etc/hostname"])
def test_only_images_of_the_folder(files: RunFiles, name: str) -> None:
    (files.root.parent / "secret.png").write_bytes(png(2, 2))
    write_evaluation(files, {"figures": [{"file": name, "title": "x"}]})
    with pytest.raises(InputError) as error:
        render_report(files)
    one_line(error, name, ".png")


def test_without_jinja(files: RunFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(InputError) as error:
        render_report(files)
    one_line(error, "Jinja2", "pip install")
    assert not (files.root / "report.html").exists()


def test_same_files_same_report(files: RunFiles) -> None:
    first = render_report(files).read_bytes()
    assert render_report(files).read_bytes() == first


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


def test_bar_places() -> None:
    bar = place_bar(
        {
            "value": 0.5,
            "standard_error": 0.05,
            "chance": 0.25,
            "chance_standard_error": 0.125,
            "bound": 1.0,
        }
    )
    assert bar is not None
    assert bar == (80.0, (65.2, 94.8), 43.0, (6.0, 80.0), 154.0, "0", "1")


def test_bar_of_a_negative_value_and_of_a_value_beyond_its_bound() -> None:
    bar = place_bar({"value": -3.0, "standard_error": 0.5, "chance": 1.0})
    assert bar is not None
    assert (bar.start, bar.end, bar.bound) == ("−4", "1", None)
    assert bar.value == pytest.approx(6 + 148 / 5)
    bar = place_bar({"value": 1.5, "bound": 1.0})
    assert bar is not None
    assert (bar.value, bar.end) == (154.0, "1.5")
    assert bar.bound == pytest.approx(6 + 148 * 2 / 3, abs=0.05)


def test_whisker_ends_at_a_bound_that_the_value_respects() -> None:
    bar = place_bar({"value": 0.99, "standard_error": 0.1, "bound": 1.0})
    assert bar is not None
    assert bar.whisker[1] == bar.bound == 154.0
    assert bar.end == "1"


@pytest.mark.parametrize(
    "metric",
    [
        {"value": 1.0, "standard_error": 0.1},
        {"value": None, "chance": 0.2},
        {"value": float("inf"), "bound": 1.0},
        {"value": 0.0, "chance": 0.0},
    ],
)
def test_no_bar(metric: dict[str, Any]) -> None:
    assert place_bar(metric) is None


# -- words about the training --------------------------------------------------------


@pytest.mark.parametrize("prior", PRIORS)
def test_sentence_of_every_prior(prior: str, tmp_path: Path) -> None:
    config = ExperimentConfig(
        dataset="dsprites", prior=prior, df=7.0, latent_dim=2, max_train_examples=500
    )
    write_text(tmp_path / "config.flags", config.to_flags())
    text = describe_training(read_settings(tmp_path / "config.flags"))
    text = text.replace("\u00a0", " ")
    assert "unknown" not in text
    assert "{" not in text
    assert "_" not in text
    assert "with 2 latent dimensions" in text
    assert "trained on 500 examples of dSprites" in text
    assert "beta = 1 weighs KL(q(z|x) ‖ p(z))" in text
    assert "(alpha = 0)" in text
    assert ("7 degrees of freedom" in text) == (prior == "student_t")


def test_sentence_of_a_divergence_and_of_other_settings() -> None:
    known = {"alpha": "5.0", "divergence": "dimensionwise_mmd", "latent_dim": "1"}
    text = describe_training(known).replace("\u00a0", " ")
    assert "alpha = 5 weighs the dimension-wise MMD" in text
    assert "1 latent dimension," in text
    assert "beta = unknown" in text
    assert name_run({"dataset": "npz:a.npz"}).startswith("npz:a.npz: unknown prior")


def test_settings_are_all_there_and_unused_ones_say_so(files: RunFiles) -> None:
    write_text(files.config, files.config.read_text() + "--new_flag=3\n# note\n\n")
    page = render(files)
    rows, names = page.texts("tr"), page.texts("th")
    for line in ExperimentConfig().to_flags().splitlines():
        name = line.removeprefix("--").partition("=")[0]
        assert names.count(name) == 1
    assert "new_flag 3" in rows
    assert "gamma 0.8 (not used)" in rows
    assert "mixture_variance 0.03" in rows
    assert "data_dir not set" in rows
    assert "max_train_examples 0 (all)" in rows


def test_environment_and_last_epoch_in_words(files: RunFiles) -> None:
    rows = render(files).texts("tr")
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
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        message = "no Chromium; on Debian: apt-get install chromium"
        if os.environ.get("TF_DECOMP_REQUIRE_BROWSER") == "1":
            pytest.fail(message)
        pytest.skip(message)
    return found


def browse(browser: str, path: Path, profile: Path, *flags: str) -> tuple[str, str]:
    """Gives the DOM after loading and the lines of the console."""
    profile.mkdir()  # new and empty
    run = subprocess.run(
        [
            browser,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
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
    value = evaluation()
    value["title"] = "averylongnamewithoutanyspaceinit" * 4
    value["metrics"].append(metric("overlap", "verylongname" * 8, 1e5, unit="u" * 30))
    write_evaluation(files, value)
    config = files.config.read_text().replace("pinwheel", "npz:/a" + "/folder" * 20)
    write_text(files.config, config)
    html = render_report(files).read_text(encoding="utf-8")
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
    path = render_report(files)
    dom, console = browse(browser, path, tmp_path / "first")
    assert console == ""
    assert "Environment" in Page(dom).texts("h2")
    # The console is really read: a script, which the page forbids, shows in it.
    text = path.read_text(encoding="utf-8").replace("</body>", PROBE)
    (tmp_path / "scripted.html").write_text(text, encoding="utf-8")
    _, console = browse(browser, tmp_path / "scripted.html", tmp_path / "second")
    assert "Content Security Policy" in console


def test_one_of_a_thing_has_no_plural_and_names_are_names() -> None:
    settings = {
        **ExperimentConfig().to_texts(),
        "epochs": "1",
        "latent_dim": "1",
        "likelihood": "bernoulli",
        "max_train_examples": "200000",
    }
    text = describe_training(settings)
    assert "with 1 latent dimension," in text
    assert "for 1 epoch in" in text
    assert "a Bernoulli likelihood" in text
    assert "200,000 examples of" in text
