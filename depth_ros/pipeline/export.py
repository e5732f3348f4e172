# SPDX-License-Identifier: Apache-2.0
"""Write the network of a preset as an ONNX file, with a params file that runs it again."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import torch
import yaml
from torch import Tensor

import depth_ros
from depth_ros import models
from depth_ros.checkpoints.adapted import Card, card_for
from depth_ros.checkpoints.cache import checksum
from depth_ros.checkpoints.find import find_weights
from depth_ros.core.camera import Camera
from depth_ros.core.errors import ConfigError, InferenceError
from depth_ros.core.types import Frame, Kind, Prediction
from depth_ros.models import ModelOptions, Preset
from depth_ros.models.onnx.file import ADAPTED, DESCRIPTION, LICENCE, PRESET
from depth_ros.models.onnx_form import HasOnnxForm, OnnxForm
from depth_ros.parameters import layers
from depth_ros.parameters.settings import Onnx, Settings
from depth_ros.pipeline.engines.compare import compare
from depth_ros.pipeline.engines.exported import onnx_program
from depth_ros.pipeline.scaling import canonical_focal
from depth_ros.pipeline.trial_frame import trial_frame

#: parameters that shape a network; all others are for when it runs
SHAPING = (
    'model', 'weights', 'accept_licence', 'input_size', 'max_tokens', 'max_depth', 'tile_batch',
    'threads',
)  # fmt: skip
#: names of the inputs
IMAGE, INTRINSICS = 'image', 'intrinsics'
#: of the ONNX operators: the oldest that torch writes, as other programs may be older
OPSET = 18
#: median relative difference of each output from torch above which a file is deleted
SAME = 1e-4
#: fraction of the pixels that may change between sky and no sky
SAME_MASK = 1e-3
#: bytes above which the weights are in another file, as protobuf holds less than 2 GiB
MOST_BYTES = 1_900_000_000
MEANING = {
    Kind.METRIC: 'depth along the optical axis [m]',
    Kind.CANONICAL: 'depth along the optical axis [m] for a focal length of {focal:g} px at the '
    'size of the input: multiply by the focal length of the resized image / {focal:g}',
    Kind.SCALE_INVARIANT: 'depth along the optical axis, up to an unknown factor',
    Kind.AFFINE_INVERSE: 'inverse depth, up to an unknown factor and shift: no metres',
}


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written.

    Args:
        paths: the ONNX file, a file of its weights if it has one, and the params file.
        preset: of the network.
        card: of adapted weights; None for others.
        size: width and height of the input [px].
        difference: largest median relative difference of an output from torch.
        depth_difference: the same of depth through `model: onnx`, at the pixels of the image.
    """

    paths: tuple[Path, ...]
    preset: Preset
    card: Card | None
    size: tuple[int, int]
    difference: float
    depth_difference: float


def export(settings: Settings, image_size: tuple[int, int], path: Path) -> Exported:
    """Write the file and its description, and compare both with torch in fp32.

    Args:
        settings: `model` is a preset; of the others those of `SHAPING` have an effect.
        image_size: width and height of the images [px]; the size of the input follows.
        path: of the ONNX file; its description is next to it, with the suffix .yaml.

    Raises:
        ConfigError: the preset cannot be an ONNX file, a library is missing, or the folder cannot
            be written.
        InferenceError: the network cannot be exported, or the file computes something else; then
            nothing is written.
        WeightsError: the checkpoint is missing or does not fit.
    """
    preset = models.get(settings.model)
    refuse(preset)
    try:
        import onnxruntime  # noqa: F401  (that the file is compared with)
    except ImportError as error:
        raise ConfigError(
            f'exported files are checked with onnxruntime, and it cannot be imported ({error}): '
            'pip install onnxruntime'
        ) from None
    torch.set_num_threads(settings.threads)
    weights = find_weights(settings.weights, preset.source, settings.accept_licence)
    card = card_for(preset.name, weights)
    options = ModelOptions(
        weights=weights,
        threads=settings.threads,
        input_size=settings.input_size,
        max_tokens=settings.max_tokens,
        max_depth=settings.max_depth,
        tile_batch=settings.tile_batch,
        normals=False,  # `onnx.*` has no name for them
        exportable=True,
    )
    model: Any = models.load(settings.model, options)
    if not isinstance(model, HasOnnxForm):
        raise ConfigError(f'{preset.name} has no form as an ONNX file: choose another preset')
    form = model.onnx_form(image_size[::-1])
    onnx = _described(form, model.kind, image_size)
    about = _about(preset, settings, weights, card, form, onnx)
    try:
        part = Path(mkdtemp(prefix=f'{path.name}.', suffix='.part', dir=path.absolute().parent))
    except OSError as error:
        raise ConfigError(
            f'{path.absolute().parent} cannot be written ({error.strerror}): choose another folder'
        ) from error
    try:
        file = part / path.name
        difference = _write_onnx(form, file, about)
        frame = _frame(image_size)
        options = dataclasses.replace(options, weights=file, onnx=onnx)
        depth_difference = _difference_of_depth(model, models.load('onnx', options), frame)
        if not depth_difference <= SAME:
            raise InferenceError(
                f'{settings.model} as an ONNX file gives a depth that is '
                f'{100 * depth_difference:.3g} % from that of torch; nothing is written'
            )
        (part / path.name).with_suffix('.yaml').write_text(
            _params_file(preset, onnx, path.absolute(), about, settings.max_depth)
        )
        paths = [path.parent / written.name for written in sorted(part.iterdir())]
        path.with_name(f'{path.name}.data').unlink(missing_ok=True)  # of a larger network before
        for one in paths:
            os.replace(part / one.name, one)
    except OSError as error:
        raise ConfigError(
            f'{path.absolute()} cannot be written ({error.strerror}): make room there, or choose '
            'another folder'
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return Exported(tuple(paths), preset, card, form.size[::-1], difference, depth_difference)


def refuse(preset: Preset) -> None:
    """Refuse presets that no ONNX file with a description can be.

    Raises:
        ConfigError: with the reason.
    """
    if preset.family == 'onnx':
        raise ConfigError(f'{preset.name} is a file already, and is run as it is')
    if preset.family == 'transformers':
        raise ConfigError(
            f'{preset.name} runs a network of the library transformers, which has its own export; '
            'run that file with model onnx'
        )
    if not preset.source.needed:
        raise ConfigError(f'{preset.name} has no network: it computes its depth from the camera')
    if preset.family == 'dust3r':
        raise ConfigError(
            f'{preset.name} takes two images and gives points of both, which the parameters '
            'onnx.* cannot describe: choose another preset'
        )


def _described(form: OnnxForm, kind: Kind, image_size: tuple[int, int]) -> Onnx:
    names: dict[str, Any] = {k: k for k in ('sky', 'confidence') if k in form.outputs}
    values: dict[str, Any] = {
        'kind': kind.value,
        'output': form.outputs[0],
        'input': IMAGE,
        'intrinsics': INTRINSICS if form.takes_intrinsics else '',
        'input_size': list(form.size[::-1]),
        'image_size': list(image_size),
        **names,
        **form.described,
    }
    return dataclasses.replace(Onnx(), **values)


def _changed(onnx: Onnx) -> dict[str, Any]:
    """Those of `onnx.*` that are no defaults."""
    usual = Onnx()
    values = dataclasses.asdict(onnx)
    return {k: v for k, v in values.items() if v != getattr(usual, k) or k == 'kind'}


def _about(
    preset: Preset,
    settings: Settings,
    weights: Path | None,
    card: Card | None,
    form: OnnxForm,
    onnx: Onnx,
) -> dict[str, str]:
    """Metadata of the file: our description, and what people and other programs must know."""
    meaning = MEANING[Kind(onnx.kind)].format(focal=onnx.canonical_focal)
    source, max_depth = preset.source, settings.max_depth or preset.max_depth
    if max_depth:
        meaning += f', up to {max_depth:g} m'
    published = source.published if source.repo or source.url else 'of the package depth_ros'
    outputs = [f'{form.outputs[0]}: {f"1 / ({meaning})" if onnx.inverse else meaning}']
    outputs += ['sky: true in the sky'] if onnx.sky else []
    outputs += ['confidence: larger is more certain'] if onnx.confidence else []
    w, h = onnx.input_size
    inputs = [
        f'{IMAGE}: {onnx.channel_order.upper()} {w}x{h}, the whole image, (v / 255 - mean) / std '
        f'with mean {list(onnx.mean)}, std {list(onnx.std)}'
    ]
    inputs += [f'{INTRINSICS}: K of the resized image [px]'] if onnx.intrinsics else []
    return {
        PRESET: preset.name,
        'depth_ros.version': depth_ros.__version__,
        DESCRIPTION: json.dumps(_changed(onnx), sort_keys=True),
        LICENCE: card.licence if card else source.licence,
        'weights': f'{weights.name}, a file of the user'
        if settings.weights and weights
        else published,
        'weights_sha256': checksum(weights, 'sha256') if weights else '',
        **({ADAPTED: str(card)} if card else {}),
        'paper': preset.paper,
        'inputs': '; '.join(inputs),
        'outputs': '; '.join(outputs),
    }


def _params_file(
    preset: Preset, onnx: Onnx, path: Path, about: Mapping[str, str], max_depth: float
) -> str:
    """A ROS params file that runs the ONNX file."""
    known = layers.preset_values(preset.name)
    if max_depth and max_depth != preset.max_depth:  # whose limits hold for another network
        known = {name: value for name, value in known.items() if name != 'range.max'}
    tree: dict[str, Any] = {'model': 'onnx', 'weights': str(path)}
    for name, value in known.items():
        if name not in ('model', 'weights'):
            group, _, leaf = name.rpartition('.')
            (tree.setdefault(group, {}) if group else tree)[leaf] = value
    tree['onnx'] = _changed(onnx)
    comments = [
        f'{preset.name} as an ONNX file, by depth-ros export of {depth_ros.__version__}.',
        'If the file is moved, change weights.',
        f'licence of the weights: {about[LICENCE]}',
        f'weights: {about["weights"]}' + (f', {about[ADAPTED]}' if ADAPTED in about else ''),
        f'sha256 of the checkpoint: {about["weights_sha256"]}',
        *(f'input {text}' for text in about['inputs'].split('; ')),
        *(f'output {text}' for text in about['outputs'].split('; ')),
    ]
    params = {'/**': {'ros__parameters': tree}}
    text = yaml.safe_dump(params, sort_keys=False, default_flow_style=None, width=99)
    return '\n'.join([*(f'# {line}' for line in comments), text])


def _write_onnx(form: OnnxForm, path: Path, about: Mapping[str, str]) -> float:
    """Write the file, and return its largest difference from torch.

    Raises:
        InferenceError: it differs by more than `SAME`.
    """
    h, w = form.size
    image = torch.rand((1, 3, h, w), generator=torch.Generator().manual_seed(0))
    inputs: tuple[Tensor, ...] = (image,)
    names = [IMAGE]
    if form.takes_intrinsics:
        K = torch.tensor([[[0.8 * w, 0.0, 0.52 * w], [0.0, 0.9 * h, 0.47 * h], [0.0, 0.0, 1.0]]])
        inputs, names = (image, K), [IMAGE, INTRINSICS]
    program = onnx_program(form.network, inputs, names, list(form.outputs), OPSET)
    for node in program.model.graph:  # torch puts its stack there, with paths of this machine
        node.metadata_props.clear()
    program.model.metadata_props.update(about)
    size = sum(value.const_value.nbytes for value in program.model.graph.initializers.values())
    program.save(path, external_data=size > MOST_BYTES)
    with torch.no_grad():
        expected = form.network(*inputs)
    expected = expected if isinstance(expected, tuple) else (expected,)
    found = _run(path, dict(zip(names, inputs, strict=True)))
    difference = 0.0
    for name, ours, theirs in zip(form.outputs, expected, found, strict=True):
        if ours.dtype == torch.bool:
            changed = float((ours != theirs).float().mean())
            if changed > SAME_MASK:
                raise InferenceError(
                    f'the output {name} of the file is another than that of torch on '
                    f'{100 * changed:.3g} % of the pixels; nothing is written'
                )
            continue
        difference = max(difference, compare(theirs, ours))
        if not difference <= SAME:
            raise InferenceError(
                f'the output {name} of the file is {100 * difference:.3g} % from that of torch; '
                'nothing is written'
            )
    return difference


def _run(path: Path, inputs: Mapping[str, Tensor]) -> list[Tensor]:
    """Outputs of the file by onnxruntime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only
    session = onnxruntime.InferenceSession(str(path), options, providers=['CPUExecutionProvider'])
    found = session.run(None, {name: x.numpy() for name, x in inputs.items()})
    return [torch.from_numpy(values) for values in found]


def _frame(image_size: tuple[int, int]) -> Frame:
    """A trial image of a camera in which no two values are equal."""
    frame, (w, h) = trial_frame(torch.device('cpu'), *image_size), image_size
    return Frame(frame.rgb, Camera(w, h, 0.82 * w, 0.84 * w, 0.51 * w, 0.48 * h))


@torch.inference_mode()
def _difference_of_depth(model: Any, exported: Any, frame: Frame) -> float:
    expected, found = model.predict(frame), exported.predict(frame)
    return compare(_depth(found, frame.camera), _depth(expected, frame.camera))


def _depth(prediction: Prediction, camera: Camera) -> Tensor:
    """Values in the largest unit that a camera gives; sky is infinite."""
    values = prediction.values
    if prediction.kind is Kind.CANONICAL:
        values = canonical_focal.to_metres(prediction, camera)
    return values if prediction.sky is None else torch.where(prediction.sky, torch.inf, values)
