"""Draw a drawing in another style: hues turned, shaded, flattened, outlined, as another hand might have."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch.nn import functional

Draw = Callable[..., torch.Tensor]  # uniform numbers of a shape, one set for each picture
SHADE = 0.45  # of a drawing's brightness that light and shade take or add at most
LEVELS = (2, 6)  # of each channel, where a drawing is flattened


def restyled(drawings: torch.Tensor, coloured: torch.Tensor, draw: Draw) -> torch.Tensor:
    """Each drawing in a style of its own; its shape and its name stay.

    Args:
        drawings: float RGBA (batch, 4, height, width), 0 to 1.
        coloured: bool (batch,), what must keep its hue.
        draw: gives uniform numbers (batch, ...) of 0 to 1.

    Returns:
        the like, premultiplied by its alpha.
    """
    alpha = drawings[:, 3:]
    colours = _shaded(_turned(_recoloured(drawings[:, :3], coloured, draw), coloured, draw), draw)
    colours = torch.where(coloured[:, None, None, None], colours, _flattened(colours, draw))
    return _outlined(torch.cat([colours * alpha, alpha], 1), draw)


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
