# SPDX-License-Identifier: LGPL-3.0-or-later
"""Other programs' files, one module for each format, and changing from one into another.

To add one, write a module with a `Format`, and name it in the entry points of ``setup.cfg``.
"""

from gymbag.formats.registry import Format, convert, find_format, formats, read, write

__all__ = ["Format", "convert", "find_format", "formats", "read", "write"]
