# SPDX-License-Identifier: Apache-2.0
"""Count the parameters and the work of all networks: `python -m tools.facts` writes facts.json."""

from __future__ import annotations

import json
from typing import Any

import torch

from depth_ros.models import ModelOptions
from depth_ros.models.facts import FILE
from depth_ros.pipeline.trial_frame import trial_frame
from tools.bench.one_network import count_flops
from tools.bench.random_weights import load, networks

#: not a network of torch; counted from the shapes in its ONNX file
FASTDEPTH = {'input': [224, 224], 'parameters': 1_352_225, 'gflop': 0.733}


def counted(name: str) -> dict[str, Any]:
    """Facts of a preset, of layers without memory."""
    device = torch.device('meta')
    model: Any = load(name, ModelOptions(device=device), empty=True)
    with torch.inference_mode():
        x = model.network_input(trial_frame(device))
        x = x if x.ndim == 4 else x[None]
        _, gflop = count_flops(lambda: model.network(x))
    height, width = x.shape[-2:]
    return {
        'input': [width, height],
        'parameters': sum(p.numel() for p in model.network.parameters()),
        'gflop': float(f'{gflop:.3g}'),
    }


def main() -> None:
    """Write the file."""
    found = {}
    for first, presets in networks().items():
        values = counted(first)
        found |= dict.fromkeys(presets, values)
    lines = [f'"{name}": {json.dumps(one)}' for name, one in found.items()]
    lines.append(f'"fastdepth_nyu": {json.dumps(FASTDEPTH)}')
    FILE.write_text('{\n' + ',\n'.join(lines) + '\n}\n')
    print(f'written to {FILE}')


if __name__ == '__main__':
    main()
