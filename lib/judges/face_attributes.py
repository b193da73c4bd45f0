"""The attributes of photographic faces that `faces64` reads, and the words that speak of them (`spoken.py`)."""

from lib.judges.spoken import Vocabulary

# name: unit
UNITS = {
    "smile": "standard deviations",
    "mouth open": "of the distance between the eyes",
    "glasses": "logit",
    "hat": "logit",
    "beard": "logit",
    "long hair": "logit",
    "light": "of white",
    "blue background": "of white",
    "turned right": "of the width of the face",
    "woman": "logit",
}
ATTRIBUTES = tuple(UNITS)

AXES = {
    "smile": [("serious *", "smiling *"), ("* with a serious face", "* with a smiling face"),
              ("* without a smile", "* with a smile"), ("* not smiling", "* smiling"), ("unsmiling *", "smiling *"),
              ("* who looks serious", "* who smiles"), ("* with a straight face", "* who is smiling"),
              ("* who does not smile", "* who smiles"), ("sad *", "happy *"),
              ("* with a sad face", "* with a happy face"),
              ("* who looks sad", "* who looks happy")],
    "mouth open": [("* with a closed mouth", "* with an open mouth"),
                   ("* with the mouth closed", "* with the mouth open"),
                   ("* whose mouth is closed", "* whose mouth is open"), ("* with closed lips", "* with open lips")],
    "glasses": [("* without glasses", "* with glasses"), ("* with no glasses", "* with glasses"),
                ("* wearing no glasses", "* wearing glasses"), ("* not wearing glasses", "* wearing glasses"),
                ("* who wears no glasses", "* who wears glasses"), ("* without spectacles", "* with spectacles"),
                ("* without spectacles", "* in spectacles"), ("* without eyeglasses", "* with eyeglasses")],
    "hat": [("* without a hat", "* with a hat"), ("* with no hat", "* with a hat"),
            ("* wearing no hat", "* wearing a hat"),
            ("* not wearing a hat", "* wearing a hat"), ("* who wears no hat", "* who wears a hat"),
            ("bareheaded *", "* in a hat"), ("* without a cap", "* with a cap"), ("* without a cap", "* in a cap"),
            ("* wearing no cap", "* wearing a cap")],
    "beard": [("* without a beard", "* with a beard"), ("* without beard", "* with beard"),
              ("* with no beard", "* with a beard"), ("beardless *", "bearded *"), ("clean shaven *", "bearded *"),
              ("shaved *", "bearded *"), ("shaven *", "bearded *"), ("* who has no beard", "* who has a beard"),
              ("* without facial hair", "* with facial hair"),
              ("* without a beard", "* with a beard and moustache")],
    "long hair": [("* with short hair", "* with long hair"), ("short haired *", "long haired *"),
                  ("* who has short hair", "* who has long hair"), ("* whose hair is short", "* whose hair is long")],
    "light": [("* in dim light", "* in bright light"), ("dimly lit *", "brightly lit *"),
              ("* in the shade", "* in bright sunlight"), ("* under dim light", "* under bright light")],
    "blue background": [("* in front of a brown background", "* in front of a blue background"),
                        ("* before a brown background", "* before a blue background"),
                        ("* in front of a brown wall", "* in front of a blue wall"),
                        ("* against a brown background", "* against a blue background"),
                        ("* on a brown background", "* on a blue background")],
    "turned right": [("* looking to the left", "* looking to the right"), ("* looking left", "* looking right"),
                     ("* facing left", "* facing right"), ("* turned to the left", "* turned to the right"),
                     ("* turned left", "* turned right"), ("* who looks to the left", "* who looks to the right")],
    "woman": [("man", "woman"), ("gentleman", "lady"), ("male", "female"), ("guy", "lady")],
}  # fmt: skip

own_factor = Vocabulary(AXES).own_factor
