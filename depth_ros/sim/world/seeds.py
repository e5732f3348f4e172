# SPDX-License-Identifier: Apache-2.0
"""Ranges of seeds: those from `HELD_OUT` on are never used for training.

Seeds from `VALIDATION` on select weights; those from `TEST` on are for reports and demonstrations.
"""

HELD_OUT = 10_000_000  #: first seed that is never used for training
TEST, VALIDATION = HELD_OUT, 2 * HELD_OUT
