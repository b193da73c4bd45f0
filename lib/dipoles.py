"""Corpora of semantic dipoles: pairs of contrasting sentences, from a name or a file.

The first sentence of a dipole is the pole that positive shifts along its path lead to.
"""

import json
import re
import sys
from pathlib import Path

import torch
import torch.nn.functional as F

from lib import distributed
from lib.config import CORPORA
from models.errors import UserError, quoted, unknown
from models.untrusted.text_files import read_text

# Of 1 minus the cosine between the features of two poles.
SAME, NEARLY_SAME = 5e-4, 0.02
PARALLEL = 0.95  # cosine between what two dipoles ask for
SHOWN = 3
MOST_LINES = 20  # about dipoles that are hardly told apart
ROWS = 1024  # of a matrix of cosines at a time, whose number grows with the square of the corpus

ELEMENT = re.compile(r"[^ \t\r\n,]")  # what an element of a JSON list, or the end of the list, begins with


def load_corpus(name_or_file):
    """The dipoles [(pole A, pole B), ...] of a corpus by its name, or of a file.

    A file is JSON, a list of pairs, or text, one dipole per line, its poles separated by a tab or `|`; empty lines and
    lines that start with `#` are skipped. Raises UserError with the line number where a dipole is not a pair of
    different, non-empty sentences.
    """
    file = CORPORA.get(str(name_or_file), Path(name_or_file))
    if not file.is_file():
        raise unknown(name_or_file, "a corpus", CORPORA)
    try:
        text = read_text(file, encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{file} is not UTF-8 text ({error}): save it as UTF-8") from None
    dipoles = _from_json(text, file) if text.lstrip().startswith(("[", "{")) else _from_lines(text, file)
    if not dipoles:
        raise UserError(f"{file} has no dipoles: write one per line, its sentences separated by a tab or |")
    return dipoles


def corpus_name(name_or_file):
    """The name that an experiment on this corpus carries: a file's stem."""
    return name_or_file if name_or_file in CORPORA else Path(name_or_file).stem


def encode_dipoles(dipoles, clip_encoder, tell=None):
    """CLIP's text features of the poles: (K, 2, E). Words that it does not know are told, on stderr or to `tell`."""
    unknown = clip_encoder.unknown_words([pole for poles in dipoles for pole in poles])
    if unknown:
        words = ", ".join(map(quoted, unknown))
        (tell or _warn)(f"this CLIP was trained without these words and cannot tell what they mean: {words}")
    features = clip_encoder.encode_text([pole for poles in dipoles for pole in poles])
    return features.unflatten(0, (len(dipoles), 2))


def examine_dipoles(dipoles, features, tell=None):
    """Look at sentences before time is spent on them. features (K, 2, E): CLIP's, of the poles.

    Raises UserError where the features of two poles are equal, so that there is no way from one to the other. Prints a
    line, or calls tell(line), about poles that are nearly equal, dipoles that are given twice, and others that ask for
    nearly the same.
    """
    tell = tell or _warn
    similarity = F.cosine_similarity(*features.unbind(dim=1), dim=-1)
    if (1 - similarity < SAME).any():
        first, second = dipoles[(1 - similarity < SAME).nonzero()[0].item()]
        raise UserError(f"this CLIP does not tell {quoted(first)} from {quoted(second)}: use other words, or "
                        "another CLIP (train.py --clip-model; the embedded ones know few words, see docs/clips.md)")
    _tell_hardly_told(dipoles, similarity, tell)
    _tell_repetitions(dipoles, tell)
    count, near = _parallel(dipoles, features)
    if count:
        shown = ", ".join(f"{i} and {j}" for i, j in near) + " .." * (count > len(near))
        tell(f"to this CLIP, {count:,} pairs of dipoles ask for nearly the same ({shown}); the contrastive loss "
              "would push them apart (--check-corpus shows all)")


def _tell_hardly_told(dipoles, similarity, tell):
    hardly = (1 - similarity < NEARLY_SAME).nonzero()[:, 0].tolist()
    shown = hardly if len(hardly) <= MOST_LINES else hardly[: MOST_LINES - 1]
    for k in shown:
        first, second = dipoles[k]
        tell(f"this CLIP hardly tells {quoted(first)} from {quoted(second)} (cosine {similarity[k]:.3f})")
    if len(shown) < len(hardly):
        tell(f"nor does it, of {len(hardly) - len(shown):,} more dipoles, tell one sentence from the other")


def _tell_repetitions(dipoles, tell):
    first, repeated = {}, []
    for k, poles in enumerate(dipoles):
        before = first.setdefault(frozenset(poles), k)
        if before != k:
            repeated.append(f"{k} is {before} {'again' if tuple(dipoles[before]) == tuple(poles) else 'in reverse'}")
    if repeated:
        tell(f"dipoles are given twice: {', '.join(repeated[:SHOWN])}" + " .." * (len(repeated) > SHOWN))


def _parallel(dipoles, features):
    """(how many, the first few) pairs of dipoles (i, j), i < j, of other sentences, whose text differences are nearly
    parallel, in either direction."""
    first, targets = {}, text_differences(features)
    sentences = torch.tensor([first.setdefault(frozenset(poles), k) for k, poles in enumerate(dipoles)])
    count, pairs, columns = 0, [], torch.arange(len(targets))
    for begin in range(0, len(targets), ROWS):
        rows = columns[begin : begin + ROWS, None]
        near = ((targets[begin : begin + ROWS] @ targets.T).abs().cpu() > PARALLEL) & (rows < columns)
        near &= sentences[rows] != sentences
        count += near.sum().item()
        for row in near.any(dim=1).nonzero()[: max(SHOWN - len(pairs), 0), 0].tolist():
            pairs += [(begin + row, column) for column in near[row].nonzero()[:SHOWN, 0].tolist()]
    return count, pairs[:SHOWN]


def text_differences(features):
    """What each dipole asks of unit features: (K, 2, E) -> t (K, E), unit(unit(A) - unit(B))."""
    first, second = F.normalize(features, dim=-1).unbind(dim=1)
    return F.normalize(first - second, dim=-1)


def _warn(line):
    if distributed.is_first():
        print(line, file=sys.stderr)


def _from_json(text, file):
    try:
        pairs = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{file}, line {error.lineno}: not valid JSON ({error.msg})") from None
    except RecursionError:
        raise UserError(f"{file}: not a corpus (lists are nested too deeply)") from None
    except ValueError as error:
        raise UserError(f"{file}: not a corpus ({error})") from None
    if not isinstance(pairs, list):
        raise UserError(f'{file}, line 1: a corpus is a list of pairs, [["pole A", "pole B"], ...]')
    return [check_dipole(pair, f"{file}, line {line}") for pair, line in zip(pairs, _element_lines(text))]


def _element_lines(text):
    """The line that each element of a valid JSON list ends in, counted from 1."""
    decoder, position, line = json.JSONDecoder(), text.index("[") + 1, text.count("\n", 0, text.index("[")) + 1
    while True:
        begin = position
        position = ELEMENT.search(text, position).start()
        if text[position] == "]":
            return
        _, position = decoder.raw_decode(text, position)
        line += text.count("\n", begin, position)
        yield line


def _from_lines(text, file):
    dipoles = []
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip() and not line.lstrip().startswith("#"):
            dipoles.append(check_dipole(line.split("\t" if "\t" in line else "|"), f"{file}, line {number}"))
    return dipoles


def check_dipole(poles, place):
    """A dipole as a pair of stripped sentences. Raises UserError, naming the place, if it is not one."""
    if not isinstance(poles, list) or not all(isinstance(pole, str) for pole in poles) or len(poles) != 2:
        count = len(poles) if isinstance(poles, list) else "no"
        raise UserError(f"{place}: a dipole is two sentences, found {count}")
    first, second = (pole.strip() for pole in poles)
    if not first or not second:
        raise UserError(f"{place}: a pole is empty")
    if not (first + second).isprintable():
        raise UserError(f"{place}: a pole has characters that cannot be printed")
    if first == second:
        raise UserError(f"{place}: both poles are {quoted(first)}; they must differ")
    return first, second
