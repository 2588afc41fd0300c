# SPDX-License-Identifier: Apache-2.0
"""Speed and memory of tf_decomp beside a plain PyTorch implementation."""
