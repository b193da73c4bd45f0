"""Sentences about photographic faces.

A statement is about one attribute, which has two sides: it says that the attribute is on its positive or on its
negative side. In a form, `*` stands for the noun: `smiling *` goes before it, `* with a hat` behind it, and a form
without `*` is itself a noun.
"""

import random

# attribute: (forms of its positive side, forms of its negative side)
ATTRIBUTES = {
    "smile": (("smiling *", "* with a smile", "* who smiles", "* who is smiling", "happy *", "* with a happy face",
               "* with a smiling face", "* who looks happy"),
              ("serious *", "* with a serious face", "* who looks serious", "* without a smile", "unsmiling *",
               "* who does not smile", "* with a straight face")),
    "mouth": (("* with an open mouth", "* with the mouth open", "* whose mouth is open", "* with open lips"),
              ("* with a closed mouth", "* with the mouth closed", "* whose mouth is closed", "* with closed lips")),
    "glasses": (("* with glasses", "* wearing glasses", "* who wears glasses", "* in spectacles", "* with spectacles",
                 "* with eyeglasses"),
                ("* without glasses", "* wearing no glasses", "* who wears no glasses", "* with no glasses",
                 "* without spectacles", "* without eyeglasses")),
    "hat": (("* with a hat", "* wearing a hat", "* who wears a hat", "* in a hat", "* in a cap", "* wearing a cap"),
            ("* without a hat", "* wearing no hat", "* who wears no hat", "* with no hat", "bareheaded *",
             "* without a cap")),
    "beard": (("bearded *", "* with a beard", "* who has a beard", "* with facial hair", "* with a beard and moustache",
               "* wearing a beard"),
              ("clean shaven *", "* without a beard", "* who has no beard", "* without facial hair", "beardless *",
               "shaven *")),
    "long_hair": (("* with long hair", "long haired *", "* who has long hair", "* whose hair is long"),
                  ("* with short hair", "short haired *", "* who has short hair", "* whose hair is short")),
    "woman": (("woman", "woman", "lady", "female *", "female *"), ("man", "man", "gentleman", "male *", "male *")),
    "light": (("* in bright light", "brightly lit *", "* in bright sunlight", "* under bright light"),
              ("* in dim light", "dimly lit *", "* in the shade", "* under dim light")),
    "blue_background": (("* in front of a blue background", "* before a blue background", "* in front of a blue wall",
                         "* against a blue background"),
                        ("* in front of a brown background", "* before a brown background",
                         "* in front of a brown wall", "* against a brown background")),
    "bright_background": (("* in front of a bright background", "* before a bright background",
                           "* in front of a white wall", "* against a bright background"),
                          ("* in front of a dark background", "* before a dark background",
                           "* in front of a black wall", "* against a dark background")),
    "right": (("* looking right", "* looking to the right", "* facing right", "* turned to the right",
               "* who looks to the right"),
              ("* looking left", "* looking to the left", "* facing left", "* turned to the left",
               "* who looks to the left")),
    "light_right": (("* lit from the right", "* with light from the right", "* with the light on the right"),
                    ("* lit from the left", "* with light from the left", "* with the light on the left")),
    "up": (("* looking up", "* looking upwards", "* with a raised head", "* with the head up"),
           ("* looking down", "* looking downwards", "* with a lowered head", "* with the head down")),
    "eyes": (("* with open eyes", "* with wide open eyes", "* whose eyes are open"),
             ("* with closed eyes", "* with narrow eyes", "* whose eyes are closed")),
}
NAMES = tuple(ATTRIBUTES)
INDEX = {name: i for i, name in enumerate(NAMES)}
MIRRORED = ("right", "light_right")  # change sides in a mirror; left and right are the viewer's

OPENINGS = ("a photo of", "a photo of", "a photo of", "a photo of", "a picture of", "a portrait of", "an image of", "")
NOUNS = ("person", "person", "person", "face", "face", "human", "individual")
JOINERS = ("a", "an", "and", "with", ",", ".")
MOST_STATEMENTS = 4
ALONE = 0.25  # of the captions with several statements are cut to one: dipoles say one thing


def all_words():
    """The set of words, commas and full stops that a caption can contain."""
    forms = [form for sides in ATTRIBUTES.values() for side in sides for form in side]
    return {word for phrase in (*forms, *OPENINGS, *NOUNS, *JOINERS) for word in phrase.split()} - {"*"}


def sentence(forms, rng):
    """A sentence that says `forms`, at most one of which is a noun, in a random wording."""
    # Drawn first, so that two sentences from equal `rng` share them, whatever the forms are.
    opening, noun, end = rng.choice(OPENINGS), rng.choice(NOUNS), rng.choice((".", ".", ""))
    before = [form[:-2] for form in forms if form.endswith(" *")]
    behind = [form[2:] for form in forms if form.startswith("* ")]
    rng.shuffle(before)
    rng.shuffle(behind)
    if any("face" in form.split() for form in forms):
        noun = "person"
    words = [*before, *([form for form in forms if "*" not in form] or [noun])]
    text = " ".join(["an" if words[0][0] in "aeiou" else "a", *words])
    for position, clause in enumerate(behind):
        text += (" " if position == 0 else rng.choice((" and ", " ", ", "))) + clause
    return f"{opening} {text}{end}".strip()


def describe(sides, rng):
    """A caption about an image, and what it states.

    sides: {attribute: 1 or -1} of what is clear in the image. Returns the sentence, and {attribute: 1 or -1} of zero to
    four statements that are true. All attributes have the same chance.
    """
    count = rng.randint(0, MOST_STATEMENTS)
    if count > 1 and rng.random() < ALONE:
        count = 1
    stated = {name: sides[name] for name in rng.sample(sorted(sides), min(count, len(sides)))}
    return sentence([form_of(name, side, rng) for name, side in stated.items()], rng), stated


def form_of(name, side, rng):
    """One of an attribute's forms on its positive (1) or negative (-1) side."""
    return rng.choice(ATTRIBUTES[name][0 if side > 0 else 1])


def contrast(name, rng):
    """Two sentences that differ in nothing but in what they say about an attribute: the positive one, then the
    negative one."""
    wording, position = rng.getrandbits(32), rng.random()
    poles = []
    for forms in ATTRIBUTES[name]:
        form = forms[int(position * len(forms))]
        poles.append(sentence([form], random.Random(wording)))
    return tuple(poles)
