# SPDX-License-Identifier: Apache-2.0
"""The card of what was learnt."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime, timezone

import torch

import depth_ros
from depth_ros.checkpoints import adapted
from depth_ros.checkpoints.adapted import Card, Learnt, Start, card_for
from depth_ros.checkpoints.cache import checksum
from depth_ros.offline.adapt.examine import Examined
from depth_ros.offline.adapt.network import Network
from depth_ros.offline.adapt.recording import Recording
from depth_ros.offline.adapt.run import Run
from depth_ros.offline.adapt.views import View, numbers_of
from depth_ros.pipeline.device import describe


def card_of(
    network: Network,
    found: Sequence[Recording],
    views: Sequence[View],
    examined: Examined,
    run: Run,
    mix: float,
    *,
    complete: bool,
) -> Card:
    """The card, without scores.

    Args:
        network: that learnt.
        found: recordings that it learnt from.
        views: of them.
        examined: what was found of them.
        run: what was done.
        mix: share of what was learnt in the result.
        complete: all steps were done.

    Raises:
        WeightsError: the card of the weights at the start is damaged.
    """
    weights, source = network.options.weights, network.preset.source
    inherited = card_for(network.preset.name, weights)
    digest = checksum(weights, 'sha256') if weights is not None and weights.is_file() else ''
    turns, shifts = torch.split(run.learner.corrections.detach().cpu(), 3, dim=1)
    posed = run.learner.motion is None
    return Card(
        preset=network.preset.name,
        start=Start(network.weights, digest),
        licence=inherited.licence if inherited else source.licence,
        restricted=inherited.restricted if inherited else source.restricted,
        depth_ros=depth_ros.__version__,
        date=datetime.now(timezone.utc).strftime('%Y-%m-%dT%H:%M:%SZ'),
        recordings=tuple(_recording(one, views) for one in found),
        learnt=Learnt(
            run.learner.step,
            run.seconds,
            describe(network.options.device),
            mix,
            math.degrees(_rms(turns)) if posed else math.nan,
            _rms(shifts) if posed else math.nan,
            not complete,
        ),
        checks=examined.found,
        coverage=examined.coverage,
        scale=network.scale if posed else None,
    )


def _rms(rows: torch.Tensor) -> float:
    return float(rows.square().sum(1).mean().sqrt())


def _recording(recording: Recording, views: Sequence[View]) -> adapted.Recording:
    own = [views[k] for k in numbers_of(views, recording.number)]
    stamps = [recording.shots[view.number].stamp_ns for view in own]
    motion = recording.motion
    return adapted.Recording(
        recording.name,
        len(own),
        (max(stamps) - min(stamps)) * 1e-9 if any(stamps) else math.nan,
        motion.path_m if motion else math.nan,
        recording.layout,
        str(own[0].camera) if own else '',
    )
