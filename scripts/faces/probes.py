"""Fit what the judge `faces64` has learned: four logistic probes, and the units of a smile.

    python -m scripts.faces.probes

The probes are fitted to the judge's half of the hand labels, each image once as it is and once mirrored, on principal
components of inner features of facemesh over samples of the generator. Printed is the area under the ROC curve, in
ten-fold cross-validation on that half (a face and its mirror image in the same fold) and, of the probes as they are
saved, on the other half, which the CLIP's teachers saw.
"""

import argparse
from pathlib import Path

import numpy as np

from lib.command_line import run
from lib.files import save_tensors
from lib.judges.faces64 import FEATURES, PROBED, PROBES, features_of, measures_of_smile
from models.face_networks import MARGIN, load_network

SEED = 7  # of the samples; those from 10,000 on are for reporting
AT_ONCE = 50  # images, for the memory's sake
COMPONENTS = 64  # of each output that a probe sees
FOLDS = 10
STRENGTHS = (0.001, 0.003, 0.01, 0.03, 0.1)  # C of scikit-learn: the inverse of the penalty
LABELS = {"glasses": "glasses", "hat": "hat", "beard": "facial_hair", "long hair": "long_hair"}


def features(images):
    """Images (N, 3, 64, 64) -> {probe: (2, N, F)}, of the images and of their mirror images."""
    network, parts = load_network("facemesh"), []
    for seen in (images, images.flip(-1)):
        found = [network(some, FEATURES, MARGIN) for some in seen.split(AT_ONCE)]
        mesh = {output: np.concatenate([part[output] for part in found]) for output in FEATURES}
        parts.append({name: features_of(mesh, name) for name in PROBED})
    return {name: np.stack([part[name] for part in parts]) for name in PROBED}


class Components:
    """Principal components, of equal variance, of each output that a probe sees; `fold` undoes them."""

    def __init__(self, samples, name):
        """samples (N, F)"""
        from sklearn.decomposition import PCA

        self.mean = samples.mean(axis=0)
        deviation = samples.std(axis=0)
        self.deviation = deviation + 1e-3 * deviation.mean()
        blocks = np.split(self._standard(samples), len(PROBED[name]), axis=1)
        fitted = [PCA(COMPONENTS, svd_solver="randomized", random_state=0).fit(block) for block in blocks]
        self.blocks = [one.components_ / np.sqrt(one.explained_variance_)[:, None] for one in fitted]

    def _standard(self, features):
        return (features - self.mean) / self.deviation

    def __call__(self, features):
        parts = np.split(self._standard(features), len(self.blocks), axis=-1)
        return np.concatenate([part @ block.T for part, block in zip(parts, self.blocks)], axis=-1)

    def fold(self, weights, constant):
        """Weights of components -> weights of features with the constant behind them, (F + 1,)."""
        parts = np.split(weights, len(self.blocks))
        whole = np.concatenate([part @ block for part, block in zip(parts, self.blocks)]) / self.deviation
        return np.append(whole, constant - whole @ self.mean)


def fit(seen, answers, strength):
    """seen (2, N, D), of images and mirror images; answers (N,) of 0 and 1. Returns scikit-learn's model."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=strength, class_weight="balanced", max_iter=1000)
    return model.fit(np.concatenate(seen), np.concatenate([answers, answers]))


def cross_validated(seen, answers, strength):
    """The area under the curve of faces that a probe was not fitted to."""
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold

    found = np.zeros(len(answers))
    for fitted, left_out in StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(seen[0], answers):
        model = fit(seen[:, fitted], answers[fitted], strength)
        found[left_out] = model.decision_function(seen[0, left_out])
    return roc_auc_score(answers, found)


def fit_probe(name, samples, labelled, answers):
    """A probe's weights (F + 1,), its cross-validated area under the curve, and the strength that has the largest.

    samples, labelled: (2, N, F), of images and their mirror images; answers (N,): 1, 0, or -1 where the eye was unsure.
    """
    components = Components(np.concatenate(samples), name)
    sure = answers >= 0
    seen, answers = components(labelled[:, sure]), answers[sure]
    area, strength = max((cross_validated(seen, answers, strength), strength) for strength in STRENGTHS)
    model = fit(seen, answers, strength)
    return components.fold(model.coef_[0], model.intercept_[0]), area, strength


def units_of_smile(images):
    """Mean and deviation (2, 3) of what a smile is made of."""
    mesh, emotion = (load_network(name) for name in ("facemesh", "emotion"))
    measures = np.concatenate([
        measures_of_smile(mesh(some, ["mesh"], MARGIN)["mesh"], emotion(some, ["probabilities"])["probabilities"])
        for some in images.split(AT_ONCE)
    ])
    return np.stack([measures.mean(axis=0), measures.std(axis=0)])


def images_of(generator, z):
    """Codes (N, 100) -> images (N, 3, 64, 64) in [-1, 1]."""
    import torch

    with torch.no_grad():
        return torch.cat([generator(part).clamp(-1, 1) for part in torch.as_tensor(z).split(AT_ONCE)])


def main(arguments):
    p = argparse.ArgumentParser(prog="python -m scripts.faces.probes", description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--samples", type=int, default=1000, help="of the generator (default: 1000)")
    p.add_argument("--output", metavar="FILE", type=Path, default=PROBES, help="default: where the judge looks")
    args = p.parse_args(arguments)

    import torch
    from sklearn.metrics import roc_auc_score

    from models.load_generator import load_generator
    from scripts.faces.labels import halves

    generator = load_generator("dcgan_faces64")
    z = torch.randn(args.samples, generator.z_dim, generator=torch.Generator().manual_seed(SEED))
    samples = images_of(generator, z)
    (others, their_answers), (own, answers) = halves()
    seen, labelled, held_out = (features(images) for images in
                                (samples, images_of(generator, own), images_of(generator, others)))
    probes = {"smile": units_of_smile(samples)}
    for name, label in LABELS.items():
        probe, area, strength = fit_probe(name, seen[name], labelled[name], answers[label])
        sure = their_answers[label] >= 0
        found = held_out[name][0, sure] @ probe[:-1] + probe[-1]
        truth = their_answers[label][sure]
        right = [np.mean((found > 0) == (truth == 1), where=truth == side) for side in (1, 0)]
        print(f"{name}: cross-validated {area:.3f} (C {strength}), the other half {roc_auc_score(truth, found):.3f}, "
              f"told right of it {right[0]:.0%} with and {right[1]:.0%} without")
        probes[name] = probe
    save_tensors({name: torch.tensor(values, dtype=torch.float32) for name, values in probes.items()}, args.output)


if __name__ == "__main__":
    run(main)
