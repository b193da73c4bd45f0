"""What of a picture is inverted: squares of it, and those in which a face lies as a generator's faces do."""

import io
import math

import numpy as np
import pytest
import torch
from PIL import Image

from lib.inversion import faces
from lib.inversion.faces import Template, face_frame, fitted, template_of
from lib.inversion.frames import Frame, centre_square, cut_out
from lib.inversion.pictures import Cutter
from lib.latent_space import latent_space
from lib.pixels import to_uint8
from models.errors import UserError
from models.load_generator import load_generator

GREY = (90, 120, 90)


@pytest.fixture(scope="module")
def face_space():
    return latent_space(load_generator("dcgan_faces64"), "Z", truncation=0.7)


@pytest.fixture(scope="module")
def template(face_space):
    return template_of(face_space)


def test_a_square_of_the_resolution_is_taken_as_it_is():
    pixels = np.random.default_rng(0).integers(0, 256, (16, 20, 3), dtype=np.uint8)
    found = to_uint8(cut_out(pixels, centre_square(pixels), 16))
    np.testing.assert_array_equal(found, pixels[:, 2:18])


def test_a_large_square_is_averaged():
    pixels = np.random.default_rng(0).integers(0, 256, (80, 60, 3), dtype=np.uint8)
    found = cut_out(pixels, centre_square(pixels), 6)
    expected = pixels[10:70].reshape(6, 10, 6, 10, 3).mean(axis=(1, 3)) / 127.5 - 1
    np.testing.assert_allclose(found.permute(1, 2, 0), expected, atol=1e-5)


def test_a_turned_frame_turns_the_picture_back():
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    turned = np.ascontiguousarray(np.rot90(pixels, -1))  # clockwise, by a right angle
    found = to_uint8(cut_out(turned, Frame(4, 4, 8, math.pi / 2), 8))
    np.testing.assert_array_equal(found, pixels)


def test_a_frame_is_fitted_to_points():
    frame, points = Frame(40.0, 25.0, 30.0, 0.3), torch.tensor([[0.3, 0.4], [0.7, 0.4], [0.4, 0.8], [0.6, 0.8]])
    places = torch.tensor([frame.point(*point) for point in points.tolist()])
    assert fitted(places, points) == pytest.approx(frame, rel=1e-5)


def test_a_face_elsewhere_in_a_picture_is_found(face_space, template):
    z = torch.randn(1, face_space.dim, generator=torch.Generator().manual_seed(5))
    face = to_uint8(face_space.synthesise(face_space.codes_of(z)))[0]
    assert face_frame(face, template) == centre_square(face)
    picture = Image.new("RGB", (240, 160), GREY)
    turned = Image.fromarray(face).resize((90, 90), Image.Resampling.BICUBIC).rotate(12, fillcolor=GREY)
    picture.paste(turned, (130, 40))
    frame = face_frame(np.array(picture), template)
    assert frame[:3] == pytest.approx((175, 85, 90), abs=18)
    assert frame.angle == pytest.approx(-math.radians(12), abs=0.12)


def test_a_picture_without_a_face_is_taken_by_its_middle(face_space, template, monkeypatch, tmp_path):
    monkeypatch.setattr(faces, "WINDOWS", (1.0,))
    Image.new("RGB", (40, 30), GREY).save(tmp_path / "wall.png")
    cut = Cutter(face_space, "auto")(tmp_path / "wall.png")
    assert cut.pixels.shape == (64, 64, 3) and cut.frame == Frame(20, 15, 30)
    with pytest.raises(UserError, match="shows no face"):
        Cutter(face_space, "face")(tmp_path / "wall.png")


def test_a_generator_of_no_faces_has_no_template(tiny_stylegan2):
    space, file = latent_space(tiny_stylegan2, "W"), io.BytesIO()
    Image.new("RGB", (40, 30), GREY).save(file, "PNG")
    assert template_of(space) is None
    with pytest.raises(UserError, match="needs a generator of faces"):
        Cutter(space, "face")(file.getvalue())


def test_without_facemesh_pictures_are_taken_by_their_middle(face_space, monkeypatch):
    def missing(name, threads):
        raise UserError("onnxruntime is missing")

    monkeypatch.setattr(faces, "load_network", missing)
    assert template_of(face_space) is None


def test_a_template_has_points_and_a_spread(template):
    left_eye, right_eye, left_mouth, right_mouth = template.points.tolist()
    assert left_eye[0] < left_mouth[0] < right_mouth[0] < right_eye[0] and left_eye[1] < left_mouth[1]
    assert isinstance(template, Template) and 0.01 < template.spread < 0.2
