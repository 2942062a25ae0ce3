"""The command ``deploy``: which options there are, and what they start."""

from __future__ import annotations

import argparse
import sys

from cxr.commands.options import Commands, add_command, say_result

DESCRIPTION = """\
Make a Hugging Face Space of your own from this checkout, or bring one up to date.

Uploads app.py, cxr/, lora_weights/, examples/, requirements.txt, README.md and LICENSE, as far as
git tracks them, in one commit, with the token that huggingface_hub finds (from "hf auth login" or
HF_TOKEN).
Everything is checked before anything is sent. Files of an earlier upload stay unless they are
replaced. Nothing on this machine is changed.
"""
EPILOG = """\
examples:
  python -m cxr deploy OWNER/NAME --dry-run          list every file and setting, and send nothing
  python -m cxr deploy OWNER/NAME --hardware zero-a10g
"""


def add_deploy_parser(commands: Commands) -> None:
    parser = add_command(commands, "deploy", _deploy, "make a Hugging Face Space of your own", DESCRIPTION, EPILOG)
    parser.add_argument("repo_id", metavar="OWNER/NAME", help="name of the Space")
    parser.add_argument("--dry-run", action="store_true", help="only show what would be uploaded and set")
    parser.add_argument("--private", action="store_true", help="make it visible to its owner only")
    parser.add_argument(
        "--hardware",
        metavar="NAME",
        help="what it runs on: cpu-basic, zero-a10g (ZeroGPU), t4-small, … (default: what it has, at first cpu-basic)",
    )
    parser.add_argument(
        "--model", metavar="PRESET", help="base model of the Space; one of the Hub is downloaded when it is built"
    )
    parser.add_argument("--adapter", metavar="NAME", help="LoRA of the Space: a name in lora_weights/, none or default")


def _deploy(arguments: argparse.Namespace) -> int:
    from huggingface_hub import HfApi

    from cxr.deploy.space_plan import describe_upload, plan_space
    from cxr.deploy.upload import upload

    api = HfApi()
    plan = plan_space(
        arguments.repo_id,
        api,
        model=arguments.model,
        adapter=arguments.adapter,
        hardware=arguments.hardware,
        private=arguments.private,
    )
    for line in describe_upload(plan):
        sys.stdout.write(f"{line}\n")
    if arguments.dry_run:
        say_result("dry run: nothing was sent")
        return 0
    say_result(f"the Space is at {upload(plan, api)}")
    return 0
