"""Whatever is in a plan, table, recipe, prompt, LoRA, header or DICOM file: an answer or one sentence, and soon.

Hypothesis makes the inputs, always the same ones. What it has found is kept in the tests of the module at fault.
"""

from __future__ import annotations

import copy
import io
import json
import random
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pydicom
import pytest
import torch
import yaml
from hostile_adapters import LAYER, pair
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pydicom.datadict import dictionary_VR
from sample_images import RECIPE, make_image
from starlette.requests import Request

from cxr.dataset.cohort import KEYS
from cxr.dataset.plan_file import read_plan
from cxr.folders.dicom import SyntheticPatient, encode_dicom
from cxr.folders.dicom_reader import read_dicom, read_dicom_facts
from cxr.folders.reader import read_images
from cxr.generate.prompt_table import read_prompt_table
from cxr.images.guarded import quiet_libraries
from cxr.images.png import RECIPE_KEY, encode_png, read_recipe
from cxr.images.reading import read_grey
from cxr.images.recipe_file import read_recipe_file
from cxr.labels.vocabulary import FINDINGS, PromptLabels
from cxr.lora.find import describe_adapter
from cxr.prompts import FORMS, asked_labels, compile_prompt, estimate_tokens, misread_findings, parse_prompt
from cxr.prompts.rewording import to_type_again, with_sent_prompt
from cxr.request.errors import CxrError
from cxr.request.generation_request import GenerationRequest
from cxr.request.recipe import Recipe
from cxr.web.jobs.plan_text import FIELDS, SPLITS, plan_of_fields, plan_of_text
from cxr.web.page.prompt_builder import read_choices, write_choices
from cxr.web.server.hosts import allowed_hosts, check_host
from cxr.web.server.refusal import Refusal
from cxr.web.server.visitors import address_of

MAX_S = 2.0  # of this process, for one input; the machine may have other work
MAX_IMAGES = 60
LONGEST_SENTENCE = 1_500
LORA_NAME = "pytorch_lora_weights.safetensors"

ODD_NUMBERS = (
    0,
    -1,
    1,
    65,
    2**31,
    2**53,
    2**63,
    10**40,
    10**400,
    0.1,
    1e308,
    5e-324,
    -0.0,
    *map(float, ("nan", "inf")),
)
ODD_TEXTS = (
    *(
        "",
        " ",
        "0",
        "00",
        "nan",
        "None",
        "all",
        "NIH",
        "No Finding",
        "Edema+",
        "40-60",
        "60-40",
        "٣",
        "²",
        "1e3",
        "0x1F",
    ),
    *("1_0", "1:30", "{F: 1", "[", "*a", "<<", "=1+1", "../../etc", "a\tb", "\0", "\u202e", "\U0001f600", "x" * 3_000),
)


@pytest.fixture(autouse=True)
def _subnormal_numbers() -> None:
    """Images that another test has made in this thread leave them rounded to zero, which hypothesis refuses."""
    torch.set_flush_denormal(False)


TEXTS = st.sampled_from(ODD_TEXTS) | st.text(max_size=30)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(ODD_NUMBERS) | TEXTS
ANYTHING = st.recursive(
    SCALARS, lambda part: st.lists(part, max_size=4) | st.dictionaries(TEXTS, part, max_size=4), max_leaves=8
)


@dataclass(frozen=True)
class Door:
    """One way in: what comes, and what reads it, with a folder of its own."""

    inputs: st.SearchStrategy[Any]
    read: Callable[[Any, Path], object]


def near(good: Mapping[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """A good table of values of which some are missing, something else, or there besides."""
    names = st.sampled_from([*good]) | TEXTS
    changes = st.dictionaries(names, ANYTHING | st.sampled_from([*good.values()]), max_size=3)
    return st.builds(
        lambda changed, lost: {name: value for name, value in {**good, **changed}.items() if name not in lost},
        changes,
        st.sets(st.sampled_from([*good]), max_size=1),
    )


def damaged(good: bytes) -> st.SearchStrategy[bytes]:
    """A good file of which some bytes are others, missing, twice there or new."""

    def change(edits: list[tuple[float, int, bytes]]) -> bytes:
        content = bytearray(good)
        for share, length, new in edits:
            at = round(share * len(content))
            content[at : at + length] = new
        return bytes(content)

    places = st.floats(0, 1) | st.floats(0, 0.1)
    return st.lists(st.tuples(places, st.integers(0, 40), st.binary(max_size=40)), min_size=1, max_size=4).map(change)


def saved(content: bytes | str, path: Path) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    return path


# -- plans and tables

ENTRY: dict[str, Any] = {
    "findings": ["Edema", "Mass + Edema"], "age": "40-60", "sex": {"F": 1, "M": 2}, "view": "PA", "count": 2
}  # fmt: skip
PLAN: dict[str, Any] = {
    "name": "x",
    "seed": 3,
    "settings": {"num_inference_steps": 2, "guidance_scale": 1.5},
    "cohort": [ENTRY],
    "templates": ["A {age}-year-old {sex} with {findings}"],
    "prompts": ["normal", {"prompt": "edema", "count": 2, "seed": 9}],
    "split": {"train": 0.5, "test": 0.5},
}
GRID = {"prompt": ["normal", "edema"], "guidance_scale": [1, 2], "seed": [1, 2], "num_inference_steps": 2}
PLANS = (
    near(PLAN)
    | near(ENTRY).map(lambda entry: {**PLAN, "cohort": [entry]})
    | near(GRID).map(lambda grid: {"grid": grid})
    | near(PLAN["settings"]).map(lambda values: {**PLAN, "settings": values})
    | near(PLAN["prompts"][1]).map(lambda entry: {**PLAN, "prompts": [entry]})
    | near(PLAN["split"]).map(lambda split: {**PLAN, "split": split})
)
YAML_MARKS = st.text(st.sampled_from("abcF01:-?,[]{}&*!|>'\"%@`#~<.\n \t_x"), max_size=200)
YAML = (
    PLANS.map(lambda plan: yaml.safe_dump(plan, sort_keys=False))
    | YAML_MARKS.map(lambda text: "cohort:\n" + text)
    | YAML_MARKS
    | damaged(yaml.safe_dump(PLAN).encode())
)
CSV_HEADERS = st.lists(st.sampled_from([*KEYS, "prompt", "seed", "negative_prompt", "Prompt ", ""]) | TEXTS, max_size=7)
CSV_ROWS = st.lists(st.lists(TEXTS | SCALARS.map(str) | st.sampled_from(FINDINGS), max_size=8), max_size=6)
SEPARATORS = st.sampled_from([",", ";", "\t", "|", "\0"])


def written(header: list[str], rows: list[list[str]], separator: str, end: str) -> bytes:
    """Without quotes: what they would protect is part of the fuzz."""
    return end.join(separator.join(cells) for cells in [header, *rows]).encode("utf-8", "surrogatepass")


TABLES = st.builds(written, CSV_HEADERS, CSV_ROWS, SEPARATORS, st.sampled_from(["\n", "\r\n", "\r", "\n\n"])) | damaged(
    b'findings,age,sex,view,count\nEdema,40-60,F,PA,2\n"Mass, Edema",NIH,"{F: 1, M: 2}",,3\n'
)
FOREIGN_NAMES = ("Image Index", "Finding Labels", "Patient Age", "Patient ID", "prompt", "sides", "Edema", "split")
FOREIGN = st.builds(written, st.permutations(FOREIGN_NAMES), CSV_ROWS, SEPARATORS, st.just("\n"))


def read_yaml(content: bytes | str, folder: Path) -> None:
    read_plan(saved(content, folder / "plan.yaml"), MAX_IMAGES)


def read_csv(content: bytes, folder: Path) -> None:
    path = saved(content, folder / "plan.csv")
    for read in (partial(read_plan, path, MAX_IMAGES), partial(read_prompt_table, path, {"seed": 0})):
        refused_or_read(read)


def read_foreign(content: bytes, folder: Path) -> None:
    saved(encode_png(make_image(0)), folder / "a.png")
    saved(content.replace(b"Edema", b"a.png"), folder / "metadata.csv")
    read_images(folder)


def read_form(values: tuple[list[dict[str, Any]], Any, Any, list[Any], list[Any]], folder: Path) -> None:
    rows, name, seed, numbers, shares = values
    plan_of_fields(rows, name, seed, numbers, shares, MAX_IMAGES)


FORMS_OF_THE_PAGE = st.tuples(
    st.lists(near({**ENTRY, "findings": "Edema", "sex": "{F: 1, M: 1}"}), max_size=4),
    SCALARS,
    SCALARS,
    st.lists(SCALARS, min_size=len(FIELDS), max_size=len(FIELDS)),
    st.lists(SCALARS, min_size=len(SPLITS), max_size=len(SPLITS)),
)

# -- recipes


def chunk(kind: bytes, content: bytes) -> bytes:
    return len(content).to_bytes(4) + kind + content + zlib.crc32(kind + content).to_bytes(4)


def png_with(kind: bytes, content: bytes) -> bytes:
    """A picture with another text in place of its recipe."""
    good = encode_png(make_image(0))
    start = good.index(b"iTXt" + RECIPE_KEY.encode()) - 4
    return good[:start] + chunk(kind, content) + good[start + 12 + int.from_bytes(good[start : start + 4]) :]


RECIPES = near(RECIPE.values).map(lambda values: json.dumps(values)) | damaged(RECIPE.to_json().encode()).map(
    lambda text: text.decode("utf-8", "replace")
)
PNG_TEXTS = st.builds(
    png_with,
    st.sampled_from([b"iTXt", b"tEXt", b"zTXt"]),
    st.builds(
        lambda head, text, packed: RECIPE_KEY.encode() + head + (zlib.compress(text) if packed else text),
        st.sampled_from([b"\0", b"\0\0\0\0\0", b"\0\1\0\0\0", b"\0\0\0en\0", b"\0\1\7\0\0", b""])
        | st.binary(max_size=6),
        RECIPES.map(lambda text: text.encode("utf-8", "surrogatepass")) | st.binary(max_size=40),
        st.booleans(),
    ),
)
PICTURES = PNG_TEXTS | damaged(encode_png(make_image(0)))


def read_picture(content: bytes, folder: Path) -> None:
    path = saved(content, folder / "a.png")
    for read in (partial(read_recipe, path), partial(read_recipe_file, path, folder), partial(read_grey, path)):
        refused_or_read(read)


# -- prompts

WORDS = (
    *(
        "no",
        "without",
        "or",
        "and",
        "not only",
        "left",
        "bilateral",
        "effusion",
        "pneumothorax",
        "mass",
        "M",
        "F",
        "55",
        "yo",
    ),
    *(
        "55-year-old",
        "55M",
        "man",
        "AP",
        "PA view",
        "normal",
        "history of",
        "?",
        "!!",
        "(",
        ")",
        ",",
        ".",
        ";",
        "\n",
        "/",
        "-",
    ),
    *(
        "<lora:x:1>",
        "((effusion:1.2))",
        "[mass|edema]",
        "rule out",
        "improved",
        "0",
        "00000000000000000000",
        "肺炎",
        "é",
    ),
)
PROMPTS = (
    st.lists(st.sampled_from(WORDS) | st.text(max_size=5), max_size=60).map(" ".join)
    | st.lists(st.sampled_from(WORDS), max_size=200).map("".join)
    | st.text(max_size=2_000)
    | st.builds(lambda text, times: (text * times)[:2_000], st.text(min_size=1, max_size=8), st.integers(1, 2_000))
    | ANYTHING
)


def read_prompt(prompt: Any, folder: Path) -> None:
    request = GenerationRequest(prompt)  # what it refuses, nothing else gets to see
    parse_prompt(request.prompt)
    asked_labels(request.prompt)
    misread_findings(request.prompt)
    write_choices(request.prompt, read_choices(request.prompt))
    for form in FORMS:
        estimate_tokens(compile_prompt(request.prompt, form).text)
        to_type_again(with_sent_prompt(request, form), form)


# -- LoRA

MATRICES = {f"{LAYER}.lora_A.weight": [4, 32], f"{LAYER}.lora_B.weight": [32, 4]}
GOOD_LORA = pair([4, 32], [32, 4])
HEADER = json.loads(GOOD_LORA[8 : 8 + int.from_bytes(GOOD_LORA[:8], "little")])
ADAPTER_CONFIG = {
    "r": 4, "lora_alpha": 8, "rank_pattern": {"to_q": 4}, "alpha_pattern": {"mid_block.*to_q": 2}, "use_rslora": True,
    "init_lora_weights": "gaussian", "use_dora": False, "modules_to_save": None, "layer_replication": None,
}  # fmt: skip
PATTERNS = st.dictionaries(
    st.text(st.sampled_from("to_q.*+?()[]{}|^$\\d0a"), max_size=24)
    | st.sampled_from(["(a+)+$", ".*" * 30, "to_q", "("]),
    SCALARS,
    max_size=3,
)
LORA_SETTINGS = near(ADAPTER_CONFIG) | PATTERNS.map(lambda found: {**ADAPTER_CONFIG, "alpha_pattern": found})
ENTRIES = near(HEADER[next(iter(MATRICES))])


def lora_with(header: Mapping[str, Any], extra: bytes = b"") -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(2 * 4 * 32 * 4) + extra


LORA_HEADERS = (
    near(HEADER).map(lora_with)
    | ENTRIES.map(lambda entry: lora_with({**HEADER, next(iter(MATRICES)): entry}))
    | near({"lora_adapter_metadata": "{}", "format": "pt", "adapter_config": "{}"}).map(
        lambda metadata: lora_with({"__metadata__": metadata, **HEADER})
    )
    | LORA_SETTINGS.map(
        lambda values: lora_with(
            {
                "__metadata__": {
                    "lora_adapter_metadata": json.dumps({f"unet.{name}": value for name, value in values.items()})
                },
                **HEADER,
            }
        )
    )
    | damaged(GOOD_LORA)
)
CONFIG_TEXTS = LORA_SETTINGS.map(json.dumps) | damaged(json.dumps(ADAPTER_CONFIG).encode()) | YAML_MARKS


def read_lora(content: bytes, folder: Path) -> None:
    describe_adapter(saved(content, folder / LORA_NAME))


def read_config(content: str | bytes, folder: Path) -> None:
    saved(GOOD_LORA, folder / LORA_NAME)
    for name in ("adapter_config.json", "config.json", "README.md"):
        text = content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass")
        saved(b"---\n" + text + b"\n---\n" if name == "README.md" else text, folder / name)
    describe_adapter(folder)


# -- headers of requests

ADDRESS_PARTS = (
    "1.1.1.1",
    "8.8.8.8:4711",
    "[2606:4700::1]:443",
    "::1",
    "fe80::1%eth0",
    "localhost",
    "evil.example",
    '"',
)
HEADERS = (
    st.lists(
        st.sampled_from((*ADDRESS_PARTS, ":", "[", "]", ",", ", ", "@", "/", ".", "..", " ", "*", "?", "#", "\t", "%"))
    ).map("".join)
    | st.text(st.characters(codec="latin-1"), max_size=60)
    | st.builds(lambda text, times: text * times, st.sampled_from(ADDRESS_PARTS), st.integers(1, 5_000))
)
HOSTS = allowed_hosts("127.0.0.1", share=True, names=("*.example.org",), environment={"SPACE_ID": "a/b"})


def read_headers(values: tuple[str, str], folder: Path) -> None:
    host, forwarded = values
    headers = [(b"x-forwarded-for", forwarded.encode("latin-1"))]
    request = Request({"type": "http", "headers": headers, "client": (host, 1)})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPACE_ID", "a/b")
        assert len(address_of(request)) <= max(len(host), 60)
    check_host(host, HOSTS)


# -- DICOM


def dicom() -> bytes:
    image = make_image(0)
    return encode_dicom(image.pixels, image.recipe, SyntheticPatient("SYN0000001", PromptLabels((), 5, "F", "PA")), 8)


GOOD_DICOM = dicom()
ELEMENTS = (
    *("Rows", "Columns", "BitsStored", "BitsAllocated", "HighBit", "SamplesPerPixel", "NumberOfFrames", "WindowCenter"),
    *("WindowWidth", "RescaleSlope", "RescaleIntercept", "PixelRepresentation", "PhotometricInterpretation"),
    *(
        "PatientAge",
        "PatientSex",
        "PatientID",
        "ViewPosition",
        "SpecificCharacterSet",
        "ImageComments",
        "SyntheticData",
    ),
    *("VOILUTFunction", "Manufacturer"),
)


def dicom_with(changes: Mapping[str, Any]) -> bytes:
    """An object whose elements hold what the standard forbids; what cannot even be written is left out."""
    dataset = pydicom.dcmread(io.BytesIO(GOOD_DICOM))
    for name, value in changes.items():
        before = copy.deepcopy(dataset)
        try:
            dataset.add_new(name, dictionary_VR(name).split()[0], value)
            dataset.save_as(io.BytesIO())
        except Exception:
            dataset = before
    stream = io.BytesIO()
    dataset.save_as(stream)
    return stream.getvalue()


DICOM_VALUES = SCALARS | st.lists(st.integers(0, 70_000) | st.floats(), max_size=3) | st.integers(0, 70_000)
OBJECTS = damaged(GOOD_DICOM) | st.dictionaries(st.sampled_from(ELEMENTS), DICOM_VALUES, min_size=1, max_size=4).map(
    dicom_with
)


def read_object(content: bytes, folder: Path) -> None:
    path = saved(content, folder / "a.dcm")
    with quiet_libraries():
        for read in (read_dicom_facts, read_dicom, read_grey):
            refused_or_read(partial(read, path))


# -- all of them

DOORS = {
    "plan in YAML": Door(YAML, read_yaml),
    "plan sent to the server": Door(YAML | TABLES | ANYTHING, lambda text, folder: plan_of_text(
        text.decode("utf-8", "replace") if isinstance(text, bytes) else text, MAX_IMAGES)),
    "table of the page": Door(FORMS_OF_THE_PAGE, read_form),
    "CSV": Door(TABLES, read_csv),
    "table of somebody's images": Door(FOREIGN, read_foreign),
    "recipe in JSON": Door(RECIPES | ANYTHING, lambda text, folder: Recipe.from_json(text)),
    "recipe in a PNG": Door(PICTURES, read_picture),
    "prompt": Door(PROMPTS, read_prompt),
    "LoRA header": Door(LORA_HEADERS, read_lora),
    "LoRA adapter_config": Door(CONFIG_TEXTS, read_config),
    "headers of a request": Door(st.tuples(HEADERS, HEADERS), read_headers),
    "DICOM": Door(OBJECTS, read_object),
}  # fmt: skip


def refused_or_read(read: Callable[[], object]) -> None:
    """An answer, or one line that can be read."""
    try:
        read()
    except (CxrError, Refusal) as error:
        sentence = str(error)
        assert sentence.strip(), "a refusal says why"
        assert len(sentence) < LONGEST_SENTENCE
        assert "\n" not in sentence


def fuzz(name: str, folder: Path, examples: int) -> None:
    door = DOORS[name]
    random.seed(0)

    @settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate,),
    )
    @given(door.inputs)
    def try_one(value: Any) -> None:
        for path in folder.iterdir():
            path.unlink()
        began_s = time.process_time()
        refused_or_read(partial(door.read, value, folder))
        assert time.process_time() - began_s < MAX_S

    try_one()


@pytest.mark.parametrize("name", DOORS)
def test_a_few_odd_inputs(name: str, tmp_path: Path) -> None:
    fuzz(name, tmp_path, 30)


@pytest.mark.slow
@pytest.mark.parametrize("name", DOORS)
def test_many_odd_inputs(name: str, tmp_path: Path) -> None:
    fuzz(name, tmp_path, 1_000)
