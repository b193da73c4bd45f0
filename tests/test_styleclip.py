"""StyleCLIP: losses, latent optimisation and global directions conform to the published numbers; where the published
code slips, both are shown."""

import copy
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F

from lib.judges.faces.arcface import ArcFace
from lib.methods import channel_directions as channels
from lib.methods.clip_inputs import quantised, styleclip_input, styleclip_pooling
from lib.methods.styleclip_mapper import StyleCLIPMapper, StyleCLIPMapperSettings
from lib.methods.styleclip_optimization import StyleCLIPOptimization, StyleCLIPOptimizationSettings
from lib.paths.edits import EditsOfCodes
from lib.training.step import step
from models.clip_encoder import CLIPEncoder, Interface
from models.errors import UserError


class Cells(torch.nn.Module):
    """In place of CLIP's image tower: means of 32 x 32 pixels."""

    def encode_image(self, images):
        return F.avg_pool2d(images, 32).flatten(1)


def cells_encoder():
    return CLIPEncoder(Cells(), Interface(147, None, 77, 224))


def pooled_face(crops):
    """In place of ArcFace: means of 16 x 16 pixels, of unit length."""
    return F.normalize(F.avg_pool2d(crops, 16).flatten(1), dim=1)


class Flat:
    """In place of a space: codes (B, L, d) or (B, d), of which all or some numbers move, and what makes images of
    them."""

    name, layer, device = "W+", None, torch.device("cpu")

    def __init__(self, synthesise=None, widths=None, moved=slice(None)):
        self.synthesise, self.moved = synthesise, moved
        if widths:
            self.name, self.widths, self.layer = "S", dict(enumerate(widths)), len(widths) - 1

    def positions(self, codes):
        return codes.flatten(1)[:, self.moved]

    def shift(self, codes, offsets):
        flat = torch.zeros_like(codes).flatten(1)
        flat[:, self.moved] = offsets
        return codes + flat.view_as(codes)


# --- the mapper's loss


@pytest.fixture
def losses(published):
    return published("styleclip/losses")


def mapper_method(losses, space, weights, **changed):
    settings = StyleCLIPMapperSettings(gan="", clip_input="published", **weights, **changed)
    method = StyleCLIPMapper(settings, space, [("a", "b")])
    method.clip_encoder, method.arcface = cells_encoder(), pooled_face
    method.targets = F.normalize(losses["text_feature"], dim=1)
    return method


def seen_of(method, losses):
    """What the method sees of the recorded images, before and after."""
    method.space.synthesise = lambda codes: losses["image_hat" if codes.requires_grad else "image"]
    before, after = torch.zeros(2, 1), torch.zeros(2, 1, requires_grad=True)
    (face,), seen = method.see(before, None), method.see(after, None)
    return [face, seen]


@pytest.mark.parametrize("name, codes", [("loss", "w"), ("loss_styles", "styles")])
def test_loss_of_the_mapper_conforms(name, codes, losses):
    weights = {key: losses[key].item() for key in ("id_lambda", "clip_lambda", "latent_l2_lambda")}
    space = Flat(widths=losses["style_widths"].tolist() if codes == "styles" else None)
    method, batch = mapper_method(losses, space, weights), (losses[codes], torch.tensor([0, 0]))
    ends = [losses[codes], losses[f"{codes}_hat"]]

    def found(**only):
        method.settings = StyleCLIPMapperSettings(gan="", clip_input="published", **only)
        return method.loss(seen_of(method, losses), ends, batch)

    off = dict.fromkeys(weights, 0.0)
    l2 = "loss_l2_latent" if codes == "w" else "loss_l2_styles"
    for term, expected in (("clip_lambda", "loss_clip"), ("id_lambda", "loss_id"), ("latent_l2_lambda", l2)):
        assert found(**off | {term: 1.0}).item() == pytest.approx(losses[expected].item(), rel=1e-4)
    assert found(**weights).item() == pytest.approx(losses[name].item(), rel=1e-4)


def test_published_input_of_clip_conforms(losses, conforms):
    found = F.avg_pool2d(styleclip_input(losses["image_hat"]), 32)
    conforms(found, losses["clip_cells"])
    cosines = F.cosine_similarity(found.flatten(1), losses["text_feature"])
    conforms(1 - cosines, losses["loss_clip_each"])


@pytest.mark.parametrize("side", [32, 64, 256])
def test_published_input_is_what_upsampling_and_pooling_give(side):
    images = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    large = F.interpolate(images, scale_factor=7, mode="nearest")
    torch.testing.assert_close(styleclip_input(images), F.avg_pool2d(large, side // 32), rtol=0, atol=1e-5)
    assert torch.allclose(styleclip_pooling(side).sum(dim=1), torch.ones(224))


def test_published_input_lacks_clip_s_mean_and_deviation(losses):
    """Ours sees what CLIP was trained on, and theirs, a flag, the images as the generator makes them."""
    method = mapper_method(losses, Flat(), {})
    theirs = seen_of(method, losses)[1][0]
    method.settings = StyleCLIPMapperSettings(gan="", clip_input="clip")
    ours, encoder = seen_of(method, losses)[1][0], method.clip_encoder
    taken_out = (theirs.view(-1, 3, 7, 7) - encoder.mean) / encoder.deviation
    near, far = ((ours.view(-1, 3, 7, 7) - other.view(-1, 3, 7, 7)).abs().mean() for other in (taken_out, theirs))
    assert near < 0.05 < 0.3 < far  # but for another interpolation it is the same


def test_published_input_takes_sides_that_32_divides():
    with pytest.raises(UserError, match="multiple of 32 pixels, not 40"):
        styleclip_input(torch.zeros(1, 3, 40, 40))


# --- optimisation


def optimised(recorded, start, generator, weights, moved):
    """Run the method on a toy generator; the code at each step, before its update, and each loss."""
    steps = recorded["steps"].item()

    def synthesise(codes):
        small = torch.tanh(codes.flatten(1) @ generator.T).view(-1, 3, 2, 2)
        return small.repeat_interleave(16, dim=2).repeat_interleave(16, dim=3)

    settings = StyleCLIPOptimizationSettings(gan="", lr=recorded["lr"].item(), max_iter=steps, clip_input="published",
                                             **weights)  # fmt: skip
    method = StyleCLIPOptimization(settings, Flat(synthesise, moved=moved), [("a", "b")])
    method.space.dim = method.space.positions(start).shape[1]
    method.clip_encoder, method.codes = cells_encoder(), start
    method.targets = F.normalize(recorded["text_feature"], dim=1)
    method.arcface = pooled_face if settings.id_lambda else None
    if settings.id_lambda:
        method.faces = method.identity(synthesise(start))
    method.begin()
    optimizer, codes, losses = method.optimizer(), [], []
    for i in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = method.learning_rate(i)
        codes.append(method.ends(method.draw(i))[0].detach().flatten())
        optimizer.zero_grad()
        losses.append(step(method, method.draw(i)))
        optimizer.step()
    return torch.stack(codes), torch.tensor(losses), synthesise, method


@pytest.mark.parametrize(
    "name, weights",
    [
        ("edit", {"latent_l2_lambda": 0.008}),
        ("edit_id", {"latent_l2_lambda": 0.008, "id_lambda": 0.005}),
        ("free", {"latent_l2_lambda": 0.0}),
        ("styles", {"latent_l2_lambda": 0.008, "id_lambda": 0.005}),
    ],
)
def test_optimisation_conforms(name, weights, published):
    recorded = published("styleclip/optimization")
    is_free = name == "free"
    start = recorded["mean_latent"].repeat(18, 1)[None] if is_free else recorded["start"]
    generator = recorded["generator_free" if is_free else "generator"]
    # The styles are six vectors of ten, of which the second and the fifth are those of RGB layers.
    moved = [i for i in range(60) if i // 10 not in (1, 4)] if name == "styles" else slice(None)
    codes, losses, synthesise, method = optimised(recorded, start, generator, weights, moved)

    def close(found, expected):
        assert (found - expected).abs().max() <= 1e-3 * expected.abs().max()

    close(codes, recorded[f"{name}_codes"])
    close(losses, recorded[f"{name}_losses"])
    # They return the image from before the last step; ours, after it, is as far on as that step leads.
    close(synthesise(codes[-1:])[:, :, ::16, ::16], recorded[f"{name}_final_image_cells"])
    last = method.ends(method.draw(0))[0].detach().flatten()
    assert 0 < (last - codes[-1]).abs().max() < method.learning_rate(recorded["steps"].item() - 1) * 1.5


@pytest.mark.parametrize("name, steps", [("lr_schedule", 12), ("lr_schedule_300", 300)])
def test_learning_rate_of_the_optimisation_conforms(name, steps, published, conforms):
    method = StyleCLIPOptimization(StyleCLIPOptimizationSettings(gan="", lr=0.1, max_iter=steps), Flat(), [])
    conforms(torch.tensor([method.learning_rate(i) for i in range(steps)]), published("styleclip/optimization")[name])


def test_edits_of_codes_are_found_by_their_codes():
    generator = torch.Generator().manual_seed(0)
    starts, edits = torch.randn(3, 5, generator=generator), torch.randn(3, 2, 5, generator=generator)
    paths = EditsOfCodes.from_state(EditsOfCodes(starts, edits).state_dict(), 5, "edits.pt")
    found = paths(starts[[2, 0]] + 1e-5, torch.tensor([1, 0]))
    assert torch.equal(found, torch.stack([edits[2, 1], edits[0, 0]])) and paths.num_paths == 2
    with pytest.raises(UserError, match="not among them"):
        paths(starts + 0.1, torch.tensor([0, 0, 0]))
    for wrong in ({}, {"STARTS": starts}, {"STARTS": starts, "EDITS": edits[:2]},
                  {"STARTS": starts[:, :4], "EDITS": edits}, {"STARTS": starts, "EDITS": edits / 0}):  # fmt: skip
        with pytest.raises(UserError, match=r"edits\.pt"):
            EditsOfCodes.from_state(wrong, 5, "edits.pt")


# --- global directions


@pytest.fixture
def directions(published):
    return published("styleclip/global_direction")


def places(recorded):
    """Indices of the channels in their styles, whose order is that of computation, in our order: those of the
    convolutions, then those of the RGB layers."""
    starts = [0, *recorded["style_widths"].cumsum(0).tolist()]
    layers = [list(range(first, last)) for first, last in pairwise(starts)]
    is_rgb = recorded["is_rgb"].tolist()
    return [[i for layer, rgb in zip(layers, is_rgb) if rgb == wanted for i in layer] for wanted in (False, True)]


def test_directions_of_channels_and_text_conform(directions, conforms):
    below, above = directions["channel_features"].unbind(2)
    conforms(channels.direction_of(below, above), directions["channel_directions"])
    text = channels.text_direction_of(directions["target_text"], directions["neutral_text"])
    conforms(text, directions["text_direction"])
    conforms(directions["channel_directions"] @ text, directions["relevance"])


def test_edits_for_betas_conform(directions, conforms):
    convolutions, rgb = places(directions)
    relevance, std = directions["relevance"], directions["style_std"][convolutions].float()
    betas = directions["betas"].tolist()
    for beta, count, expected in zip(betas, directions["num_channels"], directions["directions"]):
        assert (relevance.abs() >= beta).sum() == count
        conforms(channels.edit_of(relevance, beta, std), expected[convolutions])
        assert not expected[rgb].any()
    edit = channels.edit_of(relevance, directions["edited_beta"].item(), std)
    moved = directions["styles"][:, None, convolutions] + directions["alphas"][:, None] * edit
    conforms(moved.float(), directions["edited"][..., convolutions])
    assert torch.equal(directions["edited"][..., rgb], directions["styles"][:, None, rgb].expand(-1, 4, -1))


def test_automatic_beta_conforms(directions):
    relevance = directions["relevance"]
    for enough, name in ((20, "ffhq"), (100, "other"), (1000, "impossible")):
        assert channels.automatic_beta(relevance, enough) == pytest.approx(directions[f"auto_beta_{name}"].item())


def test_beta_that_leaves_no_channel_is_said(directions):
    with pytest.raises(ValueError, match="no channel"):
        channels.edit_of(directions["relevance"], 1.0, directions["style_std"].float())


def test_channels_are_measured_each_alone(published):
    """The published script leaves the channels that it has measured at their means: only the first one agrees."""
    recorded = published("styleclip/single_channel")
    mean, std, codes = recorded["style_mean"], recorded["style_std"], recorded["styles"]

    def see(styles):
        images = torch.tanh(styles @ recorded["generator"] - 0.8).view(-1, 3, 2, 2)
        pixels = (quantised(images) + 1) / 2
        return pixels.flatten(1) @ recorded["clip_weight"] + recorded["clip_bias"]

    starts = [0, *recorded["style_widths"].cumsum(0).tolist()]
    measured = [i for layer, (first, last) in enumerate(pairwise(starts))
                if recorded["is_measured"][layer] for i in range(first, last)]  # fmt: skip
    alone, as_run, frozen = [], [], codes.clone()
    for channel in measured:
        one = range(channel, channel + 1)
        alone.append(channels.directions_of_channels(see, codes, one, mean, std, 33))
        as_run.append(channels.directions_of_channels(see, frozen, one, mean, std, 100))
        frozen[:, channel] = mean[channel]
    alone, as_run = torch.cat(alone), torch.cat(as_run)
    together = channels.directions_of_channels(see, codes, range(2), mean, std, 77)
    assert measured[:2] == [0, 1]
    torch.testing.assert_close(together, alone[:2], rtol=1e-4, atol=1e-5)
    for found, name in ((alone, "each_alone"), (as_run, "as_run")):
        expected = recorded[f"channel_directions_{name}"]
        assert (found - expected).abs().max() <= 1e-3 * expected.abs().max()
    assert (alone[0] - as_run[0]).norm() < 1e-4 and (alone[-1] - as_run[-1]).norm() > 0.1


# --- identity


def test_arcface_conforms(data, published, conforms):
    recorded = published("styleclip/ir_se_tiny")
    network = ArcFace([tuple(unit) for unit in recorded["units"].tolist()], recorded["image"].shape[-1], 24)
    network.load_state_dict(torch.load(data / "styleclip" / "ir_se_tiny.pt", weights_only=True))
    conforms(copy.deepcopy(network).eval()(recorded["image"]), recorded["feature"])
