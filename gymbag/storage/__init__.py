# SPDX-License-Identifier: LGPL-3.0-or-later
"""Columns in a file: the only package that touches HDF5. It knows no spaces and no environments."""
