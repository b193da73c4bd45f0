"""Hostile and damaged pickles: nothing in them is run, and what they claim takes no memory."""

import os
import pickle
import struct
import tracemalloc

import nvidia_pickles
import pytest
import torch
from hostile_pickles import Claimed, Hostile, stream, text
from reading import error_of

from models.errors import UserError
from models.formats import read_generator
from models.untrusted import pickles

RECORD = text("torch_utils.persistence") + text("_reconstruct_persistent_obj") + b"\x93"
TEN_GB = 10 << 30
HOSTILE_STREAMS = {
    "dotted name": stream(text("torch"), text("_utils._rebuild_parameter.__globals__"), b"\x93", b")R"),
    "dotted allowed name": stream(text("collections"), text("OrderedDict.fromkeys"), b"\x93", b")R"),
    "parted otherwise": stream(text("torch"), text("_utils._rebuild_parameter"), b"\x93", b")R"),
    "name that is not text": stream(b"K\x01K\x02\x93"),
    "old global": stream(b"cposix\nsystem\n", text("true"), b"\x85R"),
    "INST": stream(b"(", text("true"), b"iposix\nsystem\n"),
    "OBJ": stream(b"(", RECORD, b"o"),
    "NEWOBJ_EX": stream(RECORD, b")}\x92"),
    "EXT1": stream(b"\x82\x01"),
    "EXT4": stream(b"\x84\x01\x00\x00\x00"),
    "persistent id": stream(b"K\x01Q"),
    "old persistent id": stream(b"Pmodule\n"),
    "state of a global": stream(RECORD, b"}", text("call"), text("x"), b"sb"),
    "state of nothing": stream(b"}b"),
    "call of data": stream(text("x"), b")R"),
    "call with a list": stream(RECORD, b"]R"),
    "record of nothing": stream(RECORD, b")R"),
    "record of a number": stream(RECORD, b"K\x01\x85R"),
    "long bytes": stream(b"\x8e", struct.pack("<Q", TEN_GB), b"abc"),
    "longer bytes": stream(b"\x8e", struct.pack("<Q", 1 << 62), b"abc"),
    "long text": stream(b"\x8d", struct.pack("<Q", TEN_GB), b"abc"),
    "long bytearray": stream(b"\x96", struct.pack("<Q", TEN_GB), b"abc"),
    "long number": stream(b"\x8b", struct.pack("<i", (1 << 31) - 1), b"abc"),
    "long frame": stream(b"\x95", struct.pack("<Q", TEN_GB), b"N"),
    "far memo": stream(b"Nr\xff\xff\xff\xff"),
    "memo of nothing": stream(b"h\x07"),
    "decimal without end": stream(b"I" + b"9" * 100_000 + b"\n"),
    "deep lists": stream(b"]" * 100_000 + b"a" * 99_999),
    "deep tuples": stream(b")" + b"\x85" * 100_000),
    "deep key": stream(b"}", b")" + b"\x85" * 100_000, b"Ns"),
    "marks": stream(b"(" * 100_000),
    "without end": stream(b"N" * 120_000),
    "append to something else than a list": stream(b"NNa"),
    "item of something else than a dict": stream(b"NNNs"),
    "nothing": stream(b""),
    "empty": b"\x80\x04",
    "list in itself": stream(b"]\x94h\x00a"),
    "network in itself": stream(
        b"}\x94(", text("type"), text("class"), text("class_name"), text("Generator"), text("state"), b"}\x94u0",
        RECORD, b"h\x00\x85R\x94h\x01", text("_modules"), b"}", text("x"), b"h\x02ss0",
    ),
}


@pytest.mark.parametrize("place", ["top", "kwargs", "tensor", "training"])
@pytest.mark.parametrize("function", [os.mkdir, eval])
def test_hostile_call_runs_nothing(place, function, nvidia_file, nvidia_kwargs, nvidia_state, tmp_path):
    ran = tmp_path / "ran"
    hostile = Hostile(function, str(ran) if function is os.mkdir else f"open({str(ran)!r}, 'w')")
    kwargs = nvidia_kwargs() | ({"z_dim": hostile} if place == "kwargs" else {})
    attributes = {"mapping.fc1": {"weight_gain": hostile}} if place == "tensor" else None
    network = nvidia_pickles.network(nvidia_state, kwargs, attributes)
    content = {"G_ema": network, "training_set_kwargs": hostile if place == "training" else None}
    message = error_of(nvidia_pickles.dump(hostile if place == "top" else content, tmp_path / "hostile.pkl"))
    assert function.__name__ in message
    assert not ran.exists()


@pytest.mark.parametrize("name", HOSTILE_STREAMS)
def test_hostile_stream_is_one_line_and_little_memory(name, tmp_path, monkeypatch):
    monkeypatch.setattr(pickles, "MOST_OPERATIONS", 110_000 if name == "without end" else 1 << 30)
    (tmp_path / "hostile.pkl").write_bytes(HOSTILE_STREAMS[name])
    error_of(tmp_path / "hostile.pkl")  # the first call also imports modules, whose memory is not measured
    if len(HOSTILE_STREAMS[name]) < 100_000:
        tracemalloc.start()
        try:
            error_of(tmp_path / "hostile.pkl")
            assert tracemalloc.get_traced_memory()[1] < 2 << 20
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize("kept", [0.0001, 0.01, 0.3, 0.7, 0.999, 0.999999])
def test_truncated_nvidia_file(kept, nvidia_bytes, tmp_path):
    (tmp_path / "cut.pkl").write_bytes(nvidia_bytes[: int(kept * len(nvidia_bytes))])
    error_of(tmp_path / "cut.pkl")


@pytest.mark.parametrize("seed", range(40))
def test_damaged_nvidia_file(seed, nvidia_bytes, tmp_path):
    content, file = bytearray(nvidia_bytes), tmp_path / "damaged.pkl"
    drawn = torch.Generator().manual_seed(seed)
    for position in torch.randint(len(content), (30,), generator=drawn).tolist():
        content[position] ^= 1 << torch.randint(8, (), generator=drawn).item()
    file.write_bytes(content)
    try:
        read_generator(file)  # damage within the bytes of a weight cannot be detected
    except UserError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize(
    "claimed",
    [
        {"numbers": 10 << 30},
        {"numbers": -1},
        {"numbers": 78},
        {"size": (10 << 30,)},
        {"size": (10 << 30,), "stride": (0,)},
        {"size": (1 << 40, 0, 1 << 40), "stride": (0, 0)},
        {"size": (78,)},
        {"size": (32,), "stride": (3,)},
        {"offset": 70},
        {"offset": -1},
        {"size": ("32",)},
        {"stride": (-1,)},
        {"content": b""},
        {"content": b"\x80\x02N." * 5},
        {"content": pickle.dumps(Hostile(os.mkdir, "ran"), 2)},
    ],
)
def test_false_claims_are_refused_before_anything_is_allocated(claimed, nvidia_file, tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "load", None)
    monkeypatch.chdir(tmp_path)
    file = nvidia_file(lambda state: state.update({"mapping.w_avg": Claimed()}))
    assert read_generator(file).truncation.w_avg.eq(0).all()
    file = nvidia_file(lambda state: state.update({"mapping.w_avg": Claimed(**claimed)}))
    error_of(file)
    assert not (tmp_path / "ran").exists()


def test_one_storage_claimed_by_many_tensors(nvidia_file):
    """A file of 4 MB that would need 400 MB."""
    content = torch.zeros(1 << 20)._typed_storage().__reduce__()[1][0]

    def change(state):
        state.update({f"mapping.fc{i}.weight": Claimed(size=(1024, 1024), stride=(1024, 1), content=content)
                      for i in range(100)})

    assert "claim" in error_of(nvidia_file(change))
