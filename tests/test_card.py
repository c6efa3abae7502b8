# SPDX-License-Identifier: LGPL-3.0-or-later
"""A card tells what is in a file, is well-formed whatever that is, and is harmless."""

from __future__ import annotations

import base64
import io
import re
import shlex
import sys
import warnings
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete
from hypothesis import given
from hypothesis import strategies as st

import gymbag
from gymbag import bins
from gymbag.card import plots
from gymbag.card.text import escape
from gymbag.cli import main

EVIL = '</title><script>alert(1)</script><img src=x onerror="alert(2)">&amp;\'"\x00\x1b\u202e'
EMPTY = {"meta", "img"}
"""Elements that have no end."""


class Page(HTMLParser):
    """A page that was read; wrong nesting is an error."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.words = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in EMPTY:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data


def read(text: str) -> Page:
    """Read a page, and make sure that it runs and loads nothing."""
    page = Page(text)
    assert "script" not in page.tags
    assert {"html", "head", "body", "main", "svg", "section"} <= {*page.tags, "svg"}
    for name, value in page.attributes:
        assert not name.startswith("on")
        assert name not in ("href", "action", "srcset")
        assert name != "src" or value.startswith("data:image/png;base64,")
    assert "url(" not in text
    assert "@import" not in text
    for svg in re.findall(r"<svg.*?</svg>", text, re.DOTALL):
        ElementTree.fromstring(svg)
        assert "nan" not in svg
        assert "inf" not in svg
    text.encode("utf-8")
    return page


class Rewards(gymnasium.Env[Any, Any]):
    """Gives the rewards that it was told to, one for each episode, and images."""

    observation_space = Dict(camera=Box(0, 255, (40, 600, 3), np.uint8), **{EVIL: Discrete(2)})
    action_space = Discrete(2)

    def __init__(self, rewards: list[float]) -> None:
        self.rewards = rewards
        self.episode = -1

    def reset(self, **_: Any) -> Any:
        self.episode += 1
        return self._observe(), {EVIL: EVIL}

    def step(self, action: Any) -> Any:
        return self._observe(), self.rewards[self.episode], True, False, {}

    def _observe(self) -> Any:
        return {"camera": np.full((40, 600, 3), self.episode, np.uint8), EVIL: 1}


def card_of(path: Path, rewards: list[float], **kwargs: Any) -> str:
    with gymbag.record_hdf5(Rewards(rewards), path, **kwargs) as env:
        for number in range(len(rewards)):
            env.reset(seed=number)
            env.step(0)
    with gymbag.open(path) as store:
        return gymbag.card(store)


def test_a_hostile_recording_is_shown_as_text(tmp_path: Path) -> None:
    metadata = {EVIL: EVIL, "long": "x" * 100_000, "deep": [[EVIL]], "half": "\ud800"}
    rewards = [1.0, np.nan, np.inf, -np.inf, 1.7e308, -1.7e308, 5e-324, 0.0]
    text = card_of(tmp_path / "evil.h5", rewards, name=EVIL, description=EVIL, metadata=metadata)
    page = read(text)
    assert page.words.count("<script>alert(1)</script>") >= 6
    assert "\x00" not in text
    assert "\u202e" not in text
    assert len(text) < 200_000
    assert "x" * 601 not in text
    assert "Not drawn: 5 returns" in page.words


def test_what_it_tells(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = pytest.importorskip("PIL.Image")
    text = card_of(tmp_path / "a.h5", [float(k) for k in range(30)], description="at random")
    page = read(text)
    for words in ("Rewards", "at random", "a.h5", "30 with a seed", "0 to 29", "terminated"):
        assert words in page.words
    assert page.tags.count("img") == 6
    pngs = [value for name, value in page.attributes if name == "src"]
    with image.open(io.BytesIO(base64.b64decode(pngs[0].partition(",")[2]))) as png:
        # Two pixels of which one is shown; the third episode of thirty is the first to be.
        assert png.size == (300, 20)
        assert png.getpixel((0, 0)) == (2, 2, 2)
    assert "episode 2, step 1" in page.words
    path = tmp_path / "card.html"
    assert main(shlex.split(f"card {tmp_path}/a.h5 -o {path}")) == 0
    assert path.read_text("utf-8") == text
    assert str(path) in capsys.readouterr().out


def test_a_recording_of_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "There is no episode yet" in read(card_of(tmp_path / "a.h5", [])).words
    monkeypatch.setitem(sys.modules, "PIL", None)
    page = read(card_of(tmp_path / "b.h5", [1.0]))
    assert "img" not in page.tags


@given(st.lists(st.floats() | st.integers(-9, 9).map(float)))
def test_any_numbers_are_drawn_within_the_plot(values: list[float]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for svg in (plots.histogram(values, "x"), plots.curve(values, "x")):
            for element in ElementTree.fromstring(svg).iter():
                for name in ("x", "x1", "x2", "cx"):
                    assert -1 <= float(element.get(name, 0)) <= plots.WIDTH + 1
                for name in ("y", "y1", "y2", "cy"):
                    assert -1 <= float(element.get(name, 0)) <= plots.HEIGHT + 1
    found = bins.drawable(values)
    if len(found):
        edges, counts = bins.bins(found)
        assert counts.sum() == len(found)
        assert len(counts) <= plots.BINS + 2
        assert np.all(np.diff(edges) > 0)


@given(st.text())
def test_text_comes_through_and_nothing_else(text: str) -> None:
    escaped = escape(text, most=len(text))
    assert not set("<>\"'") & set(escaped)
    page = Page(f'<p title="{escaped}">{escaped}</p>')
    assert page.tags == ["p"]
    assert page.words == page.attributes[0][1]
    assert len(page.words) == len(text)
