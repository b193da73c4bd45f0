"""What every kind of path is to a walk."""

from torch import nn


class Paths(nn.Module):
    """K paths in a latent space of dimension d: (positions (B, d), path indices (B,)) -> directions (B, d).

    num_paths: K. from_start: whether a path is straight, along the direction at the code that it starts from; otherwise
    each step of a walk goes along the direction at its own code. Where directions are not of unit length, a shift is in
    units of them: 1 is the edit as it was trained.
    """

    from_start = False

    def straight(self):
        """The offsets (K, d) of a shift of 1, where they are the same at every position; None where they are not."""
        return None
