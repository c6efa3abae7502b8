# SPDX-License-Identifier: LGPL-3.0-or-later
"""The SQLite of reinforcement-learning experience.

>>> import gymnasium, os, tempfile
>>> import gymbag
>>> filename = os.path.join(tempfile.mkdtemp(), "cartpole.h5")
>>> with gymbag.record_hdf5(gymnasium.make("CartPole-v1"), filename) as env:
...     observation, info = env.reset(seed=1)
...     for _ in range(8):
...         observation, reward, terminated, truncated, info = env.step(env.action_space.sample())
>>> store = gymbag.open(filename)
>>> len(store.where("reward > 0"))
8
>>> env = gymbag.PlaybackEnv(store.where("reward > 0"))
>>> observation, info = env.reset()
"""

from gymbag.batches import Batches
from gymbag.card import card
from gymbag.compare import Comparison, compare
from gymbag.divergence import CheckedEpisode, Divergence, Resimulation
from gymbag.errors import (
    EpisodeError,
    FileError,
    FormatError,
    GymbagError,
    QueryError,
    RecordingWarning,
    SchemaError,
    UnsupportedSpace,
)
from gymbag.formats import convert
from gymbag.formats.rescue import rescue
from gymbag.formats.tabular.frames import to_arrow, to_pandas, to_polars
from gymbag.generate import (
    RandomAgent,
    RandomEnv,
    drive_env,
    generate_monotonic,
    generate_random,
    get_actions,
    run_episode,
)
from gymbag.hdf5 import HDF5Recorder
from gymbag.hdf5_reader import HDF5Reader
from gymbag.memory import ListRecorder, MemorySource
from gymbag.playback import PlaybackAgent, PlaybackEnv
from gymbag.playback_vector import PlaybackVectorEnv
from gymbag.record import RecordEnv, record_hdf5
from gymbag.recorder import Recorder, record_from_iter
from gymbag.resimulate import resimulate
from gymbag.schema import SpaceCodec, null_sample, register_space
from gymbag.selection import Selection
from gymbag.statistics import FieldStatistics, Histogram, Statistics
from gymbag.steps import Episode, Step, Transitions, Windows
from gymbag.storage.combine import merge
from gymbag.storage.datasets import list_datasets
from gymbag.storage.meta import View
from gymbag.storage.repack import delete_dataset, delete_episodes, repack
from gymbag.storage.verify import verify
from gymbag.store import Store, open
from gymbag.trigger import TriggeredRecorder, bernoulli, every, maxima
from gymbag.version import __version__
from gymbag.views import remove_view, save_view

__all__ = [
    "Batches",
    "CheckedEpisode",
    "Comparison",
    "Divergence",
    "Episode",
    "EpisodeError",
    "FieldStatistics",
    "FileError",
    "FormatError",
    "GymbagError",
    "HDF5Reader",
    "HDF5Recorder",
    "Histogram",
    "ListRecorder",
    "MemorySource",
    "PlaybackAgent",
    "PlaybackEnv",
    "PlaybackVectorEnv",
    "QueryError",
    "RandomAgent",
    "RandomEnv",
    "RecordEnv",
    "Recorder",
    "RecordingWarning",
    "Resimulation",
    "SchemaError",
    "Selection",
    "SpaceCodec",
    "Statistics",
    "Step",
    "Store",
    "Transitions",
    "TriggeredRecorder",
    "UnsupportedSpace",
    "View",
    "Windows",
    "__version__",
    "bernoulli",
    "card",
    "compare",
    "convert",
    "delete_dataset",
    "delete_episodes",
    "drive_env",
    "every",
    "generate_monotonic",
    "generate_random",
    "get_actions",
    "list_datasets",
    "maxima",
    "merge",
    "null_sample",
    "open",
    "record_from_iter",
    "record_hdf5",
    "register_space",
    "remove_view",
    "repack",
    "rescue",
    "resimulate",
    "run_episode",
    "save_view",
    "to_arrow",
    "to_pandas",
    "to_polars",
    "verify",
]
