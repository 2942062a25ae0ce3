"""The name under which programs of before 0.7 import the prompt compiler; it lives in `cxr.prompts`."""

from cxr.prompts import compile_prompt, parse_prompt

__all__ = ["compile_prompt", "parse_prompt"]
