# SPDX-License-Identifier: Apache-2.0
"""Packaging of tf_decomp."""

from pathlib import Path

from setuptools import find_packages, setup

setup(
    name="tf-decomp",
    version="0.1.0",
    description="Variational autoencoders whose latents decompose as their prior says",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    packages=find_packages(include=["tf_decomp", "tf_decomp.*"]),
    package_data={"tf_decomp.evaluation.report": ["templates/*"]},
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
            "Jinja2>=3.1.6,<4",
            "hypothesis>=6.170,<7",
            "import-linter>=2.17,<3",
            "mypy>=1.15,<3",
            "pytest>=8.3,<10",
            "pytest-xdist>=3.6,<4",
            "ruff>=0.9,<1",
            "submitit>=1.5.4,<1.6",
        ],
        "serving": [],
        "sweep": ["submitit>=1.5.4,<1.6"],
        "bench": ["torch==2.13.0"],
        "report": ["Jinja2>=3.1.6,<4"],
        "gpu": ["tensorflow[and-cuda]>=2.20,<2.22"],
    },
    classifiers=[
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
