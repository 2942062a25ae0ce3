"""Train the text encoder to read: view, sex, age and findings must be told apart in its output.

Left to the diffusion loss alone, a text encoder of this size learns the view and nothing else: sex and age change a
radiograph by 0.2 % of its variance, and their words end up alike. So it first learns, from captions alone, to say what
each caption asks for, and is then frozen, as in Stable Diffusion.
"""

from __future__ import annotations

import random
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPTextModel, CLIPTokenizer

from cxr.labels.vocabulary import labels_of
from cxr.train.architecture import TEXT_WIDTH, build_text_encoder, build_tokenizer, read_component
from cxr.train.caption_targets import AGE_STEP, FLAGS, NUM_AGES, random_captions, targets_of_captions
from cxr.train.setup import Setup

KEEPING_WEIGHT = 10.0  # of how far the output for earlier captions has moved
NUM_VALIDATION = 512


class TextTask:
    """Cross-entropy of what a caption says, read off every position from the end-of-text token on."""

    def __init__(self, setup: Setup, *, start_from: Path | None = None) -> None:
        self.settings, self.device = setup.settings, setup.device
        torch.manual_seed(self.settings.seed)  # initial weights only
        self.tokenizer = build_tokenizer()
        self.text_encoder = build_text_encoder(self.tokenizer)
        self.earlier = read_text_encoder(start_from) if start_from else None
        if self.earlier:
            take_over(self.text_encoder, self.tokenizer, *self.earlier)
            nn.Module.to(self.earlier[0], self.device)
        nn.Module.to(self.text_encoder, self.device)
        self.reader = nn.Linear(TEXT_WIDTH, len(FLAGS) + NUM_AGES).to(self.device)
        self.trained: nn.Module = nn.ModuleDict({"text_encoder": self.text_encoder, "reader": self.reader})

    def loss(self, step: int) -> dict[str, Tensor]:
        captions = random_captions(random.Random(f"{self.settings.seed} {step}"), self.settings.batch_size)
        flags, ages, target = self._read(captions)
        error, moved = _error(flags, ages, target), self._moved(captions)
        return {"loss": error + KEEPING_WEIGHT * moved, "age_error": _age_error(ages, target), "moved": moved}

    def validate(self) -> dict[str, float]:
        """On captions of another seed: share of flags read right, worst flag, age error, and how far words move."""
        captions = random_captions(random.Random("validation"), NUM_VALIDATION)
        flags, ages, target = self._read(captions)
        right = []
        for column in range(len(FLAGS)):
            known = ~target[:, column].isnan()
            right.append(float(((flags[known, -1, column] > 0) == (target[known, column] > 0.5)).float().mean()))
        figures = {"accuracy": sum(right) / len(right), "worst_accuracy": min(right)}
        figures |= {"age_error": float(_age_error(ages, target)), "moved": float(self._moved(captions))}
        return figures | self.sensitivity()

    def sensitivity(self) -> dict[str, float]:
        """Relative change of the whole output when one attribute of a prompt changes."""
        prompt = "Chest X-ray, PA view, 30-year-old man"
        others = {
            "view": "Chest X-ray, AP view, 30-year-old man",
            "sex": "Chest X-ray, PA view, 30-year-old woman",
            "age": "Chest X-ray, PA view, 80-year-old man",
            "finding": "Chest X-ray, PA view, 30-year-old man, pneumonia",
            "side": "Chest X-ray, PA view, 30-year-old man, left pneumonia",
        }
        with torch.no_grad():
            before, *after = self._encode([prompt, *others.values()])[1].float()
        return {
            f"change_{name}": float((row - before).norm() / before.norm())
            for name, row in zip(others, after, strict=True)
        }

    def export(self, out_dir: Path) -> None:
        """Write ``text_encoder/`` and ``tokenizer/``, float32."""
        self.text_encoder.save_pretrained(out_dir / "text_encoder")
        self.tokenizer.save_pretrained(out_dir / "tokenizer")

    def _moved(self, captions: list[str]) -> Tensor:
        """Squared distance from the earlier encoder's output, as a share of its variance, where it knows all words."""
        plain = [text for text in captions if not labels_of(text).sides]
        if self.earlier is None or not plain:
            return torch.zeros((), device=self.device)
        encoder, tokenizer = self.earlier
        with torch.no_grad():
            before = encoder(token_ids(tokenizer, plain).to(self.device))[0].float()
        change: Tensor = (self._encode(plain)[1].float() - before).square().mean() / before.var()
        return change

    def _encode(self, captions: list[str]) -> tuple[Tensor, Tensor]:
        tokens = token_ids(self.tokenizer, captions)
        return tokens, self.text_encoder(tokens.to(self.device))[0]

    def _read(self, captions: list[str]) -> tuple[Tensor, Tensor, Tensor]:
        """Flags [B, P, F] and ages [B, P, A] at all P positions (earlier than the end repeat the end), targets."""
        tokens, output = self._encode(captions)
        ends = (tokens == self.tokenizer.eos_token_id).int().argmax(dim=1)
        positions = torch.maximum(torch.arange(tokens.shape[1])[None], ends[:, None]).to(self.device)
        at_end = output.gather(1, positions[..., None].expand(-1, -1, output.shape[-1]))
        read = self.reader(at_end).float()
        return read[..., : len(FLAGS)], read[..., len(FLAGS) :], targets_of_captions(captions).to(self.device)


def token_ids(tokenizer: CLIPTokenizer, texts: list[str]) -> Tensor:
    """[B, P] int64, each text cut or padded to the tokenizer's length."""
    tokens: Tensor = tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids
    return tokens


def read_text_encoder(folder: Path) -> tuple[CLIPTextModel, CLIPTokenizer]:
    """``text_encoder/`` in float32 and ``tokenizer/`` of a folder.

    Raises:
        DataError: one of them is missing or unreadable.
    """
    encoder = read_component(CLIPTextModel, folder / "text_encoder")
    return encoder.requires_grad_(False).eval(), read_component(CLIPTokenizer, folder / "tokenizer")


@torch.no_grad()
def take_over(
    encoder: CLIPTextModel, tokenizer: CLIPTokenizer, earlier: CLIPTextModel, earlier_tokenizer: CLIPTokenizer
) -> None:
    """Copy an earlier encoder's weights into one whose tokenizer knows more words; the new words' rows stay."""
    weights = earlier.state_dict()
    name = next(key for key in weights if key.endswith("token_embedding.weight"))
    rows = encoder.state_dict()[name].clone()
    numbers = earlier_tokenizer.get_vocab()
    for token, number in tokenizer.get_vocab().items():
        if token in numbers:
            rows[number] = weights[name][numbers[token]]
    encoder.load_state_dict(weights | {name: rows})


def _error(flags: Tensor, ages: Tensor, target: Tensor) -> Tensor:
    wanted = target[:, None, : len(FLAGS)].expand_as(flags)
    known = ~wanted.isnan()
    error = functional.binary_cross_entropy_with_logits(flags[known], wanted[known])
    mixture = target[:, None, len(FLAGS) :]
    ages_error = -(mixture * ages.log_softmax(dim=-1)).sum(dim=-1)
    return error + 0.1 * ages_error.mean()


def _age_error(ages: Tensor, target: Tensor) -> Tensor:
    """Mean absolute error in years at the last position, over captions that say an age."""
    mixture = target[:, len(FLAGS) :]
    known = mixture.sum(dim=1) > 0
    steps = torch.arange(NUM_AGES, device=ages.device) * float(AGE_STEP)
    return ((ages[known, -1].softmax(dim=-1) - mixture[known]) @ steps).abs().mean()
