"""What the text encoder is taught to read, and what the guide adds to a velocity: checked against exact answers."""

import math
import random
from collections import Counter
from pathlib import Path
from statistics import NormalDist
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from cxr.labels.radiograph import Radiograph
from cxr.labels.targets import LABELS
from cxr.labels.vocabulary import FINDINGS, labels_of
from cxr.request.errors import DataError
from cxr.train import guide_task
from cxr.train.architecture import TEXT_TOKENS, TEXT_WIDTH, build_unet
from cxr.train.caption_targets import AGE_STEP, FLAGS, NUM_AGES, random_captions, targets_of_captions
from cxr.train.film_draws import FilmDraws, FindingDraws
from cxr.train.guide_network import (
    LAST_TIMESTEP,
    MAX_SHIFT,
    NAMES,
    GuideNetwork,
    guide_targets,
    load_guides,
    log_likelihood,
    velocity_shift,
)

NUM_TARGETS = len(NAMES)


def read_with(logit: Tensor) -> Tensor:
    """A guide's answer [B, 25] whose second label (male) has this logit, all others being even odds."""
    read = torch.zeros(len(logit), NUM_TARGETS + 1)
    columns = list(read.unbind(dim=1))
    columns[LABELS.index("male")] = logit
    return torch.stack(columns, dim=1)


def only(label: str, values: list[float]) -> Tensor:
    targets = torch.full((len(values), NUM_TARGETS), torch.nan)
    targets[:, LABELS.index(label)] = torch.tensor(values)
    return targets


def test_the_shift_is_the_exact_difference_that_a_label_makes() -> None:
    """Latents N(+m, s) for men and N(-m, s) for women: everything is known in closed form."""
    mean, deviation, alpha = 0.2, 0.5, torch.tensor(0.8)
    sigma = (1 - alpha**2).sqrt()
    variance = alpha**2 * deviation**2 + sigma**2
    noisy = torch.linspace(-1, 1, 5)
    shape = (5, 1, 1, 1)

    def exact_guide(latents: Tensor, timesteps: Tensor) -> Tensor:
        return read_with(2 * alpha * mean * latents.flatten() / variance)

    def velocity(sign: float) -> Tensor:
        centre = sign * mean
        original = centre + alpha * deviation**2 / variance * (noisy - alpha * centre)
        return alpha * (noisy - alpha * original) / sigma - sigma * original

    male = torch.sigmoid(2 * alpha * mean * noisy / variance)
    either = male * velocity(1) + (1 - male) * velocity(-1)
    for sign, value in ((1, 1.0), (-1, 0.0)):
        shift = velocity_shift(
            exact_guide,  # type: ignore[arg-type]  # anything that reads latents
            noisy.view(shape),
            torch.full((5,), 300),
            alpha.expand(shape),
            sigma.expand(shape),
            only("male", [value] * 5),
        )
        torch.testing.assert_close(either + shift.flatten(), velocity(sign), rtol=1e-4, atol=1e-5)


def shift_of(targets: Tensor, timestep: int = 300, steepness: float = 1.0) -> Tensor:
    latents = torch.randn(len(targets), 2, 2, 2, generator=torch.Generator().manual_seed(0))
    level = torch.full((len(targets), 1, 1, 1), 0.5**0.5)

    def steep_guide(noisy: Tensor, timesteps: Tensor) -> Tensor:
        return read_with(steepness * noisy.flatten(1).sum(dim=1))

    timesteps = torch.full((len(targets),), timestep)
    return velocity_shift(steep_guide, latents, timesteps, level, level, targets)  # type: ignore[arg-type]


def test_an_attribute_that_is_not_told_shifts_nothing() -> None:
    assert not shift_of(torch.full((2, NUM_TARGETS), torch.nan)).any()
    assert shift_of(only("male", [1.0, 0.0])).any()


def test_almost_pure_noise_is_left_alone_and_long_shifts_are_cut() -> None:
    assert not shift_of(only("male", [1.0]), timestep=LAST_TIMESTEP).any()
    size = shift_of(only("male", [0.0, 1.0] * 4), steepness=100.0).square().mean(dim=(1, 2, 3)).sqrt()
    assert float(size.max()) == pytest.approx(MAX_SHIFT, rel=1e-5)


def test_the_likelihood_is_bernoulli_for_labels_and_normal_for_the_age() -> None:
    read = torch.randn(3, NUM_TARGETS + 1, generator=torch.Generator().manual_seed(0))
    targets = torch.full((3, NUM_TARGETS), torch.nan)
    targets[0, 4], targets[1, -1], targets[2, 0] = 1.0, 0.7, 0.0
    # Without the constant of the normal density, which has no gradient.
    age = math.log(NormalDist(float(read[1, -2]), math.exp(read[1, -1])).pdf(0.7)) + 0.5 * math.log(2 * math.pi)
    expected = torch.stack([torch.sigmoid(read[0, 4]).log(), torch.tensor(age), torch.sigmoid(-read[2, 0]).log()])
    torch.testing.assert_close(log_likelihood(read, targets), expected)


def test_smoothed_labels_are_never_quite_sure() -> None:
    """With a tenth of smoothing a sure yes is worst where the guide would be surest, and best at odds of 19 to 1."""
    logits = torch.tensor([1.0, math.log(19), 9.0])
    likelihood = log_likelihood(read_with(logits), only("male", [1.0] * 3), 0.1)
    assert int(likelihood.argmax()) == 1


def test_sides_are_known_where_the_finding_is_absent_or_its_side_is_told() -> None:
    prompts = ("left effusion", "bilateral effusion", "effusion", "normal chest x-ray", "a man")
    targets = guide_targets([labels_of(prompt) for prompt in prompts])
    left, right = (targets[:, NAMES.index(f"{side} Effusion")].tolist() for side in ("left", "right"))
    assert left == pytest.approx([1, 1, math.nan, 0, math.nan], nan_ok=True)
    assert right == pytest.approx([0, 1, math.nan, 0, math.nan], nan_ok=True)
    assert targets[:, NAMES.index("Effusion")].tolist() == pytest.approx([1, 1, 1, 0, math.nan], nan_ok=True)


def test_a_guides_answers_begin_at_how_often_each_is_yes() -> None:
    network = GuideNetwork()
    network.begin_with_odds_of(torch.cat([only("male", [1.0]), only("male", [0.0] * 7)]))
    bias = network.answers.bias.detach()
    assert float(bias[LABELS.index("male")].sigmoid()) == pytest.approx(2 / 10)  # one success and one failure added
    assert float(bias[LABELS.index("PA")].sigmoid()) == pytest.approx(1 / 2)


def test_a_guide_sees_on_which_side_something_lies() -> None:
    torch.manual_seed(0)
    network = GuideNetwork().eval()
    latents = torch.randn(1, 16, 16, 16)
    with torch.no_grad():
        read, mirrored = (network(images, torch.tensor([100])) for images in (latents, latents.flip(3)))
    assert not torch.allclose(read, mirrored, atol=1e-3)


def test_guides_are_read_back_as_their_mean_and_anything_else_refused(tmp_path: Path) -> None:
    networks, files = [GuideNetwork(), GuideNetwork()], []
    for number, network in enumerate(networks):
        (tmp_path / str(number)).mkdir()
        guide_task.GuideTask.export(SimpleNamespace(network=network), tmp_path / str(number))  # type: ignore[arg-type]
        files.append(tmp_path / str(number) / guide_task.GUIDE)
    latents, timesteps = torch.randn(2, 16, 16, 16), torch.tensor([3, 500])
    read = load_guides(files)(latents, timesteps)
    assert read.shape == (2, NUM_TARGETS + 1)
    torch.testing.assert_close(read, sum(network.eval()(latents, timesteps) for network in networks) / 2)
    with pytest.raises(DataError, match="is not a guide"):
        load_guides([files[0], tmp_path / "missing.safetensors"])


def test_a_guide_begins_as_the_encoder_of_a_unet() -> None:
    unet = build_unet()
    text = torch.randn(1, TEXT_TOKENS, TEXT_WIDTH)
    network, latents, timesteps = GuideNetwork(unet, text), torch.randn(2, 16, 16, 16), torch.tensor([3, 500])
    inner: list[Tensor] = []
    unet.mid_block.register_forward_hook(lambda module, arguments, output: inner.append(output))
    with torch.no_grad():
        network(latents, timesteps)
        unet(latents, timesteps, text.expand(2, -1, -1))
    assert len(inner) == 2
    torch.testing.assert_close(inner[0], inner[1])


def flags_of(caption: str) -> dict[str, float]:
    row = targets_of_captions([caption])[0].tolist()
    return dict(zip(FLAGS, row, strict=False))


def test_a_caption_says_what_is_told_and_what_is_not() -> None:
    flags = flags_of("A 55-year-old man with pneumonia")
    told = {name for name, value in flags.items() if value == 1}
    assert told == {"sex named", "male", "age named", "findings named", "Pneumonia"}
    assert flags["view named"] == 0
    assert flags["PA"] != flags["PA"]  # not a number: nothing to learn from
    assert flags_of("normal chest x-ray, AP view") | {"PA": 0.0, "view named": 1.0} == pytest.approx(
        flags_of("normal chest x-ray, AP view"), nan_ok=True
    )


@pytest.mark.parametrize(("caption", "years"), [("a 52 year old woman", 52), ("a 99 yo man", 99), ("a young man", 27)])
def test_an_age_is_a_mixture_of_two_steps(caption: str, years: int) -> None:
    mixture = targets_of_captions([caption])[0, len(FLAGS) :]
    assert float(mixture.sum()) == pytest.approx(1)
    steps = torch.arange(NUM_AGES) * float(AGE_STEP)
    assert float(mixture @ steps) == pytest.approx(years)


def test_made_up_captions_name_every_finding_and_both_sexes() -> None:
    flags = targets_of_captions(random_captions(random.Random(0), 400))[:, : len(FLAGS)]
    for name in ("PA", "male", *FINDINGS):
        column = flags[:, FLAGS.index(name)]
        assert (column == 1).any(), name
        assert (column == 0).any(), name


def test_a_patient_of_many_films_is_learnt_from_as_if_there_were_four(tmp_path: Path) -> None:
    patients = ["many"] * 40 + ["few"] * 4 + ["one"]
    records = [
        Radiograph(findings=("Mass",), path=tmp_path / f"{n}.png", patient_id=name) for n, name in enumerate(patients)
    ]
    for draws in (FilmDraws(records), FindingDraws(records)):
        drawn = Counter(patients[index] for index in draws.pick(torch.Generator().manual_seed(0), 9_000))
        assert drawn["many"] / 9_000 == pytest.approx(4 / 9, abs=0.03)
        assert drawn["few"] / 9_000 == pytest.approx(4 / 9, abs=0.03)
        assert drawn["one"] / 9_000 == pytest.approx(1 / 9, abs=0.03)


def test_a_quarter_of_the_draws_is_normal_and_rare_findings_come_more_often_than_they_are(tmp_path: Path) -> None:
    def film(number: int, *findings: str) -> Radiograph:
        return Radiograph(findings=findings, path=tmp_path / f"{number}.png", patient_id=str(number))

    records = [film(n) for n in range(50)] + [film(n, "Mass") for n in range(50, 150)]
    records += [film(150, "Hernia"), Radiograph(path=tmp_path / "unknown.png", patient_id="unknown")]
    drawn = FindingDraws(records).pick(torch.Generator().manual_seed(0), 4_400)
    assert len(drawn) == 4_400
    assert sum(index < 50 for index in drawn) / 4_400 == pytest.approx(1 / 4, abs=0.03)
    assert sum(index == 150 for index in drawn) / 4_400 == pytest.approx(3 / 4 / 11, abs=0.02)
    assert 151 not in drawn
