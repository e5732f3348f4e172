# SPDX-License-Identifier: Apache-2.0
"""The same networks in other runtimes, for comparison: Hugging Face `transformers`, onnxruntime.

They are built from configurations in this file, with random weights; nothing is downloaded.
"""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from depth_ros.models import PRESETS, Preset
from depth_ros.models.depth_anything.variant import SIZES, Variant

#: preset that is also exported for onnxruntime
ONNX_PRESET = 'depth_anything_v2_small'


def is_supported(name: str) -> bool:
    """Whether transformers has the network of a preset."""
    preset = PRESETS[name]
    if preset.family == 'depth_anything':
        return Variant.parse(preset.variant).network == 'plain'
    return preset.family in ('glpdepth', 'depth_pro')


def transformers_network(name: str) -> nn.Module:
    """The network of a preset in transformers, with its default attention.

    Raises:
        ImportError: transformers is not installed.
    """
    import transformers

    preset = PRESETS[name]
    if preset.family == 'glpdepth':
        config = transformers.GLPNConfig(  # as vinvino02/glpn-nyu
            depths=(3, 8, 27, 3),
            hidden_sizes=(64, 128, 320, 512),
            decoder_hidden_size=64,
            max_depth=int(preset.max_depth),
        )
        return transformers.GLPNForDepthEstimation(config).eval()
    if preset.family == 'depth_pro':
        encoder = {
            'model_type': 'dinov2',
            'image_size': 384,
            'patch_size': 16,
            'hidden_size': 1024,
            'num_attention_heads': 16,
            'num_hidden_layers': 24,
        }
        config = transformers.DepthProConfig(
            image_model_config=dict(encoder),
            patch_model_config=dict(encoder),
            fov_model_config=dict(encoder),
            use_fov_model=False,
        )
        return transformers.DepthProForDepthEstimation(config).eval()
    return transformers.DepthAnythingForDepthEstimation(_depth_anything(preset)).eval()


def _depth_anything(preset: Preset) -> Any:
    import transformers

    variant = Variant.of(preset)
    size = SIZES[variant.size]
    blocks = size.taps[-1] + 1
    metric = {'depth_estimation_type': 'metric', 'max_depth': int(variant.max_depth)}
    encoder = transformers.Dinov2Config(
        image_size=518,
        patch_size=14,
        hidden_size=size.width,
        num_attention_heads=size.width // 64,
        num_hidden_layers=blocks,
        out_indices=[tap + 1 for tap in variant.taps],  # counted from 1
        reshape_hidden_states=False,
    )
    return transformers.DepthAnythingConfig(
        backbone_config=encoder,
        reassemble_hidden_size=size.width,
        neck_hidden_sizes=list(size.channels),
        fusion_hidden_size=size.features,
        **(metric if variant.max_depth else {}),
    )


class OnnxRuntime:
    """A network exported by torch and run by onnxruntime, on a CPU.

    Args:
        network: to export.
        x: input of the fixed size of the export.
        threads: CPU threads.

    Raises:
        ImportError: a dependency of torch.onnx.export, or onnxruntime, is missing.
    """

    def __init__(self, network: nn.Module, x: Tensor, threads: int) -> None:
        import onnxruntime

        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter('ignore')
            path = Path(folder) / 'network.onnx'
            with torch.no_grad():
                torch.onnx.export(_FirstMap(network).eval(), (x,), str(path), verbose=False)
            session_options = onnxruntime.SessionOptions()
            session_options.intra_op_num_threads = threads
            session_options.log_severity_level = 3  # errors only
            providers = ['CPUExecutionProvider']
            self.session = onnxruntime.InferenceSession(
                str(path), session_options, providers=providers
            )
        self.name = self.session.get_inputs()[0].name

    def __call__(self, x: Tensor) -> Tensor:
        """Run the network; returns its first output map."""
        return torch.from_numpy(self.session.run(None, {self.name: x.numpy()})[0])


class _FirstMap(nn.Module):
    """Returns only the first output map, which is compared."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        output = self.network(x)
        return output[0] if isinstance(output, tuple) else output
