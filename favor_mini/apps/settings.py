"""The settings of each command, as dataclasses. `cli` derives the options from their fields.

This module imports no library that takes long to import, so that `--help` is quick.
"""

import os
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from cyclopts import Group, Parameter, validators

SHOWN = 10  # lines of one kind of problem, unless all are asked for
FLAT = Parameter(name="*")  # the fields of a dataclass as options


def _whole(kind, tokens) -> int:
    """A whole number; cyclopts alone would round 1.5 to 2."""
    try:
        return int(tokens[0].value)
    except ValueError:
        raise ValueError(f"found {tokens[0].value!r}, expected a whole number") from None


Whole = Annotated[int, Parameter(converter=_whole)]
Count = Annotated[int, Parameter(converter=_whole, validator=validators.Number(gte=1))]
Rate = Annotated[float, Parameter(validator=validators.Number(gt=0))]
Questions = Annotated[Any, Parameter(group=Group(
    "Questions (default: the eleven tasks)", validator=validators.MutuallyExclusive()))]


WORK = os.environ.get("FAVOR_MINI_WORK") or "build"  # where commands write
CHECKPOINT = "folder of a checkpoint, or mini (the default) or label-free, which ship"


def option(default: Any, text: str) -> Any:
    """A field with the help text that the command line prints."""
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True, kw_only=True)
class Model:
    """A checkpoint, and the code of parts that its config names."""

    checkpoint: str | None = option(None, CHECKPOINT)
    parts: str | None = option(None, "Python file that registers parts of your own; it is run")

    def load_parts(self) -> str | None:
        """Run the file of parts; returns the checkpoint's folder."""
        if self.parts:
            from ..lab.plan import load_parts

            load_parts(self.parts)
        return self.checkpoint


@dataclass(frozen=True, kw_only=True)
class DemoSettings:
    """What decides the outcome of the demo's training."""

    minutes: float = option(4.0, "training time")
    steps: Count | None = option(None, "training steps; replaces minutes, and is reproducible")
    seed: Whole = option(0, "of the new weights and of the order of the data")
    clips: Count = option(800, "training clips")
    batch: Count = option(16, "clips per training step")
    lr: Rate = option(7e-4, "peak learning rate")
    recipe: Literal["named", "aligned"] = option(
        "named", "named: with a label for each query, as only the mini world has; aligned: from "
        "clips and their texts alone, with --checkpoint label-free")

    def __post_init__(self):
        if self.minutes <= 0 or (self.steps is not None and self.steps < 3):
            raise ValueError(f"found {self.minutes} minutes, {self.steps} steps. Expected minutes "
                             "above 0 and at least 3 steps, one per stage")
        if self.clips < 1 or self.batch < 1:
            raise ValueError(f"found clips={self.clips}, batch={self.batch}. Expected at least 1")


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """Common to all trainings of `favor-mini train`."""

    out: str = option(f"{WORK}/make", "folder that holds a folder for each part")
    seed: Whole = option(0, "of the weights and of the order of the data")
    workers: Count | None = option(None, "processes that prepare training examples")


@dataclass(frozen=True, kw_only=True)
class PartSettings(TrainSettings):
    """Of one frozen part: audio, vision or language."""

    batch: Count | None = option(None, "clips per training step (default: the recipe's)")
    steps: Count | None = option(None, "training steps (default: the recipe's)")


@dataclass(frozen=True, kw_only=True)
class FavorSettings(TrainSettings):
    """Of connector and LoRA."""

    batch: Count | None = option(None, "clips per training step (default: the recipe's)")
    parts: Annotated[str | None, Parameter(name="--from")] = option(
        None, "folder of the three trained parts, or a checkpoint, such as label-free, that has "
              "them (default: the folder of --out)")
    recipe: Literal["aligned", "named"] = option(
        "aligned", "aligned: from clips and their texts. named: a shortcut with a label for each "
                   "output query, which only the mini world has")
    scenes: Count | None = option(None, "training scenes to draw and encode")
    name_steps: Count | None = option(None, "training steps of the stage name")
    align_steps: Count | None = option(None, "training steps of the stage align")
    ask_steps: Count | None = option(None, "training steps of the stage ask")
    lr: Rate | None = option(None, "peak learning rate (default: the recipe's)")
    decay: float | None = option(
        None, "share of a stage's steps in which the learning rate falls (default: the recipe's)")


@dataclass(frozen=True, kw_only=True)
class FinetuneSettings:
    """Of `favor-mini finetune`."""

    media_root: str = option("media", "folder of the media; nothing outside it is opened")
    validation: str | None = option(
        None, "data file of other clips, asked before and after; its loss is logged in training")
    out: str = option(f"{WORK}/finetuned", "folder for the checkpoint and the training's files")
    cache: str = option(f"{WORK}/features", "folder for the frozen encoders' features")
    steps: Count = option(1000, "training steps; four fifths align, if rows tell what happens in "
                                "the order of time")
    batch: Count = option(4, "clips that a process computes at once")
    accumulate: Count = option(1, "batches of each process in one step")
    lr: Rate | None = option(None, "peak learning rate (default: 7e-4 for a connector that was "
                                    "never trained, 7e-5 for others)")
    decay: Annotated[float, Parameter(validator=validators.Number(gt=0, lte=0.95))] = option(
        0.25, "share of the steps in which the learning rate falls")
    seed: Whole = option(0, "of the order of the data")
    validate_steps: Count = option(100, "steps between two looks at the validation rows")
    save_steps: Count = option(100, "steps between two checkpoints; a stopped run continues there")
    report_to: list[str] = field(default_factory=list, metadata={
        "help": "loggers: csv, and those that Trainer knows, as tensorboard or wandb"})
    metric: Literal["accuracy", "word error rate", "CIDEr", "SPIDEr"] | None = option(
        None, "of the validation rows (default: accuracy)")
    gradient_checkpointing: bool = option(False, "compute activations again: less memory, slower")
    learned_only: bool = option(False, "save connector and LoRA alone")
    dry_run: bool = option(False, "print seconds, memory and tokens of a step; train nothing")


@dataclass(frozen=True, kw_only=True)
class JoinSettings:
    """Which pretrained parts `favor-mini join` joins."""

    out: str = option(f"{WORK}/joined", "folder for the checkpoint; it must not exist yet")
    preset: Literal["laptop"] | None = option(
        None, "laptop: Whisper tiny, SigLIP base and SmolLM2 135M by their hub names; the options "
              "below replace single parts and settings")
    audio: str | None = option(None, "folder or hub name of a Whisper, Wav2Vec2 or HuBERT")
    vision: str | None = option(
        None, "folder or hub name of an InstructBLIP, BLIP-2, CLIP, SigLIP or DINOv2")
    language: str | None = option(None, "folder or hub name of a causal language model")
    prompt: str = option("vicuna", "vicuna, chat (the language model's chat template), or a text "
                                   "with {media} and {question}")
    dtype: Literal["float32", "bfloat16"] = option(
        "float32", "of the frozen parts; connector and LoRA are float32")
    frame_rate: float | None = option(None, "video frames per second (default: 2)")
    window_frames: Count | None = option(None, "frames per window (default: 10)")
    num_queries: Count | None = option(None, "output queries per window (default: 32)")
    visual_tokens: Count | None = option(None, "tokens per frame (default: the vision tower's)")
    seed: Whole = option(0, "of the new connector and LoRA")


@dataclass(frozen=True, kw_only=True)
class EvaluateSettings:
    """Which questions `favor-mini evaluate` asks, and where results go."""

    data: Annotated[Literal["samples"] | None, *Questions.__metadata__] = option(
        None, "all questions about the clips in data_samples, by kind of question")
    scenes: Annotated[Count | None, *Questions.__metadata__] = option(
        None, "this many validation scenes, written to MP4 and read back, by kind of question")
    file: Annotated[str | None, *Questions.__metadata__] = option(
        None, "rows of your own (JSON, JSON Lines, CSV), or a published test-set file")
    task: str | None = option(
        None, "only this task: asr, ac, ic, ocr, vqa, video_qa, avsr, avqa, isqa, avssd or avm; "
              "with --file: the task of the file, which decides the metric (default: accuracy)")
    metric: Literal["accuracy", "word error rate", "CIDEr", "SPIDEr"] | None = option(
        None, "with --file: in place of the task's metric; SPIDEr, as in the paper, needs Java")
    media_root: str | None = option(None, "with --file: the folder of its media")
    audio_delay: float = option(0.0, "with --data or --scenes: delay of the sound in seconds")
    json: str | None = option(
        None, "with --data, --scenes or --file: JSON Lines file for each question and its answer")
    out: str = option(f"{WORK}/evaluate",
                      "folder for the predictions on the eleven tasks; a stopped run continues")
    draw: str | None = option(None, "picture file for the table of the eleven tasks")

    def check(self) -> None:
        """Raise a ValueError if options are combined that do not belong together."""
        by_kind = self.data or self.scenes
        wrong = {
            "--draw goes with the eleven tasks": self.draw and (self.file or by_kind),
            "--task goes with the eleven tasks or with --file": self.task and by_kind,
            "--media-root and --metric go with --file": (self.media_root or self.metric)
            and not self.file,
            "--audio-delay goes with --data or --scenes": self.audio_delay and not by_kind,
            "--json goes with --data, --scenes or --file": self.json and not (by_kind or self.file),
            "--file needs --media-root, the folder of its media": self.file and not self.media_root,
        }
        for message, found in wrong.items():
            if found:
                raise ValueError(message)


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """What `favor-mini data` looks at."""

    media_root: str = option("media", "folder of the media; nothing outside it is opened")
    test: str | None = option(None, "a second data file, whose media must not be in the first")
    steps: Count = option(1000, "training steps whose cost is estimated")
    batch: Count = option(4, "clips per training step")
    quick: bool = option(False, "do not measure the cost of training")
    every: Annotated[bool, Parameter(name="--all")] = option(
        False, f"list all problems and unknown words, not the first {SHOWN} of a kind")


@dataclass(frozen=True, kw_only=True)
class GymSettings:
    """What `favor-mini gym` trains."""

    vary: str | None = option(None, "FIELD=A,B,...: one field and its values, first the baseline")
    arm: list[str] = field(default_factory=list, metadata={
        "help": "FIELD=A,...: changes that go together; repeat for each arm, the baseline first"})
    fixed: Annotated[str | None, Parameter(name="--set")] = option(
        None, "FIELD=A,...: changes that all arms share")
    tasks: str | None = option(None, "names joined by +: recall, before, after, motion, count, "
                                     "state (default: recall+before)")
    world: bool = option(False, "films and questions of the mini world in place of symbols")
    seeds: Count = option(5, "trainings of each arm")
    jobs: Count | None = option(None, "processes of one thread each (default: 2, if there are two "
                                      "cores)")
    run: bool = option(False, "of a study: train what --out does not hold")
    parts: str | None = option(None, "Python file that registers parts of your own; it is run")
    out: str = option(f"{WORK}/gym", "folder for trainings, tables and figures")
    verbose: bool = option(True, "a line on standard error after each training")


@dataclass(frozen=True, kw_only=True)
class BenchSettings:
    """Which rows `favor-mini bench` measures, and how often."""

    quick: bool = option(False, "small sizes: a test that it runs, not a measurement of speed")
    only: Literal["qformer", "read", "ask", "import", "laptop"] | None = option(
        None, "one part of the table")
    repeats: Count = option(5, "measurements per row")
    threads: Count | None = option(None, "threads of torch (default: torch's choice)")
    json: str | None = option(None, "file for the rows as JSON")
    checkpoint: str | None = option(None, CHECKPOINT)
