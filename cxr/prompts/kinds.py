"""Kinds of tags, in the groups by which the grammar asks for them.

Most kinds are named after the word list that a phrase stands in (``cues.txt``); marks are "comma" (also brackets and
dashes), "is" (a colon or equals sign), "part" (a semicolon, bar or line end), "sentence" and "question".
"""

from __future__ import annotations

REACH = 40  # tags; nothing is looked for farther away, so that the time grows with the length of the text only

MODIFIERS = frozenset({"side", "severity", "location"})
DESCRIPTIVE = frozenset({"descriptor", "status", "acute"})
CLAUSE_ENDS = frozenset({"comma", "break", "exception", "means"})
SEPARATORS = CLAUSE_ENDS | {"and", "or", "versus"}
HEADS = frozenset({"finding", "abnormality", "normal", "symptom"})  # what a cue before it speaks of
NAMING = HEADS | {"unknown", "elsewhere", "structure", "circumstance", "procedure"}  # what an item of a list names
# What says that a finding is absent, possible, past or only supposed; "either way" before it or behind it.
CUES = frozenset(
    {"negation", "foreign negation", "doubt", "history", "supposition", "negation either way", "doubt either way"}
)
CUES_BEHIND = frozenset({"negated before", "doubted before", "supposed before", "history before"})
