# SPDX-License-Identifier: Apache-2.0
"""What an adaptation changed: scores before and after, pictures of views, corrections of poses."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from depth_ros.checkpoints.adapted import Score, Scores
from depth_ros.core.camera import Camera
from depth_ros.core.resample import downscale
from depth_ros.offline.adapt.learn import Rehearsal
from depth_ros.offline.adapt.losses import photometric
from depth_ros.offline.adapt.pictures import Shown, Warp
from depth_ros.offline.adapt.scene import enlarged
from depth_ros.offline.adapt.student import Student
from depth_ros.offline.adapt.verdict import RECORDING
from depth_ros.offline.adapt.views import View
from depth_ros.offline.adapt.warp import rays, warp
from depth_ros.offline.cameras import GivenCamera
from depth_ros.offline.evaluation.comparison import Comparison, Result
from depth_ros.offline.evaluation.measured import Depth
from depth_ros.offline.evaluation.network import Choice, Network, limits
from depth_ros.offline.evaluation.scores import score
from depth_ros.offline.evaluation.truth import Source
from depth_ros.offline.recorded import Selection
from depth_ros.pipeline.two_views.keyframes import relative_pose
from depth_ros.sim.world import posed_scenes, random_camera, render_many
from depth_ros.sim.world.seeds import TEST, VALIDATION

SCENES = 16  #: synthetic ones, which no network is trained with
SCENE_SIZE = 192, 144  #: of their images [px]
NEAR_M, FAR_M = 0.3, 80.0  #: of depth that is compared in them
MOST_COMPARED = 60  #: images of an input
SYNTHETIC = 'synthetic scenes'
REHEARSED, FEWEST_REHEARSED = 128, 8  #: other scenes, for small and for large inputs
REHEARSED_PIXELS = REHEARSED * 96 * 72  #: of all of them, if they are enough for the fewest


def rehearsal(camera: Camera, student: Student) -> Rehearsal:
    """Rendered scenes with the depth that a network has now, seen by the camera of a recording.

    Args:
        camera: of the input of the network.
        student: at the start.
    """
    count = min(
        REHEARSED, max(FEWEST_REHEARSED, REHEARSED_PIXELS // (camera.width * camera.height))
    )
    rgb = []
    # not those that are compared
    for _, scene, pose in posed_scenes(range(VALIDATION - count, VALIDATION)):
        image = render_many([scene], [camera], [pose], sensor=True).rgb[0]
        rgb.append(image.permute(2, 0, 1).float() / 255)
    device = next(student.network.parameters()).device
    return Rehearsal.of(torch.stack(rgb).to(device), camera, student)


def synthetic(before: Student, after: Student) -> Scores:
    """Depth of rendered rooms, streets and other scenes, in metres."""
    rows = []
    for seed, scene, pose in posed_scenes(range(TEST, TEST + SCENES)):
        camera = random_camera(seed, *SCENE_SIZE)
        image = render_many([scene], [camera], [pose], sensor=True)
        truth = image.z[0].numpy()
        both = [_score(student, image.rgb[0], camera, truth) for student in (before, after)]
        rows.append([s for s in both if s is not None])
    rows = [row for row in rows if len(row) == 2]
    old, new = (_mean([row[k] for row in rows]) for k in (0, 1))
    return Scores(SYNTHETIC, old, new, len(rows))


def _score(student: Student, rgb: Tensor, camera: Camera, truth: np.ndarray) -> Score | None:
    z = depth(student, rgb, camera)
    found = score(z, truth, NEAR_M, FAR_M)
    if found is None:
        return None
    errors = found.errors['metres']
    return Score(errors.abs_rel, errors.delta1)


def _mean(scores: Sequence[Score]) -> Score:
    if not scores:
        return Score(math.nan, math.nan)
    return Score(
        float(np.mean([s.abs_rel for s in scores])), float(np.mean([s.delta1 for s in scores]))
    )


@torch.inference_mode()
def depth(student: Student, rgb: Tensor, camera: Camera) -> np.ndarray:
    """Depth of an undistorted image, (H, W) float32 [m].

    Args:
        student: the network.
        rgb: (H, W, 3) uint8.
        camera: of the image.
    """
    h, w = student.size(camera)
    device = next(student.network.parameters()).device
    small = downscale(rgb.to(device), (h, w)).permute(2, 0, 1)[None] / 255
    log_z = student.log_depth(small, camera.resized(w, h))
    return np.asarray(enlarged(log_z, camera.size)[0].exp().cpu().numpy(), np.float32)


def measured(
    sources: Sequence[Source],
    learnt_from: frozenset[str],
    before: Mapping[str, object] | None,
    after: Mapping[str, object],
    given: GivenCamera,
) -> Iterator[Scores]:
    """Scores of inputs with measured depth, through the whole pipeline, as of `depth-ros eval`.

    Args:
        sources: the inputs.
        learnt_from: names of those that are the recordings.
        before: parameters with the weights at the start; None if their depth has no metres.
        after: parameters with the adapted weights.
        given: camera of the user.

    Raises:
        DepthRosError: a network cannot be loaded.
    """
    choices = [Choice.of(label, values) for label, values in (('before', before), ('after', after))
               if values is not None]  # fmt: skip
    near, far = limits(choices)
    for source in sources:
        every = max(1, -(-source.count // MOST_COMPARED))
        comparison = Comparison([source], Selection(every), given, near, far)
        found = {choice.label: comparison(Network(choice))[0] for choice in choices}
        if not found['after'].rows:
            continue
        own = source.name in learnt_from
        old = found.get('before')
        yield Scores(
            RECORDING if own and len(learnt_from) == 1 else source.name,
            _of(old) if old is not None else Score(math.nan, math.nan),
            _of(found['after']),
            len(found['after'].rows),
            own,
        )


def _of(result: Result) -> Score:
    errors = [row.score.errors['metres'] for row in result.rows]
    return _mean([Score(e.abs_rel, e.delta1) for e in errors])


def pictures(
    views: Sequence[View],
    chosen: Sequence[int],
    partners: Mapping[int, Sequence[int]],
    before: Student,
    after: Student,
    truths: Mapping[int, Depth],
    *,
    held_out: bool,
) -> Iterator[Shown]:
    """Views before and after, with a neighbour moved to each.

    Args:
        views: all of them.
        chosen: numbers of those that are shown.
        partners: of each.
        before: network at the start.
        after: adapted network.
        truths: measured depth of those that have it, at their pixels [m].
        held_out: nothing was learnt from those that are shown.
    """
    for number in chosen:
        view, other = views[number], views[partners[number][0]]
        z = [depth(student, view.rgb, view.camera) for student in (before, after)]
        warps = []
        if view.T_world_camera is not None and other.T_world_camera is not None:
            T = relative_pose(other.T_world_camera, view.T_world_camera)
            moved = [_moved(view, other, T, one) for one in z]
            warps = [Warp(other.name, other.rgb.numpy(), moved[0][0], moved[1][0],
                          moved[0][1], moved[1][1])]  # fmt: skip
        truth = truths.get(number)
        yield Shown(view.name, view.rgb.numpy(), z[0], z[1], truth, warps, held_out)


def _moved(
    view: View, other: View, T_other_view: np.ndarray, z: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The other image at the pixels of the view, and its error."""
    a, b = (one.rgb.permute(2, 0, 1)[None].float() / 255 for one in (view, other))
    points = rays(view.camera) * torch.from_numpy(z).flatten()
    T = torch.from_numpy(T_other_view).float()[None]
    found = warp(b, other.camera, points[None], T, view.camera.size)
    error = torch.where(found.seen, photometric(a, found.rgb), torch.nan)[0]
    rgb = (torch.where(found.seen[:, None], found.rgb, 0.2)[0] * 255).round().to(torch.uint8)
    return rgb.permute(1, 2, 0).contiguous().numpy(), error.numpy()
