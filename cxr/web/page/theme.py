"""How the page looks: a dark theme, as radiographs are read in the dark. Nothing is fetched from elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

FAVICON = Path(__file__).with_name("favicon.svg")
CSS = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
HEAD = '<meta name="color-scheme" content="dark"><meta name="theme-color" content="#0a0d11">'
# On a phone, form and results are not in sight together: go to where something has just happened.
SHOW_FORM = "() => document.getElementById('form').scrollIntoView({behavior: 'smooth', block: 'start'})"
SHOW_STAGE = (
    "() => {{ const stage = document.getElementById('{}');"
    " if (innerWidth < 760) stage.scrollIntoView({{behavior: 'smooth', block: 'start'}}); }}"
)
SHOW_RESULTS, SHOW_DATASET = SHOW_STAGE.format("stage"), SHOW_STAGE.format("dataset-stage")

BACKGROUND, PANEL, FIELD, LINE = "#0a0d11", "#11161c", "#171e26", "#26303b"
TEXT, MUTED = "#e3e9f0", "#93a1b1"
ACCENT, ACCENT_BRIGHT, ON_ACCENT = "#45b8b3", "#5fd0ca", "#03110f"
SYSTEM_FONTS = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
FIXED_FONTS = ["ui-monospace", "SFMono-Regular", "Menlo", "monospace"]


def build_theme() -> Any:
    """Build the theme; it is the same whether the browser prefers light or dark."""
    theme = gr.themes.Base(
        primary_hue="teal",
        secondary_hue="slate",
        neutral_hue="slate",
        radius_size="md",
        font=SYSTEM_FONTS,
        font_mono=FIXED_FONTS,
    ).set(
        body_background_fill_dark=BACKGROUND,
        body_text_color_dark=TEXT,
        body_text_color_subdued_dark=MUTED,
        background_fill_primary_dark=PANEL,
        background_fill_secondary_dark=FIELD,
        block_background_fill_dark=PANEL,
        block_border_color_dark=LINE,
        block_label_background_fill_dark=PANEL,
        block_label_text_color_dark=MUTED,
        block_title_text_color_dark=TEXT,
        block_info_text_color_dark=MUTED,
        border_color_primary_dark=LINE,
        border_color_accent_dark=ACCENT,
        color_accent_soft_dark="#12302f",
        input_background_fill_dark=FIELD,
        input_background_fill_focus_dark=FIELD,
        input_border_color_dark=LINE,
        input_border_color_focus_dark=ACCENT,
        input_placeholder_color_dark="#7b8896",
        input_shadow_focus_dark=f"0 0 0 2px {ACCENT}55",
        slider_color_dark=ACCENT,
        checkbox_background_color_dark=FIELD,
        checkbox_background_color_selected_dark=ACCENT,
        checkbox_border_color_dark="#4a5866",
        checkbox_border_color_selected_dark=ACCENT,
        checkbox_label_background_fill_dark=FIELD,
        button_primary_background_fill_dark=ACCENT,
        button_primary_background_fill_hover_dark=ACCENT_BRIGHT,
        button_primary_text_color_dark=ON_ACCENT,
        button_primary_border_color_dark=ACCENT,
        button_secondary_background_fill_dark=FIELD,
        button_secondary_background_fill_hover_dark="#202a34",
        button_secondary_text_color_dark=TEXT,
        button_secondary_border_color_dark=LINE,
        button_cancel_background_fill_dark="#2b1719",
        button_cancel_background_fill_hover_dark="#45201f",
        button_cancel_text_color_dark="#ffb3a8",
        button_cancel_border_color_dark="#6b2f2c",
        table_even_background_fill_dark=PANEL,
        table_odd_background_fill_dark=FIELD,
        table_row_focus_dark="#12302f",
        table_border_color_dark=LINE,
        table_text_color_dark=TEXT,
        link_text_color_dark=ACCENT_BRIGHT,
        link_text_color_hover_dark=TEXT,
    )
    for name in vars(theme).copy():
        if name.endswith("_dark") and getattr(theme, name) is not None:
            setattr(theme, name.removesuffix("_dark"), getattr(theme, name))
    return theme
