"""The one exception tree of the product."""

from __future__ import annotations


class AffectstreamError(Exception):
    """Root of all errors that the product raises on purpose."""


class InputError(AffectstreamError):
    """The user's input cannot be used: `what` is wrong, `where`, and the `cure`. Commands end with status 2."""

    def __init__(self, what: str, *, where: str = "", cure: str = "") -> None:
        self.what, self.where, self.cure = what, where, cure
        super().__init__(str(self))

    def __str__(self) -> str:
        place = f" ({self.where})" if self.where else ""
        return f"{self.what}{place}" + (f": {self.cure}" if self.cure else "")
