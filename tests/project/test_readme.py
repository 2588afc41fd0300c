# SPDX-License-Identifier: Apache-2.0
"""The README's programs run as they stand, and its links lead somewhere."""

import re
from pathlib import Path

import pytest
from processes import run_python

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PROGRAMS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


@pytest.mark.parametrize("program", PROGRAMS, ids=["fit", "serve"])
def test_program_runs(program, monkeypatch):
    monkeypatch.chdir(ROOT)
    names = {}
    exec(compile(program, "README.md", "exec"), names)
    assert names.keys() & {"vae", "parts"}


def test_fit_program_is_short():
    lines = [line for line in PROGRAMS[0].splitlines() if line.strip()]
    assert len(lines) <= 15


@pytest.mark.slow
def test_fit_program_is_quiet(monkeypatch):
    """Libraries' notes do not appear where tf_decomp is the first that is imported."""
    for name in ("TF_CPP_MIN_LOG_LEVEL", "TF_ENABLE_ONEDNN_OPTS"):
        monkeypatch.delenv(name, raising=False)
    out, err = run_python("-c", PROGRAMS[0])
    assert "Epoch 5/5" in out
    assert err == ""


def test_links_exist():
    prose = re.sub(r"```.*?```", "", README, flags=re.DOTALL)
    targets = re.findall(r"\]\(([^)#]+)\)", prose)
    assert targets
    missing = [t for t in targets if "://" not in t and not (ROOT / t).exists()]
    assert not missing
