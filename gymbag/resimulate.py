# SPDX-License-Identifier: LGPL-3.0-or-later
"""Runs the real environment against a recording: the same seeds, options and actions again.

Which episodes that can be done with depends on how environments draw chance: ``reset`` with a seed
makes Gymnasium's generator anew, ``reset`` without one goes on with it as the last episode left
it. So an episode without a seed follows from the one before, if that was simulated to its end and
nothing was done in between; otherwise there is nothing to check it against.

The environment is the caller's. What a file says of its environment is never made into one.
"""

from __future__ import annotations

import copy
import json
import math
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from gymbag.compare import iter_episodes
from gymbag.divergence import CheckedEpisode, Divergence, Resimulation
from gymbag.errors import CompareError, RecordingWarning, SchemaError
from gymbag.hdf5 import package_versions
from gymbag.mismatch import Tolerance, mismatches, same_space, short
from gymbag.record import RecordEnv, spec_json
from gymbag.recorder import Recorder
from gymbag.schema import Schema, SpaceCodec
from gymbag.schema.info import CELL_COLUMNS, InfoEncoder, decode_infos
from gymbag.schema.text import split_bytes
from gymbag.steps import CUT_OFF, Ended, Episode, Step

NO_SEED = "no seed"
UNCLEAR = (Ended.CLOSED, Ended.INTERRUPTED, Ended.UNKNOWN)
"""After these, the environment may have gone on where the recording did not."""
SPEC_KEYS = ("id", "kwargs", "max_episode_steps")
"""What a spec says of how the environment behaves."""


def resimulate(
    source: Any,
    make_env: Callable[[], Any],
    *,
    tolerance: float = 0.0,
    relative_tolerance: float = 0.0,
    infos: bool = False,
    unseeded: bool = False,
    episodes: Collection[int] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Resimulation:
    """Run an environment with the recorded seeds, options and actions, and compare.

    Observations, rewards, terminations and truncations are compared, each episode up to its first
    divergence. What the environment returns is compared as it would have been recorded: a list
    is an array, for example, where the space is a Box. An episode without a seed follows from the
    one before, and is simulated after it; where that is not possible, it is not checked.

    Args:
        source: a store, or any recording whose episodes are `Episode` objects. Pass a whole store
            and the numbers in `episodes` rather than a selection: those between may be needed.
        make_env: makes the environment, of Gymnasium or of Gym, also an old one whose `step`
            returns four values. It is called once, and the environment is closed in the end.
        tolerance: how far floats may be apart; all else has to be equal.
        relative_tolerance: the same in parts of the recorded number; the two add up.
        infos: whether to compare the infos, too. Some hold the time that was needed.
        unseeded: check episodes that follow from no seed, too: the environment knows no chance,
            or `make_env` seeds it as it was when it was recorded.
        episodes: the numbers of those to check; all if None.
        progress: is called with how many episodes are done.

    Raises:
        CompareError: this is no recording, or `make_env` makes no environment; or the
            environment raised an error where it had not when it was recorded.

    >>> import gymnasium
    >>> from gymbag import resimulate
    >>> print(resimulate(store, lambda: gymnasium.make("CartPole-v1")))
    checked 2 episodes, 11 rows: 2 equal, 0 diverged
    >>> found = resimulate(store, lambda: gymnasium.make("CartPole-v1", sutton_barto_reward=True))
    >>> print(found.episodes[0])
    episode 0, step 1, reward: recorded 1.0, got 0.0, off by 1
    """
    limits = Tolerance(tolerance, relative_tolerance, "fc")
    simulation = _Simulation(_made_by(make_env), source, limits, infos)
    try:
        with warnings.catch_warnings():
            # What does not fit a space exactly was said when it was recorded.
            warnings.simplefilter("ignore", RecordingWarning)
            found: list[CheckedEpisode] = []
            for episode in _check(simulation, source, unseeded, episodes):
                found.append(episode)
                if progress is not None:
                    progress(len(found))
        failed = [episode for episode in found if episode.divergence is not None]
        notes = tuple(_reasons(source, simulation.env, failed)) if failed else ()
    finally:
        getattr(simulation.env, "close", lambda: None)()
    return Resimulation(tuple(found), simulation.errors, notes)


def _made_by(make_env: Any) -> Any:
    remedy = "expected a function that makes one, such as lambda: gymnasium.make('CartPole-v1')"
    if not callable(make_env):
        raise CompareError(f"make_env: found {make_env!r:.80}; {remedy}")
    try:
        env = make_env()
    except TypeError as error:
        raise CompareError(f"make_env: {error}; {remedy}") from error
    if not (hasattr(env, "reset") and hasattr(env, "step")):
        raise CompareError(f"make_env: made {env!r:.80}, which is no environment; {remedy}")
    return env


def _check(
    simulation: _Simulation, source: Any, unseeded: bool, wanted: Collection[int] | None
) -> Iterator[CheckedEpisode]:
    """Simulate the episodes that are wanted, and those that they follow from."""
    begun = [session.start_time for session in getattr(source, "sessions", ())]
    why_not = "" if unseeded else NO_SEED
    skipped: list[Episode] = []
    """Those since the last seed that the next one may follow from."""
    before = None
    for episode in iter_episodes(source):
        if not isinstance(episode, Episode):
            raise CompareError(
                f"{episode!r:.80} is no Episode, and says nothing of its seed; "
                "record it into a file or a gymbag.ListRecorder, and pass that"
            )
        if episode.seed is not None:
            skipped, why_not = [], ""
        elif not unseeded:
            why_not = why_not or _gap(before, episode, begun)
        before = episode
        if wanted is not None and episode.id not in wanted:
            skipped.append(episode)
            continue
        for each in [*skipped, episode]:
            if why_not:
                yield CheckedEpisode(episode.id, episode.seed, not_checked=why_not)
                break
            rows, divergence = simulation.run(each)
            if each is episode:
                yield CheckedEpisode(episode.id, episode.seed, rows, divergence)
            if divergence is not None and not unseeded:
                why_not = f"{NO_SEED}, and episode {each.id}, from which it follows, diverged"
        skipped = []


def _gap(before: Episode | None, episode: Episode, begun: Sequence[float]) -> str:
    """Return why an episode without a seed does not follow from the one before, or nothing."""
    if before is None:
        return NO_SEED
    if before.id + 1 != episode.id:
        return f"{NO_SEED}, and the episode before it is not here"
    if before.ended in UNCLEAR:
        return f"{NO_SEED}, and nothing says what came before it"
    start, end, next_start = (
        getattr(each, name, math.nan)
        for each, name in ((before, "start_time"), (before, "end_time"), (episode, "start_time"))
    )
    # The lanes of a vector of environments, and several files, are read one after another.
    if next_start < end or any(start < time <= next_start for time in begun):
        return f"{NO_SEED}, and it is the first of a recording"
    return ""


class _Simulation:
    """An environment, made to do what was recorded."""

    def __init__(self, env: Any, source: Any, tolerance: Tolerance, infos: bool) -> None:
        self.errors: dict[str, float] = {}
        self.env = env
        self._returned = _Returned()
        # It knows what environments of all libraries return, old ones included.
        self._recording: Any = RecordEnv(env, self._returned)
        self._codec = _observation_codec(source)
        self._tolerance = tolerance
        self._infos = infos

    def run(self, episode: Episode) -> tuple[int, Divergence | None]:
        """Return how many rows are equal, and where the next one differs."""
        keywords = {"seed": episode.seed, "options": episode.options}
        given = {name: value for name, value in keywords.items() if value is not None}
        count = 0
        for step, recorded in enumerate(episode.steps()):
            try:
                if step:
                    self._recording.step(copy.deepcopy(recorded.action))
                else:
                    self._recording.reset(**copy.deepcopy(given))
            except Exception as error:
                raise CompareError(
                    f"episode {episode.id}, step {step}: the environment raised "
                    f"{type(error).__name__}: {error}; it had not when it was recorded"
                ) from error
            divergence = self._compare(episode, step, recorded)
            if divergence is not None:
                return count, divergence
            count += 1
        return count, None

    def _compare(self, episode: Episode, step: int, recorded: Step) -> Divergence | None:
        if episode.ended in CUT_OFF and step == episode.episode_length:
            # The user cut the episode off, not the environment.
            recorded = recorded._replace(truncated=False)
        got = self._returned.step
        for name in self._fields(episode, step):
            mine, others = getattr(recorded, name), getattr(got, name)
            if name == "observation" and self._codec is not None:
                mine, others = (_as_stored(self._codec, each) for each in (mine, others))
            elif name == "info":
                mine, others = _as_info(mine), _as_info(others)
            for found in mismatches(name, mine, others, self._tolerance):
                if not found.tolerated:
                    return Divergence(
                        step, found.place, short(found.a), short(found.b), found.error
                    )
                if found.error is not None:
                    largest = self.errors.get(found.path, 0.0)
                    self.errors[found.path] = max(largest, found.error)
        return None

    def _fields(self, episode: Episode, step: int) -> Iterator[str]:
        yield "observation"
        if step:
            yield "reward"
            if episode.ended is not Ended.UNKNOWN or step < episode.episode_length:
                yield from ("terminated", "truncated")
        if self._infos:
            yield "info"


class _Returned(Recorder):
    """Keeps what the environment has just returned."""

    step: Step

    def on_reset(
        self,
        time: float,
        observation: Any,
        info: Mapping[Any, Any],
        *,
        seed: int | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        """Keep it."""
        self.step = Step(time, observation, None, math.nan, False, False, dict(info))

    def on_step(
        self,
        time: float,
        observation: Any,
        action: Any,
        reward: float,
        terminated: bool,
        truncated: bool,
        info: Mapping[Any, Any],
    ) -> None:
        """Keep it."""
        number = float(np.asarray(reward, np.float64).reshape(()))
        flags = bool(terminated), bool(truncated)
        self.step = Step(time, observation, action, number, *flags, dict(info))


def _observation_codec(source: Any) -> SpaceCodec | None:
    spaces = [getattr(source, f"{name}_space", None) for name in ("observation", "action")]
    try:
        return None if None in spaces else Schema.from_spaces(*spaces).observation
    except SchemaError:
        return None


def _as_stored(codec: SpaceCodec, value: Any) -> Any:
    """Return a value of a space as a file would give it back; one that does not fit as it is."""
    try:
        return codec.pick(codec.batch([value]), 0)
    except SchemaError:
        return value


def _as_info(info: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return an info as a file would give it back: without what no file can hold."""
    encoder = InfoEncoder()
    encoder.add(0, info)
    block = encoder.take(1)
    values = block.values
    columns = [(c, values[c.name], values[f"{c.name}#has"]) for c in block.columns]
    cell = [values[c.name] for c in CELL_COLUMNS if c.name in values]
    return decode_infos(1, columns, split_bytes(*cell) if cell else [])[0]


def _reasons(source: Any, env: Any, failed: Sequence[CheckedEpisode]) -> Iterator[str]:
    """Say in what the environment, and what it runs on, is another than the recorded one."""
    for name in ("observation_space", "action_space"):
        mine, other = getattr(source, name, None), getattr(env, name, None)
        if mine is not None and not same_space(mine, other):
            yield f"{name}: recorded {short(mine)}, now {short(other)}"
    sessions, now = getattr(source, "sessions", ()), package_versions()
    specs = getattr(source, "env_spec", None), spec_json(getattr(env, "spec", None))
    then: dict[str, Any] = dict(sessions[-1].versions) if sessions else {}
    pairs = {"env_spec": tuple(map(_behaviour, specs)), "versions": (then, now)}
    for about, (mine, other) in pairs.items():
        for found in mismatches(about, mine, other) if mine and other else ():
            yield f"{found.place}: recorded {short(found.a)}, now {short(found.b)}"
    for episode in failed:
        if episode.seed is None:
            yield (
                f"episode {episode.episode} has no seed: it follows from the one before only if "
                "no reset without a step came between them, and none was deleted"
            )
            break


def _behaviour(text: str | None) -> dict[str, Any]:
    """Return what of a spec's JSON says how the environment behaves."""
    try:
        spec = json.loads(text or "{}")
        return {key: spec[key] for key in SPEC_KEYS if key in spec}
    except (ValueError, TypeError, RecursionError):
        return {}
