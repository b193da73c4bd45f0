"""Labels of faces of dcgan_faces64 for what no published network reads: glasses, hats, facial hair, long hair, women.

labels.npz holds, for 716 codes, 1, 0, or -1 where the labeller was unsure. They were labelled from contact sheets: the
first 200 by one person, before this repository had them, the other 516 by a vision-language model. The faces are 64 px
wide and were enlarged to 150. The 516 are the plausible ones of 560 samples of normal noise (most smeared, dark and
masked faces were dropped). Each was looked at once on a sheet; those called positive or unsure were looked at again,
larger, one attribute at a time, and so were, of each attribute, the 36 negatives that a probe fitted on all labels,
cross-validated, ranked highest, and the 18 positives that it ranked lowest. That made 16 labels unsure.

To compare the two labellers, 75 of the first 200 were labelled again without seeing their
labels: where both were sure, they agree on 59 of 60 for glasses, 65 of 65 for hats, 62 of 63 for facial hair, 53 of 55
for long hair, and 34 of 39 for women, which is the least certain label: half of its entries are -1.

Codes are kept in half precision, which changes no image by more than 1 of 255. They are kept rather than a seed, since
what a seed gives depends on what was drawn before.
"""

from pathlib import Path

import numpy as np

FILE = Path(__file__).with_name("labels.npz")
ATTRIBUTES = ("glasses", "hat", "facial_hair", "long_hair", "female")


def load():
    """The labelled codes, (N, 100) in float32, and the labels of each attribute, (N,) of 1, 0 or -1 for unsure."""
    with np.load(FILE) as content:
        return content["z"].astype(np.float32), {name: content[name] for name in ATTRIBUTES}


def halves():
    """Two pairs of codes and labels as in `load`: those for the networks that teach the CLIP, and those for the judge.

    Even rows go to the teachers, odd rows to the judge, so that no probe of the judge is fitted on a face that a
    probe of the teachers saw.
    """
    z, labels = load()
    return tuple((z[start::2], {name: values[start::2] for name, values in labels.items()}) for start in (0, 1))
