# SPDX-License-Identifier: LGPL-3.0-or-later
"""A data set of a file, open for reading: its episodes, its columns, and questions about it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from gymbag.errors import NoSuchView, NotAStore, QueryError
from gymbag.records import Dataset, Records
from gymbag.segments import StoredEpisode
from gymbag.selection import Everything, Selection
from gymbag.statistics import Statistics
from gymbag.steps import Episode, Step, Transitions
from gymbag.storage.entries import Reader
from gymbag.storage.joined import Path, files_of, open_reader
from gymbag.storage.meta import Session, View
from gymbag.storage.sizes import ColumnSize
from gymbag.storage.snapshot import MAX_BYTES


def open(
    filename: Path | Sequence[Path], name: str | None = None, *, max_bytes: int = MAX_BYTES
) -> Store:
    """Open a data set for reading, also while it is being recorded.

    If the process that recorded it died, the file is recovered first, and a `RecoveryWarning`
    says what was found. Nothing in a file is ever executed; a stranger's file is safe to open.

    Args:
        filename: the file; or several, as a list or as a pattern such as ``"runs/*.h5"``, whose
            data sets of that name are read as one, file after file. The lanes of a vector of
            environments are always read as one, and each alone as ``"CartPole-v1 [3]"``.
        name: the data set in it; none is needed if the file holds only one.
        max_bytes: how many bytes the file can make this process allocate at once.

    Raises:
        NoSuchFile: there is no such file.
        NotAStore: it is not one of gymbag's.
        NewerFormat: a later gymbag wrote it.
        NoSuchDataset: it holds no data set of that name, or several and none was named.
        SchemaError: the files hold data sets of that name with different spaces.

    >>> import gymbag
    >>> store = gymbag.open(filename)
    >>> len(store.where("reward > 0 and not terminated"))
    9
    """
    return Store(filename, name, max_bytes=max_bytes)


def require_file(filename: str | os.PathLike[str]) -> None:
    """Check that it is no folder, as other programs' recordings are.

    Raises:
        NotAStore: it is one; the message says what to do.
    """
    if os.path.isdir(filename):
        raise NotAStore(
            f"{os.fspath(filename)}: a folder, not a file; if another program wrote it, "
            f"make a file of it: gymbag convert {os.fspath(filename)} NEW.h5, or "
            "gymbag.convert(old, new)"
        )


class Store:
    """One data set, as it was when it was opened; `refresh` moves on to what came since.

    ``len(store)`` is the number of rows: an episode of n actions has n + 1, the reset's first.
    It can be pickled; the copy opens the file again.
    """

    def __init__(
        self,
        filename: Path | Sequence[Path],
        name: str | None = None,
        *,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        for path in files_of(filename):
            require_file(path)
        self._dataset = Dataset(Records(open_reader(filename, name, max_bytes)))
        self.filename = self._reader.filename
        self.name = self._reader.meta.name

    @property
    def _records(self) -> Records:
        return self._dataset.records

    @property
    def _reader(self) -> Reader:
        return self._records.reader

    def where(self, text: str, /, **params: Any) -> Selection:
        """Select the rows of which a question holds; nothing is read before they are used.

        Args:
            text: the question, for example ``"reward > t and not terminated"``. See the
                documentation of the language for what it may say.
            **params: values for the names in it that are no fields.

        Raises:
            QueryError: the text is not understood; the message shows where.

        >>> store.where("reward > t and step < 3", t=0.5)
        <Selection 'reward > t and step < 3' of 'CartPole-v1'>
        """
        return self.all().where(text, **params)

    def all(self) -> Selection:
        """Select every row."""
        return Selection(self._dataset, Everything(), "True", self.name)

    @property
    def views(self) -> dict[str, View]:
        """The questions that were saved in the file, by name; see `gymbag.save_view`."""
        return dict(self._reader.meta.views)

    def view(self, name: str) -> Selection:
        """Select the rows of which a saved question holds.

        The file is only asked for its text, which is parsed here like any other.

        Raises:
            NoSuchView: none was saved under that name.
            QueryError: the question is not understood; the message shows where.

        >>> gymbag.save_view(filename, "late", "step > t", {"t": 3})
        >>> store.refresh()
        >>> store.view("late")
        <Selection 'step > t' of 'CartPole-v1'>
        """
        view = self.views.get(name)
        if view is None:
            names = ", ".join(map(repr, self.views)) or "none"
            raise NoSuchView(f"{self.filename}: {self.name}: no view {name!r}; it has {names}")
        try:
            return self.where(view.question, **view.parameters)
        except QueryError as error:
            raise QueryError(f"{self.filename}: view {name!r}: {error}") from None

    @property
    def episodes(self) -> Episodes:
        """The episodes, as a sequence."""
        records = self._records
        return Episodes(records, range(len(records.episodes)))

    def iter_episodes(self) -> Iterator[Episode]:
        """Iterate over the episodes."""
        return iter(self.episodes)

    def steps(self) -> Iterator[Step]:
        """Iterate over all rows, episode after episode."""
        return self.all().steps()

    def sample(
        self,
        batch: int,
        rng: np.random.Generator | int | None = None,
        *,
        n_step: int = 1,
        gamma: float = 0.99,
        stack: int | None = None,
    ) -> Transitions:
        """Return transitions drawn at random from all; see `Selection.sample`."""
        return self.all().sample(batch, rng, n_step=n_step, gamma=gamma, stack=stack)

    def statistics(self) -> Statistics:
        """Return means, spreads, extremes and quantiles of all fields; see `Statistics`."""
        return self.all().statistics()

    def __getitem__(self, name: str) -> Any:
        """Return a field of all rows as an array, for example ``store["info.lives"]``.

        Args:
            name: its path, as a question would name it; also ``observation``, ``action`` and
                ``info`` as a whole.
        """
        records = self._records
        return records.column(name, np.arange(records.rows))

    def __len__(self) -> int:
        """Return the number of rows."""
        return self._records.rows

    @property
    def columns(self) -> list[str]:
        """The names of all fields that a question can ask for."""
        return self._records.names()

    @property
    def observation_space(self) -> Any:
        """The observation space, of Gymnasium's classes."""
        return self._records.observation_space

    @property
    def action_space(self) -> Any:
        """The action space, of Gymnasium's classes."""
        return self._records.action_space

    @property
    def description(self) -> str:
        """What the user wrote about it."""
        return self._reader.meta.description

    @property
    def metadata(self) -> dict[str, Any]:
        """What the user kept with it."""
        return self._reader.meta.metadata

    @property
    def env_spec(self) -> str | None:
        """The environment's spec as JSON: text, never made into an environment."""
        return self._reader.meta.env_spec

    @property
    def sessions(self) -> tuple[Session, ...]:
        """The recordings that made it: when each began, and by which versions."""
        return self._reader.meta.sessions

    def column_sizes(self) -> list[ColumnSize]:
        """Return what each table and array takes, in memory and in the file."""
        return self._reader.column_sizes()

    def describe(self) -> dict[str, Any]:
        """Return what is inside as plain values: counts, returns, spaces, sizes.

        Returns are None where there is no episode.
        """
        table = self._records.episodes
        sizes = self.column_sizes()
        some = len(table) > 0
        return {
            "filename": self.filename,
            "name": self.name,
            "description": self.description,
            "episodes": len(table),
            "rows": len(self),
            "actions": self._records.actions,
            "mean_return": float(table["episode_return"].mean()) if some else None,
            "min_return": float(table["episode_return"].min()) if some else None,
            "max_return": float(table["episode_return"].max()) if some else None,
            "mean_length": float((table["rows"] - 1).mean()) if some else None,
            "observation_space": str(self.observation_space),
            "action_space": str(self.action_space),
            "columns": self.columns,
            "nbytes": sum(size.nbytes for size in sizes),
            "stored": sum(size.stored for size in sizes),
        }

    def refresh(self) -> None:
        """Move on to what has been recorded since the data set was opened.

        Selections are asked of that from now on. Episodes, segments and items that were had before
        stay as they are, and iterations that have begun, in any thread, go on in what was there.

        Raises:
            SchemaError: the file was replaced by one whose data set has other spaces; what was
                there is read on.
        """
        self._dataset.refresh()

    def close(self) -> None:
        """Give the file back; what was read stays."""
        self._reader.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(Store, max_bytes=self._reader.max_bytes), (self._reader.files, self.name)

    def __repr__(self) -> str:
        about = f": {self.description}" if self.description else ""
        return (
            f"<Store {self.name!r} in {self.filename!r}: {len(self.episodes)} episodes, "
            f"{len(self)} rows{about}>"
        )

    # Minari's names, so that code written for its data sets runs on a store.

    @property
    def total_steps(self) -> int:
        """The number of actions, of all episodes."""
        return self._records.actions

    @property
    def total_episodes(self) -> int:
        """The number of episodes."""
        return len(self.episodes)

    def iterate_episodes(self, episode_indices: Iterable[int] | None = None) -> Iterator[Episode]:
        """Iterate over the episodes of some numbers, in that order, or over all."""
        episodes = self.episodes
        return iter(
            episodes if episode_indices is None else map(episodes.__getitem__, episode_indices)
        )

    def sample_episodes(
        self, n_episodes: int, rng: np.random.Generator | int | None = None
    ) -> list[Episode]:
        """Return episodes drawn at random, each at most once.

        Args:
            n_episodes: how many.
            rng: draws them; a number seeds a new generator at each call.

        Raises:
            ValueError: there are not so many.
        """
        if n_episodes > self.total_episodes:
            raise ValueError(
                f"{self.filename}: {n_episodes} episodes were asked for; it has "
                f"{self.total_episodes}"
            )
        drawn = np.random.default_rng(rng).permutation(self.total_episodes)[:n_episodes]
        return [self.episodes[number] for number in drawn.tolist()]

    def filter_episodes(self, condition: Callable[[Episode], bool]) -> Selection:
        """Select the rows of those episodes of which a function says True.

        It reads every episode as far as the function looks at it; `where` finds most of what one
        looks for without.

        >>> len(store.filter_episodes(lambda episode: episode.rewards.sum() > 5))
        9
        """
        chosen = [episode.id for episode in self.episodes if condition(episode)]
        return self.where("episode in chosen", chosen=chosen)


class Episodes(Sequence[Episode]):
    """Episodes of a data set, read when they are used."""

    def __init__(self, records: Records, numbers: range) -> None:
        self._records = records
        self._numbers = numbers

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._numbers)

    @overload
    def __getitem__(self, index: int) -> StoredEpisode: ...
    @overload
    def __getitem__(self, index: slice) -> Episodes: ...
    def __getitem__(self, index: int | slice) -> StoredEpisode | Episodes:
        """Return one episode, or some of them."""
        if isinstance(index, slice):
            return Episodes(self._records, self._numbers[index])
        try:
            return StoredEpisode(self._records, self._numbers[index])
        except IndexError:
            raise IndexError(f"episode {index}: there are {len(self)}") from None

    @property
    def returns(self) -> NDArray[np.float64]:
        """The sum of the rewards of each, float64; no row is read for it."""
        return self._table["episode_return"].copy()

    @property
    def lengths(self) -> NDArray[np.int64]:
        """The number of actions of each, int64."""
        return self._table["rows"] - 1

    @property
    def _table(self) -> NDArray[Any]:
        some = self._numbers
        stop = None if some.stop < 0 else some.stop
        return self._records.episodes[some.start : stop : some.step][: len(some)]

    def __repr__(self) -> str:
        return f"<{len(self)} episodes>"
