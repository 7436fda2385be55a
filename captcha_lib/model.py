"""`CRNN`: convolutions -> columns -> BiLSTM -> linear, and `ctc_loss` beside it.

The architecture is that of Shi, Bai and Yao, "An End-to-End Trainable Neural Network for Image-based Sequence
Recognition" (TPAMI 2017, figure 1), made small and quick: the pictures hold one line of five characters, and the middle
convolutions are depthwise separable (Howard et al., "MobileNets", arXiv:1704.04861, section 3.1).
"""

import pandas as pd
import torch
from torch import nn
from torch.nn import functional as F

from captcha_lib.alphabet import BLANK
from captcha_lib.config import Config, InputError
from captcha_lib.images import MIN_SIDE


class CRNN(nn.Module):
    """Reads a grey picture as a sequence of T columns, each with a score for every class.

    As in Shi et al., the last convolution spans all the rows that are left and so makes columns of the feature map.

    Args:
        num_classes: K, the characters and the blank.
        height: H of the pictures in px.
        channels: output channels of the first three convolutions.
        hidden: features of one column, and twice the size of each LSTM direction.
        dropout: share of the LSTM's features dropped in training.

    Shape:
        (B, 1, H, W) uint8 -> logits (B, T, K) float32, T = W / 8: 25 for the 200 px of a Kaggle captcha.

    Raises:
        InputError: a height below 16 px.
    """

    def __init__(
        self,
        num_classes: int,
        height: int = 50,
        channels: tuple[int, int, int] = Config.channels,
        hidden: int = Config.hidden,
        dropout: float = Config.dropout,
    ) -> None:
        super().__init__()
        self.channels, self.hidden = channels, hidden
        if height < MIN_SIDE:
            raise InputError(f"images {height} px high are too low for the network; it needs {MIN_SIDE} px")
        c1, c2, c3 = channels
        self.convolutions = nn.Sequential(
            nn.Conv2d(1, c1, 5, stride=2, padding=2, bias=False), nn.BatchNorm2d(c1), nn.ReLU(), nn.MaxPool2d(2),
            *_separable(c1, c2), nn.MaxPool2d((2, 1)),
            *_separable(c2, c3), nn.MaxPool2d((2, 1)),
        )  # fmt: skip
        with torch.no_grad():  # one dummy picture gives the rows that are left, instead of arithmetic
            rows = self.convolutions.eval()(torch.zeros(1, 1, height, 64)).shape[2]
        self.convolutions.train()
        self.columns = nn.Sequential(
            nn.Conv2d(c3, hidden, (rows, 3), stride=(1, 2), padding=(0, 1), bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU(),
        )
        self.lstm = nn.LSTM(hidden, hidden // 2, bidirectional=True, batch_first=True)
        self.classify = nn.Sequential(nn.Dropout(dropout), nn.Linear(hidden, num_classes))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = 1 - images.float() / 255  # (B, 1, H, W), ink is 1
        x = self.convolutions(x)  # (B, C, H/16, W/4)
        x = self.columns(x)  # (B, hidden, 1, T)
        x = x.squeeze(2).transpose(1, 2)  # (B, T, hidden)
        x, _ = self.lstm(x)  # (B, T, hidden)
        return self.classify(x).float()  # (B, T, K)


def time_steps(width: int) -> int:
    """T for pictures so many px wide."""
    return (-(-width // 2) // 2 + 1) // 2


def _separable(inputs: int, outputs: int) -> list[nn.Module]:
    """A 3 x 3 convolution in two steps, each channel by itself and then across channels: a ninth of the work."""
    depthwise = nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs, bias=False)
    pointwise = nn.Conv2d(inputs, outputs, 1, bias=False)
    return [depthwise, nn.BatchNorm2d(inputs), pointwise, nn.BatchNorm2d(outputs), nn.ReLU()]


def describe_stages(model: CRNN, images: torch.Tensor) -> pd.DataFrame:
    """Sends pictures (B, 1, H, W) through the network: one row a stage with its output's shape and its parameters."""
    rows = []

    def note(name: str, stage: nn.Module, output: torch.Tensor | tuple) -> None:
        shape = tuple((output[0] if isinstance(output, tuple) else output).shape)
        rows.append({"stage": name, "output": shape, "parameters": sum(p.numel() for p in stage.parameters())})

    hooks = [
        stage.register_forward_hook(lambda stage, _, output, name=name: note(name, stage, output))
        for name, stage in model.named_children()
    ]
    with torch.no_grad():
        model(images)
    for hook in hooks:
        hook.remove()
    return pd.DataFrame(rows)


def count_multiplications(model: CRNN, height: int, width: int) -> dict[str, int]:
    """The multiplications that one picture costs, by kind of layer: Conv2d, LSTM, Linear."""
    counts = dict.fromkeys(("Conv2d", "LSTM", "Linear"), 0)

    def count(layer: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor | tuple) -> None:
        if isinstance(layer, nn.Conv2d):
            counts["Conv2d"] += output.numel() * layer.weight[0].numel()
        elif isinstance(layer, nn.Linear):
            counts["Linear"] += output.numel() * layer.in_features
        else:
            matrices = [weight for name, weight in layer.named_parameters() if name.startswith("weight")]
            counts["LSTM"] += inputs[0].shape[1] * sum(weight.numel() for weight in matrices)

    layers = [layer for layer in model.modules() if type(layer).__name__ in counts]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    with torch.no_grad():
        device = next(model.parameters()).device
        model(torch.zeros(1, 1, height, width, dtype=torch.uint8, device=device))
    for hook in hooks:
        hook.remove()
    return counts


def ctc_loss(logits: torch.Tensor, ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """The negative log-likelihood of each label, summed over all paths that collapse to it (Graves et al., ICML 2006).

    Taken on the CPU: CUDA's backward pass is not deterministic, and the loss costs about a millisecond.

    Shape:
        logits (B, T, K), padded class ids (B, max L), lengths (B,) -> (B,) in nats, inf where T is too short.
    """
    log_probs = logits.cpu().log_softmax(-1).transpose(0, 1)  # (T, B, K)
    steps = torch.full((len(logits),), logits.shape[1])
    return F.ctc_loss(log_probs, ids.cpu(), steps, lengths.cpu(), blank=BLANK, reduction="none")


def has_bfloat16(device: str) -> bool:
    """Whether the processor multiplies in bfloat16; one that only imitates it would be slower, not faster."""
    if device.startswith("cuda"):
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device != "cpu":
        return False
    cpu = torch.cpu.get_capabilities()
    return bool(cpu.get("avx512_bf16") or cpu.get("amx_bf16"))
