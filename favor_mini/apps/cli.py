"""The command line. A command imports the heavy libraries that it needs; `--help` imports none."""

import os
import sys
from collections.abc import Callable
from typing import Annotated, Literal

from cyclopts import App, CycloptsError, Parameter, UnusedCliTokensError

from .. import __version__
from .class_commands import classes
from .lab_commands import bench, diagnose, doctor, experiment, gym
from .settings import (
    FLAT,
    WORK,
    DataSettings,
    DemoSettings,
    EvaluateSettings,
    FavorSettings,
    FinetuneSettings,
    JoinSettings,
    Model,
    PartSettings,
    TrainSettings,
)

EXAMPLES = """examples:
  favor-mini ask clip.mp4 "what was shown when the bell was heard?"
  favor-mini demo                      ask, fine-tune and write a report, in a few minutes
  favor-mini evaluate                  the eleven tasks, next to baselines and chance
  favor-mini doctor                    check this machine

exit codes: 0 done, 1 a problem with the input or the machine, 2 wrong usage, 130 interrupted.
FAVOR_MINI_DEBUG=1 shows the full traceback of an error."""

RESUMED = ("train", "finetune", "compare", "gym", "evaluate")  # commands that keep what is done

app = App(name="favor-mini", version=f"favor-mini {__version__}", help_epilogue=EXAMPLES,
          help="Ask an audio-visual language model about a clip, and train it yourself.",
          help_format="plaintext", help_formatter="plain", result_action="return_value",
          default_parameter=Parameter(negative=()), suppress_keyboard_interrupt=False)


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns its exit code. Results go to stdout, everything else to stderr."""
    argv = sys.argv[1:] if argv is None else argv
    try:
        if not argv:
            raise CycloptsError("a command is missing")
        _quiet()
        code = app(argv, exit_on_error=False, print_error=False) or 0
        sys.stdout.flush()
        return code
    except CycloptsError as error:
        command = " ".join(["favor-mini", *(error.command_chain or [])])
        hint = " Fix: put a text with spaces into quotation marks." if isinstance(
            error, UnusedCliTokensError) else ""
        print(f"favor-mini: {' '.join(str(error).split())}{hint}\nusage: {command} --help shows "
              "the options", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        again = "; the same command continues" if argv[0] in RESUMED else ""
        print(f"favor-mini: interrupted{again}", file=sys.stderr)
        return 130
    except (BrokenPipeError, SystemExit) as end:  # the reader closed our output, as `head` does
        if isinstance(end, SystemExit) and not isinstance(end.__context__, BrokenPipeError):
            raise  # rich, which prints the help, turns the one into the other
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (OSError, ValueError) as error:  # MediaError is a ValueError
        if os.environ.get("FAVOR_MINI_DEBUG"):
            raise
        print("favor-mini:", " ".join(str(error).split()), file=sys.stderr)
        return 1


def _quiet() -> None:
    """Hide transformers' advice and progress bars; let waiting threads sleep. Letters that the
    output cannot hold are written as escapes: a pipe on Windows has few."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")
    for name, value in {"TRANSFORMERS_VERBOSITY": "error", "HF_HUB_DISABLE_PROGRESS_BARS": "1",
                        "TOKENIZERS_PARALLELISM": "false", "OMP_WAIT_POLICY": "PASSIVE"}.items():
        os.environ.setdefault(name, value)


def command(name: str, summary: str, examples: str = "", within: App = app) -> Callable:
    """Register a function as a command."""
    return within.command(name=name, help=summary,
                          help_epilogue=f"examples:\n{examples}" if examples else "")


@command("ask", "Answer a question about a video, sound or picture file.", """\
  favor-mini ask clip.mp4 "what was shown when the bell was heard?"
  favor-mini ask holiday.mp4 "what was said?" --start 60 --end 70
  favor-mini ask clip.mp4 "what was written?" --json | jq .confidence
  favor-mini ask film.mp4 "what was said?" --long
  favor-mini ask --list-questions

The answer goes to stdout. Notes that make it doubtful go to stderr: words that the model does not
know, a question, pictures or sounds unlike those of its training, low confidence.""")
def ask(clip: str | None = None, question: str | None = None, /, *, start: float | None = None,
        end: float | None = None, as_json: Annotated[bool, Parameter(name="--json")] = False,
        long: bool = False, list_questions: bool = False,
        model: Annotated[Model, FLAT] = Model()) -> None:
    """
    Args:
        clip: any file that FFmpeg can read: mp4, mkv, webm, gif, wav, mp3, png ...
        question: in the words of the mini world.
        start: use the clip from this second on.
        end: use the clip up to this second.
        as_json: print one JSON object: answer, confidence, familiar, notes, seconds per stage.
        long: cut a long clip into parts that the model can take, and answer for each of them.
        list_questions: print what the model can be asked.
    """
    from .ask import Asker, known_questions, print_answers

    if list_questions:
        print(known_questions(model.checkpoint))
        return
    if clip is None or question is None:
        raise CycloptsError(f"found {'no clip' if clip is None else f'the clip {clip}'} and no "
                            'question, expected both, as in: favor-mini ask clip.mp4 "what was '
                            'said?"')
    asker = Asker(model.load_parts())
    print_answers(asker.ask_long(clip, question, start, end) if long else
                  [asker.ask(clip, question, start, end)], as_json)


@command("watch", "Answer a question again and again while a film arrives.", """\
  favor-mini watch film.mkv "what was said?"
  favor-mini watch recording.ts "what was said?" --patience 10
  ffmpeg -i INPUT -f matroska - | favor-mini watch - "what was shown when the bell was heard?"

One answer at the end of each window (5 s in the mini model), about the last windows. A file that is
being written has to be of a form that can be read from its beginning: Matroska, MPEG-TS, or
fragmented MP4.""")
def watch(film: Annotated[str, Parameter(allow_leading_hyphen=True)], question: str, /, *,
          patience: float = 0.0, seconds: float | None = None,
          model: Annotated[Model, FLAT] = Model()) -> None:
    """
    Args:
        film: a file, a named pipe, or - for standard input.
        question: in the words of the mini world.
        patience: seconds to wait for more, where the file ends.
        seconds: how much of the past each answer is about (default: as much as the training clips
            had).
    """
    from .watch import print_watch

    print_watch(film, question, checkpoint=model.load_parts(), patience=patience, seconds=seconds)


@command("convert", "Convert the weights that FAVOR's authors released.", """\
  favor-mini convert pytorch_model_1_101.pt --out build/released
  favor-mini convert pytorch_model_1_101.pt --out build/favor-7b --audio openai/whisper-large-v2 \
--vision Salesforce/instructblip-vicuna-7b --language lmsys/vicuna-7b-v1.1 --dtype bfloat16

Without the frozen parts, the folder holds connector and LoRA alone.""")
def convert(released: str, /, *, out: str, audio: str | None = None, vision: str | None = None,
            language: str | None = None,
            dtype: Literal["float32", "bfloat16", "float16"] = "float32") -> None:
    """
    Args:
        released: the authors' file; it is read without running code from it.
        out: a new folder.
        audio: Whisper large-v2, a folder or a hub name.
        vision: InstructBLIP, likewise.
        language: the Vicuna that the file was trained with, likewise.
        dtype: of the frozen parts.
    """
    import torch

    from ..released import DIFFERENCES, convert_file

    folder = convert_file(released, out, audio=audio, vision=vision, language=language,
                          **({"dtype": getattr(torch, dtype)} if language else {}))
    print(folder, *(f"note: {each}" for each in DIFFERENCES), sep="\n")


@command("demo", "Ask about held-out clips, fine-tune a fresh connector, write a report.",
         "  favor-mini demo\n  favor-mini demo --minutes 2 --out build/short-demo")
def demo(*, out: str = f"{WORK}/demo", checkpoint: str | None = None,
         settings: Annotated[DemoSettings, FLAT] = DemoSettings()) -> None:
    """
    Args:
        out: folder for report.html.
        checkpoint: folder of a checkpoint, or mini (the default) or label-free, which ship.
    """
    from .demo import run_demo

    run_demo(out, settings, checkpoint=checkpoint)


train = App(name="train", help_epilogue="",
            help="Train a part of the model, or all of it, on the mini world alone. "
                 "A run that was stopped continues.")
app.command(train)


def _train(parts: list[str], favor: bool, settings: TrainSettings) -> None:
    from .. import CHECKPOINTS
    from ..evaluation.checkpoint import find_checkpoint
    from ..pretraining.recipe import make_favor, make_part

    options = {name: value for name, value in vars(settings).items() if value is not None}
    out, source = options.pop("out"), options.pop("parts", None)
    options["progress"] = sys.stderr.isatty()
    for part in parts:
        print(make_part(part, out, **options))
    if favor:
        stages = {name: options.pop(f"{name}_steps") for name in ("name", "align", "ask")
                  if f"{name}_steps" in options}
        parts = find_checkpoint(source) if source in CHECKPOINTS else source or out
        print(make_favor(parts, out, steps=stages, **options))


def _train_part(part: str, summary: str) -> None:
    @command(part, summary, f"  favor-mini train {part} --out build/make", train)
    def run(*, settings: Annotated[PartSettings, FLAT] = PartSettings()) -> None:
        _train([part], False, settings)


_train_part("audio", "Train the audio encoder to name what is heard.")
_train_part("vision", "Train the visual encoder to name what is seen.")
_train_part("language", "Train the text-only language model on scripts in words.")


@command("favor", "Join the parts, then train connector and LoRA.",
         "  favor-mini train favor --out build/make", train)
def train_favor(*, settings: Annotated[FavorSettings, FLAT] = FavorSettings()) -> None:
    _train([], True, settings)


@command("all", "Train everything from scratch: the three parts, then favor (hours).",
         "  favor-mini train all --out build/make", train)
def train_all(*, settings: Annotated[TrainSettings, FLAT] = TrainSettings()) -> None:
    _train(["audio", "vision", "language"], True, settings)


@command("join", "Join pretrained encoders and a language model with an untrained connector.", """\
  favor-mini join --preset laptop --out build/joined
  favor-mini join --audio whisper-base --vision clip --language smollm2 --dtype bfloat16

The folder is a checkpoint for --checkpoint. The connector answers nonsense until it is trained.""")
def join(*, settings: Annotated[JoinSettings, FLAT] = JoinSettings()) -> None:
    from .join import join

    print(join(settings))


@command("finetune", "Train connector and LoRA of a checkpoint on your own clips and texts.", """\
  favor-mini finetune rows.json --media-root media --validation val.json --out build/own
  favor-mini finetune rows.json --media-root media --checkpoint build/joined --dry-run
  torchrun --nproc-per-node 2 -m favor_mini finetune rows.json --media-root media

`favor-mini data` checks such a file. A run that was stopped continues.""")
def finetune(file: str, /, *, settings: Annotated[FinetuneSettings, FLAT] = FinetuneSettings(),
             model: Annotated[Model, FLAT] = Model()) -> None:
    """
    Args:
        file: JSON, JSON Lines or CSV file of rows.
    """
    from .finetune import run

    run(file, settings, model.load_parts(), progress=sys.stderr.isatty())


@command("evaluate", "Scores on the eleven tasks; or accuracy by kind of question.", """\
  favor-mini evaluate
  favor-mini evaluate --task avsr --draw avsr.png
  favor-mini evaluate --data samples
  favor-mini evaluate --scenes 100 --json answers.jsonl
  favor-mini evaluate --data samples --audio-delay 1
  favor-mini evaluate --task video_qa --file nextqa_test.json --media-root videos""")
def evaluate(*, settings: Annotated[EvaluateSettings, FLAT] = EvaluateSettings(),
             model: Annotated[Model, FLAT] = Model()) -> None:
    settings.check()
    from .evaluate import benchmark, by_question, test_set

    by_kind = settings.data or settings.scenes
    run = test_set if settings.file else by_question if by_kind else benchmark
    run(settings, model.load_parts(), progress=sys.stderr.isatty())


@command("data", "What a data file holds, which rows cannot be used, what training costs.", """\
  favor-mini data rows.json --media-root videos
  favor-mini data train.jsonl --test test.jsonl --media-root videos --checkpoint build/joined
  favor-mini data rows.csv --media-root videos --quick && echo "all rows can be used"

exit code 1: a row cannot be used, or a medium is both in train and test.""")
def data(file: str, /, *, settings: Annotated[DataSettings, FLAT] = DataSettings(),
         model: Annotated[Model, FLAT] = Model()) -> int:
    """
    Args:
        file: JSON, JSON Lines or CSV; `favor_mini.data.manifest` describes the forms of its rows.
    """
    from .data import examine

    return examine(file, settings, model.load_parts(), progress=sys.stderr.isatty())


app.command("favor_mini.apps.compare:compare", name="compare", help_epilogue="""examples:
  favor-mini compare --vary attention=block_causal,full,none --seeds 5 --minutes 3
  favor-mini compare --vary diversity_weight=0.1,0,1 --dry-run
  favor-mini compare --arm window_frames=10,num_queries=16 --arm window_frames=5,num_queries=8
  favor-mini compare --parts mine.py --vary attention=block_causal,mine""",
            help="Train variants of the connector in pairs, and test whether they differ.")


command("experiment", "Experiments on the paper's claims: show the results, or run one.", """\
  favor-mini experiment
  favor-mini experiment attention
  favor-mini experiment offset --run""")(experiment)
command("gym", "Train a connector alone, on streams of symbols, in seconds: where does it matter?",
         """\
  favor-mini gym
  favor-mini gym sync
  favor-mini gym --vary sync=concat,interleave,append --tasks recall --set steps=400
  favor-mini gym --parts mine.py --vary attention=block_causal,mine --tasks state""")(gym)
command("diagnose", "Measure failure signatures: synchronisation, windows, diversity.",
         "  favor-mini diagnose\n  favor-mini diagnose build/make/favor")(diagnose)
command("doctor", "Check libraries, codecs, device, checkpoint, samples, memory and disk.")(doctor)
command("bench", "Measure this machine: causal Q-Former, reading, asking, importing, training.",
         "  favor-mini bench --quick\n  favor-mini bench --only qformer --json bench.json")(bench)
app.command(classes)
