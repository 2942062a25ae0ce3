"""The job table by itself: turns, stops, errors, who follows and who listens; the work is plain generators."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

import pytest
from server_process import wait_until

from cxr.request.errors import GenerationError, RequestError
from cxr.web.jobs import table as jobs
from cxr.web.jobs.table import Job, JobTable
from cxr.web.server.limits import BusyError
from cxr.web.server.visitors import Visitor

Work = Callable[[Job], Generator[Any, None, None]]


@dataclass(frozen=True)
class State:
    stage: str
    number: int = 0


def short(job: Job) -> Generator[State, None, None]:
    yield State("running")
    yield State("finished", 1)


def long(job: Job) -> Generator[State, None, None]:
    """Runs until it is told to end, and packs."""
    number = 0
    while not job.halt.wait(0.01):
        yield State("running", number := number + 1)
    yield State("stopped", number)


def submit(table: JobTable, work: Work, visitor: Visitor | None = None) -> Job:
    job = Job("order", visitor or Visitor())
    return table.submit(job, work(job))


async def follow(job: Job) -> list[Any]:
    async with contextlib.aclosing(job.follow()) as states:
        return [state async for state in states]


def test_jobs_have_their_turns_one_after_the_other() -> None:
    table, active, most = JobTable(), 0, 0

    def work(job: Job) -> Generator[State, None, None]:
        nonlocal active, most
        active += 1
        most = max(most, active)
        yield State("running")
        time.sleep(0.01)
        active -= 1
        yield State("finished")

    async def all_at_once() -> list[list[Any]]:
        return await asyncio.gather(*(follow(submit(table, work)) for _ in range(8)))

    assert [states[-1].stage for states in asyncio.run(all_at_once())] == ["finished"] * 8
    assert (most, table.count()) == (1, 0)


def test_who_sees_the_last_state_may_ask_for_another_job() -> None:
    table = JobTable(max_per_visitor=1)
    visitor = Visitor("session", "8.8.8.8")

    async def one_after_the_other() -> None:
        for _ in range(100):
            async for state in submit(table, short, visitor).follow():
                if state.stage == "finished":
                    table.check_room(visitor)

    asyncio.run(one_after_the_other())


def test_limits_for_one_visitor_and_for_all() -> None:
    table = JobTable(max_waiting=2, max_per_visitor=2)
    mine = [submit(table, long, Visitor(session, "8.8.8.8")) for session in "ab"]
    with pytest.raises(RequestError, match="you have 2 requests at the model already"):
        submit(table, short, Visitor("c", "8.8.8.8"))
    with pytest.raises(RequestError, match="you have 2 requests"):
        table.check_room(Visitor("b", "8.8.8.8"))
    submit(table, short, Visitor("d", "8.8.4.4"))
    with pytest.raises(BusyError, match="queue is full"):
        submit(table, short, Visitor("e", "8.8.4.5"))
    for job in mine:
        job.abandon()
    wait_until(lambda: table.count() == 0)


def test_the_newest_state_is_what_a_late_follower_sees() -> None:
    table = JobTable()
    job = submit(table, short)
    wait_until(lambda: job.has_ended)
    assert asyncio.run(follow(job)) == [State("finished", 1)]


def test_stopping_keeps_what_is_finished_and_a_job_that_waits_is_over_at_once() -> None:
    table = JobTable()
    first, second = (submit(table, long) for _ in range(2))
    wait_until(lambda: first.state is not None)
    assert second.stop()
    assert (second.has_ended, second.state) == (True, None)
    assert not first.stop()
    assert asyncio.run(follow(first))[-1].stage == "stopped"
    assert asyncio.run(follow(second)) == []


def test_closing_what_follows_a_job_ends_it() -> None:
    table, closed = JobTable(), threading.Event()

    def work(job: Job) -> Generator[State, None, None]:
        try:
            while True:
                time.sleep(0.01)
                yield State("running")
        finally:
            closed.set()

    async def leave_early() -> None:
        async with contextlib.aclosing(submit(table, work).follow()) as states:
            async for _ in states:
                break

    asyncio.run(leave_early())
    assert closed.wait(5)
    wait_until(lambda: table.count() == 0)


@pytest.mark.parametrize("error", [GenerationError("it is flat"), KeyError("a fault")])
def test_an_error_is_the_follower_s_and_the_table_goes_on(error: Exception) -> None:
    table = JobTable()

    def broken(job: Job) -> Generator[State, None, None]:
        yield State("running")
        raise error

    with pytest.raises(type(error)):
        asyncio.run(follow(submit(table, broken)))
    assert asyncio.run(follow(submit(table, short)))[-1].stage == "finished"


def test_a_job_that_gives_way_goes_on_after_the_others() -> None:
    table, order = JobTable(), []

    def in_turns(job: Job) -> Generator[State, None, None]:
        wait_until(job.others_wait)
        for turn in range(3):
            order.append(f"turn {turn}")
            yield State("waiting" if turn < 2 else "finished", turn)

    def other(job: Job) -> Generator[State, None, None]:
        order.append("other")
        yield State("finished")

    async def both() -> None:
        job = submit(table, in_turns)
        await asyncio.gather(follow(job), follow(submit(table, other)))

    asyncio.run(both())
    assert order == ["turn 0", "other", "turn 1", "turn 2"]


def test_stopped_between_two_turns() -> None:
    table, closed = JobTable(), threading.Event()

    def gives_way(job: Job) -> Generator[State, None, None]:
        try:
            while not job.is_stopped:
                yield State("waiting")
        finally:
            closed.set()

    job, other = submit(table, gives_way), submit(table, long)
    wait_until(lambda: other.state is not None)
    assert job.stop()
    assert closed.is_set()
    assert job.state == State("waiting")
    other.abandon()


def test_a_job_without_a_listener_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "UNHEARD_S", 0.2)
    table = JobTable()
    unwatched = submit(table, long, Visitor("page"))
    time.sleep(0.4)
    assert not unwatched.has_ended, "nothing tells who listens"
    table.is_watched = True
    wait_until(lambda: unwatched.has_ended)
    with table.listening("page"):
        job = submit(table, long, Visitor("page"))
        time.sleep(0.4)
        assert not job.has_ended
    wait_until(lambda: job.has_ended)


def test_closing_the_table_frees_the_model() -> None:
    table = JobTable()
    first, second = (submit(table, long) for _ in range(2))
    table.close()
    assert first.has_ended
    assert second.has_ended
    with pytest.raises(BusyError):
        submit(table, short)
