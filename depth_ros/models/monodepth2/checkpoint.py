# SPDX-License-Identifier: Apache-2.0
"""Load published checkpoints, and check that they are of the expected variant.

A checkpoint is two files, encoder.pth and depth.pth, published as a zip. encoder.pth states the
input size and whether stereo pairs were used, but not whether sequences were used or the encoder
was pretrained; these are checked by the name of the zip or folder, and by the md5 of the zip.

One file may hold the tensors of both, such as the one that `published` gives, and also those of
the pose network (`motion`).
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

import torch
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
POSE_ENCODER, POSE = 'pose_encoder.pth', 'pose.pth'  #: of the pose network
FILES = (ENCODER, DECODER, POSE_ENCODER, POSE)

#: what encoder.pth states beside its tensors; one file of both holds them as tensors without axes
STATED = ('width', 'height', 'use_stereo')

#: Unused tensors: the classifier of the encoder, and the pose network in one file of all.
UNUSED = (r'encoder\.fc\..*', r'pose(_encoder)?\..*')

#: depth.pth numbers two convolutions for each stage, then the heads.
RULES: Rules = (
    *((rf'^decoder\.{2 * i}\.conv\.conv\.', f'stages.{i}.before.') for i in range(5)),
    *((rf'^decoder\.{2 * i + 1}\.conv\.conv\.', f'stages.{i}.after.') for i in range(5)),
    *((rf'^decoder\.{10 + i}\.conv\.', f'heads.{i}.') for i in range(4)),
)
#: back to the published names
BACK: Rules = (
    *((rf'^stages\.{i}\.before\.', f'decoder.{2 * i}.conv.conv.') for i in range(5)),
    *((rf'^stages\.{i}\.after\.', f'decoder.{2 * i + 1}.conv.conv.') for i in range(5)),
    *((rf'^heads\.{i}\.', f'decoder.{10 + i}.conv.') for i in range(4)),
)


def load_checkpoint(network: Monodepth2, preset: Preset, path: Path) -> None:
    """Load a checkpoint into `network`, which may be on the meta device.

    Args:
        network: of the variant of `preset`.
        preset: expected preset.
        path: encoder.pth or depth.pth, with the other one in the same folder, or a zip of both,
            or one file of their tensors.

    Raises:
        WeightsError: a file is missing, cannot be read, or is of another network or variant.
    """
    if path.name in FILES:
        _check_name(path.parent, path.absolute().parent.name, preset)
    elif is_archive(path):
        _check_archive(path, preset)
    else:
        _load_single(network, preset, path)
        return
    with folder_of(path, preset) as folder:
        _load_folder(network, preset, folder, path.parent if path.name in FILES else path)


def published(state: dict[str, Tensor], variant: Variant) -> dict[str, Tensor]:
    """Tensors of a `Monodepth2` under the published names, with what encoder.pth states.

    The classifier of the encoder, which is never used, is not among them.
    """
    stated = (variant.width, variant.height, variant.stereo)
    facts = dict(zip(STATED, map(torch.tensor, stated), strict=True))
    return {**rename(state, BACK), **facts}


@contextlib.contextmanager
def folder_of(path: Path, preset: Preset) -> Iterator[Path]:
    """The folder of one of `FILES`; or one in which those of a zip are for as long.

    Raises:
        WeightsError: the zip is damaged.
    """
    if path.name in FILES:
        yield path.parent
        return
    # what was read does not depend on the files
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        _unpack(path, Path(folder), preset)
        yield Path(folder)


def _load_single(network: Monodepth2, preset: Preset, path: Path) -> None:
    """Load one file of both parts."""
    state, values = read_tensors_and_values(path)
    if guess_family(state) != 'Monodepth2':
        raise WeightsError(
            f'{path} {describe(state)}; {preset.name} takes the folder of {ENCODER} and '
            f'{DECODER}, or the zip of both, or one file of the tensors of both'
        )
    _check_name(path, path.stem, preset)
    for name in STATED:
        if name in state and state[name].numel() == 1:
            values[name] = state.pop(name).item()
    _check_variant(path, preset, state, values)
    load_strict(network, rename(state, RULES), path=path, ignore=UNUSED)


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
    _check_variant(path / ENCODER, preset, encoder, values)
    load_strict(network, rename({**encoder, **decoder}, RULES), path=path, ignore=UNUSED)


def is_archive(path: Path) -> bool:
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
            for file in FILES:
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
    """Refuse another encoder, input size or kind of training, as stated in `path`."""
    try:
        width, height, stereo = (values[key] for key in STATED)
    except KeyError as error:
        raise WeightsError(
            f'{path} does not state its {error}; take the files of the zip at {preset.source.url}'
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
