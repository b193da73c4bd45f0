"""Looks to JSON and links and back, and looks that no explorer wrote."""

import base64
import json
import zlib

import pytest
import torch

from lib.exploring.looks import MOST_BYTES, Look, Sentences, Start
from models.errors import UserError

GENERATOR = "5" * 64


def looks():
    plain = Look(GENERATOR, Start.of_seed(7, 0.7))
    moved = plain.moved({"b-1": 0.1 + 0.2, "a-0": -1.5}).saying([Sentences("ein Gesicht ☺", "a face", "0f")])
    code = torch.randn(1, 10, 32, generator=torch.Generator().manual_seed(0))
    return [plain, moved, moved.at(Start.of_code(code)), moved.at(Start.of_code(code[:, :1].expand(1, 10, 32), 0.5))]


@pytest.mark.parametrize("look", looks())
def test_look_comes_back_exactly(look):
    assert Look.from_json(look.to_json()) == look == Look.from_json(look.to_json().encode())
    assert Look.from_link(look.to_link()) == look == Look.from_link("http://127.0.0.1:7860/?a=b" + look.to_link())


def test_order_of_moves_does_not_matter_and_zeros_are_left_out():
    look = looks()[0]
    assert look.moved({"a": 1.0}).moved({"b": 2.0}) == look.moved({"b": 2.0, "a": 1.0})
    assert look.moved({"a": 1.0}).moved({"a": 0}) == look
    assert hash(look.moved({"a": 1.0})) == hash(look.moved_to({"a": 1.0, "b": 0.0}))


def test_code_with_one_w_for_all_layers_is_stored_once():
    code = torch.randn(1, 32, generator=torch.Generator().manual_seed(0))
    start = Start.of_code(code[:, None].expand(1, 10, 32))
    assert start.shape == (32,) and torch.equal(start.code(), code[0])
    assert len(looks()[0].at(start).to_link()) < 400


def changed(**values):
    return json.dumps(json.loads(looks()[1].to_json()) | values)


@pytest.mark.parametrize("text", [
    "", "{", "[]", "null", "{}", '{"look": 2}', "[" * 100_000, "x" * (MOST_BYTES + 1), b"\xff\xfe",
    changed(generator="5"), changed(generator=None), changed(shifts=[1]), changed(shifts={"a": "1"}),
    changed(shifts={"a": True}), changed(shifts={"a": 1e9}), changed(shifts={"x" * 101: 1}),
    changed(shifts={"a": float("nan")}), changed(shifts={"a": float("inf")}), changed(shifts={"a": 10**400}),
    changed(shifts={str(i): 1 for i in range(1001)}), changed(sentences=[["a", "b"]]), changed(sentences="abc"),
    changed(sentences=[["a" * 501, "b", ""]]), changed(sentences=[["a\x1b[2J", "b", ""]]),
    changed(sentences=[["a", "b", ""]] * 33), changed(start=None), changed(start={"seed": 1}),
    changed(start={"seed": -1, "truncation": 1}), changed(start={"seed": 1.5, "truncation": 1}),
    changed(start={"seed": 1, "truncation": 0}), changed(start={"seed": 1, "truncation": float("nan")}),
    changed(start={"code": "AAAA", "shape": [2], "truncation": 1}),
    changed(start={"code": "AADAfw==", "shape": [1], "truncation": 1}),  # NaN
    changed(start={"code": "AAAAAA==", "shape": [-1], "truncation": 1}),
    changed(start={"code": "AAAAAA==", "shape": [1, 1, 1], "truncation": 1}),
    changed(start={"code": "AAAAAA==", "shape": [1 << 40], "truncation": 1}),
    changed(start={"code": "é", "shape": [1], "truncation": 1}), changed(start={"code": 5, "shape": [1]}),
])  # fmt: skip
def test_what_no_explorer_wrote_is_refused_in_one_line(text):
    with pytest.raises(UserError) as refusal:
        Look.from_json(text)
    assert str(refusal.value).isprintable() and len(str(refusal.value)) < 200


@pytest.mark.parametrize("link", [
    "", "#look=", "#look=!!", "#look=AAAA", looks()[1].to_link()[:-20], "https://example.org/",
    "#look=" + base64.urlsafe_b64encode(zlib.compress(b" " * (1 << 24))).decode(),
    "#look=" + base64.urlsafe_b64encode(zlib.compress(b"[]")).decode(),
])  # fmt: skip
def test_link_that_was_shortened_or_made_up_is_refused(link):
    with pytest.raises(UserError):
        Look.from_link(link)
