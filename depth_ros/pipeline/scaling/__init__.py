# SPDX-License-Identifier: Apache-2.0
"""Methods that convert the output of a network to metres; each states the kinds it accepts."""

from __future__ import annotations

from types import ModuleType

import torch
from torch import Tensor

from depth_ros.core.camera import Camera
from depth_ros.core.errors import ConfigError
from depth_ros.core.types import Kind, Prediction
from depth_ros.parameters.settings import ScalingSettings
from depth_ros.pipeline.scaling import anchors, as_is, canonical_focal, constant
from depth_ros.pipeline.two_views import baseline

METHODS: dict[str, ModuleType] = {
    'as_is': as_is,
    'canonical_focal': canonical_focal,
    'constant': constant,
    'baseline': baseline,
    'anchors': anchors,
}
#: methods that measure the scale while the pipeline runs
MEASURED = ('baseline', 'anchors')


class Scaling:
    """Conversion of predictions to metric depth, by a method that accepts their kind.

    Args:
        settings: parameters `scaling.*`.
        kind: meaning of the predictions.
        two_views: `two_views.mode` is not 'off'.
        anchors: `anchors.sources` names some.
        takes_views: the network can use several views; for the message only.

    Raises:
        ConfigError: the method cannot use this kind (the message lists those that can), or other
            settings do not fit it.

    Attributes:
        method: name of the method, chosen by kind for 'auto'.
    """

    def __init__(
        self,
        settings: ScalingSettings,
        kind: Kind,
        *,
        two_views: bool = False,
        anchors: bool = False,
        takes_views: bool = False,
    ) -> None:
        self.method = settings.method
        if self.method == 'auto':
            self.method = 'anchors' if anchors else _automatic(kind, two_views, takes_views)
        fitting = [name for name, method in METHODS.items() if kind in method.ACCEPTS]
        if self.method not in fitting:
            raise ConfigError(
                f'scaling.method {self.method!r} cannot use {kind.value} predictions; '
                f'methods that can: {fitting}'
            )
        if self.method == 'baseline' and not two_views:
            raise ConfigError(
                "scaling.method is 'baseline' but two_views.mode is 'off': set it to stereo (a "
                'second camera) or motion (odometry), with a model that takes two views, such as '
                'depth_anything_v3_small'
            )
        if self.method == 'anchors' and two_views:
            raise ConfigError(
                "scaling.method 'anchors' takes one view: set two_views.mode to 'off', or the "
                "method to 'baseline'"
            )
        if self.method in MEASURED and (settings.scale != 1 or settings.shift):
            raise ConfigError(
                f'scaling.scale is {settings.scale:g} and scaling.shift {settings.shift:g}, but '
                f'scaling.method {self.method!r} measures them: set them to 1 and 0, or the '
                "method to 'constant'"
            )
        if settings.shift and kind is not Kind.AFFINE_INVERSE:
            raise ConfigError(
                f'scaling.shift is {settings.shift:g} but applies to inverse depth only; '
                f'the network is {kind.value}: set it to 0'
            )
        self.settings = settings

    def __call__(self, prediction: Prediction, camera: Camera) -> Tensor:
        """Convert a prediction to metric depth.

        Args:
            prediction: of the `kind` given.
            camera: camera of the undistorted frame.

        Returns:
            Z along the optical axis, (H, W) float32 [m]; NaN or not positive where unknown. With
            method 'baseline' it is still to be multiplied by the measured scale, with 'anchors'
            still to be corrected, and inverse depth stays what it is.

        Raises:
            InferenceError: a canonical prediction has no `focal_px`.
        """
        z: Tensor = METHODS[self.method].to_metres(prediction, camera)
        if self.method == 'anchors':
            return z
        if self.settings.scale != 1:
            z = z * self.settings.scale
        if prediction.kind is Kind.AFFINE_INVERSE:  # Z = 1 / (scale * value + shift)
            inverse = z + self.settings.shift
            # inverse depth of zero or less is infinitely far
            z = torch.where(inverse <= 0, torch.inf, torch.reciprocal(inverse))
        return z


def _automatic(kind: Kind, two_views: bool, takes_views: bool) -> str:
    if kind is Kind.SCALE_INVARIANT and two_views:
        return 'baseline'
    if kind is Kind.METRIC:
        return 'as_is'
    if kind is Kind.CANONICAL:
        return 'canonical_focal'
    two_views_remedy = "two_views.mode to 'stereo' or 'motion' (a known baseline), or "
    raise ConfigError(
        f'the network is {kind.value}: its output is not metric, and scaling.method is auto. Set '
        f'{two_views_remedy if takes_views else ""}anchors.sources to what measures depth (a '
        "LiDAR, odometry, the camera's height; depth-ros run: --anchors FILE), or scaling.method "
        "to 'constant' and scaling.scale to a measured factor, or choose a metric preset such as "
        'depth_anything_v3_metric_large.'
    )
