# SPDX-License-Identifier: Apache-2.0
"""Whether the network of a preset supports the requested settings."""

from __future__ import annotations

from depth_ros import models
from depth_ros.core.errors import ConfigError
from depth_ros.models import Preset
from depth_ros.parameters.settings import Settings
from depth_ros.pipeline.scaling import Scaling


def check_abilities(settings: Settings, preset: Preset) -> None:
    """Refuse what the preset's network does not support, before anything is downloaded.

    Raises:
        ConfigError: with the presets that can.
    """
    if settings.intrinsics == 'estimated' and not preset.estimates_camera:
        raise ConfigError(
            f"intrinsics is 'estimated' but {settings.model!r} cannot estimate a camera from its "
            f'image; presets that can: {models.presets_where(lambda p: p.estimates_camera)}. '
            "Or calibrate the camera and set intrinsics to 'camera_info'."
        )
    two_views = settings.two_views.mode != 'off'
    if settings.intrinsics == 'estimated' and two_views:
        raise ConfigError(
            f"intrinsics is 'estimated' and two_views.mode {settings.two_views.mode!r}: a pose in "
            "metres needs calibrated cameras; set intrinsics to 'camera_info'"
        )
    if two_views and not preset.takes_pairs:
        raise ConfigError(
            f'two_views.mode is {settings.two_views.mode!r} but {settings.model!r} takes one view '
            f'only; presets that take two: {models.presets_where(lambda p: p.takes_pairs)}. '
            "Or set two_views.mode to 'off'."
        )
    if preset.kind is not None:
        Scaling(settings.scaling, preset.kind, two_views=two_views, takes_pairs=preset.takes_pairs)
