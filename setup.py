# SPDX-License-Identifier: Apache-2.0
"""Packaging of tf_decomp."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
INIT = (ROOT / "tf_decomp" / "__init__.py").read_text(encoding="utf-8")

REPORT = ["Jinja2>=3.1.6,<4"]
SWEEP = ["submitit>=1.5.4,<1.6"]
NOTEBOOKS = ["mlxtend>=0.23,<1"]
SERVING = [
    "ai-edge-litert>=2.3,<3",
    "onnx>=1.23,<2",
    "onnxruntime>=1.32,<2",
    "openvino>=2026.4,<2027",
    "tf2onnx>=1.17,<2",
]

setup(
    name="tf-decomp",
    version=re.findall(r'^__version__ = "(.+)"$', INIT, re.MULTILINE)[0],
    description="Variational autoencoders whose latents decompose as their prior says",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    author="The tf-decomp developers",
    url="https://proceedings.mlr.press/v97/mathieu19a.html",  # the paper
    packages=[
        *find_packages(include=["tf_decomp", "tf_decomp.*"]),
        "tf_decomp.configs",
    ],
    package_dir={"tf_decomp.configs": "configs"},
    package_data={
        "tf_decomp": ["py.typed"],
        "tf_decomp.configs": ["*.flags"],
        "tf_decomp.evaluation.explorer": ["templates/*", "onnxruntime_web/*"],
        "tf_decomp.evaluation.report": ["templates/*"],
    },
    py_modules=["tf_decomp_start"],
    entry_points={
        "console_scripts": [
            f"tf-decomp-{name} = tf_decomp_start:{name}"
            for name in ("train", "evaluate", "export", "sweep")
        ]
    },
    python_requires=">=3.11,<3.14",
    install_requires=[
        "absl-py>=2.1,<3",
        "importlib_resources>=6",  # tensorflow-datasets imports it undeclared
        "keras>=3.12,<3.16",
        "matplotlib>=3.9,<4",
        "ml-dtypes>=0.5.1,<1",
        "numpy>=2.1,<3",
        "pillow>=11,<14",
        "scikit-learn>=1.6,<2",
        "scipy>=1.14,<2",
        "tensorboard>=2.20,<2.22",
        "tensorflow>=2.20,<2.22",
        "tensorflow-datasets>=4.9.10,<5",
        "tensorflow-probability>=0.25,<0.26",
        "tf-keras>=2.20,<2.22",  # tensorflow-probability's layers are made of it
    ],
    extras_require={
        "test": [
            *REPORT,
            *SWEEP,
            *SERVING,
            *NOTEBOOKS,
            "hypothesis>=6.170,<7",
            "import-linter>=2.17,<3",
            "mypy>=1.15,<3",
            "pytest>=8.3,<10",
            "pytest-xdist>=3.6,<4",
            "ruff>=0.9,<1",
            "tensorflow-serving-api>=2.20,<2.22",
        ],
        "all": [*REPORT, *SWEEP, *SERVING],
        "serving": SERVING,
        "sweep": SWEEP,
        "bench": ["torch==2.13.0"],
        "docs": [
            "ipykernel>=6,<8",
            "mkdocs-jupyter>=0.26,<0.27",
            "mkdocs-material>=9.6,<10",
            "mkdocstrings[python]>=1,<2",
            *NOTEBOOKS,
        ],
        "report": REPORT,
        "gpu": ["tensorflow[and-cuda]>=2.20,<2.22"],
    },
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Science/Research",
        "Operating System :: OS Independent",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
)
