# SPDX-License-Identifier: Apache-2.0
"""Recordings are examined before anything is learnt from them: each property gives a `Check`.

A wrong focal length, clock or frame makes metres worse although the photometric error falls.
So none of it can be seen from the learning alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from depth_ros.checkpoints.adapted import GOOD, REFUSED, WARNING, Check, Coverage
from depth_ros.offline.adapt import checks
from depth_ros.offline.adapt.checks import Fit
from depth_ros.offline.adapt.learn import Options
from depth_ros.offline.adapt.recording import Recording
from depth_ros.offline.adapt.scene import Images, near_origin
from depth_ros.offline.adapt.student import Student
from depth_ros.offline.adapt.views import View, check_partners, numbers_of, partners

Partners = Mapping[int, Sequence[int]]

OFFSETS_S = tuple(round(0.05 * k, 3) for k in range(-4, 5))  #: of the clock that are tried
OFFSET_GAIN = 0.05  #: of the error, by which another offset has to be better
MOST_RADIAL = 0.03  #: displacement of the corner over the width of the image
MOST_BLURRED, MOST_TURNING, FEWEST_PAIRED = 0.2, 0.3, 0.5  #: shares of the images
STEADY_DEG = 0.5  #: turn between compared images, below which no focal length is seen
SHARP = 0.8  #: share of the images, above which an image is one of the sharp ones
LATER = 0.2  #: share of a recording, its end, whose coverage is reported


@dataclass(frozen=True, slots=True)
class Examined:
    """What was found, and what the learning needs of it.

    Args:
        images: the views.
        partners: of `views.partners`, by the depth that fits.
        depth_m: typical distance [m].
        fit: of depth and motion; None without poses.
        found: the checks.
        coverage: of the end of each recording by the rest.
    """

    images: Images
    partners: Partners
    depth_m: float
    fit: Fit | None
    found: tuple[Check, ...]
    coverage: tuple[Coverage, ...]

    @property
    def refused(self) -> tuple[Check, ...]:
        """Reasons not to learn from these recordings."""
        return tuple(check for check in self.found if check.verdict == REFUSED)


def examine(
    recordings: Sequence[Recording],
    views: Sequence[View],
    images: Images,
    student: Student,
    *,
    has_metres: bool = True,
    batch: int = 8,
    seed: int = 0,
) -> Examined:
    """Examine recordings with poses.

    Args:
        recordings: that the views are of.
        views: their images.
        images: of these views.
        student: the network, which is not changed.
        has_metres: its depth is in metres, if maybe wrong ones.
        batch: images in a step of the learning that finds the lens.
        seed: of the learning that finds the lens.

    Raises:
        ConfigError: no two images can be compared.
    """
    log_z = checks.log_depths(images, student)
    found, fit, depth_m = paired(views, images, log_z, has_metres=has_metres)
    log_z = log_z + math.log(fit.factor)
    results = [_paired_check(views, found), _gain_check(fit)]
    if fit.gain >= checks.LEAST_GAIN:
        options = Options(
            steps=checks.LENS_STEPS,
            batch=min(batch, checks.LENS_BATCH),
            turn_deg=0.0,
            recolour=0.0,
            seed=seed,
        )
        lens = checks.find_lens(images, found, student, options)
        results += [_focal_check(lens, views, found), _lens_check(lens, views)]
        results += _offset_checks(recordings, views, images, log_z, found)
    results += [_turning_check(views), _blur_check(images)]
    covered = tuple(_coverage(recordings, views, images, log_z))
    return Examined(images, found, depth_m, fit, tuple(results), covered)


def examine_without_poses(views: Sequence[View], images: Images) -> Examined:
    """What can be said without poses.

    Raises:
        ConfigError: no two images follow each other.
    """
    found = partners(views, 1.0)
    check_partners(found, views, 1.0)
    return Examined(images, found, math.nan, None, (_blur_check(images),), ())


def paired(
    views: Sequence[View], images: Images, log_z: Tensor, *, has_metres: bool
) -> tuple[Partners, Fit, float]:
    """Partners, and the factor on depth, each of which depends on the other.

    Args:
        views: the images.
        images: of these views.
        log_z: their depth by the network, of `checks.log_depths`.
        has_metres: it is in metres, if maybe wrong ones.

    Returns:
        Views that each one can be compared with, the factor, and a typical distance [m].

    Raises:
        ConfigError: no two images can be compared.
    """
    factors = checks.DEPTH_FACTORS if has_metres else checks.factors_between(log_z)
    typical = float(log_z.median().exp())
    depth_m = typical if has_metres else checks.START_M
    fit = Fit(1.0, math.nan, math.nan)
    for _ in range(2):
        found = partners(views, depth_m)
        check_partners(found, views, depth_m)
        fit = checks.fit(images, log_z, found, factors)
        depth_m = typical * fit.factor
    again = partners(views, depth_m)
    return again or found, fit, depth_m


def _paired_check(views: Sequence[View], found: Partners) -> Check:
    share = len(found) / len(views)
    baselines = [_distance(views[k], views[o]) for k, others in found.items() for o in others]
    text = (
        f'{len(found)} of {len(views)} images have others of the same place, '
        f'{100 * float(np.median(baselines)):.2g} cm apart (median)'
    )
    good = share >= FEWEST_PAIRED
    remedy = '' if good else 'record more images for each metre, and drive past things'
    return Check('spacing', text, GOOD if good else WARNING, share, '', remedy)


def _distance(a: View, b: View) -> float:
    assert a.T_world_camera is not None and b.T_world_camera is not None  # of `partners`
    return float(np.linalg.norm(a.T_world_camera[:3, 3] - b.T_world_camera[:3, 3]))


def _gain_check(fit: Fit) -> Check:
    text = (
        f'depth and motion explain {100 * max(0.0, fit.gain):.0f} % of the difference between '
        f'images, with depth times {fit.factor:.2f}'
    )
    if fit.gain >= checks.LEAST_GAIN:
        return Check('poses', text, GOOD, fit.gain)
    remedy = (
        'check that the poses are those of the optical frame (x right, y down, z forward), in '
        'metres, with the stamps of the images, and that the scene has texture and stands still'
    )
    return Check('poses', text, REFUSED, fit.gain, '', remedy)


def _focal_check(lens: checks.LensFit, views: Sequence[View], found: Partners) -> Check:
    camera = views[0].camera
    stated, best = camera.fx, camera.fx * lens.focal
    turns = [_turn(views[k], views[o]) for k, others in found.items() for o in others]
    if float(np.median(turns)) < STEADY_DEG:
        text = f'{stated:.0f} px as stated; the camera turned too little to find it'
        return Check('focal length', text, GOOD, stated, 'px')
    text = f'{stated:.0f} px as stated, {best:.0f} px fits best, for {camera.width} columns'
    if abs(lens.focal - 1) <= checks.MOST_FOCAL:
        return Check('focal length', text, GOOD, best, 'px')
    remedy = (
        f'calibrate the camera, or give --fx {best:.0f} for images of {camera.width} columns; is '
        'camera_info that of another camera, or of another resolution?'
    )
    return Check('focal length', text, REFUSED, best, 'px', remedy)


def _turn(a: View, b: View) -> float:
    return checks.turns_deg([a, b])[0]


def _lens_check(lens: checks.LensFit, views: Sequence[View]) -> Check:
    camera = views[0].camera
    shift = lens.radial * camera.width
    text = f'the corner of the image is displaced by {abs(shift):.0f} px of {camera.width}'
    if abs(lens.radial) <= MOST_RADIAL:
        return Check('lens', text, GOOD, shift, 'px')
    remedy = 'calibrate the camera: distortion is missing in its camera_info, or wrong'
    return Check('lens', text, WARNING, shift, 'px', remedy)


def _offset_checks(
    recordings: Sequence[Recording],
    views: Sequence[View],
    images: Images,
    log_z: Tensor,
    found: Partners,
) -> Iterator[Check]:
    """Of each recording whose poses have times."""
    for recording in recordings:
        own = {k: o for k, o in found.items() if views[k].recording == recording.number}
        if not recording.has_times or not own:
            continue

        def poses_at(offset_s: float, recording: Recording = recording) -> Tensor:
            moved = [
                view if view.recording != recording.number else _at(view, recording, offset_s)
                for view in views
            ]
            return torch.from_numpy(near_origin(moved)).float().to(images.poses.device)

        offset_s, errors = checks.find_offset(images, log_z, own, poses_at, OFFSETS_S)
        stated, best = errors[OFFSETS_S.index(0.0)], min(errors)
        name = 'clock' if len(recordings) == 1 else f'clock of {recording.name}'
        if not math.isfinite(stated) or best > (1 - OFFSET_GAIN) * stated:
            text = 'images and poses have the same clock, within 0.05 s'
            yield Check(name, text, GOOD, 0.0, 's')
            continue
        text = f'the poses fit best {abs(offset_s):.2f} s {"later" if offset_s > 0 else "earlier"}'
        remedy = f'correct the stamps of images or poses, or give --pose-offset {offset_s:g}'
        yield Check(name, text, REFUSED, offset_s, 's', remedy)


def _at(view: View, recording: Recording, offset_s: float) -> View:
    return replace(view, T_world_camera=recording.pose(view.number, offset_s))


def _turning_check(views: Sequence[View]) -> Check:
    turns = np.array(checks.turns_deg(views))
    share = float(np.mean(turns > checks.MOST_TURN_DEG)) if len(turns) else 0.0
    median = float(np.median(turns)) if len(turns) else 0.0
    text = (
        f'{median:.1f} deg from image to image (median), above {checks.MOST_TURN_DEG:g} deg in '
        f'{100 * share:.0f} %'
    )
    good = share <= MOST_TURNING
    remedy = '' if good else 'turn more slowly, or record more images a second'
    return Check('turning', text, GOOD if good else WARNING, median, 'deg', remedy)


def _blur_check(images: Images) -> Check:
    sharp = checks.sharpness(images)
    share = float((sharp < checks.BLURRED * sharp.quantile(SHARP)).float().mean())
    text = f'{100 * share:.0f} % of the images are much less sharp than the best'
    good = share <= MOST_BLURRED
    remedy = '' if good else 'drive more slowly, or with more light'
    return Check('blur', text, GOOD if good else WARNING, share, '', remedy)


def _coverage(
    recordings: Sequence[Recording], views: Sequence[View], images: Images, log_z: Tensor
) -> Iterator[Coverage]:
    for recording in recordings:
        numbers = numbers_of(views, recording.number)
        late = max(1, round(LATER * len(numbers)))
        if len(numbers) < 5:
            continue
        share = checks.covered(images, log_z, numbers[-late:], numbers[:-late])
        yield Coverage(f'the last {late} images of {recording.name}, by those before', share)
