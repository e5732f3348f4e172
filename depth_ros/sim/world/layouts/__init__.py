# SPDX-License-Identifier: Apache-2.0
"""The kinds of scenes."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import torch

from depth_ros.core.errors import ConfigError
from depth_ros.sim.world.builder import Builder
from depth_ros.sim.world.layouts.hall import corridor, warehouse
from depth_ros.sim.world.layouts.room import room
from depth_ros.sim.world.layouts.street import street
from depth_ros.sim.world.layouts.yard import yard
from depth_ros.sim.world.scene import Scene, check_seed

LAYOUTS: dict[str, Callable[[Builder], Scene]] = {
    'room': room,
    'corridor': corridor,
    'warehouse': warehouse,
    'street': street,
    'yard': yard,
}
#: probability of each kind
SHARES = {'room': 0.46, 'corridor': 0.1, 'warehouse': 0.1, 'street': 0.18, 'yard': 0.16}


def random_scene(seed: int, kind: str | None = None, device: torch.device | str = 'cpu') -> Scene:
    """The scene of a seed.

    Args:
        seed: equal seeds give equal scenes on every machine.
        kind: a key of `LAYOUTS`; chosen by the seed if None.
        device: of its tensors.

    Raises:
        ConfigError: unknown kind, or invalid seed.
    """
    if kind is not None and kind not in LAYOUTS:
        raise ConfigError(f'kind of scene is {kind!r}; choose one of {list(LAYOUTS)}')
    check_seed(seed)
    if kind is None:
        kind = Random(f'{seed} kind').choices(list(SHARES), list(SHARES.values()))[0]
    return LAYOUTS[kind](Builder(seed)).to(device)
