# SPDX-License-Identifier: Apache-2.0
"""Engines that run a network faster than torch does layer by layer."""
