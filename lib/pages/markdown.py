"""The Markdown pages: a table per path, with each code's original image beside its animation or its strip."""

from html import escape
from urllib.parse import quote

from lib.files import write_text
from lib.pages.results import path_id
from models.errors import printable


def write_markdown(results, path):
    """Write a page with each path's label and, for each code, the original image and the animation."""
    picture = '<img src="{code}/paths_strips/{path}.gif" alt="{path}" width="256">'
    _write_tables(results, path, picture if results.gifs else "not made")


def write_strips_markdown(results, path):
    """Write a page with each path's label and, for each code, the original image and the strip."""
    picture = '<img src="{code}/paths_strips/{path}_strip.jpg" alt="{path}">'
    _write_tables(results, path, picture if results.strip_frames else "not made")


def _write_tables(results, path, picture):
    """Write a table per path. `picture` is what stands beside each original image, a format of {code} and {path}."""
    lines = [f"# {text(results.experiment)}", "", f"Pool {text(results.pool)}. {results.how_made}"]
    for k, label in enumerate(results.labels):
        lines += ["", f"## {_heading(label)}", ""]
        lines += [f"| code | original image | {path_id(k)} |", "|---|---|---|"]
        for code in results.codes:
            address = quote(code)
            original = f'<img src="{address}/original_image.jpg" alt="original image" width="160">'
            shown = picture.format(code=address, path=path_id(k))
            lines.append(f"| `{code[:8]}` | {original} | {shown} |" if code.isalnum() else
                         f"| {text(code[:8])} | {original} | {shown} |")
    write_text("\n".join(lines) + "\n", path)


def _heading(label):
    """A path's name, or its two sentences in the order of its frames."""
    if isinstance(label, str):
        return text(label)
    first, second = label
    return f"{text(second)} → {text(first)}"


def text(content):
    """Text as one line of Markdown, every character of it literal, also within a table."""
    literal = "".join("\\" + c if c in "\\`*_{}[]|~#$" else c for c in printable(" ".join(content.split())))
    return escape(literal, quote=False)
