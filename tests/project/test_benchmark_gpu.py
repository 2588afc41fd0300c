# SPDX-License-Identifier: Apache-2.0
"""The benchmark of what a GPU does otherwise: skipped without one, and its parts."""

import json
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from benchmarks import gpu
from benchmarks.timing import Settings

QUICK = Settings(0.05, True)


@pytest.mark.parametrize("has_cuda", [False, True])
def test_without_a_gpu_it_says_why(
    has_cuda: bool, tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda *_: [])
    monkeypatch.setattr(tf.test, "is_built_with_cuda", lambda: has_cuda)
    monkeypatch.setattr(gpu, "measure_alone", None)
    gpu.run(True, tmp_path / "gpu.json")
    out = capsys.readouterr().out
    assert out.startswith("GPU: skipped, ")
    assert out.count("\n") == 1
    assert ("sees no GPU" in out) == has_cuda
    skipped = json.loads((tmp_path / "gpu.json").read_text())["skipped"]
    assert skipped in out


def test_with_a_gpu_both_ways_are_measured(
    tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    asked = []

    def measure(module: str, name: str, quick: bool) -> dict[str, float]:
        asked.append(name)
        assert (module, quick) == ("benchmarks.gpu", True)
        return {"value": 2.0 if name in ours else 4.0}

    ours = [pair.of_gpu for pair in gpu.PAIRS]
    monkeypatch.setattr(gpu, "why_skipped", lambda: "")
    monkeypatch.setattr(gpu, "measure_alone", measure)
    gpu.run(True, tmp_path / "gpu.json")
    assert sorted(asked) == sorted(gpu.WORKLOADS)
    pairs = json.loads((tmp_path / "gpu.json").read_text())["pairs"]
    assert [pair["ratio"] for pair in pairs] == [0.5, 0.5, 2.0, 0.5]
    assert capsys.readouterr().out.count("\n") == len(gpu.PAIRS)


@pytest.mark.parametrize(
    "name",
    [
        "mmd_cached",
        "pipeline_serial",
        *(
            pytest.param(n, marks=pytest.mark.slow)
            for n in ("dsprites_xla", "dsprites")
        ),
    ],
)
def test_workloads_run_on_a_cpu_too(name: str) -> None:
    assert gpu.WORKLOADS[name](QUICK)["value"] > 0
