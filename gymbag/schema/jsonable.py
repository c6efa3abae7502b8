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
import re
import sys
from collections import Counter
from typing import Any

import numpy as np
from numpy.lib import format as npy_format

TAG = "$type"

MAX_DEPTH = 100
"""Values inside others, when written and when read; each costs some of Python's stack."""
MAX_ALIKE = 100
"""Keys of one set or dict with the same hash; Python compares each with all others."""
MAX_DIMENSIONS = 64
LONGEST = 100
NOT_FINITE = ("nan", "inf", "-inf")
_DTYPE = re.compile(r"[<>|=]?[?biufcmMSUV][0-9]{0,9}(\[[0-9]{0,9}[a-zA-Zμ]{1,7}\])?")


class BadJSON(ValueError):
    """JSON that `dumps` does not write: damaged, or made to do harm."""


def encode(value: Any) -> Any:
    """Return `value` as plain JSON.

    Raises:
        TypeError: it, or something in it, has no place in JSON; the message names the type.
        ValueError: it has more than `MAX_DEPTH` values inside others; it may contain itself.
    """
    return _encode(value, 0)


def _encode(value: Any, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise ValueError(f"value inside more than {MAX_DEPTH} others")
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
        return float(value) if math.isfinite(value) else {TAG: "float", "value": repr(float(value))}
    if isinstance(value, complex):
        return {TAG: "complex", "value": repr(complex(value))}
    if isinstance(value, bytes | bytearray):
        return {TAG: "bytes", "data": base64.b64encode(value).decode("ascii")}
    if isinstance(value, list):
        return [_encode(item, depth + 1) for item in value]
    if isinstance(value, tuple | set | frozenset):
        kind = next(k for k in (tuple, set, frozenset) if isinstance(value, k))
        return {TAG: kind.__name__, "items": [_encode(item, depth + 1) for item in value]}
    if isinstance(value, dict):
        if TAG not in value and all(isinstance(key, str) for key in value):
            return {str(key): _encode(item, depth + 1) for key, item in value.items()}
        return {
            TAG: "dict",
            "items": [[_encode(k, depth + 1), _encode(v, depth + 1)] for k, v in value.items()],
        }
    raise TypeError(f"{type(value).__module__}.{type(value).__qualname__}")


def decode(value: Any) -> Any:
    """Return what `encode` was given.

    Raises:
        BadJSON: the JSON is none that `encode` makes.
    """
    try:
        return _decode(value, 0)
    except BadJSON:
        raise
    except (TypeError, ValueError, KeyError, IndexError, OverflowError, SyntaxError) as error:
        raise BadJSON(f"JSON that no gymbag wrote: {error!r:.200}") from None


def _decode(value: Any, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise BadJSON(f"JSON of values in more than {MAX_DEPTH} others; expected fewer")
    if isinstance(value, list):
        return [_decode(item, depth + 1) for item in value]
    if not isinstance(value, dict):
        return value
    if TAG not in value:
        return {key: _decode(item, depth + 1) for key, item in value.items()}
    match value[TAG]:
        case "array":
            return _decode_array(value)
        case "scalar":
            return _decode_array(value)[()]
        case "float" if value["value"] in NOT_FINITE:
            return float(value["value"])
        case "complex" if len(value["value"]) <= LONGEST:
            return complex(value["value"])
        case "bytes":
            return base64.b64decode(value["data"], validate=True)
        case "tuple":
            return tuple(_decode_items(value, depth))
        case "set":
            return set(_distinct(_decode_items(value, depth)))
        case "frozenset":
            return frozenset(_distinct(_decode_items(value, depth)))
        case "dict":
            pairs = [(_decode(k, depth + 1), _decode(v, depth + 1)) for k, v in value["items"]]
            _distinct([key for key, _ in pairs])
            return dict(pairs)
        case kind:
            raise BadJSON(f"JSON names a type {kind!r:.100} that this gymbag does not know")


def _decode_items(value: dict[str, Any], depth: int) -> list[Any]:
    items = value["items"]
    if not isinstance(items, list):
        raise BadJSON(f"JSON has {type(items).__name__} for items; expected a list")
    return [_decode(item, depth + 1) for item in items]


def _distinct(keys: list[Any]) -> list[Any]:
    """Return keys of which not too many have the same hash, or they would take minutes."""
    if len(keys) > MAX_ALIKE and max(Counter(map(hash, keys)).values()) > MAX_ALIKE:
        raise BadJSON(f"JSON has more than {MAX_ALIKE} keys of the same hash; expected other ones")
    return keys


def dumps(value: Any) -> str:
    """Return `value` as one line of strict JSON."""
    return json.dumps(encode(value), allow_nan=False, separators=(",", ":"))


def loads(text: str | bytes) -> Any:
    """Return the value of a line that `dumps` wrote.

    It takes a small multiple of the text's size in memory, whatever the text says.

    Raises:
        BadJSON: it is no JSON, or none that `dumps` writes.
    """
    try:
        found = _READER.decode(text if isinstance(text, str) else text.decode("utf-8"))
    except BadJSON:
        raise
    except ValueError as error:
        raise BadJSON(f"this is no JSON: {error!s:.200}") from None
    except RecursionError:
        raise BadJSON("this is no JSON that gymbag wrote: it is nested too deeply") from None
    return decode(found)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of JSON; of two equal keys, who knows which was meant."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise BadJSON(f"JSON has an object with {len(pairs)} keys, some of them equal")
    return found


def _no_number(name: str) -> Any:
    raise BadJSON(f"this is no JSON: {name} is no number there")


_READER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_no_number)


def _encode_array(array: np.ndarray) -> dict[str, Any]:
    if array.dtype.hasobject or not array.dtype.itemsize:
        raise TypeError(f"numpy array of {array.dtype}")
    return {
        "dtype": npy_format.dtype_to_descr(array.dtype),
        "shape": list(array.shape),
        "data": base64.b64encode(array.tobytes()).decode("ascii"),
    }


def _decode_array(value: dict[str, Any]) -> np.ndarray:
    dtype = npy_format.descr_to_dtype(_as_descr(value["dtype"], 0))
    shape = _as_shape(value["shape"])
    data = base64.b64decode(value["data"], validate=True)
    if dtype.hasobject or not dtype.itemsize or dtype.subdtype is not None:
        raise BadJSON(f"JSON names an array of {dtype!s:.100}, which is never read")
    if math.prod(shape) * dtype.itemsize != len(data):
        raise BadJSON(
            f"JSON has {len(data)} bytes for an array of {dtype!s:.100} and shape {shape}; "
            f"expected {math.prod(shape) * dtype.itemsize}"
        )
    array = np.frombuffer(data, dtype=dtype).reshape(shape).copy()
    if dtype.kind == "U" and array.size and array.view(f"{dtype.str[0]}u4").max() > sys.maxunicode:
        raise BadJSON("JSON has an array of text with characters that there are not")
    return array


def _as_shape(shape: Any) -> tuple[int, ...]:
    whole = isinstance(shape, list) and all(type(n) is int and 0 <= n < 2**62 for n in shape)
    if not whole or len(shape) > MAX_DIMENSIONS:
        raise BadJSON(f"JSON has an array of shape {str(shape)[:100]}; expected a few numbers")
    return tuple(shape)


def _as_descr(descr: Any, depth: int) -> Any:
    """Return a dtype's description with the tuples that JSON turned into lists."""
    if isinstance(descr, str) and _DTYPE.fullmatch(descr):
        return descr
    if not isinstance(descr, list) or depth > MAX_DIMENSIONS:
        raise BadJSON(f"JSON names a dtype {str(descr)[:100]!r}, which is none of NumPy's numbers")
    is_pair = len(descr) == 2 and isinstance(descr[0], str | list) and isinstance(descr[1], list)
    if is_pair and all(isinstance(size, int) for size in descr[1]):
        return (_as_descr(descr[0], depth + 1), _as_shape(descr[1]))
    return [
        (_as_name(field[0]), _as_descr(field[1], depth + 1), *map(_as_shape, field[2:3]))
        for field in descr
    ]


def _as_name(name: Any) -> Any:
    """Return a field's name, or the pair of its title and its name."""
    return tuple(name) if isinstance(name, list) else name
