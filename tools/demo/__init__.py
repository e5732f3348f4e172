# SPDX-License-Identifier: Apache-2.0
"""A demo without hardware or network: synthetic camera, depth node and recorder over real DDS."""
