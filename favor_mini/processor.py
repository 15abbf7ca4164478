"""From clips and questions to the model's tensors: mel spectrograms, pixels, prompts, padding and masks."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AutoTokenizer, WhisperFeatureExtractor

from .config import FavorConfig
from .storage import atomic_write
from .windows import num_windows

PROMPT = "USER: <Img>{media}</Img> {question}\nASSISTANT:"
MEDIA_TOKEN = "<av>"
AUDIO_HOP = 320  # samples at 16 kHz behind one 50 Hz audio token
SETTINGS, QUESTIONS = "favor_processor.json", "qformer_tokenizer"  # file and folder of a saved processor


@dataclass
class ProcessorSettings:
    """What the processor must know of the model; the names are `FavorConfig`'s."""

    image_size: int = 64
    frame_rate: float = 2.0
    window_frames: int = 10
    num_queries: int = 32
    windows: str = "sliding"
    question_conditioning: bool = False
    question_tokens: int = 64  # at most so many of a question go into the visual Q-Former
    # The mean and spread of the pixels CLIP was trained on, which InstructBLIP keeps.
    image_mean: tuple = (0.48145466, 0.4578275, 0.40821073)
    image_std: tuple = (0.26862954, 0.26130258, 0.27577711)

    @classmethod
    def from_config(cls, config: FavorConfig, **changes) -> "ProcessorSettings":
        """The settings that belong to a model's `FavorConfig`."""
        return cls(**{"image_size": config.vision_config.image_size, "frame_rate": config.frame_rate,
                      "window_frames": config.window_frames, "num_queries": config.num_queries,
                      "windows": config.windows,
                      "question_conditioning": config.question_conditioning,
                      "question_tokens": config.visual_qformer_config.max_position_embeddings, **changes})

    @property
    def audio_tokens(self) -> int:
        """A: audio tokens (50 Hz) in one time step."""
        return round(50 / self.frame_rate)


class FavorProcessor:
    """Turns clips and questions into batches.

    Args:
        tokenizer: the language model's; it must know the placeholder `<av>` as one token.
        feature_extractor: Whisper's; its `chunk_length` (seconds) is what the audio encoder hears at a time.
        settings: `ProcessorSettings`, which must agree with the model's `FavorConfig`.
        qformer_tokenizer: InstructBLIP's, for the question that goes into its Q-Former; by default the language
            model's, as in the mini model.

    Raises:
        ValueError: the tokenizer does not know `<av>`.
    """

    def __init__(self, tokenizer, feature_extractor: WhisperFeatureExtractor, settings: ProcessorSettings | None = None,
                 qformer_tokenizer=None):
        if MEDIA_TOKEN not in tokenizer.get_vocab():
            raise ValueError(f"the tokenizer does not know the placeholder {MEDIA_TOKEN} as one token; add it first: "
                             f"tokenizer.add_special_tokens({{'additional_special_tokens': ['{MEDIA_TOKEN}']}})")
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        self.tokenizer, self.feature_extractor = tokenizer, feature_extractor
        self.settings, self.qformer_tokenizer = settings or ProcessorSettings(), qformer_tokenizer or tokenizer

    @classmethod
    def from_parts(cls, config: FavorConfig, audio: str, vision: str, language: str, **changes) -> "FavorProcessor":
        """The processor of a model made with `FavorForConditionalGeneration.from_parts` from the same three names.

        Args:
            config: that model's config.
            changes: fields of `ProcessorSettings`.

        Raises:
            ValueError: the tokenizer's number for `<av>` is not the model's `placeholder_id`.
        """
        tokenizer = AutoTokenizer.from_pretrained(language)
        if MEDIA_TOKEN not in tokenizer.get_vocab():
            tokenizer.add_special_tokens({"additional_special_tokens": [MEDIA_TOKEN]})
        number = tokenizer.convert_tokens_to_ids(MEDIA_TOKEN)
        if number != config.placeholder_id:
            raise ValueError(f"{MEDIA_TOKEN} is token {number} of {language!r}, the model has placeholder_id="
                             f"{config.placeholder_id}; make the model with from_parts(..., placeholder_id={number})")
        asker = None
        if config.question_conditioning:
            asker = AutoTokenizer.from_pretrained(vision, subfolder=QUESTIONS)
        return cls(tokenizer, WhisperFeatureExtractor.from_pretrained(audio),
                   ProcessorSettings.from_config(config, **changes), asker)

    # One clip.

    def pixels(self, frames: np.ndarray) -> Tensor:
        """Frames (T, H, W, 3) uint8 of any size to normalised pixels (T, 3, S, S)."""
        if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8:
            raise ValueError(f"frames must be (T, H, W, 3) uint8, found {frames.shape} {frames.dtype}")
        x = torch.tensor(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float() / 255  # [T, 3, H, W]
        size = self.settings.image_size
        if len(x) and x.shape[-2:] != (size, size):
            x = F.interpolate(x, (size, size), mode="bilinear", antialias=True, align_corners=False)
        mean, std = (torch.tensor(v)[:, None, None] for v in (self.settings.image_mean, self.settings.image_std))
        return (x - mean) / std

    def mel(self, waveform: np.ndarray) -> Tensor:
        """Waveform (samples,) at 16 kHz to log-mel chunks (C, mels, frames), the last chunk padded with silence."""
        samples = self.feature_extractor.n_samples
        chunks = [waveform[i : i + samples] for i in range(0, len(waveform), samples)]
        return self.feature_extractor(chunks, sampling_rate=16000, return_tensors="pt", device="cpu").input_features

    def media(self, clip) -> dict[str, Tensor | int]:
        """A clip's own tensors: `pixel_values` (T, 3, S, S), `input_features` (C, mels, frames), their real lengths.

        A still image with sound is shown at every time step.

        Raises:
            ValueError: the clip was not read at this processor's frame rate and at 16 kHz, or its frames are not uint8.
        """
        frames, waveform = clip.frames, clip.waveform
        rate = self.feature_extractor.sampling_rate
        if len(waveform) and clip.sampling_rate != rate:
            raise ValueError(f"{clip.source}: the sound has {clip.sampling_rate} samples a second, Whisper hears {rate}; "
                             f"read the clip with sampling_rate={rate}")
        self.check_frame_rate(clip)
        audio_tokens = -(-len(waveform) // AUDIO_HOP)
        if len(frames) == 1 and audio_tokens:
            frames = frames.repeat(-(-audio_tokens // self.settings.audio_tokens), axis=0)
        media = {"num_frames": len(frames), "audio_tokens": audio_tokens}
        if len(frames):
            media["pixel_values"] = self.pixels(frames)
        if audio_tokens:
            media["input_features"] = self.mel(waveform)
        return media

    def check_frame_rate(self, clip) -> None:
        """A clip read at another frame rate would run faster or slower than its sound, and nothing would tell."""
        steps = len(clip.frames) / self.settings.frame_rate  # seconds that the model will take the frames for
        late = len(clip.frames) > 1 and clip.frame_times[-1] - clip.start > steps + 1
        if late or (clip.duration and steps > clip.duration + 1):
            raise ValueError(f"{clip.source}: {len(clip.frames)} frames in {clip.duration:.1f} s were not read at "
                             f"{self.settings.frame_rate} frames a second; pass frame_rate={self.settings.frame_rate}")

    def num_steps(self, media: dict) -> int:
        """T: how many time steps the clip has, by its longer stream."""
        return max(media["num_frames"], -(-media["audio_tokens"] // self.settings.audio_tokens))

    def num_placeholders(self, media: dict) -> int:
        """W * N: how many vectors the clip will become."""
        settings = self.settings
        return num_windows(self.num_steps(media), settings.window_frames, settings.windows) * settings.num_queries

    # Prompts.

    def prompt(self, question: str, placeholders: int) -> str:
        _refuse_placeholders(question)
        return PROMPT.format(media=MEDIA_TOKEN * placeholders, question=question)

    def dialogue(self, media: str, turns: list[tuple[str, str]]) -> dict[str, list[int]]:
        """A conversation about one clip as `ids`, `labels` and `turn_ids`; `media` is what stands between <Img> and </Img>.

        Only the answers' tokens (and the end after each) carry labels; -100 elsewhere. The clip is turn 0, the first
        question and its answer turn 1.
        """
        made = {"ids": [], "labels": [], "turn_ids": []}
        for i, (question, answer) in enumerate(turns, start=1):
            _refuse_placeholders(question, answer)
            start = PROMPT.format(media=media, question=question) if i == 1 else f"USER: {question}\nASSISTANT:"
            asked = self.tokenizer(start, add_special_tokens=i == 1).input_ids
            told = self.tokenizer(f" {answer}{self.tokenizer.eos_token}", add_special_tokens=False).input_ids
            clip = len(self.tokenizer(start[: start.index("</Img>") + 6]).input_ids) if i == 1 else 0
            made["ids"] += asked + told
            made["labels"] += [-100] * len(asked) + told
            made["turn_ids"] += [0] * clip + [i] * (len(asked) + len(told) - clip)
        return made

    # Batches.

    def __call__(self, clips, questions: list[str], answers: list[str] | None = None) -> dict[str, Tensor]:
        """A batch of one question a clip. With `answers`, labels are added and padding goes right instead of left."""
        media = [clip if isinstance(clip, dict) else self.media(clip) for clip in clips]
        if answers is not None:
            return self.collate([{**m, "turns": [(q, a)]} for m, q, a in zip(media, questions, answers, strict=True)])
        ids = [self.tokenizer(self.prompt(q, self.num_placeholders(m))).input_ids
               for q, m in zip(questions, media, strict=True)]
        return {**self.pad_text(ids, side="left"), **self.pad_questions(questions), **self.pad_media(media)}

    def collate(self, examples: list[dict]) -> dict[str, Tensor]:
        """Training batch: examples are media dictionaries with `turns`, a list of (question, answer).

        Where the question steers the visual Q-Former, it is the first one of each conversation.
        """
        made = [self.dialogue(MEDIA_TOKEN * self.num_placeholders(e), e["turns"]) for e in examples]
        return {**self.pad_dialogues(made),
                **self.pad_questions([e["turns"][0][0] for e in examples]), **self.pad_media(examples)}

    def pad_questions(self, questions: list[str]) -> dict[str, Tensor]:
        """`question_ids` and `question_mask` (B, Q) in the visual Q-Former's tokens, if the settings ask for them."""
        if not self.settings.question_conditioning:
            return {}
        rows = self.qformer_tokenizer(questions, padding=True, padding_side="right", truncation=True,
                                      max_length=self.settings.question_tokens, return_tensors="pt")
        return {"question_ids": rows.input_ids, "question_mask": rows.attention_mask}

    def pad_text(self, ids: list[list[int]], *, side: str) -> dict[str, Tensor]:
        """Token sequences to `input_ids` and `attention_mask` (B, L), padded on the "left" or "right"."""
        return {"input_ids": _pad(ids, self.tokenizer.pad_token_id, side),
                "attention_mask": _pad([[1] * len(r) for r in ids], 0, side)}

    def pad_dialogues(self, dialogues: list[dict]) -> dict[str, Tensor]:
        """What `dialogue` made as a batch padded on the right; padding has label -100 and belongs to turn -1."""
        rows = {key: [d[key] for d in dialogues] for key in ("ids", "labels", "turn_ids")}
        return {**self.pad_text(rows["ids"], side="right"), "labels": _pad(rows["labels"], -100, "right"),
                "turn_ids": _pad(rows["turn_ids"], -1, "right")}

    @staticmethod
    def pad_media(media: list[dict]) -> dict[str, Tensor]:
        """Stack clips of different lengths and modalities; a stream that no clip has is left out."""
        batch = {}
        for stream, count, mask in (("pixel_values", "num_frames", "frame_mask"),
                                    ("visual_features", "num_frames", "frame_mask"),
                                    ("input_features", None, None), ("audio_features", "audio_tokens", "audio_mask")):
            rows = [m.get(stream) for m in media]
            if any(r is not None for r in rows):
                like = next(r for r in rows if r is not None)
                rows = [like.new_zeros(0, *like.shape[1:]) if r is None else r for r in rows]
                batch[stream] = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)  # [B, longest, ...]
                if mask:
                    lengths = torch.tensor([m[count] for m in media])
                    batch[mask] = torch.arange(batch[stream].shape[1])[None] < lengths[:, None]
        if "input_features" in batch:  # the mask covers whole chunks: S tokens for 2 * S mel frames
            lengths = torch.tensor([m["audio_tokens"] for m in media])
            total = batch["input_features"].shape[1] * batch["input_features"].shape[-1] // 2
            batch["audio_mask"] = torch.arange(total)[None] < lengths[:, None]
        return batch

    def decode(self, ids: Tensor) -> list[str]:
        return [text.strip() for text in self.tokenizer.batch_decode(ids, skip_special_tokens=True)]

    def save_pretrained(self, folder) -> None:
        """Write the tokenizers, the feature extractor and `favor_processor.json` into a folder."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.tokenizer.save_pretrained(folder)
        if self.qformer_tokenizer is not self.tokenizer:
            self.qformer_tokenizer.save_pretrained(folder / QUESTIONS)
        self.feature_extractor.save_pretrained(folder)
        with atomic_write(folder / SETTINGS) as unfinished:
            unfinished.write_text(json.dumps(asdict(self.settings), indent=2) + "\n")

    @classmethod
    def from_pretrained(cls, folder) -> "FavorProcessor":
        """Read back what `save_pretrained` wrote.

        Raises:
            OSError: the folder holds no `favor_processor.json`.
        """
        folder = Path(folder)
        if not (folder / SETTINGS).is_file():
            raise OSError(f"{folder} holds no {SETTINGS}; expected a folder written by FavorProcessor.save_pretrained")
        stored = json.loads((folder / SETTINGS).read_text())
        settings = ProcessorSettings(**{k: tuple(v) if isinstance(v, list) else v for k, v in stored.items()})
        asker = AutoTokenizer.from_pretrained(folder / QUESTIONS) if (folder / QUESTIONS).is_dir() else None
        return cls(AutoTokenizer.from_pretrained(folder), WhisperFeatureExtractor.from_pretrained(folder), settings, asker)


def _refuse_placeholders(*texts: str) -> None:
    if found := [text for text in texts if MEDIA_TOKEN in text]:
        raise ValueError(f"{found[0]!r} holds {MEDIA_TOKEN}, which stands for the clip; leave it out")


def _pad(rows: list[list[int]], value: int, side: str) -> Tensor:
    length = max(map(len, rows))
    fill = [[value] * (length - len(r)) for r in rows]
    return torch.tensor([f + list(r) if side == "left" else list(r) + f for r, f in zip(rows, fill, strict=True)])
