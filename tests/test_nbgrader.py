"""The hand-out with nbgrader's metadata, through nbgrader's own steps.

`make test-nbgrader` runs this in an environment of its own.
"""

import csv
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import nbformat
import pytest
import test_classroom
from test_classroom import BLOCK, PERFECT, hand_in

from favor_mini.classroom.release import release

pytest.importorskip("nbgrader", reason="not installed; make test-nbgrader installs it")
course = test_classroom.course
HALF = {**PERFECT, "local_causal": BLOCK.replace("block_causal", "local_causal")}
CONFIG = """
c = get_config()
c.CourseDirectory.course_id = "course"
c.ExecutePreprocessor.timeout = 900
c.CsvExportPlugin.to = "grades.csv"
"""


@pytest.mark.slow
def test_nbgrader_gives_full_half_and_no_marks(course, tmp_path):
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])

    def nbgrader(*words):  # which calls alembic by its name
        done = subprocess.run([sys.executable, "-m", "nbgrader", *words], cwd=tmp_path, text=True,
                              env={**os.environ, "PATH": programs}, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, check=False)
        assert done.returncode == 0, done.stdout

    (tmp_path / "nbgrader_config.py").write_text(CONFIG)
    for archive in release(course, "masks", tmp_path / "out", nbgrader=True):
        zipfile.ZipFile(archive).extractall(tmp_path / "source")
    nbgrader("generate_assignment", "masks")
    [handed_out] = (tmp_path / "release" / "masks").glob("*.ipynb")
    for student, answers in {"perfect": PERFECT, "half": HALF, "empty": {}}.items():
        folder = tmp_path / "submitted" / student / "masks"
        folder.mkdir(parents=True)
        hand_in(nbformat.read(handed_out, as_version=4), folder, handed_out.stem, **answers)
    nbgrader("autograde", "masks")
    nbgrader("export")
    with open(tmp_path / "grades.csv", encoding="utf-8", newline="") as file:
        found = {row["student_id"]: (float(row["score"]), float(row["max_score"]))
                 for row in csv.DictReader(file)}
    assert found == {"perfect": (10, 10), "half": (6, 10), "empty": (0, 10)}
