# SPDX-License-Identifier: Apache-2.0
"""From the image of any camera to the input of a network with a fixed size, and back.

The image fills a canvas of the shape of `onnx.image_size`, and the canvas is stretched to the
input. Both keep pinhole cameras pinhole cameras, so each size has a `Camera`.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from depth_ros.core.camera import Camera
from depth_ros.core.resample import covered_pixels, depth_to_camera, resize_uint8, to_camera
from depth_ros.core.types import Frame
from depth_ros.parameters.settings import Onnx

#: `onnx.resize` -> a kernel of `core.resample`, and whether it resizes bytes to bytes
KERNELS = {
    'area': ('area', False),
    'linear': ('linear', False),
    'linear_antialias': ('linear_antialias', False),
    'cubic': ('cubic', False),
    'opencv_area': ('area', True),
    'opencv_linear': ('linear', True),
    'opencv_cubic': ('cubic', True),
    'opencv_area_or_cubic': ('area_or_cubic', True),
    'pillow_bicubic': ('catmull_rom', True),
    'pillow_lanczos': ('lanczos3', True),
}
#: Outside of a padded image these kernels have no pixels at all; others repeat its edge.
PADDED = {
    'area_or_cubic': 'area',
    'linear_antialias': 'area',
    'catmull_rom': 'area',
    'lanczos3': 'area',
}


class Resizing:
    """Resizes images to the input of a network, and its outputs to the pixels of the image.

    Args:
        description: values of the parameters `onnx.*`.
        size: (h, w) of the network input.
    """

    def __init__(self, description: Onnx, size: tuple[int, int]) -> None:
        fx, fy, cx, cy = (float(v) for v in description.training_camera)
        self._trained = fx, fy, cx, cy
        self._height, self._width = size
        self._shape = description.image_size if any(description.image_size) else size[::-1]
        self._kernel, self._bytes = KERNELS[description.resize]
        self._longer_side = description.longer_side
        self._align = description.align_corners

    def camera(self, camera: Camera) -> Camera:
        """Camera of the input, (h, w), for an image of `camera`."""
        if any(self._trained):
            return Camera(self._width, self._height, *self._trained)
        return self._resized(camera, (self._height, self._width), aligned=self._align == 'both')

    def pads(self, camera: Camera) -> bool:
        """Whether images of `camera` have not the shape of the canvas."""
        return self._canvas(camera) != (camera.width, camera.height)

    def share(self, camera: Camera, device: torch.device) -> float:
        """Share of the pixels of an image that the network sees, 0..1."""
        return float(covered_pixels(self.camera(camera), camera, device).double().mean())

    def image(self, frame: Frame, inner: Camera) -> Tensor:
        """The image as `inner` sees it, (3, h, w) float32 in 0..1; outside, its edge repeats."""
        fills = not any(self._trained) and not self.pads(frame.camera)
        if self._bytes and fills:
            rgb, (height, width) = frame.rgb, frame.camera.size
            if self._longer_side:
                scale = self._longer_side / max(height, width)
                rgb = self._resize(rgb, (round(scale * height) or 1, round(scale * width) or 1))
            return self._resize(rgb, inner.size).permute(2, 0, 1).float() / 255
        kernel = self._kernel if fills else PADDED.get(self._kernel, self._kernel)
        rgb = frame.rgb.permute(2, 0, 1).to(torch.float32)  # (3, H, W)
        x = to_camera(rgb, frame.camera, inner, kernel)
        return (x.round().clamp(0, 255) if self._bytes else x) / 255

    def _resize(self, rgb: Tensor, size: tuple[int, int]) -> Tensor:
        kernel = self._kernel
        if kernel == 'area_or_cubic':
            grows = size[0] > rgb.shape[0] or size[1] > rgb.shape[1]
            kernel = 'cubic' if grows else 'area'
        return resize_uint8(rgb, size, kernel)

    def depth(self, values: Tensor, camera: Camera, sky: Tensor | None) -> Tensor:
        """An output (h', w') at the pixels of `camera`, (H, W); NaN outside of what it shows.

        Args:
            values: bilinearly resized between pixels that are finite and no sky.
            camera: of the image.
            sky: (h', w') bool, or None.
        """
        if sky is not None:
            values = torch.where(sky, torch.inf, values)
        return depth_to_camera(values, self._output_camera(values, camera), camera)

    def mask(self, values: Tensor, camera: Camera) -> Tensor:
        """A mask (h', w') bool at the pixels of `camera`, (H, W) bool; False outside."""
        outer = self._output_camera(values, camera)
        weight = to_camera((~values).float(), outer, camera, 'linear')
        return (weight < 0.5) & covered_pixels(outer, camera, values.device)

    def _output_camera(self, values: Tensor, camera: Camera) -> Camera:
        h, w = values.shape
        if any(self._trained):
            return self.camera(camera).resized(w, h)
        return self._resized(camera, (h, w), aligned=self._align != 'none')

    def _resized(self, camera: Camera, size: tuple[int, int], *, aligned: bool) -> Camera:
        """Camera of the canvas of an image, resized to (h, w)."""
        across, down = self._canvas(camera)
        ax, bx = _line(camera.width, across, size[1], aligned=aligned)
        ay, by = _line(camera.height, down, size[0], aligned=aligned)
        return dataclasses.replace(
            camera,
            width=size[1],
            height=size[0],
            fx=camera.fx * ax,
            fy=camera.fy * ay,
            cx=camera.cx * ax + bx,
            cy=camera.cy * ay + by,
        )

    def _canvas(self, camera: Camera) -> tuple[float, float]:
        """Width and height [px of `camera`] of the smallest canvas that has the whole image."""
        width, height = self._shape
        scale = min(width / camera.width, height / camera.height)
        # sizes are whole pixels: an image whose shape differs by less fills the canvas
        if (
            width - camera.width * scale <= 0.5 + 1e-6
            and height - camera.height * scale <= 0.5 + 1e-6
        ):
            return camera.width, camera.height
        return width / scale, height / scale


def _line(n_image: int, canvas: float, n_out: int, *, aligned: bool) -> tuple[float, float]:
    """(a, b): column u of an image in the middle of a canvas is column a u + b of n_out."""
    offset = (canvas - n_image) / 2
    if aligned and canvas > 1:
        a = (n_out - 1) / (canvas - 1)
        return a, offset * a
    a = n_out / canvas
    return a, (offset + 0.5) * a - 0.5
