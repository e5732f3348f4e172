# SPDX-License-Identifier: Apache-2.0
"""The files of a network of transformers: found, checked, and made into a network."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from torch import nn

from depth_ros.checkpoints.card import Licence, read_licence
from depth_ros.checkpoints.hub import check_connection, find_first
from depth_ros.checkpoints.parts import INDEX, parts_of
from depth_ros.checkpoints.read import read_checkpoint
from depth_ros.checkpoints.source import Source
from depth_ros.core.errors import ConfigError, WeightsError, first_line
from depth_ros.models.interface import Preset
from depth_ros.models.presets import PRESETS

log = logging.getLogger(__name__)

CONFIG, PROCESSOR, CARD = 'config.json', 'preprocessor_config.json', 'README.md'
WEIGHTS = 'model.safetensors'
#: Types that need more than an image.
_REFUSED = {
    'prompt_depth_anything': 'it takes a depth image of low resolution beside the image, which a '
    'frame here has not; scaling.method anchors brings metres of a sensor to any network'
}
#: Tensors without an effect, which published files lack: the first stage has nothing to add.
_NOT_USED = re.compile(r'num_batches_tracked$|fusion_stage\.layers\.0\.residual_layer1\.')
#: What in a config.json would load code, weights of others or another arithmetic.
_LEFT_OUT = (
    'auto_map', 'attn_implementation', '_attn_implementation', 'torch_dtype', 'dtype',
    'use_pretrained_backbone', '_name_or_path', 'transformers_version', 'architectures',
)  # fmt: skip


def import_library() -> Any:
    """The module transformers.

    Raises:
        ConfigError: it cannot be imported, or is too old.
    """
    try:
        library = import_module('transformers')
    except ImportError as error:
        raise ConfigError(
            f"model 'transformers' needs the package transformers ({error}): pip install "
            "'depth_ros[transformers]'"
        ) from None
    if int(library.__version__.partition('.')[0]) < 5:
        raise ConfigError(
            f'transformers {library.__version__} is installed, and 5 or newer is needed: pip '
            'install --upgrade transformers'
        )
    return library


def source_of(preset: Preset, weights: str, revision: str) -> Source:
    """The source of the weights, with licence, revision and the files that belong together.

    Of a repository on the hub the small files are downloaded, for its licence.

    Raises:
        ConfigError: a revision of a folder.
        WeightsError: there is no such repository, or no network for depth in it.
    """
    if os.path.exists(os.path.expanduser(weights)):
        folder = Path(os.path.expanduser(weights))
        if revision:
            raise ConfigError(
                f'transformers.revision is {revision!r}, but {folder} is no repository on the '
                'hub: leave it empty'
            )
        licence = read_licence((folder if folder.is_dir() else folder.parent) / CARD)
        return dataclasses.replace(preset.source, licence=licence.name)
    config = _fetch(weights, CONFIG, revision)
    if config is None:
        raise WeightsError(f'{weights} has no {CONFIG}: it is no network of transformers')
    read_config(config.parent)
    commit = config.parent.name
    # of a network that is in the cache no server is asked
    cached = _fetch(weights, WEIGHTS, commit, cached=True) is not None
    licence = _licence(weights, _fetch(weights, CARD, commit, cached=cached))
    index = None if cached else _fetch(weights, WEIGHTS + INDEX, commit)
    log.info(
        '%s: licence %s; commit %s, which transformers.revision keeps', weights, licence.name,
        commit,
    )  # fmt: skip
    return dataclasses.replace(
        preset.source,
        licence=licence.name,
        restricted=licence.restricted,
        repo=weights,
        file=index.name if index else WEIGHTS,
        revision=commit,
        beside=(PROCESSOR, *(parts_of(index) if index else ())),
    )


def _fetch(repo: str, name: str, revision: str, *, cached: bool = False) -> Path | None:
    """A small file, from the cache or, unless `cached`, the hub; None if it is not there."""
    found = find_first(repo, [name], False, cached=True, revision=revision)
    if found is None and not cached:
        check_connection(repo, [name])
        found = find_first(repo, [name], False, cached=False, revision=revision)
    return found


def _licence(repo: str, card: Path | None) -> Licence:
    """That of the card, or of our table where that is narrower."""
    for preset in PRESETS.values():
        if preset.source.repo == repo and preset.source.restricted:
            return Licence(preset.source.licence, True)
    return read_licence(card)


def read_config(folder: Path) -> dict[str, Any]:
    """Content of config.json.

    Raises:
        WeightsError: it is missing or damaged, or not that of a network that is known here.
    """
    path = folder / CONFIG
    try:
        config = json.loads(path.read_text())
        type_ = config['model_type']
    except FileNotFoundError as error:
        raise WeightsError(
            f'{folder} has no {CONFIG}; set weights to the folder of a network of transformers'
        ) from error
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise WeightsError(
            f'{path} is no configuration of a network ({type(error).__name__}: {error}); download '
            'it again'
        ) from error
    if type_ in _REFUSED:
        raise WeightsError(f'{path}: networks of type {type_!r} cannot be used: {_REFUSED[type_]}')
    mapping = import_library().models.auto.modeling_auto.MODEL_FOR_DEPTH_ESTIMATION_MAPPING_NAMES
    if type_ not in mapping:
        raise WeightsError(
            f'{path}: {type_!r:.80} is no network for depth of transformers '
            f'{import_library().__version__}, and code of a repository is not run; known are '
            f'{", ".join(sorted({*mapping} - {*_REFUSED}))}'
        )
    if config.get('quantization_config'):
        raise WeightsError(
            f'{path}: the weights are quantised (quantization_config), which is not supported: '
            'choose the repository with the weights as floats'
        )
    return dict(config)


def build(config: dict[str, Any], weights: Path) -> nn.Module:
    """The network with its tensors, on the CPU in fp32.

    Raises:
        WeightsError: config.json does not describe a network, or the tensors are not its own.
    """
    library = import_library()
    type_ = config['model_type']
    if not weights.name.endswith(('.safetensors', INDEX)):
        raise WeightsError(
            f'{weights} is no safetensors file, and others are not read for transformers: save '
            'the network with save_pretrained and set weights to that folder'
        )
    tensors = read_checkpoint(weights)
    values = {k: v for k, v in config.items() if k not in ('model_type', *_LEFT_OUT)}
    if type_ == 'depth_pro':  # the camera is known: its field of view need not be estimated
        values['use_fov_model'] = False
        tensors = {k: v for k, v in tensors.items() if not k.startswith('fov_model.')}
    try:
        with _quiet(library):
            configuration = library.AutoConfig.for_model(type_, **values)
            cls = library.MODEL_FOR_DEPTH_ESTIMATION_MAPPING[type(configuration)]
            network, found = cls.from_pretrained(
                None,
                config=configuration,
                state_dict=tensors,
                dtype='float32',
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # they are refused below, by name
                trust_remote_code=False,
            )
    except Exception as error:  # of any architecture
        raise WeightsError(
            f'{weights.parent / CONFIG} describes no {type_!r} network that can be built '
            f'({first_line(error)}); download it again'
        ) from error
    lost = sorted(name for name in found['missing_keys'] if not _NOT_USED.search(name))
    wrong = lost + sorted(str(name) for name in found['mismatched_keys'])
    if wrong:
        raise WeightsError(
            f'{weights} does not fit {CONFIG} beside it: {len(wrong)} tensors are missing or of '
            f'another shape, such as {wrong[0]}. Download both again'
        )
    if more := sorted(found['unexpected_keys']):
        log.warning('%s: %d tensors are not used, such as %s', weights, len(more), more[0])
    return network  # type: ignore[no-any-return]


def build_processor(folder: Path) -> Any:
    """The image processor of a network.

    Raises:
        WeightsError: there is none, or it is of no kind that transformers has for depth.
    """
    library = import_library()
    if not (folder / PROCESSOR).is_file():
        raise WeightsError(
            f'{folder} has no {PROCESSOR}, which says how images are prepared; copy it from the '
            'repository of the network'
        )
    try:
        with _quiet(library):
            processor = library.AutoImageProcessor.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
    except Exception as error:  # of any processor
        raise WeightsError(
            f'{folder / PROCESSOR} describes no image processor of transformers '
            f'({first_line(error)}); download it again'
        ) from error
    if not hasattr(processor, 'post_process_depth_estimation'):
        raise WeightsError(
            f'{folder / PROCESSOR} describes a {type(processor).__name__}, which is not for '
            'depth: copy the file from the repository of the network'
        )
    return processor


@contextlib.contextmanager
def _quiet(library: Any) -> Iterator[None]:
    """Without progress bars and reports, which go past the log."""
    logger = library.utils.logging
    level, bars = logger.get_verbosity(), logger.is_progress_bar_enabled()
    logger.set_verbosity(logging.CRITICAL)
    logger.disable_progress_bar()
    try:
        yield
    finally:
        logger.set_verbosity(level)
        if bars:
            logger.enable_progress_bar()
