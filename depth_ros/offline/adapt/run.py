# SPDX-License-Identifier: Apache-2.0
"""Learn from recordings: state that can be gone on with, held-out views, and the new weights."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from depth_ros.core.errors import ConfigError
from depth_ros.offline.adapt import checks
from depth_ros.offline.adapt.examine import Partners
from depth_ros.offline.adapt.learn import Learner, Options, Rehearsal
from depth_ros.offline.adapt.report import Curve
from depth_ros.offline.adapt.scene import Images
from depth_ros.offline.adapt.student import Motion, Student
from depth_ros.offline.folder import part_of

HELD_OUT = 10  #: one of so many views is not learnt from
FEWEST_FOR_HELD_OUT = 12  #: views with partners, below which all are learnt from
LOOK_EVERY = 50  #: steps between two measurements of the views held out
SAVE_EVERY_S = 20.0
CHUNK = 5  #: steps between two looks at the clock


@dataclass(slots=True)
class Run:
    """A time of learning.

    Args:
        learner: network and poses.
        held_out: views that are not learnt from -> those that are moved into them.
        path: of the state that can be gone on with.
        fingerprint: of all that the state depends on.
        curve: of the errors so far: step, error of training, error of the views held out.
        seconds: of learning, so far.
    """

    learner: Learner
    held_out: Partners
    path: Path
    fingerprint: str
    curve: list[tuple[int, float, float]] = field(default_factory=list)
    seconds: float = 0.0

    @classmethod
    def of(
        cls,
        images: Images,
        partners: Partners,
        student: Student,
        options: Options,
        out: Path,
        about: Mapping[str, Any],
        motion: Motion | None = None,
        rehearsal: Rehearsal | None = None,
    ) -> Run:
        """Hold views out, and begin.

        Args:
            images: all views.
            partners: of `views.partners`.
            student: network at the start.
            options: of the learning.
            out: file of the weights; the state is beside it.
            about: what else the state depends on.
            motion: where there are no poses.
            rehearsal: what is not to be forgotten.

        Raises:
            ConfigError: too few images can be compared.
        """
        learnt, held_out = split(partners)
        if not learnt:
            raise ConfigError('no image is left to learn from: record more images')
        values = json.dumps([asdict(options), dict(about), len(images)], sort_keys=True)
        fingerprint = hashlib.sha256(values.encode()).hexdigest()
        learner = Learner(images, learnt, student, options, motion=motion, rehearsal=rehearsal)
        path = out.with_name(f'{out.name}.unfinished')
        return cls(learner, held_out, path, fingerprint)

    def restore(self) -> bool:
        """Go on with the state of an earlier run, if there is one.

        Raises:
            ConfigError: it is of other arguments, or cannot be read.
        """
        if not self.path.is_file():
            return False
        try:
            state = torch.load(
                self.path, map_location=self.learner.images.rgb.device, weights_only=True
            )
            if state['fingerprint'] != self.fingerprint:
                raise ConfigError(
                    f'{self.path} is of other recordings, weights or options: repeat the command '
                    'of then, or leave out --resume'
                )
            self.learner.restore(state['learner'])
        except (OSError, RuntimeError, KeyError, ValueError, EOFError) as error:
            raise ConfigError(
                f'{self.path} cannot be gone on with ({type(error).__name__}): leave out --resume'
            ) from error
        self.curve = [tuple(row) for row in state['curve']]
        self.seconds = state['seconds']
        return True

    def save(self) -> None:
        """Write the state, as a whole."""
        part = part_of(self.path)
        state = {
            'fingerprint': self.fingerprint,
            'learner': self.learner.state(),
            'curve': [list(row) for row in self.curve],
            'seconds': self.seconds,
        }
        torch.save(state, part)
        part.replace(self.path)

    def finish(self) -> None:
        """Remove the state: the weights are written."""
        self.path.unlink(missing_ok=True)

    def learn(self, progress: Callable[[int], None]) -> bool:
        """Learn up to the last step, or Ctrl-C.

        Args:
            progress: is called with the number of steps that are done.

        Returns:
            Whether all steps are done.
        """
        saved_s = time.monotonic()
        if not self.curve:
            self._look()  # nothing is learnt yet that an interruption could lose
        try:
            while self.learner.step < self.learner.options.steps:
                start_s = time.monotonic()
                self.learner.run(CHUNK)
                self.seconds += time.monotonic() - start_s
                progress(self.learner.step)
                if self.learner.step % LOOK_EVERY == 0:
                    self._look()
                if time.monotonic() - saved_s > SAVE_EVERY_S:
                    self.save()
                    saved_s = time.monotonic()
        except KeyboardInterrupt:
            self.save()
            return False
        if self.curve[-1][0] != self.learner.step:
            self._look()
        return True

    def _look(self) -> None:
        recent = self.learner.errors[-LOOK_EVERY:]
        error = float(np.mean(recent)) if recent else float('nan')
        self.curve.append((self.learner.step, error, self.error(self.learner.student)))

    def error(self, student: Student) -> float:
        """Mean photometric error of the views held out, into which others are moved.

        NaN if there are none, or no recorded poses.
        """
        if not self.held_out or self.learner.motion is not None:
            return float('nan')
        images = self.learner.images
        first = sorted(self.held_out)
        log_z = checks.log_depths(images, student)
        return checks.error_of(images, log_z, first, [self.held_out[k][0] for k in first])

    def curves(self) -> list[Curve]:
        """For the report."""
        steps, training, held_out = zip(*self.curve, strict=True)
        return [Curve(steps, training, held_out)]


def split(partners: Partners) -> tuple[Partners, Partners]:
    """Views that are learnt from, and those that are not, with their partners.

    Nothing is learnt from a view that is held out, also not as a partner.
    """
    numbers = sorted(partners)
    if len(numbers) < FEWEST_FOR_HELD_OUT:
        return dict(partners), {}
    held = set(numbers[HELD_OUT // 2 :: HELD_OUT])
    learnt = {
        k: left
        for k, others in partners.items()
        if k not in held and (left := tuple(o for o in others if o not in held))
    }
    return learnt, {k: partners[k] for k in held}


def mixed(
    start: Mapping[str, Tensor], end: Mapping[str, Tensor], share: float
) -> dict[str, Tensor]:
    """Weights between two of the same network.

    What was learnt before is forgotten less than in proportion to the share, as found by
    Wortsman et al. 2022, "Robust fine-tuning of zero-shot models" (arXiv 2109.01903).

    Args:
        start: tensors before.
        end: tensors after.
        share: of `end`, 0..1.
    """
    return {
        name: torch.lerp(start[name], value, share)
        if value.is_floating_point() and share < 1
        else value
        for name, value in end.items()
    }


def shown_numbers(held_out: Partners, partners: Partners) -> list[int]:
    """Three views for the report: held out if there are any, evenly spread."""
    numbers = sorted(held_out) or sorted(partners)
    return [numbers[k] for k in sorted({0, len(numbers) // 2, len(numbers) - 1})]
