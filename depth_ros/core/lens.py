# SPDX-License-Identifier: Apache-2.0
"""Lenses: from rays to pixels and back, and the pinhole that a lens is undistorted to.

Unlike a pinhole's, pixels of a fisheye lens can see sideways and backwards. So a pixel has a unit
vector here, and the angle between it and the optical axis may be 90 degrees or more.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from depth_ros.core.camera import KEEP_ALL, KEEP_K, MIN_FOCAL, Camera
from depth_ros.core.errors import CameraError

Floats = NDArray[np.float64]

#: of models that are polynomials of the tangent, and of no distortion
MAX_TANGENT_ANGLE = math.radians(89.0)
STEPS = 30  #: maximum of Newton's method; five to ten suffice
TOLERANCE = 1e-10  #: in normalised image coordinates
DELTA = 1e-6  #: step of numerical derivatives
_ANGLES = 20_000  #: of the table that a radius is looked up in


def project(rays: Floats, camera: Camera) -> tuple[Floats, Floats]:
    """Project rays of any direction to pixels.

    Args:
        rays: (..., 3) in the optical frame, of any length but 0.
        camera: of any distortion model.

    Returns:
        Columns u and rows v [px], (...) each; NaN where the lens forms no image of the ray, which
        may still be outside of the sensor.
    """
    x, y, z = rays[..., 0], rays[..., 1], rays[..., 2]
    across = np.hypot(x, y)
    angle = np.arctan2(across, z)
    seen = angle <= max_angle(camera)
    if _is_radial(camera):
        radius = _radius(np.where(seen, angle, 0.0), camera)
        scale = np.divide(radius, across, out=np.zeros_like(radius), where=across > 0)
        u, v = x * scale, y * scale
    else:
        with np.errstate(divide='ignore', invalid='ignore'):
            flat = np.stack((x / z, y / z), -1)
        flat[~seen] = 0.0
        flat = _distort(np.array(camera.distortion), flat.reshape(-1, 2)).reshape(flat.shape)
        u, v = flat[..., 0], flat[..., 1]
    u, v = camera.fx * u + camera.cx, camera.fy * v + camera.cy
    return np.where(seen, u, np.nan), np.where(seen, v, np.nan)


def unproject(u: Floats, v: Floats, camera: Camera) -> Floats:
    """Viewing rays of pixels: the inverse of `project`.

    Args:
        u: (...) columns [px].
        v: (...) rows [px].
        camera: of any distortion model.

    Returns:
        (..., 3) unit vectors in the optical frame; NaN where the lens forms no image.
    """
    distorted = np.stack(((u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy), -1)
    if _is_radial(camera):
        radius = np.hypot(distorted[..., 0], distorted[..., 1])
        angle = _angle(radius, camera)
        across = np.divide(np.sin(angle), radius, out=np.ones_like(radius), where=radius > 0)
        return np.concatenate((distorted * across[..., None], np.cos(angle)[..., None]), -1)
    points = distorted
    if camera.is_distorted:
        points = _invert(np.array(camera.distortion), distorted.reshape(-1, 2), camera)
        points = points.reshape(distorted.shape)
    rays = np.concatenate((points, np.ones_like(points[..., :1])), -1)
    return np.asarray(rays / np.linalg.norm(rays, axis=-1, keepdims=True))


@lru_cache(maxsize=32)
def max_angle(camera: Camera) -> float:
    """Largest angle between optical axis and a ray that the lens forms an image of [rad].

    Beyond it the distorted radius would decrease, so that two rays would share a pixel.
    """
    if not camera.is_distorted:
        return MAX_TANGENT_ANGLE
    if _is_radial(camera):
        angles = _angles()
        radii = _radius(angles, camera)
    else:
        tangents = np.linspace(0, math.tan(MAX_TANGENT_ANGLE), 100_000)
        angles = np.arctan(tangents)
        radial = np.array(camera.distortion)
        radial[2:4] = 0.0
        radii = _distort(radial, np.stack((tangents, np.zeros_like(tangents)), -1))[:, 0]
    folded = np.flatnonzero(~(np.diff(radii) > 0))
    return float(angles[folded[0] if len(folded) else -1])


def pixel_grid(camera: Camera, step: int = 1) -> Floats:
    """(h, w, 3) unit rays of every `step`-th column and row; NaN where the lens has no image."""
    v, u = np.mgrid[0 : camera.height : step, 0 : camera.width : step].astype(np.float64)
    return unproject(u, v, camera)


@lru_cache(maxsize=32)
def field_of_view_deg(camera: Camera) -> tuple[float, float]:
    """Horizontal and vertical field of view of the lens [deg], through the principal point."""
    fields = []
    for axis, side, centre in ((0, camera.width, camera.cx), (1, camera.height, camera.cy)):
        at = np.linspace(-0.5, side - 0.5, 513)
        other = np.full_like(at, camera.cy if axis == 0 else camera.cx)
        rays = unproject(*((at, other) if axis == 0 else (other, at)), camera)
        angle = np.degrees(np.arctan2(np.hypot(rays[:, 0], rays[:, 1]), rays[:, 2]))
        seen = np.isfinite(angle)
        before, after = angle[seen & (at < centre)], angle[seen & (at >= centre)]
        fields.append(float(before.max(initial=0.0) + after.max(initial=0.0)))
    return fields[0], fields[1]


@lru_cache(maxsize=32)
def pinhole(camera: Camera, zoom: str = KEEP_K) -> Camera:
    """The pinhole of the same size that a lens is undistorted to.

    It looks in the same direction. Its pixels keep their aspect ratio, as networks know square
    pixels only: OpenCV's getOptimalNewCameraMatrix scales both axes on their own.

    Args:
        camera: with any distortion; one without is returned as it is.
        zoom: one of `camera.ZOOMS`. KEEP_K: the intrinsics stay. KEEP_VALID: every pixel has a
            source, as with alpha 0 of OpenCV. KEEP_ALL: all pixels of the lens are in it, alpha 1.

    Raises:
        CameraError: no pinhole shows all that the lens sees.
    """
    if zoom == KEEP_K or not camera.is_distorted:
        return camera.undistorted()
    return (_keep_all if zoom == KEEP_ALL else _keep_valid)(camera)


def _keep_all(camera: Camera) -> Camera:
    rays = np.concatenate((_border(camera).reshape(-1, 3), _inner(camera).reshape(-1, 3)))
    rays = rays[np.isfinite(rays[:, 2])]
    least = np.degrees(np.arctan2(np.hypot(rays[:, 0], rays[:, 1]), rays[:, 2])).max(initial=0.0)
    if least < 90:
        x, y = rays[:, 0] / rays[:, 2], rays[:, 1] / rays[:, 2]
        found = _fitted(camera, (x.min(), x.max(), y.min(), y.max()), min)
        if found is not None:
            return found
    raise CameraError(
        f"undistort.zoom is 'keep_all', but the image of this {camera.distortion_model} lens "
        f'reaches {least:.0f} deg from its axis, which no pinhole shows: set '
        "undistort.projection to 'wide', or undistort.zoom to 'keep_valid' or 'keep_k'"
    )


def _keep_valid(camera: Camera) -> Camera:
    left, right, top, bottom = (
        side[..., :2] / side[..., 2:] if (side[..., 2] > 0).all() else None
        for side in _sides(camera)
    )
    if left is None or right is None or top is None or bottom is None:
        found: Camera | None = camera.undistorted()  # an image circle: it is enlarged below
    else:
        inner = left[:, 0].max(), right[:, 0].min(), top[:, 1].max(), bottom[:, 1].min()
        found = _fitted(camera, inner, max)
    for _ in range(400):
        if found is None:
            break
        if _is_covered(found, camera):
            return found
        found = _enlarged(found, 1.01)  # its border is of an image circle, or between the samples
    raise CameraError(
        f"undistort.zoom is 'keep_valid', but no pinhole is within the image of this "
        f"{camera.distortion_model} lens: set it to 'keep_k', or calibrate the camera"
    )


def _enlarged(camera: Camera, factor: float) -> Camera:
    """A pinhole with another focal length and the same middle."""
    u, v = (camera.width - 1) / 2, (camera.height - 1) / 2
    return replace(
        camera,
        fx=camera.fx * factor,
        fy=camera.fy * factor,
        cx=u + (camera.cx - u) * factor,
        cy=v + (camera.cy - v) * factor,
    )


def _fitted(
    camera: Camera, edges: tuple[float, ...], choose: Callable[[float, float], float]
) -> Camera | None:
    """The pinhole whose outer pixels have the tangents `edges` (left, right, top, bottom).

    Args:
        camera: for size and aspect ratio of pixels.
        edges: tangents of the angles.
        choose: `min` or `max`, which of the two axes decides; about the middle of the other one.

    Returns:
        None if there is no such pinhole.
    """
    left, right, top, bottom = edges
    if not (right > left and bottom > top):
        return None
    last_u, last_v = camera.width - 1, camera.height - 1
    scale = choose(last_u / (right - left) / camera.fx, last_v / (bottom - top) / camera.fy)
    fx, fy = scale * camera.fx, scale * camera.fy
    if fx < MIN_FOCAL * camera.width or fy < MIN_FOCAL * camera.height:
        return None
    cx, cy = last_u / 2 - fx * (left + right) / 2, last_v / 2 - fy * (top + bottom) / 2
    return Camera(camera.width, camera.height, fx, fy, cx, cy)


def _sides(camera: Camera) -> tuple[Floats, Floats, Floats, Floats]:
    """(n, 3) unit rays of the left and right column, and of the top and bottom row."""
    u, v = np.arange(camera.width, dtype=np.float64), np.arange(camera.height, dtype=np.float64)
    columns = (unproject(np.full_like(v, at), v, camera) for at in (0.0, camera.width - 1.0))
    rows = (unproject(u, np.full_like(u, at), camera) for at in (0.0, camera.height - 1.0))
    return (*columns, *rows)  # type: ignore[return-value]


def _border(camera: Camera) -> Floats:
    return np.concatenate(_sides(camera))


def _inner(camera: Camera) -> Floats:
    """Rays within the image: where the border has none, they reach farthest."""
    return pixel_grid(camera, max(1, max(camera.size) // 64))


def _is_covered(target: Camera, camera: Camera) -> bool:
    """Whether all border pixels of a pinhole have a source in the image of a lens."""
    u, v = project(_border(target), camera)
    inside = (u >= 0) & (u <= camera.width - 1) & (v >= 0) & (v <= camera.height - 1)
    return bool(inside.all())


def clear_cache() -> None:
    """Free what is cached of each camera."""
    for table in (max_angle, field_of_view_deg, pinhole):
        table.cache_clear()


def _is_radial(camera: Camera) -> bool:
    """Whether the radius in the image depends on the angle alone, and not on its tangent."""
    return camera.is_distorted and camera.distortion_model in _RADII


def _equidistant(angle: Floats, d: tuple[float, ...]) -> Floats:
    square = angle * angle
    return angle * (1 + square * (d[0] + square * (d[1] + square * (d[2] + square * d[3]))))


def _fov(angle: Floats, d: tuple[float, ...]) -> Floats:
    """Devernay and Faugeras, 2001, "Straight lines have to be straight"."""
    spread = 2 * math.tan(d[0] / 2)
    return np.arctan2(spread * np.sin(angle), np.cos(angle)) / d[0]


def _double_sphere(angle: Floats, d: tuple[float, ...]) -> Floats:
    """Usenko, Demmel and Cremers, 2018, "The Double Sphere Camera Model", at distance 1.

    Where the projection ends its denominator is 0; the radius is NaN from there on.
    """
    xi, alpha = d
    shifted = xi + np.cos(angle)
    below = alpha * np.hypot(np.sin(angle), shifted) + (1 - alpha) * shifted
    return np.sin(angle) / np.where(below > 1e-6, below, np.nan)


#: radius in the image at focal length 1, by the angle from the axis [rad] and the coefficients
_RADII = {'equidistant': _equidistant, 'fov': _fov, 'double_sphere': _double_sphere}


def _radius(angle: Floats, camera: Camera) -> Floats:
    return _RADII[camera.distortion_model](angle, camera.distortion)


def _angles() -> Floats:
    return np.linspace(0.0, math.pi, _ANGLES)


def _angle(radius: Floats, camera: Camera) -> Floats:
    """Angles from the axis [rad] by radius: from a table, then by Newton's method."""
    last = max_angle(camera)
    angles = _angles()
    angles = angles[angles <= last]
    angle: Floats = np.interp(radius, _radius(angles, camera), angles, right=np.nan)
    for _ in range(4):
        slope = _radius(angle + DELTA, camera) - _radius(angle - DELTA, camera)
        with np.errstate(divide='ignore', invalid='ignore'):
            angle = angle + (radius - _radius(angle, camera)) / slope * (2 * DELTA)
    return np.where((angle >= 0) & (angle <= last), angle, np.where(radius == 0, 0.0, np.nan))


def _invert(coefficients: Floats, distorted: Floats, camera: Camera) -> Floats:
    """Invert plumb_bob and rational_polynomial by Newton's method, starting at the pixel.

    Distortion grows monotonically with the angle. So the iterates approach the solution from one
    side and do not jump over the angle at which the distorted radius decreases.
    """
    max_radius = math.tan(max_angle(camera))
    points = distorted.copy()
    left = np.arange(len(points))  # neither solved nor diverged
    for _ in range(STEPS):
        at = points[left]
        value = _distort(coefficients, at)
        error = distorted[left] - value
        unsolved = (np.abs(error) >= TOLERANCE).any(-1)  # not where NaN: diverged
        left, at = left[unsolved], at[unsolved]
        value, error = value[unsolved], error[unsolved]
        if not len(left):
            break
        by_x, by_y = (
            (_distort(coefficients, at + DELTA * axis) - value) / DELTA for axis in np.eye(2)
        )  # (N, 2)
        with np.errstate(divide='ignore', invalid='ignore'):
            determinant = by_x[:, 0] * by_y[:, 1] - by_x[:, 1] * by_y[:, 0]
            step_x = (error[:, 0] * by_y[:, 1] - error[:, 1] * by_y[:, 0]) / determinant
            step_y = (error[:, 1] * by_x[:, 0] - error[:, 0] * by_x[:, 1]) / determinant
        at = at + np.stack((step_x, step_y), -1)
        at[~(np.hypot(*at.T) <= 2 * max_radius)] = np.nan  # diverged: no solution
        points[left] = at
    solved = np.abs(distorted - _distort(coefficients, points)).max(-1) < 10 * TOLERANCE
    points[~(solved & (np.hypot(*points.T) < max_radius))] = np.nan
    return points


def _distort(coefficients: Floats, points: Floats) -> Floats:
    """Distort normalised image points (N, 2) as OpenCV does.

    Args:
        coefficients: k1 k2 p1 p2 k3 k4 k5 k6 s1 s2 s3 s4 and two angles of a tilted sensor; those
            at the end may be left out.
        points: tangents of the rays.
    """
    d = np.zeros(14)
    d[: len(coefficients)] = coefficients
    if d[12:].any():
        return _distort_tilted(coefficients, points)
    # a sixth of the time of cv2.projectPoints
    x, y = points[:, 0], points[:, 1]
    with np.errstate(over='ignore', invalid='ignore', divide='ignore'):
        square = x * x + y * y
        radial = (1 + square * (d[0] + square * (d[1] + square * d[4]))) / (
            1 + square * (d[5] + square * (d[6] + square * d[7]))
        )
        across = 2 * x * y
        out = np.empty_like(points)
        out[:, 0] = x * radial + d[2] * across + d[3] * (square + 2 * x * x)
        out[:, 1] = y * radial + d[2] * (square + 2 * y * y) + d[3] * across
        if d[8:12].any():
            out[:, 0] += square * (d[8] + square * d[9])
            out[:, 1] += square * (d[10] + square * d[11])
    return out


def _distort_tilted(coefficients: Floats, points: Floats) -> Floats:
    points3 = np.concatenate((points, np.ones_like(points[:, :1])), 1)[:, None]
    zero = np.zeros(3)
    image = cv2.projectPoints(points3, zero, zero, np.eye(3), coefficients)[0]
    return np.asarray(image[:, 0], np.float64)
