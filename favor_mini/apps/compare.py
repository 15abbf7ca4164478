"""`favor-mini compare`: the options of `lab.plan.Plan`, in a file that is imported on demand."""

import sys
from dataclasses import field, fields, make_dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Group, Parameter, validators

from ..lab.plan import Plan, parse_changes
from ..storage import atomic_write
from .settings import WORK, Count, Model

ARMS = Group("Arms (one of the two)", validator=validators.LimitedChoice(1, 1))
TYPES = {int: Count, int | None: Count | None}
Options = make_dataclass("Options", kw_only=True, fields=[
    (f.name, TYPES.get(f.type, f.type), field(default=f.default, metadata=f.metadata))
    for f in fields(Plan) if f.name not in ("arms", "fixed")],
    namespace={"__module__": __name__})
DEFAULTS = Options()


def compare(*, vary: Annotated[str | None, Parameter(group=ARMS)] = None,
            arm: Annotated[list[str] | None, Parameter(group=ARMS)] = None,
            fixed: Annotated[str | None, Parameter(name="--set")] = None,
            plan: Annotated[Options, Parameter(name="*")] = DEFAULTS,
            out: str = f"{WORK}/compare", keep: bool = False, dry_run: bool = False,
            bound: float | None = None, jobs: Count = 1, loggers: list[str] | None = None,
            model: Annotated[Model, Parameter(name="*")] = Model()) -> None:
    """
    Args:
        vary: FIELD=A,B,...: one field of the config and its values; the first is the baseline.
            A wrong FIELD prints the list of fields.
        arm: FIELD=A,...: changes that go together. Repeat for each arm, the baseline first.
        fixed: FIELD=A,...: changes that all arms share.
        out: folder for runs and results.json.
        keep: keep the trained models, too (30 MB each), and print their folders.
        dry_run: print the cost, and train nothing.
        bound: then print how many seeds and clips it takes to know each difference to so many
            points.
        jobs: processes, of one thread each; without a GPU, two are faster on two cores.
        loggers: of each training: csv, and those that Trainer knows, as tensorboard or wandb.
    """
    from ..figures.lab import training_curves
    from ..figures.style import save
    from ..lab import compare, planning

    checkpoint = model.load_parts()
    name, _, values = (vary or "").partition("=")
    arms = [f"{name}={value}" for value in values.split(",")] if vary else arm
    complete = Plan([*map(parse_changes, arms)], parse_changes(fixed or ""), **vars(plan))
    shown = {"checkpoint": checkpoint, "progress": sys.stderr.isatty()}
    if dry_run:
        print(compare.dry_run(complete, out, **shown))
        return
    found = compare.compare(complete, out, keep=keep, jobs=jobs, parts=model.parts,
                            loggers=tuple(loggers or ()), **shown)
    print(found)
    table, drawn = (Path(out) / f"curves.{kind}" for kind in ("csv", "png"))
    with atomic_write(table) as unfinished:
        found.curves.to_csv(unfinished, index=False)
    save(training_curves(found), drawn)
    print("", "learning curves:", table, drawn, sep="\n")
    if bound is not None:
        print("", planning.describe_plan(found, bound), sep="\n")
