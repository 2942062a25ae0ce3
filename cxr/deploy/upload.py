"""A planned Space -> a Space at the Hub."""

from __future__ import annotations

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError

from cxr.deploy.hub_errors import hub_errors
from cxr.deploy.plan import SpacePlan
from cxr.request.errors import OutputError

COMMIT_MESSAGE = "CXR Studio"


def upload(plan: SpacePlan, api: HfApi) -> str:
    """Make the Space if there is none, set its variables, and upload all files in one commit.

    Files of an earlier upload that are no longer among them stay.

    Args:
        plan: what to upload.
        api: with the user's token.
    Returns:
        The Space's address.
    Raises:
        OutputError: the Hub refused or could not be reached.
    """
    space = {"repo_id": plan.repo_id, "repo_type": "space"}
    with hub_errors():
        url = str(api.create_repo(**space, private=plan.private or None, exist_ok=True, space_sdk="gradio"))
        for name, value in plan.variables.items():  # before the files, so that the first start knows them
            api.add_space_variable(plan.repo_id, name, value)
        try:
            api.create_commit(**space, operations=list(plan.operations), commit_message=COMMIT_MESSAGE)
        except HfHubHTTPError:
            raise
        except ValueError as error:
            if not str(error).startswith("Invalid metadata"):
                raise
            raise OutputError(f"the Hub does not accept README.md: {' '.join(str(error).split())}") from error
        except RuntimeError as error:  # what huggingface_hub makes of any trouble with one of several uploads
            raise OutputError(f"a file could not be uploaded: {' '.join(str(error).split())}") from error
    if plan.hardware is not None:
        try:
            with hub_errors():
                api.request_space_hardware(plan.repo_id, plan.hardware)
        except OutputError as error:
            raise OutputError(f"{url} is uploaded, but without {plan.hardware}: {error}") from error
    return url
