"""Puts the course into the wheel: notebooks and samples, as `favor_mini/_course`.

pyproject.toml names the class. An editable install has them in the clone, and gets no copy.
"""

import os
import runpy
import shutil
from pathlib import Path

from setuptools.command.build_py import build_py

ROOT = Path(__file__).parents[1]
SETUP = "favor_mini/classroom/setup.py"


def course_files() -> list[str]:
    return runpy.run_path(str(ROOT / SETUP))["course_files"](ROOT)


class BuildWithCourse(build_py):
    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        course = Path(self.build_lib, "favor_mini", "_course")
        shutil.rmtree(course, ignore_errors=True)  # of an earlier build
        for name in course_files():
            self.mkpath(str((course / name).parent))
            self.copy_file(str(ROOT / name), str(course / name))

    def get_source_files(self) -> list[str]:
        """For a source archive, from which a wheel can be built."""
        own = Path(__file__).relative_to(ROOT).as_posix()
        return [*super().get_source_files(), own,
                *(name.replace("/", os.sep) for name in course_files())]
