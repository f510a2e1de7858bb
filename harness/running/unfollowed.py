"""Whether following known issues can make a difference to a run of the model that followed none."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

__all__ = ["Unfollowed"]


class Unfollowed(frozenset[str]):
    """No quirk to follow, which notes of which ones a run of the model asked.

    The model does the same until it asks: with quirks of which it asked none its run is the same.
    Whoever goes through all of them, or counts them, has asked for each.
    """

    def __new__(cls) -> Unfollowed:
        """An empty set; nobody has asked."""
        return super().__new__(cls)

    def __init__(self) -> None:
        self._asked: set[object] = set()
        self._all = False

    def asked(self, names: Collection[str]) -> bool:
        """Whether somebody asked for one of `names`."""
        return bool(names) and (self._all or not self._asked.isdisjoint(names))

    def __contains__(self, name: object) -> bool:
        self._asked.add(name)
        return False

    def isdisjoint(self, names: Iterable[object]) -> bool:
        """As any set's."""
        self._asked.update(names)
        return True

    def __len__(self) -> int:
        self._all = True
        return 0

    def __iter__(self) -> Iterator[str]:
        self._all = True
        return iter(())
