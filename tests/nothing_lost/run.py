"""Commands that are killed again and again, and started again until they finish.

    python tests/nothing_lost/run.py FOLDER KILLS [COMMAND ...]     one line of JSON per command

A kill (SIGKILL to the process group) comes before a random call that changes a file, or after a
random time. A command that was killed is started again, and killed again, until it finishes. Then
its files and its output must be those of a run that was not killed. This is repeated in new folders
until the command was killed KILLS times.
"""

import json
import signal
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from commands import differences, results
from processes import Process, whole_runs


def kill_often(command: str, kit: Path, folder: Path, whole: Process, kills: int) -> dict:
    """Kill a command `kills` times: the points, and every problem that was found."""
    rng, points, problems, chains = np.random.default_rng(0), [], [], 0
    expected = results(whole.out, whole.printed)
    while len(points) < kills:
        out, chains, status = folder / f"{command}-{chains}", chains + 1, -signal.SIGKILL
        while status == -signal.SIGKILL:
            point = {"call": int(rng.integers(1, whole.calls + 1))} if rng.random() < 0.5 else \
                {"seconds": round(float(rng.uniform(0, whole.seconds)), 3)}
            if len(points) == kills:
                point = {}  # let it finish
            process = Process(command, kit, out, stop_before=point.get("call", 0))
            status = process.wait(kill_after=point.get("seconds"))
            points += [point] if status == -signal.SIGKILL else []
        if differ := differences(expected, results(out, process.printed)):
            problems.append(f"chain {chains}: {differ}")
        if status:
            problems.append(f"chain {chains}: status {status}: {process.errors[-2000:]}")
    return {"kills": len(points), "chains": chains, "points": points, "problems": problems}


def main(folder: str, kills: str, *commands: str) -> None:
    for command, kit, whole in whole_runs(Path(folder).resolve(), commands):
        begin = time.perf_counter()
        row = kill_often(command, kit, Path(folder).resolve(), whole, int(kills))
        took = round(time.perf_counter() - begin + whole.seconds)
        print(json.dumps({"command": command, **row, "calls": whole.calls, "took": took}),
              flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
