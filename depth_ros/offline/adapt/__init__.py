# SPDX-License-Identifier: Apache-2.0
"""Learn from a robot's own recording, without measured depth.

Two images of the same place agree where one is moved into the other by the right depth and the
known motion of the camera. The motion is known in metres, so the depth becomes metres.

| module        | what it does                                                     |
|---------------|------------------------------------------------------------------|
| sources       | finds the bags, folders and videos that can be learnt from       |
| posed         | what all of these give, and the options                          |
| posed_bag     | images of bags                                                   |
| bag_poses     | their poses: TF, a topic, or a file                              |
| posed_folders | TUM RGB-D, 7-Scenes, ScanNet, Open3D                             |
| posed_drives  | KITTI, EuRoC                                                     |
| motion        | how the camera moved, and which images show that                 |
| recording     | opens a recording, refuses what has no depth, gives its views    |
| views         | images with camera and pose, and which can be compared           |
| warp          | moves an image into another camera, by depth and motion          |
| losses        | how much two images differ                                       |

Source: Zhou et al. 2017 (arXiv 1704.07813); Godard et al. 2019 (arXiv 1806.01260).
"""
