# SPDX-License-Identifier: Apache-2.0
"""Demo without hardware or internet: synthetic camera, depth node and recorder over DDS."""
