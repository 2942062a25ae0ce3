"""Convert a LoRA that was saved as a pickle, ``.bin`` or ``.pt``, to safetensors; nothing of it is ever run."""

from __future__ import annotations

import tempfile
from pathlib import Path

from cxr.images.atomic import atomic_file
from cxr.lora.lora_file import LoraFile, read_lora_file
from cxr.lora.safetensors_header import MAX_FILE_BYTES, PICKLE_SUFFIXES, SUFFIX, open_lora_file
from cxr.request.errors import AdapterError
from cxr.request.limited_child import run_limited

MEMORY_BYTES = 2**30
TIMEOUT_S = 60


def convert_adapter(path: Path, output: Path) -> LoraFile:
    """Write the tensors of a pickled LoRA as safetensors, with their names as they are.

    The file is read by a child process with `MEMORY_BYTES` of memory and `TIMEOUT_S` seconds, by PyTorch's loader of
    plain tensors, which runs nothing of the pickle. The result is checked like any LoRA before it gets its name.

    Args:
        path: a .bin, .pt, .pth or .ckpt file that torch.save wrote.
        output: a new .safetensors file.
    Raises:
        AdapterError: a name does not suit, the output exists, or the file is damaged, unsafe or not a plain LoRA.
        OutputError: it cannot be written.
    """
    if path.suffix not in PICKLE_SUFFIXES:
        raise AdapterError(f"{path.name!r} cannot be converted; give a {', '.join(PICKLE_SUFFIXES)} file")
    if output.suffix != SUFFIX or output.exists():
        raise AdapterError(
            f"is {output.name!r}; give the name of a {SUFFIX} file that does not exist yet", field="output"
        )
    with open_lora_file(path):
        pass  # said here in full sentences, before a process is started
    content = run_limited(
        "cxr.lora.pickled_weights",
        [str(path.absolute())],
        label=f"LoRA file {path.name!r}",
        error=AdapterError,
        memory_bytes=MEMORY_BYTES,
        timeout_s=TIMEOUT_S,
        max_output_bytes=MAX_FILE_BYTES,
    )
    with tempfile.TemporaryDirectory() as folder:
        unchecked = Path(folder) / output.name
        unchecked.write_bytes(content)
        read_lora_file(unchecked)
    with atomic_file(output) as file:
        file.write(content)
    return read_lora_file(output)
