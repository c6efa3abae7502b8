# SPDX-License-Identifier: LGPL-3.0-or-later
"""Values as strict JSON and back, exactly: arrays, scalars, tuples, sets, bytes, NaN.

Plain JSON values are themselves. Everything else is an object with the key ``"$type"``.
Nothing is pickled, and reading makes nothing but the types named here.

>>> decode(json.loads(json.dumps(encode({"pose": np.arange(3, dtype="i2"), "t": (1, None)}))))
{'pose': array([0, 1, 2], dtype=int16), 't': (1, None)}
"""

from __future__ import annotations

import base64
import json
import math
from typing import Any

import numpy as np
from numpy.lib import format as npy_format

TAG = "$type"


def encode(value: Any) -> Any:
    """Return `value` as plain JSON.

    Raises:
        TypeError: it, or something in it, has no place in JSON; the message names the type.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, np.generic):
        return {TAG: "scalar", **_encode_array(np.asarray(value))}
    if isinstance(value, np.ndarray):
        return {TAG: "array", **_encode_array(value)}
    if isinstance(value, str):
        return str(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {TAG: "float", "value": repr(value)}
    if isinstance(value, complex):
        return {TAG: "complex", "value": repr(value)}
    if isinstance(value, bytes | bytearray):
        return {TAG: "bytes", "data": base64.b64encode(value).decode("ascii")}
    if isinstance(value, list):
        return [encode(item) for item in value]
    if isinstance(value, tuple | set | frozenset):
        kind = next(k for k in (tuple, set, frozenset) if isinstance(value, k))
        return {TAG: kind.__name__, "items": [encode(item) for item in value]}
    if isinstance(value, dict):
        if TAG not in value and all(isinstance(key, str) for key in value):
            return {str(key): encode(item) for key, item in value.items()}
        return {TAG: "dict", "items": [[encode(k), encode(v)] for k, v in value.items()]}
    raise TypeError(f"{type(value).__module__}.{type(value).__qualname__}")


def decode(value: Any) -> Any:
    """Return what `encode` was given.

    Raises:
        ValueError: the JSON names a type that is none of ours.
    """
    if isinstance(value, list):
        return [decode(item) for item in value]
    if not isinstance(value, dict):
        return value
    match value.get(TAG):
        case None:
            return {key: decode(item) for key, item in value.items()}
        case "array":
            return _decode_array(value)
        case "scalar":
            return _decode_array(value)[()]
        case "float":
            return float(value["value"])
        case "complex":
            return complex(value["value"])
        case "bytes":
            return base64.b64decode(value["data"])
        case "tuple":
            return tuple(decode(item) for item in value["items"])
        case "set":
            return {decode(item) for item in value["items"]}
        case "frozenset":
            return frozenset(decode(item) for item in value["items"])
        case "dict":
            return {decode(key): decode(item) for key, item in value["items"]}
        case kind:
            raise ValueError(f"JSON names a type {kind!r} that this gymbag does not know")


def dumps(value: Any) -> str:
    """Return `value` as one line of strict JSON."""
    return json.dumps(encode(value), allow_nan=False, separators=(",", ":"))


def loads(text: str | bytes) -> Any:
    """Return the value of a line that `dumps` wrote."""
    return decode(json.loads(text))


def _encode_array(array: np.ndarray) -> dict[str, Any]:
    if array.dtype.hasobject:
        raise TypeError(f"numpy array of {array.dtype}")
    return {
        "dtype": npy_format.dtype_to_descr(array.dtype),
        "shape": list(array.shape),
        "data": base64.b64encode(array.tobytes()).decode("ascii"),
    }


def _decode_array(value: dict[str, Any]) -> np.ndarray:
    dtype = npy_format.descr_to_dtype(_as_descr(value["dtype"]))
    if dtype.hasobject:
        raise ValueError("JSON names an array of Python objects, which is never read")
    data = base64.b64decode(value["data"])
    return np.frombuffer(data, dtype=dtype).reshape(value["shape"]).copy()


def _as_descr(descr: Any) -> Any:
    """Return a dtype's description with the tuples that JSON turned into lists."""
    if isinstance(descr, str):
        return descr
    is_pair = len(descr) == 2 and isinstance(descr[0], str | list) and isinstance(descr[1], list)
    if is_pair and all(isinstance(size, int) for size in descr[1]):
        return (_as_descr(descr[0]), tuple(descr[1]))
    return [
        (field[0], _as_descr(field[1]), *(tuple(shape) for shape in field[2:])) for field in descr
    ]
