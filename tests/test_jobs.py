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
from cxr.web.jobs import listeners
from cxr.web.jobs import table as jobs
from cxr.web.jobs.job import PAGE_REST_S, AnyJob, Job
from cxr.web.jobs.table import JobTable
from cxr.web.server.limits import BusyError
from cxr.web.server.visitors import Visitor

Work = Callable[[AnyJob], Generator[Any, None, None]]


@dataclass(frozen=True)
class State:
    stage: str
    number: int = 0


def short(job: AnyJob) -> Generator[State, None, None]:
    yield State("running")
    yield State("finished", 1)


def long(job: AnyJob) -> Generator[State, None, None]:
    """Runs until it is told to end, and packs."""
    number = 0
    while not job.halt.wait(0.01):
        yield State("running", number := number + 1)
    yield State("stopped", number)


def submit(table: JobTable, work: Work, visitor: Visitor | None = None) -> AnyJob:
    job: AnyJob = Job("order", visitor or Visitor())
    return table.submit(job, work(job))


async def follow(job: AnyJob) -> list[Any]:
    async with contextlib.aclosing(job.follow()) as states:
        return [state async for state in states]


def test_jobs_have_their_turns_one_after_the_other() -> None:
    table, active, most = JobTable(), 0, 0

    def work(job: AnyJob) -> Generator[State, None, None]:
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


def test_a_page_gets_a_few_states_a_second_and_the_last_one_at_once() -> None:
    table, seen = JobTable(), []

    async def follow_on_page(job: AnyJob) -> None:
        async with contextlib.aclosing(job.follow(on_page=True)) as states:
            async for state in states:
                seen.append((time.monotonic(), state))
                if sum(isinstance(one, State) for _, one in seen) == 3 and not stopped_s:
                    job.stop()
                    stopped_s.append(time.monotonic())

    stopped_s: list[float] = []
    asyncio.run(follow_on_page(submit(table, long)))
    running = [(when, state.number) for when, state in seen if isinstance(state, State) and state.stage == "running"]
    (first_s, first), (second_s, second) = running[:2]
    assert second_s - first_s >= PAGE_REST_S
    assert second > first + 1  # those between were passed over
    last_s, last = seen[-1]
    assert isinstance(last, State)
    assert last.stage == "stopped"
    assert last_s - stopped_s[0] < PAGE_REST_S


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

    def work(job: AnyJob) -> Generator[State, None, None]:
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

    def broken(job: AnyJob) -> Generator[State, None, None]:
        yield State("running")
        raise error

    with pytest.raises(type(error)):
        asyncio.run(follow(submit(table, broken)))
    assert asyncio.run(follow(submit(table, short)))[-1].stage == "finished"


def test_a_job_that_gives_way_goes_on_after_the_others() -> None:
    table, order = JobTable(), []

    def in_turns(job: AnyJob) -> Generator[State, None, None]:
        wait_until(job.others_wait)
        for turn in range(3):
            order.append(f"turn {turn}")
            yield State("waiting" if turn < 2 else "finished", turn)

    def other(job: AnyJob) -> Generator[State, None, None]:
        order.append("other")
        yield State("finished")

    async def both() -> None:
        job = submit(table, in_turns)
        await asyncio.gather(follow(job), follow(submit(table, other)))

    asyncio.run(both())
    assert order == ["turn 0", "other", "turn 1", "turn 2"]


def test_stopped_between_two_turns() -> None:
    table, closed = JobTable(), threading.Event()

    def gives_way(job: AnyJob) -> Generator[State, None, None]:
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
    monkeypatch.setattr(listeners, "UNHEARD_S", 0.2)
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


def test_a_page_that_is_loaded_again_finds_its_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listeners, "UNHEARD_S", 0.3)
    table = JobTable()
    table.is_watched = True

    async def leave(job: AnyJob) -> None:
        async with contextlib.aclosing(job.follow(on_page=True)) as states:
            async for state in states:
                if isinstance(state, State):
                    break

    kept = submit(table, long, Visitor("page"))
    asyncio.run(leave(kept))
    assert not kept.is_abandoned
    with table.listening("page loaded again"):
        assert table.return_to(kept.id, Visitor("page loaded again")) is kept
        time.sleep(0.5)
        assert not kept.has_ended
        assert table.count(Visitor("page loaded again")) == 1
        kept.stop()
        assert asyncio.run(follow(kept))[-1].stage == "stopped"
    assert table.return_to(kept.id, Visitor("later")) is kept  # and its results, once it has ended
    assert asyncio.run(follow(kept)) == [kept.state]
    left = submit(table, long, Visitor("gone"))
    asyncio.run(leave(left))
    wait_until(lambda: left.has_ended)
    assert left.is_abandoned
    assert table.find(left.id) is None


@pytest.mark.parametrize("job_id", [None, "", "x", 1, [], {}, "0" * 32, "\ud800"])
def test_other_ids_find_no_job(job_id: Any) -> None:
    table = JobTable()
    job = submit(table, short)
    wait_until(lambda: job.has_ended)
    assert table.return_to(job_id, Visitor()) is None


def test_results_are_kept_for_a_while_and_not_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "MAX_ENDED", 2)
    table = JobTable()
    ended = [submit(table, short) for _ in range(3)]
    wait_until(lambda: ended[-1].has_ended)
    assert [table.find(job.id) for job in ended] == [None, *ended[1:]]
    monkeypatch.setattr(jobs, "LIFETIME_S", 0.0)
    assert table.find(ended[-1].id) is None


def test_jobs_that_wait_know_their_place_and_time() -> None:
    table = JobTable()
    quick: AnyJob = Job("order", num_steps=1)
    table.submit(quick, short(quick))
    wait_until(lambda: quick.has_ended)  # from it the table knows how long a step takes
    jobs_of_page: list[AnyJob] = [Job("order", Visitor("page"), num_steps=1_000) for _ in range(3)]
    running, second, third = jobs_of_page
    for job in (running, second, third):
        table.submit(job, long(job))
    wait_until(lambda: running.state is not None)
    places: list[Any] = [second.waiting, third.waiting]
    assert [place.ahead for place in places] == [1, 2]
    assert 0 < places[0].seconds < places[1].seconds
    assert table.jobs_of(Visitor("page")) == [running, second, third]
    assert second.stop()  # one by one: the others stay
    assert asyncio.run(follow(second)) == []  # there never was a state
    assert not second.stop()
    wait_until(lambda: third.waiting is not None and third.waiting.ahead == 1)
    assert table.jobs_of(Visitor("page")) == [running, third]
    running.stop()
    wait_until(lambda: third.state is not None)
    table.close()


def test_the_page_hears_of_its_place_and_of_no_state_that_never_was() -> None:
    table = JobTable()
    running, waiting = (submit(table, long) for _ in range(2))

    async def hear() -> list[Any]:
        heard = []
        async with contextlib.aclosing(waiting.follow(on_page=True)) as states:
            async for state in states:
                heard.append(state)
                waiting.stop()
        return heard

    assert [state.ahead for state in asyncio.run(hear())] == [1]
    running.stop()
    table.close()
