"""Whether this code makes the same images and folders as an earlier commit did, on this machine.

Run it at the top of the repository: ``python benchmarks/same_images.py ac973fc``. The earlier code is checked out into
a temporary git worktree and told this code's version number, so that every byte can be compared. Both make the same
requests and plans, with the models that are here and with tiny random ones; pixels, recipes and all files are compared.
A table is printed, and the exit status is 1 if anything differs.

Recipe fields that the earlier code does not know are named with ``--newer reword sent_prompt``: all others are
compared, and so are pixels and rows, while what is made of whole files (hashes, README.md, manifest.json) is left out.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
FLOAT32: dict[str, str] = {"CXR_DTYPE": "float32"}
BATCHES, BFLOAT16 = FLOAT32 | {"CXR_BATCH_SIZE": "3"}, {"CXR_DTYPE": "bfloat16", "CXR_BATCH_SIZE": "2"}
PROMPT, NEGATIVE = "A 55-year-old man with pneumonia, PA view", "effusion, cardiomegaly"
FINDINGS = ["Effusion", "Edema + Mass", "No Finding"]
COHORT = [{"findings": FINDINGS, "age": "40-60", "sex": {"F": 1, "M": 1}, "count": 6}]
OF_WHOLE_FILES = {"README.md", "manifest.json"}
SPLIT = {"train": 0.7, "validation": 0.2, "test": 0.1}
TABLE = f'prompt,seed,count,negative_prompt\nnormal chest x-ray,,3,\n"{PROMPT}",100,2,"{NEGATIVE}"\na mass,,1,\n'
PLANS: dict[str, dict[str, Any]] = {
    "cohort": {"cohort": COHORT, "split": SPLIT, "seed": 5},
    "prompts": {
        "prompts": [PROMPT, {"prompt": "normal", "count": 4, "negative_prompt": NEGATIVE, "seed": 9}, "a mass"]
    },
    "grid": {
        "grid": {"prompt": [PROMPT, "normal"], "guidance_scale": [1, 4], "adapter_weight": [0, 1], "seed": [1, 2]}
    },
    "bits": {"cohort": COHORT, "settings": {"bit_depth": 16, "num_inference_steps": 4}, "split": SPLIT},
    "settings": {
        "prompts": ["normal", PROMPT],
        "settings": {"guidance_scale": 3, "guidance_stop": 0.5, "adapter_weight": 0.6},
    },
    "twice": {"prompts": [{"prompt": "normal", "seed": 3}, {"prompt": "normal", "seed": 3}, "pneumonia"]},
}


@dataclass(frozen=True)
class Case:
    """One folder that both codes make.

    Args:
        name: of the folder.
        arguments: of the command line; {inputs} stands for the folder of models, LoRAs, tables and plans.
        environment: that it runs in.
        begun_by: arguments with which the earlier code begins the folder that this code then continues.
        fsyncs: calls of ``os.fsync`` after which the earlier code is ended while it begins the folder; 0 for none.
    """

    name: str
    arguments: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    begun_by: tuple[str, ...] = ()
    fsyncs: int = 0


class Ended(BaseException):
    """As good as a kill: nothing of the program catches it."""


def all_cases() -> list[Case]:
    """Prompts, settings, LoRAs, tables, plans, number formats, batches, architectures, and folders that go on."""
    cases: list[Case] = []

    def add(name: str, *arguments: str, environment: dict[str, str] = FLOAT32, **begun: Any) -> None:
        cases.append(Case(name, arguments, tuple(environment.items()), **begun))

    tiny = ("--model", "{inputs}/tiny", "--adapter", "none")
    first, second = "local:{inputs}/first", "local:{inputs}/second"
    # The last --adapter and --model of a command count.
    generate = ("generate", PROMPT, *tiny)
    table = ("generate", "--prompts", "{inputs}/table.csv", *tiny, "--steps", "3")
    add("embedded_default", "generate", PROMPT, "--steps", "2")
    add("embedded_base", "generate", "normal chest x-ray", "--steps", "2", "--adapter", "none", "--seed", "7")
    add("embedded_half_lora", "generate", PROMPT, "--steps", "2", "--adapter", "clinical", "--adapter-weight", "0.5")
    add("one", *generate)
    add("seven", *generate, "--count", "7", "--seed", "12")
    add("last_seed", *generate, "--seed", str(2**53 - 1))
    add("negative_prompt", *generate, "--negative-prompt", NEGATIVE)
    add("long_prompt", "generate", "chest " * 80 + "pneumonia", *tiny)
    add("foreign_prompt", "generate", "Röntgen: 肺炎 “PA”", *tiny)
    add("one_step", *generate, "--steps", "1")
    add("many_steps", *generate, "--steps", "15")
    add("no_guidance", *generate, "--guidance-scale", "1")
    add("much_guidance", *generate, "--guidance-scale", "7.5", "--negative-prompt", NEGATIVE)
    for share in ("0", "0.4", "1"):
        add(f"guidance_stop_{share}", *generate, "--guidance-scale", "4", "--guidance-stop", share)
    for weight in ("0", "0.5", "1", "2"):
        add(f"lora_{weight}", *generate, "--adapter", first, "--adapter-weight", weight)
    add("two_loras", *generate, "--adapter", f"{first}:0.8,{second}:0.5")
    add("two_loras_one_0", *generate, "--adapter", f"{first}:0,{second}:1", "--adapter-weight", "0.9")
    add("table", *table)
    add("table_lora", *table, "--adapter", first, "--adapter-weight", "0.7", "--seed", "3")
    for family in ("StableDiffusion", "StableDiffusionXL", "PixArtSigma", "Sana"):
        add(
            family,
            *generate,
            "--model",
            f"{{inputs}}/{family}Pipeline/{family}Pipeline",
            "--count",
            "2",
            "--steps",
            "3",
        )
    xl = ("--model", "{inputs}/StableDiffusionXLPipeline/StableDiffusionXLPipeline")
    add("xl_negative", *generate, *xl, "--guidance-scale", "5", "--negative-prompt", NEGATIVE)
    add("batch_seven", *generate, "--count", "7", environment=BATCHES)
    add("batch_table", *table, environment=BATCHES)
    add("batch_lora", *generate, "--count", "5", "--adapter", first, "--adapter-weight", "0.7", environment=BATCHES)
    add("batch_xl", *generate, *xl, "--count", "4", "--steps", "3", environment=BATCHES)
    add("bfloat16", *generate, "--count", "3", environment=BFLOAT16)
    for plan in PLANS:
        add(f"plan_{plan}", "dataset", f"{{inputs}}/{plan}.yaml", *tiny, "--adapter", first)
    add("plan_table", "dataset", "{inputs}/table.csv", *tiny)
    add("plan_gate", "dataset", "{inputs}/cohort.yaml", *tiny, "--gate", "--max-attempts", "3")
    add("plan_xl", "dataset", "{inputs}/prompts.yaml", *tiny, *xl)
    add("plan_batch", "dataset", "{inputs}/cohort.yaml", *tiny, environment=BATCHES)
    add("plan_bfloat16", "dataset", "{inputs}/bits.yaml", *tiny, environment=BFLOAT16)
    add("goes_on", *generate, "--count", "5", begun_by=(*generate, "--count", "2"))
    add("goes_on_cut", *table, begun_by=table, fsyncs=8)
    cohort = ("dataset", "{inputs}/cohort.yaml", *tiny)
    add("plan_goes_on", *cohort, begun_by=cohort, fsyncs=40)
    gated = ("dataset", "{inputs}/cohort.yaml", *tiny, "--gate", "--max-attempts", "3")
    add("plan_gate_goes_on", *gated, begun_by=gated, fsyncs=40)
    return cases


def write_inputs(folder: Path) -> None:
    """Write tiny models of every architecture, two LoRAs, a table and the plans."""
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    import torch
    from diffusers import StableDiffusionPipeline
    from tiny_families import BUILDERS, save_tiny
    from tiny_model import build_tiny_pipeline, write_lora

    build_tiny_pipeline(folder / "tiny").to(dtype=torch.float16).save_pretrained(folder / "tiny")
    for name, rank in (("first", 4), ("second", 2)):
        write_lora(StableDiffusionPipeline.from_pretrained(folder / "tiny"), folder / name, rank=rank, alpha=12.0)
    for family in BUILDERS:
        save_tiny(family, folder / family)
    (folder / "table.csv").write_text(TABLE, encoding="utf-8")
    for name, plan in PLANS.items():
        (folder / f"{name}.yaml").write_text(json.dumps(plan), encoding="utf-8")


def run_cases(code: Path, jobs: list[dict[str, Any]], environment: dict[str, str], log: Path) -> None:
    """Run commands of one environment in a new process with the code of a folder."""
    run = [sys.executable, str(Path(__file__).resolve()), "--run", json.dumps(jobs)]
    offline = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(code)}
    with log.open("a", encoding="utf-8") as stream:
        subprocess.run(run, cwd=code, env=os.environ | offline | environment, stdout=stream, stderr=stream, check=True)


def run_here(jobs: list[dict[str, Any]]) -> None:
    """Run commands, one after the other, with the code of the working directory."""
    import cxr

    assert Path(cxr.__file__).resolve().is_relative_to(Path.cwd().resolve()), "the code of another folder would run"
    real = os.fsync
    for job in jobs:
        calls = iter(range(job["fsyncs"])) if job["fsyncs"] else None

        def fsync(descriptor: Any, calls: Any = calls) -> None:
            if calls is not None and next(calls, None) is None:
                raise Ended
            real(descriptor)

        os.fsync = fsync
        sys.argv = ["cxr", *job["arguments"]]
        try:
            runpy.run_module("cxr", run_name="__main__", alter_sys=True)
        except SystemExit as end:
            print(job["arguments"][-1], "exit status", end.code, flush=True)
        except Ended:
            print(job["arguments"][-1], "ended on purpose", flush=True)


def job(arguments: tuple[str, ...], inputs: Path, output: Path, fsyncs: int = 0) -> dict[str, Any]:
    """A command with its places filled in."""
    filled = [argument.replace("{inputs}", str(inputs)) for argument in arguments]
    return {"arguments": [*filled, "--output", str(output)], "fsyncs": fsyncs}


def make_all(before: Path, cases: list[Case], inputs: Path, work: Path) -> None:
    """Make all folders with both codes; those that go on are begun by the earlier code."""
    for environment in dict.fromkeys(case.environment for case in cases):
        mine = [case for case in cases if case.environment == environment]
        begun = [job(case.begun_by, inputs, work / "after" / case.name, case.fsyncs) for case in mine if case.begun_by]
        old = [job(case.arguments, inputs, work / "before" / case.name) for case in mine]
        run_cases(before, begun + old, dict(environment), work / "before.log")
        new = [job(case.arguments, inputs, work / "after" / case.name) for case in mine]
        run_cases(ROOT, new, dict(environment), work / "after.log")


def compare(before: Path, after: Path, newer: frozenset[str]) -> tuple[int, int, list[str]]:
    """Numbers of images and files, and what differs; in fields that the earlier code does not know nothing can."""
    names = {path.relative_to(folder) for folder in (before, after) for path in folder.rglob("*") if path.is_file()}
    faults, num_images = [], 0
    for name in sorted(names):
        one, other = before / name, after / name
        if not (one.is_file() and other.is_file()):
            faults.append(f"{name} is missing")
            continue
        is_image = re.fullmatch(r"\d+_\d+\.png", name.name) is not None
        num_images += is_image
        if is_image:
            faults += [f"{name}: {fault}" for fault in differing_images(one, other, newer)]
        if newer and (is_image or name.name in OF_WHOLE_FILES):
            continue
        if newer and name.suffix == ".jsonl":
            faults += [f"{name}: other rows"] if rows_of(one, newer) != rows_of(other, newer) else []
        elif one.read_bytes() != other.read_bytes():
            faults.append(f"{name}: other bytes")
    if not num_images:
        faults.append("no image was made")
    return num_images, len(names), faults


def rows_of(table: Path, newer: frozenset[str]) -> list[dict[str, Any]]:
    """The rows of a table without hashes of whole files, and without fields that the earlier code does not know."""
    rows = map(json.loads, table.read_text(encoding="utf-8").splitlines())
    return [{name: value for name, value in row.items() if name not in newer | {"sha256"}} for row in rows]


def differing_images(one: Path, other: Path, newer: frozenset[str]) -> list[str]:
    """What differs between two images: pixels, or fields of their recipes."""
    with Image.open(one) as first, Image.open(other) as second:
        faults = [] if np.array_equal(np.asarray(first), np.asarray(second)) else ["other pixels"]
        recipes = [json.loads(picture.info["recipe"]) for picture in (first, second)]
    fields = (recipes[0].keys() | recipes[1].keys()) - newer
    return faults + sorted(f"recipe: {name}" for name in fields if recipes[0].get(name) != recipes[1].get(name))


def check_out(commit: str, folder: Path) -> None:
    """Check a commit out and give it this code's version number."""
    subprocess.run(["git", "worktree", "add", "--detach", "--quiet", str(folder), commit], cwd=ROOT, check=True)
    version = re.compile(r"^__version__ = .*$", re.MULTILINE)
    here = version.search((ROOT / "cxr" / "__init__.py").read_text(encoding="utf-8"))
    assert here is not None, "the package tells its version"
    path = folder / "cxr" / "__init__.py"
    path.write_text(version.sub(here[0], path.read_text(encoding="utf-8")), encoding="utf-8")


def main() -> int:
    """Make everything twice and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commit", nargs="?", help="the earlier code")
    parser.add_argument("--only", help="cases whose name holds this text")
    parser.add_argument("--keep", action="store_true", help="keep the folders, for looking into a difference")
    parser.add_argument("--newer", nargs="+", default=[], metavar="FIELD", help="that the earlier code does not know")
    parser.add_argument("--run", help=argparse.SUPPRESS)  # in the processes that this one starts
    arguments = parser.parse_args()
    if arguments.run:
        run_here(json.loads(arguments.run))
        return 0
    if not arguments.commit:
        parser.error("name the commit to compare with")
    cases = [case for case in all_cases() if (arguments.only or "") in case.name]
    work = Path(tempfile.mkdtemp(prefix="same_images_"))
    try:
        check_out(arguments.commit, work / "code")
        write_inputs(work / "inputs")
        make_all(work / "code", cases, work / "inputs", work)
        codes = [print_case(case, work, frozenset(arguments.newer)) for case in cases]
    finally:
        subprocess.run(["git", "worktree", "remove", "--force", str(work / "code")], cwd=ROOT, check=False)
        if not arguments.keep:
            shutil.rmtree(work, ignore_errors=True)
    print(f"{codes.count(0)} of {len(cases)} are the same", f"; folders in {work}" if arguments.keep else "")
    return int(any(codes))


def print_case(case: Case, work: Path, newer: frozenset[str]) -> int:
    """Compare one folder and print its line of the table."""
    num_images, num_files, faults = compare(work / "before" / case.name, work / "after" / case.name, newer)
    outcome = "the same" if not faults else "DIFFERENT: " + "; ".join(faults[:4])
    print(f"{case.name:<20} {num_images:>4} images {num_files:>4} files  {outcome}", flush=True)
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
