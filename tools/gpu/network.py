# SPDX-License-Identifier: Apache-2.0
"""One network on a GPU: time, share of the matrix peak, memory and difference from fp32.

In each precision as the node runs it (on a GPU as a CUDA graph); in half precision also without
the graph, with each kernel of attention, and compiled. Of the important networks the way from the
bytes of an image to those of a cloud, and the kernels that take the most time.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import DeviceType  # type: ignore[attr-defined]
from torch.nn.attention import SDPBackend, sdpa_kernel

from depth_ros.core.types import Kind
from depth_ros.models import PRESETS, ModelOptions
from depth_ros.models.batched_model import BatchedModel
from depth_ros.parameters.settings import Points, ScalingSettings, Settings
from depth_ros.pipeline.device import DTYPES
from depth_ros.pipeline.engines.compare import compare
from depth_ros.pipeline.engines.cuda_graphs import CudaGraphNetwork
from depth_ros.pipeline.trial_frame import trial_frame
from tools.bench import other_runtimes, random_weights
from tools.bench.one_network import count_flops, default_input, first_map, matrix_tflops
from tools.bench.timing import Call, synchronizer, time_interleaved
from tools.gpu import device_path
from tools.gpu.plan import GPU, TINY_INPUT
from tools.gpu.worker import Clock, Emit, NotHere, attempt

ATTENTION = {
    'flash': SDPBackend.FLASH_ATTENTION,
    'efficient': SDPBackend.EFFICIENT_ATTENTION,
    'cudnn': SDPBackend.CUDNN_ATTENTION,
    'math': SDPBackend.MATH,
}
ON_CPU = ('flash', 'math')  #: those that torch has on a CPU
#: time that a part needs at least [s], on a GPU
COMPILE_BLOCKS_S, COMPILE_S, TRANSFORMERS_S, QUICK_S = 15.0, 40.0, 10.0, 1.0
MATRIX_S, TIMING_S, TINY_S = 0.4, 0.8, 0.01  #: for timing one thing
MATRIX_TINY = 256  #: side of the matrices
KERNELS = 12  #: in the list of those that take the most time
REPEATED = 4  #: modules of one class side by side are blocks
ANY_SIZE = ('depth_anything',)  #: families that take `TINY_INPUT`
MAX_ON_CPU = 100e6  #: parameters of a network that is compared with the CPU


def run(job: dict[str, Any], emit: Emit, clock: Clock) -> None:
    """Emit the rows of a network.

    Raises:
        RuntimeError: it cannot be loaded or run at all.
    """
    measured = Measured(job, emit)
    part = partial(attempt, emit=emit, clock=clock)
    halves = ('fp16', 'bf16') if PRESETS[job['preset']].casts else ()
    main = halves[0] if halves else 'fp32'
    part(main, least_s=QUICK_S, action=partial(measured.precision, main))
    if job['detailed']:
        part('image to cloud', least_s=QUICK_S, action=measured.path)
    for other in (*halves[1:], *(('fp32',) if halves else ())):
        part(other, least_s=QUICK_S, action=partial(measured.precision, other))
    part('without CUDA graph', least_s=QUICK_S, action=measured.without_graph)
    for name in ATTENTION:
        part(f'attention: {name}', least_s=QUICK_S,
             action=partial(measured.attention, name))  # fmt: skip
    if job['detailed']:
        part('kernels', least_s=QUICK_S, action=measured.kernels)
    part('CPU in fp32', least_s=QUICK_S, action=measured.on_cpu)
    tiny = job['tiny']
    part('torch.compile of the blocks', least_s=QUICK_S if tiny else COMPILE_BLOCKS_S,
         action=measured.compiled_blocks)  # fmt: skip
    if job['detailed']:
        part('transformers', least_s=TRANSFORMERS_S, action=measured.transformers)
    # last: it cannot be interrupted, except by ending the process
    part('torch.compile', least_s=QUICK_S if tiny else COMPILE_S, action=measured.compiled)


@dataclass
class Variant:
    """The network in one precision.

    Args:
        model: as loaded.
        inputs: in its precision.
        tflops: of a matrix product in it.
        median_ms: as the node runs it.
    """

    model: Any
    inputs: list[Tensor]
    tflops: float
    median_ms: float = math.nan

    @property
    def network(self) -> nn.Module:
        """The layers."""
        network: nn.Module = self.model.network
        return network


class Measured:
    """A network, what it returns in fp32, and the variant of it that is measured in detail.

    Args:
        job: as of `run`.
        emit: takes the rows.
    """

    def __init__(self, job: dict[str, Any], emit: Emit) -> None:
        self.job, self.emit = job, emit
        self.main = ''  # the first precision that worked
        self._variant: Variant | None = None
        self._attention: bool | None = None  # whether it has torch's
        self.device, self.preset = torch.device(job['device']), job['preset']
        family = PRESETS[self.preset].family
        self.options = ModelOptions(
            device=self.device,
            exportable=True,  # plain layers, whose weights the other precisions take
            input_size=TINY_INPUT if job['tiny'] and family in ANY_SIZE else 0,
        )
        reference: Any = random_weights.load(self.preset, self.options, drawn_on=self.device)
        self.is_batched = isinstance(reference, BatchedModel)
        self.reference: Any = reference
        found = default_input(self.reference, self.device, tuple(job['size']))
        self.inputs = [x.clone() for x in found]  # torch.compile wants no inference tensors
        output, self.gflop = count_flops(lambda: self.reference.network(*self.inputs))
        self.expected = first_map(output)
        self.parameters = sum(p.numel() for p in self.reference.network.parameters())
        self.on_gpu = self.device.type == 'cuda'
        self.budget_s = TINY_S if job['tiny'] else TIMING_S

    def precision(self, precision: str) -> None:
        """Time the network as the node runs it."""
        dtype = DTYPES[precision]
        tflops = self._matrix(dtype)
        before_mb = self._reset_memory()
        model: Any = self.reference
        if precision != 'fp32':
            options = ModelOptions(
                device=self.device, dtype=dtype, exportable=True,
                input_size=self.options.input_size,
            )  # fmt: skip
            model = random_weights.load(self.preset, options, like=self.reference)
        variant = Variant(model, [x.to(dtype) for x in self.inputs], tflops)
        with torch.inference_mode():
            call = self._as_in_the_node(variant.network)
            values = first_map(call(*variant.inputs))
            row = self._time(variant, 'ours', lambda: call(*variant.inputs))
        memory_mb = self._memory_mb() - before_mb
        if precision == 'fp32':  # its weights were there before
            memory_mb += 4 * self.parameters / 2**20
        variant.median_ms = row['median_ms']
        self._emit(precision, row, memory_mb=round(memory_mb, 1) if self.on_gpu else None,
                   difference_percent=self._difference(values))  # fmt: skip
        if self._variant is None:
            self._variant, self.main = variant, precision

    @property
    def variant(self) -> Variant:
        """The network in the precision that worked first; raises NotHere if none did."""
        if self._variant is None:
            raise NotHere('it works in no precision')
        return self._variant

    def path(self) -> None:
        """From the bytes of an image to those of a cloud."""
        preset = PRESETS[self.preset]
        settings = Settings(
            model=self.preset,
            points=Points(stride=1, organized=True),
            scaling=ScalingSettings(
                method='auto' if preset.kind in (Kind.METRIC, Kind.CANONICAL) else 'constant'
            ),
        )
        model = self.variant.model
        camera = trial_frame(self.device, *self.job['size']).camera
        model.engine = self._as_in_the_node(model.network) if self.on_gpu else None
        try:
            path = device_path.DevicePath(model, settings, self.device, camera)
            title = f'{self.preset}, {self.main}'
            for row in device_path.rows(title, path, 2 * self.budget_s, in_turn=self.on_gpu):
                self.emit('stages', row)
        finally:
            model.engine = None

    @torch.inference_mode()
    def without_graph(self) -> None:
        """Kernel by kernel."""
        if not self.on_gpu:
            raise NotHere(GPU)
        if not self.is_batched:
            raise NotHere('the node runs this network without graph')
        self._extra('ours, no graph', self.variant.network)

    @torch.inference_mode()
    def attention(self, name: str) -> None:
        """With one kernel of attention."""
        if not self.on_gpu and name not in ON_CPU:
            raise NotHere(GPU)
        if not self._uses_attention():
            raise NotHere("it has no layers with torch's attention")
        with sdpa_kernel(ATTENTION[name]):
            self.variant.network(*self.variant.inputs)  # an error here is that of the kernel
            self._extra(f'ours, {name} attention', self._as_in_the_node(self.variant.network))

    def _uses_attention(self) -> bool:
        if self._attention is None:
            original, calls = F.scaled_dot_product_attention, count()

            def counted(*args: Any, **kwargs: Any) -> Tensor:
                next(calls)
                return original(*args, **kwargs)

            with mock.patch.object(F, 'scaled_dot_product_attention', counted):
                self.variant.network(*self.variant.inputs)
            self._attention = next(calls) > 0
        return self._attention

    def compiled_blocks(self) -> None:
        """With each block compiled, which takes a fraction of the time of all layers."""
        found = blocks(self.variant.network)
        if not found:
            raise NotHere('it has no blocks that repeat')
        with torch.no_grad():
            try:
                for block in found:
                    block.compile(**self._how())
                call = self._as_in_the_node(self.variant.network)
                self._extra('ours, compiled blocks', call)
            finally:
                for block in found:
                    block._compiled_call_impl = None

    def compiled(self) -> None:
        """All of it compiled."""
        with torch.no_grad():
            call = self._as_in_the_node(torch.compile(self.variant.network, **self._how()))
            self._extra('ours, compiled', call)

    def _how(self) -> dict[str, Any]:
        """Options of torch.compile; here on a CPU it only traces, which needs no compiler."""
        return {'dynamic': False, 'backend': 'inductor' if self.on_gpu else 'aot_eager'}

    @torch.inference_mode()
    def transformers(self) -> None:
        """The same network of transformers, with its own attention."""
        if not other_runtimes.is_supported(self.preset):
            raise NotHere('transformers does not have it')
        if self.job['tiny']:
            raise NotHere('not in a tiny run')
        try:
            with self.device:  # where random numbers take no time
                theirs = other_runtimes.transformers_network(self.preset)
        except ImportError as error:
            raise NotHere(str(error)) from None
        theirs = theirs.to(self.device, DTYPES[self.main])
        self._extra(
            'transformers', lambda x: theirs(pixel_values=x).predicted_depth, same_weights=False
        )

    @torch.inference_mode()
    def kernels(self) -> None:
        """Which kernels take the time, without graph."""
        network, inputs = self.variant.network, self.variant.inputs
        activity = torch.profiler.ProfilerActivity
        wanted = [activity.CPU, activity.CUDA] if self.on_gpu else [activity.CPU]
        runs = 3
        with torch.profiler.profile(activities=wanted) as profile:
            for _ in range(runs):
                network(*inputs)
            synchronizer(self.device)()
        times = {
            event.key: (_self_time_us(event, self.on_gpu) / runs, event.count // runs)
            for event in profile.key_averages()
            if not self.on_gpu or event.device_type == DeviceType.CUDA
        }
        whole = sum(us for us, _ in times.values())
        if not whole:
            raise NotHere('the profiler of torch sees no kernels')
        top = sorted(times.items(), key=lambda item: -item[1][0])[:KERNELS]
        rows = [
            {'kernel': name[:160], 'ms': round(us / 1e3, 4), 'calls': calls,
             'percent': round(100 * us / whole, 1)}
            for name, (us, calls) in top
        ]  # fmt: skip
        self.emit('kernels', {'preset': self.preset, 'precision': self.main,
                              'all_ms': round(whole / 1e3, 3), 'top': rows})  # fmt: skip

    @torch.inference_mode()
    def on_cpu(self) -> None:
        """How far fp32 on this GPU is from fp32 on the CPU."""
        if not self.on_gpu:
            raise NotHere(GPU)
        if self.parameters > MAX_ON_CPU:
            raise NotHere(f'{self.parameters / 1e6:.0f} M parameters take too long on a CPU')
        options = ModelOptions(exportable=True, input_size=self.options.input_size)
        model: Any = random_weights.load(self.preset, options, like=self.reference)
        values = first_map(model.network(*(x.cpu() for x in self.inputs)))
        row = {'model': self.preset, 'topic': 'network in fp32, GPU and CPU', 'size': None}
        difference = _percent(compare(self.expected.cpu(), values))
        self.emit('node', {**row, 'median_difference_percent': difference})

    def _as_in_the_node(self, network: Callable[..., Any]) -> Callable[..., Any]:
        return CudaGraphNetwork(network) if self.on_gpu and self.is_batched else network

    def _extra(self, who: str, call: Callable[..., Any], *, same_weights: bool = True) -> None:
        """Time another way to run the variant, and compare it with ours."""
        variant = self.variant
        for _ in range(2):  # a graph is captured at the second
            values = first_map(call(*variant.inputs))
        if reason := getattr(call, 'disabled_reason', ''):
            raise RuntimeError(f'no CUDA graph: {reason}')
        row = self._time(variant, who, lambda: call(*variant.inputs))
        row['ours_over_theirs_time'] = round(variant.median_ms / row['median_ms'], 3)
        if same_weights:
            row['difference_percent'] = self._difference(values)
        self._emit(self.main, row, memory_mb=None)

    def _time(self, variant: Variant, who: str, call: Call) -> dict[str, Any]:
        times = time_interleaved(
            {who: call}, budget_s=self.budget_s, min_rounds=3, wait=synchronizer(self.device)
        )[who]
        tflops = self.gflop / times['median_ms']
        return {
            'who': who,
            **times,
            'parameters': self.parameters,
            'gflop': round(self.gflop, 2),
            'tflops': round(tflops, 4),
            'matrix_tflops': variant.tflops,
            'share_of_matrix_percent': (
                round(100 * tflops / variant.tflops, 1) if variant.tflops else None
            ),
        }

    def _matrix(self, dtype: torch.dtype) -> float:
        side = MATRIX_TINY if self.job['tiny'] else None
        budget_s = TINY_S if self.job['tiny'] else MATRIX_S
        with torch.inference_mode():
            return matrix_tflops(self.device, dtype, budget_s, side)

    def _difference(self, values: Tensor) -> float | None:
        """Median relative difference from fp32 [%]; None if numbers were lost."""
        return _percent(compare(values, self.expected))

    def _emit(self, precision: str, row: dict[str, Any], **more: Any) -> None:
        first, *others = self.job['same']
        common = {'preset': first, 'same_as': others, 'precision': precision}
        inputs = [list(x.shape) for x in self.inputs]
        self.emit('networks', {**common, 'input': inputs, **row, **more})

    def _reset_memory(self) -> float:
        """Memory in use [MB], from which the next peak is counted."""
        if not self.on_gpu:
            return 0.0
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(self.device)
        return torch.cuda.memory_allocated(self.device) / 2**20

    def _memory_mb(self) -> float:
        return torch.cuda.max_memory_allocated(self.device) / 2**20 if self.on_gpu else 0.0


def blocks(network: nn.Module) -> list[nn.Module]:
    """The modules that repeat, each beside others of its class, as those of a transformer."""
    found: list[nn.Module] = []
    for module in network.modules():
        children = list(module.children())
        if isinstance(module, (nn.ModuleList, nn.Sequential)) and len(children) >= REPEATED:
            large = sum(1 for _ in children[0].modules()) > REPEATED
            if large and len({type(child) for child in children}) == 1:
                found += children
    return found


def _self_time_us(event: Any, on_gpu: bool) -> float:
    if not on_gpu:
        return float(event.self_cpu_time_total)
    # its name until torch 2.4 was another
    time_us = getattr(event, 'self_device_time_total', None)
    return float(event.self_cuda_time_total if time_us is None else time_us)


def _percent(difference: float) -> float | None:
    return float(f'{100 * difference:.3g}') if math.isfinite(difference) else None
