# SPDX-License-Identifier: LGPL-3.0-or-later
"""Finds the image in an observation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


def find_image(observation: Any) -> NDArray[np.uint8] | None:
    """Return a copy of the first image, uint8 (H, W), (H, W, 1) or (H, W, 3), as (H, W, 3).

    >>> find_image({"pose": 1, "camera": np.zeros((4, 5), np.uint8)}).shape
    (4, 5, 3)
    """
    if isinstance(observation, Mapping):
        observation = tuple(observation.values())
    if isinstance(observation, tuple):
        return next((i for part in observation if (i := find_image(part)) is not None), None)
    if not isinstance(observation, np.ndarray) or observation.dtype != np.uint8:
        return None
    image = observation[..., None] if observation.ndim == 2 else observation
    if image.ndim != 3 or image.shape[2] not in (1, 3):
        return None
    return np.broadcast_to(image, (*image.shape[:2], 3)).copy()
