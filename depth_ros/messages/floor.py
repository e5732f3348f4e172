# SPDX-License-Identifier: Apache-2.0
"""Where the floor is at an image: by parameters, or from TF."""

from __future__ import annotations

from collections.abc import Callable

from depth_ros.core.errors import DepthRosError, ScaleError
from depth_ros.core.types import Floor, Frame
from depth_ros.messages.poses import Transforms
from depth_ros.parameters.settings import FloorSettings, Settings
from depth_ros.pipeline.floor import given_floor, needs_floor


class FloorSource:
    """The floor below one camera.

    In the node, the executor's thread listens and closes; the worker's thread calls the object.

    Args:
        transforms: returns TF, or raises a ConfigError that names the parameter to set instead,
            which is its argument.

    Attributes:
        reason: why the newest frame has no floor; '' if it has, or none is needed.
    """

    def __init__(self, transforms: Callable[[str], Transforms]) -> None:
        self.reason = ''
        self._listen = transforms
        self._transforms: Transforms | None = None

    def listen(self, settings: Settings) -> None:
        """Subscribe to TF if these settings need it; until `close`.

        Raises:
            ConfigError: they need it, and tf2_ros is not installed.
        """
        if self._transforms is None and needs_floor(settings) and not settings.floor.height:
            instead = 'floor.height to the height of the camera above the floor [m]'
            self._transforms = self._listen(instead)

    def __call__(self, frame: Frame, settings: Settings) -> Floor | None:
        """The floor of a frame; None if no parameter needs it, or for the `reason`."""
        self.reason = ''
        if not needs_floor(settings):
            return None
        try:
            return given_floor(settings.floor) or self._from_tf(frame, settings.floor)
        except DepthRosError as error:
            self.reason = str(error)
            return None

    def _from_tf(self, frame: Frame, settings: FloorSettings) -> Floor:
        assert self._transforms is not None  # `listen` is called with the same settings before
        T = self._transforms.between(settings.frame, frame.frame_id, frame.stamp_ns)
        height = float(T[2, 3])
        if height <= 0:
            raise ScaleError(
                f'TF has the camera {height:g} m above {settings.frame}; set floor.frame to a '
                'frame on the floor, or floor.height'
            )
        return Floor(height, -T[2, :3])

    def close(self) -> None:
        """Unsubscribe from TF."""
        if self._transforms is not None:
            self._transforms.close()
