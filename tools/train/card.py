# SPDX-License-Identifier: Apache-2.0
"""Write the model card: how the weights were trained, and how good they are."""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
import platform
import shlex
import sys
from pathlib import Path
from typing import Any

import torch

from depth_ros.models.nano.network import BACKBONE, FOCAL, Nano
from tools.train.loop import Plan, Progress

TEXT = """\
# nano

A monocular metric depth network of {parameters:.2f} M parameters ({backbone} of timm, from random
weights), trained only on synthetic images of depth_ros. It predicts depth for a focal length of
{focal:g} px at input size, which the intrinsics convert to metres.

Licence: Apache-2.0, including the weights: no images or weights of others were used.

| | |
|---|---|
| command | `{command}` |
| seed | {seed} |
| started from | {resume} |
| steps | {steps} of {batch} images |
| images used | {images}, of {rendered} rendered |
| minutes | {minutes:.1f} |
| hardware | {hardware} |
| torch | {torch} |
| date | {date} |
| input | {width}x{height} px |

Held-out images at network size, which selected the weights of this run: {best}.
For figures at full size and on real images run `python -m tools.train.evaluate`.

It is small and was not trained on real images: use it for simulation, demonstrations and tests,
and for a first estimate of rooms. It is not suitable for people, animals, vegetation, mirrors,
glass, and cameras higher than 2 m. Do not use it for obstacle avoidance.
"""


def facts(plan: Plan, progress: Progress) -> dict[str, Any]:
    """Values of the card, by name."""
    device = torch.device(plan.device)
    hardware = f'{os.cpu_count()} CPU cores ({platform.machine()}), {plan.workers} rendering'
    if device.type == 'cuda':
        hardware = f'{torch.cuda.get_device_name(device)}, {hardware}'
    return {
        'parameters': sum(p.numel() for p in Nano().parameters()) / 1e6,
        'backbone': BACKBONE,
        'focal': FOCAL,
        'command': shlex.join(['python', '-m', 'tools.train', *sys.argv[1:]]),
        'seed': plan.seed,
        'resume': str(plan.resume or 'random weights'),
        'steps': progress.steps,
        'batch': plan.batch,
        'images': progress.images,
        'rendered': progress.rendered,
        'minutes': progress.minutes,
        'hardware': hardware,
        'torch': torch.__version__,
        'date': datetime.date.today().isoformat(),
        'width': plan.size[1],
        'height': plan.size[0],
        'best': str(progress.best),
        'held_out': dataclasses.asdict(progress.best) if progress.best else None,
    }


def write(plan: Plan, progress: Progress) -> Path:
    """Write card.md and card.json in `plan.out`; returns the path of card.md."""
    values = facts(plan, progress)
    path = plan.out / 'card.md'
    path.write_text(TEXT.format(**values))
    (plan.out / 'card.json').write_text(json.dumps(values, indent=2) + '\n')
    return path
