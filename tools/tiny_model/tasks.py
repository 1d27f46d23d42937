"""The exchanges the model learns: what a user may ask, and the right answer.

Each task is a function from a random source to an `Exchange`. The keys of an
exchange name what it is about ("add:47+38"); a fixed tenth of all keys is
held out of training, see `is_held_out`.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field

import stories
from choices import Choices


@dataclass(frozen=True)
class Exchange:
    """Alternating user and assistant messages, and what they are about."""

    messages: list[str]
    keys: list[str] = field(default_factory=list)


def is_held_out(key: str) -> bool:
    """Whether training must never show this key; true for one key in ten."""
    return zlib.crc32(key.encode()) % 10 == 0


def roughly(choices: Choices, text: str) -> str:
    """Types a request the way people do: case and full stops come and go."""
    manner = choices.weighted([(6, "as is"), (1, "please"), (1, "lower"), (1, "bare"), (1, "lower bare")])
    if manner == "please":
        return f"Please {text[0].lower()}{text[1:]}" if text[-1] != "?" else f"{text[:-1]}, please?"
    if "bare" in manner and text[-1] in ".?!":
        text = text[:-1]
    return text.lower() if "lower" in manner else text


# Stories ---------------------------------------------------------------------

ASK_FOR_STORY = ["Tell me a story", "Write a story", "Tell me a short story", "Write a short story", "Can you tell me a story"]
PLOT_SUBJECTS = {
    "lost": ["a lost {object}", "losing a {object}"],
    "friend": ["making a friend", "a new friend"],
    "gift": ["a gift", "making {gift}"],
    "fear": ["being afraid of {fear}", "someone who is afraid of {fear}"],
    "share": ["sharing", "sharing {food}"],
    "storm": ["{weather}", "bad weather"],
}
HERO_SUBJECTS = ["{a} {kind}", "{a} {kind}", "{a} {kind} named {name}", "{a} {adj} {kind}", "{a} {kind} {place}", "{name}"]


def story_key(slots: dict[str, str]) -> str:
    return f"story:{slots['kind']}:{slots['name']}"


def with_article(word: str) -> str:
    return ("an " if word[0] in "aeiou" else "a ") + word


def _fill_subject(subject: str, slots: dict[str, str]) -> str:
    article = "an" if slots.get("kind", "")[:1] in ("o",) and "{a} {kind}" in subject else "a"
    return stories.fill(subject.replace("{a}", article), slots)


def story(choices: Choices) -> Exchange:
    """A request for a story, about something or about anything."""
    told = stories.generate(choices)
    about = choices.weighted([(3, "nothing"), (5, "hero"), (3, "plot")])
    request = choices.pick(ASK_FOR_STORY)
    if about != "nothing":
        subjects = HERO_SUBJECTS if about == "hero" else PLOT_SUBJECTS[told.plot]
        request += " about " + _fill_subject(choices.pick(subjects), told.slots)
    request += "?" if request.startswith("Can") else "."
    return Exchange([roughly(choices, request), told.text], [story_key(told.slots)])


def story_questions(choices: Choices) -> Exchange:
    """Questions about a story that either side has just told."""
    told = stories.generate(choices)
    pairs = stories.questions_about(told)
    question, answer = choices.pick(pairs)
    if choices.chance(0.5):
        lead = choices.pick(["Read this story: {} {}", "{} {}", "{}\n{}", "Here is a story. {}\n{}"])
        messages = [lead.format(told.text, question), answer]
    else:
        request = choices.pick(ASK_FOR_STORY).replace("Can", "can") + "."
        messages = [request[0].upper() + request[1:], told.text, roughly(choices, question), answer]
    for _ in range(choices.weighted([(3, 0), (2, 1), (1, 2)])):
        question, answer = choices.pick(pairs)
        messages += [roughly(choices, question), answer]
    return Exchange(messages, [story_key(told.slots)])


# Additions -------------------------------------------------------------------

ASK_FOR_SUM = [
    "What is {a} + {b}?", "What is {a} + {b}?", "What is {a} plus {b}?", "{a} + {b}", "{a}+{b}", "{a} + {b} =",
    "{a}+{b}=?", "Add {a} and {b}.", "How much is {a} + {b}?", "Calculate {a} + {b}.", "What's {a} + {b}?",
    "Can you add {a} and {b}?", "What is the sum of {a} and {b}?", "Compute {a}+{b}.",
]  # fmt: skip


def worked_sum(a: int, b: int) -> str:
    """The answer to a + b: digit by digit first where there are two digits.

    The steps make the sum learnable by a model this small: each one needs
    only two digits and a carry.
    """
    if a < 10 and b < 10:
        return f"{a} + {b} = {a + b}."
    ones = a % 10 + b % 10
    steps = [f"{a % 10} + {b % 10} = {ones}."]
    tens = [digit for digit in (a // 10, b // 10, ones // 10) if digit]
    if len(tens) > 1:
        steps.append(f"{' + '.join(map(str, tens))} = {sum(tens)}.")
    return " ".join([*steps, f"{a} + {b} = {a + b}."])


def sum_key(a: int, b: int) -> str:
    return f"add:{a}+{b}"


def one_digit_sum(choices: Choices) -> Exchange:
    a, b = choices.integer(0, 9), choices.integer(0, 9)
    request = choices.pick(ASK_FOR_SUM).format(a=a, b=b)
    return Exchange([roughly(choices, request), worked_sum(a, b)], [sum_key(a, b)])


def two_digit_sum(choices: Choices) -> Exchange:
    """A sum where at least one of the numbers usually has two digits."""
    a, b = choices.weighted([(6, (10, 10)), (1, (10, 0)), (1, (0, 10))])
    a, b = (choices.integer(low, 99 if low else 9) for low in (a, b))
    request = choices.pick(ASK_FOR_SUM).format(a=a, b=b)
    return Exchange([roughly(choices, request), worked_sum(a, b)], [sum_key(a, b)])


def word_problem(choices: Choices) -> Exchange:
    name = choices.pick(stories.LEXICON["name"])
    thing = choices.pick(["apples", "books", "kites", "cookies", "balls", "stars", "nuts", "cups"])
    a, b = choices.integer(1, 9), choices.integer(1, 9)
    request = choices.pick(
        [
            f"{name} has {a} {thing} and finds {b} more. How many {thing} does {name} have?",
            f"{name} had {a} {thing}. Then {name} got {b} more {thing}. How many is that?",
        ]
    )
    return Exchange([request, f"{a} + {b} = {a + b}. {name} has {a + b} {thing}."], [sum_key(a, b)])


# Sorting ---------------------------------------------------------------------

ASK_TO_SORT = [
    "Sort {}", "Sort {}.", "Sort these numbers: {}", "Please sort {}.", "Sort the numbers {}.",
    "Put these numbers in order: {}", "Can you sort {}?", "Order these numbers: {}.",
]  # fmt: skip


def sort_key(numbers: list[int]) -> str:
    return "sort:" + ",".join(map(str, numbers))


def sorting(choices: Choices) -> Exchange:
    """Three to six numbers to sort; the answer keeps the separator."""
    count = choices.integer(3, 6)
    high = choices.weighted([(3, 9), (1, 99)])
    numbers = [choices.integer(0, high) for _ in range(count)]
    separator = choices.weighted([(2, " "), (2, ", "), (1, ",")])
    request = choices.pick(ASK_TO_SORT)
    falling = choices.chance(0.15)
    listed = separator.join(map(str, numbers))
    if falling:
        request = choices.pick(["Sort {} from largest to smallest.", "Sort in descending order: {}"])
    ordered = separator.join(map(str, sorted(numbers, reverse=falling)))
    return Exchange([roughly(choices, request.format(listed)), ordered], [sort_key(numbers)])


# JSON records ----------------------------------------------------------------

CITIES = ["London", "Paris", "Rome", "Oslo", "Madrid", "Berlin", "Tokyo", "Cairo", "Lima", "Boston"]
JOBS = ["baker", "teacher", "doctor", "farmer", "pilot", "painter", "singer", "driver"]
TITLES = ["The Red Kite", "The Old Tree", "A Day by the Sea", "The Brave Mouse", "The Last Star", "A Quiet Garden"]
GOODS = ["lamp", "chair", "table", "phone", "bottle", "bag", "clock", "coat"]
NAMES = stories.LEXICON["name"]
COLORS = stories.LEXICON["color"]

Fields = dict[str, Callable[[Choices], object]]
RECORDS: dict[str, Fields] = {
    "person": {
        "name": lambda c: c.pick(NAMES),
        "age": lambda c: c.integer(1, 99),
        "city": lambda c: c.pick(CITIES),
        "job": lambda c: c.pick(JOBS),
        "married": lambda c: c.chance(0.5),
        "email": lambda c: f"{c.pick(NAMES).lower()}@example.com",
    },
    "book": {
        "title": lambda c: c.pick(TITLES),
        "author": lambda c: c.pick(NAMES),
        "pages": lambda c: c.integer(10, 999),
        "year": lambda c: c.integer(1900, 2030),
        "available": lambda c: c.chance(0.5),
    },
    "product": {
        "name": lambda c: c.pick(GOODS),
        "color": lambda c: c.pick(COLORS),
        "price": lambda c: round(c.integer(0, 99) + c.pick([0.25, 0.5, 0.75, 0.99]), 2),
        "in_stock": lambda c: c.chance(0.5),
        "tags": lambda c: [c.pick(COLORS) for _ in range(c.integer(1, 3))],
    },
    "animal": {
        "kind": lambda c: c.pick(stories.ANIMALS),
        "name": lambda c: c.pick(NAMES),
        "age": lambda c: c.integer(1, 20),
        "color": lambda c: c.pick(COLORS),
        "owner": lambda c: c.weighted([(1, None), (1, {"name": "Tom"}), (1, {"name": "Mia"}), (1, {"name": "Ben"})]),
    },
    "city": {
        "name": lambda c: c.pick(CITIES),
        "population": lambda c: c.integer(1, 99) * 100000,
        "capital": lambda c: c.chance(0.5),
        "rivers": lambda c: c.integer(0, 5),
    },
}
ASK_FOR_RECORD = [
    "Give me a JSON record of {}", "Write a JSON object for {}", "Make a JSON record of {}",
    "Give me {} as JSON", "Create a JSON object for {}", "Describe {} in JSON", "Write {} as JSON",
]  # fmt: skip


def record(choices: Choices, kind: str) -> dict[str, object]:
    """The first two fields of a kind, then each further one with p = 1/2."""
    fields = list(RECORDS[kind].items())
    return {name: make(choices) for i, (name, make) in enumerate(fields) if i < 2 or choices.chance(0.5)}


def json_record(choices: Choices) -> Exchange:
    """A record as JSON; the request may fix its fields, or some values."""
    kind = choices.pick(sorted(RECORDS))
    made = record(choices, kind)
    request = choices.pick(ASK_FOR_RECORD).format(with_article(kind))
    manner = choices.weighted([(3, "free"), (2, "fields"), (3, "values")])
    if manner == "fields":
        names = list(made)
        request += f" with {', '.join(names[:-1])} and {names[-1]}"
    elif manner == "values":
        simple = {k: v for k, v in made.items() if isinstance(v, str | int | float) and not isinstance(v, bool)}
        shown = list(simple.items())[: choices.integer(1, 3)]
        request += " with " + " and ".join(f"{name} {value}" for name, value in shown)
    request += choices.pick([".", ""])
    pretty = choices.chance(0.2)
    answer = json.dumps(made, indent=2 if pretty else None)
    if pretty:
        request = request.replace("JSON", "pretty JSON")
    key = "json:" + json.dumps(dict(list(made.items())[:2]))
    return Exchange([roughly(choices, request) if manner != "values" else request, answer], [key])


# Facts and talk --------------------------------------------------------------

CAPITALS = {
    "France": "Paris", "England": "London", "Italy": "Rome", "Norway": "Oslo", "Spain": "Madrid",
    "Germany": "Berlin", "Japan": "Tokyo", "Egypt": "Cairo", "Peru": "Lima", "Greece": "Athens",
    "China": "Beijing", "Canada": "Ottawa", "Austria": "Vienna", "Ireland": "Dublin", "Poland": "Warsaw",
}  # fmt: skip
OPPOSITES = [
    ("hot", "cold"), ("big", "small"), ("day", "night"), ("up", "down"), ("happy", "sad"), ("old", "young"),
    ("fast", "slow"), ("open", "closed"), ("light", "dark"), ("good", "bad"), ("wet", "dry"), ("loud", "quiet"),
]  # fmt: skip
HUES = {
    "the sky": "blue", "grass": "green", "snow": "white", "the sun": "yellow", "a carrot": "orange",
    "an apple": "red", "coal": "black", "a lemon": "yellow", "a frog": "green", "milk": "white",
}  # fmt: skip
SOUNDS = {"cat": "meow", "dog": "woof", "cow": "moo", "duck": "quack", "frog": "ribbit", "pig": "oink", "lion": "roar"}

TALK: list[tuple[list[str], list[str]]] = [
    (
        ["Hello", "Hello!", "Hi", "Hi!", "Hey", "Hi there!", "Good morning!", "Good evening!", "Hello there", "hey there"],
        ["Hello! How can I help you?", "Hi! What can I do for you?", "Hello! Would you like a story?"],
    ),
    (
        ["Who are you?", "What are you?", "What is your name?", "Tell me about yourself.", "Are you a robot?", "Are you an AI?"],
        ["I am Tiny, the very small language model that comes with Quire.", "My name is Tiny. I am a very small language model."],
    ),
    (
        ["How are you?", "How are you today?", "How is it going?", "How do you do?", "What's up?"],
        ["I am fine, thank you. How can I help you?", "I am well, thank you for asking."],
    ),
    (
        ["What can you do?", "Help", "Help me", "What do you know?", "How can you help me?", "What should I ask you?"],
        [
            "I can tell stories, add numbers, sort numbers and write JSON records.",
            "Ask me for a story, a sum, a sorted list or a JSON record.",
        ],
    ),
    (
        ["Thank you!", "Thanks!", "Thanks a lot!", "Thank you very much.", "Great, thanks.", "That is great!", "Good job!"],
        ["You are welcome!", "I am glad I could help."],
    ),
    (["Bye!", "Goodbye!", "See you later.", "Good night!", "Bye bye"], ["Goodbye! Have a nice day.", "Goodbye! See you soon."]),
    (["Yes", "Yes please", "OK", "Ok", "Sure", "No", "No thanks"], ["All right. What would you like me to do?"]),
    (
        ["Who made you?", "Who trained you?", "What is Quire?", "How big are you?", "How many parameters do you have?"],
        ["I was trained for Quire, a server for language models. I have less than two million parameters."],
    ),
    (
        ["Tell me a joke.", "Do you know a joke?", "Make me laugh."],
        ["Why did the duck cross the road? To say quack on the other side!", "What do you call a sleepy fox? A napping fox!"],
    ),
    (
        ["Count to five.", "Count from one to five.", "Count to 5"],
        ["One, two, three, four, five."],
    ),
]  # fmt: skip
I_DO_NOT_KNOW = [
    "I do not know that. I am a very small model.",
    "Sorry, I do not know. I can tell stories, add numbers, sort numbers and write JSON records.",
]
UNKNOWN = [
    "What is {a} * {b}?", "What is {a} - {b}?", "What is {a} divided by {b}?", "Write a poem about {word}.", "Who won the {word} game?",
    "Explain {word}.", "What is {word}?", "Why is {word} important?", "How does {word} work?", "Translate {word} to French.",
    "Write some code for {word}.", "Where is {word}?", "What do you think about {word}?", "When was {word} invented?",
    "Can you help me with {word}?", "How do I make {word}?", "What is the meaning of {word}?", "List some {word}.",
]  # fmt: skip
WORDS = [
    "music", "water", "physics", "football", "love", "the moon", "history", "money", "science", "a computer",
    "pasta", "the weather", "politics", "art", "life", "the internet", "school", "a car", "space", "gravity",
    "Python", "tea", "time", "a house", "the war", "coffee", "cheese", "mathematics", "light", "a train",
]  # fmt: skip


def fact(choices: Choices) -> Exchange:
    kind = choices.pick(["capital", "opposite", "hue", "sound"])
    if kind == "capital":
        country = choices.pick(sorted(CAPITALS))
        question, answer = f"What is the capital of {country}?", f"The capital of {country} is {CAPITALS[country]}."
    elif kind == "opposite":
        one, other = choices.pick(OPPOSITES)
        if choices.chance(0.5):
            one, other = other, one
        question, answer = f"What is the opposite of {one}?", f"The opposite of {one} is {other}."
    elif kind == "hue":
        thing = choices.pick(sorted(HUES))
        answer = f"{thing[0].upper()}{thing[1:]} is {HUES[thing]}."
        question = choices.pick([f"What color is {thing}?", f"What is the color of {thing}?"])
    else:
        animal = choices.pick(sorted(SOUNDS))
        question = choices.pick([f"What does a {animal} say?", f"What sound does a {animal} make?"])
        answer = f"A {animal} says {SOUNDS[animal]}."
    return Exchange([roughly(choices, question), answer])


def talk(choices: Choices) -> Exchange:
    asks, answers = choices.pick(TALK)
    return Exchange([roughly(choices, choices.pick(asks)), choices.pick(answers)])


def unknown(choices: Choices) -> Exchange:
    """Requests outside of what the model knows, which it should own up to."""
    template = choices.pick(UNKNOWN)
    if "{word}" in template:
        request = template.format(word=choices.pick(WORDS))
    else:
        request = template.format(a=choices.integer(0, 99), b=choices.integer(0, 99))
    return Exchange([roughly(choices, request), choices.pick(I_DO_NOT_KNOW)])


# Weights are per exchange. Sums are short, so their share is large in order
# that they make up a fair part of the tokens too.
TASKS: list[tuple[float, Callable[[Choices], Exchange]]] = [
    (17, story),
    (8, story_questions),
    (9, one_digit_sum),
    (26, two_digit_sum),
    (2, word_problem),
    (11, sorting),
    (12, json_record),
    (5, fact),
    (6, talk),
    (4, unknown),
]
