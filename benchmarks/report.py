"""The table: what was measured beside the targets and the others, and the two files that keep it."""

import json
import statistics
from dataclasses import dataclass, field
from pathlib import Path

OWN = "gradlens"
PEERS = ("W&B", "TensorBoard", "SQLite", "JSONL")
RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Row:
    """One quantity.

    Attributes:
        what: the quantity with its unit.
        values: who -> one value a round; who is missing was not measured, a text says why.
        most: target from above.
        least: target from below.
        fraction: whether to show it as 1/n.
        digits: how many to show.
    """

    what: str
    values: dict = field(default_factory=dict)
    most: float | None = None
    least: float | None = None
    fraction: bool = False
    digits: int = 3

    def median(self, who):
        """The median of the rounds as text."""
        found = self.values.get(who, "")
        return found if isinstance(found, str) else self._text(statistics.median(found))

    def spread(self, who):
        """The smallest and the largest value of the rounds as text."""
        found = self.values.get(who, "")
        if isinstance(found, str) or len(found) < 2:
            return ""
        low, high = self._text(min(found)), self._text(max(found))
        return low if low == high else f"{low} to {high}"

    @property
    def target(self):
        """The target as text."""
        if self.most is not None:
            return f"<= {self._text(self.most)}"
        return "" if self.least is None else f">= {self._text(self.least)}"

    @property
    def verdict(self):
        """Whether the median meets the target; empty without a target or a number."""
        found = self.values.get(OWN, "")
        if isinstance(found, str) or (self.most is None and self.least is None):
            return ""
        found = statistics.median(found)
        met = found <= self.most if self.most is not None else found >= self.least
        return "met" if met else "MISSED"

    def _text(self, value):
        if self.fraction:
            return f"1/{1 / value:.0f}"
        return f"{value:,.0f}" if value >= 100 else f"{value:.{self.digits}g}"


@dataclass(frozen=True)
class Report:
    """What a benchmark writes.

    Attributes:
        stem: path of its two files without the ending.
        title: heading.
        command: what measures it anew.
        peers: columns of the others.
    """

    stem: Path
    title: str
    command: str
    peers: tuple[str, ...]


def table(rows, peers):
    """The table as Markdown that is legible as it is."""
    head = ("", "target", OWN, "lowest to highest", "", *peers)
    cells = [(r.what, r.target, r.median(OWN), r.spread(OWN), r.verdict, *map(r.median, peers)) for r in rows]
    return _markdown(head, cells)


def peers_spread(rows, peers):
    """How much the others' numbers vary over the rounds, as Markdown."""
    cells = [(row.what, *map(row.spread, peers)) for row in rows]
    return _markdown(("", *peers), [line for line in cells if any(line[1:])])


def _markdown(head, lines):
    widths = [max(len(line[place]) for line in (head, *lines)) for place in range(len(head))]
    rule = tuple("-" * width for width in widths)
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"
        for line in (head, rule, *lines)
    )


def sentence(facts):
    """The machine and the versions in a line."""
    return "; ".join(f"{name}: {text}" for name, text in facts.items()) + "."


def write(report, rows, facts, notes):
    """Write the report as Markdown and as JSON.

    Args:
        report: which.
        rows: of the table.
        facts: name -> text about the machine and the versions.
        notes: sentences below the table.
    """
    report.stem.parent.mkdir(exist_ok=True)
    text = "\n\n".join(
        [
            f"# {report.title}",
            f"Written by `{report.command}`; medians of the rounds. {sentence(facts)}",
            table(rows, report.peers),
            "\n".join(f"- {note}" for note in notes),
            "The others, lowest to highest of the rounds:",
            peers_spread(rows, report.peers),
        ]
    )
    report.stem.with_suffix(".md").write_text(text + "\n")
    keep = [
        {"what": row.what, "target": row.target, "verdict": row.verdict, "values": row.values}
        for row in rows
    ]  # fmt: skip
    found = json.dumps({"facts": facts, "rows": keep, "notes": notes}, indent=1)
    report.stem.with_suffix(".json").write_text(found + "\n")
