# SPDX-License-Identifier: Apache-2.0
"""Every parameter, declared once, and the layers its value comes from."""
