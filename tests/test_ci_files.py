"""The CI files that we ship call what there is, and look for files where it writes them."""

from __future__ import annotations

import configparser
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
WORKFLOW = ROOT / ".github" / "workflows" / "ext4diff.yml"
GITLAB = ROOT / ".gitlab-ci.yml"
SERVICE = ROOT / "contrib" / "systemd" / "ext4diff-nightly.service"
TIMER = SERVICE.with_suffix(".timer")


def environments() -> dict[str, str]:
    tox = configparser.ConfigParser(interpolation=None)
    tox.read(ROOT / "tox.ini")
    names = {name.partition(":")[2]: name for name in tox.sections() if ":" in name}
    return {name: tox[section].get("commands", "") for name, section in names.items()}


@pytest.mark.parametrize(
    ("path", "schema"), [(WORKFLOW, "vendor.github-workflows"), (GITLAB, "vendor.gitlab-ci")]
)
def test_files_are_as_the_published_schemas_have_them(path: Path, schema: str) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, str(path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", [WORKFLOW, GITLAB, SERVICE], ids=lambda path: path.name)
def test_every_environment_that_is_called_exists(path: Path) -> None:
    called = set(re.findall(r"tox -e (\S+)", path.read_text()))
    assert called
    assert called <= set(environments())


@pytest.mark.parametrize("path", [WORKFLOW, GITLAB], ids=lambda path: path.name)
def test_what_is_kept_is_what_the_nightly_writes(path: Path) -> None:
    written = set(re.findall(r"\}/(\S+)", environments()["nightly"]))
    assert {"results.sqlite", "report/index.html", "report/summary.md"} <= written
    named = set(re.findall(r"nightly/((?:report/)?[\w.]+\.\w+)", path.read_text()))
    assert "results.sqlite" in named
    assert named <= written


def test_nights_go_on_from_earlier_results_and_the_cache() -> None:
    steps = yaml.safe_load(WORKFLOW.read_text())["jobs"]["nightly"]["steps"]
    for part in ("restore", "save"):
        found = [step for step in steps if f"cache/{part}@" in step.get("uses", "")]
        paths = {step["with"]["path"] for step in found}
        assert paths == {"~/.cache/ext4diff", "nightly/results.sqlite"}
    # also if the night found something, which ends the job as failed; `found` are those that save
    assert all(step["if"] == "always()" for step in found)
    nightly = yaml.safe_load(GITLAB.read_text())["nightly"]
    assert nightly["cache"]["paths"] == [".cache/", "nightly/results.sqlite"]


def test_the_campaign_ends_before_its_job_is_ended() -> None:
    jobs = yaml.safe_load(WORKFLOW.read_text())["jobs"]
    hours = re.search(r"'(\d)h'", jobs["nightly"]["env"]["EXT4DIFF_TIME"])
    assert hours is not None
    assert int(hours[1]) * 60 + 30 <= jobs["nightly"]["timeout-minutes"]
    gitlab = yaml.safe_load(GITLAB.read_text())
    assert gitlab["variables"]["EXT4DIFF_TIME"] < gitlab["nightly"]["timeout"]


def test_the_timer_starts_the_service() -> None:
    assert TIMER.stem == SERVICE.stem
    assert "OnCalendar=" in TIMER.read_text()
    stop = re.search(r"TimeoutStopSec=(\d+)", SERVICE.read_text())
    assert stop is not None
    assert int(stop[1]) > 60  # guests are ended, rows are kept
