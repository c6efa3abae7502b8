# SPDX-License-Identifier: LGPL-3.0-or-later
"""Writes Minari's data sets: its HDF5 layout, without loss of images, compressed with gzip."""

from __future__ import annotations

import json
import re
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec

from gymbag.errors import FormatError
from gymbag.formats.columns import keep, write_array, write_tree
from gymbag.formats.infos import columns, is_name, is_text
from gymbag.formats.losses import Losses
from gymbag.formats.minari.metadata import RESERVED
from gymbag.formats.minari.spaces import to_json
from gymbag.formats.minari.values import named
from gymbag.formats.process import require_installed
from gymbag.formats.spaces import known_spaces
from gymbag.schema import Schema, jsonable
from gymbag.steps import CUT_OFF, Episode, Source, Step

VERSION = "0.5.4"
"""The release whose layout this is; Minari refuses a data set of one that it does not know."""
NAME = re.compile(r"[-\w]+-v[0-9]+")
NAMED = re.compile(rf"([-\w][-\w/]*/)?{NAME.pattern}")


def write(source: Source, path: Path) -> list[str]:
    """Write a data set into a new folder, and return what was lost or made up.

    ``minari.load_dataset`` finds it if the folder is in its ``MINARI_DATASETS_PATH``.

    Raises:
        FormatError: h5py is missing, the folder's name is none of Minari's, or Minari has no
            such space or text.
    """
    require_installed(("h5py",), f"{path}: to write Minari's files", "minari")
    if not NAME.fullmatch(path.name):
        raise FormatError(
            f"{path.name}: no name for a data set of Minari's; expected letters, digits, - and "
            "_, and a version at the end; choose one like cartpole-v0"
        )
    import h5py

    episodes = source.iter_episodes()
    first = next(episodes, None)
    observation_space, action_space, made_up = known_spaces(source, first)
    lost = Losses()
    for sentence in made_up:
        lost.add(sentence)
    about = {
        "data_format": "hdf5",
        "jpeg_encoding": False,
        "observation_space": json.dumps(to_json(observation_space, "observation")),
        "action_space": json.dumps(to_json(action_space, "action")),
        "minari_version": VERSION,
        "dataset_id": _dataset_id(source, path.name),
        "description": source.description,
        "name": source.name,
        **_metadata(source.metadata, lost),
    }
    if source.env_spec is not None:
        if _is_env_spec(source.env_spec):
            about["env_spec"] = source.env_spec
        else:
            lost.add("env_spec: not kept; Gymnasium does not read it")
    schema = Schema.from_spaces(observation_space, action_space)
    number = steps = 0
    folder = path / "data"
    folder.mkdir(parents=True)
    with h5py.File(folder / "main_data.hdf5", "w") as file:
        for episode in chain([first] if first is not None else [], episodes):
            rows = list(episode.steps())
            if len(rows) > 1:
                group = file.create_group(f"episode_{number}")
                where = f"episode {episode.id}"
                _write_rows(group, rows, schema, (observation_space, action_space), where, lost)
                _write_attributes(group, number, episode, lost)
                number, steps = number + 1, steps + len(rows) - 1
    size = round((folder / "main_data.hdf5").stat().st_size / 1e6, 1)
    about |= {"total_episodes": number, "total_steps": steps, "dataset_size": size}
    (folder / "metadata.json").write_text(json.dumps(about), "utf-8")
    return list(lost)


def _dataset_id(source: Source, name: str) -> str:
    """Return the folder's name, with the namespace that it had when it was Minari's before."""
    known = source.metadata.get("dataset_id")
    if isinstance(known, str) and NAMED.fullmatch(known) and known.rpartition("/")[2] == name:
        return known
    return name


def _metadata(metadata: dict[str, Any], lost: Losses) -> dict[str, Any]:
    """Return the user's metadata as Minari has it."""
    found = {}
    for key, value in metadata.items():
        if key in RESERVED or key in ("dataset_id", "minari_version"):
            if key in RESERVED:
                lost.add("metadata: not kept, for its key means something else there", str(key))
            continue
        if key in ("author", "author_email", "requirements") and isinstance(value, str):
            value = [value]  # Minari makes a set of what stands there, of a text's letters, too
        try:
            found[str(key)] = jsonable.encode(value)
        except (TypeError, ValueError):
            lost.add("metadata: not kept, for JSON has no place for it", str(key))
    return found


def _is_env_spec(text: str) -> bool:
    """Return whether Minari can make a spec of it; nothing is imported or made for that."""
    try:
        return isinstance(EnvSpec.from_json(text).id, str)
    except Exception:  # whatever stands in it
        return False


def _write_rows(
    group: Any,
    rows: list[Step],
    schema: Schema,
    both: tuple[Any, Any],
    where: str,
    lost: Losses,
) -> None:
    observations = schema.observation.batch([row.observation for row in rows])
    actions = schema.action.batch([row.action for row in rows[1:]])
    _write_batch(group, "observations", both[0], observations, where)
    _write_batch(group, "actions", both[1], actions, where)
    write_array(group, "rewards", np.array([row.reward for row in rows[1:]], np.float64))
    write_array(group, "terminations", np.array([row.terminated for row in rows[1:]], np.bool_))
    write_array(group, "truncations", np.array([row.truncated for row in rows[1:]], np.bool_))
    infos, missing = columns([row.info for row in rows])
    write_tree(group.create_group("infos"), infos)
    if missing:
        lost.add(
            "info: not kept where a key is not in every row of an episode, or changes its type or "
            "shape, or is no number or text",
            *missing,
        )
    if any(np.isfinite(row.time) for row in rows):
        lost.add("time: not kept by this format")


def _write_batch(group: Any, name: str, space: Any, values: Any, where: str) -> None:
    if isinstance(space, spaces.Dict | spaces.Tuple):
        inner = group.create_group(name)
        keys = space.spaces if isinstance(space, spaces.Dict) else range(len(space.spaces))
        for key, (inner_name, below) in zip(keys, named(space, "hdf5"), strict=True):
            _write_batch(inner, inner_name, below, values[key], where)
    elif isinstance(space, spaces.Text):
        bad = next((text for text in values if not is_text(text)), None)
        if bad is not None:
            raise FormatError(
                f"{where}: {name}: the text {bad!r:.100} has no place in Minari's HDF5 file; "
                "expected UTF-8 without NUL; choose another format"
            )
        write_array(group, name, list(values))
    else:
        write_array(group, name, np.asarray(values))


def _write_attributes(group: Any, number: int, episode: Episode, lost: Losses) -> None:
    where = f"episode {episode.id}"
    group.attrs["id"] = number
    group.attrs["total_steps"] = episode.episode_length
    if episode.seed is not None and not keep(group.attrs, "seed", episode.seed):
        lost.add("seed: not kept beyond 64 bits", where)
    if episode.options is not None and not _keep_options(group.attrs, "options", episode.options):
        lost.add("options: not kept where HDF5 has no place for a value", where)
    if episode.ended in CUT_OFF:
        lost.add(
            "ended: Minari keeps that an episode was truncated, and not that its user cut it off",
            where,
        )


def _keep_options(attributes: Any, path: str, options: dict[Any, Any]) -> bool:
    """Write options, and return whether all of them were."""
    kept = [
        is_name(key)
        and (
            _keep_options(attributes, f"{path}/{key}", value)
            if isinstance(value, dict)
            else keep(attributes, f"{path}/{key}", value)
        )
        for key, value in options.items()
    ]
    return bool(kept) and all(kept)
