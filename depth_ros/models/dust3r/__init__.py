# SPDX-License-Identifier: Apache-2.0
"""DUSt3R: preprocessing and meaning of the output. Points of two views, up to one factor.

| variant    | the network sees                  | heads                 |
|------------|-----------------------------------|-----------------------|
| 224_linear | the central square as 224x224     | a matrix a patch      |
| 512_linear | long side 512, multiples of 16    | a matrix a patch      |
| 512_dpt    | long side 512, multiples of 16    | convolutions, sharper |

The network does not ask for intrinsics. Its z is kept; x and y are what the known camera says, and
the points of a second view are stretched as it takes to make the first view's agree with it.
"""

from __future__ import annotations

import logging

import torch
from torch import Tensor

from depth_ros.core.camera import Camera
from depth_ros.core.errors import ConfigError
from depth_ros.core.geometry import rays
from depth_ros.core.types import Frame, Kind, Pair, Prediction
from depth_ros.models.dust3r.checkpoint import load_checkpoint
from depth_ros.models.dust3r.focal import weiszfeld_factor, weiszfeld_focal
from depth_ros.models.dust3r.heads import PATCH
from depth_ros.models.dust3r.network import Dust3r
from depth_ros.models.dust3r.pose import find_pose
from depth_ros.models.dust3r.views import crop_and_resize, network_camera, to_image_pixels
from depth_ros.models.interface import ModelOptions, Preset
from depth_ros.models.loading import load_network

log = logging.getLogger(__name__)


def load(preset: Preset, options: ModelOptions) -> Dust3rModel:
    """Build the preset's network and fill it from `options.weights`.

    Raises:
        ConfigError: no weights, or an input size below one patch.
        WeightsError: the file is broken, or another network's or variant's.
    """
    if 0 < options.input_size < PATCH:
        raise ConfigError(f'input_size is {options.input_size}; the least is {PATCH}, one patch')
    side, _, head = preset.variant.partition('_')
    network = load_network(lambda: Dust3r(head), load_checkpoint, preset, options)
    return Dust3rModel(network, int(side), options)


class Dust3rModel:
    """A `DepthModel` that also takes two views and `EstimatesCamera`; see `load`."""

    kind = Kind.SCALE_INVARIANT

    def __init__(self, network: Dust3r, trained_side: int, options: ModelOptions) -> None:
        """`network` is filled, on `options.device` and of `options.dtype`."""
        self.network = network
        self._dtype = options.dtype
        self._square = trained_side == 224  # the only one trained with squares
        self._side = options.input_size or trained_side
        self._max_tokens = options.max_tokens
        self._views: dict[Camera, Camera] = {}

    @torch.inference_mode()
    def predict(self, frame: Frame) -> Prediction:
        """Z times an unknown factor, (H, W) float32, from one view shown as both.

        What was cropped away is NaN, and so is what the network puts behind the camera.
        """
        view = self.network_camera(frame.camera)
        (seen,) = self.network(self.network_input(frame))
        z, confidence = _first_view(seen.points[0], seen.confidence[0], view, frame.camera)
        return Prediction(z, self.kind, confidence=confidence)

    @torch.inference_mode()
    def predict_pair(self, first: Frame, second: Frame) -> Pair:
        """Depth of `first` and the pose of the second camera, all lengths times one factor.

        Args:
            first: undistorted; its camera may be another one than the second's.
            second: undistorted; shows in part what `first` shows.
        """
        view, other = self.network_camera(first.camera), self.network_camera(second.camera)
        seen, seen2 = self.network(self.network_input(first), self.network_input(second))
        z, confidence = _first_view(seen.points[0], seen.confidence[0], view, first.camera)
        stretch = stretch_to(view, seen.points[0], seen.confidence[0])
        points, sure = seen2.points[0] * seen2.points.new_tensor(stretch), seen2.confidence[0]
        valid = points.isfinite().all(2) & sure.isfinite()
        maps = torch.cat((points.permute(2, 0, 1), sure[None]))  # (4, h, w)
        maps = to_image_pixels(maps, valid, other, second.camera)
        pose = find_pose(points, sure, other)
        return Pair(z, confidence, maps[:3].permute(1, 2, 0), maps[3], pose)

    @torch.inference_mode()
    def estimate_camera(self, rgb: Tensor) -> Camera:
        """The camera that fits the points the network sees in (H, W, 3) uint8."""
        height, width = rgb.shape[:2]
        middle = (width - 1) / 2, (height - 1) / 2
        guess = Camera(width, height, float(width), float(width), *middle)
        view = self.network_camera(guess)
        (seen,) = self.network(self.network_input(Frame(rgb, guess)))
        focal = weiszfeld_focal(seen.points[0].float(), (view.cx, view.cy)) * guess.fx / view.fx
        return Camera(width, height, focal, focal, *middle)

    def network_input(self, frame: Frame) -> Tensor:
        """(1, 3, h, w) in -1..1, of the network's dtype."""
        x = crop_and_resize(frame.rgb, frame.camera, self.network_camera(frame.camera))
        return ((x - 0.5) / 0.5)[None].to(self._dtype)

    def network_camera(self, camera: Camera) -> Camera:
        """The part of the camera's picture the network is shown, and at what size."""
        if camera not in self._views:
            view = network_camera(
                camera, self._side, square=self._square, max_tokens=self._max_tokens
            )
            if len(self._views) > 16:  # cameras that zoom
                self._views.clear()
            self._views[camera] = view
            log.info(
                'pictures of %dx%d -> network %dx%d', camera.width, camera.height, *view.size[::-1]
            )
        return self._views[camera]


def stretch_to(view: Camera, points: Tensor, confidence: Tensor) -> tuple[float, float, float]:
    """Factors on x, y, z that make the first view's points lie on the rays of its camera.

    Args:
        view: that took the network's input.
        points: (h, w, 3) of the first view.
        confidence: (h, w); the surer half counts.
    """
    x, y = rays(view, str(points.device))
    known = torch.stack((x.expand(view.size), y.expand(view.size)), 2)  # (h, w, 2) at z = 1
    good = points.isfinite().all(2) & (points[..., 2] > 0)
    if not good.any():
        return 1.0, 1.0, 1.0
    good &= confidence >= confidence[good].median()
    factor = weiszfeld_factor(known[good], points[good][:, :2] / points[good][:, 2:])
    # a wild factor is no focal length but a map that is none: nothing is right then
    return (factor, factor, 1.0) if 0.2 < factor < 5.0 else (1.0, 1.0, 1.0)


def _first_view(
    points: Tensor, confidence: Tensor, view: Camera, camera: Camera
) -> tuple[Tensor, Tensor]:
    """Z and confidence of the network's pixels (h, w, 3), (h, w) -> of the camera's, (H, W)."""
    z = points[..., 2]
    valid = z.isfinite() & (z > 0)
    (z,) = to_image_pixels(z[None], valid, view, camera)
    sure = confidence.isfinite()
    (confidence,) = to_image_pixels(confidence[None], sure, view, camera)
    return z, confidence
