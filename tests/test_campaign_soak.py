"""A campaign on real guests, which are killed at random, ends with each program counted once.

Selected by `-m 'vm and slow'`. EXT4DIFF_SOAK_SECONDS is how long guests are killed (60);
afterwards the campaign gets time for the rest of its plan, EXT4DIFF_SOAK_PROGRAMS programs in
all. EXT4DIFF_SOAK_SEED chooses what is done when, EXT4DIFF_SOAK_PAUSE the longest time between.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.campaign.plan import Plan, shards
from harness.campaign.store import Store
from reports.rows import Row

pytestmark = [pytest.mark.vm, pytest.mark.slow]

SECONDS = float(os.environ.get("EXT4DIFF_SOAK_SECONDS", "60"))
SEED = int(os.environ.get("EXT4DIFF_SOAK_SEED", "1"))
PROGRAMS = int(os.environ.get("EXT4DIFF_SOAK_PROGRAMS", "0")) or max(40, int(SECONDS * 2))
"""Of the plan: more than two guests run while they are killed, unless the machine is fast."""
SPARE = 300 + 3 * SECONDS
"""Seconds that the campaign gets after the last blow."""
PRELOAD = Path(__file__).with_name("soak_worker.py")
PAUSES = (1.0, float(os.environ.get("EXT4DIFF_SOAK_PAUSE", "6")))
"""Seconds between two blows, at least and at most: some programs have to run between them."""
DISK = "16m"
"""Size of the disk for results, of which rows and artifacts take a part."""


class Place:
    """A folder with a disk for results in it, and the processes that belong to it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.disk, self.temporary = folder, folder / "disk", folder / "tmp"
        self.results = self.disk / "results"
        self.output = folder / "output"
        self.scratches: set[str] = set()
        """Names of the campaign's own folders: those of its semaphores begin with them."""
        for path in (self.disk, self.temporary):
            path.mkdir()
        self.environment = os.environ | {
            "DASK_DISTRIBUTED__WORKER__PRELOAD": json.dumps([str(PRELOAD)]),
            "EXT4DIFF_SOAK": str(folder),
            "TMPDIR": str(self.temporary),
        }

    def start(self) -> subprocess.Popen[bytes]:
        words = ["--seed", str(SEED), "--count", str(PROGRAMS), "-j", "2", "--accel", "tcg"]
        if "EXT4DIFF_KERNEL" in os.environ:
            words += ["--kernel", os.environ["EXT4DIFF_KERNEL"]]
        command = [sys.executable, "-m", "harness", "campaign", *words]
        with self.output.open("wb") as output:
            return subprocess.Popen(
                [*command, "--results", str(self.results)], env=self.environment,
                cwd=self.folder, stdout=output, stderr=subprocess.STDOUT, process_group=0,
            )  # fmt: skip

    def processes(self, kind: str = "") -> list[int]:
        """Processes that have this folder in their environment, `kind` in their command."""
        found = []
        mark = f"EXT4DIFF_SOAK={self.folder}".encode()
        for path in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                words = (path / "cmdline").read_bytes()
                if kind.encode() in words and mark in (path / "environ").read_bytes():
                    found.append(int(path.name))
        return sorted(found)

    def guests(self) -> list[int]:
        return self.processes("qemu-system")

    def workers(self) -> list[int]:
        """The processes that guests are children of."""
        found = set()
        for guest in self.guests():
            with contextlib.suppress(OSError):
                text = Path(f"/proc/{guest}/stat").read_text()
                found.add(int(text.rpartition(")")[2].split()[1]))
        return sorted(found & set(self.processes("python")))

    def look(self) -> None:
        """Take note of the folders that there are."""
        self.scratches |= {path.name for path in self.temporary.iterdir()}

    def wait_for_rows(self) -> None:
        """Wait until the campaign is under way."""
        end = time.monotonic() + SPARE
        while time.monotonic() < end:
            if (self.results / "results.sqlite").exists() and self.rows():
                self.look()
                return
            time.sleep(0.2)
        raise AssertionError(f"no program was done within {SPARE} s: {self.output.read_text()}")

    def rows(self) -> list[Row]:
        with Store.read(self.results / "results.sqlite") as store:
            return list(store.rows())


class Blows:
    """What happens to guests, workers and the disk; `dealt` counts what did happen."""

    def __init__(self, place: Place, chance: random.Random) -> None:
        self._place, self._chance = place, chance
        self.dealt: Counter[str] = Counter()

    def deal(self) -> None:
        """One of them, at random."""
        kinds = {
            "guest killed": lambda: self._signal(self._place.guests(), signal.SIGKILL),
            "guest stopped": lambda: self._signal(self._place.guests(), signal.SIGSTOP),
            "worker killed": lambda: self._signal(self._place.workers(), signal.SIGKILL),
            "worker stopped, then killed": self._stop_and_kill,
            "panic": lambda: self._tell("panic"),
            "agent busy": lambda: self._tell("busy"),
            "disk full": self._fill_disk,
        }
        name = self._chance.choice(sorted(kinds))
        self.dealt[name] += kinds[name]()

    def _signal(self, candidates: list[int], number: signal.Signals) -> bool:
        if not candidates:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._chance.choice(candidates), number)
            return True
        return False

    def _stop_and_kill(self) -> bool:
        candidates = self._place.workers()
        if not candidates:
            return False
        victim = self._chance.choice(candidates)
        with contextlib.suppress(ProcessLookupError):
            os.kill(victim, signal.SIGSTOP)
            time.sleep(self._chance.uniform(1, 4))
            os.kill(victim, signal.SIGKILL)
            return True
        return False

    def _tell(self, word: str) -> bool:
        (self._place.folder / word).touch()
        return True

    def _fill_disk(self) -> bool:
        """No byte is free for some seconds."""
        ballast = self._place.disk / "ballast"
        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        time.sleep(self._chance.uniform(2, 25))
        ballast.unlink()
        return True


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    words = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "ext4diff-soak", str(place.disk)]
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"a disk that can be filled takes root: {done.stderr.strip()}")
    yield place
    for process in place.processes():
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    subprocess.run(["umount", "-l", str(place.disk)], check=True)


def names() -> set[str]:
    """What has a name in this machine where processes leave things behind."""
    found = {line.split()[-1] for line in Path("/proc/net/unix").read_text().splitlines()[1:]}
    found = {name for name in found if name.startswith(("/", "@"))}
    for folder in ("/run/netns", "/dev/shm"):
        found |= {str(path) for path in Path(folder).glob("*")}
    return found | {line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()}


def test_guests_that_are_killed_at_random_lose_nothing_and_leave_nothing(place: Place) -> None:
    before = names()
    running = place.start()
    chance = random.Random(SEED)
    blows = Blows(place, chance)
    place.wait_for_rows()
    began = time.monotonic()
    while time.monotonic() - began < SECONDS and running.poll() is None:
        time.sleep(chance.uniform(*PAUSES))
        blows.deal()
    try:
        running.wait(SPARE)
    finally:
        output = place.output.read_text()
        print(output, dict(blows.dealt), sep="\n")
    assert_counted_once(place)
    assert "the plan is done" in output
    assert "Traceback" not in output
    assert running.returncode in (0, 1, 3), output
    assert blows.dealt.total() > SECONDS / (5 * PAUSES[1])
    assert_nothing_is_left(place, before)


def assert_counted_once(place: Place) -> None:
    planned = {
        (shard.kind, number)
        for shard in shards(Plan(SEED, count=PROGRAMS))
        for number in range(shard.start, shard.stop)
    }
    rows = place.rows()
    times = Counter((row.kind, row.number, row.digest.config, row.digest.path) for row in rows)
    assert {(row.kind, row.number) for row in rows} == planned
    assert set(times.values()) == {1}
    print(f"{len(rows)} rows")
    print(Counter(str(row.digest.outcome) for row in rows))
    print(Counter(row.digest.reason for row in rows if row.digest.outcome == "broken"))
    for row in rows:
        where = row.digest.kept_in
        assert where is None or (place.results / where).exists(), where


def assert_nothing_is_left(place: Place, before: set[str]) -> None:
    end = time.monotonic() + 15
    while place.processes() and time.monotonic() < end:
        time.sleep(0.2)
    assert place.processes() == []
    assert sorted(place.temporary.rglob("*")) == []
    mine = {str(place.folder), *place.scratches}  # other campaigns may run meanwhile
    assert place.scratches
    assert {name for name in names() - before if any(word in name for word in mine)} == set()
    kept = {path.name for path in place.results.iterdir()}
    assert kept <= {"results.sqlite", "artifacts"}
    hidden = list(place.results.rglob(".*"))
    assert hidden == []
    assert shutil.disk_usage(place.disk).free > 0
