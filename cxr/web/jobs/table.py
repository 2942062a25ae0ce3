"""The jobs of all visitors: who waits, whose turn it is, and the one thread that uses the model.

A job is a generator of states, each with a ``stage``. The thread takes one state after the other; "finished" and
"stopped" are the last ones, and after "waiting" the job goes to the end of the queue. Whoever follows a job gets its
newest state, so that a slow visitor holds nobody up.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import secrets
import threading
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from dataclasses import dataclass, field
from typing import Any

from cxr.request.errors import RequestError
from cxr.web.server.limits import BUSY, MAX_QUEUE, BusyError, too_many
from cxr.web.server.visitors import Visitor

OVER = ("finished", "stopped")
UNHEARD_S = 60.0  # a job that nobody has listened to for so long ends


@dataclass(eq=False)
class Job:
    """Work for the model, what is known about it, and the wish to end it.

    Args:
        order: what was asked for.
        visitor: who asked.
        halt: once set, the work that is under way ends within one denoising step.
        is_stopped: the job itself is to end, and not only its turn.
        is_abandoned: nobody wants its results.
        others_wait: whether other jobs wait for the model.
        state: the newest one, None before the first.
        error: what it ended with instead of a last state.
    """

    order: Any = None
    visitor: Visitor = field(default_factory=Visitor)
    id: str = field(default_factory=lambda: secrets.token_hex(16))
    halt: threading.Event = field(default_factory=threading.Event)
    is_stopped: bool = False
    is_abandoned: bool = False
    has_ended: bool = False
    is_followed: bool = False
    others_wait: Callable[[], bool] = lambda: False
    state: Any = None
    error: BaseException | None = None
    heard_s: float = field(default_factory=time.monotonic)

    _states: Generator[Any, None, None] = field(init=False, repr=False)
    _table: JobTable | None = field(default=None, init=False, repr=False)
    _followers: list[Callable[[], None]] = field(default_factory=list, init=False, repr=False)
    # Gradio keeps the current request in context variables, and ZeroGPU reads it there.
    _context: contextvars.Context = field(default_factory=contextvars.copy_context, init=False, repr=False)

    def stop(self) -> bool:
        """Ask it to end within one denoising step; what is finished is kept. Returns whether it waited, and is over."""
        self.is_stopped = True
        self.halt.set()
        return self._table is not None and self._table._drop_waiting(self)

    def abandon(self) -> None:
        """End it as soon as possible; nobody wants its results."""
        self.is_abandoned = True
        self.stop()

    async def follow(self) -> AsyncGenerator[Any, None]:
        """Every state from now on, the newest where several have come at once; closing it abandons the job.

        Raises:
            CxrError: the job ended with it.
        """
        loop, news, seen = asyncio.get_running_loop(), asyncio.Event(), None

        def wake() -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
                loop.call_soon_threadsafe(news.set)

        self.is_followed = True
        self._followers.append(wake)
        try:
            while True:
                news.clear()
                has_ended, state = self.has_ended, self.state  # in this order: the last state is set before the end
                if state is not seen:
                    yield (seen := state)
                if has_ended:
                    break
                await news.wait()
            if self.error is not None:
                raise self.error
        finally:
            self._followers.remove(wake)
            if not self.has_ended:
                self.abandon()

    def _publish(self, state: Any, *, has_ended: bool = False) -> None:
        self.state, self.has_ended = state, has_ended
        for wake in [*self._followers]:
            wake()


class JobTable:
    """All jobs that wait or run, in the order of their turns.

    Args:
        max_waiting: jobs that may wait.
        max_per_visitor: jobs of one visitor that may wait or run; 0 for no limit.
    """

    def __init__(self, max_waiting: int = MAX_QUEUE, max_per_visitor: int = 0) -> None:
        self.max_waiting, self.max_per_visitor = max_waiting, max_per_visitor
        self.is_watched = False  # whether something tells who listens
        self.is_closed = False
        self._changed = threading.Condition()
        self._jobs: list[Job] = []
        self._running: Job | None = None  # one of them
        self._listeners: Counter[str] = Counter()
        self._thread: threading.Thread | None = None

    def check_room(self, visitor: Visitor) -> None:
        """Refuse another job of a visitor, if there are too many.

        Raises:
            RequestError: of this visitor, or of all.
        """
        self.end_unheard()
        if 0 < self.max_per_visitor <= self.count(visitor):
            raise RequestError(too_many(self.max_per_visitor))
        if self.is_closed or self.count() > self.max_waiting:  # one of them has its turn
            raise BusyError(BUSY)

    def count(self, visitor: Visitor | None = None) -> int:
        """Jobs that wait or run, of one visitor or of all."""
        return sum(1 for job in [*self._jobs] if visitor is None or job.visitor.is_same(visitor))

    def submit(self, job: Job, states: Generator[Any, None, None]) -> Job:
        """Put a job at the end of the queue.

        Args:
            job: what was asked, and by whom.
            states: does the work; it runs in the table's thread.
        Raises:
            RequestError: there are too many jobs.
        """
        with self._changed:
            self.check_room(job.visitor)
            job._table, job._states, job.others_wait = self, states, lambda: len(self._jobs) > 1
            self._jobs.append(job)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, daemon=True, name="jobs")
                self._thread.start()
            self._changed.notify_all()
        return job

    @contextlib.contextmanager
    def listening(self, name: str) -> Iterator[None]:
        """Somebody listens to what is sent to a session, or to one event by its id."""
        self._listeners[name] += 1
        try:
            yield
        finally:
            self._note_listeners()
            self._listeners[name] -= 1
            self._listeners += Counter()  # forgets those that nobody listens to

    def end_event(self, event: str) -> bool:
        """End the job of an event, which nobody wants any more; returns whether there is one."""
        jobs = [job for job in [*self._jobs] if event and job.visitor.ticket.event == event]
        for job in jobs:
            job.abandon()
        return bool(jobs)

    def end_unheard(self) -> None:
        """End the jobs that nobody has listened to for `UNHEARD_S`."""
        self._note_listeners()
        for job in [*self._jobs] if self.is_watched else ():
            if time.monotonic() - job.heard_s > UNHEARD_S:
                job.abandon()

    def close(self) -> None:
        """Take no more jobs, end all, and wait for the one at the model: its thread must not outlive the program."""
        with self._changed:
            self.is_closed = True
            self._changed.notify_all()
        for job in [*self._jobs]:
            job.abandon()
        if self._thread is not None:
            self._thread.join()

    def _note_listeners(self) -> None:
        for job in [*self._jobs]:
            if self._listeners[job.visitor.session] or self._listeners[job.visitor.ticket.event]:
                job.heard_s = time.monotonic()

    def _drop_waiting(self, job: Job) -> bool:
        with self._changed:
            if job is self._running or job not in self._jobs:
                return False
            self._jobs.remove(job)
        job._states.close()
        job._publish(job.state, has_ended=True)
        return True

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._jobs:
                    if self.is_closed:
                        return
                    self._changed.wait()
                job = self._running = self._jobs[0]
            job._context.run(self._take_turn, job)

    def _take_turn(self, job: Job) -> None:
        """Take states until the job is over or gives way."""
        state: Any = None
        try:
            for state in job._states:
                if state.stage == "waiting" and not job.is_stopped:
                    self._end_turn(job, state, gives_way=True)
                    return
                if job.is_abandoned or state.stage in OVER:
                    break
                job._publish(state)
                self.end_unheard()
            job._states.close()
        except Exception as error:  # it is the follower's, also if it is a fault of the program
            job.error = error
        self._end_turn(job, state or job.state)

    def _end_turn(self, job: Job, state: Any, *, gives_way: bool = False) -> None:
        """Whoever sees the last state may ask for another job at once, so this one has left the table before."""
        with self._changed:
            self._running = None
            self._jobs.remove(job)
            if gives_way:
                self._jobs.append(job)
            job._publish(state, has_ended=not gives_way)
