"""Follow the program inside a PyTorch checkpoint without running it: only what saved tensors need is understood.

A pickle is a small program for a stack machine, which can call anything. Here its instructions are only read, by the
standard library's disassembler; names are compared with a short list and never imported, and what a call would make is
put together from plain dictionaries and numbers. Anything else is refused.
"""

from __future__ import annotations

import itertools
import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from cxr.request.errors import AdapterError

MAX_INSTRUCTIONS = 1_500_000  # a saved tensor takes about 40
# torch's storages of floating-point numbers, as safetensors calls their kind.
STORAGES = {
    "torch FloatStorage": "F32",
    "torch HalfStorage": "F16",
    "torch BFloat16Storage": "BF16",
    "torch DoubleStorage": "F64",
}
ORDERED_DICT = "collections OrderedDict"
REBUILD_PARAMETER = "torch._utils _rebuild_parameter"
REBUILD_TENSOR = ("torch._utils _rebuild_tensor", "torch._utils _rebuild_tensor_v2")
ALLOWED = {*STORAGES, ORDERED_DICT, REBUILD_PARAMETER, *REBUILD_TENSOR}


@dataclass(frozen=True)
class Name:
    """A name that the program may use; nothing is imported."""

    text: str


@dataclass(frozen=True)
class Storage:
    """A block of numbers that lies elsewhere in the checkpoint."""

    key: str
    dtype: str
    num_elements: int


@dataclass(frozen=True)
class SavedTensor:
    """A view of a storage; offset and strides count elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Mark:
    """Where a list of arguments on the stack begins."""


def follow(data: BytesIO) -> Any:
    """What the program at the stream's position would leave behind; the stream then stands behind the program.

    Returns:
        Numbers, texts, tuples, lists, dictionaries with text keys, `SavedTensor` and `Storage`.
    Raises:
        AdapterError: it uses anything else, or is damaged.
    """
    machine = _Machine()
    try:
        for opcode, argument, _ in itertools.islice(pickletools.genops(data), MAX_INSTRUCTIONS):
            if opcode.name == "STOP":
                return machine.pop()
            machine.step(opcode.name, argument)
    except AdapterError:
        raise
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise AdapterError("is damaged: its description of the tensors cannot be followed") from error
    raise AdapterError(f"has more than {MAX_INSTRUCTIONS:,} instructions")


class _Machine:
    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self._other: dict[str, Callable[[Any], None]] = {
            "GLOBAL": lambda text: self.stack.append(_allowed(text)),
            "STACK_GLOBAL": self._stack_global,
            "BINPERSID": lambda _: self.stack.append(_storage(self.pop())),
            "REDUCE": self._reduce,
            "BUILD": lambda _: self._build(),
            "APPEND": lambda _: self._append([self.pop()]),
            "APPENDS": lambda _: self._append(self._since_mark()),
            "SETITEM": lambda _: self._set_items([self.pop(), self.pop()][::-1]),
            "SETITEMS": lambda _: self._set_items(self._since_mark()),
            "TUPLE": lambda _: self.stack.append(tuple(self._since_mark())),
            "MEMOIZE": lambda _: self._remember(len(self.memo)),
        }

    def pop(self) -> Any:
        value = self.stack.pop()
        if isinstance(value, _Mark):
            raise ValueError("an argument is missing")
        return value

    def step(self, opcode: str, argument: Any) -> None:
        if opcode in {"PROTO", "FRAME"}:
            return
        if opcode in {"BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE"}:
            self.stack.append(argument)
        elif opcode in _CONSTANTS:
            self.stack.append(_CONSTANTS[opcode]())
        elif opcode in {"BINPUT", "LONG_BINPUT"}:
            self._remember(argument)
        elif opcode in {"BINGET", "LONG_BINGET"}:
            self.stack.append(self.memo[argument])
        elif opcode in {"TUPLE1", "TUPLE2", "TUPLE3"}:
            self.stack.append(tuple([self.pop() for _ in range(int(opcode[-1]))][::-1]))
        elif opcode in self._other:
            self._other[opcode](argument)
        else:
            raise AdapterError(f"uses the pickle instruction {opcode}, which saved tensors do not need")

    def _remember(self, place: int) -> None:
        value = self.pop()
        self.stack.append(value)
        self.memo[place] = value

    def _since_mark(self) -> list[Any]:
        values = []
        while not isinstance(value := self.stack.pop(), _Mark):
            values.append(value)
        return values[::-1]

    def _stack_global(self, _: Any) -> None:
        name, module = self.pop(), self.pop()
        self.stack.append(_allowed(f"{module} {name}"))

    def _reduce(self, _: Any) -> None:
        arguments, name = self.pop(), self.pop()
        if not isinstance(name, Name) or not isinstance(arguments, tuple):
            raise AdapterError("calls something that is not a name of saved tensors")
        self.stack.append(_result(name.text, arguments))

    def _build(self) -> None:
        state, target = self.pop(), self.pop()
        # torch hangs version numbers on the dictionary of a module's weights; they are of no use here.
        if type(target) is not dict or type(state) is not dict:
            raise AdapterError("sets attributes of something that is not a dictionary of tensors")
        self.stack.append(target)

    def _append(self, values: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not list:
            raise ValueError("not a list")
        target.extend(values)

    def _set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not dict or len(items) % 2:
            raise ValueError("not a dictionary")
        _fill(target, zip(items[::2], items[1::2], strict=True))


_CONSTANTS: dict[str, Callable[[], Any]] = {
    "MARK": _Mark,
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
}


def _allowed(text: Any) -> Name:
    if text not in ALLOWED:
        raise AdapterError(f"uses {str(text)[:80].replace(' ', '.')!r}, which saved tensors do not need")
    return Name(text)


def _result(name: str, arguments: tuple[Any, ...]) -> Any:
    """What a call of an allowed name would give."""
    if name == ORDERED_DICT:
        found: dict[str, Any] = {}
        if arguments:
            (pairs,) = arguments
            _fill(found, pairs)
        return found
    if name == REBUILD_PARAMETER and isinstance(arguments[0], SavedTensor):
        return arguments[0]
    if name in REBUILD_TENSOR:
        storage, offset, shape, strides, *_ = arguments
        numbers = (offset, *shape, *strides)
        if not isinstance(storage, Storage) or type(shape) is not tuple or type(strides) is not tuple:
            raise ValueError("not a tensor")
        if len(shape) != len(strides) or not all(type(number) is int and number >= 0 for number in numbers):
            raise ValueError("not the shape of a tensor")
        return SavedTensor(storage, offset, shape, strides)
    raise AdapterError(f"calls {name.replace(' ', '.')!r} in a way that saved tensors do not need")


def _fill(target: dict[str, Any], pairs: Any) -> None:
    for key, value in pairs:
        if type(key) is not str:
            raise ValueError("keys are texts")
        target[key] = value


def _storage(description: Any) -> Storage:
    """A persistent id: ("storage", type, key, location, number of elements), in old files with a view at its end."""
    if type(description) is not tuple or len(description) not in (5, 6) or description[0] != "storage":
        raise AdapterError("refers to something that is not a storage of numbers")
    kind, key, num_elements = description[1], description[2], description[4]
    if not isinstance(kind, Name) or kind.text not in STORAGES or description[5:] not in ((), (None,)):
        raise AdapterError("refers to something that is not a storage of floating-point numbers")
    if type(key) is not str or type(num_elements) is not int or num_elements < 0:
        raise ValueError("not a storage")
    return Storage(key, STORAGES[kind.text], num_elements)
