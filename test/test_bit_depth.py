# SPDX-License-Identifier: Apache-2.0
"""The bit depth of a camera: it withstands damaged images, and dark scenes."""

import numpy as np
import pytest

from depth_ros.core.bit_depth import BIT_DEPTHS, HELD, PROVEN, BitDepth, needed

SIZE = 20, 30


def scene(bits, level=0.8):
    """An image of a sensor of `bits`; in the dark its `level` is low."""
    return np.full(SIZE, level * 2**bits, np.uint16)


def damaged(rows=1):
    """An image of a 10-bit sensor with some rows of noise."""
    image = scene(10)
    image[-rows:] = np.random.default_rng(0).integers(0, 2**16, (rows, SIZE[1]))
    return image


def depths(images, camera=None):
    """The bit depth after each of the images."""
    camera = camera or BitDepth()
    return [camera.to_8_bits(image) is not None and camera.bits for image in images]


@pytest.mark.parametrize('bits', BIT_DEPTHS)
@pytest.mark.parametrize('order', ['<u2', '>u2'])
@pytest.mark.parametrize('shape', [(3, 5), (480, 6), (241, 8, 3)])
def test_an_image_needs_the_least_bit_depth_that_holds_it(bits, order, shape):
    image = np.random.default_rng(0).integers(2 ** (bits - 1), 2**bits, shape).astype(order)
    assert needed(image) == bits
    np.testing.assert_array_equal(BitDepth().to_8_bits(image), image >> (bits - 8))


def test_a_defective_pixel_does_not_darken_the_image():
    image = np.full((100, 100), 1000, np.uint16)
    image[50, 50] = 65535
    scaled = BitDepth().to_8_bits(image)
    assert scaled[0, 0] == 250 and scaled[50, 50] == 255


@pytest.mark.parametrize('rows', [1, SIZE[0]])
@pytest.mark.parametrize('before', [3, 4, 5, 40])
@pytest.mark.parametrize('count', [1, 2])
def test_a_damaged_image_or_two_change_nothing(rows, before, count):
    camera = BitDepth()
    depths([scene(10)] * before, camera)
    assert depths([damaged(rows)] * count + [scene(10)] * 50, camera) == [10] * (50 + count)
    assert camera.to_8_bits(scene(10)).max() == int(0.8 * 256)
    # what is damaged has no values beyond 255
    scaled = camera.to_8_bits(damaged(rows))
    exceeding = damaged(rows) >= 1024
    assert exceeding.any() and (scaled[exceeding] == 255).all()


def test_damaged_images_at_the_begin_are_forgotten_at_once():
    assert depths([damaged()] + [scene(10)] * 20) == [16] + [10] * 20
    assert depths([damaged()] * 2 + [scene(10)] * 20) == [16] * 3 + [10] * 19


def test_a_second_of_damaged_images_is_forgotten_later():
    camera = BitDepth()
    depths([scene(10)] * 40, camera)
    after = depths([damaged()] * 20 + [scene(10)] * 200, camera)
    assert after[2:20] == [16] * 18
    assert after[-200:] == [16] * (HELD + 1) + [10] * (99)


def test_one_damaged_image_in_five_for_ever_changes_nothing():
    images = ([scene(10)] * 4 + [damaged()]) * 200
    assert set(depths(images)) == {10}


@pytest.mark.parametrize('dark', [0.01, 0.04, 0.2])
def test_a_dark_scene_of_a_camera_that_has_shown_its_bits_is_dark(dark):
    camera = BitDepth()
    assert set(depths([scene(12)] * (PROVEN + 4), camera)) == {12}
    assert needed(scene(12, dark)) < 12
    assert set(depths([scene(12, dark)] * 5000, camera)) == {12}
    assert camera.to_8_bits(scene(12, dark)).max() == int(dark * 256)


def test_a_scene_that_gets_bright_is_clipped_for_two_images():
    camera = BitDepth()
    depths([scene(12, 0.05)] * 100, camera)
    assert depths([scene(12)] * 500, camera) == [8] * 2 + [12] * 498


def test_lights_that_flash_in_the_dark_change_the_brightness_a_few_times_only():
    """Three bright images of twelve bits, then thousand dark ones, again and again."""
    after = np.array(depths(([scene(12, 0.05)] * 1000 + [scene(12)] * 3) * 100))
    assert np.count_nonzero(np.diff(after)) < 2 * PROVEN
    assert set(after[-2000:]) == {12}
