# SPDX-License-Identifier: Apache-2.0
"""The programs: tf-decomp-train, -evaluate, -export, -sweep."""
