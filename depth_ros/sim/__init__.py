# SPDX-License-Identifier: Apache-2.0
"""A synthetic camera and the world that it renders, for demonstrations, tests and training."""
