# SPDX-License-Identifier: Apache-2.0
"""Property-based tests that are the same in every run, and bounded."""

from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, settings


def bounded(max_examples: int) -> Callable[[Any], Any]:
    """Returns the settings of a property-based test.

    Args:
        max_examples: How many examples are tried.
    """
    return settings(
        max_examples=max_examples,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=[*HealthCheck],
    )
