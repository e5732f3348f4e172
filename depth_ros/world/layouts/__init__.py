# SPDX-License-Identifier: Apache-2.0
"""The kinds of scenes there are."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from depth_ros.world.builder import Builder
from depth_ros.world.layouts.hall import corridor, warehouse
from depth_ros.world.layouts.room import room
from depth_ros.world.layouts.street import street
from depth_ros.world.layouts.yard import yard
from depth_ros.world.scene import Scene

LAYOUTS: dict[str, Callable[[Builder], Scene]] = {
    'room': room,
    'corridor': corridor,
    'warehouse': warehouse,
    'street': street,
    'yard': yard,
}
#: how often each is drawn
SHARES = {'room': 0.46, 'corridor': 0.1, 'warehouse': 0.1, 'street': 0.18, 'yard': 0.16}


def build(seed: int, kind: str | None) -> Scene:
    """The scene of `seed`, of a `kind` of LAYOUTS or of any."""
    if kind is None:
        kind = Random(f'{seed} kind').choices(list(SHARES), list(SHARES.values()))[0]
    return LAYOUTS[kind](Builder(seed))
