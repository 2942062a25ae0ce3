"""How long images take here, remembered by their settings."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cxr.dataset.plan import Plan
from cxr.web.jobs.model_choice import ModelChoice, load_model_for

if TYPE_CHECKING:
    from cxr.dataset.estimate import Estimate

Kind = tuple[float, ...]


@dataclass(frozen=True)
class Measured:
    """The only state of a job that measures."""

    estimate: Estimate
    stage: str = "finished"


class Pace:
    """Seconds and bytes of an image of each kind of settings that has been measured."""

    def __init__(self) -> None:
        self._each: dict[Kind, tuple[float, float]] = {}

    def known(self, plan: Plan) -> Estimate | None:
        """What the plan takes, if such images have been measured."""
        if not self._each:
            return None  # and torch need not be loaded to say so
        from cxr.dataset.estimate import Estimate

        each = [self._each.get(kind) for kind in self._kinds(plan)]
        known = [one for one in each if one is not None]
        if len(known) < len(each):
            return None
        return Estimate(len(known), sum(seconds for seconds, _ in known), int(sum(size for _, size in known)))

    def measure(self, plan: Plan, choice: ModelChoice) -> Generator[Measured, None, None]:
        """Make a few of the plan's images to see what it takes, as a job.

        Raises:
            CxrError: no model, or none of the images could be made.
        """
        from cxr.dataset.estimate import estimate

        taken = estimate(plan, load_model_for(choice))
        kinds = set(self._kinds(plan))
        if len(kinds) == 1:
            self._each[kinds.pop()] = taken.seconds / taken.num_images, taken.size_bytes / taken.num_images
        yield Measured(taken)

    def _kinds(self, plan: Plan) -> list[Kind]:
        from cxr.generate.images import shared_settings

        return [shared_settings(image.request) for image in plan.images]
