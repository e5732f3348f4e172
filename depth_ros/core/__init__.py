# SPDX-License-Identifier: Apache-2.0
"""Data types, camera geometry, resampling, and encoding of messages; imports no other room."""
