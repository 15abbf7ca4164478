"""`favor-mini evaluate`: the eleven tasks, a test-set file, or questions by kind."""

import json
from pathlib import Path

from ..evaluation.checkpoint import find_checkpoint, load_checkpoint
from ..storage import atomic_write
from .settings import WORK, EvaluateSettings


def benchmark(settings: EvaluateSettings, checkpoint, progress: bool) -> None:
    """Print the table of the eleven tasks, or the row of one."""
    from ..aveb.benchmark import run_benchmark
    from ..figures.aveb import save_benchmark

    results = run_benchmark(checkpoint, settings.out, tasks=settings.task and [settings.task],
                            progress=progress)
    print(results, f"predictions: {settings.out}", sep="\n")
    if settings.draw:
        save_benchmark(results, settings.draw)


def test_set(settings: EvaluateSettings, checkpoint, progress: bool) -> None:
    """Print the score on a published test-set file."""
    from ..aveb.run import evaluate_file

    lines = settings.json or f"{WORK}/evaluate/{Path(settings.file).stem}.jsonl"
    print(evaluate_file(settings.file, settings.media_root, lines, task=settings.task,
                        metric=settings.metric, checkpoint=checkpoint, progress=progress))
    print(f"predictions: {lines}")


def by_question(settings: EvaluateSettings, checkpoint, progress: bool) -> None:
    """Print the accuracy by kind of question, on the samples or on validation scenes."""
    folder = find_checkpoint(checkpoint)  # a wrong name fails before torch is imported
    from ..evaluation.answering import encode_clips, evaluate
    from ..evaluation.scores import score_table, scores
    from ..media.clip import delay_sound
    from ..world.question_sets import sample_questions, scene_questions
    from ..world.questions import FAMILY_GROUPS, single_modality_chance

    model, processor = load_checkpoint(folder)
    size = processor.settings.image_size
    clips, asked, scripts = (sample_questions(size) if settings.scenes is None else
                             scene_questions(settings.scenes, size, progress))
    if settings.audio_delay:
        clips = {name: delay_sound(clip, settings.audio_delay) for name, clip in clips.items()}
    encoded = encode_clips(model, processor, clips)
    rows = evaluate(model, processor, encoded, asked, single_modality_chance(scripts),
                    progress=progress)
    if settings.json:
        written = [{**{k: v for k, v in vars(row).items() if k != "others"}, "correct": row.correct}
                   for row in rows]
        with atomic_write(Path(settings.json)) as unfinished, \
                open(unfinished, "w", encoding="utf-8") as file:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in written)
    print(score_table(scores(rows, FAMILY_GROUPS)))
