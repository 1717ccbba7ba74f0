"""Read a data file strictly: what training, and everything that trusts its records, uses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llava_tuning.data.records import Record, read_json_rows
from llava_tuning.data.structure import row_problems
from llava_tuning.errors import UserError


def load_records(path: str | Path) -> list[Record]:
    """All records of a JSON or JSONL file.

    Raises:
        UserError: the file cannot be read, or names the first bad record, what is wrong and how to mend it.
    """
    records = []
    for index, row in read_json_rows(path):
        if problems := row_problems(row):
            problem = problems[0]
            raise UserError(f"{path}: {record_label(index, row)} {problem.text}; {problem.remedy}")
        records.append(Record.model_validate(row))
    return records


def record_label(index: int, row: Any) -> str:
    """`record 3 (id 'x')`, or `record 3` where there is no id."""
    record_id = row.get("id") if isinstance(row, dict) else None
    return f"record {index}" if record_id in (None, "") else f"record {index} (id {record_id!r})"
