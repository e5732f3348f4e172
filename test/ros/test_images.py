# SPDX-License-Identifier: Apache-2.0
"""Every encoding, with row padding and either byte order, gives the same picture."""

import array
import copy

import cv2
import numpy as np
import pytest
import torch
from sensor_msgs.msg import CompressedImage, Image

from depth_ros.core.errors import ImageError
from depth_ros.messages.images import ENCODINGS, Upload, to_rgb

H, W = 12, 16
# smooth, so that sub-sampled chroma and demosaicing reproduce it closely
V, U = np.mgrid[0:H, 0:W]
RGB = np.stack((60 + 8 * U, 90 + 5 * V, 120 + 3 * U + 2 * V), -1).astype(np.uint8)
GREY = cv2.cvtColor(RGB, cv2.COLOR_RGB2GRAY)


def bayer(pattern):
    planes = {'r': 0, 'g': 1, 'b': 2}
    mosaic = np.empty((H, W), np.uint8)
    for k, colour in enumerate(pattern):
        mosaic[k // 2 :: 2, k % 2 :: 2] = RGB[k // 2 :: 2, k % 2 :: 2, planes[colour]]
    return mosaic


def yuv():
    y, u, v = np.moveaxis(cv2.cvtColor(RGB, cv2.COLOR_RGB2YUV).astype(np.float64), -1, 0)
    # studio range, as cameras send it and OpenCV expects of packed formats
    r, g, b = np.moveaxis(RGB.astype(np.float64), -1, 0)
    y = 16 + 0.257 * r + 0.504 * g + 0.098 * b
    u = 128 - 0.148 * r - 0.291 * g + 0.439 * b
    v = 128 + 0.439 * r - 0.368 * g - 0.071 * b
    return [np.round(p).astype(np.uint8) for p in (y, u, v)]


def packed_422(order):
    y, u, v = yuv()
    picture = np.empty((H, W, 2), np.uint8)
    luma = 1 if order == 'uyvy' else 0
    picture[..., luma] = y
    picture[:, 0::2, 1 - luma], picture[:, 1::2, 1 - luma] = u[:, 0::2], v[:, 0::2]
    return picture


def planar_420(first):
    y, u, v = yuv()
    chroma = np.empty((H // 2, W), np.uint8)
    a, b = (u, v) if first == 'u' else (v, u)
    chroma[:, 0::2], chroma[:, 1::2] = a[::2, ::2], b[::2, ::2]
    return np.vstack((y, chroma))


def wide(rows):
    """As 16 bits, all of which are used."""
    return rows.astype(np.uint16) * 256 + 99


ALPHA = np.full((H, W, 1), 77, np.uint8)
GREY_RGB = np.repeat(GREY[..., None], 3, 2)
# encoding -> (rows as sent, the picture, tolerance)
CASES = {
    'rgb8': (RGB, RGB, 0),
    'bgr8': (RGB[..., ::-1], RGB, 0),
    '8UC3': (RGB[..., ::-1], RGB, 0),
    'rgba8': (np.dstack((RGB, ALPHA)), RGB, 0),
    'bgra8': (np.dstack((RGB[..., ::-1], ALPHA)), RGB, 0),
    '8UC4': (np.dstack((RGB[..., ::-1], ALPHA)), RGB, 0),
    'mono8': (GREY, GREY_RGB, 0),
    '8UC1': (GREY, GREY_RGB, 0),
    'mono16': (wide(GREY), GREY_RGB, 0),
    'rgb16': (wide(RGB), RGB, 0),
    'bgr16': (wide(RGB[..., ::-1]), RGB, 0),
    'rgba16': (wide(np.dstack((RGB, ALPHA))), RGB, 0),
    'bgra16': (wide(np.dstack((RGB[..., ::-1], ALPHA))), RGB, 0),
    'bayer_rggb16': (wide(bayer('rggb')), RGB, 9),
    'bayer_bggr16': (wide(bayer('bggr')), RGB, 9),
    'bayer_gbrg16': (wide(bayer('gbrg')), RGB, 9),
    'bayer_grbg16': (wide(bayer('grbg')), RGB, 9),
    'bayer_rggb8': (bayer('rggb'), RGB, 9),
    'bayer_bggr8': (bayer('bggr'), RGB, 9),
    'bayer_gbrg8': (bayer('gbrg'), RGB, 9),
    'bayer_grbg8': (bayer('grbg'), RGB, 9),
    'yuv422': (packed_422('uyvy'), RGB, 9),
    'uyvy': (packed_422('uyvy'), RGB, 9),
    'yuv422_yuy2': (packed_422('yuyv'), RGB, 9),
    'yuyv': (packed_422('yuyv'), RGB, 9),
    'nv12': (planar_420('u'), RGB, 14),
    'nv21': (planar_420('v'), RGB, 14),
}


def message(encoding, rows, padding=0, big=False):
    rows = np.ascontiguousarray(rows)
    if big and rows.dtype == np.uint16:
        rows = rows.astype('>u2')
    raw = rows.reshape(rows.shape[0], -1).view(np.uint8)
    raw = np.pad(raw, ((0, 0), (0, padding)), constant_values=201)
    return Image(
        height=H,
        width=W,
        encoding=encoding,
        is_bigendian=big,
        step=raw.shape[1],
        data=array.array('B', raw.tobytes()),
    )


def test_the_table_of_cases_is_complete():
    assert set(CASES) == set(ENCODINGS)


@pytest.mark.parametrize('big', [False, True])
@pytest.mark.parametrize('padding', [0, 6])
@pytest.mark.parametrize('encoding', CASES)
def test_every_encoding_is_decoded(encoding, padding, big):
    rows, picture, tolerance = CASES[encoding]
    sent = message(encoding, rows, padding, big)
    before = copy.deepcopy(sent)
    rgb = to_rgb(sent)
    assert rgb.shape == (H, W, 3) and rgb.dtype == np.uint8
    inner = (slice(1, -1), slice(1, -1)) if tolerance else ()  # demosaicing guesses at the border
    difference = np.abs(rgb.astype(int) - picture)[inner]
    assert difference.max() <= tolerance
    assert sent == before, 'the message was changed'


def test_rgb8_is_not_copied():
    sent = message('rgb8', RGB, padding=4)
    assert np.shares_memory(to_rgb(sent), np.frombuffer(sent.data, np.uint8))


@pytest.mark.parametrize('suffix', ['.png', '.jpg'])
def test_compressed_images_are_decoded(suffix):
    _, data = cv2.imencode(suffix, RGB[..., ::-1])
    sent = CompressedImage(format=suffix[1:], data=array.array('B', data.tobytes()))
    assert np.abs(to_rgb(sent).astype(int) - RGB).max() <= (0 if suffix == '.png' else 12)


def compressed(form, rows, suffix='.png'):
    """As image_transport compresses: OpenCV takes three channels for BGR."""
    done, data = cv2.imencode(suffix, rows, [cv2.IMWRITE_JPEG_QUALITY, 100])
    assert done
    return CompressedImage(format=form, data=array.array('B', data.tobytes()))


BGR = RGB[..., ::-1]


@pytest.mark.parametrize(
    ('form', 'rows', 'suffix', 'picture', 'tolerance'),
    [
        ('rgb8; jpeg compressed bgr8', BGR, '.jpg', RGB, 12),
        ('bgr8; jpeg compressed bgr8', BGR, '.jpg', RGB, 12),
        ('rgb8; jpeg compressed rgb8', BGR, '.jpg', RGB, 12),  # of publishers without OpenCV
        ('rgb8; jpeg compressed ', BGR, '.jpg', RGB, 12),
        ('rgb8; png compressed bgr8', BGR, '.png', RGB, 0),
        ('rgba8; png compressed bgra8', np.dstack((BGR, ALPHA)), '.png', RGB, 0),
        ('rgb16; png compressed bgr16', wide(BGR), '.png', RGB, 0),
        ('rgb8; tiff compressed ', RGB, '.tiff', RGB, 0),  # image_transport does not convert it
        ('bgr8; tiff compressed ', BGR, '.tiff', RGB, 0),
        ('mono8; jpeg compressed mono8', GREY, '.jpg', GREY_RGB, 12),
        ('mono8; png compressed ', GREY, '.png', GREY_RGB, 0),
        ('mono16; png compressed ', wide(GREY), '.png', GREY_RGB, 0),
        ('mono16; jpeg compressed mono8', GREY, '.jpg', GREY_RGB, 12),
        ('png', wide(GREY), '.png', GREY_RGB, 0),
        ('bayer_rggb8; png compressed ', bayer('rggb'), '.png', RGB, 9),
        ('bayer_gbrg8; png compressed ', bayer('gbrg'), '.png', RGB, 9),
        ('bayer_rggb16; png compressed ', wide(bayer('rggb')), '.png', RGB, 9),
        ('bayer_rggb8; jpeg compressed bayer_rggb8', bayer('rggb'), '.jpg', RGB, 14),
        ('bayer_rggb8; jpeg compressed ', bayer('rggb'), '.jpg', RGB, 14),
        ('bayer_rggb8; jpeg compressed mono8', GREY, '.jpg', GREY_RGB, 12),  # already demosaiced
        ('bayer_rggb8; jpeg compressed bgr8', BGR, '.jpg', RGB, 12),
        ('yuv422_yuy2; jpeg compressed bgr8', BGR, '.jpg', RGB, 12),
    ],
)
def test_the_format_of_a_compressed_image_is_read(form, rows, suffix, picture, tolerance):
    rgb = to_rgb(compressed(form, rows, suffix))
    assert rgb.shape == (H, W, 3) and rgb.dtype == np.uint8
    inner = (slice(1, -1), slice(1, -1)) if 'bayer' in form else ()
    assert np.abs(rgb.astype(int) - picture)[inner].max() <= tolerance


@pytest.mark.parametrize(
    ('form', 'rows', 'suffix', 'said'),
    [
        (
            '16UC1; png compressed ',
            wide(GREY),
            '.png',
            "'16UC1' is not supported; supported: rgb8",
        ),
        ('bayer_abcd8; png compressed ', GREY, '.png', "'bayer_abcd8' is not supported"),
        ('32FC1; tiff compressed ', GREY.astype(np.float32), '.tiff', 'holds float32'),
    ],
)
def test_a_compressed_image_that_is_no_picture_is_refused(form, rows, suffix, said):
    with pytest.raises(ImageError, match=said):
        to_rgb(compressed(form, rows, suffix))


def test_a_jpeg_that_is_cut_off_is_refused():
    sent = compressed('jpeg', BGR, '.jpg')
    sent.data = sent.data[: len(sent.data) * 3 // 4]
    with pytest.raises(ImageError, match='end of the JPEG is missing; publish JPEG'):
        to_rgb(sent)


def stamped(rows, encoding='mono16', big=False):
    return message(encoding, rows, big=big)


@pytest.mark.parametrize('bits', [8, 10, 12, 14, 16])
@pytest.mark.parametrize('big', [False, True])
@pytest.mark.parametrize('way', ['mono16', 'bayer_rggb16', 'rgb16', 'mono16 png'])
def test_sensors_that_fill_the_lower_bits_only_are_not_black(bits, big, way):
    bright = np.round(GREY / GREY.max() * 255).astype(np.uint16)
    values = bright << (bits - 8) if bits > 8 else bright
    if way == 'rgb16':
        sent = stamped(np.repeat(values[..., None], 3, 2), way, big)
    elif way == 'mono16 png':
        sent = compressed('mono16; png compressed ', values)
    else:
        sent = stamped(values, way, big)
    difference = to_rgb(sent).astype(int) - bright[..., None]
    assert np.abs(difference[1:-1, 1:-1]).max() <= (9 if way == 'bayer_rggb16' else 0)


def test_the_bit_depth_of_raw_and_compressed_images_is_one_and_logged_when_it_is_new(caplog):
    caplog.set_level('INFO', logger='depth_ros')
    upload = Upload(torch.device('cpu'), 'front: ')
    full = np.full((H, W), 2000, np.uint16)  # of 4095
    dim = full // 4
    sent = [dim] * 2 + [full] * 5 + [dim]
    means = [upload(stamped(rows)).float().mean().item() for rows in sent]
    assert means == [125, 125, 255, 255, 125, 125, 125, 31]
    assert caplog.messages == [
        'front: 16-bit images hold values of 10 bits: divided by 4',
        'front: 16-bit images hold values of 12 bits: divided by 16',
    ]
    assert upload(compressed('mono16; png compressed ', dim)).float().mean() == 31
    assert len(caplog.messages) == 2


@pytest.mark.parametrize('encoding', ['nv12', 'nv21'])
@pytest.mark.parametrize('padding', [0, 8])
def test_a_step_over_all_planes_is_accepted(encoding, padding):
    rows = planar_420('u' if encoding == 'nv12' else 'v')
    sent = message(encoding, rows, padding)
    expected = to_rgb(sent)
    sent.step = sent.step * 3 // 2  # bytes of the image / height
    np.testing.assert_array_equal(to_rgb(sent), expected)


@pytest.mark.parametrize('data', [b'', b'no picture'])
def test_compressed_data_that_cannot_be_decoded_are_refused(data):
    with pytest.raises(ImageError, match="format 'jpeg'"):
        to_rgb(CompressedImage(format='jpeg', data=array.array('B', data)))


def test_the_last_row_may_come_without_padding():
    sent = message('rgb8', RGB, padding=5)
    sent.data = sent.data[:-5]
    np.testing.assert_array_equal(to_rgb(sent), RGB)


@pytest.mark.parametrize(
    ('encoding', 'changes', 'said'),
    [
        ('32SC4', {}, "'32SC4' is not supported; supported: rgb8, bgr8"),
        ('rgb8', {'step': 3}, 'step is 3 but a row of 16 px rgb8 takes 48'),
        ('rgb8', {'height': 99}, 'takes 4752; fix the publisher'),
        ('rgb8', {'width': 0, 'height': 0}, 'empty'),
        ('yuyv', {'width': 15}, 'must be even'),
        ('nv12', {'height': 11}, 'must be even'),
        ('nv12', {'data': array.array('B', bytes(H * W))}, 'takes 288; fix the publisher'),
        ('bayer_rggb16', {'width': 3}, 'too small to demosaic: set a larger size'),
    ],
)
def test_what_does_not_fit_is_named(encoding, changes, said):
    rows = CASES.get(encoding, CASES['rgb8'])[0]
    sent = message(encoding, rows)
    for name, value in changes.items():
        setattr(sent, name, value)
    with pytest.raises(ImageError, match=said):
        to_rgb(sent)
