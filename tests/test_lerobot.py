# SPDX-License-Identifier: LGPL-3.0-or-later
"""LeRobot's data sets: two that lerobot 0.4.4 wrote, ours, and what strangers may put into one."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest import mock

import gymnasium
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from gymnasium import spaces

import gymbag
from gymbag import MemorySource, Step, compare, convert, formats
from gymbag.cli import main
from gymbag.errors import FormatError
from gymbag.formats import limits, process
from gymbag.formats.aligned import UNKNOWN
from gymbag.formats.apart.frames import FramesReader, VideoReader
from gymbag.memory import MemoryEpisode

DATA = Path(__file__).parent / "data"
SPACE = spaces.Dict(
    state=spaces.Box(-1, 1, (3,)),
    images=spaces.Dict(top=spaces.Box(0, 255, (8, 6, 3), np.uint8)),
    goal=spaces.Box(-1, 1, (2, 2), np.float64),
    flags=spaces.MultiBinary(4),
)
ACTIONS = spaces.Box(-1, 1, (2,))


def truth() -> list[dict[str, Any]]:
    """Return the frames that the two data sets in ``tests/data`` were made of."""
    rng = np.random.default_rng(0)
    return [
        {
            "image": np.broadcast_to(rng.integers(0, 256, 3).astype("u1"), (48, 64, 3)),
            "state": rng.normal(size=3).astype("f4"),
            "action": rng.normal(size=2).astype("f4"),
            "reward": float(k),
            "goal": rng.normal(size=(2, 2)).astype("f4"),
            "task": "pick" if episode < 2 else "place",
            "episode": episode,
        }
        for episode in range(3)
        for k in range(4 + episode)
    ]


def recorded(space: Any = SPACE, actions: Any = ACTIONS, **more: Any) -> MemorySource:
    """Return episodes without final observations, as LeRobot has them."""
    space.seed(1)
    actions.seed(2)
    episodes = []
    for number, length in enumerate((3, 1, 70)):
        rows = []
        for k in range(length + 1):
            last = k == length
            info: dict[str, Any] = {} if k == 0 else {"next": {"success": last}}
            info |= {UNKNOWN: True} if last else {"task": f"é{number}", "force": np.full(2, k)}
            action = actions.sample() if k else gymbag.null_sample(actions)
            reward = k / 3 if k else math.nan
            ends = (last and number != 1, last and number == 1)
            observation = gymbag.null_sample(space) if last else space.sample()
            rows.append(Step(math.nan, observation, action, reward, *ends, info))
        episodes.append(MemoryEpisode(number, rows))
    return MemorySource(
        episodes, observation_space=space, action_space=actions, metadata={"fps": 10}, **more
    )


@pytest.mark.parametrize(("kind", "off"), [("images", 0), ("video", 2)])
def test_what_lerobot_wrote_is_read_and_written_again(kind: str, off: int, tmp_path: Path) -> None:
    path = DATA / f"lerobot-{kind}"
    assert formats.find_format(path).name == "lerobot"
    source = formats.read(path)
    assert source.name == f"lerobot-{kind}"
    names = {"observation.state": ["a", "b", "c"]}
    names["observation.images.top"] = ["height", "width", "channels"]
    assert source.metadata == {"fps": 10, "names": names}
    for number, episode in enumerate(source.iter_episodes()):
        frames = [frame for frame in truth() if frame["episode"] == number]
        found = episode.observations
        assert np.array_equal(found["state"][:-1], [f["state"] for f in frames])
        assert np.isnan(found["state"][-1]).all()
        images = np.stack([f["image"] for f in frames]).astype(int)
        assert np.abs(images - found["images"]["top"][:-1]).max() <= off
        assert np.array_equal(episode.actions, [f["action"] for f in frames])
        assert episode.rewards.tolist() == [f["reward"] for f in frames]
        assert episode.ended.value == "terminated"
        for frame, info in zip(frames, episode.infos[:-1], strict=True):
            assert info.keys() == {"goal", "task"}
            assert np.array_equal(info["goal"], frame["goal"])
            assert info["task"] == frame["task"]
        assert episode.infos[-1] == {UNKNOWN: True}
    notes = convert(path, tmp_path / "a.h5")
    assert any("LeRobot keeps no final observation" in note for note in notes)
    with gymbag.open(tmp_path / "a.h5") as store:
        assert compare(source, store), str(compare(source, store))
        assert len(store.where("info.task == 'place'")) == 6
        formats.write(store, tmp_path / "again", "lerobot")
    assert compare(source, formats.read(tmp_path / "again"))
    stats, theirs = (
        json.loads((folder / "meta" / "stats.json").read_text())
        for folder in (tmp_path / "again", path)
    )
    for key in ("observation.state", "action", "next.reward", "timestamp", "index"):
        for which in ("min", "max", "mean", "std", "count"):
            assert np.allclose(stats[key][which], theirs[key][which], atol=1e-6), (key, which)
    mine, other = (s["observation.images.top"] for s in (stats, theirs))
    for which in ("min", "max", "mean"):
        assert np.allclose(mine[which], other[which], atol=0 if not off else 0.02)


def test_ours_comes_back(tmp_path: Path) -> None:
    original = recorded()
    lost = formats.write(original, tmp_path / "a", "lerobot")
    assert lost == [f"{n}_space: not kept by this format" for n in ("observation", "action")]
    copy = formats.read(tmp_path / "a")
    assert compare(original, copy), str(compare(original, copy))
    pictures = [s.observation["images"]["top"] for e in original.episodes for s in e.steps()]
    known = np.stack([p for k, p in enumerate(pictures) if k not in (3, 5, 76)]) / 255
    stats = json.loads((tmp_path / "a" / "meta" / "stats.json").read_text())
    found = stats["observation.images.top"]
    for which in ("min", "max", "mean", "std"):
        expected = getattr(known, which)(axis=(0, 1, 2))[:, None, None]
        assert np.allclose(found[which], expected), which
    assert found["count"] == [74]


@pytest.mark.parametrize(
    ("space", "actions", "said"),
    [
        (spaces.Box(-1, 1, (3,)), ACTIONS, []),
        (spaces.Box(0, 255, (5, 4, 1), np.uint8), ACTIONS, []),
        (spaces.Box(0, 255, (5, 4, 4), np.uint8), spaces.MultiDiscrete([3, 2]), []),
        (spaces.Box(0, 255, (4, 5, 6), np.uint8), ACTIONS, []),
        (SPACE, spaces.Dict(arm=ACTIONS, hand=spaces.Box(0, 1, (1,))), []),
        (spaces.Discrete(4), ACTIONS, ["shape: a single number is read as an array of one"]),
        (spaces.Box(0, 255, (5, 4), np.uint8), ACTIONS, ["shape: a grey image is read"]),
        (spaces.Dict(state=ACTIONS), ACTIONS, ["observation: a lone state or image"]),
    ],
)
def test_spaces_come_back_or_it_is_said(
    space: Any, actions: Any, said: list[str], tmp_path: Path
) -> None:
    original = recorded(space, actions)
    lost = [s for s in formats.write(original, tmp_path / "a", "lerobot") if "_space" not in s]
    assert len(lost) == len(said)
    assert all(one.startswith(other) for one, other in zip(lost, said, strict=True))
    comparison = compare(original, formats.read(tmp_path / "a"))
    assert bool(comparison) == (not said), str(comparison)


def test_files_are_begun_anew_when_they_are_large(tmp_path: Path) -> None:
    original = recorded()
    with (
        mock.patch("gymbag.formats.lerobot.writer.FILE_MB", 0),
        mock.patch("gymbag.formats.lerobot.info.CHUNK_FILES", 2),
    ):
        formats.write(original, tmp_path / "a", "lerobot")
    files = sorted(p.relative_to(tmp_path / "a/data") for p in tmp_path.rglob("data/*/*"))
    assert [str(p.with_suffix("")) for p in files] == [
        "chunk-000/file-000",
        "chunk-000/file-001",
        "chunk-001/file-000",
    ]
    assert compare(original, formats.read(tmp_path / "a"))


def filmed(fps: float = 10) -> MemorySource:
    """Return episodes with images of one colour each, of which two sorts can be videos."""
    rng = np.random.default_rng(3)
    shapes = {"top": (48, 64, 3), "left": (84, 80, 3), "odd": (15, 16, 3), "grey": (16, 16)}
    images = {key: spaces.Box(0, 255, shape, np.uint8) for key, shape in shapes.items()}
    source = recorded(spaces.Dict(state=SPACE["state"], images=spaces.Dict(images)))
    for episode in source.episodes:
        for row in episode.steps():
            for image in () if UNKNOWN in row.info else row.observation["images"].values():
                image[:] = rng.integers(0, 256, image.shape[-1])
    source.metadata["fps"] = fps
    return source


def require_near(original: Any, copy: Any) -> None:
    """Check that images of one colour are at most 4 of 255 off, and in their places."""
    for mine, other in zip(original.iter_episodes(), copy.iter_episodes(), strict=True):
        for key in ("top", "left"):
            one, two = (e.observations["images"][key][:-1].astype(int) for e in (mine, other))
            assert np.abs(one - two).max() <= 4


def unfilmed(step: Step) -> Step:
    """Return a step without the images that can be videos, and the grey one, now of 3 axes."""
    seen = step.observation
    return step._replace(observation={"state": seen["state"], "odd": seen["images"]["odd"]})


@pytest.mark.parametrize("fps", [10, 29.97])
def test_videos_come_back(fps: float, tmp_path: Path) -> None:
    original = filmed(fps)
    lost = convert(original, tmp_path / "a", target_format="lerobot-video")
    kept = ": observation.images.left, observation.images.top"
    assert lost[2:] == [
        "shape: a grey image is read with an axis for its one channel: observation.images.grey",
        "images: left as PNG, for a video takes RGB and even sides: observation.images.grey, "
        "observation.images.odd",
        "images: encoded as video, which only comes near to them" + kept,
    ]
    assert formats.find_format(tmp_path / "a").name == "lerobot"
    copy = formats.read(tmp_path / "a")
    require_near(original, copy)
    both = ([map(unfilmed, e.steps()) for e in s.iter_episodes()] for s in (original, copy))
    rest = compare(*both)
    assert rest, str(rest)
    info = json.loads((tmp_path / "a/meta/info.json").read_text())
    about = info["features"]["observation.images.top"]
    assert (about["dtype"], about["shape"]) == ("video", [48, 64, 3])
    theirs = json.loads((DATA / "lerobot-video/meta/info.json").read_text())
    assert about["info"] == {**theirs["features"][TOP]["info"], "video.fps": fps}
    assert info["video_path"] == theirs["video_path"]


def test_videos_are_begun_anew_when_they_are_long(tmp_path: Path) -> None:
    original = filmed()
    with (
        mock.patch("gymbag.formats.lerobot.video.FILE_SECONDS", 0.4),
        mock.patch("gymbag.formats.lerobot.info.CHUNK_FILES", 1),
    ):
        formats.write(original, tmp_path / "a", "lerobot-video")
    # Episodes of 3, 1 and 70 images, ten a second; none is cut.
    files = sorted(str(p.relative_to(tmp_path / "a/videos")) for p in tmp_path.rglob("*.mp4"))
    assert files == [
        f"observation.images.{key}/chunk-00{k}/file-000.mp4"
        for key in ("left", "top")
        for k in "01"
    ]
    table = pq.read_table(tmp_path / "a" / EPISODES)
    found = {name.split("/")[-1]: table[name].to_pylist() for name in table.column_names}
    assert found["from_timestamp"] == [0, 0.3, 0]
    assert found["to_timestamp"] == [0.3, 0.4, 7]
    require_near(original, formats.read(tmp_path / "a"))


def test_what_can_be_no_video_is_said(tmp_path: Path) -> None:
    lost = formats.write(recorded(ACTIONS), tmp_path / "a", "lerobot-video")
    assert lost[2] == "video: none is written, for no observation is an image"
    for fps in (1e-9, 1e12):
        with pytest.raises(FormatError, match=r"fps: found .*write images, as lerobot"):
            formats.write(filmed(fps), tmp_path / "b", "lerobot-video")
    with pytest.raises(FormatError, match="encoded as video"):
        formats.write(filmed(), tmp_path / "b", "lerobot-video", strict=True)
    with (
        mock.patch("gymbag.formats.lerobot.video.CODEC", "gone"),
        pytest.raises(FormatError, match="cannot encode with gone"),
    ):
        formats.write(filmed(), tmp_path / "b", "lerobot-video")
    with (
        mock.patch("gymbag.formats.lerobot.video.PIXELS", "yuv411p"),
        pytest.raises(FormatError, match=r"observation.images.left: .* encoded images of \(84, 80"),
    ):
        formats.write(filmed(), tmp_path / "b", "lerobot-video")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_what_has_no_place_is_said(tmp_path: Path) -> None:
    with gymbag.record_hdf5(gymnasium.make("CartPole-v1"), tmp_path / "a.h5", "mine") as env:
        env.reset(seed=1)
        env.step(1)
    with gymbag.open(tmp_path / "a.h5") as store:
        assert convert(store, tmp_path / "b", target_format="lerobot") == [
            "name: not kept by this format",
            "description: not kept by this format",
            "env_spec: not kept by this format",
            "observation_space: not kept by this format",
            "action_space: not kept by this format",
            "shape: a single number is read as an array of one: action",
            "fps: not known; 30 is written in its place",
            "task: not known; 'mine' is written in its place",
            "seed: not kept by this format: episode 0",
            "time: not kept by this format",
            "ended: kept as truncated, and not that its user cut the episode off: episode 0",
            "final observation: not kept by this format",
        ]
        copy = formats.read(tmp_path / "b")
        mine, other = next(store.iter_episodes()), next(copy.iter_episodes())
        assert np.array_equal(mine.observations[0], other.observations[0])
        assert other.ended.value == "truncated"
        assert other.infos[0] == {"task": "mine"}
    original = recorded()
    original.metadata["odd"] = 1
    rows: Any = original.episodes[1].rows  # type: ignore[attr-defined]
    rows[0].info.update(
        {"some": 1, "a.b": 2, "force": "x", "index": 3, "timestamp": 1.0, "nested": {"x": 1}}
    )
    rows[1].info["late"] = 1
    lost = formats.write(original, tmp_path / "c", "lerobot")
    assert lost[2:] == [
        "info: not kept where a key is not in every row but the final ones, or changes its type "
        "or shape, or has a dot, or means something else there: info.a.b, info.index, "
        "info.timestamp, info.force, info.some, info.nested.x",
        "info: those of final rows are not kept, but for their next",
        "metadata: not kept by this format: odd",
    ]
    assert next(formats.read(tmp_path / "c").iter_episodes()).infos[1].keys() == {"next", "task"}
    assert main(["convert", str(tmp_path / "c"), str(tmp_path / "c.h5")]) == 0


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (spaces.Dict(a=spaces.Text(3)), r"observation\.a: a Text space"),
        (spaces.Tuple([ACTIONS]), "observation: a Tuple space"),
        (spaces.Dict({"a.b": ACTIONS}), "the key 'a.b'"),
        (spaces.Dict({"a/b": ACTIONS}), "the key 'a/b'"),
    ],
)
def test_a_space_without_a_place(space: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=message):
        formats.write(recorded(space), tmp_path / "a", "lerobot")
    with pytest.raises(FormatError, match="has no episode"):
        formats.write(MemorySource(), tmp_path / "a", "lerobot")
    assert list(tmp_path.iterdir()) == []


def test_flags_times_and_rewards_as_others_write_them(tmp_path: Path) -> None:
    folder = copied("images", tmp_path)
    path = folder / "data/chunk-000/file-000.parquet"
    table = pq.read_table(path)
    done = np.zeros(15, bool)
    done[[1, 3]] = True
    late = table["timestamp"].to_numpy() + np.arange(15, dtype="f4") * 0.01
    for name, values in (("next.done", done), ("timestamp", late)):
        table = table.set_column(table.schema.get_field_index(name), name, pa.array(values))
    table = table.drop_columns(["next.reward"])
    pq.write_table(table, path)
    change_info(features=lambda f: {k: v for k, v in f.items() if k != "next.reward"})(folder)
    one, two, _ = formats.read(folder).iter_episodes()
    assert np.isnan(one.rewards).all()
    assert (one.ended.value, two.ended.value) == ("terminated", "unknown")
    assert [info.get("next") for info in one.infos] == [
        None,
        *({"done": flag} for flag in (False, True, False, True)),
    ]
    assert [info.get("timestamp") for info in one.infos] == [*late[:4], None]


def test_what_is_not_installed_is_named() -> None:
    find = process.find_spec
    for name, extra in (("pyarrow", "lerobot"), ("av", "lerobot-video")):
        without = mock.patch.object(
            process, "find_spec", lambda n, gone=name: None if n == gone else find(n)
        )
        message = rf"{name}, not installed.*'gymbag\[{extra}\]'"
        with without, pytest.raises(FormatError, match=message):
            formats.read(DATA / "lerobot-video")


# What strangers may put into one.


def copied(kind: str, tmp_path: Path) -> Path:
    folder = tmp_path / "set"
    shutil.copytree(DATA / f"lerobot-{kind}", folder)
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    return folder


def change_info(**changes: Any) -> Any:
    def change(folder: Path) -> None:
        path = folder / "meta" / "info.json"
        found = json.loads(path.read_text())
        for key, value in changes.items():
            found[key] = value(found[key]) if callable(value) else value
        path.write_text(json.dumps(found))

    return change


def change_feature(key: str, **changes: Any) -> Any:
    return change_info(features=lambda found: {**found, key: {**found.get(key, {}), **changes}})


def change_table(name: str, column: str, values: Any) -> Any:
    def change(folder: Path) -> None:
        path = folder / name
        table = pq.read_table(path)
        made = pa.array(values(table[column].to_pylist()))
        table = table.set_column(table.schema.get_field_index(column), column, made)
        pq.write_table(table, path)

    return change


def linked(name: str) -> Any:
    def change(folder: Path) -> None:
        path = folder / name
        path.rename(folder.parent / "elsewhere")
        path.symlink_to(folder.parent / "elsewhere")

    return change


def rename_feature(old: str, new: str) -> Any:
    return change_info(features=lambda f: {new if k == old else k: v for k, v in f.items()})


def bytes_of(name: str, data: Any) -> Any:
    return lambda folder: (folder / name).write_bytes(data)


EPISODES = "meta/episodes/chunk-000/file-000.parquet"
FRAMES = "data/chunk-000/file-000.parquet"
VIDEO = "videos/observation.images.top/chunk-000/file-000.mp4"
TOP = "observation.images.top"


def gif(folder: Path) -> None:
    cells = [{"bytes": b"GIF89a" + bytes(50), "path": "x"}] * 15
    change_table(FRAMES, TOP, lambda old: cells)(folder)


def bomb(folder: Path) -> None:
    """Zeros that are a few bytes in the file."""
    path = folder / FRAMES
    n = 1 << 22
    table = pa.table({"episode_index": np.zeros(n, "i8"), "action": np.zeros(n, "f8")})
    pq.write_table(table, path)
    change_table(EPISODES, "length", lambda old: [n, 5, 6])(folder)


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("images", change_info(codebase_version="v2.1"), "found 'v2.1'.*converts older ones"),
        ("images", change_info(data_path="../{chunk_index}/{file_index}"), "data_path: found"),
        ("images", change_info(data_path="/etc/passwd"), "data_path: found '/etc/passwd'"),
        ("images", change_info(data_path="{chunk_index.__class__}"), "data_path: found"),
        ("video", change_info(video_path="/dev/video0"), "video_path: found"),
        ("images", change_info(fps=0), "fps: found 0"),
        ("images", change_info(fps="x"), "fps: found 'x'"),
        ("images", change_info(features={}), "features: found {}"),
        ("images", bytes_of("meta/info.json", b'{"codebase_version": ['), "not the JSON"),
        ("images", bytes_of("meta/info.json", b"[" * 10**5), "not the JSON of LeRobot"),
        ("images", change_feature("action", dtype="object"), "'action': found"),
        ("images", change_feature("action", shape=[2**40]), "'action': found"),
        ("images", change_feature("action", shape=[-2]), "'action': found"),
        ("images", change_feature("action", shape=[3]), "action: found 8 values in 4 rows"),
        ("images", change_feature("action", dtype="int64"), "action: found float32; expected"),
        ("images", change_feature("other", dtype="int64", shape=[1]), "other: not found"),
        ("images", change_feature(TOP, shape=[9, 9, 3]), "found images of"),
        ("images", change_feature("observation.images", dtype="int8", shape=[1]), "holds others"),
        ("video", rename_feature(TOP, "../../x"), "'../../x': found"),
        ("video", rename_feature(TOP, ".."), "'..': found"),
        ("images", linked("data"), "data: a file or a link"),
        ("images", linked("data/chunk-000"), "chunk-000: a file or a link"),
        ("images", linked(FRAMES), "expected a plain file"),
        ("images", linked("meta"), "meta: a file or a link"),
        ("images", linked("meta/tasks.parquet"), "expected a plain file"),
        ("images", linked("meta/info.json"), "expected a plain file"),
        ("video", linked(VIDEO), "expected a plain file"),
        ("video", linked("videos"), "videos: a file or a link"),
        ("images", lambda f: (f / FRAMES).unlink(), "missing, or cannot be read"),
        ("images", bytes_of(FRAMES, b"PAR1" * 9), "episode 0: Arrow"),
        ("video", bytes_of(VIDEO, b"\0\0\0\x18ftypmp42" + bytes(99)), "episode 0: .*Error"),
        ("video", bytes_of(VIDEO, b"#EXTM3U\nfile:///etc/passwd\n"), "episode 0: .*Error"),
        ("images", change_table(EPISODES, "length", lambda o: [10**12, 5, 6]), "MAX_BYTES"),
        ("images", change_table(EPISODES, "length", lambda o: [4, 5, 60]), "has 15 rows"),
        ("images", change_table(EPISODES, "length", lambda o: [5, 5, 5]), "of other episodes"),
        ("images", change_table(EPISODES, "length", lambda o: [0, 5, 6]), "an episode of"),
        ("images", change_table(EPISODES, "data/file_index", lambda o: [-1] * 3), "an episode"),
        ("images", change_table(EPISODES, "data/file_index", lambda o: ["a"] * 3), "no numbers in"),
        ("images", change_table("meta/tasks.parquet", "task_index", lambda o: ["a", "b"]), "both"),
        (
            "video",
            change_table(EPISODES, f"videos/{TOP}/from_timestamp", lambda o: [0.0, 9.0, 0.9]),
            "has no image at 9 s",
        ),
        ("images", change_table(FRAMES, "action", lambda o: [None, *o[1:]]), "without a value"),
        ("images", gif, "UnidentifiedImageError"),
        ("images", bomb, "MAX_BYTES"),
    ],
)
def test_a_hostile_data_set_is_refused(
    kind: str, change: Any, message: str, tmp_path: Path
) -> None:
    folder = copied(kind, tmp_path)
    change(folder)
    with (
        mock.patch.object(limits, "MAX_BYTES", 1 << 25),
        pytest.raises(FormatError, match=message) as caught,
    ):
        list(formats.read(folder, "lerobot").iter_episodes())
    assert str(folder) in str(caught.value)


def test_readers_in_this_process_go_back_and_skip() -> None:
    """What runs in the other process, where coverage and debuggers see it."""
    frames = FramesReader(str(DATA / "lerobot-images" / FRAMES), 1 << 25)
    video = VideoReader(str(DATA / "lerobot-video" / VIDEO), 1 << 25)
    images = np.stack([frame["image"] for frame in truth()]).astype(int)
    for start, stop in ((4, 9), (0, 4), (13, 15), (12, 13), (0, 15)):
        request = {"take": "arrays", "columns": ["index", TOP, "not there"]}
        about, leaves = frames.answer({**request, "rows": [start, stop]})
        assert about == {"rows": 15}
        found = {path[0]: values for path, values in leaves}
        assert found["index"].tolist() == list(range(start, stop))
        assert np.array_equal(found[TOP], images[start:stop])
        request = {"take": "arrays", "start": start / 10, "count": stop - start, "fps": 10}
        ((_, shown),) = video.answer(request)[1]
        assert np.abs(shown - images[start:stop]).max() <= 2
    frames.close()
    video.close()


# LeRobot itself.

ORACLE = """
import sys
import numpy as np
from lerobot.datasets.lerobot_dataset import LeRobotDataset
dataset = LeRobotDataset("some/name", root=sys.argv[1], video_backend="pyav")
frames = [dataset[k] for k in range(len(dataset))]
keys = [key for key in frames[0] if key != "task"]
np.savez(sys.argv[2], task=[f["task"] for f in frames],
         **{key: np.stack([f[key].numpy() for f in frames]) for key in keys})
"""


def read_by_lerobot(folder: Path) -> Any:
    """Return all that LeRobot finds in ``folder / "a"``, each as one array."""
    subprocess.run(
        [os.environ.get("GYMBAG_LEROBOT", sys.executable), "-c", ORACLE, "a", "out.npz"],
        cwd=folder,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "hf")},
        check=True,
    )
    return np.load(folder / "out.npz")


needs_lerobot = pytest.mark.skipif(
    importlib.util.find_spec("lerobot") is None and "GYMBAG_LEROBOT" not in os.environ,
    reason="takes lerobot, here or in the Python that GYMBAG_LEROBOT names",
)


@needs_lerobot
def test_lerobot_reads_our_videos(tmp_path: Path) -> None:
    original = filmed()
    formats.write(original, tmp_path / "a", "lerobot-video")
    theirs = read_by_lerobot(tmp_path)
    rows = [step for e in original.iter_episodes() for step in list(e.steps())[:-1]]
    for key in ("top", "left", "odd"):
        mine = np.stack([row.observation["images"][key] for row in rows]).transpose(0, 3, 1, 2)
        off = np.abs(mine / 255 - theirs[f"observation.images.{key}"]).max()
        assert off <= (0 if key == "odd" else 4) / 255 + 1e-6, key
    assert theirs["episode_index"].tolist() == [0] * 3 + [1] + [2] * 70


@needs_lerobot
def test_lerobot_reads_what_we_write(tmp_path: Path) -> None:
    original = recorded()
    formats.write(original, tmp_path / "a", "lerobot")
    theirs = read_by_lerobot(tmp_path)
    rows = [(e.id, list(e.steps())) for e in original.episodes]
    frames = [(n, k, *pair) for n, r in rows for k, pair in enumerate(pairwise(r))]
    assert len(frames) == len(theirs["index"])
    for index, (number, k, before, after) in enumerate(frames):
        found = {key: theirs[key][index] for key in theirs.files}
        assert np.array_equal(found["observation.state"], before.observation["state"])
        assert np.allclose(found["observation.goal"], before.observation["goal"])
        assert np.array_equal(found["observation.flags"], before.observation["flags"])
        image = before.observation["images"]["top"].transpose(2, 0, 1) / 255
        assert np.allclose(found["observation.images.top"], image, atol=1e-6)
        assert np.array_equal(found["action"], after.action)
        assert np.isclose(found["next.reward"], after.reward)
        assert found["next.done"] == after.done
        assert found["next.success"] == after.info["next"]["success"]
        assert found["force"].tolist() == [k, k]
        assert (found["task"], found["episode_index"]) == (f"é{number}", number)
        assert (found["frame_index"], found["index"]) == (k, index)
        assert np.isclose(found["timestamp"], k / 10)
