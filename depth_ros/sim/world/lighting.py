# SPDX-License-Identifier: Apache-2.0
"""Colours of the hits: lamp or sun with shadows, ambient light and occlusion, haze, sky."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from depth_ros.sim.world import texture, trace
from depth_ros.sim.world.batch import TILE, Batch, Rays
from depth_ros.sim.world.primitives import KINDS, dot
from depth_ros.sim.world.scene import Light
from depth_ros.sim.world.trace import Hits

SHADOW_OFFSET = 2e-3  #: distance of the start of shadow rays from their surface [m]
REACH = 0.6  #: range of ambient occlusion [m]
#: samples of ambient occlusion: directions and fractions of REACH
_SAMPLES = [
    (math.cos(2.4 * k + 0.4), math.sin(2.4 * k + 0.4), 0.1 + 0.9 * (k + 0.5) / 8) for k in range(8)
]


def radiance(batch: Batch, rays: Rays, hits: Hits, lights: Sequence[Light], fx: Tensor) -> Tensor:
    """Linear colour of every pixel.

    Args:
        batch: the solids.
        rays: of the pixels.
        hits: first hits of the rays.
        lights: one for each image.
        fx: (B,) float32, focal lengths [px], for the size of a pixel on a surface.

    Returns:
        (B, 3, H, W) float32.
    """
    device = fx.device
    tiles = len(hits.z) // len(lights)
    image = torch.arange(len(lights), device=device).repeat_interleave(tiles)
    solid = hits.owner >= 0
    # sky gets the position of the camera; `_air` replaces its colour
    z = torch.where(solid, hits.z, 0.0)
    points = [(rays.origin[image, i, None] + z * d).float() for i, d in enumerate(hits.directions)]
    z32, d = z.float(), [a.float() for a in hits.directions]
    length = dot(d, d).sqrt_()
    d = [a / length for a in d]
    normal, u, v, cos, sin = _surfaces(batch, hits, points)
    albedo, glow, gloss = _paint(
        batch, hits, len(lights), (normal, u, v, cos, sin), d, z32 / fx[image, None]
    )
    lamp = _column(lights, 'position', device)
    sun = _lamp_light(batch, lights, lamp, image, points, normal, solid)
    to_images = rays.to_images
    world = to_images(torch.stack((*points, *normal)))  # (6, B, H, W)
    near = _corners(world, to_images(z32), fx)
    colour = _soft(lights, world, near, to_images(glow))  # (3, B, H, W)
    shadow = _smooth(to_images(sun[1]), to_images(z32), world)
    direct = to_images(sun[0]) * shadow
    strength = _column(lights, 'rgb', device).T[:, :, None, None]
    colour = (colour + direct * strength) * to_images(albedo)
    shine = _shine(lamp, image, points, normal, d) * gloss * sun[1]
    colour += to_images(shine) * strength * 0.6
    _air(
        colour,
        to_images(z32 * length),
        to_images(solid.float()),
        to_images(torch.stack(d)),
        lights,
    )
    return colour.transpose(0, 1)


def _column(lights: Sequence[Light], name: str, device: torch.device) -> Tensor:
    """A field of all lights, (B, ...) float32."""
    return torch.tensor([getattr(v, name) for v in lights], dtype=torch.float32, device=device)


def _surfaces(
    batch: Batch, hits: Hits, points: list[Tensor]
) -> tuple[list[Tensor], Tensor, Tensor, Tensor, Tensor]:
    """Normal, u, v, cos and sin of the yaw for every pixel; those of the ground by default."""
    one, zero = torch.ones_like(points[0]), torch.zeros_like(points[0])
    table = torch.stack((zero, zero, one, points[0], points[1], one, zero)).flatten(1)
    for kind, (pixels, solid) in hits.members.items():
        f = batch.solids[kind].float().index_select(1, solid)
        p = [a.view(-1).index_select(0, pixels) for a in points]
        normal, u, v, cos, sin = KINDS[kind].surface(list(f), p)
        table.index_copy_(1, pixels, torch.stack((*normal, u, v, cos, sin)))
    rows = list(table.view(7, *points[0].shape))
    return rows[:3], rows[3], rows[4], rows[5], rows[6]


def _paint(
    batch: Batch,
    hits: Hits,
    count: int,
    surface: tuple[list[Tensor], Tensor, Tensor, Tensor, Tensor],
    d: list[Tensor],
    pixel: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Reflectance (3, B * T, S), glow and gloss (B * T, S); `pixel` is its size at the hit [m]."""
    normal, u, v, cos, sin = surface
    shape = u.shape
    columns = hits.owner.view(-1).clamp(min=0)
    m = batch.materials.index_select(1, columns)
    facing = dot(normal, d).abs().clamp_(min=0.02)
    flat = (normal[2].abs() > 0.7).float()
    # unit vectors along u and v: both horizontal on floors, v is up on walls
    along = [flat * cos - (1 - flat) * normal[1], flat * sin + (1 - flat) * normal[0]]
    part_u = along[0] * d[0] + along[1] * d[1]
    part_v = flat * (cos * d[1] - sin * d[0]) + (1 - flat) * d[2]
    stretch = (1 - facing * facing) / (facing * facing)
    fu, fv = (pixel * (1 + p * p * stretch).sqrt_() for p in (part_u, part_v))
    rgb = texture.paint(m, *(a.reshape(-1) for a in (u, v, fu, fv)))
    return rgb.view(3, *shape), m[-3].view(shape), m[-2].view(shape)


def _lamp_light(
    batch: Batch,
    lights: Sequence[Light],
    lamp: Tensor,
    image: Tensor,
    points: list[Tensor],
    normal: list[Tensor],
    solid: Tensor,
) -> list[Tensor]:
    """Fraction of the lamp's light at each point without occlusion, and visibility of the lamp."""
    device = lamp.device
    radius = _column(lights, 'radius', device)
    reach = _column(lights, 'reach', device)[image, None]
    inside = _column(lights, 'inside', device)[image]  # (B * T, 5)
    offset = [lamp[image, i, None] - points[i] for i in range(3)]
    distance = dot(offset, offset).sqrt_()
    facing = dot(offset, normal) / distance
    lamps = (reach > 0).float()
    fall = 1 - lamps + lamps * 4 * reach**2 / (3 * distance**2 + reach**2 + 1e-9)
    # a lamp lights only points inside the building
    indoors = _within(inside, points) if bool((inside[:, 4] > -1e5).any()) else None
    share = facing.clamp(min=0) * fall
    if indoors is not None:
        share = share * torch.maximum(indoors, 1 - lamps)
    start = [p + SHADOW_OFFSET * n for p, n in zip(points, normal, strict=True)]
    jitter = _jitter(points[0].shape[1], device)
    at = [lamp[image, i, None] + radius[image, None] * jitter[i] for i in (0, 1)]
    at.append(lamp[image, 2, None].expand_as(distance))
    return [share, trace.visible(batch, lamp, radius, start, solid & (share > 1e-3), at)]


def _jitter(side: int, device: torch.device) -> Tensor:
    """Points of a disc, (2, S); neighbouring pixels of a tile have different ones."""
    k = torch.arange(side, device=device)
    row, column = k // TILE, k % TILE
    order = (row % 4) * 4 + (column % 4)
    order = (order * 7) % 16
    angle, radius = order * 2.39996, ((order + 0.5) / 16).sqrt()
    return torch.stack((radius * angle.cos(), radius * angle.sin()))


def _smooth(light: Tensor, z: Tensor, world: Tensor) -> Tensor:
    """Mean over the 4 x 4 pixels around each one that are on the same surface, (B, H, W)."""
    # surfaces are distinguished by n . p, which is constant on a plane
    plane = (world[:3] * world[3:6]).sum(0)
    width = 0.02 + 0.004 * z
    for axis in (1, 2):
        total, weight = torch.zeros_like(z), torch.zeros_like(z)
        for step in (-2, -1, 0, 1):
            near, other = light.roll(step, axis), plane.roll(step, axis)
            same = (1 - (other - plane).abs() / width).clamp_(min=1e-4)
            total += same * near
            weight += same
        light = total / weight
    return light


def _within(inside: Tensor, points: list[Tensor]) -> Tensor:
    """1 for points inside the building, else 0."""
    x, y, z = points
    i = inside[:, :, None]
    ok = (x > i[:, 0]) & (y > i[:, 1]) & (x < i[:, 2]) & (y < i[:, 3]) & (z < i[:, 4])
    return ok.float()


def _corners(world: Tensor, z: Tensor, fx: Tensor) -> Tensor:
    """Ambient occlusion in image space: fraction of ambient light at each pixel, (B, H, W)."""
    b, h, w = z.shape
    pixels = torch.arange(h * w, device=z.device).view(h, w)
    row, column = (pixels // w).float(), (pixels % w).float()
    flat = world[:3].reshape(3, b, -1)
    spread = (REACH * fx[:, None, None] / z.clamp(min=0.05)).clamp_(max=0.35 * w)
    # neighbouring pixels sample other directions and `_smooth` averages them: 8 samples act as 128
    turn = (row % 4 * 4 + column % 4) * 7 % 16
    cos, sin = (turn * (math.pi / 8)).cos(), (turn * (math.pi / 8)).sin()
    wide = spread * (0.7 + 0.6 / 16 * turn)
    occlusion = torch.zeros_like(z)
    for dx, dy, share in _SAMPLES:
        x = (column + (dx * cos - dy * sin) * share * wide).round_().clamp_(0, w - 1)
        y = (row + (dx * sin + dy * cos) * share * wide).round_().clamp_(0, h - 1)
        index = (y * w + x).long().view(b, -1)
        offset = [flat[i].gather(1, index).view(b, h, w) - world[i] for i in range(3)]
        square = dot(offset, offset) + 1e-4
        rise = dot(offset, [world[3], world[4], world[5]]) - 0.01
        occlusion += rise.clamp_(min=0) / square.sqrt() * (1 - square / REACH**2).clamp_(min=0)
    return _smooth(1 - 0.75 * (occlusion * (2.2 / len(_SAMPLES))).clamp_(max=1), z, world)


def _soft(lights: Sequence[Light], world: Tensor, near: Tensor, glow: Tensor) -> Tensor:
    """Ambient light, (3, B, H, W)."""
    device = world.device
    rgb = {k: _column(lights, k, device).T[:, :, None, None] for k in ('above', 'below', 'fill')}
    up = 0.5 + 0.5 * world[5]
    light = rgb['below'] + (rgb['above'] - rgb['below']) * up
    inside = _column(lights, 'inside', device)
    if bool((inside[:, 4] > -1e5).any()):
        b, h, w = near.shape
        indoors = _within(inside, [world[i].reshape(b, -1) for i in range(3)]).view(b, h, w)
        factor = _column(lights, 'daylight', device)[:, None, None]
        light = light * (factor + (1 - factor) * indoors)
    source = _column(lights, 'fill_from', device).T[:, :, None, None]
    towards = sum(world[3 + i] * source[i] for i in range(3))
    light = light + rgb['fill'] * (0.25 + 0.75 * torch.as_tensor(towards)).clamp(min=0)
    return light * near + glow


def _shine(
    lamp: Tensor, image: Tensor, points: list[Tensor], normal: list[Tensor], d: list[Tensor]
) -> Tensor:
    """Specular highlight of the lamp, (B * T, S)."""
    offset = [lamp[image, i, None] - points[i] for i in range(3)]
    distance = dot(offset, offset).sqrt_()
    half = [a / distance - b for a, b in zip(offset, d, strict=True)]
    return (dot(half, normal) / dot(half, half).sqrt_()).clamp_(min=0).pow_(40)


def _air(
    colour: Tensor, distance: Tensor, solid: Tensor, d: Tensor, lights: Sequence[Light]
) -> None:
    """Add haze and sky to `colour` (3, B, H, W), in place."""
    device = colour.device
    get = {
        k: _column(lights, k, device).T[:, :, None, None] for k in ('horizon', 'zenith', 'cloud')
    }
    length = _column(lights, 'haze', device)[:, None, None]
    clear = torch.exp(-distance / length) * solid
    if float(solid.min()) > 0:
        colour.mul_(clear).add_((1 - clear) * get['horizon'])
        return
    up = d[2].clamp(min=0)
    sky = get['horizon'] + (get['zenith'] - get['horizon']) * up.sqrt()
    flat = [(d[i] / (up + 0.12)).reshape(-1) for i in (0, 1)]
    field = torch.zeros_like(flat[0])
    for k, weight in ((1.3, 0.5), (2.9, 0.28), (6.5, 0.16), (14.0, 0.08)):
        field += weight * texture.noise(flat[0] * k + 7 * k, flat[1] * k + 3 * k)
    cover = _column(lights, 'cover', device)[:, None, None]
    cloud = ((field.view_as(up) - 0.72 + 0.46 * cover) * 5).clamp_(0, 1) * (up * 8).clamp(0, 1)
    sky = sky + (get['cloud'] - sky) * cloud
    position = F.normalize(_column(lights, 'position', device), dim=1).T[:, :, None, None]
    suns = torch.tensor([float(v.reach == 0) for v in lights], device=device)[:, None, None]
    glare = sum(d[i] * position[i] for i in range(3))
    glare = torch.as_tensor(glare).clamp(min=0)
    sky = sky + suns * (1 - 0.9 * cloud) * (glare**60 * 0.25 + (glare > 0.9995) * 4.0)
    # haze has the colour of the horizon, so that far objects blend with the sky
    back = solid * get['horizon'] + (1 - solid) * sky
    colour.mul_(clear).add_((1 - clear) * back)
