# SPDX-License-Identifier: LGPL-3.0-or-later
"""The version of the package: here it is changed."""

__version__ = "1.0.0.dev0"
