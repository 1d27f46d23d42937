"""quire quantize: what it writes is served, says what it cost, and is what it says."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from harness import MODEL_DIR, REPO, run_to_exit

GOLDEN = json.loads((REPO / "tests" / "goldens" / "tiny.json").read_text(encoding="utf-8"))
FORMATS = {"int8": ("ct-int8-channel", 1.01), "int4-g32": ("ct-int4-g32", 1.25)}


@pytest.mark.parametrize("name", FORMATS)
def test_a_quantised_copy_is_served_and_costs_what_is_said(name: str, tmp_path: Path) -> None:
    stored, most = FORMATS[name]
    out, text = tmp_path / "quantised", tmp_path / "text"
    text.write_text("".join(prompt["greedy_text"] for prompt in GOLDEN["prompts"]), encoding="utf-8")
    ended = run_to_exit("quantize", str(MODEL_DIR), str(out), "--format", name, "--text", str(text))
    assert ended.returncode == 0, ended.stderr
    errors = re.findall(r"^model\.layers\.\d+\..*\.weight +([\d.]+)% +[\d.e-]+$", ended.stdout, re.MULTILINE)
    assert len(errors) == 4 * 7
    before, after = map(float, re.search(r": ([\d.]+) before, ([\d.]+) after", ended.stdout).groups())
    assert 1 / most < after / before < most
    info = run_to_exit("info", str(out))
    assert info.returncode == 0, info.stderr
    assert re.search(rf"^weights on disk +{stored} ", info.stdout, re.MULTILINE)
    answer = run_to_exit("run", str(out), "What is 7 + 8?", "--chat", "--max-tokens", "4", "--temperature", "0")
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.strip()


def test_a_gguf_file_is_quantised_to_another(smollm2_file: str, tmp_path: Path) -> None:
    out, text = tmp_path / "q8.gguf", tmp_path / "text"
    text.write_text((REPO / "docs" / "chat.md").read_text(encoding="utf-8")[:1500], encoding="utf-8")
    ended = run_to_exit("quantize", smollm2_file, str(out), "--format", "Q8_0", "--text", str(text))
    assert ended.returncode == 0, ended.stderr
    before, after = map(float, re.search(r": ([\d.]+) before, ([\d.]+) after", ended.stdout).groups())
    assert abs(after / before - 1) < 0.01
    info = run_to_exit("info", str(out))
    assert re.search(r"^weights on disk +Q8_0 1\d\d\.\d+ MiB, F32 ", info.stdout, re.MULTILINE)
    ended = run_to_exit("quantize", smollm2_file, str(tmp_path / "a"), "--format", "int8")
    assert ended.returncode == 2 and "choose q8_0" in ended.stderr


def test_what_cannot_be_quantised_is_refused(tmp_path: Path) -> None:
    ended = run_to_exit("quantize", str(MODEL_DIR), str(tmp_path / "a"), "--format", "int3")
    assert ended.returncode == 2 and "int4-g32" in ended.stderr
    ended = run_to_exit("quantize", str(MODEL_DIR), str(tmp_path), "--format", "int8")
    assert ended.returncode == 2 and "is there already" in ended.stderr
    assert not list(tmp_path.iterdir())
    config = json.loads((MODEL_DIR / "config.json").read_text())
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text(json.dumps(config | {"quantization_config": {}}))
    ended = run_to_exit("quantize", str(tmp_path / "model"), str(tmp_path / "b"), "--format", "int8")
    assert ended.returncode == 2 and "quantised already" in ended.stderr
