# SPDX-License-Identifier: Apache-2.0
"""What the learning loop needs of a network of depth, and of one of motion."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor, nn

from depth_ros.core.camera import Camera


class Student(Protocol):
    """A network whose depth in metres has gradients.

    Attributes:
        preset: its name.
        batch: images in a step for which a few gigabytes of memory are enough.
        network: whose parameters with `requires_grad` learn. It stays in eval mode: new statistics
            of a few images of one room would forget all others.
    """

    preset: str
    batch: int
    network: nn.Module

    def size(self, camera: Camera) -> tuple[int, int]:
        """(h, w) of its input for images of a camera."""
        ...

    def log_depth(self, rgb: Tensor, camera: Camera) -> Tensor:
        """Logarithm of the depth along the optical axis [m], (B, h, w).

        Where the published output has no metres, it is taken for metres as it is, or for inverse
        depth [1/m]: so it becomes right by learning, with `scaling.scale` 1.

        Args:
            rgb: (B, 3, h, w) float32 in 0..1.
            camera: pinhole of exactly these images.
        """
        ...

    def rescale(self, factor: float, at: float) -> None:
        """Multiply all depth by a factor, by a change of the last layer.

        Args:
            factor: above 0.
            at: depth [m] before, at which it holds exactly, where a network has bounds of depth;
                beyond it the factor is a little smaller or larger.

        Raises:
            ConfigError: `at`, or its product with the factor, is out of these bounds.
        """
        ...

    def state(self) -> dict[str, Tensor]:
        """All tensors on the CPU in fp32, under the names that the family loads."""
        ...


class Motion(Protocol):
    """A network of the motion between two images, for recordings without poses.

    Attributes:
        network: all of whose parameters learn.
    """

    network: nn.Module

    def motion(self, earlier: Tensor, later: Tensor) -> Tensor:
        """T_later_earlier, (B, 4, 4), in the unit of the depth that is learnt with it.

        Args:
            earlier: (B, 3, h, w) float32 in 0..1, of the size of the input of the depth network.
            later: (B, 3, h, w), taken afterwards.
        """
        ...

    def rescale(self, factor: float) -> None:
        """Multiply all translations by a factor, as `Student.rescale` does depth."""
        ...

    def state(self) -> dict[str, Tensor]:
        """All tensors on the CPU in fp32, for the file of the depth network or one alone."""
        ...
