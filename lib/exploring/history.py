"""The looks that a visitor has seen."""

MOST_LOOKS = 500


class History:
    """The looks that were seen, and which of them is seen now."""

    def __init__(self):
        self._looks, self._at = [], -1

    def see(self, look):
        """Seen now; those that came after the one before are forgotten."""
        if self._looks and self._looks[self._at] == look:
            return
        self._looks = [*self._looks[: self._at + 1], look][-MOST_LOOKS:]
        self._at = len(self._looks) - 1

    @property
    def can_go_back(self):
        return self._at > 0

    @property
    def can_go_forward(self):
        return self._at < len(self._looks) - 1

    def back(self):
        """The look before, which is seen now; None where there is none."""
        return self._go(-1) if self.can_go_back else None

    def forward(self):
        return self._go(1) if self.can_go_forward else None

    def _go(self, by):
        self._at += by
        return self._looks[self._at]
