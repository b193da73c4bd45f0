"""Leading eigenvectors of symmetric matrices, with signs that do not depend on the machine."""

import torch

from models.errors import UserError


def leading_eigenvectors(matrix, count):
    """The `count` largest eigenvalues (K,) of a symmetric matrix (d, d), from the largest one down, and their unit
    eigenvectors (K, d), each with its largest entry positive: an eigenvector's sign is the solver's whim."""
    values, vectors = torch.linalg.eigh(matrix.double())
    return values.flip(0)[:count], anchored(vectors.T.flip(0)[:count])


def anchored(vectors):
    """Vectors (K, d), each with the sign that makes its largest entry, by magnitude, positive."""
    largest = vectors.gather(1, vectors.abs().argmax(dim=1, keepdim=True))
    return torch.where(largest < 0, -vectors, vectors)


def check_count(num_directions, dim):
    """Raise UserError where a space of dimension `dim` has fewer orthogonal directions."""
    if num_directions > dim:
        raise UserError(f"--num-directions {num_directions} is above the latent space's dimension {dim}: lower it")
