"""How pictures of paths are labelled."""

LABEL_WIDTH = 190  # pixels


def two_lines(sentence):
    """A sentence without "a photo of", in lines that fit beside a strip."""
    words = sentence.removeprefix("a photo of ").rstrip(".").split()
    half = (len(words) + 1) // 2 if len(words) > 3 else len(words)
    return "\n".join(" ".join(part) for part in (words[:half], words[half:]) if part)
