# SPDX-License-Identifier: Apache-2.0
"""A headless Chromium that tests press, drag and read, over pipes: no network."""

import base64
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

_MOST_SECONDS = 120
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def find_browser() -> str:
    """The name of Chromium, whose absence is a failure where it is required."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        message = "no Chromium; on Debian: apt-get install chromium"
        if os.environ.get("TF_DECOMP_REQUIRE_BROWSER") == "1":
            pytest.fail(message)
        pytest.skip(message)
    return found


class Tab:
    """One page of a browser, spoken to in the DevTools protocol."""

    def __init__(self, requests: int, answers: int) -> None:
        self._requests, self._answers = requests, answers
        self._left, self._number, self._session = b"", 0, ""
        self.events: list[dict[str, Any]] = []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        attached = self.send("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._requests, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + _MOST_SECONDS
        while True:
            answer = self._receive(deadline - time.monotonic())
            if answer.get("id") == self._number:
                assert "error" not in answer, answer["error"]
                return answer["result"]
            self.events.append(answer)

    def _receive(self, seconds: float) -> dict[str, Any]:
        while b"\0" not in self._left:
            ready, _, _ = select.select([self._answers], [], [], max(seconds, 0))
            assert ready, f"Chromium did not answer within {_MOST_SECONDS} s"
            read = os.read(self._answers, 2**16)
            assert read, "Chromium has ended"
            self._left += read
        line, _, self._left = self._left.partition(b"\0")
        return json.loads(line)

    def open(
        self, path: Path, width: int, height: int = 800, dark: bool = False
    ) -> None:
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 500,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])
        self.send("Page.navigate", url=path.as_uri())

    def run(self, script: str) -> Any:
        """Returns the value of an expression, waited for where it is a promise."""
        result = self.send(
            "Runtime.evaluate",
            expression=script,
            returnByValue=True,
            awaitPromise=True,
        )
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def wait(self, condition: str) -> Any:
        """Returns an expression's value once it is true."""
        deadline = time.monotonic() + _MOST_SECONDS
        while not (value := self.run(condition)):
            assert time.monotonic() < deadline, f"never true: {condition}"
            time.sleep(0.02)
        return value

    def press(self, key: str) -> None:
        codes = {"Enter": 13, "End": 35, "ArrowUp": 38, "ArrowRight": 39}
        text = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            self.send(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code=key,
                windowsVirtualKeyCode=codes[key],
                **(text if kind == "keyDown" else {}),
            )

    def drag(self, places: list[tuple[float, float]]) -> None:
        """Presses at the first place, moves through all, and lets go at the last."""
        kinds = ["mousePressed", *["mouseMoved"] * (len(places) - 1), "mouseReleased"]
        for kind, (x, y) in zip(kinds, [*places, places[-1]], strict=True):
            self.send(
                "Input.dispatchMouseEvent",
                type=kind,
                x=x,
                y=y,
                button="left",
                buttons=int(kind != "mouseReleased"),
                clickCount=1,
            )

    def touch(self, places: list[tuple[float, float]]) -> None:
        """Does the same with a finger."""
        kinds = ["touchStart", *["touchMove"] * (len(places) - 1)]
        for kind, (x, y) in zip(kinds, places, strict=True):
            points = [{"x": x, "y": y}]
            self.send("Input.dispatchTouchEvent", type=kind, touchPoints=points)
        self.send("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def screenshot(self, path: Path) -> None:
        shot = self.send("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))


@contextmanager
def browse(profile: Path) -> Iterator[Tab]:
    """Starts a browser and ends it."""
    reads, requests = os.pipe()
    answers, writes = os.pipe()
    own = ("--remote-debugging-pipe", f"--user-data-dir={profile}")
    flags = [find_browser(), *FLAGS, *own]
    # The protocol's files are numbers 3 and 4.
    shell = ["bash", "-c", f'exec "$0" "$@" 3<&{reads} 4>&{writes}', *flags]
    process = subprocess.Popen(
        shell, pass_fds=[reads, writes], stderr=subprocess.DEVNULL
    )
    os.close(reads)
    os.close(writes)
    try:
        yield Tab(requests, answers)
    finally:
        os.close(requests)
        process.terminate()
        process.wait(timeout=30)
        os.close(answers)
