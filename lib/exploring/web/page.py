"""The page of Gradio's widgets. None of them calls Python: what each does is a function of static/explorer.js, which
asks our own routes, since a slider's move must not wait in a queue, and no picture may pass through files.
"""

from itertools import groupby
from pathlib import Path

import gradio as gr

from lib.exploring.web.session import OWN_SLIDERS, scale_of, short_title

STATIC = Path(__file__).parent / "static"
HEAD = (STATIC / "head.html").read_text(encoding="utf-8")
FONTS = {"font": ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"],
         "font_mono": ["ui-monospace", "Menlo", "Consolas", "monospace"]}  # fmt: skip

# The colours of the gallery: of a light page, and of a dark one.
GROUND, CARD, LINE = ("#f6f5f2", "#14161a"), ("#ffffff", "#1d2026"), ("#e2dfd9", "#2f343c")
TEXT, MUTED = ("#22262b", "#e8e6e2"), ("#5f656e", "#9ba1aa")
ACCENT, ON_ACCENT = ("#1f6f78", "#6cc3cb"), ("#ffffff", "#10262a")


def _both(names, pair):
    """{name: light, name_dark: dark} for each of the theme's variables."""
    return {name + suffix: colour for name in names.split() for suffix, colour in zip(("", "_dark"), pair)}


THEME = gr.themes.Base(**FONTS).set(
    **_both("body_background_fill background_fill_primary", GROUND),
    **_both("background_fill_secondary block_background_fill panel_background_fill input_background_fill "
            "input_background_fill_focus button_secondary_background_fill", CARD),
    **_both("button_secondary_background_fill_hover", LINE),
    **_both("body_text_color block_title_text_color accordion_text_color button_secondary_text_color", TEXT),
    **_both("body_text_color_subdued block_label_text_color block_info_text_color", MUTED),
    **_both("border_color_primary block_border_color input_border_color button_secondary_border_color "
            "panel_border_color", LINE),
    **_both("slider_color loader_color border_color_accent input_border_color_focus "
            "button_primary_background_fill button_primary_background_fill_hover button_primary_border_color", ACCENT),
    **_both("button_primary_text_color button_primary_text_color_hover", ON_ACCENT),
    **_both("block_border_width input_border_width button_border_width", ("1px", "1px")),
    block_radius="14px", input_radius="8px", button_large_radius="10px", button_medium_radius="10px",
    button_small_radius="8px", block_padding="12px", layout_gap="12px",
)  # fmt: skip


def build_page(world):
    """The Gradio Blocks of a `lib.exploring.world.World`."""
    with gr.Blocks(title=f"{world.gan} · ContraCLIP explorer", analytics_enabled=False, fill_width=True) as page:
        _part("title.html")
        with gr.Row(elem_id="columns"):
            with gr.Column(elem_id="stage-column"):
                _part("stage.html")
                start = _start(world)
                _part("changes.html")
            with gr.Column(elem_id="slider-column"):
                sliders = _sliders(world)
                _sentences()
            with gr.Column(elem_id="more-column"):
                choices = _figures(world)
                _files()
        # What a function of ours changes in the widgets is fetched by pressing this.
        refresh = gr.Button("refresh", visible="hidden", elem_id="refresh")
        refresh.click(fn=None, js="() => explorer.widgets()", outputs=[*sliders, *start, *choices])
    return page


def _part(name):
    """A file of ours as a block of the page, with the file's name as its id."""
    _html((STATIC / name).read_text(encoding="utf-8"), f"{Path(name).stem}-block")


def _html(text, name=None):
    gr.HTML(text, apply_default_css=False, elem_id=name)


def _button(text, does, name=None, **options):
    """A button that calls a function of explorer.js."""
    button = gr.Button(text, elem_id=name, size="sm", min_width=60, **options)
    button.click(fn=None, js=f"() => {{ explorer.{does}; }}")
    return button


def _start(world):
    with gr.Row(elem_classes="tools"):
        _button("New portrait", "newStart()", "new", variant="primary")
        _button("Back", "back()", "back")
        _button("Forward", "forward()", "forward")
    with gr.Row(elem_classes="tools"):
        _button("Compare", "compare()", "compare")
        _button("Hold: before", "nothing()", "hold")
        _button("Lock as before", "lock()", "lock")
    with gr.Row(elem_classes="tools start"):
        seed = gr.Number(value=0, label="Seed", precision=0, minimum=0, elem_id="seed", min_width=110)
        truncation = gr.Slider(0, 1, world.truncation, step=0.01, label="Truncation", elem_id="truncation",
                               visible=world.truncates, min_width=150)  # fmt: skip
    for event in (seed.submit, seed.blur):
        event(fn=None, js="(seed) => { explorer.chooseSeed(seed); }", inputs=[seed])
    truncation.input(fn=None, js="(share) => { explorer.chooseTruncation(share); }", inputs=[truncation])
    return seed, truncation


def _sliders(world):
    """All sliders, in the order of explorer.js: those of the experiments, then the places of a visitor's own."""
    with gr.Row(elem_classes="tools heading"):
        _html("<h2>Sliders</h2>")
        _button("Reset all", "reset()", "reset")
    _part("combining.html")
    sliders, groups = [], [list(group) for _, group in groupby(world.sliders, key=lambda slider: slider.experiment)]
    for number, group in enumerate(groups):
        if len(groups) > 1:
            with gr.Accordion(group[0].experiment, open=number == 0):
                sliders += [_slider(len(sliders) + i, slider) for i, slider in enumerate(group)]
        else:
            sliders += [_slider(i, slider) for i, slider in enumerate(group)]
    return sliders + [_slider(len(sliders) + i) for i in range(OWN_SLIDERS)]


def _slider(index, slider=None):
    """The widget of a path; without `slider`, a place for one of the visitor's own, which is shown once it is taken."""
    title, (limit, step) = ("own", (1, 0.01)) if slider is None else (slider.title, scale_of(slider))
    with gr.Column(elem_id=f"path-{index}", elem_classes=["card", "path"] if slider else ["card", "path", "own"]):
        _html("<div class='poles'></div>")
        widget = gr.Slider(-limit, limit, 0, step=step, label=title)
    for event in (widget.input, widget.release):  # the button beside it that resets it is told as a release
        event(fn=None, js=f"(shift) => {{ explorer.move({index}, shift); }}", inputs=[widget])
    return widget


def _sentences():
    with gr.Column(elem_id="sentences", elem_classes="card"):
        _html("<h2>Two sentences of your own</h2><p class='note' id='sentences-note'></p>")
        with gr.Row(elem_classes="tools"):
            second = gr.Textbox(label="From", placeholder="a person with short hair", max_lines=2, min_width=160,
                                elem_id="second")  # fmt: skip
            first = gr.Textbox(label="To", placeholder="a person with long hair", max_lines=2, min_width=160,
                               elem_id="first")  # fmt: skip
        say = gr.Button("Make a slider", elem_id="say", size="sm", variant="primary")
        _html("<div id='sentences-message' class='message' role='alert'></div>")
    for event in (say.click, first.submit):
        event(fn=None, js="(second, first) => { explorer.say(first, second); }", inputs=[second, first])


def _figures(world):
    """A film strip and a grid. Returns the choices of sliders."""
    titles = [(short_title(slider), slider.id) for slider in world.sliders]
    chosen = [slider.id for slider in world.sliders[:2]] + [None, None]
    with gr.Column(elem_id="strip", elem_classes="card"):
        _html("<h2>Film strip</h2><p class='note'>One path through what you see. Click a picture to go there.</p>")
        along = gr.Dropdown(titles, value=chosen[0], label="Along", elem_id="along", interactive=True)
        _html("<div class='cells strip' id='strip-cells'></div>")
    with gr.Accordion("Grid of two sliders", open=False, elem_id="grid"):
        with gr.Row(elem_classes="tools"):
            across, down = (gr.Dropdown(titles, value=value, label=label, elem_id=name, interactive=True, min_width=140)
                            for value, label, name in zip(chosen, ("Across", "Upwards"), ("across", "down")))
        show = gr.Button("Show the grid", elem_id="show-grid", size="sm")
        _html("<div class='cells' id='grid-cells'></div>")
    along.change(fn=None, js="(id) => { explorer.showStrip(id); }", inputs=[along])
    show.click(fn=None, js="(across, down) => { explorer.showGrid(across, down); }", inputs=[across, down])
    return along, across, down


def _files():
    with gr.Column(elem_id="files", elem_classes="card"):
        _html("<h2>Take it with you</h2>")
        with gr.Row(elem_classes="tools"):
            _button("Picture (PNG)", "download('png')", "png")
            _button("Animation (GIF)", "download('gif')", "gif")
            _button("Code (.pt)", "download('code')", "code")
        with gr.Row(elem_classes="tools"):
            _button("Copy link", "copyLink()", "link")
            _button("Setting (JSON)", "download('json')", "json")
            _button("Open a setting", "chooseSetting()", "open")
        with gr.Row(elem_classes="tools"):
            name = gr.Textbox(label="Name", placeholder="my-portrait", max_lines=1, min_width=120, elem_id="pool-name")
            keep = gr.Button("Save the code as a pool", elem_id="keep-code", size="sm", min_width=120)
        keep.click(fn=None, js="(name) => { explorer.keepCode(name); }", inputs=[name])
        _html("<p class='note'>A pool is what traverse_latent_space.py and evaluate.py walk from.</p>")
