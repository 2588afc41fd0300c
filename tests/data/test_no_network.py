# SPDX-License-Identifier: Apache-2.0
"""Data sets that would be downloaded where no server answers, and broken ones."""

import http.client
import ssl
import urllib.error
import urllib.request
from email.message import Message
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from tf_decomp.data import images, load_tfds
from tf_decomp.errors import InputError


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Nothing answers; lists who was asked, and lets nobody download."""
    urls: list[str] = []

    def refuse(request: urllib.request.Request, timeout: float) -> None:
        assert timeout == 10.0
        assert request.get_method() == "HEAD"
        urls.append(request.full_url)
        raise urllib.error.URLError("name not known")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    monkeypatch.setattr(tfds.download.DownloadManager, "download", pytest.fail)
    return urls


@pytest.mark.parametrize("name", ["mnist", "cifar10", "emnist/letters"])
def test_each_source_is_tried_once(tmp_path: Path, asked: list[str], name: str) -> None:
    with pytest.raises(InputError, match="no answer from") as raised:
        load_tfds(name, tmp_path)
    message = str(raised.value)
    assert "\n" not in message
    for way in ("where there is a network", "copy that folder", "npz:PATH"):
        assert way in message
    assert str(tmp_path) in message
    assert 1 <= len(asked) <= 3
    hosts = [url.split("/")[2] for url in asked]
    assert len({*hosts}) == len(hosts)
    assert all(host in message for host in hosts)


def test_what_is_prepared_or_a_mock_asks_nobody(asked: list[str]) -> None:
    with tfds.testing.mock_data(num_examples=20):
        assert load_tfds("mnist").train.x.shape == (18, 28, 28, 1)
    assert not asked


@pytest.mark.parametrize(
    ("error", "answers"),
    [
        (urllib.error.HTTPError("u", 403, "Forbidden", Message(), None), True),
        (urllib.error.URLError(ssl.SSLCertVerificationError("unknown issuer")), True),
        (urllib.error.URLError(TimeoutError("timed out")), False),
        (urllib.error.URLError("name not known"), False),
        (TimeoutError("timed out"), False),
        (ConnectionResetError("reset"), False),
        (http.client.RemoteDisconnected("gone"), False),
        (ValueError("unknown url type"), False),
    ],
)
def test_which_errors_are_an_answer(
    monkeypatch: pytest.MonkeyPatch, error: Exception, answers: bool
) -> None:
    def fail(*arguments: Any, **others: Any) -> None:
        raise error

    monkeypatch.setattr(urllib.request, "urlopen", fail)
    assert images._answers("https://example.org/data.gz") is answers


@pytest.mark.parametrize(
    "name",
    ["huggingface:mnist", "a:b:c", "mnist/none", "mnist:9.9.9", "", "../mnist", "a\0b"],
)
def test_names_that_tfds_does_not_have(
    tmp_path: Path, asked: list[str], name: str
) -> None:
    with pytest.raises(InputError, match="TFDS has no data set") as raised:
        load_tfds(name, tmp_path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("value", [3.0, -0.5])
def test_images_that_are_not_scaled_are_not_clipped(
    monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    def as_dataset(self: object, **kwargs: object) -> tf.data.Dataset:
        image = np.full((28, 28, 1), value, np.float32)
        return tf.data.Dataset.from_tensors({"image": image, "label": 0}).repeat(20)

    feature = tfds.features.Image
    monkeypatch.setattr(feature, "np_dtype", np.float32)
    with (
        tfds.testing.mock_data(as_dataset_fn=as_dataset),
        pytest.raises(InputError, match=r"must be in 0\.\.1, .* kept as they are"),
    ):
        load_tfds("mnist")


def test_damaged_records_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def as_dataset(self: object, **kwargs: object) -> tf.data.Dataset:
        def example(number: tf.Tensor) -> dict[str, tf.Tensor]:
            image = tf.ensure_shape(tf.io.decode_png(b"no picture"), [28, 28, 1])
            return {"image": image, "label": number}

        return tf.data.Dataset.range(5).map(example)

    with (
        tfds.testing.mock_data(as_dataset_fn=as_dataset),
        pytest.raises(
            InputError, match="could not read mnist .* remove that"
        ) as raised,
    ):
        load_tfds("mnist")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("image_size", [10**6, 10**12])
def test_images_of_millions_of_pixels_a_side(image_size: int) -> None:
    with (
        tfds.testing.mock_data(num_examples=20),
        pytest.raises(InputError, match="GB of memory at least; .* smaller image_size"),
    ):
        load_tfds("mnist", image_size=image_size)
