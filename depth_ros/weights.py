# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: where they are, what is in them, whether they fit; their code is never run."""

from __future__ import annotations

import hashlib
import logging
import pickle
import re
import zipfile
from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from depth_ros.errors import ConfigError, WeightsError
from depth_ros.models import Preset

log = logging.getLogger(__name__)

#: Names many publishers use, which say nothing about the content.
GENERIC_FILES = ('model.safetensors', 'pytorch_model.bin')

_SUFFIXES = ('.safetensors', '.pth', '.pt', '.bin')
_HUB_ID = re.compile(r'[\w][\w.-]*/[\w][\w.-]*')

# family -> prefixes that all occur among the names of its checkpoint; the first match wins
_DA3 = 'model.backbone.pretrained.'
_FAMILIES: dict[str, tuple[str, ...]] = {
    'Depth Anything 3 (any-view)': (_DA3 + 'camera_token', 'model.head.scratch.'),
    'Depth Anything 3 (metric or mono)': (_DA3, 'model.head.scratch.sky_output_conv2.'),
    'Depth Anything v1 metric (ZoeDepth)': ('core.core.pretrained.', 'conditional_log_binomial.'),
    'Depth Anything v1 or v2': ('pretrained.blocks.', 'depth_head.scratch.'),
    'Depth Anything v1 or v2 (transformers)': ('backbone.embeddings.', 'neck.reassemble_stage.'),
    'Depth Pro': ('encoder.patch_encoder.', 'encoder.image_encoder.'),
    'Depth Pro (transformers)': ('depth_pro.',),
    'DUSt3R': ('enc_blocks.', 'downstream_head1.'),
    'Monodepth2 encoder': ('encoder.conv1.', 'encoder.layer1.', 'encoder.bn1.'),
    'Monodepth2 decoder': ('decoder.0.conv.conv.',),
    'GLPDepth': ('encoder.patch_embed1.', 'last_layer_depth.'),
    'GLPDepth (transformers)': ('glpn.',),
}


def locate(weights: str, preset: Preset) -> Path | None:
    """The checkpoint file, downloaded to the hub's cache if it has to be.

    Args:
        weights: '' for the preset's own source, or a file, a folder, or a hub id owner/name.
        preset: what is to be loaded.

    Returns:
        The file; None for presets that need none.

    Raises:
        ConfigError: the preset takes no weights.
        WeightsError: there is no such file, folder or hub repository, or it cannot be reached.
    """
    if not preset.needs_weights:
        if weights:
            raise ConfigError(
                f'weights is {weights!r}, but {preset.family} has none; leave it empty'
            )
        return None
    if not weights:
        if not preset.repo:
            raise WeightsError(
                f'{preset.family!r} has no weights of its own; set weights to the .onnx file'
            )
        return _download(preset.repo, preset)
    path = Path(weights).expanduser()
    if path.is_dir():
        return _in_folder(path, preset)
    if path.is_file():
        if preset.sha256 and path.name == preset.file and _sha256(path) != preset.sha256:
            log.warning('%s is not the published file of that name (sha256 differs)', path)
        return path
    if not _HUB_ID.fullmatch(weights) or path.suffix in (*_SUFFIXES, '.onnx'):
        raise WeightsError(
            f'weights: {path.absolute()} does not exist; '
            'give a file, a folder or a hub id owner/name'
        )
    return _download(weights, preset)


def _in_folder(folder: Path, preset: Preset) -> Path:
    if preset.file and (folder / preset.file).is_file():
        return folder / preset.file
    suffixes = ('.onnx',) if preset.family == 'onnx' else _SUFFIXES
    found = sorted(p for p in folder.iterdir() if p.suffix in suffixes and p.is_file())
    if len(found) == 1:
        return found[0]
    what = ', '.join(p.name for p in found) or 'no ' + ' or '.join('*' + s for s in suffixes)
    named = f' and no {preset.file}' if preset.file else ''
    raise WeightsError(
        f'weights: {folder.absolute()} holds {what}{named}; set weights to one file'
    )


def _download(repo: str, preset: Preset) -> Path:
    """`preset.file` (or the usual name) of a hub repository, from its cache or the network."""
    try:
        from huggingface_hub import errors, hf_hub_download
    except ImportError as error:
        raise WeightsError(
            f'{repo} is on the Hugging Face hub: pip install huggingface_hub, or download '
            f'{preset.file} by hand and set weights:=<path>'
        ) from error
    own = repo == preset.repo
    usual = 'model.onnx' if preset.family == 'onnx' else 'model.safetensors'
    names = [preset.file] if own else list(dict.fromkeys(filter(None, (preset.file, usual))))
    remedy = (
        f'download {names[0]} by hand from https://huggingface.co/{repo} and set weights:=<path>'
    )
    offline: Exception | None = None
    for name in names:
        try:
            path = Path(hf_hub_download(repo, name))
        except errors.GatedRepoError as error:
            raise WeightsError(
                f'{repo}: accept the licence on the hub and run hf auth login, or {remedy}'
            ) from error
        except errors.RepositoryNotFoundError as error:
            nor = '' if own else f', and {Path(repo).absolute()} is no file either'
            raise WeightsError(
                f'{repo} is not on the hub, or private{nor}; or {remedy}'
            ) from error
        except errors.LocalEntryNotFoundError as error:
            offline = error  # the next name may be in the cache
            continue
        except errors.EntryNotFoundError:
            log.debug('%s has no %s', repo, name)
            continue
        except Exception as error:  # the hub's client raises its HTTP library's errors as they are
            raise WeightsError(
                f'{repo}: {name} failed ({type(error).__name__}: {error}); {remedy}'
            ) from error
        if own and preset.sha256 and _sha256(path) != preset.sha256:
            raise WeightsError(
                f'{path}: sha256 is not that of the published {name}; delete it and start again'
            )
        if not own and name in GENERIC_FILES:  # config.json beside it tells which variant it is
            try:
                hf_hub_download(repo, 'config.json')
            except Exception as error:  # a help, not a need
                log.debug('%s: no config.json (%s)', repo, error)
        return path
    if offline:
        raise WeightsError(
            f'{repo}: cannot reach the hub, and its cache lacks {" and ".join(names)}; {remedy}'
        ) from offline
    raise WeightsError(f'{repo} has no {" and no ".join(names)}; set weights to a downloaded file')


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open('rb') as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def read(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint, on the CPU, mapped from the file where its format allows.

    `{'model': ...}` and `{'state_dict': ...}` are opened, a leading `module.` is dropped from the
    names; plain numbers, strings and None among the tensors are left out.

    Args:
        path: safetensors, or what torch.save writes; told apart by content, not by suffix.

    Returns:
        Name -> tensor.

    Raises:
        WeightsError: the file is missing, broken, no checkpoint, or needs code to run.
    """
    path = Path(path)
    again = 'download it again'
    if not path.is_file():
        raise WeightsError(f'weights: {path.absolute()} does not exist')
    with path.open('rb') as file:
        head = file.read(64)
    if not head:
        raise WeightsError(f'{path} is empty; {again}')
    if head.startswith(b'version https://git-lfs'):
        raise WeightsError(
            f'{path} is a git-lfs pointer, not the file; run git lfs pull, or {again}'
        )
    if head.lstrip().startswith((b'<', b'{')):
        raise WeightsError(
            f'{path} is a web page or text, not a checkpoint; {again} from its direct link'
        )
    try:
        if head[8:9] == b'{':
            content = load_file(path)
        elif head.startswith((b'PK', b'\x80')):
            # legacy files (before torch 1.6) are no zip archives and cannot be mapped
            mapped = zipfile.is_zipfile(path)
            content = torch.load(path, map_location='cpu', weights_only=True, mmap=mapped)
        else:
            raise WeightsError(
                f'{path} is neither safetensors nor a PyTorch file; set weights to one that is'
            )
    except pickle.UnpicklingError as error:
        culprit = re.search(r'GLOBAL ([\w.]+)', str(error))
        what = f' ({culprit[1]})' if culprit else ''
        raise WeightsError(
            f'{path} is a pickle of more than tensors{what}; reading it would run its code, '
            'which is refused. Convert it to safetensors where you trust it'
        ) from error
    except (SafetensorError, RuntimeError, EOFError, OSError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise WeightsError(f'{path} is truncated or broken ({reason}); {again}') from error
    return _tensors(content, path)


def _tensors(content: object, path: Path) -> dict[str, Tensor]:
    for wrapper in ('model', 'state_dict'):
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict):
        raise WeightsError(f'{path} holds a {type(content).__name__}, not named tensors')
    tensors = {}
    for name, value in content.items():
        if isinstance(value, Tensor):
            tensors[str(name).removeprefix('module.')] = value
        elif not isinstance(value, (bool, int, float, str, type(None))):
            raise WeightsError(
                f'{path}: {name!r} is a {type(value).__name__}, not a tensor; '
                'set weights to the network alone'
            )
    if not tensors:
        raise WeightsError(f'{path} holds no tensors')
    return tensors


def load_strict(
    module: nn.Module, state: dict[str, Tensor], *, path: Path, ignore: Iterable[str] = ()
) -> None:
    """Give `module` the tensors of `state`: all of them, of the right shape and finite.

    Args:
        module: may be on the meta device; it takes the tensors themselves, not copies.
        state: the module's names -> tensors.
        path: the file, for messages.
        ignore: regular expressions of whole names that may be left over.

    Raises:
        WeightsError: a tensor is missing, left over, of another shape or not finite.
    """
    patterns = [re.compile(p) for p in ignore]
    want = module.state_dict()
    have = {
        k: v for k, v in state.items() if k in want or not any(p.fullmatch(k) for p in patterns)
    }
    shapes = [
        f'{k} {tuple(have[k].shape)} instead of {tuple(want[k].shape)}'
        for k in want
        if k in have and have[k].shape != want[k].shape
    ]
    faults = {
        'missing': [k for k in want if k not in have],
        'unexpected': [k for k in have if k not in want],
        'of another shape': shapes,
    }
    if any(faults.values()):
        said = '; '.join(f'{len(v)} {k}: {_few(v)}' for k, v in faults.items() if v)
        raise WeightsError(f'{path} does not fit the network. {said}')
    broken = [k for k, v in have.items() if v.is_floating_point() and not _finite(v)]
    if broken:
        raise WeightsError(
            f'{path}: {len(broken)} tensors are not finite: {_few(broken)}; the file is damaged'
        )
    module.load_state_dict(have, strict=True, assign=True)
    left = [k for k, v in (*module.named_parameters(), *module.named_buffers()) if v.is_meta]
    assert not left, f'buffers outside the state: {left}'


def _finite(values: Tensor) -> bool:
    if not values.numel():
        return True
    low, high = values.aminmax()  # both NaN if one value is; a pass without a copy
    return bool(low.isfinite() and high.isfinite())


def _few(names: list[str], most: int = 3) -> str:
    return ', '.join(names[:most]) + (', ...' if len(names) > most else '')


def guess_family(names: Iterable[str]) -> str | None:
    """Whose checkpoint has such names, in words for a message; None if none we know."""
    names = tuple(names)
    for family, prefixes in _FAMILIES.items():
        if all(any(n.startswith(p) for n in names) for p in prefixes):
            return family
    return None
