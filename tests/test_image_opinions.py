"""Our reader of images agrees with debugfs, dumpe2fs and e2fsck on images of all kinds."""

from __future__ import annotations

import pytest
from image_maker import make, recipe, tool
from second_opinion import debugfs_says, dumpe2fs_says, ours, ours_of_groups

from harness.image.check import problems
from harness.image.survey import Survey
from model.image.filesystem import Filesystem

QUICK = range(14)
MANY = range(100, 330)
"""Seeds of recipes."""


def agree(tmp_path, seed):
    path = tmp_path / "image"
    made = recipe(seed)
    assert make(path, made), f"mke2fs refuses {made}"
    assert tool("e2fsck", "-fn", str(path)).returncode == 0
    with Filesystem.open(path) as fs:
        survey = Survey(fs)
        assert not problems(survey)
        theirs = debugfs_says(path, survey, tmp_path)
        mine = {
            number: ours(survey, number, file)
            for number, file in {**survey.files, **survey.system, **survey.values}.items()
            if number != 1  # the bad blocks' inode has no type; debugfs makes one up
        }
        for number, file in mine.items():
            other = theirs[number]
            if number == 7:  # debugfs does not tell the reserve's blocks apart
                file.pop("tree"), other.pop("tree"), file.pop("extents"), other.pop("extents")
            assert other == file, number
        of_groups, theirs_of_groups = ours_of_groups(survey), dumpe2fs_says(path)
        if fs.volume.ratio > 1:  # dumpe2fs prints clusters as blocks that they start at
            for group in (*of_groups["groups"], *theirs_of_groups["groups"]):
                group.pop("blocks")
        assert theirs_of_groups == of_groups


@pytest.mark.parametrize("seed", QUICK)
def test_the_reader_agrees_with_e2fsprogs(tmp_path, seed):
    agree(tmp_path, seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", MANY)
def test_the_reader_agrees_with_e2fsprogs_on_many_images(tmp_path, seed):
    agree(tmp_path, seed)
