# SPDX-License-Identifier: LGPL-3.0-or-later
"""Recordings as tables: Parquet and Arrow files, CSV, and the tables of pandas and Polars."""
