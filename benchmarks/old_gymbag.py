# SPDX-License-Identifier: LGPL-3.0-or-later
"""Installs gymbag 0.4.9 and gym 0.9.2, of 2017, into a folder of their own.

Both run there as they are. They need a process of their own, since they carry the names of
today's packages.

    python -m benchmarks.old_gymbag
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "baselines" / "gymbag-0.4.9"

REQUIREMENTS = [
    "gymbag==0.4.9",
    "gym==0.9.2",
    # What gym 0.9.2 imports. NumPy and PyTables come from the running Python, so that the
    # old recorder gains from newer ones as much as the new recorder does.
    "requests",
    "certifi",
    "charset-normalizer",
    "idna",
    "urllib3",
    "six",
    # For pkg_resources, which later ones lack, and for distutils, which Python 3.12 lacks.
    "setuptools<81",
]


def installed() -> bool:
    return (FOLDER / "gymbag").is_dir() and (FOLDER / "gym").is_dir()


def install() -> None:
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--target", str(FOLDER)]
    subprocess.run([*command, *REQUIREMENTS], check=True)


def activate() -> None:
    """Make ``import gym`` and ``import gymbag`` mean the old ones in this process.

    Raises:
        ImportError: They are not installed, or others are already imported.
    """
    if str(FOLDER) in sys.path:
        return
    if not installed():
        raise ImportError("not installed; python -m benchmarks.old_gymbag installs it")
    if taken := {"gym", "gymbag"} & sys.modules.keys():
        raise ImportError(f"{', '.join(sorted(taken))} is already imported; use a new process")
    sys.path.insert(0, str(FOLDER))
    if sys.version_info >= (3, 12):
        # Importing it is what brings distutils back.
        import setuptools  # noqa: F401


if __name__ == "__main__":
    install()
