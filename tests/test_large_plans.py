"""Plans of a megabyte: refused by their size and rows before they are spelled out, and beside the model's queue."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable

import pytest
from live_page import LivePage
from server_process import request, wait_until

from cxr.dataset.plan import Plan
from cxr.request.errors import RequestError
from cxr.web.api import dataset_endpoints
from cxr.web.jobs.plan_text import MAX_TEXT_BYTES, plan_of_fields, plan_of_text

MOST = 1_000  # images, as on a machine of one's own
MAX_S = 3.0  # of this process; what is refused here took 10 s and more when it was spelled out
JSON = {"Content-Type": "application/json"}
SETTINGS, SHARES = [8, 1.5, 0.7, 1.0, 8], [1, 0, 0]


def filled(unit: str, head: str = "", tail: str = "") -> str:
    """A plan of nearly as many bytes as are taken."""
    room = MAX_TEXT_BYTES - len(head) - len(tail)
    return head + unit * (room // len(unit)) + tail


def columns(first: str, name: Callable[[int], str], count: int) -> str:
    return f"{first},{','.join(map(name, range(count)))}\n"


PLANS = {
    "a list of prompts": (filled("- normal\n", "prompts:\n"), "has .* lines, commas and brackets"),
    "a list in brackets": (filled("a,", "prompts: [", "]"), "commas and brackets"),
    "lists in lists": (filled("["), "commas and brackets"),
    "tables in tables": (filled("{a: "), "commas and brackets"),
    "dashes": (filled("- "), "commas and brackets"),
    "steps inwards": ("prompts:\n" + "".join(f"{' ' * depth}-\n" for depth in range(1, 1_390)), "inside one another"),
    "a text": (filled("x", "name: "), "asks for no image"),
    "a text of line breaks": (filled("x\n\n", 'name: "', '"'), "commas and brackets"),
    "a text of escapes": (filled("\\u0041", 'name: "', '"'), "asks for no image"),
    "a number": (filled("1", "seed: "), "a number of .* digits is too large"),
    "a number of base 60": (filled("1:", "seed: ", "1"), "is not a plain number"),
    "a comment": (filled("#", "name: x\n"), "asks for no image"),
    "comments": (filled("#\n", "name: x\n"), "commas and brackets"),
    "a tag": (filled("a", "name: !"), "could not determine a constructor"),
    "many splits": ("prompts: [x]\nsplit: {" + ", ".join(f"s{k}: 1" for k in range(18_000)) + "}", "commas and"),
    "many templates": ("templates: [" + "'{age}'," * 100_000 + "]\ncohort: [{findings: Mass}]", "commas and brackets"),
    "a list of findings": (filled("Mass+", "cohort: [{findings: '", "Bass'}]"), "use Atelectasis, .* joined by"),
    "an age": (filled("4", "cohort: [{findings: Mass, age: '", "'}]"), "age is '4{59}…; use years"),
    "rows of prompts": (filled("normal\n", "prompt\n"), "has .* rows, each of one image or more; use at most 1,000"),
    "rows of a cohort": (
        filled("Mass,1\n", "findings,count\n"),
        "has .* rows, each of one image or more; use at most 1,000",
    ),
    "empty rows": (filled("\n", "prompt\n"), "holds no prompts"),
    "a cell": (filled("x", 'prompt\n"', '"'), "field larger than field limit"),
    "a list in a cell": ('findings,count\n"[' + "Mass," * 26_000 + '],",1\n', "commas and brackets"),
    "columns": (columns("prompt", "c{}".format, 130_000), "holds no prompts"),
    "columns of one name": (columns("prompt", lambda k: "a", 490_000), "has 490,?000 columns “a”; keep one"),
    "columns of a cohort": (columns("findings", "c{}".format, 130_000), r"not used: c0, c1, .{100,200}…; use"),
}


@pytest.mark.parametrize("name", PLANS)
@pytest.mark.slow
def test_a_plan_of_a_megabyte_is_refused_at_once(name: str) -> None:
    text, message = PLANS[name]
    began_s = time.process_time()
    with pytest.raises(RequestError, match=message) as caught:
        plan_of_text(text, MOST)
    assert time.process_time() - began_s < MAX_S
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"findings": "Mass"}] * 20_000, "has 20,000 rows, each of one image or more; use at most 1,000"),
        ([{"findings": "Mass", "age": "[" + "5," * 30_000 + "]"}], "commas and brackets"),
        ([{"findings": "Mass", "sex": filled("{F: ")}], "commas and brackets"),
    ],
)
def test_a_table_of_the_page_likewise(rows: list[dict[str, str]], message: str) -> None:
    began_s = time.process_time()
    with pytest.raises(RequestError, match=message):
        plan_of_fields(rows, "x", 0, SETTINGS, SHARES, MOST)
    assert time.process_time() - began_s < MAX_S


def test_whoever_asks_for_something_else_does_not_wait_for_a_plan(
    empty_page: LivePage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two plans are read at a time, the third waits; neither the model's queue nor the server's loop does."""
    entered, go_on = threading.Semaphore(0), threading.Event()

    def read_slowly(text: object, max_images: int) -> Plan:
        entered.release()
        assert go_on.wait(30)
        return plan_of_text(text, max_images)

    monkeypatch.setattr(dataset_endpoints, "plan_of_text", read_slowly)

    def call(endpoint: str, **values: object) -> str:
        _, answer = request(f"{empty_page.url}/gradio_api/call/v2/{endpoint}", json.dumps(values).encode(), JSON)
        return f"call/{endpoint}/{json.loads(answer)['event_id']}"

    try:
        plans = [call("dataset", plan="prompts: []") for _ in range(dataset_endpoints.PLANS_AT_ONCE + 1)]
        for _ in range(dataset_endpoints.PLANS_AT_ONCE):
            assert entered.acquire(timeout=20)
        assert not entered.acquire(timeout=0.3), "a third is read"
        assert empty_page.jobs.count() == 0
        with empty_page.listen(call("parse", prompt="effusion")) as stream:
            assert b"event: complete" in stream.read()
        go_on.set()
        with empty_page.listen(plans[-1]) as stream:
            assert b"asks for no image" in stream.read()
        wait_until(lambda: empty_page.jobs.count() == 0)
    finally:
        go_on.set()
