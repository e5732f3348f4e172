# SPDX-License-Identifier: Apache-2.0
"""A synthetic world with exact metric depth, ray cast in torch.

    scene = random_scene(7)
    camera = random_camera(7, 320, 240)
    image = render(scene, camera, random_pose(scene, 7))  # image.rgb, image.z, image.sky

Files: scene.py, layouts/ (objects and their sizes), materials/ and texture.py (surfaces),
primitives.py, batch.py and trace.py (ray casting), lighting.py, edges.py and sensor.py (colours),
camera_path.py (cameras and trajectories), render.py (all of it together).
"""

from depth_ros.sim.world.camera_path import path, posed_scenes, random_camera, random_pose
from depth_ros.sim.world.layouts import random_scene
from depth_ros.sim.world.render import RenderedImage, camera_pose, render, render_many
from depth_ros.sim.world.scene import Light, Scene

__all__ = [
    'Light',
    'RenderedImage',
    'Scene',
    'camera_pose',
    'path',
    'posed_scenes',
    'random_camera',
    'random_pose',
    'random_scene',
    'render',
    'render_many',
]
