"""`CRNN`: convolutions -> columns -> BiLSTM -> linear, with `ctc_loss`, and `frame_targets` for the warm-up.

The architecture is that of Shi, Bai and Yao, "An End-to-End Trainable Neural Network for Image-based Sequence
Recognition" (TPAMI 2017, figure 1), made small and quick: the pictures hold one line of five characters, and the middle
convolutions are depthwise separable (Howard et al., "MobileNets", arXiv:1704.04861, section 3.1).
"""

import torch
from torch import nn
from torch.nn import functional as F

from captcha_lib.alphabet import BLANK
from captcha_lib.config import MIN_SIDE, Config, InputError


class CRNN(nn.Module):
    """Reads a grey picture as a sequence of T columns, each with a score for every class.

    As in Shi et al., the last convolution spans all the rows that are left and so makes columns of the feature map.

    (B, 1, H, W) uint8 -> logits (B, T, K) float32, T = W / 8: 25 for the 200 px of a Kaggle captcha.

    Args:
        num_classes: K, the characters and the blank.
        height: H of the pictures in px; below 16 it raises an InputError.
        channels: output channels of the first three convolutions.
        hidden: features of one column, and twice the size of each LSTM direction.
        dropout: share of the LSTM's features dropped in training.
        blocks: residual blocks after each of the two separable convolutions; more of them read more kinds of pictures.
    """

    def __init__(
        self,
        num_classes: int,
        height: int = 50,
        channels: tuple[int, int, int] = Config.channels,
        hidden: int = Config.hidden,
        dropout: float = Config.dropout,
        blocks: int = Config.blocks,
    ) -> None:
        super().__init__()
        self.channels, self.hidden, self.blocks = channels, hidden, blocks
        if height < MIN_SIDE:
            raise InputError(f"images {height} px high are too low for the network; it needs {MIN_SIDE} px")
        c1, c2, c3 = channels
        self.convolutions = nn.Sequential(
            nn.Conv2d(1, c1, 5, stride=2, padding=2, bias=False), nn.BatchNorm2d(c1), nn.ReLU(), nn.MaxPool2d(2),
            *_separable(c1, c2), *(Residual(c2) for _ in range(blocks)), nn.MaxPool2d((2, 1)),
            *_separable(c2, c3), *(Residual(c3) for _ in range(blocks)), nn.MaxPool2d((2, 1)),
        )  # fmt: skip
        with torch.no_grad():  # one dummy picture gives the rows that are left, instead of arithmetic
            rows = self.convolutions.eval()(torch.zeros(1, 1, height, 64)).shape[2]
        self.convolutions.train()
        spanning = nn.Conv2d(c3, hidden, (rows, 3), stride=(1, 2), padding=(0, 1), bias=False)
        self.columns = nn.Sequential(spanning, nn.BatchNorm2d(hidden), nn.ReLU())
        self.lstm = nn.LSTM(hidden, hidden // 2, bidirectional=True, batch_first=True)
        self.classify = nn.Sequential(nn.Dropout(dropout), nn.Linear(hidden, num_classes))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = 1 - images.float() / 255  # (B, 1, H, W), ink is 1
        x = self.convolutions(x)  # (B, C, H/16, W/4)
        x = self.columns(x)  # (B, hidden, 1, T)
        x = x.squeeze(2).transpose(1, 2)  # (B, T, hidden)
        x, _ = self.lstm(x)  # (B, T, hidden)
        return self.classify(x).float()  # (B, T, K)


class Residual(nn.Module):
    """A separable convolution that adds to what comes in (He et al., CVPR 2016, figure 2): (B, C, H, W) -> the same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.added = nn.Sequential(*_separable(channels, channels)[:-1])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(x + self.added(x))


def time_steps(width: int) -> int:
    """T for pictures of this width in px."""
    return (-(-width // 2) // 2 + 1) // 2


def _separable(inputs: int, outputs: int) -> list[nn.Module]:
    """A 3 x 3 convolution in two steps, each channel by itself and then across channels: a ninth of the work."""
    depthwise = nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs, bias=False)
    pointwise = nn.Conv2d(inputs, outputs, 1, bias=False)
    return [depthwise, nn.BatchNorm2d(inputs), pointwise, nn.BatchNorm2d(outputs), nn.ReLU()]


def ctc_loss(logits: torch.Tensor, ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """The negative log-likelihood of each label, summed over all paths that collapse to it (Graves et al., ICML 2006).

    Logits (B, T, K), padded class ids (B, max L), lengths (B,) -> (B,) in nats, inf where T is too short. An id of K
    stands for any character (the star of Pratap et al., NeurIPS 2022). Taken on the CPU: CUDA's backward
    pass is not deterministic, and the loss costs about a millisecond.
    """
    log_probs, ids = logits.cpu().log_softmax(-1).transpose(0, 1), ids.cpu()  # (T, B, K)
    steps = torch.full((len(logits),), logits.shape[1])
    if not (ids == logits.shape[2]).any():
        return F.ctc_loss(log_probs, ids, steps, lengths.cpu(), blank=BLANK, reduction="none")
    star = log_probs[..., BLANK + 1 :].logsumexp(-1, keepdim=True)  # (T, B, 1)
    loss = F.ctc_loss(torch.cat([log_probs, star], 2), ids, steps, lengths.cpu(), blank=BLANK, reduction="none")
    excess = star.exp().sum((0, 2))  # torch's gradient is that of probabilities whose sum is 1
    return loss - (excess - excess.detach())


def frame_targets(images: torch.Tensor, ids: torch.Tensor, lengths: torch.Tensor, steps: int) -> torch.Tensor:
    """Lays each label out evenly over the inked columns, blank elsewhere: a class for every time step.

    (B, 1, H, W) uint8, padded ids (B, max L), lengths (B,) -> (B, T) int64. Ink is what differs from the picture's
    median grey by at least half of what its most different pixel does. A column counts as inked if it holds, smoothed,
    at least half of what the mean column holds: glyphs do, a lone line does not.
    """
    grey = images[:, 0].float()  # (B, H, W)
    paper = grey.flatten(1).median(1).values[:, None, None]
    contrast = (grey - paper).abs()
    ink = (contrast >= contrast.amax((1, 2), keepdim=True) / 2).float().mean(1)  # (B, W)
    ink = F.avg_pool1d(ink[:, None], 9, stride=1, padding=4)[:, 0]  # (B, W)
    inked = ink >= ink.mean(1, keepdim=True) / 2
    width = inked.shape[1]
    place = torch.arange(width, device=images.device)
    first = torch.where(inked, place, width).amin(1, keepdim=True)  # (B, 1)
    last = torch.where(inked, place, -1).amax(1, keepdim=True)  # (B, 1)
    centre = (torch.arange(steps, device=images.device) + 0.5) * width / steps  # (T,), px
    index = ((centre - first) / (last + 1 - first) * lengths[:, None]).floor().long()  # (B, T)
    inside = (index >= 0) & (index < lengths[:, None])
    return ids.gather(1, index.clamp(0, ids.shape[1] - 1)) * inside


def has_bfloat16(device: str) -> bool:
    """Whether the processor multiplies in bfloat16; one that only imitates it would be slower, not faster."""
    if device.startswith("cuda"):
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device == "cpu" and any(cpu_facts().get(name) for name in ("avx512_bf16", "amx_bf16"))


def cpu_facts() -> dict:
    """What torch knows of the processor: its name and instructions; nothing before torch 2.11."""
    return getattr(torch.cpu, "get_capabilities", dict)()
