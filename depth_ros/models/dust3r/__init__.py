# SPDX-License-Identifier: Apache-2.0
"""DUSt3R: preprocessing and meaning of the output; points of two views, up to scale.

| variant    | network input                     | heads                           |
|------------|-----------------------------------|---------------------------------|
| 224_linear | central square, 224x224           | one linear layer for each patch |
| 512_linear | longer side 512, multiples of 16  | one linear layer for each patch |
| 512_dpt    | longer side 512, multiples of 16  | convolutions, sharper           |

The network does not use intrinsics. Of the first view only z is used; x and y follow from the
known camera. The points of the second view are scaled along x and y by the factor that makes those
of the first view agree with its camera.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from depth_ros.core.camera import Camera
from depth_ros.core.errors import ConfigError
from depth_ros.core.geometry import rays
from depth_ros.core.types import Frame, Kind, MultiView, Prediction
from depth_ros.models.dust3r.checkpoint import load_checkpoint
from depth_ros.models.dust3r.focal import weiszfeld_factor, weiszfeld_focal
from depth_ros.models.dust3r.heads import PATCH
from depth_ros.models.dust3r.network import Dust3r, PointMap
from depth_ros.models.dust3r.pose import find_pose
from depth_ros.models.dust3r.preprocessing import crop_and_resize, network_camera, to_image_pixels
from depth_ros.models.interface import ModelOptions, Preset
from depth_ros.models.loading import load_network

log = logging.getLogger(__name__)

NOT_EXPORTED = 'it takes two views'  #: why other engines than torch cannot run it


def load(preset: Preset, options: ModelOptions) -> Dust3rModel:
    """Build the network of the preset and load `options.weights`.

    Raises:
        ConfigError: no weights, or an input size below one patch.
        WeightsError: the file is damaged, or of another network or variant.
    """
    if 0 < options.input_size < PATCH:
        raise ConfigError(f'input_size is {options.input_size}; the minimum is {PATCH}, one patch')
    side, _, head = preset.variant.partition('_')
    network = load_network(lambda: Dust3r(head), load_checkpoint, preset, options)
    return Dust3rModel(network, int(side), options)


class Dust3rModel:
    """`DepthModel` that also `TakesViews` and `EstimatesCamera`.

    Args:
        network: with weights, on `options.device` and in `options.dtype`.
        trained_side: longer side of the training images [px], 224 or 512.
        options: as given to `load`.
    """

    kind = Kind.SCALE_INVARIANT
    scale_memory = 10

    def __init__(self, network: Dust3r, trained_side: int, options: ModelOptions) -> None:
        self.network = network
        self._dtype = options.dtype
        self._square = trained_side == 224  # only this one was trained with square images
        self._side = options.input_size or trained_side
        self._max_tokens = options.max_tokens
        self._network_cameras: dict[Camera, Camera] = {}

    @torch.inference_mode()
    def predict(self, frame: Frame) -> Prediction:
        """Predict Z times an unknown factor from one image, which is used as both views.

        Args:
            frame: undistorted, (H, W), on the device of the network.

        Returns:
            SCALE_INVARIANT prediction, (H, W) float32; NaN for pixels that were cropped or whose
            predicted point is behind the camera.
        """
        inner = self.network_camera(frame.camera)
        (points_map,) = self.network(self.network_input(frame))
        z, confidence = _depth_of_first(points_map, inner, frame.camera)
        return Prediction(z, self.kind, confidence=confidence)

    @torch.inference_mode()
    def predict_views(
        self, frames: Sequence[Frame], known: Sequence[NDArray[np.float64]] | None = None
    ) -> MultiView:
        """Predict depth of the first view and the pose of the second camera, up to one factor.

        Args:
            frames: two, undistorted, with overlapping images; their cameras may differ.
            known: not used.

        Raises:
            ConfigError: there are not two frames.
        """
        if len(frames) != 2:
            raise ConfigError(
                f'DUSt3R takes two views at once, not {len(frames)}: its decoder compares pairs. '
                'Set two_views.views to 2, or model to depth_anything_v3_small'
            )
        first, second = frames
        inner, inner2 = self.network_camera(first.camera), self.network_camera(second.camera)
        map1, map2 = self.network(self.network_input(first), self.network_input(second))
        z, confidence = _depth_of_first(map1, inner, first.camera)
        factors = factors_to_camera(inner, map1.points[0], map1.confidence[0])
        points, confidence2 = map2.points[0] * map2.points.new_tensor(factors), map2.confidence[0]
        return MultiView(z, confidence, (find_pose(points, confidence2, inner2),))

    @torch.inference_mode()
    def estimate_camera(self, rgb: Tensor) -> Camera:
        """Estimate the intrinsics of an uncalibrated camera from the predicted points.

        Args:
            rgb: (H, W, 3) uint8 image, on the device of the network.

        Returns:
            Camera of this size with square pixels and a central principal point.
        """
        height, width = rgb.shape[:2]
        centre = (width - 1) / 2, (height - 1) / 2
        guess = Camera(width, height, float(width), float(width), *centre)
        inner = self.network_camera(guess)
        (points_map,) = self.network(self.network_input(Frame(rgb, guess)))
        focal = weiszfeld_focal(points_map.points[0].float(), (inner.cx, inner.cy))
        focal *= guess.fx / inner.fx
        return Camera(width, height, focal, focal, *centre)

    def network_input(self, frame: Frame) -> Tensor:
        """Cropped and resized image, (1, 3, h, w) in -1..1, in the dtype of the network."""
        x = crop_and_resize(frame.rgb, frame.camera, self.network_camera(frame.camera))
        return ((x - 0.5) / 0.5)[None].to(self._dtype)

    def network_camera(self, camera: Camera) -> Camera:
        """Camera of the network input, which shows a part of the image of `camera`; cached."""
        if camera not in self._network_cameras:
            inner = network_camera(
                camera, self._side, square=self._square, max_tokens=self._max_tokens
            )
            if len(self._network_cameras) > 16:  # a zooming camera
                self._network_cameras.clear()
            self._network_cameras[camera] = inner
            log.info(
                'images of %dx%d -> network input %dx%d',
                camera.width, camera.height, inner.width, inner.height,
            )  # fmt: skip
        return self._network_cameras[camera]


def factors_to_camera(
    camera: Camera, points: Tensor, confidence: Tensor
) -> tuple[float, float, float]:
    """Factors for x, y, z that move points closest to the viewing rays of their camera.

    Args:
        camera: undistorted camera of the network input.
        points: (h, w, 3) points of the first view, up to scale.
        confidence: (h, w); only pixels above the median are used.

    Returns:
        (f, f, 1), or ones if there is no plausible f.
    """
    x, y = rays(camera, str(points.device))
    known = torch.stack((x.expand(camera.size), y.expand(camera.size)), 2)  # (h, w, 2) at z = 1
    valid = points.isfinite().all(2) & (points[..., 2] > 0)
    if not valid.any():
        return 1.0, 1.0, 1.0
    valid &= confidence >= confidence[valid].median()
    factor = weiszfeld_factor(known[valid], points[valid][:, :2] / points[valid][:, 2:])
    # an implausible factor means that the predicted points are useless
    return (factor, factor, 1.0) if 0.2 < factor < 5.0 else (1.0, 1.0, 1.0)


def _depth_of_first(points_map: PointMap, inner: Camera, camera: Camera) -> tuple[Tensor, Tensor]:
    """Z and confidence of the first view, resampled from camera `inner` to `camera`, (H, W)."""
    z, confidence = points_map.points[0, ..., 2], points_map.confidence[0]
    (z,) = to_image_pixels(z[None], z.isfinite() & (z > 0), inner, camera)
    (confidence,) = to_image_pixels(confidence[None], confidence.isfinite(), inner, camera)
    return z, confidence
