"""Frames into files: JPEG, strips, GIF, and the pages that show them (Markdown, and one HTML gallery).

The pages link relatively to what lies beside them in a results folder:

    <code>/original_image.jpg
    <code>/paths_images/path_000/000000.jpg ...    the frames, from the second sentence's end to the first's
    <code>/paths_strips/path_000_strip.jpg
    <code>/paths_strips/path_000.gif

The processes that encode frames import this module: it must not need torch before `to_uint8` is called.
"""

import os
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from PIL import GifImagePlugin, Image

from lib.files import replacing, write_text

JPEG_WIDEST = 65500  # pixels: libjpeg's own limit (JPEG_MAX_DIMENSION)
GIF_SHORTEST = 2     # hundredths of a second: browsers slow anything shorter down to 10
GIF_TRAILER = b";"


@dataclass(frozen=True)
class Results:
    """What the pages of one results folder say and link to.

    A dipole is (first sentence, second sentence). The first one is the pole of positive shifts, so a path's frames
    0, 1, ... go from the second sentence to the first.
    """
    experiment: str
    pool: str
    dipoles: Sequence[tuple[str, str]]
    codes: Sequence[str]   # each code's directory
    frames_per_path: int   # 2 * shift_steps + 1
    start: int             # index of the frame without a shift: shift_steps
    eps: float             # length of one step
    total_length: float
    gifs: bool             # whether every path has its animation
    strip_frames: int      # how many frames each strip shows; 0: there are no strips


def to_uint8(images):
    """Images (..., 3, H, W), floats in [-1, 1], as pixels (..., H, W, 3) uint8 in a numpy array.

    The rule is fixed, round((x + 1) * 127.5), and never looks at an image's own range: frames stay comparable.
    Values beyond [-1, 1] saturate.

    Raises:
        ValueError: some value is NaN.
    """
    import torch

    images = torch.as_tensor(images).detach().float()
    if images.isnan().any():
        raise ValueError("an image holds NaN: the generator or its latent code is broken")
    pixels = ((images.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return pixels.movedim(-3, -1).contiguous().cpu().numpy()


def _picture(frame, height=None):
    """A frame (H, W, 3) uint8 as a PIL image, resampled to `height` pixels with its proportions kept."""
    picture = Image.fromarray(frame)
    if height is None or height == picture.height:
        return picture
    return picture.resize((round(picture.width * height / picture.height), height), Image.Resampling.LANCZOS)


def save_jpeg(frame, path, size=None, quality=95):
    """Write a frame (H, W, 3) uint8. `size` is its height in pixels, and so its width where it is square."""
    _save_jpeg(_picture(frame, size), path, quality)


def _save_jpeg(picture, path, quality=95):
    with replacing(path, durable=False) as file:
        # Colours at full resolution: at half of it, JPEG's usual, the eyes of a 64 pixel face turn grey.
        picture.save(file, "JPEG", quality=quality, subsampling="4:4:4")


def strip_indices(frames, count):
    """Which of `frames` frames a strip of `count` shows: evenly spaced, first and last included, all if they are few.

    An odd count always includes the middle one; a count of one is just that.
    """
    if count < 1:
        raise ValueError(f"a strip shows at least one frame, not {count}")
    if count == 1:
        return [(frames - 1) // 2]
    return np.linspace(0, frames - 1, min(count, frames)).round().astype(int).tolist()


def save_strip(frames, path, count, height):
    """Write `count` of the frames (N, H, W, 3) uint8 side by side, `height` pixels high, as a JPEG.

    Raises:
        ValueError: the strip would show nothing, or be wider than a JPEG can be.
    """
    shown = strip_indices(len(frames), count)
    join_strip((strip_cell(frames[i], height) for i in shown), len(shown), path)


def strip_cell(frame, height):
    """A frame (H, W, 3) uint8 as a strip shows it, a PIL image."""
    return _picture(frame, height)


def join_strip(cells, count, path):
    """Write `count` cells of `strip_cell`, any iterable, side by side. Raises ValueError where a JPEG cannot be so
    wide."""
    strip = None
    for i, cell in enumerate(cells):
        if strip is None:
            width = count * cell.width
            if width > JPEG_WIDEST:
                raise ValueError(f"a strip of {count} frames at {cell.height} pixels is {width} wide; JPEG ends at "
                                 f"{JPEG_WIDEST}: show fewer frames, or smaller ones")
            strip = Image.new("RGB", (width, cell.height))
        strip.paste(cell, (i * cell.width, 0))
    _save_jpeg(strip, path)


def save_gif(frames, path, height, fps):
    """Write the frames (N, H, W, 3) uint8 as an animation `height` pixels high, there and back again for ever.

    The ends are not doubled: N frames make 2N - 2. Each frame has a palette of its own, dithered: on a path whose
    colours change, one palette for all was 4 to 6 times further from the frames (mean squared error) and grainy,
    for files 8 to 16 % smaller.
    """
    join_gif(there_and_back([gif_image(frame, height, fps) for frame in frames]), path)


def there_and_back(items):
    """a, b, c, d -> a, b, c, d, c, b: what is shown in turn where they go there and back for ever."""
    return [*items, *items[-2:0:-1]]


def gif_image(frame, height, fps):
    """A frame (H, W, 3) uint8 as the bytes of a GIF of its own, `height` pixels high."""
    picture = _with_palette(_picture(frame, height))
    duration = 10 * max(GIF_SHORTEST, round(100 / fps))
    image = b"".join(GifImagePlugin.getdata(picture, duration=duration, include_color_table=True))
    return _gif_header(*picture.size) + image + GIF_TRAILER


def _gif_header(width, height):
    """Header, logical screen of 8 bits a primary without a palette for all, and the wish to loop for ever."""
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0x70, 0, 0) + b"!\xff\x0bNETSCAPE2.0\x03\x01\0\0\0"


def join_gif(images, path):
    """Write GIFs of `gif_image`, any iterable of bytes, as one animation.

    They are put one behind the other as they are: no frame is compressed twice, and only one is in memory at a time.
    (Each is dithered for itself, so that what two frames share would save nothing: measured.)
    """
    start = len(_gif_header(0, 0))
    with replacing(path, durable=False) as file:
        for i, image in enumerate(images):
            file.write(image[start if i else 0 : -len(GIF_TRAILER)])
        file.write(GIF_TRAILER)


def _with_palette(picture):
    """An RGB picture in 256 colours. Pillow dithers only towards a palette that it is given, hence the two steps."""
    palette = picture.quantize(256, Image.Quantize.FASTOCTREE)
    return picture.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG)


def write_markdown(results, path):
    """Write a page with each path's sentences and, for each code, the original image and the animation."""
    picture = '<img src="{code}/paths_strips/{path}.gif" alt="{path}" width="256">'
    _write_tables(results, path, picture if results.gifs else "not made")


def write_strips_markdown(results, path):
    """Write a page with each path's sentences and, for each code, the original image and the strip."""
    picture = '<img src="{code}/paths_strips/{path}_strip.jpg" alt="{path}">'
    _write_tables(results, path, picture if results.strip_frames else "not made")


def _write_tables(results, path, picture):
    """Write a table per path. `picture` is what stands beside each original image, a format of {code} and {path}."""
    lines = [f"# {_markdown_text(results.experiment)}", "",
             f"Pool {_markdown_text(results.pool)}. {_how_made(results)}"]
    for k, (first, second) in enumerate(results.dipoles):
        lines += ["", f"## {_markdown_text(second)} → {_markdown_text(first)}", ""]
        lines += [f"| code | original image | path_{k:03d} |", "|---|---|---|"]
        for code in results.codes:
            original = f'<img src="{code}/original_image.jpg" alt="original image" width="160">'
            lines.append(f"| `{code[:8]}` | {original} | {picture.format(code=code, path=f'path_{k:03d}')} |")
    write_text("\n".join(lines) + "\n", path)


def _markdown_text(text):
    """Text as one line of Markdown, every character of it literal, also within a table."""
    text = "".join("\\" + c if c in "\\`*_{}[]|~#$" else c for c in " ".join(text.split()))
    return escape(text, quote=False)


def _how_made(results):
    """One or two sentences, free of markup."""
    after = results.frames_per_path - 1 - results.start
    return (f"Each path has {results.frames_per_path} frames: the start image, {results.start} steps towards the "
            f"sentence on the left and {after} towards the one on the right. One step shifts the latent code by "
            f"{results.eps:g}; a whole path is {results.total_length:g} long.")


def write_html(results, path):
    """Write the gallery: one page that needs nothing but the pictures beside it, and no server."""
    write_text(_page(results), path)


def _page(results):
    title = escape(results.experiment)
    paths = [_contrast(first, second) for first, second in results.dipoles]
    sections = "\n".join(_section(results, k, contrast) for k, contrast in enumerate(paths))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<link rel="icon" href="data:,">
<style>{STYLE}</style>
</head>
<body style="--start: {results.start / max(results.frames_per_path - 1, 1):.4f}; --cells: {results.strip_frames}"
 data-frames="{results.frames_per_path}" data-start="{results.start}" data-eps="{results.eps:g}">
{_navigation(paths) if len(paths) > 1 else ""}
<main>
<header class="title">
<h1>{title}</h1>
<p>{_counted(len(results.dipoles), "semantic dipole")} · {_counted(len(results.codes), "latent code")} from the pool
<strong>{escape(results.pool)}</strong></p>
</header>
{sections}
<footer>
<h2>How to read this page</h2>
<p>Every card is one path through the generator’s latent space, walked from one latent code. The path was learned from
two contrasting sentences: at its <span class="left">left end</span> the image has moved towards the sentence on the
left, at its <span class="right">right end</span> towards the one on the right. The notch on a slider is the start
image, which no shift has touched. Drag a slider, use its arrow keys, or click the strip below it.</p>
<h2>How it was made</h2>
<p>{_how_made(results)} All frames map to pixels by one fixed rule, so their brightness and colours can be compared.</p>
</footer>
</main>
<script>{SCRIPT}</script>
</body>
</html>
"""


def _counted(number, noun):
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _contrast(first, second):
    """Where a dipole's sentences differ: (shared opening, of the second, of the first, shared ending), in whole words.

    Neither middle is empty unless its sentence is: "a face" against "a face with glasses" keeps "face".
    """
    left, right = second.split(), first.split()
    head = len(os.path.commonprefix([left, right]))
    tail = len(os.path.commonprefix([left[head:][::-1], right[head:][::-1]]))
    if head + tail in (len(left), len(right)):
        head, tail = (head - 1, tail) if head else (head, max(tail - 1, 0))
    words = left[:head], left[head:len(left) - tail], right[head:len(right) - tail], left[len(left) - tail:]
    return tuple(escape(" ".join(part)) for part in words)


def _short(pole):
    """A sentence's own words without the article before and the full stop after them."""
    return re.sub(r"^an? |\.$", "", pole)


def _navigation(paths):
    """Links to the dipoles, by their own words and, as "with" alone says little, the shared ending if it is a word."""
    endings = [ending if len(ending.split()) == 1 else "" for _, _, _, ending in paths]
    links = "\n".join(f'<li><a href="#path_{k:03d}"><span class="left">{_short(f"{left} {ending}".strip())}</span> ↔ '
                      f'<span class="right">{_short(f"{right} {ending}".strip())}</span></a></li>'
                      for k, ((_, left, right, _), ending) in enumerate(zip(paths, endings)))
    return f"""<nav aria-label="Semantic dipoles"><ol>
{links}
</ol></nav>"""


def _section(results, k, contrast):
    """One dipole: its sentences, the slider that moves every card, and a card for each code."""
    opening, left, right, ending = contrast
    first, second = (escape(sentence) for sentence in results.dipoles[k])
    cards = "\n".join(_card(results, k, number, code) for number, code in enumerate(results.codes, start=1))
    move_all = f"""<div class="all">
<span class="label">Move all</span>
<span class="left">{_short(left)}</span>
{_slider(results, f"Move all images from “{second}” to “{first}”")}
<span class="right">{_short(right)}</span>
</div>""" if len(results.codes) > 1 else ""
    return f"""<section id="path_{k:03d}" data-left="{second}" data-right="{first}">
<h2><span class="left">{opening} <strong>{left}</strong> {ending}</span>
<span class="to" aria-hidden="true">↔</span>
<span class="right">{opening} <strong>{right}</strong> {ending}</span></h2>
{move_all}
<div class="cards">
{cards}
</div>
</section>"""


def _card(results, k, number, code):
    """One path from one code: the frame that the slider chooses, the animation, the slider, the strip."""
    first, second = (escape(sentence) for sentence in results.dipoles[k])
    code = escape(code)
    frames = f"{code}/paths_images/path_{k:03d}"
    animation = f"""
<figure class="animation"><img src="{code}/paths_strips/path_{k:03d}.gif" loading="lazy"
 alt="Code {number}: animation along the path"><figcaption>animation</figcaption></figure>""" if results.gifs else ""
    strip = f"""
<img class="strip" src="{code}/paths_strips/path_{k:03d}_strip.jpg" loading="lazy"
 alt="Code {number}: frames from “{second}” to “{first}”">""" if results.strip_frames else ""
    return f"""<article class="card" data-frames="{frames}">
<div class="pictures">
<figure><img class="frame" src="{frames}/{results.start:06d}.jpg" loading="lazy" decoding="sync"
 alt="Code {number}: the frame that the slider chose"><figcaption><output>start image</output></figcaption>
</figure>{animation}
</div>
{_slider(results, f"Code {number}, from “{second}” to “{first}”")}{strip}
<p class="code"><span title="{code}">code {number} <code>{code[:8]}</code></span>
<a href="{code}/original_image.jpg">original image</a></p>
</article>"""


def _slider(results, label):
    return (f'<div class="slider"><input type="range" min="0" max="{results.frames_per_path - 1}" '
            f'value="{results.start}" aria-label="{label}" aria-valuetext="start image" autocomplete="off"></div>')


STYLE = """
:root {
  color-scheme: light dark;
  --ground: #f6f5f2; --card: #ffffff; --text: #22262b; --muted: #666c75; --line: #e2dfd9;
  --left: #a4561f; --right: #1f6f78; --thumb-size: 22px; --nav-height: 0px;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #14161a; --card: #1d2026; --text: #e8e6e2; --muted: #9ba1aa; --line: #2f343c;
    --left: #e6a06c; --right: #6cc3cb;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; display: grid; grid-template-columns: 230px minmax(0, 1fr);
  background: var(--ground); color: var(--text);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif;
  overflow-wrap: anywhere;
}
body:not(:has(nav)) { display: block; }
a { color: inherit; }
.left { color: var(--left); }
.right { color: var(--right); }
:focus-visible { outline: 2px solid var(--right); outline-offset: 3px; border-radius: 4px; }

nav {
  position: sticky; top: 0; height: 100vh; overflow-y: auto; scrollbar-width: thin;
  border-right: 1px solid var(--line);
}
nav ol { list-style: none; margin: 0; padding: 24px 12px; }
nav a {
  display: block; padding: 6px 10px; border-radius: 8px; color: var(--muted);
  font-size: 14px; line-height: 1.35; text-decoration: none;
}
nav a:hover, nav a[aria-current="true"] { background: var(--card); }
nav a[aria-current="true"] { box-shadow: inset 0 0 0 1px var(--line); }

main { width: 100%; max-width: 1560px; margin-inline: auto; padding: 28px 28px 64px; }
.title h1 { margin: 0; font-size: clamp(1.1rem, 1.6vw, 1.5rem); line-height: 1.3; font-weight: 650; }
.title p { margin: 6px 0 0; color: var(--muted); }
section { margin-top: 44px; scroll-margin-top: calc(var(--nav-height) + 20px); }
h2 {
  display: grid; grid-template-columns: minmax(0, 1fr) auto minmax(0, 1fr); gap: 18px; align-items: center;
  margin: 0 0 12px; font-size: clamp(1rem, 1.5vw, 1.25rem); line-height: 1.35; font-weight: 400;
}
h2 strong { font-weight: 700; }
h2 .right { text-align: right; }
h2 .to { color: var(--muted); }

.all {
  position: sticky; top: var(--nav-height); z-index: 1;
  display: grid; grid-template-columns: auto minmax(0, max-content) minmax(36%, 1fr) minmax(0, max-content);
  gap: 16px; align-items: center; padding: 6px 0; margin-bottom: 12px;
  background: var(--ground); border-bottom: 1px solid var(--line); font-size: 14px; line-height: 1.25;
}
.all .label { color: var(--muted); }
.all > .left, .all > .right {
  display: -webkit-box; -webkit-box-orient: vertical; -webkit-line-clamp: 2; line-clamp: 2; overflow: hidden;
}
.all > .right { text-align: right; }
.cards { display: grid; gap: 22px; grid-template-columns: repeat(auto-fill, minmax(min(100%, 430px), 1fr)); }
.card { min-width: 0; overflow: hidden; background: var(--card); border: 1px solid var(--line); border-radius: 14px; }
.card:only-child { grid-column: 1 / -1; }
main:has(.card:only-child) { max-width: 920px; }
.pictures { display: flex; gap: 3px; }
figure { flex: 1; min-width: 0; margin: 0; }
img { display: block; width: 100%; height: auto; image-rendering: auto; background: var(--line); }
figure img { aspect-ratio: auto 1 / 1; }
.strip { aspect-ratio: auto var(--cells) / 1; cursor: pointer; }
figcaption, .code { padding: 6px 12px 0; color: var(--muted); font-size: 13px; font-variant-numeric: tabular-nums; }
.animation figcaption { text-align: right; }
.code { display: flex; justify-content: space-between; margin: 0; padding-block: 8px; }
.code a { text-decoration-color: var(--line); text-underline-offset: 3px; }
.code a:hover { color: var(--text); }
.code code { margin-left: 6px; font: 12px ui-monospace, Menlo, Consolas, monospace; }

/* The thumb's centre runs from the middle of a strip's first picture to the middle of its last. */
.slider { position: relative; }
.card .slider { margin-inline: 12px; }
.card .slider:has(+ .strip) { margin-inline: max(0px, 50% / var(--cells) - var(--thumb-size) / 2); }
.slider::before {
  content: ""; position: absolute; top: 50%; translate: -50% -50%; width: 2px; height: 32px; border-radius: 1px;
  left: calc(var(--thumb-size) / 2 + (100% - var(--thumb-size)) * var(--start)); background: var(--muted);
}
input[type="range"] {
  -webkit-appearance: none; appearance: none; position: relative; display: block; width: 100%; height: 40px; margin: 0;
  background: none; cursor: pointer; touch-action: pan-y;
}
input[type="range"]::-webkit-slider-runnable-track {
  height: 4px; border-radius: 2px; background: linear-gradient(90deg, var(--left), var(--line), var(--right));
}
input[type="range"]::-moz-range-track {
  height: 4px; border-radius: 2px; background: linear-gradient(90deg, var(--left), var(--line), var(--right));
}
input[type="range"]::-webkit-slider-thumb {
  -webkit-appearance: none; width: var(--thumb-size); height: var(--thumb-size); margin-top: -9px;
  border: 2px solid var(--text); border-radius: 50%; background: var(--card);
}
input[type="range"]::-moz-range-thumb {
  box-sizing: border-box; width: var(--thumb-size); height: var(--thumb-size);
  border: 2px solid var(--text); border-radius: 50%; background: var(--card);
}
input[type="range"]:focus-visible { outline: none; }
input[type="range"]:focus-visible::-webkit-slider-thumb { outline: 3px solid var(--right); outline-offset: 2px; }
input[type="range"]:focus-visible::-moz-range-thumb { outline: 3px solid var(--right); outline-offset: 2px; }

footer { margin-top: 56px; padding-top: 20px; border-top: 1px solid var(--line); max-width: 75ch; color: var(--muted); }
footer h2 { display: block; margin: 12px 0 4px; font-size: 15px; font-weight: 650; color: var(--text); }
footer p { margin: 0; font-size: 15px; }

@media (max-width: 899px) {
  :root { --nav-height: 46px; }
  body { display: block; }
  nav {
    z-index: 2; height: var(--nav-height); overflow: auto hidden; scrollbar-width: none;
    background: var(--ground); border: 0; border-bottom: 1px solid var(--line);
  }
  nav ol { display: flex; gap: 4px; padding: 6px 8px; }
  nav a { max-width: 75vw; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; line-height: 22px; }
  main { padding: 18px 12px 48px; }
  h2 { gap: 10px; }
  .all { gap: 10px; font-size: 13px; }
}
@media (prefers-reduced-motion: reduce) {
  .animation { display: none; }
}
@media (prefers-reduced-motion: no-preference) {
  html { scroll-behavior: smooth; }
}
"""

SCRIPT = """
"use strict";
const frames = Number(document.body.dataset.frames);
const start = Number(document.body.dataset.start);
const eps = Number(document.body.dataset.eps);

const frameFile = (card, i) => `${card.dataset.frames}/${String(i).padStart(6, "0")}.jpg`;

function inWords(section, i) {
  const steps = Math.abs(i - start), pole = i < start ? section.dataset.left : section.dataset.right;
  return steps ? `${steps} ${steps === 1 ? "step" : "steps"} towards “${pole}”` : "start image";
}

function inShort(i) {
  const steps = Math.abs(i - start), sign = i < start ? "−" : "+";
  return steps ? `${sign}${steps} · shift ${sign}${Number((steps * eps).toPrecision(3))}` : "start image";
}

function setSlider(slider, i) {
  slider.value = i;
  slider.setAttribute("aria-valuetext", inWords(slider.closest("section"), i));
}

function show(card, i) {
  setSlider(card.querySelector("input"), i);
  card.querySelector(".frame").src = frameFile(card, i);
  card.querySelector("output").textContent = inShort(i);
}

// Fetches a path's frames when its slider is first touched, the nearest ones first. The list keeps them in memory.
function preload(card) {
  if (card.preloaded) return;
  const here = Number(card.querySelector("input").value);
  const order = Array.from({length: frames}, (_, i) => i).sort((a, b) => Math.abs(a - here) - Math.abs(b - here));
  card.preloaded = order.map(i => Object.assign(new Image(), {src: frameFile(card, i)}));
}

function inView(card) {
  const box = card.getBoundingClientRect();
  return box.bottom > 0 && box.top < innerHeight;
}

// A card's own slider moves that card; the slider above the cards moves all of its section.
const movedBy = slider => slider.closest(".card") ? [slider.closest(".card")]
                                                  : [...slider.closest("section").querySelectorAll(".card")];

for (const touch of ["pointerdown", "focusin", "input"])
  document.addEventListener(touch, event => {
    if (event.target.type === "range") movedBy(event.target).filter(inView).forEach(preload);
  });

document.addEventListener("input", event => {
  const i = Number(event.target.value);
  setSlider(event.target, i);
  movedBy(event.target).forEach(card => show(card, i));
});

document.addEventListener("click", event => {
  if (!event.target.matches(".strip")) return;
  const cells = Number(getComputedStyle(document.body).getPropertyValue("--cells"));
  const along = (event.offsetX / event.target.clientWidth * cells - 0.5) / Math.max(cells - 1, 1);
  show(event.target.closest(".card"), Math.round(Math.min(Math.max(along, 0), 1) * (frames - 1)));
});

const nav = document.querySelector("nav");  // none where there is one dipole

// Marks the dipole on screen in the navigation, and keeps its entry in sight there.
const seen = new IntersectionObserver(entries => {
  for (const {target, isIntersecting} of entries) {
    const link = nav.querySelector(`a[href="#${target.id}"]`);
    link.setAttribute("aria-current", isIntersecting);
    if (isIntersecting) nav.scrollTo(link.offsetLeft - 40, link.offsetTop - nav.clientHeight / 2);
  }
}, {rootMargin: "-25% 0px -75% 0px"});
if (nav) document.querySelectorAll("section").forEach(section => seen.observe(section));
"""
