"""How long images take here and how large they are, remembered by their settings."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cxr.dataset.plan import Plan
from cxr.web.jobs.model_choice import ModelChoice, load_model_for

if TYPE_CHECKING:
    from cxr.dataset.estimate import Cost, Estimate, Kind


@dataclass(frozen=True)
class Measured:
    """The only state of a measuring job, whose result goes into `Pace`."""

    stage: str = "finished"


class Pace:
    """What an image costs, for each kind of settings that has been measured."""

    def __init__(self) -> None:
        self._costs: dict[Kind, Cost] = {}
        self._receipt_s = 0.0  # to read what is seen in an image

    def known(self, plan: Plan, form: str) -> Estimate | None:
        """What the plan takes a model of that form, if images of all its kinds have been measured."""
        if not self._costs:
            return None  # and torch need not be loaded to say so
        from cxr.dataset.estimate import add_up, kinds_of

        if not self._costs.keys() >= {*kinds_of(plan, form)}:
            return None
        taken = add_up(plan, form, self._costs)
        return replace(taken, seconds=taken.seconds + self._receipt_s * taken.num_images)

    def measure(self, plan: Plan, choice: ModelChoice) -> Generator[Measured, None, None]:
        """Make a few of the plan's images to see what it takes, as a job.

        Raises:
            CxrError: no model, or none of the images could be made.
        """
        model = load_model_for(choice)
        from cxr.dataset.estimate import measure_costs
        from cxr.web.jobs.package import measure_receipt

        self._costs |= measure_costs(plan, model)
        self._receipt_s = self._receipt_s or measure_receipt(plan.images[0].request.prompt)
        yield Measured()
