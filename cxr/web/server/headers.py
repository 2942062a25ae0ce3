"""What the server tells browsers about its answers: nothing of other sites, no guessing, no frames but the Hub's."""

from __future__ import annotations

import os
from collections.abc import Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

HUB = "https://huggingface.co"
FRAME_ANCESTORS = f"'self' {HUB} https://*.hf.space"
# Gradio's page has its settings and small functions in inline scripts, and makes functions of our `js=` texts.
POLICY: Mapping[str, str] = {
    "default-src": "'self'",
    "script-src": "'self' 'unsafe-inline' 'unsafe-eval'",
    "style-src": "'self' 'unsafe-inline'",
    "img-src": "'self' data: blob:",
    "font-src": "'self' data:",
    "media-src": "'self' data: blob:",
    "worker-src": "'self' blob:",
    "connect-src": "'self' data: blob:",
    "object-src": "'none'",
    "base-uri": "'self'",
    "form-action": "'self'",
    "frame-ancestors": FRAME_ANCESTORS,
}
FOR_A_SPACE = {
    "connect-src": HUB,
    "img-src": f"{HUB} https://cdn-avatars.huggingface.co",
}  # the Hub's bar, without its web fonts
FEATURES = ("camera", "display-capture", "geolocation", "microphone", "payment", "usb")


def security_headers(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    extra = FOR_A_SPACE if environment.get("SPACE_ID") else {}
    policy = "; ".join(f"{name} {' '.join((sources, extra.get(name, ''))).strip()}" for name, sources in POLICY.items())
    return {
        "Content-Security-Policy": policy,
        "Permissions-Policy": ", ".join(f"{feature}=()" for feature in FEATURES),
        # Addresses hold sessions, which are for no other site.
        "Referrer-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
        # The Hub opens a Space in a frame; a page that opened this one in a tab keeps no hold on it.
        "Cross-Origin-Opener-Policy": "same-origin",
    }


class SecurityHeaders:
    """ASGI middleware that adds the headers; it holds nothing back, so that streams stay streams."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.headers = [(name.lower().encode(), value.encode()) for name, value in security_headers().items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and its answer with the headers."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = {name.lower() for name, _ in message.get("headers", ())}
                added = [header for header in self.headers if header[0] not in own]
                message = {**message, "headers": [*message.get("headers", ()), *added]}
            await send(message)

        await self.app(scope, receive, send_with_headers if scope["type"] == "http" else send)
