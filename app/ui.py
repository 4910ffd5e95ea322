"""The page: Gradio draws the controls from the pipeline's schema, our own parts draw the rest.

No control asks the server: each event runs a line of JavaScript that sends the value over the data
channel (`page.js`), so moving a slider costs one small message and no queue.
"""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any, get_args
from urllib.parse import quote

import gradio as gr
from fastapi import FastAPI
from gradio.components import Component

from .. import assets
from ..streaming.controls import MAX_TEXT, Control
from ..streaming.host import HostInfo
from ..streaming.pipeline import Preset, Source

FONT = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
IN_SIGHT = 2
"""Controls besides the texts that are drawn unfolded."""
MODES = frozenset(f"{source}-to-video" for source in get_args(Source))
BOOT = "import('/client/page.js').then((page) => page.boot())"
HEAD = """<link rel="stylesheet" href="/client/client.css">
<link rel="stylesheet" href="/client/controls.css">
<link rel="stylesheet" href="/client/panel.css">
<link rel="stylesheet" href="/client/captions.css">
<link rel="icon" href="data:,">
<meta name="viewport" content="width=device-width, initial-scale=1">"""


def mount(app: FastAPI, info: HostInfo) -> None:
    """Put the page at /. Every other route must be there already: this one takes all the rest."""
    gr.mount_gradio_app(
        app,
        build(info),
        path="/",
        head=HEAD,
        css=preset_css(info),
        theme=theme(),
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        show_error=False,
        mcp_server=False,
        enable_monitoring=False,
        pwa=False,
    )


def theme() -> gr.themes.Base:
    """System fonts, so that nothing is fetched from elsewhere; the colours are in client.css."""
    return gr.themes.Base(
        primary_hue="emerald",
        neutral_hue="gray",
        font=FONT,
        font_mono=["ui-monospace", "monospace"],
    )


def build(info: HostInfo) -> gr.Blocks:
    """The page for one pipeline."""
    with gr.Blocks(title=f"Millrace · {info.pipeline.title}", analytics_enabled=False) as page:
        _part("header.html", "mr-header")
        with gr.Row(elem_id="mr-main"):
            with gr.Column(elem_id="mr-look"):
                _part("modes.html", "mr-modes")
                _controls(info)
            with gr.Column(elem_id="mr-center"):
                _part("stage.html", "mr-stage")
                _part("captions.html", "mr-captions")
            with gr.Column(elem_id="mr-live"):
                _part("panel.html", "mr-panel")
    return page


def _part(name: str, elem_id: str) -> gr.HTML:
    text = files(__package__).joinpath(name).read_text("utf-8")
    return gr.HTML(
        html_template=text, elem_id=elem_id, js_on_load=BOOT, apply_default_css=False, padding=False
    )


def _controls(info: HostInfo) -> None:
    """All declared controls: texts, presets, the first numbers in sight, the rest folded away."""
    schema = [c for c in info.pipeline.controls if not _is_mode(c)]
    texts = [c for c in schema if c.kind == "text"]
    others = [c for c in schema if c.kind != "text"]
    drawn: dict[str, Component] = {c.name: _draw(c) for c in texts}
    if texts:
        note = '<p class="mr-understood" aria-live="polite"></p>'
        gr.HTML(note, elem_id="mr-understood", padding=False, apply_default_css=False)
    buttons = []
    if info.pipeline.presets:
        with gr.Row(elem_id="mr-presets"):
            buttons = [_preset_button(p, i) for i, p in enumerate(info.pipeline.presets)]
    drawn |= {c.name: _draw(c) for c in others[:IN_SIGHT]}
    if others[IN_SIGHT:]:
        with gr.Accordion("More", open=False, elem_id="mr-more"):
            drawn |= {c.name: _draw(c) for c in others[IN_SIGHT:]}
    for button, preset in zip(buttons, info.pipeline.presets, strict=True):
        _wire_preset(button, preset, drawn)
    with gr.Row(elem_id="mr-actions"):
        _actions(drawn)


def _is_mode(control: Control) -> bool:
    """Whether this is what `modes.html` chooses, together with the source."""
    return control.name == "mode" and MODES.issuperset(control.choices)


def _actions(drawn: dict[str, Component]) -> None:
    forget = gr.Button("Forget the past", elem_id="mr-reset", size="sm")
    forget.click(None, None, None, js="() => { window.millrace?.reset(); }")
    if "seed" in drawn:
        again = gr.Button("New seed", elem_id="mr-new-seed", size="sm")
        roll = "() => Math.floor(Math.random() * 2 ** 31)"
        again.click(None, None, [drawn["seed"]], js=roll)


def _draw(control: Control) -> Component:
    """One control of the schema as a Gradio component whose changes go to the data channel."""
    name = json.dumps(control.name)
    send = f"(v) => {{ window.millrace?.set({name}, v); }}"
    later = f"(v) => {{ window.millrace?.set({name}, v, true); }}"
    common: dict[str, Any] = {
        "label": control.label,
        "info": control.help or None,
        "elem_id": f"mr-c-{control.name}",
    }
    if control.kind == "text":
        common |= {"info": None, "placeholder": control.help, "max_length": MAX_TEXT}
        box = gr.Textbox(str(control.default), lines=2, max_lines=4, **common)
        box.change(None, [box], None, js=later)
        return box
    if control.kind == "bool":
        check = gr.Checkbox(bool(control.default), **common)
        check.change(None, [check], None, js=send)
        return check
    if control.kind == "choice":
        choice = gr.Dropdown(list(control.choices), value=control.default, **common)
        choice.change(None, [choice], None, js=send)
        return choice
    return _draw_number(control, common, send)


def _draw_number(control: Control, common: Any, send: str) -> Component:
    whole = control.kind == "int"
    low, high, value = control.minimum, control.maximum, float(control.default)
    if low is None or high is None or (whole and high - low > 1000):
        precision = 0 if whole else None
        number = gr.Number(value, precision=precision, minimum=low, maximum=high, **common)
        number.change(None, [number], None, js=send)
        return number
    step = control.step or (1 if whole else (high - low) / 100)
    slider = gr.Slider(low, high, value=value, step=step, buttons=[], **common)
    slider.change(None, [slider], None, js=send)
    return slider


def _preset_button(preset: Preset, index: int) -> gr.Button:
    return gr.Button(preset.name, elem_id=f"mr-preset-{index}", elem_classes="mr-preset", size="sm")


def _wire_preset(button: gr.Button, preset: Preset, drawn: dict[str, Component]) -> None:
    """A press sets the model's controls at once and shows the values in their components."""
    names = [name for name in preset.values if name in drawn]
    values = json.dumps(dict(preset.values))
    shown = json.dumps([preset.values[name] for name in names])
    result = f"return {shown if len(names) != 1 else json.dumps(preset.values[names[0]])};"
    js = f"() => {{ window.millrace?.setAll({values}); {result} }}"
    button.click(None, None, [drawn[name] for name in names], js=js)


def preset_css(info: HostInfo) -> str:
    """Pictures of the presets, as backgrounds of their buttons."""
    rules = []
    for i, preset in enumerate(info.pipeline.presets):
        have = preset.image and files(assets).joinpath(preset.image).is_file()
        picture = f" --picture: url('/assets/preset/{quote(preset.image)}');" if have else ""
        rules.append(f"#mr-preset-{i} {{ --n: {i};{picture} }}")
    return "\n".join(rules)
