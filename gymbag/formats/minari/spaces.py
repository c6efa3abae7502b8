# SPDX-License-Identifier: LGPL-3.0-or-later
"""Minari's JSON of a space, and back: pure, makes nothing but the seven spaces named here."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from gymnasium import spaces

from gymbag.errors import FormatError
from gymbag.formats.infos import is_name
from gymbag.schema import Schema, child_path

DTYPES = ("bool", *(f"{kind}{8 * size}" for kind in ("int", "uint") for size in (1, 2, 4, 8)))
DTYPES += ("float16", "float32", "float64")
MOST_DEPTH = 50
MOST_CELLS = 1 << 28
"""Values of one observation; far more than any image."""


def to_json(space: Any, path: str) -> dict[str, Any]:
    """Return a space as Minari describes it.

    Raises:
        FormatError: Minari has no such space, or its HDF5 file no place for a key.

    >>> to_json(spaces.Discrete(3), "action")
    {'type': 'Discrete', 'dtype': 'int64', 'start': 0, 'n': 3}
    """
    name = type(space).__name__
    match name:
        case "Box":
            bounds = {"low": space.low.tolist(), "high": space.high.tolist()}
            return {"type": name, "dtype": str(space.dtype), "shape": list(space.shape), **bounds}
        case "Discrete":
            start, n = int(space.start), int(space.n)
            return {"type": name, "dtype": str(space.dtype), "start": start, "n": n}
        case "MultiDiscrete":
            starts = np.broadcast_to(getattr(space, "start", 0), space.nvec.shape)
            found = {"nvec": space.nvec.tolist(), "start": starts.tolist()}
            return {"type": name, "dtype": str(space.dtype), **found}
        case "MultiBinary":
            return {"type": name, "n": list(space.shape) if np.shape(space.n) else int(space.n)}
        case "Text":
            charset = "".join(sorted(space.character_set))
            lengths = {"max_length": int(space.max_length), "min_length": int(space.min_length)}
            return {"type": name, **lengths, "charset": charset}
        case "Tuple":
            below = [to_json(s, child_path(path, k)) for k, s in enumerate(space.spaces)]
            return {"type": name, "subspaces": below}
        case "Dict":
            for key in space.spaces:
                require_name(key, path)
            return {
                "type": name,
                "subspaces": {k: to_json(s, child_path(path, k)) for k, s in space.spaces.items()},
            }
    raise FormatError(
        f"{path}: a {name} space, for which Minari has no place; expected Box, Discrete, "
        "MultiDiscrete, MultiBinary, Text, Dict or Tuple; choose another format"
    )


def require_name(key: Any, path: str) -> None:
    """Check that a key can be the name of a group in HDF5.

    Raises:
        FormatError: it cannot.
    """
    if not is_name(key):
        raise FormatError(
            f"{path}: the key {key!r:.100} has no place in Minari's HDF5 file; expected a text "
            "without / and NUL, not only dots; choose another format"
        )


def from_json(text: Any, path: str) -> Any:
    """Return the space that Minari's JSON describes, or None where there is none.

    Args:
        text: the JSON, as it stands in the metadata; or None.
        path: "observation" or "action", for messages.

    Raises:
        FormatError: it is no JSON, or describes none of Minari's spaces, or too large a one.

    >>> from_json('{"type": "MultiBinary", "n": [2, 3]}', "observation")
    MultiBinary((2, 3))
    >>> from_json('{"type": "os.system", "n": 3}', "observation")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    gymbag.errors.FormatError: observation: a space of the type 'os.system'; expected Box, ...
    """
    if text is None:
        return None
    try:
        space = _restore(json.loads(text) if isinstance(text, str) else text, path, 0)
        Schema.from_spaces(space, space)  # it knows how large a space may be
    except FormatError:
        raise
    except (AssertionError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise FormatError(
            f"{path}: its description is none of a space ({error!r:.200}): {text!r:.200}"
        ) from None
    except RecursionError:
        raise FormatError(f"{path}: the description of its space is nested too deeply") from None
    return space


def _restore(found: Any, path: str, depth: int) -> Any:
    if depth > MOST_DEPTH:
        raise FormatError(f"{path}: more than {MOST_DEPTH} spaces in each other; expected fewer")
    match found:
        case {"type": "Box", "dtype": str(name), "low": low, "high": high}:
            dtype = _dtype(name)
            lowest, highest = (np.array(bound, dtype) for bound in (low, high))
            if not lowest.shape == highest.shape == tuple(found.get("shape", lowest.shape)):
                raise ValueError(f"bounds of shape {lowest.shape} and {highest.shape}")
            return spaces.Box(lowest, highest, dtype=dtype.type)
        case {"type": "Discrete", "n": int(n)}:
            dtype = _dtype(found.get("dtype", "int64"))
            return spaces.Discrete(n, start=found.get("start", 0), dtype=dtype.type)
        case {"type": "MultiDiscrete", "nvec": list(nvec)}:
            dtype = _dtype(found.get("dtype", "int64"))
            return spaces.MultiDiscrete(np.array(nvec), dtype, start=found.get("start"))
        case {"type": "MultiBinary", "n": n}:
            sizes = n if isinstance(n, list) else [n]
            if not all(type(size) is int and 0 < size <= MOST_CELLS for size in sizes):
                raise ValueError(f"n {n!r:.100}")
            return spaces.MultiBinary(tuple(n) if isinstance(n, list) else n)
        case {"type": "Text", "max_length": int(longest), "charset": str(charset)}:
            return spaces.Text(longest, min_length=found.get("min_length", 1), charset=charset)
        case {"type": "Tuple", "subspaces": list(below)}:
            parts = enumerate(below)
            return spaces.Tuple([_restore(s, child_path(path, k), depth + 1) for k, s in parts])
        case {"type": "Dict", "subspaces": dict(below)}:
            # As pairs, for Gymnasium sorts the keys of a dict.
            pairs = below.items()
            return spaces.Dict([(k, _restore(s, child_path(path, k), depth + 1)) for k, s in pairs])
    kind = found.get("type") if isinstance(found, dict) else found
    raise FormatError(
        f"{path}: a space of the type {kind!r:.100}; expected Box, Discrete, MultiDiscrete, "
        "MultiBinary, Text, Dict or Tuple, with what Minari says of it"
    )


def _dtype(name: Any) -> Any:
    """Return the dtype of that name; nothing else is looked up."""
    if name not in DTYPES:
        raise ValueError(f"dtype {name!r:.100}")
    return np.dtype(name)
