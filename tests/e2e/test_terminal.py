"""`quire chat`, in a terminal and at the end of a pipe."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness import DEADLINE_S, Terminal, run_to_exit

SMALL = ("chat", "--kv-cache-memory", "64MiB", "--threads", "1")
CTRL_C, CTRL_D, BACKSPACE, UP, ALT_ENTER = "\x03", "\x04", "\x7f", "\x1b[A", "\x1b\r"


def paste(text: str) -> str:
    return "\x1b[200~" + text + "\x1b[201~"


def saved(terminal: Terminal, path: Path) -> list[dict[str, Any]]:
    terminal.wait_for("> ")
    terminal.type(f"/save {path}\r")
    terminal.wait_for("saved ")
    return json.loads(path.read_text())


def test_a_pasted_text_is_one_message(
    open_terminal: Callable[..., Terminal], tmp_path: Path
) -> None:
    terminal = open_terminal(*SMALL, "--max-tokens", "2")
    terminal.wait_for("> ")
    terminal.type(paste("one\rtwo\r\nthrée\n/quit") + " end" + ALT_ENTER + "last\r")
    messages = saved(terminal, tmp_path / "saved.json")
    assert [message["role"] for message in messages] == ["user", "assistant"]
    assert messages[0]["content"] == "one\ntwo\nthrée\n/quit end\nlast"


def test_lines_have_any_length_and_can_be_edited(
    open_terminal: Callable[..., Terminal], tmp_path: Path
) -> None:
    terminal = open_terminal(*SMALL)
    terminal.wait_for("> ")
    terminal.type("/system " + "long " * 1500 + "é" + BACKSPACE + "end\r")
    terminal.wait_for("started over")
    assert saved(terminal, tmp_path / "1.json")[0]["content"] == "long " * 1500 + "end"
    terminal.wait_for("> ")
    terminal.type("/system short\r")
    terminal.wait_for("started over")
    terminal.wait_for("> ")
    terminal.type(UP + "er\r")  # what was typed before, and more
    terminal.wait_for("started over")
    assert saved(terminal, tmp_path / "2.json")[0]["content"] == "shorter"


def test_interrupting_ends_the_answer_and_not_the_program(
    open_terminal: Callable[..., Terminal],
) -> None:
    terminal = open_terminal(*SMALL, "--ignore-eos")
    terminal.wait_for("> ")
    terminal.type("Tell me a story.\r")
    terminal.wait_for("\n")
    terminal.wait_for(" ")  # the answer has begun
    terminal.type(CTRL_C)
    terminal.wait_for("> ")
    terminal.type("half a line" + CTRL_C)
    terminal.wait_for("Ctrl-D or /quit ends")
    terminal.wait_for("> ")
    terminal.type("/halp\r")  # the half line is gone
    terminal.wait_for("did you mean /help?")
    terminal.wait_for("> ")
    terminal.type(CTRL_D)
    assert terminal.process.wait(DEADLINE_S) == 0


def test_a_pipe_gives_a_message_a_line(tmp_path: Path) -> None:
    talk, long = tmp_path / "talk.json", tmp_path / "long.json"
    lines = ["hello", "/regenerate", f"/save {talk}", "/system " + "x" * 5000, f"/save {long}", "/quit", "never"]
    ended = run_to_exit(*SMALL, "--max-tokens", "2", stdin="\n".join(lines))
    assert ended.returncode == 0, ended.stderr
    assert ">" not in ended.stdout
    question, answer = json.loads(talk.read_text())
    assert question == {"role": "user", "content": "hello"}
    assert answer["role"] == "assistant"
    assert json.loads(long.read_text()) == [{"role": "system", "content": "x" * 5000}]
