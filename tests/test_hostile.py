"""Damaged files of every kind: no crash, no hang, no gigabyte; MediaError or a clip."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from conftest import needs

RUN = Path(__file__).parent / "hostile" / "run.py"
pytestmark = needs("limits")


def outcomes(folder, first: int, last: int) -> Counter:
    done = subprocess.run([sys.executable, RUN, folder, str(first), str(last)],
                          capture_output=True, text=True)
    assert not done.returncode, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) == last - first
    bad = [row for row in rows if row["outcome"] not in ("clip", "MediaError")]
    assert not bad, bad
    return Counter(row["outcome"] for row in rows)


@pytest.mark.slow
def test_forty_eight_damaged_files(tmp_path):
    found = outcomes(tmp_path, 0, 48)
    assert found["MediaError"] > 10


@pytest.mark.all
@pytest.mark.slow
def test_all_damaged_files(tmp_path):
    found = outcomes(tmp_path, 48, 528)
    assert found["MediaError"] > 100 and found["clip"] > 100
