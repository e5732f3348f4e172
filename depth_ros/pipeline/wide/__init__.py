# SPDX-License-Identifier: Apache-2.0
"""`undistort.projection` wide: depth for all that a wide lens sees.

A pinhole cannot show 180 degrees, and networks know pinholes only. So the image is rendered as
several overlapping pinholes, the tiles, that look in different directions (`layout`). The network
sees them as one batch. Each tile has separate filters; then their depths are brought back to the
rays of the lens, and blended (`merge`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from depth_ros.core.camera import Camera
from depth_ros.core.errors import ConfigError, InferenceError
from depth_ros.core.lens import pinhole
from depth_ros.core.types import DepthMap, Frame, Kind, LensDepth, Prediction
from depth_ros.parameters.settings import Range, Settings, Undistort
from depth_ros.pipeline.filters import Filters
from depth_ros.pipeline.filters.range import limited
from depth_ros.pipeline.floor import given_floor
from depth_ros.pipeline.scaling import Scaling
from depth_ros.pipeline.wide import merge
from depth_ros.pipeline.wide.layout import Tile, layout
from depth_ros.pipeline.wide.tables import Tables, clear_cache, pinhole_sampling, tables

__all__ = ['WIDE', 'WideView', 'check_wide', 'clear_cache', 'tiles_of']

WIDE = 'wide'
#: tiles overlap, so a network may see so much less than a tile
SEEN = 1.1


def check_wide(settings: Settings, kind: Kind | None) -> None:
    """Refuse what several tiles cannot have.

    Args:
        settings: all parameters.
        kind: of the network; None if it is not known yet.

    Raises:
        ConfigError: with reason and remedy.
    """
    if settings.undistort.projection != WIDE:
        return
    reasons = {
        'two_views.mode': (
            settings.two_views.mode != 'off',
            "two views are compared as two pinholes: set two_views.mode to 'off'",
        ),
        'anchors.sources': (
            any(settings.anchors.sources) or settings.scaling.method == 'anchors',
            'anchors are pixels of one pinhole, in front of the camera: leave anchors.sources '
            "empty and scaling.method 'auto', with a metric network",
        ),
        'intrinsics': (
            settings.intrinsics == 'estimated',
            'an estimated camera is a pinhole: calibrate the camera and set intrinsics to '
            "'camera_info'",
        ),
        'model': (
            kind is Kind.AFFINE_INVERSE,
            'the network is affine_inverse: each tile has its own unknown factor and shift, which '
            'overlaps cannot separate where they show one distance. Take a metric preset',
        ),
    }
    for name, (found, reason) in reasons.items():
        if found:
            raise ConfigError(f"undistort.projection is 'wide' and {name} does not fit: {reason}")
    _check_training_camera(settings)


def _check_training_camera(settings: Settings) -> None:
    """Refuse tiles of which a network of a single camera would leave the edges without depth."""
    focals, sides = settings.onnx.training_camera[:2], settings.onnx.input_size
    if not all(focals) or not all(sides):
        return
    fields = [2 * math.degrees(math.atan(s / 2 / f)) for s, f in zip(sides, focals, strict=True)]
    most = math.floor(SEEN * min(fields))
    if settings.undistort.tile_fov > most:
        raise ConfigError(
            f'undistort.tile_fov is {settings.undistort.tile_fov:g}, but the network has depth '
            f'for {fields[0]:.0f} x {fields[1]:.0f} deg only (onnx.training_camera), so there '
            f'would be gaps between the tiles: set it to {most} or less'
        )


def tiles_of(camera: Camera, settings: Undistort) -> tuple[Tile, ...]:
    """The tiles of a camera, by the parameters `undistort.*`.

    Raises:
        CameraError: there are no such tiles, or not the pinhole that is to be published.
    """
    if settings.depth_image == 'pinhole':
        pinhole(camera, settings.zoom)
    return layout(camera, settings.tile_fov, settings.max_angle)


@dataclass(frozen=True, slots=True)
class WideView:
    """The image of a lens and its tiles.

    Args:
        frame: the image.
        tables: of its camera.
        tiles: what the network sees.
    """

    frame: Frame
    tables: Tables
    tiles: list[Frame]

    @classmethod
    def of(cls, frame: Frame, settings: Undistort) -> WideView:
        """Render the tiles of a frame.

        Raises:
            CameraError: as `tiles_of`.
        """
        tiles_of(frame.camera, settings)
        device = str(frame.rgb.device)
        found = tables(frame.camera, settings.tile_fov, settings.max_angle, device)
        return cls(
            frame,
            found,
            [
                Frame(t.source.image(frame.rgb), t.tile.camera, frame.stamp_ns, frame.frame_id)
                for t in found.tiles
            ],
        )

    def depth_map(
        self,
        predictions: Sequence[Prediction],
        scaling: Scaling,
        settings: Settings,
        filters: Filters | None,
    ) -> DepthMap:
        """Metres of all rays, and of the image that is to be published.

        Args:
            predictions: of the tiles.
            scaling: makes metres of them.
            settings: all parameters.
            filters: of the camera, with what they remember; None for a frame on its own.

        Raises:
            InferenceError: a prediction is not of the tile's size.
        """
        filters = filters or Filters()
        # the limits are of the distance along the ray, so they apply when the tiles are blended
        unlimited = replace(settings, range=Range(min=0.0, max=0.0))
        found: list[tuple[Tensor, Tensor]] = []
        for k, (p, tile) in enumerate(zip(predictions, self.tiles, strict=True)):
            if tuple(p.values.shape) != tile.camera.size:
                raise InferenceError(
                    f'the network returned {tuple(p.values.shape)} for a tile of '
                    f'{tile.camera.size}: it is not a depth map of this image'
                )
            z, seen = scaling(p, tile.camera), self.tables.tiles[k].seen
            found.append(filters.of_tile(k)(z, p, tile, unlimited, seen))
        free = [f for _, f in found]
        factors = merge.aligned(free, self.tables, predictions[0].kind)
        free_ranges = merge.blended(free, factors, self.tables)
        ranges = free_ranges
        if settings.filters.edges > 0:
            ranges = merge.blended([z for z, _ in found], factors, self.tables)
        sure = [p.confidence for p in predictions if p.confidence is not None]
        confidence = merge.mean(sure, self.tables) if len(sure) == len(self.tiles) else None
        slants = [p.normals for p in predictions if p.normals is not None]
        normals = None
        if len(slants) == len(self.tiles):
            normals = merge.mean_direction(slants, self.tables)
        known = torch.isfinite(free_ranges) | (free_ranges == torch.inf)
        depth = self._published(ranges, free_ranges, confidence, normals, settings)
        floor = self.frame.floor or given_floor(settings.floor)
        return replace(depth, has_finite=known.any(), floor=floor)

    def _published(
        self,
        ranges: Tensor,
        free_ranges: Tensor,
        confidence: Tensor | None,
        normals: Tensor | None,
        settings: Settings,
    ) -> DepthMap:
        near, far = settings.range.min, settings.range.max or torch.inf
        camera, rgb = self.frame.camera, self.frame.rgb
        lens = LensDepth(limited(ranges, near, far), limited(free_ranges, near, far), camera, rgb)
        if settings.undistort.depth_image == 'lens':
            z = torch.where(self.tables.ray_z > 0, ranges * self.tables.ray_z, torch.nan)
        else:
            target = pinhole(camera, settings.undistort.zoom)
            sampling, seen, ray_z = pinhole_sampling(camera, target, str(ranges.device))
            z = torch.where(seen, merge.resampled(ranges, sampling) * ray_z, torch.nan)
            camera, rgb = target, sampling.image(rgb)
            if confidence is not None:
                confidence = torch.where(seen, sampling.maps(confidence[None])[0], torch.nan)
            if normals is not None:
                normals = merge.resampled_direction(normals, sampling)
                normals = torch.where(seen[..., None], normals, torch.nan)
        if normals is not None:
            normals = normals.contiguous()
        return DepthMap(limited(z, near, far), camera, rgb, confidence, lens=lens, normals=normals)
