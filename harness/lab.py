"""What the items of one process share: the pair of sides, the runner, the selection."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from harness.errors import MachineryError
from harness.observing import observed_as_chosen
from harness.pairs import Pair
from harness.recordings.kept_traces import kept_line
from harness.sides.side import NO_IOMAP
from harness.verdict import Compared, Verdict
from vm import mkfs
from workloads.workload import PATHS, Config, Workload

__all__ = ["LAB", "Lab"]


_SIZE = re.compile(r"-\d+[a-z]?@")


class Lab:
    """A pair of sides at work.

    `only` holds patterns of configurations (`4k@*`); none selects all. `short` leaves
    each program one configuration. `results` is the folder of this run.
    """

    def __init__(
        self,
        pair: Pair,
        results: Path | None = None,
        only: Sequence[str] = (),
        *,
        short: bool = False,
    ) -> None:
        self.pair = pair
        self.results = results or Path.cwd()
        self.only = tuple(only)
        self.short = short
        self.prepared = False
        self._runner = pair.runner()

    def prepare(self) -> None:
        """Fetch, build and probe what the sides need. Raises `Ext4diffError`."""
        self.pair.prepare()
        self.prepared = True

    def selected(self, configs: Sequence[Config]) -> list[Config]:
        """Those of a program's configurations that are to be run. A pattern selects an image of
        another size (`4k-16m@delalloc`) by the usual one's name too."""
        chosen = [
            config
            for config in configs
            if not self.only
            or any(
                fnmatch.fnmatchcase(name, only)
                for only in self.only
                for name in (config.name, _SIZE.sub("@", config.name))
            )
        ]
        return chosen[:1] if self.short else chosen

    def variants(self, config: Config) -> list[tuple[str, Config]]:
        """`config` on each path that the sides have, with what that adds to an item's name.

        A configuration that chooses its path itself stays as it is.
        """
        chosen = config.options & {"buffered_iomap", "nobuffered_iomap"}
        both = self.prepared and self.pair.paths() == PATHS
        if chosen or not both:
            return [("", config)]
        return [("", config), ("+iomap", config.with_options("buffered_iomap"))]

    def run(self, workload: Workload) -> Compared:
        """Run both sides and compare. Raises `MachineryError` if no guest comes up any more."""
        if not self.prepared:
            raise MachineryError("the sides were not prepared")
        if workload.config.path == "iomap" and not self.pair.actual.knows_iomap():
            names = (self.pair.expected.name, self.pair.actual.name)
            return Compared(Verdict(workload, names, refused=NO_IOMAP))
        return observed_as_chosen(self.pair, self._runner.run, workload)

    def kept(self, compared: Compared) -> bytes | None:
        """What the side under test did as a line of a recording; None if it came to no end, or
        began on an image that no recording holds."""
        image = compared.verdict.workload.config.image
        if compared.actual is None or image.sha256:
            return None
        return kept_line(compared, mkfs.geometry_of(image), self.pair.actual.knows_iomap())

    def close(self) -> None:
        """End both sides."""
        self.pair.close()


LAB = pytest.StashKey[Lab]()
"""Where pytest's configuration holds it."""
