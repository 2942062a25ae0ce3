"""Every variable that gradio reads from the environment, and which of them the page refuses to start with."""

from __future__ import annotations

from collections.abc import Mapping
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
# What the page says itself, by an argument or by setting the variable.
OVERRIDDEN: Mapping[str, str] = {
    "GRADIO_ANALYTICS_ENABLED": "no news to gradio",
    "GRADIO_NODE_NUM_PORTS": "no Node server",
    "GRADIO_NODE_PATH": "no Node server",
    "GRADIO_NODE_SERVER_NAME": "no Node server",
    "GRADIO_NODE_SERVER_PORT": "no Node server",
    "GRADIO_RUN_HISTORY": "no history of prompts",
    "GRADIO_SSR_MODE": "no Node server",
    "GRADIO_TEMP_DIR": "a private folder within it",
}
# What may be set: it restricts, tunes, or belongs to parts of gradio that the page does not use.
HARMLESS: Mapping[str, str] = {
    "GRADIO_ALLOW_FLAGGING": "no longer read; Spaces set it",
    "GRADIO_ANALYTICS_CACHE_FREQUENCY": "how often queue statistics are made",
    "GRADIO_ANALYTICS_MAX_EVENTS": "size of the queue statistics",
    "GRADIO_AUTO_LOGOUT": "gradio's own command line",
    "GRADIO_BLOCKED_PATHS": "refuses more files",
    "GRADIO_CACHE_EXAMPLES": "gr.Examples, which the page does not use",
    "GRADIO_CACHE_MODE": "gr.Examples, which the page does not use",
    "GRADIO_CHAT_FLAGGING_MODE": "chats",
    "GRADIO_DEFAULT_CONCURRENCY_LIMIT": "the events of the page that need the model have their own limit",
    "GRADIO_EXAMPLES_CACHE": "gr.Examples, which the page does not use",
    "GRADIO_FLAGGING_MODE": "gr.Interface, which the page does not use",
    "GRADIO_HEARTBEAT_INTERVAL": "how often a waiting page hears from the server",
    "GRADIO_NUM_PORTS": "the port is given, so that no other is tried; Spaces set it",
    "GRADIO_RESET_EXAMPLES_CACHE": "gr.Examples, which the page does not use",
    "GRADIO_ROOT_PATH": "the address behind a proxy",
    "GRADIO_SERVER_MODE_ENABLED": "written by gradio, read by nobody",
    "GRADIO_SERVER_NAME": "the default of --host",
    "GRADIO_SERVER_PORT": "the default of --port",
    "GRADIO_THEME": "no longer read; Spaces set it",
    "GRADIO_WORKFLOW_INBROWSER": "gradio's workflows",
}


def find_danger(environment: Mapping[str, str]) -> str:
    """One sentence about the first variable that the page refuses to start with, or an empty text.

    The values are not repeated: they may be paths or addresses that are nobody's business.
    """
    for name, danger in sorted(REFUSED.items()):
        value = environment.get(name)
        if value is None or (danger.switch and value.strip().lower() in OFF):
            continue
        instead = f"{danger.instead}, or " if danger.instead else ""
        return f"{name} is set, which {danger.effect}; unset it, {instead}allow it with {ALLOW_FLAG}"
    return ""
