"""`ext4diff bench --images` measures real images, and says which."""

from __future__ import annotations

import pytest

from harness.bench import images as bench_images
from harness.bench.images import Took, measure_images
from harness.cli import main
from harness.errors import USAGE
from harness.image.canonical import canonical
from model.image.filesystem import Filesystem
from vm.host_tools import ensure_host_tools


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    ensure_host_tools(["mke2fs"])
    monkeypatch.setattr(bench_images, "SIZES", ((64, 3, 5000), (32, 1, 100)))


def test_what_is_measured_is_an_image_with_these_files(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[list[int]] = []

    def work(path: object) -> None:
        with Filesystem.open(path) as fs:  # type: ignore[arg-type]
            files = canonical(fs).files
        found.append([entry.size for entry in files.values() if entry.type == "file"])

    monkeypatch.setattr(bench_images, "_form", work)
    took = list(measure_images())
    assert found[0] == [5000, 5000, 5000]
    assert found[-1] == [100]
    assert [one.what for one in took] == [
        "canonical form, 64 MiB with 3 files of 5,000 bytes",
        "the model's image in memory, its check and its form, the same files",
        "canonical form, 32 MiB with 1 files of 100 bytes",
    ]
    assert all(0 < one.cpu < 1000 and one.wall > 0 for one in took)


def test_the_command_measures_images_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        "harness.commands.bench.measure_images", lambda: iter([Took("an image", 1.25, 2.0)])
    )
    assert main(["bench", "--images"]) == 0
    assert capsys.readouterr().out == "an image: 1.2 ms of CPU time (2.0 ms of the day)\n"
    assert main(["bench"]) == USAGE
    assert "name recordings" in capsys.readouterr().err
