# SPDX-License-Identifier: LGPL-3.0-or-later
"""What recording a vector of environments costs, as ratios to the bare vector.

    python -m benchmarks.vectors

As `benchmarks.recording`, with Gymnasium's synchronous vectors of 8 and 64 environments. A step is
that of one lane. No other recorder that is compared there takes vectors.
"""

from __future__ import annotations

from benchmarks import harness
from benchmarks.figures import Run
from benchmarks.recorders import CONTROL
from benchmarks.recording import PACKAGES, environments, figures

NAME = "vectors"
REPETITIONS = 3
LANES = {"CartPole-v1": (8, 64), "ALE/Breakout-v5": (8,)}
QUICK_LANES = {"CartPole-v1": (8,)}
RECORDERS = (CONTROL, "bare again", "gymbag")


def place(run: Run) -> tuple[int, ...]:
    """Return where a run stands: by vector, then recorder, in their tables' order."""
    vectors = [f"{env_id}, {lanes} lanes" for env_id in LANES for lanes in LANES[env_id]]
    return vectors.index(run["environment"]), RECORDERS.index(run["recorder"]), run["seed"]


def main(arguments: list[str] | None = None) -> None:
    args = harness.parser(NAME, __doc__).parse_args(arguments)
    harness.complete(args, NAME, REPETITIONS)
    steps, lanes_of = environments(args.quick), QUICK_LANES if args.quick else LANES

    def measure(vector: str, recorder: str, seed: int) -> Run:
        env_id, lanes = vector.split()
        return harness.worker("benchmarks.worker", recorder, env_id, steps[env_id], seed, lanes)

    cases = {
        f"{env_id} {lanes}": [*RECORDERS] for env_id in steps for lanes in lanes_of.get(env_id, ())
    }
    runs = sorted(harness.interleaved(cases, args.repeat, measure), key=place)
    made = harness.made(harness.command(NAME, args, REPETITIONS), args.repeat, PACKAGES)
    harness.save({"made": made, "figures": figures(runs), "runs": runs}, args.out)


if __name__ == "__main__":
    main()
