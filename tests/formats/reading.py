"""What the tests do with the generator that a file contains."""

import pytest
import torch

from models.errors import UserError
from models.formats import read_generator


def error_of(file):
    """The message that reading a file fails with: one line that names it."""
    with pytest.raises(UserError) as raised:
        read_generator(file)
    message = str(raised.value)
    assert "\n" not in message and len(message) < 400 and file.name in message
    return message


def images(generator, z, psi=1.0):
    """z (B, z_dim) -> images (B, 3, R, R)."""
    with torch.no_grad():
        return generator(generator.w_plus(generator.mapping(z), psi))
