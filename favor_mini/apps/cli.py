"""The command line. Heavy libraries are imported by the command that needs them, so that --help comes at once."""

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

from .. import __version__
from ..storage import atomic_write
from ..world.questions import FAMILY_GROUPS, single_modality_chance

WAIT_POLICY = os.environ.get("OMP_WAIT_POLICY")  # as it was found, before `_quiet` sets it for this process

EXAMPLES = """examples:
  favor-mini ask clip.mp4 "what was shown when the bell was heard?"
  favor-mini demo                      ask, fine-tune and report, in a few minutes
  favor-mini evaluate                  all eleven tasks, beside what guessing scores
  favor-mini doctor                    is everything in place on this machine?

exit codes: 0 done, 1 a problem with the input or the machine, 2 wrong usage, 130 interrupted.
FAVOR_MINI_DEBUG=1 shows where an error came from."""


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns its exit code. Results go to stdout, everything else to stderr."""
    try:
        arguments = vars(_parser().parse_args(argv))
        run: Callable[..., int | None] = arguments.pop("run")
        _quiet()
        if file := arguments.pop("own_parts", None):
            from ..lab.plan import load_parts

            load_parts(file)
        code = run(**arguments) or 0
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        print("favor-mini: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever read our output has heard enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (OSError, ValueError) as error:  # MediaError is a ValueError
        if os.environ.get("FAVOR_MINI_DEBUG"):
            raise
        print("favor-mini:", " ".join(str(error).split()), file=sys.stderr)
        return 1


def _quiet() -> None:
    """Keep transformers' advice and loading bars out of the way, and threads that wait asleep."""
    for name, value in {"TRANSFORMERS_VERBOSITY": "error", "HF_HUB_DISABLE_PROGRESS_BARS": "1",
                        "TOKENIZERS_PARALLELISM": "false", "OMP_WAIT_POLICY": "PASSIVE"}.items():
        os.environ.setdefault(name, value)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="favor-mini", formatter_class=argparse.RawDescriptionHelpFormatter, epilog=EXAMPLES,
        description="Ask an audio-visual language model about a clip, and train it yourself.")
    parser.add_argument("--version", action="version", version=f"favor-mini {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(name: str, run, summary: str, examples: str, within=commands) -> argparse.ArgumentParser:
        added = within.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".",
                                  epilog=f"examples:\n{examples}" if examples else None,
                                  formatter_class=argparse.RawDescriptionHelpFormatter)
        added.set_defaults(run=run)
        return added

    ask = command("ask", _ask, "answer a question about a video, sound or picture file",
                  '  favor-mini ask clip.mp4 "what was shown when the bell was heard?"\n'
                  '  favor-mini ask holiday.mp4 "what was said?" --start 60 --end 70\n'
                  '  favor-mini ask clip.mp4 "what was written?" --json | jq .confidence\n\n'
                  "The answer goes to stdout. What makes it doubtful goes to stderr: words that the model does not\n"
                  "know, pictures or sounds unlike its training clips, an answer it is unsure of.")
    ask.add_argument("clip", metavar="CLIP", help="any file that FFmpeg can read: mp4, mkv, webm, gif, wav, mp3, png ...")
    ask.add_argument("question", metavar="QUESTION")
    ask.add_argument("--start", type=float, metavar="S", help="look from second S of the clip on")
    ask.add_argument("--end", type=float, metavar="S", help="look up to second S of the clip")
    ask.add_argument("--json", dest="as_json", action="store_true",
                     help="print one JSON object: answer, confidence, familiar, notes, seconds per stage")
    _checkpoint_option(ask)
    _parts_option(ask)

    demo = command("demo", _demo, "ask about held-out clips, fine-tune a fresh connector, write a report",
                   "  favor-mini demo\n  favor-mini demo --minutes 2 --out build/short-demo")
    demo.add_argument("--out", default="build/demo", metavar="DIR", help="where report.html goes (%(default)s)")
    demo.add_argument("--minutes", type=float, default=4.0, metavar="M", help="of fine-tuning (%(default)s)")
    demo.add_argument("--steps", type=_count, metavar="N", help="training steps, in place of minutes: the same each time")
    demo.add_argument("--seed", type=int, default=0, help="(%(default)s)")
    _checkpoint_option(demo)

    train = commands.add_parser("train", help="make a part of the model, or all of it, from the mini world alone",
                                description="Make a part of the model, or all of it, from the mini world alone. "
                                            "A run that was stopped goes on where it was.")
    parts = train.add_subparsers(title="parts", metavar="PART", required=True)
    for name, summary in TRAINING.items():
        part = command(name, _train, summary, f"  favor-mini train {name} --out build/make", within=parts)
        part.set_defaults(part=name)
        part.add_argument("--out", default="build/make", metavar="DIR",
                          help="it comes into a folder of its own in DIR (%(default)s)")
        part.add_argument("--seed", type=int, default=0, help="(%(default)s)")
        part.add_argument("--workers", type=_count, metavar="N", help="processes that prepare examples beside the training")
        if name == "all":
            continue
        part.add_argument("--batch", type=_count, metavar="N", help="clips in a step (default: as for the shipped one)")
        if name == "favor":
            part.add_argument("--parts", metavar="DIR", help="where the three parts are (default: the folder of --out)")
            part.add_argument("--scenes", type=_count, metavar="N", help="training scenes to draw and encode")
            part.add_argument("--name-steps", type=_count, metavar="N", help="steps of naming what is seen and heard")
            part.add_argument("--align-steps", type=_count, metavar="N", help="steps of writing out scripts")
            part.add_argument("--ask-steps", type=_count, metavar="N", help="steps of answering questions")
        else:
            part.add_argument("--steps", type=_count, metavar="N", help="training steps (default: as for the shipped one)")

    evaluate = command("evaluate", _evaluate, "the eleven tasks in one table; or right answers by kind of question",
                       "  favor-mini evaluate\n  favor-mini evaluate --task avsr --draw avsr.png\n"
                       "  favor-mini evaluate --data samples\n  favor-mini evaluate --scenes 100 --json answers.jsonl\n"
                       "  favor-mini evaluate --data samples --audio-delay 1\n"
                       "  favor-mini evaluate --task video_qa --file nextqa_test.json --media-root videos")
    _checkpoint_option(evaluate)
    _parts_option(evaluate)
    chosen = evaluate.add_mutually_exclusive_group()
    chosen.add_argument("--data", choices=["samples"], help="all questions about the clips in data_samples, by kind")
    chosen.add_argument("--scenes", type=_count, metavar="N", help="N validation scenes, written to mp4 and read back, by kind")
    chosen.add_argument("--file", metavar="TEST.json", help="a published test-set file of the paper's benchmark")
    evaluate.add_argument("--task", metavar="NAME", help="this one of the eleven alone: asr, ac, ic, ocr, vqa, video_qa, avsr, avqa, "
                          "isqa, avssd, avm; with --file: which one the file is, as it says the metric (default: accuracy)")
    evaluate.add_argument("--metric", choices=["accuracy", "word error rate", "CIDEr", "SPIDEr"],
                          help="with --file: another one than the task's own; SPIDEr, as in the paper, needs Java")
    evaluate.add_argument("--media-root", metavar="DIR", help="with --file: the folder under which its media are")
    evaluate.add_argument("--audio-delay", type=float, default=0.0, metavar="SECONDS",
                          help="with --data or --scenes: move the sound later against the picture")
    evaluate.add_argument("--json", dest="lines", metavar="FILE.jsonl",
                          help="with --data, --scenes or --file: write every question with its answer")
    evaluate.add_argument("--out", default="build/evaluate", metavar="DIR",
                          help="where the predictions on the eleven tasks go; a stopped run goes on there (%(default)s)")
    evaluate.add_argument("--draw", metavar="FILE.png", help="draw the table of the eleven tasks")

    compare = command("compare", _compare, "train variants of the connector in pairs, and say whether they differ",
                      "  favor-mini compare --vary attention=block_causal,full,none --seeds 5 --minutes 3\n"
                      "  favor-mini compare --vary diversity_weight=0.1,0,1 --dry-run\n"
                      "  favor-mini compare --arm window_frames=10,num_queries=16 --arm window_frames=5,num_queries=8\n"
                      "  favor-mini compare --parts mine.py --vary attention=block_causal,mine")
    arms = compare.add_mutually_exclusive_group(required=True)
    arms.add_argument("--vary", metavar="FIELD=A,B,...", help="one field of the config and its values; the first is the baseline. A wrong "
                      "FIELD prints the list")
    arms.add_argument("--arm", action="append", dest="arms", metavar="FIELD=A,...",
                      help="changes that go together; repeat for each arm, the baseline first")
    compare.add_argument("--set", dest="fixed", default="", metavar="FIELD=A,...", help="changes that all arms share")
    compare.add_argument("--seeds", type=_count, default=5, metavar="N", help="trainings of each arm (%(default)s)")
    compare.add_argument("--minutes", type=float, default=3.0, metavar="M", help="of training the baseline; all arms take "
                         "as many steps (%(default)s)")
    compare.add_argument("--steps", type=_count, metavar="N", help="training steps, in place of minutes: the same each time")
    compare.add_argument("--clips", type=_count, default=1600, metavar="N", help="training clips (%(default)s)")
    compare.add_argument("--scenes", type=_count, default=60, metavar="N", help="validation clips to ask about (%(default)s)")
    compare.add_argument("--tasks", action="store_true", help="train on the eleven tasks, too, and ask these")
    compare.add_argument("--out", default="build/compare", metavar="DIR", help="runs and results.json are kept there (%(default)s)")
    compare.add_argument("--keep", action="store_true", help="keep the trained models, too (30 MB each), and say where")
    compare.add_argument("--dry-run", action="store_true", help="tell what it would cost, and train nothing")
    _checkpoint_option(compare)
    _parts_option(compare)

    experiment = command("experiment", _experiment, "the paper's claims put to the test: show what was found, or run it anew",
                         "  favor-mini experiment\n  favor-mini experiment attention\n  favor-mini experiment offset --run")
    experiment.add_argument("name", nargs="?", metavar="NAME", help="which one (default: list them all)")
    experiment.add_argument("--run", dest="anew", action="store_true", help="run it anew; what was trained before is kept")
    experiment.add_argument("--out", default="build/experiments", metavar="DIR", help="where figures and runs go (%(default)s)")

    diagnose = command("diagnose", _diagnose, "measure what ails a checkpoint: synchronisation, windows or diversity",
                       "  favor-mini diagnose\n  favor-mini diagnose build/make/favor")
    diagnose.add_argument("checkpoint", nargs="?", metavar="CHECKPOINT", help="its folder (default: the shipped one)")
    diagnose.add_argument("--scenes", type=_count, default=60, metavar="N", help="validation clips to ask about (%(default)s)")
    _parts_option(diagnose)

    doctor = command("doctor", _doctor, "check libraries, codecs, device, checkpoint, samples, memory and disk", "")
    doctor.add_argument("--quick", action="store_true", help="leave out what takes seconds: codecs and the checkpoint")
    _checkpoint_option(doctor)

    bench = command("bench", _bench, "measure this machine: causal Q-Former, reading clips, asking, importing",
                    "  favor-mini bench --quick\n  favor-mini bench --only qformer --json bench.json")
    bench.add_argument("--quick", action="store_true", help="small sizes: shows that it runs, says nothing about speed")
    bench.add_argument("--only", choices=["qformer", "read", "ask", "import"], help="one part of the table")
    bench.add_argument("--repeats", type=_count, default=5, metavar="N", help="(%(default)s)")
    bench.add_argument("--threads", type=_count, metavar="N", help="of torch (default: as torch chooses)")
    bench.add_argument("--json", dest="json_file", metavar="FILE", help="also write the rows as JSON")
    _checkpoint_option(bench)
    return parser


TRAINING = {
    "audio": "train the audio encoder to name what is heard",
    "vision": "train the visual encoder to name what is seen",
    "language": "train the text-only language model on scripts in words",
    "favor": "join the parts, then train connector and LoRA",
    "all": "everything from nothing: the three parts, then favor (hours)",
}


def _checkpoint_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--checkpoint", metavar="DIR", help="folder of a checkpoint (default: the shipped one)")


def _parts_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--parts", dest="own_parts", metavar="FILE.py", help="a file that registers parts of your own, which the "
                        "model names; it is run")


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, found {text!r}")
    return int(text)


# The commands.

def _ask(clip: str, question: str, start, end, as_json: bool, checkpoint) -> None:
    from .ask import Asker

    found = Asker(checkpoint).ask(clip, question, start, end)
    if as_json:
        print(json.dumps(vars(found), ensure_ascii=False))
        return
    for note in found.notes:
        print("favor-mini: note:", note, file=sys.stderr)
    print(found.answer)


def _demo(**options) -> None:
    from . import demo

    demo.main(**options)


def _train(part: str, out: str, seed: int, workers=None, parts=None, **options) -> None:
    from ..pretraining.recipe import PARTS, make_favor, make_part

    options = {name: value for name, value in options.items() if value is not None}  # else the recipe's own
    options |= {"seed": seed} if workers is None else {"seed": seed, "workers": workers}
    for name in PARTS if part == "all" else [part] if part in PARTS else []:
        print(make_part(name, out, **options))
    if part in ("favor", "all"):
        print(make_favor(parts or out, out, **options))


def _evaluate(checkpoint, data, scenes, file, task, metric, media_root, audio_delay: float, lines, out, draw) -> None:
    if file:
        if draw:
            raise ValueError("--draw draws the table of the eleven tasks, not a --file")
        return _evaluate_file(file, task, metric, media_root, lines, checkpoint, audio_delay)
    if media_root or metric:
        raise ValueError("--media-root and --metric go with --file TEST.json")
    if not data and not scenes:
        if audio_delay or lines:
            raise ValueError("--audio-delay and --json go with --data samples or --scenes N (--json with --file, too)")
        return _benchmark(task, checkpoint, out, draw)
    if task or draw:
        raise ValueError("--task and --draw go with the eleven tasks, not with --data or --scenes")
    from ..evaluation.checkpoint import find_checkpoint, load_checkpoint

    folder = find_checkpoint(checkpoint)  # a wrong one is told before torch is loaded
    from ..evaluation.answering import encode_clips, evaluate
    from ..evaluation.scores import score_table, scores
    from ..media.clip import delay_sound
    from ..world.question_sets import sample_questions, scene_questions

    model, processor = load_checkpoint(folder)
    size = processor.settings.image_size
    clips, asked, scripts = sample_questions(size) if scenes is None else scene_questions(scenes, size, sys.stderr.isatty())
    if audio_delay:
        clips = {name: delay_sound(clip, audio_delay) for name, clip in clips.items()}
    encoded = encode_clips(model, processor, clips)
    rows = evaluate(model, processor, encoded, asked, single_modality_chance(scripts), progress=sys.stderr.isatty())
    if lines:
        _write_lines(lines, [{**{k: v for k, v in vars(row).items() if k != "others"}, "correct": row.correct} for row in rows])
    print(score_table(scores(rows, FAMILY_GROUPS)))


def _benchmark(task, checkpoint, out: str, figure) -> None:
    from ..aveb.benchmark import run_benchmark
    from ..figures.aveb import save_benchmark

    results = run_benchmark(checkpoint, out, tasks=task and [task], progress=sys.stderr.isatty())
    print(results, f"predictions: {out}", sep="\n")
    if figure:
        save_benchmark(results, figure)


def _evaluate_file(file: str, task, metric, media_root, lines, checkpoint, audio_delay: float) -> None:
    from ..aveb.run import evaluate_file

    if not media_root or audio_delay:
        raise ValueError("--file wants --media-root DIR, the folder under which the media are, and takes no --audio-delay")
    lines = lines or f"build/evaluate/{Path(file).stem}.jsonl"
    print(evaluate_file(file, media_root, lines, task=task, metric=metric, checkpoint=checkpoint, progress=sys.stderr.isatty()))
    print(f"predictions: {lines}")


def _write_lines(path: str, rows: list[dict]) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(Path(path)) as unfinished, open(unfinished, "w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _compare(vary, arms, fixed: str, out: str, dry_run: bool, keep: bool, checkpoint, **options) -> None:
    from ..lab import compare
    from ..lab.plan import Plan, parse_changes

    if vary:
        name, _, values = vary.partition("=")
        arms = [f"{name}={value}" for value in values.split(",")]
    plan = Plan([parse_changes(arm) for arm in arms], parse_changes(fixed), **options)
    shown = {"checkpoint": checkpoint, "progress": sys.stderr.isatty()}
    print(compare.dry_run(plan, out, **shown) if dry_run else compare.compare(plan, out, keep=keep, **shown))


def _experiment(name, anew: bool, out: str) -> None:
    from ..figures.lab import experiment as draw
    from ..lab import experiments

    if name is None:
        print(experiments.listing())
        return
    if anew:
        experiments.run_experiment(name, out, progress=sys.stderr.isatty())
    figure = draw(name, out)
    found, shipped = experiments.known_results(name, out), experiments.shipped_results(name)
    same = shipped is not None and str(found) == str(shipped)  # else the words would be about other numbers
    print(found, *([experiments.find_experiment(name).found] if same else []), figure, sep="\n")


def _diagnose(checkpoint, scenes: int) -> None:
    from ..lab.diagnose import diagnose

    signs = diagnose(checkpoint, scenes)
    print(*signs, sep="\n")
    print("nothing found" if not any(sign.there for sign in signs) else
          "look at: " + ", ".join(sign.points_to for sign in signs if sign.there))


def _doctor(quick: bool, checkpoint) -> int:
    from .doctor import examine

    return examine(checkpoint=checkpoint, quick=quick)


def _bench(**options) -> None:
    from .bench import bench

    bench(**options)
