"""Recipes from files that nobody should trust: the same one sentence from ``verify`` and ``restore``, never a trace."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import sample_images
from hostile_pictures import with_recipe

from cxr.commands.main import main
from cxr.folders.dicom import PRIVATE_CREATOR, PRIVATE_GROUP, RECIPE_ELEMENT, SyntheticPatient, encode_dicom
from cxr.images.png import read_recipe
from cxr.labels.vocabulary import PromptLabels
from cxr.request.recipe import Recipe

OWN = sample_images.RECIPE.values
REFUSED: dict[str, tuple[Any, str]] = {
    "another text": ("hello", "is not the JSON"),
    "a list": ([OWN], "is not the JSON"),
    "nested lists": ("[" * 50_000, "is not the JSON"),
    "two seeds": (f'{{"seed": 1, {json.dumps(OWN)[1:]}', "is not the JSON"),
    "two documents": (json.dumps(OWN) * 2, "is not the JSON"),
    "a mark before the text": ("\ufeff" + json.dumps(OWN), "is not the JSON"),
    "a name of two lines": (OWN | {"device": "a\nb"}, "device is 'a\\nb'; a name has no control characters"),
    "a name that turns the line": (OWN | {"scheduler": "\u202ea"}, "scheduler is '\\u202ea'; a name has no control"),
    "a size that is true": (OWN | {"width": True}, "width is True"),
    "an unknown field": (OWN | {"strength": 0.5}, "has “strength”, which newer versions may know"),
    "an unknown field of two lines": (OWN | {"a\nb": 1}, "has “a b”, which newer versions may know"),
    "a missing field": ({name: value for name, value in OWN.items() if name != "seed"}, "no seed; values are missing"),
    "a number as text": (OWN | {"num_inference_steps": "8"}, "num_inference_steps is '8'"),
    "NaN": (OWN | {"guidance_scale": float("nan")}, "guidance_scale is nan"),
    "a list as number": (OWN | {"adapter_weight": [1]}, "adapter_weight is [1]"),
    "a huge number": (OWN | {"seed": 10**300}, "seed is too large"),
    "a table as prompt": (OWN | {"prompt": {}}, "prompt is dict; give text"),
    "too many threads": (OWN | {"num_threads": 1_500}, "num_threads is 1500; use a whole number from 0 to 1,024"),
    "too large a batch": (OWN | {"micro_batch_size": 65}, "micro_batch_size is 65; use a whole number from 1 to 64"),
    "a number format that torch has and recipes have not": (OWN | {"weight_dtype": "nn"}, "weight_dtype is 'nn'; use"),
    "a size of zero": (OWN | {"width": 0}, "width is 0"),
    "versions that are none": (OWN | {"library_versions": ["torch"]}, "library_versions is not a table"),
}
# As 0.1.0, 0.3.0 and 0.4.1 have written them; what later versions added is not in them.
OLD = {
    "0.1.0": '{"adapter": "clinical", '
    '"adapter_sha256": "5cf676c4741087658bc991fc6dcf7bd4f48429867f9907f76ca4ba9ed87933b6",'
    ' "adapter_weight": 1.0, "device": "cpu", "digital_source_type": "http://cv.iptc.org/newscodes/digitalsourcetype/'
    'trainedAlgorithmicMedia", "guidance_scale": 3.0, "height": 256, "library_versions": {"cxr": "0.1.0", "diffusers": '
    '"0.42.1", "peft": "0.21.2", "torch": "2.13.0+cpu", "transformers": "5.23.0"}, "micro_batch_size": 1, "model": '
    '"embedded", "model_revision": "sha256:a076dd1eaf283471df909c398fbd9b55de64dad15080975c1fc7e2ce83795640", '
    '"negative_prompt": "", "num_inference_steps": 8, "prompt": "A 55-year-old man with pneumonia", "scheduler": '
    '"UniPCMultistepScheduler", "seed": 101, "weight_dtype": "bfloat16", "width": 256}',
    "0.4.1": '{"adapter": "clinical", '
    '"adapter_sha256": "6b5df76520d76c076d6d8fb8bad1c29e46df446e137afa99f071cd890c3fc8b3",'
    ' "adapter_weight": 1.0, "device": "cpu", "digital_source_type": "http://cv.iptc.org/newscodes/digitalsourcetype/'
    'trainedAlgorithmicMedia", "guidance_scale": 1.5, "guidance_stop": 0.7, "height": 256, "library_versions": {"cxr": '
    '"0.4.1", "diffusers": "0.42.1", "peft": "0.21.2", "torch": "2.13.0+cpu", "transformers": "5.23.0"}, '
    '"micro_batch_size": 1, "model": "embedded", "model_revision": '
    '"sha256:302931fb4f35cce0d51cff37969e6795f51782fd7a99275c99bd4b51894a8467", "negative_prompt": "", '
    '"num_inference_steps": 8, "prompt": "A 55-year-old man with pneumonia", "scheduler": "UniPCMultistepScheduler", '
    '"seed": 101, "weight_dtype": "bfloat16", "width": 256}',
}


def as_png(text: str, folder: Path) -> Path:
    path = folder / "image.png"
    path.write_bytes(with_recipe(text))
    return path


def as_dicom(text: str, folder: Path) -> Path:
    patient = SyntheticPatient("SYN0000001", PromptLabels())
    path = folder / "image.dcm"
    path.write_bytes(encode_dicom(np.zeros((32, 32), np.uint8), sample_images.RECIPE, patient, 8))
    dataset = pydicom.dcmread(path)
    dataset.private_block(PRIVATE_GROUP, PRIVATE_CREATOR)[RECIPE_ELEMENT].value = text
    dataset.save_as(path)
    return path


@pytest.mark.parametrize(("command", "make"), [("verify", as_png), ("restore", as_png), ("verify", as_dicom)])
@pytest.mark.parametrize(("recipe", "message"), REFUSED.values(), ids=REFUSED)
@pytest.mark.usefixtures("without_child")
def test_recipes_that_are_not_allowed_are_one_sentence(
    recipe: Any, message: str, command: str, make: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = make(recipe if isinstance(recipe, str) else json.dumps(recipe), tmp_path)
    assert main([command, str(path)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "recipe that this version cannot read: " in said.err
    assert message in said.err
    assert said.err.count("\n") == 1


@pytest.mark.parametrize("text", OLD.values(), ids=OLD)
def test_recipes_of_older_versions_are_read(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = as_png(text, tmp_path)
    recipe = read_recipe(path)
    known = json.loads(text)
    assert {name: recipe.values[name] for name in known} == known
    assert (recipe.bit_depth, recipe.num_threads, recipe.guidance_stop) == (8, 0, known.get("guidance_stop", 1.0))
    assert Recipe.from_json(recipe.to_json()) == recipe
    assert main(["restore", str(path)]) == 0
    assert f"--guidance-scale {known['guidance_scale']} " in capsys.readouterr().out
