"""The table: what was measured beside the targets and the others, and the two files that keep it."""

import json
import statistics
from dataclasses import dataclass, field

OWN = "gradlens"
PEERS = ("W&B", "TensorBoard", "SQLite", "JSONL")


@dataclass(frozen=True)
class Row:
    """One quantity.

    Attributes:
        what: the quantity with its unit.
        values: who -> one value a round; who is missing was not measured, a text says why.
        most: target from above.
        least: target from below.
        fraction: whether to show it as 1/n.
    """

    what: str
    values: dict = field(default_factory=dict)
    most: float | None = None
    least: float | None = None
    fraction: bool = False

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
        """Whether the median meets the target; empty without a target."""
        if self.most is None and self.least is None:
            return ""
        found = statistics.median(self.values[OWN])
        met = found <= self.most if self.most is not None else found >= self.least
        return "met" if met else "MISSED"

    def _text(self, value):
        if self.fraction:
            return f"1/{1 / value:.0f}"
        return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def table(rows):
    """The table as Markdown that is legible as it is."""
    head = ("", "target", OWN, "lowest to highest", "", *PEERS)
    cells = [(r.what, r.target, r.median(OWN), r.spread(OWN), r.verdict, *map(r.median, PEERS)) for r in rows]
    return _markdown(head, cells)


def peers_spread(rows):
    """How much the others' numbers vary over the rounds, as Markdown."""
    cells = [(row.what, *map(row.spread, PEERS)) for row in rows]
    return _markdown(("", *PEERS), [line for line in cells if any(line[1:])])


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


def write(folder, rows, facts, notes):
    """Write ``store.md`` and ``store.json``.

    Args:
        folder: where to.
        rows: of the table.
        facts: name -> text about the machine and the versions.
        notes: sentences below the table.
    """
    folder.mkdir(exist_ok=True)
    text = "\n\n".join(
        [
            "# What the store costs",
            f"Written by `make bench-store`; medians of the rounds. {sentence(facts)}",
            table(rows),
            "\n".join(f"- {note}" for note in notes),
            "The others, lowest to highest of the rounds:",
            peers_spread(rows),
        ]
    )
    (folder / "store.md").write_text(text + "\n")
    keep = [
        {"what": row.what, "target": row.target, "verdict": row.verdict, "values": row.values}
        for row in rows
    ]  # fmt: skip
    (folder / "store.json").write_text(json.dumps({"facts": facts, "rows": keep, "notes": notes}, indent=1) + "\n")
