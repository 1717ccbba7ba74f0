"""Changes of pictures while a CLIP trains, made on the device that trains."""

from __future__ import annotations

import torch
from torch.nn import functional

from llava_tuning.data.everyday.restyle import Draw, restyled

SHIFT = 0.06  # scenes are moved by up to this share of their side
TURN = 0.35  # radians that an everyday picture is turned by at most
SIZES = (0.45, 1.05)  # of an everyday picture in the frame
BEND = 0.12  # a drawing's points move by about so much of half its side at most, neighbours alike
GAP = 0.35  # side of the patch that is missing from one picture in four, as a share of the frame's


def shift(pictures: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Move each picture a little (edges repeat), vary brightness. No flips: captions say left and right.

    Args:
        pictures: uint8 (batch, 3, side, side).
        generator: as in `place`.

    Returns:
        float (batch, 3, side, side), 0 to 1.
    """
    count, _, side, _ = pictures.shape
    device = pictures.device
    reach = max(1, round(SHIFT * side))
    there = _seeded(generator, device)
    offsets = torch.randint(-reach, reach + 1, (2, count, 1), generator=there, device=device)
    line = torch.arange(side, device=device)[None]
    rows, columns = ((line + offsets[i]).clamp(0, side - 1) for i in (0, 1))  # (batch, side)
    moved = pictures.gather(2, rows[:, None, :, None].expand_as(pictures))
    moved = moved.gather(3, columns[:, None, None, :].expand_as(pictures)).float() / 255
    light = 0.9 + 0.2 * torch.rand(count, 1, 1, 1, generator=there, device=device)
    return (moved * light).clamp(0, 1)


def place(
    pictures: torch.Tensor, sided: torch.Tensor, coloured: torch.Tensor, generator: torch.Generator
) -> torch.Tensor:
    """Put each drawing on a ground, turned, scaled, moved, mirrored, bent, recoloured, sometimes blurred.

    Names do not change with any of it, unlike captions of scenes. A drawing that is bent a little, in other
    colours, outlined, shaded, flattened or in one tone is as another hand might have drawn it.

    Args:
        pictures: uint8 (batch, 4, side, side), RGBA.
        sided: bool (batch,), what must not be mirrored.
        coloured: bool (batch,), what must keep its hue.
        generator: on the CPU; it seeds one on the pictures' device, where no copied numbers are waited for.

    Returns:
        float (batch, 3, side, side), 0 to 1.
    """
    count, side, device = len(pictures), pictures.shape[-1], pictures.device
    there = _seeded(generator, device)

    def draw(*shape: int) -> torch.Tensor:
        return torch.rand(count, *shape, generator=there, device=device)

    drawing = restyled(pictures.float() / 255, coloured, draw)
    angle = (2 * draw() - 1) * TURN
    size = SIZES[0] + (SIZES[1] - SIZES[0]) * draw()
    stretch = 1 + 0.3 * (draw() - 0.5)
    mirrored = 1 - 2 * ((draw() < 0.5) & ~sided).float()
    cosine, sine = angle.cos() / size, angle.sin() / size
    room = (1 - size).clamp(min=0) / size
    where = (2 * draw(2) - 1) * room[:, None]
    rows = [cosine * mirrored, sine * stretch, where[:, 0], -sine * mirrored, cosine * stretch, where[:, 1]]
    grid = functional.affine_grid(
        torch.stack(rows, 1).view(count, 2, 3), [count, 4, side, side], align_corners=False
    )
    bend = functional.interpolate(
        2 * draw(2, 4, 4) - 1, size=(side, side), mode="bicubic", align_corners=True
    )
    grid = grid + BEND * draw(1, 1, 1) * bend.permute(0, 2, 3, 1)
    moved = functional.grid_sample(drawing, grid, align_corners=False)
    picture = moved[:, :3] + (1 - moved[:, 3:]) * _ground(count, side, draw)
    low = functional.interpolate(picture, scale_factor=0.5, mode="bilinear", antialias=True)
    low = functional.interpolate(low, size=(side, side), mode="bilinear")
    picture = torch.where(draw(1, 1, 1) < 0.15, low, picture)
    noise = (draw(1, 1, 1) < 0.2) * 0.08 * (draw(3, side, side) - 0.5)
    return torch.where(_gaps(side, draw), draw(3, 1, 1), picture + noise).clamp(0, 1)


def _seeded(generator: torch.Generator, device: torch.device) -> torch.Generator:
    return torch.Generator(device).manual_seed(int(torch.randint(2**31, (), generator=generator)))


def _gaps(side: int, draw: Draw) -> torch.Tensor:
    """Where a square patch is missing, in one picture of four: bool (batch, 1, side, side)."""
    middle = draw(2, 1, 1)
    line = torch.linspace(0, 1, side, device=middle.device)
    near = ((line - middle[:, :1]).abs() < GAP / 2).transpose(2, 3) & ((line - middle[:, 1:]).abs() < GAP / 2)
    return near & (draw(1, 1, 1) < 0.25)


def _ground(count: int, side: int, draw: Draw) -> torch.Tensor:
    """White for four in ten; else a light or any colour, even or running into another."""
    kind = draw(1, 1, 1)
    first, second = draw(3, 1, 1), draw(3, 1, 1)
    light = 0.75 + 0.25 * first
    across = torch.linspace(0, 1, side, device=first.device)[None, None, None, :].expand(count, 1, side, side)
    across = torch.where(draw(1, 1, 1) < 0.5, across, across.transpose(2, 3))
    running = first + across * (second - first)
    ground = torch.where(kind < 0.4, torch.ones_like(running), light.expand_as(running))
    ground = torch.where(kind > 0.7, first.expand_as(running), ground)
    return torch.where(kind > 0.85, running, ground)
