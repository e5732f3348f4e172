# SPDX-License-Identifier: Apache-2.0
"""A file that states an absurd size is refused before memory is taken for it."""

import struct
import subprocess
import sys
import zlib

import cv2
import numpy as np
import pytest

from depth_ros.core.decode import MAX_PIXELS, decode, stated_size
from depth_ros.core.errors import ImageError

PIXELS = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
CODECS = {
    'jpeg': ('.jpeg', []),
    'progressive': ('.jpeg', [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]),
    'restarts': ('.jpeg', [cv2.IMWRITE_JPEG_RST_INTERVAL, 1]),
    'grey': ('.jpeg', []),
    'png': ('.png', []),
}
#: without an image
GIF = b'GIF89a' + struct.pack('<HHBBB', 40, 30, 0x80, 0, 0) + b'\0\0\0\xff\xff\xff;'

#: What a damaged image costs a process: the growth of its peak of memory [MB].
SCRIPT = """
import resource
import sys

from depth_ros.core.decode import decode
from depth_ros.core.errors import ImageError

def peak_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

data = sys.stdin.buffer.read()
before_mb = peak_mb()
try:
    decode(data, 'image', 'publish another')
except ImageError as error:
    print(f'{peak_mb() - before_mb:.0f} {error}')
"""


def encoded(codec):
    suffix, options = CODECS[codec]
    pixels = PIXELS[..., 0] if codec == 'grey' else PIXELS
    return cv2.imencode(suffix, pixels, options)[1].tobytes()


def with_size(data, width, height):
    """The file with another size in its header."""
    data = bytearray(data)
    if data.startswith(b'\x89PNG'):
        struct.pack_into('>II', data, 16, width, height)
        struct.pack_into('>I', data, 29, zlib.crc32(data[12:29]))
    elif data.startswith(b'GIF'):
        struct.pack_into('<HH', data, 6, width, height)
    else:
        at = max(data.find(b'\xff\xc0'), data.find(b'\xff\xc2'))
        struct.pack_into('>HH', data, at + 5, height, width)
    return bytes(data)


def jpeg_with(segments):
    """A JPEG with something between its beginning and the rest."""
    whole = encoded('jpeg')
    return whole[:2] + segments + whole[2:]


@pytest.mark.parametrize('codec', CODECS)
def test_the_stated_size_is_that_of_the_image(codec):
    data = encoded(codec)
    assert stated_size(data) == (40, 30)
    assert decode(data, 'image', '').shape[:2] == (30, 40)
    assert stated_size(with_size(data, 50_000, 7)) == (50_000, 7)


@pytest.mark.parametrize(
    'segments',
    [
        b'\xff\xfe\x00\x0bcomment \xff',
        b'\xff\xe1\x00\x0c\xff\xc0\x00\x11\x08\xff\xff\xff\xff\x03',  # such as a thumbnail
        b'\xff\xff\xff\xff\xfe\x00\x02',  # filling
        b'\xff\x01',
    ],
)
def test_the_size_of_a_jpeg_is_found_behind_other_segments(segments):
    data = jpeg_with(segments)
    assert stated_size(data) == (40, 30)
    assert decode(data, 'image', '').shape == (30, 40, 3)


@pytest.mark.parametrize('codec', CODECS)
def test_a_file_without_a_size_has_none(codec):
    data = encoded(codec)
    for length in range(min(len(data), 700)):
        width, height = stated_size(data[:length])
        assert (width, height) in ((0, 0), (40, 30))
    assert stated_size(b'\xff\xd8' + bytes(1000)) == stated_size(b'BM' + bytes(50)) == (0, 0)


def test_the_limit_is_between_two_sizes():
    data = encoded('png')
    width, height = 2**14, MAX_PIXELS // 2**14
    with pytest.raises(ImageError, match='cannot be decoded by OpenCV'):
        decode(with_size(data, width, height), 'image', 'x')
    with pytest.raises(ImageError, match=f'{width}x{height + 1} by its header; the most is'):
        decode(with_size(data, width, height + 1), 'image', 'x')


@pytest.mark.parametrize('size', [(65535, 65535), (20_000, 20_000)])
@pytest.mark.parametrize('codec', [*CODECS, 'gif'])
def test_an_absurd_size_takes_no_memory(codec, size):
    data = with_size(GIF if codec == 'gif' else encoded(codec), *size)
    process = subprocess.run(
        [sys.executable, '-c', SCRIPT], input=data, capture_output=True, check=True, timeout=100
    )
    grown_mb, _, message = process.stdout.decode().partition(' ')
    assert f'image is {size[0]}x{size[1]} by its header' in message
    assert int(grown_mb) < 30
