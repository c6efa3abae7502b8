# SPDX-License-Identifier: LGPL-3.0-or-later
"""Statistics are NumPy's, whatever the parts that they are put together from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

import gymbag
from gymbag import statistics
from gymbag.cli import main
from gymbag.statistics import _Running

FLOATS = st.floats(-1e6, 1e6) | st.sampled_from([np.nan, np.inf, -np.inf])


@settings(max_examples=200)
@given(st.lists(st.lists(st.tuples(FLOATS, FLOATS), max_size=9), max_size=5))
def test_parts_together_are_as_numpy_finds_all(parts: list[list[tuple[float, float]]]) -> None:
    arrays = [np.array(part, np.float64).reshape(-1, 2) for part in parts]
    running = _Running("x", (2,))
    for array in arrays:
        running.add(array)
    found = running.finish()
    everything = np.concatenate([np.empty((0, 2)), *arrays])
    for element in range(2):
        x = everything[:, element]
        finite = x[np.isfinite(x)]
        assert found.count[element] == len(finite)
        assert found.missing[element] == len(x) - len(finite)
        if not len(finite):
            assert np.isnan([found.mean[element], found.std[element], found.min[element]]).all()
            continue
        scale = max(np.abs(finite).max(), 1e-100)  # a square of less is 0, or rounded to it
        assert np.isclose(found.mean[element], finite.mean(), rtol=1e-9, atol=1e-9 * scale)
        assert np.isclose(found.std[element], finite.std(), rtol=1e-6, atol=1e-8 * scale)
        assert (found.min[element], found.max[element]) == (finite.min(), finite.max())
        assert found.quantiles is not None
        for fraction, value in found.quantiles.items():
            assert value[element] == np.quantile(finite, fraction)


class Camera(gymnasium.Env[Any, Any]):
    """An image, first or last channels, a pose that holds NaN, and a word."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.observation_space = spaces.Dict(
            image=spaces.Box(0, 255, shape, np.uint8),
            pose=spaces.Box(-9, 9, (3,), np.float32),
            word=spaces.Text(4),
        )
        self.action_space = spaces.Discrete(3)

    def _observe(self) -> dict[str, Any]:
        pose = self.np_random.normal(size=3).astype(np.float32)
        pose[0] = np.nan
        image = self.np_random.integers(0, 255, self.observation_space["image"].shape, np.uint8)
        return {"image": image, "pose": pose, "word": "a"}

    def reset(self, **kwargs: Any) -> Any:
        super().reset(seed=kwargs.get("seed"))
        self.left = 7
        return self._observe(), {}

    def step(self, action: Any) -> Any:
        self.left -= 1
        return self._observe(), 2.0 * self.left, self.left == 0, False, {"lives": self.left}


@pytest.mark.parametrize(
    ("shape", "axes", "kept"),
    [
        ((30, 40, 3), (0, 1, 2), (3,)),
        ((2, 30, 40), (0, 2, 3), (2, 1, 1)),
        ((60, 70), (0, 1, 2), ()),
    ],
)
def test_of_a_file(
    tmp_path: Path, monkeypatch: Any, shape: Any, axes: Any, kept: Any, capsys: Any
) -> None:
    monkeypatch.setattr(statistics, "MOST_KEPT", 1 << 14)  # several parts
    file = tmp_path / "camera.h5"
    with gymbag.record_hdf5(Camera(shape), file) as env:
        for episode in range(4):
            env.reset(seed=episode)
            for _ in range(7):
                env.step(env.action_space.sample())
    with gymbag.open(file) as store:
        found = store.statistics()
        images = store["observation.image"]
        mean = found["observation.image"].mean
        assert mean.shape == kept
        np.testing.assert_allclose(mean.ravel(), images.mean(axes).ravel())
        np.testing.assert_allclose(found["observation.image"].std.ravel(), images.std(axes).ravel())
        normal = (images - mean) / found["observation.image"].std
        assert abs(normal.mean()) < 1e-9
        assert normal.shape == images.shape
        quantiles = found["observation.image"].quantiles
        assert quantiles is not None
        for fraction, value in quantiles.items():
            np.testing.assert_allclose(value.ravel(), np.quantile(images, fraction, axes).ravel())
        np.testing.assert_array_equal(
            found["observation.image"].max.ravel(), images.max(axes).ravel()
        )
        assert found["observation.pose"].count.tolist() == [0, 32, 32]
        assert found["action"].count == 28  # a reset has none
        assert (found["reward"].count, found["reward"].missing) == (28, 4)
        np.testing.assert_allclose(found["info.lives"].mean, 3)
        assert found.skipped == ("observation.word",)
        assert found.returns.mean == store.episodes.returns.mean()
        assert found.length_histogram.counts.sum() == 4
        some = store.where("reward > 5 and episode == 1").statistics()
        assert some["reward"].mean == store.where("reward > 5 and episode == 1")["reward"].mean()
        assert some.returns.count == 1
        assert json.loads(found.to_json())["fields"]["observation.pose"]["mean"][0] is None
        assert "observation.pose[1]" in str(found)
        with pytest.raises(LookupError, match="no statistics; these have"):
            found["observation.word"]
        assert len(store.where("reward > 99").statistics().return_histogram.counts) == 0
    assert main(["info", str(file), "--statistics"]) == 0
    assert "observation.pose[1]" in capsys.readouterr().out


def test_quantiles_of_too_many_are_of_a_sample(monkeypatch: Any) -> None:
    monkeypatch.setattr(statistics, "MOST_KEPT", 4000)
    running = _Running("x", ())
    for part in np.split(np.random.default_rng(1).permutation(100_000), 10):
        running.add(part)
    found = running.finish()
    assert not found.exact
    assert found.quantiles is not None
    assert 47_000 < found.quantiles[0.5] < 53_000
    assert found.mean == pytest.approx(49_999.5)
