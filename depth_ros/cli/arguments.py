# SPDX-License-Identifier: Apache-2.0
"""Numbers on a command line; what is none of the kind is refused in words."""

from __future__ import annotations

import argparse
import math


def positive(text: str) -> float:
    """A number above 0; for `type=` of argparse."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f'{text!r} is no number above 0')
    return value


def count(text: str) -> int:
    """A whole number above 0; for `type=` of argparse."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f'{text!r} is no whole number above 0')
    return int(text)
