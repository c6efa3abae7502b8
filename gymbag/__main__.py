# SPDX-License-Identifier: LGPL-3.0-or-later
"""``python -m gymbag``."""

import sys

from gymbag.cli import main

if __name__ == "__main__":
    sys.exit(main())
