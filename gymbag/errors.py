# SPDX-License-Identifier: LGPL-3.0-or-later
"""Everything gymbag raises on purpose.

::

    GymbagError
    ├── SchemaError (ValueError)         a value does not fit its space, or two spaces differ
    │   └── UnsupportedSpace (TypeError) nobody has said how to store this space
    ├── EpisodeError (RuntimeError)      `reset` and `step` came in a senseless order
    ├── QueryError (ValueError)          the text of a question is not understood
    ├── FormatError (ValueError)         a file of another format cannot be read or written
    ├── CompareError (ValueError)        two sources cannot be compared at all
    ├── NoSuchView (LookupError)         no question was saved under that name
    └── FileError (OSError)              the world: a file that is missing, damaged or not ours
        ├── NoSuchFile (FileNotFoundError)
        ├── NotAStore                    not HDF5, or HDF5 of some other program
        ├── NewerFormat                  written by a later gymbag
        ├── FileBusy                     held by another process
        └── NoSuchDataset (LookupError)  the file is ours, the data set is not in it

Each is also the nearest built-in, so ``except ValueError`` catches what it would expect to.
"""

from __future__ import annotations


class GymbagError(Exception):
    """The root: everything that gymbag raises on purpose."""


class SchemaError(GymbagError, ValueError):
    """A value does not fit the column compiled from its space, or two spaces differ."""


class UnsupportedSpace(SchemaError, TypeError):
    """No codec is registered for a space; `gymbag.register_space` teaches one."""


class EpisodeError(GymbagError, RuntimeError):
    """The caller's order of `reset` and `step` means nothing, for example a step first."""


class QueryError(GymbagError, ValueError):
    """The text of a question is not understood; the message shows where, with a caret."""


class FormatError(GymbagError, ValueError):
    """A file of another format cannot be read or written; the message says which and why."""


class CompareError(GymbagError, ValueError):
    """Two sources cannot be compared at all."""


class NoSuchView(GymbagError, LookupError):
    """No question was saved in the data set under that name."""


class FileError(GymbagError, OSError):
    """The world's failure: a file that is missing, damaged, or not what was expected."""


class NoSuchFile(FileError, FileNotFoundError):
    """There is no file of that name."""


class NotAStore(FileError):
    """Not an HDF5 file, or an HDF5 file that another program wrote."""


class NewerFormat(FileError):
    """Written by a later gymbag, in a format that this one does not know."""


class FileBusy(FileError):
    """Another process holds the file."""


class NoSuchDataset(FileError, LookupError):
    """The data set is not in the file, or the file holds several and none was named."""


class RecordingWarning(UserWarning):
    """Something could not be recorded exactly; said once per cause, recording goes on."""


class RecoveryWarning(RecordingWarning):
    """A writer had died; the file was recovered. The message says what was found."""
