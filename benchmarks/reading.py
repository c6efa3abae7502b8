# SPDX-License-Identifier: LGPL-3.0-or-later
"""What reading experience costs, as ratios to raw arrays, for gymbag and for others.

    python -m benchmarks.reading

The reference is NumPy on memory-mapped, uncompressed arrays. All files are in the page cache.
gymbag keeps times, infos and the reasons of ends besides what the others are given.
"""

from __future__ import annotations

from benchmarks.suite import Question, Suite, run_suite

READERS = "benchmarks.readers"
BREAKOUT, CARTPOLE = "Breakout", "CartPole"
BATCH = 256
RETURN = 1.0

ARRAYS = {"NumPy": f"{READERS}.arrays:Arrays", "NumPy again": f"{READERS}.arrays:Arrays"}
GYMBAG = {"gymbag": f"{READERS}.own:Default", "gymbag, fast": f"{READERS}.own:Fast"}
OTHERS = {"Zarr": f"{READERS}.zarrs:Zarr", "Minari, HDF5": f"{READERS}.minaris:Hdf5"}
# It takes minutes to write thousands of episodes, more for each than for the one before.
ARROW = {"Minari, Arrow": f"{READERS}.minaris:Arrow"}
TRACES = {"gym_recording's files": f"{READERS}.traces:Traces"}
H5PY = {
    "h5py, chunks of 1 frame": f"{READERS}.hdf5:OneFrame",
    "h5py, chunks of 16": f"{READERS}.hdf5:SixteenFrames",
}

SUITE = Suite(
    name="reading",
    about=__doc__,
    control="NumPy",
    maker="benchmarks.experience:make",
    sizes={BREAKOUT: 3_000, CARTPOLE: 1_000_000},
    quick_sizes={BREAKOUT: 150, CARTPOLE: 2_000},
    packages=("ale-py", "blosc2", "gymbag", "h5py", "minari", "numpy", "pyarrow", "tables", "zarr"),
    peers={
        BREAKOUT: ARRAYS | GYMBAG | H5PY | OTHERS | ARROW | TRACES,
        CARTPOLE: ARRAYS | GYMBAG | {"h5py": f"{READERS}.hdf5:Chosen"} | OTHERS,
    },
    questions=(
        Question(
            "all observations",
            BREAKOUT,
            lambda reader, seed: reader.episodes(),
            aim="1.5",
        ),
        Question(
            "the frames of one episode",
            BREAKOUT,
            lambda reader, seed: reader.episode(seed * 7 % reader.count()),
            aim="1.5",
        ),
        Question(
            f"{BATCH} random transitions, file opened anew",
            BREAKOUT,
            lambda reader, seed: reader.sample(BATCH, seed),
            aim="3",
        ),
        Question(
            "rewarded steps with observation and action, file open",
            BREAKOUT,
            lambda reader, seed: reader.rewarded(),
            anew=False,
            aim="5",
        ),
        Question(
            f"episodes with a return above {RETURN:g}, file open",
            BREAKOUT,
            lambda reader, seed: reader.returns_above(RETURN),
            anew=False,
            aim="5",
        ),
        Question(
            f"{BATCH} random transitions, file open",
            CARTPOLE,
            lambda reader, seed: reader.sample(BATCH, seed),
            anew=False,
            aim="2",
        ),
    ),
)


def main(arguments: list[str] | None = None) -> None:
    run_suite(SUITE, arguments)


if __name__ == "__main__":
    main()
