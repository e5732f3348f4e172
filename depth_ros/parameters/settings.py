# SPDX-License-Identifier: Apache-2.0
"""Every parameter, declared once with its default, range and description.

The node, config/depth.yaml and docs/parameters.md are generated from here by
`depth_ros.parameters.layers`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from depth_ros.core.camera import ZOOMS
from depth_ros.parameters.anchors import AnchorSettings
from depth_ros.parameters.declare import BAG, CPU, NODE, WRITTEN_BAG, setting

#: of a scene that a network takes at once; far more than a GPU of today has time for
MAX_VIEWS = 32


@dataclass(frozen=True, slots=True)
class Range:
    """Valid depths."""

    min: float = setting(
        0.1,
        'Minimum depth [m]; smaller depths become -Inf.',
        'Parts of the robot are in the image, or near depths are unreliable.',
        live=True,
        low=0.0,
        high=1e4,
    )
    max: float = setting(
        0.0,
        'Maximum depth [m]; larger depths become +Inf. 0: no limit.',
        'Far depths are too inaccurate to use.',
        live=True,
        low=0.0,
        high=1e4,
    )


@dataclass(frozen=True, slots=True)
class Undistort:
    """What is made of the image of a lens with distortion."""

    zoom: str = setting(
        'keep_k',
        'Intrinsics of the undistorted image. keep_k: those of camera_info. keep_valid: no pixel '
        'without a source (alpha 0 of getOptimalNewCameraMatrix in OpenCV). keep_all: every pixel '
        'of the camera image is in it (alpha 1). Pixels keep their aspect ratio.',
        'The undistorted image has a black border (keep_valid), or parts of the camera image are '
        'lost (keep_all).',
        choices=ZOOMS,
        only_with=('rectification', 'auto', 'raw'),
    )
    projection: str = setting(
        'pinhole',
        'What the network sees. pinhole: one undistorted image. wide: all that the lens sees, as '
        'several overlapping pinholes in one batch; clouds have all rays, also at 90 degrees from '
        'the optical axis and beyond.',
        'The camera has a fisheye or wide lens, and its whole view is needed.',
        choices=('pinhole', 'wide'),
    )
    depth_image: str = setting(
        'pinhole',
        'wide: camera that the images and camera_info of depth belong to. pinhole: that of '
        'undistort.zoom. lens: the raw image, with its distortion in depth/camera_info; depth is '
        'NaN from 90 degrees on.',
        'The consumer needs depth for the pixels of the raw image.',
        choices=('pinhole', 'lens'),
        only_with=('undistort.projection', 'wide'),
    )
    tile_fov: float = setting(
        90.0,
        'wide: field of view of each of the pinholes [deg]. Fewer are needed if it is larger; '
        'networks are trained with 50 to 80.',
        'The network takes too long (100 to 110), or is inaccurate for such wide images (75).',
        low=40.0,
        high=130.0,
        only_with=('undistort.projection', 'wide'),
    )
    max_angle: float = setting(
        180.0,
        'wide: largest angle between the optical axis and a ray that is used [deg].',
        'The image of the lens is a circle within a black border (half of its field of view).',
        low=10.0,
        high=180.0,
        only_with=('undistort.projection', 'wide'),
    )


@dataclass(frozen=True, slots=True)
class FilterSettings:
    """Filters of the depth image, which the clouds are made of too."""

    edges: float = setting(
        0.0,
        'Relative step of depth from which a pixel between two surfaces becomes NaN (flying '
        'pixels). It must be that far from its neighbours on both sides; surfaces seen at a '
        'grazing angle stay. 0: disabled; 0.006 suits most networks.',
        'Points hang in the air behind the edges of objects (smaller removes more).',
        live=True,
        low=0.0,
        high=1.0,
    )
    temporal: float = setting(
        0.0,
        'Weight of the frames before against flicker: the depth is averaged over time, at the '
        'same places of the scene. 0: disabled; 0.6 suits most networks.',
        'Distances change from frame to frame while nothing moves (larger is smoother).',
        live=True,
        low=0.0,
        high=0.95,
    )
    temporal_change: float = setting(
        0.15,
        'Relative change of depth from which a place is not averaged.',
        'Moving objects are slow to move in the depth image (lower it), or places flicker (raise '
        'it).',
        live=True,
        low=0.0,
        high=1.0,
    )
    temporal_hold: int = setting(
        0,
        'Frames for which a place of the scene that becomes NaN keeps its depth of before.',
        'Pixels near min_confidence come and go, and the consumer needs them all the time.',
        live=True,
        low=0,
        high=10,
    )
    median: int = setting(
        0,
        'Radius of the window whose median each pixel becomes [px]: 1 is 3x3, 2 is 5x5. '
        '0: disabled.',
        'Single pixels differ from all around them.',
        live=True,
        low=0,
        high=2,
    )


@dataclass(frozen=True, slots=True)
class ScalingSettings:
    """From the output of a network to metres."""

    method: str = setting(
        'auto',
        'How the output of the network becomes metres. auto: anchors with anchors.sources, '
        'baseline with two_views, as_is for metric networks, canonical_focal for canonical ones; '
        'other networks need constant. anchors: fitted to pixels of known depth.',
        'The network has no metric scale and you measured one (constant).',
        live=True,
        choices=('auto', 'as_is', 'canonical_focal', 'constant', 'baseline', 'anchors'),
    )
    scale: float = setting(
        1.0,
        'Factor on depth; for affine-inverse networks, factor on inverse depth.',
        'Measured distances differ from the published ones by a constant factor.',
        live=True,
        low=1e-6,
        high=1e6,
    )
    shift: float = setting(
        0.0,
        'Added to inverse depth after the factor [1/m]; affine-inverse networks only.',
        'You fitted scale and shift of an affine-inverse network to measured distances.',
        live=True,
        low=-1e3,
        high=1e3,
    )
    max_order: str = setting(
        'field',
        'Most complex correction that is fitted to anchors, if it predicts those that were left '
        'out better than a simpler one. scale: one factor. shift: also a shift of inverse depth. '
        'spline: a monotone curve of depth. field: a factor that varies over the image.',
        'The correction must be a single number, or follow the anchors less closely.',
        live=True,
        choices=('scale', 'shift', 'spline', 'field'),
        only_with=('scaling.method', 'anchors', 'auto'),
    )
    max_age: float = setting(
        5.0,
        'Time without usable anchors for which the scale is held [s].',
        'The sensor pauses for longer, or the scene changes so fast that an old scale is wrong.',
        live=True,
        low=0.0,
        high=1e6,
        needs=BAG,
        only_with=('scaling.method', 'anchors', 'auto'),
    )
    after_max_age: str = setting(
        'stop',
        'What happens then. stop: no depth is published until there are anchors again. hold: the '
        'last scale is used on.',
        'Depth with an uncertain scale is better than none.',
        live=True,
        choices=('stop', 'hold'),
        needs=BAG,
        only_with=('scaling.method', 'anchors', 'auto'),
    )


@dataclass(frozen=True, slots=True)
class TwoViewSettings:
    """Depth from two images or more, for networks that take several views."""

    mode: str = setting(
        'off',
        'Source of the second view. stereo: a second camera (image_2, camera_info_2). motion: an '
        'earlier frame of the same camera, with odometry on odom.',
        'You have a stereo pair, or odometry, and a network that takes two views '
        '(depth_anything_v3_small, depth_anything_v3_base, dust3r_*).',
        choices=('off', 'stereo', 'motion'),
        needs=NODE,
    )
    baseline: float = setting(
        0.0,
        'stereo: distance between the two cameras [m]. 0: from TF.',
        'TF does not have both camera frames.',
        low=0.0,
        high=100.0,
        needs=NODE,
        only_with=('two_views.mode', 'stereo'),
    )
    max_offset: float = setting(
        0.01,
        'stereo: maximum difference of the stamps of a pair [s].',
        'The two cameras are not triggered together.',
        low=0.0,
        high=1.0,
        needs=NODE,
        only_with=('two_views.mode', 'stereo'),
    )
    views: int = setting(
        2,
        'motion: number of images that the network gets at once: the present one, and earlier '
        'ones. DUSt3R takes 2. Time and memory grow with it.',
        'The device has time and memory for more, and you want a steadier scale.',
        low=2,
        high=MAX_VIEWS,
        needs=NODE,
        only_with=('two_views.mode', 'motion'),
    )
    camera_pose: list[float] = setting(
        [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
        'motion: pose x y z [m] qx qy qz qw of the optical frame in the child frame of odom. '
        'Zeros: from TF.',
        'TF does not connect the camera with the child frame of odom.',
        needs=NODE,
        only_with=('two_views.mode', 'motion'),
    )
    min_baseline: float = setting(
        0.05,
        'Minimum baseline of a pair used for scale estimation [m].',
        'The cameras are closer together than this.',
        low=1e-3,
        high=10.0,
        needs=NODE,
        only_with=('two_views.mode', 'stereo', 'motion'),
    )
    min_inliers: float = setting(
        0.5,
        'Minimum fraction of pixels that agree with the estimated relative pose of a pair used '
        'for scale estimation.',
        'The diagnostics show that too many pairs are refused (lower it), or the scale is noisy '
        '(raise it).',
        low=0.0,
        high=1.0,
        needs=NODE,
        only_with=('two_views.mode', 'stereo', 'motion'),
    )
    max_direction_error: float = setting(
        30.0,
        'Maximum angle between the estimated and the known direction of the second camera, of a '
        'pair used for scale estimation [deg].',
        'The diagnostics show that pairs are refused although the poses are right (raise it).',
        low=0.1,
        high=180.0,
        needs=NODE,
        only_with=('two_views.mode', 'stereo', 'motion'),
    )
    max_rotation_error: float = setting(
        10.0,
        'Maximum angle between the estimated and the known rotation of the second camera, of a '
        'pair used for scale estimation [deg].',
        'As for two_views.max_direction_error.',
        low=0.1,
        high=180.0,
        needs=NODE,
        only_with=('two_views.mode', 'stereo', 'motion'),
    )
    min_parallax: float = setting(
        1.5,
        'motion: minimum parallax of an earlier frame [deg].',
        'The scale is noisy because the robot moves slowly (raise it).',
        low=0.1,
        high=90.0,
        needs=NODE,
        only_with=('two_views.mode', 'motion'),
    )
    max_parallax: float = setting(
        25.0,
        'motion: maximum parallax of an earlier frame [deg].',
        'Pairs are refused because the two images overlap too little (lower it).',
        low=0.1,
        high=90.0,
        needs=NODE,
        only_with=('two_views.mode', 'motion'),
    )

    @property
    def at_once(self) -> int:
        """How many views the network gets at once."""
        return {'off': 1, 'stereo': 2}.get(self.mode, self.views)


def _floor(default: float | str, description: str, when: str, **bounds: Any) -> Any:
    return setting(
        default,
        description,
        when,
        live=True,
        only_with=('points.ground', 'drop'),
        or_with=('anchors.sources', 'height'),
        **bounds,
    )


@dataclass(frozen=True, slots=True)
class FloorSettings:
    """Where the floor is, seen from the camera."""

    height: float = _floor(
        0.0,
        'Height of the optical centre above the floor [m]. 0: height and tilt from TF to '
        'floor.frame.',
        'tf2_ros is not installed, or TF has no frame on the floor.',
        low=0.0,
        high=100.0,
    )
    pitch: float = _floor(
        0.0,
        'Angle by which the camera looks down [deg], where floor.height is given.',
        'floor.height is given and the camera does not look straight ahead.',
        low=-90.0,
        high=90.0,
    )
    frame: str = _floor(
        'base_footprint',
        'Frame on the floor, its z axis up; used if floor.height is 0.',
        'Your frame on the floor has another name.',
        needs=BAG,
    )


@dataclass(frozen=True, slots=True)
class Points:
    """The point clouds, points and points_clearing."""

    rate: float = setting(
        0.0,
        'Maximum cloud rate [Hz], by image stamps. If only clouds have subscribers, inference is '
        'limited to this rate too. 0: a cloud for every depth image.',
        'The consumer of the cloud needs less than the camera rate: 10 Hz suits a costmap.',
        live=True,
        low=0.0,
        high=1000.0,
        needs=NODE,
    )
    stride: int = setting(
        2,
        'Use every n-th column and row of the depth image.',
        'The cloud is too large for its consumer (4 for Nav2), or you need every pixel (1).',
        live=True,
        low=1,
        high=64,
    )
    organized: bool = setting(
        False,
        'true: height x width points, NaN where invalid. false: valid points only.',
        'The consumer needs the image grid: PCL normals, RTAB-Map.',
        live=True,
        needs=NODE,
    )
    color: bool = setting(
        True,
        'Include the rgb field, with the colours of the image.',
        'No consumer reads colours.',
        live=True,
    )
    voxel: float = setting(
        0.0,
        'points: one point of each cube of this size [m]. 0: all points.',
        'Near surfaces have many more points than the consumer needs.',
        live=True,
        low=0.0,
        high=10.0,
    )
    voxel_growth: float = setting(
        0.0,
        'points.voxel: smallest size of a cube by its distance [m per m]; sizes are points.voxel '
        'times a power of two. 0: the same everywhere.',
        'Far points scatter, as the error of depth grows with the distance (0.02 to 0.1).',
        live=True,
        low=0.0,
        high=1.0,
    )
    ground: str = setting(
        'keep',
        'drop: points has no points of the floor, where a plane near the one that floor.height or '
        'TF gives fills the lower image.',
        'The consumer takes the floor for an obstacle.',
        live=True,
        choices=('keep', 'drop'),
    )
    ground_height: float = setting(
        0.1,
        'Height above and below the plane of the floor up to which points are dropped [m].',
        'Parts of the floor are left (raise it), or low obstacles are lost (lower it).',
        live=True,
        low=0.0,
        high=2.0,
        only_with=('points.ground', 'drop'),
    )
    clearing_range: float = setting(
        10.0,
        'points_clearing: length of the rays of sky and of what is farther than this [m].',
        "Nav2's raytrace_max_range is larger: it must be shorter than these rays by two cells.",
        live=True,
        low=0.1,
        high=1e4,
        needs=NODE,
    )


@dataclass(frozen=True, slots=True)
class Colorized:
    """The image for people, depth/colorized."""

    min: float = setting(
        0.0,
        'Depth at the near end of the colour map [m].',
        'The scene begins far away.',
        live=True,
        low=0.0,
        high=1e4,
    )
    max: float = setting(
        10.0,
        'Depth at the far end of the colour map [m].',
        'The scene is outdoors (80), or on a table (1).',
        live=True,
        low=0.1,
        high=1e4,
    )
    colormap: str = setting(
        'turbo',
        'OpenCV colour map; the near end is its last colour (red in turbo).',
        'You prefer another one.',
        live=True,
        choices=('turbo', 'inferno', 'magma', 'viridis', 'jet', 'bone'),
    )


@dataclass(frozen=True, slots=True)
class CompressedDepth:
    """The depth image for slow links, depth/image/compressedDepth."""

    format: str = setting(
        'png',
        'Code of depth/image/compressedDepth. png: read by image_transport of every distribution. '
        'rvl: read since Jazzy.',
        'The consumer decodes RVL faster than PNG.',
        live=True,
        choices=('png', 'rvl'),
        needs=NODE,
    )
    png_level: int = setting(
        1,
        'Effort of PNG, 1 to 9.',
        'The link is slow and the CPU is idle (3 is 15 % smaller, and takes twice as long).',
        live=True,
        low=1,
        high=9,
        needs=NODE,
    )


#: of `Onnx.resize`
RESIZES = (
    'area', 'linear', 'linear_antialias', 'cubic', 'opencv_area', 'opencv_linear', 'opencv_cubic',
    'opencv_area_or_cubic', 'pillow_bicubic', 'pillow_lanczos',
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Onnx:
    """Description of your own network (model onnx)."""

    kind: str = setting(
        'metric',
        'Meaning of the output: metres, metres for a canonical focal length, depth up to a '
        'factor, or inverse depth up to factor and shift.',
        'Your network does not output metres.',
        choices=('metric', 'canonical', 'scale_invariant', 'affine_inverse'),
        needs='onnx',
    )
    input: str = setting(
        '',
        'Name of the input that takes the image. Empty: the only one.',
        'The file has several inputs; the error lists them.',
        needs='onnx',
    )
    intrinsics: str = setting(
        '',
        'Name of the input that takes the intrinsics of the resized image: a 3x3 matrix K, or fx '
        'fy cx cy [px]. Empty: none does.',
        'Your network takes the intrinsics.',
        needs='onnx',
    )
    output: str = setting(
        '',
        'Name of the output that is depth. Empty: the only one.',
        'The file has several outputs; the error lists them.',
        needs='onnx',
    )
    sky: str = setting(
        '',
        'Name of an output that is above 0.5, or true, in the sky. Empty: none is.',
        'Your network finds the sky.',
        needs='onnx',
    )
    confidence: str = setting(
        '',
        'Name of an output that is larger where depth is more certain. Empty: none is.',
        'Your network has a confidence.',
        needs='onnx',
    )
    inverse: bool = setting(
        False,
        'The output is 1 / depth, such as 1/m, and onnx.kind is that of depth. affine_inverse '
        'is inverse by itself.',
        'Your network outputs inverse depth without an unknown shift.',
        needs='onnx',
    )
    input_size: list[int] = setting(
        [0, 0],
        'Width and height of the input [px]. 0 0: read from the file.',
        'The file has dynamic axes.',
        needs='onnx',
    )
    image_size: list[int] = setting(
        [0, 0],
        'Width and height of an image that is stretched to onnx.input_size. Images of another '
        'shape are padded to this one before. 0 0: as onnx.input_size.',
        'Your network takes images whose aspect ratio was changed.',
        needs='onnx',
    )
    resize: str = setting(
        'area',
        'How the image is resized: by the mean of an area, linearly or cubically as floats, '
        'linearly as torch with antialias, or as OpenCV or Pillow resize bytes; '
        'opencv_area_or_cubic is cubic where it enlarges.',
        'You want exactly what your network was trained with.',
        choices=RESIZES,
        needs='onnx',
    )
    longer_side: int = setting(
        0,
        'Longer side [px] to which the image is resized first, with its aspect ratio. 0: it is '
        'resized once.',
        'You want exactly what your network was trained with.',
        low=0,
        high=8192,
        needs='onnx',
    )
    align_corners: str = setting(
        'none',
        'What is resized so that its corner pixels coincide: the output, or both, the input and '
        'the output (align_corners of torch).',
        'You want exactly what your network was trained with.',
        choices=('none', 'output', 'both'),
        needs='onnx',
    )
    channel_order: str = setting(
        'rgb',
        'Order of the channels of the input.',
        'Your network was trained with images as OpenCV reads them.',
        choices=('rgb', 'bgr'),
        needs='onnx',
    )
    mean: list[float] = setting(
        [0.0, 0.0, 0.0],
        'Mean subtracted from the channels in 0..1, in their order.',
        'Your network was trained with a normalisation.',
        needs='onnx',
    )
    std: list[float] = setting(
        [1.0, 1.0, 1.0],
        'Standard deviation the channels are divided by, after subtracting the mean. 0.003922 '
        'makes 0..255 of them.',
        'Your network was trained with a normalisation.',
        needs='onnx',
    )
    canonical_focal: float = setting(
        0.0,
        'Canonical networks: focal length for which the output is in metres [px at input size].',
        'onnx.kind is canonical.',
        low=0.0,
        high=1e5,
        needs='onnx',
    )
    training_camera: list[float] = setting(
        [0.0, 0.0, 0.0, 0.0],
        'fx fy cx cy of the only camera the network was trained with [px at input size]. Images '
        'are resampled to that camera and the depth is mapped back. 0 0 0 0: the whole image '
        'with its aspect ratio.',
        'Your network was trained on one camera.',
        needs='onnx',
    )


@dataclass(frozen=True, slots=True)
class Transformers:
    """Description of a network of the library transformers (model transformers)."""

    kind: str = setting(
        '',
        'Meaning of the output: metres, metres for a canonical focal length, depth up to a '
        'factor, or inverse depth up to factor and shift. Empty: known by the type of the '
        'network.',
        'The error says that it is not known; the model card has it.',
        choices=('', 'metric', 'canonical', 'scale_invariant', 'affine_inverse'),
        needs='transformers',
    )
    canonical_focal: float = setting(
        0.0,
        'Canonical networks: focal length for which the output is in metres [px at the size of '
        'the output].',
        'transformers.kind is canonical.',
        low=0.0,
        high=1e5,
        needs='transformers',
    )
    revision: str = setting(
        '',
        'Commit, branch or tag of the repository on the hub. Empty: the newest.',
        'The network must not change; the log has the commit.',
        needs='transformers',
    )


@dataclass(frozen=True, slots=True)
class Settings:
    """All parameters of depth_node."""

    model: str = setting(
        'auto',
        'Network: a preset of docs/networks.md, or auto: with a GPU '
        'depth_anything_v3_metric_large; without one fastdepth_nyu where openvino is installed, '
        'else depth_anything_v2_metric_indoor_small; and nano with a warning where their weights '
        'cannot be downloaded. With two_views.mode auto is depth_anything_v3_small.',
        'You want other accuracy, speed or licence.',
    )
    cameras: list[str] = setting(
        [''],
        'Names of the cameras. Each is a prefix of its topics (front/image, front/depth/image); '
        "all share one network. '': one camera without a prefix.",
        'One node serves several cameras.',
        needs=NODE,
    )
    weights: str = setting(
        '',
        'Checkpoint: a file, a folder, or a hub id owner/name. Empty: the source of the preset.',
        'You have your own weights, or no network connection.',
    )
    max_depth: float = setting(
        0.0,
        'Largest depth that your weights were trained with [m]; it scales all depth of '
        'Depth Anything 2 metric and GLPDepth. 0: that of the preset.',
        'You fine-tuned such a network with another largest depth.',
        low=0.0,
        high=1e4,
        needs='max_depth',
    )
    accept_licence: bool = setting(
        False,
        'You accept the licence of weights with restrictions (docs/networks.md); without this '
        'they are not downloaded.',
        'The preset is non-commercial and your use is permitted.',
    )
    device: str = setting(
        'auto',
        'auto, cpu, cuda:N, or with OpenVINO gpu, gpu.N or npu (of Intel). auto: the first GPU of '
        'NVIDIA, else the CPU, and with engine auto what is fastest.',
        'The machine has several GPUs, or the GPU is needed for something else.',
    )
    precision: str = setting(
        'auto',
        'Arithmetic of the network. auto: fp16 on a GPU, with engine torch fp32 on a CPU; with '
        'other engines the fastest that agrees with fp32.',
        'fp16 is inaccurate for your weights, or your CPU is fast with bf16.',
        choices=('auto', 'fp32', 'fp16', 'bf16'),
    )
    engine: str = setting(
        'auto',
        'Library that runs the network. auto: the fastest of those that are installed and agree '
        'with torch, measured at the first start and remembered in the cache. openvino and '
        'onnxruntime get the network as an ONNX file, which is kept there, too.',
        'You want the same on every machine, or no measurement at the first start (torch).',
        choices=('auto', 'torch', 'openvino', 'onnxruntime'),
    )
    cuda_graphs: bool = setting(
        True,
        'GPU: record the network as a CUDA graph, one for each input size.',
        'You profile or debug single kernels.',
    )
    threads: int = setting(
        1,
        'CPU threads of the network.',
        'The network runs on the CPU and cores are idle; leave one for the camera driver.',
        low=1,
        high=256,
        needs=CPU,
    )
    input_size: int = setting(
        0,
        'Side of the network input [px]: the longer or the shorter one, as the network was '
        'published. 0: the published size.',
        'You trade detail for speed. Metres may shift: measure them again.',
        low=0,
        high=4096,
        needs='input_size',
    )
    max_tokens: int = setting(
        5000,
        'Maximum number of patches of a transformer; larger inputs are scaled down.',
        'Very wide images use too much memory (lower it).',
        low=16,
        high=100000,
        needs='max_tokens',
    )
    tile_batch: int = setting(
        0,
        'Depth Pro: tiles processed at once, of 35. 0: all on a GPU, 5 on a CPU.',
        'Depth Pro runs out of memory.',
        low=0,
        high=35,
        needs='tile_batch',
    )
    normals: bool = setting(
        True,
        'Estimate the normals of surfaces, for depth/normals, filters.edges and points.ground. '
        'false: a fifth less arithmetic.',
        'None of these three is used.',
        needs='normals',
    )
    image_transport: str = setting(
        'raw',
        'raw: subscribe to image. compressed: subscribe to image/compressed.',
        'The camera or bag has compressed images only.',
        choices=('raw', 'compressed'),
        needs=NODE,
    )
    rectification: str = setting(
        'auto',
        'rectified: the image is undistorted, use P. raw: use K and D. auto: rectified if the '
        'lens has no distortion or a part of the topic name is rect or rectified.',
        'The topic name is misleading, or camera_info does not match the image.',
        choices=('auto', 'rectified', 'raw'),
        needs=BAG,
        only_with=('intrinsics', 'camera_info'),
    )
    intrinsics: str = setting(
        'camera_info',
        'Source of K. estimated: the network estimates it; no camera_info is needed.',
        'The camera is not calibrated and the preset can estimate K (depth_pro, dust3r_*, '
        'moge2_*).',
        choices=('camera_info', 'estimated'),
    )
    undistort: Undistort = field(default_factory=Undistort)
    rate: float = setting(
        0.0,
        'Maximum rate of depth images [Hz], by image stamps. 0: as fast as the device allows.',
        'Other programs need the GPU or CPU.',
        live=True,
        low=0.0,
        high=1000.0,
        needs=NODE,
    )
    depth_encoding: str = setting(
        '32FC1',
        'Encoding of depth/image. 32FC1: metres. 16UC1: millimetres, 0 where invalid.',
        'A consumer reads millimetres only, or recordings must be small.',
        live=True,
        choices=('32FC1', '16UC1'),
        needs=WRITTEN_BAG,
    )
    frame_id: str = setting(
        '',
        'frame_id of the outputs. Empty: that of the image.',
        'The driver publishes a wrong frame_id.',
        live=True,
        needs=WRITTEN_BAG,
    )
    min_confidence: float = setting(
        0.0,
        'Pixels with confidence below this become NaN (unit of the network). 0: disabled.',
        'The network has a confidence (depth/confidence) and you want fewer but better depths.',
        live=True,
        low=0.0,
        high=1e9,
        needs='confidence',
    )
    range: Range = field(default_factory=Range)
    filters: FilterSettings = field(default_factory=FilterSettings)
    scaling: ScalingSettings = field(default_factory=ScalingSettings)
    anchors: AnchorSettings = field(default_factory=AnchorSettings)
    floor: FloorSettings = field(default_factory=FloorSettings)
    two_views: TwoViewSettings = field(default_factory=TwoViewSettings)
    points: Points = field(default_factory=Points)
    colorized: Colorized = field(default_factory=Colorized)
    compressed_depth: CompressedDepth = field(default_factory=CompressedDepth)
    onnx: Onnx = field(default_factory=Onnx)
    transformers: Transformers = field(default_factory=Transformers)
    image_reliability: str = setting(
        'auto',
        'QoS of the image subscription. auto: reliable if all publishers are, else best effort.',
        'The camera is connected over Wi-Fi and its images stall (best_effort).',
        choices=('auto', 'reliable', 'best_effort'),
        needs=NODE,
    )
    output_reliability: str = setting(
        'reliable',
        'QoS of the outputs. reliable reaches every subscriber.',
        'Large clouds stall over Wi-Fi (best_effort).',
        choices=('reliable', 'best_effort'),
        needs=NODE,
    )
    patience: float = setting(
        3.0,
        'Time without an image, camera_info or anchors after which log and diagnostics say why '
        '[s].',
        'The camera is slower than one image in three seconds.',
        live=True,
        low=0.5,
        high=3600.0,
        needs=NODE,
    )
    log_period: float = setting(
        0.0,
        'Period of a log line with rate, latency and counters of each camera [s]; 0 disables it.',
        'You watch the node without /diagnostics.',
        live=True,
        low=0.0,
        high=3600.0,
        needs=NODE,
    )
    autostart: bool = setting(
        True,
        'Configure and activate at start. false: wait for a lifecycle manager.',
        'A lifecycle manager manages the node.',
        needs=NODE,
    )
