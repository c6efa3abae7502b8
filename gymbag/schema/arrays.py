# SPDX-License-Identifier: LGPL-3.0-or-later
"""Spaces whose values are one array or number: Box, Discrete, MultiDiscrete, MultiBinary."""

from __future__ import annotations

import math
import operator
import re
import warnings
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gymbag.errors import RecordingWarning
from gymbag.schema import jsonable
from gymbag.schema.codecs import Arrays, Batch, Description, SpaceCodec, register_space
from gymbag.schema.columns import Column
from gymbag.schema.slabs import Slabs

WIDE = 4096
"""From this many bytes on, memory for copies is kept and used again."""
SMALL = 256
"""So many of a Discrete space's values are looked up instead of converted."""


def smallest_dtype(low: int, high: int) -> np.dtype:
    """Return the smallest integer dtype that holds `low`, `high` and 0.

    >>> smallest_dtype(0, 3), smallest_dtype(-1, 200)
    (dtype('uint8'), dtype('int16'))
    """
    low, high = min(low, 0), max(high, 0)
    for name in ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8"):
        limits = np.iinfo(name)
        if limits.min <= low and high <= limits.max:
            return np.dtype(f"<{name}")
    raise ValueError(f"no integer dtype holds both {low} and {high}")


MOST_AXES = 64
DTYPE = re.compile(r"bool|(u?int|float|complex)[0-9]{1,3}")


def plain_dtype(name: Any) -> np.dtype:
    """Return the dtype of that name; no other is read from a file than a number's.

    Raises:
        ValueError: it is no name of a number's dtype, such as ``float32``.
    """
    if not isinstance(name, str) or not DTYPE.fullmatch(name):
        raise ValueError(f"dtype {name!r:.100}")
    return np.dtype(name)


class ArrayCodec(SpaceCodec):
    """Values that are arrays of one dtype and shape, stored in a dtype that holds them all."""

    def __init__(self, description: Description, path: str, frame: str) -> None:
        super().__init__(description, path, frame)
        self.dtype = plain_dtype(description["dtype"])
        """The dtype of the values as the user knows them."""
        self.shape = tuple(description["shape"])
        if len(self.shape) > MOST_AXES or not all(
            type(n) is int and 0 <= n < 2**62 for n in self.shape
        ):
            raise ValueError(f"shape {self.shape!r:.100}")
        self.stored = self.stored_dtype()
        self._said = False
        self._slabs: Slabs | None = None
        if math.prod(self.shape):
            column = Column(path, self.stored, self.shape, frame)
            self.columns = (column,)
            if column.nbytes >= WIDE:
                self._slabs = Slabs(self.stored, self.shape)
        # It runs once per step: a closure finds all it needs at hand, a method looks it up.
        self.snapshot = self._bind_snapshot()  # type: ignore[assignment,method-assign]

    @abstractmethod
    def stored_dtype(self) -> np.dtype:
        """Return the dtype of the column."""

    def _bind_snapshot(self) -> Callable[[Any], Any]:
        stored, shape, copy = self.quick()
        fit = self._fit

        def snapshot(value: Any) -> Any:
            if type(value) is np.ndarray and value.dtype is stored and value.shape == shape:
                return copy(value)
            return copy(fit(value))

        return snapshot

    def quick(self) -> tuple[Any, Any, Any]:
        """Return the column's own dtype and shape, and what copies such an array."""
        copy = np.ndarray.tobytes if self._slabs is None else self._slabs.copy
        return self.stored, self.shape, copy

    def snapshot(self, value: Any) -> Any:
        """Return the value's bytes in the column's dtype, or where a wide one was copied to."""
        return self._bind_snapshot()(value)

    def _fit(self, value: Any) -> NDArray[Any]:
        try:
            given = np.asarray(value)
            with np.errstate(all="ignore"):
                fitted = given.astype(self.stored)
                same = fitted == given
        except (TypeError, ValueError) as error:
            raise self.misfit(f"{type(value).__name__} is no such array ({error})") from None
        if given.shape != self.shape:
            raise self.misfit(f"found an array of shape {given.shape}")
        if not np.all(same | ((fitted != fitted) & (given != given))):
            if self.stored.kind != "f":
                raise self.misfit(f"found {given.dtype} values that {self.stored} cannot hold")
            self._say_rounded(given.dtype)
        return fitted

    def _say_rounded(self, found: np.dtype) -> None:
        if not self._said:
            self._said = True
            warnings.warn(
                f"{self.path}: {found} values do not fit the space's {self.stored} exactly and "
                f"are stored rounded; give the space dtype={found} to keep them as they are",
                RecordingWarning,
                stacklevel=2,
            )

    def encode(self, snapshots: Sequence[Any]) -> Arrays:
        """Return the values as one array."""
        if not self.columns:
            return []
        if self._slabs is not None and snapshots:
            return [self._slabs.join(snapshots)]
        shape = (len(snapshots), *self.shape)
        return [np.frombuffer(b"".join(snapshots), dtype=self.stored).reshape(shape)]

    def forget(self) -> None:
        """Take back the last snapshot."""
        if self._slabs is not None:
            self._slabs.forget()

    def wide(self) -> Iterator[tuple[Column, Slabs]]:
        """Iterate over the column, if its values are wide."""
        if self._slabs is not None:
            yield self.columns[0], self._slabs

    def decode(self, arrays: Iterator[NDArray[Any]], n: int) -> NDArray[Any]:
        """Return the values in the space's own dtype."""
        if not self.columns:
            return np.zeros((n, *self.shape), dtype=self.dtype)
        return next(arrays).astype(self.dtype, copy=False)

    def pick(self, batch: Batch, index: int) -> Any:
        """Return one value; an array also where its shape is ()."""
        return batch[index, ...]

    def null(self) -> Any:
        """Return NaN where the dtype has it, else 0."""
        return np.full(self.shape, math.nan if self.dtype.kind == "f" else 0, dtype=self.dtype)

    def __repr__(self) -> str:
        return f"an array of shape {self.shape} and dtype {self.dtype}"


@register_space("Box")
class BoxCodec(ArrayCodec):
    """Box: any dtype and shape. Bounds that are the same everywhere are described once."""

    @classmethod
    def describe(cls, space: Any, path: str) -> Description:
        """Return shape, dtype and bounds."""
        return {
            "dtype": np.dtype(space.dtype).name,
            "shape": list(space.shape),
            "low": _describe_bound(space.low),
            "high": _describe_bound(space.high),
        }

    def restore(self, spaces: Any) -> Any:
        """Return the Box."""
        low, high = (
            np.broadcast_to(jsonable.decode(self.description[bound]), self.shape)
            for bound in ("low", "high")
        )
        return spaces.Box(low.astype(self.dtype), high.astype(self.dtype), dtype=self.dtype)

    def stored_dtype(self) -> np.dtype:
        """Return the space's own dtype."""
        return self.dtype


def _describe_bound(bound: NDArray[Any]) -> Any:
    """Return a bound as one number if it is the same everywhere, else as an array."""
    if bound.size == 0:
        return 0
    if np.all(bound == bound.flat[0]):
        return jsonable.encode(bound.flat[0].item())
    return jsonable.encode(bound)


@register_space("MultiDiscrete")
class MultiDiscreteCodec(ArrayCodec):
    """MultiDiscrete, in the smallest dtype that holds every value."""

    @classmethod
    def describe(cls, space: Any, path: str) -> Description:
        """Return shape, dtype, counts and starts."""
        description = {
            "dtype": np.dtype(space.dtype).name,
            "shape": list(space.nvec.shape),
            "nvec": space.nvec.tolist(),
        }
        start = getattr(space, "start", None)
        if start is not None and np.any(start):
            description["start"] = np.asarray(start).tolist()
        return description

    def restore(self, spaces: Any) -> Any:
        """Return the MultiDiscrete."""
        start = self.description.get("start")
        more = {} if start is None else {"start": np.array(start)}
        nvec = np.array(self.description["nvec"])
        return spaces.MultiDiscrete(nvec, dtype=self.dtype, **more)

    def stored_dtype(self) -> np.dtype:
        """Return the smallest dtype that holds every value."""
        nvec = np.array(self.description["nvec"], dtype=object)
        if nvec.shape != self.shape:
            raise ValueError(f"counts of shape {nvec.shape} for shape {self.shape}")
        start = np.array(self.description.get("start", 0), dtype=object)
        last = start + nvec - 1
        return smallest_dtype(int(np.min(start)), int(np.max(last)) if last.size else 0)


@register_space("MultiBinary")
class MultiBinaryCodec(ArrayCodec):
    """MultiBinary, a byte for each flag."""

    @classmethod
    def describe(cls, space: Any, path: str) -> Description:
        """Return shape and dtype."""
        n = space.n if isinstance(space.n, int) else [int(size) for size in space.n]
        return {"dtype": np.dtype(space.dtype).name, "shape": list(space.shape), "n": n}

    def restore(self, spaces: Any) -> Any:
        """Return the MultiBinary."""
        n = self.description["n"]
        return spaces.MultiBinary(n if isinstance(n, int) else tuple(n))

    def stored_dtype(self) -> np.dtype:
        """Return the space's own dtype, int8."""
        n = self.description["n"]
        if self.shape != ((n,) if isinstance(n, int) else tuple(n)):
            raise ValueError(f"{n!r:.100} flags for shape {self.shape}")
        return self.dtype


@register_space("Discrete")
class DiscreteCodec(SpaceCodec):
    """Discrete, in the smallest dtype that holds every value and 0."""

    def __init__(self, description: Description, path: str, frame: str) -> None:
        super().__init__(description, path, frame)
        self.dtype = plain_dtype(description["dtype"])
        self.start = int(description["start"])
        self.n = int(description["n"])
        stored = smallest_dtype(self.start, self.start + self.n - 1)
        self.columns = (Column(path, stored, (), frame),)
        self.plain = range(self.start, self.start + self.n)
        self.snapshot = self._bind_snapshot()  # type: ignore[assignment,method-assign]

    def _bind_snapshot(self) -> Callable[[Any], int]:
        known, fit = {0: 0, **{value: value for value in self.plain[:SMALL]}}, self._fit
        index = operator.index  # Python's integers are found sooner than NumPy's

        def snapshot(value: Any) -> int:
            try:
                return known[index(value)]
            except (KeyError, TypeError):
                return fit(value)

        return snapshot

    @classmethod
    def describe(cls, space: Any, path: str) -> Description:
        """Return count, start and dtype."""
        return {
            "n": int(space.n),
            "start": int(getattr(space, "start", 0)),
            "dtype": np.dtype(space.dtype).name,
        }

    def restore(self, spaces: Any) -> Any:
        """Return the Discrete."""
        more = {} if self.dtype == np.int64 else {"dtype": self.dtype}
        return spaces.Discrete(self.n, start=self.start, **more)

    def null(self) -> Any:
        """Return 0."""
        return self.dtype.type(0)

    def snapshot(self, value: Any) -> int:
        """Return the value as an int."""
        return self._fit(value)

    def _fit(self, value: Any) -> int:
        try:
            number = operator.index(np.asarray(value).reshape(()).item())
        except (TypeError, ValueError):
            raise self.misfit(f"found {value!r}") from None
        if number and not self.start <= number < self.start + self.n:
            raise self.misfit(f"found {number}")
        return number

    def encode(self, snapshots: Sequence[int]) -> Arrays:
        """Return the values as one array."""
        dtype = self.columns[0].dtype
        if dtype == np.uint8:  # a third of the time of np.array
            return [np.frombuffer(bytes(snapshots), dtype=dtype)]
        return [np.array(snapshots, dtype=dtype)]

    def decode(self, arrays: Iterator[NDArray[Any]], n: int) -> NDArray[Any]:
        """Return the values in the space's own dtype."""
        return next(arrays).astype(self.dtype, copy=False)

    def __repr__(self) -> str:
        return f"an integer from {self.start} to {self.start + self.n - 1}"
