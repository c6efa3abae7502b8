# SPDX-License-Identifier: LGPL-3.0-or-later
"""Spaces whose values differ in length, as values beside and lengths in the row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np
from gymnasium.spaces import GraphInstance
from numpy.typing import NDArray

from gymbag.errors import SchemaError
from gymbag.schema.codecs import (
    Arrays,
    Batch,
    Description,
    SpaceCodec,
    compile_codec,
    describe,
    register_space,
)
from gymbag.schema.columns import Column

LENGTH = np.dtype("<u8")
MOST_EMPTY = 1 << 20
LINK_DTYPES = [np.dtype(name) for name in ("i4", "i8", "u1", "i1", "u2", "i2", "u4", "u8")]
"""Gymnasium leaves the dtype of edge links open; it is kept as a place in this list."""


class Items:
    """The items of ragged rows: a child codec in a frame of its own, and the row's lengths."""

    def __init__(self, description: Description, path: str, frame: str) -> None:
        self.lengths = Column(f"{path}#ends", LENGTH, (), frame, ragged=True)
        self.codec = compile_codec(description, f"{path}[]", self.lengths.name)
        self.columns = (self.lengths, *self.codec.columns)

    def snapshot(self, batch: Batch) -> tuple[Any, ...]:
        """Return the items' snapshots, given one row's items as a batch."""
        codec = self.codec
        return tuple([codec.snapshot(codec.pick(batch, i)) for i in range(codec.length(batch))])

    def encode(self, rows: Sequence[Sequence[Any]]) -> Arrays:
        """Return the lengths and the items' arrays, given each row's snapshots."""
        lengths = np.fromiter(map(len, rows), dtype=LENGTH, count=len(rows))
        return [lengths, *self.codec.encode(list(chain.from_iterable(rows)))]

    def decode(self, arrays: Iterator[NDArray[Any]]) -> list[tuple[Batch, int]]:
        """Return each row's items as a batch, and how many they are.

        A batch of items without columns, such as of empty tuples, does not tell.
        """
        lengths = next(arrays).astype(np.int64)
        ends = np.cumsum(lengths).tolist()
        if not self.codec.columns and sum(lengths.tolist()) > MOST_EMPTY:
            # Nothing in the file stands for them, so no size of it bounds their number.
            raise SchemaError(f"{self.lengths.name}: more than {MOST_EMPTY} items of no content")
        batch = self.codec.decode(arrays, ends[-1] if ends else 0)
        return [
            (self.codec.slice(batch, end - length, end), length)
            for end, length in zip(ends, lengths.tolist(), strict=True)
        ]


@register_space("Sequence")
class SequenceCodec(SpaceCodec):
    """Sequence, stacked or not."""

    def __init__(self, description: Description, path: str, frame: str) -> None:
        super().__init__(description, path, frame)
        self.stack = bool(description["stack"])
        self.items = Items(description["feature_space"], path, frame)
        self.columns = self.items.columns

    @classmethod
    def describe(cls, space: Any, path: str) -> Description:
        """Return the items' space, and whether they come stacked."""
        return {
            "feature_space": describe(space.feature_space, f"{path}[]"),
            "stack": bool(getattr(space, "stack", False)),
        }

    def restore(self, spaces: Any) -> Any:
        """Return the Sequence."""
        more = {"stack": True} if self.stack else {}
        return spaces.Sequence(self.items.codec.restore(spaces), **more)

    def null(self) -> Any:
        """Return a sequence of no items."""
        if not self.stack:
            return ()
        return self.items.codec.batch([])

    def snapshot(self, value: Any) -> tuple[Any, ...]:
        """Return the items' snapshots."""
        if self.stack:
            return self.items.snapshot(value)
        if not isinstance(value, Sequence | np.ndarray) or isinstance(value, str | bytes):
            raise self.misfit(f"found {type(value).__name__}")
        return tuple([self.items.codec.snapshot(item) for item in value])

    def encode(self, snapshots: Sequence[tuple[Any, ...]]) -> Arrays:
        """Return the lengths and the items' arrays."""
        return self.items.encode(snapshots)

    def decode(self, arrays: Iterator[NDArray[Any]], n: int) -> tuple[Any, ...]:
        """Return the sequences."""
        batches = self.items.decode(arrays)
        if self.stack:
            return tuple([batch for batch, _ in batches])
        codec = self.items.codec
        return tuple(
            tuple([codec.pick(batch, i) for i in range(length)]) for batch, length in batches
        )

    def __repr__(self) -> str:
        return f"a sequence of {self.items.codec!r}"


@register_space("Graph")
class GraphCodec(SpaceCodec):
    """Graph: nodes, and edges with their links if the graph has any."""

    def __init__(self, description: Description, path: str, frame: str) -> None:
        super().__init__(description, path, frame)
        self.nodes = Items(description["node_space"], f"{path}.nodes", frame)
        self.has_edges = Column(f"{path}.edges#has", np.dtype("?"), (), frame)
        self.link_dtype = Column(f"{path}.edge_links#dtype", np.dtype("u1"), (), frame)
        self.links = Items(
            {"type": "Box", "dtype": "int64", "shape": [2]}, f"{path}.edge_links", frame
        )
        columns = (*self.nodes.columns, self.has_edges, self.link_dtype, *self.links.columns)
        self.edges: Items | None = None
        if description["edge_space"] is not None:
            self.edges = Items(description["edge_space"], f"{path}.edges", frame)
            columns += self.edges.columns
        self.columns = columns

    @classmethod
    def describe(cls, space: Any, path: str) -> Description:
        """Return the spaces of nodes and edges."""
        edges = space.edge_space
        return {
            "node_space": describe(space.node_space, f"{path}.nodes[]"),
            "edge_space": None if edges is None else describe(edges, f"{path}.edges[]"),
        }

    def restore(self, spaces: Any) -> Any:
        """Return the Graph."""
        edges = None if self.edges is None else self.edges.codec.restore(spaces)
        return spaces.Graph(self.nodes.codec.restore(spaces), edges)

    def null(self) -> GraphInstance:
        """Return a graph of no nodes."""
        return GraphInstance(self.nodes.codec.batch([]), None, None)

    def snapshot(self, value: Any) -> tuple[Any, ...]:
        """Return nodes, whether there are edges, the links' dtype, links and edges."""
        try:
            nodes, edges, links = value
        except (TypeError, ValueError):
            raise self.misfit(f"found {type(value).__name__}") from None
        node_row = self.nodes.snapshot(nodes)
        if links is None:
            return node_row, False, 0, (), ()
        links = np.asarray(links)
        if links.dtype not in LINK_DTYPES:
            raise self.misfit(f"found edge links of dtype {links.dtype}")
        edge_row: tuple[Any, ...] = ()
        if self.edges is not None and edges is not None:
            edge_row = self.edges.snapshot(edges)
        link_row = self.links.snapshot(links.reshape(-1, 2).astype(np.int64))
        return node_row, True, LINK_DTYPES.index(links.dtype), link_row, edge_row

    def encode(self, snapshots: Sequence[tuple[Any, ...]]) -> Arrays:
        """Return the arrays of nodes, flags, links and edges."""
        parts = zip(*snapshots, strict=True) if snapshots else [()] * 5
        nodes, has, dtypes, links, edges = parts
        arrays = self.nodes.encode(nodes)
        arrays += [np.array(has, dtype=np.bool_), np.array(dtypes, dtype=np.uint8)]
        arrays += self.links.encode(links)
        return arrays + (self.edges.encode(edges) if self.edges is not None else [])

    def decode(self, arrays: Iterator[NDArray[Any]], n: int) -> tuple[GraphInstance, ...]:
        """Return the graphs."""
        nodes = [batch for batch, _ in self.nodes.decode(arrays)]
        has, dtypes = next(arrays), next(arrays)
        links = [batch for batch, _ in self.links.decode(arrays)]
        edges: list[Any] = [None] * n
        if self.edges is not None:
            edges = [batch for batch, _ in self.edges.decode(arrays)]
        return tuple(
            GraphInstance(nodes[i], edges[i], links[i].astype(LINK_DTYPES[dtypes[i]]))
            if has[i]
            else GraphInstance(nodes[i], None, None)
            for i in range(n)
        )

    def __repr__(self) -> str:
        return f"a GraphInstance with nodes of {self.nodes.codec!r}"
