# SPDX-License-Identifier: Apache-2.0
"""A rendered camera for demonstrations and tests."""
