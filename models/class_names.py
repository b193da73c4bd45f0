"""The classes of a generator, by number or by name."""

from hashlib import sha1
from pathlib import Path

from models.errors import UserError, quoted

IMAGENET = Path(__file__).parent / "imagenet_classes.txt"
MOST_SUGGESTIONS = 5
MOST_SHOWN = 6  # numbers in a directory's name


def imagenet_names():
    """The names of ImageNet's 1,000 classes in order; synonyms are separated by commas."""
    lines = IMAGENET.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if not line.startswith("#")]


def class_indices(wanted, names):
    """Numbers and names, as text -> sorted indices of classes, without duplicates.

    names: those of each class, synonyms separated by commas, or "". Raises UserError if there is no such class, or if
    several classes have the name.
    """
    return sorted({_index(text, names) for text in wanted})


def suffix_of(classes):
    """What follows the generator's name in the names of experiments and pools. classes: indices; None: all."""
    if classes is None:
        return ""
    shown = "+".join(map(str, classes))
    if len(classes) > MOST_SHOWN:
        shown = f"{len(classes)}-{sha1(shown.encode()).hexdigest()[:6]}"
    return f"-class{shown}" if len(classes) == 1 else f"-classes{shown}"


def _index(text, names):
    if text.strip().isdecimal():
        if int(text) >= len(names):
            raise UserError(f"there is no class {text.strip()}: the classes are 0 to {len(names) - 1}")
        return int(text)
    name = _plain(text)
    found = [i for i, synonyms in enumerate(names) if name in map(_plain, synonyms.split(","))]
    if len(found) > 1:
        which = " and ".join(f"{i} ({names[i]})" for i in found)
        raise UserError(f"several classes are called {quoted(text)}, {which}: give the number")
    if not found:
        raise UserError(f"there is no class {quoted(text)}{_suggestions(name, names)}")
    return found[0]


def _plain(name):
    """A name as it is compared: `golden_retriever` equals `Golden Retriever`."""
    return " ".join(name.replace("_", " ").replace("-", " ").casefold().split())


def _suggestions(name, names):
    if not any(names):
        return f": this generator's classes have numbers only, 0 to {len(names) - 1}"
    near = [f"{i} ({synonyms})" for i, synonyms in enumerate(names) if name and name in _plain(synonyms)]
    near = near or ([f"{i} ({synonyms})" for i, synonyms in enumerate(names)] if len(names) <= 20 else [])
    if not near:
        return f": give a number, 0 to {len(names) - 1}, or a name as it stands in {IMAGENET.name}"
    more = ", .." if len(near) > MOST_SUGGESTIONS and len(names) > 20 else ""
    shown = near if len(names) <= 20 else near[:MOST_SUGGESTIONS]
    return f"; there are {', '.join(shown)}{more}"
