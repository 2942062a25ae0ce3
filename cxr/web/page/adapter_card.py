"""The cards of the loaded LoRAs, as HTML. Their texts come from others, and are escaped here."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from cxr.lora.facts import card_rows
from cxr.request.model_info import AdapterInfo


def draw_adapters(infos: Sequence[AdapterInfo]) -> str:
    """One folded card for each LoRA; empty if there are none."""
    return "".join(_card(info) for info in infos)


def _card(info: AdapterInfo) -> str:
    rows = card_rows(info)
    facts = dict(rows)
    short = f"rank {facts['Rank']} · alpha {facts['Alpha']} · base {facts['Base model']} · licence {facts['Licence']}"
    lines = "".join(f'<tr><th scope="row">{escape(what)}</th><td>{escape(fact)}</td></tr>' for what, fact in rows)
    return (
        f'<details class="cxr-receipt"><summary>LoRA {escape(info.name)}<span>{escape(short)}</span></summary>'
        f'<div class="cxr-scroll"><table><tbody>{lines}</tbody></table></div></details>'
    )
