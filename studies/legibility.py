"""How legible a captcha is, without asking a person: the share of its characters that general OCR reads.

The OCR is the recogniser of PaddleOCR in ONNX Runtime (package rapidocr, extra "legibility"), trained on printed and
scene text in many scripts and never on these captchas. It stands in for a person with limits: it is used to slants and
clutter but not to crossing lines, it knows no alphabet and no length, and it reads a picture once, 48 px high.
"""

from typing import Any

import jiwer
import numpy as np
import torch

from captcha_lib.config import missing_extra


def read_by_ocr(images: torch.Tensor) -> list[str]:
    """Reads pictures (N, 1, H, W) uint8 as one line of text each, spaces left out.

    Raises:
        InputError: the extra `legibility` is not installed.
    """
    try:
        from rapidocr import RapidOCR
    except ImportError:
        raise missing_extra("rapidocr") from None
    ocr = RapidOCR(params={"Global.log_level": "critical", "EngineConfig.onnxruntime.intra_op_num_threads": 1})
    texts = []
    for image in images[:, 0].numpy():
        colour = np.repeat(image[..., None], 3, axis=2)  # (H, W, 3)
        found: Any = ocr(colour, use_det=False, use_cls=False, use_rec=True)
        texts.append("".join(found.txts or ()).replace(" ", ""))
    return texts


def legibility(texts: list[str], read: list[str], fold_case: bool) -> float:
    """The share of characters read: 1 - CER, not below 0.

    Args:
        texts: what the captchas say.
        read: what was read.
        fold_case: whether upper and lower case are the same, as they are to a person who knows that there is one case.
    """
    if fold_case:
        texts, read = ([text.lower() for text in side] for side in (texts, read))
    return max(0.0, 1 - jiwer.cer(texts, read))
