# SPDX-License-Identifier: Apache-2.0
"""Depth compared with measured depth: `depth-ros eval` and `depth-ros calibrate`.

`truth` finds the inputs and where their measured depth comes from, `scores` and `sequences` have
the metrics, `comparison` runs networks over the inputs, `report` writes what was found.
"""
