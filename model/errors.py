"""How an operation inside the model fails."""

from __future__ import annotations

__all__ = ["OpError"]


class OpError(Exception):
    """A system call returns an error; `name` is the errno's name."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name
