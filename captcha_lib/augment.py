"""A different random warp for every image of a batch: (B, 1, H, W) uint8 -> the same shape and type.

One affine map and one smooth bending per image, in one sampling. (torchvision's transforms draw one map a call, for
the whole batch.)
"""

import torch
from torch.nn import functional as F

MAX_SHIFT_X, MAX_SHIFT_Y = 8.0, 3.0  # px
MAX_BEND_X, MAX_BEND_Y = 2.0, 1.5  # px
MAX_SLOPE, MAX_SHEAR, MAX_ZOOM = 0.05, 0.15, 0.08  # px a px, px a px, share
MAX_CONTRAST = 0.15  # share
BEND_KNOTS = (4, 9)  # rows and columns of control points, about 16 x 22 px apart in a Kaggle captcha


def augment(images: torch.Tensor, strength: float, generator: torch.Generator) -> torch.Tensor:
    """Moves, slants, shears, scales and bends each image and changes its contrast: (B, 1, H, W) uint8 -> the same.

    `strength` scales every maximum above; 0 leaves the images as they are. The generator is on the CPU.
    """
    if not strength:
        return images
    b, _, h, w = images.shape
    drawn = (torch.rand(b, 7, generator=generator) * 2 - 1) * strength  # (B, 7) in -1..1
    zoom_x, zoom_y, shear, slope, shift_x, shift_y, contrast = drawn.to(images.device).unbind(1)
    row_x = [1 + MAX_ZOOM * zoom_x, MAX_SHEAR * shear * h / w, 2 * MAX_SHIFT_X / w * shift_x]
    row_y = [MAX_SLOPE * slope * w / h, 1 + MAX_ZOOM * zoom_y, 2 * MAX_SHIFT_Y / h * shift_y]
    maps = torch.stack([torch.stack(row_x, 1), torch.stack(row_y, 1)], 1)  # (B, 2, 3), the picture spans -1..1
    grid = F.affine_grid(maps, [b, 1, h, w], align_corners=False)  # (B, H, W, 2)
    knots = (torch.rand(b, 2, *BEND_KNOTS, generator=generator) * 2 - 1) * strength
    knots *= torch.tensor([2 * MAX_BEND_X / w, 2 * MAX_BEND_Y / h]).view(1, 2, 1, 1)
    grid = grid + F.interpolate(knots.to(images.device), (h, w), mode="bicubic").permute(0, 2, 3, 1)
    warped = F.grid_sample(images.float(), grid, padding_mode="border", align_corners=False)  # (B, 1, H, W)
    ink = (255 - warped) * (1 + MAX_CONTRAST * contrast).view(b, 1, 1, 1)
    return (255 - ink).round().clamp(0, 255).to(torch.uint8)
