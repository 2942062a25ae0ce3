"""How each part of a report is measured: once for the same images, networks and program, with its notes or a reason."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cxr.evaluate.result_cache import ResultCache, library_versions
from cxr.evaluate.sets import Sets
from cxr.evaluate.tools import Tools
from cxr.metrics.result import Json

# The beginning of the sentence for a part that may be left out.
NOT_MEASURED = {
    "probes": "Denials and sides were not tested",
    "fidelity": "Prompt fidelity was not measured",
    "copies": "Copies were not looked for",
    "audit": "The judges were not audited",
    "utility": "Utility was not measured",
}


class NotMeasuredError(Exception):
    """Why a part of the report is left out."""


class Measuring:
    """Keeps what was measured, and what is to be said of it.

    Args:
        sets: what is compared.
        tools: what measures.
        limit: the most images that distances compare.

    Attributes:
        notes: sentences for the reader, from the parts measured so far.
        reasons: why a part was not measured, by its name.
    """

    def __init__(self, sets: Sets, tools: Tools, limit: int | None = None) -> None:
        self.sets, self.tools, self.limit = sets, tools, limit
        self.notes: list[str] = []
        self.reasons: dict[str, str] = {}
        self.results = ResultCache(tools.cache, sorted(f"{k} {v}" for k, v in library_versions().items()))

    def measure(self, compute: Callable[..., object], *arguments: object, settings: Sequence[str] = ()) -> Json:
        """A part of the report as plain values, with its notes; one that was measured before is not measured again.

        Args:
            compute: a method of this object, whose name is that of the part.
            arguments: of the method.
            settings: what the part depends on besides the images and networks of all parts.
        """
        name = compute.__name__

        def computed() -> dict[str, object]:
            before, self.notes = self.notes, []
            value, reasons = None, {}
            try:
                value = compute(*arguments)
            except NotMeasuredError as error:
                reasons[name] = str(error)
                self.notes.append(f"{NOT_MEASURED[name]}: {error}")
            notes, self.notes = self.notes, before
            return {"value": value, "notes": notes, "reasons": reasons}

        networks = [one.id for one in self.tools.extractors] + [judge.sha256 for judge in self.tools.judges.values()]
        found = self.results.get(name, [*self.sets.identities, *networks, str(self.limit), *settings], computed)
        self.notes += found["notes"]
        self.reasons |= found["reasons"]
        return found["value"]
