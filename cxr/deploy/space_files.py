"""Which files of a checkout a Space needs, and what must not be among them."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from cxr.request.errors import OutputError

ROOT = Path(__file__).resolve().parents[2]
NEEDED_FILES = ("app.py", "requirements.txt", "README.md")
# README links to them.
READ_BY_VISITORS = ("LICENSE", "CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "docs", "examples")
SPACE_PATHS = (*NEEDED_FILES, *READ_BY_VISITORS, "cxr", "lora_weights")
MAX_REPORT_FILE_BYTES = 2_000_000  # larger files of a report are for reading, and the Space runs without them
MAX_TOTAL_BYTES = 1_000_000_000  # of a Space's repository
SECRET_NAMES = re.compile(r"\.env(\..+)?|\.netrc|id_(rsa|ed25519)|.+\.(pem|key)|credentials(\.json)?")
TOKEN = re.compile(rb"\bhf_[A-Za-z0-9]{30,}")


@dataclass(frozen=True)
class SpaceFiles:
    """The files for a Space.

    Args:
        paths: of files, relative to it, with "/", sorted.
        left_out: files in the same folders that stay here, and why, for the user.
    """

    root: Path
    paths: tuple[str, ...]
    left_out: tuple[str, ...] = ()


def collect_files(root: Path = ROOT) -> SpaceFiles:
    """The files that a Space runs with: those that git tracks, or, outside a checkout, those that look the same.

    Args:
        root: folder that holds app.py and cxr/.
    Raises:
        OutputError: a needed file is missing, a file leads out of the folder or looks like a secret, or they are too
            many bytes.
    """
    for name in NEEDED_FILES:
        if not (root / name).is_file():
            raise OutputError(f"{name} is missing in {root}; run this from a checkout of the whole repository")
    tracked = _git(root, "ls-files", "-z", "--", *SPACE_PATHS)
    found = _walk(root) if tracked is None else {name for name in tracked if (root / name).is_file()}
    untracked = _git(root, "ls-files", "-z", "--others", "--exclude-standard", "--", *SPACE_PATHS) or []
    left_out = [f"{name}: git does not track it" for name in untracked]
    large = {name for name in found if _is_large_report(root, name)}
    left_out += [f"{name}: a part of a report larger than {MAX_REPORT_FILE_BYTES / 1e6:g} MB" for name in sorted(large)]
    files = SpaceFiles(root, tuple(sorted(found - large)), tuple(left_out))
    _check(files)
    return files


def _git(root: Path, *arguments: str) -> list[str] | None:
    """Lines that git answers with, or None where there is no git or no checkout."""
    if not (root / ".git").exists():
        return None
    try:
        command = ["git", "-C", str(root), *arguments]
        answer = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        return None
    return [name for name in answer.stdout.split("\0") if name]


def _walk(root: Path) -> set[str]:
    """All files of the Space's paths but caches and hidden ones."""
    found = set()
    for top in SPACE_PATHS:
        for path in [root / top, *(root / top).rglob("*")]:
            parts = path.relative_to(root).parts
            is_cache = any(part.startswith(".") or part == "__pycache__" for part in parts)
            if path.is_file() and not is_cache and path.suffix not in {".pyc", ".pyi"}:
                found.add("/".join(parts))
    return found


def _is_large_report(root: Path, name: str) -> bool:
    return "report" in name.split("/")[:-1] and (root / name).stat().st_size > MAX_REPORT_FILE_BYTES


def _check(files: SpaceFiles) -> None:
    total, root = 0, files.root.resolve()
    for name in files.paths:
        path = files.root / name
        if not path.resolve().is_relative_to(root):
            raise OutputError(f"{name} is a link that leads out of {files.root}; put the file itself there")
        if SECRET_NAMES.fullmatch(path.name):
            raise OutputError(f"{name} looks like a secret; take it out of git before uploading")
        if TOKEN.search(path.read_bytes()):
            raise OutputError(f"{name} holds what looks like a Hugging Face token (hf_…); take it out, and revoke it")
        total += path.stat().st_size
    if total > MAX_TOTAL_BYTES:
        raise OutputError(f"the files have {total / 1e6:,.0f} MB; a Space may have {MAX_TOTAL_BYTES / 1e6:,.0f} MB")
