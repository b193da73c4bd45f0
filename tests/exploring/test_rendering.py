"""Pictures of looks: spaces compose, the order of sliders does not matter, and a look has the same bytes again."""

from pathlib import Path

import numpy as np
import pytest
import torch

from lib.exploring.looks import Look, Start
from lib.exploring.world import World
from lib.latent_space import latent_space
from lib.paths.lines import Lines
from lib.paths.tracing import trace
from lib.pixels import to_uint8
from lib.settings import TrainingSettings
from lib.trained import Trained
from lib.walking.synthesis import Synthesiser
from models.errors import UserError


def all_spaces(world, visitor, look, share=0.5):
    """A look with the first slider of each space moved."""
    firsts = {slider.space: slider for slider in reversed(world.sliders)}
    return visitor.moved(look, {slider.id: share * slider.high for slider in firsts.values()})


def test_look_without_shifts_is_the_image_of_its_seed(world, visitor, experiments):
    codes = experiments[0].sample(1, seed=5)
    expected = to_uint8(experiments[0].space.synthesise(codes))[0]
    assert (visitor.picture(world.look(seed=5)).pixels == expected).all()


@pytest.mark.parametrize("number", range(4))
def test_one_slider_shows_the_frames_of_the_walk(world, visitor, experiments, number):
    experiment, look = experiments[number], world.look(seed=5)
    slider = next(slider for slider in world.sliders if slider.space == experiment.space.name)
    z = torch.randn(1, 32, generator=torch.Generator().manual_seed(5))
    walked = trace(experiment.space, experiment.paths, experiment.space.codes_of(z), 16, slider.high / 16)[0, 0]
    frames = Synthesiser(experiment.space.synthesise, 1)(walked[::8])
    for frame, share in zip(frames, (-1, -0.5, 0, 0.5, 1)):
        found = visitor.picture(visitor.moved(look, {slider.id: share * slider.high})).pixels
        assert np.abs(found.astype(int) - frame).max() <= 1


def test_spaces_compose(world, visitor, experiments):
    """z is moved first, then the w+ of it, then the styles of that, each by what its path has from the start."""
    look = all_spaces(world, visitor, world.look(seed=2))
    z = torch.randn(1, 32, generator=torch.Generator().manual_seed(2))
    spaces = {one.space.name: one.space for one in experiments}
    offsets = {}
    for one in experiments:
        space, start = one.space, one.space.codes_of(z)
        reach = next(slider.high for slider in world.sliders if slider.space == space.name)
        walked = trace(space, one.paths, start, 16, reach / 16)[0, :1, 24]
        offsets[space.name] = space.positions(walked) - space.positions(start)
    code = spaces["W"].codes_of(z + offsets["Z"])
    code = spaces["W+"].shift(spaces["W"].shift(code, offsets["W"]), offsets["W+"])
    code = spaces["S"].shift(spaces["S"].codes_of_w_plus(code), offsets["S"])
    expected = to_uint8(spaces["S"].synthesise(code))[0]
    assert np.abs(visitor.picture(look).pixels.astype(int) - expected).max() <= 1


def test_order_of_sliders_does_not_matter(world, visitor):
    shifts = {slider.id: 0.3 * slider.high for slider in world.sliders}
    one, other = world.look(seed=1), world.look(seed=1)
    for name in shifts:
        one = visitor.moved(one, {name: shifts[name]})
    for name in reversed(shifts):
        other = visitor.moved(other, {name: shifts[name]})
    assert (visitor.picture(one).pixels == visitor.picture(other).pixels).all()
    assert (visitor.picture(one).pixels != visitor.picture(world.look(seed=1)).pixels).any()


def test_look_from_its_link_has_the_same_bytes(world, visitor):
    look = all_spaces(world, visitor, world.look(seed=3, truncation=0.5))
    restored, remarks = world.visitor().adopt(Look.from_link(look.to_link()))
    assert restored == look and not remarks
    before = visitor.picture(look).png()
    visitor.picture(world.look(seed=4))
    assert world.visitor().picture(restored).png() == before


def test_code_that_is_given_is_a_start(world, visitor, slider_in, experiments):
    code = experiments[0].sample(1, seed=6)
    varied = code + torch.randn(code.shape, generator=torch.Generator().manual_seed(0))
    for given in (code, varied):
        look = world.look().at(Start.of_code(given))
        assert (visitor.picture(look).pixels == to_uint8(experiments[0].space.synthesise(given))[0]).all()
        visitor.picture(visitor.moved(look, {slider_in("S").id: 1.0, slider_in("W").id: 1.0}))
        with pytest.raises(UserError, match="only a code of W"):
            visitor.picture(visitor.moved(look, {slider_in("Z").id: 1.0}))
    with pytest.raises(UserError, match="another generator's"):
        visitor.picture(look.at(Start.of_code(torch.zeros(1, 10, 31))))


def test_truncation_of_a_look_is_that_of_its_codes(world, visitor, experiments):
    narrow, wide = (visitor.picture(world.look(1, psi)).pixels.astype(int) for psi in (0.1, 1.0))
    assert np.abs(narrow - wide).mean() > 1
    psi = world.look(1).start.truncation
    assert psi == world.truncation == 0.7


def test_large_pictures_have_previews(world, monkeypatch):
    assert world.preview is None
    monkeypatch.setattr("lib.exploring.rendering.QUICK", 32)
    monkeypatch.setattr("lib.exploring.rendering.CPU_PREVIEW", 16)
    visitor, look = world.visitor(), world.look()
    assert world.preview == 16
    assert visitor.picture(look, preview=True).pixels.shape == (16, 16, 3)
    assert visitor.picture(look).pixels.shape == (64, 64, 3)
    assert visitor.strip(look, world.sliders[0].id, 3)[0].pixels.shape == (16, 16, 3)
    assert visitor.strip(look, world.sliders[0].id, 3, full=True)[0].pixels.shape == (64, 64, 3)


@pytest.mark.parametrize("network", ["tiny_pggan", "tiny_biggan"])
def test_generators_without_w(network, request):
    """Their one space is Z, and a picture's code is a start too."""
    generator = request.getfixturevalue(network)
    classes = [1, 3] if generator.family.conditional else None
    space = latent_space(generator, "Z", None, 1.0, classes)
    settings = TrainingSettings(gan="tiny.pth", gan_sha256="0" * 64, method="sefa", biggan_target_classes=classes)
    lines = Lines.random(2, space.dim, torch.Generator().manual_seed(0))
    world = World(generator, settings, [Trained(Path("lines"), generator, space, lines, ["a", "b"], settings, None)])
    try:
        visitor, code = world.visitor(), space.codes_of(torch.randn(1, generator.z_dim, generator=_noise()))
        look, high = world.look(seed=0), world.sliders[0].high
        assert (visitor.picture(look).pixels == to_uint8(space.synthesise(code))[0]).all()
        moved = visitor.moved(look, {world.sliders[1].id: high})
        expected = to_uint8(space.synthesise(space.shift(code, high * lines.straight()[1:])))[0]
        assert (visitor.picture(moved).pixels == expected).all()
        assert (visitor.picture(moved.at(Start.of_code(code))).pixels == expected).all()
    finally:
        world.close()


def _noise():
    return torch.Generator().manual_seed(0)
