# SPDX-License-Identifier: LGPL-3.0-or-later
"""Records of RLDS as episodes, one at a time in memory.

A step of RLDS is an observation, the action that followed, and its reward and discount. In the
step that says ``is_last``, only the observation means something: it is the final one. So an
episode of n + 1 steps has n actions. Where the last step does not say so, its action counts, and
the observation after it is not known.

The infos have all the rest: the ``discount`` of an action in the row after it; further features of
a step in the row of its observation; those of the episode in the reset's row, under ``episode``.
Texts in an observation or action, for which there is no space that is known, are there under the
same names, as ``info.observation.natural_language_instruction``.
What the last step has as action and reward, if it is not all 0, is under ``last_step`` in the
final row, and flags are kept there which are True in the middle of an episode.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from gymbag.errors import FormatError
from gymbag.formats.aligned import aligned_episode
from gymbag.formats.infos import fill
from gymbag.formats.limits import ROW_BYTES, require_fit
from gymbag.formats.process import Request, answers, require_installed
from gymbag.formats.rlds.info import Feature, Info, Keys, read_info
from gymbag.steps import Episode

STEPS = "steps"
FLAGS = ("is_first", "is_last", "is_terminal")
NUMBERS = (*FLAGS, "reward", "discount")
"""Features of one number for each step."""
CELL_BYTES = 64
"""What a value of a row takes as Python's object."""

STORED = {
    "int": np.dtype(np.int64),
    "float": np.dtype(np.float32),
    "image": np.dtype(np.uint8),
    "text": list,
}
"""As what values of each kind arrive."""

Tree = dict[str, Any]


class RLDSSource:
    """The episodes of a split. It knows no spaces."""

    observation_space = None
    action_space = None
    env_spec = None

    def __init__(self, path: Path, info: Info, split: str) -> None:
        self.folder = path
        self.split = split
        self.name = f"{info.name}-{split}"
        self.description = info.description
        self.metadata = {**info.metadata, "split": split}
        self.shards = info.splits[split]
        self._features = {"/".join(keys): feature for keys, feature in info.features.items()}
        self._steps = [keys[1:] for keys in info.features if keys[:1] == (STEPS,)]
        needs = f"{path}: to read RLDS"
        require_installed(("google.protobuf", "google_crc32c", "PIL"), needs, "rlds")
        for name in ("observation", "action"):
            found = [info.features[STEPS, *k].kind for k in self._steps if k[:1] == (name,)]
            if not {*found} - {"text"}:
                raise FormatError(f"{path}: no steps/{name} of numbers or images; expected them")
        if not all(info.features[STEPS, *keys].many for keys in self._steps):
            raise FormatError(f"{path}: steps: found one for each episode; expected a Dataset")
        for key in NUMBERS:
            feature = info.features.get((STEPS, key))
            if feature and (feature.kind not in ("int", "float") or math.prod(feature.shape) != 1):
                raise FormatError(f"{path}: steps/{key}: found {feature}; expected a number")

    def iter_episodes(self) -> Iterator[Episode]:
        """Iterate over the episodes; one without any action is left out.

        Raises:
            FormatError: a file is missing, damaged, or not as the descriptions say.
        """
        number = 0
        with closing(answers(self._requests())) as found:
            for (where, _), (_, leaves) in zip(self._requests(), found, strict=True):
                arrays = {
                    key: _shaped(leaves.get((key,)), feature, f"{where}: {key}")
                    for key, feature in self._features.items()
                }
                episode = self._episode(number, arrays, where)
                if episode is not None:
                    yield episode
                    number += 1

    def _requests(self) -> Iterator[Request]:
        kinds = {key: feature.kind for key, feature in self._features.items()}
        for shard in self.shards:
            asked = {"kind": "examples", "file": str(shard.path.absolute()), "features": kinds}
            for k in range(shard.records):
                last = k == shard.records - 1
                request = {**asked, "take": "arrays", "record": k, "last": last}
                yield f"{shard.path}: record {k}", request

    def _episode(self, number: int, arrays: Tree, where: str) -> Episode | None:
        steps = {keys: arrays["/".join((STEPS, *keys))] for keys in self._steps}
        lengths = {keys: len(values) for keys, values in steps.items()}
        n = next(iter(lengths.values()))
        for keys, length in lengths.items():
            if length != n:
                raise FormatError(f"{where}: {STEPS}/{'/'.join(keys)}: {length} steps, not {n}")
        require_fit(n * (ROW_BYTES + CELL_BYTES * len(steps)), where)
        flags = {key: steps[key,].reshape(-1) != 0 for key in FLAGS if (key,) in steps}
        ends = {key: bool(flag[-1:].any()) for key, flag in flags.items()}
        whole = ends.get("is_last", False)
        if n - whole < 1:
            return None
        observations, actions = (_part(steps, name, n, where) for name in ("observation", "action"))
        rewards = [math.nan] * n
        if ("reward",) in steps:
            rewards = steps["reward",].reshape(-1).astype(np.float64).tolist()
        count = n - whole
        return aligned_episode(
            number,
            observations[:count],
            actions[:count],
            rewards[:count],
            terminated=ends.get("is_terminal", False),
            truncated=whole and not ends.get("is_terminal", True),
            final=observations[-1] if whole else None,
            infos=self._infos(arrays, steps, flags, n, count, where),
        )

    def _infos(
        self,
        arrays: Tree,
        steps: dict[Keys, Any],
        flags: Tree,
        n: int,
        count: int,
        where: str,
    ) -> list[Tree]:
        infos: list[Tree] = [{} for _ in range(count + 1)]
        for key, feature in self._features.items():
            above, *path = key.split("/")
            if above != STEPS:
                values = arrays[key] if feature.many else _plain(arrays[key])[0]
                fill(infos[:1], ("episode", above, *path), [values], where)
        odd = {
            key
            for key, flag in flags.items()
            if (flag[1:].any() or not flag[0] if key == "is_first" else flag[:-1].any())
        }
        for keys, values in steps.items():
            part = keys[0] in ("observation", "action") and values.dtype != object
            if part or keys[0] == "reward" or (keys[0] in FLAGS and keys[0] not in odd):
                continue
            late = keys[0] in ("action", "discount")
            fill(infos[late:], keys, _plain(values)[: count + 1 - late], where)
        ignored = {
            keys: values for keys, values in steps.items() if keys[0] in ("action", "reward")
        }
        if count < n and any(map(_says_something, ignored.values())):
            for keys, values in ignored.items():
                fill(infos[-1:], ("last_step", *keys), _plain(values)[-1:], where)
        return infos

    def __repr__(self) -> str:
        return f"<RLDSSource {self.name!r} in {str(self.folder)!r}>"


def _says_something(values: Any) -> bool:
    """Return whether the last value is something else than 0, NaN or an empty text."""
    last = values[-1]
    return bool(np.any((last != "") if values.dtype == object else (last != 0) & (last == last)))


def _part(steps: dict[Keys, Any], name: str, n: int, where: str) -> list[Any]:
    """Return the observations or the actions, without their texts."""
    if (name,) in steps:
        return _plain(steps[name,])
    found: list[Tree] = [{} for _ in range(n)]
    for keys, values in steps.items():
        if keys[0] == name and values.dtype != object:
            fill(found, keys[1:], _plain(values), where)
    return found


def _plain(values: Any) -> list[Any]:
    """Return the values of each step."""
    return values.tolist() if values.dtype == object else list(values)


def _shaped(values: Any, feature: Feature, where: str) -> Any:
    """Return values as one array, an entry for each time that the feature is there."""
    shape = feature.shape
    wanted = STORED[feature.kind]
    if wanted != (list if isinstance(values, list) else getattr(values, "dtype", None)):
        raise FormatError(f"{where}: found {type(values).__name__}; expected {feature.kind}")
    if feature.kind == "image":
        sizes = values.shape[1:] if values.ndim == len(shape) + 1 else (*values.shape[1:], 1)
        fits = len(sizes) == len(shape) and all(
            size in (-1, found) for size, found in zip(shape, sizes, strict=True)
        )
        if len(values) and not fits:
            raise FormatError(f"{where}: found images of {sizes}; expected {shape}")
        array = values.reshape(len(values), *sizes) if len(values) else values
    else:
        array = _cast(values, feature, where)
        width = abs(math.prod(shape))
        if array.size % width or (not feature.many and -1 not in shape and array.size != width):
            raise FormatError(f"{where}: found {array.size} values; expected {shape} in each")
        array = array.reshape(1 if -1 in shape else array.size // width, *shape)
    if not feature.many and len(array) != 1:
        raise FormatError(f"{where}: found {len(array)} of them; expected one")
    return array


def _cast(values: Any, feature: Feature, where: str) -> Any:
    if feature.kind == "text":
        array = np.empty(len(values), object)
        array[:] = values
        return array
    if feature.dtype == "uint64":  # which an Example has no place for
        return values.view(np.uint64)
    with np.errstate(over="ignore"):
        cast = values.astype(feature.dtype)
    if feature.kind == "int" and (cast != values).any():
        raise FormatError(f"{where}: found numbers that are no {feature.dtype}")
    return cast


def read(path: Path, name: str | None) -> RLDSSource:
    """Read a split of a folder, by its name or by that of the data set and the split.

    Raises:
        FormatError: there is no such split, or several and none is named.
    """
    info = read_info(path)
    known = {f"{info.name}-{split}": split for split in info.splits}
    if name is None and len(known) == 1:
        name = next(iter(known))
    split = known.get(name or "", name)
    if split not in info.splits:
        found = "no name" if name is None else repr(name)
        raise FormatError(
            f"{path}: found {found}; it holds {', '.join(map(repr, known))}; say which, as name="
        )
    return RLDSSource(path, info, split)


def names(path: Path) -> list[str]:
    """Return the names of the splits, each after that of the data set."""
    info = read_info(path)
    return [f"{info.name}-{split}" for split in info.splits]
