"""Which of the variables that gradio reads from the environment the page refuses to start with, or does not obey.

A test names all the others, and why each may be set.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

ALLOW_FLAG = "--allow-gradio-variables"
OFF = ("", "0", "false")


@dataclass(frozen=True)
class Danger:
    """Why a variable is refused.

    Args:
        effect: what gradio does with it, as the second half of a sentence.
        instead: what to do for the same end, if there is something.
        switch: gradio reads it as on or off, so that a value of `OFF` changes nothing.
    """

    effect: str
    instead: str = ""
    switch: bool = False


RELOADS = Danger("makes it watch files and run their code when they change")
# Each of these would open, in silence, something that the page keeps closed.
REFUSED: Mapping[str, Danger] = {
    "GRADIO_ALLOWED_PATHS": Danger("lets visitors download files of this machine"),
    "GRADIO_DEBUG": Danger("takes over the main thread, so that temporary files stay behind", switch=True),
    "GRADIO_HISTORY_BUCKET": Danger("names a place elsewhere for prompts and results"),
    "GRADIO_HOT_RELOAD": RELOADS,
    "GRADIO_IS_E2E_TEST": Danger("forgets what a visitor was doing after a second"),
    "GRADIO_LOCAL_DEV_MODE": Danger("lets other web sites use the page in a visitor's name"),
    "GRADIO_MCP_SERVER": Danger("opens a second interface to everything on the page", switch=True),
    "GRADIO_NUM_WORKERS": Danger("starts more servers, which know nothing of this one's limits"),
    "GRADIO_PROFILING": Danger("publishes what visitors do", switch=True),
    "GRADIO_SHARE": Danger("opens the page to the internet", "use --share", switch=True),
    "GRADIO_SHARE_SERVER_ADDRESS": Danger("sends everything through the server that it names"),
    "GRADIO_VIBE_MODE": Danger("lets visitors change the program"),
    "GRADIO_WATCH_DEMO_NAME": RELOADS,
    "GRADIO_WATCH_DEMO_PATH": RELOADS,
    "GRADIO_WATCH_DIRS": RELOADS,
    "GRADIO_WATCH_ENCODING": RELOADS,
    "GRADIO_WATCH_MODULE_NAME": RELOADS,
}
# What the page decides itself.
WITHOUT_EFFECT: Mapping[str, str] = {
    **dict.fromkeys(
        ("GRADIO_NODE_NUM_PORTS", "GRADIO_NODE_PATH", "GRADIO_NODE_SERVER_NAME", "GRADIO_NODE_SERVER_PORT"),
        "the page starts no server of Node",
    ),
    "GRADIO_RUN_HISTORY": "prompts stay out of the browser's memory",
    "GRADIO_SSR_MODE": "the page starts no server of Node",
}


def find_ignored(environment: Mapping[str, str]) -> Iterator[str]:
    """One sentence about each variable that is set and changes nothing."""
    for name, reason in WITHOUT_EFFECT.items():
        if environment.get(name, "").strip().lower() not in OFF:
            yield f"{name} has no effect: {reason}"


def find_danger(environment: Mapping[str, str]) -> str:
    """One sentence about the first variable that the page refuses to start with, or an empty text.

    The values are not repeated: they may be private paths or addresses.
    """
    for name, danger in sorted(REFUSED.items()):
        value = environment.get(name)
        if value is None or (danger.switch and value.strip().lower() in OFF):
            continue
        instead = f"{danger.instead}, or " if danger.instead else ""
        return f"{name} is set, which {danger.effect}; unset it, {instead}allow it with {ALLOW_FLAG}"
    return ""
