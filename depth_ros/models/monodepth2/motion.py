# SPDX-License-Identifier: Apache-2.0
"""The pose network: how a camera moved between two images.

Depth does not need it; it is trained with the depth network where the motion is not known. It is
published as pose_encoder.pth and pose.pth beside the files of the depth network, if that was
trained with sequences. Layer names are the published ones. In one file of all networks, the names
begin with that of the published file, as in pose.net.0.weight. B batch, h x w input [px].
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from depth_ros.checkpoints.families import describe
from depth_ros.checkpoints.load import load_strict
from depth_ros.checkpoints.read import read_checkpoint
from depth_ros.core.errors import WeightsError
from depth_ros.models.interface import Preset
from depth_ros.models.monodepth2.checkpoint import (
    DECODER,
    ENCODER,
    FILES,
    POSE,
    POSE_ENCODER,
    UNUSED,
    folder_of,
    is_archive,
)
from depth_ros.models.monodepth2.network import MEAN, STD

WIDTH = 256  #: channels of the decoder
STEP = 0.01  #: of the output: small, as cameras move little between two images


class PoseNetwork(nn.Module):
    """A ResNet for two images, and four convolutions.

    Args:
        encoder: name in timm.

    Source: Godard et al. 2019, arXiv 1806.01260.
    """

    def __init__(self, encoder: str = 'resnet18') -> None:
        super().__init__()
        network: Any = timm.create_model(encoder, pretrained=False, features_only=True, in_chans=6)
        self.encoder: Any = network  # timm has no types
        self.net = nn.ModuleList(
            [
                nn.Conv2d(network.feature_info.channels()[-1], WIDTH, 1),
                nn.Conv2d(WIDTH, WIDTH, 3, padding=1),
                nn.Conv2d(WIDTH, WIDTH, 3, padding=1),
                nn.Conv2d(WIDTH, 12, 1),  # of two motions, the second of which is not used
            ]
        )

    def forward(self, earlier: Tensor, later: Tensor) -> tuple[Tensor, Tensor]:
        """The motion between two images of a camera.

        In training the image that was taken first is always the first one of the pair. The output
        moves points from its camera to the other; where the reverse was needed, it was inverted.

        Args:
            earlier: (B, 3, h, w) RGB in 0..1, h and w multiples of 32.
            later: (B, 3, h, w), taken afterwards.

        Returns:
            Rotation vector (B, 3) [rad] and translation (B, 3), in the unit of the depth it was
            trained with, of T_later_earlier.
        """
        x: Tensor = self.encoder((torch.cat((earlier, later), dim=1) - MEAN) / STD)[-1]
        for layer in self.net[:-1]:
            x = F.relu(layer(x))
        both = STEP * self.net[-1](x).mean((2, 3))
        return both[:, :3], both[:, 3:6]


def load_motion(preset: Preset, path: Path) -> PoseNetwork:
    """Load the pose network of a preset, on the CPU in fp32.

    Args:
        preset: of the depth network.
        path: one of `checkpoint.FILES`, with pose_encoder.pth and pose.pth in the same folder; a
            zip of them; or one file of their tensors, which may hold the depth network too.

    Raises:
        WeightsError: there is none, a file cannot be read, or is of another network.
    """
    if path.name in FILES or is_archive(path):
        with folder_of(path, preset) as folder:
            state = _read_folder(folder, path.parent if path.name in FILES else path)
    else:
        found = read_checkpoint(path)
        state = {
            name.partition('.')[2]: value
            for name, value in found.items()
            if name.startswith(('pose_encoder.', 'pose.'))
        }
        if not state:
            raise WeightsError(
                f'{path} {describe(found)}, and has no pose network of {preset.name}: give the '
                f'zip at {preset.source.url}, its folder, or one file that holds it too'
            )
    encoder = 'resnet50' if 'encoder.layer1.0.conv3.weight' in state else 'resnet18'
    with torch.device('meta'):
        network = PoseNetwork(encoder)
    load_strict(network, state, path=path, ignore=UNUSED)
    return network.float().to(memory_format=torch.channels_last).eval()


def published(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of a `PoseNetwork` under their names in one file of all networks."""
    return {
        f'{"pose_encoder" if name.startswith("encoder.") else "pose"}.{name}': value
        for name, value in state.items()
    }


def _read_folder(folder: Path, path: Path) -> dict[str, Tensor]:
    """Tensors of both files of `folder`; messages name `path`."""
    state: dict[str, Tensor] = {}
    for file in (POSE_ENCODER, POSE):
        if not (folder / file).is_file():
            raise WeightsError(
                f'{path} has no {file}, so the motion of the camera must be known: record poses, '
                f'or take a network that was trained with sequences (mono, mono+stereo), whose '
                f'zip holds {ENCODER}, {DECODER}, {POSE_ENCODER} and {POSE}'
            )
        state |= read_checkpoint(folder / file)
    return state
