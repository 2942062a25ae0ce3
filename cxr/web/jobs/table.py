"""The jobs of all visitors: who waits, whose turn it is, and the one thread that uses the model.

A job is a generator of states, each with a ``stage``. The thread takes one state after the other; "finished" and
"stopped" are the last ones, and after "waiting" the job goes to the end of the queue. Followers of a job get its newest
state, so that a slow visitor holds nobody up.
"""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager

from cxr.request.errors import RequestError
from cxr.web.jobs.job import NO_STATES, OVER, AnyJob, Job, OrderT, State, StateT, Waiting
from cxr.web.jobs.listeners import Listeners
from cxr.web.server.limits import BUSY, MAX_QUEUE, BusyError, too_many
from cxr.web.server.temporary import LIFETIME_S
from cxr.web.server.visitors import Visitor

MAX_ENDED = 200  # jobs that are remembered


class JobTable:
    """All jobs that wait or run, in the order of their turns.

    Args:
        max_waiting: jobs that may wait.
        max_per_visitor: jobs of one visitor that may wait or run; 0 for no limit.
    """

    def __init__(self, max_waiting: int = MAX_QUEUE, max_per_visitor: int = 0) -> None:
        self.max_waiting, self.max_per_visitor = max_waiting, max_per_visitor
        self.is_watched = False  # whether the table learns who listens
        self.is_closed = False
        self._changed = threading.Condition()
        self._jobs: list[AnyJob] = []
        self._running: AnyJob | None = None  # one of them
        self._ended: dict[str, AnyJob] = {}  # as long as their files are kept
        self.step_s: float | None = None  # seconds of a denoising step in the last job that ended
        self._listeners = Listeners()
        self._thread: threading.Thread | None = None

    def check_room(self, visitor: Visitor) -> None:
        """Refuse another job of a visitor if there are too many jobs.

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
        return len(self.jobs_of(visitor)) if visitor else len(self._jobs)

    def jobs_of(self, visitor: Visitor) -> list[AnyJob]:
        """Jobs of a visitor that wait or run, in the order of their turns."""
        return [job for job in [*self._jobs] if job.visitor.is_same(visitor)]

    def find(self, job_id: object) -> AnyJob | None:
        """The job of an id, even if it ended recently."""
        job = next((job for job in [*self._jobs] if job.id == job_id), None) or self._ended.get(str(job_id))
        return job if job and (not job.has_ended or time.monotonic() - job.heard_s < LIFETIME_S) else None

    def return_to(self, job_id: object, visitor: Visitor) -> AnyJob | None:
        """The job of an id, which from now on belongs to the page that asks for it; None if there is none."""
        job = self.find(job_id)
        if job is None or job.error is not None:
            return None
        # The page that was left may still seem to follow it for a moment.
        job.visitor, job.heard_s, job.is_followed = visitor, time.monotonic(), False
        return job

    def submit(self, job: Job[OrderT, StateT], states: Generator[StateT, None, None]) -> Job[OrderT, StateT]:
        """Put a job at the end of the queue.

        Args:
            job: what was asked, and by whom.
            states: does the work; it runs in the table's thread.
        Raises:
            RequestError: there are too many jobs.
        """
        with self._changed:
            self.check_room(job.visitor)
            job.states, job.drop, job.others_wait = states, self._drop_waiting, lambda: len(self._jobs) > 1
            self._jobs.append(job)
            self._tell_waiting()
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, daemon=True, name="jobs")
                self._thread.start()
            self._changed.notify_all()
        return job

    def listening(self, name: str) -> AbstractContextManager[None]:
        """Somebody listens to what is sent to a session, or to one event by its id."""
        return self._listeners.listening(name, lambda: [*self._jobs])

    def end_event(self, event: str) -> bool:
        """End the job of an abandoned event; returns whether there is one."""
        jobs = [job for job in [*self._jobs] if event and job.visitor.ticket.event == event]
        for job in jobs:
            job.abandon()
        return bool(jobs)

    def end_unheard(self) -> None:
        """End the jobs that nobody has listened to for `UNHEARD_S`."""
        for job in self._listeners.unheard([*self._jobs]) if self.is_watched else ():
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

    def _drop_waiting(self, job: AnyJob) -> bool:
        with self._changed:
            if job is self._running or job not in self._jobs:
                return False
            self._jobs.remove(job)
            self._tell_waiting()
        job.states.close()
        job.publish(job.state, has_ended=True)
        return True

    def place_of(self, job: AnyJob) -> Waiting | None:
        """How many jobs are before one, and for how long, as of now; None if its first turn has come."""
        return next((place for one, place in self._places() if one is job), None)

    def _places(self) -> Iterator[tuple[AnyJob, Waiting]]:
        """The jobs whose first turn has not come, each with its place."""
        seconds: float | None = 0.0
        for ahead, job in enumerate([*self._jobs]):
            if job is not self._running and job.began_s is None:
                yield job, Waiting(ahead, seconds)
            left = job.seconds_left(self.step_s)
            seconds = None if seconds is None or left is None else seconds + left

    def _tell_waiting(self) -> None:
        for job, place in self._places():
            job.waiting = place
            job.wake()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._jobs or self.is_closed)
                if not self._jobs:
                    return
                job = self._running = self._jobs[0]
            job.began_s = job.began_s or time.monotonic()
            job.context.run(self._take_turn, job)

    def _take_turn(self, job: AnyJob) -> None:
        """Take states until the job is over or gives way."""
        state: State | None = None
        try:
            for state in job.states:
                if state.stage == "waiting" and not job.is_stopped:
                    self._end_turn(job, state, gives_way=True)
                    return
                if job.is_abandoned or state.stage in OVER:
                    break
                job.publish(state)
                self.end_unheard()
            job.states.close()
        except Exception as error:  # it is the follower's, also if it is a fault of the program
            job.error = error
        self._end_turn(job, state or job.state)

    def _end_turn(self, job: AnyJob, state: State | None, *, gives_way: bool = False) -> None:
        """Whoever sees the last state may ask for another job at once, so this one has left the table before."""
        with self._changed:
            self._running = None
            self._jobs.remove(job)
            if gives_way:
                self._jobs.append(job)
            elif not job.is_abandoned:
                self._keep(job, state)
            job.publish(state, has_ended=not gives_way)
            self._tell_waiting()

    def _keep(self, job: AnyJob, state: State | None) -> None:
        """Remember how fast a job was and, for a page that is loaded again, the job without what its work needed."""
        if job.num_steps and job.began_s and state is not None and state.stage == "finished":
            self.step_s = (time.monotonic() - job.began_s) / job.num_steps
        job.context, job.states = contextvars.Context(), NO_STATES
        self._ended[job.id] = job
        if len(self._ended) > MAX_ENDED:
            del self._ended[next(iter(self._ended))]
