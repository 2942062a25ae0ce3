"""Tables of any program -> rows: CSV with any usual separator and encoding, JSON lines, packed with gzip or not."""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import json
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, cast

from cxr.images.guarded import open_regular, reason_of
from cxr.request.errors import DataError
from cxr.request.messages import shown_names
from cxr.request.strict_json import unique_names

Row = Mapping[str, Any]

SUFFIXES = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".jsonl", ".jsonl.gz")
MAX_TABLE_BYTES = 1_000_000_000
MAX_LINE_BYTES = 4_000_000
SEPARATORS = ",;\t|"
_HINT = re.compile(r'\A"?sep=\W"?[^\S\n]*\n', re.IGNORECASE)  # a first line for spreadsheets, which hide it


def is_table(path: Path) -> bool:
    """Whether a file looks like a table, by its name."""
    return path.name.lower().endswith(SUFFIXES) and not path.name.startswith(".") and path.is_file()


def read_rows(table: Path, damaged: str = "{table} cannot be read: {error}") -> Iterator[tuple[int, Any]]:
    """Line numbers, of a CSV as spreadsheets count them, and rows; one of JSON lines may be any value, "" if empty.

    Args:
        table: its suffix says of which kind it is.
        damaged: message for one that is, with the fields table, number and error.
    Raises:
        DataError: it cannot be read, a row has more cells than the header, or two columns have one name.
    """
    number = 0
    try:
        if not _is_json(table):
            yield from _read_csv(table)
            return
        with _opened(table) as lines:
            while line := lines.readline(MAX_LINE_BYTES + 1):
                number += 1
                if len(line) > MAX_LINE_BYTES:
                    raise ValueError(f"line {number} has more than {MAX_LINE_BYTES:,} bytes")
                yield number, json.loads(line, object_pairs_hook=unique_names) if line.strip() else ""
    except OSError as error:
        raise DataError(f"cannot read {table}: {reason_of(error)}") from error
    except (EOFError, ValueError, RecursionError, csv.Error, zlib.error) as error:
        raise DataError(damaged.format(table=table, number=number, error=error)) from error


def read_header(table: Path) -> tuple[str, ...]:
    """Names of the columns; of JSON lines those of any.

    Raises:
        DataError: it cannot be read.
    """
    if _is_json(table):
        return tuple(dict.fromkeys(name for _, row in read_rows(table) if isinstance(row, dict) for name in row))
    try:
        text = _text(table)
        return tuple(_header(csv.reader(io.StringIO(text, newline=""), delimiter=_separator(text)), table))
    except OSError as error:
        raise DataError(f"cannot read {table}: {reason_of(error)}") from error
    except (EOFError, ValueError, csv.Error, zlib.error) as error:
        raise DataError(f"{table} cannot be read: {error}") from error


def repeated_name(header: Iterable[str]) -> tuple[str, int]:
    """The first name that appears more than once in a header, and how often; empty if there is none."""
    counts = Counter(name for name in header if name)
    return next(((name, count) for name, count in counts.items() if count > 1), ("", 0))


def csv_text(rows: Iterable[Iterable[object]]) -> str:
    """Rows as CSV, whose lines end alike on every system."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _read_csv(table: Path) -> Iterator[tuple[int, Row]]:
    text = _text(table)
    rows = enumerate(csv.reader(io.StringIO(text, newline=""), delimiter=_separator(text), strict=True), start=1)
    header = _header((cells for _, cells in rows), table)
    for number, cells in rows:
        if any(cell.strip() for cell in cells[len(header) :]):
            raise DataError(f"{table} line {number} has {len(cells)} cells, the header {len(header)}")
        if any(cell.strip() for cell in cells):
            yield number, dict.fromkeys(header, "") | dict(zip(header, map(_unquoted, cells), strict=False))


def _unquoted(cell: str) -> str:
    """A cell without the formula by which spreadsheets keep the zeros of a number: ="007"."""
    return cell[2:-1] if cell.startswith('="') and cell.endswith('"') else cell


def _header(rows: Iterator[list[str]], table: Path) -> list[str]:
    header = next(([name.strip() for name in cells] for cells in rows if any(map(str.strip, cells))), [])
    twice, count = repeated_name(header)
    if twice:
        raise DataError(f"{table} has {count} columns {shown_names([twice])}; keep one")
    return header


def _separator(text: str) -> str:
    """What separates the names of the header, ignoring quoted text."""
    header = "".join(re.split(r"[\r\n]", text.lstrip(), maxsplit=1)[0].split('"')[::2])
    return max(SEPARATORS, key=header.count)


def _text(table: Path) -> str:
    with _opened(table) as file:
        data = file.read(MAX_TABLE_BYTES + 1)
    if len(data) > MAX_TABLE_BYTES:
        raise ValueError(f"it has more than {MAX_TABLE_BYTES / 1e6:,.0f} MB")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        text = data.decode("utf-16")
    else:
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = data.decode("cp1252")  # what spreadsheets of Windows save
    if "\0" in text:
        raise ValueError("it is not text of a known encoding; save it as UTF-8")
    return _HINT.sub("", text)


@contextlib.contextmanager
def _opened(table: Path) -> Iterator[BinaryIO]:
    with open_regular(table) as file:
        yield cast(BinaryIO, gzip.GzipFile(fileobj=file)) if table.name.lower().endswith(".gz") else file


def _is_json(table: Path) -> bool:
    return table.name.lower().removesuffix(".gz").endswith(".jsonl")
