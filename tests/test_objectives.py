"""The losses against the published implementation and against their definitions."""

import math

import pytest
import torch
import torch.nn.functional as F

from lib.methods.objectives import IDEAS, LOSSES, image_moves, loss, text_targets
from lib.paths.support_sets import CorpusSupportSets


@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize("idea", IDEAS)
def test_losses_conform(idea, kind, published, conforms):
    given = published("objectives")
    plain, shifted = given["image_features"], given["shifted_image_features"]
    indices, shifts = given["indices"], given["shift_magnitudes"]
    corpus = CorpusSupportSets(given["text_features"], given["css_beta"].item())
    targets = text_targets(idea, corpus, plain, indices, shifts)
    found = loss(kind, image_moves(idea, plain, shifted), targets, indices, shifts, given["temperature"].item())
    conforms(found, given[f"{idea}_{kind}"])


def random_moves(batch):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(batch, 8, generator=generator).requires_grad_(), torch.randn(batch, 8, generator=generator)


def test_only_items_of_another_path_or_sign_are_negatives():
    indices = torch.tensor([0, 1, 0, 0, 1])
    shifts = torch.tensor([0.1, 0.2, 0.3, -0.1, -0.2])
    negatives = [[1, 3, 4], [0, 2, 3, 4], [1, 3, 4], [0, 1, 2, 4], [0, 1, 2, 3]]
    moves, targets = random_moves(5)
    terms = []
    for item, others in enumerate(negatives):
        logits = {j: F.cosine_similarity(moves[item], targets[j], dim=0).item() / 0.5 for j in [item, *others]}
        terms.append(math.log(sum(map(math.exp, logits.values()))) - logits[item])
    found = loss("contrastive", moves, targets, indices, shifts, 0.5)
    assert math.isclose(found.item(), sum(terms) / 5, rel_tol=1e-5)


@pytest.mark.parametrize("kind, without_negatives", [("contrastive", 0.0), ("cossim", None)])
@pytest.mark.parametrize("batch", [1, 3])
def test_loss_without_negatives_is_finite(kind, without_negatives, batch):
    moves, targets = random_moves(batch)
    found = loss(kind, moves, targets, torch.zeros(batch, dtype=torch.long), torch.full((batch,), 0.1), 0.07)
    found.backward()
    assert found.isfinite() and moves.grad.isfinite().all()
    assert without_negatives is None or found == without_negatives


@pytest.mark.parametrize("idea", IDEAS)
def test_positive_shifts_aim_at_the_first_sentence(idea):
    poles = torch.eye(4)[None, :2]
    corpus = CorpusSupportSets(poles, 0.75)
    features = poles.mean(dim=1).repeat(2, 1)
    towards, away = text_targets(idea, corpus, features, torch.tensor([0, 0]), torch.tensor([0.2, -0.2]))
    assert (towards - away) @ (poles[0, 0] - poles[0, 1]) > 0
