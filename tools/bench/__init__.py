# SPDX-License-Identifier: Apache-2.0
"""Measurements anyone can repeat: `depth-ros bench`, a module a part."""
