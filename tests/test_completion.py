# SPDX-License-Identifier: LGPL-3.0-or-later
"""A shell completes commands, options, choices and names of files."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gymbag.cli import COMMANDS, main
from gymbag.cli.completion import SHELLS


def script(shell: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as ended:
        main(["--print-completion", shell])
    assert ended.value.code in (None, 0)
    return capsys.readouterr().out


@pytest.mark.parametrize("shell", SHELLS)
def test_each_shells_script_knows_each_command(
    shell: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = script(shell, capsys)
    for command in COMMANDS:
        assert command.__name__.rpartition(".")[2] in text


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not here")
def test_bash_completes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "completion.sh").write_text(script("bash", capsys))
    (tmp_path / "cartpole.h5").touch()

    def completed(*words: str) -> set[str]:
        setting = f"COMP_WORDS=(gymbag {' '.join(map(repr, words))}); COMP_CWORD={len(words)}"
        run = f'source completion.sh; {setting}; _shtab_gymbag; printf "%s\\n" "${{COMPREPLY[@]}}"'
        done = subprocess.run(
            ["bash", "-c", run], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        return set(map(str.strip, done.stdout.split()))

    assert completed("re") == {"record", "repack", "rescue"}
    assert completed("query", "--p") == {"--param"}
    assert completed("info", "cart") == {"cartpole.h5"}
    assert completed("convert", "cartpole.h5", "cart") == {"cartpole.h5"}
    assert completed("record", "CartPole-v1", "-o", "cart") == {"cartpole.h5"}
    assert completed("record", "CartPole-v1", "--compression", "ar") == {"archive"}


def test_without_shtab_it_says_what_to_install(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    with pytest.raises(SystemExit) as ended:
        main(["--print-completion", "zsh"])
    assert ended.value.code == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == (
        "gymbag: error: --print-completion needs shtab; pip install 'gymbag[completion]'\n"
    )
