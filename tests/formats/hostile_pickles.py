"""Pickles that would run something, and tensors that claim more than their file has."""

from collections import OrderedDict

import torch


class Hostile:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def stream(*parts):
    return b"\x80\x04" + b"".join(parts) + b"."


def text(word):
    return b"\x8c" + bytes([len(word)]) + word.encode()


class Claimed:
    """A tensor whose storage and shape claim what they like; 77 numbers are there."""

    def __init__(self, numbers=77, offset=0, size=(32,), stride=(1,), content=None):
        if content is None:
            content = torch.zeros(77)._typed_storage().__reduce__()[1][0]
            assert content.count(b"K\x4d") == 1
            content = content.replace(b"K\x4d", b"\x8a\x09" + numbers.to_bytes(9, "little", signed=True))
        storage = Hostile(torch.storage._load_from_bytes, content)
        self.call = torch._utils._rebuild_tensor_v2, (storage, offset, size, stride, False, OrderedDict())

    def __reduce__(self):
        return self.call
