"""LoRAs and their weights as one text."""

import pytest
from huggingface_hub import constants

from cxr.lora.choice import MAX_ADAPTERS, AdapterChoice, format_adapters, parse_adapters
from cxr.lora.find import find_adapter
from cxr.request.errors import AdapterError, HubUnreachableError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("clinical", [("clinical", 1.0)]),
        ("none", [("none", 1.0)]),
        ("clinical:0.8", [("clinical", 0.8)]),
        ("clinical:0.8, local:/a/b.safetensors:.5", [("clinical", 0.8), ("local:/a/b.safetensors", 0.5)]),
        ("local:C:\\loras\\x.safetensors", [("local:C:\\loras\\x.safetensors", 1.0)]),
        ("local:C:\\loras\\x.safetensors:2", [("local:C:\\loras\\x.safetensors", 2.0)]),
        ("local:/a:b/c:1e-1,x", [("local:/a:b/c", 0.1), ("x", 1.0)]),
        ("local:/a\\,b.safetensors:1,c", [("local:/a,b.safetensors", 1.0), ("c", 1.0)]),
        ("hub:owner/name/file.safetensors:0.5,b", [("hub:owner/name/file.safetensors", 0.5), ("b", 1.0)]),
        ("hub:owner/name@0123abc", [("hub:owner/name@0123abc", 1.0)]),
    ],
)
def test_the_text_is_read(text: str, expected: list[tuple[str, float]]) -> None:
    choices = parse_adapters(text)
    assert choices == tuple(AdapterChoice(*pair) for pair in expected)
    assert parse_adapters(format_adapters(choices)) == choices


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty entry"),
        ("a,,b", "empty entry"),
        ("a,", "empty entry"),
        (":0.5", "empty entry"),
        ("a:0.5,a:0.6", "'a' is named twice"),
        ("a:-1", "weight of adapter 'a' is -1; use 0 to 2"),
        ("a:2.1", "use 0 to 2"),
        ("a:nan", "use 0 to 2"),
        ("a:inf", "use 0 to 2"),
        ("a:1e999", "use 0 to 2"),
        ("none,a", "'none' has to stand alone"),
        ("default:0.5", "'default' has to stand alone"),
        (",".join(f"a{k}" for k in range(MAX_ADAPTERS + 1)), "9 adapters are named; use at most 8"),
    ],
)
def test_a_wrong_text_is_told(text: str, message: str) -> None:
    with pytest.raises(AdapterError, match=message):
        parse_adapters(text)


def test_a_lora_of_the_hub_is_asked_for_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(HubUnreachableError, match=r"owner/name.*file\.safetensors is not on this machine"):
        find_adapter("hub:owner/name/file.safetensors")
