"""YAML as people mean it: what YAML would read differently is refused, with its line."""

from __future__ import annotations

import re
from collections.abc import Hashable

import yaml

from cxr.request.errors import RequestError
from cxr.request.messages import shown
from cxr.request.setting import MAX_NUMBER_CHARACTERS


def parse_yaml(text: str, where: str) -> object:
    """What a text in YAML holds.

    Args:
        text: of a plan, or of a cell that begins like a list or a table.
        where: what messages begin with.
    Raises:
        RequestError: it is not YAML, or uses what `_PlainLoader` refuses.
    """
    try:
        return yaml.load(text, _PlainLoader)  # noqa: S506  it is a SafeLoader
    except _RefusedError as refused:
        raise RequestError(f"{where} {refused}") from refused
    except RecursionError as error:
        raise RequestError(f"{where} is not YAML: too many lists or tables inside one another") from error
    except (AttributeError, KeyError, TypeError) as error:  # !!bool 5, !!map [a]
        raise RequestError(
            f"{where} is not YAML: a value is not what its tag (!!name) says; leave out the tag"
        ) from error
    except (ValueError, yaml.YAMLError) as error:
        # ValueError: what looks like a date or a number and is none.
        reason = " ".join(str(error).split())[:200]
        raise RequestError(f"{where} is not YAML: {reason}") from error


class _PlainLoader(yaml.SafeLoader):
    """YAML without what people do not mean by it: references to other parts, keys that win over equal ones before
    them, and numbers of other bases, of which 010 is 8 and 1:30 is 90.
    """

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            raise _RefusedError(event, "a plan has no aliases (*name); write that part out")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, object]:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                raise _RefusedError(key_node, "<< takes keys over from elsewhere; write them out")
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                raise _RefusedError(key_node, "a list or table cannot be a name")
            if key in seen:
                raise _RefusedError(key_node, f"{shown(key)} appears a second time; keep one")
            seen.add(key)
        return super().construct_mapping(node, deep)

    def construct_plain_int(self, node: yaml.ScalarNode) -> int:
        text = node.value.replace("_", "")
        if not re.fullmatch(r"[+-]?(0|[1-9]\d*)", text):
            raise _RefusedError(
                node, f"{shown(node.value)} is not a plain number; write it with the digits 0 to 9, without a leading 0"
            )
        if len(text) > MAX_NUMBER_CHARACTERS:
            raise ValueError(f"line {node.start_mark.line + 1}: a number of {len(text)} digits is too large")
        return int(text)

    def construct_plain_float(self, node: yaml.ScalarNode) -> float:
        if ":" in node.value:
            raise _RefusedError(node, f"{shown(node.value)} is not a plain number; put text between quotes")
        return float(super().construct_yaml_float(node))


_PlainLoader.add_constructor("tag:yaml.org,2002:int", _PlainLoader.construct_plain_int)
_PlainLoader.add_constructor("tag:yaml.org,2002:float", _PlainLoader.construct_plain_float)


class _RefusedError(ValueError):
    """Valid YAML that nobody would mean, with its line."""

    def __init__(self, part: yaml.Node | yaml.Event, reason: str) -> None:
        assert part.start_mark is not None, "it was read from a text"
        super().__init__(f"line {part.start_mark.line + 1}: {reason}")
