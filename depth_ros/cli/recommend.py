# SPDX-License-Identifier: Apache-2.0
"""Which networks fit a machine and what is asked of them: `depth-ros models --recommend`.

The time per image is an estimate: the work of the network over the speed at which this machine
multiplies matrices, of which networks reach about `EFFICIENCY`.
"""

from __future__ import annotations

import math
import os
import re
import textwrap
import time
from dataclasses import dataclass

import torch

from depth_ros.core.types import Kind
from depth_ros.models import PRESETS, Preset
from depth_ros.models.facts import PUBLISHED, Facts, described_kind, facts
from depth_ros.parameters.settings import Settings
from depth_ros.pipeline.device import choose_device, describe
from depth_ros.pipeline.engines.targets import cpu_name

#: speed of a network over that of a matrix product; 0.58 to 1.0 in benchmarks/results, 0.1 of nano
EFFICIENCY = 0.6
#: memory of a process that runs a network over that of its weights; 1.9 to 3 in benchmarks/results
MEMORY = 2.5
COUNT = 3  #: recommended
NAMED = 3  #: of those that are not, for each reason
MEASURE_S = 0.5
SIDE = 1024  #: of the matrices
#: words of a preset's name -> where its network is at home; others are for any scene
INDOORS, OUTDOORS = ('indoor', 'nyu', 'nano', 'moge2'), ('outdoor', 'kitti', 'monodepth2')


@dataclass(frozen=True, slots=True)
class Needs:
    """What a user asks for.

    Args:
        scene: indoors, outdoors or any.
        metres: the depth must be in metres.
        commercial: the licence of the weights must not forbid any use.
        two_views: it must take two views, whose known distance gives metres.
        rate_hz: images per second.
        memory_gb: that the network may take [GB]; 0 for that of the machine.
    """

    scene: str = 'any'
    metres: bool = True
    commercial: bool = False
    two_views: bool = False
    rate_hz: float = 1.0
    memory_gb: float = 0.0


@dataclass(frozen=True, slots=True)
class Machine:
    """What a network runs on.

    Args:
        name: of the device.
        tflops: speed of a matrix product in the precision of networks there [TFLOP/s].
        memory_gb: of the device [GB].
        bytes_per_weight: in that precision.
    """

    name: str
    tflops: float
    memory_gb: float
    bytes_per_weight: int

    @classmethod
    def measure(cls, device: str = 'auto') -> Machine:
        """This one.

        Args:
            device: the parameter.

        Raises:
            ConfigError: there is no such device.
        """
        settings = Settings(device=device)
        where = choose_device(device, PRESETS['nano'])
        torch.set_num_threads(settings.threads)
        dtype = torch.float16 if where.type == 'cuda' else torch.float32
        a = torch.rand((SIDE, SIDE), device=where, dtype=dtype)
        torch.mm(a, a)
        times = []
        end_s = time.monotonic() + MEASURE_S
        while time.monotonic() < end_s:
            started_s = time.perf_counter()
            torch.mm(a, a)
            if where.type == 'cuda':
                torch.cuda.synchronize(where)
            times.append(time.perf_counter() - started_s)
        if where.type == 'cuda':
            memory = torch.cuda.get_device_properties(where).total_memory
            name = describe(where)
        else:
            memory = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
            name = f'{cpu_name().partition(",")[0]}, threads {settings.threads}'
        return cls(name, 2 * SIDE**3 / min(times) / 1e12, memory / 1e9, dtype.itemsize)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A preset and what it costs on a machine.

    Args:
        preset: of the table.
        known: its facts.
        seconds: for an image of 640x480, estimated.
        memory_gb: estimated.
    """

    preset: Preset
    known: Facts
    seconds: float
    memory_gb: float

    @property
    def scene(self) -> str:
        """Where its network is at home: indoors, outdoors or any."""
        words = set(re.split('_', self.preset.name))
        for name, scene in ((INDOORS, 'indoors'), (OUTDOORS, 'outdoors')):
            if words & set(name):
                return scene
        return 'any'

    def time_s(self, needs: Needs) -> float:
        """For one run [s]; of two views each takes as long."""
        return 2 * self.seconds if needs.two_views else self.seconds

    def why_not(self, needs: Needs, machine: Machine) -> str:
        """Why it cannot be taken; '' if it can."""
        kind = described_kind(self.preset)
        if needs.two_views and self.preset.max_views < 2:
            return 'takes one view only'
        has_metres = kind in (Kind.METRIC, Kind.CANONICAL) or needs.two_views
        if needs.metres and not has_metres:
            return 'no metres without a scale source'
        if needs.commercial and self.preset.source.restricted:
            return f'licence: {self.preset.source.licence}'
        if needs.scene != 'any' and self.scene not in ('any', needs.scene):
            return f'for scenes {self.scene}'
        limit_gb = needs.memory_gb or machine.memory_gb
        if self.memory_gb > limit_gb:
            return f'takes about {_bytes(self.memory_gb)} of memory'
        if needs.rate_hz * self.time_s(needs) > 1:
            return f'takes about {_duration(self.time_s(needs))} for an image'
        return ''

    @property
    def rank(self) -> tuple[bool, bool, int, float]:
        """Larger is better: real images, the calibration, the year, the work."""
        paper = re.search(r'arxiv.org/abs/(\d{4})', self.preset.paper)
        year = int(paper[1]) if paper else 0
        calibrated = self.preset.kind is Kind.CANONICAL
        return bool(year), calibrated, year, self.known.gflop

    def reasons(self, needs: Needs) -> list[str]:
        """Why it is recommended, and what it costs."""
        kind = described_kind(self.preset)
        metres = {
            Kind.CANONICAL: 'metres from your calibration',
            Kind.METRIC: 'metres as its training cameras had them: check them with yours',
        }.get(kind, 'no metres: it needs a scale source (docs/metres.md)')  # type: ignore[arg-type]
        if needs.two_views:
            metres = 'metres from the known distance of the views (docs/two-views.md)'
        scene = 'any scene' if self.scene == 'any' else f'for scenes {self.scene}'
        source = self.preset.source
        what = 'two images' if needs.two_views else 'an image'
        rate = f'about {_duration(self.time_s(needs))} for {what} of 640x480'
        published = PUBLISHED.get(self.preset.name)
        return [
            f'{metres}; {scene}',
            f'{rate}; {self.known.parameters / 1e6:.0f} M parameters, about '
            f'{_bytes(self.memory_gb)} of memory',
            f'licence: {source.licence}' + (' (restricts use)' if source.restricted else ''),
            f'published: {published.text} ({published.source})'
            if published
            else 'published: no figures for these weights',
        ]


def candidates(machine: Machine) -> list[Candidate]:
    """All presets with a network whose work is known, the best first."""
    found = []
    for name, known in facts().items():
        seconds = known.gflop / 1e3 / machine.tflops / EFFICIENCY
        memory_gb = MEMORY * machine.bytes_per_weight * known.parameters / 1e9
        found.append(Candidate(PRESETS[name], known, seconds, memory_gb))
    return sorted(found, key=lambda one: one.rank, reverse=True)


def recommend(needs: Needs, machine: Machine) -> str:
    """The best `COUNT` presets with reasons, and why better ones are not among them."""
    lines = [
        f'This machine: {machine.name}, {machine.tflops:.2g} TFLOP/s in matrix products, '
        f'{machine.memory_gb:.0f} GB. Times and memory are estimates from that.',
    ]
    good: list[Candidate] = []
    refused: dict[str, list[str]] = {}
    for one in candidates(machine):
        why = one.why_not(needs, machine)
        if why and len(good) < COUNT:
            refused.setdefault(why, []).append(one.preset.name)
        elif not why and all(one.known != other.known for other in good):  # other layers
            good.append(one)
    for number, one in enumerate(good[:COUNT], 1):
        lines += ['', f'{number}. {one.preset.name}']
        lines += [textwrap.indent(textwrap.fill(text, 92), '   ') for text in one.reasons(needs)]
    if not good:
        lines += ['', 'No preset fits. Ask for less, or take a faster machine.']
    if refused:
        lines += ['', 'Not these:']
        for why, names in refused.items():
            more = f' and {len(names) - NAMED} more' if len(names) > NAMED else ''
            text = f'{why}: {", ".join(names[:NAMED])}{more}'
            lines.append(textwrap.fill(text, 95, initial_indent='   ', subsequent_indent='      '))
    return '\n'.join(lines)


def _duration(seconds: float) -> str:
    """With two digits."""
    value, unit = (seconds, 's') if seconds >= 1 else (1e3 * seconds, 'ms')
    digits = max(0, 1 - math.floor(math.log10(value)))
    return f'{round(value, 1 - math.floor(math.log10(value))):.{digits}f} {unit}'


def _bytes(gigabytes: float) -> str:
    return f'{gigabytes:.1f} GB' if gigabytes >= 1 else f'{1e3 * gigabytes:.0f} MB'
