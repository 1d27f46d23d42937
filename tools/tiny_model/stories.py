"""The grammar of the short stories: a generator and a parser over one table.

A story is an opening, an optional habit, one of six plots, and an ending.
Every part is a list of alternative templates whose slots are bound once per
story, so names, objects and places must stay the same from start to end. The
parser walks the same table over a finished text, binds each slot where it
first occurs, and accepts only when the whole text is consumed and no binding
contradicts another: a story that calls its hero by two names, or finds a
thing that was never lost, is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from choices import Choices

GIRLS = ["Lily", "Mia", "Anna", "Ruby", "Nora", "Zoe", "Ella", "Ivy", "Rosa", "Clara"]
BOYS = ["Tom", "Max", "Ben", "Leo", "Sam", "Finn", "Oscar", "Hugo", "Jack", "Theo"]
ANIMALS = [
    "fox", "rabbit", "bear", "mouse", "cat", "dog", "owl", "frog", "duck",
    "hedgehog", "squirrel", "turtle", "dragon", "robot", "pig", "lion",
]  # fmt: skip
PEOPLE = ["girl", "boy"]

LEXICON: dict[str, list[str]] = {
    "name": GIRLS + BOYS,
    "hname": GIRLS + BOYS,
    "kind": ANIMALS + PEOPLE,
    "helper": ANIMALS,
    "adj": ["little", "small", "brave", "kind", "curious", "clever", "shy", "young", "happy", "quiet"],
    "hadj": ["friendly", "wise", "big", "gentle", "funny", "tall", "cheerful", "sleepy"],
    "place": [
        "in the forest", "by the river", "near the lake", "on a hill", "in a village",
        "by the sea", "in a garden", "near the mountains", "on a farm", "in a valley",
    ],
    "hobby": [
        "sing", "dance", "paint", "read books", "climb trees", "count the stars",
        "bake cakes", "play games", "tell jokes", "pick flowers",
    ],
    "color": ["red", "blue", "green", "yellow", "white", "golden", "silver", "purple"],
    "object": ["ball", "kite", "book", "lantern", "hat", "drum", "key", "bell", "cup", "scarf", "map", "flute"],
    "spot": [
        "under the bed", "behind the door", "under a tree", "in the tall grass", "on the roof",
        "near the well", "behind a big rock", "in the kitchen", "beside the road", "under a bush",
    ],
    "time": ["morning", "day", "afternoon", "evening"],
    "food": ["apples", "berries", "nuts", "bread", "cookies", "carrots", "soup", "cake"],
    "fear": ["the dark", "thunder", "deep water", "high places", "loud noises", "the wind"],
    "trick": ["take a deep breath", "sing a song", "count to ten", "hold a friend's hand", "think of the sun"],
    "game": ["hide and seek", "tag", "catch", "chess"],
    "weather": ["a storm", "heavy rain", "thick snow", "a cold wind"],
    "shelter": ["a cave", "an old barn", "a hollow tree", "a little hut"],
    "gift": ["a crown of flowers", "a wooden boat", "a warm blanket", "a clay pot", "a paper star", "a birthday cake"],
    "joy": ["jumped up and down", "danced in a circle", "laughed out loud", "sang a happy song"],
    "moral": [
        "It is good to help others.", "A friend makes every day brighter.",
        "Being kind costs nothing.", "Even small ones can be brave.",
    ],
}  # fmt: skip
for _copy in ("spot2", "spot3"):
    LEXICON[_copy] = LEXICON["spot"]

HAVE = ["{name} had a {color} {object} and took it everywhere.", "{His} favorite thing was a {color} {object}."]
LOSE = ["One {time}, the {object} was gone.", "One {time}, {name} could not find the {object}."]
SAD = ["{name} was very sad.", "{He} began to cry.", "{He} did not know what to do."]
SEARCH_1 = ["{He} looked {spot}, but it was not there.", "{name} searched {spot} and found nothing."]
SEARCH_2 = ["Then {he} looked {spot2}, but it was not there.", "{name} looked {spot2} too."]
MEET = ["Then {he} met a {hadj} {helper} named {hname}.", "Just then, a {hadj} {helper} named {hname} came along."]
GET_HELP = [*MEET, "{name} asked {hname}, a {hadj} {helper}, for help."]
ASK = [
    '"Why are you sad?" asked {hname}. "I lost my {object}," said {name}.',
    '"Can you help me find my {object}?" asked {name}. "Of course," said {hname}.',
]
FOUND = [
    "{hname} found the {object} {spot3}.",
    "They looked {spot3}, and there was the {color} {object}!",
    "Together they found it {spot3}.",
]
THANKS = ['"Thank you, {hname}!" said {name}.', "{name} {joy}.", "{name} was so happy that {he} {joy}."]
KEPT = ["{name} never lost the {object} again.", "From that day on, {name} and {hname} were best friends."]

LONELY = ["But {name} had no one to play with.", "But {he} was lonely and wanted a friend."]
HELLO = ['"Hello, I am {hname}," said the {helper}.', '"Do you want to play with me?" asked {hname}.']
YES = ['"I would love to play!" said {name}.', '"Yes, let us play {game}," said {name}.', "{name} smiled."]
PLAY = ["They played {game} all {time}.", "{name} and {hname} played {game} until the sun went down."]
FRIENDS = ["Now {name} had a friend.", "From that day on, they were best friends.", "{name} was not lonely anymore."]

FRIEND_OF = [
    "{His} best friend was a {hadj} {helper} named {hname}.",
    "{name} had a friend, a {hadj} {helper} named {hname}.",
]
BIRTHDAY = ["It was the birthday of {hname}.", "One {time}, {hname} was feeling sad.", "{hname} was sick in bed."]
MAKE = ["{name} wanted to make {gift}.", "So {name} worked all {time} and made {gift}.", "{He} decided to make {gift}."]
GIVE = ["{He} gave {gift} to {hname}.", "{name} took {gift} to the house of {hname}."]
LOVED = ['"This is the best gift ever!" said {hname}.', "{hname} {joy}.", "{hname} smiled and hugged {name}."]

AFRAID = ["But {name} was afraid of {fear}.", "There was one problem: {he} was afraid of {fear}."]
TEASE = ["{He} wanted to be brave, but it was hard.", "{He} often hid {spot}.", "{name} told no one about it."]
ADVICE = [
    '"When I am afraid, I {trick}," said {hname}.',
    '"You can {trick} when you are afraid," said {hname}.',
]
TRY = ["{name} tried it, and it worked!", "So {name} learned to {trick}."]
BRAVE = ["{name} was not afraid of {fear} anymore.", "After that, {he} was never afraid of {fear} again."]

BASKET = ["One {time}, {name} had a basket of {food}.", "One {time}, {name} found some {food} {spot}."]
HUNGRY = ['"I am so hungry," said {hname}.', "{hname} had nothing to eat."]
SHARE = ["{name} shared the {food} with {hname}.", '"Please have some {food}," said {name}.']
REWARD = [
    "{hname} gave {name} a {color} {object} to say thank you.",
    "They ate together and talked all {time}.",
    "The next day, {hname} came back with a {color} {object} for {name}.",
]

STORM = ["One {time}, {weather} came.", "One {time}, {name} went for a walk, and {weather} came."]
COLD = ["{name} was cold and far from home.", "{He} could not find the way home."]
HIDE = ["{He} saw {shelter} and went inside.", "{name} ran into {shelter}."]
INSIDE = [
    "Inside {he} met a {hadj} {helper} named {hname}.",
    "A {hadj} {helper} named {hname} was already there.",
]
WARM = ['"Come and sit with me," said {hname}.', '"Do not be afraid," said {hname}. "It will be over soon."']
CLEAR = ["When the sun came out, {hname} took {name} home.", "Soon the sun came out, and they walked home together."]

OPENING = [
    "Once upon a time, there was a {adj} {kind} named {name} who lived {place}.",
    "Once upon a time, a {adj} {kind} named {name} lived {place}.",
    "Once upon a time, {place}, there lived a {adj} {kind} named {name}.",
    "There once was a {adj} {kind} called {name} who lived {place}.",
    "Long ago, a {adj} {kind} called {name} lived {place}.",
    "{name} was a {adj} {kind} who lived {place}.",
]
HABIT = ["{name} loved to {hobby}.", "Every day, {he} liked to {hobby}.", "{He} liked to {hobby} with {his} family."]
MORAL = ["{moral}"]
THE_END = ["The end."]


@dataclass(frozen=True)
class Part:
    """One place in a story: one of `templates`, present with `probability`."""

    templates: list[str]
    probability: float = 1.0


def _plot(*parts: Part | list[str]) -> list[Part]:
    whole = [part if isinstance(part, Part) else Part(part) for part in parts]
    return [Part(OPENING), Part(HABIT, 0.5), *whole, Part(MORAL, 0.3), Part(THE_END, 0.5)]


PLOTS: dict[str, list[Part]] = {
    "lost": _plot(
        HAVE, LOSE, Part(SAD, 0.6), SEARCH_1, Part(SEARCH_2, 0.5), GET_HELP, Part(ASK, 0.6), FOUND, THANKS, KEPT
    ),
    "friend": _plot(LONELY, MEET, HELLO, YES, PLAY, FRIENDS),
    "gift": _plot(FRIEND_OF, BIRTHDAY, MAKE, GIVE, LOVED, Part(FRIENDS[1:2], 0.3)),
    "fear": _plot(AFRAID, Part(TEASE, 0.6), GET_HELP, ADVICE, TRY, BRAVE),
    "share": _plot(BASKET, MEET, HUNGRY, SHARE, REWARD, Part(FRIENDS[1:2], 0.4)),
    "storm": _plot(STORM, COLD, HIDE, INSIDE, WARM, CLEAR, Part(THANKS, 0.4)),
}

# What may be asked about a story once it is told, with the answer.
# A pair is used only when the story's text bound every slot of it.
QUESTIONS: list[tuple[str, str]] = [
    ("Who is the story about?", "The story is about {name}, a {adj} {kind}."),
    ("What is the name of the {kind}?", "The {kind} is named {name}."),
    ("Where did {name} live?", "{name} lived {place}."),
    ("What kind of animal is {hname}?", "{hname} is a {hadj} {helper}."),
    ("Who did {name} meet?", "{name} met {hname}, a {hadj} {helper}."),
    ("What did {name} love to do?", "{name} loved to {hobby}."),
    ("What did {name} lose?", "{name} lost a {color} {object}."),
    ("Where was the {object}?", "The {object} was {spot3}."),
    ("What did {name} make?", "{name} made {gift}."),
    ("What was {name} afraid of?", "{name} was afraid of {fear}."),
    ("What did they play?", "They played {game}."),
    ("What did {name} share?", "{name} shared the {food}."),
    ("Where did {name} hide?", "{name} went into {shelter}."),
]
_ONLY_IN = {
    "{name} met": {"lost", "friend", "fear", "share", "storm"},
    "{name} lost": {"lost"},
    "The {object} was": {"lost"},
}

_SLOT = re.compile(r"\{(\w+)\}")
_PRONOUNS = {"he": ("she", "he"), "his": ("her", "his")}


@dataclass(frozen=True)
class Story:
    """A finished story: its text, its plot, and the slots that occur in it."""

    text: str
    plot: str
    slots: dict[str, str]


def slots_of(template: str) -> list[str]:
    """The lexicon slots of a template, pronouns left out."""
    return [slot for slot in _SLOT.findall(template) if slot in LEXICON]


def _pronoun(slot: str, name: str) -> str:
    girl, boy = _PRONOUNS[slot.lower()]
    word = girl if name in GIRLS else boy
    return word.capitalize() if slot[0].isupper() else word


def fill(template: str, slots: dict[str, str]) -> str:
    """Puts the bound values into a template."""

    def value(match: re.Match[str]) -> str:
        slot = match.group(1)
        return slots[slot] if slot in LEXICON else _pronoun(slot, slots["name"])

    return _SLOT.sub(value, template)


def is_consistent(slots: dict[str, str]) -> bool:
    """Whether bound slots go together; unbound ones never contradict."""
    name, kind = slots.get("name"), slots.get("kind")
    if (kind == "girl" and name in BOYS) or (kind == "boy" and name in GIRLS):
        return False
    for one, other in (("name", "hname"), ("kind", "helper"), ("spot", "spot2"), ("spot", "spot3"), ("spot2", "spot3")):
        if one in slots and slots[one] == slots.get(other):
            return False
    return True


def _options(slot: str, slots: dict[str, str]) -> list[str]:
    return [value for value in LEXICON[slot] if is_consistent({**slots, slot: value})]


def generate(choices: Choices, plot: str | None = None, given: dict[str, str] | None = None) -> Story:
    """Tells a story, with a fixed plot and fixed slots where given."""
    plot = plot or choices.pick(sorted(PLOTS))
    given = dict(given or {})
    bound: dict[str, str] = {}
    sentences = []
    for part in PLOTS[plot]:
        if part.probability < 1 and not choices.chance(part.probability):
            continue
        template = choices.pick(part.templates)
        for slot in slots_of(template):
            if slot not in bound:
                known = {**given, **bound}
                bound[slot] = given[slot] if slot in given else choices.pick(_options(slot, known))
        sentences.append(fill(template, bound))
    return Story(" ".join(sentences), plot, bound)


@lru_cache(maxsize=None)
def _pattern(template: str) -> re.Pattern[str]:
    """A template as a regular expression; a repeated slot is a back reference."""
    seen: set[str] = set()

    def group(match: re.Match[str]) -> str:
        slot = match.group(1)
        if slot in seen:
            return f"(?P={slot})"
        seen.add(slot)
        values = LEXICON[slot] if slot in LEXICON else [_pronoun(slot, n) for n in (GIRLS[0], BOYS[0])]
        return f"(?P<{slot}>{'|'.join(map(re.escape, sorted(values, key=len, reverse=True)))})"

    escaped = re.sub(r"[.?!]", lambda m: "\\" + m.group(), template)
    return re.compile(_SLOT.sub(group, escaped))


def _bind(match: re.Match[str], bound: dict[str, str]) -> dict[str, str] | None:
    """The bindings after a matched sentence, or None if it contradicts them."""
    merged = dict(bound)
    for slot, value in match.groupdict().items():
        if slot in LEXICON and merged.setdefault(slot, value) != value:
            return None
    for slot, value in match.groupdict().items():
        if slot not in LEXICON and value != _pronoun(slot, merged["name"]):
            return None
    return merged if is_consistent(merged) else None


def _derivations(
    parts: list[Part], text: str, position: int, bound: dict[str, str]
) -> Iterator[dict[str, str]]:
    """All ways to read text[position:] as `parts`, as their final bindings."""
    if not parts:
        if position == len(text):
            yield bound
        return
    first, rest = parts[0], parts[1:]
    if first.probability < 1:
        yield from _derivations(rest, text, position, bound)
    start = position + 1 if position else 0
    if position and text[position : position + 1] != " ":
        return
    for template in first.templates:
        match = _pattern(template).match(text, start)
        merged = _bind(match, bound) if match else None
        if match and merged is not None:
            yield from _derivations(rest, text, match.end(), merged)


def parse(text: str) -> Story | None:
    """Reads a story back, or returns None when the grammar refuses it."""
    for plot, parts in PLOTS.items():
        for bound in _derivations(parts, text.strip(), 0, {}):
            return Story(text.strip(), plot, bound)
    return None


def questions_about(story: Story) -> list[tuple[str, str]]:
    """The question and answer pairs that the story's own text decides."""
    pairs = []
    for question, answer in QUESTIONS:
        plots = next((only for start, only in _ONLY_IN.items() if answer.startswith(start)), None)
        known = set(slots_of(question + answer)) <= set(story.slots)
        if known and (plots is None or story.plot in plots):
            pairs.append((fill(question, story.slots), fill(answer, story.slots)))
    return pairs
