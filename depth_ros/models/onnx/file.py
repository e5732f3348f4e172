# SPDX-License-Identifier: Apache-2.0
"""Open a file, and check that it has the inputs and outputs that its description says."""

from __future__ import annotations

import dataclasses
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import depth_ros
from depth_ros.core.errors import ConfigError, WeightsError
from depth_ros.models.interface import ModelOptions
from depth_ros.models.onnx import by_onnxruntime, by_openvino
from depth_ros.models.onnx.session import FLOATS, TYPES, Port, Quantisation, Session, listed
from depth_ros.parameters.settings import Onnx

log = logging.getLogger(__name__)

#: What `depth-ros export` writes into the metadata of a file: `onnx.*` as JSON, and for people
DESCRIPTION, PRESET, LICENCE = 'depth_ros.onnx', 'depth_ros.preset', 'licence'
ADAPTED = 'depth_ros.adapted'  #: when and to what the weights were adapted, if they were


@dataclass(frozen=True, slots=True)
class Ports:
    """The inputs and outputs of a network that are used.

    Args:
        image: name of the input that takes the image.
        dtype: of that input.
        quantisation: what the integers of that input stand for; None if it is not quantised.
        channels_last: it is (1, h, w, 3), not (1, 3, h, w).
        size: (h, w) of that input; 0 where the axis is dynamic.
        intrinsics: name of the input that takes the camera; '' for none.
        intrinsics_shape: of that input, with 9 or 4 elements.
        intrinsics_dtype: of that input.
        depth: name of the output that is depth.
    """

    image: str
    dtype: np.dtype[Any]
    quantisation: Quantisation | None
    channels_last: bool
    size: tuple[int, int]
    intrinsics: str
    intrinsics_shape: tuple[int, ...]
    intrinsics_dtype: np.dtype[Any]
    depth: str


def open_file(path: Path, options: ModelOptions) -> Session:
    """Open a file by the library that reads its kind; the file may be replaced while it is used.

    Raises:
        ConfigError: the library is missing or does not support the device.
        WeightsError: it is no network that the library can read.
    """
    if path.suffix == '.bin':
        raise WeightsError(
            f'{path} has the weights of a network of OpenVINO: set weights to the .xml file '
            'beside it'
        )
    if path.suffix in by_openvino.SUFFIXES:
        return by_openvino.open_file(path, options)
    return by_onnxruntime.open_file(path, options)


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


def check_metadata(session: Session, description: Onnx, path: Path) -> None:
    """Compare the description with that in a file of `depth-ros export`, and log its licence.

    Raises:
        ConfigError: they differ, so the depth would be wrong.
        WeightsError: that in the file cannot be read.
    """
    metadata = session.metadata
    if DESCRIPTION not in metadata:
        return
    log.info(
        '%s: exported from %s%s; licence of the weights: %s',
        path.name, metadata.get(PRESET),
        f', {metadata[ADAPTED]}' if ADAPTED in metadata else '', metadata.get(LICENCE),
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


def find_ports(session: Session, description: Onnx, path: Path) -> Ports:
    """The inputs and outputs that the description names, or the only ones.

    Raises:
        ConfigError: one that is named does not exist, one that is needed is not named, or pixels
            as uint8 are to be normalised.
        WeightsError: the network takes or gives something else than images and depth.
    """
    image, intrinsics = _choose_inputs(session.inputs, description, path)
    shape, channels_last = _check_image(image, description, path)
    h, w = shape[1:3] if channels_last else shape[2:]
    return Ports(
        image.name,
        image.dtype or TYPES[image.type],
        image.quantisation,
        channels_last,
        (0 if _is_free(h) else h, 0 if _is_free(w) else w),
        intrinsics.name if intrinsics else '',
        _check_intrinsics(intrinsics, path) if intrinsics else (),
        FLOATS[intrinsics.type] if intrinsics else np.dtype(np.float32),
        _choose_outputs(session.outputs, description, path),
    )


def _choose_inputs(inputs: list[Port], description: Onnx, path: Path) -> tuple[Port, Port | None]:
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


def _check_image(image: Port, description: Onnx, path: Path) -> tuple[list[Any], bool]:
    """Shape of the input, and whether its channels are last."""
    found = listed([image])
    shape = list(image.shape)
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
    if image.dtype is None:
        raise WeightsError(
            f'{path} takes {found}; a depth network here takes {", ".join(TYPES)}: export it '
            'again with one of them'
        )
    is_pixels = image.type == 'tensor(uint8)' and image.quantisation is None
    if is_pixels and (any(description.mean) or set(description.std) != {1}):
        raise ConfigError(
            f'onnx.mean is {list(description.mean)} and onnx.std {list(description.std)}, but '
            f'{path} takes uint8, pixels from 0 to 255: leave both at their defaults'
        )
    return shape, channels_last


def _check_intrinsics(intrinsics: Port, path: Path) -> tuple[int, ...]:
    shape = tuple(1 if _is_free(n) else n for n in intrinsics.shape)
    if int(np.prod(shape)) not in (4, 9) or intrinsics.type not in FLOATS:
        raise WeightsError(
            f'{path}: the input {listed([intrinsics])} takes no intrinsics, which are a 3x3 '
            'matrix K or fx fy cx cy, as floats: set onnx.intrinsics to another input'
        )
    return shape


def _is_free(length: Any) -> bool:
    """Whether an axis may have any length: such have a name, no length, or one below 1."""
    return not isinstance(length, int) or length < 1


def _choose_outputs(outputs: list[Port], description: Onnx, path: Path) -> str:
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
    if depth.type not in FLOATS and depth.quantisation is None:
        raise WeightsError(
            f'{path}: the output {depth.name} is {depth.type}, and depth must be floats; set '
            f'onnx.output to another of: {found}; or export it again'
        )
    for name, types in (('sky', {*FLOATS, 'tensor(bool)'}), ('confidence', {*FLOATS})):
        chosen = by_name.get(getattr(description, name))
        if chosen is not None and chosen.type not in types and chosen.quantisation is None:
            raise WeightsError(
                f'{path}: the output {chosen.name} is {chosen.type}, and onnx.{name} takes '
                f'{" or ".join(sorted(types))}; set it to another of: {found}'
            )
    return str(depth.name)
