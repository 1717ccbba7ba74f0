"""What autocast does to a tensor, where it does not come by itself."""

from __future__ import annotations

import torch


def as_autocast(values: torch.Tensor) -> torch.Tensor:
    """In the dtype that products are computed in under autocast; as it is without."""
    device = values.device.type
    return values.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else values
