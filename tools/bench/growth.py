# SPDX-License-Identifier: Apache-2.0
"""What grows with what: cameras served at once, the network's input, the cloud's stride.

Cameras are N graphs of a camera, a node and a recorder, all on this machine and in one DDS domain;
each camera has a node of its own, or one node serves all.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from depth_ros.models import PRESETS, ModelOptions, load
from depth_ros.pipeline.build import DTYPES, choose_precision, trial_frame
from depth_ros.pipeline.engines.cuda_graphs import use_cuda_graph
from tools.bench.graph import FULL_CLOUD, Graph, follow, wait_for
from tools.bench.one_network import gflop, usual_input
from tools.bench.options import Options
from tools.bench.timing import take_turns, waiter
from tools.bench.transport import COLUMNS, Case, measure, medians
from tools.demo.processes import Child, environment, stop

RULES = ('model:=flat_wall', *FULL_CLOUD)
#: with a network that costs something: who shares it, and batches it, gains
WITH_NETWORK, ITS_CAMERAS = ('model:=nano', 'points.stride:=4'), 4
WIDTH, HEIGHT, RATE = 640, 480, 30.0
INPUT_SIDES = (96, 160, 320, 640)  #: of nano [px]; 96 is its usual one
STRIDES = (1, 2, 4, 8)
LISTENING = 'listening to'  #: what a node logs once it is active

#: graphs, parameters -> the nodes that serve their cameras; each graph is told its own
Start = Callable[[Sequence[Graph], Sequence[str]], list[Child]]


def run(options: Options) -> dict[str, Any]:
    """Three tables."""
    found: dict[str, list[dict[str, Any]]] = {'cameras': [], 'input': [], 'stride': []}
    rules = (*RULES, f'device:={options.torch_device}')
    for start in (separate_nodes, one_node):
        for count in options.cameras:
            found['cameras'].append(cameras(count, options.seconds, rules, start))
            print(found['cameras'][-1], flush=True)
        with_network = (*WITH_NETWORK, f'device:={options.torch_device}')
        found['cameras'].append(cameras(ITS_CAMERAS, options.seconds, with_network, start))
        print(found['cameras'][-1], flush=True)
    found['input'] = inputs(INPUT_SIDES, options.torch_device, options.threads)
    for row in found['input']:
        print(row, flush=True)
    for stride in STRIDES:
        found['stride'].append(strides(stride, options))
        print(found['stride'][-1], flush=True)
    method = f'{options.seconds:g} s each, {WIDTH}x{HEIGHT} at {RATE:g} Hz'
    return {'method': method, **found}


def separate_nodes(graphs: Sequence[Graph], rules: Sequence[str]) -> list[Child]:
    """A node process for each camera."""
    return [graph.serve(rules) for graph in graphs]


def one_node(graphs: Sequence[Graph], rules: Sequence[str]) -> list[Child]:
    """One node process for all cameras."""
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
    """Serve `count` cameras at once.

    Args:
        count: of cameras, each with a namespace of its own.
        seconds: measured, and one more for each camera, because recorders do not start as one.
        rules: parameters of the nodes.
        start: starts the nodes.
        size: of the images, width and height [px].
    """
    patience = 30.0 + 10.0 * count
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        graphs = []
        for k in range(count):
            own, name = out / str(k), f'camera_{k}'
            env = environment(own)
            graphs.append(Graph(own, env, *size, RATE, seconds + count, patience, name))
        nodes: list[Child] = []
        try:
            nodes = start(graphs, rules)
            ready = [wait_for(node, LISTENING, patience) for node in nodes]
            for graph in graphs:
                graph.record()
            follow(graphs)
        finally:
            stop([*(c for graph in graphs for c in graph.children), *nodes])
        runs = [graph.numbers() for graph in graphs]
    fine = [run for run in runs if 'failed' not in run]
    row = {'cameras': count, 'nodes': len(nodes), 'ready': sum(ready), **medians(runs, COLUMNS)}
    row['model'] = next(r.partition(':=')[2] for r in rules if r.startswith('model:='))
    row['clouds_hz_together'] = round(sum(run['clouds_hz'] for run in fine), 1)
    # one node for all is counted once
    memory = {id(graph.node): graph.memory.get('pss', 0.0) for graph in graphs}
    row['memory_mb_together'] = round(sum(memory.values()), 1)
    return row


def inputs(sides: Sequence[int], device: torch.device, threads: int) -> list[dict[str, Any]]:
    """`nano` at several sizes of its input: the whole of `predict`, and the work in it."""
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
            times = take_turns(calls, budget_s=1.0, wait=waiter(device))['']
        given = usual_input(model, device, (WIDTH, HEIGHT))
        shape = 'x'.join(str(n) for n in reversed(given[0].shape[-2:]))
        work = gflop(lambda m=model, x=given: m.network(*x))
        rows.append({'input': shape, 'precision': precision, 'gflop': round(work, 3), **times})
    return rows


def strides(stride: int, options: Options) -> dict[str, Any]:
    """The node at one `points.stride`, the largest image at 30 Hz."""
    width, height = options.sizes[-1]
    rules = ('model:=flat_wall', f'points.stride:={stride}')
    case = Case('depth_ros', width, height, RATE)
    run = measure(case, options.seconds, options.torch_device, rules)
    columns = -(-width // stride)
    bytes_mb = 16e-6 * columns * -(-height // stride)
    row = {'stride': stride, 'size': f'{width}x{height}', 'cloud_mb': round(bytes_mb, 2)}
    return {**row, **medians([run], COLUMNS)}
