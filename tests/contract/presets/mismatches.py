"""What differs between a preset and the facts: collected, so that one failure names everything at once."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Mismatches:
    """Lines such as `request address: 'https://a', expected 'https://b'`."""

    lines: list[str] = field(default_factory=list)

    def expect(self, what: str, got: object, wanted: object) -> None:
        """Note a value that is not the expected one."""
        if got != wanted:
            self.lines.append(f"{what}: {got!r}, expected {wanted!r}")

    def require(self, what: str, holds: object) -> None:
        """Note a statement that does not hold."""
        if not holds:
            self.lines.append(what)

    def failed(self, check: str, error: Exception) -> None:
        """Note a check that could not go on; the others go on."""
        self.lines.append(f"{check}: {type(error).__name__}: {error}")

    def report(self, title: str) -> str:
        """Return the lines below a title, one mismatch a line."""
        return "\n  ".join((f"{title}: {len(self.lines)} mismatches", *self.lines))
