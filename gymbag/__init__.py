# SPDX-License-Identifier: LGPL-3.0-or-later
"""The SQLite of reinforcement-learning experience."""

from gymbag.record import RecordEnv, record_hdf5
from gymbag.recorder import HDF5Recorder, ListRecorder, Recorder, record_from_iter
from gymbag.schema import SpaceCodec, null_sample, register_space
from gymbag.storage.reader import list_datasets
from gymbag.store import HDF5Reader, Store, open

__all__ = [
    "HDF5Reader",
    "HDF5Recorder",
    "ListRecorder",
    "RecordEnv",
    "Recorder",
    "SpaceCodec",
    "Store",
    "list_datasets",
    "null_sample",
    "open",
    "record_from_iter",
    "record_hdf5",
    "register_space",
]
