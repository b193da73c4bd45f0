"""Sentences about portraits, and random portraits to write them about.

A portrait is a row of 25 factors in [0, 1] (`portrait_factors.FACTORS`). Everything that a sentence can say is listed
in `portrait_factors.AXES` and in the tables below, as forms with `*` in place of the noun: `bald *` goes before the
noun, `* with hair` after it, and a form without `*` is itself a noun. A form is about certain factors, is used only
where it is clearly true of them, and says nothing about the others.
"""

import random
from dataclasses import dataclass

import torch

from lib.judges.portrait_factors import AXES, FACTORS, INDEX, POLES

LOW, HIGH = (0.0, 0.35), (0.65, 1.0)

# Ranges where the default LOW and HIGH are not visible: half-closed eyes are still open, thin hair is still hair.
ENDS = {"eye_open": ((0.0, 0.2), (0.5, 1.0)), "hair_amount": ((0.0, 0.2), (0.55, 1.0)),
        "hair_color": ((0.0, 0.18), (0.85, 1.0)), "eye_color": ((0.0, 0.2), (0.8, 1.0))}

# Forms for values between the ends of a factor.
MIDDLES = [
    ("age", (0.42, 0.58), ("middle aged *", "* of middle age")),
    ("hair_length", (0.42, 0.58), ("* with hair of medium length",)),
    ("hair_color", (0.28, 0.45), ("* with brown hair", "brown haired *")),
    ("hair_color", (0.58, 0.72), ("* with red hair", "red haired *")),
    ("eye_color", (0.4, 0.6), ("* with green eyes", "green eyed *")),
    ("mouth_open", (0.4, 0.6), ("* with slightly open lips", "* with the mouth slightly open")),
    ("head_turn", (0.42, 0.58), ("* facing the camera", "* looking straight ahead")),
    ("shirt_hue", (0.0, 0.06), ("* in a red shirt", "* wearing a red shirt")),
    ("shirt_hue", (0.17, 0.25), ("* in a yellow shirt", "* wearing a yellow shirt")),
    ("shirt_hue", (0.36, 0.48), ("* in a green shirt", "* wearing a green shirt")),
    ("shirt_hue", (0.76, 0.88), ("* in a blue shirt", "* wearing a blue shirt")),
]

# factor: (another one, the range of that in which the factor is visible and may be mentioned)
GUARDS = {"hair_length": ("hair_amount", (0.5, 1.0)), "hair_color": ("hair_amount", (0.5, 1.0)),
          "eye_color": ("eye_open", (0.5, 1.0)), "eye_size": ("eye_open", (0.4, 1.0))}

# emotion: (how it is drawn, its forms)
EMOTIONS = {
    "happy": ({"smile": (0.7, 1.0), "brow_angle": (0.4, 0.8)},
              ("* with a happy face", "* with a happy expression", "happy *", "* who looks happy", "joyful *")),
    "neutral": ({"smile": (0.4, 0.6), "brow_angle": (0.38, 0.62), "brow_height": (0.35, 0.65), "mouth_open": (0.0, 0.4),
                 "eye_open": (0.4, 0.75), "nose_wrinkle": (0.0, 0.35)},
                ("* with a neutral face", "* with a neutral expression", "calm *", "* looking neutral",
                 "expressionless *")),
    "sad": ({"smile": (0.0, 0.3), "brow_angle": (0.6, 1.0)},
            ("* with a sad face", "* with a sad expression", "sad *", "* who looks sad", "sorrowful *")),
    "fearful": ({"smile": (0.1, 0.4), "brow_angle": (0.7, 1.0), "eye_open": (0.75, 1.0), "mouth_open": (0.35, 0.8)},
                ("* with a fearful face", "* with a fearful expression", "fearful *", "* in fear", "scared *",
                 "* looking afraid")),
    "disgusted": ({"smile": (0.0, 0.35), "nose_wrinkle": (0.7, 1.0)},
                  ("* with a disgusted face", "* with a disgusted expression", "disgusted *", "* in disgust",
                   "* looking disgusted")),
    "angry": ({"smile": (0.0, 0.35), "brow_angle": (0.0, 0.25)},
              ("* with an angry face", "* with an angry expression", "angry *", "* in anger", "furious *",
               "* looking angry")),
    "surprised": ({"mouth_open": (0.7, 1.0), "brow_height": (0.7, 1.0), "eye_open": (0.75, 1.0)},
                  ("* in surprise", "* with a surprised face", "* with a surprised expression", "surprised *",
                   "astonished *", "* looking surprised")),
}

OPENINGS = ("a photo of", "a photo of", "a photo of", "a photo of", "a picture of", "a portrait of", "a drawing of",
            "an image of", "")
NOUNS = ("person", "person", "person", "person", "face", "face", "human", "human face", "individual")
JOINERS = ("a", "an", "and", "with", ",", ".")


@dataclass(frozen=True)
class Statement:
    """`forms` may be said if each factor of `ranges` is in its range, and each of `guards` in its own."""
    ranges: dict
    forms: tuple
    guards: dict
    weight: float

    def holds(self, factors):
        """Whether the statement is true of `factors`, a row of 25 floats."""
        return all(low <= factors[INDEX[name]] <= high
                   for conditions in (self.ranges, self.guards) for name, (low, high) in conditions.items())


def _statements():
    """All statements of the tables. The weights make the subjects of the corpora, and rare emotions, more frequent."""
    weights = {name: 2.5 for name, _ in POLES} | {"femininity": 6.0, "tears": 2.0}
    statements = []
    for name, pairs in AXES.items():
        guards = dict([GUARDS[name]]) if name in GUARDS else {}
        for side, span in enumerate(ENDS.get(name, (LOW, HIGH))):
            forms = tuple(pair[side] for pair in pairs)
            statements.append(Statement({name: span}, forms, guards, weights.get(name, 1.0)))
    for name, span, forms in MIDDLES:
        statements.append(Statement({name: span}, forms, dict([GUARDS[name]]) if name in GUARDS else {}, 0.7))
    statements += [Statement(ranges, forms, {}, 5.0) for ranges, forms in EMOTIONS.values()]
    return tuple(statements)


STATEMENTS = _statements()


def all_words():
    """The set of words, commas and full stops that a caption can contain, for a vocabulary."""
    forms = [form for statement in STATEMENTS for form in statement.forms]
    words = {word for phrase in (*forms, *OPENINGS, *NOUNS, *JOINERS) for word in phrase.split()}
    return words - {"*"}


def choose_statements(factors, rng, count, without=()):
    """Up to `count` statements that are true of `factors`: no two about the same factor, and none that a change of the
    factors `without` could make false."""
    open_to_choice = [s for s in STATEMENTS if s.holds(factors) and s.guards.keys().isdisjoint(without)]
    chosen, spoken = [], set(without)
    while len(chosen) < count:
        open_to_choice = [s for s in open_to_choice if spoken.isdisjoint(s.ranges)]
        if not open_to_choice:
            break
        statement = rng.choices(open_to_choice, [s.weight for s in open_to_choice])[0]
        chosen.append(statement)
        spoken.update(statement.ranges)
    return chosen


def sentence(forms, rng):
    """A sentence that says `forms` (strings with `*` in the noun's place, at most one noun), in a random wording."""
    # Drawn first, so that two sentences from equal `rng` share them, whatever the forms are.
    opening, noun, end = rng.choice(OPENINGS), rng.choice(NOUNS), rng.choice((".", ".", ""))
    before = [form[:-2] for form in forms if form.endswith(" *")]
    after = [form[2:] for form in forms if form.startswith("* ")]
    rng.shuffle(before)
    rng.shuffle(after)
    if any("face" in form for form in forms):
        noun = "person"
    words = [*before, *([form for form in forms if "*" not in form] or [noun])]
    text = " ".join(["an" if words[0][0] in "aeiou" else "a", *words])
    for position, clause in enumerate(after):
        text += (" " if position == 0 else rng.choice((" and ", " ", ", "))) + clause
    return f"{opening} {text}{end}".strip()


def describe(factors, rng):
    """A sentence and the statements it makes: (str, list of Statement). See `caption`."""
    chosen = choose_statements(factors, rng, rng.choice((1, 1, 2, 2, 3, 4)))
    return sentence([rng.choice(s.forms) for s in chosen], rng), chosen


def caption(factors, rng):
    """A sentence that says some of what is clearly true of a portrait.

    factors: a row of 25 floats in [0, 1]; rng: a `random.Random`. It makes one to four random true statements, or fewer
    if fewer are true (without any, the portrait is just a person).
    """
    return describe(factors, rng)[0]


def caption_with_factors(factors, rng):
    """`caption`, and the indices of the factors that it mentions: (str, sorted list of int)."""
    text, chosen = describe(factors, rng)
    return text, sorted(INDEX[name] for statement in chosen for name in statement.ranges)


def contrast(factors, factor, rng):
    """Two descriptions that differ only in what they say about one factor: for a portrait where it is low, and for the
    same portrait where it is high.

    factors: a row of 25 floats; that of `factor` (a key of AXES) is not read. Returns
    ((low sentence, its statements), (high sentence, its statements)).
    """
    low_form, high_form = rng.choice(AXES[factor])
    # Emotions are about several factors: one that is about `factor` too would become false when that changes.
    shared = choose_statements(factors, rng, rng.choice((0, 0, 1, 2)), without=(factor,))
    said = [rng.choice(s.forms) for s in shared]
    guards = dict([GUARDS[factor]]) if factor in GUARDS else {}
    descriptions, wording = [], rng.getrandbits(32)
    for form, span in zip((low_form, high_form), ENDS.get(factor, (LOW, HIGH))):
        text = sentence([form, *said], random.Random(wording))
        descriptions.append((text, [Statement({factor: span}, (form,), guards, 1.0), *shared]))
    return tuple(descriptions)


def sample_factors(n, generator, emotional=0.25):
    """Factors (n, 25) in [0, 1], uniform and independent, except that a fraction `emotional` of the rows has the
    factors of one of the seven EMOTIONS drawn from its ranges, since these rarely occur by chance."""
    factors = torch.rand(n, len(FACTORS), generator=generator)
    emotions = torch.randint(len(EMOTIONS), (n,), generator=generator)
    emotions[torch.rand(n, generator=generator) >= emotional] = -1
    for number, (ranges, _) in enumerate(EMOTIONS.values()):
        rows = emotions == number
        for name, (low, high) in ranges.items():
            column = INDEX[name]
            factors[rows, column] = low + (high - low) * factors[rows, column]
    return factors
