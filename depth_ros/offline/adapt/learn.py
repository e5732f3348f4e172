# SPDX-License-Identifier: Apache-2.0
"""The learning loop: images of a recording are moved into others, and depth that fits is learnt.

The poses of the recording are corrected a little, too, as those of a robot are not exact. Images
are turned by random angles, and their light and colours change at random, so that a few images of
a recording do not become the only ones that the network knows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from depth_ros.core.camera import Camera
from depth_ros.offline.adapt.losses import combined, photometric, roughness
from depth_ros.offline.adapt.scene import Images, enlarged, recoloured, shrunk
from depth_ros.offline.adapt.student import Motion, Student
from depth_ros.offline.adapt.warp import Lens, rays, rotation, turned, warp

WARM_UP = 20  #: steps in which the rates grow
TYPICAL_RAD, TYPICAL_M = 0.02, 0.02  #: errors of poses that cost as much as `POSE_COST`
POSE_COST = 1e-3
POSE_RATE = 5e-4
LENS_RATE = 2e-2
DECAY = 1e-4  #: of weights


@dataclass(frozen=True, slots=True)
class Options:
    """How a network learns.

    Args:
        steps: number of steps.
        batch: images in a step.
        sources: images that are moved into each.
        rate: of Adam, for the network.
        turn_deg: images are turned by up to this angle about each axis.
        recolour: light and colours that the network sees change by up to this share.
        smoothness: weight of `losses.roughness`.
        rehearsal: weight of a `Rehearsal`, if there is one; as many images of it are in a step.
        corrects_poses: poses learn, too.
        masks: pixels that look the same without motion are left out.
        seed: of the choice of images.
    """

    steps: int = 250
    batch: int = 8
    sources: int = 2
    rate: float = 6e-4
    turn_deg: float = 8.0
    recolour: float = 0.2
    smoothness: float = 1e-3
    rehearsal: float = 0.02
    corrects_poses: bool = True
    masks: bool = True
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """Other images, whose depth has to stay as it was, so that less is forgotten.

    Source: the idea of Li and Hoiem 2016, "Learning without forgetting" (arXiv 1606.09282).

    Args:
        rgb: (M, 3, h, w) float32 in 0..1, at the size of the input.
        log_z: (M, h, w), of the network at the start.
        camera: of these images.
    """

    rgb: Tensor
    log_z: Tensor
    camera: Camera

    @classmethod
    @torch.no_grad()
    def of(cls, rgb: Tensor, camera: Camera, student: Student) -> Rehearsal:
        """With the depth that a network has now."""
        log_z = [student.log_depth(some, camera) for some in torch.split(rgb, 8)]
        return cls(rgb, torch.cat(log_z), camera)


class Learner:
    """A network and the poses of its images, while they learn.

    Args:
        images: all views.
        partners: number of a view that is learnt from -> views that are moved into it.
        student: the network, which is changed.
        options: how.
        motion: learns the motion where there are no poses; None where there are.
        rehearsal: what is not to be forgotten.
        finds_lens: focal length, distortion and a factor on all depth learn, too.

    Attributes:
        step: number of steps that are done.
        corrections: (N, 6) rotation vector [rad] and translation [m] of each view, in its frame.
        log_focal: () of the factor on the focal length; 0 unless `finds_lens`.
        radial: () coefficient of radial distortion; 0 unless `finds_lens`.
        errors: photometric error of each step.
    """

    def __init__(
        self,
        images: Images,
        partners: Mapping[int, Sequence[int]],
        student: Student,
        options: Options,
        *,
        motion: Motion | None = None,
        rehearsal: Rehearsal | None = None,
        finds_lens: bool = False,
    ) -> None:
        self.images, self.partners, self.student = images, partners, student
        self.options, self.motion, self.rehearsal = options, motion, rehearsal
        self.finds_lens = finds_lens
        self.step = 0
        self.errors: list[float] = []
        device = images.rgb.device
        self.corrections = nn.Parameter(torch.zeros(len(images), 6, device=device))
        self.log_focal, self.radial, self.log_depth = (
            nn.Parameter(torch.zeros((), device=device), requires_grad=finds_lens)
            for _ in range(3)
        )
        learns = [p for p in student.network.parameters() if p.requires_grad]
        if motion is not None:
            learns += list(motion.network.parameters())
        groups: list[dict[str, Any]] = [{'params': learns, 'lr': options.rate}]
        if options.corrects_poses and motion is None:
            groups.append({'params': [self.corrections], 'lr': POSE_RATE})
        if finds_lens:
            lens = [self.log_focal, self.radial, self.log_depth]
            groups.append({'params': lens, 'lr': LENS_RATE})
        self._rates = [float(group['lr']) for group in groups]
        self.optimizer = torch.optim.AdamW(groups, weight_decay=DECAY)
        self._random = torch.Generator().manual_seed(options.seed)

    def run(self, steps: int) -> None:
        """So many steps more, or up to the last one."""
        for _ in range(min(steps, self.options.steps - self.step)):
            rate = min(1.0, (self.step + 1) / WARM_UP)
            rate *= 0.5 + 0.5 * math.cos(math.pi * self.step / self.options.steps)
            for group, highest in zip(self.optimizer.param_groups, self._rates, strict=True):
                group['lr'] = rate * highest
            self.optimizer.zero_grad()
            loss, error = self._loss(*self._chosen())
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
            self.errors.append(float(error))
            self.step += 1

    def _chosen(self) -> tuple[list[int], list[list[int]]]:
        """Random targets, and sources of each: the s-th list has the s-th source of all."""
        known = list(self.partners)
        targets = [known[self._below(len(known))] for _ in range(self.options.batch)]
        sources = [
            [self.partners[t][self._below(len(self.partners[t]))] for t in targets]
            for _ in range(self.options.sources)
        ]
        return targets, sources

    def _below(self, end: int) -> int:
        return int(torch.randint(end, (), generator=self._random))

    def _loss(self, targets: list[int], sources: list[list[int]]) -> tuple[Tensor, Tensor]:
        images, options = self.images, self.options
        device = images.rgb.device
        lens = Lens(self.log_focal.exp(), self.radial) if self.finds_lens else None
        angles = torch.rand(len(targets), 3, generator=self._random) * 2 - 1
        turn = rotation(angles.to(device) * math.radians(options.turn_deg))
        view = turned(images.rgb[targets], images.camera, turn, images.camera, lens)
        small = shrunk(view.rgb, images.input.size)
        given = recoloured(small, options.recolour, self._random) if options.recolour else small
        log_z = self.student.log_depth(given, images.input)
        z = (enlarged(log_z, images.camera.size) + self.log_depth).exp().flatten(1)
        points = turn @ (rays(images.camera, lens).to(device) * z[:, None])
        poses = self.poses() if self.motion is None else None
        errors, seen, still = [], [], []
        for chosen in sources:
            if poses is None:
                T = self._motions(targets, chosen)
            else:
                T = torch.linalg.inv(poses[chosen]) @ poses[targets]
            moved = warp(images.rgb[chosen], images.camera, points, T, images.camera.size, lens)
            errors.append(photometric(moved.rgb, view.rgb))
            seen.append(moved.seen & view.seen)
            if options.masks:
                with torch.no_grad():
                    same = turned(images.rgb[chosen], images.camera, turn, images.camera, lens)
                    still.append(photometric(same.rgb, view.rgb))
        error = combined(
            torch.stack(errors), torch.stack(seen), torch.stack(still) if still else None
        )
        cost = (self.corrections[:, :3] / TYPICAL_RAD).square().mean()
        cost = cost + (self.corrections[:, 3:] / TYPICAL_M).square().mean()
        loss = error + POSE_COST * cost + options.smoothness * roughness(log_z, small)
        if self.rehearsal is not None:
            loss = loss + options.rehearsal * self._forgotten(self.rehearsal)
        return loss, error.detach()

    def _forgotten(self, rehearsal: Rehearsal) -> Tensor:
        """Mean change of log depth of some images that are rehearsed."""
        some = [self._below(len(rehearsal.rgb)) for _ in range(self.options.batch)]
        log_z = self.student.log_depth(rehearsal.rgb[some], rehearsal.camera)
        return (log_z - rehearsal.log_z[some]).abs().mean()

    def _motions(self, targets: list[int], sources: list[int]) -> Tensor:
        """T_source_target by the network of motion, which takes images in order of time."""
        assert self.motion is not None  # of `_loss`
        pairs = list(zip(targets, sources, strict=True))
        size = self.images.input.size
        earlier = shrunk(self.images.rgb[[min(pair) for pair in pairs]], size)
        later = shrunk(self.images.rgb[[max(pair) for pair in pairs]], size)
        T = self.motion.motion(earlier, later)
        forward = torch.tensor([t < s for t, s in pairs], device=T.device)
        return torch.where(forward[:, None, None], T, torch.linalg.inv(T))

    def state(self) -> dict[str, Any]:
        """All that is needed to go on, for `restore`."""
        return {
            'step': self.step,
            'network': self.student.network.state_dict(),
            'motion': None if self.motion is None else self.motion.network.state_dict(),
            'corrections': self.corrections.detach(),
            'optimizer': self.optimizer.state_dict(),
            'random': self._random.get_state(),
            'errors': list(self.errors),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a `state` of the same images, partners, network and options."""
        self.step = state['step']
        self.student.network.load_state_dict(state['network'])
        if self.motion is not None:
            self.motion.network.load_state_dict(state['motion'])
        with torch.no_grad():
            self.corrections.copy_(state['corrections'])
        self.optimizer.load_state_dict(state['optimizer'])
        self._random.set_state(state['random'].cpu())
        self.errors = list(state['errors'])

    def poses(self) -> Tensor:
        """Corrected poses, (N, 4, 4) [m]."""
        R, t = rotation(self.corrections[:, :3]), self.corrections[:, 3:, None]
        corrected = torch.cat((R, t), dim=2)
        last = torch.zeros_like(corrected[:, :1])
        last[:, :, 3] = 1.0
        return self.images.poses @ torch.cat((corrected, last), dim=1)
