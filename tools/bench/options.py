# SPDX-License-Identifier: Apache-2.0
"""What is measured, and for how long."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import torch

from depth_ros.core.errors import ConfigError
from depth_ros.models import PRESETS
from depth_ros.pipeline.build import DTYPES, choose_device

#: In this order; each is a module of this package with `run(options)`, which returns a plain dict.
PARTS = ('transport', 'stages', 'networks', 'growth', 'memory')
SIZES = ((640, 480), (1280, 720))  #: images [px], width and height


@dataclass(frozen=True, slots=True)
class Options:
    """As the command line has them; see `add_arguments`."""

    parts: tuple[str, ...] = PARTS
    device: str = 'cpu'
    seconds: float = 5.0
    rounds: int = 1
    minutes: float = 2.0
    threads: int = 1
    precisions: tuple[str, ...] = ()
    presets: tuple[str, ...] = ()
    all: bool = False
    cameras: tuple[int, ...] = (1, 2, 4, 8)
    sizes: tuple[tuple[int, int], ...] = SIZES
    output: Path = Path('benchmarks/results')

    @property
    def torch_device(self) -> torch.device:
        """The device by torch's name for it."""
        return torch.device('cuda:0' if self.device == 'cuda' else self.device)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe them all."""
    usual = Options()
    add = parser.add_argument
    add('--parts', default=','.join(PARTS), help='some of %(default)s; default: all')
    add('--device', default=usual.device, help='cpu, cuda or cuda:N [%(default)s]')
    add('--seconds', type=float, default=usual.seconds, help='of a case of a node [%(default)g]')
    add('--rounds', type=int, default=usual.rounds, help='of transport [%(default)s]')
    add('--minutes', type=float, default=usual.minutes, help='of memory [%(default)g]')
    add('--threads', type=int, default=usual.threads, help='CPU: of the networks [%(default)s]')
    add('--precisions', default='', help='of the networks: fp32,bf16,fp16; default: by device')
    add('--presets', default='', help='only these networks')
    add('--all', action='store_true', help='on a CPU also networks of more than 100 M parameters')
    add('--cameras', default='1,2,4,8', help='of growth: how many at once [%(default)s]')
    add('--output', type=Path, default=usual.output, help='folder [%(default)s]')


def parsed(given: argparse.Namespace) -> Options:
    """The options, checked.

    Raises:
        ConfigError: there is no such part, precision, preset or device.
    """
    parts, precisions = _words(given.parts), _words(given.precisions)
    presets = _words(given.presets)
    for name, words, known in (
        ('parts', parts, PARTS),
        ('precisions', precisions, tuple(DTYPES)),
        ('presets', presets, tuple(PRESETS)),
    ):
        for word in words:
            if word not in known:
                raise ConfigError(f'--{name} has {word!r}; it takes {", ".join(known)}')
    cameras = _words(given.cameras)
    if not all(word.isdigit() and int(word) for word in cameras):
        raise ConfigError(f'--cameras is {given.cameras!r}; write it like 1,2,4,8')
    return Options(
        parts=parts,
        device=str(choose_device(given.device, PRESETS['nano'])),
        seconds=given.seconds,
        rounds=given.rounds,
        minutes=given.minutes,
        threads=given.threads,
        precisions=precisions,
        presets=presets,
        all=given.all,
        cameras=tuple(map(int, cameras)),
        output=given.output,
    )


def _words(text: str) -> tuple[str, ...]:
    return tuple(word for word in text.replace(',', ' ').split())
