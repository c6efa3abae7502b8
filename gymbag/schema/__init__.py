# SPDX-License-Identifier: LGPL-3.0-or-later
"""Spaces and info dicts, compiled into columns: pure, knows NumPy and spaces, not files."""

from gymbag.schema import arrays, nested, ragged, text
from gymbag.schema.codecs import Batch, SpaceCodec, register_space
from gymbag.schema.columns import Column, child_path
from gymbag.schema.compiled import Schema, describe_space, null_sample, restore_space

__all__ = [
    "Batch",
    "Column",
    "Schema",
    "SpaceCodec",
    "arrays",
    "child_path",
    "describe_space",
    "nested",
    "null_sample",
    "ragged",
    "register_space",
    "restore_space",
    "text",
]
