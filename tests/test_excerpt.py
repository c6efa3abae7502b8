# SPDX-License-Identifier: LGPL-3.0-or-later
"""A part of a chunk that is unpacked alone holds what it holds in the whole."""

from __future__ import annotations

from typing import Any

import blosc2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gymbag.storage import excerpt
from gymbag.storage.columns import ColumnSpec
from gymbag.storage.compression import POLICIES, Compression
from gymbag.storage.frames import Compressor, Damaged, Packer, chunk_of, unpack

ROWS = 512
FIELDS = [("<u4", ()), ("<f8", ()), ("?", ()), ("u1", (3,)), ("<f4", (2, 2)), ("S5", ())]
FLAGS, NOT_SPLIT, MORE_FLAGS = 2, 0x12, 31
CODECS = sorted({policy.table.codec for policy in POLICIES.values()})


@st.composite
def tables(draw: st.DrawFn) -> tuple[np.ndarray, str]:
    """Return rows of any fields, some of them all alike, and a codec."""
    kinds = draw(st.lists(st.sampled_from(FIELDS), min_size=1, max_size=6))
    rows = np.zeros(ROWS, [(f"f{i}", kind, shape) for i, (kind, shape) in enumerate(kinds)])
    rng = np.random.default_rng(draw(st.integers(0, 9)))
    for name in rows.dtype.names or ():
        kind = draw(st.sampled_from(["zeros", "alike", "rising", "noise"]))
        values = rows[name]
        if kind == "noise":
            noise = rng.integers(0, 256, values.nbytes, np.uint8)
            noise = noise % 2 if values.dtype == np.bool_ else noise
            rows[name] = noise.view(values.dtype).reshape(values.shape)
        elif kind != "zeros" and values.dtype.kind != "S":
            count = np.arange(ROWS) // 7 if kind == "rising" else np.ones(ROWS)
            rows[name] = count.reshape(-1, *(1,) * (values.ndim - 1)).astype(values.dtype)
    return rows, draw(st.sampled_from(CODECS))


def chunk(values: np.ndarray, compression: Compression) -> Any:
    table = values.dtype.names is not None
    spec = ColumnSpec("/a/b", table, values.dtype, values.shape[1:], len(values), compression)
    return chunk_of(Compressor(spec).frame(values), spec.chunk_shape)


def equal(one: np.ndarray, other: np.ndarray) -> bool:
    return (
        one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
    )


@given(table=tables(), count=st.integers(1, 3))
def test_a_field_of_a_table_is_read_alone(table: tuple[np.ndarray, str], count: int) -> None:
    rows, codec = table
    packed = chunk(rows, Compression(codec, 1, True, ROWS, ROWS))
    for name in rows.dtype.names or ():
        dtype, offset = rows.dtype.fields[name][:2]  # type: ignore[index]
        part = excerpt.field([packed] * count, offset, dtype.itemsize)
        if part is None:  # Blosc2 neither packs noise nor what is all zeros
            assert packed[FLAGS] & NOT_SPLIT or packed[MORE_FLAGS]
            continue
        found = unpack(part, dtype.base, (count * ROWS, *dtype.shape))
        assert equal(found, np.concatenate([rows[name]] * count))
        assert len(part) < len(packed) * count + 100


@given(
    seed=st.integers(0, 9), block_rows=st.sampled_from([1, 4, 16]), codec=st.sampled_from(CODECS)
)
def test_some_frames_are_read_alone(seed: int, block_rows: int, codec: str) -> None:
    rng = np.random.default_rng(seed)
    frames = np.cumsum(rng.random((32, 64, 20)) < 0.01, axis=1).astype(np.uint8)
    packed = chunk(frames, Compression(codec, 1, False, block_rows, len(frames)))
    first = int(rng.integers(32 // block_rows))
    count = int(rng.integers(1, 32 // block_rows - first + 1))
    part = excerpt.blocks(packed, first, count)
    assert part is not None
    wanted = frames[first * block_rows : (first + count) * block_rows]
    assert equal(unpack(part, frames.dtype, wanted.shape), wanted)


@given(
    seed=st.integers(0, 9),
    block_rows=st.sampled_from([1, 4, 16]),
    codec=st.sampled_from(CODECS),
    part_rows=st.sampled_from([16, 32]),
    shuffle=st.booleans(),
)
def test_packs_of_frames_make_up_the_chunk_of_all(
    seed: int, block_rows: int, codec: str, part_rows: int, shuffle: bool
) -> None:
    rng = np.random.default_rng(seed)
    frames = np.cumsum(rng.random((64, 64, 20)) < 0.01, axis=1).astype(np.uint16)
    frames[16:32] *= seed % 3  # sometimes nothing, sometimes hardly anything
    compression = Compression(codec, 1, shuffle, block_rows, len(frames))
    spec = ColumnSpec("/a/b", False, frames.dtype, frames.shape[1:], len(frames), compression)
    packer = Packer(spec, part_rows)
    packs = [packer.pack(frames[first : first + part_rows]) for first in range(0, 64, part_rows)]
    whole = excerpt.joined(packs)
    if whole is None:  # Blosc2 has a chunk of zeros in a form of its own
        assert any(pack[MORE_FLAGS] for pack in packs)
        return
    assert equal(unpack(whole, frames.dtype, frames.shape), frames)
    frame = Compressor(spec).framed(whole)
    assert equal(blosc2.ndarray_from_cframe(frame)[:], frames)


def test_chunks_that_are_not_alike_are_not_put_together() -> None:
    rows = np.zeros(ROWS, [("a", "<f8"), ("b", "<u4")])
    rows["a"] = np.arange(ROWS)
    one, other = (chunk(rows, Compression(codec, 1, True, ROWS, ROWS)) for codec in CODECS)
    assert excerpt.field([one, one], 0, 8) is not None
    assert excerpt.field([one, other], 0, 8) is None
    assert excerpt.joined([one, one]) is not None
    assert excerpt.joined([one, other]) is None


@settings(max_examples=300)
@given(data=st.data())
def test_a_damaged_chunk_is_refused_or_read(data: st.DataObject) -> None:
    """Checksums are looked at before; but a stranger can make them fit."""
    rows = np.zeros(ROWS, [("a", "<f8"), ("b", "<u4"), ("c", "?")])
    rows["a"] = np.sqrt(np.arange(ROWS))
    rows["b"][::9] = 3
    frames = np.arange(32 * 640, dtype=np.uint16).astype(np.uint8).reshape(32, 640)
    for values, block in ((rows, ROWS), (frames, 4)):
        shuffled = values is rows
        packed = bytearray(chunk(values, Compression("zstd", 1, shuffled, block, len(values))))
        places = st.integers(0, 99) | st.integers(0, len(packed) - 1)
        for place in data.draw(st.lists(places, min_size=1, max_size=4)):
            packed[min(place, len(packed) - 1)] = data.draw(st.integers(0, 255))
        damaged = bytes(packed[: data.draw(st.none() | st.integers(32, len(packed)))])
        parts = [
            (excerpt.field([damaged], 8, 4), np.empty(ROWS, "<u4")),
            (excerpt.blocks(damaged, 2, 1), np.empty((4, 640), np.uint8)),
        ]
        for part, out in parts:
            if part is not None:
                try:
                    unpack(part, out.dtype, out.shape, out)
                except Damaged:
                    continue


@pytest.mark.parametrize("data", [b"", bytes(31), bytes(40), b"\xff" * 40])
def test_what_is_no_chunk_is_refused(data: bytes) -> None:
    assert excerpt.blocks(data, 0, 1) is None
    assert excerpt.field([data], 0, 1) is None
