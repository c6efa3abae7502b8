# SPDX-License-Identifier: LGPL-3.0-or-later
"""No test is timed: a machine may have other things to do."""

from hypothesis import settings

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
