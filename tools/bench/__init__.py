# SPDX-License-Identifier: Apache-2.0
"""Benchmark: `python -m tools.bench`; each part is a module."""
