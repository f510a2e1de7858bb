"""Campaigns on real workers of dask, with the model in the kernel's place: nothing is lost."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import distributed
import pytest
from campaign_kernel import HELD, BuggyKernel

from harness import pairs
from harness.campaign.night import Asked, new_night
from harness.campaign.plan import Plan, shards
from harness.campaign.store import Store
from harness.cli import main
from harness.errors import AGREE, INTERRUPTED, MACHINERY, MISMATCH, USAGE, UsageError
from reports.rows import Night, Row

KERNEL = Path(__file__).with_name("campaign_kernel.py")
COUNT = 40
PLAN = ("--seed", "11", "--count", str(COUNT), "--on", "4k@delalloc")
SECONDS = 900
"""After which something hangs; a busy machine takes minutes to start some processes."""


class Place:
    """A folder for results, an environment, and the processes that a test has started."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.kill, self.hold = folder / "kill", folder / "hold"
        self.results = folder / "results"
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        self.started: list[subprocess.Popen[str]] = []
        self.environment = os.environ | {
            "DASK_DISTRIBUTED__WORKER__PRELOAD": json.dumps([str(KERNEL)]),
            "EXT4DIFF_TEST_KILL": str(self.kill),
            "EXT4DIFF_TEST_HOLD": str(self.hold),
            "TMPDIR": str(self.temporary),
            "PYTHONUNBUFFERED": "",  # as in a log
        }

    def start(self, *words: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", *words], env=self.environment, cwd=self.folder, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, process_group=0,
        )  # fmt: skip
        self.started.append(process)
        return process

    def campaign(self, *words: str) -> subprocess.Popen[str]:
        return self.start("harness", "campaign", *words, "--results", str(self.results))

    def rows(self) -> list[Row]:
        with Store.read(self.results / "results.sqlite") as store:
            return list(store.rows())

    def nights(self) -> list[Night]:
        with Store.read(self.results / "results.sqlite") as store:
            return store.nights()

    def wait_for_rows(self, count: int) -> None:
        """Wait for as long as the campaign runs, the last process that was started."""
        campaign, end = self.started[-1], time.monotonic() + SECONDS
        while time.monotonic() < end:
            ended = campaign.poll()  # before the rows, which may come and then the end
            if (self.results / "results.sqlite").exists() and len(self.rows()) >= count:
                return
            assert ended is None, campaign.communicate()[0]
            time.sleep(0.1)
        raise AssertionError(f"{count} rows did not come within {SECONDS} s")

    def of_ours(self) -> set[int]:
        """Processes that have this folder in their environment."""
        found = set()
        for path in Path("/proc").glob("[0-9]*"):
            try:
                if str(self.kill).encode() in (path / "environ").read_bytes():
                    found.add(int(path.name))
            except OSError:
                continue
        return found


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    yield place
    for process in place.started:
        process.kill()
        process.wait()


@pytest.fixture
def workers_here(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a scheduler with one worker, both threads of this process."""
    monkeypatch.setitem(pairs.MAKERS, "kernel", lambda _spec, _choice: BuggyKernel())
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0"
    ) as cluster:
        yield cluster.scheduler_address


def assert_complete(place: Place, count: int = COUNT) -> None:
    """Every program of the plan is there once."""
    chosen = shards(Plan(11, count=count))
    planned = {(s.kind, n): 1 for s in chosen for n in range(s.start, s.stop)}
    assert Counter((row.kind, row.number) for row in place.rows()) == planned


def assert_nothing_runs(place: Place) -> None:
    end = time.monotonic() + SECONDS
    while place.of_ours() and time.monotonic() < end:
        time.sleep(0.2)
    assert place.of_ours() == set()


def test_a_campaign_finds_the_bug_and_keeps_everything(place: Place) -> None:
    done = place.campaign(*PLAN, "--strict-model", "-j", "2")
    output, _ = done.communicate(timeout=SECONDS)
    assert done.returncode == MISMATCH, output
    assert_complete(place)
    found = [row for row in place.rows() if row.digest.outcome == "mismatch"]
    assert found
    assert len({row.worker for row in place.rows()}) == 2
    with Store.read(place.results / "results.sqlite") as store:
        (night,) = store.nights()
        assert (night.seed, bool(night.ended)) == (11, True)
        for finding in store.findings():
            assert (place.results / finding.artifact).stat().st_size > 1000
            assert "pwrite_fault" in finding.program or "pwritev" in finding.program
        assert len(store.finished(night.id)) == 2
        reached = {covered.name for covered in store.coverage() if covered.what == "rule"}
    assert "map.allocate" in reached
    assert output.index("\nnight ") < output.index(f"{COUNT} programs, ")
    assert f"{COUNT} programs in" in output
    assert f"ext4diff report {place.results}/results.sqlite" in output
    assert_nothing_runs(place)
    assert list(place.temporary.iterdir()) == []


def test_a_campaign_that_looks_at_ends_only_counts_what_it_does_not_see(
    place: Place, workers_here: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--strict-model", "--observe", "end", "--scheduler", workers_here)
    assert main(["campaign", *PLAN, *words, "--results", str(place.results)]) == MISMATCH
    output = capsys.readouterr().out
    assert_complete(place)
    assert "programs are observed at their end only" in output
    assert re.search(r"observation +[\d,]+ times +only the end was observed", output)
    rows = place.rows()
    quick = [row for row in rows if _unseen(row)]
    assert len(quick) > 20
    found = [row for row in rows if row.digest.outcome == "mismatch"]
    assert found
    assert not any(_unseen(row) for row in found)  # they ran again with everything observed
    assert {row.night for row in rows} == {night.id for night in place.nights()}
    assert place.nights()[0].line.endswith(", observed at the end only")


def _unseen(row: Row) -> int:
    return sum(count for field, _, count in row.digest.not_compared if field == "observation")


def test_a_worker_that_is_killed_loses_nothing(place: Place) -> None:
    place.hold.touch()
    running = place.campaign(*PLAN, "-j", "2")
    place.wait_for_rows(10)
    place.kill.touch()
    place.hold.unlink()
    output, _ = running.communicate(timeout=SECONDS)
    assert not place.kill.exists()  # a worker did die
    assert running.returncode == 0, output
    assert_complete(place)
    assert_nothing_runs(place)
    assert list(place.temporary.iterdir()) == []


def test_a_campaign_that_is_killed_is_resumed_where_it_was(place: Place) -> None:
    place.hold.touch()
    running = place.campaign(*PLAN, "-j", "2")
    place.wait_for_rows(2 * HELD)
    running.send_signal(signal.SIGKILL)
    running.wait(SECONDS)
    assert_nothing_runs(place)
    assert len(place.rows()) == 2 * HELD
    assert len(list(place.temporary.iterdir())) == 1
    place.hold.unlink()
    again = place.start("harness", "campaign", "--resume", str(place.results), "-j", "1")
    output, _ = again.communicate(timeout=SECONDS)
    assert again.returncode == 0, output
    assert_complete(place)
    assert list(place.temporary.iterdir()) == []
    with Store.read(place.results / "results.sqlite") as store:
        assert len(store.nights()) == 1


def test_ctrl_c_ends_all_and_keeps_what_was_done(place: Place) -> None:
    place.environment["EXT4DIFF_TEST_SLOW"] = "0.05"
    running = place.campaign("--seed", "11", "--time", "1h", "--on", "4k@delalloc", "-j", "1")
    place.wait_for_rows(10)
    os.killpg(running.pid, signal.SIGINT)
    output, _ = running.communicate(timeout=SECONDS)
    assert running.returncode == INTERRUPTED, output
    assert "--resume" in output
    assert "Traceback" not in output
    assert len(place.rows()) >= 10
    assert_nothing_runs(place)


def test_it_stops_when_the_time_is_over(
    place: Place,
    workers_here: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("EXT4DIFF_TEST_SLOW", "0.1")
    words = ("--seed", "11", "--on", "4k@delalloc", "--scheduler", workers_here)
    for seconds in (2, 20, 200):  # a busy machine takes longer for the first program
        capsys.readouterr()
        command = ["campaign", *words, "--time", f"{seconds}s", "--results", str(place.results)]
        assert main(command) == AGREE
        if place.rows():
            break
    assert place.rows()
    assert re.search(
        rf"\b{len(place.rows())} programs? in .*; the time is over", capsys.readouterr().out
    )


# --- a cluster that runs already --------------------------------------------------------------


def start_worker(place: Place, address: str, name: str) -> subprocess.Popen[str]:
    options = ("--nthreads", "1", "--no-dashboard", "--no-nanny", "--host", "127.0.0.1")
    where = ("--name", name, "--local-directory", str(place.folder))
    return place.start("distributed.cli.dask_worker", address, *options, *where)


@pytest.fixture
def cluster(place: Place) -> tuple[str, list[subprocess.Popen[str]]]:
    """A scheduler and two worker processes on loopback."""
    where = place.folder / "scheduler.json"
    words = ("--scheduler-file", str(where), "--no-dashboard")
    place.start("distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0", *words)
    end = time.monotonic() + SECONDS
    while not (where.exists() and where.read_text()):
        assert time.monotonic() < end
        time.sleep(0.1)
    address = json.loads(where.read_text())["address"]
    workers = [start_worker(place, address, f"w{number}") for number in range(2)]
    with distributed.Client(address, set_as_default=False) as client:
        client.wait_for_workers(len(workers), SECONDS)
    return address, workers


def test_on_a_cluster_a_killed_worker_s_shard_runs_again_once(
    place: Place, cluster: tuple[str, list[subprocess.Popen[str]]]
) -> None:
    address, workers = cluster
    place.hold.touch()
    running = place.campaign(*PLAN, "--scheduler", address)
    place.wait_for_rows(5)
    place.kill.touch()
    place.hold.unlink()
    output, _ = running.communicate(timeout=SECONDS)
    assert running.returncode == 0, output
    assert_complete(place)
    assert sorted(worker.poll() is None for worker in workers) == [False, True]


def test_a_scheduler_that_goes_away_loses_nothing(
    place: Place, cluster: tuple[str, list[subprocess.Popen[str]]]
) -> None:
    address, workers = cluster
    running = place.campaign("--seed", "11", "--time", "1h", "--scheduler", address)
    place.wait_for_rows(5)
    scheduler = place.started[0]
    scheduler.kill()
    output, _ = running.communicate(timeout=SECONDS)
    assert running.returncode == MACHINERY, output
    assert "the scheduler went away" in output
    assert "Traceback" not in output
    assert len(place.rows()) >= 5
    for worker in workers:  # with its guest, also if it was telling the scheduler of a program
        worker.wait(SECONDS)


def test_a_scheduler_that_answers_late_loses_nothing(
    place: Place, cluster: tuple[str, list[subprocess.Popen[str]]]
) -> None:
    address, _workers = cluster
    running = place.campaign(*PLAN, "--scheduler", address)
    place.wait_for_rows(5)
    scheduler = place.started[0]
    scheduler.send_signal(signal.SIGSTOP)
    time.sleep(1)
    before = len(place.rows())
    time.sleep(3)
    assert len(place.rows()) == before  # each worker waits until its program is there
    scheduler.send_signal(signal.SIGCONT)
    output, _ = running.communicate(timeout=SECONDS)
    assert running.returncode == AGREE, output
    assert_complete(place)


def test_a_cluster_whose_workers_are_all_gone_is_not_waited_for_until_the_end(
    place: Place, cluster: tuple[str, list[subprocess.Popen[str]]]
) -> None:
    address, workers = cluster
    running = place.campaign(*PLAN, "--scheduler", address, "--wait-for-workers", "3s")
    place.wait_for_rows(5)
    for worker in workers:
        worker.kill()
    output, _ = running.communicate(timeout=SECONDS)
    assert running.returncode == MACHINERY, output
    assert re.search(r"programs.*, no worker for \d+ s, 0 findings in", output)
    resume = f"ext4diff campaign --resume {place.results} --scheduler {address}"
    assert f"dask worker {address} --nthreads 1" in output and resume in output
    assert "Traceback" not in output
    assert 5 <= len(place.rows()) < COUNT
    start_worker(place, address, "w2")
    with distributed.Client(address, set_as_default=False) as client:
        client.wait_for_workers(1, SECONDS)
    again = place.start("harness", *resume.split()[1:])
    output, _ = again.communicate(timeout=SECONDS)
    assert again.returncode == 0, output
    assert_complete(place)


# --- bad input ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "say when to stop: --time 8h"),
        (("--time", "soon"), "write 8h, 90m"),
        (("--time", "0s"), "no time at all"),
        (("--count", "0"), "--count and --findings 1 or more"),
        (("--count", "1", "--findings", "0"), "--count and --findings 1 or more"),
        (("--count", "1", "--scheduler", "lab1"), "'lab1' is no address: write tcp://HOST:8786"),
        (("--kind", "none"), "say what else to run"),
        (("--count", "5", "-j", "0"), "-j and --disk are 1 or more"),
        (("--count", "5", "--on", "5k@*"), "no configuration"),
        (("--exhaustive", "0:999999999",), "there are 402511 exhaustive programs"),
    ],
)  # fmt: skip
def test_what_makes_no_campaign_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str
) -> None:
    results = tmp_path / "results"
    try:
        status = main(["campaign", *words, "--results", str(results)])
    except SystemExit as error:  # argparse
        status = error.code
    assert status == USAGE
    assert said in capsys.readouterr().err
    assert not results.exists()


def test_nothing_to_resume(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["campaign", "--resume", str(tmp_path)]) == USAGE
    assert "there is no results.sqlite in it" in capsys.readouterr().err


@pytest.fixture
def begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The results of a night of random programs without end, of which none has run."""
    asked = Asked(
        Plan(11, kinds=("random",), configs=("4k@delalloc",)), "model", strict=False,
        kernel="built:abc", accel="tcg", mirror=None, always_boot=False,
    )  # fmt: skip
    with Store.open(tmp_path / "results.sqlite") as store:
        store.begin(new_night(asked, "tree:~/linux against model"))

    def work(*_words: object, **_more: object) -> None:
        raise UsageError("it begins")

    monkeypatch.setattr("harness.campaign.night.work", work)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "other"),
    [
        (("--seed", "12"), "--seed"),
        (("--count", "5", "--catalogue", "--kind", "swarm"), "--count, --kind, --catalogue"),
        (("--on", "1k@delalloc", "--exhaustive", "0:9"), "--exhaustive, --on"),
        (("--kernel", "debian:sid", "--against", "path:iomap"), "--kernel, --against"),
        (("--strict-model", "--observe", "end"), "--strict-model, --observe"),
        (("--memory", "1024", "--program-time", "9"), "--memory, --program-time"),
        (("--results", "elsewhere"), "--results"),
    ],
)
def test_a_night_that_is_resumed_stays_what_it_was(
    begun: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], other: str
) -> None:
    """The options were ignored, without a word."""
    assert main(["campaign", "--resume", str(begun), *words]) == USAGE
    error = capsys.readouterr().err
    assert "what the night had (tree:~/linux against model, seed 11): leave out" in error
    assert f"leave out {other}; --results {begun} in its place begins a new night" in error


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--seed", "11", "--kind", "random", "--on", "4k@delalloc", "--kernel", "tree:~/linux"),
        ("--kernel", "built:abc", "--accel", "tcg", "-j", "1", "--against", "model"),
    ],
)
def test_what_the_night_had_may_be_said_again(
    begun: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    for time_is_over in ((), ("--time", "5s")):
        assert main(["campaign", "--resume", str(begun), *words, *time_is_over]) == USAGE
        told = capsys.readouterr()
        assert told.err == "ext4diff: it begins\n"
        assert ("this night has no end: Ctrl-C ends it" in told.out) is not bool(time_is_over)


def test_a_scheduler_that_does_not_answer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.campaign.cluster.CONNECT", 0.5)
    words = ("campaign", "--count", "5", "--scheduler", "tcp://127.0.0.1:9")
    assert main([*words, "--results", str(tmp_path)]) == MACHINERY
    error = capsys.readouterr().err
    assert "does not answer within 0.5 s" in error
    assert error.count("\n") == 1
