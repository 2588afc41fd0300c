# SPDX-License-Identifier: Apache-2.0
"""What `pip install` gives: the package's files, its commands, its configs."""

import re
import subprocess
import sys
import zipfile
from pathlib import Path
from shutil import copy, copytree, ignore_patterns

import pytest
from processes import ROOT

import tf_decomp

NEEDED = ("setup.py", "pyproject.toml", "README.md", "LICENSE", "tf_decomp_start.py")
COMMANDS = ["train", "evaluate", "export", "sweep"]


def run(*command: object, cwd: Path, seconds: float = 900) -> str:
    """Runs a program as a user elsewhere does; returns what it printed."""
    result = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={"PATH": "/usr/bin:/bin", "HOME": str(cwd)} | pip_settings(),
        capture_output=True,
        text=True,
        timeout=seconds,
    )
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-4000:]
    return result.stdout


def pip_settings() -> dict[str, str]:
    """Where pip looks for packages on this machine."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    lines = subprocess.run(command, capture_output=True, text=True).stdout.splitlines()
    pairs = (line.partition("=") for line in lines if line.startswith("global."))
    return {
        f"PIP_{name[7:].upper().replace('-', '_')}": value.strip("'").replace(
            "\\n", " "
        )
        for name, _, value in pairs
    }


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of the sources, without what lies about in the folder."""
    source = tmp_path_factory.mktemp("source")
    for name in NEEDED:
        copy(ROOT / name, source)
    for name in ("tf_decomp", "configs"):
        copytree(ROOT / name, source / name, ignore=ignore_patterns("__pycache__"))
    options = ("--no-deps", "--quiet", "--disable-pip-version-check")
    run(sys.executable, "-m", "pip", "wheel", *options, ".", cwd=source)
    (path,) = source.glob("*.whl")
    return path


def test_wheel_holds_the_package_and_its_data(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    package = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "tf_decomp").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    configs = {f"tf_decomp/{path.relative_to(ROOT)}" for path in ROOT.glob("configs/*")}
    assert package | configs | {"tf_decomp_start.py"} <= names
    others = {name.partition("/")[0] for name in names}
    version = tf_decomp.__version__
    assert others == {
        "tf_decomp",
        "tf_decomp_start.py",
        f"tf_decomp-{version}.dist-info",
    }


def test_one_version() -> None:
    citation = (ROOT / "CITATION.cff").read_text()
    changes = (ROOT / "CHANGELOG.md").read_text()
    assert re.findall(r"^version: (.+)$", citation, re.M) == [tf_decomp.__version__]
    assert re.findall(r"^## ([\d.]+)", changes, re.M)[0] == tf_decomp.__version__


def test_installed_elsewhere_without_extras(wheel: Path, tmp_path: Path) -> None:
    """The configs are found in the package, and so are the programs."""
    target = tmp_path / "site"
    options = ("--no-deps", "--quiet", "--target", target)
    run(sys.executable, "-m", "pip", "install", *options, wheel, cwd=tmp_path)
    program = f"""
import sys
sys.path.insert(0, {str(target)!r})
import tf_decomp.cli, tf_decomp_start
assert tf_decomp.__file__.startswith({str(target)!r})
print(*map(str, tf_decomp.cli.shipped_configs().values()), sep="\\n")
sys.argv = ["tf-decomp-train", "--help"]
tf_decomp_start.train()
"""
    lines = run(sys.executable, "-c", program, cwd=tmp_path).splitlines()
    assert lines[:3] == sorted(map(str, target.glob("tf_decomp/configs/*.flags")))
    assert "Prior p(z)" in lines


@pytest.mark.slow
def test_a_new_environment_trains_evaluates_and_exports(
    wheel: Path, tmp_path: Path
) -> None:
    run(sys.executable, "-m", "venv", tmp_path / "venv", cwd=tmp_path)
    bin_folder = tmp_path / "venv" / "bin"
    run(bin_folder / "pip", "install", "--quiet", f"{wheel}[all]", cwd=tmp_path)
    for name in COMMANDS:
        program = bin_folder / f"tf-decomp-{name}"
        assert run(program, "--help", cwd=tmp_path).count("--") > 2
    train, evaluate, export = (bin_folder / f"tf-decomp-{n}" for n in COMMANDS[:3])
    out = run(train, "--config=pinwheel", "--epochs=20", cwd=tmp_path)
    assert "files: runs/pinwheel" in out
    run(evaluate, "--run_dir=runs/pinwheel", "--explorer", cwd=tmp_path)
    for page in ("report", "explorer"):
        assert (tmp_path / f"runs/pinwheel/{page}.html").stat().st_size > 100_000
    formats = "--format=onnx,openvino,litert"
    run(export, "--run_dir=runs/pinwheel", "--export_dir=served", formats, cwd=tmp_path)
    for file in ("saved_model.pb", "onnx/decode.onnx", "openvino/decode.xml"):
        assert (tmp_path / "served/1" / file).is_file()
    assert (tmp_path / "served/1/litert/decode.tflite").is_file()
