# SPDX-License-Identifier: Apache-2.0
"""Unknown names of parameters: misspelt ones of ours, or another node's."""

from __future__ import annotations

from collections.abc import Iterable

#: letters from which on a misspelling may be of two edits
LONG = 10


def misspelt(name: str, known: Iterable[str]) -> str | None:
    """The known name that `name` is a misspelling of; None if it is known or another node's.

    One params file may serve all nodes of a robot, and names such as `mode`, `range_min` and
    `device_id` are in use elsewhere. So a misspelling has the dots of the known name, begins with
    its first letter, and becomes it by one edit, or two of a long name: a letter is added, left
    out, changed, or swapped with the next. One that is only longer or shorter at its end is a
    word by itself, unless it is in a group of ours (`points.strid`).
    """
    known = [*known]
    if name in known:
        return None
    name = name.lower()
    for other in known:
        in_group = '.' in other
        at_end = name.startswith(other) or other.startswith(name)
        if (
            name.count('.') == other.count('.')
            and name[:1] == other[:1]
            and (in_group or not at_end or name == other)
            and edits(name, other) <= (1 if len(other) < LONG else 2)
        ):
            return other
    return None


def edits(a: str, b: str) -> int:
    """Fewest letters to add, leave out, change or swap with the next that make `a` to `b`."""
    before: list[int] = []
    row = list(range(len(b) + 1))
    for i, letter in enumerate(a, 1):
        before, last, row = row, before, [i]
        for j, other in enumerate(b, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != other))
            if i > 1 and j > 1 and (letter, a[i - 2]) == (b[j - 2], other):
                cost = min(cost, last[j - 2] + 1)
            row.append(cost)
    return row[-1]
