"""What an encoder's drawings are changed in while it trains, and what is left as it is."""

from __future__ import annotations

import pytest
import torch

from llava_tuning.data.everyday import restyle
from llava_tuning.training.clip import augment
from llava_tuning.training.clip.augment import place


def test_a_drawing_is_placed_on_a_ground() -> None:
    red = torch.zeros(64, 4, 32, 32, dtype=torch.uint8)
    red[:, 0, 8:24, 8:24] = red[:, 3, 8:24, 8:24] = 255
    anything = torch.zeros(64, dtype=torch.bool)
    placed = place(red, anything, anything, torch.Generator().manual_seed(0))
    assert placed.shape == (64, 3, 32, 32) and placed.min() >= 0 and placed.max() <= 1
    corners = placed[:, :, 0, 0]
    assert 10 < (corners > 0.97).all(1).sum() < 50, "white is one ground of several"
    assert len(placed.flatten(1).unique(dim=0)) == 64, "two were placed alike"
    assert torch.equal(placed, place(red, anything, anything, torch.Generator().manual_seed(0)))


def test_what_has_a_side_is_never_mirrored() -> None:
    """Drawings that are red on their left and blue on their right."""
    drawings = torch.zeros(300, 4, 32, 32, dtype=torch.uint8)
    drawings[:, 0, :, :16] = drawings[:, 2, :, 16:] = drawings[:, 3] = 255

    keeps = torch.ones(300, dtype=torch.bool)

    def red_is_left(sided: bool) -> float:
        placed = place(drawings, torch.full((300,), sided), keeps, torch.Generator().manual_seed(0))
        columns = (placed[:, 0] - placed[:, 2]).sum(1)
        towards_blue = (columns * torch.linspace(-1, 1, 32)).sum(1)
        return (towards_blue[towards_blue.abs() > 20] < 0).float().mean().item()

    assert red_is_left(sided=True) > 0.95  # some grounds run from one colour into another
    assert 0.35 < red_is_left(sided=False) < 0.65


def test_hues_are_turned_but_for_what_has_its_colour_in_its_name() -> None:
    colours = torch.tensor([0.9, 0.2, 0.2])[:, None, None].expand(600, 3, 4, 4)
    marks = torch.arange(600) % 2 == 0
    generator = torch.Generator().manual_seed(0)
    turned = restyle._turned(colours, marks, lambda *shape: torch.rand(600, *shape, generator=generator))
    assert torch.equal(turned[marks], colours[marks])
    others = turned[~marks]
    changed = (others - colours[~marks]).abs().flatten(1).max(1).values > 1e-4
    assert 0.2 < changed.float().mean() < 0.37
    hues = others[:, :, 0, 0].argmax(1).bincount(minlength=3)
    assert hues[1] > 5 and hues[2] > 5
    grey = torch.full((600, 3, 4, 4), 0.5)
    one = lambda *shape: torch.full((600, *shape), 0.15)  # all turned, none in one tone  # noqa: E731
    assert torch.allclose(restyle._turned(grey, marks, one), grey, atol=1e-6)


def test_placed_drawings_keep_their_hue_where_it_makes_the_thing() -> None:
    """Red ones: of those that may change, some are green or blue afterwards, some grey."""
    drawings = torch.zeros(400, 4, 16, 16, dtype=torch.uint8)
    drawings[:, 0], drawings[:, 1:3], drawings[:, 3] = 230, 40, 255
    no = torch.zeros(400, dtype=torch.bool)

    def still_red(coloured: torch.Tensor) -> float:
        placed = place(drawings, no, coloured, torch.Generator().manual_seed(0))
        middle = placed[:, :, 7:9, 7:9].mean((2, 3))
        return (middle[:, 0] > middle[:, 1:].max(1).values + 0.1).float().mean().item()

    kept, changed = still_red(~no), still_red(no)
    assert kept > 0.88, "but for what is missing in a gap"
    assert changed < kept - 0.15


def test_a_placed_drawing_is_shaded_flattened_and_outlined(monkeypatch: pytest.MonkeyPatch) -> None:
    drawings = torch.full((4, 4, 16, 16), 200, dtype=torch.uint8)
    no, seen = torch.zeros(4, dtype=torch.bool), []
    for name in ("_shaded", "_flattened", "_outlined"):
        real = getattr(restyle, name)
        monkeypatch.setattr(restyle, name, lambda *given, n=name, f=real: seen.append(n) or f(*given))
    place(drawings, no, no, torch.Generator().manual_seed(0))
    assert seen == ["_shaded", "_flattened", "_outlined"]


def test_a_drawing_is_outlined_shaded_and_flattened() -> None:
    drawing = torch.zeros(400, 4, 16, 16)
    drawing[:, :, 4:12, 4:12] = 0.5
    drawing[:, 3, 4:12, 4:12] = 1
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.rand(400, *shape, generator=generator)

    outlined = restyle._outlined(drawing, draw)
    rims = outlined[:, 3].flatten(1).sum(1) - 64
    assert set(rims.round().int().tolist()) == {0, 10 * 10 - 64, 12 * 12 - 64}
    assert 0.13 < (rims > 0.5).float().mean() < 0.27
    assert outlined[:, :3, 3, 3].max() < 0.31, "a rim is dark"
    assert torch.equal(outlined[:, :, 4:12, 4:12], drawing[:, :, 4:12, 4:12])
    shaded = restyle._shaded(drawing[:, :3], draw)[:, 0, 4:12, 4:12].flatten(1)
    assert 0.3 < (shaded.std(1) > 1e-4).float().mean() < 0.5
    ramp = torch.linspace(0, 1, 64).view(1, 1, 8, 8).expand(400, 3, 8, 8)
    levels = [len(one.unique()) for one in restyle._flattened(ramp, draw)]
    assert set(levels) == {2, 3, 4, 5, 6, 64} and 0.1 < sum(n < 64 for n in levels) / 400 < 0.24


def test_a_quarter_of_the_pictures_lack_a_square_and_edges_are_bent(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    missing = augment._gaps(40, lambda *shape: torch.rand(800, *shape, generator=generator))
    share = missing.flatten(1).float().mean(1)
    assert 0.2 < (share > 0).float().mean() < 0.3
    assert share.max() == pytest.approx(augment.GAP**2, rel=0.15)
    drawing = torch.full((8, 4, 32, 32), 255, dtype=torch.uint8)
    drawing[:, :3, :, 16:] = 0
    sided = torch.ones(8, dtype=torch.bool)
    bent = place(drawing, sided, sided, torch.Generator().manual_seed(0))
    monkeypatch.setattr(augment, "BEND", 0.0)
    straight = place(drawing, sided, sided, torch.Generator().manual_seed(0))
    assert ((bent - straight).abs().flatten(1).mean(1) > 1e-4).sum() >= 6
