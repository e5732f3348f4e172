# SPDX-License-Identifier: Apache-2.0
"""The ground floor: cameras, what flows through the pipeline, errors, geometry, resampling."""
