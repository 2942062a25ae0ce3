"""The Hub's refusals in one sentence each."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import httpx2
from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError, OfflineModeIsEnabled

from cxr.request.errors import OutputError

SIGN_IN = "sign in with: hf auth login"
REASONS = {
    400: "it does not accept what was sent",
    401: f"it does not accept your token, or found none; {SIGN_IN}",
    402: "your account's plan does not include this; see https://huggingface.co/pricing or choose another --hardware",
    403: "your token may not write there; use one with write access, and your own name as OWNER",
    404: "there is no such repository, or your token may not see it",
    429: "it was asked too often; try again later",
}


@contextlib.contextmanager
def hub_errors() -> Iterator[None]:
    """Say in one sentence why the Hub did not do something.

    Raises:
        OutputError: instead of the errors of huggingface_hub.
    """
    try:
        yield
    except OfflineModeIsEnabled as error:
        raise OutputError("the Hub may not be asked: HF_HUB_OFFLINE is set; unset it") from error
    except LocalTokenNotFoundError as error:
        raise OutputError(f"there is no token of yours here; {SIGN_IN}") from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        said = " ".join((error.server_message or "").split())[:200]
        reason = REASONS.get(status, "it failed; try again later" if status >= 500 else "it refused")
        raise OutputError(f"the Hub answered {status}: {reason}" + (f" (“{said}”)" if said else "")) from error
    except httpx2.HTTPError as error:
        raise OutputError(f"the Hub cannot be reached ({type(error).__name__}); check the connection") from error
