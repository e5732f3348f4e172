# SPDX-License-Identifier: Apache-2.0
"""A network in a file of the user's, described by the parameters `onnx.*` (see settings.Onnx).

The file is an .onnx file, run by onnxruntime, or a .tflite file or an .xml file of OpenVINO with
its .bin, run by OpenVINO.

Input: (1, 3, h, w) or (1, h, w, 3), a normalised image as floats of 16, 32 or 64 bits, or as the
integers that stand for them in a quantised file, or pixels 0 to 255 as uint8; and the intrinsics,
if the network takes them. Output: h x w values of the stated kind, as floats or as integers that
stand for them; further axes must have length 1; and masks of the sky and confidences of the same
form. For a network trained with one camera, the image is resampled to that camera and the output
back; pixels outside of the image of that camera are NaN.
"""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import torch

from depth_ros.core.camera import Camera
from depth_ros.core.errors import ConfigError, InferenceError, WeightsError, first_line
from depth_ros.core.types import Frame, Kind, Prediction
from depth_ros.models.interface import ModelOptions, Preset
from depth_ros.models.onnx import by_onnxruntime, by_openvino
from depth_ros.models.onnx.file import Ports, check, check_metadata, find_ports, open_file
from depth_ros.models.onnx.resizing import Resizing
from depth_ros.models.onnx.session import Session
from depth_ros.parameters.settings import Onnx

log = logging.getLogger(__name__)

#: share of an image below which it is a warning that the rest is not seen
SEEN = 0.7
#: why `engine` has no effect
NOT_EXPORTED = 'its file is run as it is, by onnxruntime or OpenVINO'


class OnnxModel:
    """`DepthModel` that runs a file.

    Args:
        session: the opened file.
        description: values of the parameters `onnx.*`.
        ports: its inputs and outputs.
        size: (h, w) of the network input.
        device: device of the frames.

    Attributes:
        runtime: library that runs the file.
    """

    def __init__(
        self,
        session: Session,
        description: Onnx,
        ports: Ports,
        size: tuple[int, int],
        device: torch.device,
    ) -> None:
        self.kind = Kind(description.kind)
        self.runtime = session.runtime
        self.session = session
        self.description = description
        self.ports = ports
        self.height, self.width = size
        self.resizing = Resizing(description, size)
        self._ran = False
        self._seen: set[tuple[float, ...]] = set()  # cameras
        self.mean = torch.tensor(description.mean, device=device)[:, None, None]
        self.std = torch.tensor(description.std, device=device)[:, None, None]

    def predict(self, frame: Frame) -> Prediction:
        """Predict depth for every pixel of a frame.

        Args:
            frame: undistorted, (H, W), on the device given to `load`.

        Returns:
            Prediction of `self.kind` with (H, W) float32 values; NaN outside of the image of the
            training camera.

        Raises:
            InferenceError: the network fails, or its output is no map of one channel.
        """
        camera = frame.camera
        self._warn_of_images(frame)
        inner = self.resizing.camera(camera)
        depth, sky, confidence = (
            None if y is None else torch.from_numpy(y).to(frame.rgb.device)
            for y in self._run(self._image(frame, inner), inner)
        )  # (h', w') each, which may differ from (h, w)
        assert depth is not None
        is_sky = None if sky is None else sky > 0.5
        values = self.resizing.depth(depth, camera, is_sky)
        if self.description.inverse:
            values = 1 / values.clamp(min=0)  # infinite where it is none
        focal = self.description.canonical_focal
        scale_x, scale_y = camera.fx / inner.fx, camera.fy / inner.fy
        return Prediction(
            values,
            self.kind,
            focal_px=(focal * scale_x, focal * scale_y) if self.kind is Kind.CANONICAL else None,
            confidence=(
                None if confidence is None else self.resizing.depth(confidence, camera, None)
            ),
            sky=None if is_sky is None else self.resizing.mask(is_sky, camera),
        )

    def _warn_of_images(self, frame: Frame) -> None:
        """Warn once of images that are padded, or not seen as a whole.

        Padding is expected unless the description says for which images the network is.
        """
        first, self._ran = not self._ran, True  # a trial image, which may have any shape
        made_for, camera = self.description.image_size, frame.camera
        key = (*camera.size, camera.fx, camera.fy, camera.cx, camera.cy)
        if first or key in self._seen:
            return
        self._seen.add(key)
        if any(self.description.training_camera):
            share = self.resizing.share(camera, frame.rgb.device)
            if share < SEEN:
                log.warning(
                    'only %.0f %% of images of %dx%d are within the view of the camera that this '
                    'network was trained with; the rest has no depth. For the whole image set '
                    'model to another network',
                    100 * share, camera.width, camera.height,
                )  # fmt: skip
        if any(made_for) and self.resizing.pads(camera):
            log.warning(
                'images of %dx%d are padded to the shape of %dx%d, for which this file was '
                'made: its depth may be far off. Export it for the shape of your images '
                '(depth-ros export --size %dx%d), or crop them',
                camera.width, camera.height, *made_for, camera.width, camera.height,
            )  # fmt: skip

    def _image(self, frame: Frame, inner: Camera) -> np.ndarray:
        """The input, normalised, in its layout and type."""
        x = self.resizing.image(frame, inner)  # (3, h, w) in 0..1
        if self.description.channel_order == 'bgr':
            x = x.flip(0)
        x = (x - self.mean) / self.std
        quantisation, dtype = self.ports.quantisation, self.ports.dtype
        if quantisation is None and dtype == np.uint8:
            x = (x * 255).round().clamp(0, 255)
        if self.ports.channels_last:
            x = x.permute(1, 2, 0)
        values = x[None].cpu().numpy()
        if quantisation is not None:
            values = quantisation.integers(values, dtype)
        return np.ascontiguousarray(values.astype(dtype, copy=False))

    def _run(self, x: np.ndarray, inner: Camera) -> list[np.ndarray | None]:
        """Depth, sky and confidence, (h', w') float32; None for those that are not named."""
        inputs = {self.ports.image: x}
        if self.ports.intrinsics:
            inputs[self.ports.intrinsics] = self._intrinsics(inner)
        names = (self.ports.depth, self.description.sky, self.description.confidence)
        try:
            found = self.session.run([name for name in names if name], inputs)
        except Exception as error:  # of either library, which share no base class
            raise InferenceError(
                f'the network fails with an image of {self.width}x{self.height} '
                f'({first_line(error)}); set onnx.input_size to a size that it takes, or export '
                'it again'
            ) from error
        return [
            _to_map(found.pop(0), option) if name else None
            for name, option in zip(names, ('output', 'sky', 'confidence'), strict=True)
        ]

    def _intrinsics(self, camera: Camera) -> np.ndarray:
        """Of the network input, in the form that the network takes."""
        ports, values = self.ports, [camera.fx, camera.fy, camera.cx, camera.cy]
        if np.prod(ports.intrinsics_shape) == 9:
            values = [camera.fx, 0.0, camera.cx, 0.0, camera.fy, camera.cy, 0.0, 0.0, 1.0]
        return np.array(values, ports.intrinsics_dtype).reshape(ports.intrinsics_shape)


def runs_on(device: torch.device, preset: Preset, weights: str) -> bool:
    """Whether the library that reads the file supports `device`; used by `device: auto`.

    Args:
        device: of the frames.
        preset: of this family.
        weights: the parameter; '' for the published file of the preset.
    """
    if device.type == 'cpu':
        return True
    return not _is_for_openvino(preset, weights) and by_onnxruntime.has_cuda()


def check_libraries(preset: Preset, weights: str) -> None:
    """Check, before anything is downloaded, that the library that reads the file is installed.

    Args:
        preset: of this family.
        weights: the parameter; '' for the published file of the preset.

    Raises:
        ConfigError: it is missing.
    """
    if _is_for_openvino(preset, weights):
        by_openvino.check_library(Path(weights or preset.source.file).name)


def _is_for_openvino(preset: Preset, weights: str) -> bool:
    return Path(weights or preset.source.file).suffix in by_openvino.SUFFIXES


def load(preset: Preset, options: ModelOptions) -> OnnxModel:
    """Open a file and check that it matches its description.

    Raises:
        ConfigError: the description is inconsistent, or the library that reads the file is missing
            or does not support the device.
        WeightsError: the file is no network with one image as input.
    """
    if options.weights is None:
        raise WeightsError('weights is empty; set it to the .onnx, .tflite or .xml file')
    description, path = options.onnx, options.weights
    check(description)
    session = open_file(path, options)
    check_metadata(session, description, path)
    ports = find_ports(session, description, path)
    width, height = description.input_size
    fixed = ports.size
    if (height and fixed[0] and height != fixed[0]) or (width and fixed[1] and width != fixed[1]):
        raise ConfigError(
            f'onnx.input_size is {width}x{height} but {path.name} is made for '
            f'{fixed[1]}x{fixed[0]}; set it to that or to [0, 0]'
        )
    size = height or fixed[0], width or fixed[1]
    if not all(size):
        raise ConfigError(f'{path.name} takes any size; set onnx.input_size to [width, height]')
    log.info(
        '%s by %s: %s input %dx%d, depth is the output %r of %s',
        path.name, session.runtime, ports.dtype, size[1], size[0], ports.depth,
        ', '.join(repr(o.name) for o in session.outputs),
    )  # fmt: skip
    return OnnxModel(session, description, ports, size, options.device)


def _to_map(output: np.ndarray, option: str) -> np.ndarray:
    """Remove axes of length 1: the output as (h, w) float32."""
    shape = tuple(n for n in output.shape if n != 1)
    if len(shape) != 2:
        raise InferenceError(
            f'the output of the network is {output.shape}; a depth map is (1, 1, height, width): '
            f'set onnx.{option} to another output, or export the network again'
        )
    return np.ascontiguousarray(output.reshape(shape), np.float32)
