# SPDX-License-Identifier: Apache-2.0
"""What is written beside the weights: how they came about and how good they are."""

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

A monocular metric depth network of {parameters:.2f} M parameters ({backbone} of timm, random
start), trained on nothing but the procedural world of depth_ros. It answers with depth for a focal
length of {focal:g} px at the size of its input; the intrinsics make metres of that.

Licence: Apache-2.0, weights included: there are no pictures or weights of others in them.

| | |
|---|---|
| command | `{command}` |
| seed | {seed} |
| started from | {resume} |
| steps | {steps} of {batch} images |
| images seen | {images}, of {views} rendered views |
| minutes | {minutes:.1f} |
| hardware | {hardware} |
| torch | {torch} |
| date | {date} |
| input | {width}x{height} px |

Held-out views at network size, which chose among the weights of this run: {best}.
For figures at full size and on real images run `python -m tools.train.evaluate`.

It is small, and has never seen a photograph: good for simulation, demonstrations and tests, and as
a first guess in rooms. Not for people, animals and vegetation, mirrors and glass, pictures taken
from above 2 m, and never for anything that must not hit what it did not see.
"""


def facts(plan: Plan, progress: Progress) -> dict[str, Any]:
    """Everything the card says, by name."""
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
        'views': progress.views,
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
    """card.md and card.json in `plan.out`; returns the first."""
    known = facts(plan, progress)
    path = plan.out / 'card.md'
    path.write_text(TEXT.format(**known))
    (plan.out / 'card.json').write_text(json.dumps(known, indent=2) + '\n')
    return path
