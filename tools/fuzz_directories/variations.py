"""All variations, by name: each changes a Checkpoint as some saver or conversion script would have written it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import vary_config
import vary_generation
import vary_template
import vary_tokenizer
import vary_weights
from checkpoint import Checkpoint

Variation = Callable[[Checkpoint], None]

NONSENSE = "(nonsense)"  # in a name: no saver writes this on purpose, and a clear refusal is as good as any reading

KINDS: dict[str, dict[str, Variation]] = {
    "as is": {"as is": lambda _: None},
    "weights": vary_weights.VARIATIONS,
    "config": vary_config.VARIATIONS,
    "generation": vary_generation.VARIATIONS,
    "tokenizer": vary_tokenizer.VARIATIONS,
    "template": vary_template.VARIATIONS,
}


def of_kinds(kinds: tuple[str, ...]) -> Iterator[tuple[str, Variation]]:
    for kind in kinds:
        for name, variation in KINDS[kind].items():
            yield f"{kind}/{name}", variation
