"""Changes of pictures while a CLIP trains, made on the device that trains."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch.nn import functional

Draw = Callable[..., torch.Tensor]  # uniform numbers of a shape, one set for each picture
SHIFT = 0.06  # scenes are moved by up to this share of their side
TURN = 0.35  # radians that an everyday picture is turned by at most
SIZES = (0.45, 1.05)  # of an everyday picture in the frame
BEND = 0.12  # a drawing's points move by about so much of half its side at most, neighbours alike
SHADE = 0.45  # of a drawing's brightness that light and shade take or add at most
LEVELS = (2, 6)  # of each channel, where a drawing is flattened
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

    drawing = pictures.float() / 255
    alpha = drawing[:, 3:]
    colours = _shaded(_turned(_recoloured(drawing[:, :3], coloured, draw), coloured, draw), draw)
    colours = torch.where(coloured[:, None, None, None], colours, _flattened(colours, draw))
    drawing = _outlined(torch.cat([colours * alpha, alpha], 1), draw)  # premultiplied
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


def _recoloured(colours: torch.Tensor, coloured: torch.Tensor, draw: Draw) -> torch.Tensor:
    """Brightness, contrast and saturation changed; one in ten in grey, but for what must keep its hue."""
    red, green, blue = colours.split(1, 1)
    grey = 0.3 * red + 0.59 * green + 0.11 * blue
    in_grey = (draw(1, 1, 1) < 0.1) & ~coloured[:, None, None, None]
    saturation = torch.where(in_grey, 0.0, 0.5 + draw(1, 1, 1))
    colours = grey + saturation * (colours - grey)
    colours = (colours - 0.5) * (0.7 + 0.6 * draw(1, 1, 1)) + 0.5
    tint = 0.85 + 0.3 * draw(3, 1, 1)
    return (colours * tint * (0.8 + 0.4 * draw(1, 1, 1))).clamp(0, 1)


def _turned(colours: torch.Tensor, coloured: torch.Tensor, draw: Draw) -> torch.Tensor:
    """Hues turned about the axis of greys, by any angle, in one of five; one in twelve in one tone."""
    angle = 2 * math.pi * draw(1, 1, 1) * (draw(1, 1, 1) < 0.2)
    cosine, sine = angle.cos(), angle.sin()
    red, green, blue = colours.unbind(1)
    mean = colours.mean(1, keepdim=True)
    across = torch.stack([blue - green, red - blue, green - red], 1) / math.sqrt(3)  # at right angles to both
    turned = mean + cosine * (colours - mean) + sine * across
    tone = draw(3, 1, 1)
    turned = torch.where(draw(1, 1, 1) < 1 / 12, tone + (1 - tone) * mean, turned)
    return torch.where(coloured[:, None, None, None], colours, turned).clamp(0, 1)


def _shaded(colours: torch.Tensor, draw: Draw) -> torch.Tensor:
    """Lighter here and darker there, in two of five."""
    light = functional.interpolate(
        2 * draw(1, 3, 3) - 1, size=colours.shape[2:], mode="bicubic", align_corners=True
    )
    return (colours * (1 + SHADE * (draw(1, 1, 1) < 0.4) * light)).clamp(0, 1)


def _flattened(colours: torch.Tensor, draw: Draw) -> torch.Tensor:
    """With a few levels in each channel, one in six."""
    levels = (LEVELS[0] + (LEVELS[1] - LEVELS[0]) * draw(1, 1, 1)).round() - 1
    return torch.where(draw(1, 1, 1) < 1 / 6, (colours * levels).round() / levels, colours)


def _outlined(drawing: torch.Tensor, draw: Draw) -> torch.Tensor:
    """With a dark rim around what is opaque, one in five; `drawing` is premultiplied RGBA."""
    alpha = drawing[:, 3:]
    rim = functional.max_pool2d(alpha, 5, stride=1, padding=2)
    thin = functional.max_pool2d(alpha, 3, stride=1, padding=1)
    rim = torch.where(draw(1, 1, 1) < 0.5, thin, rim) - alpha
    dark = torch.cat([0.3 * draw(3, 1, 1).expand_as(drawing[:, :3]) * rim, rim], 1)
    return torch.where(draw(1, 1, 1) < 0.2, drawing + dark, drawing)


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
