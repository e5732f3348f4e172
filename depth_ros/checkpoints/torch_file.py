# SPDX-License-Identifier: Apache-2.0
"""Read what torch.save wrote, without torch.load and without running code of the file.

torch.load of versions before 2.6 can be made to run code even with weights_only=True
(CVE-2025-32434); with mmap=True it leaves tensors that die with the file, and without, it believes
the sizes that a file states. The format is a pickle beside raw numbers: a zip archive with the
members data.pkl and data/<key>, or, before torch 1.6, four pickles and then the numbers.

A pickle can only do what `_Reader` gives it: the names in `_KNOWN` are replaced by functions and
classes of this file; every other name is refused.
"""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import torch
from torch import Tensor

from depth_ros.checkpoints.storages import LARGEST, Damaged, Storages

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # at the start of a file of torch before 1.6


class HoldsCode(Exception):
    """A pickle names a class or function that is no tensor; the message is its name."""


class Ignored:
    """Stands for an object whose content is not used, such as a number of numpy."""

    def __init__(self, *arguments: object, **named: object) -> None:
        pass

    def append(self, value: object) -> None:
        """Do nothing; pickles fill lists with it."""

    def extend(self, values: object) -> None:
        """Do nothing; pickles fill lists with it."""

    def __setitem__(self, key: object, value: object) -> None:
        """Do nothing; pickles fill dictionaries with it."""


class Unusable(Ignored):
    """Stands for a tensor that cannot be a layer's weights.

    Args:
        kind: why, for messages.
    """

    kind = ''


def _unusable(kind: str) -> type[Unusable]:
    return type('Unusable', (Unusable,), {'kind': kind})


def _rebuild_tensor(
    storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: object
) -> Tensor:
    numbers = (offset, *size, *stride)
    if not isinstance(storage, Tensor) or not all(type(n) is int and n >= 0 for n in numbers):
        raise Damaged(f'a tensor has size {size!r:.80} and stride {stride!r:.80}')
    tensor = storage.as_strided(size, stride, offset)  # raises if it does not fit the storage
    if tensor.numel() * tensor.itemsize > LARGEST:
        raise Damaged(f'a tensor has size {size!r:.80}')
    return tensor


def _rebuild_typed(storage: Tensor, offset: int, size: Any, stride: Any, *more: Any) -> Tensor:
    """A tensor of a dtype that has no class of storages; it is the third of `more`."""
    return _rebuild_tensor(storage.view(more[2]), offset, size, stride)


def _first(value: Tensor, *_: object) -> Tensor:
    return value


def _from_type(build: Callable[..., Tensor], _type: object, arguments: Any, *_: object) -> Tensor:
    """A tensor with attributes, which are not used."""
    return build(*arguments)


_STORAGES = {
    'DoubleStorage': torch.float64,
    'FloatStorage': torch.float32,
    'HalfStorage': torch.float16,
    'BFloat16Storage': torch.bfloat16,
    'LongStorage': torch.int64,
    'IntStorage': torch.int32,
    'ShortStorage': torch.int16,
    'CharStorage': torch.int8,
    'ByteStorage': torch.uint8,
    'BoolStorage': torch.bool,
    'ComplexFloatStorage': torch.complex64,
    'ComplexDoubleStorage': torch.complex128,
    'UntypedStorage': torch.uint8,
}
_KNOWN: dict[str, Any] = {
    'collections.OrderedDict': OrderedDict,
    'torch.Size': tuple,
    'torch._utils._rebuild_tensor': _rebuild_tensor,
    'torch._utils._rebuild_tensor_v2': _rebuild_tensor,
    'torch._utils._rebuild_tensor_v3': _rebuild_typed,
    'torch._utils._rebuild_parameter': _first,
    'torch._utils._rebuild_parameter_with_state': _first,
    'torch._tensor._rebuild_from_type_v2': _from_type,
    'torch._utils._rebuild_meta_tensor_no_storage': _unusable('meta'),
    'torch._utils._rebuild_sparse_tensor': _unusable('sparse'),
    'torch._utils._rebuild_sparse_csr_tensor': _unusable('sparse'),
    'torch._utils._rebuild_nested_tensor': _unusable('nested'),
    'torch._utils._rebuild_qtensor': _unusable('quantised'),
    # Ignored, as they hold only names and values: settings and figures of the training.
    **dict.fromkeys(
        (
            'argparse.Namespace',  # the authors of DUSt3R store their command line
            'collections.Counter',
            'collections.defaultdict',
            'builtins.set',
            '__builtin__.set',
            '_codecs.encode',
            'numpy.dtype',
            'numpy.ndarray',
            *(
                f'{module}.multiarray.{name}'
                for module in ('numpy.core', 'numpy._core')
                for name in ('scalar', '_reconstruct')
            ),
            'numpy._core.numeric._frombuffer',
            'numpy.core.numeric._frombuffer',
            'torch.device',
            'torch.Tensor',
            'torch.nn.parameter.Parameter',
            'torch.serialization._get_layout',
        ),
        Ignored,
    ),
    **{f'torch.{name}': dtype for name, dtype in _STORAGES.items()},
    'torch.storage.UntypedStorage': torch.uint8,
    **{str(dtype): dtype for dtype in vars(torch).values() if isinstance(dtype, torch.dtype)},
}


# The unpickler in Python: the one in C allocates what a damaged byte says.
class _Reader(pickle._Unpickler):
    """Unpickler that knows the names in `_KNOWN` only.

    Args:
        file: a pickle.
        storage: returns the storage for key, dtype and number of values.
    """

    def __init__(
        self, file: BinaryIO, storage: Callable[[str, torch.dtype, object], Tensor]
    ) -> None:
        super().__init__(file, encoding='utf-8')
        self._storage = storage

    def find_class(self, module: str, name: str) -> Any:
        full = f'{module}.{name}'
        if full not in _KNOWN:
            raise HoldsCode(''.join(c if c.isprintable() else '?' for c in full)[:80])
        return _KNOWN[full]

    def persistent_load(self, saved: Any) -> Tensor:
        if not isinstance(saved, tuple) or not saved:
            raise Damaged(f'{saved!r:.80} is no storage')
        if saved[0] == 'module':
            raise HoldsCode('torch.nn.Module')
        _, dtype, key, _, count, *view = saved
        if not isinstance(dtype, torch.dtype) or not isinstance(key, str):
            raise Damaged(f'{key!r:.80} is no storage')
        whole = self._storage(key, dtype, count)
        if not view or view[0] is None:
            return whole
        _, offset, size = view[0]  # a part of another storage; torch before 0.4
        return _rebuild_tensor(whole, offset, (size,), (1,))

    def _ignore_state(self: Any) -> None:
        self.stack.pop()  # attributes of an object are not set

    dispatch: ClassVar[Any] = {
        **pickle._Unpickler.dispatch,
        pickle.BUILD[0]: _ignore_state,
    }


def read(path: Path) -> Any:
    """The object that torch.save wrote: dictionaries, lists, tensors, numbers and text.

    Objects that are not used are `Ignored`, tensors of unusual kinds `Unusable`.

    Raises:
        HoldsCode: reading it needs a class or function that is not known here.
        Damaged: the file is cut off, or states what cannot be so.
        Exception: the file is damaged in other ways.
    """
    with path.open('rb') as file:
        return (_read_zip if file.read(2) == b'PK' else _read_legacy)(file)


def _read_zip(file: BinaryIO) -> Any:
    storages = Storages(file)
    with zipfile.ZipFile(file) as archive:
        members = {info.filename: info for info in archive.infolist()}
    pickles = [name for name in members if name.rpartition('/')[2] == 'data.pkl']
    if len(pickles) != 1:
        raise Damaged(f'it is a zip with {len(pickles)} files data.pkl; torch.save writes one')
    root = pickles[0].removesuffix('data.pkl')

    def content(name: str) -> bytes:
        start, size = _place(file, members[name])
        file.seek(start)
        return file.read(size)

    if f'{root}byteorder' in members and content(f'{root}byteorder') != b'little':
        raise Damaged('its numbers are big-endian')
    loaded: dict[str, Tensor] = {}

    def storage(key: str, dtype: torch.dtype, count: object) -> Tensor:
        if key not in loaded:
            if (info := members.get(f'{root}data/{key}')) is None:
                raise Damaged(f'it has no data/{key:.80}')
            whole = storages.allocate(count, dtype)
            start, size = _place(file, info)
            if whole.nbytes > size:
                raise Damaged(f'data/{key} has {size} bytes instead of {whole.nbytes}')
            storages.fill(whole, start)
            loaded[key] = whole
        return _same(loaded[key], dtype, count)

    return _Reader(io.BytesIO(content(pickles[0])), storage).load()


def _place(file: BinaryIO, member: zipfile.ZipInfo) -> tuple[int, int]:
    """First byte and size of a member, which torch never compresses."""
    if member.compress_type != zipfile.ZIP_STORED:
        raise Damaged(f'{member.filename!r:.80} is compressed, which torch.save does not do')
    file.seek(member.header_offset)
    head = file.read(30)  # of which the last four bytes are the lengths of name and extra field
    if head[:4] != b'PK\3\4':
        raise Damaged(f'{member.filename!r:.80} is not where the directory says')
    if member.file_size > os.fstat(file.fileno()).st_size:
        raise Damaged(f'{member.filename!r:.80} would have {member.file_size} bytes')
    lengths = int.from_bytes(head[26:28], 'little') + int.from_bytes(head[28:30], 'little')
    return member.header_offset + 30 + lengths, member.file_size


def _read_legacy(file: BinaryIO) -> Any:
    file.seek(0)
    storages = Storages(file)
    loaded: dict[str, Tensor] = {}

    def storage(key: str, dtype: torch.dtype, count: object) -> Tensor:
        if key not in loaded:
            loaded[key] = storages.allocate(count, dtype)
        return _same(loaded[key], dtype, count)

    def read_next() -> Any:
        return _Reader(file, storage).load()

    if read_next() != MAGIC or read_next() != PROTOCOL:
        raise Damaged('it is a pickle that torch.save did not write')
    system, result, keys = read_next(), read_next(), read_next()
    if not isinstance(system, dict) or system.get('little_endian') is not True:
        raise Damaged('its numbers are big-endian')
    if not isinstance(keys, list) or set(keys) != set(loaded):
        raise Damaged('its list of storages is wrong')
    for key in keys:
        count = int.from_bytes(file.read(8), 'little')
        if count != loaded[key].numel():
            raise Damaged(f'storage {key:.80} has {count} values instead of {loaded[key].numel()}')
        storages.fill(loaded[key])
    return result


def _same(storage: Tensor, dtype: torch.dtype, count: object) -> Tensor:
    """A storage that is named again, which must be in the same way."""
    if storage.dtype != dtype or storage.numel() != count:
        raise Damaged('a storage has two types or sizes')
    return storage
