"""What sentences say of named factors, by their words.

A form is what a sentence can say, with `*` in the noun's place: `bald *` goes before the noun, `* with hair` after it,
and a form without `*` is itself a noun.
"""

import re

LOW, HIGH = -1, +1

# Words of no consequence where one sentence has them and the other has not.
FILLERS = {"a", "an", "the", "and", "with", "person", "face", "neutral", "expression"}


class Vocabulary:
    def __init__(self, axes):
        """axes: {factor: [(said where it is low, said where it is high), ..]}. The two sides of a pair contrast."""
        meanings = {}  # {words of a form: {(factor, LOW or HIGH)}}
        for name, pairs in axes.items():
            for pair in pairs:
                for form, side in zip(pair, (LOW, HIGH)):
                    meanings.setdefault(tuple(form.replace("*", " ").split()), set()).add((name, side))
        self._meanings = dict(sorted(meanings.items(), key=lambda item: -len(item[0])))  # the longest forms first

    def said(self, sentence):
        """What a sentence says of the factors, {(factor, LOW or HIGH)}, and the set of its other words.

        A word counts once, in the longest form that it is part of: "not smiling" says nothing of smiling.
        """
        words = re.findall(r"[\w-]+", sentence.lower())
        found = set()
        for form, meanings in self._meanings.items():
            for start in range(len(words) - len(form) + 1):
                if tuple(words[start : start + len(form)]) == form:
                    found |= meanings
                    words[start : start + len(form)] = [""] * len(form)
        return found, set(words)

    def own_factor(self, first, second):
        """The factor that two sentences contrast, and +1 where the first one is its high end: (name, sign).

        None where they contrast none, or several, or where what stands against the only one has no form here.
        """
        (here, words), (there, other_words) = self.said(first), self.said(second)
        both = {(name, side) for name, side in here if (name, -side) in there}
        differing = both | (here - there) | {(name, -side) for name, side in there - here}
        if len(differing) != 1 or not (both or words ^ other_words <= FILLERS | {""}):
            return None
        return differing.pop()
