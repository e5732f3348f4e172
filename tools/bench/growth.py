# SPDX-License-Identifier: Apache-2.0
"""Scaling with the number of cameras, the input size of the network, and the stride of the cloud.

N graphs of a camera, a node and a recorder run on this machine in one DDS domain; each camera has
its own node, or one node serves all cameras.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from depth_ros.models import PRESETS, ModelOptions, load
from depth_ros.pipeline.device import DTYPES, choose_precision
from depth_ros.pipeline.engines.cuda_graphs import use_cuda_graph
from depth_ros.pipeline.trial_frame import trial_frame
from tools.bench.graph import FULL_CLOUD, Graph, wait_for_log, wait_for_recorders
from tools.bench.one_network import default_input, gflop
from tools.bench.options import Options
from tools.bench.timing import synchronizer, time_interleaved
from tools.bench.transport import COLUMNS, Case, measure, medians
from tools.demo.processes import Child, environment, stop

RULES = ('model:=flat_wall', *FULL_CLOUD)
#: a case with a network, which one node can run for several cameras as a batch
WITH_NETWORK, NETWORK_CAMERAS = ('model:=nano', 'points.stride:=4'), 4
WIDTH, HEIGHT, RATE = 640, 480, 30.0
INPUT_SIDES = (96, 160, 320, 640)  #: of nano [px]; 96 is the default
STRIDES = (1, 2, 4, 8)
LISTENING = 'listening to'  #: logged by a node when it is active

#: graphs, parameters -> node processes; sets the node of each graph
Start = Callable[[Sequence[Graph], Sequence[str]], list[Child]]


def run(options: Options) -> dict[str, Any]:
    """Measure all three."""
    result: dict[str, list[dict[str, Any]]] = {'cameras': [], 'input': [], 'stride': []}
    rules = (*RULES, f'device:={options.torch_device}')
    for start in (separate_nodes, one_node):
        for count in options.cameras:
            result['cameras'].append(cameras(count, options.seconds, rules, start))
            print(result['cameras'][-1], flush=True)
        with_network = (*WITH_NETWORK, f'device:={options.torch_device}')
        result['cameras'].append(cameras(NETWORK_CAMERAS, options.seconds, with_network, start))
        print(result['cameras'][-1], flush=True)
    result['input'] = inputs(INPUT_SIDES, options.torch_device, options.threads)
    for row in result['input']:
        print(row, flush=True)
    for stride in STRIDES:
        result['stride'].append(strides(stride, options))
        print(result['stride'][-1], flush=True)
    method = f'{options.seconds:g} s each, {WIDTH}x{HEIGHT} at {RATE:g} Hz'
    return {'method': method, **result}


def separate_nodes(graphs: Sequence[Graph], rules: Sequence[str]) -> list[Child]:
    """Start one node for each camera."""
    return [graph.start_node(rules) for graph in graphs]


def one_node(graphs: Sequence[Graph], rules: Sequence[str]) -> list[Child]:
    """Start one node for all cameras."""
    names = ','.join(graph.namespace for graph in graphs)
    first = graphs[0]
    node = Child('node', 'depth_ros.ros', (*rules, f'cameras:=[{names}]'), first.folder, first.env)
    for graph in graphs:
        graph.node = node
    return [node]


def cameras(
    count: int,
    seconds: float,
    rules: Sequence[str] = RULES,
    start: Start = separate_nodes,
    size: tuple[int, int] = (WIDTH, HEIGHT),
) -> dict[str, Any]:
    """Measure `count` cameras at once.

    Args:
        count: number of cameras, each in its own namespace.
        seconds: duration, plus one for each camera, as recorders start one after the other.
        rules: parameters of the nodes.
        start: starts the nodes.
        size: width and height of the images [px].
    """
    patience = 30.0 + 10.0 * count
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        graphs = []
        for k in range(count):
            subfolder, name = out / str(k), f'camera_{k}'
            env = environment(subfolder)
            graphs.append(Graph(subfolder, env, *size, RATE, seconds + count, patience, name))
        nodes: list[Child] = []
        try:
            nodes = start(graphs, rules)
            ready = [wait_for_log(node, LISTENING, patience) for node in nodes]
            for graph in graphs:
                graph.start_recorder()
            wait_for_recorders(graphs)
        finally:
            stop([*(c for graph in graphs for c in graph.children), *nodes])
        runs = [graph.results() for graph in graphs]
    succeeded = [run for run in runs if 'failed' not in run]
    row = {'cameras': count, 'nodes': len(nodes), 'ready': sum(ready), **medians(runs, COLUMNS)}
    row['model'] = next(r.partition(':=')[2] for r in rules if r.startswith('model:='))
    row['clouds_hz_together'] = round(sum(run['clouds_hz'] for run in succeeded), 1)
    # one node for all cameras is counted once
    memory = {id(graph.node): graph.memory.get('pss', 0.0) for graph in graphs}
    row['memory_mb_together'] = round(sum(memory.values()), 1)
    return row


def inputs(sides: Sequence[int], device: torch.device, threads: int) -> list[dict[str, Any]]:
    """Time of `predict` and GFLOP of `nano` for several input sizes."""
    torch.set_num_threads(threads)
    preset = PRESETS['nano']
    precision = choose_precision('auto', device, preset)
    frame = trial_frame(device, WIDTH, HEIGHT)
    rows = []
    for side in sides:
        options = ModelOptions(
            weights=preset.source.packaged, device=device, dtype=DTYPES[precision], input_size=side
        )
        model: Any = load('nano', options)
        use_cuda_graph(model, device)
        with torch.inference_mode():
            calls = {'': lambda m=model: m.predict(frame)}
            times = time_interleaved(calls, budget_s=1.0, wait=synchronizer(device))['']
        x = default_input(model, device, (WIDTH, HEIGHT))
        shape = 'x'.join(str(n) for n in reversed(x[0].shape[-2:]))
        work = gflop(lambda m=model, x=x: m.network(*x))
        rows.append({'input': shape, 'precision': precision, 'gflop': round(work, 3), **times})
    return rows


def strides(stride: int, options: Options) -> dict[str, Any]:
    """Measure the node with one `points.stride`, with the largest image at 30 Hz."""
    width, height = options.sizes[-1]
    rules = ('model:=flat_wall', f'points.stride:={stride}')
    case = Case('depth_ros', width, height, RATE)
    run = measure(case, options.seconds, options.torch_device, rules)
    columns = -(-width // stride)
    bytes_mb = 16e-6 * columns * -(-height // stride)
    row = {'stride': stride, 'size': f'{width}x{height}', 'cloud_mb': round(bytes_mb, 2)}
    return {**row, **medians([run], COLUMNS)}
