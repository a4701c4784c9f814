"""A short Markdown table of rows that `launch.benchmark --json` has written.

python -m launch.bench.table rows.jsonl [more.jsonl ...]
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fluoro_jax.errors import UserError

Row = dict[str, Any]
HEAD = (
    "what",
    "preset",
    "by",
    "precision",
    "median ms",
    "p95 ms",
    "share of the limit",
    "times ours",
)


def table(rows: Sequence[Row]) -> str:
    """The machines, and a line a row; a peer's last cell is its median over ours.

    The share of the limit is that of a large product, or of a large copy where that is
    more; a row without numbers says why.
    """
    loads: dict[str, list[float]] = {}
    for row in rows:
        found = row["machine"]
        name = (
            f"{found['processor']}, {found['cores']} cores, {found['devices']} "
            f"{found['device']}, jax {found['jax']}"
        )
        loads.setdefault(name, []).append(found["load_1min"])
    lines = [f"{n}, load {min(v):.1f} to {max(v):.1f}" for n, v in loads.items()]
    lines = [*sorted(lines), "", f"| {' | '.join(HEAD)} |", "|" + " --- |" * len(HEAD)]
    ours: Row | None = None
    for row in rows:
        if row["peer"] is None:
            ours = row
        lines.append("| " + " | ".join(_cells(row, ours)) + " |")
    return "\n".join(lines)


def _cells(row: Row, ours: Row | None) -> list[str]:
    number = lambda value, form: "" if value is None else format(value, form)
    shares = [row[f"share_of_{limit}"] for limit in ("flops", "bandwidth")]
    ratio = None
    if row["peer"] and ours and row["median_ms"]:
        ratio = row["median_ms"] / ours["median_ms"]
    return [
        f"{row['what']}, {row['variant']}",
        row["preset"],
        row["peer"] or "ours",
        row["precision"] or "",
        row.get("note") or number(row["median_ms"], ".3g"),
        number(row["p95_ms"], ".3g"),
        number(max((s for s in shares if s is not None), default=None), ".0%"),
        number(ratio, ".2f"),
    ]


def main(argv: Sequence[str]) -> int:
    """Prints the table of the files named; answers the exit code."""
    if {"--help", "-h"} & set(argv):
        print(__doc__)
        return 0
    try:
        rows = [row for name in argv for row in _read(Path(name))]
        if not rows:
            raise UserError(
                "no rows",
                needed="files of launch.benchmark --json",
                why="the table is made of what was measured",
                fix="python -m launch.benchmark --what=all --json=rows.jsonl",
            )
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    print(table(rows))
    return 0


def _read(path: Path) -> list[Row]:
    try:
        return [json.loads(line) for line in path.read_text().splitlines()]
    except (OSError, json.JSONDecodeError) as error:
        raise UserError(
            f"{path}: {error}",
            needed="one JSON object a line",
            why="the table is made of what was measured",
            fix="python -m launch.benchmark --what=all --json=rows.jsonl",
        ) from error


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
