"""From clips and questions to tensors: spectrograms, pixels, prompts, padding and masks."""

from collections import Counter
from math import inf

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AutoFeatureExtractor, AutoTokenizer, SequenceFeatureExtractor

from .audio import cut_waveform
from .config import FavorConfig
from .context import check_context, longest_clip
from .families import SAMPLING_RATE
from .hub import QFORMER_TOKENIZER, SavedProcessor
from .processor_settings import ProcessorSettings
from .prompts import MEDIA_TOKEN, PromptForm, load_tokenizer, prompt_ids, write_dialogue
from .prompts import PROMPT as PROMPT  # its former place
from .vision import image_settings
from .windows import num_windows


class FavorProcessor(SavedProcessor):
    """Turns clips and questions into batches.

    Args:
        tokenizer: the language model's; the placeholder `<av>` must be one of its tokens.
        feature_extractor: the audio encoder's; `chunk_length` (seconds) of Whisper's is its
            encoder's.
        settings: `ProcessorSettings`, which must agree with the model's `FavorConfig`.
        qformer_tokenizer: InstructBLIP's, for the question that goes into its Q-Former; by default
            the language model's, as in the mini model.

    Raises:
        ValueError: the tokenizer does not know `<av>`, the prompt does not fit it, or the feature
            extractor is not for 16 kHz.
    """

    def __init__(self, tokenizer, feature_extractor: SequenceFeatureExtractor,
                 settings: ProcessorSettings | None = None, qformer_tokenizer=None):
        if MEDIA_TOKEN not in tokenizer.get_vocab():
            raise ValueError(f"the tokenizer does not know the placeholder {MEDIA_TOKEN}; add it: "
                             f"tokenizer.add_tokens({MEDIA_TOKEN!r}, special_tokens=True)")
        if feature_extractor.sampling_rate != SAMPLING_RATE:
            raise ValueError(f"found an audio encoder for {feature_extractor.sampling_rate} samples"
                             f" per second, expected {SAMPLING_RATE}; pass another encoder")
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        self.tokenizer, self.feature_extractor = tokenizer, feature_extractor
        self.settings = settings or ProcessorSettings()
        self.form = PromptForm.make(self.settings.prompt, tokenizer)
        self.qformer_tokenizer = qformer_tokenizer or tokenizer

    @classmethod
    def from_parts(cls, config: FavorConfig, audio: str, vision: str, language: str, **changes
                   ) -> "FavorProcessor":
        """The processor for the model of `FavorForConditionalGeneration.from_parts`.

        Args:
            config: that model's config.
            audio, vision, language: the same names as there.
            changes: fields of `ProcessorSettings`.

        Raises:
            ValueError: the tokenizer's id of `<av>` is not the model's `placeholder_id`.
        """
        tokenizer = load_tokenizer(language)
        token_id = tokenizer.convert_tokens_to_ids(MEDIA_TOKEN)
        if token_id != config.placeholder_id:
            raise ValueError(
                f"{MEDIA_TOKEN} is token {token_id} of {language!r}, the model has placeholder_id="
                f"{config.placeholder_id}; use from_parts(..., placeholder_id={token_id})")
        qformer_tokenizer = None
        if config.question_conditioning:
            qformer_tokenizer = AutoTokenizer.from_pretrained(vision, subfolder=QFORMER_TOKENIZER)
        pixels = image_settings(vision, config.vision_config.model_type)
        pixels["image_size"] = config.frame_size
        return cls(tokenizer, AutoFeatureExtractor.from_pretrained(audio),
                   ProcessorSettings.from_config(config, **{**pixels, **changes}),
                   qformer_tokenizer)

    # One clip.

    def pixels(self, frames: np.ndarray) -> Tensor:
        """Frames (T, H, W, 3) uint8 of any size to normalised pixels (T, 3, S, S).

        Raises:
            ValueError: the frames have another shape or dtype.
        """
        if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8:
            raise ValueError("frames must be (T, H, W, 3) uint8, found "
                             f"{frames.shape} {frames.dtype}; convert them")
        x = torch.tensor(np.ascontiguousarray(frames)).permute(0, 3, 1, 2)  # [T, 3, H, W]
        x, settings = x.float() / 255, self.settings
        size = (settings.image_size, settings.image_size)
        if len(x) and x.shape[-2:] != size:
            x = F.interpolate(x, size, mode="bilinear", antialias=True, align_corners=False)
        mean, std = (torch.tensor(v)[:, None, None]
                     for v in (settings.image_mean, settings.image_std))
        return (x - mean) / std

    def mel(self, waveform: np.ndarray) -> Tensor:
        """Waveform (samples,) at 16 kHz to Whisper's log-mel chunks (C, mels, frames of 10 ms).

        The last chunk is padded with silence.
        """
        samples = self.feature_extractor.n_samples
        chunks = [waveform[i : i + samples] for i in range(0, len(waveform), samples)]
        return self.feature_extractor(
            chunks, sampling_rate=SAMPLING_RATE, return_tensors="pt", device="cpu").input_features

    def sound(self, waveform: np.ndarray) -> Tensor:
        """Waveform (samples,) at 16 kHz to chunks for the audio encoder: `mel` for Whisper, else
        `audio.cut_waveform`."""
        if self.takes_mel:
            return self.mel(waveform)
        settings = self.settings
        return cut_waveform(waveform, self.feature_extractor, hop=settings.audio_hop,
                            field=settings.audio_field, tokens=settings.chunk_tokens)

    @property
    def takes_mel(self) -> bool:
        """Whether the audio encoder takes log-mel spectrograms, as Whisper does."""
        return hasattr(self.feature_extractor, "nb_max_frames")

    @property
    def chunk_tokens(self) -> int:
        """S: audio tokens in one chunk of sound."""
        return (self.feature_extractor.nb_max_frames // 2 if self.takes_mel
                else self.settings.chunk_tokens)

    def media(self, clip) -> dict[str, Tensor | int]:
        """A clip's tensors: `pixel_values` (T_v, 3, S, S), `input_features` (C, ...).

        `num_frames` and `audio_tokens` are their real lengths. A still image with sound is repeated
        at every time step.

        Args:
            clip: a `Clip`, read at this processor's frame rate and at 16 kHz.

        Raises:
            ValueError: the clip has another frame rate or sampling rate, its frames are not uint8,
                or it does not fit into the language model's context.
        """
        frames, waveform = clip.frames, clip.waveform
        rate = self.feature_extractor.sampling_rate
        if len(waveform) and clip.sampling_rate != rate:
            raise ValueError(f"{clip.source}: the sound has {clip.sampling_rate} samples per "
                             f"second, the encoder needs {rate}; read the clip with "
                             f"sampling_rate={rate}")
        self.check_frame_rate(clip)
        audio_tokens = -(-len(waveform) // self.settings.audio_hop)
        if len(frames) == 1 and audio_tokens:
            frames = frames.repeat(-(-audio_tokens // self.settings.audio_tokens), axis=0)
        media = {"num_frames": len(frames), "audio_tokens": audio_tokens}
        check_context(self.num_placeholders(media) + 1, self.settings, clip.source)
        if len(frames):
            media["pixel_values"] = self.pixels(frames)
        if audio_tokens:
            media["input_features"] = self.sound(waveform)
        return media

    def check_frame_rate(self, clip) -> None:
        """Check that frames and sound stay synchronous at the processor's frame rate.

        Raises:
            ValueError: the clip was read at another frame rate.
        """
        rate = self.settings.frame_rate
        seconds = len(clip.frames) / rate  # that the model takes the frames to last
        late = len(clip.frames) > 1 and clip.frame_times[-1] - clip.start > seconds + 1
        if late or (clip.duration and seconds > clip.duration + 1):
            raise ValueError(f"{clip.source}: {len(clip.frames)} frames in {clip.duration:.1f} s "
                             f"were not read at {rate} frames per second; read the clip with "
                             f"frame_rate={rate}")

    def num_steps(self, media: dict) -> int:
        """T: the number of time steps of the clip's longer stream."""
        return max(media["num_frames"], -(-media["audio_tokens"] // self.settings.audio_tokens))

    def num_placeholders(self, media: dict) -> int:
        """W * N: the number of output queries of the clip."""
        settings = self.settings
        windows = num_windows(self.num_steps(media), settings.window_frames, settings.windows)
        return windows * settings.num_queries

    @property
    def longest_clip(self) -> float:
        """The longest clip, in seconds, that leaves the language model room for text."""
        return longest_clip(self.settings)

    def room(self, attention_mask: Tensor) -> int | float:
        """How many new tokens the context leaves for the prompts with this mask (B, L)."""
        return (self.settings.context or inf) - int(attention_mask.sum(1).max())

    # Prompts.

    def prompt(self, question: str, placeholders: int) -> str:
        """The prompt that asks a question about a clip of so many output queries."""
        _check_no_placeholder(question)
        return self.form.prompt(MEDIA_TOKEN * placeholders, question)

    def prompt_ids(self, question: str, placeholders: int) -> list[int]:
        """The token ids of `prompt`."""
        _check_no_placeholder(question)
        return prompt_ids(self.form, self.tokenizer, MEDIA_TOKEN * placeholders, question)[0]

    def dialogue(self, media: str, turns: list[tuple[str, str]]) -> dict[str, list[int]]:
        """A conversation about one clip as lists `ids`, `labels` and `turn_ids` of equal length.

        Labels are the token ids of the answers and of the token that ends each; they are -100
        elsewhere. The clip is turn 0, the first question and its answer are turn 1.

        Args:
            media: the text between <Img> and </Img>.
            turns: pairs of question and answer.
        """
        _check_no_placeholder(*(text for turn in turns for text in turn))
        return write_dialogue(self.form, self.tokenizer, media, turns)

    # Batches.

    def __call__(self, clips, questions: list[str], answers: list[str] | None = None
                 ) -> dict[str, Tensor]:
        """A batch with one question per clip, padded on the left for `generate`.

        With `answers` it is a training batch, with labels and padded on the right.

        Args:
            clips: `Clip`s, or the dictionaries that `media` makes of them.

        Raises:
            ValueError: a clip with its texts does not fit into the language model's context.
        """
        media = [clip if isinstance(clip, dict) else self.media(clip) for clip in clips]
        if answers is not None:
            return self.collate([{**m, "turns": [(q, a)]}
                                 for m, q, a in zip(media, questions, answers, strict=True)])
        ids = [self.prompt_ids(q, self.num_placeholders(m))
               for q, m in zip(questions, media, strict=True)]
        for question, row in zip(questions, ids, strict=True):
            check_context(len(row) + 1, self.settings, f"a clip with the question {question!r}")
        return {**self.pad_text(ids, side="left"), **self.pad_questions(questions),
                **self.pad_media(media)}

    def collate(self, examples: list[dict]) -> dict[str, Tensor]:
        """A training batch of conversations.

        With question_conditioning, the visual tokens depend on the first question of each.

        Args:
            examples: media dictionaries with `turns`, a list of (question, answer).
        """
        dialogues = [self.dialogue(MEDIA_TOKEN * self.num_placeholders(e), e["turns"])
                     for e in examples]
        questions = [e["turns"][0][0] for e in examples]
        for dialogue, question in zip(dialogues, questions, strict=True):
            tokens = Counter(dialogue["turn_ids"])  # each turn continues from the end of the clip
            check_context(tokens.pop(0, 0) + max(tokens.values()), self.settings,
                          f"a clip with a conversation that begins with {question!r}")
        return {**self.pad_dialogues(dialogues), **self.pad_questions(questions),
                **self.pad_media(examples)}

    def pad_questions(self, questions: list[str]) -> dict[str, Tensor]:
        """`question_ids` and `question_mask` (B, Q) for the visual Q-Former.

        Without question_conditioning there are none.
        """
        if not self.settings.question_conditioning:
            return {}
        rows = self.qformer_tokenizer(
            questions, padding=True, padding_side="right", truncation=True,
            max_length=self.settings.question_tokens, return_tensors="pt")
        return {"question_ids": rows.input_ids, "question_mask": rows.attention_mask}

    def pad_text(self, ids: list[list[int]], *, side: str) -> dict[str, Tensor]:
        """`input_ids` and `attention_mask` (B, L), padded on the side "left" or "right"."""
        return {"input_ids": _pad(ids, self.tokenizer.pad_token_id, side),
                "attention_mask": _pad([[1] * len(r) for r in ids], 0, side)}

    def pad_dialogues(self, dialogues: list[dict]) -> dict[str, Tensor]:
        """A batch of `dialogue`s, padded on the right with label -100 and turn -1."""
        ids, labels, turn_ids = ([d[k] for d in dialogues] for k in ("ids", "labels", "turn_ids"))
        return {**self.pad_text(ids, side="right"), "labels": _pad(labels, -100, "right"),
                "turn_ids": _pad(turn_ids, -1, "right")}

    def pad_media(self, media: list[dict]) -> dict[str, Tensor]:
        """Pad clips of different lengths and modalities; a stream that no clip has is left out.

        Returns:
            `pixel_values` (B, T_v, 3, S, S) or `visual_features` (B, T_v, V, D_v) with
            `frame_mask` (B, T_v); `input_features` (B, C, ...) or `audio_features`
            (B, L, D_w) with `audio_mask` (B, L).
        """
        batch = {}
        for stream, count, mask in (("pixel_values", "num_frames", "frame_mask"),
                                    ("visual_features", "num_frames", "frame_mask"),
                                    ("input_features", "audio_tokens", "audio_mask"),
                                    ("audio_features", "audio_tokens", "audio_mask")):
            rows = [m.get(stream) for m in media]
            if any(r is not None for r in rows):
                like = next(r for r in rows if r is not None)
                rows = [like.new_zeros(0, *like.shape[1:]) if r is None else r for r in rows]
                padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
                length = padded.shape[1]  # of the longest clip
                if stream == "input_features":  # a chunk becomes S audio tokens
                    length = length * self.chunk_tokens
                real = torch.tensor([m[count] for m in media])
                batch |= {stream: padded, mask: torch.arange(length)[None] < real[:, None]}
        return batch

    def decode(self, ids: Tensor) -> list[str]:
        """Token ids (B, L) to texts, without special tokens."""
        return [text.strip() for text in self.tokenizer.batch_decode(ids, skip_special_tokens=True)]


def _check_no_placeholder(*texts: str) -> None:
    if found := [text for text in texts if MEDIA_TOKEN in text]:
        raise ValueError(f"{found[0]!r} holds the placeholder {MEDIA_TOKEN} of the clip; remove it")


def _pad(rows: list[list[int]], value: int, side: str) -> Tensor:
    length = max(map(len, rows))
    fill = [[value] * (length - len(r)) for r in rows]
    return torch.tensor([f + list(r) if side == "left" else list(r) + f
                         for r, f in zip(rows, fill, strict=True)])
