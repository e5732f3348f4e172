# SPDX-License-Identifier: Apache-2.0
"""Load published checkpoints, and check that they are of the expected variant.

A checkpoint is two files, encoder.pth and depth.pth, published as a zip. encoder.pth states the
input size and whether stereo pairs were used, but not whether sequences were used or the encoder
was pretrained; these are checked by the name of the zip or folder, and by the md5 of the zip.
"""

from __future__ import annotations

import logging
import shutil
import zipfile
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from torch import Tensor

from depth_ros.checkpoints.cache import checksum
from depth_ros.checkpoints.families import describe, guess_family
from depth_ros.checkpoints.keys import Rules, rename
from depth_ros.checkpoints.load import load_strict
from depth_ros.checkpoints.read import Value, read_checkpoint, read_tensors_and_values
from depth_ros.core.errors import WeightsError
from depth_ros.models.interface import Preset
from depth_ros.models.monodepth2.network import Monodepth2, Variant
from depth_ros.models.presets import presets_where

log = logging.getLogger(__name__)

ENCODER, DECODER = 'encoder.pth', 'depth.pth'

#: Unused tensors: the classifier of the encoder.
UNUSED = (r'encoder\.fc\..*',)

#: depth.pth numbers two convolutions for each stage, then the heads.
RULES: Rules = (
    *((rf'^decoder\.{2 * i}\.conv\.conv\.', f'stages.{i}.before.') for i in range(5)),
    *((rf'^decoder\.{2 * i + 1}\.conv\.conv\.', f'stages.{i}.after.') for i in range(5)),
    *((rf'^decoder\.{10 + i}\.conv\.', f'heads.{i}.') for i in range(4)),
)


def load_checkpoint(network: Monodepth2, preset: Preset, path: Path) -> None:
    """Load a checkpoint into `network`, which may be on the meta device.

    Args:
        network: of the variant of `preset`.
        preset: expected preset.
        path: encoder.pth or depth.pth, with the other one in the same folder, or a zip of both.

    Raises:
        WeightsError: a file is missing, cannot be read, or is of another network or variant.
    """
    if path.name in (ENCODER, DECODER):
        _check_name(path.parent, path.absolute().parent.name, preset)
        _load_folder(network, preset, path.parent, path.parent)
    elif _is_archive(path):
        _check_archive(path, preset)
        # unpacked temporarily: what was read does not depend on the files
        with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            _unpack(path, Path(folder), preset)
            _load_folder(network, preset, Path(folder), path)
    else:
        raise WeightsError(
            f'{path} {describe(read_checkpoint(path))}; {preset.name} takes the folder of '
            f'{ENCODER} and {DECODER}, or the zip of both'
        )


def _load_folder(network: Monodepth2, preset: Preset, folder: Path, path: Path) -> None:
    """Load both files of `folder`; messages name `path`."""
    for file in (ENCODER, DECODER):
        if not (folder / file).is_file():
            raise WeightsError(
                f'{path} has no {file}; the zip at {preset.source.url} holds {ENCODER} and '
                f'{DECODER}'
            )
    encoder, values = read_tensors_and_values(folder / ENCODER)
    decoder = read_checkpoint(folder / DECODER)
    for file, state, layout in (
        (ENCODER, encoder, 'Monodepth2 encoder'),
        (DECODER, decoder, 'Monodepth2 decoder'),
    ):
        if guess_family(state) != layout:
            raise WeightsError(
                f'{path / file} {describe(state)}; {preset.name} takes '
                f'the {file} of the zip at {preset.source.url}'
            )
    _check_variant(path, preset, encoder, values)
    load_strict(network, rename({**encoder, **decoder}, RULES), path=path, ignore=UNUSED)


def _is_archive(path: Path) -> bool:
    """Whether `path` is a zip of checkpoint files; files of torch.save are zips as well."""
    try:
        if not zipfile.is_zipfile(path):
            return False
        with zipfile.ZipFile(path) as archive:
            return path.suffix == '.zip' or _member(archive, ENCODER) is not None
    except Exception:  # damaged files raise many types; reading reports the reason
        return path.suffix == '.zip'


def _member(archive: zipfile.ZipFile, file: str) -> str | None:
    return next((n for n in archive.namelist() if PurePosixPath(n).name == file), None)


def _unpack(path: Path, folder: Path, preset: Preset) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            for file in (ENCODER, DECODER):
                if member := _member(archive, file):
                    with archive.open(member) as packed, (folder / file).open('wb') as target:
                        shutil.copyfileobj(packed, target)
    except Exception as error:  # each compression raises its own types
        raise WeightsError(
            f'{path} is truncated or broken ({error}); download {preset.source.url} again'
        ) from error


def _check_archive(path: Path, preset: Preset) -> None:
    """Refuse a zip that is of another preset by its md5 or name."""
    md5 = checksum(path, 'md5')
    if md5 == preset.source.md5:
        return
    if right := presets_where(lambda p: p.source.md5 == md5):
        raise WeightsError(f'{path} is not {preset.name}; set model to {right}')
    _check_name(path, path.stem, preset)
    if preset.source.md5 and path.stem == preset.variant:
        log.warning('%s is not the published file of that name (md5 differs)', path)


def _check_name(path: Path, name: str, preset: Preset) -> None:
    """Refuse a checkpoint with the published name of another preset."""
    if name == preset.variant:
        return
    if right := presets_where(lambda p: p.family == preset.family and p.variant == name):
        raise WeightsError(
            f'{path} is by its name not {preset.name}; set model to {right}, '
            'or rename it if its name is wrong'
        )


def _check_variant(
    path: Path, preset: Preset, encoder: dict[str, Tensor], values: dict[str, Value]
) -> None:
    """Refuse another encoder, input size or kind of training, as stated in encoder.pth."""
    try:
        width, height, stereo = (values[key] for key in ('width', 'height', 'use_stereo'))
    except KeyError as error:
        raise WeightsError(
            f'{path}: {ENCODER} does not state its {error}; take the one of the zip at '
            f'{preset.source.url}'
        ) from error
    resnet = 'resnet50' if 'encoder.layer1.0.conv3.weight' in encoder else 'resnet18'
    found = _describe_training(resnet, width, height, bool(stereo))

    def expected(other: Preset) -> str:
        variant = Variant.parse(other.variant)
        return _describe_training(variant.encoder, variant.width, variant.height, variant.stereo)

    if found == expected(preset):
        return
    right = presets_where(lambda p: p.family == preset.family and expected(p) == found)
    raise WeightsError(
        f'{path} is {found}, {preset.name} is {expected(preset)}; '
        + (f'set model to {right}' if right else 'no preset is for it')
    )


def _describe_training(encoder: str, width: Value, height: Value, stereo: bool) -> str:
    return f'{encoder} for {width}x{height} trained with{"" if stereo else "out"} stereo pairs'
