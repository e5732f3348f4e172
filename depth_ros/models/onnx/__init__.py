# SPDX-License-Identifier: Apache-2.0
"""A user's network in an ONNX file, described by the parameters `onnx.*` (see settings.Onnx).

Input: (1, 3, h, w) normalised RGB as floats of 16, 32 or 64 bits, or pixels 0 to 255 as uint8.
Output: h x w values of the stated kind, as floats; further axes must have length 1. For a network
trained with one camera, the image is resampled to that camera and the output back; pixels outside
of the image of that camera are NaN.
"""

from __future__ import annotations

import dataclasses
import logging
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from depth_ros.core.camera import Camera
from depth_ros.core.errors import ConfigError, InferenceError, WeightsError
from depth_ros.core.resample import depth_to_camera, to_camera
from depth_ros.core.types import Frame, Kind, Prediction
from depth_ros.models.interface import ModelOptions, Preset
from depth_ros.parameters.settings import Onnx

log = logging.getLogger(__name__)

#: Types of onnxruntime -> those of numpy: of an input, and, as far as they are floats, an output.
TYPES: dict[str, np.dtype[Any]] = {
    'tensor(float)': np.dtype(np.float32),
    'tensor(float16)': np.dtype(np.float16),
    'tensor(double)': np.dtype(np.float64),
    'tensor(uint8)': np.dtype(np.uint8),
}


class OnnxModel:
    """`DepthModel` that runs an onnxruntime session.

    Args:
        session: of the network.
        description: values of the parameters `onnx.*`.
        size: (h, w) of the network input.
        output: name of the output that is depth.
        device: device of the frames.
    """

    def __init__(
        self,
        session: Any,
        description: Onnx,
        size: tuple[int, int],
        output: str,
        device: torch.device,
    ) -> None:
        self.kind = Kind(description.kind)
        self.session = session
        self.description = description
        self.height, self.width = size
        (image,) = session.get_inputs()
        self.input_name, self.input_type = image.name, TYPES[image.type]
        self.output_name = output
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
        inner = self._network_camera(frame.camera)
        rgb = frame.rgb.permute(2, 0, 1).to(torch.float32) / 255  # (3, H, W)
        x = (to_camera(rgb, frame.camera, inner, 'area') - self.mean) / self.std  # (3, h, w)
        if self.input_type == np.uint8:
            x = (x * 255).round().clamp(0, 255)
        values = torch.from_numpy(self._run(x[None].cpu().numpy())).to(
            rgb
        )  # (h', w'), may differ from (h, w)
        output_camera = inner.resized(values.shape[1], values.shape[0])
        values = depth_to_camera(values, output_camera, frame.camera)
        focal = self.description.canonical_focal
        scale_x, scale_y = frame.camera.fx / inner.fx, frame.camera.fy / inner.fy
        focal_px = (focal * scale_x, focal * scale_y) if self.kind is Kind.CANONICAL else None
        return Prediction(values, self.kind, focal_px)

    def _run(self, x: np.ndarray) -> np.ndarray:
        """(1, 3, h, w) -> (h', w') float32."""
        try:
            (output,) = self.session.run(
                [self.output_name], {self.input_name: x.astype(self.input_type)}
            )
        except Exception as error:  # onnxruntime's exceptions share no public base class
            raise InferenceError(
                f'the network fails with an image of {self.width}x{self.height} '
                f'({_first_line(error)}); set onnx.input_size to a size that it takes, or export '
                'it again'
            ) from error
        return _to_map(output)

    def _network_camera(self, camera: Camera) -> Camera:
        """Camera of the network input: the training camera, or `camera` resized and padded."""
        if any(self.description.training_camera):
            fx, fy, cx, cy = self.description.training_camera
            return Camera(self.width, self.height, fx, fy, cx, cy)
        # the whole image, centred, with its aspect ratio; the border repeats its edge pixels
        s = min(self.width / camera.width, self.height / camera.height)
        return dataclasses.replace(
            camera,
            width=self.width,
            height=self.height,
            fx=camera.fx * s,
            fy=camera.fy * s,
            cx=(camera.cx + 0.5) * s - 0.5 + (self.width - camera.width * s) / 2,
            cy=(camera.cy + 0.5) * s - 0.5 + (self.height - camera.height * s) / 2,
        )


def runs_on(device: torch.device) -> bool:
    """Whether the installed onnxruntime supports `device`; used by `device: auto`."""
    try:
        import onnxruntime
    except ImportError:
        return True  # `load` reports what is missing
    providers = onnxruntime.get_available_providers()
    return device.type == 'cpu' or 'CUDAExecutionProvider' in providers


def load(preset: Preset, options: ModelOptions) -> OnnxModel:
    """Open an ONNX file and check that it matches its description.

    Raises:
        ConfigError: the description is inconsistent, or onnxruntime is missing or does not support
            the device.
        WeightsError: the file is no ONNX network with one image as input.
    """
    if options.weights is None:
        raise WeightsError('weights is empty; set it to the .onnx file of your network')
    description = options.onnx
    _check(description)
    session = _session(options.weights, options)
    shape = _check_input(session.get_inputs(), description, options.weights)
    output = _choose_output(session.get_outputs(), description, options.weights)
    width, height = description.input_size
    fixed = [n if isinstance(n, int) and n > 0 else 0 for n in shape[2:]]
    if (height and fixed[0] and height != fixed[0]) or (width and fixed[1] and width != fixed[1]):
        raise ConfigError(
            f'onnx.input_size is {width}x{height} but {options.weights.name} is made for '
            f'{fixed[1]}x{fixed[0]}; set it to that or to [0, 0]'
        )
    size = height or fixed[0], width or fixed[1]
    if not all(size):
        raise ConfigError(
            f'{options.weights.name} takes any size; set onnx.input_size to [width, height]'
        )
    log.info(
        '%s: %s input %dx%d, depth is the output %r of %s',
        options.weights.name,
        TYPES[session.get_inputs()[0].type],
        size[1],
        size[0],
        output,
        ', '.join(repr(o.name) for o in session.get_outputs()),
    )
    return OnnxModel(session, description, size, output, options.device)


def _check_input(inputs: list[Any], description: Onnx, path: Path) -> list[Any]:
    """Shape of the input.

    Raises:
        ConfigError: pixels as uint8 are to be normalised.
        WeightsError: the network takes something else than one image.
    """
    found = ', '.join(f'{i.name} {i.type} {i.shape}' for i in inputs) or 'nothing'
    shape = list(inputs[0].shape or []) if len(inputs) == 1 else []
    if len(shape) != 4 or (shape[1] != 3 and not _is_free(shape[1])):
        raise WeightsError(
            f'{path} takes {found}; a depth network here takes one input (1, 3, height, width): '
            'export it again with that input'
        )
    if shape[0] != 1 and not _is_free(shape[0]):
        raise WeightsError(
            f'{path} takes {found}, a batch of {shape[0]} images; export it again with a batch of '
            '1 or with a dynamic batch axis'
        )
    if inputs[0].type not in TYPES:
        raise WeightsError(
            f'{path} takes {found}; a depth network here takes {", ".join(TYPES)}: export it '
            'again with one of them'
        )
    if inputs[0].type == 'tensor(uint8)' and (
        any(description.mean) or set(description.std) != {1}
    ):
        raise ConfigError(
            f'onnx.mean is {list(description.mean)} and onnx.std {list(description.std)}, but '
            f'{path} takes uint8, pixels from 0 to 255: leave both at their defaults'
        )
    return shape


def _is_free(length: Any) -> bool:
    """Whether an axis may have any length: such have a name, no length, or one below 1."""
    return not isinstance(length, int) or length < 1


def _choose_output(outputs: list[Any], description: Onnx, path: Path) -> str:
    """Name of the output that is depth.

    Raises:
        ConfigError: there are several and none is chosen, or the chosen one does not exist.
        WeightsError: it is not of floats.
    """
    by_name = {o.name: o for o in outputs}
    found = ', '.join(f'{o.name} {o.type} {o.shape}' for o in outputs)
    wanted = description.output
    if wanted and wanted not in by_name:
        raise ConfigError(
            f'onnx.output is {wanted!r}, which {path} does not have; set it to one of: {found}'
        )
    if not wanted and len(outputs) != 1:
        raise ConfigError(
            f'{path} has {len(outputs)} outputs: {found}; set onnx.output to the name of the one '
            'that is depth'
        )
    output = by_name[wanted or outputs[0].name]
    if output.type not in TYPES or TYPES[output.type] == np.uint8:
        raise WeightsError(
            f'{path}: the output {output.name} is {output.type}, and depth must be floats; set '
            f'onnx.output to another of: {found}; or export it again'
        )
    return str(output.name)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def _check(description: Onnx) -> None:
    lengths = {'input_size': 2, 'mean': 3, 'std': 3, 'training_camera': 4}
    for name, n in lengths.items():
        value = getattr(description, name)
        if len(value) != n:
            raise ConfigError(f'onnx.{name} is {list(value)}; it takes {n} numbers')
    if not all(description.std):
        raise ConfigError(f'onnx.std is {list(description.std)}; it divides, so no value can be 0')
    if description.kind == 'canonical' and not description.canonical_focal:
        raise ConfigError('onnx.kind is canonical: set onnx.canonical_focal [px at input size]')
    if description.kind != 'canonical' and description.canonical_focal:
        raise ConfigError(
            f'onnx.canonical_focal is set but onnx.kind is {description.kind}; '
            'set the kind to canonical'
        )


def _session(path: Path, options: ModelOptions) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise ConfigError(
            'model family onnx needs onnxruntime: pip install onnxruntime'
        ) from error
    provider = 'CPUExecutionProvider'
    if options.device.type == 'cuda':
        provider = 'CUDAExecutionProvider'
        if provider not in onnxruntime.get_available_providers():
            raise ConfigError(
                f'device is {options.device} but this onnxruntime has only '
                f'{onnxruntime.get_available_providers()}: pip install onnxruntime-gpu, '
                'or set device to cpu'
            )
    session_options = onnxruntime.SessionOptions()
    session_options.intra_op_num_threads = options.threads
    session_options.log_severity_level = 3  # errors only
    index = options.device.index or 0
    providers = [(provider, {'device_id': index}) if provider.startswith('CUDA') else provider]

    def open_session(file: Path) -> Any:
        return onnxruntime.InferenceSession(str(file), session_options, providers=providers)

    try:
        session = open_session(path)
    except Exception as error:  # onnxruntime's exceptions share no public base class
        raise WeightsError(
            f'{path} is not an ONNX network that onnxruntime can open ({_first_line(error)}); '
            'download or export it again'
        ) from error
    mapped = _mapped_beside(path)
    if not mapped:
        return session
    # onnxruntime maps files of external data; one that is cut off would end the process. A copy
    # that is deleted lives on where it is mapped.
    try:
        with TemporaryDirectory() as folder:
            for file in (path, *mapped):
                shutil.copyfile(file, Path(folder) / file.name)
            return open_session(Path(folder) / path.name)
    except Exception as error:
        log.warning(
            '%s uses %s while it runs, and no copy can be made (%s): stop before you replace it',
            path, ', '.join(file.name for file in mapped), _first_line(error),
        )  # fmt: skip
        return session


def _mapped_beside(path: Path) -> list[Path]:
    """Files in the folder of `path` that this process has mapped."""
    try:
        lines = Path('/proc/self/maps').read_text(errors='replace').splitlines()
    except OSError:  # not Linux
        return []
    mapped = {line.split(maxsplit=5)[5] for line in lines if line.count('/')}
    return [file for file in sorted(path.parent.iterdir()) if str(file.resolve()) in mapped]


def _to_map(output: np.ndarray) -> np.ndarray:
    """Remove axes of length 1: the output as (h, w) float32."""
    shape = tuple(n for n in output.shape if n != 1)
    if len(shape) != 2:
        raise InferenceError(
            f'the output of the network is {output.shape}; a depth map is (1, 1, height, width): '
            'set onnx.output to another output, or export the network again'
        )
    return np.ascontiguousarray(output.reshape(shape), np.float32)
