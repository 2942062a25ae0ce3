"""Clinical text -> findings and attributes -> each model's own form of prompt. No model and no download is needed."""

from cxr.prompts.compilation import compile_prompt, estimate_tokens
from cxr.prompts.forms import FORMS, PromptForm, find_form
from cxr.prompts.inspection import asked_labels, denied_findings, labels_asked_by, misread_findings
from cxr.prompts.parsing import parse_prompt
from cxr.prompts.records import Chip, CompiledPrompt, Finding, Note, ParsedPrompt

__all__ = [
    "FORMS",
    "Chip",
    "CompiledPrompt",
    "Finding",
    "Note",
    "ParsedPrompt",
    "PromptForm",
    "asked_labels",
    "compile_prompt",
    "denied_findings",
    "estimate_tokens",
    "find_form",
    "labels_asked_by",
    "misread_findings",
    "parse_prompt",
]
