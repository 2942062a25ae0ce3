"""The ``sign`` command: say in the files themselves, and so that it can be checked, that they are synthetic."""

from __future__ import annotations

import argparse

from cxr.commands.options import Commands, add_command, add_path, say_result
from cxr.request.errors import RequestError

DESCRIPTION = """\
Sign images of this program: each PNG gets a C2PA manifest with its recipe, and a folder also a signed list of
all its files (SHA256SUMS), which covers DICOM, shards and tables. Pixels, recipes and the hashes in tables stay
as they are. It is the last step: what is written into the folder later is not signed.

Without --signing-key this machine uses a key of its own, for which nobody else vouches.
"""


def add_sign_parser(commands: Commands) -> None:
    parser = add_command(commands, "sign", _sign, "sign images and data sets as synthetic (C2PA)", DESCRIPTION)
    add_path(parser, "path", "PATH", "a .png file of this program, or a folder")
    add_path(parser, "--signing-key", "FILE", "private key, PEM, without a password")
    add_path(parser, "--certificate", "FILE", "its certificates, PEM, the key's own first; with --signing-key")


def _sign(arguments: argparse.Namespace) -> int:
    path = arguments.path
    if not path.exists():
        raise RequestError(f"{path} does not exist; name a PNG of this program, or a folder")
    if (arguments.signing_key is None) != (arguments.certificate is None):
        raise RequestError("--signing-key and --certificate belong together; give both, or neither")
    from cxr.provenance.installed import check_installed

    check_installed()
    from cxr.provenance.keys import own_key, read_key
    from cxr.provenance.signing import sign_path

    key = read_key(arguments.signing_key, arguments.certificate) if arguments.signing_key else own_key()
    sign_path(path, key, say_result)
    if key.is_own:
        say_result("signed with this machine's own key: it shows that nothing was changed since, not who you are")
    return 0
