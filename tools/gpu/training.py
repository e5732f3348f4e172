# SPDX-License-Identifier: Apache-2.0
"""`nano` trained for the time that is left, from the packaged weights; kept if it is better.

Both are scored on held-out images of the rendered world that selected neither of them.
"""

from __future__ import annotations

import dataclasses
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import torch

from depth_ros.checkpoints.load import load_strict
from depth_ros.checkpoints.read import read_checkpoint
from depth_ros.models import PRESETS
from depth_ros.models.nano.network import Nano, input_size
from depth_ros.sim.world.seeds import VALIDATION
from tools.gpu.worker import Clock, Emit
from tools.train import card
from tools.train.__main__ import parse_plan
from tools.train.loop import NAME, VALIDATED, Plan, train, validate
from tools.train.loss import Score
from tools.train.samples import Samples, held_out_samples

SCENES = 256  #: of the comparison
SCORE_S = 25.0  #: for rendering and scoring them, and for the end of the training
SEED = 77  #: of scenes that no run before has used
RATE = 5e-4  #: the packaged weights are already trained; a large rate would undo that
TINY: dict[str, Any] = {
    'batch': 4, 'validation': 8, 'workers': 1, 'size': (24, 32), 'capacity': 64, 'steps': 8,
}  # fmt: skip


def run(job: dict[str, Any], emit: Emit, clock: Clock) -> None:
    """Emit the scores of the packaged weights, and of the new ones, which are kept in `nano`.

    Raises:
        DepthRosError: the training fails.
        OSError: the folder cannot be written.
    """
    tiny, device = job['tiny'], job['device']
    packaged = PRESETS['nano'].source.packaged
    assert packaged is not None
    kept, part = Path(job['out'], 'nano'), Path(job['out'], 'nano.part')
    words = {'device': device, 'out': part, 'resume': packaged, 'rate': RATE, 'seed': SEED}
    sys.argv[1:] = [f'--{name}={value}' for name, value in words.items()]  # the card quotes it
    plan = dataclasses.replace(parse_plan(), **(TINY if tiny else {}))
    # neither those that selected the packaged weights, nor those of this run
    first = VALIDATION + 100_000
    seeds = range(first, first + (8 if tiny else SCENES))
    started_s = time.monotonic()
    scenes = list(held_out_samples(seeds, plan.size, device))
    before = _score(packaged, scenes, plan)
    rendering_s = time.monotonic() - started_s
    emit('training', {'weights': 'packaged', **_row(before, plan, len(seeds))})
    seconds = clock.left_s() - (1.0 if tiny else SCORE_S)
    plan = dataclasses.replace(plan, minutes=max(1.0, seconds) / 60)
    progress = train(plan)
    after = _score(plan.out / NAME, scenes, plan)
    better = _delta1(after) > _delta1(before)
    emit('training', {
        'weights': 'new', **_row(after, plan, len(seeds)), 'kept': better,
        'minutes': round(progress.minutes, 2), 'seed': plan.seed, 'steps': progress.steps,
        'images': progress.images, 'rendered': progress.rendered, 'workers': plan.workers,
        'batch': plan.batch, 'rate': plan.rate, 'scoring_s': round(rendering_s, 1),
    })  # fmt: skip
    card.write(plan, progress)
    if better:
        shutil.rmtree(kept, ignore_errors=True)
        part.rename(kept)
    else:
        shutil.rmtree(part)


def _score(weights: Path, scenes: list[Samples], plan: Plan) -> Score:
    """Mean metrics of the network with these weights, in fp32."""
    network = Nano()
    state = {k: v.float() if v.is_floating_point() else v
             for k, v in read_checkpoint(weights).items()}  # fmt: skip
    load_strict(network, state, path=weights)
    network = network.to(plan.device).to(memory_format=torch.channels_last).eval()
    side = max(plan.size)
    return validate(network, scenes, [input_size(*aspect, side) for aspect in VALIDATED])


def _delta1(score: Score) -> float:
    return score.delta1 + score.delta1_median


def _row(score: Score, plan: Plan, scenes: int) -> dict[str, Any]:
    numbers = {name: round(value, 4) for name, value in dataclasses.asdict(score).items()}
    return {'scenes': scenes, 'input': list(plan.size), **numbers}
