"""The chips under the prompt box: what they say, that they are escaped, and that they answer on a real page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from gradio.routes import App

from cxr.models.presets import prompt_form_of
from cxr.prompts import compile_prompt
from cxr.web.jobs.model_choice import ModelChoice
from cxr.web.page.blocks import build_page
from cxr.web.page.prompt_chips import MAX_CHIPS, PromptChips, describe_chips
from cxr.web.page.theme import CSS

ISSUE = "72 yo F with large right effusion, no pneumothorax, AP portable"


class _Elements(HTMLParser):
    """The elements of a piece of HTML, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += f"{data} "


def test_each_kind_has_a_word_and_a_sign_and_a_colour() -> None:
    html = describe_chips(compile_prompt(f"{ISSUE}. Effusion. No effusion.", "caption"))
    text = re.sub(r"\s+", " ", _Elements(html).text)
    for words in (
        "✓ Understood 72 years female AP view",
        "– Ignored",
        "no pneumothorax",
        "! Conflicting pleural effusion",
    ):
        assert words in text
    assert "no words for severity" in text
    for kind in ("understood", "ignored", "conflicting"):
        assert f".cxr-{kind} li span" in CSS


@pytest.mark.parametrize(
    "text", ["<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "a&b <b>bold", "\"'><svg>"]
)
def test_what_users_type_is_escaped(text: str) -> None:
    html, _ = PromptChips(ModelChoice()).describe(f"pneumonia {text} xyzzy")
    assert set(_Elements(html).tags) <= {"div", "b", "span", "ul", "li", "small"}
    assert "xyzzy" in html


def test_a_long_foreign_text_makes_few_chips() -> None:
    words = " ".join(f"wort{chr(97 + number % 26)}{chr(97 + number // 26)}" for number in range(300))
    html, _ = PromptChips(ModelChoice()).describe(words)
    assert html.count("<span>") == MAX_CHIPS + 1  # the last one is what the model's token limit cuts off
    assert re.search(r"and \d+ more", html)


@pytest.mark.parametrize("prompt", ["", None, "   ", "\n"])
def test_an_empty_box_has_no_chips_and_no_button(prompt: str | None) -> None:
    html, button = PromptChips(ModelChoice()).describe(prompt)
    assert "<span" not in html
    assert 'aria-live="polite"' in html
    assert not button.interactive


def test_reword_is_offered_only_where_it_changes_something() -> None:
    chips = PromptChips(ModelChoice())
    assert chips.describe(ISSUE)[1].interactive
    reworded = chips.reword(ISSUE)
    assert reworded == "A 72-year-old woman with right pleural effusion, portable AP view"
    assert not chips.describe(reworded)[1].interactive
    assert chips.reword(reworded) == reworded
    assert not chips.describe("something else entirely")[1].interactive


def test_the_form_comes_from_the_model(tiny_model_dir: Path) -> None:
    assert prompt_form_of(None) == prompt_form_of("embedded") == "caption"
    assert prompt_form_of(str(tiny_model_dir)) == "plain"
    assert prompt_form_of("/nowhere") == "plain"
    assert PromptChips(ModelChoice("roentgen-v2")).reword("72F CHF") == "72 year old female. Pulmonary edema."


# -- on a real page


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "gradio"))
    page = build_page(ModelChoice())
    with TestClient(App.create_app(page)) as client:
        yield client


def _events(client: TestClient) -> dict[str, dict[str, Any]]:
    """The page's events that the chips brought, by what they show."""
    config = client.get("/config").json()
    ids = {part["props"].get("elem_id"): part["id"] for part in config["components"]}
    found = {}
    for event in config["dependencies"]:
        targets = [tuple(target) for target in event["targets"]]
        if (ids["prompt"], "change") in targets and ids["prompt-chips"] in event["outputs"]:
            found["describe"] = event
        if (ids["reword"], "click") in targets:
            found["reword"] = event
    return found


def _call(client: TestClient, event: dict[str, Any], *values: Any) -> list[Any]:
    body = {"fn_index": event["id"], "data": [*values], "session_hash": "chips"}
    response = client.post("/gradio_api/run/predict", json=body)
    assert response.status_code == 200, response.text
    data: list[Any] = response.json()["data"]
    return data


def test_the_page_answers_typing_and_rewords(client: TestClient) -> None:
    events = _events(client)
    html, button, *switches = _call(client, events["describe"], ISSUE, True)
    assert switches[:4] == [["Effusion"], "F", 72, "AP"]
    assert "no pneumothorax" in html
    assert "Sent to the model: “A 72-year-old woman" in html
    assert "Sent to the model" not in _call(client, events["describe"], ISSUE, False)[0]
    assert button["interactive"] is True
    reworded, _, undo = _call(client, events["reword"], ISSUE)
    assert undo["interactive"] is True
    assert reworded.startswith("A 72-year-old woman")
    assert _call(client, events["describe"], reworded, True)[1]["interactive"] is False


def test_typing_waits_for_no_queue_and_is_no_endpoint(client: TestClient) -> None:
    for event in _events(client).values():
        assert event["queue"] is False
        assert event["show_progress"] == "hidden"
        assert event["api_visibility"] == "private"
    assert _events(client)["describe"]["js"]


@pytest.mark.parametrize(
    ("model", "prompt", "warned"),
    [
        (None, "effusion, no pneumothorax", True),
        (None, "effusion, no PTX", False),
        (None, "no findings", False),
        ("roentgen-v2", "effusion, no pneumothorax", False),  # it was trained with reports, which deny
    ],
)
def test_what_is_denied_is_warned_of_where_a_model_does_not_read_denials(
    model: str | None, prompt: str, warned: bool
) -> None:
    html, _ = PromptChips(ModelChoice(model)).describe(prompt)
    assert ("As typed, the model may show pneumothorax." in html) == warned
