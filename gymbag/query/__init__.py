# SPDX-License-Identifier: LGPL-3.0-or-later
"""Questions as text: ``reward > t and not terminated``.

`compile_query` turns a text into a `Plan`, whose expressions turn arrays into masks. It
touches no file, no clock and no environment, and never executes anything that the text says.
"""

from gymbag.query.evaluate import Expression
from gymbag.query.fields import Catalogue, Field, Fields, Level, Values
from gymbag.query.outlook import Between, Outlook, all_of, any_of, outlook, unknown
from gymbag.query.plan import Plan, compile_query

__all__ = [
    "Between",
    "Catalogue",
    "Expression",
    "Field",
    "Fields",
    "Level",
    "Outlook",
    "Plan",
    "Values",
    "all_of",
    "any_of",
    "compile_query",
    "outlook",
    "unknown",
]
