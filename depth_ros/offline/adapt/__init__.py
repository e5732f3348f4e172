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
| scene         | all views of a recording as tensors                              |
| student       | what is needed of a network; `students/` has those that can learn|
| network       | the network that was asked for, with its weights at the start    |
| checks        | what images say of focal length, lens, clock, scale and blur     |
| examine       | which of that refuses a recording, or warns                      |
| learn         | the learning loop                                                |
| run           | a time of learning: held-out views, Ctrl-C, going on             |
| outcome       | scores and pictures, before and after                            |
| truths        | measured depth of the pictures, where a recording has it         |
| cards         | the card of the new weights                                      |
| verdict       | what they are good for, and what not                             |
| report        | the page                                                         |
| pictures      | its pictures: depth, and images moved by it                      |

Source: Zhou et al. 2017 (arXiv 1704.07813); Godard et al. 2019 (arXiv 1806.01260).
"""
