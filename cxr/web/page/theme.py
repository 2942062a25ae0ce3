"""How the page looks: light or dark, as the visitor's system says. Nothing is fetched from elsewhere."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

FAVICON = Path(__file__).with_name("favicon.svg")
CSS = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
HEAD = '<meta name="color-scheme" content="light dark">'
SYSTEM_FONTS = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
FIXED_FONTS = ["ui-monospace", "SFMono-Regular", "Menlo", "monospace"]

# Light and dark. Texts stand out 4.5:1 from what is behind them, borders of fields 3:1.
BACKGROUND, PANEL, FIELD = ("#f3f5f8", "#0a0d11"), ("#ffffff", "#11161c"), ("#ffffff", "#171e26")
LINE, EDGE = ("#cfd7e0", "#26303b"), ("#7a8794", "#66788a")
TEXT, MUTED = ("#14202b", "#e3e9f0"), ("#52606d", "#9aa8b7")
ACCENT, HOVER, ON_ACCENT = ("#0b7671", "#45b8b3"), ("#095f5b", "#5fd0ca"), ("#ffffff", "#03110f")
SOFT, RAISED = ("#dff3f1", "#12302f"), ("#e8edf2", "#202a34")
STOP, STOP_HOVER, ON_STOP, STOP_LINE = (
    ("#fdecea", "#2b1719"), ("#f9d8d4", "#45201f"), ("#8c1d12", "#ffb3a8"), ("#c9655a", "#a04a45")
)  # fmt: skip
COLOURS: dict[str, tuple[str, str]] = {
    "body_background_fill": BACKGROUND,
    "body_text_color": TEXT,
    "body_text_color_subdued": MUTED,
    "background_fill_primary": PANEL,
    "background_fill_secondary": FIELD,
    "block_background_fill": PANEL,
    "block_border_color": LINE,
    "block_label_background_fill": PANEL,
    "block_label_text_color": MUTED,
    "block_title_text_color": TEXT,
    "block_info_text_color": MUTED,
    "border_color_primary": LINE,
    "border_color_accent": ACCENT,
    "color_accent_soft": SOFT,
    "input_background_fill": FIELD,
    "input_background_fill_focus": FIELD,
    "input_border_color": EDGE,
    "input_border_color_focus": ACCENT,
    "input_placeholder_color": ("#5c6975", "#8d9aa8"),
    "slider_color": ACCENT,
    "checkbox_background_color": FIELD,
    "checkbox_background_color_selected": ACCENT,
    "checkbox_border_color": EDGE,
    "checkbox_border_color_selected": ACCENT,
    "checkbox_label_background_fill": FIELD,
    "checkbox_label_background_fill_selected": SOFT,
    "checkbox_label_text_color_selected": TEXT,
    "button_primary_background_fill": ACCENT,
    "button_primary_background_fill_hover": HOVER,
    "button_primary_text_color": ON_ACCENT,
    "button_primary_border_color": ACCENT,
    "button_secondary_background_fill": FIELD,
    "button_secondary_background_fill_hover": RAISED,
    "button_secondary_text_color": TEXT,
    "button_secondary_border_color": EDGE,
    "button_cancel_background_fill": STOP,
    "button_cancel_background_fill_hover": STOP_HOVER,
    "button_cancel_text_color": ON_STOP,
    "button_cancel_border_color": STOP_LINE,
    "table_even_background_fill": PANEL,
    "table_odd_background_fill": FIELD,
    "table_row_focus": SOFT,
    "table_border_color": LINE,
    "table_text_color": TEXT,
    "link_text_color": HOVER,
    "link_text_color_hover": TEXT,
}


def build_theme() -> gr.themes.Base:
    theme = gr.themes.Base(
        primary_hue="teal",
        secondary_hue="slate",
        neutral_hue="slate",
        radius_size="md",
        font=SYSTEM_FONTS,
        font_mono=FIXED_FONTS,
    )
    light = {name: colours[0] for name, colours in COLOURS.items()}
    dark = {f"{name}_dark": colours[1] for name, colours in COLOURS.items()}
    return theme.set(**light, **dark, input_border_width="1px", input_border_width_dark="1px")
