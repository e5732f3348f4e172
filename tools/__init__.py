# SPDX-License-Identifier: Apache-2.0
"""Tools for developers, which are not installed: benchmark, trainer, demo, docs."""
