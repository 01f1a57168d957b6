"""The network: which way things move whatever their brightness, and masks that hide what they should."""

import pytest
import torch

from shotlake.embed.mini.model import MiniModel, MiniShape, normal_flow


def square_at(x: int, y: int, brightness: float, behind: float) -> torch.Tensor:
    picture = torch.full((1, 3, 48, 48), behind)
    picture[:, :, y : y + 14, x : x + 14] = brightness
    return torch.nn.functional.avg_pool2d(picture, 3, 1, 1)


@pytest.mark.parametrize(("brightness", "behind"), [(0.8, -0.3), (-0.9, 0.1), (0.0, 0.4)])
@pytest.mark.parametrize(("right", "down"), [(2, 0), (-2, 0), (0, 2), (0, -2)])
def test_flow_tells_the_way_of_bright_and_of_dark_things(
    right: int, down: int, brightness: float, behind: float
) -> None:
    flow = normal_flow(square_at(16, 16, brightness, behind), square_at(16 + right, 16 + down, brightness, behind))
    across, downwards = flow.sum((0, 2, 3)).tolist()
    assert flow.shape == (1, 2, 24, 24)
    along, beside = (across, downwards) if right else (downwards, across)
    assert along * (right + down) > 0 and abs(beside) < 0.1 * abs(along)


def test_nothing_that_moves_is_no_flow() -> None:
    picture = torch.rand(2, 3, 48, 48)
    assert not normal_flow(picture, picture).any()
    grey = torch.full((1, 3, 48, 48), 0.2)
    assert normal_flow(grey, grey + 0.1).abs().max() < 1e-3


@pytest.fixture(scope="module")
def model() -> MiniModel:
    torch.manual_seed(0)
    return MiniModel(MiniShape(n_pieces=20)).eval()


def clips(n_clips: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    frames = torch.randint(0, 256, (n_clips, 16, 48, 48, 3), generator=generator, dtype=torch.uint8)
    waveform = torch.randn(n_clips, 32_000, generator=generator) / 8
    return [frames, torch.ones(n_clips, 16, dtype=torch.bool), waveform, torch.ones(n_clips, 32_000, dtype=torch.bool)]


@torch.inference_mode()
def test_a_masked_modality_is_as_one_that_is_left_out(model: MiniModel) -> None:
    frames, frame_mask, waveform, sample_mask = clips(2)
    whole = model.tokens(frames, frame_mask, waveform, sample_mask)
    deaf = model.tokens(frames, frame_mask, torch.randn_like(waveform), torch.zeros_like(sample_mask))
    blind = model.tokens(torch.zeros_like(frames), torch.zeros_like(frame_mask), waveform, sample_mask)
    torch.testing.assert_close(model.fuse(deaf), model.fuse(whole.picture_only()), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(model.fuse(blind), model.fuse(whole.sound_only()), atol=1e-4, rtol=1e-4)
    assert model.project(model.fuse(whole)).shape == (2, model.shape.vector_dim)


@torch.inference_mode()
def test_padding_of_words_and_pieces_changes_no_text(model: MiniModel) -> None:
    pieces = torch.tensor([[0, 0], [3, 4], [5, 0]])
    short = model.text(pieces, torch.tensor([[1, 2]]))
    padded = model.text(torch.nn.functional.pad(pieces, (0, 3)), torch.tensor([[1, 2, 0, 0], [2, 2, 2, 1]]))
    torch.testing.assert_close(padded[:1], short)
    assert not torch.allclose(padded[0], padded[1])
