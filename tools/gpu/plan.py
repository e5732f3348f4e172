# SPDX-License-Identifier: Apache-2.0
"""The steps of a run in their order, and how much time each gets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

#: (preset, size of the camera's image): measured first and in detail; from the image's bytes too
IMPORTANT = (
    ('depth_anything_v3_metric_large', (1280, 720)),  # a network input of 504x280
    ('depth_anything_v2_small', (640, 480)),  # 686x518
    ('depth_pro', (640, 480)),
)
USUAL_SIZE = (640, 480)  #: of the images of all other networks
SIZES = ((640, 480), (1280, 720))
KINDS = ('tests', 'node', 'networks', 'stages', 'training')
#: of `--tiny`
TINY_SIZE, TINY_INPUT, TINY_NETWORKS = (64, 48), 56, ('depth_anything_v2_small', 'nano')
OVERRUN, GRACE_S = 1.5, 10.0  #: a process is killed after `OVERRUN` of its time and the grace
GPU, ROS, PYTEST = 'needs cuda', 'rclpy is not installed', 'pytest is not installed'


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a run; a process of its own.

    Args:
        name: of the step.
        share_s: its part of the time, in seconds of a run of 8 minutes.
        least_s: with less time it is not worth starting.
        job: what `worker` does: 'do' is a module of this package, the rest its arguments.
        missing: what this machine lacks for it; '' for nothing.
    """

    name: str
    share_s: float
    least_s: float
    job: dict[str, Any] = field(default_factory=dict)
    missing: str = ''


@dataclass(frozen=True, slots=True)
class Has:
    """What is installed."""

    ros: bool
    pytest: bool


def steps(
    kinds: Sequence[str],
    networks: Mapping[str, Sequence[str]],
    device: str,
    has: Has,
    tiny: bool = False,
) -> list[Step]:
    """The steps in their order: what matters most first; training takes what is left.

    Args:
        kinds: some of `KINDS`.
        networks: presets to measure -> all that have the same layers; those of `IMPORTANT` come
            first.
        device: name in torch.
        has: what is installed.
        tiny: with images of a few pixels, to prove the plan.
    """
    common = {'device': device, 'tiny': tiny}
    no_ros = '' if has.ros else ROS
    found: list[Step] = []
    if 'tests' in kinds:
        job = {'do': 'gpu_tests', 'ros': has.ros, **common}
        found.append(Step('tests', 50, 10, job, '' if has.pytest else PYTEST))
    if 'node' in kinds:
        for model in ('flat_wall', 'nano'):
            job = {'do': 'node', 'what': 'compare', 'model': model, **common}
            found.append(Step(f'node: {model}, GPU and CPU', 25, 20, job, no_ros))
    if 'networks' in kinds:
        found += _networks(networks, common, tiny)
    if 'stages' in kinds:
        for width, height in (TINY_SIZE,) if tiny else SIZES:
            job = {'do': 'stages', 'size': (width, height), **common}
            found.append(Step(f'stages: {width}x{height}', 25, 8, job))
    if 'node' in kinds:
        job = {'do': 'node', 'what': 'rate', 'model': 'nano', **common}
        found.append(Step('node: nano, rate and latency', 20, 20, job, no_ros))
    if 'training' in kinds:
        # of nano: with less than a minute nothing is learnt
        job = {'do': 'training', **common}
        found.append(Step('training', 90, 4 if tiny else 60, job))
    return found


def _networks(
    names: Mapping[str, Sequence[str]], common: dict[str, Any], tiny: bool
) -> list[Step]:
    important = [(name, size) for name, size in IMPORTANT if name in names]
    others = [(name, USUAL_SIZE) for name in names if name not in dict(IMPORTANT)]
    found = []
    for name, size in [*important, *others]:
        detailed = name in dict(IMPORTANT)
        width, height = TINY_SIZE if tiny else size
        job = {
            'do': 'network',
            'preset': name,
            'same': list(names[name]),
            'size': (width, height),
            'detailed': detailed,
        }
        title = f'network: {name}, {width}x{height}'
        found.append(Step(title, 50 if detailed else 10, 6, {**job, **common}))
    return found


def allot(rest: Sequence[Step], left_s: float) -> tuple[float, str]:
    """Time of the first of the steps that are left.

    Each gets its part of the time left, so what one does not use goes to all after it. The least
    that a step needs it gets in any case, as what comes first matters more.

    Args:
        rest: the steps that are left, in their order.
        left_s: time left [s].

    Returns:
        Time [s], and ''; or 0 and the reason why the step is skipped.
    """
    step = rest[0]
    if step.missing:
        return 0.0, step.missing
    if left_s < step.least_s:
        return 0.0, f'{max(0.0, left_s):.0f} s are left; it needs {step.least_s:g} s'
    together = sum(other.share_s for other in rest if not other.missing)
    return min(left_s, max(step.least_s, left_s * step.share_s / together)), ''


def limit_s(allotted_s: float, left_s: float) -> float:
    """When a process that was given `allotted_s` is killed, within the time left [s]."""
    return min(left_s, OVERRUN * allotted_s + GRACE_S)
