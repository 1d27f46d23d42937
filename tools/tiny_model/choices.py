"""Seeded choices that keep an account of their own surprisal.

Every random decision of the text generator goes through one `Choices`
object. It adds up -log p of each decision, so that a finished document comes
with the number of nats that the generator itself spent on it. The mean of
that number over many documents is the entropy that a perfect model of the
text would reach, which makes "how good is the perplexity?" a question with
an answer. Where two different decisions lead to the same text the account is
slightly too high, so it is an upper bound on the true entropy.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


class Choices:
    """A random source; `nats` is the surprisal of all decisions kept so far."""

    def __init__(self, seed: str) -> None:
        self._random = random.Random(seed)
        self.nats = 0.0

    def pick(self, options: Sequence[T]) -> T:
        """Picks one option uniformly."""
        self.nats += math.log(len(options))
        return options[self._random.randrange(len(options))]

    def weighted(self, options: Sequence[tuple[float, T]]) -> T:
        """Picks one option with probability in proportion to its weight."""
        total = sum(weight for weight, _ in options)
        point = self._random.random() * total
        for weight, option in options:
            point -= weight
            if point < 0:
                break
        self.nats += math.log(total / weight)
        return option

    def chance(self, probability: float) -> bool:
        """Returns True with the given probability."""
        return self.weighted([(probability, True), (1 - probability, False)])

    def integer(self, low: int, high: int) -> int:
        """Picks an integer from low to high, both included."""
        return self.pick(range(low, high + 1))

    def until(self, make: Callable[[], T], accept: Callable[[T], bool]) -> T:
        """Calls `make` until `accept` agrees; rejected attempts cost nothing.

        The account then holds the surprisal under the generator without the
        rejection, which is what a comparison over unfiltered text needs.
        """
        while True:
            before = self.nats
            made = make()
            if accept(made):
                return made
            self.nats = before
