# SPDX-License-Identifier: Apache-2.0
"""Run .tflite files, and .xml files of OpenVINO with their .bin, by OpenVINO on the CPU."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from depth_ros.core.errors import ConfigError, WeightsError
from depth_ros.models.interface import ModelOptions
from depth_ros.models.onnx.session import QUANTISED, Port, Quantisation
from depth_ros.models.onnx.tflite import is_tflite, read_quantisations
from depth_ros.models.without_telemetry import import_openvino

SUFFIXES = ('.tflite', '.xml')

#: types of OpenVINO as onnxruntime names them; others keep their name
_TYPES = {
    'f32': 'tensor(float)', 'f16': 'tensor(float16)', 'f64': 'tensor(double)',
    'u8': 'tensor(uint8)', 'i8': 'tensor(int8)', 'i16': 'tensor(int16)', 'i64': 'tensor(int64)',
    'boolean': 'tensor(bool)',
}  # fmt: skip
#: what a converter puts between the last layer and a quantised output
_CONVERSIONS = ('Transpose', 'Reshape', 'Squeeze', 'Unsqueeze', 'Convert', 'FakeQuantize')


class OpenVinoSession:
    """A `Session`.

    Where the last layer of a TFLite file computes a float that is rounded to a quantised output,
    the float is what `run` returns, within the limits of the output: the same depth without the
    steps, which are centimetres wide. Else the integers are converted to what they stand for.

    Args:
        library: the module openvino.
        core: of the library, which has read the model.
        model: of the library.
        quantisations: of inputs and outputs, by name; empty for files that state none.
        options: number of threads.
    """

    def __init__(
        self,
        library: Any,
        core: Any,
        model: Any,
        quantisations: dict[str, Quantisation],
        options: ModelOptions,
    ) -> None:
        self.runtime = f'openvino {library.__version__.partition("-")[0]}'
        self.inputs = [_port(port, quantisations) for port in model.inputs]
        self.outputs = [_port(port, quantisations) for port in model.outputs]
        self.metadata: Mapping[str, str] = {}
        for result, port in zip(model.get_results(), self.outputs, strict=True):
            if port.quantisation is not None and port.dtype is not None:
                _skip_rounding(result, port.quantisation.limits(port.dtype))
        model.validate_nodes_and_infer_types()
        properties = {
            'PERFORMANCE_HINT': 'LATENCY',
            'INFERENCE_NUM_THREADS': options.threads,
            # of what is not quantised; the default is bf16 where the CPU has it
            'INFERENCE_PRECISION_HINT': 'f32',
        }
        self._request = core.compile_model(model, 'CPU', properties).create_infer_request()
        self._is_float = [result.get_element_type().is_real() for result in model.get_results()]

    def run(self, names: list[str], inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        """The outputs with these names; for those that are quantised, the values as float32."""
        self._request.infer([inputs[port.name] for port in self.inputs])
        indices = {port.name: k for k, port in enumerate(self.outputs)}
        return [self._output(indices[name]) for name in names]

    def _output(self, index: int) -> np.ndarray:
        port = self.outputs[index]
        # a copy: the next call writes to the same memory
        found = np.array(self._request.get_output_tensor(index).data)
        if port.quantisation is None or port.dtype is None:
            return found
        if not self._is_float[index]:
            return port.quantisation.values(found)
        return found.clip(*port.quantisation.limits(port.dtype))


def check_library(path: str) -> None:
    """Check that OpenVINO is installed.

    Raises:
        ConfigError: it cannot be imported, and `path` needs it.
    """
    try:
        import_openvino()
    except ImportError as error:
        raise ConfigError(
            f'{path} is run by OpenVINO, which cannot be imported ({error}): pip install '
            "'depth_ros[openvino]', or openvino alone; or set weights to an .onnx file of the "
            'network'
        ) from None


def open_file(path: Path, options: ModelOptions) -> OpenVinoSession:
    """A session of the file, which may be replaced while it is used.

    Raises:
        ConfigError: OpenVINO is missing, or the device is none of the CPU.
        WeightsError: it is no network that OpenVINO can read.
    """
    check_library(path.name)
    if options.device.type != 'cpu':
        raise ConfigError(
            f'device is {options.device}, but {path.name} is run by OpenVINO, here on the CPU '
            'only: set device to cpu or auto'
        )
    _check_content(path)
    quantisations = read_quantisations(path) if path.suffix == '.tflite' else {}
    library = import_openvino()
    core = library.Core()
    core.set_property({'ENABLE_MMAP': False})  # a mapped file that is cut off ends the process
    try:
        model = core.read_model(path)
        return OpenVinoSession(library, core, model, quantisations, options)
    except Exception as error:  # RuntimeError, and what its bindings raise
        raise WeightsError(
            f'{path} is not a network that OpenVINO can run ({_reason(error)}); download or '
            'convert it again'
        ) from error


def _check_content(path: Path) -> None:
    """Refuse what is no such file: OpenVINO would try to read it in other ways, and print them.

    Raises:
        WeightsError: with what the file is, or which one is missing.
    """
    if path.suffix == '.tflite':
        if not is_tflite(path):
            with path.open('rb') as file:
                head = file.read(16)
            raise WeightsError(
                f'{path} is no TFLite file (it begins with {head!r}); download it again from its '
                'direct link'
            )
        return
    try:
        with path.open('rb') as file:
            head = file.read(1024)
    except OSError as error:
        raise WeightsError(
            f'{path} cannot be read ({error.strerror}); make it readable, or export it again'
        ) from error
    if b'<net' not in head:
        raise WeightsError(
            f'{path} is no network of OpenVINO (it begins with {head[:16]!r}); set weights to the '
            '.xml file that openvino.save_model wrote'
        )
    weights = path.with_suffix('.bin')
    if not weights.is_file():
        raise WeightsError(
            f'{path} has its weights in {weights.name}, which is not beside it: copy both files'
        )


def _port(port: Any, quantisations: dict[str, Quantisation]) -> Port:
    names = sorted(port.get_names())
    name = next((n for n in names if n in quantisations), names[0] if names else '')
    name = name or port.get_node().get_friendly_name()
    kind = port.get_element_type().get_type_name()
    shape = [n.get_length() if n.is_static else None for n in port.get_partial_shape()]
    kind = _TYPES.get(kind, f'tensor({kind})')
    quantised = quantisations.get(name) if kind in QUANTISED else None
    return Port(name, kind, shape, quantised)


def _skip_rounding(result: Any, limits: tuple[float, float]) -> None:
    """Let an output be the float of the last layer, if it is only rounded from there.

    That is so if the first of the roundings has the limits of the output: then what goes into it
    has the unit of the values that the integers stand for.
    """
    skipped, node = [], result.input_value(0).get_node()
    while node.get_type_name() in _CONVERSIONS:
        if node.get_type_name() in ('Convert', 'FakeQuantize'):
            skipped.append(node)
        node = node.input_value(0).get_node()
    roundings = [n for n in skipped if n.get_type_name() == 'FakeQuantize']
    if not roundings or not node.output(0).get_element_type().is_real():
        return
    bounds = [roundings[-1].input_value(k).get_node() for k in (1, 2)]
    if any(b.get_type_name() != 'Constant' or b.get_data().size != 1 for b in bounds):
        return
    found = [float(b.get_data().item()) for b in bounds]
    if np.allclose(found, limits, rtol=1e-4, atol=1e-6 * abs(limits[1] - limits[0])):
        for n in skipped:
            n.output(0).replace(n.input_value(0))


def _reason(error: Exception) -> str:
    """The last line: those before it name places in the source of OpenVINO."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:300]
