# SPDX-License-Identifier: Apache-2.0
"""Bad input, and what is done with it: data for tests and for docs/bad-input.md.

Each row is proved by the test of its section; `make docs` writes the page. `values` are changes
to what that test sends, which is right otherwise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

REFUSED = 'no depth; error'
WARNED = 'used; warning'
USED = 'used; in the log'


@dataclass(frozen=True)
class BadInput:
    """A row of the table.

    Args:
        given: the input, in words.
        does: what is done with it.
        message: part of what the log says, or the terminal.
        values: how a test makes the input.
    """

    given: str
    does: str
    message: str
    values: dict[str, Any] = field(default_factory=dict)


#: changes to the camera_info of a raw image of 640x480 with K 500 510 322 238 (fx fy cx cy), P 480
#: 480 318 241 and five coefficients of plumb_bob; `size`, `topic` and `rectification` of the image
CAMERAS = (
    BadInput(
        'K and P all zeros',
        REFUSED,
        'camera_info is all zeros: the camera is not calibrated. Calibrate it',
        {'k': (0.0,) * 4, 'p': (0.0,) * 4},
    ),
    BadInput(
        'fx = fy = 1, a default of some drivers',
        REFUSED,
        'K of camera_info: focal length is fx=1, fy=1 px for an image of 640x480, which no lens '
        'has',
        {'k': (1.0, 1.0, 0.0, 0.0)},
    ),
    BadInput(
        'fy = 1 with a correct fx',
        REFUSED,
        'focal length is fx=500, fy=1 px for an image of 640x480, which no lens has',
        {'k': (500.0, 1.0, 322.0, 238.0)},
    ),
    BadInput(
        'fy negative',
        REFUSED,
        'focal length is fx=500, fy=-510; it must be positive: correct the sign in the driver',
        {'k': (500.0, -510.0, 322.0, 238.0)},
    ),
    BadInput(
        'fx more than four times fy',
        REFUSED,
        'pixels are never so far from square. Calibrate the camera',
        {'k': (2500.0, 510.0, 322.0, 238.0)},
    ),
    BadInput(
        'fx twice fy',
        WARNED,
        'pixels are seldom so far from square: check that the calibration is of this image shape',
        {'k': (1000.0, 500.0, 322.0, 238.0)},
    ),
    BadInput(
        'focal length not in pixels',
        REFUSED,
        'which no lens has: it may not be in pixels. Calibrate the camera',
        {'k': (5e6, 5e6, 322.0, 238.0)},
    ),
    BadInput(
        'field of view of more than 150 degrees in K',
        WARNED,
        'a horizontal field of view of 163 deg: check that the calibration is of this image size',
        {'k': (48.0, 48.0, 322.0, 238.0), 'p': (0.0,) * 4, 'd': ()},
    ),
    BadInput(
        'K of NaN',
        REFUSED,
        'intrinsics or coefficients are not finite (nan nan nan nan',
        {'k': (math.nan,) * 4},
    ),
    BadInput(
        'principal point outside the image',
        WARNED,
        'principal point is (700, 238) in an image of 640x480, outside: if the image was cut out',
        {'k': (500.0, 510.0, 700.0, 238.0)},
    ),
    BadInput(
        'principal point more than an image away',
        REFUSED,
        'principal point is (2000, 238) in an image of 640x480, far outside. Calibrate',
        {'k': (500.0, 510.0, 2000.0, 238.0)},
    ),
    BadInput(
        'crop of 400x300 with the principal point of the whole image, no roi',
        WARNED,
        'principal point is (322, 238) in an image of 400x300, far from the middle',
        {'width': 400, 'height': 300, 'size': (400, 300)},
    ),
    BadInput(
        'P the identity, K good, no distortion',
        WARNED,
        'K of camera_info is used, because P of camera_info: focal length is fx=1, fy=1',
        {'p': (1.0, 1.0, 0.0, 0.0), 'd': ()},
    ),
    BadInput(
        'P of NaN, K good, image_rect',
        WARNED,
        'K of camera_info is used, because P of camera_info: intrinsics or coefficients are not',
        {'p': (math.nan,) * 4, 'topic': '/camera/image_rect'},
    ),
    BadInput(
        'P all zeros, image_rect',
        WARNED,
        'P of camera_info is all zeros: K of the raw image is used for a rectified one',
        {'p': (0.0,) * 4, 'topic': '/camera/image_rect'},
    ),
    BadInput(
        'equidistant with coefficients of zero: an ideal fisheye lens',
        USED,
        'K and D of camera_info (camera_info has distortion), undistorting',
        {'distortion_model': 'equidistant', 'd': (0.0,) * 4, 'k': (230.0, 230.0, 322.0, 238.0)},
    ),
    BadInput(
        'equidistant without coefficients',
        REFUSED,
        "distortion_model is 'equidistant' without coefficients: publish its four",
        {'distortion_model': 'equidistant', 'd': ()},
    ),
    BadInput(
        'equidistant with a fifth coefficient of zero',
        WARNED,
        "distortion_model 'equidistant' with 5 coefficients, used as equidistant with 4",
        {'distortion_model': 'equidistant', 'd': (0.1, 0.02, 0.0, 0.0, 0.0)},
    ),
    BadInput(
        'equidistant with a fifth coefficient',
        REFUSED,
        "distortion_model 'equidistant' has 5 coefficients; it takes 4: set the model that",
        {'distortion_model': 'equidistant', 'd': (0.1, 0.02, 0.0, 0.0, 0.1)},
    ),
    BadInput(
        'plumb_bob with three coefficients',
        REFUSED,
        "distortion_model 'plumb_bob' has 3 coefficients; it takes 4 or 5 or 8",
        {'d': (0.1, 0.1, 0.1)},
    ),
    BadInput(
        'a distortion model that is not known, also with coefficients of zero',
        REFUSED,
        "distortion_model is 'omni'; known: ",
        {'distortion_model': 'omni', 'd': (0.0,) * 4},
    ),
    BadInput(
        'double_sphere with the coefficients of another model',
        REFUSED,
        "coefficient xi of distortion_model 'double_sphere' is 1.7, not within -1 to 1",
        {'distortion_model': 'double_sphere', 'd': (1.7, 0.6)},
    ),
    BadInput(
        'coefficients without a model name',
        WARNED,
        "distortion_model '' with 5 coefficients, used as plumb_bob with 5",
        {'distortion_model': ''},
    ),
    BadInput(
        'coefficients in the thousands: next to nothing is left after undistortion',
        REFUSED,
        'of the pixels have a source, and ',
        {'d': (2000.0, 1500.0, 0.0, 0.0, 0.0)},
    ),
    BadInput(
        'coefficients that leave half of the image',
        WARNED,
        'of the pixels have a source, and ',
        {'d': (-1.5, 0.0, 0.0, 0.0, 0.0)},
    ),
    BadInput(
        'coefficients of NaN',
        REFUSED,
        'intrinsics or coefficients are not finite (500 510 322 238 nan nan nan nan nan)',
        {'d': (math.nan,) * 5},
    ),
    BadInput(
        'camera_info of another aspect ratio',
        REFUSED,
        'image is 640x360 but camera_info says 640x480, another shape. Publish both from the',
        {'size': (640, 360)},
    ),
    BadInput(
        'camera_info of another size, same aspect ratio',
        WARNED,
        'camera_info says 640x480, the image is 320x240: the intrinsics are scaled to the image',
        {'size': (320, 240)},
    ),
    BadInput(
        'roi outside the calibrated image',
        REFUSED,
        'roi of camera_info is 400x300 at (500, 0), not within 640x480: correct it in the driver',
        {'roi': (500, 0, 400, 300), 'size': (400, 300)},
    ),
    BadInput(
        'binning of more than the image',
        REFUSED,
        'binning of camera_info is 999x1 for 640x480 pixels: correct it in the driver',
        {'binning_x': 999, 'size': (1, 1)},
    ),
    BadInput(
        'a topic whose name begins like rect: /rectangular_room/image_raw',
        USED,
        'K and D of camera_info (camera_info has distortion), undistorting',
        {'topic': '/rectangular_room/image_raw'},
    ),
    BadInput(
        'a rectified topic with distortion in its camera_info',
        USED,
        'P of camera_info (the topic /camera/image_rect is named so)',
        {'topic': '/camera/image_rect'},
    ),
    BadInput(
        'frame_id that does not name an optical frame',
        WARNED,
        "frame_id 'camera_link' does not say optical: clouds are right only if its z axis",
        {'frame_id': 'camera_link'},
    ),
    BadInput(
        'camera_info of another frame_id',
        WARNED,
        "image frame_id is 'camera_optical_frame' but camera_info says 'other_optical_frame'",
        {'info_frame_id': 'other_optical_frame'},
    ),
)

#: changes to a sensor_msgs/Image of 16x12 rgb8; `values` are the most that its pixels have
IMAGES = (
    BadInput('no pixels', REFUSED, 'image is 0x0; it is empty', {'width': 0, 'height': 0}),
    BadInput(
        'step less than a row',
        REFUSED,
        'image step is 7 but a row of 16 px rgb8 takes 48 bytes; fix the publisher',
        {'step': 7},
    ),
    BadInput(
        'data cut off',
        REFUSED,
        'image data are 99 bytes but 16x12 rgb8 with step 48 takes 576; fix the publisher',
        {'length': 99},
    ),
    BadInput(
        'an encoding that is not known',
        REFUSED,
        "image encoding '32SC4' is not supported; supported: rgb8, bgr8",
        {'encoding': '32SC4'},
    ),
    BadInput(
        'a depth image (16UC1)',
        REFUSED,
        "image encoding '16UC1' is not supported; supported: rgb8, bgr8",
        {'encoding': '16UC1'},
    ),
    BadInput(
        'yuyv of odd width',
        REFUSED,
        'yuyv image is 15 wide; it must be even: set another size or encoding in the driver',
        {'encoding': 'yuyv', 'width': 15},
    ),
    BadInput(
        'nv12 of odd height',
        REFUSED,
        'nv12 image is 16x11; both must be even: set another size or encoding in the driver',
        {'encoding': 'nv12', 'height': 11},
    ),
    BadInput(
        'nv12 whose step counts all planes (1.5 times a row)',
        USED,
        '',
        {'encoding': 'nv12', 'step': 24, 'length': 288},
    ),
    BadInput(
        'a Bayer image of three columns',
        REFUSED,
        'bayer_rggb8 image is 3x12; too small to demosaic: set a larger size in the driver',
        {'encoding': 'bayer_rggb8', 'width': 3},
    ),
    BadInput(
        'mono16 of a 12-bit sensor',
        USED,
        '16-bit images hold values of 12 bits: divided by 16',
        {'encoding': 'mono16', 'step': 32, 'most': 4095},
    ),
    BadInput(
        'mono16 of a 10-bit sensor, big-endian',
        USED,
        '16-bit images hold values of 10 bits: divided by 4',
        {'encoding': 'mono16', 'step': 32, 'most': 1023, 'is_bigendian': 1},
    ),
)

#: `format` of a sensor_msgs/CompressedImage, and the file in it: `codec`, `dtype` and `channels`,
#: or `content`; `part` of the file is sent; `stated` is the size that its header gets
COMPRESSED = (
    BadInput(
        'no data',
        REFUSED,
        "compressed image of format 'jpeg', 0 bytes, cannot be decoded by OpenCV; publish JPEG or",
        {'format': 'jpeg', 'content': b''},
    ),
    BadInput(
        'video (H.264)',
        REFUSED,
        "compressed image of format 'h264', 8 bytes, cannot be decoded by OpenCV; publish JPEG or",
        {'format': 'h264', 'content': b'\0\0\0\1gB\0\n'},
    ),
    BadInput(
        'a JPEG that is cut off',
        REFUSED,
        'is cut off: the end of the JPEG is missing; publish JPEG or PNG',
        {'format': 'rgb8; jpeg compressed bgr8', 'codec': 'jpeg', 'part': 0.7},
    ),
    BadInput(
        'a PNG that is cut off',
        REFUSED,
        'cannot be decoded by OpenCV; publish JPEG or PNG',
        {'format': 'rgb8; png compressed bgr8', 'codec': 'png', 'part': 0.7},
    ),
    BadInput(
        'a JPEG whose header states 65535x65535',
        REFUSED,
        'is 65535x65535 by its header; the most is 134217728 pixels: scale it down, or correct',
        {'format': 'rgb8; jpeg compressed bgr8', 'codec': 'jpeg', 'stated': (65535, 65535)},
    ),
    BadInput(
        'a PNG whose header states 20000x20000',
        REFUSED,
        'is 20000x20000 by its header; the most is 134217728 pixels: scale it down, or correct',
        {'format': 'rgb8; png compressed bgr8', 'codec': 'png', 'stated': (20000, 20000)},
    ),
    BadInput(
        'a depth image as PNG',
        REFUSED,
        "encoding '16UC1' is not supported; supported: rgb8",
        {'format': '16UC1; png compressed ', 'codec': 'png', 'dtype': 'u2', 'channels': 1},
    ),
    BadInput(
        'a depth image of floats as TIFF',
        REFUSED,
        'holds float32, not colours of 8 or 16 bits; publish JPEG or PNG',
        {'format': '32FC1; tiff compressed ', 'codec': 'tiff', 'dtype': 'f4', 'channels': 1},
    ),
    BadInput(
        'a Bayer pattern that is not known',
        REFUSED,
        "encoding 'bayer_abcd8' is not supported; supported: rgb8",
        {'format': 'bayer_abcd8; png compressed ', 'codec': 'png', 'channels': 1},
    ),
    BadInput(
        'mono16 as PNG, of a 12-bit sensor',
        USED,
        '16-bit images hold values of 12 bits: divided by 16',
        {'format': 'mono16; png compressed ', 'codec': 'png', 'dtype': 'u2', 'channels': 1},
    ),
)

#: further arguments of `depth-ros run`; `content` of the file, or EXIF data of a JPEG
FILES = (
    BadInput(
        'a file that does not exist',
        REFUSED,
        'photo.jpg is no image: No such file or directory; check the path',
        {'arguments': '--fx 50', 'content': None},
    ),
    BadInput(
        'a file that is no image',
        REFUSED,
        'photo.jpg cannot be decoded by OpenCV; give a JPEG, PNG or TIFF file',
        {'arguments': '--fx 50', 'content': b'no image'},
    ),
    BadInput(
        'no focal length, neither given nor in the EXIF data',
        REFUSED,
        'give the focal length by one of --fx [px] and --hfov [deg]: the file does not have it',
    ),
    BadInput(
        'a focal length that no lens has',
        REFUSED,
        'focal length is fx=0.1, fy=0.1 px for an image of 40x30, which no lens has',
        {'arguments': '--fx 0.1'},
    ),
    BadInput(
        'a field of view of 178 degrees',
        REFUSED,
        'px for an image of 40x30, which no lens has',
        {'arguments': '--hfov 178'},
    ),
    BadInput(
        'a principal point outside the image',
        'used; warning',
        'warning: principal point is (45, 14.5) in an image of 40x30, outside',
        {'arguments': '--fx 50 --cx 45'},
    ),
    BadInput(
        'a rotated photo (EXIF orientation 6)',
        'turned upright; printed',
        'turned upright by EXIF orientation 6: now 30x40',
        {'arguments': '--fx 50', 'exif': {0x0112: 6}},
    ),
)

#: checkpoints that `weights` names; `make` says how a test makes the file, all of preset nano
CHECKPOINTS = (
    BadInput(
        'a path that does not exist',
        REFUSED,
        'x.pth does not exist; give a file, a folder or a hub id',
        {'make': 'nothing'},
    ),
    BadInput('an empty file', REFUSED, 'is empty; download it again', {'make': 'empty'}),
    BadInput(
        'a web page that was saved instead of the file',
        REFUSED,
        'is a web page or text, not a checkpoint; download it again from its direct link',
        {'make': 'web page'},
    ),
    BadInput(
        'a pointer of git-lfs',
        REFUSED,
        'is a git-lfs pointer, not the file; run git lfs pull, or download it again',
        {'make': 'pointer'},
    ),
    BadInput(
        'a download that was cut off',
        REFUSED,
        'is truncated or broken',
        {'make': 'cut off'},
    ),
    BadInput(
        'a safetensors file whose header states sizes beyond the file',
        REFUSED,
        'is truncated or broken (SafetensorError: Error while deserializing header',
        {'make': 'lying header'},
    ),
    BadInput(
        'a pickle of a whole network',
        REFUSED,
        'is a pickle of more than tensors (torch.nn.modules.linear.Linear); reading it would run '
        'its code, which is refused. Convert it to safetensors',
        {'make': 'network'},
    ),
    BadInput(
        'a pickle that runs a command',
        REFUSED,
        '.system); reading it would run its code, which is refused. Convert it to safetensors',
        {'make': 'command'},
    ),
    BadInput(
        'a checkpoint of another network',
        REFUSED,
        'looks like a GLPDepth checkpoint; leave weights empty, or give a file',
        {'make': 'another network'},
    ),
    BadInput(
        'a tensor of another shape',
        REFUSED,
        'set model to the preset it is for; it does not fit the network. 1 of another shape',
        {'make': 'shape'},
    ),
    BadInput(
        'a tensor is missing',
        REFUSED,
        'it does not fit the network. 1 missing',
        {'make': 'missing'},
    ),
    BadInput(
        'NaN among the weights',
        REFUSED,
        '1 tensors are not finite',
        {'make': 'NaN'},
    ),
    BadInput(
        'weights of 8 bits',
        REFUSED,
        'is a float8_e4m3fn tensor; set weights to a file of the network alone, in plain numbers',
        {'make': '8 bits'},
    ),
    BadInput(
        'one part of a checkpoint, without the index',
        REFUSED,
        'model.safetensors.index.json is missing beside it; download it and all of them into one',
        {'make': 'part'},
    ),
    BadInput(
        'two networks in one file, such as student and teacher',
        REFUSED,
        'holds several sets of tensors: student, teacher; set weights to a file of one of them',
        {'make': 'two networks'},
    ),
    BadInput(
        'names with the prefix of a wrapper (module., _orig_mod., net.)',
        USED,
        "the prefix 'net.' of its names is left out",
        {'make': 'prefix'},
    ),
    BadInput(
        'optimizer, epoch and scores beside the tensors',
        USED,
        '',
        {'make': 'training'},
    ),
)

#: files for `model: onnx`; `network` makes the file, `described` are parameters `onnx.*`
ONNX_FILES = (
    BadInput(
        'a file that is no ONNX network',
        REFUSED,
        'is not an ONNX network that onnxruntime can open',
        {'content': b'no network'},
    ),
    BadInput(
        'two inputs',
        REFUSED,
        'set onnx.input to the name of the image, and onnx.intrinsics to that of the camera',
        {'network': {'inputs': 2}},
    ),
    BadInput(
        'two inputs, of which one is neither image nor intrinsics',
        REFUSED,
        'and nothing is known for x1; if one is the camera matrix set onnx.intrinsics, else',
        {'network': {'inputs': 2}, 'described': {'input': 'x0'}},
    ),
    BadInput(
        'channels last: an input (1, 48, 64, 3)',
        USED,
        "float32 input 64x48, depth is the output 'depth'",
        {'network': {'shape': (1, 48, 64, 3)}},
    ),
    BadInput(
        'an input of one channel',
        REFUSED,
        'takes one input (1, 3, height, width) or (1, height, width, 3): export it again',
        {'network': {'shape': (1, 1, 48, 64)}},
    ),
    BadInput(
        'a batch of two images',
        REFUSED,
        'a batch of 2 images; export it again with a batch of 1 or with a dynamic batch axis',
        {'network': {'shape': (2, 3, 48, 64)}},
    ),
    BadInput(
        'an input of int64',
        REFUSED,
        'a depth network here takes tensor(float), tensor(float16), tensor(double), tensor(uint8)',
        {'network': {'takes_type': 'INT64'}},
    ),
    BadInput(
        'an input of float16',
        USED,
        "float16 input 64x48, depth is the output 'depth'",
        {'network': {'takes_type': 'FLOAT16'}},
    ),
    BadInput(
        'an input of uint8: it gets pixels from 0 to 255',
        USED,
        "uint8 input 64x48, depth is the output 'depth'",
        {'network': {'takes_type': 'UINT8'}},
    ),
    BadInput(
        'an input of uint8, and onnx.mean is set',
        REFUSED,
        'takes uint8, pixels from 0 to 255: leave both at their defaults',
        {'network': {'takes_type': 'UINT8'}, 'described': {'mean': [0.5, 0.5, 0.5]}},
    ),
    BadInput(
        'several outputs, and onnx.output is empty',
        REFUSED,
        'set onnx.output to the name of the one that is depth',
        {'network': {'others': ['FLOAT']}},
    ),
    BadInput(
        'an output of that name does not exist',
        REFUSED,
        "onnx.output is 'deep', which",
        {'network': {}, 'described': {'output': 'deep'}},
    ),
    BadInput(
        'an output of whole numbers',
        REFUSED,
        'the output other_INT64 is tensor(int64), and depth must be floats; set onnx.output',
        {'network': {'others': ['INT64']}, 'described': {'output': 'other_INT64'}},
    ),
    BadInput(
        'an output of three channels',
        REFUSED,
        'a depth map is (1, 1, height, width): set onnx.output to another output',
        {'network': {'others': ['FLOAT']}, 'described': {'output': 'other_FLOAT'}},
    ),
    BadInput(
        'dynamic axes without onnx.input_size',
        REFUSED,
        'takes any size; set onnx.input_size to [width, height]',
        {'network': {'shape': (1, 3, 'h', 'w')}},
    ),
)

#: `content` of a file `name`, which is to be run
OTHER_FILES = (
    BadInput(
        'a git-lfs pointer instead of a .tflite file',
        REFUSED,
        "is no TFLite file (it begins with b'version https://'); download it again from its",
        {'name': 'n.tflite', 'content': b'version https://git-lfs.github.com/spec/v1'},
    ),
    BadInput(
        'a .tflite file that is damaged',
        REFUSED,
        'is a damaged TFLite file',
        {'name': 'n.tflite', 'content': b'\x1c\0\0\0TFL3' + b'\xff' * 40},
    ),
    BadInput(
        'a web page instead of an .xml file',
        REFUSED,
        'is no network of OpenVINO',
        {'name': 'n.xml', 'content': b'<!DOCTYPE html><html>Not found</html>'},
    ),
    BadInput(
        'an .xml file without its .bin',
        REFUSED,
        'has its weights in n.bin, which is not beside it: copy both files',
        {'name': 'n.xml', 'content': b'<?xml version="1.0"?><net name="n" version="11"></net>'},
    ),
    BadInput(
        'the .bin file instead of the .xml file',
        REFUSED,
        'has the weights of a network of OpenVINO: set weights to the .xml file beside it',
        {'name': 'n.bin', 'content': b'weights'},
    ),
)

#: parameters that are set, by name
PARAMETERS = (
    BadInput(
        'a name that does not exist',
        REFUSED,
        'raet is not a parameter of depth_node; did you mean rate?',
        {'raet': 3.0},
    ),
    BadInput(
        'text instead of a number',
        REFUSED,
        "rate is 'fast', str; it is of type float",
        {'rate': 'fast'},
    ),
    BadInput(
        'a fraction instead of a whole number',
        REFUSED,
        'points.stride is 2.5, float; it is of type int',
        {'points.stride': 2.5},
    ),
    BadInput(
        'a number below its minimum', REFUSED, 'rate is -1; the minimum is 0', {'rate': -1.0}
    ),
    BadInput(
        'a choice that is not known',
        REFUSED,
        "depth_encoding is '8UC1'; choose one of 32FC1, 16UC1",
        {'depth_encoding': '8UC1'},
    ),
    BadInput(
        'a model that is not known',
        REFUSED,
        "model 'depth_anything_v9' is not a preset; did you mean",
        {'model': 'depth_anything_v9'},
    ),
    BadInput(
        'a minimum above the maximum',
        REFUSED,
        'range.min is 5 and range.max is 2; range.max must be greater',
        {'range.min': 5.0, 'range.max': 2.0},
    ),
    BadInput(
        'a device that is not known',
        REFUSED,
        "device is 'tpu'; it is auto, cpu, cuda or cuda:N",
        {'device': 'tpu'},
    ),
    BadInput(
        'weights for a model without weights',
        REFUSED,
        "weights is 'x.pth' but flat_wall has no weights; leave it empty",
        {'weights': 'x.pth'},
    ),
    BadInput(
        'a network without metres, and no method that makes them',
        REFUSED,
        'its output is not metric, and scaling.method is auto. Set anchors.sources',
        {'model': 'depth_anything_v2_small'},
    ),
    BadInput(
        'an estimated camera, and the network cannot estimate one',
        REFUSED,
        "intrinsics is 'estimated' but 'nano' cannot estimate a camera from its image; presets",
        {'model': 'nano', 'intrinsics': 'estimated'},
    ),
    BadInput(
        'two views, and the network takes one',
        REFUSED,
        "two_views.mode is 'stereo' but 'nano' takes one view only; presets that take two:",
        {'model': 'nano', 'two_views.mode': 'stereo'},
    ),
    BadInput(
        'two cameras of one name',
        REFUSED,
        "cameras is ['a', 'a']; it names each camera once",
        {'cameras': ['a', 'a']},
    ),
    BadInput(
        'one height above the floor for two cameras',
        REFUSED,
        'floor.height is 1.2 but there are 2 cameras, of which it can describe only one',
        {'cameras': ['a', 'b'], 'floor.height': 1.2},
    ),
    BadInput(
        'an input size below one step of the network',
        REFUSED,
        'input_size is 5; the minimum is 32',
        {'model': 'nano', 'input_size': 5},
    ),
)

#: title of a table on docs/bad-input.md -> its rows
SECTIONS = {
    'camera_info': CAMERAS,
    'Images': IMAGES,
    'Compressed images': COMPRESSED,
    'Files of depth-ros run': FILES,
    'Checkpoints': CHECKPOINTS,
    'ONNX files': ONNX_FILES,
    'TFLite and OpenVINO files': OTHER_FILES,
    'Parameters': PARAMETERS,
}
