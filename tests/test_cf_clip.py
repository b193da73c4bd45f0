"""CF-CLIP: its contrast, its views and its whole loss conform to the published numbers."""


import pytest
import torch
import torch.nn.functional as F
from test_styleclip import Flat, pooled_face

from lib.methods.cf_clip import CFCLIP, CFCLIPSettings, clip_nce
from lib.methods.clip_inputs import draw_views, views_of
from lib.methods.vgg19 import VGG19
from models.clip_encoder import CLIPEncoder, Interface

SIDE = 8  # pixels that the stand-in for CLIP sees


class Pooled(torch.nn.Module):
    """In place of CLIP's image tower: means of 2 x 2 pixels."""

    def encode_image(self, images):
        return F.avg_pool2d(images, 2).flatten(1)


@pytest.fixture
def recorded(published):
    return published("cfclip/calc_loss")


@pytest.fixture
def vgg(data):
    network = VGG19((1, 2, 4, 8, 8))
    network.load_state_dict(torch.load(data / "cfclip" / "vgg19_tiny.pt", weights_only=True))
    return network


def corners_of(recorded):
    return torch.stack([recorded["startpoints"], recorded["endpoints"]], dim=1)


def method_of(recorded, vgg, **settings):
    """The method on recorded images, which stand for their codes."""
    weights = {key: recorded[key].item() for key in ("id_lambda", "perc_lambda", "nce_lambda", "latent_l2_lambda")}
    space = Flat(lambda codes: codes)
    method = CFCLIP(CFCLIPSettings(gan="", nce_negatives="first", **weights | settings), space, [("a", "b")])
    method.clip_encoder = CLIPEncoder(Pooled(), Interface(48, None, 77, SIDE))
    method.arcface, method.vgg = pooled_face, vgg
    method.source_texts, method.target_texts = (
        F.normalize(recorded[f"{name}_text"], dim=1)[None] for name in ("source", "target")
    )
    return method


# --- CLIP-NCE


@pytest.mark.parametrize("case", "ab")
def test_contrast_conforms(case, published, conforms):
    arrays = published("cfclip/nce")
    recorded = {key[2:]: tensor for key, tensor in arrays.items() if key.startswith(case)}
    batch, views = recorded["batch"].item(), recorded["views"].item()
    texts = (F.normalize(recorded[f"{name}_text"], dim=1)[None].expand(batch, -1, -1) for name in ("source", "target"))
    edited = recorded["target_image"].clone().requires_grad_()
    plain = recorded["source_image"][:batch]
    found = clip_nce(plain, edited.unflatten(0, (views, batch)).transpose(0, 1), *texts, plain[:1],
                     recorded["temperature"].item())  # fmt: skip
    conforms(found.permute(2, 1, 0).flatten(), recorded["loss_per_query"])
    conforms(found.mean(), recorded["loss"])
    found.mean().backward()
    conforms(edited.grad, recorded["grad_target_image"])


@pytest.mark.parametrize("case", "ab")
def test_recorded_queries_and_positives_give_the_recorded_contrast(case, published, conforms):
    """That the published numbers are read as they are meant: the intermediate ones make up the loss."""
    arrays = published("cfclip/nce")
    recorded = {key[2:]: tensor for key, tensor in arrays.items() if key.startswith(case)}
    unit = {name: F.normalize(recorded[f"{name}"], dim=1)
            for name in ("source_text", "target_text", "source_image", "target_image")}  # fmt: skip
    conforms(F.normalize(unit["target_image"] - unit["source_image"], dim=1).repeat(2, 1), recorded["query"])
    direction = F.normalize((unit["target_text"] - unit["source_text"]).mean(dim=0), dim=0)
    ways = F.normalize(unit["target_text"].mean(dim=0) - unit["source_image"], dim=1)
    conforms(direction, recorded["text_direction"])
    conforms(torch.cat([direction.expand_as(ways), ways]), recorded["positives"])
    conforms(F.normalize(unit["source_text"] - unit["source_image"][0], dim=1), recorded["negatives"])


def test_negatives_of_each_image_s_own_differ_from_the_published_ones_in_a_batch(published):
    """The published code takes the ways from the batch's first image for all: right for the first one only."""
    arrays = published("cfclip/nce")
    texts = [F.normalize(arrays[f"a_{name}_text"], dim=1)[None].expand(2, -1, -1) for name in ("source", "target")]
    plain = arrays["a_source_image"][:2]
    views = arrays["a_target_image"].unflatten(0, (8, 2)).transpose(0, 1)
    own, first = (clip_nce(plain, views, *texts, at, 0.1) for at in (plain, plain[:1]))
    torch.testing.assert_close(own[0], first[0])
    assert (own[1] - first[1]).abs().max() > 0.1


# --- what CLIP sees


def test_views_conform(recorded, conforms):
    found = views_of(recorded["image_hat"], corners_of(recorded))
    # Recorded row v * B + i is view v of image i.
    conforms(found.transpose(0, 1).flatten(0, 1)[:2], recorded["views"])


def test_views_are_drawn_as_torchvision_draws_them(recorded):
    generator = torch.Generator().manual_seed(recorded["augment_seed"].item())
    before = torch.random.get_rng_state()
    assert torch.equal(draw_views(8, 32, generator), corners_of(recorded))
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("name", ["plain", "antialias"])
def test_input_of_clip_conforms(name, recorded, vgg, conforms):
    method = method_of(recorded, vgg, no_antialias=name == "plain")
    seen = []
    method.clip_encoder.model.encode_image = lambda images: seen.append(images) or images.flatten(1)
    method.see(recorded["image"], None)
    method.see(recorded["image_hat"].clone().requires_grad_(), (None, None, corners_of(recorded)))
    conforms(seen[0], recorded[f"clip_input_source_{name}"])
    by_view = seen[1].unflatten(0, (2, 8)).transpose(0, 1).flatten(0, 1)
    conforms(by_view, recorded[f"clip_input_edited_{name}"])


# --- the loss


def loss_of(method, recorded):
    """(loss, gradient of the edited image)."""
    edited = recorded["image_hat"].clone().requires_grad_()
    batch = recorded["w"], torch.tensor([0, 0]), corners_of(recorded)
    seen = [method.see(recorded["image"], batch), method.see(edited, batch)]
    loss = method.loss(seen, [recorded["w"], recorded["w_hat"]], batch)
    loss.backward()
    return loss.detach(), edited.grad


@pytest.mark.parametrize("name", ["plain", "antialias"])
def test_loss_conforms(name, recorded, vgg, conforms):
    loss, gradient = loss_of(method_of(recorded, vgg, no_antialias=name == "plain"), recorded)
    conforms(loss, recorded[f"loss_{name}"])
    if name == "plain":
        conforms(gradient, recorded["grad_image_hat_plain"])


@pytest.mark.parametrize(
    "term, name, antialias",
    [
        ("id_lambda", "loss_id", True),
        ("perc_lambda", "loss_perc", True),
        ("latent_l2_lambda", "loss_l2_latent", True),
        ("nce_lambda", "loss_nce_antialias", True),
        ("nce_lambda", "loss_nce_plain", False),
    ],
)
def test_each_term_of_the_loss_conforms(term, name, antialias, recorded, vgg, conforms):
    off = dict.fromkeys(("id_lambda", "perc_lambda", "nce_lambda", "latent_l2_lambda"), 0.0)
    method = method_of(recorded, vgg, no_antialias=not antialias, **off | {term: 1.0})
    conforms(loss_of(method, recorded)[0], recorded[name])


def test_terms_whose_networks_are_absent_are_left_out(recorded, vgg):
    method = method_of(recorded, vgg)
    whole, _ = loss_of(method, recorded)
    method.arcface = method.vgg = None
    rest, _ = loss_of(method, recorded)
    missing = sum(recorded[key].item() * recorded[name].item()
                  for key, name in (("id_lambda", "loss_id"), ("perc_lambda", "loss_perc")))  # fmt: skip
    assert (whole - rest).item() == pytest.approx(missing, rel=1e-3)
