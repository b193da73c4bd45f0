"""What a visitor brings: pictures, which are inverted, and codes; read within limits, and not kept."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from lib.exploring import uploads
from lib.exploring.looks import Start
from lib.settings import InversionSettings
from models.errors import UserError


@pytest.fixture
def brief(monkeypatch):
    """A search of few steps."""
    settings = InversionSettings(stylegan_space="W+", steps=3, samples=8)
    monkeypatch.setattr(uploads, "search_settings", lambda generator: settings)


def saved(content):
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def test_picture_becomes_a_start_that_sliders_move(world, visitor, brief, slider_in, tmp_path):
    before = set(tmp_path.rglob("*"))
    shown = visitor.picture(world.look(seed=1))
    work = visitor.invert(shown.png(), "me.png")
    found = work.result()
    assert work.share == 1 and 0 < found.distance < 1
    assert (found.original.pixels == shown.pixels).all()
    look = world.look().at(found.start)
    assert (visitor.picture(look).pixels == found.picture.pixels).all()
    moved = visitor.moved(look, {slider_in("W").id: 2.0, slider_in("S").id: 1.0})
    assert (visitor.picture(moved).pixels != found.picture.pixels).any()
    assert set(tmp_path.rglob("*")) == before


def test_picture_of_another_shape_is_cut_to_a_square(world, visitor, brief):
    wide = np.zeros((90, 200, 3), np.uint8)
    wide[:, 55:145] = 200
    file = io.BytesIO()
    Image.fromarray(wide).save(file, "PNG")
    found = visitor.invert(file.getvalue()).result()
    pixels = found.original.pixels
    assert "only in part" in found.remark and found.remark.isprintable()
    assert pixels.shape == (64, 64, 3) and (pixels[:, 1:-1] == 200).all() and pixels.min() > 150


def huge_png():
    """A picture of 200 megapixels, which is small as a file."""
    file = io.BytesIO()
    Image.new("1", (20_000, 10_000)).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("content, message", [
    (b"just some text", "not a picture"), (b"", "not a picture"), (huge_png(), "million"),
    (huge_png()[:200], "million"), (b"GIF89a" + bytes(100), "not a picture"),
])  # fmt: skip
def test_what_is_no_picture_is_refused_by_its_work(world, visitor, brief, content, message):
    with pytest.raises(UserError, match=message):
        visitor.invert(content, "\x1b[2J.png").result()
    visitor.picture(world.look())


def test_code_comes_back_from_its_file(world, visitor, slider_in):
    look = visitor.moved(world.look(seed=1), {slider_in("W+").id: 2.0})
    start = visitor.open_code(visitor.code_file(look), "code.pt")
    assert (visitor.picture(world.look().at(start)).pixels == visitor.picture(look).pixels).all()


@pytest.mark.parametrize("content, message", [
    (b"text", "cannot be read"), (saved([1, 2]), "one code"), (saved(torch.zeros(2, 10, 32)), "one code"),
    (saved(torch.full((1, 10, 32), torch.nan)), "finite"), (saved(torch.zeros(1, 10, 32).long()), "finite"),
    (saved(torch.randn(1, 9, 32)), "another generator's"), (saved(torch.zeros(1, 0)), "too long"),
    (bytes(2 << 20), "too large"),
])  # fmt: skip
def test_file_that_holds_no_code_is_refused(visitor, content, message):
    with pytest.raises(UserError, match=message) as refusal:
        visitor.open_code(content, "mine.pt")
    assert "/tmp" not in str(refusal.value) and str(refusal.value).isprintable()


def test_start_remembers_codes_of_one_w(world):
    code = torch.randn(1, 32, generator=torch.Generator().manual_seed(0))
    assert torch.equal(world.renderer.start(Start.of_code(code)).code, code.expand(1, 10, 32))
