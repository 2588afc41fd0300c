# SPDX-License-Identifier: Apache-2.0
"""The one exception that says the caller's input is at fault."""


class InputError(ValueError):
    """A value that the caller gave is not usable.

    The message is one line: what was expected, what was received, what to do.
    Command-line programs print it alone and exit with status 1.

    Example:
        >>> raise InputError("beta must be >= 0; received -1.0")
        Traceback (most recent call last):
        tf_decomp.errors.InputError: beta must be >= 0; received -1.0
    """
