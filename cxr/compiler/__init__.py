"""Clinical text -> findings and attributes -> each model's own form of prompt. No model and no download is needed."""

from cxr.compiler.read import parse_prompt
from cxr.compiler.records import Chip, CompiledPrompt, Finding, ParsedPrompt

__all__ = ["Chip", "CompiledPrompt", "Finding", "ParsedPrompt", "parse_prompt"]
