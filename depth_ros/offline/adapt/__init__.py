# SPDX-License-Identifier: Apache-2.0
"""Learn from a robot's own recording, without measured depth.

Two images of the same place agree where one is moved into the other by the right depth and the
known motion of the camera. The motion is known in metres, so the depth becomes metres.

| module   | what it does                                                          |
|----------|-----------------------------------------------------------------------|
| views    | the images of a recording with camera and pose, and which belong together |
| warp     | moves an image into another camera, by depth and motion               |
| losses   | how much two images differ                                            |

Source: Zhou et al. 2017 (arXiv 1704.07813); Godard et al. 2019 (arXiv 1806.01260).
"""
