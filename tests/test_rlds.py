# SPDX-License-Identifier: LGPL-3.0-or-later
"""RLDS: a data set that tensorflow_datasets 4.9.10 wrote, and what strangers may put into one."""

from __future__ import annotations

import json
import os
import shutil
import struct
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest import mock

import google_crc32c
import numpy as np
import pytest
from hypothesis import example as seen
from hypothesis import given
from hypothesis import strategies as st

import gymbag
from gymbag import compare, convert, formats
from gymbag.cli import main
from gymbag.errors import FormatError
from gymbag.formats import limits, process
from gymbag.formats.aligned import UNKNOWN
from gymbag.formats.apart.examples import ExamplesReader, example_message
from gymbag.formats.apart.reader import Refused

DATA = Path(__file__).parent / "data" / "rlds-reach"
SHARD = "reach-val.tfrecord-00000-of-00002"


def truth(number: int) -> list[dict[str, Any]]:
    """Return the steps of an episode in ``tests/data``, as they were given to TFDS."""
    rng, n = np.random.default_rng(number), number + 1
    rng.integers(-9, 9, (2, 3))
    return [
        {
            "image": rng.integers(0, 256, (8, 6, 3)),
            "grey": rng.integers(0, 256, (4, 5, 1)),
            "jpeg": np.full((16, 16, 3), rng.integers(0, 256, 3)),
            "state": rng.normal(size=(2, 2)).astype("f4"),
            "bytes": rng.integers(0, 256, 3),
            "arm": rng.normal(size=2).astype("f4"),
            "hand": k % 2,
            "reward": float(np.float32(k / 3)),
            "discount": 1 - k / 8,
            "is_last": k == n and number != 2,
            "is_terminal": k == n and number not in (1, 2),
            "big": 2**64 - 1 - k,
            "small": -k,
            "words": [f"a{k}", "b"],
            "language_instruction": f"n{k}",
        }
        for k in range(n + 1)
    ]


@pytest.mark.parametrize(("split", "numbers"), [("train", range(5)), ("val", range(5, 7))])
def test_what_tfds_wrote_is_read(split: str, numbers: range) -> None:
    source = formats.read(DATA, name=f"reach-{split}")
    assert source.name == f"reach-{split}"
    assert source.description == "Made for the tests of gymbag."
    assert source.metadata == {"name": "reach", "version": "1.0.0", "split": split}
    episodes = list(source.iter_episodes())
    assert [episode.id for episode in episodes] == list(range(len(numbers)))
    found = {episode.infos[0]["episode"]["episode_id"]: episode for episode in episodes}
    assert sorted(found) == list(numbers)
    for number, episode in found.items():
        steps = truth(number)
        whole = steps[-1]["is_last"]
        n = len(steps) - whole
        assert len(episode) == n
        observations, actions = episode.observations, episode.actions
        for key, dtype in {"image": "u1", "grey": "u1", "state": "f4", "bytes": "u1"}.items():
            assert observations[key].dtype == dtype
            expected = np.stack([step[key] for step in steps])
            assert np.array_equal(observations[key][: len(steps)], expected), key
        off = observations["jpeg"][: len(steps)].astype(int) - [step["jpeg"] for step in steps]
        assert np.abs(off).max() <= 3
        assert actions["arm"].dtype == np.float64
        for key in ("arm", "hand"):
            assert np.array_equal(actions[key], [step[key] for step in steps[:n]])
        assert episode.rewards.tolist() == [step["reward"] for step in steps[:n]]
        ended = "unknown" if not whole else "truncated" if number == 1 else "terminated"
        assert episode.ended.value == ended
        about = episode.infos[0].pop("episode")["episode_metadata"]
        assert about["file_path"] == f"é{number}"
        assert about["scores"].tolist() == [0.5] * number
        grid = np.random.default_rng(number).integers(-9, 9, (2, 3))
        assert about["grid"].dtype == np.int32
        assert np.array_equal(about["grid"], grid)
        later = ("big", "small", "words", "language_instruction")
        for k, info in enumerate(episode.infos):
            expected_info = {key: steps[k][key] for key in later} if k < len(steps) else {}
            if k:
                expected_info["discount"] = steps[k - 1]["discount"]
            last_step = info.pop("last_step", None)
            assert (last_step is not None) == (k == n and whole)
            assert info.pop(UNKNOWN, False) == (k == n and not whole)
            if last_step:
                assert last_step["reward"] == steps[-1]["reward"]
                assert np.array_equal(last_step["action"]["arm"], steps[-1]["arm"])
            assert info == expected_info
        if not whole:
            assert np.isnan(observations["state"][-1]).all()


def test_it_is_recognised_and_converted(tmp_path: Path) -> None:
    assert formats.find_format(DATA).name == "rlds"
    with pytest.raises(FormatError, match="it holds 'reach-train', 'reach-val'; say which"):
        formats.read(DATA)
    with pytest.raises(FormatError, match="found 'test'; it holds"):
        formats.read(DATA, name="test")
    notes = convert(DATA, tmp_path / "a.h5")
    assert "RLDS keeps float64 as float32" in notes
    for split in ("train", "val"):
        with gymbag.open(tmp_path / "a.h5", name=f"reach-{split}") as store:
            source = formats.read(DATA, name=split)
            assert compare(source, store), str(compare(source, store))
            assert len(store.where("info.language_instruction == 'n1'")) > 0
    assert main(["convert", str(DATA), str(tmp_path / "b.h5")]) == 0
    with pytest.raises(FormatError, match="rlds can only be read"):
        convert(tmp_path / "a.h5", tmp_path / "c", name="reach-val", target_format="rlds")


# --- Sets made here, with the fields of an Example as protobuf writes them


def framed(data: bytes) -> bytes:
    def check(of: bytes) -> bytes:
        crc = google_crc32c.value(of)
        return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)

    length = struct.pack("<Q", len(data))
    return length + check(length) + data + check(data)


def example(**values: Any) -> bytes:
    message = example_message()()
    for key, value in values.items():
        entry = message.features.feature.add(key=key)
        array = np.asarray(value) if len(value) else np.empty(0, np.int64)
        kind = {"f": "float", "U": "bytes", "S": "bytes"}.get(array.dtype.kind, "int64")
        items = [v.encode() if isinstance(v, str) else v for v in array.reshape(-1).tolist()]
        getattr(entry.value, f"{kind}_list").value.extend(items)
    return message.SerializeToString()


def tensor(dtype: str = "int64", *shape: int, **more: Any) -> dict[str, Any]:
    return {"tensor": {"dtype": dtype, "shape": {"dimensions": [str(k) for k in shape]}, **more}}


def features(**more: Any) -> dict[str, Any]:
    inner = {name: tensor() for name in ("observation", "action")} | more
    return {"featuresDict": {"features": {"steps": {"sequence": {"feature": group(inner)}}}}}


def group(inner: dict[str, Any]) -> dict[str, Any]:
    return {"featuresDict": {"features": inner}}


def made(folder: Path, described: Any, *records: bytes, **about: Any) -> Path:
    folder.mkdir()
    split = {"name": "train", "shardLengths": [str(len(records))], **about}
    info = {"name": "x", "splits": [split]}
    (folder / "dataset_info.json").write_text(json.dumps(info))
    (folder / "features.json").write_text(json.dumps(described))
    (folder / "x-train.tfrecord-00000-of-00001").write_bytes(b"".join(map(framed, records)))
    return folder


SPLIT = {"name": "train", "filepathTemplate": "${DATASET}-${SPLIT}-${SHARD_INDEX}"}


def steps(**values: Any) -> bytes:
    return example(**{f"steps/{key}": value for key, value in values.items()})


def episodes(path: Path) -> list[gymbag.Episode]:
    return list(formats.read(path).iter_episodes())


def test_lone_arrays_odd_flags_and_empty_episodes(tmp_path: Path) -> None:
    flags = {key: tensor("bool") for key in ("is_first", "is_last", "is_terminal")}
    last = {"is_first": [1, 0, 1], "is_last": [0, 1, 1], "is_terminal": [0, 0, 1]}
    first, _, third, fourth = records = (
        steps(observation=[5, 6, 7], action=[1, 1, 0], **last),
        steps(observation=[5], action=[0], is_first=[1], is_last=[1], is_terminal=[1]),
        steps(observation=[], action=[], is_first=[], is_last=[], is_terminal=[]),
        steps(observation=[8], action=[1], is_first=[1], is_last=[0], is_terminal=[1]),
    )
    assert len({first, third, fourth}) == 3
    one, other = episodes(made(tmp_path / "a", features(**flags), *records))
    assert one.observations.tolist() == [5, 6, 7]
    assert one.actions.tolist() == [1, 1]
    assert np.isnan(one.rewards).all()
    assert one.ended.value == "terminated"
    odd = [{"is_first": True, "is_last": False}, {"is_first": False, "is_last": True}]
    assert one.infos == [*odd, {"is_first": True, "is_last": True}]
    assert (other.id, len(other), other.ended.value) == (1, 1, "terminated")
    assert other.infos == [{}, {UNKNOWN: True}]


def test_texts_flags_and_names_of_files_as_envlogger_has_them(tmp_path: Path) -> None:
    described = features(
        observation=group({"goal": {"text": {}}, "x": tensor("float32", 2)}),
        action=group({"open": tensor("bool"), "why": tensor("string")}),
        reward=tensor("bfloat16", 1),
        is_last=tensor("bool"),
        discount=tensor("float64", 1),
    )
    record = example(
        **{
            "steps/observation/goal": ["a", "b", "c"],
            "steps/observation/x": np.arange(6.0),
            "steps/action/open": [1, 0, 0],
            "steps/action/why": ["p", "q", ""],
            "steps/reward": [0.5, 1.5, 0.0],
            "steps/is_last": [0, 0, 1],
            "steps/discount": [1.0, 0.0, 0.0],
        }
    )
    path = made(tmp_path / "a", described)
    change(path / "dataset_info.json", "splits", [{**SPLIT, "shardLengths": [0, 1]}])
    (path / "x-train-00001").write_bytes(framed(record))
    (episode,) = episodes(path)
    assert episode.observations["x"].tolist() == [[0, 1], [2, 3], [4, 5]]
    assert episode.actions["open"].tolist() == [True, False]
    assert episode.rewards.tolist() == [0.5, 1.5]
    assert episode.ended.value == "unknown"
    goals = [{"observation": {"goal": text}} for text in "abc"]
    later = [{"action": {"why": "p"}, "discount": [1.0]}, {"action": {"why": "q"}, "discount": [0]}]
    assert episode.infos == [goals[0], goals[1] | later[0], goals[2] | later[1]]
    convert(path, tmp_path / "a.h5")
    with gymbag.open(tmp_path / "a.h5") as store:
        assert compare(formats.read(path), store)
        assert len(store.where("info.observation.goal == 'b'")) == 1


@pytest.mark.parametrize(
    ("described", "message"),
    [
        (features(observation=tensor("int64", -1)), "steps/observation: the shape .-1,."),
        (features(observation=tensor("int64", 1 << 40)), "found the shape"),
        (features(observation=tensor("int64", 0)), "found the shape"),
        (features(observation=tensor("complex64")), "found dtype 'complex64'"),
        (features(observation=tensor("int64", encoding="zlib")), "encoding 'zlib'"),
        (features(x={"pythonClassName": "a.Video", "video": {}}), "found 'a.Video'; gymbag reads"),
        (features(x={"image": {"dtype": "float32"}}), "images of 'float32'"),
        (features(x={"sequence": {"feature": tensor()}}), "a sequence in each step"),
        (features(x={"type": "a.Tensor", "content": "{}"}), "as old versions of TFDS"),
        (features(x=7), "found 7"),
        (features(**{"a/b": tensor()}), "expected no slash"),
        (features(reward=tensor("float32", 2)), "steps/reward: found .* expected a number"),
        (features(is_last={"text": {}}), "steps/is_last: found .* expected a number"),
        (group({"steps": tensor()}), "no steps/observation of numbers"),
        (features(observation={"text": {}}), "no steps/observation of numbers"),
        (group({"steps": group({"observation": tensor(), "action": tensor()})}), "a Dataset"),
        (group({}), "no steps/observation of numbers"),
        (tensor(), "no steps/observation of numbers"),
        ([], "gymbag reads Tensor"),
    ],
)
def test_features_that_are_not_read(described: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=message):
        formats.read(made(tmp_path / "a", described))


def test_features_in_features_without_end(tmp_path: Path) -> None:
    nested = tensor()
    for _ in range(40):
        nested = group({"a": nested})
    with pytest.raises(FormatError, match="inside more than 32 others"):
        formats.read(made(tmp_path / "a", features(observation=nested)))
    path = made(tmp_path / "b", {})
    (path / "features.json").write_text('{"sequence": {"feature": ' * 100_000)
    with pytest.raises(FormatError, match="not the JSON of TFDS"):
        formats.read(path)


@pytest.mark.parametrize(
    ("about", "message"),
    [
        ({"filepathTemplate": "../{SPLIT}"}, "expected the name of a file in the folder"),
        ({"filepathTemplate": "/etc/passwd"}, "expected the name of a file in the folder"),
        ({"filepathTemplate": ".."}, "expected the name of a file in the folder"),
        ({"filepathTemplate": "{HOME}"}, "expected the name of a file in the folder"),
        ({"filepathTemplate": 3}, "found"),
        ({"name": "../x"}, "expected name and shardLengths"),
        ({"shardLengths": ["-1"]}, "expected numbers"),
        ({"shardLengths": [0] * 100_001}, "100001 files"),
        ({"shardLengths": None}, "expected name and shardLengths"),
    ],
)
def test_splits_that_are_not_read(about: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=message):
        formats.read(made(tmp_path / "a", features(), **about))


def change(path: Path, key: str, value: Any) -> Path:
    found = json.loads(path.read_text())
    path.write_text(json.dumps({**found, key: value}))
    return path.parent


def test_descriptions_that_are_not_read(tmp_path: Path) -> None:
    for k, (key, value, message) in enumerate(
        [
            ("name", "../x", "expected a plain name"),
            ("splits", {}, "expected a list"),
            ("fileFormat", "riegeli", "tfds convert_format"),
        ]
    ):
        path = made(tmp_path / str(k), features())
        with pytest.raises(FormatError, match=message):
            formats.read(change(path / "dataset_info.json", key, value))


GOOD = {"observation": [1, 2], "action": [3, 4]}


@pytest.mark.parametrize(
    ("described", "record", "message"),
    [
        (features(), steps(observation=[1, 2]), "steps/action: missing"),
        (features(), steps(**GOOD | {"action": [1]}), "steps/action: 1 steps, not 2"),
        (features(), steps(**GOOD | {"action": [0.5, 1]}), "found a float_list; expected a int64"),
        (features(action=tensor("int8")), steps(**GOOD | {"action": [1, 300]}), "no int8"),
        (features(action=tensor("int8", 2)), steps(**GOOD | {"action": [1] * 3}), "3 values"),
        (features(x={"image": {}}), steps(**GOOD, x=["GIF89a", ""]), "Unidentified"),
        (features(), b"\xff" * 9, "Error parsing|DecodeError|parse"),
        (features(), b"\x0a\xff\xff\xff\xff\x7f", "Error parsing|DecodeError|parse"),
    ],
)
def test_records_that_are_not_read(
    described: Any, record: bytes, message: str, tmp_path: Path
) -> None:
    with pytest.raises(FormatError, match=rf"record 0.*({message})"):
        episodes(made(tmp_path / "a", described, record))


def no_file(path: Path) -> None:
    path.unlink()


def a_link(path: Path) -> None:
    path.rename(path.with_name("y"))
    path.symlink_to("y")


def a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def long(path: Path) -> None:
    length = struct.pack("<Q", 1 << 60)
    path.write_bytes(length + framed(length)[-4:] + path.read_bytes())
    crc = google_crc32c.value(length)
    check = struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)
    path.write_bytes(length + check + path.read_bytes())


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (no_file, "missing"),
        (a_link, "a folder, link, pipe"),
        (a_pipe, "a folder, link, pipe"),
        (long, "of 1152921504606846976 bytes"),
        (lambda path: path.write_bytes(b""), "ends after 0 records"),
        (lambda path: path.write_bytes(path.read_bytes() * 2), "more follows than the 1"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "before which the file ends"),
    ],
)
def test_files_that_are_not_read(
    harm: Callable[[Path], None], message: str, tmp_path: Path
) -> None:
    path = made(tmp_path / "a", features(), steps(**GOOD))
    harm(path / "x-train.tfrecord-00000-of-00001")
    with pytest.raises(FormatError, match=message):
        episodes(path)


def test_more_records_than_there_are(tmp_path: Path) -> None:
    path = made(tmp_path / "a", features(), steps(**GOOD), shardLengths=["999999999999999999"])
    found = formats.read(path).iter_episodes()
    assert len(next(found)) == 2
    with pytest.raises(FormatError, match="record 1: the file ends after 1 records"):
        next(found)


WHOLE = (DATA / SHARD).read_bytes()


@seen(at=9, change=1)
@seen(at=len(WHOLE) - 1, change=1)
@given(at=st.integers(0, len(WHOLE) - 1), change=st.integers(0, 255))
def test_no_byte_changes_or_goes_unseen(at: int, change: int) -> None:
    rest = bytes([WHOLE[at] ^ change]) + WHOLE[at + 1 :]
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).write_bytes(WHOLE[:at] + (rest if change else b""))
        reader = ExamplesReader(file.name, 1 << 20)
        with pytest.raises(Refused):
            reader.answer({"record": 0, "last": True, "features": {}, "take": "arrays"})
        reader.close()


def test_records_in_any_order(tmp_path: Path) -> None:
    path = made(tmp_path / "a", features(), *(steps(observation=[k], action=[k]) for k in range(5)))
    reader = ExamplesReader(str(path / "x-train.tfrecord-00000-of-00001"), 1 << 20)
    for k in (3, 0, 4, 1):
        asked = {"record": k, "last": k == 4, "take": "arrays"}
        _, leaves = reader.answer({**asked, "features": {"steps/action": "int"}})
        assert leaves[0][1].tolist() == [k]
    reader.close()


def test_an_episode_is_no_larger_than_memory_may_be_taken(tmp_path: Path) -> None:
    path = made(tmp_path / "a", features(), steps(observation=range(500), action=range(500)))
    for most in (1000, 100_000):
        with (
            mock.patch.object(limits, "MAX_BYTES", most),
            pytest.raises(FormatError, match=r"limits\.MAX_BYTES"),
        ):
            episodes(path)


def test_what_is_not_installed_is_named(tmp_path: Path) -> None:
    def without(name: str) -> Any:
        if name.startswith("google"):
            raise ModuleNotFoundError(name)
        return find_spec(name)

    message = "google.protobuf and google_crc32c, .* pip install 'gymbag.rlds.'"
    with (
        mock.patch.object(process, "find_spec", without),
        pytest.raises(FormatError, match=message),
    ):
        formats.read(shutil.copytree(DATA, tmp_path / "a"), name="val")
