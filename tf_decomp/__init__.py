# SPDX-License-Identifier: Apache-2.0
"""Variational autoencoders with structured priors."""
