"""The endpoints that read, compare and verify: a real server in this process, and the real client."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from hostile_pictures import GOOD_JPEG, GOOD_PNG, SIGNATURE, chunk, ihdr
from live_page import LivePage
from PIL import Image
from server_process import request

from cxr.images.reading import read_grey
from cxr.labels.regions import expected_region
from cxr.web.api.parameters import EXAMPLE_PROMPT
from cxr.web.jobs.compare_job import EQUAL

PROMPT = "A 55-year-old man with pleural effusion, PA view"


@pytest.fixture(scope="module")
def client(tiny_page: LivePage, tmp_path_factory: pytest.TempPathFactory) -> Client:
    return tiny_page.client(downloads=tmp_path_factory.mktemp("downloads"))


@pytest.fixture(scope="module")
def picture(client: Client) -> str:
    gallery, _, _ = client.predict(PROMPT, seed=7, num_inference_steps=2, api_name="/generate")
    return str(gallery[0]["image"])


def test_every_parameter_has_a_sentence_a_type_and_an_example(client: Client) -> None:
    endpoints = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert endpoints["/generate"]["parameters"][0]["example_input"] == EXAMPLE_PROMPT
    for name, endpoint in endpoints.items():
        assert len(endpoint["description"]) > 20, name
        for parameter in endpoint["parameters"]:
            assert len(parameter["python_type"]["description"]) > 8, (name, parameter)
            assert parameter["python_type"]["type"] not in ("Any", ""), (name, parameter)
            has_value = parameter["parameter_has_default"] or parameter["example_input"] is not None
            assert has_value, (name, parameter)
    assert endpoints["/generate"]["parameters"][2]["parameter_default"] is None  # the seed is drawn
    assert endpoints["/generate"]["parameters"][2]["python_type"]["type"] == "int | None"


@pytest.mark.parametrize("endpoint", ["generate", "parse"])
def test_the_examples_can_be_called(endpoint: str, client: Client) -> None:
    described = client.view_api(return_format="dict", print_info=False)["named_endpoints"][f"/{endpoint}"]
    values = {parameter["parameter_name"]: parameter["example_input"] for parameter in described["parameters"]}
    assert client.predict(**values, api_name=f"/{endpoint}")


def test_parse_tells_what_is_understood(client: Client) -> None:
    read = client.predict("A 60-year-old woman with cardiomegaly, no effusion, AP", api_name="/parse")
    assert (read["findings"], read["sex"], read["age"], read["view"]) == (["Cardiomegaly"], "F", 60, "AP")
    assert read["denied"] == ["pleural effusion"]
    assert {chip["kind"] for chip in read["chips"]} >= {"understood"}
    assert client.predict("picture of a cat", api_name="/parse")["findings"] is None


@pytest.mark.parametrize("prompt", ["", " ", "x" * 2_001, "a\x07b", 5, None, ["a"], {}, True])
def test_parse_refuses_what_is_no_prompt(prompt: Any, client: Client) -> None:
    with pytest.raises(AppError, match="prompt "):
        client.predict(prompt, api_name="/parse")


def test_models_names_the_one_that_answers(client: Client) -> None:
    listed = client.predict(api_name="/models")
    assert {"embedded"} <= {row["name"] for row in listed["models"]}
    assert all(row["license"] for row in listed["models"])
    assert listed["answering"]["model"] == "tiny"
    assert "/tmp" not in json.dumps(listed)


def test_restore_gives_the_settings_of_a_picture(client: Client, picture: str, tiny_page: LivePage) -> None:
    read = client.predict(handle_file(picture), api_name="/restore")
    assert read["differences"] == []
    assert read["recipe"]["seed"] == 7
    again, _, _ = client.predict(**read["settings"], api_name="/generate")
    assert Path(again[0]["image"]).read_bytes() == Path(picture).read_bytes()


def test_receipt_sets_asked_beside_seen(client: Client, picture: str) -> None:
    read = client.predict(handle_file(picture), api_name="/receipt")
    assert read["prompt"] == PROMPT
    assert {"sex", "view"} <= {row["label"] for row in read["rows"]}
    assert read["as_asked"] in (True, False, None)


def test_verify_makes_a_picture_again(client: Client, picture: str, tmp_path: Path) -> None:
    read = client.predict(handle_file(picture), api_name="/verify")
    assert read == {"is_same": True, "largest_difference": 0, "differences": []}
    with Image.open(picture) as image:
        levels, texts = np.array(image), image.text  # type: ignore[attr-defined]
    levels[3, 3] ^= 8
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    for key, text in texts.items():
        info.add_itxt(key, text)
    Image.fromarray(levels).save(tmp_path / "edited.png", pnginfo=info)
    read = client.predict(handle_file(tmp_path / "edited.png"), api_name="/verify")
    assert (read["is_same"], read["largest_difference"]) == (False, 8)


def test_detect_says_what_it_rests_on(client: Client, picture: str, tmp_path: Path) -> None:
    read = client.predict(handle_file(picture), api_name="/detect")
    assert read["verdict"] == "says that it is synthetic"
    assert {one["kind"] for one in read["evidence"]} == {"claim"}
    path = tmp_path / "a film of Jane Doe.jpg"
    path.write_bytes(GOOD_JPEG)
    read = client.predict(handle_file(path), api_name="/detect")
    assert read == {"verdict": "nothing found, which does not mean that it is real", "evidence": []}


@pytest.mark.parametrize("endpoint", ["detect", "restore", "receipt", "verify"])
@pytest.mark.parametrize(
    "value", [None, 1, "x", "/etc/passwd", [], {}, {"path": 5}, {"path": ""}, {"path": "/etc/passwd"}]
)
def test_what_is_no_picture_is_refused(endpoint: str, value: Any, client: Client) -> None:
    with pytest.raises(AppError, match=r"picture|file"):
        client.predict(value, api_name=f"/{endpoint}")


@pytest.mark.parametrize("endpoint", ["restore", "receipt", "verify"])
@pytest.mark.parametrize("content", [GOOD_PNG, GOOD_JPEG], ids=["png", "jpeg"])
def test_pictures_without_a_recipe_are_refused(endpoint: str, content: bytes, client: Client, tmp_path: Path) -> None:
    path = tmp_path / ("a.png" if content is GOOD_PNG else "a.jpg")
    path.write_bytes(content)
    with pytest.raises(AppError, match="holds no recipe"):
        client.predict(handle_file(path), api_name=f"/{endpoint}")


@pytest.mark.parametrize("endpoint", ["receipt", "verify"])
@pytest.mark.parametrize(
    ("size", "body", "message"),
    [
        (8, zlib.compress(b"\0" * 72), "the picture is 8 x 8 pixels, its recipe says 32 x 32"),
        (32, zlib.compress(b"\0" * 9), "the picture cannot be read as an image"),
        (9_999, zlib.compress(b"\0" * 9), "the picture is 9,999 x 9,999 pixels"),
    ],
    ids=["another size", "cut pixels", "huge"],
)
def test_a_recipe_with_another_picture_is_refused_without_its_place(
    endpoint: str, size: int, body: bytes, message: str, client: Client, picture: str, tmp_path: Path
) -> None:
    with Image.open(picture) as image:
        recipe = image.text["recipe"].encode()  # type: ignore[attr-defined]
    chunks = ihdr(size, size) + chunk(b"iTXt", b"recipe\0\0\0\0\0" + recipe) + chunk(b"IDAT", body)
    path = tmp_path / "other.png"
    path.write_bytes(SIGNATURE + chunks + chunk(b"IEND", b""))
    with pytest.raises(AppError, match=message) as refused:
        client.predict(handle_file(path), api_name=f"/{endpoint}")
    assert "/" not in str(refused.value)


def test_reading_deletes_the_upload_and_nothing_else(tiny_page: LivePage, client: Client, picture: str) -> None:
    example = client.predict(PROMPT, seed=1, num_inference_steps=1, api_name="/generate")[0][0]
    served = json.loads(request(f"{tiny_page.url}/config")[1])
    assert served
    for path in (example["image"], picture):
        client.predict(handle_file(path), api_name="/restore")
        assert Path(path).exists()
    data = json.dumps({"picture": {"path": picture, "meta": {"_type": "gradio.FileData"}}}).encode()
    url = f"{tiny_page.url}/gradio_api/call/v2/restore"
    status, answer = request(url, data, {"Content-Type": "application/json"})
    assert status == 422
    assert "was not uploaded to this page" in answer
    assert Path(picture).exists()


def test_compare_shows_the_difference_of_one_seed(client: Client) -> None:
    gallery, facts = client.predict(PROMPT, "A 55-year-old man with no findings, PA view", 5, api_name="/compare")
    assert [item["caption"] for item in gallery] == ["first", "second", "difference"]
    first, second, difference = (read_grey(Path(item["image"])).astype(int) for item in gallery)
    assert (difference == EQUAL + (second - first) // 2).all()
    assert facts["largest_difference"] == abs(second - first).max() > 0
    assert facts["first"]["seeds"] == facts["second"]["seeds"] == [5]
    same, facts = client.predict(PROMPT, api_name="/compare")
    assert (facts["largest_difference"], facts["mean_difference"]) == (0, 0.0)
    assert (read_grey(Path(same[2]["image"])) == EQUAL).all()


def test_compare_in_the_region_of_a_finding_leaves_the_rest(client: Client) -> None:
    pair = ("A man with effusion", "A man with no findings", 5)
    gallery, _ = client.predict(*pair, region=True, api_name="/compare")
    first, second, _ = (read_grey(Path(item["image"])).astype(int) for item in gallery)
    changed = expected_region(["Effusion"], *first.shape)
    assert changed is not None
    inside, outside = (np.abs(second - first)[place].mean() for place in (changed, ~changed))
    assert inside > 2 * outside  # where all changes, both are alike


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"region": 1}, "region is 1; use true or false"),
        ({"region": True}, "region cannot be made: both show the same findings"),
        ({"region": True, "other_prompt": "hernia"}, "region cannot be made: it is not known where Hernia"),
        (
            {"region": True, "other_prompt": "normal", "other_adapter_weight": 0.5},
            "other_adapter_weight changes the whole image; leave it out, or region",
        ),
        ({"prompt": ""}, "prompt is empty"),
        ({"other_prompt": 5}, "prompt is int"),
        ({"other_prompt": None}, "prompt is NoneType"),
        ({"seed": -1}, "seed is -1"),
        ({"adapter_weight": 9}, "adapter_weight is 9"),
        ({"other_adapter_weight": "much"}, "adapter_weight is 'much'"),
    ],
)
def test_compare_refuses_wrong_values(values: dict[str, Any], message: str, client: Client) -> None:
    with pytest.raises(AppError, match=message):
        client.predict(**{"prompt": PROMPT, **values}, api_name="/compare")
