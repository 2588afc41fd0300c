# SPDX-License-Identifier: Apache-2.0
"""What mkdocstrings must know of our docstrings."""

from typing import Any

import griffe


class ShowExamples(griffe.Extension):
    """Shows a section `Example:` as code, which the parser knows as `Examples:`."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Renames the section of an object that was read."""
        if obj.docstring:
            text = obj.docstring.value.replace("\nExample:\n", "\nExamples:\n")
            obj.docstring.value = text
