"""A planned Space -> a Space at the Hub, whose refusals are one sentence each."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import httpx2
from huggingface_hub import HfApi, SpaceHardware
from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError, OfflineModeIsEnabled

from cxr.deploy.space_plan import SpacePlan
from cxr.models.hub.connection import offline_variable
from cxr.request.errors import OutputError

COMMIT_MESSAGE = "CXR Studio"
SIGN_IN = "sign in with: hf auth login"
REASONS = {
    400: "it does not accept what was sent",
    401: f"it does not accept your token, or found none; {SIGN_IN}",
    402: "your account's plan does not include this; see https://huggingface.co/pricing or choose another --hardware",
    403: "your token may not write there; use one with write access, and your own name as OWNER",
    404: "there is no such repository, or your token may not see it",
    429: "it was asked too often; try again later",
}


def upload(plan: SpacePlan, api: HfApi) -> str:
    """Make the Space if there is none, set its variables, and upload all files in one commit.

    Files of an earlier upload that are no longer among them stay.

    Args:
        api: with the user's token.
    Returns:
        The Space's address.
    Raises:
        OutputError: the Hub refused or could not be reached.
    """
    with _hub_errors():
        private = plan.private or None
        url = str(api.create_repo(plan.repo_id, private=private, repo_type="space", exist_ok=True, space_sdk="gradio"))
        for name, value in plan.variables.items():  # before the files, so that the first start knows them
            api.add_space_variable(plan.repo_id, name, value)
        api.create_commit(plan.repo_id, list(plan.operations), repo_type="space", commit_message=COMMIT_MESSAGE)
    if plan.hardware is not None:
        try:
            with _hub_errors():
                api.request_space_hardware(plan.repo_id, SpaceHardware(plan.hardware))
        except OutputError as error:
            raise OutputError(f"{url} is uploaded, but without {plan.hardware}: {error}") from error
    return url


@contextlib.contextmanager
def _hub_errors() -> Iterator[None]:
    """Say in one sentence why the Hub refused."""
    try:
        yield
    except OfflineModeIsEnabled as error:
        raise OutputError(f"the Hub may not be asked: {offline_variable()} is set; unset it") from error
    except LocalTokenNotFoundError as error:
        raise OutputError(f"no token was found on this machine; {SIGN_IN}") from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        said = " ".join((error.server_message or "").split())[:200]
        reason = REASONS.get(status, "it failed; try again later" if status >= 500 else "it refused")
        raise OutputError(f"the Hub answered {status}: {reason}" + (f" (“{said}”)" if said else "")) from error
    except httpx2.HTTPError as error:
        raise OutputError(f"the Hub cannot be reached ({type(error).__name__}); check the connection") from error
    except ValueError as error:
        if not str(error).startswith("Invalid metadata"):
            raise
        raise OutputError(f"the Hub does not accept README.md: {' '.join(str(error).split())}") from error
    except RuntimeError as error:  # what huggingface_hub makes of any trouble with one of several uploads
        raise OutputError(f"a file could not be uploaded: {' '.join(str(error).split())}") from error
