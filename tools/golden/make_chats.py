"""What vLLM and Transformers make of conversations with published chat templates.

    python make_chats.py --repo . --templates DIR --vllm DIR

Writes tests/goldens/chats.json: for each template whether vLLM hands it content
as parts or as a string, and for each conversation that is to be continued the
size and the CRC-32 of the text that Transformers makes of it, or null where it
refuses. `--templates` is the folder of published templates with their
golden.jsonl.gz, whose rows name the templates and their tokens; the templates
themselves are not copied. `--vllm` is an unpacked wheel of vLLM, of which only
the detection in vllm/renderers/hf.py is run.
"""

from __future__ import annotations

import argparse
import ast
import datetime
import functools
import gzip
import json
import logging
import zlib
from collections import deque
from pathlib import Path
from typing import Any

import jinja2
import jinja2.nodes
from transformers.utils import chat_template_utils

FINAL_TEXTS = [
    "<",
    "i",
    "",
    " ",
    "\n\n",
    "so far",
    " so far ",
    "assistant",
    "user\nassistant",
    "ü\u00a0",
    "a\tb\n",
]
QUESTION = "Go on, user: <i|assistant>"


class FixedDatetime(datetime.datetime):
    """Stands still, as the test's clock does."""

    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> FixedDatetime:
        return cls(2024, 7, 26, 12, 34, 56, tzinfo=tz)


def conversations() -> list[list[dict[str, str]]]:
    return [
        [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": text}]
        for text in FINAL_TEXTS
    ]


def vllm_detection(wheel: Path) -> Any:
    """vLLM's _detect_content_format, without importing vLLM."""
    tree = ast.parse((wheel / "vllm/renderers/hf.py").read_text())
    scope: dict[str, Any] = {
        "jinja2": jinja2,
        "deque": deque,
        "lru_cache": functools.lru_cache,
        "logger": logging.getLogger(),
        "ChatTemplateContentFormat": str,
    }
    wanted = (
        "_is_",
        "_attr_dotted_name",
        "_iter_nodes_",
        "_try_extract_ast",
        "_detect_content_format",
    )
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith(wanted):
            exec(compile(ast.Module([node], []), "hf.py", "exec"), scope)
    return scope["_detect_content_format"]


def source(folder: Path, name: str) -> str:
    """Of "file.jinja", "file.json" with a chat_template, or "file.jsonl#line:name"."""
    file, _, row = name.partition("#")
    text = (folder / file).read_bytes().decode()
    if row:
        return next(iter(json.loads(text.split("\n")[int(row.split(":")[0]) - 1]).values()))
    return json.loads(text)["chat_template"] if name.endswith(".json") else text


def continued(template: str, messages: list[dict[str, Any]], tokens: dict[str, str]) -> str | None:
    try:
        rendered, _ = chat_template_utils.render_jinja_template(
            [messages], chat_template=template, continue_final_message=True, **tokens
        )
    except Exception:  # the template's refusal, or Transformers'
        return None
    return rendered[0]


def as_parts(messages: list[dict[str, str]]) -> list[dict[str, Any]]:
    return [{**m, "content": [{"type": "text", "text": m["content"]}]} for m in messages]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repo", type=Path, required=True)
    parser.add_argument("--templates", type=Path, required=True)
    parser.add_argument("--vllm", type=Path, required=True)
    arguments = parser.parse_args()
    chat_template_utils.datetime = FixedDatetime
    detect = vllm_detection(arguments.vllm)
    with gzip.open(arguments.templates / "golden.jsonl.gz", "rt") as lines:
        rows = [json.loads(line) for line in lines]
    tokens_of = {row["template"]: {k: row[k] for k in ("bos_token", "eos_token")} for row in rows}
    templates = {}
    for name, tokens in sorted(tokens_of.items()):
        text = source(arguments.templates, name)
        form = detect(text, default="string")
        texts = [
            continued(text, as_parts(messages) if form == "openai" else messages, tokens)
            for messages in conversations()
        ]
        encoded = [None if t is None else t.encode() for t in texts]
        checks = [None if e is None else [len(e), zlib.crc32(e)] for e in encoded]
        templates[name] = {"format": form, "special_tokens": tokens, "continued": checks}
    body = ",\n".join(f"{json.dumps(name)}: {json.dumps(row)}" for name, row in templates.items())
    text = f'{{"conversations": {json.dumps(conversations())},\n"templates": {{\n{body}\n}}}}\n'
    (arguments.repo / "tests/goldens/chats.json").write_text(text)


if __name__ == "__main__":
    main()
