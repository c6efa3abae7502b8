# SPDX-License-Identifier: LGPL-3.0-or-later
"""Other libraries' buffers: what goes in comes out again, and their algorithms train on it."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any
from unittest import mock

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from gymbag import (
    FormatError,
    ListRecorder,
    MemorySource,
    RecordEnv,
    Step,
    compare,
    open,
    record_hdf5,
)
from gymbag.formats import flat
from gymbag.memory import MemoryEpisode
from gymbag.schema import null_sample
from gymbag.steps import Ended

BOX = spaces.Box(-1, 1, (3,), np.float32)
IMAGE = spaces.Box(0, 255, (12, 10, 3), np.uint8)
NESTED = spaces.Dict({"camera": IMAGE, "pose": BOX, "room": spaces.Discrete(4)})
THREE = spaces.Discrete(3)
ENDS = (Ended.TERMINATED, Ended.TRUNCATED, Ended.TERMINATED, Ended.TERMINATED, Ended.TRUNCATED)


def made(
    observation_space: Any,
    action_space: Any = THREE,
    ends: Sequence[Ended] = ENDS,
    infos: bool = False,
) -> MemorySource:
    """Return episodes of 1, 2, 3 … actions, with rewards that 32 bits hold."""
    observation_space.seed(1)
    action_space.seed(2)
    episodes = []
    for number, ended in enumerate(ends):
        n = number + 1
        rows = [
            Step(
                math.nan,
                observation_space.sample(),
                action_space.sample() if k else null_sample(action_space),
                (number + k / 4) if k else math.nan,
                k == n and ended == Ended.TERMINATED,
                k == n and ended == Ended.TRUNCATED,
                {"k": k} if infos and k else {},
            )
            for k in range(n + 1)
        ]
        episodes.append(MemoryEpisode(number, rows, ended=ended))
    return MemorySource(episodes, observation_space=observation_space, action_space=action_space)


def same(one: Any, other: Any) -> None:
    found = compare(one, other)
    assert found, str(found)
    assert not found.notes


@pytest.fixture(scope="module")
def cartpole(tmp_path_factory: Any) -> Any:
    filename = str(tmp_path_factory.mktemp("adapters") / "x.h5")
    with record_hdf5(gymnasium.make("CartPole-v1", max_episode_steps=20), filename) as env:
        env.action_space.seed(1)
        for seed in range(12):
            env.reset(seed=seed)
            done = False
            while not done:
                *_, terminated, truncated, _ = env.step(env.action_space.sample())
                done = terminated or truncated
    with open(filename) as store:
        yield store


@pytest.mark.parametrize("rows", [1, 2, 100])
def test_runs_are_all_transitions_once(cartpole: Any, monkeypatch: Any, rows: int) -> None:
    monkeypatch.setattr(flat, "MOST_ROWS", rows)
    runs = list(flat.Flat(cartpole))
    assert all(len(run) <= rows for run in runs)
    wanted = cartpole.all().transitions()
    for name in ("observation", "action", "reward", "terminated", "next_observation"):
        found = np.concatenate([getattr(run, name) for run in runs])
        assert np.array_equal(found, getattr(wanted, name)), name
    done = np.concatenate([run.terminated | run.truncated for run in runs])
    assert done.sum() == len(cartpole.episodes)


def test_what_is_no_recording_is_said() -> None:
    for wrong in ("x.h5", [], 5):
        with pytest.raises(FormatError, match=r"is no recording; open a file with gymbag\.open"):
            flat.usual_losses(wrong)  # type: ignore[arg-type]


class TestStableBaselines3:
    @pytest.fixture
    def sb3(self) -> Any:
        pytest.importorskip("stable_baselines3", reason="the adapter is for its users")
        from gymbag.formats import stable_baselines3

        return stable_baselines3

    @pytest.mark.parametrize(
        ("observation", "action"),
        [
            (BOX, spaces.Discrete(3)),
            (IMAGE, spaces.MultiDiscrete([2, 3])),
            (NESTED, spaces.Box(-1, 1, (2,), np.float32)),
            (spaces.Discrete(5), spaces.MultiBinary(3)),
            (spaces.MultiBinary(4), spaces.Box(-np.inf, np.inf, (2, 2), np.float32)),
        ],
        ids=str,
    )
    def test_what_goes_in_comes_out(self, sb3: Any, observation: Any, action: Any) -> None:
        source = made(observation, action)
        buffer = sb3.to_replay_buffer(source, scale_actions=False)
        assert buffer.size() == buffer.buffer_size == 15
        same(source, sb3.from_replay_buffer(buffer, scale_actions=False))

    def test_it_is_what_the_librarys_own_collecting_gives(self, sb3: Any, tmp_path: Any) -> None:
        from stable_baselines3 import SAC

        make = gymnasium.make("Pendulum-v1", max_episode_steps=7)
        env = record_hdf5(make, str(tmp_path / "x.h5"))
        model = SAC("MlpPolicy", env, buffer_size=50, learning_starts=20, seed=1, device="cpu")
        model.learn(35)
        env.close()
        with open(str(tmp_path / "x.h5")) as store:
            mine, theirs = sb3.to_replay_buffer(store, device="cpu"), model.replay_buffer
            assert mine.size() == theirs.size() == 35
            for name in ("observations", "next_observations", "rewards", "dones", "timeouts"):
                a, b = getattr(mine, name), getattr(theirs, name)[:35]
                assert np.array_equal(a, b), name
            assert np.allclose(mine.actions, theirs.actions[:35], atol=1e-6)
            found = compare(
                [list(e.steps()) for e in store.episodes],
                sb3.from_replay_buffer(theirs),
                infos=False,
                tolerance=1e-5,
            )
            assert found, str(found)

    def test_a_models_buffer_trains(self, sb3: Any, cartpole: Any) -> None:
        from stable_baselines3 import DQN

        model = DQN("MlpPolicy", gymnasium.make("CartPole-v1"), buffer_size=1000, device="cpu")
        assert sb3.to_replay_buffer(cartpole, model.replay_buffer) is model.replay_buffer
        before = [weights.detach().clone() for weights in model.q_net.parameters()]
        model._setup_learn(1)
        model.train(gradient_steps=5, batch_size=32)
        after = list(model.q_net.parameters())
        assert all((a != b).any() for a, b in zip(before, after, strict=True))

    def test_a_buffer_that_is_too_small_keeps_the_newest(self, sb3: Any) -> None:
        from stable_baselines3.common.buffers import ReplayBuffer

        source = made(IMAGE)
        buffer = ReplayBuffer(7, spaces.Box(0, 255, (3, 12, 10), np.uint8), source.action_space)
        sb3.to_replay_buffer(source, buffer)
        assert buffer.full
        assert buffer.pos == 15 % 7
        found = list(sb3.from_replay_buffer(buffer).iter_episodes())
        assert [len(episode) for episode in found] == [2, 5]
        wanted = np.moveaxis(source.episodes[-1].observations, -1, 1)
        assert np.array_equal(found[-1].observations, wanted)

    @pytest.mark.parametrize("size", [9, 30])
    def test_memory_may_be_saved(self, sb3: Any, size: int) -> None:
        from stable_baselines3.common.buffers import ReplayBuffer

        source = made(BOX, ends=[Ended.TERMINATED] * 5)
        buffer = ReplayBuffer(
            size,
            BOX,
            source.action_space,
            optimize_memory_usage=True,
            handle_timeout_termination=False,
        )
        sb3.to_replay_buffer(source, buffer)
        found = list(sb3.from_replay_buffer(buffer).iter_episodes())
        assert sum(map(len, found)) == min(15, size - 1)
        assert np.array_equal(found[-1].observations, source.episodes[-1].observations)
        assert np.isnan(found[-2].observations[-1]).all()
        assert found[-2].infos[-1] == {"final_observation_unknown": True}

    def test_single_transitions_may_be_chosen(self, sb3: Any, cartpole: Any) -> None:
        every = sb3.to_replay_buffer(cartpole, device="cpu")
        some = type(every)(
            every.buffer_size, every.observation_space, every.action_space, device="cpu"
        )
        chosen = cartpole.where("abs(observation[2]) > 0.05 or terminated")
        assert sb3.add_transitions(some, chosen.transitions()) is some
        places = cartpole.where("step > 0").rows.searchsorted(chosen.where("step > 0").rows)
        assert 0 < some.size() == len(places) < every.size()
        for name in (
            "observations",
            "next_observations",
            "actions",
            "rewards",
            "dones",
            "timeouts",
        ):
            assert np.array_equal(getattr(some, name)[: len(places)], getattr(every, name)[places])
        with pytest.raises(FormatError, match="n_step=1"):
            sb3.add_transitions(some, chosen.transitions(n_step=3))

    def test_an_episode_that_just_stops_bootstraps(self, sb3: Any) -> None:
        buffer = sb3.to_replay_buffer(made(BOX, ends=[Ended.UNKNOWN]), device="cpu")
        assert (buffer.dones * (1 - buffer.timeouts)).sum() == 0
        assert buffer.dones.sum() == 1

    def test_transitions_that_do_not_follow_are_cut(self, sb3: Any) -> None:
        buffer = sb3.to_replay_buffer(made(BOX, ends=[Ended.TERMINATED] * 5), device="cpu")
        buffer.next_observations[12, 0, 1] += 1
        found = list(sb3.from_replay_buffer(buffer).iter_episodes())
        assert [len(episode) for episode in found] == [1, 2, 3, 4, 3, 2]
        assert found[4].ended == Ended.UNKNOWN

    @pytest.mark.parametrize("trained", [False, True], ids=["collected", "trained on"])
    @pytest.mark.parametrize("lanes", [1, 2])
    def test_rollouts_are_what_was_recorded(self, sb3: Any, lanes: int, trained: bool) -> None:
        from stable_baselines3 import PPO
        from stable_baselines3.common.vec_env import DummyVecEnv

        recorders = [ListRecorder() for _ in range(lanes)]

        def make(recorder: Any) -> Any:
            return lambda: RecordEnv(gymnasium.make("CartPole-v1"), recorder)

        envs = DummyVecEnv([make(recorder) for recorder in recorders])
        model = PPO("MlpPolicy", envs, n_steps=64, batch_size=64, n_epochs=1, seed=1, device="cpu")
        with mock.patch.object(model, "train", model.train if trained else lambda: None):
            model.learn(64 * lanes)
        assert model.rollout_buffer.generator_ready == trained
        found = list(sb3.from_rollout_buffer(model.rollout_buffer).iter_episodes())
        wanted = [episode for recorder in recorders for episode in recorder.iter_episodes()]
        assert [len(e) for e in found] == [len(e) for e in wanted]
        steps = 0
        for mine, theirs in zip(wanted, found, strict=True):
            assert np.array_equal(mine.observations[:-1], theirs.observations[:-1])
            assert mine.actions.tolist() == theirs.actions.tolist()
            assert mine.rewards.tolist() == theirs.rewards.tolist()
            steps += len(theirs)
            # Whether the last one of an environment is over, the buffer does not say.
            assert theirs.terminations[-1] == (mine.terminations[-1] and steps % 64 != 0)
            assert ["log_prob" in info for info in theirs.infos] == [False, *[True] * len(theirs)]
            assert ["value" in info for info in theirs.infos] == [*[True] * len(theirs), False]
        assert steps == 64 * lanes
        with pytest.raises(FormatError, match="found int; expected a RolloutBuffer"):
            sb3.from_rollout_buffer(5)

    def test_what_does_not_fit_is_said(self, sb3: Any, cartpole: Any) -> None:
        from stable_baselines3.common.buffers import ReplayBuffer

        lost = sb3.losses(cartpole)
        assert any(sentence.startswith("seed: not kept") for sentence in lost)
        with pytest.raises(FormatError, match="seed: not kept"):
            sb3.to_replay_buffer(cartpole, strict=True)
        with pytest.raises(FormatError, match="no place for Text"):
            sb3.to_replay_buffer(made(spaces.Text(3)))
        with pytest.raises(FormatError, match="of observations Box"):
            sb3.to_replay_buffer(cartpole, ReplayBuffer(9, BOX, cartpole.action_space))
        with pytest.raises(FormatError, match="found int; expected a ReplayBuffer"):
            sb3.from_replay_buffer(5)
        both = cartpole.observation_space, cartpole.action_space
        with pytest.raises(FormatError, match="2 environments"):
            sb3.to_replay_buffer(cartpole, ReplayBuffer(9, *both, n_envs=2))


class TestD3rlpy:
    @pytest.fixture
    def d3(self) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pytest.importorskip("d3rlpy", reason="the adapter is for its users")
        from gymbag.formats import d3rlpy

        return d3rlpy

    @pytest.mark.parametrize(
        ("observation", "action"),
        [
            (BOX, THREE),
            (IMAGE, spaces.Box(-1, 1, (2,), np.float32)),
            (spaces.Tuple([IMAGE, BOX]), THREE),
        ],
        ids=str,
    )
    def test_all_but_the_final_observation_comes_out(
        self, d3: Any, observation: Any, action: Any
    ) -> None:
        source = made(observation, action)
        dataset = d3.to_mdp_dataset(source)
        assert dataset.transition_count == 15 - 2  # d3rlpy leaves out those that time out
        signature = dataset.dataset_info.observation_signature.shape[0]
        assert tuple(signature) == ((3,) if observation is BOX else (3, 12, 10))
        back = d3.from_d3rlpy(dataset, observation_space=observation, action_space=action)
        unknown = [episode.rows[-1] for episode in back.iter_episodes()]
        assert all(row.info == {"final_observation_unknown": True} for row in unknown)
        known = [
            [*episode.rows[:-1], found._replace(observation=episode.rows[-1].observation)]
            for episode, found in zip(source.episodes, unknown, strict=True)
        ]
        # What is left to compare: all rows, with the final observations from the source.
        found = [
            [*e.rows[:-1], row[-1]] for e, row in zip(back.iter_episodes(), known, strict=True)
        ]
        assert compare([e.rows for e in source.episodes], found, infos=False)

    def test_its_algorithms_train(self, d3: Any, cartpole: Any, tmp_path: Any) -> None:
        import d3rlpy

        dataset = d3.to_mdp_dataset(cartpole)
        for config in (d3rlpy.algos.DiscreteBCConfig(), d3rlpy.algos.DiscreteCQLConfig()):
            model = config.create(device="cpu:0")
            quiet = d3rlpy.logging.NoopAdapterFactory()
            done = model.fit(
                dataset,
                n_steps=100,
                n_steps_per_epoch=100,
                logger_adapter=quiet,
                show_progress=False,
            )
            assert math.isfinite(done[0][1]["loss"])
            actions = model.predict(cartpole.episodes[0].observations[:5])
            assert set(actions.tolist()) <= {0, 1}

    def test_what_does_not_fit_is_said(self, d3: Any, cartpole: Any) -> None:
        with pytest.raises(FormatError, match="final one of each episode"):
            d3.to_mdp_dataset(cartpole, strict=True)
        with pytest.raises(FormatError, match="Discrete from 0 on"):
            d3.to_mdp_dataset(made(BOX, spaces.Discrete(3, start=1)))
        with pytest.raises(FormatError, match="no place for Dict"):
            d3.to_mdp_dataset(made(NESTED))
        alone = made(BOX, ends=[Ended.TRUNCATED, Ended.TERMINATED])
        assert d3.losses(alone)[-1].endswith("is left out: episode 0")
        assert len(d3.to_mdp_dataset(alone).episodes) == 1
        with pytest.raises(FormatError, match="found int; expected an MDPDataset"):
            d3.from_d3rlpy(5)
        with pytest.raises(FormatError, match="has no episode"):
            d3.to_mdp_dataset(made(BOX, ends=[]))


class TestTorchRL:
    @pytest.fixture
    def rl(self) -> Any:
        pytest.importorskip("torchrl", reason="the adapter is for its users")
        from gymbag.formats import torchrl

        return torchrl

    @pytest.mark.parametrize(
        ("observation", "action"),
        [
            (BOX, THREE),
            (IMAGE, spaces.Box(-1, 1, (2,), np.float32)),
            (NESTED, spaces.MultiBinary(3)),
            (spaces.Discrete(5), spaces.MultiDiscrete([2, 3])),
        ],
        ids=str,
    )
    @pytest.mark.parametrize("rows", [2, 100])
    def test_what_goes_in_comes_out(
        self, rl: Any, observation: Any, action: Any, rows: int, monkeypatch: Any
    ) -> None:
        from torchrl.data import LazyTensorStorage, ReplayBuffer

        monkeypatch.setattr(flat, "MOST_ROWS", rows)
        source = made(observation, action)
        data = rl.to_tensordict(source, strict=True)
        known = {"observation_space": observation, "action_space": action}
        same(source, rl.from_tensordict(data, **known))
        buffer = ReplayBuffer(storage=LazyTensorStorage(20), batch_size=4)
        assert rl.extend_replay_buffer(buffer, source) == len(buffer) == 15
        same(source, rl.from_tensordict(buffer[:], **known))

    def test_it_is_what_the_librarys_own_rollout_gives(self, rl: Any, tmp_path: Any) -> None:
        from torchrl.envs import GymWrapper

        env = record_hdf5(gymnasium.make("CartPole-v1"), str(tmp_path / "x.h5"))
        wrapped = GymWrapper(env, categorical_action_encoding=True)
        theirs = wrapped.rollout(60, break_when_any_done=False)
        wrapped.close()
        with open(str(tmp_path / "x.h5")) as store:
            mine = rl.to_tensordict(store)
            mine["next", "truncated"][-1] = mine["next", "done"][-1] = theirs["next", "done"][-1]
            assert len(mine) == 60
            for key in theirs.keys(include_nested=True, leaves_only=True):
                assert (mine[key] == theirs[key]).all(), key
                assert mine[key].dtype == theirs[key].dtype, key
                assert mine[key].shape == theirs[key].shape, key
            episodes = [list(episode.steps()) for episode in store.episodes]
            episodes[-1][-1] = episodes[-1][-1]._replace(truncated=False)
            assert compare(episodes, rl.from_tensordict(theirs), infos=False)

    def test_slices_of_a_buffer_stay_in_their_episodes(self, rl: Any, cartpole: Any) -> None:
        from torchrl.data import LazyTensorStorage, ReplayBuffer, SliceSampler

        sampler = SliceSampler(slice_len=4, traj_key=("collector", "traj_ids"), strict_length=True)
        buffer = ReplayBuffer(storage=LazyTensorStorage(500), sampler=sampler, batch_size=64)
        rl.extend_replay_buffer(buffer, cartpole)
        ids = buffer.sample()["collector", "traj_ids"].reshape(16, 4)
        assert (ids == ids[:, :1]).all()

    def test_trajectories_that_were_cut_are_told_apart_by_their_ids(self, rl: Any) -> None:
        data = rl.to_tensordict(made(BOX))
        for flag in ("done", "terminated", "truncated"):
            data["next", flag][:] = False
        found = list(rl.from_tensordict(data).iter_episodes())
        assert [(len(e), e.ended) for e in found] == [(n, Ended.UNKNOWN) for n in range(1, 6)]

    def test_its_losses_train(self, rl: Any, cartpole: Any) -> None:
        import torch
        from torchrl.modules import QValueActor
        from torchrl.objectives import DQNLoss

        network = QValueActor(torch.nn.Linear(4, 2), action_space="categorical")
        loss = DQNLoss(network, action_space="categorical", delay_value=False)
        value = loss(rl.to_tensordict(cartpole))["loss"]
        value.backward()
        assert torch.isfinite(value)

    def test_batches_of_environments_and_one_hot_actions_are_read(self, rl: Any) -> None:
        import torch

        source = made(BOX, ends=[Ended.TERMINATED] * 3)
        data = rl.to_tensordict(source)[:6].reshape(2, 3)
        data["action"] = torch.nn.functional.one_hot(data["action"], 3)
        del data["collector"]
        found = rl.from_tensordict(data, action_space=THREE)
        same(source, MemorySource(found.iter_episodes(), observation_space=BOX, action_space=THREE))

    def test_what_does_not_fit_is_said(self, rl: Any, cartpole: Any) -> None:
        with pytest.raises(FormatError, match="seed: not kept"):
            rl.to_tensordict(cartpole, strict=True)
        with pytest.raises(FormatError, match="the part 'reward' has a name"):
            rl.to_tensordict(made(spaces.Dict({"reward": BOX})))
        with pytest.raises(FormatError, match="no place for Graph"):
            rl.to_tensordict(made(spaces.Graph(BOX, None)))
        with pytest.raises(FormatError, match="found int; expected a TensorDict"):
            rl.from_tensordict(5)
        with pytest.raises(FormatError, match="the layout TED"):
            rl.from_tensordict(rl.to_tensordict(cartpole).exclude("next"))


class TestImitation:
    @pytest.fixture
    def im(self) -> Any:
        pytest.importorskip("imitation", reason="the adapter is for its users")
        from gymbag.formats import imitation

        return imitation

    @pytest.mark.parametrize(
        ("observation", "action"),
        [
            (BOX, THREE),
            (IMAGE, spaces.Box(-1, 1, (2,), np.float32)),
            (spaces.Dict({"camera": IMAGE, "pose": BOX}), spaces.MultiBinary(3)),
        ],
        ids=str,
    )
    def test_what_goes_in_comes_out(self, im: Any, observation: Any, action: Any) -> None:
        source = made(observation, action, [*ENDS, Ended.UNKNOWN], infos=True)
        trajectories = im.to_trajectories(source)
        assert [t.terminal for t in trajectories] == [True] * 5 + [False]
        known = {"observation_space": observation, "action_space": action}
        same(source, im.from_trajectories(trajectories, **known))

    @pytest.mark.filterwarnings("ignore")  # of jsonpickle, which it uses for infos
    def test_its_saved_trajectories_are_read(self, im: Any, tmp_path: Any) -> None:
        from imitation.data import serialize

        source = made(BOX, ends=[Ended.TERMINATED] * 3, infos=True)
        serialize.save(tmp_path / "x", im.to_trajectories(source))
        found = im.from_trajectories(serialize.load(tmp_path / "x"))
        # Its files are of JSON's numbers, without dtypes.
        assert compare([e.rows for e in source.episodes], found, tolerance=1e-6)

    def test_what_has_no_place_is_said(self, im: Any, cartpole: Any) -> None:
        with pytest.raises(FormatError, match="seed: not kept"):
            im.to_trajectories(cartpole, strict=True)
        with pytest.raises(FormatError, match="no place for Tuple"):
            im.to_trajectories(made(spaces.Tuple([BOX])))
        with pytest.raises(FormatError, match="found generator; expected a list"):
            im.from_trajectories(t for t in ())
        bare = im.to_trajectories(cartpole)[0]
        bare = im.Trajectory(obs=bare.obs, acts=bare.acts, infos=None, terminal=True)
        (episode,) = im.from_trajectories([bare]).iter_episodes()
        assert np.isnan(episode.rewards).all()
        assert episode.ended == Ended.TERMINATED

    @pytest.mark.filterwarnings("ignore")  # it leaves its logs open
    def test_behaviour_cloning_trains(self, im: Any, cartpole: Any) -> None:
        from imitation.algorithms.bc import BC
        from imitation.data.rollout import flatten_trajectories

        model = BC(
            observation_space=cartpole.observation_space,
            action_space=cartpole.action_space,
            demonstrations=flatten_trajectories(im.to_trajectories(cartpole)),
            rng=np.random.default_rng(1),
            batch_size=16,
            device="cpu",
        )
        model.train(n_batches=20, progress_bar=False, log_interval=100)
