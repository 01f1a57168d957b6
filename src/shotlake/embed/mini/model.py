"""The network: pictures as motion tubelets, sound as log-mel, words; fused by attention into one space.

Letters of shapes: B clips, T frames, K tubelets (two frames each), P places of a tubelet, S sound tokens, L words of
a text, W different words, D the width. Absent modalities are masked keys, never zeros that look like data.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shotlake.embed.mini.meaning import Conjunctions, Perceptrons
from shotlake.embed.mini.mel import HOP, N_MELS, log_mel

_SOUND_STRIDE = 4
_N_POOLED = 4
_N_STATES = 6  # how a clip or a text begins and how it ends; the two things of its beginning, and of its end
_PLACE = 0.3  # spread of places and times at the start: where and when have to be heard beside what
_FLAT = 1e-3  # squared slope (of values in [-1, 1]) under which an edge is noise


@dataclass(frozen=True, slots=True)
class MiniShape:
    """Sizes of a `mini` network; written into its weights file."""

    n_pieces: int
    dim: int = 128
    vector_dim: int = 192
    n_heads: int = 4
    n_frames: int = 16
    size_px: int = 48
    n_samples: int = 32_000
    max_words: int = 56
    stem: tuple[int, int, int] = (32, 64, 128)
    meaning: Literal["perceptrons", "conjunctions"] = "perceptrons"
    n_units: int = 1024  # of conjunctions

    @property
    def n_places(self) -> int:
        """Tokens of one tubelet: the stem divides each side by 8, and its windows of three overlap."""
        return (self.size_px // 8 - 2) ** 2


class Attention(nn.Module):
    """Multi-head self-attention by plain matrix products: on such short rows faster than the fused kernels."""

    def __init__(self, dim: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.norm = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, x_BLD: Tensor, mask_BL: Tensor | None) -> Tensor:
        """Residual attention; keys where `mask_BL` is False are not looked at."""
        n, length, dim = x_BLD.shape
        qkv = self.qkv(self.norm(x_BLD)).view(n, length, 3, self.n_heads, dim // self.n_heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).reshape(3, n * self.n_heads, length, -1).unbind(0)
        scores = torch.bmm(query, key.transpose(1, 2)) * (dim // self.n_heads) ** -0.5
        if mask_BL is not None:
            shut = (~mask_BL).repeat_interleave(self.n_heads, dim=0)[:, None, :]
            scores = scores.masked_fill(shut, -1e4)
        mixed = torch.bmm(scores.softmax(-1).to(value.dtype), value)
        return x_BLD + self.out(mixed.view(n, self.n_heads, length, -1).transpose(1, 2).reshape(n, length, dim))


class FeedForward(nn.Sequential):
    """Residual two-layer perceptron."""

    def __init__(self, dim: int) -> None:
        super().__init__(nn.LayerNorm(dim), nn.Linear(dim, 4 * dim), nn.ReLU(), nn.Linear(4 * dim, dim))

    def forward(self, x_BLD: Tensor) -> Tensor:
        """x + mlp(x)."""
        return x_BLD + super().forward(x_BLD)  # type: ignore[no-untyped-call]


class Block(nn.Module):
    """Attention over one row of tokens, then the perceptron."""

    def __init__(self, dim: int, n_heads: int) -> None:
        super().__init__()
        self.attention = Attention(dim, n_heads)
        self.feed_forward = FeedForward(dim)

    def forward(self, x_BLD: Tensor, mask_BL: Tensor | None = None) -> Tensor:
        """Same shape out."""
        return self.feed_forward(self.attention(x_BLD, mask_BL))


class SpaceTimeBlock(nn.Module):
    """Attention along time at each place, then among the places of each tubelet, then the perceptron."""

    def __init__(self, dim: int, n_heads: int) -> None:
        super().__init__()
        self.time = Attention(dim, n_heads)
        self.space = Attention(dim, n_heads)
        self.feed_forward = FeedForward(dim)

    def forward(self, x_BKPD: Tensor, mask_BK: Tensor) -> Tensor:
        """Same shape out; tubelets that are masked are not looked at by others."""
        n, tubelets, places, dim = x_BKPD.shape
        rows = x_BKPD.transpose(1, 2).reshape(n * places, tubelets, dim)
        rows = self.time(rows, mask_BK.repeat_interleave(places, dim=0))
        grids = rows.view(n, places, tubelets, dim).transpose(1, 2).reshape(n * tubelets, places, dim)
        return self.feed_forward(self.space(grids, None)).view(n, tubelets, places, dim)


class PictureTower(nn.Module):
    """Frames to tokens: per tubelet the strongest response and four learned poolings of its places."""

    def __init__(self, shape: MiniShape) -> None:
        super().__init__()
        self.shape = shape
        widths = (*shape.stem, shape.dim)
        self.look = nn.Conv2d(3, widths[0], 3, 2, 1, bias=False)
        self.move = nn.Conv2d(3, widths[0], 3, 2, 1, bias=False)
        self.drift = nn.Conv2d(2, widths[0], 3, 1, 1, bias=False)
        layers: list[nn.Module] = [nn.BatchNorm2d(widths[0]), nn.ReLU(inplace=True)]
        for inner, outer, stride in zip(widths, widths[1:], (2, 2, 1), strict=False):
            layers += [nn.Conv2d(inner, outer, 3, stride, 1, bias=False), nn.BatchNorm2d(outer), nn.ReLU(inplace=True)]
        self.stem = nn.Sequential(*layers, nn.MaxPool2d(3, stride=1))
        self.place = nn.Parameter(_PLACE * torch.randn(1, 1, shape.n_places, shape.dim))
        self.time = nn.Parameter(_PLACE * torch.randn(1, shape.n_frames // 2, 1, shape.dim))
        self.blocks = nn.ModuleList(SpaceTimeBlock(shape.dim, shape.n_heads) for _ in range(2))
        self.pool = nn.Linear(shape.dim, _N_POOLED)
        self.kind = nn.Parameter(0.02 * torch.randn(1, 1, 1 + _N_POOLED, shape.dim))

    def forward(self, frames_BTHWC: Tensor, mask_BT: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 frames [B, T, H, W, 3] and mask [B, T] to tokens [B, 5 K, D] and their mask [B, 5 K]."""
        n, n_frames = mask_BT.shape
        pairs = frames_BTHWC.reshape(n * n_frames // 2, 2, *frames_BTHWC.shape[2:])
        # A tubelet is its second frame and how it came out of the first: direction is visible in one token. Which way
        # is told by change only if things are brighter than what is behind them; drift tells it of dark ones too.
        first, second = (pairs[:, place].permute(0, 3, 1, 2).float().div(127.5).sub(1) for place in (0, 1))
        seen = self.look(second).add_(self.move(second.sub(first).mul_(2)))
        grid = self.stem(seen.add_(self.drift(normal_flow(first, second))))
        mask_BK = mask_BT.view(n, n_frames // 2, 2).all(-1)
        x = grid.flatten(2).transpose(1, 2).reshape(n, n_frames // 2, -1, self.shape.dim) + self.place + self.time
        for block in self.blocks:
            x = block(x, mask_BK)
        weights = self.pool(x).softmax(dim=2)
        pooled = torch.einsum("bkpq,bkpd->bkqd", weights.to(x.dtype), x)
        tokens = torch.cat([x.amax(dim=2, keepdim=True), pooled], dim=2) + self.kind + self.time
        return tokens.flatten(1, 2), mask_BK.repeat_interleave(1 + _N_POOLED, dim=1)


def normal_flow(first_NCHW: Tensor, second_NCHW: Tensor) -> Tensor:
    """[N, 2, H / 2, W / 2]: how far what is seen moved right and down, in coarse pixels, as far as its edges tell."""
    first, second = F.avg_pool2d(first_NCHW, 2), F.avg_pool2d(second_NCHW, 2)
    change, middle = second - first, F.pad((first + second) / 2, (1, 1, 1, 1), mode="replicate")
    across = (middle[..., 1:-1, 2:] - middle[..., 1:-1, :-2]) / 2
    down = (middle[..., 2:, 1:-1] - middle[..., :-2, 1:-1]) / 2
    steepness = (across.square() + down.square()).sum(1, keepdim=True)
    moved = torch.cat([-(slope * change).sum(1, keepdim=True) for slope in (across, down)], dim=1)
    moved, steepness = (F.avg_pool2d(field, 3, 1, 1) for field in (moved, steepness))
    return (moved / (steepness + _FLAT)).clamp(-2, 2)


class SoundTower(nn.Module):
    """Waveform to one token each 80 ms."""

    def __init__(self, shape: MiniShape) -> None:
        super().__init__()
        self.convolve = nn.Sequential(
            nn.Conv1d(N_MELS, shape.dim, 3, 2, 1), nn.ReLU(), nn.Conv1d(shape.dim, shape.dim, 3, 2, 1), nn.ReLU()
        )
        self.place = nn.Parameter(_PLACE * torch.randn(1, shape.n_samples // HOP // _SOUND_STRIDE, shape.dim))
        self.block = Block(shape.dim, shape.n_heads)

    def forward(self, waveform_BN: Tensor, mask_BN: Tensor) -> tuple[Tensor, Tensor]:
        """Samples [B, N] and mask [B, N] to tokens [B, S, D] and their mask [B, S]."""
        mel = log_mel(torch.where(mask_BN, waveform_BN, 0))
        x = self.convolve(mel.transpose(1, 2)).transpose(1, 2) + self.place
        mask_BS = mask_BN.view(len(mask_BN), x.shape[1], -1).any(-1)
        return self.block(x, mask_BS), mask_BS


class Reader(nn.Module):
    """What a clip shows, or a text says, as states [B, 6, D], of which two are things of the beginning, two of the end.

    A thing is one state, so that who has which colour is not lost in a sum.
    """

    def __init__(self, shape: MiniShape) -> None:
        super().__init__()
        self.states = nn.Parameter(_PLACE * torch.randn(1, _N_STATES, shape.dim))
        self.norm = nn.LayerNorm(shape.dim)

    def forward(self, blocks: nn.ModuleList, x_BLD: Tensor, mask_BL: Tensor) -> Tensor:
        """[B, 6, D]: the states behind the blocks, which see all tokens that are not masked."""
        x = torch.cat([self.states.expand(len(x_BLD), -1, -1), x_BLD], dim=1)
        mask = F.pad(mask_BL, (_N_STATES, 0), value=True)
        for block in blocks:
            x = block(x, mask)
        return self.norm(x[:, :_N_STATES])


class TextTower(nn.Module):
    """Words, each the mean of its pieces, to the states of a text."""

    def __init__(self, shape: MiniShape) -> None:
        super().__init__()
        self.piece = nn.Embedding(shape.n_pieces + 1, shape.dim, padding_idx=0)
        self.place = nn.Parameter(_PLACE * torch.randn(1, shape.max_words, shape.dim))
        self.near = nn.Conv1d(shape.dim, shape.dim, 5, padding=2)
        self.blocks = nn.ModuleList(Block(shape.dim, shape.n_heads) for _ in range(3))
        self.reader = Reader(shape)

    def forward(self, pieces_WP: Tensor, words_BL: Tensor) -> Tensor:
        """Pieces of the different words, words of each text (0 pads both) to states [B, 6, D]."""
        word_WD = self.piece(pieces_WP).sum(1) / (pieces_WP > 0).sum(1, keepdim=True).clamp(min=1)
        mask = words_BL > 0
        x = (word_WD[words_BL] + self.place[:, : words_BL.shape[1]]) * mask[..., None]
        x = x + self.near(x.transpose(1, 2)).transpose(1, 2)  # which colour goes with which shape is told by neighbours
        states: Tensor = self.reader(self.blocks, x, mask)
        return states


@dataclass(frozen=True, slots=True)
class Tokens:
    """What the two towers say of B clips, ready to be fused in any choice of modalities."""

    picture_BPD: Tensor
    picture_mask_BP: Tensor
    sound_BSD: Tensor
    sound_mask_BS: Tensor

    def picture_only(self) -> Tokens:
        """The same clips without their sound."""
        return replace(self, sound_BSD=self.sound_BSD[:, :0], sound_mask_BS=self.sound_mask_BS[:, :0])

    def sound_only(self) -> Tokens:
        """The same clips without their picture."""
        return replace(self, picture_BPD=self.picture_BPD[:, :0], picture_mask_BP=self.picture_mask_BP[:, :0])


class MiniModel(nn.Module):
    """Both towers, their fusion and the text tower."""

    def __init__(self, shape: MiniShape) -> None:
        super().__init__()
        self.shape = shape
        self.picture, self.sound, self.text = PictureTower(shape), SoundTower(shape), TextTower(shape)
        self.modality = nn.Parameter(0.02 * torch.randn(2, shape.dim))
        self.fusion = nn.ModuleList(Block(shape.dim, shape.n_heads) for _ in range(2))
        self.reader = Reader(shape)
        self.meaning: Perceptrons | Conjunctions = (
            Perceptrons(shape.dim, shape.vector_dim)
            if shape.meaning == "perceptrons"
            else Conjunctions(shape.dim, _N_STATES, shape.vector_dim, shape.n_units)
        )

    def tokens(
        self, frames_BTHWC: Tensor, frame_mask_BT: Tensor, waveform_BN: Tensor, sample_mask_BN: Tensor
    ) -> Tokens:
        """Run the towers on all clips; masks say which tokens mean something."""
        picture, picture_mask = self.picture(frames_BTHWC, frame_mask_BT)
        sound, sound_mask = self.sound(waveform_BN, sample_mask_BN)
        return Tokens(picture + self.modality[0], picture_mask, sound + self.modality[1], sound_mask)

    def fuse(self, tokens: Tokens) -> Tensor:
        """[B, 6, D] states of the tokens that are not masked."""
        x = torch.cat([tokens.picture_BPD, tokens.sound_BSD], dim=1)
        mask = torch.cat([tokens.picture_mask_BP, tokens.sound_mask_BS], dim=1)
        states: Tensor = self.reader(self.fusion, x, mask)
        return states

    def project(self, states_BSD: Tensor) -> Tensor:
        """[B, vector_dim] of the states of clips, not normalised."""
        vector: Tensor = self.meaning(states_BSD)
        return vector

    def say(self, states_BSD: Tensor) -> Tensor:
        """[B, vector_dim] of the states of texts, not normalised."""
        vector: Tensor = self.meaning.say(states_BSD)
        return vector
