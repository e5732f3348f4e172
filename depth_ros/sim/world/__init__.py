# SPDX-License-Identifier: Apache-2.0
"""A synthetic world with exact metric depth, ray cast in torch.

    scene = random_scene(7)
    camera = random_camera(7, 320, 240)
    view = render(scene, camera, random_pose(scene, 7))  # view.rgb, view.z, view.sky

Files: scene.py what a scene is, layouts/ what is in it and how large, materials/ and texture.py
what it looks like, primitives.py, batch.py and trace.py what a ray meets, lighting.py, edges.py
and sensor.py how that becomes a picture, camera_path.py cameras and their ways, render.py all of
it together.
"""

from depth_ros.sim.world.camera_path import path, random_camera, random_pose
from depth_ros.sim.world.layouts import random_scene
from depth_ros.sim.world.render import View, looking, render, render_many
from depth_ros.sim.world.scene import Light, Scene

__all__ = [
    'Light',
    'Scene',
    'View',
    'looking',
    'path',
    'random_camera',
    'random_pose',
    'random_scene',
    'render',
    'render_many',
]
