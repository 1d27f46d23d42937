"""quire convert: what it writes answers as what it was made of."""

from __future__ import annotations

from pathlib import Path

from harness import MODEL_DIR, run_to_exit

PROMPTS = ("Tell me a story about a fox.", "What is 7 + 8?")


def answers(model: Path | str, *options: str) -> list[str]:
    texts = []
    for prompt in PROMPTS:
        ended = run_to_exit("run", str(model), prompt, "--chat", "--temperature", "0", "--max-tokens", "24", *options)
        assert ended.returncode == 0, ended.stderr
        texts.append(ended.stdout)
    return texts


def test_a_model_goes_to_gguf_and_back(tmp_path: Path) -> None:
    file, back = tmp_path / "tiny.gguf", tmp_path / "back"
    ended = run_to_exit("convert", str(MODEL_DIR), str(file))
    assert (ended.returncode, ended.stdout) == (0, f"{file}\n"), ended.stderr
    ended = run_to_exit("convert", str(file), str(back))
    assert (ended.returncode, ended.stdout) == (0, f"{back}\n"), ended.stderr
    expected = answers(MODEL_DIR)
    assert answers(file) == expected
    assert answers(back) == expected
    ended = run_to_exit("convert", str(file), str(back))
    assert ended.returncode == 2 and "is there already" in ended.stderr
    ended = run_to_exit("convert", str(MODEL_DIR), str(tmp_path / "tiny"))
    assert ended.returncode == 2 and "must end in .gguf" in ended.stderr
    ended = run_to_exit("convert", str(MODEL_DIR), str(tmp_path / "a.gguf"), "--dtype", "int8")
    assert ended.returncode == 2 and "float32" in ended.stderr
    assert sorted(tmp_path.iterdir()) == [back, file]


def test_a_quantised_file_becomes_the_floats_that_it_stands_for(smollm2_file: str, tmp_path: Path) -> None:
    out = tmp_path / "smollm2"
    ended = run_to_exit("convert", smollm2_file, str(out), "--dtype", "float32")
    assert ended.returncode == 0, ended.stderr
    assert answers(out) == answers(smollm2_file, "--dtype", "float32")
