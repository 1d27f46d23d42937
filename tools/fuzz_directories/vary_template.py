"""Where a chat template stands, and what it may name."""

from __future__ import annotations

from collections.abc import Callable

from checkpoint import Checkpoint

CONFIG = "tokenizer_config.json"
JINJA = "chat_template.jinja"
JSON = "chat_template.json"
FOLDER = "additional_chat_templates"
Change = Callable[[Checkpoint], None]

MESSAGES = "{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }}\n{% endfor %}"
OTHER = "{% for m in messages %}{{ m['content'] }} ({{ m['role'] }})\n{% endfor %}"


def only(change: Change) -> Change:
    """No other template is there."""

    def apply(c: Checkpoint) -> None:
        c.remove(JINJA, JSON)
        c.drop(CONFIG, "chat_template")
        change(c)

    return apply


def in_config(template: object) -> Change:
    return only(lambda c: c.set(CONFIG, chat_template=template))


def named(*templates: tuple[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "template": template} for name, template in templates]


def token_object(c: Checkpoint) -> None:
    eos = c.json(CONFIG).get("eos_token")
    eos = eos if isinstance(eos, dict) else {"__type": "AddedToken", "content": eos, "special": True}
    c.set(CONFIG, eos_token=eos, chat_template=MESSAGES + "{{ eos_token }}")


def tokens_in_map(c: Checkpoint) -> None:
    config = c.json(CONFIG)
    tokens = {name: config[name] for name in ("bos_token", "eos_token") if config.get(name)}
    c.write_json("special_tokens_map.json", tokens)
    c.drop(CONFIG, *tokens)
    c.set(CONFIG, chat_template="{{ bos_token }}" + MESSAGES + "{{ eos_token }}")


VARIATIONS: dict[str, Change] = {
    "none": only(lambda _: None),
    "null in config": in_config(None),
    "empty string in config": in_config(""),
    "string in config": in_config(MESSAGES),
    "list with default": in_config(named(("default", MESSAGES), ("rag", OTHER))),
    "list with default last, tool_use first": in_config(named(("tool_use", OTHER), ("default", MESSAGES))),
    "list with one of another name": in_config(named(("rag", OTHER))),
    "list with two of other names": in_config(named(("rag", OTHER), ("tool_use", MESSAGES))),
    "empty list": in_config([]),
    "object by name": in_config({"default": MESSAGES, "tool_use": OTHER}),
    "jinja": only(lambda c: c.write(JINJA, MESSAGES)),
    "jinja with CRLF": only(lambda c: c.write(JINJA, MESSAGES.replace("\n", "\r\n"))),
    "jinja with a newline at the end": only(lambda c: c.write(JINJA, MESSAGES + "\n")),
    "jinja with a byte order mark": only(lambda c: c.write(JINJA, b"\xef\xbb\xbf" + MESSAGES.encode())),
    "jinja empty": only(lambda c: c.write(JINJA, "")),
    "jinja against config": only(lambda c: (c.write(JINJA, MESSAGES), c.set(CONFIG, chat_template=OTHER))),
    "jinja empty against config": only(lambda c: (c.write(JINJA, ""), c.set(CONFIG, chat_template=OTHER))),
    "json": only(lambda c: c.write_json(JSON, {"chat_template": MESSAGES})),
    "json against config": only(
        lambda c: (c.write_json(JSON, {"chat_template": MESSAGES}), c.set(CONFIG, chat_template=OTHER))
    ),
    "json against jinja": only(lambda c: (c.write_json(JSON, {"chat_template": OTHER}), c.write(JINJA, MESSAGES))),
    "additional only": only(lambda c: c.write(f"{FOLDER}/rag.jinja", OTHER)),
    "additional default only": only(lambda c: c.write(f"{FOLDER}/default.jinja", OTHER)),
    "additional beside jinja": only(
        lambda c: (c.write(JINJA, MESSAGES), c.write(f"{FOLDER}/tool_use.jinja", OTHER))
    ),
    "additional beside config": only(
        lambda c: (c.set(CONFIG, chat_template=MESSAGES), c.write(f"{FOLDER}/tool_use.jinja", OTHER))
    ),
    "names bos and eos": in_config("{{ bos_token }}" + MESSAGES + "{{ eos_token }}"),
    "names pad and unk": in_config(MESSAGES + "{{ pad_token }}{{ unk_token }}"),
    "names pad if defined": in_config(MESSAGES + "{% if pad_token is defined %}P{% else %}N{% endif %}"),
    "names bos if defined, bos null": lambda c: (
        in_config(MESSAGES + "{% if bos_token is defined %}D{{ bos_token }}{% else %}N{% endif %}")(c),
        c.set(CONFIG, bos_token=None),
    ),
    "names additional_special_tokens": lambda c: (
        in_config(MESSAGES + "{{ additional_special_tokens }}")(c),
        c.set(CONFIG, additional_special_tokens=["<extra>"]),
    ),
    "names an extra special token": lambda c: (
        in_config(MESSAGES + "{{ image_token }}")(c),
        c.set(CONFIG, extra_special_tokens={"image_token": "<extra>"}),
    ),
    "names eos, an object": only(token_object),
    "names tokens of special_tokens_map": only(tokens_in_map),
    "names what is not there": in_config(MESSAGES + "{{ nothing }}{% if tools %}T{% endif %}{{ documents }}"),
    "asks whether tools are defined": in_config(
        MESSAGES + "{% if tools is defined %}T{% endif %}{% if documents is defined %}D{% endif %}"
    ),
    "calls raise_exception": in_config("{{ raise_exception('no') }}"),
    "calls strftime_now": in_config("{{ strftime_now('%Y') }}" + MESSAGES),
    "generation tag": in_config(
        "{% for m in messages %}{% generation %}{{ m['content'] }}{% endgeneration %}{% endfor %}"
    ),
    "begins with bos, so do encoded texts": in_config("{{ bos_token }}" + MESSAGES),
    "syntax error": in_config("{% for %}"),
}
