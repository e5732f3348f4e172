# SPDX-License-Identifier: Apache-2.0
"""Run .onnx files by onnxruntime."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from depth_ros.core.errors import ConfigError, WeightsError, first_line
from depth_ros.models.interface import ModelOptions
from depth_ros.models.onnx.session import Port

log = logging.getLogger(__name__)


class OnnxRuntimeSession:
    """A `Session`.

    Args:
        session: of onnxruntime.
        version: of onnxruntime.
    """

    def __init__(self, session: Any, version: str) -> None:
        self._session = session
        self.runtime = f'onnxruntime {version}'
        self.inputs = [Port(p.name, p.type, p.shape or []) for p in session.get_inputs()]
        self.outputs = [Port(p.name, p.type, p.shape or []) for p in session.get_outputs()]
        self.metadata: Mapping[str, str] = session.get_modelmeta().custom_metadata_map

    def run(self, names: list[str], inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        """The outputs with these names."""
        found: list[np.ndarray] = self._session.run(names, inputs)
        return found


def has_cuda() -> bool:
    """Whether the installed onnxruntime can use a GPU of NVIDIA; True where it is missing."""
    try:
        import onnxruntime
    except ImportError:
        return True  # `open_file` reports what is missing
    return 'CUDAExecutionProvider' in onnxruntime.get_available_providers()


def import_library() -> Any:
    """The module onnxruntime.

    Raises:
        ConfigError: it is missing.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise ConfigError(
            '.onnx files of model family onnx need onnxruntime: pip install onnxruntime'
        ) from error
    return onnxruntime


def open_file(path: Path, options: ModelOptions) -> OnnxRuntimeSession:
    """A session of the file, which may be replaced while it is used.

    Raises:
        ConfigError: onnxruntime is missing or does not support the device.
        WeightsError: it is no ONNX network.
    """
    onnxruntime = import_library()
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

    def open_session(file: Path) -> OnnxRuntimeSession:
        session = onnxruntime.InferenceSession(str(file), session_options, providers=providers)
        return OnnxRuntimeSession(session, onnxruntime.__version__)

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
