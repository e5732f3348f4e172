# SPDX-License-Identifier: Apache-2.0
"""Every parameter, declared once with its default, range and description.

The node, config/depth.yaml and the tables of the docs are generated from here by
`depth_ros.parameters.layers`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


def setting(
    default: Any,
    description: str,
    *,
    live: bool = False,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
) -> Any:
    """A dataclass field that is a parameter.

    Args:
        default: its value where nobody sets it; its type is the parameter's type.
        description: one sentence for `ros2 param describe`, YAML and README.
        live: honoured while the node runs; otherwise a change needs cleanup and configure.
        low: smallest value allowed.
        high: largest value allowed.
        choices: the only strings allowed.
    """
    meta = {'description': description, 'live': live, 'low': low, 'high': high, 'choices': choices}
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=meta)
    return field(default=default, metadata=meta)


@dataclass(frozen=True, slots=True)
class Range:
    """Depths that are believed."""

    min: float = setting(0.1, 'Nearer than this is -Inf [m].', live=True, low=0.0, high=1e4)
    max: float = setting(
        0.0,
        'Farther than this is +Inf, nothing in range [m]; 0 means no limit.',
        live=True,
        low=0.0,
        high=1e4,
    )


@dataclass(frozen=True, slots=True)
class ScalingSettings:
    """From a network's number to metres."""

    method: str = setting(
        'auto',
        'How a prediction becomes metres; auto takes as_is for metric networks, canonical_focal '
        'for canonical ones, baseline with two_views, and refuses others, which need constant.',
        live=True,
        choices=('auto', 'as_is', 'canonical_focal', 'constant', 'baseline'),
    )
    scale: float = setting(
        1.0,
        'Factor on depth (on inverse depth for affine-inverse networks), from your calibration.',
        live=True,
        low=1e-6,
        high=1e6,
    )
    shift: float = setting(
        0.0,
        'Added to inverse depth after the factor [1/m]; for affine-inverse networks only.',
        live=True,
        low=-1e3,
        high=1e3,
    )


@dataclass(frozen=True, slots=True)
class TwoViewSettings:
    """Depth from two pictures, for networks that take them."""

    mode: str = setting(
        'off',
        'Where the second view comes from: stereo is a second camera (image_2, camera_info_2), '
        'motion an earlier frame of the same camera (odom says how it moved).',
        choices=('off', 'stereo', 'motion'),
    )
    baseline: float = setting(
        0.0, 'stereo: distance of the two cameras [m]; 0 takes it from TF.', low=0.0, high=100.0
    )
    max_offset: float = setting(
        0.01,
        'stereo: stamps of the two images of a pair differ by this at most [s].',
        low=0.0,
        high=1.0,
    )
    camera_pose: list[float] = setting(
        [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
        'motion: x y z [m] qx qy qz qw of the optical frame in the child frame of odom; '
        'zeros take it from TF.',
    )
    min_baseline: float = setting(
        0.05, 'Cameras nearer to each other than this tell no scale [m].', low=1e-3, high=10.0
    )
    min_inliers: float = setting(
        0.5,
        'Share of pixels that must agree with the relative pose of a pair that tells the scale.',
        low=0.0,
        high=1.0,
    )
    min_parallax: float = setting(
        1.5,
        'motion: an earlier frame with less parallax is no second view [deg].',
        low=0.1,
        high=90.0,
    )
    max_parallax: float = setting(
        25.0,
        'motion: an earlier frame with more parallax looks too different [deg].',
        low=0.1,
        high=90.0,
    )


@dataclass(frozen=True, slots=True)
class Points:
    """The cloud."""

    rate: float = setting(
        0.0,
        'Most clouds a second, by image stamps [Hz], and runs of the network where only clouds '
        'are listened to; 0 means one for every depth image.',
        live=True,
        low=0.0,
        high=1000.0,
    )
    stride: int = setting(
        2, 'Take every n-th column and row of the depth image.', live=True, low=1, high=64
    )
    organized: bool = setting(
        False,
        'True: height x width with NaN for invalid points (PCL normals, RTAB-Map); '
        'False: valid points only (Nav2, OctoMap).',
        live=True,
    )
    color: bool = setting(True, 'Fill the rgb field from the image.', live=True)


@dataclass(frozen=True, slots=True)
class Colorized:
    """The picture for people."""

    min: float = setting(
        0.0, 'Depth at the near end of the colours [m].', live=True, low=0.0, high=1e4
    )
    max: float = setting(
        10.0, 'Depth at the far end of the colours [m].', live=True, low=0.1, high=1e4
    )
    colormap: str = setting(
        'turbo',
        'OpenCV colour map; near is its hot end.',
        live=True,
        choices=('turbo', 'inferno', 'magma', 'viridis', 'jet', 'bone'),
    )


@dataclass(frozen=True, slots=True)
class Onnx:
    """Description of a network of your own (family `onnx`)."""

    kind: str = setting(
        'metric',
        'What its output means.',
        choices=('metric', 'canonical', 'scale_invariant', 'affine_inverse'),
    )
    input_size: list[int] = setting(
        [0, 0], 'Width and height of its input [px]; 0 0 reads them from the file.'
    )
    mean: list[float] = setting([0.0, 0.0, 0.0], 'Subtracted from RGB in 0..1.')
    std: list[float] = setting([1.0, 1.0, 1.0], 'RGB is divided by it after the mean.')
    canonical_focal: float = setting(
        0.0,
        'Canonical networks: the focal length their metres are for, at input size [px].',
        low=0.0,
        high=1e5,
    )
    training_camera: list[float] = setting(
        [0.0, 0.0, 0.0, 0.0],
        'fx fy cx cy at input size [px] of the one camera it was trained with: the picture is '
        'resampled into that camera and the depth brought back; 0 0 0 0 shows it the whole '
        'picture, aspect kept.',
    )


@dataclass(frozen=True, slots=True)
class Settings:
    """All parameters of depth_node."""

    model: str = setting('nano', 'Preset, a name from MODELS.md.')
    cameras: list[str] = setting(
        [''],
        'Names of the cameras; each goes before the topics of one camera (front/image, '
        "front/depth/image) and all share the network. '' is a camera without a name.",
    )
    weights: str = setting(
        '',
        "Checkpoint file, its folder, or a hub id owner/name; empty takes the preset's source.",
    )
    accept_licence: bool = setting(
        False,
        'You agree to the licence of weights that may not be used for everything (MODELS.md); '
        'without it they are not downloaded.',
    )
    device: str = setting(
        'auto', 'auto, cpu, or cuda:N; auto takes the first GPU if there is one.'
    )
    precision: str = setting(
        'auto',
        'Arithmetic of the network; auto is fp16 on a GPU and fp32 on a CPU.',
        choices=('auto', 'fp32', 'fp16', 'bf16'),
    )
    cuda_graphs: bool = setting(
        True,
        'GPU: record the network for each size of input as a CUDA graph; False runs it kernel by '
        'kernel.',
    )
    threads: int = setting(
        1, 'CPU threads of the network; keep below the number of cores.', low=1, high=256
    )
    input_size: int = setting(
        0,
        "Side the network's input is scaled to [px]; 0 takes the preset's own.",
        low=0,
        high=4096,
    )
    max_tokens: int = setting(
        5000,
        'Most patches a transformer is given; very wide pictures are scaled down to fit.',
        low=16,
        high=100000,
    )
    tile_batch: int = setting(
        0,
        'Depth Pro: tiles of a picture in memory at once, of 35; 0 is all on a GPU, 5 on a CPU.',
        low=0,
        high=35,
    )
    image_transport: str = setting(
        'raw',
        'raw subscribes image; compressed subscribes image/compressed.',
        choices=('raw', 'compressed'),
    )
    rectification: str = setting(
        'auto',
        'Whether the image is already undistorted (rectified: P is used) or not (raw: K and D); '
        'auto: rectified where all D are zero or the topic name says rect.',
        choices=('auto', 'rectified', 'raw'),
    )
    intrinsics: str = setting(
        'camera_info',
        'Where K comes from; estimated asks the network, for cameras nobody calibrated, and needs '
        'no camera_info.',
        choices=('camera_info', 'estimated'),
    )
    rate: float = setting(
        0.0,
        'Most depth images a second, by image stamps [Hz]; 0 means every frame the device can do.',
        live=True,
        low=0.0,
        high=1000.0,
    )
    depth_encoding: str = setting(
        '32FC1',
        'Encoding of depth/image: metres, or millimetres with 0 for invalid.',
        live=True,
        choices=('32FC1', '16UC1'),
    )
    frame_id: str = setting(
        '', "Replaces the image's frame_id in the outputs; empty keeps it.", live=True
    )
    min_confidence: float = setting(
        0.0,
        'Pixels the network is less sure of are NaN, in its own unit; 0 keeps all.',
        live=True,
        low=0.0,
        high=1e9,
    )
    range: Range = field(default_factory=Range)
    scaling: ScalingSettings = field(default_factory=ScalingSettings)
    two_views: TwoViewSettings = field(default_factory=TwoViewSettings)
    points: Points = field(default_factory=Points)
    colorized: Colorized = field(default_factory=Colorized)
    onnx: Onnx = field(default_factory=Onnx)
    image_reliability: str = setting(
        'auto',
        'QoS of the image subscription; auto is reliable where all publishers are.',
        choices=('auto', 'reliable', 'best_effort'),
    )
    output_reliability: str = setting(
        'reliable',
        'QoS of the outputs; reliable reaches every subscriber.',
        choices=('reliable', 'best_effort'),
    )
    patience: float = setting(
        3.0,
        'Seconds without an image or camera_info after which the log says why [s].',
        live=True,
        low=0.5,
        high=3600.0,
    )
    autostart: bool = setting(
        True, 'Configure and activate at start; False waits for a lifecycle manager.'
    )
