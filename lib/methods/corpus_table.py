"""What a corpus asks of a generator, before anything is trained: `train.py --check-corpus`."""

import torch.nn.functional as F

from lib.dipoles import text_differences

COLUMNS = "path", "poles", "nearest", "shift", "aim"
NOTE = """
poles    cosine between the features of the two sentences: near 1, the CLIP hardly tells them apart
nearest  the other dipole that asks for most nearly the same, and the cosine between the two
shift    how far a code moves, as a share of the space's radius, until half of what the generator shows is crossed
aim      cosine between what the closed form's direction changes, averaged over codes, and what the sentences ask for:
         near 0, the generator cannot show it, or the CLIP cannot see it"""


def corpus_table(labels, features, start, radius, unknown_words):
    """The table as text. labels: the dipoles. features (K, 2, E): of their poles. start: a `TextStart`. radius: the
    Jung radius of the space. unknown_words(sentences): those that the CLIP does not know."""
    similarity = F.cosine_similarity(*features.unbind(dim=1), dim=-1)
    likeness = text_differences(features) @ text_differences(features).T
    likeness.fill_diagonal_(0)
    changes = start.response.changes(start.directions).mean(dim=0)
    aims = F.cosine_similarity(changes, start.targets, dim=-1)
    shares = start.natural_shifts() / radius
    rows = [COLUMNS]
    for k in range(len(labels)):
        other = int(likeness[k].abs().argmax())
        near = f"{other} ({likeness[k, other]:.2f})" if len(labels) > 1 else "-"
        rows.append((str(k), f"{similarity[k]:.3f}", near, f"{shares[k]:.3f}", f"{aims[k]:.2f}"))
    widths = [max(map(len, column)) for column in zip(*rows)]
    sentences = ["", *(_sentences(poles, unknown_words(poles)) for poles in labels)]
    lines = ["  ".join([*(cell.rjust(width) for cell, width in zip(row, widths)), text]).rstrip()
             for row, text in zip(rows, sentences)]
    return "\n".join([*lines, NOTE])


def _sentences(poles, unknown):
    """A dipole's sentences, and which of their words the CLIP does not know."""
    remark = f"  (unknown: {', '.join(unknown)}: it follows the other words alone)" if unknown else ""
    return "  |  ".join(poles) + remark
