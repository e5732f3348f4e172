# SPDX-License-Identifier: Apache-2.0
"""Open an ONNX file, and check that it has the inputs and outputs that its description says."""

from __future__ import annotations

import dataclasses
import json
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

import depth_ros
from depth_ros.core.errors import ConfigError, WeightsError, first_line
from depth_ros.models.interface import ModelOptions
from depth_ros.parameters.settings import Onnx

log = logging.getLogger(__name__)

#: Types of onnxruntime -> those of numpy: of an image, and, as far as they are floats, an output.
TYPES: dict[str, np.dtype[Any]] = {
    'tensor(float)': np.dtype(np.float32),
    'tensor(float16)': np.dtype(np.float16),
    'tensor(double)': np.dtype(np.float64),
    'tensor(uint8)': np.dtype(np.uint8),
}
FLOATS = {name: kind for name, kind in TYPES.items() if kind != np.uint8}
#: What `depth-ros export` writes into the metadata of a file: `onnx.*` as JSON, and for people
DESCRIPTION, PRESET, LICENCE = 'depth_ros.onnx', 'depth_ros.preset', 'licence'


@dataclass(frozen=True, slots=True)
class Ports:
    """The inputs and outputs of a network that are used.

    Args:
        image: name of the input that takes the image.
        dtype: of that input.
        channels_last: it is (1, h, w, 3), not (1, 3, h, w).
        size: (h, w) of that input; 0 where the axis is dynamic.
        intrinsics: name of the input that takes the camera; '' for none.
        intrinsics_shape: of that input, with 9 or 4 elements.
        intrinsics_dtype: of that input.
        depth: name of the output that is depth.
    """

    image: str
    dtype: np.dtype[Any]
    channels_last: bool
    size: tuple[int, int]
    intrinsics: str
    intrinsics_shape: tuple[int, ...]
    intrinsics_dtype: np.dtype[Any]
    depth: str


def open_file(path: Path, options: ModelOptions) -> Any:
    """An onnxruntime session of the file, which may be replaced while it is used.

    Raises:
        ConfigError: onnxruntime is missing or does not support the device.
        WeightsError: it is no ONNX network.
    """
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
            f'{path} is not an ONNX network that onnxruntime can open ({first_line(error)}); '
            'download or export it again'
        ) from error
    mapped = _mapped_next_to(path)
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
            path, ', '.join(file.name for file in mapped), first_line(error),
        )  # fmt: skip
        return session


def _mapped_next_to(path: Path) -> list[Path]:
    """Files in the folder of `path` that this process has mapped."""
    try:
        lines = Path('/proc/self/maps').read_text(errors='replace').splitlines()
    except OSError:  # not Linux
        return []
    mapped = {line.split(maxsplit=5)[5] for line in lines if line.count('/')}
    return [file for file in sorted(path.parent.iterdir()) if str(file.resolve()) in mapped]


def check(description: Onnx) -> None:
    """Refuse descriptions that cannot be right.

    Raises:
        ConfigError: with the value and the remedy.
    """
    lengths = {'input_size': 2, 'image_size': 2, 'mean': 3, 'std': 3, 'training_camera': 4}
    for name, n in lengths.items():
        value = getattr(description, name)
        if len(value) != n:
            raise ConfigError(f'onnx.{name} is {list(value)}; it takes {n} numbers')
    if any(description.image_size) and min(description.image_size) <= 0:
        raise ConfigError(
            f'onnx.image_size is {list(description.image_size)}; both must be positive, or both 0'
        )
    if not all(description.std):
        raise ConfigError(f'onnx.std is {list(description.std)}; it divides, so no value can be 0')
    if description.kind == 'canonical' and not description.canonical_focal:
        raise ConfigError('onnx.kind is canonical: set onnx.canonical_focal [px at input size]')
    if description.kind != 'canonical' and description.canonical_focal:
        raise ConfigError(
            f'onnx.canonical_focal is set but onnx.kind is {description.kind}; '
            'set the kind to canonical'
        )
    if description.kind == 'affine_inverse' and description.inverse:
        raise ConfigError(
            'onnx.inverse is true, but onnx.kind affine_inverse is inverse depth by itself: leave '
            'onnx.inverse at false'
        )
    if description.longer_side and not description.resize.startswith(('opencv', 'pillow')):
        raise ConfigError(
            f'onnx.longer_side is {description.longer_side}, but onnx.resize '
            f'{description.resize!r} resizes once: set it to one of OpenCV or Pillow'
        )
    if any(description.training_camera) and any(description.image_size):
        raise ConfigError(
            'onnx.training_camera and onnx.image_size are set, and each says how images become '
            'the input: leave one of them at its default'
        )


def check_metadata(session: Any, description: Onnx, path: Path) -> None:
    """Compare the description with that in a file of `depth-ros export`, and log its licence.

    Raises:
        ConfigError: they differ, so the depth would be wrong.
        WeightsError: that in the file cannot be read.
    """
    metadata = session.get_modelmeta().custom_metadata_map
    if DESCRIPTION not in metadata:
        return
    log.info(
        '%s: exported from %s; licence of the weights: %s',
        path.name, metadata.get(PRESET), metadata.get(LICENCE),
    )  # fmt: skip
    given = dataclasses.asdict(description)
    try:
        within = {**dataclasses.asdict(Onnx()), **json.loads(metadata[DESCRIPTION])}
    except (ValueError, TypeError) as error:
        raise WeightsError(
            f'{path}: the description in its metadata is damaged ({error}): export it again'
        ) from error
    unknown = [name for name in within if name not in given]
    if unknown:
        raise WeightsError(
            f'{path} is described by onnx.{unknown[0]}, which depth_ros {depth_ros.__version__} '
            'does not have: export it again with this version, or update depth_ros'
        )
    wrong = [name for name in given if given[name] != within[name]]
    if wrong:
        raise ConfigError(
            f'onnx.{wrong[0]} is {given[wrong[0]]!r}, but {path} says {within[wrong[0]]!r}: use '
            'the params file that depth-ros export wrote with it'
        )


def find_ports(session: Any, description: Onnx, path: Path) -> Ports:
    """The inputs and outputs that the description names, or the only ones.

    Raises:
        ConfigError: one that is named does not exist, one that is needed is not named, or pixels
            as uint8 are to be normalised.
        WeightsError: the network takes or gives something else than images and depth.
    """
    image, intrinsics = _choose_inputs(session.get_inputs(), description, path)
    shape, channels_last = _check_image(image, description, path)
    h, w = shape[1:3] if channels_last else shape[2:]
    return Ports(
        image.name,
        TYPES[image.type],
        channels_last,
        (0 if _is_free(h) else h, 0 if _is_free(w) else w),
        intrinsics.name if intrinsics else '',
        _check_intrinsics(intrinsics, path) if intrinsics else (),
        FLOATS[intrinsics.type] if intrinsics else np.dtype(np.float32),
        _choose_outputs(session.get_outputs(), description, path),
    )


def _choose_inputs(inputs: list[Any], description: Onnx, path: Path) -> tuple[Any, Any]:
    by_name = {i.name: i for i in inputs}
    found = listed(inputs)
    for name in ('input', 'intrinsics'):
        wanted = getattr(description, name)
        if wanted and wanted not in by_name:
            raise ConfigError(
                f'onnx.{name} is {wanted!r}, which {path} does not take; set it to one of: {found}'
            )
    if description.input and description.input == description.intrinsics:
        raise ConfigError(
            f'onnx.input and onnx.intrinsics are both {description.input!r}; set them to '
            f'different ones of: {found}'
        )
    intrinsics = by_name.pop(description.intrinsics, None)
    image = by_name.pop(description.input or next(iter(by_name), ''), None)
    if image is None:
        raise WeightsError(
            f'{path} takes {found}; a depth network here takes one input (1, 3, height, width) or '
            '(1, height, width, 3): export it again with that input'
        )
    if by_name and not description.input:
        raise ConfigError(
            f'{path} takes {found}; set onnx.input to the name of the image, and onnx.intrinsics '
            'to that of the camera matrix if there is one'
        )
    if by_name:
        raise WeightsError(
            f'{path} takes {found}, and nothing is known for {", ".join(by_name)}; if one is the '
            'camera matrix set onnx.intrinsics, else export the network again without it'
        )
    return image, intrinsics


def _check_image(image: Any, description: Onnx, path: Path) -> tuple[list[Any], bool]:
    """Shape of the input, and whether its channels are last."""
    found = listed([image])
    shape = list(image.shape or [])
    channels_last = len(shape) == 4 and shape[3] == 3 and shape[1] != 3
    if len(shape) != 4 or not (channels_last or shape[1] == 3 or _is_free(shape[1])):
        raise WeightsError(
            f'{path} takes {found}; a depth network here takes one input (1, 3, height, width) or '
            '(1, height, width, 3): export it again with that input'
        )
    if shape[0] != 1 and not _is_free(shape[0]):
        raise WeightsError(
            f'{path} takes {found}, a batch of {shape[0]} images; export it again with a batch of '
            '1 or with a dynamic batch axis'
        )
    if image.type not in TYPES:
        raise WeightsError(
            f'{path} takes {found}; a depth network here takes {", ".join(TYPES)}: export it '
            'again with one of them'
        )
    if image.type == 'tensor(uint8)' and (any(description.mean) or set(description.std) != {1}):
        raise ConfigError(
            f'onnx.mean is {list(description.mean)} and onnx.std {list(description.std)}, but '
            f'{path} takes uint8, pixels from 0 to 255: leave both at their defaults'
        )
    return shape, channels_last


def _check_intrinsics(intrinsics: Any, path: Path) -> tuple[int, ...]:
    shape = tuple(1 if _is_free(n) else n for n in intrinsics.shape or ())
    if int(np.prod(shape)) not in (4, 9) or intrinsics.type not in FLOATS:
        raise WeightsError(
            f'{path}: the input {listed([intrinsics])} takes no intrinsics, which are a 3x3 '
            'matrix K or fx fy cx cy, as floats: set onnx.intrinsics to another input'
        )
    return shape


def _is_free(length: Any) -> bool:
    """Whether an axis may have any length: such have a name, no length, or one below 1."""
    return not isinstance(length, int) or length < 1


def _choose_outputs(outputs: list[Any], description: Onnx, path: Path) -> str:
    """Name of the output that is depth; the others that are named are checked."""
    by_name = {o.name: o for o in outputs}
    found = listed(outputs)
    for name in ('output', 'sky', 'confidence'):
        wanted = getattr(description, name)
        if wanted and wanted not in by_name:
            raise ConfigError(
                f'onnx.{name} is {wanted!r}, which {path} does not have; set it to one of: {found}'
            )
    used = {description.sky, description.confidence}
    left = [o for o in outputs if o.name not in used]
    if not description.output and len(left) != 1:
        raise ConfigError(
            f'{path} has {len(outputs)} outputs: {found}; set onnx.output to the name of the one '
            'that is depth'
        )
    depth = by_name[description.output or left[0].name]
    if depth.name in used:
        raise ConfigError(
            f'onnx.output is {depth.name!r}, and so is onnx.sky or onnx.confidence; set them to '
            f'different ones of: {found}'
        )
    if depth.type not in FLOATS:
        raise WeightsError(
            f'{path}: the output {depth.name} is {depth.type}, and depth must be floats; set '
            f'onnx.output to another of: {found}; or export it again'
        )
    for name, types in (('sky', {*FLOATS, 'tensor(bool)'}), ('confidence', {*FLOATS})):
        chosen = by_name.get(getattr(description, name))
        if chosen is not None and chosen.type not in types:
            raise WeightsError(
                f'{path}: the output {chosen.name} is {chosen.type}, and onnx.{name} takes '
                f'{" or ".join(sorted(types))}; set it to another of: {found}'
            )
    return str(depth.name)


def listed(ports: list[Any]) -> str:
    """Inputs or outputs of a session with type and shape, for a message."""
    return ', '.join(f'{p.name} {p.type} {p.shape}' for p in ports) or 'nothing'
