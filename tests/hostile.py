# SPDX-License-Identifier: LGPL-3.0-or-later
"""Files that are made to do harm, in the layout of gymbag's own where that makes them worse.

Each builder of `HOSTILE` takes an empty folder and returns the file that it made there. What a
file could make run would leave ``marker`` in that folder.
"""

from __future__ import annotations

import os
import pickle
import random
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import blosc2
import h5py
import numpy as np
import tables

from gymbag.storage.writer import EPISODE_DTYPE

Builder = Callable[[Path], Path]

DATASET = "CartPole-v1"
ROWS, CHUNK_ROWS = 40, 16
META = (
    b'{"line":"dataset","name":"CartPole-v1","spaces":{"observation_space":{"type":"Box","dtype":'
    b'"float32","shape":[4],"low":{"$type":"dict","items":[["$type","array"],["dtype","<f4"],'
    b'["shape",[4]],["data","mpmZwAAAgP9Qd9a+AACA/w=="]]},"high":{"$type":"dict","items":[["$type",'
    b'"array"],["dtype","<f4"],["shape",[4]],["data","mpmZQAAAgH9Qd9Y+AACAfw=="]]}},"action_space":'
    b'{"type":"Discrete","n":2,"start":0,"dtype":"int64"}}}\n'
    b'{"line":"session","start_time":1795416707.2,"description":"","metadata":{},"env_spec":null,'
    b'"versions":{}}\n'
)
STEPS = [
    *(("episode", "<u4"), ("step", "<u4"), ("time", "<f8"), ("reward", "<f8")),
    *(("terminated", "?"), ("truncated", "?"), ("action", "u1")),
]


def recording(path: Path, *, rows: int = ROWS, chunk_rows: int = CHUNK_ROWS) -> Path:
    """Make a good file of one episode, with PyTables alone and so without anything behind HDF5."""
    steps = np.zeros(rows, STEPS)
    steps["step"] = np.arange(rows)
    steps["time"], steps["reward"] = np.arange(rows) / 50, 1
    episodes = np.zeros(1, EPISODE_DTYPE)
    episodes["crc"] = zlib.crc32(steps.tobytes())
    episodes["rows"], episodes["episode_return"], episodes["ended"] = rows, rows - 1, b"terminated"
    observation = np.random.default_rng(1).normal(size=(rows, 4)).astype(np.float32)
    with warnings.catch_warnings(), tables.open_file(path, "w") as file:
        warnings.simplefilter("ignore", tables.NaturalNameWarning)
        file.root._v_attrs["gymbag_format"] = 2
        group = file.create_group("/", DATASET)
        filters = tables.Filters(1, "blosc2:zstd")
        meta = np.frombuffer(META, np.uint8)
        options = {"chunkshape": (chunk_rows,), "filters": filters}
        file.create_earray(group, "meta", obj=meta, chunkshape=(4096,), filters=filters)
        file.create_table(group, "steps", obj=steps, **options)
        file.create_table(group, "episodes", obj=episodes, **options)
        options["chunkshape"] = (chunk_rows, 4)
        file.create_earray(group, "observation", obj=observation, **options)
    return path


COMPACT = ("v110", "v110")
"""The library's version that can write more columns and attributes than the first one."""

HOSTILE: dict[str, Builder] = {}


def hostile(build: Builder) -> Builder:
    """Add a builder to the list."""
    HOSTILE[build.__name__] = build
    return build


def spoils(change: Callable[[h5py.File, h5py.Group, Path], None]) -> None:
    """Add a builder that makes a good file and changes it through h5py."""

    def build(folder: Path) -> Path:
        path = recording(folder / "spoilt.h5")
        with h5py.File(path, "r+") as file:
            change(file, file[DATASET], folder)
        return path

    HOSTILE[change.__name__] = build


class Payload:
    """What leaves the marker when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.marker = str(folder / "marker")

    def __reduce__(self) -> Any:
        return open, (self.marker, "w")


def _pickle_in(place: str, attribute: str) -> None:
    """Add a file with a pickle where PyTables looks for attributes."""

    def build(folder: Path) -> Path:
        path = recording(folder / "pickle.h5")
        # Protocol 0 has no zero bytes; PyTables writes pickles so.
        text = np.bytes_(pickle.dumps(Payload(folder), 0))
        with h5py.File(path, "r+") as file:
            file[place].attrs[attribute] = text
        return path

    HOSTILE[f"pickle in {attribute} of {place}"] = build


PLACES = ("/", f"/{DATASET}", f"/{DATASET}/steps", f"/{DATASET}/observation")
for _place in PLACES:
    for _attribute in ("note", "CLASS", "VERSION", "TITLE", "FILTERS"):
        _pickle_in(_place, _attribute)
_pickle_in("/", "PYTABLES_FORMAT_VERSION")
_pickle_in("/", "gymbag_format")
for _attribute in ("FIELD_0_NAME", "FIELD_0_FILL", "NROWS"):
    _pickle_in(PLACES[2], _attribute)
for _attribute in ("FLAVOR", "EXTDIM"):
    _pickle_in(PLACES[3], _attribute)


@hostile
def object_array(folder: Path) -> Path:
    path = recording(folder / "objects.h5")
    with tables.open_file(path, "a") as file:
        file.remove_node(f"/{DATASET}/observation")
        array = file.create_vlarray(f"/{DATASET}", "observation", tables.ObjectAtom())
        array.append(Payload(folder))
    return path


@spoils
def external_link_as_column(file: h5py.File, group: h5py.Group, folder: Path) -> None:
    recording(folder / "other.h5")
    del group["observation"]
    group["observation"] = h5py.ExternalLink(str(folder / "other.h5"), f"/{DATASET}/observation")


@spoils
def external_link_as_group(file: h5py.File, group: h5py.Group, folder: Path) -> None:
    recording(folder / "other.h5")
    file["second"] = h5py.ExternalLink(str(folder / "other.h5"), f"/{DATASET}")


@spoils
def soft_links(file: h5py.File, group: h5py.Group, folder: Path) -> None:
    del group["observation"]
    group["observation"] = h5py.SoftLink(f"/{DATASET}/nowhere")
    group["outside"] = h5py.SoftLink("/second/steps")
    group["loop"] = h5py.SoftLink(f"/{DATASET}/loop")


@spoils
def external_storage(file: h5py.File, group: h5py.Group, folder: Path) -> None:
    attributes = dict(group["observation"].attrs)
    del group["observation"]
    external = [("/etc/passwd", 0, h5py.h5f.UNLIMITED)]
    made = group.create_dataset(
        "observation", (ROWS, 4), "<f4", maxshape=(None, 4), external=external
    )
    made.attrs.update(attributes)


@spoils
def virtual_dataset(file: h5py.File, group: h5py.Group, folder: Path) -> None:
    recording(folder / "other.h5")
    attributes = dict(group["observation"].attrs)
    del group["observation"]
    layout = h5py.VirtualLayout((ROWS, 4), "<f4", maxshape=(None, 4))
    source = f"/{DATASET}/observation"
    layout[:] = h5py.VirtualSource(str(folder / "other.h5"), source, shape=(ROWS, 4))
    group.create_virtual_dataset("observation", layout).attrs.update(attributes)


@spoils
def hard_link_cycles(file: h5py.File, group: h5py.Group, folder: Path) -> None:
    group["self"], group["up"] = group, file["/"]
    file["again"], file["root"] = group, file["/"]
    group["twice"] = group["observation"]


@spoils
def attribute_name_not_utf8(file: h5py.File, group: h5py.Group, folder: Path) -> None:
    for place in (file, group, group["steps"], group["observation"]):
        scalar = h5py.h5s.create(h5py.h5s.SCALAR)
        h5py.h5a.create(place.id, b"\xff\xfe", h5py.h5t.STD_I64LE, scalar)


@spoils
def link_name_not_utf8(file: h5py.File, group: h5py.Group, folder: Path) -> None:
    group.id.links.create_hard(b"\xff\xfe", group.id, b"observation")
    group.id.links.move(b"episodes", group.id, b"\x1b[2J\n")


@spoils
def format_version_unreadable(file: h5py.File, group: h5py.Group, folder: Path) -> None:
    file.attrs["PYTABLES_FORMAT_VERSION"] = np.bytes_(b"\xff\xfe.\xff")


@spoils
def format_version_empty(file: h5py.File, group: h5py.Group, folder: Path) -> None:
    file.attrs["PYTABLES_FORMAT_VERSION"] = h5py.Empty("S1")


@spoils
def format_is_an_array(file: h5py.File, group: h5py.Group, folder: Path) -> None:
    file.attrs["gymbag_format"] = np.full(1000, 2)


@spoils
def format_is_a_huge_number(file: h5py.File, group: h5py.Group, folder: Path) -> None:
    file.attrs["gymbag_format"] = np.uint64(2**64 - 1)


@spoils
def unusual_types(file: h5py.File, group: h5py.Group, folder: Path) -> None:
    nested = np.dtype("<f4")
    for _ in range(40):
        nested = np.dtype([("a", nested)])
    kinds = {
        "opaque": h5py.opaque_dtype(np.dtype("V1000000")),
        "vlen": h5py.vlen_dtype(np.dtype("<f4")),
        "text": h5py.string_dtype(),
        "reference": h5py.ref_dtype,
        "region": h5py.regionref_dtype,
        "inside": np.dtype([("a", "<i8"), ("b", h5py.string_dtype())]),
        "nested": nested,
        "array": np.dtype([("a", "<i8", (1,) * 30)]),
        "large": np.dtype("S200000000"),
    }
    for name, dtype in kinds.items():
        group.create_dataset(name, (0,), dtype, maxshape=(None,), chunks=(1,))
    # A float and an integer of sizes that nothing else has.
    for name, base in (("float", h5py.h5t.IEEE_F32LE), ("integer", h5py.h5t.STD_I32LE)):
        odd = base.copy()
        odd.set_precision(24) if name == "integer" else odd.set_ebias(99)
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_chunk((4,))
        space = h5py.h5s.create_simple((0,), (h5py.h5s.UNLIMITED,))
        h5py.h5d.create(group.id, name.encode(), odd, space, plist)


@spoils
def unusual_layouts(file: h5py.File, group: h5py.Group, folder: Path) -> None:
    group.create_dataset("contiguous", data=np.arange(10))
    group.create_dataset("fixed", data=np.arange(10), chunks=(5,))
    group.create_dataset("tiles", (8, 8), "u1", maxshape=(None, 8), chunks=(4, 4))
    group.create_dataset("both", (8, 8), "u1", maxshape=(None, None), chunks=(4, 8))
    group.create_dataset("scalar", data=3)
    group.create_dataset("null", data=h5py.Empty("f4"))
    group["type"] = np.dtype("<i8")
    group.create_dataset("fill", (8,), "u1", maxshape=(None,), chunks=(4,), fillvalue=7)


@spoils
def rows_without_end(file: h5py.File, group: h5py.Group, folder: Path) -> None:
    group["steps"].resize((2**60,))
    group["steps"].attrs["NROWS"] = np.int64(2**60)


@spoils
def chunk_of_2_gb(file: h5py.File, group: h5py.Group, folder: Path) -> None:
    del group["observation"]
    shape = (2**27 - 1, 4)
    group.create_dataset("observation", shape, "<f4", maxshape=(None, 4), chunks=shape)


def _with_chunk(group: h5py.Group, name: str, chunk: bytes) -> None:
    leaf = group[name]
    leaf.id.write_direct_chunk((0,) * leaf.ndim, chunk)


@spoils
def frame_claims_1_gb(file: h5py.File, group: h5py.Group, folder: Path) -> None:
    # Special chunks: all zeros, of which Blosc2 keeps the length only.
    schunk = blosc2.SChunk(chunksize=1 << 30, cparams={"typesize": 4})
    schunk.fill_special(1 << 28, blosc2.SpecialValue.ZERO)
    for name in ("observation", "steps"):
        _with_chunk(group, name, schunk.to_cframe())


@spoils
def frame_too_short(file: h5py.File, group: h5py.Group, folder: Path) -> None:
    for name in ("observation", "steps"):
        _with_chunk(group, name, blosc2.SChunk(data=b"short").to_cframe())


@spoils
def frame_cut_off(file: h5py.File, group: h5py.Group, folder: Path) -> None:
    frame = blosc2.asarray(np.ones((CHUNK_ROWS, 4), np.float32)).to_cframe()
    _with_chunk(group, "observation", frame[: len(frame) // 2])
    _with_chunk(group, "steps", b"\x00")


@hostile
def very_many_columns(folder: Path) -> Path:
    path = recording(folder / "columns.h5")
    with h5py.File(path, "r+", libver=COMPACT) as file:
        dtype = np.dtype([(f"{number:x}", "u1") for number in range(2_000)])
        wide = np.dtype([(f"{number}", "u1", (500, 500, 500)) for number in range(10)])
        for name, kind in (("many", dtype), ("wide", wide)):
            file[DATASET].create_dataset(name, (0,), kind, maxshape=(None,), chunks=(1,))
    return path


@spoils
def deep_groups(file: h5py.File, group: h5py.Group, folder: Path) -> None:
    for start in (file, group):
        for _ in range(2_000):
            start = start.create_group("g")


@hostile
def very_many_attributes(folder: Path) -> Path:
    path = folder / "attributes.h5"
    with h5py.File(path, "w", libver=COMPACT) as file:
        group = file.create_group(DATASET)
        leaf = group.create_dataset("steps", (0,), STEPS, maxshape=(None,), chunks=(16,))
        for place in (file, group, leaf):
            for number in range(3_000):
                place.attrs[f"a{number}"] = number
            place.attrs["large"] = np.zeros(1 << 22, "u1")
            place.attrs["nearly"] = np.zeros(65_000, "u1")
        file.attrs["gymbag_format"] = 2
    return path


@spoils
def very_many_links(file: h5py.File, group: h5py.Group, folder: Path) -> None:
    for number in range(11_000):
        file[f"link{number}"] = h5py.SoftLink("/" + "x" * 50)


@spoils
def very_many_leaves(file: h5py.File, group: h5py.Group, folder: Path) -> None:
    for number in range(2_100):
        group[f"leaf{number}"] = h5py.SoftLink("/nowhere")


def _addresses(path: Path, name: str) -> list[int]:
    with h5py.File(path) as file:
        leaf = file[DATASET][name].id
        return [leaf.get_chunk_info(n).byte_offset for n in range(leaf.get_num_chunks())]


def _moved(folder: Path, to: int) -> Path:
    path = recording(folder / "moved.h5")
    data = path.read_bytes()
    for address in _addresses(path, "observation"):
        data = data.replace(struct.pack("<Q", address), struct.pack("<Q", to))
    path.write_bytes(data)
    return path


@hostile
def chunks_behind_the_end(folder: Path) -> Path:
    return _moved(folder, 1 << 40)


@hostile
def chunks_in_the_superblock(folder: Path) -> Path:
    return _moved(folder, 0)


@hostile
def tree_that_is_its_own_branch(folder: Path) -> Path:
    """Have the chunks' tree lead to itself, and its sisters too: HDF5 would go round for ever."""
    path = recording(folder / "tree.h5")
    data = bytearray(path.read_bytes())
    place = data.find(b"TREE\x01")
    while place >= 0:
        data[place + 5] = 1  # a branch, not a leaf
        own = struct.pack("<Q", place)
        data[place + 8 : place + 24] = own + own
        for address in _addresses(path, "observation") + _addresses(path, "steps"):
            found = data.find(struct.pack("<Q", address), place, place + 2048)
            if found >= 0:
                data[found : found + 8] = own
        place = data.find(b"TREE\x01", place + 1)
    path.write_bytes(data)
    return path


@hostile
def group_that_is_its_own_branch(folder: Path) -> Path:
    path = recording(folder / "group.h5")
    data = bytearray(path.read_bytes())
    place = data.find(b"TREE\x00")
    while place >= 0:
        own = struct.pack("<Q", place)
        data[place + 5] = 1
        data[place + 8 : place + 24] = own + own
        data[place + 32 : place + 40] = own
        place = data.find(b"TREE\x00", place + 1)
    path.write_bytes(data)
    return path


@hostile
def user_block(folder: Path) -> Path:
    path = folder / "block.h5"
    with h5py.File(path, "w", userblock_size=512) as file:
        file.attrs["gymbag_format"] = 2
    return path


@hostile
def another_programs(folder: Path) -> Path:
    path = folder / "other.h5"
    with h5py.File(path, "w") as file:
        file["observations"] = np.zeros((10, 4))
        file.create_group("episode_0")["actions"] = np.zeros(10)
    return path


@hostile
def empty_file(folder: Path) -> Path:
    path = folder / "empty.h5"
    path.touch()
    return path


@hostile
def truncated(folder: Path) -> Path:
    path = recording(folder / "truncated.h5")
    os.truncate(path, path.stat().st_size // 2)
    return path


@hostile
def only_the_signature(folder: Path) -> Path:
    path = folder / "signature.h5"
    path.write_bytes(b"\x89HDF\r\n\x1a\n")
    return path


@hostile
def text_file(folder: Path) -> Path:
    path = folder / "text.h5"
    path.write_text("episode,step,reward\n0,0,1.0\n")
    return path


@hostile
def a_folder(folder: Path) -> Path:
    return folder


@hostile
def a_pipe(folder: Path) -> Path:
    path = folder / "pipe.h5"
    os.mkfifo(path)
    return path


@hostile
def a_device(folder: Path) -> Path:
    return Path("/dev/zero")


@hostile
def a_link_to_itself(folder: Path) -> Path:
    path = folder / "link.h5"
    path.symlink_to(path)
    return path


def flipped(good: bytes, seed: int) -> bytes:
    """Return a file with a few bytes of it changed."""
    chance = random.Random(seed)
    data = bytearray(good)
    for _ in range(chance.choice((1, 8, 64))):
        data[chance.randrange(8, len(data))] = chance.choice(
            (0, 1, 0x7F, 0xFF, chance.randrange(256))
        )
    return bytes(data)
