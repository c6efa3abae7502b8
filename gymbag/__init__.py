# SPDX-License-Identifier: LGPL-3.0-or-later
"""The SQLite of reinforcement-learning experience."""
