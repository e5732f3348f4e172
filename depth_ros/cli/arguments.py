# SPDX-License-Identifier: Apache-2.0
"""Types for `argparse` with clear error messages."""

from __future__ import annotations

import argparse
import math


def positive(text: str) -> float:
    """Parse a number above 0; for `type=` of argparse."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f'{text!r} is not a number above 0')
    return value


def count(text: str) -> int:
    """Parse an integer above 0; for `type=` of argparse."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f'{text!r} is not an integer above 0')
    return int(text)
